package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// diff says path by path in what one JSON value differs from another: "+ path: value" is new,
// "- path: value" is gone, "~ path: before -> now" has changed. Elements of an array that have
// an id are compared by it. Without a before, all is new. The member without is left out.
func diff(before, now json.RawMessage, without string) []string {
	x, y := tree(before, without), tree(now, without)
	if x == nil {
		x = map[string]any{}
	}
	var d differ
	d.compare("", x, y)
	return d.lines
}

func tree(raw json.RawMessage, without string) any {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return nil
	}
	if m, ok := v.(map[string]any); ok {
		delete(m, without)
	}
	return v
}

type differ struct{ lines []string }

func (d *differ) say(mark, at, what string) { d.lines = append(d.lines, mark+" "+at+": "+what) }

func (d *differ) compare(at string, x, y any) {
	switch x := x.(type) {
	case map[string]any:
		if y, ok := y.(map[string]any); ok {
			d.objects(at, x, y)
			return
		}
	case []any:
		if y, ok := y.([]any); ok {
			lines := len(d.lines)
			d.objects(at, byID(x), byID(y))
			if len(d.lines) == lines && text(x) != text(y) {
				d.say("~", at, "in another order")
			}
			return
		}
	}
	if before, now := text(x), text(y); before != now {
		d.say("~", at, before+" -> "+now)
	}
}

func (d *differ) objects(at string, x, y map[string]any) {
	names := maps.Clone(x)
	maps.Copy(names, y)
	for _, name := range slices.SortedFunc(maps.Keys(names), byIndex) {
		path := at + name
		if at != "" && !strings.HasPrefix(name, "[") {
			path = at + "." + name
		}
		before, was := x[name]
		now, is := y[name]
		switch {
		case !was:
			d.say("+", path, text(now))
		case !is:
			d.say("-", path, text(before))
		default:
			d.compare(path, before, now)
		}
	}
}

// byIndex sorts [2] before [10].
func byIndex(a, b string) int {
	if len(a) != len(b) && strings.HasPrefix(a, "[") && strings.HasPrefix(b, "[") {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// byID names the elements of an array by their ids where all have one, else by their places.
func byID(l []any) map[string]any {
	named, placed := make(map[string]any, len(l)), make(map[string]any, len(l))
	for i, v := range l {
		placed[fmt.Sprintf("[%d]", i)] = v
		if m, ok := v.(map[string]any); ok {
			if id, ok := m["id"].(string); ok {
				named["["+id+"]"] = v
			}
		}
	}
	if len(named) == len(l) {
		return named
	}
	return placed
}

// text writes a value on one line.
func text(v any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	return string(bytes.TrimSpace(b.Bytes()))
}
