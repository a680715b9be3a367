package embeddedtest_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/embedded/embeddedtest"
	"github.com/waybill/waybill/internal/kafka"
)

func TestAnOrdinaryTestReadsBackWhatItWrote(t *testing.T) {
	roundTrip(t, embeddedtest.New(t))
}

func TestABubbleReadsBackWhatItWroteAndTimePassesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, _ := embeddedtest.Virtual(t)
		began := time.Now()
		roundTrip(t, cfg)
		<-time.After(time.Hour)
		if d := time.Since(began); d < time.Hour {
			t.Fatalf("an hour took %s of the bubble's time", d)
		}
	})
}

func roundTrip(t *testing.T, cfg kafka.Config) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	topics := cfg.Topics()
	cl, err := cfg.NewClient(
		kgo.ConsumeTopics(topics.Commands("thing")),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.TransactionalID("t"),
		kgo.TransactionTimeout(10*time.Second),
	)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := kafka.EnsureTopics(ctx, cl, topics.Specs(2, []string{"thing"}, nil)); err != nil {
		t.Fatal(err)
	}
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	large := make([]byte, 3<<20)
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: topics.Commands("thing"), Value: large}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := cl.EndTransaction(ctx, kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	got := cl.PollRecords(ctx, 1)
	if err := got.Err(); err != nil {
		t.Fatal(err)
	}
	if n := got.NumRecords(); n != 1 {
		t.Fatalf("read %d records, want 1", n)
	}
}
