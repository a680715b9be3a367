package orchestration

// search finds out what node n must not wait for: whatever waits for n already. It
// serves one decision; what it has looked at once it does not look at again.
type search struct {
	g     *graph
	n     int32
	above map[int32]struct{} // n and its ancestors by way of spawned and shared edges
	clear map[int32]struct{} // nodes that wait for none of those
}

// entangled says whether settling b takes that n is settled first.
func (q *search) entangled(b int32) bool {
	g := q.g
	if b == q.n {
		return true
	}
	if !g.planned(b) && !g.deps {
		// Whatever b waits for it has spawned, so only an ancestor waits for n.
		return g.nodes[b].level < g.nodes[q.n].level && q.isAbove(b)
	}
	var found bool
	seen := map[int32]struct{}{}
	var queue []int32
	visit := func(x int32) {
		if _, ok := seen[x]; ok || g.nodes[x].settled() {
			return
		}
		if _, ok := q.clear[x]; ok {
			return
		}
		seen[x] = struct{}{}
		queue = append(queue, x)
		found = found || q.isAbove(x)
	}
	visit(b)
	for len(queue) > 0 && !found {
		x := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, d := range g.nodes[x].def.DependsOn {
			if j, ok := g.find(d); ok {
				visit(j)
			}
		}
		g.children(x, visit)
	}
	if !found {
		q.pass(seen)
	}
	return found
}

func (q *search) pass(seen map[int32]struct{}) {
	if q.clear == nil {
		q.clear = seen
		return
	}
	for x := range seen {
		q.clear[x] = struct{}{}
	}
}

func (q *search) isAbove(x int32) bool {
	if q.above == nil {
		q.above = map[int32]struct{}{q.n: {}}
		for queue := []int32{q.n}; len(queue) > 0; {
			y := queue[len(queue)-1]
			queue = queue[:len(queue)-1]
			for k := 0; ; k++ {
				p, ok := q.g.spawner(y, k)
				if !ok {
					break
				}
				if _, ok := q.above[p]; !ok {
					q.above[p] = struct{}{}
					queue = append(queue, p)
				}
			}
		}
	}
	_, ok := q.above[x]
	return ok
}
