package orchestration

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
)

// Wire names of the completions.
const (
	CompletedType = "orchestration.completed.v1"
	FailedType    = "orchestration.failed.v1"
	CancelledType = "orchestration.cancelled.v1"
)

// Completion is the value of a completion: how a run ended (interfaces: Subscribe).
type Completion struct {
	ID        string            `json:"id"`
	Type      string            `json:"type"`
	Run       int               `json:"run"`
	State     Phase             `json:"state"`
	Output    json.RawMessage   `json:"output,omitempty"`
	Error     *Failure          `json:"error,omitempty"`
	Failures  []Failure         `json:"failures,omitempty"`
	Reason    string            `json:"reason,omitempty"`
	StartedAt time.Time         `json:"startedAt"`
	EndedAt   time.Time         `json:"endedAt"`
	Labels    map[string]string `json:"labels"`
	// Compensation is what came of undoing what had completed, where the definition asks for that.
	Compensation *Compensation `json:"compensation,omitempty"`
	// Disposes says what this orchestration was there to dispose of.
	Disposes *Disposes `json:"disposes,omitempty"`
}

// Follow is what follows outside from an event decided at at, given the State before it.
// It is a pure function of the log, so it can be derived again after a crash, with the
// same IDs.
func (s State) Follow(at time.Time, e Event) []machine.Effect {
	if e, ok := e.(Started); ok {
		return s.claim(e.Input)
	}
	if _, ok := e.(BlobsRemoved); ok {
		return s.discard()
	}
	if e, ok := e.(Disposed); ok {
		return s.dispose(e)
	}
	if s.g == nil {
		return nil
	}
	switch e := e.(type) {
	case Requested:
		if e.Fault != nil {
			return nil
		}
		// An operator may have given up an attempt for it.
		effects := s.unwanted(e.ActivityID, "another attempt is wanted now")
		return append(effects, s.work(at, e.ActivityID, e.Attempt, 1, e.WorkID, e.Deadline)...)
	case Offered:
		if i, ok := s.g.find(e.ActivityID); ok {
			return s.work(at, e.ActivityID, e.Attempt, e.Offer, e.WorkID, fromMillis(s.g.nodes[i].deadline))
		}
	case Retrying:
		return s.abandoned(e.ActivityID, e.Error)
	case Completed:
		effects := s.claim(e.Output)
		if e.By != "" {
			effects = append(effects, s.unwanted(e.ActivityID, e.By+" completed the activity")...)
		}
		return effects
	case Skipped:
		return append(s.claim(e.Output), s.unwanted(e.ActivityID, e.By+" skipped the activity")...)
	case Failed:
		if e.By != "" {
			return s.unwanted(e.ActivityID, e.By+" failed the activity")
		}
		return s.abandoned(e.ActivityID, e.Error)
	case Compensating:
		return s.calledOff(e)
	case Ended:
		return s.ended(at, e)
	case Started, Claimed, Extended, Waited, Scheduled, TransfersFinished, RerunStarted, Disposed, Paused, Resumed, ActivityPaused, ActivityResumed, BlobsRemoved:
	}
	return nil
}

// work is an offer of an attempt. Its deadline is the activity's: an attempt's own time runs from
// the claim, which may come late when there is a queue, and the machine watches over it.
func (s State) work(at time.Time, activityID string, attempt, offer int, workID string, deadline time.Time) []machine.Effect {
	i, ok := s.g.find(activityID)
	if !ok {
		return nil
	}
	n := &s.g.nodes[i]
	v := view{g: s.g, last: -1}.within(MaxInputBytes)
	input, unfit := v.inputOf(i), ""
	if v.full() {
		input, unfit = nil, fmt.Sprintf("the input has more than the limit of %d bytes once its templates are filled in", MaxInputBytes)
	}
	outputs, _ := v.outputs(n.def, n.parent) // what could be wrong was found before it was asked for
	return []machine.Effect{machine.Work{
		ID: workID, Attempt: attempt, Offer: offer, Aggregate: "orchestration", AggregateID: s.id, Run: s.run,
		ActivityID: n.id(), Type: n.def.Type, Discriminator: n.def.Discriminator, Resource: s.Resource(),
		Input: input, Outputs: outputs, Unfit: unfit, State: n.state, RequestedAt: at, Deadline: deadline,
		TraceParent: s.g.trace, OfferedUntil: fromMillis(millis(at.Add(machine.OfferWait(offer)))), HeartbeatTimeout: heartbeatTimeout(n.def).Milliseconds(),
	}}
}

// abandoned tells the agents that an attempt the machine gave up on is no longer wanted.
func (s State) abandoned(activityID string, f Failure) []machine.Effect {
	if !givenUp(f.Step) {
		return nil
	}
	return s.unwanted(activityID, f.Message)
}

// unwanted tells the agents that the attempt which is out, where one is, is no longer wanted.
func (s State) unwanted(activityID, why string) []machine.Effect {
	if i, ok := s.g.find(activityID); ok {
		return s.cancel(nil, i, why)
	}
	return nil
}

func (s State) cancel(effects []machine.Effect, i int32, reason string) []machine.Effect {
	n := &s.g.nodes[i]
	if !n.phase.offered() {
		return effects
	}
	c := machine.CancelWork{ID: n.workID, Attempt: int(n.attempt), Type: n.def.Type, Reason: reason}
	if c.Type == definition.Acquire {
		c.Input = view{g: s.g, last: -1}.inputOf(i) // it says whose access is not waited for any more
	}
	return append(effects, c)
}

func (s State) ended(at time.Time, e Ended) []machine.Effect {
	typ := CompletedType
	switch e.State {
	case PhaseError:
		typ = FailedType
	case PhaseCancelled:
		typ = CancelledType
	case PhaseInitial, PhaseInProgress, PhasePaused, PhaseTransfersFinished, PhaseCompleted, PhaseCompensating, PhaseCancelling:
	}
	labels := s.g.labels
	if labels == nil {
		labels = map[string]string{}
	}
	completion := machine.Completion{
		ID: machine.ID("completion", "orchestration", s.id, itoa(s.run)), Type: typ,
		Value: Completion{
			ID: s.id, Type: s.g.typ, Run: s.run, State: e.State, Output: e.Output, Error: e.Error, Failures: e.Failures,
			Reason: e.Reason, StartedAt: s.g.startedAt, EndedAt: at, Labels: labels, Compensation: e.Compensation, Disposes: s.g.disposes,
		},
	}
	effects := []machine.Effect{completion}
	if s.g.callback != "" {
		effects = append(effects, s.callback(at, completion))
	}
	if s.g.open > 0 && e.State != PhaseCompleted {
		for i := range s.g.nodes {
			effects = s.cancel(effects, int32(i), "the orchestration is "+e.State.String())
		}
	}
	return effects
}
