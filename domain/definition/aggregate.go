package definition

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/waybill/waybill/domain/machine"
)

// Kinds of definitions.
const (
	KindOrchestration = "orchestration"
	KindActivity      = "activity"
)

// Key is the id of a definition's aggregate, and the key of its records: orchestration/parts-tree.
func Key(kind, typ string) string { return kind + "/" + typ }

// ParseKey splits a key; false where it is none.
func ParseKey(key string) (kind, typ string, ok bool) {
	kind, typ, ok = strings.Cut(key, "/")
	return kind, typ, ok && (kind == KindOrchestration || kind == KindActivity) && CheckType(typ) == nil
}

// Event is a fact about one definition.
//
//sumtype:decl
type Event interface{ event() }

// Changed puts a version in force. It is also what is announced on the compacted topic.
type Changed struct {
	Kind       string          `json:"kind"`
	Type       string          `json:"type"`
	Version    int             `json:"version"`
	Definition json.RawMessage `json:"definition"`    // an Orchestration or an ActivityType, as it was put, with its version
	Set        string          `json:"set,omitempty"` // whose it is: what is applied together
}

// Deleted takes the definition out of force. What runs by it goes on.
type Deleted struct{}

func (Changed) event() {}
func (Deleted) event() {}

// State is where a definition stands.
type State struct {
	kind, typ string
	version   int             // of the last change, deleted or not
	set       string          // whose it is
	inForce   json.RawMessage // nil: none
}

// New is a definition that nobody has put. The id is its Key; under any other id every
// command is refused.
func New(id string) State {
	kind, typ, ok := ParseKey(id)
	if !ok {
		return State{typ: id}
	}
	return State{kind: kind, typ: typ}
}

// Version counts the accepted changes; 0 before the first. It goes on counting after a delete, so
// that a version names one definition for ever.
func (s State) Version() int { return s.version }

// Definition is what is in force, nil where nothing is.
func (s State) Definition() json.RawMessage { return s.inForce }

// Deadline is zero: nothing here waits.
func (s State) Deadline() time.Time { return time.Time{} }

// Ended is false: a deleted definition may be put again.
func (s State) Ended() bool { return false }

// Evolve folds one event in.
func (s State) Evolve(_ time.Time, e Event) State {
	switch e := e.(type) {
	case Changed:
		s.version, s.inForce, s.set = e.Version, e.Definition, e.Set
	case Deleted:
		s.inForce, s.set = nil, ""
	}
	return s
}

// Wire names of what is announced; they are those of the events.
const (
	changedName = "definition.changed.v1"
	deletedName = "definition.deleted.v1"
)

// Follow announces a change on the compacted topic; a deletion leaves nothing there. The
// state is the one before the event.
func (s State) Follow(_ time.Time, e Event) []machine.Effect {
	switch e := e.(type) {
	case Changed:
		return []machine.Effect{machine.Announce{Key: s.key(), Type: changedName, Value: e}}
	case Deleted:
		return []machine.Effect{machine.Announce{Key: s.key(), Type: deletedName}}
	}
	return nil
}

func (s State) key() string { return Key(s.kind, s.typ) }

// Command asks for a change of a definition. What a decision needs from outside of the aggregate is
// filled in by whoever hands the command in: it is an input, like the time.
//
//sumtype:decl
type Command interface{ command() }

// Put puts a definition in force. On the wire it is {kind, definition, set, takeOver}, or the
// definition alone, whose kind its key says.
type Put struct {
	Kind       string          `json:"kind,omitempty"` // "": the one of the key
	Definition json.RawMessage `json:"definition"`
	// Set says whose the definition is from now on; "" leaves it to whom it belongs. One that
	// belongs to another set is only taken where TakeOver says so.
	Set      string `json:"set,omitempty"`
	TakeOver bool   `json:"takeOver,omitempty"`

	// Types finds the activity types there are; nil takes any.
	Types func(activityType string) (ActivityType, bool) `json:"-"`
	// BuiltIn says that this kind and type is built in.
	BuiltIn bool `json:"-"`
}

// Delete takes a definition out of force.
type Delete struct {
	// Running is how many orchestrations run by this definition.
	Running int `json:"-"`
	// UsedBy are the types of the orchestrations in force with an activity of this type.
	UsedBy []string `json:"-"`
	// BuiltIn says that this kind and type is built in.
	BuiltIn bool `json:"-"`
}

func (Put) command()    {}
func (Delete) command() {}

// UnmarshalJSON takes {kind, definition} or a definition alone. No definition has a
// property of the name definition, so they cannot be mistaken.
func (p *Put) UnmarshalJSON(b []byte) error {
	var wrapped struct {
		Kind       string          `json:"kind"`
		Definition json.RawMessage `json:"definition"`
		Set        string          `json:"set"`
		TakeOver   bool            `json:"takeOver"`
	}
	var names map[string]json.RawMessage
	if err := json.Unmarshal(b, &names); err != nil {
		return fmt.Errorf("want a definition, or {kind, definition}: %w", err)
	}
	if names["definition"] == nil {
		*p = Put{Definition: slices.Clone(b)}
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&wrapped); err != nil {
		return fmt.Errorf("want a definition, or {kind, definition}: %w", err)
	}
	*p = Put{Kind: wrapped.Kind, Definition: wrapped.Definition, Set: wrapped.Set, TakeOver: wrapped.TakeOver}
	return nil
}

// Decide answers a command with the events it makes happen. The only error is a
// *machine.Refusal.
func (s State) Decide(_ time.Time, c Command) ([]Event, error) {
	if s.kind == "" {
		return nil, machine.Refuse(machine.Schema, fmt.Sprintf("key %q is not that of a definition: want orchestration/<type> or activity/<type>", s.typ))
	}
	switch c := c.(type) {
	case Put:
		return s.put(c)
	case Delete:
		return s.remove(c)
	}
	return nil, nil
}

func (s State) put(c Put) ([]Event, error) {
	if c.BuiltIn {
		return nil, s.builtIn()
	}
	if c.Kind != "" && c.Kind != s.kind {
		return nil, s.misplaced("kind", c.Kind, s.kind)
	}
	if c.Set != "" {
		if err := CheckName(c.Set); err != nil {
			return nil, s.invalid(0, []machine.Problem{{Path: "set", Message: err.Error()}})
		}
	}
	if c.Set != "" && s.set != "" && c.Set != s.set && !c.TakeOver {
		return nil, machine.Refuse(machine.Conflict, fmt.Sprintf("%s belongs to set %s; take it over, or leave it out", s.name(), s.set))
	}
	meaning, err := s.accept(c)
	if err != nil {
		return nil, err
	}
	changed := Changed{Kind: s.kind, Type: s.typ, Version: s.version, Definition: s.inForce, Set: s.set}
	if c.Set != "" {
		changed.Set = c.Set
	}
	switch {
	case !s.means(meaning):
		changed.Version++
		if changed.Definition, err = withVersion(c.Definition, changed.Version); err != nil {
			return nil, s.invalid(0, []machine.Problem{{Message: err.Error()}})
		}
	case changed.Set == s.set:
		return nil, nil
	}
	return []Event{changed}, nil
}

// accept checks a definition and writes what it means, in one spelling and without a version:
// that is how starts carry it.
func (s State) accept(c Put) (json.RawMessage, error) {
	typ, meaning, problems := s.read(c.Definition, c.Types)
	switch {
	case len(problems) > 0:
		return nil, s.invalid(len(c.Definition), problems)
	case typ != s.typ:
		return nil, s.misplaced("type", typ, s.typ)
	case len(meaning) > MaxBytes: // escaped and with all names written out it is longer
		return nil, s.tooLarge(len(meaning))
	}
	return meaning, nil
}

func (s State) read(raw json.RawMessage, types func(string) (ActivityType, bool)) (typ string, meaning json.RawMessage, problems []machine.Problem) {
	var v any
	if s.kind == KindOrchestration {
		var d Orchestration
		d, problems = ValidateOrchestration(raw, types)
		typ, d.Version = d.Type, 0
		v = d
	} else {
		var d ActivityType
		d, problems = ValidateActivity(raw)
		typ, d.Version = d.Type, 0
		v = d
	}
	if len(problems) > 0 {
		return typ, nil, problems
	}
	meaning, err := json.Marshal(v)
	if err != nil {
		problems = []machine.Problem{{Message: err.Error()}}
	}
	return typ, meaning, problems
}

// means says that what is in force has a meaning. It need not fit what is there by now.
func (s State) means(meaning json.RawMessage) bool {
	if s.inForce == nil {
		return false
	}
	_, old, problems := s.read(s.inForce, nil)
	return len(problems) == 0 && equalJSON(old, meaning)
}

// withVersion writes a definition as it was put, with another version. It is an object.
func withVersion(raw json.RawMessage, version int) (json.RawMessage, error) {
	var b bytes.Buffer
	dec := json.NewDecoder(bytes.NewReader(raw))
	_, err := dec.Token()
	b.WriteByte('{')
	for err == nil && dec.More() {
		var name json.Token
		var value json.RawMessage
		if name, err = dec.Token(); err == nil {
			err = dec.Decode(&value)
		}
		if err != nil || name == "version" {
			continue
		}
		fmt.Fprintf(&b, "%q:", name)
		b.Write(value)
		b.WriteByte(',')
	}
	fmt.Fprintf(&b, `"version":%d}`, version)
	var compact bytes.Buffer
	if err == nil {
		err = json.Compact(&compact, b.Bytes())
	}
	return compact.Bytes(), err
}

func (s State) remove(c Delete) ([]Event, error) {
	switch {
	case c.BuiltIn:
		return nil, s.builtIn()
	case s.version == 0:
		return nil, machine.Refuse(machine.NotFound, "there is no "+s.name())
	case s.inForce == nil:
		return nil, nil // it has had its way
	case c.Running > 0:
		return nil, machine.Refuse(machine.BadState, fmt.Sprintf("%s is in use: %d running orchestrations", s.name(), c.Running))
	case len(c.UsedBy) > 0:
		return nil, machine.Refuse(machine.BadState, fmt.Sprintf("%s is in use by the definitions of %s", s.name(), strings.Join(c.UsedBy, ", ")))
	}
	return []Event{Deleted{}}, nil
}

// name is for messages: orchestration definition parts-tree.
func (s State) name() string { return s.kind + " definition " + s.typ }

func (s State) builtIn() error {
	return machine.Refuse(machine.Conflict, s.name()+" is built in; it can be neither changed nor deleted")
}

func (s State) misplaced(what, given, key string) error {
	return machine.Refuse(machine.Schema, fmt.Sprintf("the body is not that of %s", s.name()),
		machine.Problem{Path: what, Message: fmt.Sprintf("is %s, the key says %s", quote(given), quote(key))})
}

func (s State) invalid(size int, problems []machine.Problem) error {
	if size > MaxBytes {
		return s.tooLarge(size)
	}
	return machine.Refuse(machine.Schema, s.name()+" is not valid", problems...)
}

func (s State) tooLarge(size int) error {
	return machine.Refuse(machine.Limit, fmt.Sprintf("%s has %d bytes, over the limit of a definition (definition.MaxBytes, %d)", s.name(), size, MaxBytes))
}

// equalJSON compares what two texts mean: names in any order, numbers by their digits.
func equalJSON(a, b json.RawMessage) bool {
	x, err := canonical(a)
	if err != nil {
		return false
	}
	y, err := canonical(b)
	return err == nil && bytes.Equal(x, y)
}

func canonical(raw json.RawMessage) ([]byte, error) {
	var f findings
	v, ok := f.parse(raw)
	if !ok {
		return nil, fmt.Errorf("not JSON: %v", f.all())
	}
	return json.Marshal(v)
}
