package standin

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// maxBody is what is read of a request.
const maxBody = 4 << 20

// call is a request of the management API: what it is and what it is about.
type call struct {
	op       Op
	id       string
	provider *Provider
	asset    string
	counted  *int // where it counts as under way
	expired  bool // ?auto_refresh=true
}

// routes are the requests by method and the path below /v3, with {} for an id.
var routes = map[string]Op{
	"POST catalog/request":                   Catalog,
	"POST contractnegotiations":              Negotiate,
	"POST contractnegotiations/request":      FindNegotiations,
	"GET contractnegotiations/{}":            GetNegotiation,
	"DELETE contractnegotiations/{}":         DeleteNegotiation,
	"GET contractnegotiations/{}/state":      NegotiationState,
	"GET contractnegotiations/{}/agreement":  GetAgreement,
	"POST contractnegotiations/{}/terminate": TerminateNegotiation,
	"POST transferprocesses":                 RequestTransfer,
	"POST transferprocesses/request":         FindTransfers,
	"GET transferprocesses/{}":               GetTransfer,
	"GET transferprocesses/{}/state":         TransferState,
	"POST transferprocesses/{}/terminate":    TerminateTransfer,
	"POST transferprocesses/{}/suspend":      SuspendTransfer,
	"POST transferprocesses/{}/resume":       ResumeTransfer,
	"POST transferprocesses/{}/deprovision":  DeprovisionTransfer,
	"POST edrs/request":                      FindEDRs,
	"GET edrs/{}/dataaddress":                GetEDR,
	"POST edrs/{}/refresh":                   RefreshEDR,
	"DELETE edrs/{}":                         DeleteEDR,
}

// route finds out what is asked.
func route(r *http.Request) (Op, string, bool) {
	path, ok := strings.CutPrefix(r.URL.Path, "/management/v3/")
	if !ok {
		return "", "", false
	}
	if op, ok := routes[r.Method+" "+path]; ok {
		return op, "", true
	}
	kind, rest, _ := strings.Cut(path, "/")
	id, verb, more := strings.Cut(rest, "/")
	if more {
		verb = "/" + verb
	}
	op, ok := routes[r.Method+" "+kind+"/{}"+verb]
	return op, id, ok && id != ""
}

// manage answers a request of the management API.
func (c *Connector) manage(w http.ResponseWriter, r *http.Request) {
	if refused := c.authenticate(r); refused != nil {
		refused.write(w)
		return
	}
	op, id, ok := route(r)
	if !ok {
		page(r, c.base+r.URL.Path, http.StatusNotFound).write(w)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		failed(http.StatusBadRequest, err.Error()).write(w)
		return
	}
	k := call{op: op, id: id, expired: r.URL.Query().Get("auto_refresh") == "true"}
	do, refused := c.read(&k, body)
	c.arrived(&k)
	defer c.left(&k)
	out, lost := c.carryOut(r, &k, do, refused)
	if out.body == nil && out.status >= http.StatusBadRequest {
		out = page(r, c.base+r.URL.Path, out.status)
	}
	if lost {
		cut()
	}
	out.write(w)
}

// carryOut does what was asked for, after the faults have had their way.
func (c *Connector) carryOut(r *http.Request, k *call, do func(*http.Request) reply, refused *reply) (out reply, lost bool) {
	if c.faults.armed.Load() {
		var struck *reply
		if struck, lost = c.suffer(r, *k); struck != nil {
			return *struck, false
		}
	}
	if refused != nil {
		return *refused, lost
	}
	return do(r), lost
}

func (c *Connector) authenticate(r *http.Request) *reply {
	key := r.Header.Get("x-api-key")
	if c.cfg.APIKey == "" || key == c.cfg.APIKey {
		return nil
	}
	c.mu.Lock()
	c.wrongKeys++
	c.mu.Unlock()
	message := "Request could not be authenticated"
	if key == "" {
		message = "x-api-key not found"
	}
	refused := failed(http.StatusUnauthorized, message)
	return &refused
}

// arrived counts a request, and what it puts under way at a provider.
func (c *Connector) arrived(k *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests[k.op]++
	if k.provider == nil {
		return
	}
	now := &k.provider.now
	switch k.op {
	case Catalog:
		k.counted = &now.catalogs
	case Negotiate:
		k.counted = &now.negotiations
	case RequestTransfer:
		k.counted = &now.transfers
	default:
		return
	}
	now.begin(k.counted)
}

// left ends what arrived began, unless a negotiation or a transfer goes on with it.
func (c *Connector) left(k *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k.counted != nil {
		*k.counted--
		k.counted = nil
	}
}

// suffer lets the faults of a request happen. It says what is answered instead, if anything
// is, and whether the answer is to be lost.
func (c *Connector) suffer(r *http.Request, k call) (instead *reply, lost bool) {
	c.mu.Lock()
	struck := c.faults.onRequest(k.op, k.provider.name(), k.asset)
	c.mu.Unlock()
	for _, f := range struck {
		switch f.request.kind {
		case slow:
			if !pause(r.Context(), f.request.take) {
				cut()
			}
		case refuse:
			out := failed(f.request.status, "refused by a fault")
			return &out, false
		case refusePage:
			out := page(r, r.URL.Path, f.request.status)
			return &out, false
		case boot:
			out := page(r, r.URL.Path, http.StatusMethodNotAllowed)
			if r.Method == http.MethodGet {
				out = page(r, r.URL.Path, http.StatusNotFound)
			}
			return &out, false
		case hang:
			select {
			case <-f.mended:
			case <-r.Context().Done():
				cut()
			}
		case cutOff:
			cut()
		case loseReply:
			return nil, true
		}
	}
	return nil, false
}

// read finds out what a request is about and how to answer it.
func (c *Connector) read(k *call, body []byte) (func(*http.Request) reply, *reply) {
	switch k.op {
	case Catalog:
		return c.readCatalog(k, body)
	case Negotiate:
		return c.readContractRequest(k, body)
	case RequestTransfer:
		return c.readTransferRequest(k, body)
	case FindNegotiations, FindTransfers, FindEDRs:
		q, refused := readQuery(body)
		return c.locked(func() reply { return c.search(k.op, q) }), refused
	default: // about one thing, which it names
	}
	c.about(k)
	reason, refused := readReason(k.op, body)
	return c.locked(func() reply { return c.one(k, reason) }), refused
}

// locked does something with the connector's memory at hand, unless it is dead: then nobody
// will read the answer.
func (c *Connector) locked(f func() reply) func(*http.Request) reply {
	return func(*http.Request) reply {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.up {
			return reply{status: http.StatusServiceUnavailable}
		}
		return f()
	}
}

// about says which provider and asset a request by id is about, for the faults.
func (c *Connector) about(k *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.negotiations[k.id]; n != nil {
		k.provider, k.asset = n.provider, n.assetID
	} else if t := c.transfers[k.id]; t != nil {
		k.provider, k.asset = t.provider, t.assetID
	}
}

// readReason reads the bodies of the verbs that need one.
func readReason(op Op, body []byte) (string, *reply) {
	var in struct {
		ld
		ID     string `json:"@id"`
		Reason string `json:"reason"`
	}
	switch op {
	case TerminateNegotiation, TerminateTransfer, SuspendTransfer:
	default:
		return "", nil
	}
	if refused := decode(body, &in); refused != nil {
		return "", refused
	}
	if op == TerminateNegotiation && in.ID == "" {
		return "", invalid([]problem{{Message: "@id cannot be null or blank", Path: "@id"}})
	}
	return in.Reason, mandatory(named{"reason", in.Reason})
}

// search answers a QuerySpec.
func (c *Connector) search(op Op, q *query) reply {
	const model = "org.eclipse.edc.connector.controlplane."
	shown := []any{}
	switch op {
	case FindNegotiations:
		found, refused := find(c.negotiationList, q, model+"contract.spi.types.negotiation.ContractNegotiation")
		if refused != nil {
			return *refused
		}
		for _, n := range found {
			shown = append(shown, n.shown())
		}
	case FindTransfers:
		found, refused := find(c.transferList, q, model+"transfer.spi.types.TransferProcess")
		if refused != nil {
			return *refused
		}
		for _, t := range found {
			shown = append(shown, t.shown())
		}
	default:
		var all []*edr
		for _, t := range c.transferList {
			if e := c.edrs[t.id]; e != nil {
				all = append(all, e)
			}
		}
		found, refused := find(all, q, "EndpointDataReferenceEntry")
		if refused != nil {
			return *refused
		}
		for _, e := range found {
			shown = append(shown, e.shown())
		}
	}
	return answer(shown)
}

// one answers a request about one negotiation, transfer or EDR.
func (c *Connector) one(k *call, reason string) reply {
	switch k.op {
	case GetEDR:
		return c.getEDR(k.id, k.expired && c.expired(k.id))
	case RefreshEDR:
		return c.getEDR(k.id, true)
	case DeleteEDR:
		if c.edrs[k.id] == nil {
			return failed(http.StatusBadRequest, "Secret with key edr--"+k.id+" does not exist")
		}
		delete(c.edrs, k.id)
		return noContent()
	case GetNegotiation, NegotiationState, GetAgreement, TerminateNegotiation, DeleteNegotiation:
		n := c.negotiations[k.id]
		if n == nil || k.op == GetAgreement && n.agreement == nil {
			return notFound("ContractNegotiation", k.id)
		}
		return c.oneNegotiation(k.op, n)
	default:
		t := c.transfers[k.id]
		if t == nil {
			return notFound("TransferProcess", k.id)
		}
		return c.oneTransfer(k.op, t, reason)
	}
}

// state is the answer to what state something is in.
func state(kind string, s Stage) reply {
	return reply{http.StatusOK, "application/json", []byte(`{"@type":"` + kind + `","state":"` + s.State() + `","@context":` + managementContext + `}`)}
}

// idResponse is the answer to what was begun.
func idResponse(id string, at time.Time) reply {
	return answer(struct {
		Type    string `json:"@type"`
		ID      string `json:"@id"`
		Created int64  `json:"createdAt"`
		ld
	}{"IdResponse", id, at.UnixMilli(), closing()})
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
