package producers

import (
	"context"
	"encoding/json"
	"maps"

	"github.com/waybill/waybill/schemas"
)

// Operation is a verb, said of a job, or of a node of it.
type Operation struct {
	Verb        Verb
	JobID       string
	NodeID      string                     // for the verbs of nodes
	Reason, By  string                     // for those who look at it later
	Members     map[string]json.RawMessage // what else the verb takes
	CommandID   string                     // empty means a new one
	TraceParent string
}

// Operate publishes what an operator says; an output that is large is written to the blobs topic.
// Its error is a *machine.Refusal where the verb does not take what it is given. Saying it again
// is harmless.
func (p *Publisher) Operate(ctx context.Context, o Operation) (Accepted, error) {
	if err := CheckID("id", o.JobID); err != nil {
		return Accepted{}, err
	}
	if output, ok := o.Members["output"]; ok {
		// The rest is checked first: a large value must not be written for what cannot be said.
		o.Members = maps.Clone(o.Members)
		o.Members["output"] = json.RawMessage("{}")
		if _, err := o.value(); err != nil {
			return Accepted{}, err
		}
		packed, err := p.Pack(ctx, o.JobID, "output", output)
		if err != nil {
			return Accepted{}, err
		}
		o.Members["output"] = packed
	}
	value, err := o.value()
	if err != nil {
		return Accepted{}, err
	}
	return p.orchestration(ctx, Command{ID: o.CommandID, Type: o.Verb.Type, Key: o.JobID, Value: value, TraceParent: o.TraceParent})
}

func (o *Operation) value() ([]byte, error) {
	value, err := o.members()
	if err != nil {
		return nil, err
	}
	_, err = schemas.DecodeOrchestrationCommand(o.Verb.Type, value)
	return value, err
}

// members is the body of the command.
func (o *Operation) members() ([]byte, error) {
	body := make(map[string]any, len(o.Members)+3)
	for name, v := range o.Members {
		body[name] = v
	}
	for name, v := range map[string]string{"activityId": o.NodeID, "reason": o.Reason, "by": o.By} {
		if v != "" {
			body[name] = v
		}
	}
	value, err := schemas.Encode(body)
	if err != nil {
		return nil, &InvalidError{Path: "members", Message: err.Error()}
	}
	return value, nil
}
