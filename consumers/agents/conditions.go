package agents

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// conditions are alternatives: one that holds is enough. In JSON they are one condition, or
// a list of them.
type conditions []condition

// condition says what must stand at which paths of an answer, all of it:
//
//	{"status": 200, "body.status.phase": ["Failed", "Error"], "body.error": {"not": null}}
//
// A value is what must stand there, a list is any of its values, {"not": …} anything but
// that. What is absent is null.
type condition map[string]json.RawMessage

// UnmarshalJSON takes a condition or a list of them.
func (c *conditions) UnmarshalJSON(b []byte) error {
	type list []condition
	var l list
	if len(b) > 0 && b[0] == '{' {
		l = list{nil}
		b = slices.Concat([]byte{'['}, b, []byte{']'})
	}
	if err := json.Unmarshal(b, &l); err != nil {
		return errors.New("want a condition {path: value, …} or a list of conditions")
	}
	for _, one := range l {
		if len(one) == 0 {
			return errors.New("a condition without a path always holds: name what must stand where")
		}
	}
	*c = conditions(l)
	return nil
}

// hold says whether one of them does.
func (c conditions) hold(answer any) bool {
	return slices.ContainsFunc(c, func(one condition) bool { return one.holds(answer) })
}

func (c condition) holds(answer any) bool {
	for path, want := range c {
		value, _ := at(answer, path)
		if !fits(decoded(want), value) {
			return false
		}
	}
	return true
}

func fits(want, value any) bool {
	switch w := want.(type) {
	case []any:
		return slices.ContainsFunc(w, func(w any) bool { return fits(w, value) })
	case map[string]any:
		if not, ok := w["not"]; ok && len(w) == 1 {
			return !fits(not, value)
		}
	}
	a, isNumber := want.(json.Number)
	b, areBoth := value.(json.Number)
	if isNumber && areBoth { // 200 and 200.0 are the same number
		x, errX := a.Float64()
		y, errY := b.Float64()
		return a == b || errX == nil && errY == nil && x == y
	}
	return reflect.DeepEqual(want, value)
}

// at follows a path, names and indexes with dots between them.
func at(v any, path string) (any, error) {
	for done, rest := 0, path; rest != ""; {
		name, after, _ := strings.Cut(rest, ".")
		switch x := v.(type) {
		case map[string]any:
			v = x[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(x) {
				return nil, fmt.Errorf("there is no %s: %s is a list of %d", path, path[:max(done-1, 0)], len(x))
			}
			v = x[i]
		default:
			v = nil
		}
		if v == nil {
			return nil, fmt.Errorf("there is no %s", path[:done+len(name)])
		}
		done, rest = done+len(name)+1, after
	}
	return v, nil
}

// decoded is a JSON value with its numbers as they are written; nil where it is none.
func decoded(raw []byte) any {
	v, err := decode(raw)
	if err != nil {
		return nil
	}
	return v
}

func decode(raw []byte) (any, error) {
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	if dec.More() {
		return nil, errors.New("there is more behind the JSON value")
	}
	return v, nil
}
