package projections

import (
	"encoding/json"
	"time"

	"github.com/waybill/waybill/domain/machine"
)

// Kinds of edges.
const (
	EdgeSpawned   = "spawned"   // the first node brought the second forth
	EdgeDependsOn = "dependsOn" // the second waits for the first
	EdgeShared    = "shared"    // the first wanted to spawn the second, which was there already
	EdgeCycle     = "cycle"     // the second is an ancestor of the first; not followed
)

// Job is one orchestration as its users see it.
type Job struct {
	ID                string            `json:"id"`
	Name              *string           `json:"name"` // of what it deploys
	Set               *string           `json:"set"`  // whose it is
	Type              string            `json:"type"`
	DefinitionVersion int               `json:"definitionVersion"`
	Run               int               `json:"run"`
	State             string            `json:"state"`
	Code              int               `json:"code"`
	Paused            *Pause            `json:"paused,omitempty"` // where it is
	CreatedAt         time.Time         `json:"createdAt"`
	StartedAt         time.Time         `json:"startedAt"`
	EndedAt           *time.Time        `json:"endedAt"`
	Deadline          *time.Time        `json:"deadline"`
	Labels            map[string]string `json:"labels"`
	Partial           bool              `json:"partial"`
	Input             json.RawMessage   `json:"input"`
	Output            json.RawMessage   `json:"output"`
	Result            *Place            `json:"result"`
	Error             *Failure          `json:"error"`
	Failures          []Failure         `json:"failures"`
	Progress          Progress          `json:"progress"`
	// Compensation is how far undoing what had completed is, where the definition asks for that.
	Compensation *Compensation `json:"compensation,omitempty"`
	// Disposal is the job that disposes of this one, Disposes what this one is there to dispose of.
	Disposal *Disposal `json:"disposal,omitempty"`
	Disposes *Disposes `json:"disposes,omitempty"`
	// Fingerprint is that of the body that started it: who applies files tells by it what has changed.
	Fingerprint string `json:"fingerprint"`
	// BlobsRemovedAt is when the large values that the job had left were removed.
	BlobsRemovedAt *time.Time `json:"blobsRemovedAt,omitempty"`
	// Position is the last command that the job has read from the log; null for none.
	Position *string `json:"position"`

	Nodes          []Node `json:"nodes,omitempty"`
	NodesTruncated bool   `json:"nodesTruncated,omitempty"`
	Edges          []Edge `json:"edges,omitempty"`
}

// Compensation counts what undoes. State is RUNNING, COMPLETED or FAILED.
type Compensation struct {
	State     string `json:"state"`
	Total     int    `json:"total"`
	Completed int    `json:"completed"`
	Failed    int    `json:"failed"`
	Skipped   int    `json:"skipped,omitempty"`
}

// Disposal is the job that disposes of another one, since when, and why.
type Disposal struct {
	ID     string    `json:"id"`
	At     time.Time `json:"at"`
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason,omitempty"`
}

// Disposes is the job that another one is there to dispose of.
type Disposes struct {
	ID  string `json:"id"`
	Run int    `json:"run"`
}

// Place is where a job's result lies.
type Place struct {
	Path string `json:"path"`
	Size *int64 `json:"size,omitempty"` // bytes
}

// Failure says what went wrong where; NodeID is empty where the job itself failed. By is
// who cancelled it.
type Failure struct {
	NodeID   string     `json:"nodeId,omitempty"`
	Name     string     `json:"name,omitempty"`
	Step     string     `json:"step,omitempty"`
	Message  string     `json:"message"`
	Attempts int        `json:"attempts,omitempty"`
	At       *time.Time `json:"at,omitempty"`
	By       string     `json:"by,omitempty"`
}

// Progress counts the nodes of a job. Running are READY and RUNNING ones, Waiting are
// WAITING, SCHEDULED and RETRYING ones.
type Progress struct {
	Total     int64 `json:"total"`
	Pending   int64 `json:"pending"`
	Running   int64 `json:"running"`
	Waiting   int64 `json:"waiting"`
	Completed int64 `json:"completed"`
	Failed    int64 `json:"failed"`
	Cancelled int64 `json:"cancelled"`
	Skipped   int64 `json:"skipped"`
}

// Node is one activity of a job.
type Node struct {
	ID            string          `json:"id"`
	Name          string          `json:"name"` // for people
	Type          string          `json:"type"`
	Discriminator *string         `json:"discriminator"`
	Parent        *string         `json:"parent"` // the node that spawned it
	DependsOn     []string        `json:"dependsOn"`
	State         string          `json:"state"`
	Paused        *Pause          `json:"paused,omitempty"` // where it is: no other attempt is asked for
	Attempt       int             `json:"attempt"`
	WorkID        *string         `json:"workId"`
	Agent         *string         `json:"agent"` // who runs it
	Since         time.Time       `json:"since"` // it has been in this state
	Deadline      *time.Time      `json:"deadline"`
	NextAttemptAt *time.Time      `json:"nextAttemptAt"`
	WaitingOn     *WaitingOn      `json:"waitingOn"`
	TransferID    *string         `json:"transferId,omitempty"`    // that carries it out
	NegotiationID *string         `json:"negotiationId,omitempty"` // that gives it access
	Output        json.RawMessage `json:"output"`
	Error         *Failure        `json:"error"` // the last one
	StartedAt     *time.Time      `json:"startedAt"`
	EndedAt       *time.Time      `json:"endedAt"`
}

// Pause says since when a job or a node is paused, by whom and why.
type Pause struct {
	Since  time.Time `json:"since"`
	By     string    `json:"by"`
	Reason string    `json:"reason"`
}

// WaitingOn is on whom a node waits: an agent of its type to take it up, the callback that names its
// work, or whom the transfer, or the negotiation, waits for that carries it out: Wait… are the kinds.
type WaitingOn struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
}

// Edge is a link between two nodes.
type Edge struct {
	From string `json:"from"`
	To   string `json:"to"`
	Kind string `json:"kind"`
}

// Event is one event of a history.
type Event struct {
	Aggregate string          `json:"aggregate"` // type
	ID        string          `json:"id"`        // of the aggregate
	Sequence  int64           `json:"sequence"`
	Type      string          `json:"type"`
	Time      time.Time       `json:"time"`
	CommandID *string         `json:"commandId"` // what made it happen
	Data      json.RawMessage `json:"data"`
}

// States of a command.
const (
	CommandPending  = "pending"
	CommandAccepted = "accepted"
	CommandRejected = "rejected"
)

// Command is what has become of a command.
type Command struct {
	ID          string `json:"id"`
	State       string `json:"state"`
	Type        string `json:"type,omitempty"`
	Aggregate   string `json:"aggregate,omitempty"`
	AggregateID string `json:"aggregateId,omitempty"`
	// Events are the ones that an accepted command made happen; none where it had had its
	// way before.
	Events []EventID         `json:"events"`
	Code   machine.Code      `json:"code,omitempty"`
	Reason string            `json:"reason,omitempty"`
	Errors []machine.Problem `json:"errors,omitempty"`
	At     *time.Time        `json:"at,omitempty"` // of the decision
}

// EventID names an event.
type EventID struct {
	Aggregate string `json:"aggregate"`
	ID        string `json:"id"`
	Sequence  int64  `json:"sequence"`
}

// DeadLetter is a record that nobody could read.
type DeadLetter struct {
	ID        string    `json:"id"`
	Topic     string    `json:"topic"` // where it stood
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	Key       []byte    `json:"key"`     // base64
	Value     []byte    `json:"value"`   // base64
	Headers   []Header  `json:"headers"` // of the original, in their order
	Error     string    `json:"error"`
	At        time.Time `json:"at"`
}

// Header is a header of a record.
type Header struct {
	Key   string `json:"key"`
	Value []byte `json:"value"` // base64
}

// Definition is one version of a definition.
type Definition struct {
	Kind       string          `json:"kind"` // orchestration or activity
	Type       string          `json:"type"`
	Version    int64           `json:"version"`
	Deleted    bool            `json:"deleted,omitempty"`
	At         time.Time       `json:"at"`
	Set        string          `json:"set,omitempty"` // whose it is
	Definition json.RawMessage `json:"definition"`
}
