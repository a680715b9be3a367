package query

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/waybill/waybill/domain/partstree"
	"github.com/waybill/waybill/internal/seal"
	"github.com/waybill/waybill/projections"
)

// accessFilter reads the parameters of the lists of transfers and negotiations.
func accessFilter(v url.Values) (projections.AccessFilter, error) {
	f := projections.AccessFilter{
		State: v.Get("state"), Provider: v.Get("provider"), Connector: v.Get("connector"), Asset: v.Get("asset"), Job: v.Get("job"), Cursor: v.Get("cursor"),
	}
	// Providers are known by one spelling of their address; what is none is nobody's.
	if address, err := partstree.NormalizeURL(f.Provider); err == nil {
		f.Provider = address
	}
	var err error
	f.Limit, err = limit(v)
	return f, err
}

func (q *queries) transfers(w http.ResponseWriter, r *http.Request) error {
	f, err := accessFilter(r.URL.Query())
	if err != nil {
		return err
	}
	p, err := q.db.Transfers(r.Context(), f)
	return answerPage(w, p, err)
}

func (q *queries) transfer(w http.ResponseWriter, r *http.Request) error {
	return q.shown(w, r, q.db.WaitTransferOver, q.db.TransferDocument)
}

func (q *queries) negotiations(w http.ResponseWriter, r *http.Request) error {
	f, err := accessFilter(r.URL.Query())
	if err != nil {
		return err
	}
	p, err := q.db.Negotiations(r.Context(), f)
	return answerPage(w, p, err)
}

func (q *queries) negotiation(w http.ResponseWriter, r *http.Request) error {
	return q.shown(w, r, q.db.WaitNegotiated, q.db.NegotiationDocument)
}

// wish answers with what has become of a wish for access.
func (q *queries) wish(w http.ResponseWriter, r *http.Request) error {
	return q.shown(w, r, q.db.WaitAnswered, func(ctx context.Context, waiter string) ([]byte, error) {
		x, err := q.db.Wish(ctx, waiter)
		if err != nil {
			return nil, err
		}
		return json.Marshal(x)
	})
}

// shown answers with a document, after its end where the request waits for that.
func (q *queries) shown(w http.ResponseWriter, r *http.Request, end func(context.Context, string) error, document func(context.Context, string) ([]byte, error)) error {
	id := r.PathValue("id")
	d, err := q.wait(r.URL.Query())
	if err != nil {
		return err
	}
	if err := q.ended(r.Context(), id, d, end); err != nil {
		return err
	}
	doc, err := document(r.Context(), id)
	if err != nil {
		return err
	}
	return answer(w, doc)
}

// history answers with the events of one thing.
func (q *queries) history(events func(ctx context.Context, id string, after int64, limit int, from string) (projections.Page, error)) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		v := r.URL.Query()
		n, err := limit(v)
		if err != nil {
			return err
		}
		after, err := number(v, "after")
		if err != nil {
			return err
		}
		p, err := events(r.Context(), r.PathValue("id"), after, n, v.Get("cursor"))
		return answerPage(w, p, err)
	}
}

// edrDoc is an endpoint data reference for whoever may have it.
type edrDoc struct {
	NegotiationID string          `json:"negotiationId"`
	ProcessID     *string         `json:"processId"`
	State         string          `json:"state"`
	Since         time.Time       `json:"since"`
	ExpiresAt     *time.Time      `json:"expiresAt"`
	Endpoint      string          `json:"endpoint"`
	Authorization string          `json:"authorization"`
	DataAddress   json.RawMessage `json:"dataAddress"` // all of it, as the connector gave it
}

// edr answers with the EDR of a negotiation. It is opened for this answer alone, and given only where
// a token keeps everybody else out: a server on a loopback address without one would give it to
// whoever is on the machine.
func (q *queries) edr(w http.ResponseWriter, r *http.Request) error {
	if !q.cfg.Guarded {
		return &forbiddenError{"an EDR is only given to who has the server's token, and this server has none: start it with --token-file"}
	}
	e, err := q.db.EDR(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	if e.Sealed == nil {
		return &noEDRError{e.NegotiationID, e.EDR.State}
	}
	if q.cfg.Keys == nil {
		return &forbiddenError{"this server has no keys to open EDRs with: give it those of the others with --seal-keys-file"}
	}
	var sealed seal.Sealed
	if err := json.Unmarshal(e.Sealed, &sealed); err != nil {
		return err
	}
	open, err := q.cfg.Keys.Open(seal.EDR(e.Connector), sealed)
	if err != nil {
		return err
	}
	doc := edrDoc{
		NegotiationID: e.NegotiationID, ProcessID: e.EDR.ProcessID, State: e.EDR.State,
		Since: e.EDR.Since, ExpiresAt: e.EDR.ExpiresAt, DataAddress: open.Reveal(),
	}
	doc.Endpoint, doc.Authorization = addressOf(open)
	w.Header().Set("Pragma", "no-cache") // for what lies between and knows no better
	return answerValue(w, doc)
}

// addressOf finds where and with which token. Connectors write a data address flat, or its members
// below properties, with and without their namespace.
func addressOf(open seal.Secret) (endpoint, authorization string) {
	var flat map[string]json.RawMessage
	if open.Decode(&flat) != nil {
		return "", ""
	}
	if below, ok := flat["properties"]; ok {
		var deep map[string]json.RawMessage
		if json.Unmarshal(below, &deep) == nil {
			for name, v := range deep {
				if _, there := flat[name]; !there {
					flat[name] = v
				}
			}
		}
	}
	for name, v := range flat {
		var s string
		if json.Unmarshal(v, &s) != nil {
			continue
		}
		switch name[strings.LastIndexAny(name, "/:#")+1:] {
		case "endpoint":
			endpoint = s
		case "authorization":
			authorization = s
		}
	}
	return endpoint, authorization
}
