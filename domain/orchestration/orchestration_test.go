package orchestration_test

import (
	"testing"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	. "github.com/waybill/waybill/domain/orchestration" //nolint:revive // the tests read as sentences of this package
)

func TestStart(t *testing.T) {
	one := plan(activity("a"))
	t.Run("it asks for what depends on nothing", given().When(start(one)).Then(started(one), requested("a")))
	other := start(one)
	other.Fingerprint = "other body"
	t.Run("another body under the same id is a conflict", given().When(start(one)).When(other).Refuses(machine.Conflict, "o-1", "another body"))
	t.Run("it is the same start after the end", given().When(start(one)).When(done("a")).When(start(one)).Then())
	t.Run("it is the same start whatever has become of the definition", given().When(start(one)).When(Start{Type: "job", Fingerprint: "body"}).Then())
	t.Run("a type that nobody has put is refused", given().When(Start{Type: "job"}).Refuses(machine.UnknownType, `"job"`))
	no := false
	resting := compile(definition.Orchestration{Type: "job", Active: &no, Activities: list(activity("a"))})
	t.Run("a type that is not active is refused", given().When(start(resting)).Refuses(machine.Inactive, `"job"`))
	small := compile(definition.Orchestration{Type: "job", Limits: definition.Limits{Nodes: 1}, Activities: list(activity("a"), activity("b"))})
	t.Run("more activities than nodes are allowed are refused", given().When(start(small)).Refuses(machine.Limit, "2 activities", "limit of 1 nodes"))
	empty := plan()
	t.Run("one without activities ends at once", given().When(start(empty)).Then(started(empty), ended(PhaseCompleted)))
	hasty := start(one)
	hasty.Deadline = lasting(time.Minute)
	begun := started(one)
	begun.Deadline = epoch.Add(time.Minute)
	t.Run("it takes the deadline of the start", given().When(hasty).Then(begun, requested("a")))
}

func TestBeforeItIsStarted(t *testing.T) {
	t.Run("nothing can be cancelled", given().When(Cancel{}).Refuses(machine.NotFound, `"o-1"`))
	t.Run("nothing can be reported", given().When(done("a")).Refuses(machine.NotFound, `"o-1"`))
	t.Run("a heartbeat is not answered", given().When(Heartbeat{Report: report("a", 1)}).Then())
	t.Run("nothing is due", given().When(Wake{}).Then())
	t.Run("there is nothing to take over", given().When(TakeOver{Agent: "one"}).Then())
}

func TestOrder(t *testing.T) {
	t.Run("one after the other", running(activity("a"), activity("b", "a")).When(done("a")).
		Then(completed("a"), requested("b")))
	t.Run("side by side", given().When(start(plan(activity("a"), activity("b")))).
		Then(started(plan(activity("a"), activity("b"))), requested("a"), requested("b")))
	join := running(activity("a"), activity("b"), activity("c", "a", "b"))
	t.Run("a join waits for all", join.When(done("a")).Then(completed("a")))
	t.Run("a join goes on after the last", join.When(done("a")).When(done("b")).Then(completed("b"), requested("c")))
	t.Run("a join does so in any order", join.When(done("b")).When(done("a")).Then(completed("a"), requested("c")))
	tiers := running(activity("slow"), activity("fast"), activity("next", "fast"))
	t.Run("nobody waits for a slower stranger", tiers.When(done("fast")).Then(completed("fast"), requested("next")))
	twice := running(activity("a"), activity("b", "a", "a"))
	t.Run("a dependency named twice is one", twice.When(done("a")).Then(completed("a"), requested("b")))
	t.Run("it ends with the last", running(activity("a"), activity("b")).When(done("b")).When(done("a")).
		Then(completed("a"), ended(PhaseCompleted)))
}

func TestResults(t *testing.T) {
	one := running(activity("a"))
	claimed := one.When(Heartbeat{Report: report("a", 1), Agent: "one"})
	for where, s := range map[string]scenario{"unclaimed": one, "claimed": claimed} {
		t.Run(where+" work completes", s.When(done("a")).Then(completed("a"), ended(PhaseCompleted)))
		t.Run(where+" work waits", s.When(Wait{Report: report("a", 1), State: []byte(`7`)}).
			Then(Waited{"a", 1, epoch.Add(DefaultActivityDeadline), []byte(`7`)}))
		t.Run(where+" work is scheduled", s.When(Schedule{Report: report("a", 1), After: lasting(time.Minute)}).
			Then(Scheduled{"a", 1, epoch.Add(time.Minute), nil}))
		t.Run(where+" work is tried again", s.When(Retry{Report: report("a", 1), Error: Fault{Step: "fetch", Message: "no such file"}, After: lasting(time.Hour)}).
			Then(Retrying{"a", 1, failure("a"), epoch.Add(time.Hour), nil}))
		t.Run(where+" work fails", s.When(broken("a")).Then(failedBy(failure("a"))...))
	}
	waiting := one.When(Wait{Report: report("a", 1)})
	t.Run("what waits completes", waiting.When(done("a")).Then(completed("a"), ended(PhaseCompleted)))
	t.Run("what waits fails", waiting.When(broken("a")).Then(failedBy(failure("a"))...))
	t.Run("what waits is tried again", waiting.When(Retry{Report: report("a", 1), Error: Fault{Step: "fetch", Message: "no such file"}, After: lasting(time.Hour)}).
		Then(Retrying{"a", 1, failure("a"), epoch.Add(time.Hour), nil}))
	t.Run("what waits is not polled", waiting.When(Schedule{Report: report("a", 1)}).Refuses(machine.BadState, "a, attempt 1", "WAITING does not lead to SCHEDULED"))
	paused := map[string]scenario{
		"SCHEDULED": one.When(Schedule{Report: report("a", 1), After: lasting(time.Minute)}),
		"RETRYING":  one.When(Retry{Report: report("a", 1)}),
	}
	for phase, s := range paused {
		for _, c := range []Command{done("a"), Wait{Report: report("a", 1)}, broken("a")} {
			t.Run("what is "+phase+" has nothing out that could be reported", s.When(c).Refuses(machine.BadState, phase))
		}
	}
}

func TestReportsOutOfPlace(t *testing.T) {
	two := running(activity("a"), activity("b"))
	t.Run("nobody asked for that work", two.When(done("c")).Refuses(machine.NotFound, workID("c")))
	t.Run("work has an id", two.When(Complete{}).Refuses(machine.NotFound))
	t.Run("that attempt is still to come", two.When(Complete{Report: report("a", 2)}).Refuses(machine.BadState, "attempt 2 is not under way"))
	again := two.When(Schedule{Report: report("a", 1), After: lasting(time.Minute)}).After(time.Minute).When(Wake{})
	t.Run("that attempt is past", again.When(done("a")).Refuses(machine.BadState, "READY in attempt 2; attempt 1 is not under way"))
	t.Run("a heartbeat of a past attempt is not answered", again.When(Heartbeat{Report: report("a", 1)}).Then())
	t.Run("a completed activity cannot fail", two.When(done("a")).When(broken("a")).Refuses(machine.BadState, "COMPLETED does not lead to FAILED"))
	end := two.When(broken("a")).After(time.Second).When(Wake{})
	t.Run("nothing is reported after the end", end.When(done("b")).Refuses(machine.BadState, "o-1 is ERROR since 2026-01-02T03:04:06Z"))
	t.Run("a heartbeat after the end is not answered", end.When(Heartbeat{Report: report("b", 1)}).Then())
}

func TestRepeats(t *testing.T) {
	two := running(activity("a"), activity("b"))
	wait := Wait{Report: report("a", 1)}
	t.Run("a wait that comes again after the callback", two.When(wait).When(done("a")).When(wait).Then())
	t.Run("a complete that comes again after others", two.When(done("a")).When(wait2("b")).When(done("a")).Then())
	t.Run("the complete that ended it", two.When(done("a")).When(done("b")).When(done("b")).Then())
	t.Run("the failure that ended it", two.When(broken("a")).When(broken("a")).Then())
	t.Run("an earlier one is late after the end", two.When(done("a")).When(done("b")).When(done("a")).Refuses(machine.BadState))
	never := with(activity("a"), func(a *definition.Activity) { a.Retry = &definition.Retry{Limit: number(0)} })
	retry := Retry{Report: report("a", 1), Error: Fault{Step: "fetch", Message: "no such file"}}
	t.Run("the fault that was one too many", running(never).When(retry).Then(failedBy(failure("a"))...))
	t.Run("the fault that was one too many, of many", running(tolerant(never), activity("b")).When(retry).When(retry).Then())
}

func wait2(id string) Wait { return Wait{Report: report(id, 1)} }

func TestCancel(t *testing.T) {
	two := running(activity("a"), activity("b"), activity("c", "a"))
	cancel := Cancel{Reason: "not wanted", By: "kim"}
	end := Ended{State: PhaseCancelled, Reason: "not wanted", By: "kim"}
	t.Run("it ends what runs", two.When(cancel).Then(end))
	t.Run("a second one changes nothing", two.When(cancel).When(Cancel{Reason: "really"}).Then())
	t.Run("it is final", two.When(cancel).When(done("a")).Refuses(machine.BadState, "CANCELLED"))
	t.Run("what has ended cannot be cancelled", two.When(broken("a")).When(broken("b")).When(cancel).Refuses(machine.BadState, "ERROR"))
	t.Run("agents are told what is no longer wanted", two.When(done("a")).When(Wait{Report: report("b", 1)}).When(cancel).Follows(
		machine.Completion{ID: machine.ID("completion", "orchestration", "o-1", "1"), Type: CancelledType, Value: Completion{
			ID: "o-1", Type: "job", Run: 1, State: PhaseCancelled, Reason: "not wanted", StartedAt: epoch, EndedAt: epoch, Labels: map[string]string{},
		}},
		machine.CancelWork{ID: workID("b"), Attempt: 1, Type: "noop", Reason: "the orchestration is CANCELLED"},
		machine.CancelWork{ID: workID("c"), Attempt: 1, Type: "noop", Reason: "the orchestration is CANCELLED"},
	))
}

func TestOnError(t *testing.T) {
	t.Run("a failure ends it, and running and waiting siblings are cancelled", running(activity("a"), activity("b"), activity("c")).
		When(Wait{Report: report("c", 1)}).When(broken("a")).After(time.Second).When(Wake{}).Follows(
		machine.Completion{ID: machine.ID("completion", "orchestration", "o-1", "1"), Type: FailedType, Value: Completion{
			ID: "o-1", Type: "job", Run: 1, State: PhaseError, Error: ptr(failure("a")), Failures: []Failure{failure("a")},
			StartedAt: epoch, EndedAt: epoch.Add(time.Second), Labels: map[string]string{},
		}},
		machine.CancelWork{ID: workID("b"), Attempt: 1, Type: "noop", Reason: "the orchestration is ERROR"},
		machine.CancelWork{ID: workID("c"), Attempt: 1, Type: "noop", Reason: "the orchestration is ERROR"},
	))
	tombstone := Failed{ActivityID: "a", Attempt: 1, Error: failure("a"), Continued: true}
	going := running(tolerant(activity("a")), activity("b", "a"))
	t.Run("continue leaves a tombstone and goes on", going.When(broken("a")).Then(tombstone, requested("b")))
	t.Run("the end tells of the tombstones", going.When(broken("a")).When(done("b")).
		Then(completed("b"), Ended{State: PhaseCompleted, Failures: []Failure{failure("a")}}))
	t.Run("it may end with one", running(tolerant(activity("a"))).When(broken("a")).
		Then(tombstone, Ended{State: PhaseCompleted, Failures: []Failure{failure("a")}}))
	t.Run("the cancel tells of them too", going.When(broken("a")).When(Cancel{}).
		Then(Ended{State: PhaseCancelled, Failures: []Failure{failure("a")}}))
	partial := with(activity("a"), func(a *definition.Activity) { a.OnError = definition.OnErrorPartial })
	wanted := start(plan(partial, activity("b")))
	t.Run("partial ends it where no partial result was asked for", given().When(wanted).When(done("b")).When(broken("a")).Then(failedBy(failure("a"))...))
	wanted.Partial = true
	t.Run("partial goes on where one was asked for", given().When(wanted).When(broken("a")).Then(tombstone))
	strict := with(activity("a"), func(a *definition.Activity) { a.OnError = definition.OnErrorFail })
	hard := start(plan(strict, activity("b")))
	hard.Partial = true
	t.Run("fail ends it whatever was asked for", given().When(hard).When(done("b")).When(broken("a")).Then(failedBy(failure("a"))...))
}

func ptr[T any](v T) *T { return &v }
