package query

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/waybill/waybill/domain/blob"
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
		if err := q.ended(r.Context(), id, d, q.db.WaitEnded); err != nil {
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

// ended waits so long for the end of something. What goes on is shown as it is.
func (q *queries) ended(ctx context.Context, id string, d time.Duration, end func(context.Context, string) error) error {
	if d == 0 {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	err := end(limited, id)
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

// events answers with the history of a job, with all=true with those of its transfers and
// negotiations as well.
func (q *queries) events(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	all, err := truth(v, "all")
	switch {
	case err != nil:
		return err
	case !all:
		return q.history(q.db.Events)(w, r)
	case v.Has("after"):
		return &ParamError{"after", "counts the events of the job alone: page through all of them with the cursor"}
	}
	n, err := limit(v)
	if err != nil {
		return err
	}
	p, err := q.db.AllEvents(r.Context(), r.PathValue("id"), n, v.Get("cursor"))
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
	output, err := q.whole(r.Context(), res.Output, res.BlobsRemovedAt)
	if err != nil {
		return err
	}
	var of struct {
		Value *string `json:"value"`
	}
	if strings.HasPrefix(r.Header.Get("Accept"), "text/plain") && json.Unmarshal(output, &of) == nil && of.Value != nil {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Write([]byte(*of.Value))
		return nil
	}
	return answer(w, output)
}

// input answers with a job's input, whole; null where it has none.
func (q *queries) input(w http.ResponseWriter, r *http.Request) error {
	v, err := q.db.Input(r.Context(), r.PathValue("id"))
	return q.answerWhole(w, r, v, err)
}

// nodeOutput answers with what an activity has made, whole; null where that is nothing.
func (q *queries) nodeOutput(w http.ResponseWriter, r *http.Request) error {
	v, err := q.db.NodeOutput(r.Context(), r.PathValue("id"), r.PathValue("nodeId"))
	return q.answerWhole(w, r, v, err)
}

func (q *queries) answerWhole(w http.ResponseWriter, r *http.Request, v projections.Value, err error) error {
	if err != nil {
		return err
	}
	if v.JSON == nil {
		v.JSON = json.RawMessage("null")
	}
	whole, err := q.whole(r.Context(), v.JSON, v.BlobsRemovedAt)
	if err != nil {
		return err
	}
	return answer(w, whole)
}

// whole puts what is too large for the view into its place.
func (q *queries) whole(ctx context.Context, value json.RawMessage, removed time.Time) (json.RawMessage, error) {
	if !blob.Refers(value) {
		return value, nil
	}
	if !removed.IsZero() {
		return nil, &removedError{removed}
	}
	if q.cfg.Blobs == nil {
		return nil, errors.New("large values cannot be read here")
	}
	return q.cfg.Blobs.Unpack(ctx, value, 0)
}
