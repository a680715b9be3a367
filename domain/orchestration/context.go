package orchestration

import (
	"encoding/json"
	"fmt"

	"github.com/waybill/waybill/domain/definition"
)

// Bounds of what an activity is handed of its ancestors. Whoever asks for more fails, by
// name: it would be carried in every work record from there on.
const (
	maxContextNodes = 1000
	maxContextBytes = 1 << 20
)

// outputs are those of the ancestors that an activity asks for, by id: an object, nil where it
// asks for none. Ancestors are what it depends on, whoever spawned it, and theirs. parent is
// who spawned it, -1 for nobody.
func (v view) outputs(a *definition.Activity, parent int32) (json.RawMessage, *Fault) {
	if a.Context.IsZero() {
		return nil, nil
	}
	found, all := v.ancestors(a, parent)
	if !all && a.Context.All() {
		return nil, &Fault{Step: stepContext, Message: fmt.Sprintf("it has more than %d ancestors; name those it needs in context", maxContextNodes)}
	}
	wanted := []string(a.Context)
	if a.Context.All() {
		wanted = found.ids
	}
	m := make(map[string]json.RawMessage, len(wanted))
	size := 0
	for _, id := range wanted {
		i, ok := found.index[id]
		if !ok {
			return nil, &Fault{Step: stepContext, Message: fmt.Sprintf("context names %q, which is none of its ancestors", id)}
		}
		if out := v.outputOf(i); len(out) > 0 {
			m[id] = out
			size += len(id) + len(out)
		}
	}
	if size > maxContextBytes {
		return nil, &Fault{Step: stepContext, Message: fmt.Sprintf("the outputs of its ancestors have %d bytes, over the limit of %d; name those it needs in context", size, maxContextBytes)}
	}
	return object(m), nil
}

// ancestry is a set of nodes, nearest first.
type ancestry struct {
	ids   []string
	index map[string]int32
}

// ancestors goes up from an activity; false says that there are too many to be gone through.
func (v view) ancestors(a *definition.Activity, parent int32) (ancestry, bool) {
	found := ancestry{index: make(map[string]int32)}
	var queue []int32
	add := func(i int32) {
		id := v.g.nodes[i].id()
		if _, ok := found.index[id]; !ok {
			found.index[id] = i
			found.ids = append(found.ids, id)
			queue = append(queue, i)
		}
	}
	above := func(a *definition.Activity, parent int32) {
		if parent >= 0 {
			add(parent)
		}
		for _, d := range a.DependsOn {
			if j, ok := v.g.find(d); ok {
				add(j)
			}
		}
	}
	above(a, parent)
	for len(queue) > 0 {
		if len(found.ids) > maxContextNodes {
			return found, false
		}
		n := &v.g.nodes[queue[0]]
		queue = queue[1:]
		above(n.def, n.parent)
	}
	return found, true
}
