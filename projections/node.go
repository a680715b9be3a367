package projections

import (
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
)

// kind is what the progress of a job counts a node as.
type kind uint8

const (
	pending kind = iota
	running
	waiting
	completed
	failed
	cancelled
	skipped
	kinds
)

// counts is the progress of a job.
type counts [kinds]int64

// kindOf puts the states of an activity into the kinds that progress counts. An
// activity that somebody may take up at any moment counts as running: nothing but
// agents holds it back.
func kindOf(p orchestration.ActivityPhase) kind {
	switch p {
	case orchestration.ActivityPending:
		return pending
	case orchestration.ActivityReady, orchestration.ActivityRunning:
		return running
	case orchestration.ActivityWaiting, orchestration.ActivityScheduled, orchestration.ActivityRetrying:
		return waiting
	case orchestration.ActivityCompleted:
		return completed
	case orchestration.ActivityFailed:
		return failed
	case orchestration.ActivityCancelled:
		return cancelled
	case orchestration.ActivitySkipped:
		return skipped
	}
	return pending
}

// node is one activity of a job as far as it is known. Times are nanoseconds, 0 is none.
type node struct {
	number uint32 // within the job, from 0
	seq    int64  // of the last event that changed it
	phase  orchestration.ActivityPhase
	kept   bool // there is a row in SQLite
	dirty  bool // changed since
	waited bool // somebody outside was told its work's id
	// What it is.
	id, name, typ, discriminator, parent string
	dependsOn                            []string
	// How far it is.
	attempt  int
	work     string
	agent    string
	since    int64
	deadline int64
	next     int64
	output   json.RawMessage
	failure  json.RawMessage
	paused   json.RawMessage // nil where it is not
	started  int64
	ended    int64
	transfer string   // the one that carries out the attempt, or the last that did
	access   []string // the negotiations that it has acquired access by
}

// appendWaitingOn says on whom the node waits, where it waits on somebody.
func (n *node) appendWaitingOn(b []byte) []byte {
	switch n.phase {
	case orchestration.ActivityReady:
		return append(appendText(append(b, `{"kind":"agent","id":`...), n.typ), '}')
	case orchestration.ActivityWaiting:
		switch {
		case n.transfer != "": // whom that waits for is looked up on reading
			return append(appendText(append(b, `{"kind":"transfer","id":`...), n.transfer), '}')
		case n.typ == acquireType:
			return append(b, `{"kind":"negotiation","id":""}`...)
		}
		return append(appendText(append(b, `{"kind":"callback","id":`...), n.work), '}')
	default:
		return append(b, "null"...)
	}
}

// lookup is the work's ID while somebody may still ask whose it is: an agent that has it,
// or whoever was told it while the node waited, even after its end.
func (n *node) lookup() string {
	if n.waited || !n.phase.Final() {
		return n.work
	}
	return ""
}

// move takes the node to another state.
func (n *node) move(at int64, to orchestration.ActivityPhase) {
	n.phase, n.since, n.next, n.agent = to, at, 0, ""
	if n.started == 0 && to != orchestration.ActivityReady && to != orchestration.ActivityCancelled && to != orchestration.ActivitySkipped {
		n.started = at // reported without a claim
	}
	if to.Final() {
		n.ended = at
	}
	n.waited = n.waited || to == orchestration.ActivityWaiting
}

// Types of activities that other machines carry out.
const acquireType = "acquire"

var transferTypes = []string{"retrieve", "transfer"}

// delegated notes which transfer carries out the attempt that waits: its id is derived from that.
func (n *node) delegated() {
	if slices.Contains(transferTypes, n.typ) {
		n.transfer = machine.ID("transfer", n.work, strconv.Itoa(n.attempt))
	}
}

// acquired notes what access an activity that asks for no more has got, as its output says.
func (n *node) acquired() {
	if n.typ != acquireType {
		return
	}
	type got struct {
		ID string `json:"id"`
	}
	var out struct {
		got
		Offers []got `json:"offers"`
	}
	if json.Unmarshal(n.output, &out) != nil {
		return // of another shape: somebody gave it in the agent's place
	}
	for _, g := range append([]got{out.got}, out.Offers...) {
		if g.ID != "" {
			n.access = append(n.access, g.ID)
		}
	}
}

// accessed is what of that its row has; nil for nothing.
func (n *node) accessed() (driver.Value, error) {
	if len(n.access) == 0 {
		return nil, nil
	}
	raw, err := json.Marshal(n.access)
	return string(raw), err
}

// appendAccess says of an activity that others carry out which transfer and which negotiation it is.
func (n *node) appendAccess(b []byte) []byte {
	if n.transfer == "" && n.typ != acquireType {
		return b
	}
	b = appendOptional(append(b, `,"transferId":`...), n.transfer)
	id := ""
	if len(n.access) == 1 {
		id = n.access[0]
	}
	return appendOptional(append(b, `,"negotiationId":`...), id)
}

// failureDoc is an error as a node shows it.
type failureDoc struct {
	Step     string `json:"step,omitempty"`
	Message  string `json:"message"`
	Attempts int    `json:"attempts,omitempty"`
	At       string `json:"at,omitempty"`
}

func failureOf(f orchestration.Failure) (json.RawMessage, error) {
	d := failureDoc{Step: f.Step, Message: f.Message, Attempts: f.Attempts}
	if !f.At.IsZero() {
		d.At = f.At.UTC().Format(timeFormat)
	}
	return json.Marshal(d)
}

// nodeDoc reads a node's document back.
type nodeDoc struct {
	ID            string          `json:"id"`
	Name          string          `json:"name"`
	Type          string          `json:"type"`
	Discriminator string          `json:"discriminator"`
	Parent        string          `json:"parent"`
	DependsOn     []string        `json:"dependsOn"`
	Attempt       int             `json:"attempt"`
	WorkID        string          `json:"workId"`
	Agent         string          `json:"agent"`
	Since         *time.Time      `json:"since"`
	Deadline      *time.Time      `json:"deadline"`
	NextAttemptAt *time.Time      `json:"nextAttemptAt"`
	Output        json.RawMessage `json:"output"`
	Error         json.RawMessage `json:"error"`
	Paused        json.RawMessage `json:"paused"`
	StartedAt     *time.Time      `json:"startedAt"`
	EndedAt       *time.Time      `json:"endedAt"`
	TransferID    string          `json:"transferId"`
}

// readNode takes a node up again from its row.
func readNode(number uint32, seq int64, phase orchestration.ActivityPhase, waited bool, doc string) (*node, error) {
	var d nodeDoc
	if err := json.Unmarshal([]byte(doc), &d); err != nil {
		return nil, fmt.Errorf("node %d: %w", number, err)
	}
	n := &node{
		number: number, seq: seq, phase: phase, kept: true, waited: waited,
		id: d.ID, name: d.Name, typ: d.Type, discriminator: d.Discriminator, parent: d.Parent, dependsOn: d.DependsOn,
		attempt: d.Attempt, work: d.WorkID, agent: d.Agent,
		since: nanosOf(d.Since), deadline: nanosOf(d.Deadline), next: nanosOf(d.NextAttemptAt),
		output: notNull(d.Output), failure: notNull(d.Error), paused: d.Paused, started: nanosOf(d.StartedAt), ended: nanosOf(d.EndedAt),
		transfer: d.TransferID,
	}
	return n, nil
}

func nanosOf(t *time.Time) int64 {
	if t == nil {
		return 0
	}
	return nanos(*t)
}

func notNull(raw json.RawMessage) json.RawMessage {
	if string(raw) == "null" {
		return nil
	}
	return raw
}
