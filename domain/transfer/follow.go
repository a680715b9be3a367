package transfer

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/task"
)

// Aggregate is the aggregate type of transfers.
const Aggregate = "transfer"

// Wire names of the completions.
const (
	CompletedType     = "transfer.completed.v1"
	TerminatedType    = "transfer.terminated.v1"
	DeprovisionedType = "transfer.deprovisioned.v1"
)

// Wire names of the commands that a transfer sends.
const (
	acquireType  = "negotiation.acquire.v1"
	releaseType  = "negotiation.release.v1"
	completeType = "work.complete.v1"
	retryType    = "work.retry.v1"
	failType     = "work.fail.v1"
)

// Completion is the value of a completion: what came of a transfer.
type Completion struct {
	ID          string          `json:"id"`
	Provider    string          `json:"provider"`
	Connector   string          `json:"connector,omitempty"`
	AssetID     string          `json:"assetId"`
	State       Phase           `json:"state"`
	Code        int             `json:"code"`
	Outcome     Outcome         `json:"outcome"`
	Reason      string          `json:"reason,omitempty"`
	ProcessID   string          `json:"processId,omitempty"` // the connector's, of a push transfer
	AgreementID string          `json:"agreementId,omitempty"`
	Output      json.RawMessage `json:"output,omitempty"`
	Properties  json.RawMessage `json:"properties,omitempty"`
	// Error is what could not be undone, at DEPROVISIONED.
	Error     *orchestration.Fault `json:"error,omitempty"`
	StartedAt time.Time            `json:"startedAt"`
	EndedAt   time.Time            `json:"endedAt"`
}

// Follow is what follows outside from an event decided at at, given the State before it. It is a pure
// function of the log, so it can be derived again after a crash, with the same IDs.
func (s State) Follow(at time.Time, e Event) []machine.Effect {
	if e, ok := e.(Worked); ok {
		owner := task.Owner{Aggregate: Aggregate, ID: s.id}
		if s.l != nil {
			owner.TraceParent = s.l.TraceParent
		}
		return s.tasks.Follow(owner, at, e.Event)
	}
	if s.l == nil {
		return nil
	}
	switch e := e.(type) {
	case Acquiring:
		return []machine.Effect{s.acquireCommand(at, e)}
	case AccessLost:
		return []machine.Effect{s.releaseCommand(e)}
	case Moved:
		switch last := e.Moves[len(e.Moves)-1].State; {
		case last == PhaseTerminating && s.l.acquiring:
			return []machine.Effect{s.releaseCommand(AccessLost{})}
		case last == PhaseDeprovisioned:
			return []machine.Effect{s.completion(at, DeprovisionedType, last, s.outcome, s.l.end.Reason, nil, e.Error)}
		}
	case Ended:
		return s.answers(at, e)
	case Initiated, Worked, ResourceProvisioned, ResourceUploaded, ResourceDeprovisioned, AccessGranted, Requested:
	}
	return nil
}

// refuseBefore is how long before we give up the negotiation is to: it can say why.
const refuseBefore = 15 * time.Second

// acquireCommand asks the negotiation with the provider for access.
func (s State) acquireCommand(at time.Time, e Acquiring) machine.Effect {
	type reply struct {
		Aggregate string `json:"aggregate"`
		ID        string `json:"id"`
	}
	type acquire struct {
		Provider       string    `json:"provider"`
		Connector      string    `json:"connector"`
		AssetID        string    `json:"assetId"`
		Need           string    `json:"need"`
		Waiter         string    `json:"waiter"`
		CounterPartyID string    `json:"counterPartyId,omitempty"`
		Deadline       time.Time `json:"deadline"`
		Reply          reply     `json:"reply"`
	}
	deadline := e.Until
	if earlier := deadline.Add(-refuseBefore); earlier.After(at) {
		deadline = earlier
	}
	return machine.Send{
		ID: machine.ID("acquire", s.id, strconv.Itoa(e.Acquisition)), Aggregate: "negotiation", Key: e.Negotiation, Type: acquireType, TraceParent: s.l.TraceParent,
		Value: acquire{s.l.Provider, s.l.Connector, s.l.AssetID, e.Need, s.id, s.l.CounterPartyID, deadline, reply{Aggregate, s.id}},
	}
}

// releaseCommand takes the transfer out of those who wait for access, or says that what it got is dead.
func (s State) releaseCommand(e AccessLost) machine.Effect {
	type release struct {
		Waiter    string `json:"waiter"`
		Process   string `json:"process,omitempty"`
		Agreement string `json:"agreement,omitempty"`
		Dead      bool   `json:"dead,omitempty"`
		Reason    string `json:"reason,omitempty"`
	}
	return machine.Send{
		ID: machine.ID("release", s.id, strconv.Itoa(s.l.acquisitions)), Aggregate: "negotiation", Key: s.l.negotiation, Type: releaseType,
		Value: release{s.id, e.ProcessID, e.AgreementID, e.ProcessID != "" || e.AgreementID != "", e.Error.Message},
	}
}

// answers tell the end: to whoever waits for access, to whoever asked, to everybody.
func (s State) answers(at time.Time, e Ended) []machine.Effect {
	var effects []machine.Effect
	if s.l.acquiring && !e.Refused {
		effects = append(effects, s.releaseCommand(AccessLost{}))
	}
	if s.l.Asker != nil && e.By != ByAsker {
		effects = append(effects, s.answer(e))
	}
	typ, phase := CompletedType, PhaseCompleted
	if e.Outcome == OutcomeTerminated {
		typ, phase = TerminatedType, PhaseTerminated
	}
	return append(effects, s.completion(at, typ, phase, e.Outcome, e.Reason, e.Output, nil))
}

// answer reports to the activity that asked. What passes is for its own policy to try again.
func (s State) answer(e Ended) machine.Effect {
	a := s.l.Asker
	send := machine.Send{ID: machine.ID("answer", s.id), Aggregate: a.Aggregate, Key: a.ID}
	report := orchestration.Report{WorkID: a.WorkID, Attempt: a.Attempt}
	fault := orchestration.Fault{Step: stepTerminate, Message: orElse(e.Reason, "the transfer was terminated")}
	if e.Error != nil {
		fault = *e.Error
	}
	switch {
	case e.Outcome == OutcomeCompleted:
		send.Type, send.Value = completeType, orchestration.Complete{Report: report, Output: e.Output, Key: e.Key, Spawn: e.Spawn}
	case e.Again:
		send.Type, send.Value = retryType, orchestration.Retry{Report: report, Error: fault, After: e.After}
	default:
		send.Type, send.Value = failType, orchestration.Fail{Report: report, Error: fault}
	}
	return send
}

func (s State) completion(at time.Time, typ string, phase Phase, outcome Outcome, reason string, output json.RawMessage, left *orchestration.Fault) machine.Effect {
	l := s.l
	return machine.Completion{
		ID: machine.ID("completion", Aggregate, s.id, phase.String()), Type: typ,
		Value: Completion{
			ID: s.id, Provider: l.Provider, Connector: l.Connector, AssetID: l.AssetID, State: phase, Code: int(phase), Outcome: outcome,
			Reason: reason, ProcessID: l.process, AgreementID: l.grant.AgreementID, Output: output, Properties: l.Properties,
			Error: left, StartedAt: l.startedAt, EndedAt: at,
		},
	}
}
