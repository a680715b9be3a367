package orchestration

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/waybill/waybill/domain/blob"
	"github.com/waybill/waybill/domain/definition"
)

// view is what mappings and templates see: the orchestration's input and the outputs so
// far. last is an activity that ends in the same decision and is not yet folded in; -1: none.
type view struct {
	g       *graph
	last    int32
	phase   ActivityPhase   // of last
	output  json.RawMessage // of last
	ended   *Completed      // of last, where it ends well
	failure *Failure        // of last
	room    *room
}

// room is how many bytes more may be put together: a definition of half a megabyte can name
// an input of one a hundred thousand times over. What is named when none is left is left out.
type room struct{ left int }

// within has the view put no more than that many bytes together.
func (v view) within(most int) view {
	v.room = &room{most}
	return v
}

// full says that there was more than the view could put together.
func (v view) full() bool { return v.room != nil && v.room.left < 0 }

// value finds a source, as long as there is room; nil where there is no such value.
func (v view) value(source string) json.RawMessage {
	if v.full() {
		return nil
	}
	value := v.lookup(source)
	if v.room != nil {
		v.room.left -= len(value)
	}
	return value
}

func (v view) outputOf(i int32) json.RawMessage {
	if i == v.last {
		return v.output
	}
	return v.g.nodes[i].output
}

// input is what an activity works on: its literals and templates, and its inputs over
// them; nil where it has none of either.
func (v view) input(a *definition.Activity) json.RawMessage {
	with := a.With
	if bytes.Contains(with, []byte("{{")) {
		with = v.fill(with)
	}
	if len(a.Inputs) == 0 {
		return with
	}
	m := map[string]json.RawMessage{}
	if len(with) > 0 {
		// Definitions and spawned activities were checked: with is an object.
		_ = json.Unmarshal(with, &m)
	}
	v.put(m, a.Inputs)
	return object(m)
}

// mapped is an object made from mappings; nil where there are none.
func (v view) mapped(l []definition.Mapping) json.RawMessage {
	if len(l) == 0 {
		return nil
	}
	m := map[string]json.RawMessage{}
	v.put(m, l)
	return object(m)
}

func (v view) put(m map[string]json.RawMessage, l []definition.Mapping) {
	for _, x := range l {
		switch value := v.value(x.Source); {
		case value == nil:
		case x.Target == definition.Spread:
			spread(m, value)
		default:
			m[x.Target] = value
		}
	}
}

// spread puts the properties of an object into another one; anything but an object has none,
// and neither has one that is kept elsewhere as a whole.
func spread(m map[string]json.RawMessage, value json.RawMessage) {
	if _, away := blob.Of(value); away {
		return
	}
	var more map[string]json.RawMessage
	if json.Unmarshal(value, &more) == nil {
		maps.Copy(m, more)
	}
}

// object encodes with sorted keys, so that deriving it again gives the same bytes.
func object(m map[string]json.RawMessage) json.RawMessage {
	b, err := json.Marshal(m)
	if err != nil {
		return json.RawMessage("{}") // every value was read as JSON
	}
	return b
}

// lookup finds a source; nil where there is no such value.
func (v view) lookup(source string) json.RawMessage {
	if id, ok := collected(source); ok {
		if i, ok := v.g.find(id); ok {
			return v.subtree(i)
		}
		return nil
	}
	head, rest, dotted := strings.Cut(source, ".")
	if !dotted {
		if value := v.g.inInput(head); value != nil {
			return value
		}
		if i, ok := v.g.find(head); ok {
			return v.outputOf(i)
		}
		return nil
	}
	if i, ok := v.g.find(head); ok {
		return blob.Follow(v.outputOf(i), rest)
	}
	if head == "input" {
		if value := v.g.inInput(rest); value != nil {
			return value
		}
	}
	return v.g.inInput(source)
}

// largeInput is from how many bytes on an input is taken apart once and not for each name
// that is looked up in it: thousands of activities may each take something out of it.
const largeInput = 16 << 10

// inInput finds a path in the input.
func (g *graph) inInput(path string) json.RawMessage {
	if _, elsewhere := blob.Of(g.input); len(g.input) < largeInput || elsewhere {
		return blob.Follow(g.input, path)
	}
	if g.members == nil {
		g.members = make(map[string]json.RawMessage)
		_ = json.Unmarshal(g.input, &g.members) // the input of a start is an object
	}
	head, rest, _ := strings.Cut(path, ".")
	return blob.Follow(g.members[head], rest)
}

// subtree lists an activity and all it spawned, depth first in the order they were asked for,
// each once: [{id, name, state, output}]. Which of two that ask for each other came
// first must not show, so a cycle's edge gives a place too, though it leads to nobody new.
func (v view) subtree(root int32) json.RawMessage {
	var within map[int32]struct{}
	if v.g.cyclic || v.ended != nil && len(v.ended.Cycles) > 0 {
		within = make(map[int32]struct{})
		v.walk(root, v.children, func(i int32) { within[i] = struct{}{} })
	}
	b := []byte{'['}
	v.walk(root, func(i int32, visit func(int32)) {
		v.ordered(i, func(c int32) {
			if _, ok := within[c]; ok || within == nil {
				visit(c)
			}
		})
	}, func(i int32) {
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = v.appendNode(b, i)
	})
	return append(b, ']')
}

// walk goes depth first from root along the edges, to each node once.
func (v view) walk(root int32, edges func(int32, func(int32)), visit func(int32)) {
	seen := make(map[int32]struct{})
	for stack := []int32{root}; len(stack) > 0; {
		i := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if _, ok := seen[i]; ok {
			continue
		}
		seen[i] = struct{}{}
		visit(i)
		from := len(stack)
		edges(i, func(c int32) { stack = append(stack, c) })
		slices.Reverse(stack[from:])
	}
}

// children are those spawned or shared.
func (v view) children(i int32, visit func(int32)) {
	if i != v.last {
		v.g.children(i, visit)
	} else if v.ended != nil {
		v.named(v.ended.Shared, visit)
	}
}

// ordered are the children and the cycles, in the order they were asked for.
func (v view) ordered(i int32, visit func(int32)) {
	l := v.g.nodes[i].links
	switch {
	case i == v.last && v.ended != nil && len(v.ended.Children) > 0:
		v.named(v.ended.Children, visit)
	case i == v.last && v.ended != nil:
		v.named(v.ended.Shared, visit)
		v.named(v.ended.Cycles, visit)
	case l != nil && len(l.order) > 0:
		for _, c := range l.order {
			visit(c)
		}
	default:
		v.g.children(i, visit)
	}
}

func (v view) named(ids []string, visit func(int32)) {
	for _, id := range ids {
		if j, ok := v.g.find(id); ok {
			visit(j)
		}
	}
}

func (v view) appendNode(b []byte, i int32) []byte {
	n := &v.g.nodes[i]
	phase := n.phase
	if i == v.last {
		phase = v.phase
	}
	str := func(s string) []byte { q, _ := json.Marshal(s); return q } // a string always encodes
	b = append(append(b, `{"id":`...), str(n.id())...)
	b = append(append(b, `,"name":`...), str(n.name())...)
	b = append(append(b, `,"state":`...), str(phase.String())...)
	if out := v.outputOf(i); len(out) > 0 {
		b = append(append(b, `,"output":`...), out...)
	}
	return append(b, '}')
}

// fill replaces the templates in every string of a JSON value. A string that is one
// template keeps the type of what it names; one that names nothing becomes null, or
// nothing within a longer string. A longer string over what is kept elsewhere is put
// together by whoever reads it.
func (v view) fill(raw json.RawMessage) json.RawMessage {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var x any
	if dec.Decode(&x) != nil {
		return raw
	}
	b, err := json.Marshal(v.fillValue(x))
	if err != nil {
		return raw
	}
	return b
}

func (v view) fillValue(x any) any {
	switch x := x.(type) {
	case map[string]any:
		for k := range x {
			x[k] = v.fillValue(x[k])
		}
		return x
	case []any:
		for k := range x {
			x[k] = v.fillValue(x[k])
		}
		return x
	case string:
		return v.fillString(x)
	}
	return x
}

func (v view) fillString(s string) any {
	if name, ok := strings.CutPrefix(s, "{{"); ok {
		if name, ok = strings.CutSuffix(name, "}}"); ok && !strings.Contains(name, "}}") {
			if value := v.value(strings.TrimSpace(name)); value != nil {
				return value
			}
			return nil
		}
	}
	if !strings.Contains(s, "{{") {
		return s
	}
	var parts []blob.Part
	for {
		before, rest, ok := strings.Cut(s, "{{")
		name, after, closed := strings.Cut(rest, "}}")
		parts = append(parts, blob.Part{Literal: before})
		if !ok || !closed {
			if ok {
				parts = append(parts, blob.Part{Literal: "{{" + rest})
			}
			return blob.Text(parts)
		}
		parts = append(parts, blob.Part{Value: v.value(strings.TrimSpace(name))})
		s = after
	}
}
