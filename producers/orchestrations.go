package producers

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/waybill/waybill/domain/blob"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// Accepted says where a command stands on the log. It is written, not yet decided.
type Accepted struct {
	ID        string         `json:"id"` // what the command is about: the job, the definition, the work
	CommandID string         `json:"commandId"`
	Position  kafka.Position `json:"position"`
}

// Start asks for an orchestration: a job.
type Start struct {
	ID          string            // of the job; empty means a new UUIDv7
	Type        string            // of the definition
	Input       json.RawMessage   // a JSON object; nil takes the definition's defaults
	Partial     bool              // end COMPLETED with what could be had
	Deadline    time.Duration     // of the job in total; zero takes the default
	Labels      map[string]string // for finding it again
	Callback    string            // URL told of the end
	Name        string            // of what it deploys: its resource name; empty means the ID is
	Set         string            // whose it is: what is applied together
	CommandID   string            // empty means derived from ID and the rest
	TraceParent string            // W3C trace context, optional
}

// StartOrchestration publishes a start. The same ID with the same body is the same
// command, so a repeat is harmless; with another body it is refused as a conflict.
func (p *Publisher) StartOrchestration(ctx context.Context, s Start) (Accepted, error) {
	if s.ID == "" {
		s.ID = NewID()
	}
	if err := CheckID("id", s.ID); err != nil {
		return Accepted{}, err
	}
	input, err := p.PackInput(ctx, s.ID, s.Input)
	if err != nil {
		return Accepted{}, err
	}
	typ, value, err := schemas.EncodeOrchestrationCommand(orchestration.Start{
		Type: s.Type, Input: input, Partial: s.Partial, Deadline: definition.Duration(s.Deadline),
		Labels: s.Labels, Callback: s.Callback, Name: s.Name, Set: s.Set,
	})
	if err != nil {
		return Accepted{}, &InvalidError{Path: "input", Message: err.Error()}
	}
	if s.CommandID == "" {
		s.CommandID = StartID(s.ID, value)
	}
	return p.orchestration(ctx, Command{ID: s.CommandID, Type: typ, Key: s.ID, Value: value, TraceParent: s.TraceParent})
}

// PackInput is Pack for the input of a start, which stays an object: the definition's defaults go
// under it.
func (p *Publisher) PackInput(ctx context.Context, job string, input json.RawMessage) (json.RawMessage, error) {
	packed, err := p.Pack(ctx, job, "input", input)
	if _, whole := blob.Of(packed); err == nil && whole {
		return nil, &InvalidError{Path: "input", Message: fmt.Sprintf(
			"has %d bytes in members that are small each: put them into one, or a few; up to %d bytes stand in a start itself", len(input), blob.Threshold)}
	}
	return packed, err
}

// Cancel asks for an end of an orchestration that nobody wants any more.
type Cancel struct {
	ID          string // of the job
	Reason, By  string // for those who look at it later
	CommandID   string // empty means a new one
	TraceParent string
}

// CancelOrchestration publishes a cancel. Cancelling again is harmless.
func (p *Publisher) CancelOrchestration(ctx context.Context, c Cancel) (Accepted, error) {
	typ, value, err := schemas.EncodeOrchestrationCommand(orchestration.Cancel{Reason: c.Reason, By: c.By})
	if err != nil {
		return Accepted{}, &InvalidError{Path: "reason", Message: err.Error()}
	}
	return p.orchestration(ctx, Command{ID: c.CommandID, Type: typ, Key: c.ID, Value: value, TraceParent: c.TraceParent})
}

// orchestration publishes a command of the orchestration that its key names, under a
// new ID unless it has one.
func (p *Publisher) orchestration(ctx context.Context, c Command) (Accepted, error) {
	if err := CheckID("id", c.Key); err != nil {
		return Accepted{}, err
	}
	c.Aggregate = schemas.AggregateOrchestration
	if c.ID == "" {
		c.ID = NewID()
	}
	pos, err := p.Publish(ctx, c)
	if err != nil {
		return Accepted{}, err
	}
	return Accepted{ID: c.Key, CommandID: c.ID, Position: pos}, nil
}

// StartID derives the ID of a start from its job and its body, in which neither the
// order of keys nor white space matters. Only starts are recognised by what they say:
// whoever cancels, or puts a definition, twice may well mean it twice.
func StartID(job string, body []byte) string {
	return machine.ID("command", schemas.OrchestrationStart, job, schemas.Fingerprint(body))
}
