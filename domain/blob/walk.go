package blob

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// MisuseError is a reserved member that makes no reference.
type MisuseError struct {
	Path    string // of the object that has it, from the root of the value
	Message string
}

// Error implements error.
func (e *MisuseError) Error() string {
	if e.Path == "" {
		return e.Message
	}
	return e.Path + ": " + e.Message
}

// Check says what is wrong with the reserved members of a value; its error is a *MisuseError.
func Check(raw json.RawMessage) error { return Each(raw, func(Ref) {}) }

// Refuse says where a value has a reserved member, well formed or not; its error is a
// *MisuseError. It is for what users write.
func Refuse(raw json.RawMessage) error {
	return walk(raw, "", func(at, name string, _ json.RawMessage) error {
		return &MisuseError{at, fmt.Sprintf("the member %s is reserved for values that are kept elsewhere", name)}
	})
}

// Each calls visit for every reference in a value. Its error is a *MisuseError.
func Each(raw json.RawMessage, visit func(Ref)) error {
	return walk(raw, "", func(at, name string, value json.RawMessage) error {
		if name == joinName {
			parts, ok := elements(value)
			if !ok {
				return &MisuseError{at, joinName + ": want an array"}
			}
			for _, p := range parts {
				if err := Each(p, visit); err != nil {
					return &MisuseError{at, err.Error()}
				}
			}
			return nil
		}
		r, err := parse(value)
		if err != nil {
			return &MisuseError{at, err.Error()}
		}
		visit(r)
		return nil
	})
}

// walk calls visit for each object that has a reserved member, which must be its only one
// where visit does not say otherwise.
func walk(raw json.RawMessage, at string, visit func(at, name string, value json.RawMessage) error) error {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || !Marked(raw) {
		return nil
	}
	switch raw[0] {
	case '{':
		l, _ := members(raw)
		for _, m := range l {
			if m.name == refName || m.name == joinName {
				if err := visit(at, m.name, m.value); err != nil {
					return err
				}
				if len(l) > 1 {
					return &MisuseError{at, fmt.Sprintf("the member %s has others beside it", m.name)}
				}
				return nil
			}
			path := m.name
			if at != "" {
				path = at + "." + m.name
			}
			if err := walk(m.value, path, visit); err != nil {
				return err
			}
		}
	case '[':
		l, _ := elements(raw)
		for i, v := range l {
			if err := walk(v, at+"["+strconv.Itoa(i)+"]", visit); err != nil {
				return err
			}
		}
	}
	return nil
}

// Anonymous is a value in which references say what they refer to, and not where that is.
func Anonymous(raw json.RawMessage) json.RawMessage {
	if !Refers(raw) {
		return raw
	}
	r := resolver{limit: math.MaxInt64, left: math.MaxInt64, anonymous: true}
	if v, err := r.value(raw); err == nil {
		return v
	}
	return raw
}

// Refers says whether there is a reference in a value.
func Refers(raw json.RawMessage) bool {
	return Marked(raw) && walk(raw, "", func(string, string, json.RawMessage) error { return errFound }) != nil
}

var errFound = errors.New("found")

// StandIn is an empty value in the place of what a decoded object refers to; false where it
// refers to nothing. It has the right type where that is known: of a part of a whole it is not.
func StandIn(v map[string]any) (standIn any, typed, ok bool) {
	if _, ok := v[joinName]; ok && len(v) == 1 {
		return "", true, true
	}
	x, ok := v[refName].(map[string]any)
	if !ok || len(v) != 1 {
		return nil, false, false
	}
	if x["path"] != nil {
		return nil, false, true
	}
	switch x["type"] {
	case "object":
		return map[string]any{}, true, true
	case "array":
		return []any{}, true, true
	case "string":
		return "", true, true
	}
	return nil, false, true
}

// Size is how large a value is with everything in it that is kept elsewhere.
func Size(raw json.RawMessage) int64 {
	n := int64(len(raw))
	if Marked(raw) {
		// What is not well formed was refused when it came in.
		_ = Each(raw, func(r Ref) { n += r.Bytes })
	}
	return n
}

// Follow goes along a dotted path through objects and arrays. Within what is kept elsewhere the
// rest of the path is noted on the reference. It returns nil where there is nothing.
func Follow(value json.RawMessage, path string) json.RawMessage {
	for path != "" && len(value) > 0 {
		if r, ok := Of(value); ok {
			if r.Path != "" {
				path = r.Path + "." + path
			}
			r.Path = path
			return r.JSON()
		}
		var head string
		head, path, _ = strings.Cut(path, ".")
		if b := bytes.TrimSpace(value); len(b) > 0 && b[0] == '[' {
			l, ok := elements(b)
			k, err := strconv.Atoi(head)
			if !ok || err != nil || k < 0 || k >= len(l) {
				return nil
			}
			value = l[k]
			continue
		}
		var m map[string]json.RawMessage
		if json.Unmarshal(value, &m) != nil {
			return nil
		}
		value = m[head]
	}
	return value
}

// Text is a text of parts, with the values that are no text as they read within one: strings
// without their quotes. It is a string, or, where a part is kept elsewhere, a join.
func Text(parts []Part) json.RawMessage {
	var text strings.Builder
	var l []json.RawMessage
	for _, p := range parts {
		if !Refers(p.Value) {
			text.WriteString(p.text())
			continue
		}
		if text.Len() > 0 {
			l = append(l, quote(text.String()))
			text.Reset()
		}
		l = append(l, p.Value)
	}
	if len(l) == 0 {
		return quote(text.String())
	}
	if text.Len() > 0 {
		l = append(l, quote(text.String()))
	}
	return object([]member{{joinName, array(l)}})
}

// Part is a piece of a text: literally, or a value; a value that is nil reads as nothing.
type Part struct {
	Literal string
	Value   json.RawMessage
}

func (p Part) text() string {
	if p.Value == nil {
		return p.Literal
	}
	var s string
	if json.Unmarshal(p.Value, &s) == nil {
		return s
	}
	return string(p.Value)
}

// Resolve puts what get finds in the place of every reference. What it makes is at most limit
// bytes large; more is a *TooLargeError.
func Resolve(raw json.RawMessage, limit int64, get func(Ref) (json.RawMessage, error)) (json.RawMessage, error) {
	r := resolver{limit: limit, left: limit, get: get, whole: map[string]json.RawMessage{}}
	return r.value(raw)
}

// TooLargeError says that a value would be too large with everything in its place.
type TooLargeError struct{ Limit int64 }

// Error implements error.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("with all that is kept elsewhere the value has more than the limit of %d bytes", e.Limit)
}

type resolver struct {
	limit, left int64
	get         func(Ref) (json.RawMessage, error)
	whole       map[string]json.RawMessage // by id: several paths may lead into one
	anonymous   bool
}

func (r *resolver) value(raw json.RawMessage) (json.RawMessage, error) {
	if !Marked(raw) {
		return raw, nil
	}
	raw = bytes.TrimSpace(raw)
	switch raw[0] {
	case '{':
		l, ok := members(raw)
		if !ok {
			return nil, errors.New("want JSON")
		}
		if len(l) == 1 && l[0].name == refName {
			return r.ref(l[0].value)
		}
		if len(l) == 1 && l[0].name == joinName {
			return r.join(l[0].value)
		}
		for i := range l {
			v, err := r.value(l[i].value)
			if err != nil {
				return nil, err
			}
			l[i].value = v
		}
		return object(l), nil
	case '[':
		l, ok := elements(raw)
		if !ok {
			return nil, errors.New("want JSON")
		}
		for i := range l {
			v, err := r.value(l[i])
			if err != nil {
				return nil, err
			}
			l[i] = v
		}
		return array(l), nil
	}
	return raw, nil
}

func (r *resolver) ref(raw json.RawMessage) (json.RawMessage, error) {
	ref, err := parse(raw)
	if err != nil {
		return nil, err
	}
	if r.anonymous {
		return Ref{Type: ref.Type, Bytes: ref.Bytes, SHA256: ref.SHA256, Path: ref.Path}.JSON(), nil
	}
	whole, ok := r.whole[ref.ID]
	if !ok {
		if whole, err = r.get(ref); err != nil {
			return nil, err
		}
		r.whole[ref.ID] = whole
	}
	part := Follow(whole, ref.Path)
	if part == nil {
		part = json.RawMessage("null")
	}
	if r.left -= int64(len(part)); r.left < 0 {
		return nil, &TooLargeError{r.limit}
	}
	return part, nil
}

func (r *resolver) join(raw json.RawMessage) (json.RawMessage, error) {
	l, ok := elements(raw)
	if !ok {
		return nil, errors.New(joinName + ": want an array")
	}
	parts := make([]Part, len(l))
	for i := range l {
		v, err := r.value(l[i])
		if err != nil {
			return nil, err
		}
		parts[i].Literal = Part{Value: v}.text()
	}
	return Text(parts), nil
}

// kindOf names the type of a JSON value.
func kindOf(raw json.RawMessage) string {
	switch raw[0] {
	case '{':
		return "object"
	case '[':
		return "array"
	case '"':
		return "string"
	}
	return "number"
}
