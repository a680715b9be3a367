package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
)

// Activity is one attempt at a piece of work. It is handed over by value; the processor
// must not change what it refers to.
type Activity struct {
	ID            string // of the work; the same in every attempt
	Attempt       int    // from 1
	Offer         int    // of this attempt, from 1: above it, an agent before this one may have begun it
	Type          string
	Discriminator string // tells subtypes apart, "deploy" and "dispose" say; may be empty
	Resource      string // name of what the job deploys or disposes of: the same for deploy, redeploy and dispose
	JobID         string // of the orchestration, or whichever aggregate asked
	ActivityID    string // within the job
	Run           int    // of the job, from 1
	Input         Values
	Outputs       Values          // of ancestors, by their ids, where the activity asks for them (context); read-only
	State         json.RawMessage // the activity's own, from its last result (Result.WithState); nil at first
	Deadline      time.Time       // of this attempt; the context ends with it; zero means none
	// IdempotencyKey is to be passed on to the outside, so that it can tell a repeat.
	IdempotencyKey string
	TraceParent    string // W3C trace context; may be empty

	beat func(context.Context) error
}

func newActivity(w machine.Work, beat func(context.Context) error) Activity {
	return Activity{
		ID: w.ID, Attempt: w.Attempt, Offer: w.Offer, Type: w.Type, Discriminator: w.Discriminator, Resource: w.Resource,
		JobID: w.AggregateID, ActivityID: w.ActivityID, Run: w.Run,
		Input: NewValues(w.Input), Outputs: NewValues(w.Outputs), State: w.State, Deadline: w.Deadline,
		IdempotencyKey: w.ID, TraceParent: w.TraceParent, beat: beat,
	}
}

// Heartbeat extends the claim on the work at once and returns when that is on the log.
// There is rarely a need: the claim is extended by itself while the processor runs. For
// work that runs in the machine's own process it does nothing but look at the context.
func (a Activity) Heartbeat(ctx context.Context) error {
	if a.beat == nil {
		return context.Cause(ctx)
	}
	return a.beat(ctx)
}

// Ancestor is the output of an ancestor that the activity asks for (context). It is empty
// where there is none, or where the output is no object: Outputs.Lookup has it as it is.
func (a Activity) Ancestor(id string) Values {
	raw, _ := a.Outputs.Lookup(id)
	if len(raw) == 0 || raw[0] != '{' {
		return Values{}
	}
	return NewValues(raw)
}

// DecodeState decodes the activity's own state into v, a pointer. Without a state it
// leaves v as it is.
func (a Activity) DecodeState(v any) error {
	if len(a.State) == 0 {
		return nil
	}
	if err := json.Unmarshal(a.State, v); err != nil {
		return fmt.Errorf("state of activity %s: %w", a.ActivityID, err)
	}
	return nil
}

// Values is the input of an activity: a JSON object, decoded when it is first looked at.
// The zero Values is empty. It is safe for concurrent use.
type Values struct{ doc *document }

type document struct {
	raw    json.RawMessage
	once   sync.Once
	fields map[string]json.RawMessage
	err    error
}

// NewValues makes Values of a JSON object, which must not be changed afterwards.
func NewValues(raw json.RawMessage) Values {
	if len(raw) == 0 {
		return Values{}
	}
	return Values{&document{raw: raw}}
}

func (v Values) load() (map[string]json.RawMessage, error) {
	if v.doc == nil {
		return nil, nil
	}
	v.doc.once.Do(func() {
		if err := json.Unmarshal(v.doc.raw, &v.doc.fields); err != nil {
			v.doc.err = fmt.Errorf("input: want a JSON object: %w", err)
		}
	})
	return v.doc.fields, v.doc.err
}

// Raw is the input as it came; nil if there is none. It must not be changed.
func (v Values) Raw() json.RawMessage {
	if v.doc == nil {
		return nil
	}
	return v.doc.raw
}

// Empty says whether there is no input at all. It decodes nothing.
func (v Values) Empty() bool {
	return v.doc == nil || string(v.doc.raw) == "{}" || string(v.doc.raw) == "null"
}

// Decode decodes the whole input into v, a pointer. Without an input it leaves v as it is.
func (v Values) Decode(into any) error {
	if v.doc == nil {
		return nil
	}
	if err := json.Unmarshal(v.doc.raw, into); err != nil {
		return fmt.Errorf("input: %w", err)
	}
	return nil
}

// Has says whether the property is there and not null.
func (v Values) Has(name string) bool {
	raw, ok := v.Lookup(name)
	return ok && string(raw) != "null"
}

// Lookup is the property as JSON, and whether it is there.
func (v Values) Lookup(name string) (json.RawMessage, bool) {
	fields, err := v.load()
	if err != nil {
		return nil, false
	}
	raw, ok := fields[name]
	return raw, ok
}

// Value decodes one property into the pointer. One that is absent or null leaves it as
// it is; an error names the property.
func (v Values) Value(name string, into any) error {
	fields, err := v.load()
	if err != nil {
		return err
	}
	raw, ok := fields[name]
	if !ok || string(raw) == "null" {
		return nil
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("input %s: %w", name, err)
	}
	return nil
}

// String is the property, or "" where it is absent or not a string. Value tells these apart.
func (v Values) String(name string) string { return get[string](v, name) }

// Int is the property, or 0 where it is absent or not a whole number. Value tells these apart.
func (v Values) Int(name string) int { return get[int](v, name) }

// Float is the property, or 0 where it is absent or not a number. Value tells these apart.
func (v Values) Float(name string) float64 { return get[float64](v, name) }

// Bool is the property, or false where it is absent or not a boolean. Value tells these apart.
func (v Values) Bool(name string) bool { return get[bool](v, name) }

// Duration is the property, "PT2S" or "2s", or 0 where it is absent or neither. Value,
// with a *definition.Duration, tells these apart.
func (v Values) Duration(name string) time.Duration {
	return time.Duration(get[definition.Duration](v, name))
}

func get[T any](v Values, name string) T {
	var got, zero T
	if v.Value(name, &got) != nil {
		return zero
	}
	return got
}
