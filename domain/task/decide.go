package task

import (
	"fmt"
	"time"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
)

// The steps at which a Set itself ends a task.
const (
	stepDeadline = "deadline" // it took too long in total
	stepLease    = "lease"    // the agent was not heard of
	stepAttempt  = "attempt"  // the attempt took too long
	stepWait     = "wait"     // nobody reported
)

// Decide answers a report of an agent: Complete, Wait, Schedule, Retry, Fail, Heartbeat or
// Release of package orchestration; other commands make nothing happen. A repeat makes nothing
// happen, a report of another attempt or after the end is refused. The End, where there is one,
// is that of the task; Ended is among the events then.
func (s Set) Decide(at time.Time, c orchestration.Command) ([]Event, *End, error) {
	switch c := c.(type) {
	case orchestration.Complete:
		return s.complete(c)
	case orchestration.Fail:
		t, err := s.reported(c.Report, saidFail)
		if t == nil || err != nil {
			return nil, nil, err
		}
		return s.fail(t, Failed, c.Error, false)
	case orchestration.Retry:
		t, err := s.reported(c.Report, saidRetry)
		if t == nil || err != nil {
			return nil, nil, err
		}
		return s.again(at, t, c)
	case orchestration.Schedule:
		return s.schedule(at, c)
	case orchestration.Wait:
		return s.wait(at, c)
	case orchestration.Heartbeat:
		return s.heartbeat(at, c), nil, nil
	case orchestration.Release:
		return s.release(c), nil, nil
	case orchestration.Start, orchestration.Cancel, orchestration.Rerun, orchestration.Dispose, orchestration.Pause, orchestration.Resume,
		orchestration.RetryActivity, orchestration.SkipActivity, orchestration.CompleteActivity, orchestration.FailActivity,
		orchestration.PauseActivity, orchestration.ResumeActivity, orchestration.Wake, orchestration.TakeOver:
	}
	return nil, nil, nil
}

// reported finds the task that a report is about; nil without an error is a repeat.
func (s Set) reported(r orchestration.Report, as said) (*Task, error) {
	t := s.find(r.WorkID)
	if t == nil {
		for _, e := range s.ended {
			if e.workID != r.WorkID {
				continue
			}
			if e.attempt == r.Attempt && e.said&as != 0 {
				return nil, nil
			}
			return nil, machine.Refuse(machine.BadState, fmt.Sprintf("work %s has ended", r.WorkID))
		}
		return nil, machine.Refuse(machine.NotFound, fmt.Sprintf("no work %q is under way here", r.WorkID))
	}
	if r.Attempt == t.Attempt-1 && t.before&as != 0 {
		return nil, nil // a nudge begins the next attempt in the same moment
	}
	if r.Attempt != t.Attempt {
		return nil, machine.Refuse(machine.BadState, fmt.Sprintf("%s is %s in attempt %d; attempt %d is not under way", t.Name, t.Phase, t.Attempt, r.Attempt))
	}
	if t.said&as != 0 {
		return nil, nil
	}
	switch t.Phase {
	case orchestration.ActivityReady, orchestration.ActivityRunning:
		return t, nil
	case orchestration.ActivityWaiting:
		if as == saidComplete || as == saidFail || as == saidRetry {
			return t, nil
		}
	default:
	}
	return nil, machine.Refuse(machine.BadState, fmt.Sprintf("%s, attempt %d, is %s: it takes no such report", t.Name, t.Attempt, t.Phase))
}

func (s Set) complete(c orchestration.Complete) ([]Event, *End, error) {
	t, err := s.reported(c.Report, saidComplete)
	if t == nil || err != nil {
		return nil, nil, err
	}
	return []Event{Ended{WorkID: t.WorkID, Attempt: t.Attempt, How: Completed}}, &End{Task: *t, Completed: true, Report: c}, nil
}

func (s Set) fail(t *Task, how Ending, fault orchestration.Fault, again bool) ([]Event, *End, error) {
	return []Event{Ended{WorkID: t.WorkID, Attempt: t.Attempt, How: how, Error: &fault}}, &End{Task: *t, Fault: fault, Again: again}, nil
}

// again lets a task be tried again after a passing fault, or ends it when it has been tried
// often enough.
func (s Set) again(at time.Time, t *Task, c orchestration.Retry) ([]Event, *End, error) {
	failures := t.Failures + 1
	if failures > t.Policy.Retries {
		how := Failed
		if c.Error.Step == stepLease || c.Error.Step == stepAttempt {
			how = GivenUp
		}
		return s.fail(t, how, c.Error, true)
	}
	base, most := time.Duration(t.Policy.BaseDelay), time.Duration(t.Policy.MaxDelay)
	if base <= 0 {
		base = DefaultBaseDelay
	}
	if most <= 0 {
		most = max(DefaultMaxDelay, base)
	}
	delay := max(machine.Backoff(base, most, t.WorkID, failures), time.Duration(c.After))
	return []Event{Retrying{t.WorkID, t.Attempt, c.Error, at.Add(delay), c.State}}, nil, nil
}

// schedule lets the agent rest, unless there is something to see already.
func (s Set) schedule(at time.Time, c orchestration.Schedule) ([]Event, *End, error) {
	t, err := s.reported(c.Report, saidSchedule)
	if t == nil || err != nil {
		return nil, nil, err
	}
	next := at.Add(time.Duration(c.After))
	events := []Event{Scheduled{t.WorkID, t.Attempt, next, c.State}}
	if t.nudged {
		events = append(events, Attempted{WorkID: t.WorkID, Attempt: t.Attempt + 1})
	}
	return events, nil, nil
}

func (s Set) wait(at time.Time, c orchestration.Wait) ([]Event, *End, error) {
	t, err := s.reported(c.Report, saidWait)
	if t == nil || err != nil {
		return nil, nil, err
	}
	e := Waited{WorkID: t.WorkID, Attempt: t.Attempt, State: c.State}
	if c.After > 0 {
		e.Until = at.Add(time.Duration(c.After))
	}
	return []Event{e}, nil, nil
}

// heartbeat claims an attempt or extends the claim, written anew only when a third of it has
// passed. It is never answered.
func (s Set) heartbeat(at time.Time, c orchestration.Heartbeat) []Event {
	t := s.find(c.WorkID)
	if t == nil || c.Attempt != t.Attempt || t.place != "" {
		return nil
	}
	switch {
	case t.Phase == orchestration.ActivityReady:
		return []Event{Claimed{t.WorkID, t.Attempt, c.Agent, at.Add(HeartbeatTimeout)}}
	case t.Phase == orchestration.ActivityRunning && (c.Agent == "" || c.Agent == t.agent) && t.lease.Sub(at) <= HeartbeatTimeout-HeartbeatTimeout/3:
		return []Event{Extended{t.WorkID, t.Attempt, at.Add(HeartbeatTimeout)}}
	}
	return nil
}

// release offers an attempt again that its agent has given back.
func (s Set) release(c orchestration.Release) []Event {
	t := s.find(c.WorkID)
	if t == nil || t.Phase != orchestration.ActivityRunning || c.Attempt != t.Attempt || t.place != "" || c.Agent != t.agent {
		return nil
	}
	return []Event{t.offerAgain()}
}

func (t *Task) offerAgain() Event {
	return Offered{WorkID: t.WorkID, Attempt: t.Attempt, Offer: t.offers + 1}
}

// TakeOver offers again what was lost with the old owner of the shard.
func (s Set) TakeOver(c orchestration.TakeOver) []Event {
	var events []Event
	for _, t := range s.open {
		if t.Phase != orchestration.ActivityRunning {
			continue
		}
		claimed := c.Agent != "" && t.agent == c.Agent && (c.Since.IsZero() || t.began.Before(c.Since))
		if t.place != "" && t.place != c.Placement || claimed {
			events = append(events, t.offerAgain())
		}
	}
	return events
}

// Nudge makes the agent of a task that rests look again at once; one that is looking right now
// looks once more when it has done. Once is enough: more makes nothing happen.
func (s Set) Nudge(workID string) []Event {
	t := s.find(workID)
	switch {
	case t == nil:
	case t.Phase == orchestration.ActivityScheduled:
		return []Event{Attempted{WorkID: t.WorkID, Attempt: t.Attempt + 1}}
	case !t.nudged && (t.Phase == orchestration.ActivityReady || t.Phase == orchestration.ActivityRunning):
		return []Event{Nudged{t.WorkID}}
	}
	return nil
}

// Drop closes a task that nobody wants any more.
func (s Set) Drop(workID, why string) []Event {
	t := s.find(workID)
	if t == nil {
		return nil
	}
	return []Event{Ended{WorkID: workID, Attempt: t.Attempt, How: Dropped, Error: &orchestration.Fault{Message: why}}}
}

// Wake lets one task's due timer fire; the caller wakes again while something is due. Without
// events nothing was due.
func (s Set) Wake(at time.Time) ([]Event, *End) {
	for _, t := range s.open {
		if d := t.due(); d.IsZero() || d.After(at) {
			continue
		}
		if events, end := s.fire(at, t); len(events) > 0 {
			return events, end
		}
	}
	return nil, nil
}

// fire is what happens to a task whose timer is due.
func (s Set) fire(at time.Time, t *Task) ([]Event, *End) {
	passed := func(x time.Time) bool { return !x.IsZero() && !x.After(at) }
	over := func(step, text string, again bool) ([]Event, *End) {
		events, end, _ := s.fail(t, GivenUp, orchestration.Fault{Step: step, Message: text}, again)
		return events, end
	}
	retry := func(step, text string) ([]Event, *End) {
		events, end, _ := s.again(at, t, orchestration.Retry{Error: orchestration.Fault{Step: step, Message: text}})
		return events, end
	}
	if passed(t.Deadline) {
		text := fmt.Sprintf("%s did not end by its deadline; it was %s in attempt %d", t.Name, t.Phase, t.Attempt)
		if t.Error != nil {
			text += "; last: " + t.Error.Message
		}
		return over(stepDeadline, text, true)
	}
	switch t.Phase {
	case orchestration.ActivityReady:
		if passed(t.Next) {
			return []Event{t.offerAgain()}, nil
		}
	case orchestration.ActivityRunning:
		if passed(t.lease) {
			return retry(stepLease, fmt.Sprintf("agent %s was not heard of for %s", t.agent, HeartbeatTimeout))
		}
		if passed(t.began.Add(t.attemptTimeout())) {
			return retry(stepAttempt, fmt.Sprintf("the attempt took longer than %s", t.attemptTimeout()))
		}
	case orchestration.ActivityWaiting:
		if passed(t.Next) {
			return over(stepWait, "nobody reported in time", false)
		}
	case orchestration.ActivityScheduled, orchestration.ActivityRetrying:
		if passed(t.Next) {
			return []Event{Attempted{WorkID: t.WorkID, Attempt: t.Attempt + 1}}, nil
		}
	default:
	}
	return nil, nil
}
