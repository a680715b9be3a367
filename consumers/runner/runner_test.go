package runner_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/machines"
	"github.com/waybill/waybill/consumers/runner"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/internal/embedded/embeddedtest"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// plans are the orchestration types of a test.
type plans map[string]*orchestration.Plan

func (p plans) Plan(_ context.Context, typ string, input json.RawMessage) (*orchestration.Plan, json.RawMessage, error) {
	if plan, ok := p[typ]; ok {
		return plan, input, nil
	}
	return nil, nil, machine.Refuse(machine.UnknownType, "there is no orchestration type "+strconv.Quote(typ))
}

func (plans) Activity(string) (definition.ActivityType, bool) {
	return definition.ActivityType{}, false
}

// chain is a type of n activities one after the other.
func chain(t testing.TB, typ, activityType string, n int) *orchestration.Plan {
	t.Helper()
	d := definition.Orchestration{Type: typ}
	for i := range n {
		a := definition.Activity{ID: "a" + strconv.Itoa(i), Type: activityType}
		if i > 0 {
			a.DependsOn = definition.Names{"a" + strconv.Itoa(i-1)}
		}
		d.Activities = append(d.Activities, a)
	}
	p, err := orchestration.NewPlan(d)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// quick completes at once.
type quick struct{}

func (quick) Process(context.Context, agent.Activity) agent.Result {
	return agent.Complete(map[string]int{"n": 1})
}
func (quick) Quick(agent.Activity) bool { return true }

func TestAStartedOrchestrationCompletes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, _ := embeddedtest.Virtual(t)
		cfg.Embedded = true
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		cl, err := cfg.NewClient(kgo.AllowAutoTopicCreation())
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		if err := kafka.EnsureTopics(ctx, cl, cfg.Topics().Specs(4, []string{"orchestration"}, nil)); err != nil {
			t.Fatal(err)
		}
		pool := agent.NewPool(nil)
		pool.Register("noop", quick{}, 4)
		r, err := runner.New(runner.Config{
			Kafka: cfg, Shards: 4, Member: "m1", Local: machines.Local(pool),
			Logger:   slog.New(slog.NewTextHandler(t.Output(), nil)),
			Machines: []runner.Binding{machines.Orchestration(plans{"chain": chain(t, "chain", "noop", 3)}, nil, 0)},
		})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		rec := &kgo.Record{
			Topic: cfg.Topics().Commands("orchestration"), Key: []byte("job-1"), Value: []byte(`{"type":"chain","input":{}}`),
			Headers: kafka.CloudEvent{ID: "c1", Source: "test", Type: schemas.OrchestrationStart, Subject: "job-1"}.Headers(),
		}
		if err := cl.ProduceSync(ctx, rec).FirstErr(); err != nil {
			t.Fatal(err)
		}
		cons, err := cfg.NewClient(kgo.ConsumeTopics(cfg.Topics().Completions("orchestration")), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		if err != nil {
			t.Fatal(err)
		}
		defer cons.Close()
		wait, stop := context.WithTimeout(ctx, time.Minute)
		defer stop()
		f := cons.PollFetches(wait)
		if err := f.Err(); err != nil {
			t.Fatal(err, r.Ready())
		}
		f.EachRecord(func(r *kgo.Record) { t.Logf("%s %s", r.Key, r.Value) })
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}
