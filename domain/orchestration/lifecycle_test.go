package orchestration_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	. "github.com/waybill/waybill/domain/orchestration" //nolint:revive // the tests read as sentences of this package
)

// compensating is an orchestration of these activities that undoes what had completed.
func compensating(activities ...definition.Activity) scenario {
	return given().When(start(compile(definition.Orchestration{Type: "job", Compensate: true, Activities: activities})))
}

func undoOf(id string, after ...string) definition.Activity {
	return definition.Activity{ID: id + "~dispose", Name: id, Type: "noop", Discriminator: "dispose", DependsOn: after}
}

func undoing(state Phase, undo ...definition.Activity) Compensating {
	return Compensating{State: state, Undo: undo, Deadline: epoch.Add(DefaultDeadline)}
}

func TestCompensation(t *testing.T) {
	chain := compensating(activity("a"), activity("b", "a"), activity("c", "b")).When(done("a")).When(done("b"))
	failed := undoing(PhaseCompensating, undoOf("b"), undoOf("a", "b~dispose"))
	failed.Error = ptr(failure("c"))
	t.Run("a failure undoes what had completed, the last first", chain.When(broken("c")).
		Then(Failed{ActivityID: "c", Attempt: 1, Error: failure("c")}, failed, requested("b~dispose")))
	cancelled := undoing(PhaseCancelling, undoOf("b"), undoOf("a", "b~dispose"))
	cancelled.Reason, cancelled.By = "not wanted", "kim"
	cancel := Cancel{Reason: "not wanted", By: "kim"}
	t.Run("a cancel does, too", chain.When(cancel).Then(cancelled, requested("b~dispose")))
	back := chain.When(cancel)
	t.Run("a second cancel changes nothing", back.When(cancel).Then())
	t.Run("it cannot be paused", back.When(Pause{}).Refuses(machine.BadState, "CANCELLING does not lead to PAUSED"))
	t.Run("what undoes spawns nothing", back.When(done("b~dispose", activity("x"))).Then(
		Failed{ActivityID: "b~dispose", Attempt: 1, Continued: true, Error: Failure{ActivityID: "b~dispose", Name: "b", Step: "spawn", Message: "what undoes an activity spawns nothing", Attempts: 1, At: epoch}},
		requested("a~dispose")))
	end := Ended{State: PhaseCancelled, Reason: "not wanted", By: "kim", Compensation: &Compensation{State: CompensationCompleted, Total: 2, Completed: 2}}
	t.Run("it ends as it would have", back.When(done("b~dispose")).When(done("a~dispose")).Then(completed("a~dispose"), end))
	t.Run("what had been cancelled reports too late", back.When(done("c")).Refuses(machine.BadState, "CANCELLED"))
	none := Ended{State: PhaseCancelled, Compensation: &Compensation{State: CompensationCompleted}}
	t.Run("where nothing had completed it ends at once", compensating(activity("a")).When(Cancel{}).Then(none))
	t.Run("a good end undoes nothing", compensating(activity("a")).When(done("a")).Then(completed("a"), ended(PhaseCompleted)))
	paused := chain.When(Pause{}).When(cancel)
	t.Run("a pause does not hold it", paused.Then(cancelled, requested("b~dispose")))
	late := back.After(DefaultDeadline).When(Wake{})
	t.Run("what is not undone in time has failed", becomes(late.When(Wake{}).When(Wake{}), PhaseCancelled))
	t.Run("before it begins, nothing runs again", back.When(Rerun{}).Refuses(machine.BadState, "CANCELLING in run 1"))
}

func TestWhatPassesItsDeadlineIsUndone(t *testing.T) {
	begin := start(compile(definition.Orchestration{Type: "job", Compensate: true, Activities: list(activity("a"), activity("b"))}))
	begin.Deadline = lasting(time.Minute)
	t.Run("it is compensating", becomes(given().When(begin).When(done("a")).After(time.Minute).When(Wake{}), PhaseCompensating))
	s := given().When(begin).When(done("a")).After(time.Minute).When(Wake{}).State(t)
	if got := s.Deadline(); got.IsZero() || got.Before(epoch.Add(time.Minute)) {
		t.Errorf("something is due at %s, before it began", got)
	}
}

// play lets a state go through commands, and returns what happened.
func play(t *testing.T, s State, at time.Time, commands ...Command) (State, []Event) {
	t.Helper()
	var all []Event
	for _, c := range commands {
		events, err := s.Decide(at, c)
		if err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		for _, e := range events {
			s = s.Evolve(at, e)
		}
		all = append(all, events...)
	}
	return s, all
}

// TestALargeTreeIsUndoneInPieces: no event is too large for a record, and the work is in
// proportion to the tree.
func TestALargeTreeIsUndoneInPieces(t *testing.T) {
	const children = 20_000
	var spawn []definition.Activity
	for k := range children {
		spawn = append(spawn, definition.Activity{ID: fmt.Sprintf("child-%05d", k), Name: fmt.Sprintf("a child with a rather long name, number %d", k), Type: "noop"})
	}
	def := definition.Orchestration{Type: "job", Compensate: true, Activities: list(activity("a"), activity("b", "a"))}
	s, _ := play(t, New("o-1"), epoch, start(compile(def)), done("a", spawn...))
	for k := range spawn {
		s, _ = play(t, s, epoch, done(spawn[k].ID))
	}
	s, events := play(t, s, epoch, broken("b"))
	pieces, undo := 0, 0
	for _, e := range events {
		c, ok := e.(Compensating)
		if !ok {
			continue
		}
		b, err := json.Marshal(c)
		if err != nil || len(b) > 1<<20 {
			t.Errorf("a piece has %d bytes: %v", len(b), err)
		}
		pieces++
		undo += len(c.Undo)
	}
	if pieces < 2 || undo != children+1 {
		t.Errorf("%d pieces undo %d activities", pieces, undo)
	}
	for k := range spawn {
		s, _ = play(t, s, epoch, done(spawn[k].ID+"~dispose"))
	}
	if s, _ = play(t, s, epoch, done("a~dispose")); s.Phase() != PhaseError {
		t.Errorf("it is %s", s.Phase())
	}
}

// TestTooManyEdgesBecomeAChain: a thousand that each come after a thousand are undone one after
// the other.
func TestTooManyEdgesBecomeAChain(t *testing.T) {
	var activities []definition.Activity
	var first definition.Names
	const width = 600
	for k := range width {
		id := fmt.Sprintf("first-%d", k)
		first = append(first, id)
		activities = append(activities, activity(id))
	}
	for k := range width {
		activities = append(activities, activity(fmt.Sprintf("second-%d", k), first...))
	}
	def := definition.Orchestration{Type: "job", Compensate: true, Activities: activities}
	s, _ := play(t, New("o-1"), epoch, start(compile(def)))
	for _, id := range first {
		s, _ = play(t, s, epoch, done(id))
	}
	for k := range width - 1 {
		s, _ = play(t, s, epoch, done(fmt.Sprintf("second-%d", k)))
	}
	_, events := play(t, s, epoch, Cancel{})
	asked := 0
	for _, e := range events {
		switch e := e.(type) { //nolint:gochecksumtype // only these are looked at
		case Requested:
			asked++
		case Compensating:
			for _, a := range e.Undo {
				if len(a.DependsOn) > 1 {
					t.Fatalf("%s waits for %d", a.ID, len(a.DependsOn))
				}
			}
		}
	}
	if asked != 1 {
		t.Errorf("%d are undone at once", asked)
	}
}

func TestRerun(t *testing.T) {
	one := running(activity("a"))
	t.Run("nothing runs again before it is started", given().When(Rerun{}).Refuses(machine.NotFound, `"o-1"`))
	t.Run("nothing is disposed of before it is started", given().When(Dispose{}).Refuses(machine.NotFound, `"o-1"`))
	t.Run("what runs is not run again", one.When(Rerun{}).Refuses(machine.BadState, "IN_PROGRESS in run 1"))
	t.Run("what runs is not disposed of", one.When(Dispose{}).Refuses(machine.BadState, "IN_PROGRESS"))
	at := epoch.Add(time.Hour)
	s, _ := play(t, New("o-1").Remember(), epoch, start(plan(activity("a"), activity("b", "a"))), done("a"), broken("b"), Wake{})
	s, events := play(t, s, at, Rerun{Reason: "mended", By: "kim"})
	if e, ok := events[0].(RerunStarted); !ok || e.Run != 2 || len(e.Reset) != 1 || e.Reset[0] != "b" || !e.Deadline.Equal(at.Add(DefaultDeadline)) {
		t.Errorf("%+v", events)
	}
	r, ok := events[1].(Requested)
	if !ok || r.Attempt != 1 || r.WorkID == workID("b") {
		t.Errorf("%+v", events[1])
	}
	if _, err := s.Decide(at, done("b")); err == nil {
		t.Error("a report of the first run is taken in the second")
	}
	if events, err := s.Decide(at, done("a")); len(events) > 0 || err != nil {
		t.Errorf("the repeat of a report that is kept: %v, %v", events, err)
	}
}

// TestARerunThatWouldWaitInACircle: what was skipped ahead of its turn ended before what it comes
// after, so that what that spawned could depend on it.
func TestARerunThatWouldWaitInACircle(t *testing.T) {
	s, _ := play(t, New("o-1").Remember(), epoch, start(plan(activity("a"), activity("b", "a"))),
		SkipActivity{Order: Order{ActivityID: "b"}}, done("a", activity("c", "b")), broken("c"))
	var refusal *machine.Refusal
	for _, c := range []Rerun{{}, {From: definition.Names{"b"}}} {
		if events, err := s.Decide(epoch, c); !errors.As(err, &refusal) || refusal.Code != machine.BadState {
			t.Errorf("%+v: %v, %v", c, events, err)
		}
	}
	if _, events := play(t, s, epoch, Rerun{From: definition.Names{"a"}}); len(events) != 2 {
		t.Errorf("from what spawned it: %v", events)
	}
}

func TestDispose(t *testing.T) {
	def := definition.Orchestration{Type: "job", DisposedBy: "gone", Activities: list(activity("a"))}
	s, _ := play(t, New("o-1").Remember(), epoch, start(compile(def)), done("a"))
	refusal := machine.Refuse(machine.UnknownType, "there is no gone")
	_, err := s.Decide(epoch, Dispose{Check: func(typ string, input json.RawMessage) error {
		if typ != "gone" || string(input) != `{"cell":"blue"}` {
			t.Errorf("asked whether %s starts with %s", typ, input)
		}
		return refusal
	}})
	if !errors.Is(err, refusal) {
		t.Errorf("%v", err)
	}
	none, _ := play(t, New("o-1").Remember(), epoch, start(plan(activity("a"))), Cancel{})
	if _, err := none.Decide(epoch, Dispose{}); err == nil {
		t.Error("nothing is disposed of")
	}
	big := fmt.Sprintf(`{"x":"%0200000d"}`, 0)
	var l []definition.Activity
	var commands []Command
	for k := range 6 {
		id := fmt.Sprintf("a%d", k)
		l = append(l, activity(id))
		commands = append(commands, Complete{Report: report(id, 1), Output: json.RawMessage(big)})
	}
	large, _ := play(t, New("o-1").Remember(), epoch, append([]Command{start(plan(l...))}, commands...)...)
	_, err = large.Decide(epoch, Dispose{})
	var limit *machine.Refusal
	if !errors.As(err, &limit) || limit.Code != machine.Limit {
		t.Errorf("%v", err)
	}
}

// An orchestration that was cancelled while its activities waited for an agent, and is read back, still has them.
func TestWhatRemembersTakesNothingAfterItsEnd(t *testing.T) {
	s, _ := play(t, New("o-1").Remember(), epoch, start(plan(activity("a"), activity("b"))), Heartbeat{Report: report("a", 1), Agent: "one"}, Cancel{})
	for _, c := range []Command{
		Heartbeat{Report: report("b", 1), Agent: "one"},
		Release{Report: report("a", 1), Agent: "one"},
		Wake{},
		TakeOver{Placement: "here", Agent: "one", Since: epoch.Add(time.Minute)},
	} {
		if events, err := s.Decide(epoch.Add(time.Second), c); len(events) > 0 || err != nil {
			t.Errorf("%#v: %v, %v", c, events, err)
		}
	}
}
