package task

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
)

// The defaults of a Policy.
const (
	DefaultBaseDelay      = 500 * time.Millisecond
	DefaultMaxDelay       = 30 * time.Second
	DefaultAttemptTimeout = 5 * time.Minute
	// HeartbeatTimeout is how long a claim lasts without a heartbeat.
	HeartbeatTimeout = orchestration.DefaultHeartbeatTimeout
)

// Task is a piece of work that is open.
type Task struct {
	Spec
	Phase    orchestration.ActivityPhase // READY, RUNNING, WAITING, SCHEDULED or RETRYING
	Attempt  int
	Failures int
	Since    time.Time            // when it came into its phase
	Next     time.Time            // SCHEDULED, RETRYING: next attempt; WAITING: until; READY: next offer
	State    json.RawMessage      // the agent's own, handed to its next attempt
	Error    *orchestration.Fault // the last

	offers int
	agent  string
	place  string
	lease  time.Time
	began  time.Time // of the attempt
	nudged bool
	said   said // of this attempt
	before said // of the one before it
}

// said are reports that have had their way in an attempt.
type said uint8

const (
	saidComplete said = 1 << iota
	saidWait
	saidSchedule
	saidRetry
	saidFail
)

// Set is what is open of an aggregate. The zero Set is empty. Evolve changes it in place.
type Set struct {
	open  []*Task
	ended []ended // the last of them, oldest first
}

// ended is what a repeat of a last report is recognised by.
type ended struct {
	workID  string
	attempt int
	said    said
}

// maxEnded is how many ended tasks are remembered for that: repeats come soon, or not at all.
const maxEnded = 8

// End says that a task is over.
type End struct {
	Task
	// Completed says that the agent has done it. Otherwise Fault says why not, and Again that
	// it was a passing fault.
	Completed bool
	Report    orchestration.Complete // of the agent, where Completed
	Fault     orchestration.Fault
	Again     bool
}

// WorkID derives the ID of a task from what it is for. parts tell tasks of one aggregate apart for
// ever, also those of the same name.
func WorkID(aggregate, id string, parts ...string) string {
	return machine.ID(append([]string{"task", aggregate, id}, parts...)...)
}

// Open lists what is open, in the order it was asked for. The caller must not change it.
func (s Set) Open() []*Task { return s.open }

// Find is the open task of a name.
func (s Set) Find(name string) (*Task, bool) {
	i := slices.IndexFunc(s.open, func(t *Task) bool { return t.Name == name })
	if i < 0 {
		return nil, false
	}
	return s.open[i], true
}

func (s Set) find(workID string) *Task {
	for _, t := range s.open {
		if t.WorkID == workID {
			return t
		}
	}
	return nil
}

// Ask opens a task.
func Ask(spec Spec) Event { return Requested{Spec: spec} }

// due is when something happens to the task by itself.
func (t *Task) due() time.Time {
	at := t.Deadline
	earliest := func(x time.Time) {
		if !x.IsZero() && (at.IsZero() || x.Before(at)) {
			at = x
		}
	}
	earliest(t.Next)
	if t.Phase == orchestration.ActivityRunning {
		earliest(t.lease)
		earliest(t.began.Add(t.attemptTimeout()))
	}
	return at
}

// Deadline is when Wake has something to do next, in whole milliseconds, rounded up; zero: never.
func (s Set) Deadline() time.Time {
	var at time.Time
	for _, t := range s.open {
		if d := t.due(); !d.IsZero() && (at.IsZero() || d.Before(at)) {
			at = d
		}
	}
	if ms := at.Truncate(time.Millisecond); ms.Before(at) {
		return ms.Add(time.Millisecond)
	}
	return at
}

func (t *Task) attemptTimeout() time.Duration {
	if d := time.Duration(t.Policy.AttemptTimeout); d > 0 {
		return d
	}
	return DefaultAttemptTimeout
}

// Evolve folds an event in.
func (s Set) Evolve(at time.Time, e Event) Set {
	if e, ok := e.(Requested); ok {
		t := &Task{Spec: e.Spec}
		t.begin(at, 1, e.Placement)
		s.open = append(s.open, t)
		return s
	}
	t := s.find(e.Work())
	if t == nil {
		return s
	}
	switch e := e.(type) {
	case Attempted:
		t.begin(at, e.Attempt, e.Placement)
	case Offered:
		t.offer(at, e.Offer, e.Placement)
	case Claimed:
		t.Phase, t.agent, t.lease, t.began, t.Next, t.Since = orchestration.ActivityRunning, e.Agent, e.Lease, at, time.Time{}, at
	case Extended:
		t.lease = e.Lease
	case Waited:
		t.rest(at, orchestration.ActivityWaiting, saidWait, e.Until, e.State)
	case Scheduled:
		t.rest(at, orchestration.ActivityScheduled, saidSchedule, e.At, e.State)
		t.Failures = 0
	case Retrying:
		t.rest(at, orchestration.ActivityRetrying, saidRetry, e.At, e.State)
		t.Failures++
		t.Error = &e.Error
	case Nudged:
		t.nudged = true
	case Ended:
		s.close(t, e)
	case Requested:
	}
	return s
}

func (s *Set) close(t *Task, e Ended) {
	by := saidComplete
	if e.How == Failed {
		by = saidFail | saidRetry
	}
	if e.How == Completed || e.How == Failed {
		if len(s.ended) == maxEnded {
			s.ended = append(s.ended[:0], s.ended[1:]...)
		}
		s.ended = append(s.ended, ended{t.WorkID, t.Attempt, t.said | by})
	}
	i := slices.Index(s.open, t)
	s.open = slices.Delete(s.open, i, i+1)
}

// begin is a new attempt.
func (t *Task) begin(at time.Time, attempt int, placement string) {
	t.Attempt, t.said, t.before, t.nudged = attempt, 0, t.said, false
	t.offer(at, 1, placement)
}

func (t *Task) offer(at time.Time, offer int, placement string) {
	t.offers, t.place, t.agent, t.lease, t.Since = offer, placement, "", time.Time{}, at
	if placement != "" {
		t.Phase, t.began, t.Next = orchestration.ActivityRunning, at, time.Time{}
		return
	}
	t.Phase, t.Next = orchestration.ActivityReady, at.Add(machine.OfferWait(offer)+machine.LastClaims)
}

// rest leaves a task until next.
func (t *Task) rest(at time.Time, p orchestration.ActivityPhase, by said, next time.Time, state json.RawMessage) {
	t.Phase, t.Since, t.Next, t.agent, t.place, t.lease = p, at, next, "", "", time.Time{}
	t.said |= by
	if state != nil {
		t.State = state
	}
}

// out says that an attempt is with somebody.
func (t *Task) out() bool {
	return t.Phase == orchestration.ActivityReady || t.Phase == orchestration.ActivityRunning || t.Phase == orchestration.ActivityWaiting
}
