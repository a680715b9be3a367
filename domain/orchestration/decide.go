package orchestration

import (
	"fmt"
	"slices"
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
	events, err := s.decide(at, c)
	if err == nil {
		s.inspect(at, events)
	}
	return events, err
}

func (s State) decide(at time.Time, c Command) ([]Event, error) {
	switch c := c.(type) {
	case Start:
		return s.decideStart(at, c)
	case Cancel:
		return s.decideCancel(at, c)
	case Rerun:
		return s.decideRerun(at, c)
	case Dispose:
		return s.decideDispose(c)
	case Complete:
		return s.decideComplete(at, c)
	case Wait:
		return s.decideWait(at, c)
	case Schedule:
		return s.decideSchedule(at, c)
	case Retry:
		return s.decideRetry(at, c)
	case Fail:
		return s.decideFail(at, c)
	case Heartbeat:
		return s.heartbeat(at, c), nil
	case Release:
		return s.release(c), nil
	case Pause:
		return s.decidePause(c)
	case Resume:
		return s.decideResume(at, c)
	case RetryActivity:
		return s.decideRetryActivity(c)
	case SkipActivity:
		return s.decideSkipActivity(at, c)
	case CompleteActivity:
		return s.decideCompleteActivity(at, c)
	case FailActivity:
		return s.decideFailActivity(at, c)
	case PauseActivity:
		return s.decidePauseActivity(c)
	case ResumeActivity:
		return s.decideResumeActivity(at, c)
	case Wake:
		return s.wake(at), nil
	case TakeOver:
		return s.takeOver(c), nil
	}
	return nil, machine.Refuse(machine.UnknownType, fmt.Sprintf("an orchestration knows no command %T", c))
}

func (s State) decideStart(at time.Time, c Start) ([]Event, error) {
	if s.phase != PhaseInitial {
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
	n := len(c.Plan.def.Activities)
	if most := c.Plan.maxNodes(); n > most {
		return nil, machine.Refuse(machine.Limit, fmt.Sprintf("orchestration type %q has %d activities, over its limit of %d nodes", c.Type, n, most))
	}
	started := Started{
		Type: c.Type, Run: 1, Plan: c.Plan, Input: c.Input, Partial: c.Partial, Labels: c.Labels, Callback: c.Callback,
		Name: c.Name, Set: c.Set, Resource: c.Resource,
		Deadline: at.Add(orElse(time.Duration(c.Deadline), DefaultDeadline)), Fingerprint: c.Fingerprint, TraceParent: c.TraceParent, Disposes: c.Disposes,
	}
	events := []Event{started}
	if n == 0 {
		return append(events, State{g: newGraph(at, started)}.completed(at, view{last: -1})...), nil
	}
	if c.Plan.aggregates && !slices.Contains(c.Plan.late, false) {
		events = append(events, TransfersFinished{})
	}
	for i := range c.Plan.def.Activities {
		if c.Plan.waits[i] == 0 {
			a := &c.Plan.def.Activities[i]
			events = append(events, s.request(at, a, a.Deadline, started.Run))
		}
	}
	return events, nil
}

// request asks for the first attempt at an activity.
func (s State) request(at time.Time, a *definition.Activity, deadline definition.Duration, run int) Event {
	total := orElse(time.Duration(deadline), DefaultActivityDeadline)
	return Requested{
		ActivityID: a.ID, Attempt: 1, WorkID: s.workIDOf(run, a.ID),
		Deadline: fromMillis(millis(at.Add(total))), // as the state keeps it, so that every attempt has the same
	}
}

func (s State) decideCancel(at time.Time, c Cancel) ([]Event, error) {
	switch {
	case s.phase == PhaseInitial:
		return nil, s.unknown()
	case s.phase == PhaseCancelled, s.phase == PhaseCancelling:
		return nil, nil
	case s.Ended():
		return nil, s.over()
	case s.phase == PhaseCompensating:
		return nil, machine.Refuse(machine.BadState, fmt.Sprintf("orchestration %s has failed and is %s: it ends when what had completed is undone", s.id, s.phase))
	}
	return s.unwind(at, Ended{State: PhaseCancelled, Reason: c.Reason, By: c.By, Failures: s.g.allFailures(at, nil)}, -1), nil
}

func (s State) unknown() error {
	return machine.Refuse(machine.NotFound, fmt.Sprintf("there is no orchestration %q", s.id))
}

func (s State) over() error {
	return machine.Refuse(machine.BadState, fmt.Sprintf("orchestration %s is %s since %s", s.id, s.phase, s.endedAt.UTC().Format(time.RFC3339)))
}

// repeated is the index of an activity that there is nothing to decide about: the report has had its
// way already.
const repeated int32 = -1

// reported finds the activity that a report is about. Reports are recognised by work ID
// and attempt: a repeat is accepted and changes nothing, an older attempt's is refused, and so is
// one that the activity is past.
func (s State) reported(r Report, as reports, to ActivityPhase) (int32, error) {
	if s.phase == PhaseInitial {
		return 0, s.unknown()
	}
	if s.Ended() {
		if l := s.last; l.workID == r.WorkID && int(l.attempt) == r.Attempt && l.said&as != 0 {
			return repeated, nil
		}
		return 0, s.over()
	}
	i, ok := s.g.findWork(r.WorkID)
	if !ok {
		return 0, machine.Refuse(machine.NotFound, fmt.Sprintf("orchestration %s has asked for no work %q", s.id, r.WorkID))
	}
	n := &s.g.nodes[i]
	if r.Attempt != int(n.attempt) {
		return 0, machine.Refuse(machine.BadState, fmt.Sprintf("activity %s is %s in attempt %d; attempt %d is not under way", n.id(), n.phase, n.attempt, r.Attempt))
	}
	if n.said&as != 0 {
		return repeated, nil
	}
	if !n.phase.offered() || !n.phase.CanMove(to) {
		return 0, machine.Refuse(machine.BadState, fmt.Sprintf("activity %s, attempt %d: %s", n.id(), n.attempt, &MoveError{n.phase, to}))
	}
	return i, nil
}

func (s State) decideComplete(at time.Time, c Complete) ([]Event, error) {
	i, err := s.reported(c.Report, saidComplete, ActivityCompleted)
	if i == repeated || err != nil {
		return nil, err
	}
	g := s.g
	n := &g.nodes[i]
	if fault := g.plan.oversize(c.Output); fault != nil {
		return s.fail(at, i, *fault), nil
	}
	if fault := g.misfit(i, c.Output); fault != nil {
		return s.fail(at, i, *fault), nil
	}
	if g.undoes(i) {
		if len(c.Spawn) > 0 {
			return s.fail(at, i, Fault{Step: stepSpawn, Message: "what undoes an activity spawns nothing"}), nil
		}
		c.Key = "" // it is the other's
	}
	e := Completed{ActivityID: n.id(), Attempt: c.Attempt, Output: c.Output, Key: c.Key}
	if fault := g.grow(i, c, &e); fault != nil {
		return s.fail(at, i, *fault), nil
	}
	e.Contracts = g.newContracts(c.Contracts, e.Spawned)
	return s.complete(at, i, e), nil
}

// complete ends an activity well, with all that becomes ready by it.
func (s State) complete(at time.Time, i int32, e Completed) []Event {
	g := s.g
	n := &g.nodes[i]
	events := append(make([]Event, 0, 2+len(e.Spawned)), e)
	events = s.finishTransfers(events, n, len(e.Spawned))
	for k := range e.Spawned {
		if a := &e.Spawned[k]; !g.held() && g.satisfied(a) {
			events = append(events, s.request(at, a, inheritedDeadline(a, n.def), s.run))
		}
	}
	if len(e.Spawned) == 0 && !g.waitsForShared(e.Shared) {
		events = s.proceed(events, at, i)
	}
	return s.conclude(events, at, view{last: i, phase: ActivityCompleted, output: e.Output, ended: &e}, len(e.Spawned))
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

func (g *graph) waitsForShared(shared []string) bool {
	for _, id := range shared {
		if j, ok := g.find(id); ok && !g.nodes[j].settled() {
			return true
		}
	}
	return false
}

// finishTransfers appends that all retrieval is done when node n is the last of it to end
// and aggregation is still to come.
func (s State) finishTransfers(events []Event, n *node, spawned int) []Event {
	g := s.g
	if g.plan.aggregates && !g.held() && !n.late && spawned == 0 && g.retrieving == 1 && g.open > 1 {
		events = append(events, TransfersFinished{})
	}
	return events
}

// proceed appends what becomes ready when node i settles. It counts on the side what
// Evolve will count down, so the work is in proportion to what changes.
func (s State) proceed(events []Event, at time.Time, i int32) []Event {
	g := s.g
	if g.held() {
		return events
	}
	var few [16]int32
	list := g.settling(few[:0], i)
	var counted map[int32]int32 // needed where one activity waits for several of the list
	for _, x := range list {
		for _, d := range g.dependents(x) {
			left := g.nodes[d].waits
			if left > 1 && len(list) > 1 {
				if counted == nil {
					counted = make(map[int32]int32)
				}
				counted[d]++
				left -= counted[d] - 1
			}
			if n := &g.nodes[d]; left == 1 && n.phase == ActivityPending && !n.paused {
				events = append(events, s.request(at, n.def, n.def.Deadline, s.run))
			}
		}
	}
	return events
}

// completed is the good end, unless its output is too large for a record; or, where what had
// completed was undone, the end that began it.
func (s State) completed(at time.Time, v view) []Event {
	v.g = s.g
	if s.g.undo != nil {
		return []Event{s.compensated(at, v)}
	}
	v = v.within(maxRawOutputBytes)
	output := v.mapped(s.g.plan.def.Output)
	has := fmt.Sprintf("%d", len(output))
	switch {
	case v.full():
		has = fmt.Sprintf("more than %d", maxRawOutputBytes)
	case len(output) <= MaxOutputBytes:
		return []Event{Ended{State: PhaseCompleted, Output: output, Failures: s.g.allFailures(at, v.failure)}}
	}
	why := Failure{Step: stepOutput, Message: fmt.Sprintf("the output of the orchestration has %s bytes, over the limit of %d", has, MaxOutputBytes), At: at}
	last := v.last
	if v.phase != ActivityCompleted {
		last = -1
	}
	return s.unwind(at, s.failed(at, &why, v.failure), last)
}

func (s State) decideWait(at time.Time, c Wait) ([]Event, error) {
	i, err := s.reported(c.Report, saidWait, ActivityWaiting)
	if i == repeated || err != nil {
		return nil, err
	}
	n := &s.g.nodes[i]
	until := fromMillis(n.deadline)
	if c.After > 0 && at.Add(time.Duration(c.After)).Before(until) {
		until = at.Add(time.Duration(c.After))
	}
	return s.stood([]Event{Waited{n.id(), c.Attempt, until, c.State}}, at, i), nil
}

func (s State) decideSchedule(at time.Time, c Schedule) ([]Event, error) {
	i, err := s.reported(c.Report, saidSchedule, ActivityScheduled)
	if i == repeated || err != nil {
		return nil, err
	}
	return s.stood([]Event{Scheduled{s.g.nodes[i].id(), c.Attempt, at.Add(time.Duration(c.After)), c.State}}, at, i), nil
}

func (s State) decideRetry(at time.Time, c Retry) ([]Event, error) {
	i, err := s.reported(c.Report, saidRetry, ActivityRetrying)
	if i == repeated || err != nil {
		return nil, err
	}
	return s.again(at, i, c), nil
}

// again lets an activity be tried again after a passing fault, or fails it when it has
// been tried often enough.
func (s State) again(at time.Time, i int32, c Retry) []Event {
	n := &s.g.nodes[i]
	failures := int(n.failures) + 1
	if failures > retryLimit(n.def) {
		return s.fail(at, i, c.Error)
	}
	delay := max(backoff(n.def, n.workID, failures), time.Duration(c.After))
	return s.stood([]Event{Retrying{n.id(), int(n.attempt), c.Error.failure(n, failures, at), at.Add(delay), c.State}}, at, i)
}

func (s State) decideFail(at time.Time, c Fail) ([]Event, error) {
	i, err := s.reported(c.Report, saidFail, ActivityFailed)
	if i == repeated || err != nil {
		return nil, err
	}
	return s.fail(at, i, c.Error), nil
}

// fail ends an activity badly, and with it the orchestration unless it goes on without.
func (s State) fail(at time.Time, i int32, fault Fault) []Event {
	g := s.g
	n := &g.nodes[i]
	failure := fault.failure(n, int(n.failures)+1, at)
	e := Failed{ActivityID: n.id(), Attempt: int(n.attempt), Error: failure, Continued: g.continues(n)}
	if !e.Continued {
		return s.doom([]Event{e}, at, view{last: i, phase: ActivityFailed, failure: &failure})
	}
	events := s.finishTransfers([]Event{e}, n, 0)
	events = s.proceed(events, at, i)
	return s.conclude(events, at, view{last: i, phase: ActivityFailed, failure: &failure}, 0)
}

func (g *graph) continues(n *node) bool {
	return n.def.OnError == definition.OnErrorContinue || n.def.OnError == definition.OnErrorPartial && g.partial
}

// allFailures is the failures so far and one more, where there is one: the first of them,
// and, if there are too many for a record, a last one that says how many are left out.
func (g *graph) allFailures(at time.Time, more *Failure) []Failure {
	l, n := g.failures[:len(g.failures):len(g.failures)], g.failed
	if more != nil {
		n++
		if len(l) < maxFailures {
			l = append(l, *more)
		}
	}
	if n > len(l) {
		l = append(l, Failure{Message: fmt.Sprintf("and %d more", n-len(l)), At: at})
	}
	return l
}

// heartbeat claims an attempt or extends the claim. The lease is written anew only when
// a third of it has passed, however often the agent is heard. It is never answered.
func (s State) heartbeat(at time.Time, c Heartbeat) []Event {
	if s.g == nil || s.Ended() { // an ended one has a graph while it remembers
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
	case n.phase == ActivityReady:
		return []Event{Claimed{n.id(), c.Attempt, c.Agent, at.Add(timeout)}}
	case n.phase == ActivityRunning && (c.Agent == "" || c.Agent == n.agent) && fromMillis(n.lease).Sub(at) <= timeout-timeout/3:
		return []Event{Extended{n.id(), c.Attempt, at.Add(timeout)}}
	}
	return nil
}

// release offers an attempt again that its agent has given back.
func (s State) release(c Release) []Event {
	if s.g == nil || s.Ended() || s.g.doomed != nil {
		return nil // what is about to end is not begun anew
	}
	i, ok := s.g.findWork(c.WorkID)
	if !ok {
		return nil
	}
	n := &s.g.nodes[i]
	if n.phase != ActivityRunning || c.Attempt != int(n.attempt) || n.place != "" || c.Agent != n.agent {
		return nil
	}
	return []Event{n.offerAgain()}
}

// takeOver offers again what was lost with the old owner.
func (s State) takeOver(c TakeOver) []Event {
	if s.g == nil || s.Ended() || s.g.doomed != nil {
		return nil // what is about to end is not begun anew
	}
	var events []Event
	for i := range s.g.nodes {
		n := &s.g.nodes[i]
		if n.phase == ActivityRunning && (n.place != "" && n.place != c.Placement || c.claimed(n)) {
			events = append(events, n.offerAgain())
		}
	}
	return events
}

// claimed says that the agent claimed the attempt before it was started again.
func (c TakeOver) claimed(n *node) bool {
	return c.Agent != "" && n.agent == c.Agent && (c.Since.IsZero() || n.began < millis(c.Since))
}

func (n *node) offerAgain() Event {
	return Offered{ActivityID: n.id(), Attempt: int(n.attempt), WorkID: n.workID, Offer: int(n.offers) + 1}
}
