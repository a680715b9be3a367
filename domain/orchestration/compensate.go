package orchestration

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/waybill/waybill/domain/blob"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
)

// Compensating says that a run has failed, or was cancelled, and that what had completed is
// being undone. What was under way is cancelled. A long list of what undoes is spread over
// several such events that follow each other.
type Compensating struct {
	State    Phase                 `json:"state"`    // COMPENSATING after a failure, CANCELLING after a cancel
	Undo     []definition.Activity `json:"undo"`     // what undoes, with what has to be undone before
	Deadline time.Time             `json:"deadline"` // of the undoing
	Error    *Failure              `json:"error,omitempty"`
	Reason   string                `json:"reason,omitempty"` // of a cancel
	By       string                `json:"by,omitempty"`
}

func (Compensating) event() {}

// Compensation is what came of undoing what had completed.
type Compensation struct {
	State     string `json:"state"` // CompensationCompleted or CompensationFailed
	Total     int    `json:"total"` // activities that had completed
	Completed int    `json:"completed"`
	Failed    int    `json:"failed"` // undoing them failed, or did not end in time
	Skipped   int    `json:"skipped,omitempty"`
}

// The states of a compensation; a running one is shown by the read model only.
const (
	CompensationRunning   = "RUNNING"
	CompensationCompleted = "COMPLETED"
	CompensationFailed    = "FAILED"
)

// undoing is what a graph knows while what had completed is being undone.
type undoing struct {
	from       int32 // the first of the nodes that undo; all after it do
	state      Phase // how the run ends
	failure    *Failure
	reason, by string
}

// undoes says that a node is there to undo another one.
func (g *graph) undoes(i int32) bool { return g.undo != nil && i >= g.undo.from }

// undone is the node that node i undoes.
func (g *graph) undone(i int32) (int32, bool) {
	if !g.undoes(i) {
		return 0, false
	}
	return g.find(strings.TrimSuffix(g.nodes[i].id(), definition.UndoSuffix))
}

// unwind ends a run badly: at once, or, where the definition says so, after undoing what had
// completed. last is an activity that completes in the same decision; -1: none does.
func (s State) unwind(at time.Time, end Ended, last int32) []Event {
	if !s.g.plan.def.Compensate {
		return []Event{end}
	}
	completed := s.g.reversed(func(i int32) bool { return i == last || s.g.nodes[i].phase == ActivityCompleted }, definition.UndoSuffix)
	if len(completed) == 0 {
		end.Compensation = &Compensation{State: CompensationCompleted}
		return []Event{end}
	}
	e := Compensating{State: PhaseCompensating, Error: end.Error, Reason: end.Reason, By: end.By, Deadline: fromMillis(millis(at.Add(DefaultDeadline)))}
	if end.State == PhaseCancelled {
		e.State = PhaseCancelling
	}
	var events []Event
	var ready []Event
	bytes := 0
	for _, u := range completed {
		if bytes += weight(&u.Activity); bytes > maxUndoBytes && len(e.Undo) > 0 {
			events = append(events, e)
			e = Compensating{State: e.State, Deadline: e.Deadline}
			bytes = weight(&u.Activity)
		}
		e.Undo = append(e.Undo, u.Activity)
		if len(u.DependsOn) == 0 {
			ready = append(ready, s.request(at, &u.Activity, s.g.nodes[u.of].def.Deadline, s.run))
		}
	}
	return append(append(events, e), ready...)
}

// maxUndoBytes is about how long the list in one event is, so that it fits into a record.
const maxUndoBytes = 512 << 10

// weight is about how long an activity's text is.
func weight(a *definition.Activity) int {
	n := 128 + len(a.ID) + len(a.Name) + len(a.Type)
	for _, d := range a.DependsOn {
		n += len(d) + 3
	}
	return n
}

// compensate folds in what undoes.
func (s State) compensate(e Compensating) State {
	g := s.g
	if s.phase != e.State {
		if !s.phase.CanMove(e.State) {
			return s
		}
		s.phase = e.State
		if g != nil {
			g.callOff(e)
		}
	}
	if g == nil || g.undo == nil {
		return s
	}
	for k := range e.Undo {
		g.addUndo(&e.Undo[k])
	}
	return s
}

// callOff cancels what has not ended: from here on there is only what undoes.
func (g *graph) callOff(e Compensating) {
	for i := range g.nodes {
		n := &g.nodes[i]
		if !n.phase.Final() {
			n.phase, n.state, n.agent, n.place, n.next, n.lease, n.timer, n.paused = ActivityCancelled, nil, "", "", 0, 0, 0, false
		}
		n.waits, n.unsettled = 0, 0
	}
	g.open, g.retrieving, g.working = 0, 0, 0
	g.beneath, g.doomed, g.verdict = 0, nil, 0
	g.undo = &undoing{from: int32(len(g.nodes)), state: PhaseError, failure: e.Error, reason: e.Reason, by: e.By} // bounded by the node limit
	if e.State == PhaseCancelling {
		g.undo.state = PhaseCancelled
	}
	g.deadline = millis(e.Deadline)
	g.timers.push(timer{at: g.deadline, node: -1})
}

// addUndo registers what undoes an activity. It has that one's policies; whether it works or
// not, the others go on.
func (g *graph) addUndo(a *definition.Activity) {
	of, ok := g.find(strings.TrimSuffix(a.ID, definition.UndoSuffix))
	if !ok {
		return
	}
	def := *g.nodes[of].def
	def.ID, def.Name, def.Discriminator, def.DependsOn = a.ID, a.Name, a.Discriminator, a.DependsOn
	def.With, def.Inputs, def.Context, def.OnError = nil, nil, nil, definition.OnErrorContinue
	g.name(a.ID, int32(len(g.nodes))) // bounded by twice the node limit
	g.open++
	g.nodes = append(g.nodes, node{def: &def, parent: -1, late: true})
	if len(a.DependsOn) > 0 {
		g.depend(&def)
	}
}

// compensated is the end after the undoing. What has not ended by now has failed.
func (s State) compensated(at time.Time, v view) Event {
	u := s.g.undo
	c := Compensation{State: CompensationCompleted}
	for i := u.from; int(i) < len(s.g.nodes); i++ {
		phase := s.g.nodes[i].phase
		if i == v.last {
			phase = v.phase
		}
		c.Total++
		switch phase {
		case ActivityCompleted:
			c.Completed++
		case ActivitySkipped:
			c.Skipped++
		default:
			c.Failed++
			c.State = CompensationFailed
		}
	}
	return Ended{State: u.state, Error: u.failure, Failures: s.g.allFailures(at, v.failure), Reason: u.reason, By: u.by, Compensation: &c}
}

// calledOff tells the agents what is no longer wanted, before anything is undone.
func (s State) calledOff(e Compensating) []machine.Effect {
	if s.phase == e.State {
		return nil // they were told with the first such event
	}
	var effects []machine.Effect
	for i := range s.g.nodes {
		effects = s.cancel(effects, int32(i), "the orchestration is "+e.State.String())
	}
	return effects
}

// inputOf is what an activity works on.
func (v view) inputOf(i int32) json.RawMessage {
	if of, ok := v.g.undone(i); ok {
		return v.undoInput(of)
	}
	return v.input(v.g.nodes[i].def)
}

func isRef(value json.RawMessage) bool {
	_, ok := blob.Of(value)
	return ok
}

// undoInput is what undoing an activity works on: its input, and over it the properties of its
// output. An output that is kept elsewhere as a whole is the property output.
func (v view) undoInput(i int32) json.RawMessage {
	m := map[string]json.RawMessage{}
	spread(m, v.input(v.g.nodes[i].def))
	if out := v.outputOf(i); isRef(out) {
		m["output"] = out
	} else {
		spread(m, out)
	}
	return object(m)
}
