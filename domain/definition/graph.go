package definition

import "strings"

// vertex is an activity, as far as the graph is concerned.
type vertex struct {
	at        string
	id        string // "" where it is missing or no string
	typ       string
	dependsOn []named
	refs      []reference
	fed       []fed
	// deps are the activities that dependsOn names, as far as there are such; edge says which
	// of dependsOn each of them is.
	deps []int32
	edge []int32
}

// named is a name and where it stands.
type named struct{ at, name string }

// identities looks for ids that are there twice.
func (c *orchestrationCheck) identities() {
	first := make(map[string]int, len(c.activities))
	for i := range c.activities {
		x := &c.activities[i]
		if x.id == "" {
			continue
		}
		if k, ok := first[x.id]; ok {
			c.add(member(x.at, "id"), "%q is already the id of %s", x.id, c.activities[k].at)
			continue
		}
		first[x.id] = i
	}
}

// index finds activities by id; of several, the first.
func (c *orchestrationCheck) index() (map[string]int32, []string) {
	m := make(map[string]int32, len(c.activities))
	var ids []string
	for i := range c.activities {
		id := c.activities[i].id
		if _, ok := m[id]; !ok && id != "" {
			m[id] = int32(i)
			ids = append(ids, id)
		}
	}
	return m, ids
}

// dependencies resolves dependsOn and looks for what is not there, for repeats and cycles.
func (c *orchestrationCheck) dependencies() {
	index, ids := c.index()
	seen := make([]int, len(c.activities)) // by activity: 1 + the last one found to depend on it
	for i := range c.activities {
		x := &c.activities[i]
		for k, d := range x.dependsOn {
			j, ok := index[d.name]
			switch {
			case !ok:
				c.add(d.at, "there is no activity %s%s", quote(d.name), didYouMean(d.name, ids))
				continue
			case d.name == x.id:
				c.add(d.at, "%q depends on itself", d.name)
				continue
			case seen[j] == i+1:
				c.add(d.at, "%q is there twice", d.name)
				continue
			}
			seen[j] = i + 1
			x.deps = append(x.deps, j)
			x.edge = append(x.edge, int32(k))
		}
	}
	c.cycles()
}

// cycles names one cycle of each strongly connected component, so that each knot in the graph is one
// mistake, whatever the number of ways round it.
func (c *orchestrationCheck) cycles() {
	for _, component := range components(c.activities) {
		if len(component) > 1 {
			c.cycle(component)
		}
	}
}

// cycle names a shortest way from the component's first activity back to it, breadth first.
func (c *orchestrationCheck) cycle(component []int32) {
	inside := make(map[int32]bool, len(component))
	start := component[0]
	for _, v := range component {
		inside[v] = true
		start = min(start, v)
	}
	from := map[int32]int32{}
	queue := []int32{start}
	for len(queue) > 0 {
		v := queue[0]
		queue = queue[1:]
		for _, d := range c.activities[v].deps {
			if d == start {
				c.nameCycle(start, v, from)
				return
			}
			if _, ok := from[d]; !ok && inside[d] {
				from[d] = v
				queue = append(queue, d)
			}
		}
	}
}

func (c *orchestrationCheck) nameCycle(start, last int32, from map[int32]int32) {
	way := []int32{start}
	for v := last; v != start; v = from[v] {
		way = append(way, v)
	}
	way = append(way, start) // backwards
	names := make([]string, len(way))
	for i, v := range way {
		names[len(way)-1-i] = c.activities[v].id
	}
	x := &c.activities[start]
	second := way[len(way)-2]
	for k, d := range x.deps {
		if d == second {
			c.add(x.dependsOn[x.edge[k]].at, "the dependencies go in a circle: %s", shorten(names))
			return
		}
	}
}

// shorten joins a cycle's names; of a long one, both ends.
func shorten(names []string) string {
	const most = 20
	if len(names) > most {
		names = append(append(names[:most/2:most/2], "…"), names[len(names)-most/2:]...)
	}
	return strings.Join(names, " -> ")
}

// components are the strongly connected components of the graph (Tarjan's algorithm, with a stack of
// its own, since a definition may be one long chain).
func components(g []vertex) [][]int32 {
	t := tarjan{g: g, number: make([]int32, len(g)), low: make([]int32, len(g)), next: make([]int32, len(g)), on: make([]bool, len(g))}
	for v := range g {
		if t.number[v] == 0 {
			t.visit(int32(v))
		}
	}
	return t.found
}

type tarjan struct {
	g           []vertex
	number, low []int32
	next        []int32 // edge to look at next
	on          []bool  // on the stack
	count       int32
	stack, path []int32
	found       [][]int32
}

func (t *tarjan) push(v int32) {
	t.count++
	t.number[v], t.low[v], t.on[v] = t.count, t.count, true
	t.stack, t.path = append(t.stack, v), append(t.path, v)
}

func (t *tarjan) visit(root int32) {
	t.push(root)
	for len(t.path) > 0 {
		v := t.path[len(t.path)-1]
		if int(t.next[v]) == len(t.g[v].deps) {
			t.leave(v)
			continue
		}
		d := t.g[v].deps[t.next[v]]
		t.next[v]++
		switch {
		case t.number[d] == 0:
			t.push(d)
		case t.on[d]:
			t.low[v] = min(t.low[v], t.number[d])
		}
	}
}

func (t *tarjan) leave(v int32) {
	t.path = t.path[:len(t.path)-1]
	if len(t.path) > 0 {
		parent := t.path[len(t.path)-1]
		t.low[parent] = min(t.low[parent], t.low[v])
	}
	if t.low[v] < t.number[v] {
		return
	}
	var component []int32
	for {
		w := t.stack[len(t.stack)-1]
		t.stack = t.stack[:len(t.stack)-1]
		t.on[w] = false
		component = append(component, w)
		if w == v {
			t.found = append(t.found, component)
			return
		}
	}
}

// ancestry answers which activities come before which. Activities that are on a cycle, or
// depend on one, are left out: what comes before them cannot be said.
type ancestry struct {
	g     []vertex
	order []int32 // dependencies first
	known []bool
}

func newAncestry(g []vertex) *ancestry {
	a := &ancestry{g: g, known: make([]bool, len(g))}
	waits := make([]int, len(g))
	dependents := make([][]int32, len(g))
	for v := range g {
		waits[v] = len(g[v].deps)
		for _, d := range g[v].deps {
			dependents[d] = append(dependents[d], int32(v))
		}
		if waits[v] == 0 {
			a.order = append(a.order, int32(v))
		}
	}
	for i := 0; i < len(a.order); i++ {
		a.known[a.order[i]] = true
		for _, d := range dependents[a.order[i]] {
			if waits[d]--; waits[d] == 0 {
				a.order = append(a.order, d)
			}
		}
	}
	return a
}

// question asks whether activity before comes before activity after.
type question struct{ before, after int32 }

// unfounded returns those of the questions whose answer is no. It answers 64 activities
// at a time, one bit for each, in one pass over the graph.
func (a *ancestry) unfounded(questions []question) map[question]bool {
	no := map[question]bool{}
	bit := map[int32]int{}
	var targets []int32
	for _, q := range questions {
		if _, ok := bit[q.before]; !ok {
			bit[q.before] = len(targets)
			targets = append(targets, q.before)
		}
	}
	batches := make([][]question, (len(targets)+63)/64)
	for _, q := range questions {
		b := bit[q.before] / 64
		batches[b] = append(batches[b], q)
	}
	before := make([]uint64, len(a.g))
	self := make([]uint64, len(a.g))
	for b, batch := range batches {
		clear(self)
		for k, t := range targets[b*64 : min(len(targets), b*64+64)] {
			self[t] = 1 << k
		}
		for _, v := range a.order {
			before[v] = 0
			for _, d := range a.g[v].deps {
				before[v] |= before[d] | self[d]
			}
		}
		for _, q := range batch {
			if a.known[q.after] && before[q.after]&self[q.before] == 0 {
				no[q] = true
			}
		}
	}
	return no
}
