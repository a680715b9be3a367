package orchestration

import (
	"fmt"
	"slices"

	"github.com/waybill/waybill/domain/definition"
)

// growth sorts what a completed activity wants spawned.
type growth struct {
	g      *graph
	search search
	e      *Completed
	seen   map[string]struct{} // ids sorted already, once there are many
	order  []string            // of all, from the first that is not new on
	kind   edge                // of the last
	mixed  bool                // they are not first the spawned, then the shared, then the cycles
}

// edge is what a node has to do with one that it wants spawned.
type edge uint8

const (
	spawnedEdge edge = iota
	sharedEdge
	cycleEdge
)

// fewSpawned is up to how many spawned activities looking at each is quicker than a map.
const fewSpawned = 16

// grow sorts what a completed activity wants spawned into new nodes, shared ones and
// cycles, or says why it cannot be.
func (g *graph) grow(i int32, c Complete, e *Completed) *Fault {
	if len(c.Spawn) == 0 {
		return nil
	}
	w := growth{g: g, search: search{g: g, n: i}, e: e}
	if len(c.Spawn) > fewSpawned {
		w.seen = make(map[string]struct{}, len(c.Spawn))
	}
	for k := range c.Spawn {
		if fault := w.sort(c, k); fault != nil {
			return fault
		}
	}
	if w.mixed {
		e.Children = w.order
	}
	return g.checkGrowth(i, e)
}

func (w *growth) sort(c Complete, k int) *Fault {
	a := &c.Spawn[k]
	j, known := w.g.find(a.ID)
	if !known && c.Key != "" && a.ID == c.Key {
		j, known = w.search.n, true // it names itself
	}
	if known {
		if id := w.g.nodes[j].id(); !w.repeated(id) {
			w.link(j, id)
		}
		return nil
	}
	if w.repeated(a.ID) {
		return nil
	}
	if err := definition.CheckSpawned(a); err != nil {
		return &Fault{Step: stepSpawn, Message: err.Error()}
	}
	if len(w.e.Spawned) == k {
		w.e.Spawned = c.Spawn[: k+1 : k+1] // no copy as long as all are new
	} else {
		w.e.Spawned = append(w.e.Spawned, *a)
	}
	if w.order != nil {
		w.note(a.ID, spawnedEdge)
	}
	return nil
}

// note keeps the order.
func (w *growth) note(id string, kind edge) {
	if w.order == nil {
		w.order = make([]string, 0, len(w.e.Spawned)+1)
		for k := range w.e.Spawned {
			w.order = append(w.order, w.e.Spawned[k].ID)
		}
	}
	w.order = append(w.order, id)
	w.mixed = w.mixed || kind < w.kind
	w.kind = kind
}

// link records an edge to a node that is there already.
func (w *growth) link(j int32, id string) {
	if w.search.entangled(j) {
		w.e.Cycles = append(w.e.Cycles, id)
		if j != w.search.n { // where it stands already
			w.note(id, cycleEdge)
		}
		return
	}
	w.e.Shared = append(w.e.Shared, id)
	w.note(id, sharedEdge)
}

// repeated says whether the id was sorted before.
func (w *growth) repeated(id string) bool {
	if w.seen != nil {
		_, ok := w.seen[id]
		w.seen[id] = struct{}{}
		return ok
	}
	for k := range w.e.Spawned {
		if w.e.Spawned[k].ID == id {
			return true
		}
	}
	return slices.Contains(w.e.Shared, id) || slices.Contains(w.e.Cycles, id)
}

func (g *graph) checkGrowth(i int32, e *Completed) *Fault {
	n := &g.nodes[i]
	if most := g.plan.maxNodes(); len(g.nodes)+len(e.Spawned) > most {
		return &Fault{Step: stepSpawn, Message: fmt.Sprintf("%d more activities would make %d, over the limit of %d nodes", len(e.Spawned), len(g.nodes)+len(e.Spawned), most)}
	}
	if most := g.plan.maxDepth(); len(e.Spawned) > 0 && int(n.depth)+1 > most {
		return &Fault{Step: stepSpawn, Message: fmt.Sprintf("a child would be %d generations down, over the limit of %d depth", n.depth+1, most)}
	}
	for k := range e.Spawned {
		if len(e.Spawned[k].DependsOn) > 0 {
			return g.checkDependencies(i, e.Spawned)
		}
	}
	return nil
}

// checkDependencies refuses dependencies of new children that are unknown, go in a
// circle, or wait for what waits for them.
func (g *graph) checkDependencies(parent int32, spawned []definition.Activity) *Fault {
	siblings := make(map[string]*definition.Activity, len(spawned))
	for k := range spawned {
		siblings[spawned[k].ID] = &spawned[k]
	}
	search := search{g: g, n: parent}
	for k := range spawned {
		for _, d := range spawned[k].DependsOn {
			if _, ok := siblings[d]; ok {
				continue
			}
			j, ok := g.find(d)
			if !ok {
				return &Fault{Step: stepSpawn, Message: fmt.Sprintf("spawned activity %s depends on %q, which is not there", spawned[k].ID, d)}
			}
			if search.entangled(j) {
				return &Fault{Step: stepSpawn, Message: fmt.Sprintf("spawned activity %s depends on %q, which waits for it", spawned[k].ID, d)}
			}
		}
	}
	return checkCircles(spawned, siblings)
}

func checkCircles(spawned []definition.Activity, siblings map[string]*definition.Activity) *Fault {
	const onTheWay, done = 1, 2
	state := make(map[string]int, len(siblings))
	var circle func(id string) bool
	circle = func(id string) bool {
		a, ok := siblings[id]
		if !ok || state[id] == done {
			return false
		}
		if state[id] == onTheWay {
			return true
		}
		state[id] = onTheWay
		for _, d := range a.DependsOn {
			if circle(d) {
				return true
			}
		}
		state[id] = done
		return false
	}
	for k := range spawned {
		if circle(spawned[k].ID) {
			return &Fault{Step: stepSpawn, Message: fmt.Sprintf("the dependencies of spawned activity %s go in a circle", spawned[k].ID)}
		}
	}
	return nil
}
