package transfer

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/task"
)

// SnapshotVersion is the version of what EncodeSnapshot writes. It grows with every change of that;
// DecodeSnapshot reads the older ones for ever.
const SnapshotVersion = 1

// snapshot is a State, version 1. Parts that came with events are written as these are.
type snapshot struct {
	Phase       Phase         `json:"phase,omitempty"`
	Fingerprint string        `json:"fingerprint,omitempty"`
	Outcome     Outcome       `json:"outcome,omitempty"`
	Tasks       task.Snapshot `json:"tasks,omitzero"`
	Live        *liveSnapshot `json:"live,omitempty"`
}

type liveSnapshot struct {
	Begun     Initiated          `json:"begun"`
	StartedAt time.Time          `json:"startedAt"`
	Until     time.Time          `json:"until,omitzero"`
	Resources []resourceSnapshot `json:"resources,omitempty"`

	Acquiring    bool           `json:"acquiring,omitempty"`
	Acquisitions int            `json:"acquisitions,omitempty"`
	Negotiation  string         `json:"negotiation,omitempty"`
	Grant        *AccessGranted `json:"grant,omitempty"`
	Lost         *AccessLost    `json:"lost,omitempty"`
	LostEDR      *EDR           `json:"lostEdr,omitempty"`

	Fetches   int    `json:"fetches,omitempty"`
	Processes int    `json:"processes,omitempty"`
	Process   string `json:"process,omitempty"`
	Asked     bool   `json:"asked,omitempty"`
	Told      bool   `json:"told,omitempty"`
	Closed    bool   `json:"closed,omitempty"`
	Words     int    `json:"words,omitempty"`

	End  *Moved               `json:"end,omitempty"`
	Left *orchestration.Fault `json:"left,omitempty"`
}

type resourceSnapshot struct {
	Definition *Definition       `json:"definition,omitempty"` // where it is not the manifest's in the same place
	Made       bool              `json:"made,omitempty"`
	Gone       bool              `json:"gone,omitempty"`
	Frees      int               `json:"frees,omitempty"`
	Resource   json.RawMessage   `json:"resource,omitempty"`
	Secret     json.RawMessage   `json:"secret,omitempty"` // sealed
	Upload     *ResourceUploaded `json:"upload,omitempty"`
}

// EncodeSnapshot writes the state down, but for its id. What is sealed stays so.
func (s State) EncodeSnapshot() ([]byte, error) {
	x := snapshot{Phase: s.phase, Fingerprint: s.fingerprint, Outcome: s.outcome, Tasks: s.tasks.Snapshot()}
	if l := s.l; l != nil {
		x.Live = &liveSnapshot{
			Begun: Initiated(l.begun), StartedAt: l.startedAt, Until: l.until,
			Acquiring: l.acquiring, Acquisitions: l.acquisitions, Negotiation: l.negotiation, LostEDR: l.lostEDR,
			Fetches: l.fetches, Processes: l.processes, Process: l.process, Asked: l.asked, Told: l.told, Closed: l.closed, Words: l.words,
			Left: l.left,
		}
		if g := l.grant; g.EDR != nil || g.NegotiationID != "" || g.Round != 0 || g.AgreementID != "" || g.CounterPartyID != "" || g.Constraints != "" || len(g.Moves) > 0 {
			x.Live.Grant = &g
		}
		if l.lost != (AccessLost{}) {
			x.Live.Lost = &l.lost
		}
		if e := l.end; len(e.Moves) > 0 || e.Reason != "" {
			x.Live.End = &e
		}
		for i := range l.resources {
			x.Live.Resources = append(x.Live.Resources, l.resourceSnapshot(i))
		}
	}
	return machine.Encode(x)
}

func (l *live) resourceSnapshot(i int) resourceSnapshot {
	r := &l.resources[i]
	x := resourceSnapshot{Made: r.made, Gone: r.gone, Frees: r.frees, Resource: r.resource, Secret: r.secret, Upload: r.upload}
	if !l.listed(i, r.ID) {
		x.Definition = &r.Definition
	}
	return x
}

// listed says that the manifest has that definition in that place.
func (l *live) listed(i int, id string) bool {
	return l.Manifest != nil && i < len(l.Manifest.Definitions) && l.Manifest.Definitions[i].ID == id
}

// DecodeSnapshot is the state that was written down. s is what New makes of its id.
func (s State) DecodeSnapshot(version int, data []byte) (State, error) {
	var x snapshot
	err := machine.ReadSnapshot(data, version, SnapshotVersion, &x)
	if err == nil {
		s.l, err = x.Live.live()
	}
	if err != nil {
		return s, fmt.Errorf("transfer %s: %w", s.id, err)
	}
	s.phase, s.fingerprint, s.outcome, s.tasks = x.Phase, x.Fingerprint, x.Outcome, x.Tasks.Set()
	return s, nil
}

func (x *liveSnapshot) live() (*live, error) {
	if x == nil {
		return nil, nil
	}
	l := &live{
		begun: begun(x.Begun), startedAt: x.StartedAt, until: x.Until,
		acquiring: x.Acquiring, acquisitions: x.Acquisitions, negotiation: x.Negotiation, lostEDR: x.LostEDR,
		fetches: x.Fetches, processes: x.Processes, process: x.Process, asked: x.Asked, told: x.Told, closed: x.Closed, words: x.Words,
		left: x.Left,
	}
	if x.Grant != nil {
		l.grant = *x.Grant
	}
	if x.Lost != nil {
		l.lost = *x.Lost
	}
	if x.End != nil {
		l.end = *x.End
	}
	for i, r := range x.Resources {
		def := r.Definition
		if def == nil {
			if l.Manifest == nil || i >= len(l.Manifest.Definitions) {
				return nil, fmt.Errorf("a snapshot with resource %d, which its manifest does not have", i)
			}
			def = &l.Manifest.Definitions[i]
		}
		l.resources = append(l.resources, resource{
			Definition: *def, made: r.Made, gone: r.Gone, frees: r.Frees, resource: r.Resource, secret: r.Secret, upload: r.Upload,
		})
	}
	return l, nil
}
