package projections

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/orchestration"
)

// job is one orchestration being folded: its head, the nodes that have not ended, and
// what has to be written at the end of the batch. A node that has ended never changes
// again, so a cached job of any size holds only the open ones.
type job struct {
	aggregated
	cachePlace[*job]

	typ          string
	name, set    string
	fingerprint  string
	version, run int
	phase        orchestration.Phase
	created      int64
	started      int64
	ended        int64
	deadline     int64
	removed      int64 // when what it had left among the blobs was removed
	partial      bool
	labels       []byte // JSON
	input        json.RawMessage
	output       json.RawMessage
	result       json.RawMessage // {path, size} of the output, where they are there
	failure      json.RawMessage
	failures     []byte // JSON
	paused       []byte // JSON; nil where it is not
	compensation *Compensation
	disposal     []byte // JSON; nil where nobody disposes of it
	disposes     []byte // JSON; nil where it is not there to dispose
	count        counts
	nodes        openNodes
	registered   uint32 // nodes, ended ones included

	// To be written.
	fresh   bool    // a run has begun: input, labels, and no nodes of an earlier run
	cleared bool    // another run has begun: the output is gone
	changed []*node // each once, in the order of their first change
	edges   []edge
	linked  uint32 // edges of this kind so far
}

func (j *job) cacheKey() string { return j.id }

func (j *job) weigh() int {
	if j.phase.Final() {
		return 0
	}
	return 1 + j.nodes.len()
}

// edge is a link that no node tells of.
type edge struct{ from, to, kind string }

// manyNodes is from how many open nodes on a map finds them faster than looking at each.
const manyNodes = 12

// openNodes are the nodes of a job that have not ended, by id.
type openNodes struct {
	few  []*node
	many map[string]*node
}

func (o *openNodes) len() int { return len(o.few) + len(o.many) }

func (o *openNodes) get(id string) *node {
	if o.many != nil {
		return o.many[id]
	}
	for _, n := range o.few {
		if n.id == id {
			return n
		}
	}
	return nil
}

func (o *openNodes) add(n *node) {
	if o.many == nil {
		if len(o.few) < manyNodes {
			o.few = append(o.few, n)
			return
		}
		o.many = make(map[string]*node, 2*manyNodes)
		for _, f := range o.few {
			o.many[f.id] = f
		}
		o.few = nil
	}
	o.many[n.id] = n
}

func (o *openNodes) remove(n *node) {
	if o.many != nil {
		delete(o.many, n.id)
		return
	}
	for i, f := range o.few {
		if f == n {
			o.few = append(o.few[:i], o.few[i+1:]...)
			return
		}
	}
}

// all lists them by number, so that what is done to all is done in the same order always.
func (o *openNodes) all() []*node {
	l := append([]*node(nil), o.few...)
	for _, n := range o.many {
		l = append(l, n)
	}
	sortNodes(l)
	return l
}

// apply folds one event in; at is when it was decided. Events are facts: one that
// makes no sense here changes nothing but the sequence.
func (j *job) apply(at time.Time, e orchestration.Event) error {
	j.dirty = true
	t := nanos(at)
	switch e := e.(type) {
	case orchestration.Started:
		return j.start(t, e)
	case orchestration.TransfersFinished:
		j.phase = orchestration.PhaseTransfersFinished
		return nil
	case orchestration.Compensating:
		return j.compensate(t, e)
	case orchestration.Ended:
		return j.end(t, e)
	case orchestration.BlobsRemoved:
		j.removed = t
		return nil
	case orchestration.RerunStarted:
		j.rerun(t, e)
	case orchestration.Disposed:
		j.dispose(t, e)
	case orchestration.Paused:
		j.phase, j.paused = orchestration.PhasePaused, pauseOf(t, e.By, e.Reason)
	case orchestration.Resumed:
		j.phase, j.paused = e.State, nil
	case orchestration.ActivityPaused:
		j.hold(e.ActivityID, pauseOf(t, e.By, e.Reason))
	case orchestration.ActivityResumed:
		j.hold(e.ActivityID, nil)
	case orchestration.Skipped:
		if n := j.nodes.get(e.ActivityID); n != nil {
			j.move(n, t, orchestration.ActivitySkipped)
			n.output, n.failure = e.Output, nil
		}
	case orchestration.Requested:
		if n := j.nodes.get(e.ActivityID); n != nil {
			n.attempt, n.work, n.deadline = e.Attempt, e.WorkID, nanos(e.Deadline)
			j.offer(n, t, e.Placement)
		}
	case orchestration.Offered:
		if n := j.nodes.get(e.ActivityID); n != nil {
			n.attempt, n.work = e.Attempt, e.WorkID
			j.offer(n, t, e.Placement)
		}
	case orchestration.Claimed:
		if n := j.nodes.get(e.ActivityID); n != nil {
			j.move(n, t, orchestration.ActivityRunning)
			n.agent = e.Agent
		}
	case orchestration.Extended:
		// A lease is between the machine and the agent: nothing to see.
	case orchestration.Waited:
		if n := j.pause(e.ActivityID, t, orchestration.ActivityWaiting, time.Time{}, e.Until); n != nil {
			n.delegated()
		}
	case orchestration.Scheduled:
		j.pause(e.ActivityID, t, orchestration.ActivityScheduled, e.At, time.Time{})
	case orchestration.Retrying:
		if n := j.pause(e.ActivityID, t, orchestration.ActivityRetrying, e.At, time.Time{}); n != nil {
			return n.fault(e.Error)
		}
	case orchestration.Completed:
		return j.complete(t, e)
	case orchestration.Failed:
		if n := j.nodes.get(e.ActivityID); n != nil {
			j.move(n, t, orchestration.ActivityFailed)
			return n.fault(e.Error)
		}
	}
	return nil
}

// offer puts a node before its agents; one with a placement is being run already.
func (j *job) offer(n *node, at int64, placement string) {
	if placement == "" {
		j.move(n, at, orchestration.ActivityReady)
		return
	}
	j.move(n, at, orchestration.ActivityRunning)
	n.agent = placement
}

// pause leaves a node until next, or until somebody reports before until.
func (j *job) pause(id string, at int64, to orchestration.ActivityPhase, next, until time.Time) *node {
	n := j.nodes.get(id)
	if n == nil {
		return nil
	}
	j.move(n, at, to)
	n.next = nanos(next)
	if !until.IsZero() {
		n.deadline = nanos(until)
	}
	return n
}

func (n *node) fault(f orchestration.Failure) (err error) {
	n.failure, err = failureOf(f)
	return err
}

// move takes a node to another state, counts it there, and has it written.
func (j *job) move(n *node, at int64, to orchestration.ActivityPhase) {
	j.count[kindOf(n.phase)]--
	j.count[kindOf(to)]++
	n.move(at, to)
	j.touch(n)
	if to.Final() {
		n.paused = nil
		j.nodes.remove(n)
		j.undone(n, to)
	}
}

func (j *job) touch(n *node) {
	n.seq = j.seq
	if !n.dirty {
		n.dirty = true
		j.changed = append(j.changed, n)
	}
}

func (j *job) start(at int64, e orchestration.Started) error {
	labels := []byte("{}")
	if len(e.Labels) > 0 {
		var err error
		if labels, err = json.Marshal(e.Labels); err != nil { // sorts them
			return fmt.Errorf("labels: %w", err)
		}
	}
	if j.created == 0 {
		j.created = at
	}
	j.name, j.set, j.fingerprint = e.Name, e.Set, e.Fingerprint
	j.typ, j.run, j.phase = e.Type, e.Run, orchestration.PhaseInProgress
	j.started, j.ended, j.deadline = at, 0, nanos(e.Deadline)
	j.partial, j.labels, j.input = e.Partial, labels, e.Input
	j.removed = 0
	j.output, j.result, j.failure, j.failures, j.paused = nil, nil, nil, []byte("[]"), nil
	j.compensation, j.disposal, j.disposes = nil, nil, nil
	if e.Disposes != nil {
		var err error
		if j.disposes, err = json.Marshal(e.Disposes); err != nil {
			return fmt.Errorf("disposes: %w", err)
		}
	}
	j.fresh = true
	j.count, j.nodes, j.changed, j.edges, j.registered, j.linked = counts{}, openNodes{}, nil, nil, 0, 0
	if e.Plan == nil {
		return nil
	}
	def := e.Plan.Definition()
	j.version = def.Version
	j.register(at, "", def.Activities)
	return nil
}

// register adds nodes that nobody has asked for yet.
func (j *job) register(at int64, parent string, activities []definition.Activity) {
	block := make([]node, len(activities))
	for i := range activities {
		a, n := &activities[i], &block[i]
		n.number, n.id, n.name, n.typ = j.registered, a.ID, a.Name, a.Type
		n.discriminator, n.parent, n.dependsOn, n.since = a.Discriminator, parent, a.DependsOn, at
		if n.name == "" {
			n.name = n.id
		}
		j.registered++
		j.count[pending]++
		j.nodes.add(n)
		j.touch(n)
	}
}

func (j *job) complete(at int64, e orchestration.Completed) error {
	n := j.nodes.get(e.ActivityID)
	if n == nil {
		return nil
	}
	j.move(n, at, orchestration.ActivityCompleted)
	n.output, n.failure = e.Output, nil
	n.acquired()
	j.register(at, n.id, e.Spawned)
	for _, id := range e.Shared {
		j.edges = append(j.edges, edge{n.id, id, EdgeShared})
	}
	for _, id := range e.Cycles {
		j.edges = append(j.edges, edge{n.id, id, EdgeCycle})
	}
	return nil
}

func (j *job) end(at int64, e orchestration.Ended) error {
	j.phase, j.ended, j.output, j.result, j.paused = e.State, at, e.Output, place(e.Output), nil
	for _, n := range j.nodes.all() {
		j.move(n, at, orchestration.ActivityCancelled)
	}
	j.compensation = outcome(e.Compensation)
	err := j.fail(e.Error, e.Reason, e.By)
	if err != nil || len(e.Failures) == 0 {
		return err
	}
	b := []byte{'['}
	for i, f := range e.Failures {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = appendFailure(b, f); err != nil {
			return err
		}
	}
	j.failures = append(b, ']')
	return nil
}

// endDoc is the error of a job that somebody cancelled.
type endDoc struct {
	Message string `json:"message"`
	By      string `json:"by,omitempty"`
}

// appendFailure writes a failure as a job shows it: with the node it belongs to.
func appendFailure(b []byte, f orchestration.Failure) ([]byte, error) {
	doc, err := failureOf(f)
	if err != nil || f.ActivityID == "" {
		return append(b, doc...), err
	}
	b = appendText(append(b, `{"nodeId":`...), f.ActivityID)
	if f.Name != "" {
		b = appendText(append(b, `,"name":`...), f.Name)
	}
	return append(append(b, ','), doc[1:]...), nil
}

// place is where a result lies, when the output says so.
func place(output json.RawMessage) json.RawMessage {
	var p struct {
		Path string `json:"path,omitempty"`
		Size *int64 `json:"size,omitempty"`
	}
	// An output of any other shape has no place: that is no mistake.
	if json.Unmarshal(output, &p) != nil || p.Path == "" {
		return nil
	}
	b, err := json.Marshal(p)
	if err != nil {
		return nil
	}
	return b
}
