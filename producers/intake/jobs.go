package intake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/waybill/waybill/domain/blob"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/producers"
	"github.com/waybill/waybill/schemas"
)

// maxKeyBytes bounds an Idempotency-Key.
const maxKeyBytes = 1024

func (in *Intake) startJob(w http.ResponseWriter, r *http.Request) error {
	body, _, err := in.readPayload(w, r, false)
	if err != nil {
		return err
	}
	id, fresh, err := identify(r, body, "id")
	if err != nil {
		return err
	}
	// A large input is not written for a job that is not taken.
	if err := in.gate.admit(r.Context(), schemas.AggregateOrchestration, schemas.OrchestrationStart, id); err != nil {
		return err
	}
	if err := in.packInput(r.Context(), id, body); err != nil {
		return err
	}
	value, err := body.encode()
	if err != nil {
		return err
	}
	if _, err := schemas.DecodeOrchestrationCommand(schemas.OrchestrationStart, value); err != nil {
		return err
	}
	commandID := in.again(r.Context(), fresh, producers.StartID(id, value))
	w.Header().Set("Location", "/v1/jobs/"+url.PathEscape(id))
	return in.command(w, r, producers.Command{
		Aggregate: schemas.AggregateOrchestration, ID: commandID, Type: schemas.OrchestrationStart,
		Key: id, Value: value, TraceParent: r.Header.Get("traceparent"),
	}, http.StatusCreated)
}

// again is the ID of a command that is said, unless nobody can have said it before, perhaps not for the
// first time. The machine remembers a refusal for days under the command's ID. What was refused may have
// been mended since, and to say a start twice under two IDs does no harm.
func (in *Intake) again(ctx context.Context, fresh bool, commandID string) string {
	if fresh {
		return commandID
	}
	if refused, err := in.cfg.Reads.Refused(ctx, commandID); err == nil && refused {
		return producers.NewID()
	}
	return commandID
}

// packInput moves what is large in a job's input out of the body. The rest of the body is checked
// first: a large value must not be written for a job that cannot be.
func (in *Intake) packInput(ctx context.Context, id string, body object) error {
	input, ok := body["input"]
	if !ok {
		return nil
	}
	if len(input) > blob.Threshold {
		body["input"] = json.RawMessage("{}")
		rest, err := body.encode()
		if err != nil {
			return err
		}
		if _, err := schemas.DecodeOrchestrationCommand(schemas.OrchestrationStart, rest); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, in.cfg.PublishTimeout)
	defer cancel()
	packed, err := in.cfg.Publisher.PackInput(ctx, id, input)
	body["input"] = packed
	return err
}

// command publishes and answers 202, or, where the caller prefers to wait, decided once
// the machine has accepted.
func (in *Intake) command(w http.ResponseWriter, r *http.Request, c producers.Command, decided int) error {
	accepted, done, err := in.decide(w, r, c)
	if err != nil {
		return err
	}
	status := http.StatusAccepted
	if done {
		status = decided
	}
	answer(w, status, accepted, accepted.Position)
	return nil
}

// decide publishes, and waits for the decision as long as the caller prefers to. A refusal is an error.
func (in *Intake) decide(w http.ResponseWriter, r *http.Request, c producers.Command) (accepted producers.Accepted, decided bool, err error) {
	wait, err := in.preferredWait(r)
	if err != nil {
		return accepted, false, err
	}
	if accepted, err = in.publish(r.Context(), c); err != nil || wait == 0 {
		return accepted, false, err
	}
	w.Header().Set("Preference-Applied", fmt.Sprintf("wait=%d", int(wait.Seconds())))
	_, err = in.decision(r.Context(), accepted, wait)
	if errors.Is(err, ErrUndecided) {
		return accepted, false, nil
	}
	return accepted, err == nil, err
}

// decision waits for what the machine makes of a command; a refusal is an error.
func (in *Intake) decision(ctx context.Context, a producers.Accepted, wait time.Duration) (Decision, error) {
	leave(ctx)
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	d, err := in.cfg.Reads.Decision(ctx, a.CommandID, a.Position)
	switch {
	case err == nil && d.Refusal != nil:
		return d, &refusedError{d.Refusal, a.CommandID}
	case errors.Is(err, context.DeadlineExceeded):
		return d, ErrUndecided
	}
	return d, err
}

// preferredWait reads `Prefer: wait=N` (RFC 7240), seconds.
func (in *Intake) preferredWait(r *http.Request) (time.Duration, error) {
	for _, h := range r.Header.Values("Prefer") {
		for preference := range strings.FieldsFuncSeq(h, func(c rune) bool { return c == ',' || c == ';' }) {
			name, value, _ := strings.Cut(strings.TrimSpace(preference), "=")
			if !strings.EqualFold(strings.TrimSpace(name), "wait") {
				continue
			}
			n, err := strconv.Atoi(strings.Trim(strings.TrimSpace(value), `"`))
			if err != nil || n < 0 {
				return 0, fail(http.StatusBadRequest, "Prefer: %s: want wait=N, seconds", preference)
			}
			return min(time.Duration(min(n, 1<<20))*time.Second, in.cfg.MaxWait), nil
		}
	}
	return 0, nil
}

func idempotencyKey(r *http.Request) (string, error) {
	key := r.Header.Get("Idempotency-Key")
	if len(key) > maxKeyBytes {
		return "", fail(http.StatusBadRequest, "the Idempotency-Key has %d bytes, the limit is %d", len(key), maxKeyBytes)
	}
	return strings.ReplaceAll(key, "\x1f", ""), nil
}

// newCommandID makes the ID of a command that may be meant twice: a new one, or that of
// the Idempotency-Key.
func newCommandID(r *http.Request, typ, about string) (string, error) {
	key, err := idempotencyKey(r)
	if err != nil || key == "" {
		return producers.NewID(), err
	}
	return machine.ID("command", typ, about, "idempotency-key", key), nil
}
