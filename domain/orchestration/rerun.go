package orchestration

import (
	"fmt"
	"slices"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
)

// Rerun runs an orchestration that has ended again. From names the activities to begin with;
// without any, those that failed or never ended run again. What came before is kept.
type Rerun struct {
	Reason string           `json:"reason,omitempty"`
	By     string           `json:"by,omitempty"`
	From   definition.Names `json:"from,omitempty"`
}

func (Rerun) command() {}

// RerunStarted begins run Run. The activities of Reset wait to be asked for anew, and what they had
// spawned is gone; all others keep their results.
type RerunStarted struct {
	Run      int       `json:"run"`
	Reset    []string  `json:"reset"` // ids, in the order in which they were registered
	Deadline time.Time `json:"deadline"`
	From     []string  `json:"from,omitempty"` // as asked for
	Reason   string    `json:"reason,omitempty"`
	By       string    `json:"by,omitempty"`
}

func (RerunStarted) event() {}

// Remember lets an orchestration keep its graph when a run ends: that is what a Rerun and a
// Dispose are decided on.
func (s State) Remember() State {
	s.remembers = true
	return s
}

// Forget drops what only Remember keeps.
func (s State) Forget() State {
	if s.remembers = false; s.Ended() {
		s.g = nil
	}
	return s
}

// NeedsHistory says that a command is decided on more than an ended orchestration has: its events
// have to be folded into one that remembers.
func (s State) NeedsHistory(c Command) bool {
	if s.g != nil || !s.Ended() || s.disposal != "" {
		return false
	}
	switch c.(type) {
	case Rerun, Dispose:
		return true
	case Start, Cancel, Complete, Wait, Schedule, Retry, Fail, Heartbeat, Release, Wake, TakeOver, Pause, Resume,
		RetryActivity, SkipActivity, CompleteActivity, FailActivity, PauseActivity, ResumeActivity:
	}
	return false
}

// Lost says that a run is under way without its graph: it began when an earlier one had ended, and
// what happened before has to be read back.
func (s State) Lost() bool { return s.g == nil && s.phase != PhaseInitial && !s.Ended() }

// Revives says that an event begins another run.
func Revives(e Event) bool {
	_, ok := e.(RerunStarted)
	return ok
}

func (s State) decideRerun(at time.Time, c Rerun) ([]Event, error) {
	switch {
	case s.phase == PhaseInitial:
		return nil, s.unknown()
	case !s.Ended():
		return nil, machine.Refuse(machine.BadState, fmt.Sprintf("orchestration %s is %s in run %d; only one that has ended can be run again", s.id, s.phase, s.run))
	case s.disposal != "":
		return nil, machine.Refuse(machine.BadState, fmt.Sprintf("orchestration %s is disposed of by %s; start another one", s.id, s.disposal))
	case s.g == nil:
		return nil, s.over()
	}
	x, err := s.g.chosen(c.From)
	if err != nil {
		return nil, err
	}
	e := RerunStarted{Run: s.run + 1, From: c.From, Reason: c.Reason, By: c.By, Reset: x.reset()}
	if len(e.Reset) == 0 {
		return nil, machine.Refuse(machine.BadState, fmt.Sprintf("every activity of orchestration %s has completed; name the one to run again from", s.id))
	}
	if s.removed && s.reads(x) {
		return nil, s.gone()
	}
	e.Deadline = fromMillis(millis(at) + s.g.within)
	g := s.g.again(at, e)
	if i, ok := g.circular(); ok {
		return nil, machine.Refuse(machine.BadState, fmt.Sprintf("activity %q would wait in a circle: something in it was skipped before it was its turn; run again from the activity that spawned it, or start another one", g.nodes[i].id()))
	}
	events := []Event{e}
	if g.plan.aggregates && g.retrieving == 0 {
		events = append(events, TransfersFinished{})
	}
	for i := range g.nodes {
		if n := &g.nodes[i]; !n.phase.Final() && n.waits == 0 {
			events = append(events, s.request(at, n.def, n.def.Deadline, e.Run))
		}
	}
	return events, nil
}

// circular finds an activity that would never be asked for. What is spawned may depend on what was
// skipped although that itself waits for the spawner, and then does; should both run again, each
// would wait for the other.
func (g *graph) circular() (int32, bool) {
	if !g.deps {
		return 0, false
	}
	waits, unsettled, ended := make([]int32, len(g.nodes)), make([]int32, len(g.nodes)), make([]bool, len(g.nodes))
	var ready, settled []int32
	for i := range int32(len(g.nodes)) { // bounded by the node limit
		n := &g.nodes[i]
		waits[i], unsettled[i], ended[i] = n.waits, n.unsettled, n.phase.Final()
		if !ended[i] && n.waits == 0 {
			ready = append(ready, i)
		}
	}
	for len(ready) > 0 {
		i := ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		if ended[i] = true; unsettled[i] > 0 {
			continue
		}
		for settled = append(settled[:0], i); len(settled) > 0; {
			x := settled[len(settled)-1]
			settled = settled[:len(settled)-1]
			for _, d := range g.dependents(x) {
				if waits[d]--; waits[d] == 0 && !ended[d] {
					ready = append(ready, d)
				}
			}
			for k := 0; ; k++ {
				p, ok := g.spawner(x, k)
				if !ok {
					break
				}
				if unsettled[p]--; unsettled[p] == 0 && ended[p] {
					settled = append(settled, p)
				}
			}
		}
	}
	i := slices.Index(ended, false)
	return int32(i), i >= 0 // bounded by the node limit
}

// reads says whether another run would read what was removed: the input, or a result that is kept.
func (s State) reads(x *selection) bool {
	found := len(s.own(s.g.input)) > 0
	for i := range x.again {
		found = found || !x.again[i] && !x.gone[i] && len(s.own(s.g.nodes[i].output)) > 0
	}
	return found
}

func (s State) gone() error {
	return machine.Refuse(machine.BadState, fmt.Sprintf("large values of orchestration %s, which this needs, were removed a while after its end; start another one", s.id))
}

// selection is what another run does not keep of a graph that has ended.
type selection struct {
	g     *graph
	above [][]int32
	after [][]int32
	again []bool // runs again
	gone  []bool // was spawned by what runs again
	below []bool // something that it spawned is of these
	queue []int32
}

func (g *graph) newSelection() *selection {
	n := len(g.nodes)
	if g.undo != nil {
		n = int(g.undo.from)
	}
	return &selection{g: g, above: g.above(n), after: g.after(n), again: make([]bool, n), gone: make([]bool, n), below: make([]bool, n)}
}

// chosen is what runs again from some activities on: these, what has not completed, what was
// undone, and all that comes after any of them.
func (g *graph) chosen(from []string) (*selection, error) {
	x := g.newSelection()
	for _, id := range from {
		i, ok := g.find(id)
		if !ok || int(i) >= len(x.again) {
			return nil, machine.Refuse(machine.NotFound, fmt.Sprintf("there is no activity %q to run again from", id))
		}
		x.take(i)
	}
	for i := range int32(len(x.again)) { // bounded by the node limit
		n := &g.nodes[i]
		switch {
		case !n.phase.Final(), n.phase == ActivityCancelled:
			x.take(i)
		case n.phase == ActivityFailed && (len(from) == 0 || !g.continues(n)):
			x.take(i)
		}
	}
	if g.undo != nil {
		for i := g.undo.from; int(i) < len(g.nodes); i++ {
			if of, ok := g.undone(i); ok {
				x.take(of)
			}
		}
	}
	x.follow()
	return x, nil
}

// reset lists what runs again and is not spawned anew.
func (x *selection) reset() []string {
	var ids []string
	for i, again := range x.again {
		if again && !x.gone[i] {
			ids = append(ids, x.g.nodes[i].id())
		}
	}
	return ids
}

func (x *selection) take(i int32) {
	if int(i) < len(x.again) && !x.again[i] && !x.gone[i] {
		x.again[i] = true
		x.queue = append(x.queue, i)
	}
}

func (x *selection) drop(i int32) {
	if x.gone[i] {
		return
	}
	x.gone[i] = true
	x.queue = append(x.queue, i)
}

// follow adds all that comes after what is in the queue.
func (x *selection) follow() {
	for len(x.queue) > 0 {
		i := x.queue[len(x.queue)-1]
		x.queue = x.queue[:len(x.queue)-1]
		n := &x.g.nodes[i]
		for c := n.first; c < n.first+n.spawned; c++ {
			x.drop(c)
		}
		if x.gone[i] {
			for _, p := range x.above[i] {
				if p != n.parent {
					x.take(p) // what it shared is gone
				}
			}
		}
		x.settledAgain(i)
	}
}

// settledAgain adds whoever waits for a node, or for what it is a part of.
func (x *selection) settledAgain(i int32) {
	for list := []int32{i}; len(list) > 0; {
		i := list[len(list)-1]
		list = list[:len(list)-1]
		if x.below[i] {
			continue
		}
		x.below[i] = true
		for _, d := range x.after[i] {
			x.take(d)
		}
		list = append(list, x.above[i]...)
	}
}

// rerun folds in that another run begins.
func (s State) rerun(at time.Time, e RerunStarted) State {
	if !s.Ended() {
		return s
	}
	if s.g != nil {
		s.g = s.g.again(at, e)
	}
	s.phase, s.run, s.endedAt, s.last = PhaseInProgress, e.Run, time.Time{}, ending{}
	s.removed = false // of what it keeps, else it were refused
	return s
}

// again makes the graph of another run. The old one is not changed.
func (g *graph) again(at time.Time, e RerunStarted) *graph {
	x := g.newSelection()
	for _, id := range e.Reset {
		if i, ok := g.find(id); ok && int(i) < len(x.again) {
			x.again[i] = true
		}
	}
	for i := range x.again { // parents come before what they spawned
		if p := g.nodes[i].parent; p >= 0 && (x.again[p] || x.gone[p]) {
			x.gone[i] = true
		}
	}
	r := renewal{old: g, x: x, now: make([]int32, len(x.again))}
	r.g = newGraph(at, Started{
		Type: g.typ, Plan: g.plan, Input: g.input, Partial: g.partial, Deadline: e.Deadline,
		Labels: g.labels, Callback: g.callback, Resource: g.resource, Disposes: g.disposes, TraceParent: g.trace,
	})
	r.register()
	r.connect()
	r.settle()
	return r.g
}

// renewal makes a graph anew out of what is kept of an old one.
type renewal struct {
	old, g *graph
	x      *selection
	now    []int32 // by old node: the new one; -1: it is gone
}

func (r *renewal) kept(i int32) bool { return !r.x.again[i] && !r.x.gone[i] }

// register makes the nodes that what is kept had spawned, and the keys it was given.
func (r *renewal) register() {
	planned := int32(len(r.old.plan.dependents)) // bounded by the node limit
	for i := range int32(len(r.now)) {           // bounded by the node limit
		if i >= planned {
			r.now[i] = -1
		} else {
			r.now[i] = i
		}
	}
	for i := range int32(len(r.now)) { // bounded by the node limit
		n := &r.old.nodes[i]
		if !r.kept(i) || n.phase != ActivityCompleted {
			continue
		}
		r.g.nodes[r.now[i]].first = int32(len(r.g.nodes)) // bounded by the node limit
		for c := n.first; c < n.first+n.spawned; c++ {
			r.now[c] = int32(len(r.g.nodes)) // bounded by the node limit
			r.g.spawn(r.now[i], r.old.nodes[c].def)
		}
	}
	for key, i := range r.old.index {
		if int(i) < len(r.now) && r.kept(i) && r.old.nodes[i].id() != key {
			if _, taken := r.g.find(key); !taken {
				r.g.name(key, r.now[i])
			}
		}
	}
}

// connect makes the edges that no registration makes.
func (r *renewal) connect() {
	r.g.cyclic, r.g.contracts = r.old.cyclic, r.old.contracts
	r.g.checked = r.g.checked || r.old.checked
	for i := range int32(len(r.now)) { // bounded by the node limit
		n := &r.old.nodes[i]
		if l := n.links; l != nil && r.kept(i) {
			var shared []string
			if len(l.children) > 0 {
				for _, c := range l.children[n.spawned:] {
					shared = append(shared, r.old.nodes[c].id())
				}
			}
			r.g.share(r.now[i], &Completed{Shared: shared})
			for _, c := range l.order {
				if int(c) < len(r.now) && r.now[c] >= 0 {
					l := r.g.nodes[r.now[i]].linked()
					l.order = append(l.order, r.now[c])
				}
			}
		}
		if n.parent >= 0 && r.now[i] >= 0 && len(n.def.DependsOn) > 0 {
			r.depend(r.now[i], n.def)
		}
	}
}

// depend lets a spawned activity wait for what it depends on, or for what may spawn that anew.
func (r *renewal) depend(i int32, def *definition.Activity) {
	a := *def
	a.DependsOn = nil
	for _, id := range def.DependsOn {
		j, ok := r.old.find(id)
		for ok && r.now[j] < 0 {
			j = r.old.nodes[j].parent
		}
		if ok && !slices.Contains(a.DependsOn, r.old.nodes[j].id()) {
			a.DependsOn = append(a.DependsOn, r.old.nodes[j].id())
		}
	}
	if !slices.Equal(a.DependsOn, def.DependsOn) {
		r.g.nodes[i].def = &a
	}
	r.g.depend(&a)
}

// settle takes the results over.
func (r *renewal) settle() {
	for i := range int32(len(r.now)) { // bounded by the node limit
		if !r.kept(i) {
			continue
		}
		was, n := &r.old.nodes[i], &r.g.nodes[r.now[i]]
		n.workID, n.output, n.deadline = was.workID, was.output, was.deadline
		n.attempt, n.failures, n.offers, n.said = was.attempt, was.failures, was.offers, was.said
		if n.workID != "" {
			r.g.remember(n.workID, r.now[i])
		}
		if was.phase == ActivityFailed {
			r.g.failed++
		}
		r.g.close(r.now[i], was.phase)
	}
	for _, f := range r.old.failures {
		if i, ok := r.old.find(f.ActivityID); ok && int(i) < len(r.now) && r.kept(i) {
			r.g.failures = append(r.g.failures, f)
		}
	}
	r.g.last = -1
}
