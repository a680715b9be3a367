package intake

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/waybill/waybill/producers"
	"github.com/waybill/waybill/schemas"
)

// operateJob says one of the verbs of a job.
func (in *Intake) operateJob(v producers.Verb) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		id := r.PathValue("id")
		if producers.CheckID("id", id) != nil {
			return fail(http.StatusNotFound, "there is no job %q", id)
		}
		_, value, err := in.readObject(w, r, true)
		if err != nil {
			return err
		}
		return in.operate(w, r, v, id, "", value)
	}
}

// operateNode says one of the verbs of a node.
func (in *Intake) operateNode(v producers.Verb) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		id, node := r.PathValue("id"), r.PathValue("nodeId")
		if producers.CheckID("id", id) != nil {
			return fail(http.StatusNotFound, "there is no job %q", id)
		}
		body, _, err := in.readPayload(w, r, true)
		if err != nil {
			return err
		}
		if err := in.packOutput(r.Context(), id, body); err != nil {
			return err
		}
		value, err := aboutNode(body, node)
		if err != nil {
			return err
		}
		return in.operate(w, r, v, id, node, value)
	}
}

// packOutput moves what is large in the output that an operator gives out of the body.
func (in *Intake) packOutput(ctx context.Context, id string, body object) error {
	output, ok := body["output"]
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, in.cfg.PublishTimeout)
	defer cancel()
	packed, err := in.cfg.Publisher.Pack(ctx, id, "output", output)
	body["output"] = packed
	return err
}

// aboutNode is a body with the node it is about, as the command has it.
func aboutNode(body object, node string) ([]byte, error) {
	if _, ok := body["activityId"]; ok {
		return nil, misfit("activityId", "stands in the address")
	}
	id, err := json.Marshal(node)
	if err != nil {
		return nil, err
	}
	about := object{"activityId": id}
	for k, v := range body {
		about[k] = v
	}
	return about.encode()
}

func (in *Intake) operate(w http.ResponseWriter, r *http.Request, v producers.Verb, id, node string, value []byte) error {
	if _, err := schemas.DecodeOrchestrationCommand(v.Type, value); err != nil {
		return err
	}
	key, err := idempotencyKey(r)
	if err != nil {
		return err
	}
	return in.command(w, r, order(r, v, id, node, key, value), http.StatusOK)
}

// order is the command by which a verb is said of a job, or of a node.
func order(r *http.Request, v producers.Verb, id, node, key string, value []byte) producers.Command {
	commandID := producers.NewID()
	if key != "" {
		commandID = producers.KeyedID(v.Type, id, node, key)
	}
	return producers.Command{
		Aggregate: schemas.AggregateOrchestration, ID: commandID, Type: v.Type,
		Key: id, Value: value, TraceParent: r.Header.Get("traceparent"),
	}
}
