package query

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/internal/blobs"
	"github.com/waybill/waybill/internal/problem"
	"github.com/waybill/waybill/projections"
)

// ParamError is a query parameter that makes no sense.
type ParamError struct{ Name, Message string }

// Error implements error.
func (e *ParamError) Error() string { return e.Name + ": " + e.Message }

// lateError says that the view did not get to a position in time.
type lateError struct {
	position string
	after    time.Duration
}

func (e *lateError) Error() string {
	return fmt.Sprintf("the view has not reached position %s after %s; /readyz says how far it is behind", e.position, e.after)
}

// noResultError says why a job has no result.
type noResultError struct {
	id    string
	state orchestration.Phase
}

func (e *noResultError) Error() string {
	if e.state.Final() {
		return fmt.Sprintf("job %q has ended %s without a result", e.id, e.state)
	}
	return fmt.Sprintf("job %q is %s: it has no result yet", e.id, e.state)
}

// noEDRError says why there is no EDR to be had.
type noEDRError struct{ id, state string }

func (e *noEDRError) Error() string {
	return fmt.Sprintf("negotiation %q has no EDR that could be used, it is %s", e.id, e.state)
}

// forbiddenError says why something is not given to whoever asks.
type forbiddenError struct{ reason string }

func (e *forbiddenError) Error() string { return e.reason }

// removedError says that the large values of a job are there no more.
type removedError struct{ at time.Time }

func (e *removedError) Error() string {
	return fmt.Sprintf("the large values of the job were removed at %s, some time after its end (--keep-blobs)", e.at.UTC().Format(time.RFC3339))
}

// refuse answers with an error.
func (q *queries) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil { // the client has gone and hears nothing, or the server stops
		w.Header().Set("Retry-After", "1")
		problem.Write(w, problem.Problem{Status: http.StatusServiceUnavailable, Detail: "the server is stopping"})
		return
	}
	p := problem.Problem{Status: http.StatusInternalServerError, Detail: err.Error()}
	var (
		param  *ParamError
		cursor *projections.CursorError
		state  *projections.StateError
		none   *noResultError
		late   *lateError
		fault  *projections.Fault
		gone   *blobs.GoneError
		old    *removedError
		noEDR  *noEDRError
		denied *forbiddenError
	)
	switch {
	case errors.As(err, &param):
		p.Status, p.Errors = http.StatusBadRequest, []problem.Error{{Path: param.Name, Message: param.Message}}
	case errors.As(err, &cursor):
		p.Status, p.Errors = http.StatusBadRequest, []problem.Error{{Path: "cursor", Message: err.Error()}}
	case errors.As(err, &state):
		p.Status, p.Errors = http.StatusBadRequest, []problem.Error{{Path: "state", Message: err.Error()}}
	case projections.IsNotFound(err):
		p.Status = http.StatusNotFound
	case errors.As(err, &none):
		if p.Status = http.StatusConflict; none.state.Final() {
			p.Status = http.StatusNotFound
		}
	case errors.As(err, &noEDR):
		p.Status = http.StatusConflict
	case errors.As(err, &denied):
		p.Status = http.StatusForbidden
	case errors.As(err, &gone), errors.As(err, &old):
		p.Status = http.StatusGone
	case errors.As(err, &late):
		p.Status = http.StatusGatewayTimeout
	case errors.As(err, &fault):
		p.Status = http.StatusServiceUnavailable
	case errors.Is(err, projections.ErrClosed): // whoever takes over answers soon
		p.Status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "1")
	case errors.Is(err, context.DeadlineExceeded):
		p.Status = http.StatusGatewayTimeout
	default:
		q.cfg.Logger.Error("a query failed", slog.String("path", r.URL.Path), slog.Any("error", err))
		p.Detail = "the query failed; the server's log says why"
	}
	problem.Write(w, p)
}
