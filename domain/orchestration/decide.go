package orchestration

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
)

func itoa(n int) string { return strconv.Itoa(n) }

// Decide answers a command with the events it makes happen. A command that has
// already had its way makes nothing happen. A command that cannot have its way is
// answered with a *machine.Refusal, the only error there is.
func (s State) Decide(at time.Time, c Command) ([]Event, error) {
	switch c := c.(type) {
	case Start:
		return s.decideStart(at, c)
	case Cancel:
		return s.decideCancel(c)
	case Complete:
		return s.report(c.Report, func(i int32) ([]Event, error) { return s.complete(at, i, c) })
	case Wait:
		return s.report(c.Report, func(i int32) ([]Event, error) { return s.wait(at, i, c) })
	case Schedule:
		return s.report(c.Report, func(i int32) ([]Event, error) { return s.schedule(at, i, c) })
	case Retry:
		return s.report(c.Report, func(i int32) ([]Event, error) { return s.retry(at, i, c) })
	case Fail:
		return s.report(c.Report, func(i int32) ([]Event, error) { return s.reportFailure(at, i, c) })
	case Heartbeat:
		return s.heartbeat(at, c), nil
	case Wake:
		return s.wake(at), nil
	case TakeOver:
		return s.takeOver(c), nil
	}
	return nil, machine.Refuse(machine.UnknownType, fmt.Sprintf("an orchestration knows no command %T", c))
}

func (s State) decideStart(at time.Time, c Start) ([]Event, error) {
	if s.phase != Initial {
		if c.Fingerprint == s.fingerprint {
			return nil, nil
		}
		return nil, machine.Refuse(machine.Conflict, fmt.Sprintf("orchestration %s was started with another body; use another id", s.id))
	}
	if c.Plan == nil {
		return nil, machine.Refuse(machine.UnknownType, fmt.Sprintf("there is no orchestration type %q; put its definition first", c.Type))
	}
	if !c.Plan.def.IsActive() {
		return nil, machine.Refuse(machine.Inactive, fmt.Sprintf("orchestration type %q is not active", c.Type))
	}
	if n, most := len(c.Plan.def.Activities), c.Plan.maxNodes(); n > most {
		return nil, machine.Refuse(machine.Limit, fmt.Sprintf("orchestration type %q has %d activities, over its limit of %d nodes", c.Type, n, most))
	}
	started := Started{
		Type: c.Type, Run: 1, Plan: c.Plan, Input: c.Input, Partial: c.Partial, Labels: c.Labels, Callback: c.Callback,
		Deadline: at.Add(orElse(time.Duration(c.Deadline), DefaultDeadline)), Fingerprint: c.Fingerprint,
	}
	events := []Event{started}
	for i := range c.Plan.def.Activities {
		if c.Plan.waits[i] == 0 {
			events = s.request(events, at, &c.Plan.def.Activities[i], 1, c.Plan.aggregates, time.Time{}, started.Run)
		}
	}
	return events, nil
}

// request appends what asks for an attempt at an activity.
func (s State) request(events []Event, at time.Time, a *definition.Activity, attempt int, aggregates bool, deadline time.Time, run int) []Event {
	if aggregates && a.Type == AggregateType && attempt == 1 && (s.g == nil || !s.g.finished) {
		events = append(events, TransfersFinished{})
	}
	if deadline.IsZero() {
		deadline = at.Add(activityDeadline(a))
	}
	s.run = run
	return append(events, Requested{ActivityID: a.ID, Attempt: attempt, WorkID: s.workIDOf(a.ID), Deadline: deadline})
}

func (s State) decideCancel(c Cancel) ([]Event, error) {
	switch {
	case s.phase == Initial:
		return nil, s.unknown()
	case s.phase == OrchCancelled:
		return nil, nil
	case s.Ended():
		return nil, s.over()
	}
	return []Event{Ended{State: OrchCancelled, Reason: c.Reason, By: c.By, Failures: s.g.failures}}, nil
}

func (s State) unknown() error {
	return machine.Refuse(machine.NotFound, fmt.Sprintf("there is no orchestration %q", s.id))
}

func (s State) over() error {
	return machine.Refuse(machine.BadState, fmt.Sprintf("orchestration %s is %s since %s", s.id, s.phase, s.endedAt.UTC().Format(time.RFC3339)))
}

// report finds the activity a report is about. Reports are recognised by work ID and
// attempt: an older attempt's is refused.
func (s State) report(r Report, decide func(i int32) ([]Event, error)) ([]Event, error) {
	if s.phase == Initial {
		return nil, s.unknown()
	}
	if s.Ended() {
		return nil, s.over()
	}
	i, ok := s.g.findWork(r.WorkID)
	if !ok || r.WorkID == "" {
		return nil, machine.Refuse(machine.NotFound, fmt.Sprintf("orchestration %s has asked for no work %q", s.id, r.WorkID))
	}
	if n := &s.g.nodes[i]; r.Attempt != int(n.attempt) {
		return nil, machine.Refuse(machine.BadState, fmt.Sprintf("activity %s is %s in attempt %d; attempt %d is not under way", n.id(), n.phase, n.attempt, r.Attempt))
	}
	return decide(i)
}

// late refuses a report that the activity is past.
func (n *node) late() error {
	return machine.Refuse(machine.BadState, fmt.Sprintf("activity %s is %s in attempt %d", n.id(), n.phase, n.attempt))
}

func (s State) complete(at time.Time, i int32, c Complete) ([]Event, error) {
	n := &s.g.nodes[i]
	switch {
	case n.phase == ActivityCompleted:
		return nil, nil
	case !n.phase.CanMove(ActivityCompleted):
		return nil, n.late()
	}
	if most := s.g.plan.maxOutput(); len(c.Output) > most {
		return s.fail(at, i, Fault{"output", fmt.Sprintf("the output has %d bytes, over the limit outputBytes of %d", len(c.Output), most)}), nil
	}
	e := Completed{ActivityID: n.id(), Attempt: c.Attempt, Output: c.Output, Key: c.Key}
	if fault := s.g.grow(i, c, &e); fault != nil {
		return s.fail(at, i, *fault), nil
	}
	events := []Event{e}
	for k := range e.Spawned {
		if s.g.satisfied(&e.Spawned[k]) {
			events = s.request(events, at, inherit(&e.Spawned[k], n.def), 1, false, time.Time{}, s.run)
		}
	}
	if len(e.Spawned) == 0 && !s.g.waitsForShared(e) {
		events = s.proceed(events, at, i)
	}
	if s.g.open-1+len(e.Spawned) == 0 {
		events = append(events, s.completed(i, c.Output))
	}
	return events, nil
}

// grow sorts what a completed activity wants spawned into new nodes, shared ones and
// cycles, or says why it cannot be.
func (g *graph) grow(i int32, c Complete, e *Completed) *Fault {
	if len(c.Spawn) == 0 {
		return nil
	}
	n := &g.nodes[i]
	seen := make(map[string]struct{}, len(c.Spawn))
	for k := range c.Spawn {
		a := &c.Spawn[k]
		if _, ok := seen[a.ID]; ok {
			continue
		}
		seen[a.ID] = struct{}{}
		if j, ok := g.find(a.ID); ok || a.ID == c.Key {
			if !ok || g.entangled(j, i) {
				e.Cycles = append(e.Cycles, orElse(g.idOf(j, ok), n.id()))
			} else {
				e.Shared = append(e.Shared, g.nodes[j].id())
			}
			continue
		}
		if err := definition.CheckSpawned(a); err != nil {
			return &Fault{"spawn", err.Error()}
		}
		e.Spawned = append(e.Spawned, *a)
	}
	return g.checkGrowth(n, e)
}

func (g *graph) idOf(j int32, ok bool) string {
	if !ok {
		return ""
	}
	return g.nodes[j].id()
}

func (g *graph) checkGrowth(n *node, e *Completed) *Fault {
	if most := g.plan.maxNodes(); len(g.nodes)+len(e.Spawned) > most {
		return &Fault{"spawn", fmt.Sprintf("%d more activities would make %d, over the limit of %d nodes", len(e.Spawned), len(g.nodes)+len(e.Spawned), most)}
	}
	if most := g.plan.maxDepth(); len(e.Spawned) > 0 && int(n.depth)+1 > most {
		return &Fault{"spawn", fmt.Sprintf("a child would be %d generations down, over the limit of %d depth", n.depth+1, most)}
	}
	siblings := make(map[string]*definition.Activity, len(e.Spawned))
	deps := false
	for k := range e.Spawned {
		siblings[e.Spawned[k].ID] = &e.Spawned[k]
		deps = deps || len(e.Spawned[k].DependsOn) > 0
	}
	if !deps {
		return nil
	}
	return g.checkDependencies(n, e.Spawned, siblings)
}

// checkDependencies refuses dependencies of new children that are unknown, go in a
// circle, or wait for what waits for them.
func (g *graph) checkDependencies(n *node, spawned []definition.Activity, siblings map[string]*definition.Activity) *Fault {
	parent, _ := g.find(n.id())
	for k := range spawned {
		for _, d := range spawned[k].DependsOn {
			if _, ok := siblings[d]; ok {
				continue
			}
			j, ok := g.find(d)
			if !ok {
				return &Fault{"spawn", fmt.Sprintf("spawned activity %s depends on %q, which is not there", spawned[k].ID, d)}
			}
			if g.entangled(j, parent) {
				return &Fault{"spawn", fmt.Sprintf("spawned activity %s depends on %q, which waits for it", spawned[k].ID, d)}
			}
		}
	}
	state := make(map[string]int, len(siblings)) // 1: on the way, 2: done
	var circle func(id string) bool
	circle = func(id string) bool {
		a, ok := siblings[id]
		if !ok || state[id] == 2 {
			return false
		}
		if state[id] == 1 {
			return true
		}
		state[id] = 1
		for _, d := range a.DependsOn {
			if circle(d) {
				return true
			}
		}
		state[id] = 2
		return false
	}
	for k := range spawned {
		if circle(spawned[k].ID) {
			return &Fault{"spawn", fmt.Sprintf("the dependencies of spawned activity %s go in a circle", spawned[k].ID)}
		}
	}
	return nil
}

// satisfied says whether a new child has nothing to wait for.
func (g *graph) satisfied(a *definition.Activity) bool {
	for _, d := range a.DependsOn {
		if j, ok := g.find(d); !ok || !g.nodes[j].settled() {
			return false
		}
	}
	return true
}

func (g *graph) waitsForShared(e Completed) bool {
	for _, id := range e.Shared {
		if j, ok := g.find(id); ok && !g.nodes[j].settled() {
			return true
		}
	}
	return false
}

// proceed appends what becomes ready when node i settles. It counts on the side what
// Evolve will count down, so the work is in proportion to what changes.
func (s State) proceed(events []Event, at time.Time, i int32) []Event {
	g := s.g
	var waits, unsettled map[int32]int32
	for queue := []int32{i}; len(queue) > 0; {
		x := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, d := range g.dependents(x) {
			n := &g.nodes[d]
			if n.waits > 1 {
				if waits == nil {
					waits = make(map[int32]int32)
				}
				waits[d]++
			}
			if n.phase == Pending && (n.waits == 1 || n.waits == waits[d]) {
				events = s.request(events, at, n.def, 1, g.plan.aggregates, time.Time{}, s.run)
			}
		}
		for _, p := range g.nodes[x].spawners {
			if unsettled == nil {
				unsettled = make(map[int32]int32)
			}
			unsettled[p]++
			if n := &g.nodes[p]; n.phase.Final() && n.unsettled == unsettled[p] {
				queue = append(queue, p)
			}
		}
	}
	return events
}

// completed is the good end; output is that of the last activity, not yet folded in.
func (s State) completed(last int32, output json.RawMessage) Event {
	v := view{g: s.g, last: last, output: output}
	return Ended{State: OrchCompleted, Output: v.mapped(s.g.plan.def.Output), Failures: s.g.failures}
}

func (s State) wait(at time.Time, i int32, c Wait) ([]Event, error) {
	n := &s.g.nodes[i]
	switch {
	case n.phase == Waiting:
		return nil, nil
	case !n.phase.CanMove(Waiting):
		return nil, n.late()
	}
	until := n.deadline
	if c.After > 0 && at.Add(time.Duration(c.After)).Before(until) {
		until = at.Add(time.Duration(c.After))
	}
	return []Event{Waited{n.id(), c.Attempt, until, c.State}}, nil
}

func (s State) schedule(at time.Time, i int32, c Schedule) ([]Event, error) {
	n := &s.g.nodes[i]
	switch {
	case n.phase == ScheduledAgain:
		return nil, nil
	case n.phase == Waiting, !n.phase.CanMove(ScheduledAgain):
		return nil, n.late()
	}
	return []Event{Scheduled{n.id(), c.Attempt, at.Add(time.Duration(c.After)), c.State}}, nil
}

func (s State) retry(at time.Time, i int32, c Retry) ([]Event, error) {
	n := &s.g.nodes[i]
	switch {
	case n.phase == RetryingLater:
		return nil, nil
	case !n.phase.CanMove(RetryingLater):
		return nil, n.late()
	}
	return s.again(at, i, c.Error, time.Duration(c.After), c.State), nil
}

// again lets an activity be tried again after a passing fault, or fails it when it has
// been tried often enough.
func (s State) again(at time.Time, i int32, fault Fault, after time.Duration, state json.RawMessage) []Event {
	n := &s.g.nodes[i]
	failures := int(n.failures) + 1
	if failures > retryLimit(n.def) {
		return s.fail(at, i, fault)
	}
	delay := max(backoff(n.def, n.workID, failures), after)
	return []Event{Retrying{n.id(), int(n.attempt), fault.failure(n, failures, at), at.Add(delay), state}}
}

func (s State) reportFailure(at time.Time, i int32, c Fail) ([]Event, error) {
	n := &s.g.nodes[i]
	switch {
	case n.phase == ActivityFailed:
		return nil, nil
	case !n.phase.CanMove(ActivityFailed), n.phase == RetryingLater, n.phase == ScheduledAgain:
		return nil, n.late()
	}
	return s.fail(at, i, c.Error), nil
}

// fail ends an activity badly, and with it the orchestration unless it goes on without.
func (s State) fail(at time.Time, i int32, fault Fault) []Event {
	n := &s.g.nodes[i]
	failure := fault.failure(n, int(n.failures)+1, at)
	e := Failed{ActivityID: n.id(), Attempt: int(n.attempt), Error: failure, Continued: s.g.continues(n)}
	failures := append(s.g.failures[:len(s.g.failures):len(s.g.failures)], failure)
	if !e.Continued {
		return []Event{e, Ended{State: OrchError, Error: &failure, Failures: failures}}
	}
	events := s.proceed([]Event{e}, at, i)
	if s.g.open == 1 {
		end, _ := s.completed(i, nil).(Ended)
		end.Failures = failures
		events = append(events, end)
	}
	return events
}

func (g *graph) continues(n *node) bool {
	return n.def.OnError == definition.OnErrorContinue || n.def.OnError == definition.OnErrorPartial && g.partial
}

// heartbeat claims an attempt or extends the claim. The lease is written anew only when
// a third of it has passed, however often the agent is heard. It is never answered.
func (s State) heartbeat(at time.Time, c Heartbeat) []Event {
	if s.g == nil {
		return nil
	}
	i, ok := s.g.findWork(c.WorkID)
	if !ok {
		return nil
	}
	n := &s.g.nodes[i]
	if c.Attempt != int(n.attempt) || n.place != "" {
		return nil
	}
	timeout := heartbeatTimeout(n.def)
	switch {
	case n.phase == Ready:
		return []Event{Claimed{n.id(), c.Attempt, c.Agent, at.Add(timeout)}}
	case n.phase == Running && (c.Agent == "" || c.Agent == n.agent) && n.lease.Sub(at) < timeout-timeout/3:
		return []Event{Extended{n.id(), c.Attempt, at.Add(timeout)}}
	}
	return nil
}

// wake lets what is due happen: at most one activity's end at a time, so that what
// follows from it is counted right. The caller wakes again while something is due.
func (s State) wake(at time.Time) []Event {
	if s.g == nil {
		return nil
	}
	if !s.g.deadline.IsZero() && !at.Before(s.g.deadline) {
		failure := Failure{Step: "deadline", Message: fmt.Sprintf("the orchestration did not end within %s", s.g.deadline.Sub(s.g.startedAt)), At: at}
		return []Event{Ended{State: OrchError, Error: &failure, Failures: append(s.g.failures[:len(s.g.failures):len(s.g.failures)], failure)}}
	}
	var events []Event
	done := false
	seen := make(map[int32]struct{})
	s.g.timers.due(at.UnixMilli(), func(t timer) {
		if done || t.node < 0 || s.g.nodes[t.node].timer != t.at {
			return
		}
		if _, ok := seen[t.node]; ok {
			return
		}
		seen[t.node] = struct{}{}
		more, terminal := s.due(at, t.node)
		events = append(events, more...)
		done = terminal
	})
	return events
}

// passed says whether a time has come; the zero time never does.
func passed(t, at time.Time) bool { return !t.IsZero() && millis(t) <= at.UnixMilli() }

// due is what happens to an activity whose timer fires, and whether that may end it.
func (s State) due(at time.Time, i int32) (events []Event, terminal bool) {
	n := &s.g.nodes[i]
	if passed(n.deadline, at) {
		return s.fail(at, i, Fault{"deadline", fmt.Sprintf("the activity did not end by its deadline; it was %s in attempt %d", n.phase, n.attempt)}), true
	}
	switch n.phase {
	case Ready:
		if passed(n.next, at) {
			return []Event{Offered{ActivityID: n.id(), Attempt: int(n.attempt), WorkID: n.workID, Offer: int(n.offers) + 1}}, false
		}
	case Running:
		if passed(n.lease, at) {
			return s.again(at, i, Fault{"lease", fmt.Sprintf("agent %s was not heard of for %s", n.agent, heartbeatTimeout(n.def))}, 0, nil), true
		}
		if passed(n.began.Add(attemptTimeout(n.def)), at) {
			return s.again(at, i, Fault{"attempt", fmt.Sprintf("the attempt took longer than %s", attemptTimeout(n.def))}, 0, nil), true
		}
	case Waiting:
		if passed(n.next, at) {
			return s.fail(at, i, Fault{"wait", "nobody reported in time"}), true
		}
	case ScheduledAgain, RetryingLater:
		if passed(n.next, at) {
			return s.request(nil, at, n.def, int(n.attempt)+1, false, n.deadline, s.run), false
		}
	case Pending, ActivityCompleted, ActivityFailed, ActivityCancelled, Skipped:
	}
	return nil, false
}

// takeOver offers again what was lost with the old owner.
func (s State) takeOver(c TakeOver) []Event {
	if s.g == nil {
		return nil
	}
	var events []Event
	for i := range s.g.nodes {
		n := &s.g.nodes[i]
		if n.phase == Running && (n.place != "" && n.place != c.Placement || c.Agent != "" && n.agent == c.Agent) {
			events = append(events, Offered{ActivityID: n.id(), Attempt: int(n.attempt), WorkID: n.workID, Offer: int(n.offers) + 1})
		}
	}
	return events
}
