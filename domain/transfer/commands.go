package transfer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
)

// Command asks a transfer for something.
//
//sumtype:decl
type Command interface{ command() }

// Initiate begins a transfer.
type Initiate struct {
	Provider       string `json:"provider"` // address of the counter-party's connector
	AssetID        string `json:"assetId"`
	CounterPartyID string `json:"counterPartyId,omitempty"`
	// TransferType is one of the provider's formats. Empty is HttpData-PULL, or HttpData-PUSH where
	// there is a destination or a manifest; what ends in -PUSH is sent by the provider.
	TransferType string              `json:"transferType,omitempty"`
	Destination  json.RawMessage     `json:"destination,omitempty"` // data address that the provider sends to; secrets sealed
	Manifest     *Manifest           `json:"manifest,omitempty"`
	Properties   json.RawMessage     `json:"properties,omitempty"` // an object; handed to whoever fetches, and told with the end
	Deadline     definition.Duration `json:"deadline,omitempty"`   // in total, to COMPLETED or TERMINATED
	Asker        *Asker              `json:"asker,omitempty"`
	As           string              `json:"as,omitempty"` // how the document reads: "", parts-tree, registry
	Retry        *definition.Retry   `json:"retry,omitempty"`

	// What the edge fills in: through which configured connector the provider is spoken to, by which
	// adapter, and what is wrong with the request, so that it has failed before it began.
	Connector   string               `json:"-"`
	Adapter     string               `json:"-"`
	Problem     *orchestration.Fault `json:"-"`
	Fingerprint string               `json:"-"` // of the body
	TraceParent string               `json:"-"`
}

// Asker is the activity that a transfer carries out, in one of its attempts: it is told how the
// transfer ended, and its own policy says what comes of a passing fault.
type Asker struct {
	Aggregate  string `json:"aggregate"` // orchestration
	ID         string `json:"id"`
	ActivityID string `json:"activityId"`
	WorkID     string `json:"workId"`
	Attempt    int    `json:"attempt"`
}

// Transfer is the id of the transfer that carries the attempt out.
func (a Asker) Transfer() string { return machine.ID("transfer", a.WorkID, strconv.Itoa(a.Attempt)) }

// Manifest lists what has to be there before the transfer is requested.
type Manifest struct {
	Definitions []Definition `json:"definitions"`
}

// Definition is a resource to be provisioned. What else it says is for the provisioner of its type.
type Definition struct {
	ID   string
	Type string
	Raw  json.RawMessage // the whole of it
}

// UnmarshalJSON reads id and type and keeps the whole.
func (d *Definition) UnmarshalJSON(b []byte) error {
	var head struct {
		ID   string `json:"id"`
		Type string `json:"type"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return fmt.Errorf("a resource definition: %w", err)
	}
	*d = Definition{head.ID, head.Type, bytes.Clone(b)}
	return nil
}

// MarshalJSON writes the whole.
func (d Definition) MarshalJSON() ([]byte, error) {
	if len(d.Raw) > 0 {
		return d.Raw, nil
	}
	return json.Marshal(map[string]string{"id": d.ID, "type": d.Type})
}

// Suspend holds a transfer that is under way.
type Suspend struct {
	Reason string `json:"reason,omitempty"`
	By     string `json:"by,omitempty"`
}

// Resume lets a suspended transfer go on.
type Resume struct {
	Reason string `json:"reason,omitempty"`
	By     string `json:"by,omitempty"`
}

// Terminate ends a transfer that nobody wants any more.
type Terminate struct {
	Reason string `json:"reason,omitempty"`
	By     string `json:"by,omitempty"`
}

// Deprovision asks for what was provisioned to be undone; a transfer that is over does so by itself.
type Deprovision struct {
	Reason string `json:"reason,omitempty"`
	By     string `json:"by,omitempty"`
}

// Granted is the negotiation's answer to a wish for access.
type Granted struct {
	Negotiation    string   `json:"negotiation"` // the aggregate
	Round          int      `json:"round"`
	NegotiationID  string   `json:"negotiationId"`
	AssetID        string   `json:"assetId"`
	AgreementID    string   `json:"agreementId"`
	CounterPartyID string   `json:"counterPartyId,omitempty"`
	Constraints    string   `json:"constraints,omitempty"` // of the offer, for people
	Formats        []string `json:"formats,omitempty"`
	EDR            *EDR     `json:"edr,omitempty"`
}

// EDR is an endpoint data reference: where a document is to be had and with which token.
type EDR struct {
	ProcessID string          `json:"processId"` // the connector's transfer process behind it
	Data      json.RawMessage `json:"data"`      // sealed
	ExpiresAt time.Time       `json:"expiresAt,omitzero"`
}

// Refused is the negotiation's other answer.
type Refused struct {
	Negotiation   string              `json:"negotiation"`
	NegotiationID string              `json:"negotiationId,omitempty"`
	Error         orchestration.Fault `json:"error"`
	Again         bool                `json:"again,omitempty"` // the fault passes: it is worth another try
	Rounds        int                 `json:"rounds,omitempty"`
	Constraints   string              `json:"constraints,omitempty"`
}

// Observed is a connector's callback about the transfer process of a push transfer.
type Observed struct {
	ProcessID     string `json:"processId"`
	State         string `json:"state"` // the connector's name of it
	Detail        string `json:"detail,omitempty"`
	Token         string `json:"token,omitempty"` // what our address for the callback was made for: the process by our own name
	AgreementDead bool   `json:"agreementDead,omitempty"`
}

// Provisioned is a provisioner's callback: a resource is there.
type Provisioned struct {
	ResourceDefinitionID string          `json:"resourceDefinitionId"`
	AssetID              string          `json:"assetId,omitempty"`
	ResourceName         string          `json:"resourceName,omitempty"`
	ContentDataAddress   json.RawMessage `json:"contentDataAddress,omitempty"` // secrets sealed
	Secret               json.RawMessage `json:"secret,omitempty"`             // sealed
	HasToken             bool            `json:"hasToken,omitempty"`
}

// Deprovisioned is a provisioner's callback: a resource is gone, or could not be undone.
type Deprovisioned struct {
	ProvisionedResourceID string `json:"provisionedResourceId"` // of the definition, or the resource's name
	InProcess             bool   `json:"inProcess,omitempty"`   // not yet: another callback follows
	Error                 bool   `json:"error,omitempty"`
	ErrorMessage          string `json:"errorMessage,omitempty"`
}

// Uploaded says what was pushed to the address that a provisioned resource has.
type Uploaded struct {
	ResourceDefinitionID string          `json:"resourceDefinitionId"`
	Digest               string          `json:"digest"` // SHA-256, in hex
	Bytes                int64           `json:"bytes"`
	Content              json.RawMessage `json:"content"` // large parts are references to blobs of the transfer
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

func (Initiate) command()      {}
func (Suspend) command()       {}
func (Resume) command()        {}
func (Terminate) command()     {}
func (Deprovision) command()   {}
func (Granted) command()       {}
func (Refused) command()       {}
func (Observed) command()      {}
func (Provisioned) command()   {}
func (Deprovisioned) command() {}
func (Uploaded) command()      {}
func (Report) command()        {}
func (Wake) command()          {}
func (TakeOver) command()      {}
