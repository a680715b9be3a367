package producers

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/schemas"
)

// Work names one attempt at a piece of work, as its work record does.
type Work struct {
	ID          string // workId
	Attempt     int
	Aggregate   string // aggregate type that asked for it
	AggregateID string // the key of reports about it
}

// CompleteWork reports that a piece of work is done. output is JSON; nil is none.
func (p *Publisher) CompleteWork(ctx context.Context, w Work, output json.RawMessage) (Accepted, error) {
	output, err := p.Pack(ctx, w.AggregateID, "output", output)
	if err != nil {
		return Accepted{}, err
	}
	return p.report(ctx, w, "complete", orchestration.Complete{Report: w.report(), Output: output})
}

// FailWork reports that a piece of work cannot be done.
func (p *Publisher) FailWork(ctx context.Context, w Work, fault orchestration.Fault) (Accepted, error) {
	return p.report(ctx, w, "fail", orchestration.Fail{Report: w.report(), Error: fault})
}

// HeartbeatWork claims a piece of work for an agent, then extends the claim. It is
// never answered.
func (p *Publisher) HeartbeatWork(ctx context.Context, w Work, agent string) (Accepted, error) {
	return p.report(ctx, w, "heartbeat", orchestration.Heartbeat{Report: w.report(), Agent: agent})
}

func (w Work) report() orchestration.Report {
	return orchestration.Report{WorkID: w.ID, Attempt: w.Attempt}
}

// report publishes a report. Its ID says which attempt it ends, so that a repeat is
// known; heartbeats are never repeats.
func (p *Publisher) report(ctx context.Context, w Work, kind string, body orchestration.Command) (Accepted, error) {
	id := machine.ID("report", w.ID, strconv.Itoa(w.Attempt), kind)
	if kind == "heartbeat" {
		id = NewID()
	}
	typ, value, err := schemas.EncodeOrchestrationCommand(body)
	if err != nil {
		return Accepted{}, &InvalidError{Path: "body", Message: err.Error()}
	}
	pos, err := p.Publish(ctx, Command{Aggregate: w.Aggregate, ID: id, Type: typ, Key: w.AggregateID, Value: value})
	if err != nil {
		return Accepted{}, err
	}
	return Accepted{ID: w.ID, CommandID: id, Position: pos}, nil
}
