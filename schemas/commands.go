package schemas

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"

	"github.com/waybill/waybill/domain/blob"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
)

// MaxCommandBytes is the largest value, in bytes, a command may have. It leaves room for
// the events and work records that repeat a command's input within a record of
// the log.
const MaxCommandBytes = 1 << 20

// EncodeOrchestrationCommand writes a command's value and names its type. It refuses the
// commands that are not on the wire.
func EncodeOrchestrationCommand(c orchestration.Command) (wireType string, data []byte, err error) {
	if wireType = orchestrationCommandType(c); wireType == "" {
		return "", nil, fmt.Errorf("command %T is not on the wire", c)
	}
	data, err = Encode(c)
	return wireType, data, err
}

func orchestrationCommandType(c orchestration.Command) string {
	switch c.(type) {
	case orchestration.Start:
		return OrchestrationStart
	case orchestration.Cancel:
		return OrchestrationCancel
	case orchestration.Rerun:
		return OrchestrationRerun
	case orchestration.Dispose:
		return OrchestrationDispose
	case orchestration.Complete:
		return WorkComplete
	case orchestration.Wait:
		return WorkWait
	case orchestration.Schedule:
		return WorkSchedule
	case orchestration.Retry:
		return WorkRetry
	case orchestration.Fail:
		return WorkFail
	case orchestration.Heartbeat:
		return WorkHeartbeat
	case orchestration.Release:
		return WorkRelease
	case orchestration.Pause:
		return OrchestrationPause
	case orchestration.Resume:
		return OrchestrationResume
	case orchestration.RetryActivity:
		return ActivityRetry
	case orchestration.SkipActivity:
		return ActivitySkip
	case orchestration.CompleteActivity:
		return ActivityComplete
	case orchestration.FailActivity:
		return ActivityFail
	case orchestration.PauseActivity:
		return ActivityPause
	case orchestration.ResumeActivity:
		return ActivityResume
	case orchestration.Wake, orchestration.TakeOver:
	}
	return ""
}

// DecodeOrchestrationCommand reads and checks a command's value.
//
// What can be read but is not to be had is a *machine.Refusal: of an unknown type, larger
// than MaxCommandBytes or nested deeper than 100, not what its JSON Schema says (with the
// path of every mistake), or not I-JSON (RFC 7493): a name twice in an object, half a
// surrogate pair, a number beyond float64; and U+0000. What is not JSON, or not UTF-8, is
// an *UndecodableError. A byte order mark in front is stepped over. Optional members may
// be null. Any other error is a fault of this build. Nothing returned refers to data. It is
// safe for concurrent use.
func DecodeOrchestrationCommand(wireType string, data []byte) (orchestration.Command, error) {
	if !isOrchestrationCommand(wireType) {
		return nil, unknownCommand(wireType, OrchestrationCommands())
	}
	data, err := measure(data)
	if err != nil {
		return nil, err
	}
	// What the reader takes, the schema takes (fuzzed). So the schema, which is slower by
	// an order of magnitude, is asked only where the reader does not take something, or
	// took something it does not check.
	r := reader{scanner: scanner{data: data, strict: true}}
	c := r.command(wireType)
	r.end()
	if r.err != nil || r.unsure {
		if err := explain(wireType, data, r.err); err != nil {
			return nil, err
		}
	}
	if start, ok := c.(orchestration.Start); ok {
		start.Fingerprint = Fingerprint(data)
		return start, nil
	}
	return c, nil
}

func isOrchestrationCommand(wireType string) bool {
	switch wireType {
	case OrchestrationStart, OrchestrationCancel, OrchestrationRerun, OrchestrationDispose, WorkComplete, WorkWait, WorkSchedule, WorkRetry, WorkFail, WorkHeartbeat, WorkRelease:
		return true
	}
	return isOperatorCommand(wireType)
}

func unknownCommand(wireType string, known []string) *machine.Refusal {
	return machine.Refuse(machine.UnknownType, fmt.Sprintf("%q is not a command this aggregate takes; it takes %s", wireType, strings.Join(known, ", ")))
}

// byteOrderMark is what some editors put in front of a text; RFC 8259 lets readers ignore it.
var byteOrderMark = []byte("\ufeff")

// measure refuses what is too large before anything looks at it.
func measure(data []byte) ([]byte, error) {
	if len(data) > MaxCommandBytes {
		return nil, machine.Refuse(machine.Limit, fmt.Sprintf("the value has %d bytes; the limit of a command is %d bytes (MaxCommandBytes)", len(data), MaxCommandBytes))
	}
	return bytes.TrimPrefix(data, byteOrderMark), nil
}

// explain says what is wrong with a value that a reader did not take, found being what it
// stumbled over; nil if it is only what the reader was unsure of, and that is well.
func explain(wireType string, data []byte, found error) error {
	if err := readable(wireType, data); err != nil {
		return err
	}
	problems, err := validate(wireType, data)
	reason := misfit(wireType)
	var place *problemAt
	switch {
	case err != nil:
		return err
	case len(problems) > 0:
		return machine.Refuse(machine.Schema, reason, problems...)
	case errors.As(found, &place):
		return refusal(place, reason)
	}
	return found
}

// CheckReported says what keeps a value from being taken in a report about work: that it is no JSON, that
// not every reader understands it alike, or that it is nested too deeply.
func CheckReported(value []byte) error {
	s := scanner{data: value, strict: true, most: maxDepth - 1} // the report is around it
	s.raw()
	s.end()
	return s.err
}

// depthOf is how deep the value of a command may be. Those of transfers and negotiations are put
// together by machines from what was taken before.
func depthOf(wireType string) int {
	if strings.HasPrefix(wireType, "transfer.") || strings.HasPrefix(wireType, "negotiation.") {
		return maxMachineDepth
	}
	return maxDepth
}

func misfit(wireType string) string { return "the value does not fit the schema of " + wireType }

// readable says what keeps a value from being read by everybody alike, whatever its schema.
func readable(wireType string, data []byte) error {
	s := scanner{data: data, strict: true, lists: true, most: depthOf(wireType)}
	s.raw()
	s.end()
	var syntax *syntaxError
	if errors.As(s.err, &syntax) {
		return undecodable(wireType, s.err)
	}
	var place *problemAt
	if errors.As(s.err, &place) {
		return refusal(place, misfit(wireType))
	}
	if len(s.problems) > 0 {
		problems := make([]machine.Problem, len(s.problems))
		for i, p := range s.problems {
			problems[i] = machine.Problem{Path: p.path, Message: p.message}
		}
		return machine.Refuse(machine.Schema, "the value is not JSON that every reader understands alike", problems...)
	}
	return nil
}

func refusal(p *problemAt, reason string) *machine.Refusal {
	code := machine.Schema
	if p.limit {
		code = machine.Limit
	}
	return machine.Refuse(code, reason, machine.Problem{Path: p.path, Message: p.message})
}

// Patterns of the JSON Schemas that the reader of commands checks itself.
const (
	durationPattern = `^(P([0-9]{1,9}(\.[0-9]{1,9})?[YMWD])*(T([0-9]{1,9}(\.[0-9]{1,9})?[HMS])+)?|([0-9]{1,15}(\.[0-9]{1,9})?(ns|us|µs|ms|s|m|h))+|0)$`
	urlPattern      = `^https?://.`
	labelPattern    = `^[A-Za-z0-9_][-A-Za-z0-9_.~:@]{0,127}$`
	sealedPattern   = `^[-A-Za-z0-9_]{1,64}\.[-A-Za-z0-9_]+$`
)

var (
	isDuration = regexp.MustCompile(durationPattern)
	isURL      = regexp.MustCompile(urlPattern)
	isLabel    = regexp.MustCompile(labelPattern)
	isInstant  = regexp.MustCompile(`^\s*"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z"$`)
)

// reader reads commands, as strictly as their JSON Schemas say.
type reader struct {
	scanner
	given  int  // bits of the required members that were there
	unsure bool // something was taken that only the schema checks
}

// Required members.
const (
	hasType = 1 << iota
	hasWorkID
	hasAttempt
	hasAfter
	hasError
	hasAgent
	hasActivity
)

const hasReport = hasWorkID | hasAttempt

func (r *reader) command(wireType string) orchestration.Command {
	switch wireType {
	case OrchestrationStart:
		return r.start()
	case OrchestrationCancel:
		return r.cancel()
	case OrchestrationRerun:
		return r.rerun()
	case OrchestrationDispose:
		c := r.cancel() // it has the same members
		return orchestration.Dispose{Reason: c.Reason, By: c.By}
	case WorkComplete:
		return r.complete()
	case WorkWait:
		var c orchestration.Wait
		r.reported(&c.Report, &c.After, &c.State, nil, false)
		return c
	case WorkSchedule:
		var c orchestration.Schedule
		r.reported(&c.Report, &c.After, &c.State, nil, true)
		return c
	case WorkRetry:
		var c orchestration.Retry
		r.reported(&c.Report, &c.After, &c.State, &c.Error, false)
		return c
	case WorkFail:
		var c orchestration.Fail
		r.reported(&c.Report, nil, nil, &c.Error, false)
		return c
	case WorkHeartbeat:
		return r.heartbeat()
	case WorkRelease:
		return r.release()
	}
	return r.operator(wireType)
}

func (r *reader) need(members int) {
	if r.given&members != members {
		r.mismatch("a member is missing")
	}
}

func (r *reader) unknown(name []byte) {
	r.raw()
	r.mismatch(fmt.Sprintf("%q is not known here", name))
}

// required reads a string that must be there and say something.
func (r *reader) required(member int) string {
	if r.null() {
		r.mismatch("got null, want string")
	}
	v := r.str()
	if v == "" {
		r.mismatch("is empty")
	}
	r.given |= member
	return v
}

func (r *reader) start() orchestration.Start {
	var c orchestration.Start
	for o := r.object(); o.next(); {
		switch string(o.name) {
		case "type":
			c.Type = r.required(hasType)
		case "input":
			if c.Input = r.references(); len(c.Input) > 0 && c.Input[0] != '{' {
				r.mismatch("want an object")
			} else if _, whole := blob.Of(c.Input); whole {
				r.mismatch("want an object of its own: only its members can be kept elsewhere")
			}
		case "partial":
			c.Partial = r.boolean()
		case "deadline":
			c.Deadline = r.duration()
		case "labels":
			c.Labels = r.labels()
		case "callback":
			c.Callback = r.url()
		case "definition":
			r.unsure = true
			c.Definition = r.copied()
		case "disposes":
			r.unsure = true
			r.other(&c.Disposes)
		case "name":
			c.Name = r.label()
		case "set":
			c.Set = r.label()
		case "resource":
			c.Resource = r.label()
		default:
			r.unknown(o.name)
		}
	}
	r.need(hasType)
	return c
}

// references reads any value but null, in which what is kept elsewhere is well referred to; nil
// for null.
func (r *reader) references() []byte {
	v := r.copied()
	if err := blob.Check(v); err != nil {
		r.mismatch(err.Error())
	}
	return v
}

func (r *reader) cancel() orchestration.Cancel {
	var c orchestration.Cancel
	for o := r.object(); o.next(); {
		switch string(o.name) {
		case "reason":
			c.Reason = r.str()
		case "by":
			c.By = r.str()
		default:
			r.unknown(o.name)
		}
	}
	return c
}

func (r *reader) rerun() orchestration.Rerun {
	var c orchestration.Rerun
	for o := r.object(); o.next(); {
		switch string(o.name) {
		case "reason":
			c.Reason = r.str()
		case "by":
			c.By = r.str()
		case "from":
			r.unsure = true
			r.other(&c.From)
		default:
			r.unknown(o.name)
		}
	}
	return c
}

// report takes the members that every report has.
func (r *reader) report(c *orchestration.Report, name []byte) bool {
	switch string(name) {
	case "workId":
		c.WorkID = r.required(hasWorkID)
	case "attempt":
		if r.null() {
			r.mismatch("got null, want integer")
		}
		if c.Attempt = r.integer(); c.Attempt < 1 || c.Attempt > math.MaxInt32 {
			r.mismatch("want an attempt, from 1")
		}
		r.given |= hasAttempt
	default:
		return false
	}
	return true
}

func (r *reader) complete() orchestration.Complete {
	var c orchestration.Complete
	for o := r.object(); o.next(); {
		switch string(o.name) {
		case "output":
			c.Output = r.references()
		case "key":
			c.Key = r.str()
		case "spawn":
			c.Spawn = r.spawn()
		default:
			if !r.report(&c.Report, o.name) {
				r.unknown(o.name)
			}
		}
	}
	r.need(hasReport)
	return c
}

func (r *reader) spawn() []definition.Activity {
	if r.err != nil || r.null() {
		return nil
	}
	var l []definition.Activity
	for a := r.array(); a.next(); {
		l = append(l, r.spawned())
	}
	return l
}

// spawned reads an activity. Its rarer members are the schema's to check.
func (r *reader) spawned() definition.Activity {
	var a definition.Activity
	hasID, hasType := false, false
	for o := r.object(); o.next(); {
		switch string(o.name) {
		case "id":
			a.ID, hasID = r.words(), true
		case "name":
			a.Name = r.words()
		case "type":
			a.Type, hasType = r.words(), true
		case "discriminator":
			a.Discriminator = r.words()
		case "dependsOn":
			r.unsure = true
			r.other(&a.DependsOn)
		case "inputs":
			r.unsure = true
			r.other(&a.Inputs)
		case "with":
			if a.With = r.copied(); len(a.With) == 0 || a.With[0] != '{' {
				r.mismatch("want an object")
			}
			if blob.Refers(a.With) {
				r.mismatch("the members $blob and $join are reserved")
			}
		case "context":
			r.unsure = true
			r.other(&a.Context)
		case "onError":
			a.OnError = r.onError()
		case "retry":
			r.unsure = true
			r.other(&a.Retry)
		case "attemptTimeout":
			r.unsure = true
			r.other(&a.AttemptTimeout)
		case "deadline":
			r.unsure = true
			r.other(&a.Deadline)
		case "heartbeatTimeout":
			r.unsure = true
			r.other(&a.HeartbeatTimeout)
		default:
			r.unknown(o.name)
		}
	}
	if !hasID || !hasType {
		r.mismatch("id or type is missing")
	}
	return a
}

// words reads a string, which must not be null.
func (r *reader) words() string {
	if r.err != nil {
		return ""
	}
	if r.space() != '"' {
		r.mismatchOrSyntax("want a string")
		return ""
	}
	return r.str()
}

func (r *reader) onError() string {
	v := r.words()
	switch v {
	case "", definition.OnErrorFail, definition.OnErrorContinue, definition.OnErrorPartial:
	default:
		r.mismatch(fmt.Sprintf("%q is none of fail, continue, partial", v))
	}
	return v
}

// reported reads a report with the members it may have: those that are not nil.
func (r *reader) reported(c *orchestration.Report, after *definition.Duration, state *json.RawMessage, fault *orchestration.Fault, mustAfter bool) {
	for o := r.object(); o.next(); {
		name := string(o.name)
		switch {
		case name == "after" && after != nil:
			if mustAfter && r.null() {
				r.mismatch("got null, want string")
			}
			*after = r.duration()
			r.given |= hasAfter
		case name == "state" && state != nil:
			*state = r.copied()
		case name == "error" && fault != nil:
			*fault = r.fault()
			r.given |= hasError
		case r.report(c, o.name):
		default:
			r.unknown(o.name)
		}
	}
	r.need(hasReport)
	if mustAfter {
		r.need(hasAfter)
	}
	if fault != nil {
		r.need(hasError)
	}
}

func (r *reader) heartbeat() orchestration.Heartbeat {
	var c orchestration.Heartbeat
	for o := r.object(); o.next(); {
		if string(o.name) == "agent" {
			c.Agent = r.str()
		} else if !r.report(&c.Report, o.name) {
			r.unknown(o.name)
		}
	}
	r.need(hasReport)
	return c
}

func (r *reader) release() orchestration.Release {
	var c orchestration.Release
	for o := r.object(); o.next(); {
		if string(o.name) == "agent" {
			c.Agent = r.required(hasAgent)
		} else if !r.report(&c.Report, o.name) {
			r.unknown(o.name)
		}
	}
	r.need(hasReport | hasAgent)
	return c
}

// fault reads a string, or an object with a message.
func (r *reader) fault() orchestration.Fault {
	var f orchestration.Fault
	switch r.space() {
	case '"':
		f.Message = r.str()
		return f
	case '{':
	default:
		r.mismatchOrSyntax("want a string or {step, message, code}")
		return f
	}
	told := false
	for o := r.object(); o.next(); {
		switch string(o.name) {
		case "step":
			f.Step = r.words()
		case "message":
			f.Message, told = r.words(), true
		case "code":
			f.Code = r.words()
		default:
			r.unknown(o.name)
		}
	}
	if !told {
		r.mismatch("message is missing")
	}
	return f
}

func (r *reader) duration() definition.Duration {
	if r.err != nil || r.null() {
		return 0
	}
	text := r.str()
	if !isDuration.MatchString(text) {
		r.mismatch(fmt.Sprintf("%q is no duration; PT2S and 2s are", text))
		return 0
	}
	d, err := definition.ParseDuration(text)
	if err != nil {
		r.mismatch(err.Error())
	}
	return definition.Duration(d)
}

// label reads a name that users give.
func (r *reader) label() string {
	if r.err != nil || r.null() {
		return ""
	}
	text := r.str()
	if r.err == nil && !isLabel.MatchString(text) {
		r.mismatch(fmt.Sprintf("%q is no name: 1 to 128 letters, digits and _, after the first also - . ~ : @", text))
	}
	return text
}

func (r *reader) url() string {
	if r.err != nil || r.null() {
		return ""
	}
	text := r.str()
	if !isURL.MatchString(text) {
		r.mismatch(fmt.Sprintf("%q is no address of HTTP", text))
	}
	return text
}
