package agent_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/domain/machine"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func poolOf(typ string, p agent.Processor, concurrency int) *agent.Pool {
	pool := agent.NewPool(quiet)
	pool.Register(typ, p, concurrency)
	return pool
}

func work(id string) machine.Work {
	return machine.Work{
		ID: id, Attempt: 1, Aggregate: "orchestration", AggregateID: "job-" + id, Run: 1,
		ActivityID: "a", Type: "greet", HeartbeatTimeout: 9_000,
	}
}

// wait is a processor that waits for its context, or for the channel.
func wait(release <-chan struct{}) agent.ProcessorFunc {
	return func(ctx context.Context, _ agent.Activity) agent.Result {
		select {
		case <-release:
			return agent.Complete("done")
		case <-ctx.Done():
			return agent.Retry(context.Cause(ctx))
		}
	}
}

func TestAPoolRunsAsManyAsItHasSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		pool := poolOf("greet", wait(release), 2)
		var told atomic.Int32
		run := func(typ string) bool {
			w := work("w")
			w.Type = typ
			return pool.TryRun(t.Context(), w, func(agent.Result) { told.Add(1) })
		}
		for range 2 {
			if !run("greet") {
				t.Fatal("a free slot was not used")
			}
		}
		if run("greet") {
			t.Fatal("it ran a third one on two slots")
		}
		if run("unknown") {
			t.Fatal("it ran what it has no agent for")
		}
		close(release)
		synctest.Wait()
		if told.Load() != 2 {
			t.Fatalf("%d results for 2 activities", told.Load())
		}
		if !run("greet") {
			t.Fatal("the slots were not given back")
		}
		synctest.Wait()
	})
}

func TestASlotIsFreeBeforeTheResultIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		close(release)
		pool := poolOf("greet", wait(release), 1)
		var chain func(n int) func(agent.Result)
		chain = func(n int) func(agent.Result) {
			return func(agent.Result) {
				if n > 0 && !pool.TryRun(t.Context(), work("w"), chain(n-1)) {
					t.Error("the slot was still taken")
				}
			}
		}
		pool.TryRun(t.Context(), work("w"), chain(10))
		synctest.Wait()
	})
}

func TestAProcessorThatBreaksIsAFatalResult(t *testing.T) {
	for name, c := range map[string]struct {
		p    agent.ProcessorFunc
		says string
	}{
		"by a panic":             {func(context.Context, agent.Activity) agent.Result { panic("boom") }, "panicked: boom"},
		"by a nil dereference":   {func(context.Context, agent.Activity) agent.Result { var p *int; *p = 1; return agent.Wait() }, "nil pointer"},
		"by ending its routine":  {func(context.Context, agent.Activity) agent.Result { runtime.Goexit(); return agent.Wait() }, "ended its goroutine"},
		"by returning no result": {func(context.Context, agent.Activity) agent.Result { return agent.Result{} }, "returned no result"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pool := poolOf("greet", c.p, 1)
				var results []agent.Result
				for range 2 { // the slot must come back as well
					if !pool.TryRun(t.Context(), work("w"), func(r agent.Result) { results = append(results, r) }) {
						t.Fatal("the slot is lost")
					}
					synctest.Wait()
				}
				if len(results) != 2 || results[0].Kind() != agent.Failed || !strings.Contains(results[0].Err().Error(), c.says) {
					t.Fatalf("got %+v", results)
				}
				if strings.Contains(results[0].Err().Error(), ".go:") {
					t.Fatalf("the stack is shown to everybody: %v", results[0].Err())
				}
				if err := pool.Drain(t.Context()); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

func TestAProcessorsContextEnds(t *testing.T) {
	ends := func(t *testing.T, want error, w machine.Work, cause func(context.Context) (context.Context, func())) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			pool := poolOf("greet", wait(nil), 1)
			ctx, end := cause(t.Context())
			if !w.Deadline.IsZero() {
				w.Deadline = time.Now().Add(time.Minute)
			}
			var got agent.Result
			pool.TryRun(ctx, w, func(r agent.Result) { got = r })
			end()
			<-time.After(time.Minute)
			synctest.Wait()
			if got.Kind() != agent.Retrying || !strings.Contains(got.Err().Error(), want.Error()) {
				t.Fatalf("got %v, want %v", got.Err(), want)
			}
		})
	}
	cancelled := errors.New("not wanted")
	t.Run("when nobody wants the result", func(t *testing.T) {
		ends(t, cancelled, work("w"), func(ctx context.Context) (context.Context, func()) {
			ctx, cancel := context.WithCancelCause(ctx)
			return ctx, func() { cancel(cancelled) }
		})
	})
	t.Run("at the deadline of the attempt", func(t *testing.T) {
		w := work("w")
		w.Deadline = time.Unix(1, 0)
		ends(t, context.DeadlineExceeded, w, func(ctx context.Context) (context.Context, func()) { return ctx, func() {} })
	})
}

type quick struct{ agent.ProcessorFunc }

func (quick) Quick(a agent.Activity) bool {
	if a.Input.String("panic") != "" {
		panic("who asks?")
	}
	return a.Input.Empty()
}

func TestOnlyQuickWorkIsDoneInline(t *testing.T) {
	pool := poolOf("greet", quick{func(context.Context, agent.Activity) agent.Result { return agent.Complete(1) }}, 1)
	pool.Register("slow", wait(nil), 1)
	if r, ok := pool.Inline(work("w")); !ok || string(r.Output()) != "1" {
		t.Fatalf("quick work: %v, %v", r, ok)
	}
	for name, change := range map[string]func(*machine.Work){
		"this input takes time":        func(w *machine.Work) { w.Input = []byte(`{"delay":"1s"}`) },
		"the question panics":          func(w *machine.Work) { w.Input = []byte(`{"panic":"yes"}`) },
		"the processor is never quick": func(w *machine.Work) { w.Type = "slow" },
		"there is no agent":            func(w *machine.Work) { w.Type = "unknown" },
	} {
		w := work("w")
		change(&w)
		if _, ok := pool.Inline(w); ok {
			t.Errorf("done inline although %s", name)
		}
	}
}

func TestDraining(t *testing.T) {
	t.Run("waits for what runs and takes nothing new", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			pool := poolOf("greet", wait(release), 2)
			var told atomic.Bool
			pool.TryRun(t.Context(), work("w"), func(agent.Result) { told.Store(true) })
			drained := make(chan error, 1)
			go func() { drained <- pool.Drain(t.Context()) }()
			synctest.Wait()
			if pool.TryRun(t.Context(), work("v"), func(agent.Result) {}) {
				t.Error("it took something new")
			}
			close(release)
			if err := <-drained; err != nil || !told.Load() {
				t.Fatalf("drained with %v, told: %v", err, told.Load())
			}
		})
	})
	t.Run("ends the contexts when time is up, and counts", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			pool := poolOf("greet", wait(nil), 2)
			var results []error
			var mu sync.Mutex
			for range 2 {
				pool.TryRun(t.Context(), work("w"), func(r agent.Result) {
					mu.Lock()
					defer mu.Unlock()
					results = append(results, r.Err())
				})
			}
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			err := pool.Drain(ctx)
			unfinished, ok := errors.AsType[*agent.UnfinishedError](err)
			if !ok || unfinished.Counts["greet"] != 2 {
				t.Fatalf("got %v", err)
			}
			synctest.Wait()
			if len(results) != 2 || results[0].Error() != agent.ErrStopped.Error() {
				t.Fatalf("got %v", results)
			}
		})
	})
}

// A machine hands every activity of its own process to the pool.
func BenchmarkTryRun(b *testing.B) {
	pool := poolOf("greet", agent.ProcessorFunc(func(context.Context, agent.Activity) agent.Result { return agent.Complete(nil) }), 64)
	w := work("w")
	w.Deadline = time.Now().Add(time.Hour)
	done := make(chan struct{}, 1)
	b.ReportAllocs()
	for b.Loop() {
		pool.TryRun(b.Context(), w, func(agent.Result) { done <- struct{}{} })
		<-done
	}
}

func BenchmarkInline(b *testing.B) {
	pool := poolOf("greet", quick{func(context.Context, agent.Activity) agent.Result { return agent.Complete(nil) }}, 64)
	w := work("w")
	b.ReportAllocs()
	for b.Loop() {
		pool.Inline(w)
	}
}

func TestAReservedSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		close(release)
		pool := poolOf("greet", wait(release), 1)
		if _, ok := pool.Reserve("unknown"); ok {
			t.Fatal("there is no agent for this type")
		}
		reserved, ok := pool.Reserve("greet")
		if !ok || pool.TryRun(t.Context(), work("w"), func(agent.Result) {}) {
			t.Fatal("it is not kept")
		}
		reserved.Release()
		if reserved, ok = pool.Reserve("greet"); !ok {
			t.Fatal("it was not given back")
		}
		var got agent.Result
		reserved.Run(t.Context(), work("w"), func(r agent.Result) { got = r })
		synctest.Wait()
		if got.Kind() != agent.Completed {
			t.Fatalf("got %q", got.Kind())
		}
		reserved, ok = pool.Reserve("greet")
		if err := pool.Drain(t.Context()); err != nil || !ok {
			t.Fatal("a slot on which nothing runs is waited for, or lost:", err)
		}
		reserved.Run(t.Context(), work("w"), func(r agent.Result) { got = r })
		if got.Kind() != agent.Scheduled { // no fault, so it does not count as one
			t.Fatalf("a pool that is drained answers %q", got.Kind())
		}
	})
}

func TestAPoolTakesSecretsOutOfErrors(t *testing.T) {
	var said strings.Builder
	pool := agent.NewPool(slog.New(slog.NewTextHandler(&said, nil)))
	pool.Redact(func(s string) string { return strings.ReplaceAll(s, "s3cret", "…") })
	for name, p := range map[string]agent.ProcessorFunc{
		"retry": func(context.Context, agent.Activity) agent.Result {
			return agent.Retry(errors.New("s3cret is refused"))
		},
		"fatal": func(context.Context, agent.Activity) agent.Result {
			return agent.Fatal(errors.New("s3cret is refused"))
		},
		"panic": func(context.Context, agent.Activity) agent.Result { panic("s3cret is refused") },
	} {
		pool.Register("greet", p, 1)
		results := make(chan agent.Result, 1)
		reserved, ok := pool.Reserve("greet")
		if !ok {
			t.Fatal("there is no slot")
		}
		reserved.Run(t.Context(), work("w"), func(r agent.Result) { results <- r })
		if text := (<-results).Fault().Message; !strings.HasSuffix(text, "… is refused") {
			t.Errorf("%s: got %s", name, text)
		}
	}
	if strings.Contains(said.String(), "s3cret") {
		t.Errorf("the log says %s", said.String())
	}
}
