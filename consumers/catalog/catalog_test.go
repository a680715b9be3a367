package catalog_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/consumers/catalog"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/internal/embedded/embeddedtest"
	"github.com/waybill/waybill/internal/kafka"
)

// reading is a catalog that reads its topic, on a broker of its own.
func reading(t *testing.T, options ...kgo.Opt) (cat *catalog.Catalog, put func(key, value string)) {
	t.Helper()
	cfg, _ := embeddedtest.Virtual(t)
	cl, err := cfg.NewClient(options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	if err := kafka.EnsureTopics(t.Context(), cl, cfg.Topics().Specs(1, nil, nil)); err != nil {
		t.Fatal(err)
	}
	cat = catalog.New(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- cat.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return cat, func(key, value string) {
		t.Helper()
		r := &kgo.Record{Topic: cfg.Topics().Definitions(), Key: []byte(key), Value: []byte(value)}
		if value == "" {
			r.Value = nil
		}
		if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) //nolint:forbidigo // fake time
	}
}

const order = `{"kind":"orchestration","type":"order","version":1,"definition":{"type":"order","activities":[{"id":"a","type":"noop"}]}}`

func TestARecordThatIsNoDefinitionIsOnlyInTheWayOfWhoNeedsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cat, put := reading(t)
		put("orchestration/order", order)
		put("anything", "garbage")
		put("orchestration/broken", "garbage")
		put("orchestration/mistaken", order)
		if _, _, err := cat.Plan(t.Context(), "order", nil); err != nil {
			t.Errorf("another definition cannot be had: %v", err)
		}
		for typ, want := range map[string]string{"broken": "offset 2", "mistaken": `about "order"`} {
			_, _, err := cat.Plan(t.Context(), typ, nil)
			var refusal *machine.Refusal
			if err == nil || errors.As(err, &refusal) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v; want an error that is no refusal, with %s", typ, err, want)
			}
		}
		put("orchestration/broken", "")
		var refusal *machine.Refusal
		if _, _, err := cat.Plan(t.Context(), "broken", nil); !errors.As(err, &refusal) || refusal.Code != machine.UnknownType {
			t.Errorf("deleted: %v; want a refusal", err)
		}
	})
}

func TestABatchThatNobodyCanUnpackHoldsNoDefinitionBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cat, put := reading(t, kgo.ProducerBatchCompression(kgo.GzipCompression()), kgo.ProducerBatchMaxBytes(96<<20))
		put("orchestration/order", order)
		put("orchestration/large", strings.Repeat(" ", kafka.MaxUnpackedBytes+1))
		if err := cat.CatchUp(t.Context()); err != nil {
			t.Errorf("where the batch is the last: %v", err)
		}
		put("orchestration/second", strings.ReplaceAll(order, `"order"`, `"second"`))
		for _, typ := range []string{"order", "second"} {
			if _, _, err := cat.Plan(t.Context(), typ, nil); err != nil {
				t.Errorf("%s: %v", typ, err)
			}
		}
	})
}

// Whoever starts without the right is told (kafka.Watch); one that is taken away must not end a server.
func TestARightThatIsTakenAwayIsWaitedFor(t *testing.T) {
	user, admin, guard := embeddedtest.Guarded(t)
	cl, err := admin.NewClient()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	if err := kafka.EnsureTopics(t.Context(), cl, user.Topics().Specs(1, nil, nil)); err != nil {
		t.Fatal(err)
	}
	cat := catalog.New(user)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- cat.Run(ctx) }()
	for err := error(nil); !kafka.Denied(err); err = cat.CatchUp(ctx) {
		select {
		case err := <-done:
			t.Fatalf("it has ended: %v", err)
		default:
		}
	}
	guard.Allow(kafka.Right{On: kafka.OnTopic, Name: user.Topics().Definitions(), Operations: []kadm.ACLOperation{kadm.OpRead, kadm.OpDescribe}})
	r := &kgo.Record{Topic: user.Topics().Definitions(), Key: []byte("orchestration/order"), Value: []byte(order)}
	if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := cat.Await(ctx, "orchestration", "order", 1); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
