package orchestration_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	. "github.com/waybill/waybill/domain/orchestration" //nolint:revive // the tests read as sentences of this package
)

// sternly has no jitter to speak of: its base delay is its largest.
func sternly(id string, limit int) definition.Activity {
	return with(activity(id), func(a *definition.Activity) {
		a.Retry = &definition.Retry{Limit: &limit, BaseDelay: lasting(time.Second), MaxDelay: lasting(time.Second)}
	})
}

func beat(id string, attempt int, agent string) Heartbeat {
	return Heartbeat{Report: report(id, attempt), Agent: agent}
}

// dueAt is the test that something happens by itself then, and not before.
func dueAt(s scenario, at time.Time) func(t *testing.T) {
	return func(t *testing.T) {
		t.Helper()
		if got := s.State(t).Deadline(); !got.Equal(at) {
			t.Errorf("something is due at %s, want %s", got, at)
		}
		s.At(at.Add(-time.Millisecond)).When(Wake{}).Then()(t)
		if events, err := s.State(t).Decide(at, Wake{}); err != nil || len(events) == 0 {
			t.Errorf("waking then gives %v, %v", events, err)
		}
	}
}

func TestClaims(t *testing.T) {
	one := running(activity("a"))
	claimed := one.When(beat("a", 1, "one"))
	t.Run("the first heartbeat claims", one.When(beat("a", 1, "one")).Then(Claimed{"a", 1, "one", epoch.Add(10 * time.Second)}))
	t.Run("a heartbeat before a third of the lease changes nothing", claimed.After(3*time.Second).When(beat("a", 1, "one")).Then())
	t.Run("one after it extends the lease", claimed.After(4*time.Second).When(beat("a", 1, "one")).Then(Extended{"a", 1, epoch.Add(14 * time.Second)}))
	t.Run("one of nobody in particular does so too", claimed.After(4*time.Second).When(beat("a", 1, "")).Then(Extended{"a", 1, epoch.Add(14 * time.Second)}))
	t.Run("another agent's changes nothing", claimed.After(4*time.Second).When(beat("a", 1, "two")).Then())
	t.Run("what waits needs none", claimed.When(Wait{Report: report("a", 1)}).After(time.Minute).When(beat("a", 1, "one")).Then())
	slow := with(activity("a"), func(a *definition.Activity) { a.HeartbeatTimeout = lasting(time.Minute) })
	t.Run("the lease is the activity's", running(slow).When(beat("a", 1, "one")).Then(Claimed{"a", 1, "one", epoch.Add(time.Minute)}))
	t.Run("a lease that runs out is due", dueAt(claimed, epoch.Add(10*time.Second)))
	t.Run("an extended one is due later", dueAt(claimed.After(4*time.Second).When(beat("a", 1, "one")), epoch.Add(14*time.Second)))
	lost := running(sternly("a", 1)).When(beat("a", 1, "one")).After(10 * time.Second).When(Wake{})
	t.Run("a lost lease is a retry, and its agent is told", lost.Follows(
		machine.CancelWork{ID: workID("a"), Attempt: 1, Type: "noop", Reason: "agent one was not heard of for 10s"}))
	t.Run("what the lost agent still reports is refused", lost.When(done("a")).Refuses(machine.BadState, "RETRYING"))
	again := lost.After(time.Second).When(Wake{})
	t.Run("it is asked for again", again.Then(Requested{ActivityID: "a", Attempt: 2, WorkID: workID("a"), Deadline: epoch.Add(DefaultActivityDeadline)}))
	t.Run("the second loss is one too many", becomes(again.When(beat("a", 2, "one")).After(10*time.Second).When(Wake{}), PhaseError))
}

func TestAClaimThatIsGivenBack(t *testing.T) {
	release := func(attempt int, agent string) Release { return Release{report("a", attempt), agent} }
	claimed := running(activity("a")).When(beat("a", 1, "one"))
	back := claimed.When(release(1, "one"))
	t.Run("is offered again at once, as the same attempt", back.Then(Offered{"a", 1, workID("a"), "", 2}))
	t.Run("is free for another", back.When(beat("a", 1, "two")).Then(Claimed{"a", 1, "two", epoch.Add(10 * time.Second)}))
	t.Run("is not given back for another", back.When(beat("a", 1, "two")).When(release(1, "one")).Then())
	t.Run("is not given back by who never had it", claimed.When(release(1, "two")).Then())
	t.Run("is not given back by who had an earlier attempt", claimed.When(Retry{Report: report("a", 1), Error: Fault{Message: "down"}}).After(time.Second).When(Wake{}).When(beat("a", 2, "one")).When(release(1, "one")).Then())
	t.Run("is not begun anew by what is about to end", running(activity("a"), activity("b")).When(beat("a", 1, "one")).When(broken("b")).When(release(1, "one")).Then())
	t.Run("is not answered after the end", claimed.When(done("a")).When(release(1, "one")).Then())
	t.Run("has cost nothing", func(t *testing.T) {
		s := claimed
		for range 2 * DefaultRetryLimit {
			s = s.When(release(1, "one")).When(beat("a", 1, "one"))
		}
		becomes(s, PhaseInProgress)(t)
		becomes(s.When(done("a")), PhaseCompleted)(t)
	})
}

func TestUnclaimedWork(t *testing.T) {
	s := running(activity("a"))
	var at time.Duration
	for k, wait := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 10 * time.Minute, 10 * time.Minute} {
		late := wait + 9*time.Second
		t.Run("a claim from the end of an offer may be decided late", s.After(late).When(Wake{}).When(beat("a", 1, "one")).Then(
			Claimed{"a", 1, "one", epoch.Add(at + late + 10*time.Second)}))
		wait += 10 * time.Second
		at += wait
		t.Run(fmt.Sprintf("offer %d is due after %s", k+2, at), dueAt(s, epoch.Add(at)))
		s = s.After(wait).When(Wake{})
		t.Run("it is the same attempt", s.Then(Offered{"a", 1, workID("a"), "", k + 2}))
	}
	t.Run("it is the same work", s.Follows(machine.Work{
		ID: workID("a"), Attempt: 1, Offer: 8, Aggregate: "orchestration", AggregateID: "o-1", Run: 1, ActivityID: "a", Type: "noop", Resource: "o-1",
		RequestedAt: epoch.Add(at), Deadline: epoch.Add(DefaultActivityDeadline), OfferedUntil: epoch.Add(at + 10*time.Minute), HeartbeatTimeout: 10_000,
	}))
	t.Run("a claim ends it", dueAt(s.When(beat("a", 1, "one")), epoch.Add(at+10*time.Second)))
	short := with(activity("a"), func(a *definition.Activity) { a.Deadline = lasting(20 * time.Second) })
	t.Run("its deadline ends it too", running(short).After(20*time.Second).When(Wake{}).Then(
		failedBy(Failure{
			ActivityID: "a", Name: "a", Step: "deadline", Attempts: 1, At: epoch.Add(20 * time.Second),
			Message: "the activity did not end by its deadline; it was READY in attempt 1",
		})...))
}

func TestDeadlines(t *testing.T) {
	short := with(activity("a"), func(a *definition.Activity) { a.AttemptTimeout = lasting(5 * time.Second) })
	claimed := running(short).After(time.Hour).When(beat("a", 1, "one"))
	t.Run("an attempt may take its time from the claim on", dueAt(claimed, epoch.Add(time.Hour+5*time.Second)))
	t.Run("an attempt that takes longer is a retry, and its agent is told", claimed.After(5*time.Second).When(Wake{}).Follows(
		machine.CancelWork{ID: workID("a"), Attempt: 1, Type: "noop", Reason: "the attempt took longer than 5s"}))
	waiting := running(activity("a")).When(Wait{Report: report("a", 1), After: lasting(time.Minute)})
	t.Run("a wait has an end", dueAt(waiting, epoch.Add(time.Minute)))
	t.Run("a wait that nobody ends is a failure, and the agent is told", waiting.After(time.Minute).When(Wake{}).Follows(
		machine.CancelWork{ID: workID("a"), Attempt: 1, Type: "noop", Reason: "nobody reported in time"},
		machine.Completion{ID: machine.ID("completion", "orchestration", "o-1", "1"), Type: FailedType, Value: Completion{
			ID: "o-1", Type: "job", Run: 1, State: PhaseError, StartedAt: epoch, EndedAt: epoch.Add(time.Minute), Labels: map[string]string{},
			Error: ptr(lateWait("a")), Failures: []Failure{lateWait("a")},
		}}))
	t.Run("a wait without an end has the activity's", dueAt(running(activity("a")).When(wait2("a")), epoch.Add(DefaultActivityDeadline)))
	t.Run("no wait goes beyond it", running(activity("a")).When(Wait{Report: report("a", 1), After: lasting(DefaultActivityDeadline + 1)}).
		Then(Waited{"a", 1, epoch.Add(DefaultActivityDeadline), nil}))
	brief := with(activity("a"), func(a *definition.Activity) { a.Deadline = lasting(time.Minute) })
	scheduled := running(brief).When(Schedule{Report: report("a", 1), After: lasting(time.Hour)})
	t.Run("the activity's deadline comes before the next attempt", dueAt(scheduled, epoch.Add(time.Minute)))
	t.Run("it counts from the first attempt", becomes(running(brief).When(Schedule{Report: report("a", 1), After: lasting(59 * time.Second)}).
		After(59*time.Second).When(Wake{}).When(wait2nd("a")).After(time.Second).When(Wake{}), PhaseError))
	t.Run("dependents are left in peace by it", becomes(running(tolerant(brief), activity("b", "a")).After(time.Minute).When(Wake{}), PhaseInProgress))
}

func wait2nd(id string) Wait { return Wait{Report: report(id, 2)} }

func lateWait(id string) Failure {
	return Failure{ActivityID: id, Name: id, Step: "wait", Message: "nobody reported in time", Attempts: 1, At: epoch.Add(time.Minute)}
}

func TestDeadlineOfTheOrchestration(t *testing.T) {
	hasty := start(plan(activity("a"), activity("b")))
	hasty.Deadline = lasting(time.Minute)
	s := given().When(hasty).When(done("b")).When(wait2("a"))
	t.Run("it is due", dueAt(s, epoch.Add(time.Minute)))
	why := Failure{Step: "deadline", Message: "the orchestration did not end within 1m0s", At: epoch.Add(time.Minute)}
	t.Run("it ends it", s.After(time.Minute).When(Wake{}).Then(Ended{State: PhaseError, Error: &why}))
	t.Run("a time between two milliseconds is rounded up", func(t *testing.T) {
		at := epoch.Add(time.Microsecond)
		s := given().At(at).When(hasty).State(t)
		if got := s.Deadline(); got.Before(at) {
			t.Errorf("the first is due at %s", got)
		}
		for range 2 {
			if events, _ := s.Decide(s.Deadline(), Wake{}); len(events) == 0 {
				t.Error("nothing happens at the time that it says")
			}
		}
	})
	t.Run("nothing is due after the end", func(t *testing.T) {
		if got := s.When(Cancel{}).State(t).Deadline(); !got.IsZero() {
			t.Errorf("something is due at %s", got)
		}
	})
}

func TestRetries(t *testing.T) {
	retry := func(attempt int) Retry {
		return Retry{Report: report("a", attempt), Error: Fault{Step: "fetch", Message: "no such file"}}
	}
	t.Run("the wait doubles up to the maximum, less a quarter at most", func(t *testing.T) {
		s := running(with(activity("a"), func(a *definition.Activity) {
			a.Retry = &definition.Retry{Limit: number(7), BaseDelay: lasting(time.Second), MaxDelay: lasting(10 * time.Second)}
		}))
		for attempt, most := range []time.Duration{1, 2, 4, 8, 10, 10, 10} {
			most *= time.Second
			s = s.When(retry(attempt + 1))
			before := epoch.Add(time.Duration(attempt) * 10 * time.Second)
			wait := s.State(t).Deadline().Sub(before)
			if wait > most || wait < most*3/4 {
				t.Errorf("failure %d waits %s, want %s to %s", attempt+1, wait, most*3/4, most)
			}
			s = s.After(10 * time.Second).When(Wake{})
		}
		becomes(s.When(retry(8)), PhaseError)(t)
	})
	t.Run("the other side may ask for more", running(sternly("a", 1)).When(Retry{Report: report("a", 1), Error: Fault{Step: "fetch", Message: "no such file"}, After: lasting(time.Hour)}).
		Then(Retrying{"a", 1, failure("a"), epoch.Add(time.Hour), nil}))
	t.Run("a base delay needs no maximum", func(t *testing.T) {
		s := running(with(activity("a"), func(a *definition.Activity) { a.Retry = &definition.Retry{BaseDelay: lasting(time.Hour)} })).When(retry(1))
		if wait := s.State(t).Deadline().Sub(epoch); wait < 45*time.Minute {
			t.Errorf("it waits %s", wait)
		}
	})
	t.Run("a base delay however long does not overflow", func(t *testing.T) {
		long := start(plan(with(activity("a"), func(a *definition.Activity) {
			a.Retry = &definition.Retry{Limit: number(100), BaseDelay: lasting(1 << 58), MaxDelay: lasting(1<<63 - 1)}
			a.Deadline = lasting(1<<63 - 1)
		})))
		long.Deadline = lasting(1<<63 - 1)
		s := given().When(long)
		for attempt := 1; attempt < 4; attempt++ {
			if s = s.When(retry(attempt)); s.State(t).Deadline().Before(epoch) {
				t.Error("the next attempt is in the past")
			}
			s = s.At(s.State(t).Deadline()).When(Wake{})
		}
	})
	t.Run("what is not wrong does not count", func(t *testing.T) {
		s := running(sternly("a", 1))
		for attempt := 1; attempt < 8; attempt += 2 {
			s = s.When(retry(attempt)).After(time.Second).When(Wake{})
			s = s.When(Schedule{Report: report("a", attempt+1)}).When(Wake{})
		}
		becomes(s, PhaseInProgress)(t)
		becomes(s.When(retry(9)).After(time.Second).When(Wake{}).When(retry(10)), PhaseError)(t)
	})
	t.Run("the state of the last report comes with the next attempt", running(activity("a")).
		When(Schedule{Report: report("a", 1), After: lasting(time.Second), State: []byte(`{"page":2}`)}).After(time.Second).When(Wake{}).
		Follows(machine.Work{
			ID: workID("a"), Attempt: 2, Offer: 1, Aggregate: "orchestration", AggregateID: "o-1", Run: 1, ActivityID: "a", Type: "noop", Resource: "o-1", State: []byte(`{"page":2}`),
			RequestedAt: epoch.Add(time.Second), Deadline: epoch.Add(DefaultActivityDeadline), OfferedUntil: epoch.Add(31 * time.Second), HeartbeatTimeout: 10_000,
		}))
	t.Run("a report without one keeps it", func(t *testing.T) {
		s := running(sternly("a", 5)).When(Schedule{Report: report("a", 1), State: []byte(`1`)}).When(Wake{}).When(retry(2)).State(t)
		w, _ := s.Follow(epoch, Requested{ActivityID: "a", Attempt: 3, WorkID: workID("a")})[0].(machine.Work)
		if string(w.State) != "1" {
			t.Errorf("the state is %s", w.State)
		}
	})
}

func TestTakeOver(t *testing.T) {
	// The runner places work; here the given events say where it went.
	p := plan(activity("local"), activity("claimed"), activity("other"), activity("ready"), activity("waiting"))
	local := requested("local")
	local.Placement = "process-1"
	s := given(started(p), local, requested("claimed"), requested("other"), requested("ready"), requested("waiting"),
		Claimed{"claimed", 1, "one", epoch.Add(10 * time.Second)}, Claimed{"other", 1, "two", epoch.Add(10 * time.Second)}, Waited{"waiting", 1, epoch.Add(time.Hour), nil})
	t.Run("what the old owner ran and what its agent had claimed is offered again", s.When(TakeOver{Agent: "one"}).Then(
		Offered{"local", 1, workID("local"), "", 2}, Offered{"claimed", 1, workID("claimed"), "", 2}))
	t.Run("without an agent of its own only what it ran is", s.When(TakeOver{}).Then(Offered{"local", 1, workID("local"), "", 2}))
	t.Run("what runs here has no lease", s.After(20*time.Second).When(beat("local", 1, "one")).Then())
	t.Run("what runs here may take its time", dueAt(given(started(plan(activity("local"))), local), epoch.Add(DefaultAttemptTimeout)))
	t.Run("both results of what was offered again are one", s.When(TakeOver{}).When(done("local")).When(done("local")).Then())
}

func TestManyAreDueAtOnce(t *testing.T) {
	var many []definition.Activity
	for k := range 50 {
		many = append(many, sternly(fmt.Sprintf("a%d", k), 3))
	}
	s := running(many...)
	for k := range 50 {
		s = s.When(beat(fmt.Sprintf("a%d", k), 1, "one"))
	}
	st := s.State(t)
	events, _ := st.Decide(epoch.Add(10*time.Second), Wake{})
	if len(events) != 50 {
		t.Errorf("one wake lets %d of 50 leases run out", len(events))
	}
	t.Run("failures end one at a time, and all of them end", func(t *testing.T) {
		var many []definition.Activity
		for k := range 50 {
			many = append(many, tolerant(with(activity(fmt.Sprintf("a%d", k)), func(a *definition.Activity) { a.Deadline = lasting(time.Minute) })))
		}
		many = append(many, activity("last", "a0", "a49"))
		s := running(many...).After(time.Minute)
		for range 50 {
			s = s.When(Wake{})
		}
		s.When(done("last"))
		st := s.State(t)
		events, _ := st.Decide(epoch.Add(time.Minute), done("last"))
		if len(events) != 2 {
			t.Errorf("the last gives %v", events)
		}
	})
}

func TestFailuresAreBounded(t *testing.T) {
	var many []definition.Activity
	for k := range 150 {
		many = append(many, tolerant(activity(fmt.Sprintf("a%03d", k))))
	}
	s := running(many...)
	for k := range 149 {
		s = s.When(Fail{Report: report(fmt.Sprintf("a%03d", k), 1), Error: Fault{Message: strings.Repeat("ü", 5000)}})
	}
	events, err := s.State(t).Decide(epoch, Fail{Report: report("a149", 1)})
	if err != nil || len(events) != 2 {
		t.Fatal(events, err)
	}
	end, _ := events[1].(Ended)
	if len(end.Failures) != 101 {
		t.Fatalf("the end lists %d failures", len(end.Failures))
	}
	if got := end.Failures[100]; got != (Failure{Message: "and 50 more", At: epoch}) {
		t.Errorf("the last is %+v", got)
	}
	if m := end.Failures[0].Message; len(m) > 2<<10 || !strings.HasSuffix(m, "ü…") {
		t.Errorf("the message has %d bytes and ends with %q", len(m), m[len(m)-8:])
	}
}
