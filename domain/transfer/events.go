package transfer

import (
	"encoding/json"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/task"
)

// Event is a fact about one transfer.
//
//sumtype:decl
type Event interface{ event() }

// Move is a state that a transfer came into. One event may record several: what a decision walked
// through, in order.
type Move struct {
	State Phase `json:"state"`
	Code  int   `json:"code"`
	// Inferred says that nobody reported the state: it was passed over on the allowed path to the next.
	Inferred bool `json:"inferred,omitempty"`
}

// Way is the pull or the push way of moving a document.
type Way string

// The ways of a transfer.
const (
	Pull Way = "pull" // we fetch the document
	Push Way = "push" // the provider sends it
)

// Initiated begins a transfer; it is INITIAL, and what follows at once is in the events after it.
type Initiated struct {
	Provider       string            `json:"provider"`            // normalised
	Connector      string            `json:"connector,omitempty"` // ours, by its configured name
	Adapter        string            `json:"adapter,omitempty"`   // edc; http or nothing: a plain provider
	AssetID        string            `json:"assetId"`
	CounterPartyID string            `json:"counterPartyId,omitempty"`
	Way            Way               `json:"way"`
	TransferType   string            `json:"transferType"`
	Destination    json.RawMessage   `json:"destination,omitempty"`
	Manifest       *Manifest         `json:"manifest,omitempty"`
	Properties     json.RawMessage   `json:"properties,omitempty"`
	Deadline       time.Time         `json:"deadline"`
	Asker          *Asker            `json:"asker,omitempty"`
	As             string            `json:"as,omitempty"`
	Retry          *definition.Retry `json:"retry,omitempty"`
	Fingerprint    string            `json:"fingerprint"` // of the command's body: tells a repeat from a conflict
	TraceParent    string            `json:"traceparent,omitempty"`
}

// Moved records states about which nothing more is to be said than why. The last one is where the
// transfer stands.
type Moved struct {
	Moves  []Move `json:"moves"`
	Reason string `json:"reason,omitempty"` // as a whole sentence for people
	By     string `json:"by,omitempty"`     // who asked for it; connector: the provider's side did
	// Error is what went wrong, where it leads to TERMINATING or is kept at DEPROVISIONED.
	Error *orchestration.Fault `json:"error,omitempty"`
	Again bool                 `json:"again,omitempty"` // that passes: another try is worth it
	After definition.Duration  `json:"after,omitempty"` // the other side wants to be left alone for so long
	// Until is when the state ends by itself, where it has an own deadline.
	Until time.Time `json:"until,omitzero"`
}

// ResourceProvisioned says that what a definition of the manifest asked for is there.
type ResourceProvisioned struct {
	DefinitionID string          `json:"resourceDefinitionId"`
	Resource     json.RawMessage `json:"resource,omitempty"`
	Secret       json.RawMessage `json:"secret,omitempty"` // sealed
}

// ResourceUploaded says what was pushed to the resource of a definition.
type ResourceUploaded struct {
	DefinitionID string          `json:"resourceDefinitionId"`
	Digest       string          `json:"digest"` // SHA-256, in hex
	Bytes        int64           `json:"bytes"`
	Content      json.RawMessage `json:"content,omitempty"`
}

// ResourceDeprovisioned says that a provisioned resource is gone, or, with an error, left behind.
type ResourceDeprovisioned struct {
	DefinitionID string               `json:"resourceDefinitionId"`
	Error        *orchestration.Fault `json:"error,omitempty"`
}

// Acquiring asks the negotiation for access, for the Acquisition-th time.
type Acquiring struct {
	Moves       []Move    `json:"moves,omitempty"`
	Negotiation string    `json:"negotiation"` // the aggregate
	Need        string    `json:"need"`        // agreement or edr
	Acquisition int       `json:"acquisition"`
	Until       time.Time `json:"until"`
}

// AccessGranted is access to the asset. Without a negotiation (a plain provider) it is granted at once,
// and only the moves stand here.
type AccessGranted struct {
	Moves          []Move `json:"moves,omitempty"`
	NegotiationID  string `json:"negotiationId,omitempty"`
	Round          int    `json:"round,omitempty"`
	AgreementID    string `json:"agreementId,omitempty"`
	CounterPartyID string `json:"counterPartyId,omitempty"`
	Constraints    string `json:"constraints,omitempty"`
	EDR            *EDR   `json:"edr,omitempty"`
}

// AccessLost says that the EDR or the agreement that was granted is dead. The negotiation is told.
type AccessLost struct {
	ProcessID   string              `json:"processId,omitempty"`   // of the EDR
	AgreementID string              `json:"agreementId,omitempty"` // of the agreement that was refused
	Error       orchestration.Fault `json:"error"`
}

// Requested says that the connector has taken our request for a push transfer: from here on it has been
// told. Moves is empty where a later state was observed before.
type Requested struct {
	Moves     []Move    `json:"moves,omitempty"`
	ProcessID string    `json:"processId"`
	Until     time.Time `json:"until,omitzero"`
}

// Outcome is what came of a transfer; it is kept through deprovisioning.
type Outcome string

// The outcomes of a transfer.
const (
	OutcomeCompleted  Outcome = "completed"
	OutcomeTerminated Outcome = "terminated"
)

// Ended brings a transfer to COMPLETED or TERMINATED: whoever asked is answered, and the completion is
// told.
type Ended struct {
	Moves   []Move                `json:"moves"`
	Outcome Outcome               `json:"outcome"`
	Output  json.RawMessage       `json:"output,omitempty"`
	Spawn   []definition.Activity `json:"spawn,omitempty"` // handed on to the activity that asked
	Key     string                `json:"key,omitempty"`   // likewise
	// Reason says for people what it ended of: step, provider, asset, the offer's constraints, the rounds.
	Reason string               `json:"reason,omitempty"`
	By     string               `json:"by,omitempty"`
	Error  *orchestration.Fault `json:"error,omitempty"`
	Again  bool                 `json:"again,omitempty"` // the fault passes: another try is worth it
	After  definition.Duration  `json:"after,omitempty"` // the other side wants to be left alone for so long
	// Refused says that it is the negotiation's word, which then waits for none of ours.
	Refused bool `json:"refused,omitempty"`
}

// Worked is about one of the transfer's tasks. On the wire it is the task's event itself.
type Worked struct{ task.Event }

func (Initiated) event()             {}
func (Moved) event()                 {}
func (ResourceProvisioned) event()   {}
func (ResourceUploaded) event()      {}
func (ResourceDeprovisioned) event() {}
func (Acquiring) event()             {}
func (AccessGranted) event()         {}
func (AccessLost) event()            {}
func (Requested) event()             {}
func (Ended) event()                 {}
func (Worked) event()                {}
