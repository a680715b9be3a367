package schemas_test

import (
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/task"
	"github.com/waybill/waybill/domain/transfer"
	"github.com/waybill/waybill/schemas"
)

const sealed = `{"$sealed":"k1.bm90IHJlYWxseSBzZWFsZWQ"}`

var (
	sampleFault = orchestration.Fault{Step: "fetch", Message: "503 from \"provider2\"", Code: "edr-dead"}
	sampleMoves = []transfer.Move{
		{State: transfer.PhaseRequesting, Code: 400},
		{State: transfer.PhaseRequested, Code: 500, Inferred: true},
	}
	sampleEDR      = transfer.EDR{ProcessID: "p-1", Data: raw(sealed), ExpiresAt: noon.Add(time.Hour)}
	sampleAsker    = transfer.Asker{Aggregate: "orchestration", ID: "job-1", ActivityID: "n2", WorkID: "w-1", Attempt: 2}
	sampleManifest = transfer.Manifest{Definitions: []transfer.Definition{{ID: "d1", Type: "directory", Raw: raw(`{"id":"d1","type":"directory","keep":true}`)}}}
	sampleRetry    = definition.Retry{Limit: limit(3), BaseDelay: definition.Duration(time.Second), MaxDelay: definition.Duration(time.Minute)}
	samplePolicy   = task.Policy{Retries: 3, BaseDelay: definition.Duration(time.Second), MaxDelay: definition.Duration(time.Minute), AttemptTimeout: definition.Duration(90 * time.Second)}
)

// taskEvents has one event of each type about a piece of work, with every field set.
func taskEvents() map[string]task.Event {
	return map[string]task.Event{
		schemas.TaskRequested: task.Requested{Spec: task.Spec{
			WorkID: "w-1", Name: "fetch", Type: "fetch", Input: raw(`{"adapter":"edc","edr":` + sealed + `}`), Deadline: noon, Policy: samplePolicy, Owner: "job-1",
		}, Placement: "member-1"},
		schemas.TaskAttempted: task.Attempted{WorkID: "w-1", Attempt: 2, Placement: "member-1"},
		schemas.TaskOffered:   task.Offered{WorkID: "w-1", Attempt: 2, Offer: 3, Placement: "member-1"},
		schemas.TaskClaimed:   task.Claimed{WorkID: "w-1", Attempt: 2, Agent: "agent-1", Lease: noon},
		schemas.TaskExtended:  task.Extended{WorkID: "w-1", Attempt: 2, Lease: noon},
		schemas.TaskWaited:    task.Waited{WorkID: "w-1", Attempt: 2, Until: noon, State: raw(`{"state":"REQUESTED"}`)},
		schemas.TaskScheduled: task.Scheduled{WorkID: "w-1", Attempt: 2, At: noon, State: raw(`{"state":"REQUESTED"}`)},
		schemas.TaskRetrying:  task.Retrying{WorkID: "w-1", Attempt: 2, Error: sampleFault, At: noon, State: raw(`{"state":"REQUESTED"}`)},
		schemas.TaskNudged:    task.Nudged{WorkID: "w-1"},
		schemas.TaskEnded:     task.Ended{WorkID: "w-1", Attempt: 2, How: task.GivenUp, Error: &sampleFault},
	}
}

// transferEvents has one event of each type of a transfer, with every field set.
func transferEvents() map[string]transfer.Event {
	all := map[string]transfer.Event{
		schemas.TransferInitiated: transfer.Initiated{
			Provider: "http://provider1:8282/api/dsp", Connector: "consumer", Adapter: "edc", AssetID: "asset-1", CounterPartyID: "provider1",
			Way: transfer.Push, TransferType: "HttpData-PUSH", Destination: raw(`{"type":"HttpData","authCode":` + sealed + `}`), Manifest: &sampleManifest,
			Properties: raw(`{"globalAssetId":"urn:x"}`), Deadline: noon, Asker: &sampleAsker, As: "parts-tree", Retry: &sampleRetry,
			Fingerprint: "0123456789abcdef", TraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		},
		schemas.TransferMoved:               transfer.Moved{Moves: sampleMoves, Reason: "nobody needs it", By: "ada", Error: &sampleFault, Again: true, After: definition.Duration(time.Minute), Until: noon},
		schemas.TransferResourceProvisioned: transfer.ResourceProvisioned{DefinitionID: "d1", Resource: raw(`{"resourceName":"x"}`), Secret: raw(sealed)},
		schemas.TransferResourceUploaded:    transfer.ResourceUploaded{DefinitionID: "d1", Digest: "00ff", Bytes: 43, Content: raw(`{"value":"The quick"}`)},
		schemas.TransferResourceFreed:       transfer.ResourceDeprovisioned{DefinitionID: "d1", Error: &sampleFault},
		schemas.TransferAcquiring:           transfer.Acquiring{Moves: sampleMoves, Negotiation: "consumer http://provider1:8282/api/dsp", Need: "edr", Acquisition: 2, Until: noon},
		schemas.TransferAccessGranted: transfer.AccessGranted{
			Moves: sampleMoves, NegotiationID: "n-1", Round: 3, AgreementID: "a-1", CounterPartyID: "provider1", Constraints: "region eq eu", EDR: &sampleEDR,
		},
		schemas.TransferAccessLost: transfer.AccessLost{ProcessID: "p-1", AgreementID: "a-1", Error: sampleFault},
		schemas.TransferRequested:  transfer.Requested{Moves: sampleMoves, ProcessID: "p-1", Until: noon},
		schemas.TransferEnded: transfer.Ended{
			Moves: sampleMoves, Outcome: transfer.OutcomeTerminated, Output: raw(`{"value":"The quick"}`),
			Spawn: []definition.Activity{{ID: "n-1", Type: "retrieve", With: raw(`{"file":"x"}`)}, sampleActivity("n-2")}, Key: "test-document-2",
			Reason: "fetch: 503", By: "ada", Error: &sampleFault, Again: true, After: definition.Duration(time.Minute), Refused: true,
		},
	}
	for wireType, e := range taskEvents() {
		all[wireType] = transfer.Worked{Event: e}
	}
	return all
}

// transferCommands has one command of each type of a transfer, with every field set that is on the wire.
func transferCommands() map[string]transfer.Command {
	return map[string]transfer.Command{
		schemas.TransferInitiate: transfer.Initiate{
			Provider: "http://provider1:8282/api/dsp", AssetID: "asset-1", CounterPartyID: "provider1", TransferType: "HttpData-PUSH",
			Destination: raw(`{"type":"HttpData","authCode":` + sealed + `}`), Manifest: &sampleManifest, Properties: raw(`{"globalAssetId":"urn:x"}`),
			Deadline: definition.Duration(time.Hour), Asker: &sampleAsker, As: "parts-tree", Retry: &sampleRetry,
		},
		schemas.TransferSuspend:     transfer.Suspend{Reason: "maintenance", By: "ada"},
		schemas.TransferResume:      transfer.Resume{Reason: "done", By: "ada"},
		schemas.TransferTerminate:   transfer.Terminate{Reason: "nobody needs it", By: "ada"},
		schemas.TransferDeprovision: transfer.Deprovision{Reason: "the disk is mended", By: "ada"},
		schemas.TransferGranted: transfer.Granted{
			Negotiation: "consumer http://provider1:8282/api/dsp", Round: 3, NegotiationID: "n-1", AssetID: "asset-1", AgreementID: "a-1",
			CounterPartyID: "provider1", Constraints: "region eq eu", Formats: []string{"HttpData-PULL"}, EDR: &sampleEDR,
		},
		schemas.TransferRefused: transfer.Refused{
			Negotiation: "consumer http://provider1:8282/api/dsp", NegotiationID: "n-1", Error: sampleFault, Again: true, Rounds: 3, Constraints: "region eq eu",
		},
		schemas.TransferObserved: transfer.Observed{ProcessID: "p-1", State: "TERMINATED", Detail: "no", Token: "p-0", AgreementDead: true},
		schemas.TransferProvisioned: transfer.Provisioned{
			ResourceDefinitionID: "d1", AssetID: "asset-1", ResourceName: "x", ContentDataAddress: raw(`{"type":"HttpData","baseUrl":"http://x"}`), Secret: raw(sealed), HasToken: true,
		},
		schemas.TransferUploaded:              transfer.Uploaded{ResourceDefinitionID: "d1", Digest: "00ff", Bytes: 43, Content: raw(`{"value":"The quick"}`)},
		schemas.TransferResourceDeprovisioned: transfer.Deprovisioned{ProvisionedResourceID: "d1", InProcess: true, Error: true, ErrorMessage: "the disk is full"},
	}
}

// withoutTransferFingerprint leaves the fingerprint out, which is not on the wire.
func withoutTransferFingerprint(c transfer.Command) transfer.Command {
	if i, ok := c.(transfer.Initiate); ok {
		i.Fingerprint = ""
		return i
	}
	return c
}

// transferCompletion is the end of a transfer, with every field set.
func transferCompletion(state transfer.Phase, outcome transfer.Outcome) schemas.TransferCompletion {
	return schemas.TransferCompletion{
		ID: "t-1", Provider: "http://provider1:8282/api/dsp", Connector: "consumer", AssetID: "asset-1", State: state, Code: int(state), Outcome: outcome,
		Reason: "fetch: 503", ProcessID: "p-1", AgreementID: "a-1", Output: raw(`{"value":"The quick"}`), Properties: raw(`{"globalAssetId":"urn:x"}`),
		Error: &sampleFault, StartedAt: noon, EndedAt: noon.Add(time.Second),
	}
}
