package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// job is what tables show of a job.
type job struct {
	ID                string            `json:"id"`
	Name              string            `json:"name"`
	Set               string            `json:"set"`
	Type              string            `json:"type"`
	DefinitionVersion int               `json:"definitionVersion"`
	Run               int               `json:"run"`
	State             string            `json:"state"`
	Code              int               `json:"code"`
	Paused            *pause            `json:"paused"`
	CreatedAt         *time.Time        `json:"createdAt"`
	StartedAt         *time.Time        `json:"startedAt"`
	EndedAt           *time.Time        `json:"endedAt"`
	Deadline          *time.Time        `json:"deadline"`
	Labels            map[string]string `json:"labels"`
	Partial           bool              `json:"partial"`
	Output            json.RawMessage   `json:"output"`
	Result            *resultFile       `json:"result"`
	Error             *fault            `json:"error"`
	Failures          []fault           `json:"failures"`
	Progress          progress          `json:"progress"`
	Nodes             []node            `json:"nodes"`
	NodesTruncated    bool              `json:"nodesTruncated"`
	Compensation      *compensation     `json:"compensation"`
	Disposal          *disposal         `json:"disposal"`
	Disposes          *disposal         `json:"disposes"`
	Fingerprint       string            `json:"fingerprint"`
	Input             json.RawMessage   `json:"input"`
	Position          string            `json:"position"`
}

// stateCompleted is that of a job that has ended well.
const stateCompleted = "COMPLETED"

// pause says since when something is paused, by whom and why.
type pause struct {
	Since  *time.Time `json:"since"`
	By     string     `json:"by"`
	Reason string     `json:"reason"`
}

// text is put behind what is paused; empty where it is not.
func (p *pause) text() string {
	if p == nil {
		return ""
	}
	return " (since " + when(p.Since) + p.who() + ")"
}

// who says by whom and why, as far as that is known.
func (p *pause) who() string {
	s := ""
	if p.By != "" {
		s = ", by " + p.By
	}
	if p.Reason != "" {
		s += ": " + p.Reason
	}
	return s
}

type resultFile struct {
	Path string `json:"path"`
	Size int64  `json:"size"`
}

type fault struct {
	NodeID   string `json:"nodeId"`
	Name     string `json:"name"`
	Step     string `json:"step"`
	Message  string `json:"message"`
	Attempts int    `json:"attempts"`
}

// String says where and what; the name of the node is in it.
func (f *fault) String() string {
	if f == nil {
		return ""
	}
	name := f.Name
	if name == "" {
		name = f.NodeID
	}
	if name != "" {
		return name + ": " + f.text()
	}
	return f.text()
}

// text says what, without the name of the node.
func (f *fault) text() string {
	if f == nil {
		return ""
	}
	var b strings.Builder
	if f.Step != "" {
		b.WriteString(f.Step + ": ")
	}
	b.WriteString(f.Message)
	if f.Attempts > 1 {
		fmt.Fprintf(&b, " (after %d attempts)", f.Attempts)
	}
	return b.String()
}

type progress struct {
	Total     int `json:"total"`
	Pending   int `json:"pending"`
	Running   int `json:"running"`
	Waiting   int `json:"waiting"`
	Completed int `json:"completed"`
	Failed    int `json:"failed"`
	Cancelled int `json:"cancelled"`
	Skipped   int `json:"skipped"`
}

func (p progress) String() string {
	s, separator := count(p.Total, "node", "nodes"), ": "
	for _, part := range []struct {
		n    int
		what string
	}{
		{p.Completed, "completed"},
		{p.Running, "running"},
		{p.Waiting, "waiting"},
		{p.Pending, "pending"},
		{p.Failed, "failed"},
		{p.Cancelled, "cancelled"},
		{p.Skipped, "skipped"},
	} {
		if part.n > 0 {
			s += fmt.Sprintf("%s%d %s", separator, part.n, part.what)
			separator = ", "
		}
	}
	return s
}

type node struct {
	ID            string          `json:"id"`
	Name          string          `json:"name"`
	Type          string          `json:"type"`
	Parent        string          `json:"parent"`
	DependsOn     []string        `json:"dependsOn"`
	State         string          `json:"state"`
	Paused        *pause          `json:"paused"`
	Attempt       int             `json:"attempt"`
	WorkID        string          `json:"workId"`
	Agent         string          `json:"agent"`
	Since         *time.Time      `json:"since"`
	Deadline      *time.Time      `json:"deadline"`
	NextAttemptAt *time.Time      `json:"nextAttemptAt"`
	WaitingOn     json.RawMessage `json:"waitingOn"`
	TransferID    string          `json:"transferId"`
	NegotiationID string          `json:"negotiationId"`
	Error         *fault          `json:"error"`

	// Of the transfer, or the negotiation, that carries it out: how that stands, and its last error.
	through string
	trouble *fault
}

// label is the node's name and, where that is another, its id.
func (n *node) label() string {
	if n.Name == "" || n.Name == n.ID {
		return n.ID
	}
	return n.ID + " " + n.Name
}

// state says as well that the node is paused, by whom and why.
func (n *node) state() string {
	if n.Paused != nil {
		return n.State + " (paused" + n.Paused.who() + ")"
	}
	return n.State
}

// ended says that nothing moves on from the job's state.
func (j *job) ended() bool {
	return j.State == stateCompleted || j.State == "ERROR" || j.State == "CANCELLED"
}

// verdict is an error unless the job has completed.
func (j *job) verdict() error {
	switch {
	case j.State == stateCompleted:
		return nil
	case j.Error != nil:
		return &exitError{exitFailed, fmt.Errorf("job %s ended %s: %s", j.ID, j.State, j.Error)}
	}
	return &exitError{exitFailed, fmt.Errorf("job %s ended %s", j.ID, j.State)}
}
