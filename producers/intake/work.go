package intake

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/problem"
	"github.com/waybill/waybill/producers"
)

func (in *Intake) completeWork(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Attempt int             `json:"attempt"`
		Output  json.RawMessage `json:"output"`
	}
	work, err := in.reportable(w, r, &body, &body.Attempt)
	if err != nil {
		return err
	}
	return in.report(w, r, work, func(ctx context.Context) (producers.Accepted, error) {
		return in.cfg.Publisher.CompleteWork(ctx, work, body.Output)
	})
}

func (in *Intake) failWork(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Attempt int             `json:"attempt"`
		Error   json.RawMessage `json:"error"`
	}
	work, err := in.reportable(w, r, &body, &body.Attempt)
	if err != nil {
		return err
	}
	var fault orchestration.Fault
	if len(body.Error) == 0 || json.Unmarshal(body.Error, &fault) != nil || fault.Message == "" {
		return misfit("error", "want what went wrong: a string, or {step, message}")
	}
	return in.report(w, r, work, func(ctx context.Context) (producers.Accepted, error) {
		return in.cfg.Publisher.FailWork(ctx, work, fault)
	})
}

func (in *Intake) heartbeatWork(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Attempt int    `json:"attempt"`
		Agent   string `json:"agent"`
	}
	work, err := in.reportable(w, r, &body, &body.Attempt)
	if err != nil {
		return err
	}
	return in.report(w, r, work, func(ctx context.Context) (producers.Accepted, error) {
		return in.cfg.Publisher.HeartbeatWork(ctx, work, body.Agent)
	})
}

// reportable reads the body and finds the attempt that a report is about; that must be
// one which still waits for its result. attempt, read with the body, may name it.
func (in *Intake) reportable(w http.ResponseWriter, r *http.Request, body any, attempt *int) (producers.Work, error) {
	_, raw, err := in.readPayload(w, r, true)
	if err != nil {
		return producers.Work{}, err
	}
	if err := decodeReport(raw, body); err != nil {
		return producers.Work{}, err
	}
	return in.attempt(r, *attempt)
}

// attempt finds the attempt that a report is about: the given one, or any if that is 0.
func (in *Intake) attempt(r *http.Request, attempt int) (producers.Work, error) {
	id := r.PathValue("workId")
	at, err := in.cfg.Reads.Work(r.Context(), id)
	switch {
	case errors.Is(err, ErrUnknown):
		return producers.Work{}, fail(http.StatusNotFound, "there is no work %q", id)
	case err != nil:
		return producers.Work{}, err
	case attempt != 0 && attempt != at.Attempt:
		return producers.Work{}, conflict("work %s is at attempt %d, %s; this is about attempt %d", id, at.Attempt, at.State, attempt)
	case !awaited(at.State):
		return producers.Work{}, conflict("work %s waits for no report, it is %s", id, at.State)
	}
	return producers.Work{ID: id, Attempt: at.Attempt, Aggregate: at.Aggregate, AggregateID: at.AggregateID}, nil
}

// awaited says whether an attempt still waits for a report: a callback may well overtake
// the agent's own word that it will come.
func awaited(s orchestration.ActivityPhase) bool {
	return s == orchestration.ActivityReady || s == orchestration.ActivityRunning || s == orchestration.ActivityWaiting
}

func conflict(format string, args ...any) error {
	return &httpError{problem.Problem{
		Status: http.StatusConflict, Code: string(machine.BadState), Detail: fmt.Sprintf(format, args...),
	}}
}

// decodeReport reads a report. A member that reports do not have is refused: an output
// that was written beside "output" would be lost for good.
func decodeReport(raw []byte, body any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	err := dec.Decode(body)
	if err == nil {
		return nil
	}
	// encoding/json says which in words only: json: unknown field "outputs".
	if _, name, ok := strings.Cut(err.Error(), "unknown field "); ok {
		return misfit(strings.Trim(name, `"`), "is not known here")
	}
	return mistake(err)
}

// mistake turns what encoding/json could not read into its path.
func mistake(err error) error {
	var typed *json.UnmarshalTypeError
	if errors.As(err, &typed) {
		return misfit(typed.Field, fmt.Sprintf("got %s, want %s", typed.Value, typed.Type))
	}
	return misfit("", err.Error())
}

func (in *Intake) report(w http.ResponseWriter, r *http.Request, about producers.Work, publish func(context.Context) (producers.Accepted, error)) error {
	if err := in.gate.admit(r.Context(), about.Aggregate, "", about.AggregateID); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), in.cfg.PublishTimeout)
	defer cancel()
	accepted, err := publish(ctx)
	if err != nil {
		return err
	}
	in.gate.wrote(accepted.Position)
	answer(w, http.StatusAccepted, accepted, accepted.Position)
	return nil
}

func (in *Intake) replayDeadLetter(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	letter, err := in.cfg.Reads.DeadLetter(r.Context(), id)
	switch {
	case errors.Is(err, ErrUnknown):
		return fail(http.StatusNotFound, "there is no dead letter %q", id)
	case err != nil:
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), in.cfg.PublishTimeout)
	defer cancel()
	pos, err := in.cfg.Publisher.Replay(ctx, letter)
	var invalid *producers.InvalidError
	switch {
	case errors.As(err, &invalid):
		return conflict("dead letter %s: %s", id, invalid.Message)
	case err != nil:
		return err
	}
	a := struct {
		ID       string          `json:"id"`
		Topic    string          `json:"topic"`
		Position *kafka.Position `json:"position,omitempty"` // of a command
	}{ID: id, Topic: letter.Topic}
	if pos.Aggregate != "" {
		a.Position = &pos
	}
	answer(w, http.StatusAccepted, a, pos)
	return nil
}
