package intake

import (
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/domain/transfer"
	"github.com/waybill/waybill/producers"
	"github.com/waybill/waybill/schemas"
)

// startTransfer asks for a transfer.
func (in *Intake) startTransfer(w http.ResponseWriter, r *http.Request) error {
	body, _, err := in.readObject(w, r, false)
	if err != nil {
		return err
	}
	id, fresh, err := identify(r, body, "id")
	if err != nil {
		return err
	}
	if err := foreign(body, "asker"); err != nil {
		return err
	}
	for _, name := range []string{"destination", "manifest", "properties"} {
		if body[name] == nil {
			continue
		}
		if body[name], err = producers.SealSecrets(in.cfg.Keys, id, name, body[name]); err != nil {
			return err
		}
	}
	value, err := body.encode()
	if err != nil {
		return err
	}
	if _, err := schemas.DecodeTransferCommand(schemas.TransferInitiate, value); err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/transfers/"+url.PathEscape(id))
	return in.command(w, r, producers.Command{
		Aggregate: schemas.AggregateTransfer, ID: in.again(r.Context(), fresh, producers.InitiateID(id, value)), Type: schemas.TransferInitiate,
		Key: id, Value: value, TraceParent: r.Header.Get("traceparent"),
	}, http.StatusCreated)
}

// identify takes the id out of a body: the one it has, else that of the Idempotency-Key, else a new one.
// fresh says that nobody can have said it before.
func identify(r *http.Request, body object, name string) (id string, fresh bool, err error) {
	id, err = body.text(name)
	if err != nil {
		return "", false, err
	}
	key, err := idempotencyKey(r)
	switch {
	case err != nil:
		return "", false, err
	case id != "":
	case key != "":
		id = producers.IDFromKey(key)
	default:
		id, fresh = producers.NewID(), true
	}
	return id, fresh, producers.CheckID(name, id)
}

// foreign refuses a member that only machines write: by it an answer goes to another aggregate.
func foreign(body object, name string) error {
	if _, ok := body[name]; ok {
		return misfit(name, "is for the machines: nobody else is answered by it")
	}
	return nil
}

// operateTransfer says one of the verbs of a transfer.
func (in *Intake) operateTransfer(v producers.Verb) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		id := r.PathValue("id")
		if producers.CheckID("id", id) != nil {
			return fail(http.StatusNotFound, "there is no transfer %q", id)
		}
		_, value, err := in.readObject(w, r, true)
		if err != nil {
			return err
		}
		c, err := schemas.DecodeTransferCommand(v.Type, value)
		if err != nil {
			return err
		}
		if c, ok := c.(transfer.Terminate); ok && (c.By == transfer.ByAsker || c.By == transfer.ByConnector) {
			return misfit("by", "is for the machines: whoever asked for the transfer would not be answered")
		}
		key, err := idempotencyKey(r)
		if err != nil {
			return err
		}
		cmd := order(r, v, id, "", key, value)
		cmd.Aggregate = schemas.AggregateTransfer
		return in.command(w, r, cmd, http.StatusOK)
	}
}

// wished is the answer to a wish for access. Its id is the waiter's.
type wished struct {
	producers.Accepted
	Negotiation string `json:"negotiation"` // the aggregate
	// NegotiationID is the round that is, or was, about the asset, once the wish is decided.
	NegotiationID string `json:"negotiationId,omitempty"`
}

// acquire asks for access to an asset, or to all of a type.
func (in *Intake) acquire(w http.ResponseWriter, r *http.Request) error {
	body, _, err := in.readObject(w, r, false)
	if err != nil {
		return err
	}
	if body["id"] != nil && body["waiter"] == nil { // who waits is what the request makes
		body["waiter"] = body["id"]
		delete(body, "id")
	}
	waiter, fresh, err := identify(r, body, "waiter")
	if err == nil {
		err = foreign(body, "reply")
	}
	if err != nil {
		return err
	}
	if body["waiter"], err = json.Marshal(waiter); err != nil {
		return err
	}
	if body["need"] == nil {
		body["need"] = json.RawMessage(`"` + negotiation.NeedEDR + `"`)
	}
	key, err := in.counterparty(body)
	if err != nil {
		return err
	}
	value, err := body.encode()
	if err != nil {
		return err
	}
	c, err := schemas.DecodeNegotiationCommand(schemas.NegotiationAcquire, value)
	if err != nil {
		return err
	}
	accepted, decided, err := in.decide(w, r, producers.Command{
		Aggregate: schemas.AggregateNegotiation, ID: in.again(r.Context(), fresh, producers.AcquireID(key, value)), Type: schemas.NegotiationAcquire,
		Key: key, Value: value, TraceParent: r.Header.Get("traceparent"),
	})
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/wishes/"+url.PathEscape(waiter))
	accepted.ID = waiter
	a, status := wished{Accepted: accepted, Negotiation: key}, http.StatusAccepted
	if wish, ok := c.(negotiation.Acquire); ok && decided {
		status = http.StatusOK
		if wish.AssetID != "" {
			if a.NegotiationID, err = in.cfg.Reads.Negotiation(r.Context(), key, wish.AssetID); err != nil {
				return err
			}
		}
	}
	answer(w, status, a, accepted.Position)
	return nil
}

// counterparty is the key of a wish. Which connector the provider is spoken to through is looked up in the
// configuration, unless the body says it.
func (in *Intake) counterparty(body object) (string, error) {
	provider, err := body.peek("provider")
	if err != nil {
		return "", err
	}
	connector, err := body.peek("connector")
	if err != nil {
		return "", err
	}
	if provider == "" {
		return "", misfit("provider", "is needed: the address of its connector")
	}
	if connector == "" && in.cfg.Connector != nil {
		if connector, err = in.cfg.Connector(provider); err != nil {
			return "", misfit("provider", err.Error())
		}
		if connector == "" {
			return "", misfit("provider", "is spoken to without a connector: there is nothing to be negotiated")
		}
		if body["connector"], err = json.Marshal(connector); err != nil {
			return "", err
		}
	}
	return producers.NegotiationKey(connector, provider)
}
