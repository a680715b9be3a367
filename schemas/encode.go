package schemas

import (
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/orchestration"
)

// EncodeOrchestrationEvent writes an event's value and names its type. Times are written in
// UTC. It refuses an event whose raw JSON (input, output, state) is none, for nobody could
// read that event again.
func EncodeOrchestrationEvent(e orchestration.Event) (wireType string, data []byte, err error) {
	w := writer{out: make([]byte, 0, 192)}
	switch e := e.(type) {
	case orchestration.Started:
		wireType = OrchestrationStarted
		w.started(&e)
	case orchestration.Requested:
		wireType = ActivityRequested
		w.requested(&e)
	case orchestration.Offered:
		wireType = ActivityOffered
		w.offered(&e)
	case orchestration.Claimed:
		wireType = ActivityClaimed
		w.attempt(e.ActivityID, e.Attempt)
		w.str("agent", e.Agent)
		w.time("lease", e.Lease)
	case orchestration.Extended:
		wireType = ActivityExtended
		w.attempt(e.ActivityID, e.Attempt)
		w.time("lease", e.Lease)
	case orchestration.Waited:
		wireType = ActivityWaited
		w.attempt(e.ActivityID, e.Attempt)
		w.time("until", e.Until)
		w.json("state", e.State)
	case orchestration.Scheduled:
		wireType = ActivityScheduled
		w.attempt(e.ActivityID, e.Attempt)
		w.time("at", e.At)
		w.json("state", e.State)
	case orchestration.Retrying:
		wireType = ActivityRetrying
		w.attempt(e.ActivityID, e.Attempt)
		w.name("error")
		w.failure(&e.Error)
		w.time("at", e.At)
		w.json("state", e.State)
	case orchestration.Completed:
		wireType = ActivityCompleted
		w.completed(&e)
	case orchestration.Failed:
		wireType = ActivityFailed
		w.attempt(e.ActivityID, e.Attempt)
		w.name("error")
		w.failure(&e.Error)
		w.truth("continued", e.Continued)
		w.signature(e.Reason, e.By)
	case orchestration.TransfersFinished:
		wireType = TransfersFinished
	case orchestration.Compensating:
		wireType = OrchestrationCompensating
		w.compensating(&e)
	case orchestration.RerunStarted:
		wireType = OrchestrationRerunStarted
		w.integer("run", e.Run)
		w.strings("reset", e.Reset)
		w.time("deadline", e.Deadline)
		w.strings("from", e.From)
		w.signature(e.Reason, e.By)
	case orchestration.Disposed:
		wireType = OrchestrationDisposed
		w.str("id", e.ID)
		w.integer("run", e.Run)
		w.json("start", e.Start)
		w.signature(e.Reason, e.By)
	case orchestration.Ended:
		wireType = OrchestrationEnded
		w.ended(&e)
	case orchestration.BlobsRemoved:
		wireType = BlobsRemoved
		w.integer("blobs", e.Blobs)
		w.integer("bytes", int(e.Bytes))
	case orchestration.Skipped:
		wireType = ActivitySkipped
		w.str("activityId", e.ActivityID)
		w.json("output", e.Output)
		w.signature(e.Reason, e.By)
	case orchestration.ActivityPaused:
		wireType = ActivityPaused
		w.str("activityId", e.ActivityID)
		w.signature(e.Reason, e.By)
	case orchestration.ActivityResumed:
		wireType = ActivityResumed
		w.str("activityId", e.ActivityID)
		w.signature(e.Reason, e.By)
	case orchestration.Paused:
		wireType = OrchestrationPaused
		w.signature(e.Reason, e.By)
	case orchestration.Resumed:
		wireType = OrchestrationResumed
		w.str("state", e.State.String())
		w.signature(e.Reason, e.By)
	default:
		return "", nil, fmt.Errorf("event %T has no wire name", e)
	}
	if w.err != nil {
		return "", nil, fmt.Errorf("write %s: %w", wireType, w.err)
	}
	return wireType, w.end(), nil
}

// writer appends the members of one JSON object. Its first error sticks.
type writer struct {
	out   []byte
	start int // of the object in out
	err   error
}

// nested is a writer of an object that is the value of the member just begun.
func (w *writer) nested() writer { return writer{out: w.out, start: len(w.out), err: w.err} }

// close ends a nested object.
func (w *writer) close(n *writer) { w.out, w.err = n.end(), n.err }

// end closes the object, also one that has no members.
func (w *writer) end() []byte {
	if len(w.out) == w.start {
		w.out = append(w.out, '{')
	}
	return append(w.out, '}')
}

// name begins a member; the value is the caller's to write. The names are ours: nothing in
// them needs to be escaped.
func (w *writer) name(name string) {
	if len(w.out) == w.start {
		w.out = append(w.out, '{', '"')
	} else {
		w.out = append(w.out, ',', '"')
	}
	w.out = append(w.out, name...)
	w.out = append(w.out, '"', ':')
}

func (w *writer) str(name, v string) {
	w.name(name)
	w.out = appendString(w.out, v)
}

// optional leaves an empty string out.
func (w *writer) optional(name, v string) {
	if v != "" {
		w.str(name, v)
	}
}

func (w *writer) integer(name string, v int) {
	w.name(name)
	w.out = strconv.AppendInt(w.out, int64(v), 10)
}

// truth leaves false out.
func (w *writer) truth(name string, v bool) {
	if v {
		w.name(name)
		w.out = append(w.out, "true"...)
	}
}

// time writes a time in UTC. One beyond the calendar of RFC 3339 becomes its first or last moment: it
// is never reached, and an event that cannot be written would hold up everybody's.
func (w *writer) time(name string, t time.Time) {
	w.name(name)
	t = t.UTC()
	switch y := t.Year(); {
	case y < 0:
		t = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)
	case y > lastYear:
		t = time.Date(lastYear, 12, 31, 23, 59, 59, 0, time.UTC)
	}
	w.out = append(w.out, '"')
	w.out = t.AppendFormat(w.out, time.RFC3339Nano)
	w.out = append(w.out, '"')
}

// lastYear is the last of RFC 3339.
const lastYear = 9999

// until leaves the zero time out.
func (w *writer) until(name string, t time.Time) {
	if !t.IsZero() {
		w.time(name, t)
	}
}

// json leaves nothing out but what is not there.
func (w *writer) json(name string, v []byte) {
	if len(v) > 0 {
		w.name(name)
		w.raw(name, v)
	}
}

func (w *writer) raw(name string, v []byte) {
	s := scanner{data: v}
	s.raw()
	s.end()
	if s.err != nil {
		w.fail(fmt.Errorf("%s: %w", name, s.err))
	}
	w.out = append(w.out, v...)
}

func (w *writer) strings(name string, l []string) {
	if len(l) == 0 {
		return
	}
	w.name(name)
	for i, v := range l {
		w.out = append(w.out, separator(i))
		w.out = appendString(w.out, v)
	}
	w.out = append(w.out, ']')
}

// separator is what stands before the i-th element of an array.
func separator(i int) byte {
	if i == 0 {
		return '['
	}
	return ','
}

// other writes what is rare or has a codec of its own.
func (w *writer) other(name string, v any) {
	w.name(name)
	b, err := Encode(v)
	if err != nil {
		w.fail(fmt.Errorf("%s: %w", name, err))
	}
	w.out = append(w.out, b...)
}

// whole writes an object that comes too seldom to be written by hand. What is raw in it is checked
// like everywhere.
func (w *writer) whole(v any) {
	b, err := Encode(v)
	if err != nil {
		w.fail(err)
		return
	}
	w.raw("the value", b)
	w.out = w.out[:len(w.out)-1] // end closes it
}

func (w *writer) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

func (w *writer) attempt(activityID string, attempt int) {
	w.str("activityId", activityID)
	w.integer("attempt", attempt)
}

func (w *writer) started(e *orchestration.Started) {
	w.str("type", e.Type)
	w.integer("run", e.Run)
	w.name("definition")
	if e.Plan == nil {
		w.fail(fmt.Errorf("definition: there is none, and nothing could go on without"))
	} else {
		b, err := e.Plan.MarshalJSON() // its own, so neither copied nor checked again
		if err != nil {
			w.fail(fmt.Errorf("definition: %w", err))
		}
		w.out = append(w.out, b...)
	}
	w.name("input")
	if len(e.Input) == 0 {
		w.out = append(w.out, "null"...)
	} else {
		w.raw("input", e.Input)
	}
	w.truth("partial", e.Partial)
	w.time("deadline", e.Deadline)
	if len(e.Labels) > 0 {
		w.other("labels", e.Labels)
	}
	w.optional("callback", e.Callback)
	w.optional("name", e.Name)
	w.optional("set", e.Set)
	w.optional("resource", e.Resource)
	w.str("fingerprint", e.Fingerprint)
	w.optional("traceparent", e.TraceParent)
	if e.Disposes != nil {
		w.other("disposes", e.Disposes)
	}
}

func (w *writer) requested(e *orchestration.Requested) {
	w.attempt(e.ActivityID, e.Attempt)
	w.str("workId", e.WorkID)
	w.optional("placement", e.Placement)
	w.time("deadline", e.Deadline)
	w.signature(e.Reason, e.By)
	if e.Fault != nil {
		w.other("fault", e.Fault)
	}
}

func (w *writer) offered(e *orchestration.Offered) {
	w.attempt(e.ActivityID, e.Attempt)
	w.str("workId", e.WorkID)
	w.optional("placement", e.Placement)
	w.integer("offer", e.Offer)
}

func (w *writer) completed(e *orchestration.Completed) {
	w.attempt(e.ActivityID, e.Attempt)
	w.json("output", e.Output)
	w.optional("key", e.Key)
	if len(e.Spawned) > 0 {
		w.activities("spawned", e.Spawned)
	}
	w.strings("shared", e.Shared)
	w.strings("cycles", e.Cycles)
	if len(e.Contracts) > 0 {
		w.other("contracts", e.Contracts)
	}
	w.strings("children", e.Children)
	w.signature(e.Reason, e.By)
}

func (w *writer) activities(name string, l []definition.Activity) {
	w.name(name)
	for i := range l {
		w.out = append(w.out, separator(i))
		w.activity(&l[i])
	}
	w.out = append(w.out, ']')
}

func (w *writer) compensating(e *orchestration.Compensating) {
	w.str("state", e.State.String())
	w.activities("undo", e.Undo)
	w.time("deadline", e.Deadline)
	if e.Error != nil {
		w.name("error")
		w.failure(e.Error)
	}
	w.signature(e.Reason, e.By)
}

// activity writes what spawned activities have in most cases; the rest is left to
// encoding/json.
func (w *writer) activity(a *definition.Activity) {
	if len(a.Inputs) > 0 || !a.Context.IsZero() || a.Retry != nil || a.AttemptTimeout != 0 || a.Deadline != 0 || a.HeartbeatTimeout != 0 {
		b, err := Encode(a)
		if err != nil {
			w.fail(fmt.Errorf("spawned: %w", err))
		}
		w.out = append(w.out, b...)
		return
	}
	n := w.nested()
	n.str("id", a.ID)
	n.optional("name", a.Name)
	n.str("type", a.Type)
	n.optional("discriminator", a.Discriminator)
	n.strings("dependsOn", a.DependsOn)
	n.json("with", a.With)
	n.optional("onError", a.OnError)
	w.close(&n)
}

func (w *writer) ended(e *orchestration.Ended) {
	w.str("state", e.State.String())
	w.json("output", e.Output)
	if e.Error != nil {
		w.name("error")
		w.failure(e.Error)
	}
	if len(e.Failures) > 0 {
		w.name("failures")
		for i := range e.Failures {
			w.out = append(w.out, separator(i))
			w.failure(&e.Failures[i])
		}
		w.out = append(w.out, ']')
	}
	w.signature(e.Reason, e.By)
	if e.Compensation != nil {
		w.other("compensation", e.Compensation)
	}
}

// signature is why, and who, where somebody said so.
func (w *writer) signature(reason, by string) {
	w.optional("reason", reason)
	w.optional("by", by)
}

// failure writes a whole object, as a value.
func (w *writer) failure(f *orchestration.Failure) {
	n := w.nested()
	n.optional("activityId", f.ActivityID)
	n.optional("name", f.Name)
	n.optional("step", f.Step)
	n.str("message", f.Message)
	if f.Attempts != 0 {
		n.integer("attempts", f.Attempts)
	}
	n.time("at", f.At)
	w.close(&n)
}

const hexDigits = "0123456789abcdef"

// appendString writes a JSON string. What is not UTF-8 becomes U+FFFD, as in encoding/json.
func appendString[T string | []byte](b []byte, s T) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(string(s[i:min(len(s), i+utf8.UTFMax)]))
			if r == utf8.RuneError && n == 1 {
				b = append(b, s[start:i]...)
				b = utf8.AppendRune(b, utf8.RuneError)
				start = i + 1
			}
			i += n
			continue
		}
		b = append(b, s[start:i]...)
		b = appendEscape(b, c)
		i++
		start = i
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

func appendEscape(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	}
	return append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}
