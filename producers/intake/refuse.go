package intake

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/internal/problem"
	"github.com/waybill/waybill/producers"
	"github.com/waybill/waybill/schemas"
)

// refuse answers with the problem that an error is.
func (in *Intake) refuse(w http.ResponseWriter, r *http.Request, err error) {
	p := asProblem(err)
	switch p.Status {
	case http.StatusServiceUnavailable:
		reason, after := ReasonKafka, 1
		if busy, ok := errors.AsType[*busyError](err); ok {
			reason, after = busy.reason, busy.after
		}
		w.Header().Set("Retry-After", strconv.Itoa(after))
		in.cfg.Rejected(reason)
		if in.gate.worthALine() {
			in.cfg.Logger.Warn("requests are answered 503", "reason", reason, "method", r.Method, "path", loggable(r), "error", err)
		}
	case http.StatusInternalServerError:
		in.cfg.Logger.Error("request failed", "method", r.Method, "path", loggable(r), "error", err)
	}
	problem.Write(w, p)
}

// loggable is the path of a request without the proof that it may have in it: whoever reads
// the log must not report in the place of whom the address was given to.
func loggable(r *http.Request) string {
	if proof := r.PathValue("proof"); proof != "" {
		return strings.Replace(r.URL.Path, proof, "[callback]", 1)
	}
	return r.URL.Path
}

func asProblem(err error) problem.Problem {
	var (
		ready       *httpError
		busy        *busyError
		refused     *refusedError
		refusal     *machine.Refusal
		undecodable *schemas.UndecodableError
		filter      *FilterError
		invalid     *producers.InvalidError
		tooLarge    *producers.TooLargeError
		payload     *schemas.PayloadError
		unreachable *producers.UnreachableError
	)
	switch {
	case errors.As(err, &ready):
		return ready.Problem
	case errors.As(err, &busy):
		return busy.problem()
	case errors.As(err, &refused):
		p := ofRefusal(refused.Refusal)
		p.CommandID = refused.commandID
		return p
	case errors.As(err, &refusal):
		return ofRefusal(refusal)
	case errors.As(err, &undecodable):
		return problem.Problem{Status: http.StatusBadRequest, Detail: undecodable.Error()}
	case errors.As(err, &filter):
		return problem.Problem{
			Status: http.StatusBadRequest, Detail: filter.Error(), Errors: []problem.Error{{Path: filter.Param, Message: filter.Message}},
		}
	case errors.As(err, &invalid):
		return problem.Problem{
			Status: http.StatusUnprocessableEntity, Code: string(machine.Schema), Detail: "the body does not fit its schema",
			Errors: []problem.Error{{Path: jsonPath(invalid.Path), Message: invalid.Message}},
		}
	case errors.As(err, &tooLarge):
		return problem.Problem{Status: http.StatusRequestEntityTooLarge, Detail: tooLarge.Error()}
	case errors.As(err, &payload):
		return problem.Problem{Status: http.StatusRequestEntityTooLarge, Detail: payload.Error()}
	case errors.As(err, &unreachable):
		return problem.Problem{
			Status: http.StatusServiceUnavailable,
			Detail: unreachable.Error() + "; it is unknown whether the command was written: send it again with the same id or Idempotency-Key",
		}
	case errors.Is(err, context.Canceled):
		return problem.Problem{Status: http.StatusServiceUnavailable, Detail: "the request was given up"}
	}
	return problem.Problem{Status: http.StatusInternalServerError, Detail: err.Error()}
}

// refusedError is a machine's refusal of a command that was published.
type refusedError struct {
	*machine.Refusal
	commandID string
}

// statusOf maps the codes of a refusal.
func statusOf(c machine.Code) int {
	switch c {
	case machine.Conflict, machine.BadState, machine.Inactive:
		return http.StatusConflict
	case machine.NotFound:
		return http.StatusNotFound
	case machine.Schema, machine.Limit, machine.UnknownType:
		return http.StatusUnprocessableEntity
	}
	return http.StatusUnprocessableEntity
}

func ofRefusal(r *machine.Refusal) problem.Problem {
	p := problem.Problem{Status: statusOf(r.Code), Code: string(r.Code), Detail: r.Reason}
	for _, e := range r.Errors {
		p.Errors = append(p.Errors, problem.Error{Path: jsonPath(e.Path), Message: e.Message})
	}
	return p
}

// jsonPath writes a path from the root, $.activities[0].id, whoever found the mistake.
func jsonPath(p string) string {
	switch {
	case p == "":
		return "$"
	case p[0] == '$':
		return p
	case p[0] == '[':
		return "$" + p
	}
	return "$." + p
}
