package producers

import (
	"context"
	"encoding/json"
	"time"

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
	CommandID   string            // empty means derived from ID and the rest
	TraceParent string            // W3C trace context, optional
}

// StartOrchestration publishes a start. The same ID with the same body is the same
// command, so a repeat is harmless; with another body it is refused as a conflict.
func (p *Publisher) StartOrchestration(ctx context.Context, s Start) (Accepted, error) {
	if s.ID == "" {
		s.ID = NewID()
	}
	return p.orchestration(ctx, Command{ID: s.CommandID, Key: s.ID, TraceParent: s.TraceParent}, orchestration.Start{
		Type: s.Type, Input: s.Input, Partial: s.Partial, Deadline: definition.Duration(s.Deadline),
		Labels: s.Labels, Callback: s.Callback,
	})
}

// Cancel asks for an end of an orchestration that nobody wants any more.
type Cancel struct {
	ID          string // of the job
	Reason, By  string // for those who look at it later
	CommandID   string // empty means derived from ID and the rest
	TraceParent string
}

// CancelOrchestration publishes a cancel. Cancelling again is harmless.
func (p *Publisher) CancelOrchestration(ctx context.Context, c Cancel) (Accepted, error) {
	return p.orchestration(ctx, Command{ID: c.CommandID, Key: c.ID, TraceParent: c.TraceParent},
		orchestration.Cancel{Reason: c.Reason, By: c.By})
}

// orchestration publishes what c lacks: a command of an orchestration.
func (p *Publisher) orchestration(ctx context.Context, c Command, body orchestration.Command) (Accepted, error) {
	var err error
	c.Aggregate = schemas.AggregateOrchestration
	if c.Type, c.Value, err = schemas.EncodeOrchestrationCommand(body); err != nil {
		return Accepted{}, &InvalidError{Path: "body", Message: err.Error()}
	}
	return p.about(ctx, c)
}

// about publishes a command about the thing its key names, under an ID derived from
// what it says unless it has one.
func (p *Publisher) about(ctx context.Context, c Command) (Accepted, error) {
	if err := CheckID("id", c.Key); err != nil {
		return Accepted{}, err
	}
	if c.ID == "" {
		c.ID = CommandID(c.Type, c.Key, c.Value)
	}
	pos, err := p.Publish(ctx, c)
	if err != nil {
		return Accepted{}, err
	}
	return Accepted{ID: c.Key, CommandID: c.ID, Position: pos}, nil
}

// CommandID derives the ID of a command from its type, what it is about, and its body,
// in which neither the order of keys nor white space matters.
func CommandID(typ, key string, body []byte) string {
	return machine.ID("command", typ, key, schemas.Fingerprint(body))
}
