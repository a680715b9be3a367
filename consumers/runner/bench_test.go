package runner_test

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/machines"
	"github.com/waybill/waybill/consumers/runner"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/internal/embedded/embeddedtest"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// engine is a runner of the chain type on an in-memory broker, with a publisher and a
// subscriber of completions.
type engine struct {
	cfg       kafka.Config
	pub       *kgo.Client
	completed chan string
}

func newEngine(b *testing.B) *engine {
	b.Helper()
	cfg := embeddedtest.New(b)
	cfg.Embedded = true
	ctx, cancel := context.WithCancel(b.Context())
	pub, err := cfg.NewClient(kgo.MaxBufferedRecords(1 << 20))
	if err != nil {
		b.Fatal(err)
	}
	if err := kafka.EnsureTopics(ctx, pub, cfg.Topics().Specs(kafka.DefaultShards, []string{"orchestration"}, nil)); err != nil {
		b.Fatal(err)
	}
	pool := agent.NewPool(nil)
	pool.Register("noop", quick{}, 64)
	pool.Register("tree", tree{8}, 64)
	types := plans{"chain": chain(b, "chain", "noop", 3), "tree": treePlan(b)}
	r, err := runner.New(runner.Config{
		Kafka: cfg, Member: "m1", Local: machines.Local(pool),
		Machines: []runner.Binding{machines.Orchestration(types, nil, 0)},
	})
	if err != nil {
		b.Fatal(err)
	}
	sub, err := cfg.NewClient(kgo.ConsumeTopics(cfg.Topics().Completions("orchestration")), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		b.Fatal(err)
	}
	e := &engine{cfg, pub, make(chan string, 1<<16)}
	var done sync.WaitGroup
	done.Go(func() { _ = r.Run(ctx) })
	done.Go(func() {
		for ctx.Err() == nil {
			sub.PollFetches(ctx).EachRecord(func(r *kgo.Record) { e.completed <- string(r.Key) })
		}
	})
	b.Cleanup(func() { cancel(); done.Wait(); pub.Close(); sub.Close() })
	for len(r.Owned()) < kafka.DefaultShards {
		time.Sleep(time.Millisecond) //nolint:forbidigo // a benchmark waits for the shards outside its timing
	}
	return e
}

// treePlan is a tree of 6 levels of nodes, 8 children each, and a join.
func treePlan(b *testing.B) *orchestration.Plan {
	b.Helper()
	p, err := orchestration.NewPlan(definition.Orchestration{Type: "tree", Activities: []definition.Activity{
		{ID: "root", Type: "tree", With: json.RawMessage(`{"levels":6}`)},
		{ID: "join", Type: "noop", DependsOn: definition.Names{"root"}},
	}})
	if err != nil {
		b.Fatal(err)
	}
	return p
}

func (e *engine) submit(b *testing.B, id string) { b.Helper(); e.send(b, id, "chain") }

func (e *engine) send(b *testing.B, id, typ string) {
	b.Helper()
	r := &kgo.Record{
		Topic: e.cfg.Topics().Commands("orchestration"), Key: []byte(id), Value: []byte(`{"type":"` + typ + `","input":{}}`),
		Headers: kafka.CloudEvent{ID: id, Source: "bench", Type: schemas.OrchestrationStart, Subject: id}.Headers(),
	}
	if err := e.pub.ProduceSync(b.Context(), r).FirstErr(); err != nil {
		b.Error(err)
	}
}

// BenchmarkThroughput is W1: orchestrations of three activities from 64 submitters.
func BenchmarkThroughput(b *testing.B) {
	e := newEngine(b)
	b.ResetTimer()
	var next sync.Mutex
	n := 0
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for {
				next.Lock()
				n++
				id := n
				next.Unlock()
				if id > b.N {
					return
				}
				e.submit(b, "job-"+strconv.Itoa(id))
			}
		})
	}
	for range b.N {
		<-e.completed
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "orchestrations/s")
}

// BenchmarkLatency is W2: the same, one at a time.
func BenchmarkLatency(b *testing.B) {
	e := newEngine(b)
	var took []time.Duration
	b.ResetTimer()
	for i := range b.N {
		t := time.Now()
		e.submit(b, "job-"+strconv.Itoa(i))
		<-e.completed
		took = append(took, time.Since(t))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

// tree spawns children until its levels are used up.
type tree struct{ children int }

func (tree) Quick(agent.Activity) bool { return true }
func (t tree) Process(_ context.Context, a agent.Activity) agent.Result {
	var in struct{ Levels int }
	if err := a.Input.Decode(&in); err != nil {
		return agent.Fatal(err)
	}
	r := agent.Complete(map[string]string{"value": a.ActivityID})
	if in.Levels <= 1 {
		return r
	}
	spawn := make([]definition.Activity, t.children)
	for i := range spawn {
		spawn[i] = definition.Activity{ID: a.ActivityID + "-" + strconv.Itoa(i), Type: a.Type, With: json.RawMessage(`{"levels":` + strconv.Itoa(in.Levels-1) + `}`)}
	}
	return r.Spawn(spawn...)
}

// BenchmarkTree is W7: one orchestration that grows to 37,449 nodes.
func BenchmarkTree(b *testing.B) {
	e := newEngine(b)
	b.ResetTimer()
	for i := range b.N {
		id := "tree-" + strconv.Itoa(i)
		e.send(b, id, "tree")
		<-e.completed
	}
}
