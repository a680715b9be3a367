package standin

import (
	"net/http"
	"time"
)

// The protocols it has dispatchers for; others answer 502.
const (
	Protocol2025 = "dataspace-protocol-http:2025-1"
	Protocol08   = "dataspace-protocol-http"
)

// The kinds of transfer that every asset offers.
const (
	Pull = "HttpData-PULL"
	Push = "HttpData-PUSH"
)

// Names that requests and answers are written with.
const (
	nsEDC  = "https://w3id.org/edc/v0.0.1/ns/"
	nsDCT  = "http://purl.org/dc/terms/"
	nsODRL = "http://www.w3.org/ns/odrl/2/"

	// TypeProperty is the property that a catalog is asked for registries by.
	TypeProperty = nsDCT + "type"
)

// Config says what there is. Zero values take the defaults.
type Config struct {
	Participant string            // who the connector is; "consumer"
	Region      string            // what it claims to be from; "eu"
	APIKey      string            // wanted in x-api-key; empty wants none
	Vault       map[string]string // what the authCodeId of a callback stands for
	Providers   []ProviderConfig
	// Seed is what shares are drawn from: the same seed and the same requests in the same
	// order draw the same.
	Seed uint64
	// Refresh makes it a connector of Tractus-X: a token is good for so long and can be
	// refreshed.
	Refresh time.Duration
}

// ProviderConfig is one provider.
type ProviderConfig struct {
	Name        string
	Participant string // its participant id; its name
	Assets      []Asset
}

// Asset is something a provider offers.
type Asset struct {
	ID         string
	Properties map[string]string // by name, or by IRI where it is none of EDC's
	Policies   []Policy          // one offer each; none is one that is Open

	Document    []byte        // what a GET with a token answers, and what is pushed
	ContentType string        // application/json
	Handler     http.Handler  // answers instead of Document, where there is one; not for pushing
	Broken      bool          // what is behind the provider answers 500
	Provision   time.Duration // how long the provider has a transfer in provisioning: it is REQUESTED meanwhile
	Held        bool          // REQUESTED until Provider.Release
}

// Policy is what an asset is offered under.
type Policy struct {
	Definition  string // id of the contract definition, the first part of an offer's id
	Constraints []Constraint

	Region  string        // negotiated only with a connector of this region
	Expired bool          // its agreements are good for nothing
	Valid   time.Duration // its agreements end so long after they were made
}

// Constraint of a permission, in EDC's vocabulary.
type Constraint struct {
	Left, Operator, Right string
}

// Open is a policy without conditions.
func Open() Policy { return Policy{Definition: "open"} }

// Region is a policy for consumers of a region: others are refused when they negotiate.
func Region(name string) Policy {
	return Policy{Definition: "region-" + name, Constraints: []Constraint{{"region", "eq", name}}, Region: name}
}

// Expired is a policy that is in force no more: negotiated it is, for nobody looks at the
// date then, and every transfer is refused.
func Expired() Policy {
	return Policy{Definition: "expired", Constraints: []Constraint{{"inForceDate", "lteq", "2020-01-01T00:00:00Z"}}, Expired: true}
}

// Short is a policy whose agreements end so long after they were made: the provider ends
// the transfers under them and refuses others.
func Short(valid time.Duration) Policy {
	return Policy{Definition: "short", Constraints: []Constraint{{"inForceDate", "lteq", "contractAgreement+" + valid.String()}}, Valid: valid}
}
