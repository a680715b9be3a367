package query

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/waybill/waybill/projections"
)

// stream sends a job's changes as server-sent events: "node" for each node that has
// changed, then "job" for the job itself, whose id is the sequence of the last event
// that all of it shows. A client that comes back with that as Last-Event-ID gets what
// has changed since; repeats are possible, gaps are not. It ends with the job.
func (q *queries) stream(w http.ResponseWriter, r *http.Request) error {
	since, err := lastSeen(r)
	if err != nil {
		return err
	}
	s := &sender{q: q, w: w, c: http.NewResponseController(w), id: r.PathValue("id"), since: since}
	changed := q.db.Watch(r.Context(), s.id)
	state, err := q.db.JobState(r.Context(), s.id)
	if err != nil {
		return err
	}
	if state.Ended && since >= state.Sequence {
		w.WriteHeader(http.StatusNoContent) // tells a browser not to come back
		return nil
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // proxies pass on what comes, at once
	w.WriteHeader(http.StatusOK)
	// The status is on its way: from here on an error can only end the stream, and the
	// client comes back.
	_ = s.run(r.Context(), state, changed)
	return nil
}

func lastSeen(r *http.Request) (int64, error) {
	s := r.Header.Get("Last-Event-ID")
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, &ParamError{"Last-Event-ID", "want the id of an event of this stream"}
	}
	return n, nil
}

// sender is one stream.
type sender struct {
	q     *queries
	w     http.ResponseWriter
	c     *http.ResponseController
	id    string
	since int64 // the client has seen what events up to this one changed
}

func (s *sender) run(ctx context.Context, state projections.JobState, changed <-chan struct{}) error {
	if err := s.c.SetWriteDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	silence := time.NewTicker(s.q.cfg.Heartbeat)
	defer silence.Stop()
	for {
		began := time.Now()
		if err := s.send(ctx, state); err != nil || state.Ended {
			return err
		}
		// Reading what has changed of a large job takes time: a stream may take a fifth of it.
		if err := rest(ctx, 4*time.Since(began)); err != nil {
			return err
		}
		if err := s.wait(ctx, silence.C, changed); err != nil {
			return err
		}
		var err error
		if state, err = s.q.db.JobState(ctx, s.id); err != nil {
			return err
		}
	}
}

func rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wait returns when the job has changed.
func (s *sender) wait(ctx context.Context, silence <-chan time.Time, changed <-chan struct{}) error {
	for {
		select {
		case _, ok := <-changed:
			if !ok {
				return ctx.Err()
			}
			return nil
		case <-silence:
			if err := s.write([]byte(": still here\n\n")); err != nil {
				return err
			}
		}
	}
}

// send sends what has changed since. The job was read first: what its nodes have become
// meanwhile is sent again with the next state.
func (s *sender) send(ctx context.Context, state projections.JobState) error {
	if state.Sequence <= s.since && !state.Ended {
		return s.c.Flush()
	}
	f := projections.NodeFilter{Since: s.since, Limit: projections.MaxPageSize}
	for {
		p, err := s.q.db.Nodes(ctx, s.id, f)
		if err != nil {
			return err
		}
		var b []byte
		for _, n := range p.Items {
			b = appendEvent(b, "node", "", n)
		}
		if f.Cursor = p.Next; f.Cursor == "" {
			b = appendEvent(b, "job", strconv.FormatInt(state.Sequence, 10), state.Document)
		}
		if err := s.write(b); err != nil {
			return err
		}
		if f.Cursor == "" {
			s.since = state.Sequence
			return nil
		}
	}
}

func (s *sender) write(b []byte) error {
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	return s.c.Flush()
}

// appendEvent writes one server-sent event.
func appendEvent(b []byte, name, id string, data []byte) []byte {
	if id != "" {
		b = append(append(append(b, "id: "...), id...), '\n')
	}
	b = append(append(append(b, "event: "...), name...), '\n')
	for line := range bytes.SplitSeq(data, []byte{'\n'}) {
		b = append(append(append(b, "data: "...), bytes.TrimSuffix(line, []byte{'\r'})...), '\n')
	}
	return append(b, '\n')
}
