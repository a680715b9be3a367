package orchestration

import (
	"encoding/json"
	"time"

	"github.com/waybill/waybill/domain/definition"
)

// Event is a fact about one orchestration.
//
//sumtype:decl
type Event interface{ event() }

// Started begins run Run. It carries the definition, so a running orchestration keeps
// the version it began with.
type Started struct {
	Type        string            `json:"type"`
	Run         int               `json:"run"`
	Plan        *Plan             `json:"definition"`
	Input       json.RawMessage   `json:"input"` // defaults of the definition under the start's
	Partial     bool              `json:"partial,omitempty"`
	Deadline    time.Time         `json:"deadline"`
	Labels      map[string]string `json:"labels,omitempty"`
	Callback    string            `json:"callback,omitempty"`
	Name        string            `json:"name,omitempty"`
	Set         string            `json:"set,omitempty"`
	Resource    string            `json:"resource,omitempty"`    // where it is neither Name nor the id
	Fingerprint string            `json:"fingerprint"`           // of the start's body: tells a repeat from a conflict
	TraceParent string            `json:"traceparent,omitempty"` // W3C trace context of whoever asked
	Disposes    *Disposes         `json:"disposes,omitempty"`
}

// Requested asks for an attempt at an activity. Placement names the process whose own
// agent runs it; empty means it was offered on the work topic.
type Requested struct {
	ActivityID string    `json:"activityId"`
	Attempt    int       `json:"attempt"`
	WorkID     string    `json:"workId"`
	Placement  string    `json:"placement,omitempty"`
	Deadline   time.Time `json:"deadline"` // of the activity in total; the same for every attempt; whole milliseconds
	Reason     string    `json:"reason,omitempty"`
	By         string    `json:"by,omitempty"` // the operator who wanted it now
	// Fault is what is wrong with the input: nobody is asked, the activity fails at once.
	Fault *Fault `json:"fault,omitempty"`
}

// Offered offers the same attempt again: nobody has claimed it, or the process that
// ran it lost the shard.
type Offered struct {
	ActivityID string `json:"activityId"`
	Attempt    int    `json:"attempt"`
	WorkID     string `json:"workId"`
	Placement  string `json:"placement,omitempty"`
	Offer      int    `json:"offer"` // 1 is the request itself
}

// Claimed says that an agent has begun; its lease runs until Lease.
type Claimed struct {
	ActivityID string    `json:"activityId"`
	Attempt    int       `json:"attempt"`
	Agent      string    `json:"agent"`
	Lease      time.Time `json:"lease"`
}

// Extended moves the lease of a claim on, after a heartbeat.
type Extended struct {
	ActivityID string    `json:"activityId"`
	Attempt    int       `json:"attempt"`
	Lease      time.Time `json:"lease"`
}

// Waited says that the work was accepted elsewhere; somebody will report, or Until passes.
type Waited struct {
	ActivityID string          `json:"activityId"`
	Attempt    int             `json:"attempt"`
	Until      time.Time       `json:"until"`
	State      json.RawMessage `json:"state,omitempty"`
}

// Scheduled says that the agent wants to be called again at At.
type Scheduled struct {
	ActivityID string          `json:"activityId"`
	Attempt    int             `json:"attempt"`
	At         time.Time       `json:"at"`
	State      json.RawMessage `json:"state,omitempty"`
}

// Retrying says that the attempt met a passing fault; the next is at At.
type Retrying struct {
	ActivityID string          `json:"activityId"`
	Attempt    int             `json:"attempt"`
	Error      Failure         `json:"error"`
	At         time.Time       `json:"at"`
	State      json.RawMessage `json:"state,omitempty"`
}

// Completed ends an activity well. What it spawned is registered with it: new nodes,
// links to nodes that were there already, and links back to ancestors, which are
// recorded but not followed.
type Completed struct {
	ActivityID string                `json:"activityId"`
	Attempt    int                   `json:"attempt"`
	Output     json.RawMessage       `json:"output,omitempty"`
	Key        string                `json:"key,omitempty"` // identity, where it differs from the id
	Spawned    []definition.Activity `json:"spawned,omitempty"`
	Shared     []string              `json:"shared,omitempty"` // ids of nodes
	Cycles     []string              `json:"cycles,omitempty"` // ids of nodes
	// Contracts are the schemas of types that were spawned here for the first time.
	Contracts map[string]definition.Contract `json:"contracts,omitempty"`
	// Children is the order of all of them, where it is not first the spawned, then the shared,
	// then the cycles. The place in the tree hangs on it.
	Children []string `json:"children,omitempty"`
	Reason   string   `json:"reason,omitempty"`
	By       string   `json:"by,omitempty"` // the operator who completed it in its agent's place
}

// Failed ends an activity badly. Continued means that the orchestration goes on
// without it: a tombstone. Else it ends with it, or as soon as what is under way has reported.
type Failed struct {
	ActivityID string  `json:"activityId"`
	Attempt    int     `json:"attempt"`
	Error      Failure `json:"error"`
	Continued  bool    `json:"continued,omitempty"`
	Reason     string  `json:"reason,omitempty"`
	By         string  `json:"by,omitempty"` // the operator who failed it in its agent's place
}

// TransfersFinished says that everything is retrieved and the aggregation begins.
type TransfersFinished struct{}

// Ended ends the run. Activities that had not ended are cancelled with it.
type Ended struct {
	State    Phase           `json:"state"` // COMPLETED, ERROR or CANCELLED
	Output   json.RawMessage `json:"output,omitempty"`
	Error    *Failure        `json:"error,omitempty"`    // why, for ERROR
	Failures []Failure       `json:"failures,omitempty"` // the activities that failed, tombstones included: the first 100, then how many more
	Reason   string          `json:"reason,omitempty"`   // of a cancel
	By       string          `json:"by,omitempty"`
	// Compensation is what came of undoing what had completed, where the definition asks for that.
	Compensation *Compensation `json:"compensation,omitempty"`
}

// BlobsRemoved says that what the runs of an ended orchestration had left among the blobs is
// gone: what refers to it can no longer be read.
type BlobsRemoved struct {
	Blobs int   `json:"blobs"` // how many
	Bytes int64 `json:"bytes"`
}

// Failure says what went wrong where.
type Failure struct {
	ActivityID string    `json:"activityId,omitempty"`
	Name       string    `json:"name,omitempty"`
	Step       string    `json:"step,omitempty"`
	Message    string    `json:"message"`
	Attempts   int       `json:"attempts,omitempty"`
	At         time.Time `json:"at"`
}

func (Started) event()           {}
func (Requested) event()         {}
func (Offered) event()           {}
func (Claimed) event()           {}
func (Extended) event()          {}
func (Waited) event()            {}
func (Scheduled) event()         {}
func (Retrying) event()          {}
func (Completed) event()         {}
func (Failed) event()            {}
func (TransfersFinished) event() {}
func (Ended) event()             {}
func (BlobsRemoved) event()      {}
