package orchestration

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
)

// history folds what is on the log into a state that keeps its graph.
func (r *run) history() State {
	s := New("o-1").Remember()
	for _, x := range r.log {
		s = s.Evolve(x.at, x.e)
	}
	return s
}

// rerun runs it again from some activities, or from those that failed, up to the next end.
func (r *run) rerun() {
	c := Rerun{Reason: "mended", By: "kim"}
	if rapid.Bool().Draw(r.t, "from") {
		c.From = definition.Names{rapid.SampledFrom(others).Draw(r.t, "from which")}
	}
	if !r.s.NeedsHistory(c) {
		r.t.Fatal("it is decided without its history")
	}
	s := r.history()
	events, err := s.Decide(r.at, c)
	var refusal *machine.Refusal
	if err != nil {
		if !errors.As(err, &refusal) {
			r.t.Fatal(err)
		}
		if strings.Contains(refusal.Reason, "were removed") && r.m.whole() {
			r.t.Fatalf("%v, but nothing is missing", err)
		}
		skipped := func(n *modelNode) bool { return n.phase == ActivitySkipped }
		if strings.Contains(refusal.Reason, "in a circle") && !slices.ContainsFunc(slices.Collect(maps.Values(r.m.nodes)), skipped) {
			r.t.Fatalf("%v, but nothing was skipped", err)
		}
		return
	}
	if again, _ := s.Decide(r.at, c); fmt.Sprint(again) != fmt.Sprint(events) {
		r.t.Fatalf("decided twice on the same state:\n%v\n%v", events, again)
	}
	if !r.s.Evolve(r.at, events[0]).Lost() {
		r.t.Fatal("a state without a graph goes on without one")
	}
	r.s, r.shadow = s, nil
	if r.shadowed {
		r.shadow = &shadow{s: r.restored(s)} // of one that remembers
	}
	r.shade(c, events, true)
	for _, e := range events {
		r.fold(r.place(e))
	}
	if !r.m.whole() {
		r.t.Fatal("it keeps what was removed")
	}
	r.s, r.shadow = r.s.Forget(), nil
	r.check()
	if more, err := r.s.Decide(r.at, c); len(more) > 0 || err == nil {
		r.t.Fatalf("the same rerun, under way: %v, %v", more, err)
	}
	for range rapid.IntRange(0, 20).Draw(r.t, "commands of the run") {
		r.pass(rapid.SampledFrom(pauses).Draw(r.t, "pause"))
		r.give(r.command())
	}
	r.finish()
}

// lapse lets so much time pass, or does not, that what is left among the blobs is removed.
func (r *run) lapse() {
	if rapid.Bool().Draw(r.t, "removed") {
		r.pass(DefaultKeepBlobs + time.Second)
		if len(r.m.left) > 0 {
			r.t.Fatalf("%v is left", r.m.left)
		}
	}
}

// keep notes what a value refers to.
func (m *model) keep(value json.RawMessage) {
	for _, b := range New("o-1").own(value) {
		if m.left == nil {
			m.left = map[string]bool{}
		}
		m.left[b.ID] = true
	}
}

// whole says that what the activities have made is all there.
func (m *model) whole() bool {
	for _, n := range m.nodes {
		for _, b := range New("o-1").own(n.output) {
			if !m.left[b.ID] {
				return false
			}
		}
	}
	return true
}

func (m *model) remove(e BlobsRemoved) error {
	if e.Blobs != len(m.left) || e.Bytes != int64(len(m.left)) {
		return fmt.Errorf("%d were left", len(m.left))
	}
	clear(m.left)
	return nil
}

// dispose asks for what disposes: that has to be an orchestration that can be started, and undoes
// what has completed and was not undone, each once, and after what came after it.
func (r *run) dispose() {
	s := r.history()
	events, err := s.Decide(r.at, Dispose{Reason: "gone"})
	wanted := r.m.deployed()
	if err != nil {
		if len(wanted) > 0 && (r.m.whole() || !strings.Contains(err.Error(), "were removed")) {
			r.t.Fatalf("%v, but %v have completed", err, wanted)
		}
		return
	}
	e, _ := events[0].(Disposed)
	var c Start
	if err := json.Unmarshal(e.Start, &c); err != nil {
		r.t.Fatal(err)
	}
	def, problems := definition.ValidateOrchestration(c.Definition, nil)
	if len(problems) > 0 {
		r.t.Fatalf("%s: %v", c.Definition, problems)
	}
	r.ordered(wanted, def.Activities, "")
	r.fold2(e)
}

// fold2 folds in that it is disposed of: the model knows nothing of that.
func (r *run) fold2(e Disposed) {
	if f := r.s.Follow(r.at, e); len(f) != 1 {
		r.t.Fatalf("what follows: %v", f)
	}
	r.s = r.s.Evolve(r.at, e)
	if more, err := r.s.Decide(r.at, Dispose{}); len(more) > 0 || err != nil || r.s.NeedsHistory(Dispose{}) {
		r.t.Fatalf("disposed of again: %v, %v", more, err)
	}
}

// ordered checks a list of what undoes.
func (r *run) ordered(wanted []string, l []definition.Activity, suffix string) {
	place := map[string]int{}
	var got []string
	for k, a := range l {
		id := strings.TrimSuffix(a.ID, suffix)
		got, place[id] = append(got, id), k
		if a.Discriminator != definition.Dispose || a.Type != r.m.nodes[id].def.Type {
			r.t.Fatalf("%+v does not undo %s", a, id)
		}
		for _, d := range a.DependsOn {
			if p, ok := place[strings.TrimSuffix(d, suffix)]; !ok || p >= k {
				r.t.Fatalf("%s waits for %s, which comes later", a.ID, d)
			}
		}
	}
	slices.Sort(got)
	r.equal("what is undone", got, wanted)
	for _, id := range got {
		after := waitsFor(l, place, id, suffix)
		for _, n := range r.m.after(r.m.nodes[id]) {
			if _, ok := place[n.id]; ok && !after[n.id] {
				r.t.Fatalf("%s is undone without waiting for %s, which came after it", id, n.id)
			}
		}
	}
}

// waitsFor is all that an activity waits for, at any distance.
func waitsFor(l []definition.Activity, place map[string]int, id, suffix string) map[string]bool {
	all := map[string]bool{}
	for queue := []string{id}; len(queue) > 0; {
		a := l[place[queue[0]]]
		queue = queue[1:]
		for _, d := range a.DependsOn {
			if d = strings.TrimSuffix(d, suffix); !all[d] {
				all[d] = true
				queue = append(queue, d)
			}
		}
	}
	return all
}

// completed lists what has completed, but for what undoes.
func (m *model) completed() []string {
	var l []string
	for id, n := range m.nodes {
		if n.undoes == nil && n.phase == ActivityCompleted {
			l = append(l, id)
		}
	}
	slices.Sort(l)
	return l
}

// deployed lists what has completed and was not undone.
func (m *model) deployed() []string {
	return slices.DeleteFunc(m.completed(), func(id string) bool {
		u := m.nodes[id+definition.UndoSuffix]
		return u != nil && (u.phase == ActivityCompleted || u.phase == ActivitySkipped)
	})
}

// after is what came after a node: what it spawned, and whoever waited for it or for
// something that it was a part of.
func (m *model) after(n *modelNode) []*modelNode {
	var l []*modelNode
	for _, x := range m.nodes {
		if x.undoes != nil {
			continue
		}
		if x.parent == n {
			l = append(l, x)
		}
		for _, d := range x.dependsOn {
			if d != nil && m.within(d, n, map[*modelNode]bool{}) {
				l = append(l, x)
			}
		}
	}
	return l
}

// within says that n is d, or below it.
func (m *model) within(d, n *modelNode, seen map[*modelNode]bool) bool {
	if d == n {
		return true
	}
	if seen[d] {
		return false
	}
	seen[d] = true
	return slices.ContainsFunc(d.children, func(c *modelNode) bool { return m.within(c, n, seen) })
}

func (m *model) compensate(e Compensating) error {
	if m.undoing {
		return errors.New("it is undone twice")
	}
	if err := m.orchestration(e.State); err != nil {
		return err
	}
	m.undoing, m.overdue, m.doomed, m.beneath, m.verdict = true, e.Deadline, false, 0, time.Time{}
	for _, n := range m.nodes {
		if !n.phase.Final() {
			n.phase, n.paused = ActivityCancelled, false
		}
	}
	for _, a := range e.Undo {
		of := m.nodes[strings.TrimSuffix(a.ID, definition.UndoSuffix)]
		n := &modelNode{id: a.ID, undoes: of, late: true, def: definition.Activity{AttemptTimeout: of.def.AttemptTimeout}}
		for _, d := range a.DependsOn {
			n.dependsOn = append(n.dependsOn, m.nodes[d])
		}
		m.nodes[a.ID] = n
	}
	return nil
}

func (m *model) end(e Ended) error {
	if m.undoing != (m.phase == PhaseCompensating || m.phase == PhaseCancelling) {
		return errors.New("what had completed is not undone")
	}
	if c := e.Compensation; m.plan.def.Compensate && e.State != PhaseCompleted {
		if c == nil || c.Total != len(m.completed()) {
			return fmt.Errorf("the compensation is %+v; %v had completed", c, m.completed())
		}
		if c.Total != c.Completed+c.Failed+c.Skipped || (c.Failed == 0) != (c.State == CompensationCompleted) {
			return fmt.Errorf("the compensation is %+v", c)
		}
	} else if c != nil {
		return errors.New("there is no compensation")
	}
	return m.orchestration(e.State)
}

// again begins another run. What is said to be reset has to be closed under whatever
// came after it.
func (m *model) again(e RerunStarted) error {
	if err := m.orchestration(PhaseInProgress); err != nil {
		return err
	}
	gone, reset := map[*modelNode]bool{}, map[*modelNode]bool{}
	for _, id := range e.Reset {
		reset[m.nodes[id]] = true
	}
	for more := true; more; {
		more = false
		for _, n := range m.nodes {
			if p := n.parent; n.undoes == nil && !gone[n] && p != nil && (reset[p] || gone[p]) {
				gone[n], more = true, true
			}
		}
	}
	for id, n := range m.nodes {
		switch {
		case n.undoes != nil:
			delete(m.nodes, id)
		case gone[n] || reset[n]:
			for _, x := range m.after(n) {
				if !gone[x] && !reset[x] {
					return fmt.Errorf("%s is kept, which came after %s", x.id, id)
				}
			}
		case !n.phase.Final() || n.phase == ActivityCancelled:
			return fmt.Errorf("%s has never ended and is kept", id)
		}
	}
	m.failed = 0
	for id, n := range m.nodes {
		switch {
		case gone[n]:
			delete(m.nodes, id)
		case reset[n]:
			m.nodes[id].reset()
		case n.phase == ActivityFailed:
			m.failed++
		}
	}
	for key, id := range m.keys {
		if n := m.nodes[id]; n == nil || n.phase == ActivityPending {
			delete(m.keys, key)
		}
	}
	m.undoing, m.overdue, m.doomed, m.beneath, m.verdict = false, e.Deadline, false, 0, time.Time{}
	for _, n := range m.nodes {
		for k, d := range n.dependsOn {
			for d != nil && gone[d] {
				d = d.parent
			}
			n.dependsOn[k] = d
		}
	}
	return nil
}

func (n *modelNode) reset() {
	n.phase, n.children, n.workID, n.attempt, n.offers, n.paused = ActivityPending, nil, "", 0, 0, false
	n.output = nil
	n.local, n.deadline, n.began, n.next, n.lease = false, time.Time{}, time.Time{}, time.Time{}, time.Time{}
}
