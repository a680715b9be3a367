package task

import (
	"encoding/json"
	"time"

	"github.com/waybill/waybill/domain/orchestration"
)

// Snapshot is a Set as the snapshot of its aggregate has it. It is the wire format: what an
// aggregate wrote must be readable for ever.
type Snapshot struct {
	Open  []OpenSnapshot  `json:"open,omitempty"`
	Ended []EndedSnapshot `json:"ended,omitempty"`
}

// OpenSnapshot is an open task.
type OpenSnapshot struct {
	Spec
	Phase    orchestration.ActivityPhase `json:"phase"` // by number
	Attempt  int                         `json:"attempt"`
	Failures int                         `json:"failures,omitempty"`
	Since    time.Time                   `json:"since,omitzero"`
	Next     time.Time                   `json:"next,omitzero"`
	State    json.RawMessage             `json:"state,omitempty"`
	Error    *orchestration.Fault        `json:"error,omitempty"`
	Offers   int                         `json:"offers,omitempty"`
	Agent    string                      `json:"agent,omitempty"`
	Place    string                      `json:"place,omitempty"`
	Lease    time.Time                   `json:"lease,omitzero"`
	Began    time.Time                   `json:"began,omitzero"`
	Nudged   bool                        `json:"nudged,omitempty"`
	Said     uint8                       `json:"said,omitempty"`
	Before   uint8                       `json:"before,omitempty"`
}

// EndedSnapshot is what a repeat of a last report is recognised by.
type EndedSnapshot struct {
	WorkID  string `json:"workId"`
	Attempt int    `json:"attempt"`
	Said    uint8  `json:"said"`
}

// IsZero says that there is nothing to be kept.
func (x Snapshot) IsZero() bool { return len(x.Open) == 0 && len(x.Ended) == 0 }

// Snapshot is the Set to be written down at once: it shares what the Set has.
func (s Set) Snapshot() Snapshot {
	var x Snapshot
	for _, t := range s.open {
		x.Open = append(x.Open, OpenSnapshot{
			Spec: t.Spec, Phase: t.Phase, Attempt: t.Attempt, Failures: t.Failures, Since: t.Since, Next: t.Next, State: t.State, Error: t.Error,
			Offers: t.offers, Agent: t.agent, Place: t.place, Lease: t.lease, Began: t.began, Nudged: t.nudged, Said: uint8(t.said), Before: uint8(t.before),
		})
	}
	for _, e := range s.ended {
		x.Ended = append(x.Ended, EndedSnapshot{e.workID, e.attempt, uint8(e.said)})
	}
	return x
}

// Set is what the snapshot was taken of.
func (x Snapshot) Set() Set {
	var s Set
	for _, t := range x.Open {
		s.open = append(s.open, &Task{
			Spec: t.Spec, Phase: t.Phase, Attempt: t.Attempt, Failures: t.Failures, Since: t.Since, Next: t.Next, State: t.State, Error: t.Error,
			offers: t.Offers, agent: t.Agent, place: t.Place, lease: t.Lease, began: t.Began, nudged: t.Nudged, said: said(t.Said), before: said(t.Before),
		})
	}
	for _, e := range x.Ended {
		s.ended = append(s.ended, ended{e.WorkID, e.Attempt, said(e.Said)})
	}
	return s
}
