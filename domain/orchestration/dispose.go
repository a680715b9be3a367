package orchestration

import (
	"encoding/json"
	"fmt"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
)

// Dispose starts the orchestration that disposes of what an ended one has deployed.
type Dispose struct {
	Reason string `json:"reason,omitempty"`
	By     string `json:"by,omitempty"`

	// Check says whether an orchestration of a type can be started with an input; the error is
	// a *machine.Refusal. nil takes any.
	Check func(typ string, input json.RawMessage) error `json:"-"`
}

func (Dispose) command() {}

// Disposed says that orchestration ID was asked to dispose of what run Run has deployed. Start is
// how it is started.
type Disposed struct {
	ID     string          `json:"id"`
	Run    int             `json:"run"`
	Start  json.RawMessage `json:"start"`
	Reason string          `json:"reason,omitempty"`
	By     string          `json:"by,omitempty"`
}

func (Disposed) event() {}

// Disposes says what an orchestration is there to dispose of.
type Disposes struct {
	ID  string `json:"id"`
	Run int    `json:"run"`
}

// maxDisposeBytes bounds how an orchestration is told to dispose: it has to fit into a command,
// and into the events around it.
const maxDisposeBytes = 900 << 10

func (s State) decideDispose(c Dispose) ([]Event, error) {
	switch {
	case s.phase == PhaseInitial:
		return nil, s.unknown()
	case !s.Ended():
		return nil, machine.Refuse(machine.BadState, fmt.Sprintf("orchestration %s is %s; only one that has ended can be disposed of", s.id, s.phase))
	case s.disposal != "":
		return nil, nil
	case s.g == nil:
		return nil, s.over()
	case s.g.disposes != nil:
		return nil, machine.Refuse(machine.BadState, fmt.Sprintf("orchestration %s is itself there to dispose of %s", s.id, s.g.disposes.ID))
	}
	start, err := s.undeploy(c)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(start)
	if err != nil {
		return nil, machine.Refuse(machine.BadState, err.Error()) // every part of it was read as JSON
	}
	if s.removed && len(s.own(b)) > 0 {
		return nil, s.gone()
	}
	if len(b) > maxDisposeBytes {
		return nil, tooMuchToUndo()
	}
	return []Event{Disposed{ID: machine.ID("dispose", s.id, itoa(s.run)), Run: s.run, Start: b, Reason: c.Reason, By: c.By}}, nil
}

// undeploy is the start that disposes of what has completed: by the definition that is named for
// that, or else by the same activities in reversed order.
func (s State) undeploy(c Dispose) (Start, error) {
	g := s.g
	undone := make(map[int32]bool)
	if g.undo != nil {
		for i := g.undo.from; int(i) < len(g.nodes); i++ {
			if of, ok := g.undone(i); ok && (g.nodes[i].phase == ActivityCompleted || g.nodes[i].phase == ActivitySkipped) {
				undone[of] = true
			}
		}
	}
	list := g.reversed(func(i int32) bool { return g.nodes[i].phase == ActivityCompleted && !undone[i] }, "")
	if len(list) == 0 {
		return Start{}, machine.Refuse(machine.BadState, fmt.Sprintf("nothing of orchestration %s has completed, or all of it is undone: there is nothing to dispose of", s.id))
	}
	start := Start{Type: g.plan.def.DisposedBy, Labels: g.labels, Resource: s.Resource(), Disposes: &Disposes{ID: s.id, Run: s.run}}
	if start.Type == "" {
		return s.reverse(start, list)
	}
	v := view{g: g, last: -1}.within(maxDisposeBytes)
	input := map[string]json.RawMessage{}
	spread(input, g.input)
	spread(input, v.mapped(g.plan.def.Output))
	start.Input = object(input)
	switch {
	case v.full():
		return start, tooMuchToUndo()
	case c.Check == nil:
		return start, nil
	}
	return start, c.Check(start.Type, start.Input)
}

func tooMuchToUndo() error {
	return machine.Refuse(machine.Limit, fmt.Sprintf("what is to be undone takes more than the limit of %d bytes; give the definition a disposedBy", maxDisposeBytes))
}

// reverse fills in a definition of what undoes, and as its input what each of them works on.
func (s State) reverse(start Start, list []undo) (Start, error) {
	g, v := s.g, view{g: s.g, last: -1}.within(maxDisposeBytes)
	start.Type = g.typ
	def := definition.Orchestration{Type: g.typ, Limits: g.plan.def.Limits, Version: g.plan.def.Version}
	input := make(map[string]json.RawMessage, len(list))
	for _, u := range list {
		a, was := u.Activity, g.nodes[u.of].def
		if a.Name == a.ID {
			a.Name = ""
		}
		a.Retry, a.AttemptTimeout, a.Deadline, a.HeartbeatTimeout = was.Retry, was.AttemptTimeout, was.Deadline, was.HeartbeatTimeout
		a.Inputs = []definition.Mapping{{Source: "input." + a.ID, Target: definition.Spread}}
		def.Activities = append(def.Activities, a)
		input[a.ID] = v.undoInput(u.of)
	}
	if v.full() {
		return Start{}, tooMuchToUndo()
	}
	start.Input = object(input)
	b, err := json.Marshal(def)
	if err != nil {
		return Start{}, machine.Refuse(machine.BadState, err.Error()) // it was read as JSON
	}
	start.Definition = b
	return start, nil
}

// dispose starts the orchestration that disposes. Its id is derived, so that deriving it again
// starts nothing new.
func (s State) dispose(e Disposed) []machine.Effect {
	return []machine.Effect{machine.Send{
		ID: machine.ID("dispose-start", s.id, itoa(e.Run)), Aggregate: "orchestration", Key: e.ID, Type: startType, Value: e.Start,
	}}
}
