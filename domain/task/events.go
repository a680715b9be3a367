package task

import (
	"encoding/json"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/orchestration"
)

// Event is a fact about a task.
//
//sumtype:decl
type Event interface {
	event()
	// Work is the ID of the work that the event is about.
	Work() string
}

// Spec is what is asked for.
type Spec struct {
	WorkID   string          `json:"workId"`
	Name     string          `json:"name"` // which of the aggregate's tasks it is; no two open ones have the same
	Type     string          `json:"type"` // of the agents
	Input    json.RawMessage `json:"input,omitempty"`
	Deadline time.Time       `json:"deadline,omitzero"` // in total; zero: never
	Policy   Policy          `json:"policy,omitzero"`
	Owner    string          `json:"owner,omitempty"` // orchestration that the results are for: see machine.Work
}

// Policy is how long and how often a task is tried. Zero values take the defaults, but for
// Retries: none.
type Policy struct {
	Retries        int                 `json:"retries,omitempty"` // after passing faults
	BaseDelay      definition.Duration `json:"baseDelay,omitempty"`
	MaxDelay       definition.Duration `json:"maxDelay,omitempty"`
	AttemptTimeout definition.Duration `json:"attemptTimeout,omitempty"`
}

// Requested opens a task with its first attempt.
type Requested struct {
	Spec
	Placement string `json:"placement,omitempty"` // whose own agent carries it out
}

// Attempted is another attempt: after a fault, or to look again.
type Attempted struct {
	WorkID    string `json:"workId"`
	Attempt   int    `json:"attempt"`
	Placement string `json:"placement,omitempty"`
}

// Offered is the same attempt again, for nobody has it.
type Offered struct {
	WorkID    string `json:"workId"`
	Attempt   int    `json:"attempt"`
	Offer     int    `json:"offer"`
	Placement string `json:"placement,omitempty"`
}

// Claimed is an agent that has begun.
type Claimed struct {
	WorkID  string    `json:"workId"`
	Attempt int       `json:"attempt"`
	Agent   string    `json:"agent"`
	Lease   time.Time `json:"lease"`
}

// Extended is an agent that was heard.
type Extended struct {
	WorkID  string    `json:"workId"`
	Attempt int       `json:"attempt"`
	Lease   time.Time `json:"lease"`
}

// Waited is work that was accepted elsewhere.
type Waited struct {
	WorkID  string          `json:"workId"`
	Attempt int             `json:"attempt"`
	Until   time.Time       `json:"until,omitzero"`
	State   json.RawMessage `json:"state,omitempty"`
}

// Scheduled is an agent that wants to be called again.
type Scheduled struct {
	WorkID  string          `json:"workId"`
	Attempt int             `json:"attempt"`
	At      time.Time       `json:"at"`
	State   json.RawMessage `json:"state,omitempty"`
}

// Retrying is a passing fault.
type Retrying struct {
	WorkID  string              `json:"workId"`
	Attempt int                 `json:"attempt"`
	Error   orchestration.Fault `json:"error"`
	At      time.Time           `json:"at"` // of the next attempt
	State   json.RawMessage     `json:"state,omitempty"`
}

// Nudged says that there is something to see for an agent that is looking right now.
type Nudged struct {
	WorkID string `json:"workId"`
}

// Ended closes a task.
type Ended struct {
	WorkID  string               `json:"workId"`
	Attempt int                  `json:"attempt"`
	How     Ending               `json:"how"`
	Error   *orchestration.Fault `json:"error,omitempty"`
}

// Ending is how a task ended.
type Ending string

// The endings of a task.
const (
	Completed Ending = "completed" // the agent says so
	Failed    Ending = "failed"    // the agent says so, or it was tried often enough
	GivenUp   Ending = "given-up"  // it took too long: whoever is at it is told
	Dropped   Ending = "dropped"   // nobody wants it any more: whoever is at it is told
)

func (Requested) event() {}
func (Attempted) event() {}
func (Offered) event()   {}
func (Claimed) event()   {}
func (Extended) event()  {}
func (Waited) event()    {}
func (Scheduled) event() {}
func (Retrying) event()  {}
func (Nudged) event()    {}
func (Ended) event()     {}

// Work implements Event.
func (e Requested) Work() string { return e.WorkID }

// Work implements Event.
func (e Attempted) Work() string { return e.WorkID }

// Work implements Event.
func (e Offered) Work() string { return e.WorkID }

// Work implements Event.
func (e Claimed) Work() string { return e.WorkID }

// Work implements Event.
func (e Extended) Work() string { return e.WorkID }

// Work implements Event.
func (e Waited) Work() string { return e.WorkID }

// Work implements Event.
func (e Scheduled) Work() string { return e.WorkID }

// Work implements Event.
func (e Retrying) Work() string { return e.WorkID }

// Work implements Event.
func (e Nudged) Work() string { return e.WorkID }

// Work implements Event.
func (e Ended) Work() string { return e.WorkID }

// Placed notes on an event that asks for work whose own agent carries it out.
func Placed(e Event, placement string) Event {
	switch e := e.(type) {
	case Requested:
		e.Placement = placement
		return e
	case Attempted:
		e.Placement = placement
		return e
	case Offered:
		e.Placement = placement
		return e
	case Claimed, Extended, Waited, Scheduled, Retrying, Nudged, Ended:
	}
	return e
}

// Placement reads that note.
func Placement(e Event) string {
	switch e := e.(type) {
	case Requested:
		return e.Placement
	case Attempted:
		return e.Placement
	case Offered:
		return e.Placement
	case Claimed, Extended, Waited, Scheduled, Retrying, Nudged, Ended:
	}
	return ""
}
