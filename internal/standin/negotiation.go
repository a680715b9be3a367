package standin

import (
	"time"

	"github.com/google/uuid"
)

// What connectors say about negotiations that were refused: never the reason.
const (
	refusedDetail     = "Failed to send termination to counter party: Value in JsonObjects name/value pair cannot be null"
	terminationDetail = `Failed to send termination to counter party: {"@type":"ContractNegotiationError","code":"409",` +
		`"reason":["Cannot process ContractNegotiationTerminationMessage because negotiation cannot be terminated"],` +
		`"@context":["https://w3id.org/dspace/2025/1/context.jsonld","https://w3id.org/edc/dspace/v0.0.1"]}`
)

// negotiation is the consumer's side of one.
type negotiation struct {
	process
	offerID    string
	offer      *policy // what the offer's id names; nil where the provider has no such offer
	offered    *asset  // likewise
	same       bool    // the request repeats the policy that was offered
	assigner   string
	agreement  *agreement
	terminated int // how often the provider was told
}

// agreement is a contract, known on both sides.
type agreement struct {
	id, negotiation string
	provider        *Provider
	life            int
	asset           *asset
	policy          *policy
	signed          time.Time
	ended           bool
}

// valid says whether the provider lets transfers begin under it.
func (a *agreement) valid(now time.Time) bool {
	return !a.ended && !a.policy.Expired && (a.policy.Valid == 0 || now.Before(a.signed.Add(a.policy.Valid)))
}

func (n *negotiation) core() *process { return &n.process }

func (n *negotiation) resting() bool {
	return n.stage == NegotiationFinalized || n.stage == NegotiationTerminated
}

func (n *negotiation) move(c *Connector) bool {
	switch n.stage {
	case NegotiationInitial:
		c.enter(n, NegotiationRequesting)
	case NegotiationRequesting:
		return n.request(c)
	case NegotiationRequested:
		return n.agree(c)
	case NegotiationAgreed:
		c.enter(n, NegotiationVerifying)
	case NegotiationVerifying:
		switch c.ask(n) {
		case later:
			return false
		case never:
			n.fail(c, refusedDetail)
		case spoken:
			c.enter(n, NegotiationVerified)
		}
	case NegotiationVerified:
		if !c.hear(n) {
			return false
		}
		n.settled()
		c.enter(n, NegotiationFinalized)
	case NegotiationTerminating:
		return n.terminate(c)
	default: // it rests
		return false
	}
	return true
}

// request is the provider's answer to what it is asked.
func (n *negotiation) request(c *Connector) bool {
	switch c.ask(n) {
	case later:
		return false
	case never:
		n.fail(c, refusedDetail)
		return true
	case spoken:
	}
	n.provider.counts.Negotiations++
	if n.offer == nil || n.offer.Region != "" && n.offer.Region != c.cfg.Region {
		n.provider.counts.Refused++
		n.fail(c, refusedDetail)
		return true
	}
	n.correlation, n.life = uuid.NewString(), n.provider.life
	c.enter(n, NegotiationRequested)
	return true
}

// agree is the provider's decision. To a request that names somebody else as the assigner it
// never says anything.
func (n *negotiation) agree(c *Connector) bool {
	if n.assigner != n.provider.participant || !c.hear(n) {
		return false
	}
	if !n.same {
		n.provider.counts.Refused++
		n.end(c)
		return false
	}
	n.agreement = &agreement{
		id: uuid.NewString(), negotiation: n.id, provider: n.provider, life: n.life,
		asset: n.offered, policy: n.offer, signed: time.Now(),
	}
	n.provider.counts.Agreements++
	n.provider.agreements[n.agreement.id] = n.agreement
	c.agreements[n.agreement.id] = n.agreement
	c.enter(n, NegotiationAgreed)
	return true
}

// fail is the consumer giving up.
func (n *negotiation) fail(c *Connector, detail string) {
	n.detail = detail
	c.enter(n, NegotiationTerminating)
}

// terminate tells the provider, if it was ever asked and still listens.
func (n *negotiation) terminate(c *Connector) bool {
	if n.correlation != "" {
		switch c.ask(n) {
		case later:
			return false
		case never:
			n.detail = refusedDetail
		case spoken:
			n.terminated++
			if n.assigner != n.provider.participant {
				n.detail = terminationDetail
			}
		}
	}
	n.settled()
	c.enter(n, NegotiationTerminated)
	return true
}

func (n *negotiation) end(c *Connector) {
	if n.stage == NegotiationFinalized {
		return
	}
	n.settled()
	c.enter(n, NegotiationTerminated)
}
