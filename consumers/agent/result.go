package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/waybill/waybill/domain/blob"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/schemas"
)

const (
	// MaxReportBytes bounds what one result carries: output, state and spawned activities
	// together, as JSON. A larger one is a fatal result that names this limit. A report is a
	// command, so what else is in it has to fit as well; the machine enforces the lower limit
	// of the definition (outputBytes) by itself.
	MaxReportBytes = schemas.MaxCommandBytes - 2*maxMessageBytes
	// maxMessageBytes bounds an error's text: whole pages turn up in errors.
	maxMessageBytes = 8 << 10
)

// Kind says which of the five results a Result is. The values are part of a report's ID.
type Kind string

// The five kinds.
const (
	Completed Kind = "complete"
	Waiting   Kind = "wait"
	Scheduled Kind = "schedule"
	Retrying  Kind = "retry"
	Failed    Kind = "fail"
)

// Result is what a processor has to say about an attempt. It is made by Complete, Wait,
// Schedule, Retry or Fatal; the zero Result is a fatal one that says so. The methods that
// add something return a new Result.
type Result struct {
	kind   Kind
	output json.RawMessage
	state  json.RawMessage
	spawn  []definition.Activity
	key    string
	step   string
	text   string
	code   string
	after  time.Duration
}

// Complete says that the activity is done. The output is encoded as JSON; nil means none.
// One that cannot be encoded makes the Result a fatal one.
func Complete(output any) Result {
	raw, err := encode(output)
	if err != nil {
		return fatal("output", fmt.Sprintf("the output cannot be encoded as JSON: %v", err))
	}
	return Result{kind: Completed, output: raw}.checked()
}

// Wait says that the work was accepted elsewhere, and somebody else will report. After
// bounds the wait; otherwise the activity's deadline does.
func Wait() Result { return Result{kind: Waiting} }

// Schedule says that nothing is wrong, and asks to be called again after that time.
func Schedule(after time.Duration) Result { return Result{kind: Scheduled, after: max(after, 0)} }

// Retry says that the attempt met a passing fault. The machine tries again, with a
// backoff and up to the activity's limit; After makes it wait at least that long.
func Retry(err error) Result { return Result{kind: Retrying, text: messageOf(err)} }

// Fatal says that the activity cannot work.
func Fatal(err error) Result { return fatal("", messageOf(err)) }

func fatal(step, text string) Result {
	return Result{kind: Failed, step: step, text: clip(text)}
}

// Spawn adds activities that a completed one brings into being. Only Complete carries
// them; other results ignore them.
func (r Result) Spawn(activities ...definition.Activity) Result {
	r.spawn = append(r.spawn[:len(r.spawn):len(r.spawn)], activities...)
	return r.checked()
}

// WithState gives the activity's next attempt a state to find. Complete and Fatal, after
// which there is none, ignore it. One that cannot be encoded as JSON makes the Result a
// fatal one.
func (r Result) WithState(state any) Result {
	raw, err := encode(state)
	if err != nil {
		return fatal("state", fmt.Sprintf("the state cannot be encoded as JSON: %v", err))
	}
	r.state = raw
	return r.checked()
}

// AtStep names what the processor was doing when it met the error of Retry or Fatal.
func (r Result) AtStep(step string) Result {
	r.step = step
	return r
}

// WithCode says of Retry or Fatal what kind of fault it is, to a machine that goes on
// differently after it.
func (r Result) WithCode(code string) Result {
	r.code = code
	return r
}

// After is, for Retry, the earliest time the other side wants to be asked again
// (Retry-After); for Wait, when to give up waiting; for Schedule, when to call again.
func (r Result) After(after time.Duration) Result {
	r.after = max(after, 0)
	return r
}

// WithKey gives a completed activity its identity, where that differs from its id: an
// activity spawned later under this id is the same node, not a second one.
func (r Result) WithKey(id string) Result {
	r.key = id
	return r
}

// Kind says which of the five results it is; the zero Result is Failed.
func (r Result) Kind() Kind { return r.settled().kind }

// Output is the output of Complete, as JSON; nil if there is none.
func (r Result) Output() json.RawMessage { return r.output }

// Spawned are the activities of Spawn.
func (r Result) Spawned() []definition.Activity { return r.spawn }

// Key is the identity of WithKey.
func (r Result) Key() string { return r.key }

// State is the state of WithState, as JSON; nil if there is none.
func (r Result) State() json.RawMessage { return r.state }

// Wants is how long to wait: see After.
func (r Result) Wants() time.Duration { return r.after }

// Fault is the error of Retry and Fatal, with its step.
func (r Result) Fault() orchestration.Fault {
	r = r.settled()
	return orchestration.Fault{Step: r.step, Message: r.text, Code: r.code}
}

// Err is the error of Retry and Fatal; nil for the other kinds.
func (r Result) Err() error {
	switch f := r.Fault(); {
	case f.Message == "":
		return nil
	case f.Step == "":
		return errors.New(f.Message)
	default:
		return fmt.Errorf("%s: %s", f.Step, f.Message)
	}
}

// Command is the report that tells the machine of the Result.
func (r Result) Command(rep orchestration.Report) orchestration.Command {
	r = r.settled()
	after := definition.Duration(r.after)
	switch r.kind {
	case Completed:
		return orchestration.Complete{Report: rep, Output: r.output, Key: r.key, Spawn: r.spawn}
	case Waiting:
		return orchestration.Wait{Report: rep, After: after, State: r.state}
	case Scheduled:
		return orchestration.Schedule{Report: rep, After: after, State: r.state}
	case Retrying:
		return orchestration.Retry{Report: rep, Error: r.Fault(), After: after, State: r.state}
	case Failed:
	}
	return orchestration.Fail{Report: rep, Error: r.Fault()}
}

// ReportID is the ID of the report of a Result: the same for every repeat of it.
func (r Result) ReportID(workID string, attempt int) string {
	return machine.ID("report", workID, strconv.Itoa(attempt), string(r.Kind()))
}

// settled makes the zero Result what it means.
func (r Result) settled() Result {
	if r.kind == "" {
		return fatal("", "the processor returned no result; it must return Complete, Wait, Schedule, Retry or Fatal")
	}
	return r
}

// redacted takes secrets out of the error's text.
func (r Result) redacted(redact func(string) string) Result {
	r.step, r.text = redact(r.step), redact(r.text)
	return r
}

// checked makes a Result that is too large a fatal one. A large output is looked at when it is
// moved out of the report, or cannot be.
func (r Result) checked() Result {
	size := min(len(r.output), blob.Threshold) + len(r.state)
	if size <= MaxReportBytes && len(r.spawn) == 0 {
		return r
	}
	if len(r.spawn) > 0 {
		raw, err := json.Marshal(r.spawn)
		if err != nil {
			return fatal("spawn", fmt.Sprintf("the spawned activities cannot be encoded as JSON: %v", err))
		}
		if err := schemas.CheckReported(raw); err != nil {
			return fatal("spawn", fmt.Sprintf("the spawned activities cannot be read by everybody alike: %v", err))
		}
		size += len(raw)
	}
	if size > MaxReportBytes {
		return fatal("output", fmt.Sprintf("the result has %d bytes, over the limit of %d bytes for one report", size, MaxReportBytes))
	}
	return r
}

func encode(v any) (json.RawMessage, error) {
	raw, ok := v.(json.RawMessage)
	if !ok && v != nil {
		var err error
		if raw, err = schemas.Encode(v); err != nil {
			return nil, err
		}
	}
	if len(raw) == 0 {
		return nil, nil
	}
	// A machine that gets it from an agent of its own process looks at it no more, and could not
	// write it down.
	return raw, schemas.CheckReported(raw)
}

func messageOf(err error) string {
	if err == nil {
		return "the processor reported an error without saying which"
	}
	return clip(err.Error())
}

// clip makes a text fit for the log: UTF-8, without U+0000, of bounded length.
func clip(s string) string {
	if len(s) > maxMessageBytes {
		s = s[:maxMessageBytes] + "…"
	}
	if s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD"); s == "" {
		return "an error without a text"
	}
	return s
}
