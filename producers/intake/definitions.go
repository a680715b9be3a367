package intake

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/producers"
	"github.com/waybill/waybill/schemas"
)

// kind is what a definition defines: in the key of its aggregate, and in the path.
type kind struct{ name, path string }

var kinds = []kind{{"orchestration", "orchestrations"}, {"activity", "activities"}}

// definitionAnswer is the body of an answer about a definition.
type definitionAnswer struct {
	producers.Accepted
	Kind    string `json:"kind"`
	Type    string `json:"type"`
	Version int    `json:"version,omitempty"`
	// Result is what the command did: created, changed, unchanged or deleted; pending
	// where that was not known in time.
	Result string `json:"result"`
}

func (in *Intake) putDefinition(k kind) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		typ := r.PathValue("type")
		if err := producers.CheckID("type", typ); err != nil {
			return err
		}
		body, _, err := in.readObject(w, r, false)
		if err != nil {
			return err
		}
		if err := body.setType(typ); err != nil {
			return err
		}
		value, err := body.encode()
		if err != nil {
			return err
		}
		if value, err = forSet(r, k, value); err != nil {
			return err
		}
		before, err := in.version(r, k, typ)
		if err != nil {
			return err
		}
		return in.define(w, r, k, typ, schemas.DefinitionPut, value, func(d Decision) (int, string) {
			switch {
			case before == 0 && d.Changed:
				return http.StatusCreated, "created"
			case d.Changed:
				return http.StatusOK, "changed"
			}
			return http.StatusOK, "unchanged"
		})
	}
}

// forSet puts into the command what the query says of whose the definition is.
func forSet(r *http.Request, k kind, value []byte) ([]byte, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fail(http.StatusBadRequest, "the query cannot be read: %v", err)
	}
	put := definition.Put{Kind: k.name, Definition: value, Set: q.Get("set")}
	if v := q.Get("takeOver"); v != "" {
		if put.TakeOver, err = strconv.ParseBool(v); err != nil {
			return nil, fail(http.StatusBadRequest, "takeOver=%s: want true or false", v)
		}
	}
	if put.Set == "" {
		return value, nil
	}
	if err := definition.CheckName(put.Set); err != nil {
		return nil, fail(http.StatusBadRequest, "set: %v", err)
	}
	return schemas.Encode(put)
}

func (in *Intake) deleteDefinition(k kind) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		typ := r.PathValue("type")
		version, err := in.version(r, k, typ)
		if err != nil {
			return err
		}
		if version == 0 {
			return fail(http.StatusNotFound, "there is no %s definition %q", k.name, typ)
		}
		users, err := in.cfg.Reads.InUse(r.Context(), k.name, typ)
		if err != nil {
			return err
		}
		if users != "" {
			return conflict("%s definition %s is in use: %s", k.name, typ, users)
		}
		return in.define(w, r, k, typ, schemas.DefinitionDelete, []byte("{}"), func(Decision) (int, string) {
			return http.StatusOK, "deleted"
		})
	}
}

// version is that of the definition in force, 0 where there is none.
func (in *Intake) version(r *http.Request, k kind, typ string) (int, error) {
	v, err := in.cfg.Reads.Definition(r.Context(), k.name, typ)
	if errors.Is(err, ErrUnknown) {
		return 0, nil
	}
	return v, err
}

// define publishes a command of a definition and waits for its decision, however long
// that was asked to take: who defines something wants to know whether it stands.
func (in *Intake) define(w http.ResponseWriter, r *http.Request, k kind, typ, command string, value []byte, result func(Decision) (int, string)) error {
	key := k.name + "/" + typ
	id, err := newCommandID(r, command, key)
	if err != nil {
		return err
	}
	accepted, err := in.publish(r.Context(), producers.Command{
		Aggregate: schemas.AggregateDefinition, ID: id, Type: command, Key: key, Value: value,
		TraceParent: r.Header.Get("traceparent"),
	})
	if err != nil {
		return err
	}
	a := definitionAnswer{Accepted: accepted, Kind: k.name, Type: typ}
	d, err := in.decision(r.Context(), accepted, in.cfg.MaxWait)
	switch {
	case errors.Is(err, ErrUndecided):
		a.Result = "pending"
		answer(w, http.StatusAccepted, a, accepted.Position)
		return nil
	case err != nil:
		return err
	}
	var status int
	status, a.Result = result(d)
	if a.Version, err = in.version(r, k, typ); err != nil {
		return err
	}
	answer(w, status, a, accepted.Position)
	return nil
}

// setType makes the body's type that of the path, which is where it belongs to.
func (o object) setType(typ string) error {
	if _, ok := o["type"]; ok {
		given, err := o.text("type")
		if err != nil {
			return err
		}
		if given != typ {
			return machine.Refuse(machine.Schema, "the body does not fit its path",
				machine.Problem{Path: "type", Message: "is " + given + ", the path says " + typ})
		}
	}
	raw, err := json.Marshal(typ)
	o["type"] = raw
	return err
}
