package runner_test

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/machines"
	"github.com/waybill/waybill/consumers/runner"
	"github.com/waybill/waybill/internal/embedded/embeddedtest"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// denyWorkTopics lets nobody create topics as long as it is true.
func denyWorkTopics(c *kfake.Cluster) *atomic.Bool {
	var deny atomic.Bool
	deny.Store(true)
	c.ControlKey(int16(kmsg.CreateTopics), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if !deny.Load() {
			return nil, nil, false
		}
		req := kreq.(*kmsg.CreateTopicsRequest)
		resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
		for _, t := range req.Topics {
			answer := kmsg.NewCreateTopicsResponseTopic()
			answer.Topic, answer.ErrorCode = t.Topic, kerr.TopicAuthorizationFailed.Code
			resp.Topics = append(resp.Topics, answer)
		}
		return resp, nil, true
	})
	return &deny
}

func TestATypeWhoseTopicMayNotBeCreatedHoldsUpNobodyElseAndGoesOnOnceItIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, cluster := embeddedtest.Virtual(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		cl, err := cfg.NewClient()
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		if err := kafka.EnsureTopics(ctx, cl, cfg.Topics().Specs(1, []string{"orchestration"}, nil)); err != nil {
			t.Fatal(err)
		}
		deny := denyWorkTopics(cluster)
		pool := agent.NewPool(nil)
		pool.Register("noop", quick{}, 4)
		r, err := runner.New(runner.Config{
			Kafka: cfg, Shards: 1, Member: "m1", Local: machines.Local(pool),
			Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
			Machines: []runner.Binding{machines.Orchestration(plans{
				"near": chain(t, "near", "noop", 3), "far": chain(t, "far", "far.example.com", 1),
			}, nil, 0)},
		})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		for _, typ := range []string{"far", "near"} {
			rec := &kgo.Record{
				Topic: cfg.Topics().Commands("orchestration"), Key: []byte(typ), Value: []byte(`{"type":"` + typ + `","input":{}}`),
				Headers: kafka.CloudEvent{ID: typ, Source: "test", Type: schemas.OrchestrationStart, Subject: typ}.Headers(),
			}
			if err := cl.ProduceSync(ctx, rec).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if got := first(t, cfg, cfg.Topics().Completions("orchestration")); string(got.Key) != "near" {
			t.Errorf("the end of %s has been told, not that of near", got.Key)
		}
		if lack := r.Lacking()["far.example.com"]; !strings.Contains(lack, "TOPIC_AUTHORIZATION_FAILED") || r.Ready() != nil {
			t.Errorf("it does not say what is lacking: %q, ready: %v", lack, r.Ready())
		}
		deny.Store(false)
		allowed := time.Now()
		got, err := schemas.DecodeWork(schemas.WorkRequested, first(t, cfg, cfg.Topics().Work("far.example.com")).Value)
		if err != nil || got.Offer != 1 || !time.Now().Before(got.OfferedUntil) {
			t.Errorf("the work that was asked for first is not offered, as long as it may be taken: %+v, %v", got, err)
		}
		if took := time.Since(allowed); took > 6*time.Second {
			t.Errorf("that takes %s", took)
		}
		if lack := r.Lacking(); len(lack) > 0 {
			t.Errorf("it still says that there is something lacking: %v", lack)
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

// first is the first record of a topic, within a minute.
func first(t *testing.T, cfg kafka.Config, topic string) *kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cl, err := cfg.NewClient(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for {
		f := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("nothing came on %s: %v", topic, f.Err())
		}
		for _, r := range f.Records() {
			return r
		}
	}
}
