package definition

import (
	"encoding/json"
	"strconv"
	"strings"
)

// kinds is a set of the types that JSON values have.
type kinds uint8

const (
	isNull kinds = 1 << iota
	isBoolean
	isString
	isInteger
	isFraction // a number that is no integer
	isArray
	isObject
	isNumber = isInteger | isFraction
	isAny    = isNull | isBoolean | isString | isNumber | isArray | isObject
)

var kindNames = []struct {
	name string
	kinds
}{
	{"string", isString}, {"number", isNumber}, {"integer", isInteger}, {"boolean", isBoolean}, {"object", isObject}, {"array", isArray}, {"null", isNull},
}

// String names the types: "string or null".
func (k kinds) String() string {
	var l []string
	for _, n := range kindNames {
		if k&n.kinds == n.kinds {
			l = append(l, n.name)
			k &^= n.kinds
		}
	}
	return strings.Join(l, " or ")
}

func kindNamed(name any) kinds {
	for _, n := range kindNames {
		if n.name == name {
			return n.kinds
		}
	}
	return isAny // what is no type of JSON's is the schema's own mistake
}

// kindOf is the type of a literal. A number is taken for either kind: 1.0 is an integer.
func kindOf(v any) kinds {
	switch v.(type) {
	case nil:
		return isNull
	case bool:
		return isBoolean
	case string:
		return isString
	case json.Number:
		return isNumber
	case []any:
		return isArray
	}
	return isObject
}

// place is a schema, or what stands somewhere within it.
type place struct {
	root any // what references lead into
	node any
}

// maxSteps bounds how many references and alternatives are followed: a schema may refer to itself.
const maxSteps = 30

// at is which types a value at a path below may have as far as the schema says, none where
// there can be no value at all. It looks at types, properties and items, and takes any where
// a schema puts it otherwise: it finds what cannot fit, not everything that does not.
func (p place) at(path []string, steps int) kinds {
	m, ok := p.node.(map[string]any)
	if !ok || steps == 0 {
		return isAny
	}
	k := p.own(m, path, steps-1)
	if ref, ok := m["$ref"].(string); ok && strings.HasPrefix(ref, "#") {
		k &= place{p.root, lookUp(p.root, tokens(ref))}.at(path, steps-1)
	}
	for _, x := range elements(m["allOf"]) {
		k &= place{p.root, x}.at(path, steps-1)
	}
	for _, either := range []string{"anyOf", "oneOf"} {
		if l := elements(m[either]); len(l) > 0 {
			var some kinds
			for _, x := range l {
				some |= place{p.root, x}.at(path, steps-1)
			}
			k &= some
		}
	}
	return k
}

// elements is the elements of an array, none of anything else.
func elements(v any) []any {
	l, _ := v.([]any)
	return l
}

// own is what a schema says itself, without those it refers to.
func (p place) own(m map[string]any, path []string, steps int) kinds {
	k := stated(m)
	if len(path) == 0 || k == 0 {
		return k
	}
	var below kinds
	if k&isObject != 0 {
		below |= p.property(m, path, steps)
	}
	if _, err := strconv.Atoi(path[0]); err == nil && k&isArray != 0 {
		if _, ok := m["prefixItems"]; ok {
			return isAny
		}
		below |= place{p.root, m["items"]}.at(path[1:], steps)
	}
	return below
}

// property is what a schema says about a property of objects.
func (p place) property(m map[string]any, path []string, steps int) kinds {
	properties, _ := m["properties"].(map[string]any)
	if s, ok := properties[path[0]]; ok {
		return place{p.root, s}.at(path[1:], steps)
	}
	if _, ok := m["patternProperties"]; ok {
		return isAny
	}
	if m["additionalProperties"] == false {
		return 0
	}
	return place{p.root, m["additionalProperties"]}.at(path[1:], steps)
}

// stated is the types that a schema names, or has values of.
func stated(m map[string]any) kinds {
	k := isAny
	switch t := m["type"].(type) {
	case string:
		k = kindNamed(t)
		if m["nullable"] == true {
			k |= isNull
		}
	case []any:
		k = 0
		for _, x := range t {
			k |= kindNamed(x)
		}
	}
	if l, ok := m["enum"].([]any); ok {
		var values kinds
		for _, v := range l {
			values |= kindOf(v)
		}
		k &= values
	}
	if v, ok := m["const"]; ok {
		k &= kindOf(v)
	}
	return k
}

// fed is what is put into a property of an activity's input: a source, or else a literal.
type fed struct {
	at, target, source string
	literal            any
}

// text is what is put there, as it is written.
func (f fed) text() string {
	if f.source == "" {
		return quote(f.literal)
	}
	return quote(f.source)
}

// fits holds what is put into activities' inputs against the schemas of their types. The
// orchestration's input goes under the name "".
type fits struct {
	*orchestrationCheck
	index   map[string]int32
	schemas map[string]shape
	asked   map[spot]kinds
}

// shape is the schemas of an activity type.
type shape struct{ in, out place }

// spot is a path within what an activity type takes or gives.
type spot struct {
	typ  string
	in   bool // of the input, else of the output
	path string
}

// fits looks for inputs whose type cannot be what the activity type wants.
func (c *orchestrationCheck) fits(def any) {
	if c.types == nil {
		return
	}
	m, _ := def.(map[string]any)
	index, _ := c.index()
	f := fits{c, index, map[string]shape{"": {out: place{m["schema"], m["schema"]}}}, map[spot]kinds{}}
	for i := range c.activities {
		x := &c.activities[i]
		if f.of(x.typ).in.node == nil {
			continue
		}
		for _, p := range x.fed {
			f.fit(p, x.typ)
		}
	}
}

// of reads the schemas of an activity type, once.
func (f *fits) of(typ string) shape {
	x, ok := f.schemas[typ]
	if ok {
		return x
	}
	if t, ok := f.types(typ); ok {
		x = shape{schemaOf(t.InputSchema.OpenAPIV3Schema), schemaOf(t.OutputSchema.OpenAPIV3Schema)}
	}
	f.schemas[typ] = x
	return x
}

func schemaOf(raw json.RawMessage) place {
	var f findings
	if len(raw) == 0 {
		return place{}
	}
	v, _ := f.parse(raw) // it was checked when it was put
	return place{v, v}
}

// ask finds out what may stand at a path, once.
func (f *fits) ask(q spot) kinds {
	k, ok := f.asked[q]
	if ok {
		return k
	}
	p := f.of(q.typ).out
	path := strings.Split(q.path, ".")
	switch {
	case q.in:
		if p, path = f.of(q.typ).in, []string{q.path}; q.path == Spread {
			path = nil
		}
	case q.path == "":
		path = nil
	}
	k = p.at(path, maxSteps)
	f.asked[q] = k
	return k
}

// fed is what a value may be, as runs look it up (Mapping), and whose schema says so; "" where
// none does.
func (f *fits) fed(p fed) (k kinds, whose string) {
	if p.source == "" {
		return kindOf(p.literal), ""
	}
	name, whole, subtree := head(p.source)
	i, isActivity := f.index[name]
	switch {
	case subtree:
		return isArray, ""
	case whole && isActivity && f.inputNames[name]: // whichever there is
		return isAny, ""
	case isActivity:
		typ := f.activities[i].typ
		return f.ask(spot{typ: typ, path: strings.TrimPrefix(p.source[len(name):], ".")}), "the outputSchema of " + typ
	case name == inputName && !whole && !f.inputNames[name]:
		return f.ask(spot{path: p.source[len(name)+1:]}), "the schema of the input"
	}
	return f.ask(spot{path: p.source}), "the schema of the input"
}

// fit refuses what has no type in common with what is wanted.
func (f *fits) fit(p fed, typ string) {
	want := f.ask(spot{typ, true, p.target})
	have, whose := f.fed(p)
	if have&want != 0 {
		return
	}
	in := "the inputSchema of " + typ
	switch {
	case want == 0:
		f.add(p.at, "%s has no property %s", in, quote(p.target))
	case have == 0 && whose != "":
		f.add(p.at, "%s is not there: %s has no such property", p.text(), whose)
	case whose != "":
		f.add(p.at, "%s wants %s for %s, found %s, which is %s by %s", in, want, quote(p.target), p.text(), have, whose)
	default:
		f.add(p.at, "%s wants %s for %s, found %s, which is %s", in, want, quote(p.target), p.text(), have)
	}
}

// literals are the properties of `with`, as what is put into the input.
func literals(at string, v any) []fed {
	m, _ := v.(map[string]any)
	var l []fed
	for _, name := range sortedKeys(m) {
		f := fed{at: member(at, name), target: name, literal: m[name]}
		if s, ok := m[name].(string); ok {
			if inner, ok := strings.CutPrefix(s, "{{"); ok {
				// One template alone keeps the type of its value; within a text it becomes text.
				if inner, ok = strings.CutSuffix(inner, "}}"); ok && !strings.Contains(inner, "}}") {
					f.source = strings.TrimSpace(inner)
				}
			}
		}
		l = append(l, f)
	}
	return l
}
