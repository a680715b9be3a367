package negotiation

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/task"
)

// Wire names of the completions: two of rounds, two of waiters.
const (
	FinalizedType  = "negotiation.finalized.v1"
	TerminatedType = "negotiation.terminated.v1"
	GrantedType    = "negotiation.granted.v1"
	RefusedType    = "negotiation.refused.v1"
)

// Wire names of the answers to other aggregates.
const (
	transferGranted = "transfer.granted.v1"
	transferRefused = "transfer.refused.v1"
	workComplete    = "work.complete.v1"
	workRetry       = "work.retry.v1"
	workFail        = "work.fail.v1"
)

// transferAggregate is the type of the aggregate that is answered by these; others by those of work.
const transferAggregate = "transfer"

// RoundCompletion is the value of a round's completion.
type RoundCompletion struct {
	ID             string    `json:"id"` // ours
	Round          int       `json:"round"`
	Provider       string    `json:"provider"`
	Connector      string    `json:"connector"`
	CounterPartyID string    `json:"counterPartyId,omitempty"`
	AssetID        string    `json:"assetId"`
	State          Phase     `json:"state"`
	NegotiationID  string    `json:"negotiationId,omitempty"` // the connector's
	AgreementID    string    `json:"agreementId,omitempty"`
	Reason         string    `json:"reason,omitempty"`
	StartedAt      time.Time `json:"startedAt"`
	EndedAt        time.Time `json:"endedAt"`
}

// WaiterCompletion is the value of a waiter's completion: how its wish came out.
type WaiterCompletion struct {
	Waiter    string `json:"waiter"`
	CommandID string `json:"commandId,omitempty"`
	AssetType string `json:"assetType,omitempty"`
	OfferState
	Round       int          `json:"round,omitempty"`
	Again       bool         `json:"again,omitempty"` // refused: it was a passing fault
	Rounds      int          `json:"rounds,omitempty"`
	Constraints string       `json:"constraints,omitempty"`
	Offers      []OfferState `json:"offers,omitempty"` // by type
}

// Granted is the answer to a transfer that has what it needs.
type Granted struct {
	Negotiation    string   `json:"negotiation"`
	Round          int      `json:"round"`
	NegotiationID  string   `json:"negotiationId"`
	AssetID        string   `json:"assetId"`
	AgreementID    string   `json:"agreementId"`
	CounterPartyID string   `json:"counterPartyId,omitempty"`
	Constraints    string   `json:"constraints,omitempty"`
	Formats        []string `json:"formats,omitempty"`
	EDR            *EDR     `json:"edr,omitempty"`
}

// EDR is an EDR with what is in it.
type EDR struct {
	ProcessID string          `json:"processId"`
	Data      json.RawMessage `json:"data"` // sealed
	ExpiresAt time.Time       `json:"expiresAt,omitzero"`
}

// Refused is the other answer to a transfer.
type Refused struct {
	Negotiation   string `json:"negotiation"`
	NegotiationID string `json:"negotiationId,omitempty"`
	Error         Fault  `json:"error"`
	Again         bool   `json:"again,omitempty"`
	Rounds        int    `json:"rounds"`
	Constraints   string `json:"constraints,omitempty"`
}

// acquired is the output of an activity that has acquired access to an asset.
type acquired struct {
	OfferState
	Round int `json:"round"`
}

// offered is the output of one that has acquired what there is of a type.
type offered struct {
	Offers []OfferState `json:"offers"`
}

// Follow is what follows outside from an event decided at at, given the State before it. It is a pure
// function of the log, so it can be derived again after a crash, with the same IDs.
func (s State) Follow(at time.Time, e Event) []machine.Effect {
	switch e := e.(type) {
	case Worked:
		return s.b.tasks.Follow(task.Owner{Aggregate: aggregate, ID: s.id, TraceParent: s.traceOf(e.Event)}, at, e.Event)
	case Served:
		return s.granted(e)
	case Failed:
		return s.refused(e)
	case Left:
		return s.left(e)
	case Answered:
		return s.answered(e)
	case Moved:
		return s.ended(at, e)
	case Joined, Listed, CatalogRequested, CatalogReceived, CatalogFailed, Started, AgreementDead, EDRRequested, EDRGranted, EDRDead, Evicted:
	}
	return nil
}

// maxTraces is of how many waiters a trace context is looked for.
const maxTraces = 16

// traceOf is the trace context of whoever has waited longest for what a task is about.
func (s State) traceOf(e task.Event) string {
	name := ""
	switch e := e.(type) {
	case task.Requested:
		name = e.Name
	case task.Attempted, task.Offered:
		for _, t := range s.b.tasks.Open() {
			if t.WorkID == e.Work() {
				name = t.Name
			}
		}
	case task.Claimed, task.Extended, task.Waited, task.Scheduled, task.Retrying, task.Nudged, task.Ended:
		return "" // no work follows
	}
	kind, key, _ := strings.Cut(name, " ")
	var waiters []string
	if l := s.b.listings.get(key); kind == nameListing && l != nil {
		waiters = l.waiters
	} else if a := s.b.accesses.get(key); a != nil {
		waiters = a.waiters
	}
	for _, name := range waiters[:min(len(waiters), maxTraces)] {
		if w := s.b.wishes.get(name); w != nil && w.TraceParent != "" {
			return w.TraceParent
		}
	}
	return ""
}

func (s State) granted(e Served) []machine.Effect {
	a := s.b.accesses.get(e.AssetID)
	if a == nil {
		return nil
	}
	if e.Wish != nil {
		return s.grant(nil, a, e.Wish, s.b.count+1)
	}
	effects := make([]machine.Effect, 0, 2*len(e.Waiters))
	for _, name := range e.Waiters {
		if w := s.b.wishes.get(name); w != nil && w.AssetType == "" {
			effects = s.grant(effects, a, &w.Wish, w.n)
		}
	}
	return effects
}

func (s State) grant(effects []machine.Effect, a *access, w *Wish, n int64) []machine.Effect {
	state := a.state(w.Need)
	if r := w.Reply; r != nil {
		if r.Aggregate == transferAggregate {
			g := Granted{
				Negotiation: s.id, Round: a.round, NegotiationID: a.negotiationID, AssetID: a.asset, AgreementID: a.agreement,
				CounterPartyID: a.party, Constraints: a.offer.Constraints, Formats: a.offer.Formats,
			}
			if w.Need == NeedEDR {
				g.EDR = &EDR{a.edr.process, a.edr.data, a.edr.expiresAt}
			}
			effects = append(effects, s.send(r, w, n, transferGranted, g))
		} else {
			effects = append(effects, s.complete(r, w, n, acquired{state, a.round}))
		}
	}
	return append(effects, s.tell(GrantedType, n, WaiterCompletion{
		Waiter: w.Waiter, CommandID: w.CommandID, OfferState: state, Round: a.round, Constraints: a.offer.Constraints,
	}))
}

// send answers a wish. The ID is of the wish, of which there may be several by the same waiter.
func (s State) send(r *Reply, w *Wish, n int64, typ string, value any) machine.Effect {
	return machine.Send{
		ID: machine.ID("answer", aggregate, s.id, w.Waiter, strconv.FormatInt(n, 10)), Aggregate: r.Aggregate, Key: r.ID, Type: typ, Value: value,
		TraceParent: w.TraceParent,
	}
}

func (s State) complete(r *Reply, w *Wish, n int64, output any) machine.Effect {
	b, err := machine.Encode(output)
	if err != nil {
		b = nil // there is nothing in it that JSON cannot say
	}
	return s.send(r, w, n, workComplete, orchestration.Complete{Report: r.report(), Output: b})
}

func (r *Reply) report() orchestration.Report {
	return orchestration.Report{WorkID: r.WorkID, Attempt: r.Attempt}
}

func (s State) tell(typ string, n int64, c WaiterCompletion) machine.Effect {
	return machine.Completion{ID: machine.ID("completion", aggregate, s.id, "wish", strconv.FormatInt(n, 10)), Type: typ, Value: c}
}

// refuse answers a wish that came to nothing.
func (s State) refuse(effects []machine.Effect, w *wish, c WaiterCompletion) []machine.Effect {
	c.Waiter, c.CommandID, c.AssetType = w.Waiter, w.CommandID, w.AssetType
	if r := w.Reply; r != nil {
		switch {
		case r.Aggregate == transferAggregate:
			effects = append(effects, s.send(r, &w.Wish, w.n, transferRefused, Refused{
				Negotiation: s.id, NegotiationID: c.NegotiationID, Error: *c.Error, Again: c.Again, Rounds: c.Rounds, Constraints: c.Constraints,
			}))
		case c.Again:
			effects = append(effects, s.send(r, &w.Wish, w.n, workRetry, orchestration.Retry{Report: r.report(), Error: *c.Error}))
		default:
			effects = append(effects, s.send(r, &w.Wish, w.n, workFail, orchestration.Fail{Report: r.report(), Error: *c.Error}))
		}
	}
	return append(effects, s.tell(RefusedType, w.n, c))
}

func (s State) refused(e Failed) []machine.Effect {
	var effects []machine.Effect
	c := WaiterCompletion{
		OfferState: OfferState{AssetID: e.AssetID, NegotiationID: e.NegotiationID, Error: &e.Error},
		Again:      e.Again, Rounds: e.Rounds, Constraints: e.Constraints,
	}
	for _, name := range e.Waiters {
		if w := s.b.wishes.get(name); w != nil && w.AssetType == e.AssetType {
			effects = s.refuse(effects, w, c)
		}
	}
	return effects
}

func (s State) left(e Left) []machine.Effect {
	w := s.b.wishes.get(e.Waiter)
	if w == nil || e.Error == nil {
		return nil
	}
	c := WaiterCompletion{OfferState: OfferState{AssetID: w.AssetID, Error: e.Error}, Again: e.Again}
	if a := s.b.accesses.get(w.AssetID); a != nil {
		c.NegotiationID, c.Rounds, c.Constraints = a.negotiationID, a.tried, a.offer.Constraints
	}
	return s.refuse(nil, w, c)
}

func (s State) answered(e Answered) []machine.Effect {
	w := s.b.wishes.get(e.Waiter)
	if w == nil {
		return nil
	}
	if e.Error != nil {
		return s.refuse(nil, w, WaiterCompletion{OfferState: OfferState{Error: e.Error}, Again: e.Again, Offers: e.Offers})
	}
	var effects []machine.Effect
	if r := w.Reply; r != nil {
		effects = append(effects, s.complete(r, &w.Wish, w.n, offered{e.Offers}))
	}
	return append(effects, s.tell(GrantedType, w.n, WaiterCompletion{Waiter: w.Waiter, CommandID: w.CommandID, AssetType: w.AssetType, Offers: e.Offers}))
}

// ended is the completion of a round.
func (s State) ended(at time.Time, e Moved) []machine.Effect {
	a, phase := s.b.accesses.get(e.AssetID), last(e.Moves)
	if a == nil || a.step != stepRound || a.round != e.Round || !phase.Final() {
		return nil
	}
	connector, provider := Split(s.id)
	typ := TerminatedType
	if phase == PhaseFinalized {
		typ = FinalizedType
	}
	c := RoundCompletion{
		ID: a.id, Round: a.round, Provider: provider, Connector: connector, CounterPartyID: a.party, AssetID: a.asset, State: phase,
		NegotiationID: a.negotiationID, AgreementID: e.AgreementID, Reason: e.Reason, StartedAt: a.startedAt, EndedAt: at,
	}
	return []machine.Effect{machine.Completion{ID: machine.ID("completion", aggregate, a.id), Type: typ, Value: c}}
}
