package definition

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sosodev/duration"
)

// Orchestration is the definition of an orchestration type: a directed acyclic graph
// of activities (reference: Resource Model, OrchestrationDefinition).
type Orchestration struct {
	Type        string          `json:"type"`
	Description string          `json:"description,omitempty"`
	Active      *bool           `json:"active,omitempty"` // absent means active
	Schema      json.RawMessage `json:"schema,omitempty"` // JSON Schema of the input
	Input       json.RawMessage `json:"input,omitempty"`  // an object: defaults under the start's input
	Output      []Mapping       `json:"output,omitempty"` // what the completion hands on
	Activities  []Activity      `json:"activities"`
	// Compensate lets what had completed be undone when an orchestration fails or is cancelled half way.
	Compensate bool `json:"compensate,omitempty"`
	// DisposedBy is the orchestration type that disposes of what one of this type has deployed; empty
	// means the same activities in reversed order, with the discriminator Dispose.
	DisposedBy string `json:"disposedBy,omitempty"`
	// Limits bound one orchestration of this type; zero values take the defaults.
	Limits Limits `json:"limits,omitzero"`
	// Contracts are the schemas of its activities' types, by type. They are filled in when it is
	// started, so that what runs keeps them; a put has none.
	Contracts map[string]Contract `json:"contracts,omitempty"`
	// Version counts the accepted changes from 1; set by the aggregate, ignored in a put.
	Version int `json:"version,omitempty"`
}

// IsActive says whether new starts are taken.
func (o *Orchestration) IsActive() bool { return o.Active == nil || *o.Active }

// Dispose is the discriminator of an activity that undoes what it has done without one.
const Dispose = "dispose"

// UndoSuffix ends the id of the activity that undoes another one within the same
// orchestration. No other activity's id ends so.
const UndoSuffix = "~" + Dispose

// Limits of one orchestration. Zero means the default.
type Limits struct {
	Nodes       int `json:"nodes,omitempty"`       // activities, spawned ones included
	Depth       int `json:"depth,omitempty"`       // generations of spawned activities
	OutputBytes int `json:"outputBytes,omitempty"` // one activity's output
}

// Activity is one step of an orchestration, and the shape of a spawned one.
type Activity struct {
	ID            string          `json:"id"`
	Name          string          `json:"name,omitempty"` // for people; empty means ID
	Type          string          `json:"type"`
	Discriminator string          `json:"discriminator,omitempty"`
	DependsOn     Names           `json:"dependsOn,omitempty"`
	Inputs        []Mapping       `json:"inputs,omitempty"`
	With          json.RawMessage `json:"with,omitempty"`   // an object of literals and templates; inputs go over it
	Context       Context         `json:"context,omitzero"` // which ancestors' outputs it reads beside its input
	// OnError: "" or OnErrorFail ends the orchestration, OnErrorContinue leaves a tombstone.
	OnError          string   `json:"onError,omitempty"`
	Retry            *Retry   `json:"retry,omitempty"`
	AttemptTimeout   Duration `json:"attemptTimeout,omitempty"`   // of one attempt, claimed to reported
	Deadline         Duration `json:"deadline,omitempty"`         // in total, from the first request
	HeartbeatTimeout Duration `json:"heartbeatTimeout,omitempty"` // lease of a claim
}

// Context says of which ancestors an activity is handed the outputs, read-only: their ids, or
// AllAncestors. The zero Context is none: most activities have all they need in their
// input, and what each hands on would be carried along to the last.
type Context []string

// AllAncestors stands for all of them, as the only element of a Context; in JSON it is true.
const AllAncestors = "*"

// All says that the outputs of all ancestors are handed over.
func (c Context) All() bool { return len(c) == 1 && c[0] == AllAncestors }

// IsZero says that no outputs are handed over.
func (c Context) IsZero() bool { return len(c) == 0 }

// MarshalJSON writes true or false, or an array of ids.
func (c Context) MarshalJSON() ([]byte, error) {
	if c.All() || len(c) == 0 {
		return json.Marshal(c.All())
	}
	return json.Marshal([]string(c))
}

// UnmarshalJSON takes true or false, an id, or an array of ids.
func (c *Context) UnmarshalJSON(b []byte) error {
	var all bool
	if json.Unmarshal(b, &all) == nil {
		if *c = nil; all {
			*c = Context{AllAncestors}
		}
		return nil
	}
	var of Names
	if err := of.UnmarshalJSON(b); err != nil {
		return fmt.Errorf("want true, an id, or an array of ids: %w", err)
	}
	*c = Context(of)
	return nil
}

// Values of Activity.OnError.
const (
	OnErrorFail     = "fail"
	OnErrorContinue = "continue"
	// OnErrorPartial continues where the start asked for partial results.
	OnErrorPartial = "partial"
)

// Retry bounds how often passing faults are tried again: the n-th failure waits
// BaseDelay·2^(n-1), at most MaxDelay, less some jitter.
type Retry struct {
	Limit     *int     `json:"limit,omitempty"` // failures that are tried again; 0 means none
	BaseDelay Duration `json:"baseDelay,omitempty"`
	MaxDelay  Duration `json:"maxDelay,omitempty"`
}

// ActivityType is the definition of an activity type (reference: ActivityDefinition).
type ActivityType struct {
	Type         string `json:"type"`
	Provider     string `json:"provider,omitempty"`
	Description  string `json:"description,omitempty"`
	InputSchema  Schema `json:"inputSchema,omitzero"`
	OutputSchema Schema `json:"outputSchema,omitzero"`
	// Policies that activities of this type have unless they say otherwise.
	Retry            *Retry   `json:"retry,omitempty"`
	AttemptTimeout   Duration `json:"attemptTimeout,omitempty"`
	Deadline         Duration `json:"deadline,omitempty"`
	HeartbeatTimeout Duration `json:"heartbeatTimeout,omitempty"`
	Version          int      `json:"version,omitempty"`
}

// Contract is what an activity type says of what goes in and what comes out: OpenAPI v3 schemas,
// nil where it says nothing.
type Contract struct {
	Input  json.RawMessage `json:"input,omitempty"`
	Output json.RawMessage `json:"output,omitempty"`
}

// Contract is what the type says of what goes in and what comes out.
func (a *ActivityType) Contract() Contract {
	return Contract{Input: a.InputSchema.OpenAPIV3Schema, Output: a.OutputSchema.OpenAPIV3Schema}
}

// Empty says that anything fits.
func (c Contract) Empty() bool { return len(c.Input) == 0 && len(c.Output) == 0 }

// Schema carries an OpenAPI v3 schema, the only supported kind.
type Schema struct {
	OpenAPIV3Schema json.RawMessage `json:"openAPIV3Schema,omitempty"`
}

// Mapping takes a value from somewhere to a property: a bare string "cell" is
// {source: "cell", target: "cell"}, "activity1.resource" is {source:
// "activity1.resource", target: "resource"}. A source is the orchestration's input
// ("cell", or "input.cell"), an activity's output ("activity1.resource", "activity1"
// for the whole of it), or the list of the outputs of an activity and all it spawned,
// depth first ("activity1.**"). The target Spread takes every property of an object.
type Mapping struct {
	Source string `json:"source"`
	Target string `json:"target"`
}

// Spread is the target of a mapping that puts each property of an object to its own place.
const Spread = "."

// UnmarshalJSON takes a string or an object.
func (m *Mapping) UnmarshalJSON(b []byte) error {
	b = bytes.TrimSpace(b)
	if len(b) > 0 && b[0] == '"' {
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		*m = Mapping{Source: s, Target: s[strings.LastIndexByte(s, '.')+1:]}
		return nil
	}
	source, target, ok := readMapping(b)
	if !ok {
		return fmt.Errorf("want a string or {source, target}, found %s", clip(string(b)))
	}
	if target == "" {
		target = source[strings.LastIndexByte(source, '.')+1:]
	}
	*m = Mapping{Source: source, Target: target}
	return nil
}

// readMapping reads an object that is known to be JSON: of mappings there may be ten thousand.
func readMapping(b []byte) (source, target string, ok bool) {
	var f findings
	p := parser{findings: &f, data: b}
	if !p.next('{') {
		return "", "", false
	}
	for !p.next('}') {
		p.next(',')
		p.next('"')
		name := p.text()
		p.next(':')
		switch {
		case name != "source" && name != "target":
			p.value(0)
		case !p.next('"'):
			return "", "", false
		case name == "source":
			source = p.text()
		default:
			target = p.text()
		}
	}
	return source, target, true
}

// Names is a list of names that may be written as one string.
type Names []string

// UnmarshalJSON takes a string or an array of strings.
func (n *Names) UnmarshalJSON(b []byte) error {
	b = bytes.TrimSpace(b)
	if len(b) > 0 && b[0] == '"' {
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		*n = Names{s}
		return nil
	}
	var l []string
	if err := json.Unmarshal(b, &l); err != nil {
		return fmt.Errorf("want a string or an array of strings: %w", err)
	}
	*n = l
	return nil
}

// Duration is a length of time, written in JSON as ISO 8601 ("PT2S") and read in that
// form or in Go's ("2s").
type Duration time.Duration

// maxDuration is the longest duration that is taken. Whoever wants to wait longer has made
// a mistake, and a sum of such times with a date would run over.
const maxDuration = 100 * 365 * 24 * time.Hour

// ParseDuration reads "PT2S" or "2s"; it refuses negative ones and those over 100 years. A
// month of ISO 8601 has the twelfth part of 365 days.
func ParseDuration(s string) (time.Duration, error) {
	var d time.Duration
	iso, isISO, err := parseISO(s)
	if isISO {
		d = iso
	} else {
		d, err = time.ParseDuration(s)
	}
	switch {
	case err != nil:
		return 0, fmt.Errorf("duration %q: want ISO 8601 (PT2S) or 2s", s)
	case d < 0:
		return 0, fmt.Errorf("duration %q is negative", s)
	case d > maxDuration:
		return 0, fmt.Errorf("duration %q is over the limit of 100 years", s)
	}
	return d, nil
}

// parseISO reads PT2S and -PT2S. What would not fit is maxDuration and a bit.
func parseISO(s string) (d time.Duration, isISO bool, err error) {
	if !strings.HasPrefix(s, "P") && !strings.HasPrefix(s, "-P") {
		return 0, false, nil
	}
	iso, err := duration.Parse(s)
	if err != nil {
		return 0, true, err
	}
	if c := s[len(s)-1]; c == 'P' || c == 'T' {
		return 0, true, fmt.Errorf("it names no length") // the library reads it as nothing at all
	}
	days := iso.Years*365 + iso.Months*365/12 + iso.Weeks*7 + iso.Days
	hours := days*24 + iso.Hours + iso.Minutes/60 + iso.Seconds/3600
	if !iso.Negative && hours > maxDuration.Hours() {
		return maxDuration + 1, true, nil
	}
	if iso.Negative && hours > 0 {
		return -1, true, nil
	}
	return iso.ToTimeDuration(), true, nil
}

// MarshalJSON writes seconds, "PT1.5S".
func (d Duration) MarshalJSON() ([]byte, error) {
	b := append([]byte(nil), `"PT`...)
	b = strconv.AppendFloat(b, time.Duration(d).Seconds(), 'f', -1, 64)
	return append(b, `S"`...), nil
}

// UnmarshalJSON reads either form.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("want a duration as a string, PT2S or 2s")
	}
	v, err := ParseDuration(s)
	*d = Duration(v)
	return err
}
