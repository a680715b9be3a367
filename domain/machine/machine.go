package machine

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Code classifies a refusal; the values are part of the public interface.
type Code string

// The codes of a refusal.
const (
	UnknownType Code = "unknown-type" // no such definition, activity type or command
	Schema      Code = "schema"       // the body does not fit its schema
	Limit       Code = "limit"        // a configured limit would be passed; the reason names it
	Conflict    Code = "conflict"     // same id, other body
	BadState    Code = "state"        // the state does not allow it
	Inactive    Code = "inactive"     // the definition takes no new starts
	NotFound    Code = "not-found"    // there is no such aggregate, activity or work
)

// Problem is one mistake in a body: where, as a JSON path, and what.
type Problem struct {
	Path    string `json:"path"`
	Message string `json:"message"`
}

// Refusal is the answer to a command that cannot have its way. It is an answer, not
// a fault: it is recorded and sent to whoever asked.
type Refusal struct {
	Code   Code      `json:"code"`
	Reason string    `json:"reason"`
	Errors []Problem `json:"errors,omitempty"`
}

// Error implements error: the reason, then each problem with its path.
func (r *Refusal) Error() string {
	if len(r.Errors) == 0 {
		return r.Reason
	}
	var b strings.Builder
	b.WriteString(r.Reason)
	for i, p := range r.Errors {
		if i == 0 {
			b.WriteString(": ")
		} else {
			b.WriteString("; ")
		}
		if p.Path != "" {
			b.WriteString(p.Path)
			b.WriteString(": ")
		}
		b.WriteString(p.Message)
	}
	return b.String()
}

// Refuse makes a Refusal.
func Refuse(code Code, reason string, problems ...Problem) *Refusal {
	return &Refusal{Code: code, Reason: reason, Errors: problems}
}

// namespace is the UUIDv5 namespace of every ID the machines derive. It is part of
// the wire format: changing it would make a second ID for the same thing.
var namespace = uuid.MustParse("6b1f2f0e-9d0c-5a5e-8f43-3f1f6f9c7a11")

// ID derives an ID from what it is for, so that deciding again makes the same one.
// The parts must not contain the separator U+001F.
func ID(parts ...string) string {
	n := 0
	for _, p := range parts {
		n += len(p) + 1
	}
	b := make([]byte, 0, n)
	for _, p := range parts {
		b = append(b, p...)
		b = append(b, 0x1f)
	}
	return uuid.NewSHA1(namespace, b).String()
}

// Effect is something that follows from an event: it leaves the machine.
//
//sumtype:decl
type Effect interface{ effect() }

// Work asks the agents of a type for one attempt at an activity. It is the value of a
// record on work.<type>; ID is the same for every attempt at the same activity of the
// same run, so it serves as the idempotency key towards the outside.
type Work struct {
	ID          string `json:"workId"`
	Attempt     int    `json:"attempt"`
	Offer       int    `json:"offer,omitempty"` // of this attempt, from 1
	Aggregate   string `json:"aggregate"`       // aggregate type that asked: reports go to its commands
	AggregateID string `json:"aggregateId"`     // key of the reports
	Run         int    `json:"run"`
	// Owner is the orchestration under whose id large results are kept, where that is not AggregateID.
	Owner         string          `json:"owner,omitempty"`
	ActivityID    string          `json:"activityId"`
	Type          string          `json:"type"`
	Discriminator string          `json:"discriminator,omitempty"`
	Resource      string          `json:"resource,omitempty"` // name of what is deployed or disposed of; the same in both
	Input         json.RawMessage `json:"input,omitempty"`
	Outputs       json.RawMessage `json:"outputs,omitempty"` // of ancestors, by id, where the activity asks for them
	State         json.RawMessage `json:"state,omitempty"`   // the activity's own, from its last report
	RequestedAt   time.Time       `json:"requestedAt"`
	Deadline      time.Time       `json:"deadline,omitzero"` // of the activity in total: an attempt may wait long for a free agent
	// OfferedUntil is until when the attempt can be claimed. A little later it is offered again, unless
	// it has been: an agent that finds it after this leaves it, for another may have the next offer.
	OfferedUntil time.Time `json:"offeredUntil,omitzero"`
	// HeartbeatTimeout is how long a claim lasts without a heartbeat, in milliseconds.
	HeartbeatTimeout int64  `json:"heartbeatTimeoutMs,omitempty"`
	TraceParent      string `json:"traceparent,omitempty"`
	// Unfit is why nobody can carry it out; empty: it can be. It is then offered to nobody and
	// has failed.
	Unfit string `json:"-"`
}

// CancelWork tells the agents of a type that an attempt is no longer wanted. It is a hint:
// what they report all the same is refused.
type CancelWork struct {
	ID      string `json:"workId"`
	Attempt int    `json:"attempt"`
	Type    string `json:"type"`
	Reason  string `json:"reason"`
	// Input is that of the work, where it takes that to find the machine that carries it out.
	Input json.RawMessage `json:"-"`
}

// Send is a command to another aggregate.
type Send struct {
	ID        string // ce_id, derived
	Aggregate string // aggregate type
	Key       string // aggregate id
	Type      string // wire name of the command
	Value     any    // encoded as JSON
	// TraceParent is the W3C trace context of whoever asked for what the command is for.
	TraceParent string
}

// Completion is an end, told on the completions topic under the aggregate's key.
type Completion struct {
	ID    string // ce_id, derived, so that a repeat can be told
	Type  string // wire name
	Value any    // encoded as JSON
}

// Announce puts a value on the compacted definitions topic; a nil Value deletes it.
type Announce struct {
	Key   string
	Type  string // wire name
	Value any    // encoded as JSON
}

// Blob names what was written to the blobs topic as one: its chunks have the keys <id>/0,
// <id>/1 and so on.
type Blob struct {
	ID     string
	Chunks int32
}

// Claim says that an aggregate refers to blobs that were written under its id: what nobody
// claims is removed after a while.
type Claim struct{ Blobs []Blob }

// Discard removes blobs that were written under the aggregate's id, with their claims.
type Discard struct{ Blobs []Blob }

func (Work) effect()       {}
func (CancelWork) effect() {}
func (Send) effect()       {}
func (Completion) effect() {}
func (Announce) effect()   {}
func (Claim) effect()      {}
func (Discard) effect()    {}

// Clip shortens a text to at most so many bytes, between two characters.
func Clip(s string, most int) string {
	const mark = "…"
	if len(s) <= most {
		return s
	}
	cut := most - len(mark)
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + mark
}

// Encode writes a value as JSON that escapes no more than JSON asks for: what came in within a limit must not
// grow out of it because it has a < in it, which encoding/json makes six bytes of.
func Encode(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
