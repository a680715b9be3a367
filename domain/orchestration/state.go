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
	last        ending
	// left is what its runs have left among the blobs; nil where that is nothing.
	left *left
	keep time.Duration
	// removed says that what some run had left is there no more.
	removed    bool
	disposal   string // the orchestration that disposes of this one
	disposedAt time.Time
	// remembers says that the graph is kept when a run ends.
	remembers bool
	// g is what an orchestration needs while it runs; an ended one has none.
	g *graph
}

// ending is the last report that had its way before the end, so that its repeat is not
// taken for a late one.
type ending struct {
	workID  string
	attempt int32
	said    reports
}

// New is the orchestration of that id before anything has happened.
func New(id string) State { return State{id: id, phase: PhaseInitial, keep: DefaultKeepBlobs} }

// KeepBlobs is another New, or Keeping, with another time for which what an ended orchestration
// left among the blobs is kept.
func KeepBlobs(other func(id string) State, blobs time.Duration) func(id string) State {
	return func(id string) State {
		s := other(id)
		s.keep = blobs
		return s
	}
}

// ID is the aggregate id.
func (s State) ID() string { return s.id }

// Phase is where the orchestration stands.
func (s State) Phase() Phase { return s.phase }

// Resource is the name of what the orchestration deploys or disposes of: every run that
// means the same thing has the same. An ended one has given it up.
func (s State) Resource() string {
	if s.g == nil {
		return ""
	}
	return orElse(s.g.resource, s.id)
}

// Ended says that nothing moves on from here.
func (s State) Ended() bool { return s.phase.Final() }

// graph is the running part of a State. It is changed in place by Evolve, which owns it.
type graph struct {
	plan      *Plan
	typ       string
	input     json.RawMessage
	members   map[string]json.RawMessage // of a large input, once it has been looked into
	labels    map[string]string
	callback  string // URL told of the end
	disposes  *Disposes
	resource  string // name of what is deployed; empty: the id
	trace     string // W3C trace context of whoever asked
	partial   bool
	cyclic    bool // some edge is a cycle
	deps      bool // some node waits for more than what it spawned: see search
	startedAt time.Time
	deadline  int64 // unix milliseconds; 0: none
	within    int64 // how many milliseconds the run was given

	nodes      []node
	index      map[string]int32 // ids of spawned nodes, and keys; plan ids are in the plan
	work       map[string]int32 // by work ID, once there are many nodes
	open       int              // nodes that have not ended
	retrieving int              // of those, the ones before aggregation
	failures   []Failure        // the first of them, at most maxFailures
	failed     int              // how many there were
	undo       *undoing         // what had completed is being undone
	last       int32            // the node that ended last, or that reported last before a bad end; -1: none
	working    int              // nodes that are READY or RUNNING
	beneath    Phase            // while PAUSED: where it goes on; else 0
	doomed     *Failure         // the first that ends it, while others may still report
	verdict    int64            // unix milliseconds: when they may no more
	timers     timers
	checked    bool                 // something can be wrong with what an activity is handed
	contracts  map[string]*contract // of types that were spawned and are none of the plan's
}

// node is one activity. There can be 100,000 of them in an orchestration, and 300,000 in as
// many orchestrations as wait, so what few nodes have stands in links, and times are unix
// milliseconds, rounded up; 0 is none.
type node struct {
	def    *definition.Activity
	workID string // from the first attempt on
	agent  string // who has claimed the attempt
	place  string // the process whose own agent runs the attempt
	output json.RawMessage
	state  json.RawMessage
	links  *links

	deadline int64 // in total; 0 until first requested
	lease    int64 // of the claim, RUNNING on the topic
	began    int64 // this attempt
	next     int64 // SCHEDULED, RETRYING: next attempt; WAITING: until; READY: next offer
	timer    int64 // the earliest of these that counts
	armed    int64 // the node's earliest entry in the heap, never later than timer

	attempt, failures, offers int32
	waits                     int32 // dependencies that are not settled
	unsettled                 int32 // children, shared ones included, that are not settled
	depth                     int32 // generations of spawning
	level                     int32 // above every ancestor's: prunes the search for cycles
	parent                    int32 // -1 for the plan's own
	first, spawned            int32 // the children that are its own: nodes[first:first+spawned]
	phase                     ActivityPhase
	said                      reports // of this attempt
	late                      bool    // an aggregation, or after one
	paused                    bool    // no other attempt is asked for
}

// links are edges that most nodes do not have.
type links struct {
	dependents []int32 // of a spawned activity, or of a planned one with spawned dependents
	spawners   []int32 // besides the parent: those who share the node and wait for its subtree
	children   []int32 // spawned, then shared, where some are shared
	order      []int32 // all in the order they were asked for, cycles too, where that is another
	fault      *Fault  // what is wrong with its input; whoever has one fails next
}

func (n *node) linked() *links {
	if n.links == nil {
		n.links = &links{}
	}
	return n.links
}

// reports is a set of reports that have had their way in an attempt.
type reports uint8

const (
	saidComplete reports = 1 << iota
	saidWait
	saidSchedule
	saidRetry
	saidFail
	// What an operator said in the agent's place.
	orderedSkip
	orderedComplete
	orderedFail
)

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
	if workID == "" {
		return 0, false // what the nodes have that were never asked for
	}
	if g.work != nil {
		i, ok := g.work[workID]
		return i, ok
	}
	for i := range g.nodes {
		if g.nodes[i].workID == workID {
			return int32(i), true // bounded by the node limit
		}
	}
	return 0, false
}

// dependents of a node: the plan's, or those it has got since.
func (g *graph) dependents(i int32) []int32 {
	if l := g.nodes[i].links; l != nil && len(l.dependents) > 0 {
		return l.dependents
	}
	if g.planned(i) {
		return g.plan.dependents[i]
	}
	return nil
}

// planned says whether a node is one of the plan's own.
func (g *graph) planned(i int32) bool { return int(i) < len(g.plan.dependents) }

// children calls visit for each child of a node, shared ones included.
func (g *graph) children(i int32, visit func(int32)) {
	n := &g.nodes[i]
	if n.links != nil && len(n.links.children) > 0 {
		for _, c := range n.links.children {
			visit(c)
		}
		return
	}
	for c := n.first; c < n.first+n.spawned; c++ {
		visit(c)
	}
}

// spawner is the k-th node that waits for node i by having spawned or shared it; false
// where there are no more.
func (g *graph) spawner(i int32, k int) (int32, bool) {
	n := &g.nodes[i]
	if n.parent >= 0 {
		if k == 0 {
			return n.parent, true
		}
		k--
	}
	if n.links == nil || k >= len(n.links.spawners) {
		return 0, false
	}
	return n.links.spawners[k], true
}

// settling appends to list what settles when node i, none of whose own children is
// unsettled, ends: i itself, then whoever waited for nothing but that. It changes nothing.
func (g *graph) settling(list []int32, i int32) []int32 {
	list = append(list, i)
	if !g.leads(i) {
		return list
	}
	counted := make(map[int32]int32) // two ways may lead up to the same node
	for k := len(list) - 1; k < len(list); k++ {
		for j := 0; ; j++ {
			p, ok := g.spawner(list[k], j)
			if !ok {
				break
			}
			if counted[p]++; counted[p] == g.nodes[p].unsettled {
				list = append(list, p)
			}
		}
	}
	return list
}

// leads says whether anybody settles together with node i.
func (g *graph) leads(i int32) bool {
	for k := 0; ; k++ {
		p, ok := g.spawner(i, k)
		if !ok {
			return false
		}
		if g.nodes[p].unsettled == 1 {
			return true
		}
	}
}

// raise keeps levels above ancestors' after n got an ancestor of level l.
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
		g.children(s.n, func(c int32) { queue = append(queue, step{c, s.l + 1}) })
	}
}
