package query

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/waybill/waybill/projections"
)

func (q *queries) jobs(w http.ResponseWriter, r *http.Request) error {
	f, err := JobFilter(r.URL.Query())
	if err != nil {
		return err
	}
	p, err := q.db.Jobs(r.Context(), f)
	return answerPage(w, p, err)
}

// job is the route that is asked most: without parameters it parses nothing.
func (q *queries) job(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	if r.URL.RawQuery != "" {
		d, err := q.wait(r.URL.Query())
		if err != nil {
			return err
		}
		if err := q.ended(r.Context(), id, d); err != nil {
			return err
		}
	}
	doc, err := q.db.JobDocument(r.Context(), id)
	if err != nil {
		return err
	}
	w.Header()["Content-Length"] = []string{strconv.Itoa(len(doc))} // else a long one goes in chunks
	return answer(w, doc)
}

// ended waits so long for the end of a job. One that goes on is shown as it is.
func (q *queries) ended(ctx context.Context, id string, d time.Duration) error {
	if d == 0 {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	err := q.db.WaitEnded(limited, id)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

func (q *queries) nodes(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	n, err := limit(v)
	if err != nil {
		return err
	}
	f := projections.NodeFilter{State: v.Get("state"), Parent: v.Get("parent"), Limit: n, Cursor: v.Get("cursor")}
	p, err := q.db.Nodes(r.Context(), r.PathValue("id"), f)
	return answerPage(w, p, err)
}

func (q *queries) edges(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	n, err := limit(v)
	if err != nil {
		return err
	}
	p, err := q.db.Edges(r.Context(), r.PathValue("id"), n, v.Get("cursor"))
	return answerPage(w, p, err)
}

func (q *queries) events(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	n, err := limit(v)
	if err != nil {
		return err
	}
	after, err := number(v, "after")
	if err != nil {
		return err
	}
	p, err := q.db.Events(r.Context(), r.PathValue("id"), after, n, v.Get("cursor"))
	return answerPage(w, p, err)
}

// result answers with a job's output; as text/plain, with the value in it.
func (q *queries) result(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	res, err := q.db.Result(r.Context(), id)
	if err != nil {
		return err
	}
	if res.Output == nil {
		return &noResultError{id, res.State}
	}
	var of struct {
		Value *string `json:"value"`
	}
	if strings.HasPrefix(r.Header.Get("Accept"), "text/plain") && json.Unmarshal(res.Output, &of) == nil && of.Value != nil {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Write([]byte(*of.Value))
		return nil
	}
	return answer(w, res.Output)
}
