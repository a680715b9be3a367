package orchestration

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
)

// contract holds what goes into the activities of a type, and what comes out of them, against
// the type's schemas. They are compiled when they are first needed: most processes that read a
// plan never check anything by it. It is safe for concurrent use.
type contract struct {
	typ           string
	def           definition.Contract
	compiled      sync.Once
	input, output side
}

// side is one of a contract's schemas, compiled.
type side struct {
	checker  *definition.Checker
	problems []machine.Problem // of the schema itself
}

func (c *contract) compile() {
	c.input.checker, c.input.problems = definition.NewOpenAPIChecker(c.def.Input)
	c.output.checker, c.output.problems = definition.NewOpenAPIChecker(c.def.Output)
}

// check says what does not fit, for the step input or output. A value that is not there is an
// object without properties.
func (c *contract) check(step string, value json.RawMessage) *Fault {
	schema, s := c.def.Input, &c.input
	if step == stepOutput {
		schema, s = c.def.Output, &c.output
	}
	if len(schema) == 0 {
		return nil
	}
	c.compiled.Do(c.compile)
	if len(value) == 0 {
		value = json.RawMessage("{}")
	}
	problems := s.problems // it was checked when it was put: only another build can find any
	if len(problems) == 0 {
		problems = s.checker.Check(value)
	}
	if len(problems) == 0 {
		return nil
	}
	return &Fault{Step: step, Message: fmt.Sprintf("the %s does not fit the %sSchema of %s: %s", step, step, c.typ, describe(step, problems))}
}

// describe lists what is wrong, as much of it as a failure's message holds.
func describe(root string, problems []machine.Problem) string {
	const room = maxMessageBytes - 2*maxNameBytes
	var b strings.Builder
	for i, p := range problems {
		at := root
		if p.Path != "" && p.Path[0] != '[' {
			at += "."
		}
		at = machine.Clip(at+p.Path, maxNameBytes) + ": " + machine.Clip(p.Message, maxMessageBytes/4)
		if i > 0 && b.Len()+len(at) > room {
			fmt.Fprintf(&b, "; and %d more", len(problems)-i)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(at)
	}
	return b.String()
}

// contract finds that of an activity type; nil where anything fits.
func (g *graph) contract(typ string) *contract {
	if c := g.plan.contracts[typ]; c != nil {
		return c
	}
	return g.contracts[typ]
}

// misfit says what of an output does not fit the contract of the activity's type. Undoing an
// activity makes nothing that anybody reads.
func (g *graph) misfit(i int32, output json.RawMessage) *Fault {
	c := g.contract(g.nodes[i].def.Type)
	if c == nil {
		return nil
	}
	if _, undone := g.undone(i); undone {
		return nil
	}
	return c.check(stepOutput, output)
}

// newContracts are those of the types that are spawned here for the first time. A type that
// the plan has keeps what it had when the orchestration was started.
func (g *graph) newContracts(inForce map[string]definition.Contract, spawned []definition.Activity) map[string]definition.Contract {
	if len(inForce) == 0 {
		return nil
	}
	var found map[string]definition.Contract
	for k := range spawned {
		typ := spawned[k].Type
		c, ok := inForce[typ]
		if _, noted := found[typ]; !ok || noted || c.Empty() || g.contract(typ) != nil || g.plan.has(typ) {
			continue
		}
		if found == nil {
			found = make(map[string]definition.Contract)
		}
		found[typ] = c
	}
	return found
}

// has says whether the plan has an activity of that type.
func (p *Plan) has(typ string) bool {
	for i := range p.def.Activities {
		if p.def.Activities[i].Type == typ {
			return true
		}
	}
	return false
}

// learn takes over the contracts of types that were spawned for the first time.
func (g *graph) learn(contracts map[string]definition.Contract) {
	for typ, c := range contracts {
		g.checked = true
		if g.contracts == nil {
			g.contracts = make(map[string]*contract)
		}
		g.contracts[typ] = g.plan.spawned.contract(typ, c)
	}
}

// spawnedContracts lets the orchestrations of a plan share the contracts of what they spawn, so
// that these are compiled once.
type spawnedContracts struct {
	mu    sync.Mutex
	known map[string]*contract // by type
}

func (s *spawnedContracts) contract(typ string, def definition.Contract) *contract {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.known[typ]; c != nil && string(c.def.Input) == string(def.Input) && string(c.def.Output) == string(def.Output) {
		return c
	}
	if s.known == nil {
		s.known = make(map[string]*contract)
	}
	c := &contract{typ: typ, def: def}
	s.known[typ] = c // the newest: what runs by an older one keeps that
	return c
}

// inspect looks at the input of each activity that is asked for the first time, and notes on
// the request what is wrong with it. What nobody was asked for fails with the next Wake, one
// after the other, so that what follows from it is counted right.
func (s State) inspect(at time.Time, events []Event) {
	v := view{g: s.g, last: -1}
	var spawned []definition.Activity
	for k, e := range events {
		switch e := e.(type) {
		case Started:
			if e.Plan == nil || !e.Plan.checked {
				return // nothing has been spawned yet
			}
			v.g = newGraph(at, e)
		case Completed:
			if !v.g.checked && e.Contracts == nil && !anyContext(e.Spawned) {
				return
			}
			i, _ := v.g.find(e.ActivityID)
			v.last, v.phase, v.output, v.ended, spawned = i, ActivityCompleted, e.Output, &e, e.Spawned
		case Skipped:
			if !v.g.checked {
				return
			}
			i, _ := v.g.find(e.ActivityID)
			v.last, v.phase, v.output = i, ActivitySkipped, e.Output
		case Failed:
			if !v.g.checked {
				return
			}
			i, _ := v.g.find(e.ActivityID)
			v.last, v.phase, v.failure = i, ActivityFailed, &e.Error
		case Requested:
			if e.Attempt != 1 { // what is read from does not change between attempts
				continue
			}
			var a asked
			if a, spawned = v.asked(e.ActivityID, spawned); a.def == nil {
				continue
			}
			if e.Fault = v.fault(a); e.Fault != nil {
				events[k] = e
			}
		case Offered, Claimed, Extended, Waited, Scheduled, Retrying, TransfersFinished, Ended, BlobsRemoved,
			Paused, Resumed, ActivityPaused, ActivityResumed, Compensating, RerunStarted, Disposed:
		}
	}
}

// checks says whether anything can be wrong with what a definition's activities are handed.
func checks(def *definition.Orchestration) bool {
	return len(def.Contracts) > 0 || anyContext(def.Activities)
}

func anyContext(activities []definition.Activity) bool {
	for i := range activities {
		if !activities[i].Context.IsZero() {
			return true
		}
	}
	return false
}

// asked is an activity that is asked for, and who spawned it; -1: nobody.
type asked struct {
	def    *definition.Activity
	parent int32
}

// fault is what is wrong with what an activity would be handed.
func (v view) fault(a asked) *Fault {
	if _, fault := v.outputs(a.def, a.parent); fault != nil {
		return fault
	}
	c := v.contract(a.def.Type)
	if c == nil {
		return nil
	}
	v = v.within(MaxInputBytes)
	if input := v.input(a.def); !v.full() { // what is too much fails by that name
		return c.check(stepInput, input)
	}
	return nil
}

// asked finds the activity that is asked for: one that is there, or the next of those that are
// being spawned, which are asked for in their order.
func (v view) asked(id string, spawned []definition.Activity) (asked, []definition.Activity) {
	if len(spawned) > 0 && spawned[0].ID == id { // nearly always
		return asked{&spawned[0], v.last}, spawned[1:]
	}
	if i, ok := v.g.find(id); ok {
		if _, undone := v.g.undone(i); undone {
			return asked{}, spawned // what it is handed is not what its type says
		}
		return asked{v.g.nodes[i].def, v.g.nodes[i].parent}, spawned
	}
	for k := range spawned {
		if spawned[k].ID == id {
			return asked{&spawned[k], v.last}, spawned[k+1:]
		}
	}
	return asked{}, spawned
}

// contract is that of a type once what is being decided has happened.
func (v view) contract(typ string) *contract {
	if c := v.g.contract(typ); c != nil || v.ended == nil {
		return c
	}
	if c, ok := v.ended.Contracts[typ]; ok {
		return v.g.plan.spawned.contract(typ, c)
	}
	return nil
}

// blame keeps what is wrong with the input until the next Wake.
func (n *node) blame(at time.Time, fault *Fault) {
	if fault == nil {
		if n.links != nil {
			n.links.fault = nil
		}
		return
	}
	n.linked().fault = fault
	n.next = millis(at)
}

// ill is what is wrong with the input of a node that nobody was asked for.
func (n *node) ill() *Fault {
	if n.links == nil || n.phase.Final() {
		return nil
	}
	return n.links.fault
}
