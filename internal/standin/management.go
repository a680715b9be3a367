package standin

import (
	"io"
	"net/http"
	"strings"
	"time"
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
