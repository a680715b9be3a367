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
	Definition json.RawMessage `json:"definition"` // an Orchestration or an ActivityType, with its version
}

// Deleted takes the definition out of force. What runs by it goes on.
type Deleted struct{}

func (Changed) event() {}
func (Deleted) event() {}

// State is where a definition stands.
type State struct {
	kind, typ string
	version   int             // of the last change, deleted or not
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
		s.version, s.inForce = e.Version, e.Definition
	case Deleted:
		s.inForce = nil
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

// Put puts a definition in force. On the wire it is {kind, definition}, or the definition
// alone, whose kind its key says.
type Put struct {
	Kind       string          `json:"kind,omitempty"` // "": the one of the key
	Definition json.RawMessage `json:"definition"`

	// Known says which activity types there are; nil takes any.
	Known func(activityType string) bool `json:"-"`
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
	*p = Put{Kind: wrapped.Kind, Definition: wrapped.Definition}
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
	next, err := s.accept(c)
	if err != nil {
		return nil, err
	}
	// Under its own version a definition that is in force already comes out the same.
	same, err := next(s.version)
	if err != nil {
		return nil, err
	}
	if s.inForce != nil && equalJSON(same, s.inForce) {
		return nil, nil
	}
	definition, err := next(s.version + 1)
	if err != nil {
		return nil, err
	}
	return []Event{Changed{Kind: s.kind, Type: s.typ, Version: s.version + 1, Definition: definition}}, nil
}

// accept checks a definition; the function it returns writes it under a version, in one spelling.
func (s State) accept(c Put) (func(version int) (json.RawMessage, error), error) {
	var (
		typ      string
		problems []machine.Problem
		write    func(version int) ([]byte, error)
	)
	switch s.kind {
	case KindOrchestration:
		var d Orchestration
		d, problems = ValidateOrchestration(c.Definition, c.Known)
		typ = d.Type
		write = func(version int) ([]byte, error) { d.Version = version; return json.Marshal(d) }
	default:
		var d ActivityType
		d, problems = ValidateActivity(c.Definition)
		typ = d.Type
		write = func(version int) ([]byte, error) { d.Version = version; return json.Marshal(d) }
	}
	if len(problems) > 0 {
		return nil, s.invalid(len(c.Definition), problems)
	}
	if typ != s.typ {
		return nil, s.misplaced("type", typ, s.typ)
	}
	return func(version int) (json.RawMessage, error) {
		b, err := write(version)
		if err != nil {
			return nil, s.invalid(0, []machine.Problem{{Message: err.Error()}})
		}
		if len(b) > MaxBytes { // escaped and with all names written out it is longer
			return nil, s.tooLarge(len(b))
		}
		return b, nil
	}, nil
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
