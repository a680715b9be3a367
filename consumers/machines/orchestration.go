package machines

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/runner"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/schemas"
)

// Starts knows the orchestration types that can be started. It is safe for concurrent use.
type Starts interface {
	// Plan is the plan in force of a type, with the input a start of it runs on: the
	// definition's defaults under the given one, checked against the schema. The error is
	// a *machine.Refusal, or says that the definitions cannot be read.
	Plan(ctx context.Context, typ string, input json.RawMessage) (*orchestration.Plan, json.RawMessage, error)
	// Activity finds an activity type in force.
	Activity(activityType string) (definition.ActivityType, bool)
}

// Orchestration is the machine of orchestrations. What ended ones have left among the blobs is kept
// for keepBlobs; 0: orchestration.DefaultKeepBlobs.
func Orchestration(starts Starts, keepBlobs time.Duration) runner.Binding {
	if keepBlobs == 0 {
		keepBlobs = orchestration.DefaultKeepBlobs
	}
	return runner.Machine[orchestration.State, orchestration.Command, orchestration.Event]{
		Name: schemas.AggregateOrchestration,
		New:  orchestration.Keeping(keepBlobs),
		DecodeCommand: func(wireType string, data []byte) (orchestration.Command, error) {
			c, err := schemas.DecodeOrchestrationCommand(wireType, data)
			return withContracts(starts, c), err
		},
		Admit: func(ctx context.Context, _ string, c orchestration.Command) (orchestration.Command, error) {
			start, ok := c.(orchestration.Start)
			if !ok {
				return c, nil
			}
			var err error
			start.Plan, start.Input, err = starts.Plan(ctx, start.Type, start.Input)
			return start, err
		},
		Trace: func(c orchestration.Command, traceParent string) orchestration.Command {
			if start, ok := c.(orchestration.Start); ok && len(traceParent) <= maxTraceParent {
				start.TraceParent = traceParent
				return start
			}
			return c
		},
		IsReport:    isReport,
		Hash:        schemas.Fingerprint,
		EncodeEvent: schemas.EncodeOrchestrationEvent,
		NewDecoder: func() func(string, []byte) (orchestration.Event, error) {
			return schemas.NewDecoder().DecodeOrchestrationEvent
		},
		Wake: func() orchestration.Command { return orchestration.Wake{} },
		TakeOver: func(placement, agent string, since time.Time) orchestration.Command {
			return orchestration.TakeOver{Placement: placement, Agent: agent, Since: since}
		},
		Place:     place,
		Placement: placement,
		Report: func(w machine.Work, r runner.Result) orchestration.Command {
			return withContracts(starts, report(w, r))
		},
	}
}

// withContracts fills in the schemas of the types that a report wants spawned.
func withContracts(starts Starts, c orchestration.Command) orchestration.Command {
	done, ok := c.(orchestration.Complete)
	if !ok || len(done.Spawn) == 0 {
		return c
	}
	last := ""
	for i := range done.Spawn {
		typ := done.Spawn[i].Type
		if typ == last {
			continue // one after the other is the same, mostly
		}
		last = typ
		t, _ := starts.Activity(typ)
		if contract := t.Contract(); !contract.Empty() {
			if done.Contracts == nil {
				done.Contracts = make(map[string]definition.Contract)
			}
			done.Contracts[typ] = contract
		}
	}
	return done
}

// maxTraceParent is what a W3C trace context of version 00 has twice over: it is kept for as
// long as the orchestration, and anybody may send one.
const maxTraceParent = 110

// isReport: what agents say is recognised by work ID and attempt; a heartbeat is never answered.
func isReport(c orchestration.Command) (isReport, silent bool) {
	switch c.(type) {
	case orchestration.Complete, orchestration.Wait, orchestration.Schedule, orchestration.Retry, orchestration.Fail:
		return true, false
	case orchestration.Heartbeat, orchestration.Release:
		return true, true
	case orchestration.Start, orchestration.Cancel, orchestration.Pause, orchestration.Resume,
		orchestration.RetryActivity, orchestration.SkipActivity, orchestration.CompleteActivity, orchestration.FailActivity,
		orchestration.PauseActivity, orchestration.ResumeActivity, orchestration.Wake, orchestration.TakeOver:
	}
	return false, false
}

func place(e orchestration.Event, placement string) orchestration.Event {
	if r, ok := e.(orchestration.Requested); ok {
		r.Placement = placement
		return r
	}
	if o, ok := e.(orchestration.Offered); ok {
		o.Placement = placement
		return o
	}
	return e
}

func placement(e orchestration.Event) string {
	if r, ok := e.(orchestration.Requested); ok {
		return r.Placement
	}
	if o, ok := e.(orchestration.Offered); ok {
		return o.Placement
	}
	return ""
}

func report(w machine.Work, r runner.Result) orchestration.Command {
	rep := orchestration.Report{WorkID: w.ID, Attempt: w.Attempt}
	switch r := r.(type) {
	case agent.Result:
		return r.Command(rep)
	case *runner.TooLargeError:
		return orchestration.Fail{Report: rep, Error: orchestration.Fault{Step: stepInput, Message: r.Error()}}
	}
	return orchestration.Fail{Report: rep, Error: orchestration.Fault{Message: fmt.Sprintf("a local agent answered with a %T", r)}}
}
