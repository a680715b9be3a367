package machines

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/connectors"
	"github.com/waybill/waybill/consumers/runner"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/process"
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

// Orchestration is the machine of orchestrations. routes find who carries out the activities that need
// access to a provider. What ended ones have left among the blobs is kept
// for keepBlobs; 0: orchestration.DefaultKeepBlobs.
func Orchestration(starts Starts, routes Routes, keepBlobs time.Duration) runner.Binding {
	if keepBlobs == 0 {
		keepBlobs = orchestration.DefaultKeepBlobs
	}
	fresh, plans := orchestration.KeepBlobs(orchestration.New, keepBlobs), schemas.NewPlans()
	return runner.Machine[orchestration.State, orchestration.Command, orchestration.Event]{
		Name: schemas.AggregateOrchestration,
		New:  fresh,
		DecodeCommand: func(wireType string, data []byte) (orchestration.Command, error) {
			c, err := schemas.DecodeOrchestrationCommand(wireType, data)
			return withContracts(starts, c), err
		},
		Admit: func(ctx context.Context, _ string, c orchestration.Command) (orchestration.Command, error) {
			return admit(ctx, starts, c)
		},
		Trace: func(c orchestration.Command, traceParent string) orchestration.Command {
			if start, ok := c.(orchestration.Start); ok && len(traceParent) <= maxTraceParent {
				start.TraceParent = traceParent
				return start
			}
			return c
		},
		IsReport:    isReport,
		Begins:      func(c orchestration.Command) bool { _, ok := c.(orchestration.Start); return ok },
		Hash:        schemas.Fingerprint,
		EncodeEvent: schemas.EncodeOrchestrationEvent,
		NewDecoder: func() func(string, []byte) (orchestration.Event, error) {
			return schemas.NewDecoder().DecodeOrchestrationEvent
		},
		Snapshot: &runner.Snapshot[orchestration.State]{
			Version: orchestration.SnapshotVersion, Encode: orchestration.State.EncodeSnapshot,
			Decode: func(version int, id string, data []byte) (orchestration.State, error) {
				return fresh(id).DecodeSnapshot(version, data, plans.Compile)
			},
		},
		Wake: func() orchestration.Command { return orchestration.Wake{} },
		TakeOver: func(placement, agent string, since time.Time) orchestration.Command {
			return orchestration.TakeOver{Placement: placement, Agent: agent, Since: since}
		},
		History: &runner.History[orchestration.State, orchestration.Command, orchestration.Event]{
			Remember: orchestration.State.Remember,
			Needs:    orchestration.State.NeedsHistory,
			Revives:  orchestration.Revives,
			Lost:     orchestration.State.Lost,
			Forget:   orchestration.State.Forget,
		},
		Delegate:  delegate(routes),
		Place:     place,
		Placement: placement,
		Report: func(w machine.Work, r runner.Result) orchestration.Command {
			return withContracts(starts, reported(w, r))
		},
	}
}

// delegate hands the activities on that transfers and negotiations carry out; they report.
func delegate(routes Routes) func(machine.Effect) ([]machine.Send, runner.Result, bool) {
	find := func(provider string) (connector, counterPartyID string, err error) {
		r, err := routes.Find(provider)
		if r.Adapter != connectors.AdapterEDC {
			return "", r.CounterPartyID, err
		}
		return r.Connector, r.CounterPartyID, err
	}
	return func(f machine.Effect) ([]machine.Send, runner.Result, bool) {
		sends, fault, ok := process.Delegate(find, f)
		if fault != nil {
			return nil, fault, ok
		}
		return sends, agent.Wait(), ok
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

// admit looks up what a command is to run by.
func admit(ctx context.Context, starts Starts, c orchestration.Command) (orchestration.Command, error) {
	if start, ok := c.(orchestration.Start); ok {
		var err error
		if len(start.Definition) > 0 {
			start.Plan, start.Input, err = described(start)
		} else {
			start.Plan, start.Input, err = starts.Plan(ctx, start.Type, start.Input)
		}
		return start, err
	}
	dispose, ok := c.(orchestration.Dispose)
	if !ok {
		return c, nil
	}
	dispose.Check = func(typ string, input json.RawMessage) error {
		_, _, err := starts.Plan(ctx, typ, input)
		var refusal *machine.Refusal
		if err == nil || errors.As(err, &refusal) {
			return err
		}
		return machine.Refuse(machine.BadState, fmt.Sprintf("whether %s can be started cannot be told: %v", typ, err))
	}
	return dispose, nil
}

// described is the plan of a start that brings its own definition, and its input. The activity types
// may be any: what was deployed is undone whatever has become of its definitions.
func described(c orchestration.Start) (*orchestration.Plan, json.RawMessage, error) {
	def, problems := definition.ValidateOrchestration(c.Definition, nil)
	if len(problems) == 0 && def.Type != c.Type {
		problems = []machine.Problem{{Path: "type", Message: fmt.Sprintf("is %q, the start says %q", def.Type, c.Type)}}
	}
	if len(problems) > 0 {
		return nil, nil, machine.Refuse(machine.Schema, "the definition is not valid", under("definition", problems)...)
	}
	input, err := definition.MergeInput(def.Input, c.Input)
	if err != nil {
		return nil, nil, machine.Refuse(machine.Schema, "the input does not fit", machine.Problem{Path: "input", Message: err.Error()})
	}
	checker, problems := definition.NewChecker(def.Schema)
	if len(problems) == 0 {
		problems = under("input", checker.Check(input))
	}
	if len(problems) > 0 {
		return nil, nil, machine.Refuse(machine.Schema, "the input does not fit the schema of its definition", problems...)
	}
	plan, err := orchestration.NewPlan(def)
	if err != nil {
		return nil, nil, machine.Refuse(machine.Schema, err.Error())
	}
	return plan, input, nil
}

// under puts paths below a property.
func under(property string, problems []machine.Problem) []machine.Problem {
	for i, p := range problems {
		switch {
		case p.Path == "":
			problems[i].Path = property
		case p.Path[0] == '[':
			problems[i].Path = property + p.Path
		default:
			problems[i].Path = property + "." + p.Path
		}
	}
	return problems
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
	case orchestration.Start, orchestration.Cancel, orchestration.Rerun, orchestration.Dispose, orchestration.Pause, orchestration.Resume,
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
