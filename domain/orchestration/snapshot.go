package orchestration

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
)

// SnapshotVersion is the version of what EncodeSnapshot writes. It grows with every change of that;
// DecodeSnapshot reads the older ones for ever.
const SnapshotVersion = 1

// snapshot is a State, version 1. What can be told from the rest is not written: the plan is
// compiled again, and whatever is found by a name, counted or due is made anew.
type snapshot struct {
	Phase       Phase           `json:"phase"`
	Run         int             `json:"run,omitempty"`
	Fingerprint string          `json:"fingerprint,omitempty"`
	EndedAt     time.Time       `json:"endedAt,omitzero"`
	Last        *endingSnapshot `json:"last,omitempty"`
	Left        *leftSnapshot   `json:"left,omitempty"`
	Removed     bool            `json:"removed,omitempty"`
	Disposal    string          `json:"disposal,omitempty"`
	DisposedAt  time.Time       `json:"disposedAt,omitzero"`
	Remembers   bool            `json:"remembers,omitempty"`
	Graph       *graphSnapshot  `json:"graph,omitempty"`
}

type endingSnapshot struct {
	Work    string  `json:"work,omitempty"`
	Attempt int32   `json:"attempt,omitempty"`
	Said    reports `json:"said,omitempty"` // by number
}

type leftSnapshot struct {
	Blobs []blobSnapshot `json:"blobs"`
	Bytes int64          `json:"bytes"`
}

type blobSnapshot struct {
	ID     string `json:"id"`
	Chunks int32  `json:"n"`
}

type graphSnapshot struct {
	Plan      json.RawMessage   `json:"plan"`
	Type      string            `json:"type,omitempty"` // where it is not the plan's
	Input     json.RawMessage   `json:"input,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
	Callback  string            `json:"callback,omitempty"`
	Disposes  *Disposes         `json:"disposes,omitempty"`
	Resource  string            `json:"resource,omitempty"`
	Trace     string            `json:"trace,omitempty"`
	Partial   bool              `json:"partial,omitempty"`
	Cyclic    bool              `json:"cyclic,omitempty"`
	Deps      bool              `json:"deps,omitempty"`
	Checked   bool              `json:"checked,omitempty"`
	StartedAt time.Time         `json:"startedAt"`
	Deadline  int64             `json:"deadline,omitempty"` // times are milliseconds after StartedAt
	Within    int64             `json:"within,omitempty"`

	Failures  []Failure                      `json:"failures,omitempty"`
	Failed    int                            `json:"failed,omitempty"`
	Undo      *undoSnapshot                  `json:"undo,omitempty"`
	Last      int32                          `json:"last,omitempty"` // from 1 on
	Beneath   Phase                          `json:"beneath,omitempty"`
	Doomed    *Failure                       `json:"doomed,omitempty"`
	Verdict   int64                          `json:"verdict,omitempty"`
	Contracts map[string]definition.Contract `json:"contracts,omitempty"`
	Keys      map[string]int32               `json:"keys,omitempty"` // that activities were given
	Nodes     []nodeSnapshot                 `json:"nodes"`
}

type undoSnapshot struct {
	From    int32    `json:"from"`
	State   Phase    `json:"state"`
	Failure *Failure `json:"failure,omitempty"`
	Reason  string   `json:"reason,omitempty"`
	By      string   `json:"by,omitempty"`
}

// nodeSnapshot has short names: there may be 100,000 of them.
type nodeSnapshot struct {
	Def      *definition.Activity `json:"def,omitempty"`      // of what is none of the plan's, less what it inherits
	Own      bool                 `json:"own,omitempty"`      // it does not inherit
	Work     string               `json:"work,omitempty"`     // where it is not that of the last run, as which it was asked for
	Workless bool                 `json:"workless,omitempty"` // nor any other
	Agent    string               `json:"agent,omitempty"`
	Place    string               `json:"place,omitempty"`
	Output   json.RawMessage      `json:"out,omitempty"`
	State    json.RawMessage      `json:"state,omitempty"`

	Deadline int64 `json:"d,omitempty"`
	Lease    int64 `json:"l,omitempty"`
	Began    int64 `json:"b,omitempty"`
	Next     int64 `json:"n,omitempty"`

	Attempt   int32         `json:"a,omitempty"`
	Failures  int32         `json:"f,omitempty"`
	Offers    int32         `json:"o,omitempty"`
	Waits     int32         `json:"w,omitempty"`
	Unsettled int32         `json:"u,omitempty"`
	Level     int32         `json:"v,omitempty"` // above that of the parent's children
	First     int32         `json:"c,omitempty"` // of the children, where it has any
	Spawned   int32         `json:"s,omitempty"`
	Phase     ActivityPhase `json:"p,omitempty"` // by number
	Said      reports       `json:"r,omitempty"` // by number
	Paused    bool          `json:"paused,omitempty"`

	Dependents []int32 `json:"dependents,omitempty"`
	Spawners   []int32 `json:"spawners,omitempty"`
	Children   []int32 `json:"children,omitempty"`
	Order      []int32 `json:"order,omitempty"`
	Fault      *Fault  `json:"fault,omitempty"`
}

// EncodeSnapshot writes the state down, but for its id and its settings.
func (s State) EncodeSnapshot() ([]byte, error) {
	x := snapshot{
		Phase: s.phase, Run: s.run, Fingerprint: s.fingerprint, EndedAt: s.endedAt,
		Removed: s.removed, Disposal: s.disposal, DisposedAt: s.disposedAt, Remembers: s.remembers,
	}
	if s.last != (ending{}) {
		x.Last = &endingSnapshot{s.last.workID, s.last.attempt, s.last.said}
	}
	if s.left != nil {
		x.Left = &leftSnapshot{Bytes: s.left.bytes, Blobs: make([]blobSnapshot, len(s.left.blobs))}
		for i, b := range s.left.blobs {
			x.Left.Blobs[i] = blobSnapshot(b)
		}
	}
	if s.g != nil {
		x.Graph = s.g.snapshot()
		for i := range s.g.nodes {
			s.worked(&s.g.nodes[i], &x.Graph.Nodes[i])
		}
	}
	return machine.Encode(x)
}

// worked writes down the ID of a node's work, unless it can be derived.
func (s State) worked(n *node, x *nodeSnapshot) {
	switch {
	case n.attempt == 0 || n.workID == "":
		x.Work, x.Workless = n.workID, n.attempt > 0
	case n.workID != s.workIDOf(s.run, n.id()): // it is left of an earlier run
		x.Work = n.workID
	}
}

func (g *graph) snapshot() *graphSnapshot {
	base := g.base()
	x := &graphSnapshot{
		Plan: g.plan.raw, Input: g.input, Labels: g.labels, Callback: g.callback, Disposes: g.disposes, Resource: g.resource, Trace: g.trace,
		Partial: g.partial, Cyclic: g.cyclic, Deps: g.deps, Checked: g.checked && !g.plan.checked,
		StartedAt: g.startedAt, Deadline: since(base, g.deadline), Within: g.within,
		Failures: g.failures, Failed: g.failed, Last: g.last + 1, Beneath: g.beneath, Doomed: g.doomed, Verdict: since(base, g.verdict),
		Nodes: make([]nodeSnapshot, len(g.nodes)),
	}
	if g.typ != g.plan.def.Type {
		x.Type = g.typ
	}
	if u := g.undo; u != nil {
		x.Undo = &undoSnapshot{u.from, u.state, u.failure, u.reason, u.by}
	}
	for typ, c := range g.contracts {
		if x.Contracts == nil {
			x.Contracts = make(map[string]definition.Contract, len(g.contracts))
		}
		x.Contracts[typ] = c.def
	}
	for name, i := range g.index {
		if g.nodes[i].id() != name {
			if x.Keys == nil {
				x.Keys = make(map[string]int32)
			}
			x.Keys[name] = i
		}
	}
	for i := range g.nodes {
		g.node(base, int32(i), &x.Nodes[i]) // bounded by the node limit
	}
	return x
}

// node writes down node i.
func (g *graph) node(base int64, i int32, x *nodeSnapshot) {
	n := &g.nodes[i]
	*x = nodeSnapshot{
		Agent: n.agent, Place: n.place, Output: n.output, State: n.state,
		Deadline: since(base, n.deadline), Lease: since(base, n.lease), Began: since(base, n.began), Next: since(base, n.next),
		Attempt: n.attempt, Failures: n.failures, Offers: n.offers, Waits: n.waits, Unsettled: n.unsettled,
		Level: n.level - g.levelUnder(n.parent), Phase: n.phase, Said: n.said, Paused: n.paused,
	}
	if n.spawned > 0 {
		x.First, x.Spawned = n.first, n.spawned
	}
	if l := n.links; l != nil {
		x.Dependents, x.Spawners, x.Children, x.Order, x.Fault = l.dependents, l.spawners, l.children, l.order, l.fault
	}
	switch {
	case g.planned(i):
	case n.parent < 0:
		x.Def = n.def
	default:
		x.Def, x.Own = bequeathed(n.def, g.nodes[n.parent].def)
	}
}

// levelUnder is the level of what a node spawns, unless it is above others, too.
func (g *graph) levelUnder(parent int32) int32 {
	if parent < 0 {
		return 0
	}
	return g.nodes[parent].level + 1
}

// bequeathed is an activity less what it has inherited from its parent; own says that it does
// not inherit.
func bequeathed(a, parent *definition.Activity) (def *definition.Activity, own bool) {
	if a.Type != parent.Type {
		return a, false
	}
	if inherits(a, parent) {
		return a, true
	}
	c := *a
	if c.OnError == parent.OnError {
		c.OnError = ""
	}
	if c.Retry == parent.Retry {
		c.Retry = nil
	}
	if c.AttemptTimeout == parent.AttemptTimeout {
		c.AttemptTimeout = 0
	}
	if c.Deadline == parent.Deadline {
		c.Deadline = 0
	}
	if c.HeartbeatTimeout == parent.HeartbeatTimeout {
		c.HeartbeatTimeout = 0
	}
	return &c, false
}

// base is what the times of a graph are counted from.
func (g *graph) base() int64 { return g.startedAt.UnixMilli() }

// none is what a time is written as that is the base itself: 0 is none.
const none = -1 << 62

func since(base, at int64) int64 {
	switch at {
	case 0:
		return 0
	case base:
		return none
	}
	return at - base
}

func until(base, since int64) int64 {
	switch since {
	case 0:
		return 0
	case none:
		return base
	}
	return base + since
}

// DecodeSnapshot is the state that was written down. s is what New, or KeepBlobs, makes of its id. plans
// compiles definitions; equal ones should share a plan. nil: each has its own.
func (s State) DecodeSnapshot(version int, data []byte, plans func(definition []byte) (*Plan, error)) (State, error) {
	var x snapshot
	err := machine.ReadSnapshot(data, version, SnapshotVersion, &x)
	if err != nil {
		return s, fmt.Errorf("orchestration %s: %w", s.id, err)
	}
	s.phase, s.run, s.fingerprint, s.endedAt = x.Phase, x.Run, x.Fingerprint, x.EndedAt
	s.removed, s.disposal, s.disposedAt, s.remembers = x.Removed, x.Disposal, x.DisposedAt, x.Remembers
	if l := x.Last; l != nil {
		s.last = ending{l.Work, l.Attempt, l.Said}
	}
	if l := x.Left; l != nil {
		s.left = &left{bytes: l.Bytes}
		for _, b := range l.Blobs {
			s.left.blobs = append(s.left.blobs, machine.Blob(b))
		}
	}
	if x.Graph != nil {
		if plans == nil {
			plans = compiled
		}
		if s.g, err = s.restore(x.Graph, plans); err != nil {
			return s, fmt.Errorf("orchestration %s: a snapshot that cannot be read: %w", s.id, err)
		}
	}
	return s, nil
}

func compiled(definition []byte) (*Plan, error) {
	p := new(Plan)
	return p, json.Unmarshal(definition, p)
}

// restore makes a graph anew.
func (s State) restore(x *graphSnapshot, plans func([]byte) (*Plan, error)) (*graph, error) {
	plan, err := plans(x.Plan)
	if err != nil {
		return nil, err
	}
	base := x.StartedAt.UnixMilli()
	g := &graph{
		plan: plan, typ: orElse(x.Type, plan.def.Type), input: x.Input, labels: x.Labels, callback: x.Callback, disposes: x.Disposes,
		resource: x.Resource, trace: x.Trace, partial: x.Partial, cyclic: x.Cyclic, deps: x.Deps, checked: x.Checked || plan.checked,
		startedAt: x.StartedAt, deadline: until(base, x.Deadline), within: x.Within,
		failures: x.Failures, failed: x.Failed, last: x.Last - 1, beneath: x.Beneath, doomed: x.Doomed, verdict: until(base, x.Verdict),
		nodes: make([]node, len(x.Nodes)),
	}
	if u := x.Undo; u != nil {
		g.undo = &undoing{from: u.From, state: u.State, failure: u.Failure, reason: u.Reason, by: u.By}
	}
	if err := g.fits(x); err != nil {
		return nil, err
	}
	for i := range x.Nodes {
		if err := s.restoreNode(g, int32(i), &x.Nodes[i]); err != nil { // bounded by the node limit
			return nil, err
		}
	}
	if !g.downward() {
		return nil, errPlace
	}
	for typ, c := range x.Contracts {
		if g.contracts == nil {
			g.contracts = make(map[string]*contract)
		}
		g.contracts[typ] = plan.spawned.contract(typ, c)
	}
	g.recount()
	return g, nil
}

var errPlace = errors.New("an activity names another one that is not there, or not below it")

// fits refuses what would lead out of the nodes, or around among them.
func (g *graph) fits(x *graphSnapshot) error {
	n, planned := int32(len(x.Nodes)), int32(len(g.plan.dependents)) // bounded by the node limit
	if n < planned || g.last < -1 || g.last >= n || g.undo != nil && (g.undo.from < planned || g.undo.from > n) {
		return errPlace
	}
	for i := range g.nodes {
		g.nodes[i].parent = -1
	}
	for i := range x.Nodes {
		y := &x.Nodes[i]
		if y.Spawned < 0 || y.Spawned > 0 && (y.First < planned || int(y.First) <= i || y.Spawned > n-y.First) {
			return errPlace
		}
		for c := y.First; y.Spawned > 0 && c < y.First+y.Spawned; c++ {
			if g.nodes[c].parent >= 0 || g.undoes(c) {
				return errPlace
			}
			g.nodes[c].parent = int32(i) // bounded by the node limit
		}
		for _, l := range [...][]int32{y.Dependents, y.Spawners, y.Children, y.Order} {
			for _, j := range l {
				if j < 0 || j >= n {
					return errPlace
				}
			}
		}
		if int(y.Phase) >= len(activityNames) {
			return fmt.Errorf("activity %d is in state %d, which is none", i, y.Phase)
		}
	}
	for name, i := range x.Keys {
		if i < 0 || i >= n {
			return fmt.Errorf("%w: %q", errPlace, name)
		}
		if g.index == nil {
			g.index = make(map[string]int32, len(x.Keys)+len(x.Nodes)-int(planned))
		}
		g.index[name] = i
	}
	return nil
}

// downward says that nobody is among what it has spawned: whoever walks down comes to an end.
func (g *graph) downward() bool {
	ok := true
	for i := range g.nodes {
		below := func(c int32) { ok = ok && g.nodes[c].level > g.nodes[i].level }
		g.children(int32(i), below) // bounded by the node limit
		if l := g.nodes[i].links; l != nil && !g.cyclic {
			for _, c := range l.order {
				below(c)
			}
		}
	}
	return ok
}

// restoreNode makes node i anew, whose parent is known.
func (s State) restoreNode(g *graph, i int32, x *nodeSnapshot) error {
	n, base := &g.nodes[i], g.base()
	parent := n.parent
	*n = node{
		def: x.Def, workID: x.Work, agent: x.Agent, place: x.Place, output: x.Output, state: x.State,
		deadline: until(base, x.Deadline), lease: until(base, x.Lease), began: until(base, x.Began), next: until(base, x.Next),
		attempt: x.Attempt, failures: x.Failures, offers: x.Offers, waits: x.Waits, unsettled: x.Unsettled,
		level: x.Level + g.levelUnder(parent), parent: parent, first: x.First, spawned: x.Spawned,
		phase: x.Phase, said: x.Said, paused: x.Paused,
	}
	switch {
	case g.planned(i):
		n.def, n.late = &g.plan.def.Activities[i], g.plan.late[i]
	case x.Def == nil || x.Def.ID == "":
		return fmt.Errorf("activity %d is not there", i)
	case g.undoes(i):
		n.late = true
	case parent < 0:
		return fmt.Errorf("nobody has spawned activity %q", x.Def.ID)
	default:
		p := &g.nodes[parent]
		n.late, n.depth = p.late, p.depth+1
		if !x.Own {
			n.def = inherit(x.Def, p.def)
		}
	}
	if n.attempt > 0 && n.workID == "" && !x.Workless {
		n.workID = s.workIDOf(s.run, n.id())
	}
	if len(x.Dependents)+len(x.Spawners)+len(x.Children)+len(x.Order) > 0 || x.Fault != nil {
		n.links = &links{x.Dependents, x.Spawners, x.Children, x.Order, x.Fault}
	}
	return nil
}

// recount makes anew what is found, counted or due.
func (g *graph) recount() {
	planned := len(g.plan.dependents)
	for i := range g.nodes {
		n := &g.nodes[i]
		if i >= planned {
			g.name(n.id(), int32(i)) // bounded by the node limit
		}
		if !n.phase.Final() {
			g.open++
			if !n.late {
				g.retrieving++
			}
		}
		if n.phase.working() {
			g.working++
		}
		g.arm(int32(i)) // bounded by the node limit
	}
	g.findable()
	if g.deadline != 0 {
		g.timers.push(timer{at: g.deadline, node: -1})
	}
	if g.doomed != nil {
		g.timers.push(timer{at: g.verdict, node: -1})
	}
}
