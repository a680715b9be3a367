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

// source is where a value comes from that is put into an activity's input.
type source struct {
	at    string // in the definition
	path  []string
	from  place  // the schema that says what it is; the zero place says nothing
	whose string // whose schema that is, for people
	kinds kinds  // what it is where no schema says so
	text  string // as it is written
}

// shape is the schemas of an activity type.
type shape struct{ in, out place }

// shapes reads the schemas of activity types, each once.
type shapes struct {
	types func(string) (ActivityType, bool)
	seen  map[string]shape
}

func (s *shapes) of(typ string) shape {
	if x, ok := s.seen[typ]; ok {
		return x
	}
	var x shape
	if t, ok := s.types(typ); ok {
		x = shape{schemaOf(t.InputSchema.OpenAPIV3Schema), schemaOf(t.OutputSchema.OpenAPIV3Schema)}
	}
	s.seen[typ] = x
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

// fits looks for inputs whose type cannot be what the activity type wants.
func (c *orchestrationCheck) fits(def any) {
	if c.types == nil {
		return
	}
	m, _ := def.(map[string]any)
	input := place{m["schema"], m["schema"]}
	index, _ := c.index()
	s := shapes{types: c.types, seen: map[string]shape{}}
	for i := range c.activities {
		x := &c.activities[i]
		want := s.of(x.typ).in
		if want.node == nil {
			continue
		}
		for _, f := range x.fed {
			c.fit(c.comesFrom(f, input, index, &s), want, f.target, x.typ)
		}
	}
}

// fed is what is put into a property of an activity's input: a source, or else a literal.
type fed struct {
	at, target, source string
	literal            any
}

// comesFrom finds out where a value comes from, as runs look it up (Mapping).
func (c *orchestrationCheck) comesFrom(f fed, input place, index map[string]int32, s *shapes) source {
	if f.source == "" {
		return source{at: f.at, kinds: kindOf(f.literal), text: quote(f.literal)}
	}
	from := source{at: f.at, kinds: isAny, text: quote(f.source)}
	name, whole, subtree := head(f.source)
	i, isActivity := index[name]
	path := strings.Split(f.source, ".")
	switch {
	case subtree:
		from.kinds = isArray
	case whole && isActivity && c.inputNames[name]: // whichever there is
	case isActivity:
		typ := c.activities[i].typ
		from.from, from.path, from.whose = s.of(typ).out, path[1:], "the outputSchema of "+typ
	case name == inputName && !whole && !c.inputNames[name]:
		from.from, from.path, from.whose = input, path[1:], "the schema of the input"
	default:
		from.from, from.path, from.whose = input, path, "the schema of the input"
	}
	return from
}

// fit refuses what has no type in common with what is wanted.
func (c *orchestrationCheck) fit(from source, in place, target, typ string) {
	have := from.kinds
	if from.from.node != nil {
		have = from.from.at(from.path, maxSteps)
	}
	want := in.at([]string{target}, maxSteps)
	if have&want != 0 {
		return
	}
	whose := "the inputSchema of " + typ
	switch {
	case want == 0:
		c.add(from.at, "%s has no property %s", whose, quote(target))
	case have == 0 && from.whose != "":
		c.add(from.at, "%s is not there: %s has no such property", from.text, from.whose)
	case from.whose != "":
		c.add(from.at, "%s wants %s for %s, found %s, which is %s by %s", whose, want, quote(target), from.text, have, from.whose)
	default:
		c.add(from.at, "%s wants %s for %s, found %s, which is %s", whose, want, quote(target), from.text, have)
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
