package negotiation

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/waybill/waybill/domain/blob"
	"github.com/waybill/waybill/domain/machine"
)

// The types of work that are asked for.
const (
	workCatalog   = "catalog"
	workRequest   = "negotiation-request"
	workPoll      = "negotiation-poll"
	workTerminate = "negotiation-terminate"
	workEDR       = "edr-request"
	workEDRPoll   = "edr-poll"
	workRefresh   = "edr-refresh"
	workEDREnd    = "edr-end"
	// nameListing begins the name of a task that asks the catalog for a type: a task is called by its type and the asset.
	nameListing = "listing"
)

// Input is the input of the work that is asked for: where, and what the type of the work needs.
type Input struct {
	Connector      string `json:"connector"`
	Provider       string `json:"provider"`
	CounterPartyID string `json:"counterPartyId,omitempty"`

	AssetID       string          `json:"assetId,omitempty"`
	AssetType     string          `json:"assetType,omitempty"`
	Offer         *OfferRef       `json:"offer,omitempty"`
	Key           string          `json:"key,omitempty"` // ours, of the negotiation
	NegotiationID string          `json:"negotiationId,omitempty"`
	AgreementID   string          `json:"agreementId,omitempty"`
	TransferType  string          `json:"transferType,omitempty"`
	ProcessID     string          `json:"processId,omitempty"`
	EDR           json.RawMessage `json:"edr,omitempty"` // sealed
	Reason        string          `json:"reason,omitempty"`
	Callback      *Callback       `json:"callback,omitempty"`
}

// OfferRef is the offer that a negotiation is about.
type OfferRef struct {
	OfferID string          `json:"offerId"`
	Policy  json.RawMessage `json:"policy,omitempty"`
}

// Callback is what a callback of the connector is addressed to; the agent makes the address of it.
type Callback struct {
	Aggregate string `json:"aggregate"`
	ID        string `json:"id"`
	Task      string `json:"task"` // a round or a process, by our id
}

// Catalog is the output of the work catalog.
type Catalog struct {
	ParticipantID string  `json:"participantId"`
	Offers        []Offer `json:"offers"`
}

// Look is the output of the other work.
type Look struct {
	NegotiationID string          `json:"negotiationId"`
	State         string          `json:"state"` // LOST: the connector knows nothing of it
	Detail        string          `json:"detail"`
	AssetID       string          `json:"assetId"` // of the agreement
	AgreementID   string          `json:"agreementId"`
	AgreementDead bool            `json:"agreementDead"` // that is why it was TERMINATED
	EDR           json.RawMessage `json:"edr"`           // sealed
	ExpiresAt     time.Time       `json:"expiresAt"`
}

const (
	// maxListed is how many assets of a type there may be.
	maxListed = 1000
	// maxFormats is how many formats of an offer are looked at.
	maxFormats = 100
	// maxEDR bounds an EDR: everybody who waits gets one.
	maxEDR = 64 << 10
)

// bound cuts what people read, and leaves out what nobody can ask for: a provider writes it, and every answer
// repeats it.
func (c *Catalog) bound() error {
	if c.ParticipantID != "" && !named(c.ParticipantID) {
		return fmt.Errorf("the catalog's participant is no name of at most %d bytes", maxName)
	}
	for i := range c.Offers {
		o := &c.Offers[i]
		if o.AssetID != "" && !named(o.AssetID) {
			return fmt.Errorf("the catalog has an asset whose name has over %d bytes or a control character", maxName)
		}
		o.Constraints, o.Unacceptable = clip(o.Constraints), clip(o.Unacceptable)
		o.Formats = slices.DeleteFunc(o.Formats[:min(len(o.Formats), maxFormats)], func(f string) bool { return !named(f) })
	}
	return nil
}

// bound does the same for what a connector says of a negotiation or a process.
func (l *Look) bound() error {
	for _, id := range []string{l.NegotiationID, l.AgreementID, l.AssetID} {
		if id != "" && !named(id) {
			return fmt.Errorf("the connector's answer has an id of over %d bytes or with a control character", maxName)
		}
	}
	if n := len(l.EDR); n > maxEDR {
		return fmt.Errorf("the EDR has %d bytes, over the limit of %d", n, maxEDR)
	}
	l.State, l.Detail = machine.Clip(l.State, maxStep), clip(l.Detail)
	return nil
}

// The states that a connector names besides those of a round.
const (
	stateLost    = "LOST"
	stateStarted = "STARTED"
)

// read reads an output.
func read(output json.RawMessage, into any) error {
	if blob.Refers(output) {
		return fmt.Errorf("the connector's answer is too large: over %d bytes", blob.Threshold)
	}
	if len(output) == 0 {
		return nil
	}
	if err := json.Unmarshal(output, into); err != nil {
		return fmt.Errorf("the agent's output is not what was asked for: %w", err)
	}
	return nil
}

// pull is the type of transfer that brings an EDR for an offer in these formats; empty: none does.
func pull(wanted string, formats []string) string {
	if len(formats) == 0 {
		return wanted
	}
	var other string
	for _, f := range formats {
		if f == wanted {
			return f
		}
		if other == "" && strings.HasSuffix(f, "-PULL") {
			other = f
		}
	}
	return other
}
