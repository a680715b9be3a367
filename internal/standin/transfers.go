package standin

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// transferRequest is the body that begins a transfer.
type transferRequest struct {
	ld
	ID                  string                `json:"@id"`
	CounterPartyAddress string                `json:"counterPartyAddress"`
	Protocol            string                `json:"protocol"`
	ContractID          string                `json:"contractId"`
	TransferType        string                `json:"transferType"`
	DataDestination     destination           `json:"dataDestination"`
	PrivateProperties   map[string]any        `json:"privateProperties"`
	CallbackAddresses   list[callbackAddress] `json:"callbackAddresses"`
}

func (c *Connector) readTransferRequest(k *call, body []byte) (func(*http.Request) reply, *reply) {
	var in transferRequest
	if refused := decode(body, &in); refused != nil {
		return nil, refused
	}
	refused := mandatory(named{"counterPartyAddress", in.CounterPartyAddress}, named{"contractId", in.ContractID},
		named{"protocol", in.Protocol}, named{"transferType", in.TransferType})
	if refused != nil {
		return nil, refused
	}
	k.provider = c.party(in.CounterPartyAddress, in.Protocol)
	c.mu.Lock()
	known := c.agreements[in.ContractID]
	c.mu.Unlock()
	if known != nil {
		k.asset = known.asset.ID
	}
	return c.locked(func() reply { return c.transfer(k, &in) }), nil
}

// transfer begins a transfer. The id of one that there is already breaks that: the provider
// knows it and does not start again.
func (c *Connector) transfer(k *call, in *transferRequest) reply {
	known := c.agreements[in.ContractID]
	if known == nil {
		return failed(http.StatusBadRequest, "Contract agreement with id "+in.ContractID+" not found")
	}
	t := &transfer{
		contractID: in.ContractID, agreement: known, kind: in.TransferType, destination: in.DataDestination,
		private: map[string]string{}, told: &Told{},
	}
	for name, v := range in.PrivateProperties {
		if text, ok := v.(string); ok {
			t.private[strings.TrimPrefix(name, nsEDC)] = text
		}
	}
	if in.ID == "" {
		in.ID = uuid.NewString()
	}
	t.process = process{
		id: in.ID, created: time.Now(), provider: k.provider, protocol: in.Protocol, address: in.CounterPartyAddress,
		assetID: known.asset.ID, callbacks: addresses(in.CallbackAddresses), counted: k.counted,
	}
	k.counted = nil
	c.replace(t)
	c.enter(t, TransferInitial)
	c.drive(t)
	return idResponse(t.id, t.created)
}

// replace puts a transfer where one of its id may be.
func (c *Connector) replace(t *transfer) {
	old := c.transfers[t.id]
	c.transfers[t.id] = t
	if old == nil {
		c.transferList = append(c.transferList, t)
		return
	}
	old.turn++ // whatever was to become of it
	old.settled()
	t.told, t.again = old.told, old.told.Requests > 0
	c.transferList[slices.Index(c.transferList, old)] = t
}

// verb is a command that a transfer can be given.
type verb struct {
	command string
	from    []Stage
	to      Stage
}

var verbs = map[Op]verb{
	TerminateTransfer: {"TerminateTransferCommand", []Stage{
		TransferInitial, TransferProvisioned, TransferRequesting, TransferRequested, TransferStarted,
		TransferSuspending, TransferSuspended, TransferResuming,
	}, TransferTerminating},
	SuspendTransfer:     {"SuspendTransferCommand", []Stage{TransferStarted}, TransferSuspending},
	ResumeTransfer:      {"ResumeTransferCommand", []Stage{TransferSuspended}, TransferResuming},
	DeprovisionTransfer: {"DeprovisionRequest", []Stage{TransferCompleted, TransferTerminated}, TransferDeprovisioning},
}

func (c *Connector) oneTransfer(op Op, t *transfer, reason string) reply {
	if op == TransferState {
		return state("TransferState", t.stage)
	}
	v, ok := verbs[op]
	if !ok {
		return answer(t.shown())
	}
	if !slices.Contains(v.from, t.stage) {
		return failed(http.StatusConflict, "Could not execute "+v.command+" on TransferProcess with ID ["+t.id+"] because it's "+t.stage.State())
	}
	if reason != "" {
		t.detail = reason
	}
	c.enter(t, v.to)
	c.drive(t)
	return noContent()
}

// shown is a transfer as it is answered.
func (t *transfer) shown() any {
	return struct {
		ID          string                `json:"@id"`
		Type        string                `json:"@type"`
		State       string                `json:"state"`
		Since       int64                 `json:"stateTimestamp"`
		Side        string                `json:"type"`
		Callbacks   compact[shownAddress] `json:"callbackAddresses"`
		Correlation string                `json:"correlationId,omitempty"`
		AssetID     string                `json:"assetId"`
		Contract    string                `json:"contractId"`
		Kind        string                `json:"transferType"`
		Detail      string                `json:"errorDetail,omitempty"`
		Destination destination           `json:"dataDestination"`
		ld
	}{
		t.id, "TransferProcess", t.stage.State(), t.since.UnixMilli(), "CONSUMER", t.shownAddresses(), t.correlation,
		t.assetID, t.contractID, t.kind, t.detail, t.destination, closing(),
	}
}
