package orchestration

import (
	"fmt"
	"time"
)

// The steps at which the machine itself fails an activity.
const (
	stepDeadline = "deadline" // the activity, or the orchestration, took too long in total
	stepLease    = "lease"    // the agent was not heard of
	stepAttempt  = "attempt"  // the attempt took too long
	stepWait     = "wait"     // nobody reported
	stepInput    = "input"    // it does not fit the schema of the type
	stepContext  = "context"  // the outputs of its ancestors are not to be had, or too large
	stepOutput   = "output"   // it is too large, or does not fit the schema of the type
	stepSpawn    = "spawn"    // what was to be spawned does not fit
)

// givenUp says that the machine gave an attempt up, so that its agent has to be told.
func givenUp(step string) bool {
	return step == stepDeadline || step == stepLease || step == stepAttempt || step == stepWait
}

// wake lets what is due happen: at most one activity's end at a time, so that what
// follows from it is counted right. The caller wakes again while something is due.
func (s State) wake(at time.Time) []Event {
	if s.g == nil || s.Ended() {
		return s.removeBlobs(at)
	}
	g, now := s.g, at.UnixMilli()
	if passed(g.deadline, now) && g.undo != nil {
		return []Event{s.compensated(at, view{last: -1})}
	}
	if g.doomed != nil && passed(g.verdict, now) {
		return s.unwind(at, s.failed(at, g.doomed, nil), -1)
	}
	if passed(g.deadline, now) {
		within := fromMillis(g.deadline).Sub(g.startedAt).Truncate(time.Millisecond)
		why := Failure{Step: stepDeadline, Message: fmt.Sprintf("the orchestration did not end within %s", within), At: at}
		return s.unwind(at, s.failed(at, &why, nil), -1)
	}
	var events []Event
	var seen map[int32]struct{}
	g.dueAt(now, func(i int32) (enough bool) {
		if _, ok := seen[i]; ok {
			return false
		}
		more := s.due(at, i)
		if len(more) == 0 {
			return false
		}
		if closes(more) && len(events) > 0 {
			return true // next time, when what is before it is folded in
		}
		if seen == nil {
			seen = make(map[int32]struct{})
		}
		seen[i] = struct{}{}
		events = append(events, more...)
		return g.doomed != nil || closes(more)
	})
	return events
}

// closes says that an activity or the orchestration ends with these events.
func closes(events []Event) bool {
	_, failed := events[0].(Failed)
	_, ended := events[len(events)-1].(Ended)
	return failed || ended
}

// passed says whether a time in unix milliseconds has come; 0 never does.
func passed(t, now int64) bool { return t != 0 && t <= now }

// due is what happens to an activity whose timer fires.
func (s State) due(at time.Time, i int32) []Event {
	n, now := &s.g.nodes[i], at.UnixMilli()
	if fault := n.ill(); fault != nil {
		return s.fail(at, i, *fault)
	}
	if passed(n.deadline, now) {
		return s.fail(at, i, Fault{Step: stepDeadline, Message: fmt.Sprintf("the activity did not end by its deadline; it was %s in attempt %d", n.phase, n.attempt)})
	}
	switch n.phase {
	case ActivityReady:
		if passed(n.next, now) {
			return []Event{n.offerAgain()}
		}
	case ActivityRunning:
		if passed(n.lease, now) {
			return s.again(at, i, Retry{Error: Fault{Step: stepLease, Message: fmt.Sprintf("agent %s was not heard of for %s", n.agent, heartbeatTimeout(n.def))}})
		}
		if passed(n.overtime(), now) {
			return s.again(at, i, Retry{Error: Fault{Step: stepAttempt, Message: fmt.Sprintf("the attempt took longer than %s", attemptTimeout(n.def))}})
		}
	case ActivityWaiting:
		if passed(n.next, now) {
			return s.fail(at, i, Fault{Step: stepWait, Message: "nobody reported in time"})
		}
	case ActivityScheduled, ActivityRetrying:
		if passed(n.next, now) {
			return []Event{Requested{ActivityID: n.id(), Attempt: int(n.attempt) + 1, WorkID: n.workID, Deadline: fromMillis(n.deadline)}}
		}
	case ActivityPending, ActivityCompleted, ActivityFailed, ActivityCancelled, ActivitySkipped:
	}
	return nil
}
