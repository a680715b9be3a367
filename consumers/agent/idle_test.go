package agent_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/internal/embedded/embeddedtest"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

func TestATypeHasAMembershipOnlyWhileThereIsWorkOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		cfg, _ := embeddedtest.Virtual(t)
		topics := cfg.Topics()
		cl, err := cfg.NewClient(kgo.ConsumeTopics(topics.Commands("orchestration")), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		if err := kafka.EnsureTopics(ctx, cl, topics.Specs(2, []string{"orchestration"}, []string{"greet", "silent", "early"})); err != nil {
			t.Fatal(err)
		}
		// Work that was there before the agent.
		produce(ctx, t, cl, topics.Work("early"), "before", schemas.WorkRequested, ofType("early", "before"))

		pool := agent.NewPool(quiet)
		release := make(chan struct{})
		close(release)
		for _, typ := range []string{"greet", "silent", "early"} {
			pool.Register(typ, wait(release), 1)
		}
		ended := make(chan error, 1)
		go func() {
			ended <- pool.Serve(ctx, agent.Config{Name: "greeter", Kafka: cfg, Idle: time.Minute, Log: quiet})
		}()
		next(ctx, t, cl, schemas.WorkComplete)
		memberships(ctx, t, cl, topics, map[string]int{"greet": 0, "silent": 0, "early": 1})

		for round := range 2 {
			id := "w" + string(rune('0'+round))
			produce(ctx, t, cl, topics.Work("greet"), id, schemas.WorkRequested, ofType("greet", id))
			next(ctx, t, cl, schemas.WorkComplete)
			memberships(ctx, t, cl, topics, map[string]int{"greet": 1, "silent": 0})
			<-time.After(2 * time.Minute)
			memberships(ctx, t, cl, topics, map[string]int{"greet": 0, "silent": 0, "early": 0})
		}
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	})
}

// Work that waits for a slot comes without a record of its own to say so.
func TestAMembershipStaysWhileAllSlotsAreTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		cfg, _ := embeddedtest.Virtual(t)
		topics := cfg.Topics()
		cl, err := cfg.NewClient(kgo.ConsumeTopics(topics.Commands("orchestration")), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		if err := kafka.EnsureTopics(ctx, cl, topics.Specs(2, []string{"orchestration"}, []string{"greet"})); err != nil {
			t.Fatal(err)
		}
		release := make(chan struct{})
		pool := agent.NewPool(quiet)
		pool.Register("greet", wait(release), 1)
		ended := make(chan error, 1)
		go func() {
			ended <- pool.Serve(ctx, agent.Config{Name: "greeter", Kafka: cfg, Idle: time.Minute, Log: quiet})
		}()
		for _, id := range []string{"first", "second"} {
			produce(ctx, t, cl, topics.Work("greet"), id, schemas.WorkRequested, ofType("greet", id))
		}
		<-time.After(10 * time.Minute)
		memberships(ctx, t, cl, topics, map[string]int{"greet": 1})
		close(release)
		next(ctx, t, cl, schemas.WorkComplete)
		next(ctx, t, cl, schemas.WorkComplete)
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	})
}

func ofType(typ, id string) any {
	w := work(id)
	w.Type = typ
	return w
}

// memberships checks how many members the share groups of types have.
func memberships(ctx context.Context, t *testing.T, cl *kgo.Client, topics kafka.Topics, want map[string]int) {
	t.Helper()
	for typ, n := range want {
		req := kmsg.NewPtrShareGroupDescribeRequest()
		req.GroupIDs = []string{topics.Group("share", typ)}
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			t.Fatal(err)
		}
		g := resp.Groups[0]
		if err := kerr.ErrorForCode(g.ErrorCode); err != nil && n > 0 {
			t.Fatalf("the group of %s: %v", typ, err)
		}
		if len(g.Members) != n {
			t.Errorf("the group of %s has %d members, want %d", typ, len(g.Members), n)
		}
	}
}
