package edc

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/waybill/waybill/consumers/connectors/adapter"
)

const negotiations = "/v3/contractnegotiations"

// States that negotiations and transfer processes end in.
const (
	stateFinalized  = "FINALIZED"
	stateTerminated = "TERMINATED"
)

// Negotiate implements adapter.Contracts.
func (c *Connector) Negotiate(ctx context.Context, p adapter.Party, o adapter.Offer) (string, error) {
	fatal := func(text string) (string, error) {
		return "", &adapter.Fault{Step: adapter.StepNegotiation, Err: errors.New(text)}
	}
	if p.ID == "" {
		// A request with another assigner than the provider is never answered.
		return fatal("nobody knows the participant id of " + p.Provider + ": its catalog does not say it; give it under participants")
	}
	policy := object(o.Policy)
	if policy == nil {
		return fatal("the offer's policy is no JSON object")
	}
	offerID := marked(o.OfferID, o.Key)
	if o.Repeat {
		id, err := c.negotiated(ctx, o, offerID)
		if err != nil || id != "" {
			return id, err
		}
	}
	request, err := offered(policy, offerID, p.ID, o.AssetID)
	if err != nil {
		return fatal(err.Error())
	}
	raw, failed := c.call(ctx, adapter.StepNegotiation, http.MethodPost, negotiations, map[string]any{
		"@type": "ContractRequest", "counterPartyAddress": p.Provider, "protocol": c.cfg.Protocol,
		"policy": request, "callbackAddresses": callbacks(o.Callback),
	})
	if failed != nil {
		return "", failed.err()
	}
	return created(adapter.StepNegotiation, raw)
}

// offered is the offer as it is asked for: word for word, with a context of its own and with
// who assigns it and for what.
func offered(policy node, id, assigner, target string) (map[string]json.RawMessage, error) {
	own := policy["@context"]
	policy.drop("assigner")
	policy.drop("target")
	for name, value := range map[string]any{
		"@context": policyContext(own), "@id": id, "assigner": assigner, "target": target,
	} {
		raw, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		policy[name] = raw
	}
	return policy, nil
}

// marked is an offer id with our key as its third part, which the provider does not check; an
// id of another form stays as it is.
func marked(offerID, key string) string {
	parts := strings.Split(offerID, ":")
	if len(parts) != 3 || key == "" {
		return offerID
	}
	parts[2] = base64.StdEncoding.EncodeToString([]byte(key))
	return strings.Join(parts, ":")
}

// negotiated looks for the negotiation that was asked for already; "" means that there is none.
func (c *Connector) negotiated(ctx context.Context, o adapter.Offer, offerID string) (string, error) {
	left, right := "contractOffers.id", offerID
	if offerID == o.OfferID {
		// It does not carry our key, and others may ask for the same offer.
		if o.Callback == "" {
			return "", nil
		}
		left, right = "callbackAddresses.uri", o.Callback
	}
	found, failed := c.find(ctx, adapter.StepNegotiation, negotiations, left, right)
	if failed != nil {
		return "", failed.err()
	}
	best, rank := "", -1
	for _, n := range found {
		if r := rankOf(n.text("state")); r > rank && sound(n.id()) {
			best, rank = n.id(), r
		}
	}
	return best, nil
}

// rankOf says which of several negotiations to go on with.
func rankOf(state string) int {
	switch state {
	case stateFinalized:
		return 2
	case stateTerminated, "TERMINATING":
		return 0
	}
	return 1
}

// Negotiation implements adapter.Contracts.
func (c *Connector) Negotiation(ctx context.Context, id string) (adapter.Negotiation, error) {
	raw, failed := c.call(ctx, adapter.StepNegotiation, http.MethodGet, negotiations+"/"+escape(id), nil)
	if failed != nil {
		return adapter.Negotiation{}, failed.err()
	}
	n := object(raw)
	got := adapter.Negotiation{State: stateOf(n), AgreementID: n.text("contractAgreementId"), Detail: shown(detail(n))}
	if got.State != stateFinalized {
		return got, nil
	}
	// Of a negotiation the connector names the asset that was asked for, of an agreement the one
	// that it is about.
	raw, failed = c.call(ctx, adapter.StepNegotiation, http.MethodGet, negotiations+"/"+escape(id)+"/agreement", nil)
	if failed != nil {
		if failed.is(http.StatusNotFound) {
			return got, &adapter.Fault{Step: adapter.StepNegotiation, Err: fmt.Errorf("negotiation %s is FINALIZED and has no agreement yet", id), Again: true}
		}
		return got, failed.err()
	}
	agreement := object(raw)
	got.AgreementID, got.AssetID = agreement.id(), agreement.text("assetId")
	if got.AgreementID != "" && !sound(got.AgreementID) || len(got.AssetID) > maxID {
		return got, &adapter.Fault{Step: adapter.StepNegotiation, Err: fmt.Errorf("negotiation %s brought an agreement whose ids are none: %.100q for %.100q", id, got.AgreementID, got.AssetID)}
	}
	return got, nil
}

// detail is what the connector says of an end: often the whole error of the other side, of
// which the reason is enough. What it says of a refused negotiation is a fault of its own that
// hides the reason.
func detail(n node) string {
	d := n.text("errorDetail")
	if told := object(json.RawMessage(d)); told != nil {
		if reason := strings.Join(texts(told.get("reason")), "; "); reason != "" {
			return strings.TrimPrefix(told.text("code")+": "+reason, ": ")
		}
	}
	if strings.Contains(d, "Value in JsonObjects name/value pair cannot be null") {
		return "the provider refused the request; why is only in the connector's own log"
	}
	return d
}

// EndNegotiation implements adapter.Contracts. What has ended, or was never there, is ended.
func (c *Connector) EndNegotiation(ctx context.Context, id, reason string) error {
	_, failed := c.call(ctx, adapter.StepTerminate, http.MethodPost, negotiations+"/"+escape(id)+"/terminate", map[string]any{
		"@type": "TerminateNegotiation", "@id": id, "reason": because(reason),
	})
	if failed == nil || failed.is(http.StatusNotFound) || failed.is(http.StatusConflict) {
		return nil
	}
	if failed.status == http.StatusInternalServerError {
		// So it answers for one that is FINALIZED, and if something is wrong.
		if n, err := c.Negotiation(ctx, id); err == nil && (n.State == stateFinalized || n.State == stateTerminated) {
			return nil
		}
	}
	return failed.err()
}

// because is a reason; without one the connector refuses the request.
func because(reason string) string {
	if reason == "" {
		return "no longer needed"
	}
	return reason
}
