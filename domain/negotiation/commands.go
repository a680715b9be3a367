package negotiation

import (
	"encoding/json"
	"time"

	"github.com/waybill/waybill/domain/orchestration"
)

// Command asks for something of the access to a counter-party. The reports of agents are
// commands too.
//
//sumtype:decl
type Command interface{ command() }

// Fault is what went wrong: at which step, in which words.
type Fault = orchestration.Fault

// Need is what a waiter needs.
type Need string

// The needs.
const (
	NeedAgreement Need = "agreement" // push: the transfer names it to the connector itself
	NeedEDR       Need = "edr"       // pull
)

// Acquire wishes for access to an asset, or to all assets of a type. Waiter is who is answered, once;
// it may have one wish at a time.
type Acquire struct {
	Provider       string    `json:"provider"`
	Connector      string    `json:"connector,omitempty"`
	AssetID        string    `json:"assetId,omitempty"`   // either this
	AssetType      string    `json:"assetType,omitempty"` // or this
	Need           Need      `json:"need"`
	Waiter         string    `json:"waiter"`
	CounterPartyID string    `json:"counterPartyId,omitempty"`
	Deadline       time.Time `json:"deadline,omitzero"` // it is refused then, and only it
	Reply          *Reply    `json:"reply,omitempty"`   // nil: only the completion says how it came out

	CommandID   string `json:"-"` // of the command: tells a repeat from another wish
	TraceParent string `json:"-"` // W3C trace context of whoever asked
}

// Reply is where the answer to a wish goes.
type Reply struct {
	Aggregate  string `json:"aggregate"` // transfer or orchestration
	ID         string `json:"id"`
	ActivityID string `json:"activityId,omitempty"`
	WorkID     string `json:"workId,omitempty"`
	Attempt    int    `json:"attempt,omitempty"`
}

// Release takes a waiter out, if it still waits. One that has been granted says with it that what
// it got is dead: with Process, that EDR; with Agreement, that agreement.
type Release struct {
	Waiter    string `json:"waiter"`
	Process   string `json:"process,omitempty"`
	Agreement string `json:"agreement,omitempty"`
	Dead      bool   `json:"dead,omitempty"`
	Reason    string `json:"reason,omitempty"`
}

// Observed is what the connector says by itself, through a callback: of a negotiation, where Round is
// given, or of the transfer process behind an EDR, where ProcessID is.
type Observed struct {
	AssetID       string          `json:"assetId,omitempty"`
	Round         string          `json:"round,omitempty"`     // our id of the round
	ProcessID     string          `json:"processId,omitempty"` // our id of the process
	NegotiationID string          `json:"negotiationId,omitempty"`
	State         string          `json:"state"`
	Detail        string          `json:"detail,omitempty"`
	AgreementID   string          `json:"agreementId,omitempty"`
	EDR           json.RawMessage `json:"edr,omitempty"` // sealed
	ExpiresAt     time.Time       `json:"expiresAt,omitzero"`
}

// Report is what an agent reports of a piece of work: one of Complete, Wait, Schedule, Retry, Fail,
// Heartbeat and Release of package orchestration, the same on the wire.
type Report struct{ orchestration.Command }

// Wake lets everything happen that is due. It is not on the wire.
type Wake struct{}

// TakeOver is given once by a new owner of the shard: see orchestration.TakeOver. It is not on the wire.
type TakeOver struct {
	Placement string
	Agent     string
	Since     time.Time
}

func (Acquire) command()  {}
func (Release) command()  {}
func (Observed) command() {}
func (Report) command()   {}
func (Wake) command()     {}
func (TakeOver) command() {}
