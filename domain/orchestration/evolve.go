package orchestration

import (
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
)

// Evolve folds in an event that was decided at at. Events are facts: Evolve never
// refuses; one that makes no sense here changes nothing. The old State must not be
// used afterwards.
func (s State) Evolve(at time.Time, e Event) State {
	if st, ok := e.(Started); ok {
		return s.start(at, st)
	}
	if s.g == nil {
		return s
	}
	if end, ok := e.(Ended); ok {
		s.phase, s.endedAt, s.g = end.State, at, nil
		return s
	}
	if _, ok := e.(TransfersFinished); ok {
		s.phase, s.g.finished = TransfersDone, true
		return s
	}
	if i, ok := s.g.find(activityOf(e)); ok {
		s.g.evolve(s, i, at, e)
		s.g.arm(i)
	}
	return s
}

func (s State) start(at time.Time, e Started) State {
	n := len(e.Plan.def.Activities)
	g := &graph{
		plan: e.Plan, typ: e.Type, input: e.Input, labels: e.Labels, callback: e.Callback,
		partial: e.Partial, startedAt: at, deadline: e.Deadline, nodes: make([]node, n), open: n,
	}
	for i := range g.nodes {
		g.nodes[i] = node{def: &e.Plan.def.Activities[i], waits: e.Plan.waits[i], parent: -1}
	}
	if !e.Deadline.IsZero() {
		g.timers.push(timer{millis(e.Deadline), -1})
	}
	s.phase, s.run, s.fingerprint, s.g = InProgress, e.Run, e.Fingerprint, g
	return s
}

// activityOf is the activity an event is about.
func activityOf(e Event) string {
	switch e := e.(type) {
	case Requested:
		return e.ActivityID
	case Offered:
		return e.ActivityID
	case Claimed:
		return e.ActivityID
	case Extended:
		return e.ActivityID
	case Waited:
		return e.ActivityID
	case Scheduled:
		return e.ActivityID
	case Retrying:
		return e.ActivityID
	case Completed:
		return e.ActivityID
	case Failed:
		return e.ActivityID
	case Started, TransfersFinished, Ended:
	}
	return ""
}

func (g *graph) evolve(s State, i int32, at time.Time, e Event) {
	n := &g.nodes[i]
	switch e := e.(type) {
	case Requested:
		n.attempt, n.offers, n.deadline = int32(e.Attempt), 1, e.Deadline //nolint:gosec // counts
		n.workID = e.WorkID
		g.remember(e.WorkID, i)
		n.offer(at, e.Placement)
	case Offered:
		n.offers = int32(e.Offer) //nolint:gosec // a count
		n.offer(at, e.Placement)
	case Claimed:
		n.phase, n.agent, n.lease, n.began, n.next = Running, e.Agent, e.Lease, at, time.Time{}
	case Extended:
		n.lease = e.Lease
	case Waited:
		n.pause(Waiting, e.Until, e.State)
	case Scheduled:
		n.pause(ScheduledAgain, e.At, e.State)
	case Retrying:
		n.failures++
		n.pause(RetryingLater, e.At, e.State)
	case Completed:
		n.output = e.Output
		if _, taken := g.find(e.Key); e.Key != "" && !taken {
			g.name(e.Key, i)
		}
		for k := range e.Spawned {
			g.spawn(i, &e.Spawned[k])
		}
		g.link(i, e)
		g.end(i, ActivityCompleted)
	case Failed:
		g.failures = append(g.failures, e.Error)
		g.end(i, ActivityFailed)
	case Started, TransfersFinished, Ended:
	}
}

// offer puts a node before its agents.
func (n *node) offer(at time.Time, placement string) {
	n.place, n.agent, n.began, n.lease = placement, "", at, time.Time{}
	if placement != "" {
		n.phase, n.next = Running, time.Time{}
		return
	}
	n.phase = Ready
	wait := lastOffer
	if shift := n.offers - 1; shift < 8 {
		wait = min(firstOffer<<shift, lastOffer)
	}
	n.next = at.Add(wait)
}

// pause leaves a node until next.
func (n *node) pause(p ActivityPhase, next time.Time, state []byte) {
	n.phase, n.next, n.agent, n.place, n.lease = p, next, "", "", time.Time{}
	if state != nil {
		n.state = state
	}
}

func (g *graph) name(id string, i int32) {
	if g.index == nil {
		g.index = make(map[string]int32)
	}
	g.index[id] = i
}

// remember keeps the work ID of a node where looking at each would take too long.
func (g *graph) remember(workID string, i int32) {
	if len(g.nodes) <= manyNodes {
		return
	}
	if g.work == nil {
		g.work = make(map[string]int32, len(g.nodes))
		for j := range g.nodes {
			if w := g.nodes[j].workID; w != "" {
				g.work[w] = int32(j) //nolint:gosec // bounded by the node limit
			}
		}
	}
	g.work[workID] = i
}

// spawn registers a new child.
func (g *graph) spawn(parent int32, a *definition.Activity) {
	c := int32(len(g.nodes)) //nolint:gosec // bounded by the node limit
	p := &g.nodes[parent]
	n := node{def: inherit(a, p.def), parent: parent, depth: p.depth + 1, level: p.level + 1, spawners: []int32{parent}}
	p.children = append(p.children, c)
	p.unsettled++
	g.name(a.ID, c)
	g.nodes = append(g.nodes, n)
	g.open++
}

// inherit gives a spawned activity of its parent's type the parent's policies where it has
// none of its own.
func inherit(a, parent *definition.Activity) *definition.Activity {
	c := *a
	if a.Type == parent.Type {
		c.OnError = orElse(a.OnError, parent.OnError)
		c.Retry = orElse(a.Retry, parent.Retry)
		c.AttemptTimeout = orElse(a.AttemptTimeout, parent.AttemptTimeout)
		c.Deadline = orElse(a.Deadline, parent.Deadline)
		c.HeartbeatTimeout = orElse(a.HeartbeatTimeout, parent.HeartbeatTimeout)
	}
	return &c
}

// link connects what a completed node names besides its own children: shared nodes, and
// the dependencies of new children, which may name each other.
func (g *graph) link(i int32, e Completed) {
	for _, id := range e.Shared {
		j, ok := g.find(id)
		if !ok {
			continue
		}
		g.nodes[i].children = append(g.nodes[i].children, j)
		if !g.nodes[j].settled() {
			g.nodes[i].unsettled++
			g.nodes[j].spawners = append(g.nodes[j].spawners, i)
		}
		g.raise(j, g.nodes[i].level)
	}
	for k := range e.Spawned {
		if len(e.Spawned[k].DependsOn) == 0 {
			continue
		}
		g.deps = true
		c, _ := g.find(e.Spawned[k].ID)
		for _, d := range e.Spawned[k].DependsOn {
			j, ok := g.find(d)
			if !ok || g.nodes[j].settled() {
				continue
			}
			if len(g.nodes[j].dependents) == 0 && int(j) < len(g.plan.dependents) {
				g.nodes[j].dependents = append([]int32(nil), g.plan.dependents[j]...)
			}
			g.nodes[j].dependents = append(g.nodes[j].dependents, c)
			g.nodes[c].waits++
		}
	}
}

// end moves a node to its last phase and settles whoever waited for that.
func (g *graph) end(i int32, p ActivityPhase) {
	n := &g.nodes[i]
	n.phase, n.state, n.agent, n.place, n.next, n.lease = p, nil, "", "", time.Time{}, time.Time{}
	g.open--
	if n.unsettled > 0 {
		return
	}
	for queue := []int32{i}; len(queue) > 0; {
		x := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, d := range g.dependents(x) {
			g.nodes[d].waits--
		}
		for _, s := range g.nodes[x].spawners {
			if g.nodes[s].unsettled--; g.nodes[s].settled() {
				queue = append(queue, s)
			}
		}
	}
}

// workIDOf derives the ID of a node's work: one for all attempts of a run.
func (s State) workIDOf(activityID string) string {
	return machine.ID("work", "orchestration", s.id, itoa(s.run), activityID)
}
