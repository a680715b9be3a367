package embedded_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/pubsub"
)

// A kill takes the memory of the broker: what a group was told and how far it had come
// must not go with it.
func TestAShareGroupGoesOnAfterAKill(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir := t.TempDir()
	c := startChild(t, dir, "127.0.0.1:0", false)
	cfg := kafka.Config{Brokers: []string{c.addr}}
	cl, err := cfg.NewClient(kgo.DefaultProduceTopic("work"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopic(ctx, 1, 1, nil, "work"); err != nil {
		t.Fatal(err)
	}
	produceNumbers(ctx, t, cl, 0, 10)
	if err := pubsub.ConfigureShareGroup(ctx, cfg, "workers"); err != nil {
		t.Fatal(err)
	}
	take(ctx, t, cfg, 0, 10)
	saved := filepath.Join(dir, "groups.json")
	for ctx.Err() == nil { // until the broker has looked how far the group is
		if b, err := os.ReadFile(saved); err == nil && strings.Contains(string(b), `"0":10`) {
			break
		}
		<-time.After(10 * time.Millisecond)
	}
	c.kill(t)
	c = startChild(t, dir, c.addr, false)
	defer c.stop(t)
	produceNumbers(ctx, t, cl, 10, 20)
	// This member does not configure the group.
	take(ctx, t, cfg, 10, 20)
}

func produceNumbers(ctx context.Context, t *testing.T, cl *kgo.Client, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := cl.ProduceSync(ctx, kgo.StringRecord(fmt.Sprint(i))).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// take takes these numbers, and no others, as a member that ends afterwards.
func take(ctx context.Context, t *testing.T, cfg kafka.Config, from, to int) {
	t.Helper()
	cl, err := cfg.NewClient(kgo.ConsumeTopics("work"), kgo.ShareGroup("workers"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	got := map[string]bool{}
	for len(got) < to-from {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("got only %v", got)
		}
		for _, r := range fetches.Records() {
			r.Ack(kgo.AckAccept)
			got[string(r.Value)] = true
		}
	}
	if err := cl.FlushAcks(ctx); err != nil {
		t.Fatal(err)
	}
	for i := from; i < to; i++ {
		if !got[fmt.Sprint(i)] {
			t.Fatalf("got %v, want %d to %d", got, from, to-1)
		}
	}
}
