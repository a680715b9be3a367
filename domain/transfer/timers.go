package transfer

import (
	"fmt"
	"time"

	"github.com/waybill/waybill/domain/orchestration"
)

// Deadline is when Wake has something to do next; zero if nothing waits.
func (s State) Deadline() time.Time {
	if s.l == nil {
		return time.Time{}
	}
	at := s.tasks.Deadline()
	if s.ends() {
		for _, d := range []time.Time{s.l.Deadline, s.l.until} {
			if !d.IsZero() && (at.IsZero() || d.Before(at)) {
				at = d
			}
		}
	}
	// The runner's clock has milliseconds: it must not come before the time.
	if down := at.Truncate(time.Millisecond); down.Before(at) {
		return down.Add(time.Millisecond)
	}
	return at
}

// ends says that the transfer is still on its way to an end, so that a deadline brings it there: the
// tasks that come after have their own.
func (s State) ends() bool { return s.phase < PhaseCompleted }

// wake lets one thing happen that is due; the caller wakes again while something is.
func (s State) wake(at time.Time) []Event {
	if s.l == nil {
		return nil
	}
	passed := func(t time.Time) bool { return !t.IsZero() && !t.After(at) }
	if s.ends() && passed(s.l.Deadline) {
		within := s.l.Deadline.Sub(s.l.startedAt).Round(time.Millisecond)
		return s.terminate(at, nil, s.late(fmt.Sprintf("the transfer did not end within %s; it was %s", within, s.phase), false))
	}
	if s.ends() && passed(s.l.until) && s.phase != PhaseProvisioning && s.phase != PhaseProvisioningRequested {
		return s.terminate(at, nil, s.late(fmt.Sprintf("%s did not end in time%s", s.phase, s.waiting()), true))
	}
	events, end := s.tasks.Wake(at)
	if end != nil {
		return s.finish(at, worked(events), end, Report{})
	}
	return s.abandoned(at, events)
}

// waiting says whom a state waits for, where that is not one of its tasks.
func (s State) waiting() string {
	switch {
	case s.l.acquiring:
		return ": nothing was heard of negotiation " + s.l.negotiation
	case s.phase == PhaseRequested:
		return ": the provider did not start the transfer"
	}
	return ""
}

// late is the cause of what took too long, with the last that went wrong meanwhile.
func (s State) late(text string, again bool) cause {
	for _, t := range s.tasks.Open() {
		if t.Error != nil {
			text += "; last: " + t.Name + ": " + t.Error.Message
		}
	}
	return cause{fault: &orchestration.Fault{Step: stepDeadline, Message: text}, again: again}
}
