package negotiation

import (
	"encoding/json"
	"time"

	"github.com/waybill/waybill/domain/task"
)

// Event is a fact about the access to one counter-party.
//
//sumtype:decl
type Event interface{ event() }

// Wish is who waits for what. It stands in the event by which it begins to wait, or by which it
// is granted at once.
type Wish struct {
	Waiter         string    `json:"waiter"`
	AssetID        string    `json:"assetId,omitempty"`
	AssetType      string    `json:"assetType,omitempty"`
	Need           Need      `json:"need"`
	CounterPartyID string    `json:"counterPartyId,omitempty"`
	Deadline       time.Time `json:"deadline"`
	Reply          *Reply    `json:"reply,omitempty"`
	CommandID      string    `json:"commandId,omitempty"`
	TraceParent    string    `json:"traceparent,omitempty"`
}

// Joined says that a waiter waits from now on: for an asset, or for all of a type.
type Joined struct {
	Wish
}

// Listed says what the catalog has for a wish by type: it waits for each of these assets.
type Listed struct {
	Waiter    string      `json:"waiter"`
	AssetType string      `json:"assetType"`
	Assets    []string    `json:"assets,omitempty"`
	Refused   []Unoffered `json:"refused,omitempty"` // without a negotiation
}

// Unoffered is an asset that no acceptable offer is there for.
type Unoffered struct {
	AssetID string `json:"assetId"`
	Error   Fault  `json:"error"`
}

// Served says that waiters of an asset have what they need: those who waited, or the one whose Wish was
// granted at once. A wish by type has one of its assets by this and is answered by Answered.
type Served struct {
	AssetID     string   `json:"assetId"`
	Round       int      `json:"round"`
	AgreementID string   `json:"agreementId"`
	ProcessID   string   `json:"processId,omitempty"` // of the EDR; for waiters that need one
	Waiters     []string `json:"waiters,omitempty"`
	Wish        *Wish    `json:"wish,omitempty"`
}

// Failed says that the waiters of an asset, or of a type whose catalog answer never came, are refused.
// A wish by type has lost one of its assets by this and is answered by Answered.
type Failed struct {
	AssetID       string   `json:"assetId,omitempty"`
	AssetType     string   `json:"assetType,omitempty"`
	Waiters       []string `json:"waiters,omitempty"`
	Error         Fault    `json:"error"`
	Again         bool     `json:"again,omitempty"` // it was a passing fault
	Rounds        int      `json:"rounds"`          // that were tried for them
	NegotiationID string   `json:"negotiationId,omitempty"`
	Constraints   string   `json:"constraints,omitempty"` // of the offer, for people
}

// Answered ends a wish by type: each of its assets has an outcome. It is refused if all have failed.
type Answered struct {
	Waiter    string       `json:"waiter"`
	AssetType string       `json:"assetType"`
	Offers    []OfferState `json:"offers"`
	Error     *Fault       `json:"error,omitempty"` // all have failed
	Again     bool         `json:"again,omitempty"`
}

// OfferState is how it came out for one asset of a wish by type.
type OfferState struct {
	ID            string    `json:"id,omitempty"` // our id of the negotiation
	AssetID       string    `json:"assetId,omitempty"`
	NegotiationID string    `json:"negotiationId,omitempty"`
	AgreementID   string    `json:"agreementId,omitempty"`
	EDR           *EDRState `json:"edr,omitempty"`
	Error         *Fault    `json:"error,omitempty"`
}

// EDRState names an EDR without what is in it.
type EDRState struct {
	ProcessID string     `json:"processId"`
	ExpiresAt *time.Time `json:"expiresAt,omitempty"`
	State     EDRPhase   `json:"state"`
}

// Left says that a waiter of an asset or a type waits no more: it was released, or, where there is an
// Error, its own deadline has passed and it is refused.
type Left struct {
	Waiter string `json:"waiter"`
	Error  *Fault `json:"error,omitempty"`
	Again  bool   `json:"again,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// CatalogRequested says that the catalog is asked, for an asset or a type.
type CatalogRequested struct {
	AssetID   string `json:"assetId,omitempty"`
	AssetType string `json:"assetType,omitempty"`
}

// CatalogReceived is its answer: per asset the offer that is taken, or why none is. It is good for
// whoever asks for the same until Until.
type CatalogReceived struct {
	AssetID       string    `json:"assetId,omitempty"`
	AssetType     string    `json:"assetType,omitempty"`
	ParticipantID string    `json:"participantId,omitempty"`
	Offers        []Offer   `json:"offers"`
	Until         time.Time `json:"until"`
}

// CatalogFailed says that there is no answer; the waiters are refused with it.
type CatalogFailed struct {
	AssetID   string `json:"assetId,omitempty"`
	AssetType string `json:"assetType,omitempty"`
	Error     Fault  `json:"error"`
	Again     bool   `json:"again,omitempty"`
}

// Offer is what a provider offers for an asset. Policy is word for word what the catalog said.
type Offer struct {
	AssetID      string          `json:"assetId"`
	OfferID      string          `json:"offerId"`
	Policy       json.RawMessage `json:"policy,omitempty"`
	Formats      []string        `json:"formats,omitempty"`
	Constraints  string          `json:"constraints,omitempty"`  // for people: "region eq us"
	Unacceptable string          `json:"unacceptable,omitempty"` // why no accepted policy takes it, naming its policy
}

// Move is a state that a round came into. One event may record several, in order.
type Move struct {
	State Phase `json:"state"`
	Code  int   `json:"code"`
	// Inferred says that nobody reported the state: it was passed over on the allowed path to the next.
	Inferred bool `json:"inferred,omitempty"`
}

// Started begins a round for an asset: it is INITIAL, and REQUESTING at once.
type Started struct {
	AssetID        string    `json:"assetId"`
	Round          int       `json:"round"`
	ID             string    `json:"id"`    // ours, of the negotiation
	Tried          int       `json:"tried"` // the how manyth it is for those who wait, from 1
	Moves          []Move    `json:"moves"`
	CounterPartyID string    `json:"counterPartyId,omitempty"`
	Offer          Offer     `json:"offer"`
	Until          time.Time `json:"until"`    // until when the last of the states may last
	Deadline       time.Time `json:"deadline"` // of the whole round
}

// Moved says that a round is in another state: the last of Moves.
type Moved struct {
	AssetID       string `json:"assetId"`
	Round         int    `json:"round"`
	Moves         []Move `json:"moves"`
	NegotiationID string `json:"negotiationId,omitempty"` // the connector's, once, when it is known
	AgreementID   string `json:"agreementId,omitempty"`   // FINALIZED
	Reason        string `json:"reason,omitempty"`        // TERMINATING, TERMINATED
	By            string `json:"by,omitempty"`            // who ended it
	// Until is until when the state may last, or, FINALIZED, until when the agreement is used.
	Until time.Time `json:"until,omitzero"`
}

// Who ends a round.
const (
	ByProvider  = "provider"  // it was TERMINATED there, or on the way there
	ByConnector = "connector" // ours: it would not begin, or has forgotten it
	ByWaybill   = "waybill"   // it stayed in one state for too long
)

// AgreementDead says that the agreement is of no use any more.
type AgreementDead struct {
	AssetID     string `json:"assetId"`
	Round       int    `json:"round"`
	AgreementID string `json:"agreementId"`
	Reason      string `json:"reason,omitempty"`
}

// EDRRequested says that the connector is asked for a process that brings an EDR, or, with Refresh, for
// another token of the process that is there.
type EDRRequested struct {
	AssetID   string    `json:"assetId"`
	Round     int       `json:"round"`
	ProcessID string    `json:"processId"` // ours; the connector takes it
	Refresh   bool      `json:"refresh,omitempty"`
	Deadline  time.Time `json:"deadline"`
}

// EDRGranted brings the EDR.
type EDRGranted struct {
	AssetID   string          `json:"assetId"`
	Round     int             `json:"round"`
	ProcessID string          `json:"processId"`
	Data      json.RawMessage `json:"data"`               // sealed
	ExpiresAt time.Time       `json:"expiresAt,omitzero"` // what it says itself
	Until     time.Time       `json:"until"`              // until when it is handed out
	EvictAt   time.Time       `json:"evictAt"`            // when it is given up
}

// EDRDead says that a process brings no EDR, or that its EDR opens nothing any more.
type EDRDead struct {
	AssetID   string `json:"assetId"`
	Round     int    `json:"round"`
	ProcessID string `json:"processId"`
	Reason    string `json:"reason,omitempty"`
	End       bool   `json:"end,omitempty"` // it may still be there, so the connector is told to end it
}

// Evicted says that the time to live of these has passed.
type Evicted struct {
	Accesses []string `json:"accesses,omitempty"` // by asset: agreement and EDR
	EDRs     []string `json:"edrs,omitempty"`     // by asset: the EDR only
	Catalogs []Query  `json:"catalogs,omitempty"`
}

// Query is what the catalog is asked for: an asset or a type.
type Query struct {
	AssetID   string `json:"assetId,omitempty"`
	AssetType string `json:"assetType,omitempty"`
}

func (Joined) event()           {}
func (Listed) event()           {}
func (Served) event()           {}
func (Failed) event()           {}
func (Answered) event()         {}
func (Left) event()             {}
func (CatalogRequested) event() {}
func (CatalogReceived) event()  {}
func (CatalogFailed) event()    {}
func (Started) event()          {}
func (Moved) event()            {}
func (AgreementDead) event()    {}
func (EDRRequested) event()     {}
func (EDRGranted) event()       {}
func (EDRDead) event()          {}
func (Evicted) event()          {}

// Worked is about one of the tasks. On the wire it is the task's event itself.
type Worked struct{ task.Event }

func (Worked) event() {}
