package connectors

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/consumers/connectors/edc"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/domain/partstree"
	"github.com/waybill/waybill/internal/outbound"
)

// The adapters.
const (
	AdapterHTTP = "http" // documents by GET, no contracts
	AdapterEDC  = "edc"  // management API v3 of a connector
)

// RefreshTractusX is the way in which tractusx-edc renews tokens.
const RefreshTractusX = "tractusx"

// Defaults of Poll.
const (
	DefaultFirstPoll = 250 * time.Millisecond
	DefaultMostPoll  = 2 * time.Second
)

// Config says through which connectors providers are spoken with.
type Config struct {
	// Connectors in the order in which they are tried: the first that matches counts.
	Connectors []Connector `json:"connectors,omitempty"`
	// Participants are the ids of counter-parties by address, where their catalog does not say
	// them or must not be believed.
	Participants map[string]string `json:"participants,omitempty"`
}

// Connector is one connector of ours, or a way to do without.
type Connector struct {
	Name    string `json:"name"`
	Adapter string `json:"adapter"`
	// Match are the addresses of providers: SCHEME://HOST[:PORT][/PATH] with * for any host or
	// port, or * for all. What is matched may be called.
	Match []string `json:"match"`
	// Timeout bounds one request, and how long an answer may take to begin or to go on.
	Timeout definition.Duration `json:"timeout,omitempty"`

	// The rest is for edc.

	ManagementURL string     `json:"managementUrl,omitempty"`
	APIKey        secret.Ref `json:"apiKey,omitzero"`
	Protocol      string     `json:"protocol,omitempty"` // edc.Protocol2025
	// CallbackURL is where the connector reaches our /callbacks, if not below the public URL.
	CallbackURL string `json:"callbackUrl,omitempty"`
	Refresh     string `json:"refresh,omitempty"` // RefreshTractusX or nothing
	// AcceptedPolicies are those that an offer may have, each a list of terms, "region eq eu";
	// none means any.
	AcceptedPolicies [][]string `json:"acceptedPolicies,omitempty"`
	// AllowEndpoints are hosts beside a provider's own that its data may be fetched from, written
	// as in an allow list.
	AllowEndpoints []string `json:"allowEndpoints,omitempty"`
	Poll           Poll     `json:"poll,omitzero"`

	// How access is acquired; what is zero is left to the defaults of package negotiation.

	Parallelism  int       `json:"parallelism,omitempty"`  // requests under way at one provider
	Rounds       int       `json:"rounds,omitempty"`       // negotiations that are tried for those who wait
	Processes    int       `json:"processes,omitempty"`    // processes that are tried for an EDR
	Retries      int       `json:"retries,omitempty"`      // of one request after passing faults
	TransferType string    `json:"transferType,omitempty"` // of the process behind an EDR
	TTL          TTL       `json:"ttl,omitzero"`
	Deadlines    Deadlines `json:"deadlines,omitzero"`
}

// Poll is how soon a connector is asked how something goes.
type Poll struct {
	First definition.Duration `json:"first,omitempty"` // DefaultFirstPoll; doubled with each time that changes nothing
	Most  definition.Duration `json:"most,omitempty"`  // DefaultMostPoll
}

// TTL is how long something is used.
type TTL struct {
	Agreement   definition.Duration `json:"agreement,omitempty"`
	EDR         definition.Duration `json:"edr,omitempty"` // where it does not say itself
	Negotiation definition.Duration `json:"negotiation,omitempty"`
	Catalog     definition.Duration `json:"catalog,omitempty"`
}

// Deadlines are how long something may take.
type Deadlines struct {
	Catalog definition.Duration `json:"catalog,omitempty"` // until it answers
	State   definition.Duration `json:"state,omitempty"`   // that a negotiation stays in one state
	EDR     definition.Duration `json:"edr,omitempty"`     // from the request on
	Wish    definition.Duration `json:"wish,omitempty"`    // of somebody who has not said how long
}

// Negotiations are the settings of access through the connector.
func (k Connector) Negotiations() negotiation.Config {
	return negotiation.Config{
		Parallelism: k.Parallelism, Rounds: k.Rounds, Processes: k.Processes, Retries: k.Retries,
		Agreement: time.Duration(k.TTL.Agreement), EDR: time.Duration(k.TTL.EDR),
		Round: time.Duration(k.TTL.Negotiation), Listing: time.Duration(k.TTL.Catalog),
		Catalog: time.Duration(k.Deadlines.Catalog), State: time.Duration(k.Deadlines.State),
		Process: time.Duration(k.Deadlines.EDR), Wish: time.Duration(k.Deadlines.Wish),
		TransferType: k.TransferType, Refresh: k.Refresh == RefreshTractusX,
	}
}

// isName is what a name looks like: it is the first word of the key of a negotiation.
var isName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Check says what is wrong first.
func (c Config) Check() error {
	seen := map[string]bool{}
	for i, k := range c.Connectors {
		if err := k.check(); err != nil {
			return fmt.Errorf("connectors[%d] (%s): %w", i, k.Name, err)
		}
		if seen[k.Name] {
			return fmt.Errorf("connectors[%d] (%s): there is another one of this name", i, k.Name)
		}
		seen[k.Name] = true
	}
	for _, address := range slices.Sorted(maps.Keys(c.Participants)) {
		if _, err := partstree.NormalizeURL(address); err != nil {
			return fmt.Errorf("participants: %w", err)
		}
		if c.Participants[address] == "" {
			return fmt.Errorf("participants: %s has no id", address)
		}
	}
	return nil
}

func (k Connector) check() error {
	if !isName.MatchString(k.Name) {
		return fmt.Errorf("the name %q is none: 1 to 64 letters, digits and, after the first, . _ -", k.Name)
	}
	if len(k.Match) == 0 {
		return errors.New("match is missing: the addresses of the providers that are spoken with through it, or *")
	}
	if _, err := patterns(k.Match); err != nil {
		return err
	}
	switch k.Adapter {
	case AdapterHTTP:
		return k.checkPlain()
	case AdapterEDC:
		return k.checkEDC()
	case "":
		return fmt.Errorf("adapter is missing: %s or %s", AdapterEDC, AdapterHTTP)
	}
	return fmt.Errorf("there is no adapter %q, only %s and %s", k.Adapter, AdapterEDC, AdapterHTTP)
}

// checkPlain refuses what would be silently without effect.
func (k Connector) checkPlain() error {
	for name, set := range map[string]bool{
		"managementUrl": k.ManagementURL != "", "apiKey": !k.APIKey.IsZero(), "protocol": k.Protocol != "", "callbackUrl": k.CallbackURL != "",
		"refresh": k.Refresh != "", "acceptedPolicies": k.AcceptedPolicies != nil, "allowEndpoints": k.AllowEndpoints != nil,
	} {
		if set {
			return fmt.Errorf("%s is for adapter %s only", name, AdapterEDC)
		}
	}
	return nil
}

func (k Connector) checkEDC() error {
	if k.ManagementURL == "" {
		return errors.New("managementUrl is missing: where the connector's management API is, http://localhost:8181/management")
	}
	if err := checkURL("managementUrl", k.ManagementURL); err != nil {
		return err
	}
	if k.CallbackURL != "" {
		if err := checkURL("callbackUrl", k.CallbackURL); err != nil {
			return err
		}
	}
	if !k.APIKey.IsZero() {
		if err := k.APIKey.Check(); err != nil {
			return fmt.Errorf("apiKey: %w", err)
		}
	}
	if k.Protocol != "" && !strings.HasPrefix(k.Protocol, edc.Protocol08) {
		return fmt.Errorf("protocol %q is none that is known: %s or %s", k.Protocol, edc.Protocol2025, edc.Protocol08)
	}
	if k.Refresh != "" && k.Refresh != RefreshTractusX {
		return fmt.Errorf("refresh %q is none that is known: only %s", k.Refresh, RefreshTractusX)
	}
	if _, err := outbound.New(k.AllowEndpoints); err != nil {
		return fmt.Errorf("allowEndpoints: %w", err)
	}
	return k.checkNumbers()
}

func (k Connector) checkNumbers() error {
	for name, n := range map[string]int{"parallelism": k.Parallelism, "rounds": k.Rounds, "processes": k.Processes, "retries": k.Retries} {
		if n < 0 {
			return fmt.Errorf("%s %d is negative", name, n)
		}
	}
	return nil
}

// checkURL shows an address without a password that may stand in it.
func checkURL(name, address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return fmt.Errorf("%s is no URL", name)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("%s %s: want http://HOST[:PORT]/PATH without user, query and fragment", name, u.Redacted())
	}
	return nil
}
