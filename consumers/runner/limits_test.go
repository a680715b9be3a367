package runner_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/machines"
	"github.com/waybill/waybill/consumers/runner"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// command is a command as a record, for shard 0.
func (f *fleet) command(id, key, typ, value string) *kgo.Record {
	return &kgo.Record{
		Topic: f.cfg.Topics().Commands(aggregate), Key: []byte(key), Value: []byte(value),
		Headers: kafka.CloudEvent{ID: id, Source: "test", Type: typ, Subject: key}.Headers(),
	}
}

// sendAll publishes commands in one go.
func (f *fleet) sendAll(records ...*kgo.Record) {
	f.t.Helper()
	cl, err := f.cfg.NewClient(kgo.ProducerLinger(100*time.Millisecond), kgo.MaxBufferedRecords(1<<20))
	if err != nil {
		f.t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(f.t.Context(), records...).FirstErr(); err != nil {
		f.t.Fatal(err)
	}
}

// goesOn checks that the shard is alive and was taken only once.
func (f *fleet) goesOn(m *member) {
	f.t.Helper()
	f.start("last", "chain")
	f.ends("last", "completed")
	taken := 0
	for _, r := range f.read(f.cfg.Topics().Events(aggregate)) {
		if e, err := kafka.ParseCloudEvent(r); err == nil && e.Type == schemas.ShardOwned {
			taken++
		}
	}
	if taken != 1 {
		f.t.Errorf("the shard was taken %d times; readiness says %v", taken, m.Ready())
	}
}

func (f *fleet) deadLetters() []string {
	f.t.Helper()
	var why []string
	for _, r := range f.read(f.cfg.Topics().DeadLetters()) {
		for _, h := range r.Headers {
			if h.Key == schemas.DeadLetterError {
				why = append(why, string(h.Value))
			}
		}
	}
	return why
}

// onePlan is the quick plans and one more.
func onePlan(t *testing.T, d definition.Orchestration) plans {
	t.Helper()
	p := quickPlans(t)
	plan, err := orchestration.NewPlan(d)
	if err != nil {
		t.Fatal(err)
	}
	p[d.Type] = plan
	return p
}

func TestARushOfRefusedCommandsFitsIntoPositionRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, quickPlans(t))
		var all []*kgo.Record
		for i := range 5000 {
			id := "c" + strconv.Itoa(i)
			all = append(all, f.command(id, "job", schemas.OrchestrationStart, `{"type":"`+strings.Repeat("x", 900)+`"}`))
		}
		f.sendAll(all...)
		m := f.join("a", noop)
		f.goesOn(m)
		if l, copies := f.completions("job"); copies != len(all) {
			t.Errorf("%d answers of kinds %d to %d commands", copies, len(l), len(all))
		}
	})
}

func TestAReasonAsLongAsTheCommandIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, quickPlans(t))
		m := f.join("a", noop)
		f.send("job", schemas.OrchestrationStart, `{"type":"`+strings.Repeat(`\"`, 500_000)+`"}`)
		f.goesOn(m)
		for _, r := range f.read(f.cfg.Topics().Completions(aggregate)) {
			if len(r.Value) > 20_000 {
				t.Errorf("an answer of %d bytes", len(r.Value))
			}
		}
	})
}

func TestManyLargeStartsGoIntoSeveralTransactions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		large := definition.Orchestration{Type: "large", Activities: []definition.Activity{
			{ID: "a", Type: "noop", With: json.RawMessage(`{"text":"` + strings.Repeat("x", 300<<10) + `"}`)},
		}}
		f := newFleet(t, 1, onePlan(t, large))
		var all []*kgo.Record
		for i := range 100 {
			all = append(all, f.command("c"+strconv.Itoa(i), "job-"+strconv.Itoa(i), schemas.OrchestrationStart, `{"type":"large"}`))
		}
		f.sendAll(all...)
		f.goesOn(f.join("a", noop))
		bytes := 0
		for _, r := range f.read(f.cfg.Topics().Events(aggregate)) {
			if string(r.Key) == schemas.ShardKey {
				bytes = 0
			}
			if bytes += len(r.Value); bytes > 9<<20 {
				t.Fatalf("a transaction of %d bytes and more", bytes)
			}
		}
	})
}

func TestAnEnvelopeThatNothingCanRepeatIsADeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, quickPlans(t))
		m := f.join("a", noop)
		long := strings.Repeat("x", 3<<20)
		f.sendAll(
			f.command("c1", long[:3<<19], schemas.OrchestrationStart, `{"type":"chain"}`),
			f.command(long, "job", schemas.OrchestrationStart, `{"type":"nothing"}`),
			f.command("c3", "job", long, `{}`),
			f.command("c4", "a\x1fb", schemas.OrchestrationStart, `{"type":"chain"}`),
		)
		f.goesOn(m)
		if l := f.deadLetters(); len(l) != 4 {
			t.Errorf("dead letters for %q, want four", l)
		}
	})
}

func TestARecordThatIsTooLargeOnceItIsUnpackedIsADeadLetterAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2, quickPlans(t))
		m := f.join("a", noop)
		f.owns(m, 2)
		cl, err := f.cfg.NewClient(kgo.ProducerBatchCompression(kgo.GzipCompression()), kgo.ProducerBatchMaxBytes(32<<20), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		wrong := 1 - kafka.PartitionFor([]byte("job"), 2)
		for _, typ := range []string{"", schemas.OrchestrationStart} { // not to be read, and not to be forwarded
			r := f.command("c", "job", typ, strings.Repeat(" ", 10<<20))
			r.Partition = wrong
			if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		f.until("both are kept", func() bool { return len(f.deadLetters()) == 2 })
		for _, why := range f.deadLetters() {
			if !strings.Contains(why, "10485") {
				t.Errorf("a dead letter says %q, and not how large it was", why)
			}
		}
		if err := m.Ready(); err != nil {
			t.Error(err)
		}
	})
}

// A client stands before such a batch for ever unless it is told to go on, and so did every
// owner of the shard.
func TestABatchThatNobodyCanUnpackIsADeadLetterAndTheShardGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, quickPlans(t))
		m := f.join("a", noop)
		f.owns(m, 1)
		cl, err := f.cfg.NewClient(kgo.ProducerBatchCompression(kgo.GzipCompression()), kgo.ProducerBatchMaxBytes(96<<20))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		if err := cl.ProduceSync(t.Context(), f.command("c", "job", schemas.OrchestrationStart, strings.Repeat(" ", 65<<20))).FirstErr(); err != nil {
			t.Fatal(err)
		}
		f.send("job", schemas.OrchestrationStart, `{"type":"chain"}`)
		f.ends("job", "completed")
		if l := f.deadLetters(); len(l) != 1 || !strings.Contains(l[0], "in one batch, which cannot be unpacked") {
			t.Errorf("dead letters for %q, want one that says how large the batch was", l)
		}
		f.goesOn(m)
		m.stop()
		n := f.join("b", noop)
		f.owns(n, 1)
		f.send("next", schemas.OrchestrationStart, `{"type":"chain"}`)
		f.ends("next", "completed")
		if l := f.deadLetters(); len(l) != 1 {
			t.Errorf("the next owner met the batch again: %q", l)
		}
	})
}

func TestLabelsFullOfAngleBracketsDoNotGrow(t *testing.T) {
	bothKinds(t, 1, quickPlans, func(f *fleet) {
		m := f.join("a", noop)
		f.send("job", schemas.OrchestrationStart, `{"type":"chain","labels":{"html":"`+strings.Repeat("<", 1_000_000)+`"}}`)
		f.goesOn(m)
		f.ends("job", "completed")
	})
}

func TestWorkThatIsTooLargeForARecordFailsWhereThereAreNoAgents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := definition.Activity{ID: "a", Type: "remote"}
		for _, target := range []string{"x", "y", "z"} {
			a.Inputs = append(a.Inputs, definition.Mapping{Source: "text", Target: target})
		}
		f := newFleet(t, 1, onePlan(t, definition.Orchestration{Type: "large", Activities: []definition.Activity{a}}))
		r, err := runner.New(runner.Config{
			Kafka: f.cfg, Shards: 1, Member: "a", Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
			Machines: []runner.Binding{machines.Orchestration(f.plans, nil, 0)},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		f.send("job", schemas.OrchestrationStart, `{"type":"large","input":{"text":"`+strings.Repeat("x", 900_000)+`"}}`)
		f.ends("job", "failed")
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// Each of these takes gigabytes to put together, and took the process with it, at each start anew.
func TestWhatADefinitionMultipliesWithoutEndFailsAndNamesTheLimit(t *testing.T) {
	times := func(n int, format string) string {
		var l []string
		for i := range n {
			l = append(l, fmt.Sprintf(format, i))
		}
		return strings.Join(l, ",")
	}
	for name, c := range map[string]struct{ definition, why string }{
		"templates":         {`{"activities":[{"id":"a","type":"remote","with":{` + times(5_000, `"k%d":"{{x}}"`) + `}}]}`, "limit of 134217728 bytes"},
		"one text":          {`{"activities":[{"id":"a","type":"noop","with":{"k":"` + strings.Repeat("{{x}}", 5_000) + `"}}]}`, "limit of 134217728 bytes"},
		"the output":        {`{"activities":[{"id":"a","type":"noop"}],"output":[` + times(5_000, `{"source":"x","target":"k%d"}`) + `]}`, "limit of 1048576"},
		"all who are asked": {`{"activities":[` + times(160, `{"id":"a%d","type":"remote","with":{"k":"{{x}}"}}`) + `]}`, "limit of 134217728 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			var def definition.Orchestration
			if err := json.Unmarshal([]byte(c.definition), &def); err != nil {
				t.Fatal(err)
			}
			def.Type = "page"
			synctest.Test(t, func(t *testing.T) {
				plans := onePlan(t, def)
				plans["chain"] = quickPlans(t)["chain"]
				f := newFleet(t, 1, plans)
				m := f.join("a", noop)
				f.send("job", schemas.OrchestrationStart, `{"type":"page","input":{"x":"`+strings.Repeat("x", 900_000)+`"}}`)
				f.ends("job", "failed")
				f.goesOn(m)
				said := false
				for _, r := range f.read(f.cfg.Topics().Completions(aggregate)) {
					said = said || strings.Contains(string(r.Value), c.why)
				}
				if !said {
					t.Errorf("no completion names the %s", c.why)
				}
			})
		})
	}
}

// A definition may look small and be large once it is written down.
func TestAStartWhoseFirstEventDoesNotFitIsRefused(t *testing.T) {
	bothKinds(t, 1, func(t *testing.T) plans {
		t.Helper()
		return onePlan(t, definition.Orchestration{Type: "page", Activities: []definition.Activity{
			{ID: "a", Type: "noop", With: json.RawMessage(`{"html":"` + strings.Repeat("<", 900<<10) + `"}`)},
		}})
	}, func(f *fleet) {
		m := f.join("a", noop)
		f.sendAs("c", "job", schemas.OrchestrationStart, `{"type":"page"}`)
		f.sendAs("c", "job", schemas.OrchestrationStart, `{"type":"page"}`)
		f.until("it is refused", func() bool {
			l, _ := f.completions("job")
			return slices.Equal(l, []string{"command.rejected"})
		})
		f.goesOn(m)
		if n := len(f.history("job")); n != 0 {
			f.t.Errorf("%d events of what was refused", n)
		}
	})
}

func TestAnIDThatIsTakenIsAnsweredWhateverTheOtherBodyIs(t *testing.T) {
	bothKinds(t, 1, quickPlans, func(f *fleet) {
		f.join("a", noop)
		f.sendAs("c", "job", schemas.OrchestrationStart, `{"type":"chain"}`)
		f.ends("job", "completed")
		f.sendAs("c", "job", schemas.OrchestrationStart, `{"type":7}`)
		f.until("the second is refused", func() bool {
			l, _ := f.completions("job")
			return slices.Equal(l, []string{"orchestration.completed", "command.rejected"})
		})
	})
}

// panicking are plans of which some cannot be looked at.
type panicking struct{ plans }

func (p *panicking) Plan(ctx context.Context, typ string, input json.RawMessage) (*orchestration.Plan, json.RawMessage, error) {
	if typ == "bad" {
		panic("as it would")
	}
	return p.plans.Plan(ctx, typ, input)
}

func TestAPanicOfADecisionCostsNoSlotsAndNoOtherShard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, quickPlans(t))
		p := &panicking{f.plans}
		pool := agent.NewPool(slog.New(slog.DiscardHandler))
		pool.Register("slow", agent.ProcessorFunc(func(context.Context, agent.Activity) agent.Result { return agent.Complete(nil) }), 3)
		r, err := runner.New(runner.Config{
			Kafka: f.cfg, Shards: 1, Member: "a", Local: machines.Local(pool), Machines: []runner.Binding{machines.Orchestration(p, nil, 0)},
		})
		if err != nil {
			t.Fatal(err)
		}
		f.sendAll(
			f.command("c1", "job", schemas.OrchestrationStart, `{"type":"slow"}`),
			f.command("c2", "worse", schemas.OrchestrationStart, `{"type":"bad"}`),
		)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		f.ends("job", "completed")
		if l := f.deadLetters(); len(l) != 1 || !strings.Contains(l[0], "as it would") {
			t.Errorf("dead letters for %q, want one that says what the panic was", l)
		}
		if err := r.Ready(); err != nil {
			t.Errorf("readiness says %v", err)
		}
		for range 3 {
			if _, ok := pool.Reserve("slow"); !ok {
				t.Error("a slot is lost")
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestTimersGoOnWhereTheOwnerBeforeHadAClockThatIsAhead(t *testing.T) {
	bothKinds(t, 1, quickPlans, func(f *fleet) {
		ahead, err := json.Marshal(schemas.Owned{Member: "other", Token: "other", At: time.Now().Add(48 * time.Hour)})
		if err != nil {
			f.t.Fatal(err)
		}
		r := &kgo.Record{
			Topic: f.cfg.Topics().Events(aggregate), Key: []byte(schemas.ShardKey), Value: ahead,
			Headers: kafka.CloudEvent{ID: "other", Source: "test", Type: schemas.ShardOwned}.Headers(),
		}
		if err := f.cl.ProduceSync(f.t.Context(), r).FirstErr(); err != nil {
			f.t.Fatal(err)
		}
		f.join("a", func(p *agent.Pool) { p.Register("again", again{}, 1) })
		f.start("job", "again")
		f.ends("job", "completed") // within a minute, though it waits twice for a second
	})
}

func TestWorkIsNotBegunThatWasCancelledInTheSameTransaction(t *testing.T) {
	bothKinds(t, 1, quickPlans, func(f *fleet) {
		var runs atomic.Int32
		f.sendAll(
			f.command("c1", "job", schemas.OrchestrationStart, `{"type":"slow"}`),
			f.command("c2", "job", schemas.OrchestrationCancel, `{}`),
		)
		m := f.join("a", func(p *agent.Pool) {
			p.Register("slow", agent.ProcessorFunc(func(context.Context, agent.Activity) agent.Result {
				runs.Add(1)
				return agent.Complete(nil)
			}), 1)
		})
		f.ends("job", "cancelled")
		f.passes(time.Second)
		if _, ok := m.pool.Reserve("slow"); !ok || runs.Load() > 0 {
			f.t.Errorf("the slot is free: %t; it was run %d times", ok, runs.Load())
		}
	})
}

// busy has something to do at once, always.
type busy struct {
	calls  atomic.Int32
	enough chan struct{} // closed when it has been called often
}

func (*busy) Quick(agent.Activity) bool { return true }
func (b *busy) Process(context.Context, agent.Activity) agent.Result {
	if b.calls.Add(1) == 30_000 {
		close(b.enough)
	}
	return agent.Schedule(0)
}

// Time stands still meanwhile: only a shard that looks up from its work can notice.
func TestAShardThatHasAlwaysSomethingToDoIsLetGoOf(t *testing.T) {
	bothKinds(t, 1, quickPlans, func(f *fleet) {
		b := &busy{enough: make(chan struct{})}
		m := f.join("a", func(p *agent.Pool) { p.Register("slow", b, 1) })
		f.start("job", "slow")
		<-b.enough
		m.stop()
	})
}

func TestAWorkTopicThatWasDeletedIsMadeAgain(t *testing.T) {
	bothKinds(t, 1, quickPlans, func(f *fleet) {
		m := f.join("a", nil)
		f.start("job-1", "slow")
		f.until("the work is on its topic", func() bool { return len(f.read(f.cfg.Topics().Work("slow"))) == 1 })
		if _, err := kadm.NewClient(f.cl).DeleteTopic(f.t.Context(), f.cfg.Topics().Work("slow")); err != nil {
			f.t.Fatal(err)
		}
		f.start("job-2", "slow")
		f.until("the work is on the new topic", func() bool {
			return slices.ContainsFunc(f.read(f.cfg.Topics().Work("slow")), func(r *kgo.Record) bool {
				return strings.Contains(string(r.Value), `"job-2"`)
			})
		})
		f.until("the shard is owned", func() bool { return m.Ready() == nil })
	})
}

func TestWorkThatTheProcessHoldsStaysWithItWhenItTakesTheShard(t *testing.T) {
	bothKinds(t, 1, quickPlans, func(f *fleet) {
		a := f.join("a", nil)
		f.owns(a, 1)
		b := f.join("b", noop)
		f.passes(time.Second)
		f.start("job", "chain")
		var work string
		f.until("the work is on its topic", func() bool {
			for _, r := range f.read(f.cfg.Topics().Work("noop")) {
				work = string(r.Key)
			}
			return work != ""
		})
		f.send("job", schemas.WorkHeartbeat, `{"workId":"`+work+`","attempt":1,"agent":"b"}`)
		f.until("b has claimed it", func() bool { return slices.Contains(f.history("job"), "activity.claimed") })
		a.stop()
		f.owns(b, 1)
		f.passes(3 * time.Second)
		if got := f.history("job"); slices.Contains(got, "activity.offered") {
			f.t.Errorf("it was offered again though b is at it: %v", got)
		}
	})
}

// Whoever writes to the topic cannot be told to come again later, and each job that has not ended takes memory.
func TestAStartIsRefusedWhileTooManyHaveNotEndedAndMayBeSaidAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waits := definition.Orchestration{Type: "waits", Activities: []definition.Activity{{ID: "a", Type: "remote"}}}
		f := newFleet(t, 1, onePlan(t, waits))
		m := f.joinWith("a", nil, func(c *runner.Config) { c.MaxLive = 3 })
		f.owns(m, 1)
		for i := range 5 {
			f.sendAs("c"+strconv.Itoa(i), "job-"+strconv.Itoa(i), schemas.OrchestrationStart, `{"type":"waits"}`)
		}
		f.until("two are refused", func() bool {
			refused := 0
			for i := range 5 {
				l, _ := f.completions("job-" + strconv.Itoa(i))
				refused += len(l)
			}
			return refused == 2
		})
		f.sendAs("c0", "job-0", schemas.OrchestrationStart, `{"type":"waits"}`) // it is there: nothing happens
		f.send("job-0", schemas.OrchestrationCancel, `{"reason":"r"}`)
		f.ends("job-0", "cancelled")
		f.sendAs("c4", "job-4", schemas.OrchestrationStart, `{"type":"waits"}`)
		f.until("the same start is taken once there is room", func() bool { return len(f.history("job-4")) > 0 })
		m.stop()
		n := f.joinWith("b", nil, func(c *runner.Config) { c.MaxLive = 3 })
		f.owns(n, 1)
		f.start("more", "waits")
		f.until("the next owner counts them, too", func() bool {
			l, _ := f.completions("more")
			return slices.Equal(l, []string{"command.rejected"})
		})
	})
}
