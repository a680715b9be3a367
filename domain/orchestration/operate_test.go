package orchestration_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	. "github.com/waybill/waybill/domain/orchestration" //nolint:revive // the tests read as sentences of this package
)

func order(id string) Order { return Order{ActivityID: id, Reason: "because", By: "kim"} }

// again is an attempt that an operator wanted.
func again(id string, attempt int) Requested {
	return Requested{ActivityID: id, Attempt: attempt, WorkID: workID(id), Deadline: epoch.Add(DefaultActivityDeadline), Reason: "because", By: "kim"}
}

func skipped(id string) Skipped {
	return Skipped{ActivityID: id, Output: json.RawMessage(`7`), Reason: "because", By: "kim"}
}

func skip(id string) SkipActivity {
	return SkipActivity{Order: order(id), Output: json.RawMessage(`7`)}
}

// standings are an orchestration of a, and b after it, with a in each state that has not ended.
func standings() map[string]scenario {
	s := running(activity("a"), activity("b", "a"))
	return map[string]scenario{
		"READY":     s,
		"RUNNING":   s.When(beat("a", 1, "one")),
		"WAITING":   s.When(wait2("a")),
		"SCHEDULED": s.When(Schedule{Report: report("a", 1), After: lasting(time.Hour)}),
		"RETRYING":  s.When(Retry{Report: report("a", 1), After: lasting(time.Hour)}),
	}
}

func TestPause(t *testing.T) {
	pause, resume := Pause{Reason: "maintenance", By: "kim"}, Resume{Reason: "done", By: "kim"}
	join := running(activity("a"), activity("b"), activity("c", "a"), activity("d", "b"))
	held := join.When(pause)
	t.Run("it is an event with who and why", join.When(pause).Then(Paused{"maintenance", "kim"}))
	t.Run("who is never left open", join.When(Pause{}).Then(Paused{"", "operator"}))
	t.Run("it stands at 610", becomes(held, PhasePaused))
	t.Run("a second one changes nothing", held.When(Pause{Reason: "really"}).Then())
	t.Run("what is under way reports, and nothing new is asked for", held.When(done("a")).Then(completed("a")))
	t.Run("a heartbeat claims", held.When(beat("a", 1, "one")).Then(Claimed{"a", 1, "one", epoch.Add(10 * time.Second)}))
	t.Run("what is spawned is not asked for", held.When(done("a", activity("x"))).Then(grown("a", list(activity("x")), nil)))
	t.Run("it goes on with what has become ready", held.When(done("a")).When(done("b")).When(resume).
		Then(Resumed{PhaseInProgress, "done", "kim"}, requested("c"), requested("d")))
	t.Run("with what was spawned too", held.When(done("a", activity("x"))).When(resume).Then(Resumed{PhaseInProgress, "done", "kim"}, requested("x")))
	t.Run("what runs has nothing to resume", join.When(resume).Then())
	t.Run("a job that nobody started can be neither paused", given().When(pause).Refuses(machine.NotFound, "o-1"))
	t.Run("nor resumed", given().When(resume).Refuses(machine.NotFound, "o-1"))
	over := running(activity("a")).When(done("a"))
	t.Run("what has ended can be neither paused", over.When(pause).Refuses(machine.BadState, "COMPLETED"))
	t.Run("nor resumed", over.When(resume).Refuses(machine.BadState, "COMPLETED"))
	t.Run("a paused one can be cancelled", held.When(Cancel{Reason: "no", By: "kim"}).Then(Ended{State: PhaseCancelled, Reason: "no", By: "kim"}))
	t.Run("it ends well if nothing is left to do", running(activity("a")).When(pause).When(done("a")).Then(completed("a"), ended(PhaseCompleted)))
	t.Run("it ends badly if something fails", running(activity("a")).When(pause).When(broken("a")).Then(failedBy(failure("a"))...))
	t.Run("its deadline goes on", dueAt(running(activity("a")).When(wait2("a")).When(pause), epoch.Add(DefaultActivityDeadline)))
	waiting := running(activity("a")).When(Wait{Report: report("a", 1), After: lasting(time.Minute)})
	t.Run("waits go on", dueAt(waiting.When(pause), epoch.Add(time.Minute)))
	for name, s := range map[string]scenario{
		"a retry":    running(sternly("a", 3)).When(Retry{Report: report("a", 1)}),
		"a schedule": running(activity("a")).When(Schedule{Report: report("a", 1), After: lasting(time.Second)}),
	} {
		t.Run(name+" is held", dueAt(s.When(pause), epoch.Add(DefaultActivityDeadline)))
		late := s.When(pause).After(time.Minute).When(Wake{}).When(resume)
		t.Run(name+" comes as soon as it is resumed", late.When(Wake{}).
			Then(Requested{ActivityID: "a", Attempt: 2, WorkID: workID("a"), Deadline: epoch.Add(DefaultActivityDeadline)}))
		t.Run(name+" keeps its time if that is still to come", dueAt(s.When(pause).When(resume), s.State(t).Deadline()))
	}
}

func TestPauseBeforeAggregation(t *testing.T) {
	sum := definition.Activity{ID: "sum", Type: AggregateType, DependsOn: []string{"a"}}
	s := running(activity("a"), sum)
	late := s.When(Pause{}).When(done("a"))
	t.Run("that all retrieval is done is said after the pause", late.When(Resume{}).
		Then(Resumed{PhaseInProgress, "", "operator"}, TransfersFinished{}, requested("sum")))
	t.Run("and during it the job is paused", becomes(late, PhasePaused))
	t.Run("a pause of the aggregation returns to it", becomes(s.When(done("a")).When(Pause{}).When(Resume{}), PhaseTransfersFinished))
}

func TestPauseOfAnActivity(t *testing.T) {
	pause, resume := PauseActivity{order("a")}, ResumeActivity{order("a")}
	for where, s := range standings() {
		t.Run("what is "+where+" is paused", s.When(pause).Then(ActivityPaused{"a", "because", "kim"}))
		t.Run("what is "+where+" is paused once", s.When(pause).When(PauseActivity{Order{ActivityID: "a"}}).Then())
		t.Run("what is "+where+" is resumed", s.When(pause).When(resume).Then(ActivityResumed{"a", "because", "kim"}))
		t.Run("what is "+where+" is resumed once", s.When(pause).When(resume).When(resume).Then())
	}
	s := running(activity("a"), activity("b", "a"), activity("other"))
	t.Run("what is under way reports", s.When(pause).When(done("a")).Then(completed("a"), requested("b")))
	t.Run("a retry is held", dueAt(s.When(done("other")).When(Retry{Report: report("a", 1)}).When(pause), epoch.Add(DefaultActivityDeadline)))
	t.Run("one that comes later too", dueAt(s.When(done("other")).When(pause).When(Retry{Report: report("a", 1)}), epoch.Add(DefaultActivityDeadline)))
	pending := s.When(PauseActivity{order("b")})
	t.Run("what is PENDING is not asked for", pending.When(done("a")).Then(completed("a")))
	t.Run("until it is resumed", pending.When(done("a")).When(ResumeActivity{order("b")}).Then(ActivityResumed{"b", "because", "kim"}, requested("b")))
	t.Run("or, where all is paused, until that is", pending.When(Pause{}).When(done("a")).When(ResumeActivity{order("b")}).
		Then(ActivityResumed{"b", "because", "kim"}))
	t.Run("a resume of all leaves it held", pending.When(Pause{}).When(done("a")).When(Resume{}).Then(Resumed{PhaseInProgress, "", "operator"}))
	t.Run("what has ended cannot be paused", s.When(done("a")).When(pause).Refuses(machine.BadState, "a is COMPLETED"))
	t.Run("what is not there cannot be paused", s.When(PauseActivity{order("x")}).Refuses(machine.NotFound, `no activity "x"`))
	t.Run("nor after the end", running(activity("a")).When(done("a")).When(pause).Refuses(machine.BadState, "o-1 is COMPLETED"))
	t.Run("nor before the start", given().When(pause).Refuses(machine.NotFound, "o-1"))
}

func TestRetryNow(t *testing.T) {
	retry := RetryActivity{order("a")}
	at := standings()
	for _, where := range []string{"SCHEDULED", "RETRYING"} {
		t.Run("what is "+where+" is tried at once", at[where].When(retry).Then(again("a", 2)))
	}
	for _, where := range []string{"READY", "RUNNING"} {
		t.Run("what is "+where+" has an attempt out already", at[where].When(retry).Then())
	}
	t.Run("a wait is given up for it", at["WAITING"].When(retry).Then(again("a", 2)))
	t.Run("and its agents are told", at["WAITING"].When(retry).Follows(
		machine.CancelWork{ID: workID("a"), Attempt: 1, Type: "noop", Reason: "another attempt is wanted now"},
		machine.Work{
			ID: workID("a"), Attempt: 2, Offer: 1, Aggregate: "orchestration", AggregateID: "o-1", Run: 1, Resource: "o-1", ActivityID: "a", Type: "noop",
			RequestedAt: epoch, Deadline: epoch.Add(DefaultActivityDeadline), OfferedUntil: epoch.Add(30 * time.Second), HeartbeatTimeout: 10_000,
		}))
	t.Run("who was waited for is late", at["WAITING"].When(retry).When(done("a")).Refuses(machine.BadState, "attempt 1 is not under way"))
	t.Run("it does not count as a failure", becomes(running(sternly("a", 1)).When(Retry{Report: report("a", 1)}).When(retry).
		When(Schedule{Report: report("a", 2)}), PhaseInProgress))
	t.Run("what is PENDING is not tried", at["READY"].When(RetryActivity{order("b")}).Refuses(machine.BadState, "b is PENDING"))
	t.Run("what is done is not tried again", at["READY"].When(done("a")).When(retry).Refuses(machine.BadState, "a is COMPLETED", "run again"))
	tombstone := running(tolerant(activity("a")), activity("b", "a")).When(broken("a"))
	t.Run("nor is a tombstone, which others have gone past", tombstone.When(retry).Refuses(machine.BadState, "a is FAILED", "gone on"))
	t.Run("nor what is paused", at["RETRYING"].When(PauseActivity{order("a")}).When(retry).Refuses(machine.BadState, "resume it first"))
	t.Run("nor anything of what is paused", at["RETRYING"].When(Pause{}).When(retry).Refuses(machine.BadState, "o-1 is PAUSED"))
}

func TestSkip(t *testing.T) {
	for where, s := range standings() {
		t.Run("what depends on what was "+where+" goes on", s.When(skip("a")).Then(skipped("a"), requested("b")))
		t.Run("the repeat of a skip of what was "+where, s.When(skip("a")).When(skip("a")).Then())
		t.Run("another output is refused where it was "+where, s.When(skip("a")).When(SkipActivity{Order: order("a")}).Refuses(machine.BadState, "a is SKIPPED"))
	}
	chain := running(activity("a"), activity("b", "a"), with(activity("c", "b"), func(a *definition.Activity) {
		a.With = json.RawMessage(`{"n":"{{b}}"}`)
	}))
	early := chain.When(skip("b"))
	t.Run("what is PENDING is skipped, and what depends on it is asked for", chain.When(skip("b")).Then(skipped("b"), requested("c")))
	t.Run("with its output", func(t *testing.T) {
		effects := early.State(t).Follow(epoch, requested("c"))
		w, _ := effects[len(effects)-1].(machine.Work)
		if string(w.Input) != `{"n":7}` {
			t.Errorf("the input is %s", w.Input)
		}
	})
	t.Run("it is not asked for later", early.When(done("a")).Then(completed("a")))
	t.Run("an agent that is at it is told", standings()["RUNNING"].When(skip("a")).Follows(
		machine.CancelWork{ID: workID("a"), Attempt: 1, Type: "noop", Reason: "kim skipped the activity"},
		machine.Work{
			ID: workID("b"), Attempt: 1, Offer: 1, Aggregate: "orchestration", AggregateID: "o-1", Run: 1, Resource: "o-1", ActivityID: "b", Type: "noop",
			RequestedAt: epoch, Deadline: epoch.Add(DefaultActivityDeadline), OfferedUntil: epoch.Add(30 * time.Second), HeartbeatTimeout: 10_000,
		}))
	t.Run("its report is late", standings()["RUNNING"].When(skip("a")).When(done("a")).Refuses(machine.BadState, "SKIPPED does not lead to COMPLETED"))
	t.Run("the last ends it", running(activity("a")).When(skip("a")).Then(skipped("a"), ended(PhaseCompleted)))
	t.Run("the last of all, twice", running(activity("a"), activity("b")).When(done("b")).When(skip("a")).When(skip("a")).Then())
	t.Run("another one comes after the end", running(activity("a"), activity("b")).When(skip("b")).When(skip("a")).When(skip("b")).Refuses(machine.BadState, "o-1 is COMPLETED"))
	t.Run("what is done cannot be skipped", chain.When(done("a")).When(skip("a")).Refuses(machine.BadState, "a is COMPLETED"))
	t.Run("an output has its limit", chain.When(SkipActivity{order("a"), json.RawMessage(`"` + strings.Repeat("x", 256<<10) + `"`)}).
		Refuses(machine.Limit, "outputBytes"))
	sum := definition.Activity{ID: "sum", Type: AggregateType, DependsOn: []string{"a"}}
	t.Run("the last of the retrieval begins the aggregation", running(activity("a"), sum).When(skip("a")).
		Then(skipped("a"), TransfersFinished{}, requested("sum")))
}

func TestCompleteByOperator(t *testing.T) {
	complete := CompleteActivity{order("a"), json.RawMessage(`7`)}
	for where, s := range standings() {
		ended := Completed{ActivityID: "a", Attempt: 1, Output: json.RawMessage(`7`), Reason: "because", By: "kim"}
		t.Run("what is "+where+" is completed", s.When(complete).Then(ended, requested("b")))
		t.Run("what was "+where+" stays completed", s.When(complete).When(complete).Then())
		t.Run("the agent of what was "+where+" is late", s.When(complete).When(done("a")).Refuses(machine.BadState, "COMPLETED"))
		t.Run("another output is refused where it was "+where, s.When(complete).When(CompleteActivity{Order: order("a")}).Refuses(machine.BadState, "a is COMPLETED"))
	}
	t.Run("an agent that is at it is told", running(activity("a"), activity("b")).When(complete).Follows(
		machine.CancelWork{ID: workID("a"), Attempt: 1, Type: "noop", Reason: "kim completed the activity"}))
	t.Run("what the agent completed is not completed again", standings()["READY"].When(done("a")).When(complete).Refuses(machine.BadState, "a is COMPLETED"))
	t.Run("what is PENDING is not", standings()["READY"].When(CompleteActivity{Order: order("b")}).Refuses(machine.BadState, "skip it"))
	t.Run("the one that ended it, twice", running(activity("a")).When(complete).When(complete).Then())
	t.Run("the agent ended it", running(activity("a")).When(done("a")).When(complete).Refuses(machine.BadState, "o-1 is COMPLETED"))
	t.Run("an output has its limit", standings()["READY"].When(CompleteActivity{order("a"), json.RawMessage(`"` + strings.Repeat("x", 256<<10) + `"`)}).
		Refuses(machine.Limit, "outputBytes"))
}

func TestFailByOperator(t *testing.T) {
	fail := FailActivity{order("a"), Fault{Message: "it will not work"}}
	why := Failure{ActivityID: "a", Name: "a", Step: "operator", Message: "it will not work", Attempts: 1, At: epoch}
	for where, s := range standings() {
		if where == "RETRYING" {
			why.Attempts = 2 // one before it
		} else {
			why.Attempts = 1
		}
		t.Run("what is "+where+" fails", s.When(fail).Then(
			Failed{ActivityID: "a", Attempt: 1, Error: why, Reason: "because", By: "kim"}, Ended{State: PhaseError, Error: ptr(why), Failures: []Failure{why}}))
		t.Run("what was "+where+" stays failed", s.When(fail).When(fail).Then())
	}
	why.Attempts = 1
	two := running(tolerant(activity("a")), activity("b"))
	t.Run("a failure that is taken leaves a tombstone", two.When(fail).
		Then(Failed{ActivityID: "a", Attempt: 1, Error: why, Continued: true, Reason: "because", By: "kim"}))
	t.Run("and the agent is told", two.When(fail).Follows(machine.CancelWork{ID: workID("a"), Attempt: 1, Type: "noop", Reason: "kim failed the activity"}))
	t.Run("the reason is the error where there is no other", func(t *testing.T) {
		events, err := two.State(t).Decide(epoch, FailActivity{Order: order("a")})
		if e, _ := events[0].(Failed); err != nil || e.Error.Message != "because" {
			t.Errorf("%+v, %v", events, err)
		}
	})
	t.Run("what the agent failed is not failed again", two.When(broken("a")).When(fail).Refuses(machine.BadState, "a is FAILED"))
	t.Run("what is PENDING is not failed", standings()["READY"].When(FailActivity{Order: order("b")}).Refuses(machine.BadState, "skip it"))
}

// TestOperatorsOnALostOrchestration: something has failed, and others may still report.
func TestOperatorsOnALostOrchestration(t *testing.T) {
	s := running(activity("a"), activity("b"), activity("c"), activity("d")).When(Retry{Report: report("c", 1)}).When(broken("a"))
	t.Run("nothing is tried again", s.When(RetryActivity{order("c")}).Refuses(machine.BadState, "about to end", "a has failed"))
	t.Run("it cannot be paused any more", s.When(Pause{}).Refuses(machine.BadState, "about to end"))
	t.Run("it can be cancelled", becomes(s.When(Cancel{}), PhaseCancelled))
	t.Run("what is skipped is not waited for", becomes(s.When(skip("b")).When(skip("d")), PhaseError))
}
