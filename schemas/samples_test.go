package schemas_test

import (
	"encoding/json"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/task"
	"github.com/waybill/waybill/domain/transfer"
	"github.com/waybill/waybill/schemas"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 123456789, time.UTC)

func raw(s string) json.RawMessage { return json.RawMessage(s) }

func limit(n int) *int { return &n }

func sampleFailure(id string) orchestration.Failure {
	return orchestration.Failure{ActivityID: id, Name: "fetch " + id, Step: "fetch", Message: "503 from \"provider2\"", Attempts: 3, At: noon}
}

func sampleActivity(id string) definition.Activity {
	return definition.Activity{
		ID: id, Name: "test-document-2 at http://provider2:8181", Type: "retrieve", Discriminator: "deploy",
		DependsOn: definition.Names{"n1", "n2"}, Inputs: []definition.Mapping{{Source: "n1.url", Target: "url"}},
		With: raw(`{"file":"test-document-2"}`), Context: definition.Context{"n1"}, OnError: definition.OnErrorContinue,
		Retry:          &definition.Retry{Limit: limit(3), BaseDelay: definition.Duration(time.Second), MaxDelay: definition.Duration(time.Minute)},
		AttemptTimeout: definition.Duration(90 * time.Second), Deadline: definition.Duration(time.Hour), HeartbeatTimeout: definition.Duration(1500 * time.Millisecond),
	}
}

func samplePlan() *orchestration.Plan {
	active := true
	first, second := sampleActivity("first"), sampleActivity("second")
	first.DependsOn, second.DependsOn = nil, definition.Names{"first"}
	p, err := orchestration.NewPlan(definition.Orchestration{
		Type: "parts-tree", Description: "Collects a tree.", Active: &active, Schema: raw(`{"type":"object"}`),
		Input: raw(`{"depth":3}`), Output: []definition.Mapping{{Source: "second.path", Target: "path"}},
		Activities: []definition.Activity{first, second},
		Contracts:  map[string]definition.Contract{"retrieve": {Input: raw(`{"type":"object"}`), Output: raw(`{"type":"object"}`)}},
		Compensate: true, DisposedBy: "parts-tree-gone",
		Limits: definition.Limits{Nodes: 1000, Depth: 10, OutputBytes: 4096}, Version: 7,
	})
	if err != nil {
		panic(err) // the sample is wrong
	}
	return p
}

var refusal = machine.Refusal{
	Code: machine.Schema, Reason: "the value does not fit",
	Errors: []machine.Problem{{Path: "$.input.file", Message: "is missing"}},
}

// events has one event of each type, with every field set.
func events() map[string]orchestration.Event {
	failure := sampleFailure("n2")
	return map[string]orchestration.Event{
		schemas.OrchestrationStarted: orchestration.Started{
			Type: "parts-tree", Run: 2, Plan: samplePlan(), Input: raw(`{"file":"root","connectorUrl":"http://provider1:8181"}`), Partial: true,
			Deadline: noon, Labels: map[string]string{"team": "Größe <&> 漢字"}, Callback: "https://example.com/told?a=1&b=2",
			Name: "orders", Set: "team-a", Resource: "orders-2025", Fingerprint: "0123456789abcdef",
			TraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Disposes: &orchestration.Disposes{ID: "job-0", Run: 3},
		},
		schemas.ActivityRequested: orchestration.Requested{ActivityID: "n2", Attempt: 2, WorkID: "w-1", Placement: "member-1", Deadline: noon, Fault: &orchestration.Fault{Step: "input", Message: "input.file: is missing", Code: "refused"}, Reason: "it is back", By: "ada"},
		schemas.ActivityOffered:   orchestration.Offered{ActivityID: "n2", Attempt: 2, WorkID: "w-1", Placement: "member-1", Offer: 3},
		schemas.ActivityClaimed:   orchestration.Claimed{ActivityID: "n2", Attempt: 2, Agent: "agent-1", Lease: noon},
		schemas.ActivityExtended:  orchestration.Extended{ActivityID: "n2", Attempt: 2, Lease: noon},
		schemas.ActivityWaited:    orchestration.Waited{ActivityID: "n2", Attempt: 2, Until: noon, State: raw(`{"ticket":17}`)},
		schemas.ActivityScheduled: orchestration.Scheduled{ActivityID: "n2", Attempt: 2, At: noon, State: raw(`{"ticket":17}`)},
		schemas.ActivityRetrying:  orchestration.Retrying{ActivityID: "n2", Attempt: 2, Error: failure, At: noon, State: raw(`{"ticket":17}`)},
		schemas.ActivityCompleted: orchestration.Completed{
			ActivityID: "n2", Attempt: 2, Output: raw(`{"text":"The quick\nbrown fox","n":1.5}`), Key: "test-document-2",
			Spawned: []definition.Activity{{ID: "n-1", Type: "retrieve", With: raw(`{"file":"x"}`)}, sampleActivity("n-2")},
			Shared:  []string{"n-3"}, Cycles: []string{"n1"}, Contracts: map[string]definition.Contract{"retrieve": {Input: raw(`{"type":"object"}`)}}, Children: []string{"n-3", "n-1", "n-2"},
			Reason: "by hand", By: "ada",
		},
		schemas.ActivityFailed:       orchestration.Failed{ActivityID: "n2", Attempt: 2, Error: failure, Continued: true, Reason: "by hand", By: "ada"},
		schemas.ActivitySkipped:      orchestration.Skipped{ActivityID: "n2", Output: raw(`{"text":"The quick"}`), Reason: "nobody needs it", By: "ada"},
		schemas.ActivityPaused:       orchestration.ActivityPaused{ActivityID: "n2", Reason: "maintenance", By: "ada"},
		schemas.ActivityResumed:      orchestration.ActivityResumed{ActivityID: "n2", Reason: "done", By: "ada"},
		schemas.OrchestrationPaused:  orchestration.Paused{Reason: "maintenance", By: "ada"},
		schemas.OrchestrationResumed: orchestration.Resumed{State: orchestration.PhaseTransfersFinished, Reason: "done", By: "ada"},
		schemas.TransfersFinished:    orchestration.TransfersFinished{},
		schemas.OrchestrationEnded: orchestration.Ended{
			State: orchestration.PhaseError, Output: raw(`[1,2]`), Error: &failure, Failures: []orchestration.Failure{failure, sampleFailure("n3")},
			Reason: "nobody needs it", By: "ada", Compensation: &sampleCompensation,
		},
		schemas.OrchestrationCompensating: orchestration.Compensating{
			State: orchestration.PhaseCompensating, Undo: []definition.Activity{{ID: "n2~dispose", Name: "n2", Type: "retrieve", Discriminator: "dispose", DependsOn: definition.Names{"n3~dispose"}}, sampleActivity("n3~dispose")},
			Deadline: noon, Error: &failure, Reason: "nobody needs it", By: "ada",
		},
		schemas.OrchestrationRerunStarted: orchestration.RerunStarted{
			Run: 2, Reset: []string{"n2", "n3"}, Deadline: noon, From: []string{"n2"}, Reason: "the disk is mended", By: "ada",
		},
		schemas.OrchestrationDisposed: orchestration.Disposed{
			ID: "job-2", Run: 2, Start: raw(`{"type":"parts-tree","disposes":{"id":"job-1","run":2}}`), Reason: "nobody needs it", By: "ada",
		},
		schemas.BlobsRemoved: orchestration.BlobsRemoved{Blobs: 2, Bytes: 10485760},
	}
}

var sampleCompensation = orchestration.Compensation{State: orchestration.CompensationFailed, Total: 4, Completed: 2, Failed: 1, Skipped: 1}

// commands has one command of each type, with every field set that is on the wire.
func commands() map[string]orchestration.Command {
	report := orchestration.Report{WorkID: "w-1", Attempt: 2}
	fault := orchestration.Fault{Step: "fetch", Message: "503", Code: "edr-dead"}
	after := definition.Duration(2 * time.Second)
	order := orchestration.Order{ActivityID: "n2", Reason: "nobody needs it", By: "ada"}
	return map[string]orchestration.Command{
		schemas.OrchestrationStart: orchestration.Start{
			Type: "parts-tree", Input: raw(`{"file":"root"}`), Partial: true, Deadline: definition.Duration(time.Hour),
			Labels: map[string]string{"team": "a"}, Callback: "https://example.com/told",
			Definition: raw(`{"type":"parts-tree","activities":[{"id":"a","type":"noop"}]}`), Disposes: &orchestration.Disposes{ID: "job-0", Run: 3},
			Name: "orders", Set: "team-a", Resource: "orders-2025",
		},
		schemas.OrchestrationCancel:  orchestration.Cancel{Reason: "nobody needs it", By: "ada"},
		schemas.OrchestrationPause:   orchestration.Pause{Reason: "maintenance", By: "ada"},
		schemas.OrchestrationResume:  orchestration.Resume{Reason: "done", By: "ada"},
		schemas.ActivityRetry:        orchestration.RetryActivity{Order: order},
		schemas.ActivitySkip:         orchestration.SkipActivity{Order: order, Output: raw(`{"text":"The quick"}`)},
		schemas.ActivityComplete:     orchestration.CompleteActivity{Order: order, Output: raw(`{"text":"The quick"}`)},
		schemas.ActivityFail:         orchestration.FailActivity{Order: order, Error: fault},
		schemas.ActivityPause:        orchestration.PauseActivity{Order: order},
		schemas.ActivityResume:       orchestration.ResumeActivity{Order: order},
		schemas.OrchestrationRerun:   orchestration.Rerun{Reason: "the disk is mended", By: "ada", From: definition.Names{"n2"}},
		schemas.OrchestrationDispose: orchestration.Dispose{Reason: "nobody needs it", By: "ada"},
		schemas.WorkComplete: orchestration.Complete{
			Report: report, Output: raw(`{"text":"The quick"}`), Key: "test-document-2", Spawn: []definition.Activity{sampleActivity("n-2")},
		},
		schemas.WorkWait:      orchestration.Wait{Report: report, After: after, State: raw(`{"ticket":17}`)},
		schemas.WorkSchedule:  orchestration.Schedule{Report: report, After: after, State: raw(`{"ticket":17}`)},
		schemas.WorkRetry:     orchestration.Retry{Report: report, Error: fault, After: after, State: raw(`{"ticket":17}`)},
		schemas.WorkFail:      orchestration.Fail{Report: report, Error: fault},
		schemas.WorkHeartbeat: orchestration.Heartbeat{Report: report, Agent: "agent-1"},
		schemas.WorkRelease:   orchestration.Release{Report: report, Agent: "agent-1"},
	}
}

// records has one value of each type that is neither an event nor a command of an orchestration.
func records() map[string]any {
	failure := sampleFailure("n2")
	completion := func(state orchestration.Phase) schemas.Completion {
		return schemas.Completion{
			ID: "job-1", Type: "parts-tree", Run: 2, State: state, Output: raw(`{"path":"out/x"}`), Error: &failure,
			Failures: []orchestration.Failure{failure}, Reason: "nobody needs it", StartedAt: noon, EndedAt: noon.Add(time.Second), Labels: map[string]string{"team": "a"},
			Compensation: &sampleCompensation, Disposes: &orchestration.Disposes{ID: "job-0", Run: 3},
		}
	}
	refused := schemas.Refused{
		CommandID: "c-1", CommandType: schemas.OrchestrationStart, AggregateID: "job-1", Hash: "0123456789abcdef", Run: 2, Refusal: refusal,
	}
	put := raw(`{"type":"parts-tree","activities":[{"id":"a","type":"noop"}],"version":7}`)
	return map[string]any{
		schemas.DefinitionPut:          definition.Put{Kind: definition.KindOrchestration, Definition: put, Set: "team-a", TakeOver: true},
		schemas.DefinitionDelete:       definition.Delete{},
		schemas.DefinitionChanged:      definition.Changed{Kind: definition.KindOrchestration, Type: "parts-tree", Version: 7, Definition: put, Set: "team-a"},
		schemas.DefinitionDeleted:      definition.Deleted{},
		schemas.OrchestrationCompleted: completion(orchestration.PhaseCompleted),
		schemas.OrchestrationFailed:    completion(orchestration.PhaseError),
		schemas.OrchestrationCancelled: completion(orchestration.PhaseCancelled),
		schemas.TransferCompleted:      transferCompletion(transfer.PhaseCompleted, transfer.OutcomeCompleted),
		schemas.TransferTerminated:     transferCompletion(transfer.PhaseTerminated, transfer.OutcomeTerminated),
		schemas.TransferDeprovisioned:  transferCompletion(transfer.PhaseDeprovisioned, transfer.OutcomeTerminated),
		schemas.NegotiationFinalized:   roundCompletion(negotiation.PhaseFinalized),
		schemas.NegotiationTerminated:  roundCompletion(negotiation.PhaseTerminated),
		schemas.NegotiationGranted:     sampleWishCompletion,
		schemas.NegotiationRefused:     sampleWishCompletion,
		schemas.CommandRejected:        refused,
		schemas.WorkRequested: machine.Work{
			ID: "w-1", Attempt: 2, Offer: 3, Aggregate: "orchestration", AggregateID: "job-1", Run: 2, ActivityID: "n2", Type: "retrieve", Owner: "job-0",
			Discriminator: "deploy", Resource: "orders", Input: raw(`{"file":"x"}`), Outputs: raw(`{"n1":{"url":"x"}}`), State: raw(`{"ticket":17}`), RequestedAt: noon, Deadline: noon.Add(time.Hour),
			OfferedUntil: noon.Add(30 * time.Second), HeartbeatTimeout: 10000, TraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		},
		schemas.WorkCancelled: machine.CancelWork{ID: "w-1", Attempt: 2, Type: "retrieve", Reason: "the deadline has passed"},
		schemas.ShardPosition: schemas.Position{
			Txn: 12, Followed: 11, Next: 345, At: noon, Refused: []schemas.Refused{refused},
			Settled: []schemas.Settled{{CommandID: "c-2", AggregateID: "job-1", Hash: "0123456789abcdef"}},
		},
		schemas.ShardCheckpoint: schemas.Checkpoint{
			Number: 7, Base: 5, Previous: 6, Parts: 2, Bytes: 524300, Checksum: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
			From: schemas.Mark{Offset: 1200, Txn: 80, At: noon}, To: schemas.Mark{Offset: 1300, Txn: 84, At: noon.Add(time.Second)}, Followed: 84, Last: noon.Add(time.Second),
			Aggregates: 10, Ended: 300, Remembered: 310, Format: 1,
		},
		schemas.ShardOwned: schemas.Owned{Member: "member-1", Token: "t-1", At: noon, Format: 1},
	}
}

// sharedTypes has the Go type of each of the shared schemas that describes a struct.
func sharedTypes() map[string]any {
	return map[string]any{
		"mapping":                 definition.Mapping{},
		"retry":                   definition.Retry{},
		"fault":                   orchestration.Fault{},
		"failure":                 orchestration.Failure{},
		"compensation":            orchestration.Compensation{},
		"disposes":                orchestration.Disposes{},
		"problem":                 machine.Problem{},
		"activity":                definition.Activity{},
		"orchestrationDefinition": definition.Orchestration{},
		"activityDefinition":      definition.ActivityType{},
		"openAPISchema":           definition.Schema{},
		"asker":                   transfer.Asker{},
		"manifest":                transfer.Manifest{},
		"edr":                     transfer.EDR{},
		"transferMove":            transfer.Move{},
		"taskPolicy":              task.Policy{},
		"negotiationReply":        negotiation.Reply{},
		"wish":                    negotiation.Wish{},
		"offer":                   negotiation.Offer{},
		"unoffered":               negotiation.Unoffered{},
		"edrState":                negotiation.EDRState{},
		"offerState":              negotiation.OfferState{},
		"negotiationMove":         negotiation.Move{},
		"catalogQuery":            negotiation.Query{},
	}
}
