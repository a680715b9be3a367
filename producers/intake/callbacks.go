package intake

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/internal/callbacks"
	"github.com/waybill/waybill/internal/problem"
	"github.com/waybill/waybill/producers"
)

// errNoAddress is the answer to what was guessed wrong: it looks like what was never there.
var errNoAddress = fail(http.StatusNotFound, "there is no such address")

const (
	// patience is how long a report may be ahead of what the view knows of its work: it can
	// be here before the request that asked for it has been answered.
	patience = 3 * time.Second
	// glance is how often the view is looked at meanwhile.
	glance = 50 * time.Millisecond
)

// callbackRoutes take reports about work at addresses that prove by themselves that whoever
// calls was told of them: they need no token. A JSON value posted to the address itself
// completes the work with the output {"body": value}, for a system that has a form of its
// own for what it tells.
func (in *Intake) callbackRoutes(handle func(string, func(http.ResponseWriter, *http.Request) error)) {
	proven := func(h func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
		return func(w http.ResponseWriter, r *http.Request) error {
			if !in.cfg.Proofs.Proves(r.PathValue("workId"), r.PathValue("proof")) {
				return errNoAddress
			}
			if wait := in.notYet(r, r.PathValue("workId")); wait != "" {
				w.Header().Set("Retry-After", "1")
				problem.Write(w, problem.Problem{Status: http.StatusServiceUnavailable, Detail: wait})
				return nil
			}
			return h(w, r)
		}
	}
	at := "POST " + callbacks.Prefix + "{workId}/{proof}"
	handle(at, proven(in.deliverWork))
	handle(at+"/complete", proven(in.completeWork))
	handle(at+"/fail", proven(in.failWork))
	handle(at+"/heartbeat", proven(in.heartbeatWork))
}

// notYet says why a report that was proven cannot be taken now but soon; "" where it can,
// or never will.
func (in *Intake) notYet(r *http.Request, id string) string {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	ticker := time.NewTicker(glance)
	defer ticker.Stop()
	for {
		at, err := in.cfg.Reads.Work(ctx, id)
		soon := ""
		switch {
		case errors.Is(err, ErrUnknown):
			soon = "the work is not known here yet"
		case err == nil && at.State == orchestration.ActivityRetrying:
			soon = "the request that this is the answer to is being tried again"
		default:
			return ""
		}
		select {
		case <-ctx.Done():
			return soon
		case <-ticker.C:
		}
	}
}

// deliverWork takes whatever another system tells when it is done.
func (in *Intake) deliverWork(w http.ResponseWriter, r *http.Request) error {
	body, err := readAll(http.MaxBytesReader(w, r.Body, in.payloadBody()), r.ContentLength, in.payloadBody())
	var tooLarge *http.MaxBytesError
	switch {
	case isBusy(err):
		return err
	case errors.As(err, &tooLarge):
		return fail(http.StatusRequestEntityTooLarge, "the body is larger than the limit of %d bytes%s", tooLarge.Limit, in.payloadNote())
	case err != nil:
		return fail(http.StatusBadRequest, "the body could not be read: %v", err)
	case len(body) == 0:
		body = []byte("null")
	case !utf8.Valid(body):
		return fail(http.StatusBadRequest, "the body is not UTF-8")
	}
	if err := checkJSON(body); err != nil {
		return fail(http.StatusBadRequest, "the body is not JSON: %v", err)
	}
	output, err := json.Marshal(map[string]json.RawMessage{"body": body})
	if err != nil {
		return err
	}
	work, err := in.attempt(r, 0)
	if err != nil {
		return err
	}
	return in.report(w, r, work, func(ctx context.Context) (producers.Accepted, error) {
		return in.cfg.Publisher.CompleteWork(ctx, work, output)
	})
}
