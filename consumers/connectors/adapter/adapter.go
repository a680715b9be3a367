package adapter

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/waybill/waybill/consumers/agent"
)

// Adapter speaks with providers.
type Adapter interface {
	// Document gets an asset's document.
	Document(ctx context.Context, w Want) (Document, error)
}

// Contracts is an Adapter whose providers want a contract first.
type Contracts interface {
	Adapter
	// Catalog asks what the provider offers; nothing is no error.
	Catalog(ctx context.Context, p Party, w Wish) (Catalog, error)
	// Negotiate asks for a contract and returns the negotiation's id. With Repeat it first looks
	// for the one that was asked for already.
	Negotiate(ctx context.Context, p Party, o Offer) (string, error)
	// Negotiation says where a negotiation is. ErrNotFound: the connector does not know it.
	Negotiation(ctx context.Context, id string) (Negotiation, error)
	// EndNegotiation ends a negotiation as far as that can be done.
	EndNegotiation(ctx context.Context, id, reason string) error
	// Start starts a transfer process and returns its id. With Repeat it first looks for the one
	// that was started already.
	Start(ctx context.Context, p Party, t Transfer) (string, error)
	// Process says where a transfer process is. ErrNotFound: the connector does not know it.
	Process(ctx context.Context, id string) (Process, error)
	// Tell asks for a change of a transfer process. One that has been made already is no error.
	Tell(ctx context.Context, id string, v Verb, reason string) error
	// EDR gets the data address behind a transfer process that was started. ErrNotFound: it has
	// none, or none yet.
	EDR(ctx context.Context, processID string) (EDR, error)
	// Refresh gets a new token for it.
	Refresh(ctx context.Context, processID string) (EDR, error)
}

// Verb is a change of a transfer process.
type Verb string

// The verbs.
const (
	Terminate Verb = "terminate"
	Suspend   Verb = "suspend"
	Resume    Verb = "resume"
)

// Party is the other side.
type Party struct {
	Provider string // its address, normalised
	ID       string // who it is, where that is known
}

// Want asks for a document.
type Want struct {
	Party
	AssetID string
	EDR     *EDR   // what access was granted; nil where none is needed
	Key     string // tells a repeat
}

// Document is what came of it.
type Document struct {
	Body        []byte
	ContentType string
	Source      string // where it came from, as it may be shown
}

// Wish is what to look for in a catalog: an asset or all of a type.
type Wish struct{ AssetID, AssetType string }

// Catalog is what a provider offers of what was looked for.
type Catalog struct {
	ParticipantID string
	Offers        []Offered
}

// Offered is one offer of a catalog.
type Offered struct {
	AssetID string          `json:"assetId"`
	OfferID string          `json:"offerId"`
	Policy  json.RawMessage `json:"policy"` // word for word
	Formats []string        `json:"formats,omitempty"`
	// Constraints say what the policy asks for, for people.
	Constraints string `json:"constraints,omitempty"`
	// Unacceptable says why we do not accept it; empty: we do.
	Unacceptable string `json:"unacceptable,omitempty"`
}

// Offer asks for a contract about an offer.
type Offer struct {
	AssetID  string
	OfferID  string
	Policy   json.RawMessage
	Key      string // ours, by which the negotiation is found again
	Callback string // address to report to; empty: none
	Repeat   bool   // it may have been asked for already
}

// Negotiation is where a contract negotiation is.
type Negotiation struct {
	State       string
	AgreementID string
	AssetID     string // that the agreement is about
	Detail      string // what the connector says of its end
}

// Transfer asks for a transfer process.
type Transfer struct {
	ID          string // ours, and the process's where the connector lets us choose
	AssetID     string
	AgreementID string
	Type        string          // HttpData-PULL
	Destination json.RawMessage // nil for pull
	Callback    string
	Repeat      bool
}

// Process is where a transfer process is.
type Process struct {
	ID            string
	State         string
	Detail        string
	AgreementDead bool // it ended because of its agreement
}

// EDR is an endpoint data reference: where the data is and what opens it. It is a secret.
type EDR struct {
	Endpoint      string
	Authorization string
	ExpiresAt     time.Time // zero: it does not say
	// Raw is the data address as the connector gave it.
	Raw json.RawMessage
}

// Codes of faults that a machine goes on differently after.
const (
	CodeEDRDead       = "edr-dead"       // another data address is needed
	CodeAgreementDead = "agreement-dead" // another contract is needed
	CodeNotFound      = "not-found"      // the connector does not know what it is about
	CodeRefused       = "refused"        // the connector has answered, and there is nothing to be ended
)

// Steps of faults.
const (
	StepAddress     = "address"
	StepCatalog     = "catalog"
	StepNegotiation = "negotiation"
	StepRequest     = "request"
	StepEDR         = "edr"
	StepFetch       = "fetch"
	StepParse       = "parse"
	StepTerminate   = "terminate"
)

// ErrNotFound is about something that a connector does not know.
var ErrNotFound = errors.New("the connector does not know it")

// Fault is why something could not be done.
type Fault struct {
	Step  string
	Code  string
	Err   error
	Again bool          // a passing fault
	After time.Duration // the earliest time to try again, where the other side says so
}

// Error implements error.
func (f *Fault) Error() string { return f.Err.Error() }

// Unwrap gives the cause.
func (f *Fault) Unwrap() error { return f.Err }

// Failed is the result of work that met an error: Retry where it passes, else Fatal.
func Failed(err error) agent.Result {
	f, ok := errors.AsType[*Fault](err)
	switch {
	case !ok:
		return agent.Fatal(err)
	case f.Again:
		return agent.Retry(f.Err).After(f.After).AtStep(f.Step).WithCode(f.Code)
	}
	return agent.Fatal(f.Err).AtStep(f.Step).WithCode(f.Code)
}
