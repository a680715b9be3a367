package orchestration_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	. "github.com/waybill/waybill/domain/orchestration" //nolint:revive // the tests read as sentences of this package
)

func TestFailuresInTheSameMoment(t *testing.T) {
	three := running(activity("a"), activity("b"), activity("c", "b"), activity("d"))
	first := three.When(broken("a"))
	lost := func(id string) Failed { return Failed{ActivityID: id, Attempt: 1, Error: failure(id)} }
	end := Ended{State: PhaseError, Error: ptr(failure("a")), Failures: []Failure{failure("a"), failure("b")}}
	t.Run("the first waits for what is under way", three.When(broken("a")).Then(lost("a")))
	t.Run("the last under way ends it, with all errors", first.When(done("d")).When(broken("b")).Then(lost("b"), end))
	t.Run("two fatal siblings give one completion with both errors", first.When(done("d")).When(broken("b")).Follows(
		machine.Completion{ID: machine.ID("completion", "orchestration", "o-1", "1"), Type: FailedType, Value: Completion{
			ID: "o-1", Type: "job", Run: 1, State: PhaseError, Error: ptr(failure("a")), Failures: []Failure{failure("a"), failure("b")},
			StartedAt: epoch, EndedAt: epoch, Labels: map[string]string{},
		}}))
	t.Run("a second is the longest that it waits", dueAt(first, epoch.Add(time.Second)))
	t.Run("then the rest is called back", first.When(broken("b")).After(time.Second).When(Wake{}).Then(end))
	t.Run("what completes meanwhile is kept, and nothing follows from it", first.When(done("b")).Then(completed("b")))
	t.Run("what it spawns is not asked for", first.When(done("b", activity("x"))).Then(grown("b", list(activity("x")), nil)))
	t.Run("a passing fault is not tried again", becomes(first.When(done("d")).When(Retry{Report: report("b", 1)}), PhaseError))
	t.Run("what waits for others is not waited for", becomes(first.When(done("d")).When(wait2("b")), PhaseError))
	t.Run("what is polled is not either", becomes(first.When(done("d")).When(Schedule{Report: report("b", 1)}), PhaseError))
	t.Run("it does not end well, whoever is last", first.When(done("d")).When(done("b")).
		Then(completed("b"), Ended{State: PhaseError, Error: ptr(failure("a")), Failures: []Failure{failure("a")}}))
	t.Run("a new owner begins nothing anew", first.When(TakeOver{Agent: "one"}).Then())
	t.Run("nothing under way: it ends at once", running(activity("a"), activity("b")).When(wait2("b")).When(broken("a")).Then(failedBy(failure("a"))...))
}

// TestJoins: each of many joins goes on exactly once, in whatever order what it waits for ends.
func TestJoins(t *testing.T) {
	const joins, parallel = 200, 10
	var l []definition.Activity
	for j := range joins {
		join := activity(fmt.Sprintf("join%d", j))
		for k := range parallel {
			id := fmt.Sprintf("a%d-%d", j, k)
			l = append(l, activity(id))
			join.DependsOn = append(join.DependsOn, id)
		}
		l = append(l, join)
	}
	asked := map[string]int{}
	s := New("o-1")
	var queue []machine.Work
	give := func(c Command) {
		events, err := s.Decide(epoch, c)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			for _, f := range s.Follow(epoch, e) {
				if w, ok := f.(machine.Work); ok {
					asked[w.ActivityID]++
					queue = append(queue, w)
				}
			}
			s = s.Evolve(epoch, e)
		}
	}
	give(start(plan(l...)))
	for n := 0; len(queue) > 0; n++ { // now from the front, now from the back
		k := (n * 7919) % len(queue)
		w := queue[k]
		queue = append(queue[:k], queue[k+1:]...)
		give(Complete{Report: Report{WorkID: w.ID, Attempt: w.Attempt}})
		if !s.Ended() {
			give(Complete{Report: Report{WorkID: w.ID, Attempt: w.Attempt}}) // delivered twice
		}
	}
	if s.Phase() != PhaseCompleted {
		t.Errorf("it is %s", s.Phase())
	}
	for j := range joins {
		if n := asked[fmt.Sprintf("join%d", j)]; n != 1 {
			t.Errorf("join %d was asked for %d times", j, n)
		}
	}
	if len(asked) != joins*(parallel+1) {
		t.Errorf("%d activities were asked for", len(asked))
	}
}

// TestNothingIsTriedForEver: neither faults nor polling nor operators keep an orchestration going.
func TestNothingIsTriedForEver(t *testing.T) {
	attempts := func(c func(attempt int) Command, a definition.Activity) (int, State) {
		s, at := New("o-1"), epoch
		give := func(c Command) {
			events, err := s.Decide(at, c)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range events {
				s = s.Evolve(at, e)
			}
		}
		give(start(plan(a)))
		attempt := 0
		for !s.Ended() {
			if attempt++; attempt > 1_000_000 {
				t.Fatal("it goes on and on")
			}
			for give(c(attempt)); !s.Ended(); {
				at = s.Deadline()
				events, _ := s.Decide(at, Wake{})
				give(Wake{})
				if _, ok := events[0].(Requested); ok {
					break
				}
			}
		}
		if end := epoch.Add(DefaultActivityDeadline); at.After(end) {
			t.Errorf("it took until %s, past its deadline of %s", at, end)
		}
		return attempt, s
	}
	faults := func(attempt int) Command { return Retry{Report: report("a", attempt)} }
	for _, limit := range []int{0, 1, DefaultRetryLimit, 50} {
		n, s := attempts(faults, sternly("a", limit))
		if n != limit+1 || s.Phase() != PhaseError {
			t.Errorf("with a limit of %d retries there were %d attempts, and it is %s", limit, n, s.Phase())
		}
	}
	if n, s := attempts(faults, sternly("a", math.MaxInt32)); s.Phase() != PhaseError {
		t.Errorf("after %d attempts it is %s", n, s.Phase())
	}
	poll := func(attempt int) Command {
		return Schedule{Report: report("a", attempt), After: lasting(time.Minute)}
	}
	if n, s := attempts(poll, activity("a")); s.Phase() != PhaseError || n > int(DefaultActivityDeadline/time.Minute) {
		t.Errorf("after %d polls it is %s", n, s.Phase())
	}
}
