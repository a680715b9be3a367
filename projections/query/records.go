package query

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/waybill/waybill/projections"
)

// command answers with what has become of a command. While the position that the request
// carries is not reached the command is pending, and ?wait= says how long to wait for
// that; once it is reached, or where the request carries none, a command that the view
// does not know is not found.
func (q *queries) command(w http.ResponseWriter, r *http.Request) error {
	limit, err := q.wait(r.URL.Query())
	if err != nil {
		return err
	}
	id := r.PathValue("id")
	var late *lateError
	if err := q.reachWithin(r, limit); err != nil && !errors.As(err, &late) {
		return err
	}
	c, err := q.db.Command(r.Context(), id)
	if late != nil && projections.IsNotFound(err) {
		return answerValue(w, projections.Command{ID: id, State: projections.CommandPending, Events: []projections.EventID{}})
	}
	if err != nil {
		return err
	}
	return answerValue(w, c)
}

func (q *queries) deadLetters(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	n, err := limit(v)
	if err != nil {
		return err
	}
	p, err := q.db.DeadLetters(r.Context(), n, v.Get("cursor"))
	return answerPage(w, p, err)
}

func (q *queries) deadLetter(w http.ResponseWriter, r *http.Request) error {
	l, err := q.db.DeadLetter(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return answerValue(w, l)
}

// builtIn is a definition of the program itself, as it is shown.
type builtIn struct {
	Kind       string          `json:"kind"`
	Type       string          `json:"type"`
	BuiltIn    bool            `json:"builtIn"`
	Definition json.RawMessage `json:"definition"`
}

// definitions lists what is in force: first what the program brings along.
func (q *queries) definitions(kind string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		v := r.URL.Query()
		n, err := limit(v)
		if err != nil {
			return err
		}
		p, err := q.db.Definitions(r.Context(), kind, n, v.Get("cursor"))
		if err != nil || v.Get("cursor") != "" {
			return answerPage(w, p, err)
		}
		var own []json.RawMessage
		for _, b := range q.cfg.BuiltIn(kind) {
			_, err := q.db.Definition(r.Context(), kind, b.Type, 0)
			if err == nil {
				continue // replaced
			}
			if !projections.IsNotFound(err) {
				return err
			}
			doc, err := json.Marshal(builtIn{kind, b.Type, true, b.Definition})
			if err != nil {
				return err
			}
			own = append(own, doc)
		}
		p.Items = append(own, p.Items...)
		return answerPage(w, p, nil)
	}
}

func (q *queries) definition(kind string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		typ := r.PathValue("type")
		version, err := number(r.URL.Query(), "version")
		if err != nil {
			return err
		}
		d, err := q.db.Definition(r.Context(), kind, typ, version)
		if err == nil {
			return answerValue(w, d)
		}
		if !projections.IsNotFound(err) {
			return err
		}
		if version != 0 {
			return &projections.NotFoundError{What: fmt.Sprintf("version %d of %s definition", version, kind), ID: typ}
		}
		for _, b := range q.cfg.BuiltIn(kind) {
			if b.Type == typ {
				return answerValue(w, builtIn{kind, typ, true, b.Definition})
			}
		}
		return err
	}
}
