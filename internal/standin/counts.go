package standin

import (
	"maps"
	"time"
)

// Counts are what has happened so far.
type Counts struct {
	Requests  map[Op]int // of the management API, by kind; what was refused for its key is not in it
	WrongKeys int        // requests without the API key
	Callbacks CallbackCounts
	Providers map[string]ProviderCounts // by name
}

// CallbackCounts are of the callbacks that somebody had asked for.
type CallbackCounts struct {
	Sent          int // attempts included
	Failed        int // nobody answered, or not with 2xx
	Lost          int // by a fault
	Transactional int // asked for as transactional, which a client should not
}

// ProviderCounts are what one provider has seen.
type ProviderCounts struct {
	Catalogs     int            // requests for its catalog
	Negotiations int            // requests for a contract
	Refused      int            // of those
	Agreements   int            // of those
	Transfers    map[string]int // transfers of the consumer by state
	Documents    map[string]int // GETs with a good token, by asset
	Unauthorized int            // GETs without
	Pushed       map[string]int // documents pushed, by asset
	Most         Most
}

// Most is how much was under way at a provider at the same moment, at most: requests for its
// catalog that were not answered, negotiations without an end, and transfers that had not
// started.
type Most struct {
	Catalogs, Negotiations, Transfers, Together int
}

// atOnce is what is under way, and the most there was.
type atOnce struct {
	catalogs, negotiations, transfers int
	most                              Most
}

// begin counts one more in one of the three.
func (a *atOnce) begin(n *int) {
	*n++
	a.most.Catalogs = max(a.most.Catalogs, a.catalogs)
	a.most.Negotiations = max(a.most.Negotiations, a.negotiations)
	a.most.Transfers = max(a.most.Transfers, a.transfers)
	a.most.Together = max(a.most.Together, a.catalogs+a.negotiations+a.transfers)
}

// Counts says what has happened so far.
func (c *Connector) Counts() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := Counts{
		Requests: maps.Clone(c.requests), WrongKeys: c.wrongKeys,
		Callbacks: c.outbox.counted(), Providers: map[string]ProviderCounts{},
	}
	for _, p := range c.providers {
		n := p.counts
		n.Documents, n.Pushed = maps.Clone(n.Documents), maps.Clone(n.Pushed)
		n.Transfers, n.Most = map[string]int{}, p.now.most
		out.Providers[p.label] = n
	}
	for _, t := range c.transferList {
		if n, ok := out.Providers[t.provider.name()]; ok {
			n.Transfers[t.stage.State()]++
		}
	}
	return out
}

// Negotiation is what the connector knows of one.
type Negotiation struct {
	ID, State, Provider, Asset string
	OfferID                    string
	Agreement                  string
	Detail                     string
	Since                      time.Time
	Terminations               int // how often the provider was told
}

// Negotiations lists all, the oldest first.
func (c *Connector) Negotiations() []Negotiation {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]Negotiation, 0, len(c.negotiationList))
	for _, n := range c.negotiationList {
		one := Negotiation{
			ID: n.id, State: n.stage.State(), Provider: n.provider.name(), Asset: n.assetID,
			OfferID: n.offerID, Detail: n.detail, Since: n.since, Terminations: n.terminated,
		}
		if n.agreement != nil {
			one.Agreement = n.agreement.id
		}
		out = append(out, one)
	}
	return out
}

// Transfer is what is known of one on both sides.
type Transfer struct {
	ID, State, Provider, Asset string
	Agreement, Kind            string
	Detail                     string
	Since                      time.Time
	Told                       Told // the provider
}

// Transfers lists all, the oldest first.
func (c *Connector) Transfers() []Transfer {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]Transfer, 0, len(c.transferList))
	for _, t := range c.transferList {
		out = append(out, Transfer{
			ID: t.id, State: t.stage.State(), Provider: t.provider.name(), Asset: t.assetID,
			Agreement: t.contractID, Kind: t.kind, Detail: t.detail, Since: t.since, Told: *t.told,
		})
	}
	return out
}

// Transfer finds one by id.
func (c *Connector) Transfer(id string) (Transfer, bool) {
	for _, t := range c.Transfers() {
		if t.ID == id {
			return t, true
		}
	}
	return Transfer{}, false
}
