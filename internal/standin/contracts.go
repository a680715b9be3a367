package standin

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// contractRequest is the body that begins a negotiation.
type contractRequest struct {
	ld
	CounterPartyAddress string                `json:"counterPartyAddress"`
	Protocol            string                `json:"protocol"`
	Policy              json.RawMessage       `json:"policy"`
	CallbackAddresses   list[callbackAddress] `json:"callbackAddresses"`
}

func (c *Connector) readContractRequest(k *call, body []byte) (func(*http.Request) reply, *reply) {
	var in contractRequest
	if refused := decode(body, &in); refused != nil {
		return nil, refused
	}
	if refused := mandatory(named{"counterPartyAddress", in.CounterPartyAddress}, named{"protocol", in.Protocol}, named{"policy", string(in.Policy)}); refused != nil {
		return nil, refused
	}
	o, err := readOffer(in.Policy)
	if err != nil {
		out := nothing(http.StatusBadRequest)
		return nil, &out
	}
	found, err := o.check()
	if err != nil {
		out := nothing(http.StatusBadRequest)
		return nil, &out
	}
	k.provider, k.asset = c.party(in.CounterPartyAddress, in.Protocol), o.target
	return c.locked(func() reply { return c.negotiate(k, &in, o) }), invalid(found)
}

// party is the provider at an address, as long as it is that of the protocol.
func (c *Connector) party(address, protocol string) *Provider {
	if p := c.byAddress[trimmed(address)]; p.protocol == protocol {
		return p.provider
	}
	return nil
}

// negotiate begins a negotiation; that there has been one like it does not matter.
func (c *Connector) negotiate(k *call, in *contractRequest, o *offer) reply {
	n := &negotiation{offerID: o.id, assigner: o.assigner}
	n.process = process{
		id: uuid.NewString(), created: time.Now(), provider: k.provider, protocol: in.Protocol, address: in.CounterPartyAddress,
		assetID: o.target, callbacks: addresses(in.CallbackAddresses), counted: k.counted,
	}
	k.counted = nil
	n.offered, n.offer = k.provider.named(o.id)
	if n.offer != nil {
		said, err := o.canonical()
		n.same = err == nil && said == n.offer.canonical
	}
	c.negotiations[n.id] = n
	c.negotiationList = append(c.negotiationList, n)
	c.enter(n, NegotiationInitial)
	c.drive(n)
	return idResponse(n.id, n.created)
}

func addresses(in []callbackAddress) []callbackAddress {
	for i := range in {
		in[i].Type = ""
	}
	return in
}

func (c *Connector) oneNegotiation(op Op, n *negotiation) reply {
	switch op {
	case NegotiationState:
		return state("NegotiationState", n.stage)
	case GetAgreement:
		return answer(n.agreement.shown(c.cfg.Participant))
	case TerminateNegotiation:
		if n.stage == NegotiationFinalized {
			return nothing(http.StatusInternalServerError)
		}
		c.enter(n, NegotiationTerminating)
		c.drive(n)
		return noContent()
	case DeleteNegotiation:
		return c.deleteNegotiation(n)
	default:
		return answer(n.shown())
	}
}

func (c *Connector) deleteNegotiation(n *negotiation) reply {
	switch {
	case n.agreement != nil:
		return failed(http.StatusConflict, "Cannot delete ContractNegotiation [ID="+n.id+"] - ContractAgreement already created.")
	case n.stage != NegotiationTerminated:
		return failed(http.StatusConflict, "Cannot delete negotiation in state: "+strconv.Itoa(n.stage.code()))
	}
	delete(c.negotiations, n.id)
	c.negotiationList = slices.DeleteFunc(c.negotiationList, func(o *negotiation) bool { return o == n })
	return noContent()
}

// shown is a negotiation as it is answered.
func (n *negotiation) shown() any {
	out := struct {
		Type        string                `json:"@type"`
		ID          string                `json:"@id"`
		Side        string                `json:"type"`
		Protocol    string                `json:"protocol"`
		State       string                `json:"state"`
		Party       string                `json:"counterPartyId"`
		Address     string                `json:"counterPartyAddress"`
		Callbacks   compact[shownAddress] `json:"callbackAddresses"`
		Created     int64                 `json:"createdAt"`
		AssetID     string                `json:"assetId"`
		Agreement   string                `json:"contractAgreementId,omitempty"`
		Detail      string                `json:"errorDetail,omitempty"`
		Correlation string                `json:"correlationId,omitempty"`
		ld
	}{
		"ContractNegotiation", n.id, "CONSUMER", n.protocol, n.stage.State(), n.assigner, n.address, n.shownAddresses(),
		n.created.UnixMilli(), n.assetID, "", n.detail, n.correlation, closing(),
	}
	if n.agreement != nil {
		out.Agreement = n.agreement.id
	}
	return out
}

// shownAddress is a callback address as it is answered.
type shownAddress struct {
	Type          string          `json:"@type"`
	Transactional bool            `json:"transactional"`
	URI           string          `json:"uri"`
	Events        compact[string] `json:"events"`
}

func (p *process) shownAddresses() compact[shownAddress] {
	out := make(compact[shownAddress], len(p.callbacks))
	for i, a := range p.callbacks {
		out[i] = shownAddress{"CallbackAddress", a.Transactional, a.URI, compact[string](a.Events)}
	}
	return out
}

// shown is an agreement as it is answered.
func (a *agreement) shown(consumer string) any {
	rule := `{"@id":` + quoted(a.id) + `,"@type":"odrl:Agreement"` + a.policy.in08 + `,"odrl:assignee":` + quoted(consumer) +
		`,"odrl:assigner":` + quoted(a.provider.participant) + `,"odrl:target":{"@id":` + quoted(a.asset.ID) + `}}`
	return struct {
		Type     string          `json:"@type"`
		ID       string          `json:"@id"`
		AssetID  string          `json:"assetId"`
		Policy   json.RawMessage `json:"policy"`
		Signed   int64           `json:"contractSigningDate"`
		Consumer string          `json:"consumerId"`
		Provider string          `json:"providerId"`
		ld
	}{"ContractAgreement", a.id, a.asset.ID, json.RawMessage(rule), a.signed.Unix(), consumer, a.provider.participant, closing()}
}
