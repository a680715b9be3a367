package connectors

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/connectors/adapter"
	"github.com/waybill/waybill/schemas"
)

// States that we name where the connector has none for it.
const (
	stateLost       = "LOST" // the connector does not know it any more
	stateStarted    = "STARTED"
	stateCompleted  = "COMPLETED"
	stateTerminated = "TERMINATED"
	stateFinalized  = "FINALIZED"
)

func catalog(ctx context.Context, j job) agent.Result {
	w := adapter.Wish{AssetID: j.Input.String("assetId"), AssetType: j.Input.String("assetType")}
	if (w.AssetID == "") == (w.AssetType == "") {
		return agent.Fatal(errors.New("the input has neither or both of assetId and assetType")).AtStep(adapter.StepCatalog)
	}
	found, err := j.contracts.Catalog(ctx, j.party(), w)
	if err != nil {
		return adapter.Failed(err)
	}
	for i := range found.Offers {
		readable(&found.Offers[i])
	}
	return agent.Complete(struct {
		ParticipantID string            `json:"participantId,omitempty"`
		Offers        []adapter.Offered `json:"offers"`
	}{cmp.Or(j.CounterPartyID, found.ParticipantID), found.Offers})
}

// readable makes an offer with a policy that cannot cross the log one that is not accepted: the others are
// as good as before.
func readable(o *adapter.Offered) {
	if err := schemas.CheckReported(o.Policy); err != nil || nesting(o.Policy) > maxNesting {
		o.Policy, o.Constraints = json.RawMessage("{}"), ""
		o.Unacceptable = "its policy cannot be read by everybody alike, or is nested too deeply"
	}
}

// maxNesting is how deep a policy may be nested: what is around it on the log adds to that, up to the
// limit of a report.
const maxNesting = 64

func nesting(value json.RawMessage) int {
	depth, most := 0, 0
	for dec := json.NewDecoder(bytes.NewReader(value)); ; {
		t, err := dec.Token()
		if err != nil {
			return most
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
			most = max(most, depth)
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
}

func negotiate(ctx context.Context, j job) agent.Result {
	var in struct {
		AssetID string `json:"assetId"`
		Offer   struct {
			OfferID string          `json:"offerId"`
			Policy  json.RawMessage `json:"policy"`
		} `json:"offer"`
		Key string `json:"key"`
	}
	if err := j.Input.Decode(&in); err != nil {
		return agent.Fatal(err).AtStep(adapter.StepNegotiation)
	}
	id, err := j.contracts.Negotiate(ctx, j.party(), adapter.Offer{
		AssetID: in.AssetID, OfferID: in.Offer.OfferID, Policy: in.Offer.Policy, Key: in.Key, Callback: j.callback(), Repeat: j.repeat(),
	})
	if err != nil {
		return adapter.Failed(err)
	}
	return agent.Complete(map[string]string{"negotiationId": id})
}

// ended is what polling completes with.
type ended struct {
	State         string `json:"state"`
	AgreementID   string `json:"agreementId,omitempty"`
	AssetID       string `json:"assetId,omitempty"`
	Detail        string `json:"detail,omitempty"`
	AgreementDead bool   `json:"agreementDead,omitempty"`
}

func pollNegotiation(ctx context.Context, j job) agent.Result {
	n, err := j.contracts.Negotiation(ctx, j.Input.String("negotiationId"))
	switch {
	case errors.Is(err, adapter.ErrNotFound):
		return agent.Complete(ended{State: stateLost})
	case err != nil:
		return adapter.Failed(err)
	case n.State == stateFinalized, n.State == stateTerminated:
		return agent.Complete(ended{State: n.State, AgreementID: n.AgreementID, AssetID: n.AssetID, Detail: n.Detail})
	}
	return j.again(n.State)
}

func endNegotiation(ctx context.Context, j job) agent.Result {
	if err := j.contracts.EndNegotiation(ctx, j.Input.String("negotiationId"), j.Input.String("reason")); err != nil {
		return adapter.Failed(err)
	}
	return agent.Complete(struct{}{})
}

// polled is what is kept from one poll to the next.
type polled struct {
	State string `json:"state"`
	Times int    `json:"times,omitempty"` // that it was in that state
}

// again asks to be called again: soon where something has changed, else later each time.
func (j job) again(state string) agent.Result {
	var last polled
	if j.DecodeState(&last) != nil || last.State != state {
		last = polled{State: state}
	}
	after := j.most
	if last.Times < 32 { // a longer shift is no longer a number of this size
		after = min(j.most, max(j.first, j.first<<last.Times))
	}
	last.Times++
	return agent.Schedule(after).WithState(last)
}

// soon is when to ask again for what is there in a moment.
const soon = 50 * time.Millisecond
