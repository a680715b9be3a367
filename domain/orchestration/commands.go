package orchestration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
)

// Command asks an orchestration for something.
//
//sumtype:decl
type Command interface{ command() }

// Start begins an orchestration. Plan is looked up by whoever hands the command in: it
// is an input, like the time.
type Start struct {
	Type     string              `json:"type"`
	Input    json.RawMessage     `json:"input,omitempty"`
	Partial  bool                `json:"partial,omitempty"`
	Deadline definition.Duration `json:"deadline,omitempty"`
	Labels   map[string]string   `json:"labels,omitempty"`
	Callback string              `json:"callback,omitempty"`
	Name     string              `json:"name,omitempty"`     // what it deploys is called so, in every version of it
	Set      string              `json:"set,omitempty"`      // whose it is: what is applied together
	Resource string              `json:"resource,omitempty"` // resource name, where it is neither Name nor the id
	// Definition describes the orchestration itself, where no definition of the type is to be looked up.
	Definition json.RawMessage `json:"definition,omitempty"`
	Disposes   *Disposes       `json:"disposes,omitempty"`

	Plan        *Plan  `json:"-"`
	Fingerprint string `json:"-"` // of the body
	TraceParent string `json:"-"` // W3C trace context of whoever asked; it goes with the work
}

// Cancel ends an orchestration that nobody wants any more.
type Cancel struct {
	Reason string `json:"reason,omitempty"`
	By     string `json:"by,omitempty"`
}

// Report is what every result of a piece of work has: which work, which attempt.
type Report struct {
	WorkID  string `json:"workId"`
	Attempt int    `json:"attempt"`
}

// Complete reports that the step is done.
type Complete struct {
	Report
	Output json.RawMessage       `json:"output,omitempty"`
	Key    string                `json:"key,omitempty"` // identity of the node, where it differs from its id
	Spawn  []definition.Activity `json:"spawn,omitempty"`

	// Contracts are the schemas in force of the types to be spawned, by type, where they have any.
	// They are an input, like the time.
	Contracts map[string]definition.Contract `json:"-"`
}

// Wait reports that the work was accepted elsewhere. After bounds the wait; zero leaves
// it to the activity's deadline.
type Wait struct {
	Report
	After definition.Duration `json:"after,omitempty"`
	State json.RawMessage     `json:"state,omitempty"`
}

// Schedule reports that nothing is wrong: call again after After.
type Schedule struct {
	Report
	After definition.Duration `json:"after"`
	State json.RawMessage     `json:"state,omitempty"`
}

// Retry reports a passing fault. After, where given, is the earliest time the other
// side wants to be asked again.
type Retry struct {
	Report
	Error Fault               `json:"error"`
	After definition.Duration `json:"after,omitempty"`
	State json.RawMessage     `json:"state,omitempty"`
}

// Fail reports that the step cannot work.
type Fail struct {
	Report
	Error Fault `json:"error"`
}

// Heartbeat claims an attempt, then extends the claim. It is never answered.
type Heartbeat struct {
	Report
	Agent string `json:"agent,omitempty"`
}

// Release gives a claim back: the attempt is offered again at once, and it has cost nothing. It
// is never answered; one of an agent that does not hold the claim changes nothing.
type Release struct {
	Report
	Agent string `json:"agent"`
}

// Wake lets everything happen that is due. It is not on the wire.
type Wake struct{}

// TakeOver is given once by a new owner of the shard: what an owner before it ran itself,
// and what the agent of that name had claimed before the process was started again, is
// offered again. It is not on the wire.
type TakeOver struct {
	Placement string    // of what the new owner itself runs
	Agent     string    // empty: claims are left to their leases
	Since     time.Time // when that agent was started: what it has claimed since then it is at
}

func (Start) command()     {}
func (Cancel) command()    {}
func (Complete) command()  {}
func (Wait) command()      {}
func (Schedule) command()  {}
func (Retry) command()     {}
func (Fail) command()      {}
func (Heartbeat) command() {}
func (Release) command()   {}
func (Wake) command()      {}
func (TakeOver) command()  {}

// Fault is an error as an agent reports it: a string, or a step and a message. Code is for
// machines, where what follows depends on what went wrong and not only on whether it passes.
type Fault struct {
	Step    string `json:"step,omitempty"`
	Message string `json:"message"`
	Code    string `json:"code,omitempty"`
}

// UnmarshalJSON takes a string or an object.
func (f *Fault) UnmarshalJSON(b []byte) error {
	if b = bytes.TrimSpace(b); len(b) > 0 && b[0] == '"' {
		*f = Fault{}
		return json.Unmarshal(b, &f.Message)
	}
	type plain Fault
	if err := json.Unmarshal(b, (*plain)(f)); err != nil {
		return fmt.Errorf("error: want a string or {step, message, code}: %w", err)
	}
	return nil
}

func (f Fault) failure(n *node, attempts int, at time.Time) Failure {
	return Failure{
		ActivityID: n.id(), Name: machine.Clip(n.name(), maxNameBytes), Step: machine.Clip(f.Step, maxNameBytes),
		Message: machine.Clip(f.Message, maxMessageBytes), Attempts: attempts, At: at,
	}
}
