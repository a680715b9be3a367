package orchestration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/waybill/waybill/domain/machine"
)

// Pause holds an orchestration: nothing new is asked for until it is resumed. What is under
// way goes on, its reports are taken, and waits and deadlines go on counting.
type Pause struct {
	Reason string `json:"reason,omitempty"`
	By     string `json:"by,omitempty"`
}

// Resume lets a paused orchestration go on, with all that has become ready meanwhile.
type Resume struct {
	Reason string `json:"reason,omitempty"`
	By     string `json:"by,omitempty"`
}

// Order is what every word of an operator about one activity has: which, why, and whose
// word it is.
type Order struct {
	ActivityID string `json:"activityId"`
	Reason     string `json:"reason,omitempty"`
	By         string `json:"by,omitempty"`
}

// RetryActivity asks for the next attempt at once. A wait is given up for it.
type RetryActivity struct{ Order }

// SkipActivity ends an activity without doing it; whoever depends on it goes on with the output.
type SkipActivity struct {
	Order
	Output json.RawMessage `json:"output,omitempty"`
}

// CompleteActivity ends an activity well, as its agent would have.
type CompleteActivity struct {
	Order
	Output json.RawMessage `json:"output,omitempty"`
}

// FailActivity ends an activity badly, as its agent would have.
type FailActivity struct {
	Order
	Error Fault `json:"error,omitzero"`
}

// PauseActivity holds one activity: the attempt under way goes on, no other is asked for.
type PauseActivity struct{ Order }

// ResumeActivity lets a paused activity go on.
type ResumeActivity struct{ Order }

func (Pause) command()            {}
func (Resume) command()           {}
func (RetryActivity) command()    {}
func (SkipActivity) command()     {}
func (CompleteActivity) command() {}
func (FailActivity) command()     {}
func (PauseActivity) command()    {}
func (ResumeActivity) command()   {}

// Paused holds the orchestration.
type Paused struct {
	Reason string `json:"reason,omitempty"`
	By     string `json:"by"`
}

// Resumed lets it go on from State.
type Resumed struct {
	State  Phase  `json:"state"` // where it stood before the pause
	Reason string `json:"reason,omitempty"`
	By     string `json:"by"`
}

// ActivityPaused holds an activity. It is no move: the activity stays in its state.
type ActivityPaused struct {
	ActivityID string `json:"activityId"`
	Reason     string `json:"reason,omitempty"`
	By         string `json:"by"`
}

// ActivityResumed lets it go on.
type ActivityResumed struct {
	ActivityID string `json:"activityId"`
	Reason     string `json:"reason,omitempty"`
	By         string `json:"by"`
}

// Skipped ends an activity that nobody is to do.
type Skipped struct {
	ActivityID string          `json:"activityId"`
	Output     json.RawMessage `json:"output,omitempty"`
	Reason     string          `json:"reason,omitempty"`
	By         string          `json:"by"`
}

func (Paused) event()          {}
func (Resumed) event()         {}
func (ActivityPaused) event()  {}
func (ActivityResumed) event() {}
func (Skipped) event()         {}

const (
	// someone is who it was where a command does not say. That an event has a By tells what
	// an operator did from what an agent reported.
	someone = "operator"
	// stepOperator is the step at which an operator fails an activity.
	stepOperator = "operator"
)

// signed is who and why as events carry them.
func signed(by, reason string) (who, why string) {
	return machine.Clip(orElse(by, someone), maxNameBytes), machine.Clip(reason, maxMessageBytes)
}

func (s State) decidePause(c Pause) ([]Event, error) {
	switch {
	case s.phase == PhaseInitial:
		return nil, s.unknown()
	case s.Ended():
		return nil, s.over()
	case s.phase == PhasePaused:
		return nil, nil
	case s.g.doomed != nil:
		return nil, s.failing()
	case !s.phase.CanMove(PhasePaused):
		return nil, machine.Refuse(machine.BadState, fmt.Sprintf("orchestration %s: %s", s.id, &MoveError{s.phase, PhasePaused}))
	}
	by, reason := signed(c.By, c.Reason)
	return []Event{Paused{Reason: reason, By: by}}, nil
}

func (s State) decideResume(at time.Time, c Resume) ([]Event, error) {
	switch {
	case s.phase == PhaseInitial:
		return nil, s.unknown()
	case s.Ended():
		return nil, s.over()
	case s.phase != PhasePaused:
		return nil, nil
	}
	g := s.g
	by, reason := signed(c.By, c.Reason)
	events := []Event{Resumed{State: g.beneath, Reason: reason, By: by}}
	if g.doomed != nil {
		return events, nil
	}
	if g.plan.aggregates && g.beneath == PhaseInProgress && g.retrieving == 0 && g.open > 0 {
		events = append(events, TransfersFinished{})
	}
	for i := range g.nodes { // as large as the graph, but only when somebody says so
		if n := &g.nodes[i]; n.phase == ActivityPending && n.waits == 0 && !n.paused {
			events = append(events, s.request(at, n.def, n.def.Deadline, s.run))
		}
	}
	return events, nil
}

// ordered finds the activity that an operator speaks of.
func (s State) ordered(o Order) (int32, error) {
	if s.phase == PhaseInitial {
		return 0, s.unknown()
	}
	if s.Ended() {
		return 0, s.over()
	}
	i, ok := s.g.find(o.ActivityID)
	if !ok {
		return 0, machine.Refuse(machine.NotFound, fmt.Sprintf("orchestration %s has no activity %q", s.id, o.ActivityID))
	}
	return i, nil
}

// endedBy says that the orchestration ended with just this word about this activity, so that
// its repeat is not taken for one after the end.
func (s State) endedBy(o Order, as reports) bool {
	return s.Ended() && s.last.said&as != 0 && s.last.workID == s.workIDOf(s.run, o.ActivityID)
}

func (s State) refuse(n *node, why string) error {
	return machine.Refuse(machine.BadState, fmt.Sprintf("activity %s is %s; %s", n.id(), n.phase, why))
}

func (s State) failing() error {
	return machine.Refuse(machine.BadState, fmt.Sprintf("orchestration %s is about to end: activity %s has failed", s.id, s.g.doomed.ActivityID))
}

func (s State) decideRetryActivity(c RetryActivity) ([]Event, error) {
	i, err := s.ordered(c.Order)
	if err != nil {
		return nil, err
	}
	n := &s.g.nodes[i]
	switch n.phase {
	case ActivityReady, ActivityRunning:
		return nil, nil // an attempt is out already
	case ActivityPending:
		return nil, s.refuse(n, "it has not been asked for yet")
	case ActivityCompleted, ActivityFailed, ActivityCancelled, ActivitySkipped:
		return nil, s.refuse(n, "what depends on it has gone on; the orchestration can be run again from it once it has ended")
	case ActivityWaiting, ActivityScheduled, ActivityRetrying:
	}
	switch {
	case s.g.doomed != nil:
		return nil, s.failing()
	case s.phase == PhasePaused:
		return nil, machine.Refuse(machine.BadState, fmt.Sprintf("orchestration %s is %s; resume it first", s.id, s.phase))
	case n.paused:
		return nil, s.refuse(n, "it is paused; resume it first")
	}
	by, reason := signed(c.By, c.Reason)
	return []Event{Requested{
		ActivityID: n.id(), Attempt: int(n.attempt) + 1, WorkID: n.workID, Deadline: fromMillis(n.deadline), Reason: reason, By: by,
	}}, nil
}

func (s State) decideSkipActivity(at time.Time, c SkipActivity) ([]Event, error) {
	if s.endedBy(c.Order, orderedSkip) {
		return nil, nil
	}
	i, err := s.ordered(c.Order)
	if err != nil {
		return nil, err
	}
	n := &s.g.nodes[i]
	if n.phase == ActivitySkipped && bytes.Equal(n.output, c.Output) {
		return nil, nil
	}
	if !n.phase.CanMove(ActivitySkipped) {
		return nil, s.refuse(n, "only what has not ended can be skipped")
	}
	if len(c.Output) > 0 { // what was skipped need not have made anything
		if err := s.fits(i, c.Output); err != nil {
			return nil, err
		}
	}
	by, reason := signed(c.By, c.Reason)
	events := []Event{Skipped{ActivityID: n.id(), Output: c.Output, Reason: reason, By: by}}
	events = s.finishTransfers(events, n, 0)
	events = s.proceed(events, at, i)
	return s.conclude(events, at, view{last: i, phase: ActivitySkipped, output: c.Output}, 0), nil
}

func (s State) decideCompleteActivity(at time.Time, c CompleteActivity) ([]Event, error) {
	if s.endedBy(c.Order, orderedComplete) {
		return nil, nil
	}
	i, err := s.ordered(c.Order)
	if err != nil {
		return nil, err
	}
	n := &s.g.nodes[i]
	if n.phase == ActivityCompleted && n.said&orderedComplete != 0 && bytes.Equal(n.output, c.Output) {
		return nil, nil
	}
	if n.phase == ActivityPending {
		return nil, s.refuse(n, "it has not been asked for yet; skip it instead")
	}
	if !n.phase.CanMove(ActivityCompleted) {
		return nil, s.refuse(n, "only what has not ended can be completed")
	}
	if err := s.fits(i, c.Output); err != nil {
		return nil, err
	}
	by, reason := signed(c.By, c.Reason)
	return s.complete(at, i, Completed{ActivityID: n.id(), Attempt: int(n.attempt), Output: c.Output, Reason: reason, By: by}), nil
}

func (s State) decideFailActivity(at time.Time, c FailActivity) ([]Event, error) {
	if s.endedBy(c.Order, orderedFail) {
		return nil, nil
	}
	i, err := s.ordered(c.Order)
	if err != nil {
		return nil, err
	}
	n := &s.g.nodes[i]
	if n.phase == ActivityFailed && n.said&orderedFail != 0 {
		return nil, nil
	}
	if n.phase == ActivityPending {
		return nil, s.refuse(n, "it has not been asked for yet; skip it instead")
	}
	if !n.phase.CanMove(ActivityFailed) {
		return nil, s.refuse(n, "only what has not ended can be failed")
	}
	by, reason := signed(c.By, c.Reason)
	fault := Fault{
		Step:    orElse(c.Error.Step, stepOperator),
		Message: orElse(orElse(c.Error.Message, c.Reason), "failed by "+by),
	}
	events := s.fail(at, i, fault)
	if e, ok := events[0].(Failed); ok {
		e.Reason, e.By = reason, by
		events[0] = e
	}
	return events, nil
}

// fits refuses an output that no agent could have given either.
func (s State) fits(i int32, output json.RawMessage) error {
	if fault := s.g.plan.oversize(output); fault != nil {
		return machine.Refuse(machine.Limit, fault.Message)
	}
	if fault := s.g.misfit(i, output); fault != nil {
		return machine.Refuse(machine.Schema, fault.Message)
	}
	return nil
}

func (s State) decidePauseActivity(c PauseActivity) ([]Event, error) {
	i, err := s.ordered(c.Order)
	if err != nil {
		return nil, err
	}
	n := &s.g.nodes[i]
	if n.phase.Final() {
		return nil, s.refuse(n, "only what has not ended can be paused")
	}
	if n.paused {
		return nil, nil
	}
	by, reason := signed(c.By, c.Reason)
	return []Event{ActivityPaused{ActivityID: n.id(), Reason: reason, By: by}}, nil
}

func (s State) decideResumeActivity(at time.Time, c ResumeActivity) ([]Event, error) {
	i, err := s.ordered(c.Order)
	if err != nil {
		return nil, err
	}
	n := &s.g.nodes[i]
	if !n.paused {
		return nil, nil
	}
	by, reason := signed(c.By, c.Reason)
	events := []Event{ActivityResumed{ActivityID: n.id(), Reason: reason, By: by}}
	if n.phase == ActivityPending && n.waits == 0 && !s.g.held() {
		events = append(events, s.request(at, n.def, n.def.Deadline, s.run))
	}
	return events, nil
}

// held says that nothing new is asked for: the orchestration is paused, or about to fail.
func (g *graph) held() bool { return g.beneath != 0 || g.doomed != nil }

// rearm sets the timers anew that a pause holds or lets go.
func (g *graph) rearm() {
	for i := range g.nodes {
		if n := &g.nodes[i]; !n.phase.Final() && n.phase != ActivityPending {
			g.arm(int32(i)) // bounded by the node limit
		}
	}
}

func (s State) paused() State {
	if s.g == nil || !s.phase.CanMove(PhasePaused) {
		return s
	}
	s.g.beneath, s.phase = s.phase, PhasePaused
	s.g.rearm()
	return s
}

func (s State) resumed(to Phase) State {
	if s.g == nil || s.phase != PhasePaused || !s.phase.CanMove(to) {
		return s
	}
	s.g.beneath, s.phase = 0, to
	s.g.rearm()
	return s
}

// held pauses an activity, or lets it go on.
func (s State) held(id string, paused bool) State {
	if s.g == nil {
		return s
	}
	if i, ok := s.g.find(id); ok && !s.g.nodes[i].phase.Final() {
		s.g.nodes[i].paused = paused
		s.g.arm(i)
	}
	return s
}
