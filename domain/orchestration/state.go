package orchestration

import (
	"encoding/json"
	"time"

	"github.com/waybill/waybill/domain/definition"
)

// State is where an orchestration stands. The State that New makes is an
// orchestration nobody has asked for.
type State struct {
	id          string
	phase       Phase
	run         int
	fingerprint string
	endedAt     time.Time
	// g is what an orchestration needs while it runs; an ended one has none.
	g *graph
}

// New is the orchestration of that id before anything has happened.
func New(id string) State { return State{id: id, phase: Initial} }

// ID is the aggregate id.
func (s State) ID() string { return s.id }

// Phase is where the orchestration stands.
func (s State) Phase() Phase { return s.phase }

// Ended says that nothing moves on from here.
func (s State) Ended() bool { return s.phase.Final() }

// graph is the running part of a State. It is changed in place by Evolve, which owns it.
type graph struct {
	plan      *Plan
	typ       string
	input     json.RawMessage
	labels    map[string]string
	callback  string
	partial   bool
	startedAt time.Time
	deadline  time.Time

	nodes    []node
	index    map[string]int32 // ids of spawned nodes, and keys; plan ids are in the plan
	work     map[string]int32 // by work ID, once there are many nodes
	open     int              // nodes that have not ended
	deps     bool             // a spawned node has dependencies of its own
	finished bool             // TransfersFinished has happened
	failures []Failure
	timers   timers
}

// node is one activity.
type node struct {
	def    *definition.Activity
	workID string // while an attempt is under way
	agent  string // who has claimed the attempt
	place  string // the process whose own agent runs the attempt
	output json.RawMessage
	state  json.RawMessage

	deadline time.Time // in total; zero until first requested
	lease    time.Time // of the claim, RUNNING on the topic
	began    time.Time // this attempt
	next     time.Time // SCHEDULED, RETRYING: next attempt; WAITING: until; READY: next offer
	timer    int64     // unix milliseconds of the node's valid timer; 0: none

	attempt, failures, offers int32
	phase                     ActivityPhase
	waits                     int32 // dependencies that are not settled
	unsettled                 int32 // children, shared ones included, that are not settled
	depth                     int32 // generations of spawning
	level                     int32 // above every ancestor's: prunes the search for cycles
	parent                    int32 // -1 for the plan's own
	dependents                []int32
	spawners                  []int32 // who waits for this node's subtree by having spawned or shared it
	children                  []int32 // in the order they were spawned
}

func (n *node) id() string { return n.def.ID }

func (n *node) name() string { return orElse(n.def.Name, n.def.ID) }

// settled says that the node and all it spawned have ended: that is what a dependency waits for.
func (n *node) settled() bool { return n.phase.Final() && n.unsettled == 0 }

// find looks an activity up by its id, or a key it was given.
func (g *graph) find(id string) (int32, bool) {
	if i, ok := g.plan.index[id]; ok {
		return i, true
	}
	i, ok := g.index[id]
	return i, ok
}

// manyNodes is from how many nodes on work IDs are kept in a map; below, looking at
// each node is quicker and takes no memory.
const manyNodes = 16

func (g *graph) findWork(workID string) (int32, bool) {
	if g.work != nil {
		i, ok := g.work[workID]
		return i, ok
	}
	for i := range g.nodes {
		if g.nodes[i].workID == workID {
			return int32(i), true //nolint:gosec // bounded by the node limit
		}
	}
	return 0, false
}

// dependents of a node: the plan's, or a spawned one's own.
func (g *graph) dependents(i int32) []int32 {
	if int(i) < len(g.plan.dependents) && len(g.nodes[i].dependents) == 0 {
		return g.plan.dependents[i]
	}
	return g.nodes[i].dependents
}

// ancestor says whether a is an ancestor of n, or n itself, by way of spawned and shared edges.
func (g *graph) ancestor(a, n int32) bool {
	if a == n {
		return true
	}
	if g.nodes[a].level >= g.nodes[n].level {
		return false
	}
	seen := map[int32]struct{}{n: {}}
	queue := []int32{n}
	for len(queue) > 0 {
		x := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, p := range g.nodes[x].spawners {
			if p == a {
				return true
			}
			if _, ok := seen[p]; ok || g.nodes[p].level <= g.nodes[a].level {
				continue
			}
			seen[p] = struct{}{}
			queue = append(queue, p)
		}
	}
	return false
}

// entangled says whether settling the subtree of b takes an ancestor of n, or n itself: then n
// must not wait for b. Without dependencies among them only an ancestor does.
func (g *graph) entangled(b, n int32) bool {
	if g.ancestor(b, n) {
		return true
	}
	if int(b) >= len(g.plan.dependents) && !g.deps {
		return false
	}
	seen := map[int32]struct{}{b: {}}
	queue := []int32{b}
	visit := func(x int32) {
		if _, ok := seen[x]; !ok {
			seen[x] = struct{}{}
			queue = append(queue, x)
		}
	}
	for len(queue) > 0 {
		x := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if g.ancestor(x, n) {
			return true
		}
		for _, d := range g.nodes[x].def.DependsOn {
			if j, ok := g.find(d); ok && !g.nodes[j].settled() {
				visit(j)
			}
		}
		for _, c := range g.nodes[x].children {
			if !g.nodes[c].settled() {
				visit(c)
			}
		}
	}
	return false
}

// raise keeps levels above ancestors' after n got the ancestor of level l.
func (g *graph) raise(n, l int32) {
	type step struct{ n, l int32 }
	queue := []step{{n, l}}
	for len(queue) > 0 {
		s := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if g.nodes[s.n].level > s.l {
			continue
		}
		g.nodes[s.n].level = s.l + 1
		for _, c := range g.nodes[s.n].children {
			queue = append(queue, step{c, s.l + 1})
		}
	}
}
