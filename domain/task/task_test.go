package task

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// bench is a Set with its clock; each decision is made twice, and the second makes nothing happen.
type bench struct {
	t   *testing.T
	set Set
	at  time.Time
	end *End
	out []machine.Effect
}

func newBench(t *testing.T, policy Policy) *bench {
	t.Helper()
	b := &bench{t: t, at: epoch}
	b.fold(Ask(Spec{WorkID: "w", Name: "fetch", Type: "fetch", Input: json.RawMessage(`{}`), Deadline: epoch.Add(time.Hour), Policy: policy}))
	return b
}

func (b *bench) fold(events ...Event) {
	for _, e := range events {
		b.out = append(b.out, b.set.Follow(Owner{Aggregate: "transfer", ID: "t"}, b.at, e)...)
		b.set = b.set.Evolve(b.at, e)
	}
}

func (b *bench) report(c orchestration.Command) {
	b.t.Helper()
	events, end, err := b.set.Decide(b.at, c)
	if err != nil {
		b.t.Fatal(err)
	}
	b.end = end
	b.fold(events...)
	if again, _, err := b.set.Decide(b.at, c); err != nil || len(again) > 0 {
		b.t.Fatalf("the same report again: %v, %v", again, err)
	}
}

func (b *bench) wait(d time.Duration) {
	b.at = b.at.Add(d)
	for {
		events, end := b.set.Wake(b.at)
		if len(events) == 0 {
			return
		}
		if end != nil {
			b.end = end
		}
		b.fold(events...)
	}
}

func (b *bench) is(phase orchestration.ActivityPhase, attempt int) {
	b.t.Helper()
	got, ok := b.set.Find("fetch")
	if !ok || got.Phase != phase || got.Attempt != attempt {
		b.t.Fatalf("got %+v, want %s in attempt %d", got, phase, attempt)
	}
}

func report(attempt int) orchestration.Report {
	return orchestration.Report{WorkID: "w", Attempt: attempt}
}

func TestATaskIsDoneOnce(t *testing.T) {
	b := newBench(t, Policy{})
	b.report(orchestration.Heartbeat{Report: report(1), Agent: "a"})
	b.is(orchestration.ActivityRunning, 1)
	b.report(orchestration.Complete{Report: report(1), Output: json.RawMessage(`1`)})
	if b.end == nil || !b.end.Completed || string(b.end.Report.Output) != "1" || len(b.set.Open()) != 0 {
		t.Fatalf("got %+v", b.end)
	}
	_, _, err := b.set.Decide(b.at, orchestration.Fail{Report: report(1)})
	var refusal *machine.Refusal
	if !errors.As(err, &refusal) || refusal.Code != machine.BadState {
		t.Fatalf("another report after the end: %v", err)
	}
	if len(b.out) != 1 {
		t.Fatalf("it asked for %v", b.out)
	}
}

func TestAPassingFaultIsTriedAgainAsOftenAsThePolicySays(t *testing.T) {
	b := newBench(t, Policy{Retries: 1, BaseDelay: definition.Duration(time.Second)})
	b.report(orchestration.Retry{Report: report(1), Error: orchestration.Fault{Message: "503"}})
	b.is(orchestration.ActivityRetrying, 1)
	b.wait(time.Second)
	b.is(orchestration.ActivityReady, 2)
	b.report(orchestration.Retry{Report: report(2), Error: orchestration.Fault{Message: "503 again"}})
	if b.end == nil || b.end.Completed || !b.end.Again || b.end.Fault.Message != "503 again" {
		t.Fatalf("got %+v", b.end)
	}
}

func TestSomebodyWhoLooksRests(t *testing.T) {
	look := func(n int) orchestration.Schedule {
		return orchestration.Schedule{Report: report(n), After: definition.Duration(time.Minute), State: json.RawMessage(`{"state":"REQUESTED"}`)}
	}
	t.Run("until it is time", func(t *testing.T) {
		b := newBench(t, Policy{})
		b.report(look(1))
		b.is(orchestration.ActivityScheduled, 1)
		b.wait(time.Minute)
		b.is(orchestration.ActivityReady, 2)
	})
	t.Run("until a callback says that there is something to see", func(t *testing.T) {
		b := newBench(t, Policy{})
		b.report(look(1))
		b.fold(b.set.Nudge("w")...)
		b.is(orchestration.ActivityReady, 2)
	})
	t.Run("not at all where the callback came while it looked", func(t *testing.T) {
		b := newBench(t, Policy{})
		b.fold(b.set.Nudge("w")...)
		if more := b.set.Nudge("w"); len(more) > 0 {
			t.Fatalf("the second made happen %v", more)
		}
		events, _, err := b.set.Decide(b.at, look(1))
		if err != nil {
			t.Fatal(err)
		}
		b.fold(events...)
		b.is(orchestration.ActivityReady, 2)
		if again, _, err := b.set.Decide(b.at, look(1)); err != nil || len(again) > 0 {
			t.Fatalf("the same report again: %v, %v", again, err)
		}
	})
}

func TestNothingWaitsForEver(t *testing.T) {
	t.Run("a dead agent costs an attempt", func(t *testing.T) {
		b := newBench(t, Policy{Retries: 3})
		b.report(orchestration.Heartbeat{Report: report(1), Agent: "a"})
		b.wait(HeartbeatTimeout)
		b.is(orchestration.ActivityRetrying, 1)
	})
	t.Run("work that nobody takes is offered again at no cost", func(t *testing.T) {
		b := newBench(t, Policy{})
		b.wait(machine.OfferWait(1) + machine.LastClaims)
		b.is(orchestration.ActivityReady, 1)
		if len(b.out) != 2 {
			t.Fatalf("it was offered as %v", b.out)
		}
	})
	t.Run("the deadline ends it and says where it was", func(t *testing.T) {
		b := newBench(t, Policy{})
		b.report(orchestration.Wait{Report: report(1)})
		b.wait(time.Hour)
		if b.end == nil || b.end.Fault.Step != "deadline" || !b.set.Deadline().IsZero() {
			t.Fatalf("got %+v", b.end)
		}
		if _, told := b.out[len(b.out)-1].(machine.CancelWork); !told {
			t.Fatal("nobody is told")
		}
	})
	t.Run("another owner offers again what the old one's agents had", func(t *testing.T) {
		b := &bench{t: t, at: epoch}
		b.fold(Placed(Ask(Spec{WorkID: "w", Name: "fetch", Type: "fetch"}), "old"))
		b.fold(b.set.TakeOver(orchestration.TakeOver{Placement: "new"})...)
		b.is(orchestration.ActivityReady, 1)
	})
}

func TestATaskThatNobodyWantsIsDropped(t *testing.T) {
	b := newBench(t, Policy{})
	b.fold(b.set.Drop("w", "suspended")...)
	if len(b.set.Open()) > 0 || b.set.Drop("w", "again") != nil {
		t.Fatal("it is still there")
	}
	if c, told := b.out[len(b.out)-1].(machine.CancelWork); !told || c.Reason != "suspended" {
		t.Fatalf("the agent was told %v", b.out)
	}
}
