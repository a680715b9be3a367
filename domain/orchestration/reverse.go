package orchestration

import "github.com/waybill/waybill/domain/definition"

// undo is what undoes node of.
type undo struct {
	definition.Activity
	of int32
}

// Limits of the edges between what undoes. Beyond them one is undone after the other, which is
// in order, too.
const (
	maxUndoEdges     = 300_000
	maxUndoEdgeBytes = 256 << 10
)

// reversed lists what undoes the activities that are to be undone, each after what has to be undone
// before it: whatever came after it, its dependents and what it spawned. An activity that
// is not to be undone hands on what it would wait for.
func (g *graph) reversed(wanted func(i int32) bool, suffix string) []undo {
	n := len(g.nodes)
	if g.undo != nil {
		n = int(g.undo.from)
	}
	r := reversal{
		g: g, wanted: wanted, above: g.above(n), after: g.after(n),
		ended: make([]waits, n), settled: make([]waits, n), seen: make([]int32, n),
	}
	for i := range int32(n) { // bounded by the node limit
		r.begun(i)
	}
	list := make([]undo, len(r.order))
	for k, i := range r.order {
		d := g.nodes[i].def
		list[k] = undo{definition.Activity{ID: d.ID + suffix, Name: g.nodes[i].name(), Type: d.Type, Discriminator: definition.Dispose}, i}
	}
	r.link(list, suffix)
	return list
}

// link fills in what each waits for.
func (r *reversal) link(list []undo, suffix string) {
	edges := 0
	for k := 0; k < len(list) && !r.chained; k++ {
		bytes := 0
		for _, before := range r.ended[list[k].of].list {
			id := r.g.nodes[before].id()
			list[k].DependsOn = append(list[k].DependsOn, id+suffix)
			bytes += len(id)
		}
		edges += len(list[k].DependsOn)
		r.chained = edges > maxUndoEdges || bytes > maxUndoEdgeBytes
	}
	if !r.chained {
		return
	}
	for k := range list {
		list[k].DependsOn = nil
		if k > 0 {
			list[k].DependsOn = definition.Names{list[k-1].ID}
		}
	}
}

// above lists for each of the first n nodes those that spawned or share it.
func (g *graph) above(n int) [][]int32 {
	above := make([][]int32, n)
	for i := range int32(n) { // bounded by the node limit
		g.children(i, func(c int32) { above[c] = append(above[c], i) })
	}
	return above
}

// after lists for each of the first n nodes those that depend on it, and also those that never
// had to wait for it, because it was settled when they were spawned.
func (g *graph) after(n int) [][]int32 {
	after := make([][]int32, n)
	for i := range int32(n) { // bounded by the node limit
		for _, d := range g.nodes[i].def.DependsOn {
			if j, ok := g.find(d); ok && int(j) < n {
				after[j] = append(after[j], i)
			}
		}
	}
	return after
}

// reversal walks a graph against its order. Going forward, an activity begins, ends, and is settled
// when all that it spawned is; backward these are passed the other way around, and each
// gate knows what has to be undone before it is passed.
type reversal struct {
	g              *graph
	wanted         func(i int32) bool
	above, after   [][]int32
	ended, settled []waits
	order          []int32 // wanted ones, as they can be undone
	seen           []int32 // of a union: the number of the last one a node was in
	union          int32
	edges          int
	chained        bool // there are too many edges
}

// waits is what has to be undone before a gate is passed.
type waits struct {
	list  []int32
	state uint8
}

const (
	gateEntered uint8 = 1 + iota
	gateListed        // and the node is in the order
)

// begun is what has to be undone before what ran before node i: itself, where it is to be undone.
func (r *reversal) begun(i int32) []int32 {
	w, n := &r.ended[i], &r.g.nodes[i]
	wanted := r.wanted(i)
	if !wanted && (!n.phase.Final() || n.phase == ActivityCancelled) {
		return nil // so nothing came after it
	}
	if w.state == 0 {
		w.state = gateEntered
		var parts [][]int32
		for c := n.first; c < n.first+n.spawned; c++ {
			parts = append(parts, r.begun(c))
		}
		if len(parts) == 0 { // else they wait for that already
			parts = append(parts, r.settles(i))
		}
		w.list = r.join(parts)
	}
	if !wanted {
		return w.list
	}
	if w.state != gateListed {
		w.state = gateListed
		r.order = append(r.order, i)
	}
	return []int32{i}
}

// settles is what has to be undone before anything of what node i spawned, or itself, is.
func (r *reversal) settles(i int32) []int32 {
	w := &r.settled[i]
	if w.state == 0 {
		w.state = gateEntered
		var parts [][]int32
		for _, d := range r.after[i] {
			parts = append(parts, r.begun(d))
		}
		for _, p := range r.above[i] {
			parts = append(parts, r.settles(p))
		}
		w.list = r.join(parts)
	}
	return w.list
}

// join is the union of lists.
func (r *reversal) join(parts [][]int32) []int32 {
	switch {
	case r.chained || len(parts) == 0:
		return nil
	case len(parts) == 1:
		return parts[0]
	}
	r.union++
	var all []int32
	for _, part := range parts {
		for _, i := range part {
			if r.seen[i] != r.union {
				r.seen[i] = r.union
				all = append(all, i)
			}
		}
	}
	r.edges += len(all)
	r.chained = r.edges > maxUndoEdges
	return all
}
