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
	switch e := e.(type) {
	case Started:
		return s.start(at, e)
	case TransfersFinished:
		if s.phase.CanMove(PhaseTransfersFinished) {
			s.phase = PhaseTransfersFinished
		}
		return s
	case Compensating:
		return s.compensate(e)
	case Ended:
		return s.end(at, e)
	case BlobsRemoved:
		s.left, s.removed = nil, true
		return s
	case RerunStarted:
		return s.rerun(at, e)
	case Disposed:
		s.disposal, s.disposedAt = e.ID, at
		return s
	case Paused:
		return s.paused()
	case Resumed:
		return s.resumed(e.State)
	case ActivityPaused:
		return s.held(e.ActivityID, true)
	case ActivityResumed:
		return s.held(e.ActivityID, false)
	case Requested, Offered, Claimed, Extended, Waited, Scheduled, Retrying, Completed, Failed, Skipped:
	}
	if s.g != nil {
		if made := outputOf(e); made != nil {
			s.leave(made)
		}
		s.g.evolve(at, e)
	}
	return s
}

// evolve folds in what concerns one activity.
func (g *graph) evolve(at time.Time, e Event) {
	id, to := target(e)
	i, ok := g.find(id)
	if !ok || !g.nodes[i].phase.CanMove(to) {
		return
	}
	before := g.nodes[i].phase.working()
	g.move(i, at, e)
	if g.doomed != nil {
		g.last = i // its report may be the last that the end waited for
	}
	switch after := g.nodes[i].phase.working(); {
	case before && !after:
		g.working--
	case after && !before:
		g.working++
	}
	g.arm(i)
}

func (s State) start(at time.Time, e Started) State {
	if e.Plan == nil || s.phase != PhaseInitial {
		return s
	}
	s.phase, s.run, s.fingerprint, s.g = PhaseInProgress, e.Run, e.Fingerprint, newGraph(at, e)
	s.leave(e.Input)
	return s
}

func newGraph(at time.Time, e Started) *graph {
	n := len(e.Plan.def.Activities)
	g := &graph{
		plan: e.Plan, typ: e.Type, input: e.Input, labels: e.Labels, callback: e.Callback, partial: e.Partial, disposes: e.Disposes,
		resource:  orElse(e.Resource, e.Name),
		startedAt: at, deadline: millis(e.Deadline), checked: e.Plan.checked, nodes: make([]node, n), open: n, last: -1, trace: e.TraceParent,
	}
	for i := range g.nodes {
		g.nodes[i] = node{def: &e.Plan.def.Activities[i], waits: e.Plan.waits[i], parent: -1, late: e.Plan.late[i]}
		if !e.Plan.late[i] {
			g.retrieving++
		}
	}
	if g.deadline != 0 {
		g.within = g.deadline - millis(at)
		g.timers.push(timer{at: g.deadline, node: -1})
	}
	return g
}

func (s State) end(at time.Time, e Ended) State {
	if !s.phase.CanMove(e.State) {
		return s
	}
	if s.g != nil && s.g.last >= 0 {
		n := &s.g.nodes[s.g.last]
		s.last = ending{orElse(n.workID, s.workIDOf(s.run, n.id())), n.attempt, n.said}
	}
	s.phase, s.endedAt = e.State, at
	if !s.remembers {
		s.g = nil
	}
	return s
}

// target is the activity an event is about, and the phase it puts it in.
func target(e Event) (string, ActivityPhase) {
	switch e := e.(type) {
	case Requested:
		return e.ActivityID, placed(e.Placement)
	case Offered:
		return e.ActivityID, placed(e.Placement)
	case Claimed:
		return e.ActivityID, ActivityRunning
	case Extended:
		return e.ActivityID, ActivityRunning
	case Waited:
		return e.ActivityID, ActivityWaiting
	case Scheduled:
		return e.ActivityID, ActivityScheduled
	case Retrying:
		return e.ActivityID, ActivityRetrying
	case Completed:
		return e.ActivityID, ActivityCompleted
	case Failed:
		return e.ActivityID, ActivityFailed
	case Skipped:
		return e.ActivityID, ActivitySkipped
	case Started, TransfersFinished, Compensating, Ended, RerunStarted, Disposed, Paused, Resumed, ActivityPaused, ActivityResumed, BlobsRemoved:
	}
	return "", ActivityPending
}

// placed is where an attempt goes: to an agent of a process that is at it already, or
// to whoever claims it.
func placed(placement string) ActivityPhase {
	if placement != "" {
		return ActivityRunning
	}
	return ActivityReady
}

func (g *graph) move(i int32, at time.Time, e Event) {
	n := &g.nodes[i]
	switch e := e.(type) {
	case Requested:
		n.attempt, n.offers, n.deadline, n.said = int32(e.Attempt), 1, millis(e.Deadline), 0
		n.workID = e.WorkID
		g.remember(e.WorkID, i)
		n.offer(at, e.Placement)
		n.blame(at, e.Fault)
	case Offered:
		n.offers = int32(e.Offer)
		n.offer(at, e.Placement)
	case Claimed:
		n.phase, n.agent, n.lease, n.began, n.next = ActivityRunning, e.Agent, millis(e.Lease), millis(at), 0
	case Extended:
		if n.phase == ActivityRunning {
			n.lease = millis(e.Lease)
		}
	case Waited:
		n.pause(ActivityWaiting, saidWait, e.Until, e.State)
	case Scheduled:
		n.failures = 0 // nothing is wrong any more
		n.pause(ActivityScheduled, saidSchedule, e.At, e.State)
	case Retrying:
		n.failures++
		n.pause(ActivityRetrying, saidRetry, e.At, e.State)
	case Completed:
		n.output = e.Output
		n.said |= whose(e.By, saidComplete, orderedComplete)
		g.learn(e.Contracts)
		g.grown(i, &e)
		g.close(i, ActivityCompleted)
	case Failed:
		n.said |= whose(e.By, refusedBy(e.Error.Step), orderedFail)
		if g.failed++; len(g.failures) < maxFailures {
			g.failures = append(g.failures, e.Error)
		}
		g.close(i, ActivityFailed)
		if !e.Continued {
			g.lost(at, e.Error)
		}
	case Skipped:
		n.output = e.Output
		n.said |= orderedSkip
		g.close(i, ActivitySkipped)
	case Started, TransfersFinished, Compensating, Ended, RerunStarted, Disposed, Paused, Resumed, ActivityPaused, ActivityResumed, BlobsRemoved:
	}
}

// whose is what was said, depending on whether an operator said it or the agent.
func whose(by string, agents, operators reports) reports {
	if by != "" {
		return operators
	}
	return agents
}

// refusedBy is which reports have had their way when an activity has failed at a step: any
// that said it had not worked, and a complete whose output or growth did not fit.
func refusedBy(step string) reports {
	if step == stepOutput || step == stepSpawn {
		return saidFail | saidRetry | saidComplete
	}
	return saidFail | saidRetry
}

// offer puts a node before its agents.
func (n *node) offer(at time.Time, placement string) {
	n.phase = placed(placement)
	n.place, n.agent, n.began, n.lease, n.next = placement, "", millis(at), 0, 0
	if n.phase == ActivityReady {
		n.next = millis(at.Add(machine.OfferWait(int(n.offers)) + machine.LastClaims))
	}
}

// pause leaves a node until next.
func (n *node) pause(p ActivityPhase, said reports, next time.Time, state []byte) {
	n.phase, n.next, n.agent, n.place, n.lease = p, millis(next), "", "", 0
	n.said |= said
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
	if g.work != nil {
		g.work[workID] = i
		return
	}
	g.findable()
}

// findable indexes the work IDs there are, once there are many nodes.
func (g *graph) findable() {
	if len(g.nodes) <= manyNodes {
		return
	}
	g.work = make(map[string]int32, len(g.nodes))
	for i := range g.nodes {
		if w := g.nodes[i].workID; w != "" {
			g.work[w] = int32(i) // bounded by the node limit
		}
	}
}

// grown registers what a completed node brings into being, and what it shares.
func (g *graph) grown(i int32, e *Completed) {
	if e.Key != "" {
		if _, taken := g.find(e.Key); !taken {
			g.name(e.Key, i)
		}
	}
	g.nodes[i].first = int32(len(g.nodes)) // bounded by the node limit
	for k := range e.Spawned {
		g.spawn(i, &e.Spawned[k])
	}
	g.share(i, e)
	g.order(i, e)
	for k := range e.Spawned {
		if len(e.Spawned[k].DependsOn) > 0 {
			g.depend(&e.Spawned[k])
		}
	}
}

// spawn registers a new child.
func (g *graph) spawn(parent int32, a *definition.Activity) {
	p := &g.nodes[parent]
	g.name(a.ID, int32(len(g.nodes))) // bounded by the node limit
	p.spawned++
	p.unsettled++
	g.open++
	if !p.late {
		g.retrieving++
	}
	g.checked = g.checked || !a.Context.IsZero()
	g.nodes = append(g.nodes, node{def: inherit(a, p.def), parent: parent, depth: p.depth + 1, level: p.level + 1, late: p.late})
}

// inherit gives a spawned activity of its parent's type the parent's policies where it has
// none of its own.
func inherit(a, parent *definition.Activity) *definition.Activity {
	if a.Type != parent.Type || !inherits(a, parent) {
		return a // no copy for each of 100,000 nodes
	}
	c := *a
	c.OnError = orElse(a.OnError, parent.OnError)
	c.Retry = orElse(a.Retry, parent.Retry)
	c.AttemptTimeout = orElse(a.AttemptTimeout, parent.AttemptTimeout)
	c.Deadline = inheritedDeadline(a, parent)
	c.HeartbeatTimeout = orElse(a.HeartbeatTimeout, parent.HeartbeatTimeout)
	return &c
}

func inherits(a, parent *definition.Activity) bool {
	return a.OnError == "" && parent.OnError != "" ||
		a.Retry == nil && parent.Retry != nil ||
		a.AttemptTimeout == 0 && parent.AttemptTimeout != 0 ||
		a.Deadline == 0 && parent.Deadline != 0 ||
		a.HeartbeatTimeout == 0 && parent.HeartbeatTimeout != 0
}

func inheritedDeadline(a, parent *definition.Activity) definition.Duration {
	if a.Type != parent.Type {
		return a.Deadline
	}
	return orElse(a.Deadline, parent.Deadline)
}

// share connects a node to those it wanted to spawn that were there already.
func (g *graph) share(i int32, e *Completed) {
	if len(e.Shared) == 0 {
		return
	}
	n := &g.nodes[i]
	l := n.linked()
	for c := n.first; c < n.first+n.spawned; c++ {
		l.children = append(l.children, c)
	}
	for _, id := range e.Shared {
		j, ok := g.find(id)
		if !ok {
			continue
		}
		l.children = append(l.children, j)
		if s := &g.nodes[j]; !s.settled() {
			n.unsettled++
			s.linked().spawners = append(s.linked().spawners, i)
			// What the plan's own wait for they have not spawned.
			g.deps = g.deps || g.planned(j)
		}
		g.raise(j, n.level)
	}
}

// order keeps the order in which the children were asked for, cycles among them.
func (g *graph) order(i int32, e *Completed) {
	if len(e.Children) == 0 && len(e.Cycles) == 0 {
		return
	}
	g.cyclic = g.cyclic || len(e.Cycles) > 0
	n := &g.nodes[i]
	l := n.linked()
	ids := e.Children
	if len(ids) == 0 {
		g.children(i, func(c int32) { l.order = append(l.order, c) })
		ids = e.Cycles
	}
	for _, id := range ids {
		if j, ok := g.find(id); ok {
			l.order = append(l.order, j)
		}
	}
}

// depend lets a new child wait for what it depends on.
func (g *graph) depend(a *definition.Activity) {
	c, _ := g.find(a.ID)
	g.deps = true
	for _, d := range a.DependsOn {
		j, ok := g.find(d)
		if !ok || g.nodes[j].settled() {
			continue
		}
		l := g.nodes[j].linked()
		if k := len(l.dependents); k > 0 && l.dependents[k-1] == c {
			continue // named twice: by its id and by its key, say
		}
		if len(l.dependents) == 0 && g.planned(j) {
			l.dependents = append(l.dependents, g.plan.dependents[j]...)
		}
		l.dependents = append(l.dependents, c)
		g.nodes[c].waits++
	}
}

// close moves a node to its last phase and settles whoever waited for that.
func (g *graph) close(i int32, p ActivityPhase) {
	n := &g.nodes[i]
	n.phase, n.state, n.agent, n.place, n.next, n.lease, n.paused = p, nil, "", "", 0, 0, false
	g.last = i
	g.open--
	if !n.late {
		g.retrieving--
	}
	if n.unsettled > 0 {
		return
	}
	var few [16]int32
	for queue := append(few[:0], i); len(queue) > 0; {
		x := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, d := range g.dependents(x) {
			g.nodes[d].waits--
		}
		for k := 0; ; k++ {
			p, ok := g.spawner(x, k)
			if !ok {
				break
			}
			if g.nodes[p].unsettled--; g.nodes[p].settled() {
				queue = append(queue, p)
			}
		}
	}
}

// workIDOf derives the ID of a node's work: one for all attempts of a run.
func (s State) workIDOf(run int, activityID string) string {
	return machine.ID("work", "orchestration", s.id, itoa(run), activityID)
}
