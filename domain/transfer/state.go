package transfer

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/task"
)

// How long a transfer stays in a state that waits, and how often something is tried, in this one
// place. None of them outlasts the deadline of the whole.
const (
	DefaultDeadline   = 7 * 24 * time.Hour // in total: the longest that an activity has without saying so
	ProvisionWithin   = time.Hour          // PROVISIONING and PROVISIONING_REQUESTED
	AcquireWithin     = 24 * time.Hour     // PROVISIONED: a negotiation ends what hangs, and a queue at a provider is no fault
	RequestWithin     = 10 * time.Minute   // REQUESTING
	StartWithin       = 10 * time.Minute   // REQUESTED
	SuspendWithin     = 2 * time.Minute    // SUSPENDING
	ResumeWithin      = 2 * time.Minute    // RESUMING and RESUMED
	TerminateWithin   = 5 * time.Minute    // TERMINATING
	DeprovisionWithin = time.Hour          // DEPROVISIONING and DEPROVISIONING_REQUESTED
	FetchWithin       = 30 * time.Minute   // one attempt at a document, or at what has landed

	DefaultRetries = 5 // of a task, after passing faults
	// MaxAcquisitions is how often access is acquired: what was granted may be dead when it is used.
	MaxAcquisitions = 4
	// MaxDefinitions bounds a manifest.
	MaxDefinitions = 100
)

// State is where a transfer stands. The State that New makes is a transfer nobody has asked for.
type State struct {
	id          string
	fingerprint string
	phase       Phase // 0: nobody has asked for it
	outcome     Outcome
	tasks       task.Set
	l           *live // nil once nothing moves on
}

// live is what a transfer needs as long as something may still follow.
type live struct {
	begun
	startedAt time.Time
	until     time.Time // when the state ends by itself; zero: with the whole
	resources []resource

	// Access.
	acquiring    bool
	acquisitions int
	negotiation  string
	grant        AccessGranted
	lost         AccessLost // the last
	lostEDR      *EDR       // likewise

	fetches   int    // how many were asked for
	processes int    // of the connector's, how many we have asked for
	process   string // the last, by its id
	asked     bool   // the request is out, and no answer has come
	told      bool   // the connector knows of the process
	closed    bool   // the connector has ended it by itself
	words     int    // how often it was to be suspended or resumed

	end  Moved // into TERMINATING: why
	left *orchestration.Fault
}

// begun is what was asked for, with the names that the event has.
type begun Initiated

// plain says that the provider gives its documents to whoever asks.
func (b begun) plain() bool { return b.Adapter != AdapterEDC }

// resource is what a definition of the manifest asks for, and what came of it.
type resource struct {
	Definition
	made     bool
	gone     bool
	frees    int // how often it was asked for that it is undone
	resource json.RawMessage
	secret   json.RawMessage
	upload   *ResourceUploaded
}

// New is the transfer of that id before anything has happened.
func New(id string) State { return State{id: id} }

// ID is the aggregate id.
func (s State) ID() string { return s.id }

// Phase is where the transfer stands; 0 where nobody has asked for it.
func (s State) Phase() Phase { return s.phase }

// Outcome is what came of it; empty as long as that is open.
func (s State) Outcome() Outcome { return s.outcome }

// Ended says that nothing moves on any more.
func (s State) Ended() bool { return s.phase != 0 && s.l == nil }

// named is the same with another id of the process.
func (l *live) named(process string) *live {
	next := *l
	next.process = process
	return &next
}

// resource finds that of a definition.
func (l *live) resource(definitionID string) (*resource, bool) {
	for i := range l.resources {
		if l.resources[i].ID == definitionID {
			return &l.resources[i], true
		}
	}
	return nil, false
}

// The adapters that a provider can be spoken to with; nothing is the same as http.
const (
	AdapterEDC  = "edc"
	AdapterHTTP = "http"
)

// processID is ours of the n-th process that we ask the connector for. It has the time in it, for the connector may know
// one of the same transfer of another log: one that was asked for twice is broken.
func (s State) processID(n int) string {
	if s.l == nil {
		return ""
	}
	return machine.ID("process", s.id, strconv.FormatInt(s.l.startedAt.UnixMicro(), 10), strconv.Itoa(n))
}

// standing is the answer to what the state does not allow.
func (s State) standing(why string) error {
	return machine.Refuse(machine.BadState, fmt.Sprintf("transfer %s is %s (%d): %s", s.id, s.phase, int(s.phase), why))
}

// policy of a task that is tried as often as the transfer says.
func (l *live) policy(attempt time.Duration) task.Policy {
	p := task.Policy{Retries: DefaultRetries, AttemptTimeout: definition.Duration(attempt)}
	if r := l.Retry; r != nil {
		p.BaseDelay, p.MaxDelay = r.BaseDelay, r.MaxDelay
		if r.Limit != nil {
			p.Retries = *r.Limit
		}
	}
	return p
}

// within is so long from now, but not longer than the whole.
func (l *live) within(at time.Time, d time.Duration) time.Time {
	if until := at.Add(d); until.Before(l.Deadline) {
		return until
	}
	return l.Deadline
}
