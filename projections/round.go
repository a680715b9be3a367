package projections

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// States of an EDR.
const (
	EDRNone      = "NONE"
	EDRRequested = "REQUESTED"
	EDRGranted   = "GRANTED"
	EDRDead      = "DEAD"
)

// States of an agreement.
const (
	AgreementValid   = "VALID"
	AgreementDead    = "DEAD"
	AgreementEvicted = "EVICTED" // its time to live has passed
)

// round is one contract negotiation being folded, with the agreement and the EDR that came of it.
// Times are nanoseconds, 0 is none.
type round struct {
	id        string
	number    int64
	first     int64 // sequence of its first event
	kept      bool
	dirty     bool
	partition int32
	command   int64 // offset of the last command from the log that changed it; -1 for none

	provider, connector, party string // ours, and who they are
	asset, offer, constraints  string
	tried                      int
	phase                      negotiation.Phase
	created, since, until      int64
	deadline, ended            int64
	theirs                     string // id of the negotiation at the connector
	agreement, agreementState  string
	agreementUntil             int64
	reason, by                 string
	failure                    json.RawMessage // the last error
	edr, process               string
	edrSince, edrUntil         int64
	edrExpires                 int64
	sealed                     json.RawMessage // the EDR
	history                    []Moment
}

// begin starts a round of an asset.
func (p *counterparty) begin(at, seq int64, e negotiation.Started) *round {
	r := &round{
		id: e.ID, number: int64(e.Round), first: seq, partition: p.partition,
		provider: p.provider, connector: p.connector, party: e.CounterPartyID,
		asset: e.AssetID, offer: e.Offer.OfferID, constraints: e.Offer.Constraints, tried: e.Tried,
		phase: negotiation.PhaseInitial, created: at, since: at, deadline: nanos(e.Deadline), edr: EDRNone, edrSince: at,
	}
	r.move(at, e.Moves, "", "")
	r.until = nanos(e.Until)
	return r
}

// apply folds in an event about its asset. Events are facts: one that makes no sense here
// changes nothing.
func (r *round) apply(at int64, e negotiation.Event) {
	switch e := e.(type) {
	case negotiation.Moved:
		r.moved(at, e)
	case negotiation.Failed:
		if e.Rounds > 0 { // else it is not about this one
			r.failure = faultOf(e.Error)
		}
	case negotiation.AgreementDead:
		r.agreementState, r.reason = AgreementDead, e.Reason
		if r.edr != EDRNone { // it goes with the agreement
			r.edrMoves(at, EDRDead)
		}
		r.sealed, r.edrExpires, r.edrUntil = nil, 0, 0
	case negotiation.EDRRequested:
		r.edrMoves(at, EDRRequested)
		r.process, r.edrUntil = e.ProcessID, nanos(e.Deadline)
	case negotiation.EDRGranted:
		r.edrMoves(at, EDRGranted)
		r.process, r.sealed, r.failure = e.ProcessID, e.Data, nil
		r.edrExpires, r.edrUntil = nanos(e.ExpiresAt), nanos(e.Until)
	case negotiation.EDRDead:
		r.edrMoves(at, EDRDead)
		r.process, r.sealed, r.edrExpires, r.edrUntil = e.ProcessID, nil, 0, 0
		if e.Reason != "" {
			r.failure = faultOf(negotiation.Fault{Step: "edr", Message: e.Reason})
		}
	case negotiation.Joined, negotiation.Listed, negotiation.Served, negotiation.Answered, negotiation.Left, negotiation.CatalogRequested,
		negotiation.CatalogReceived, negotiation.CatalogFailed, negotiation.Started, negotiation.Evicted, negotiation.Worked:
	}
}

func (r *round) move(at int64, moves []negotiation.Move, reason, by string) {
	for i, m := range moves {
		o := Moment{State: m.State.String(), Code: int(m.State), At: when(at), Inferred: m.Inferred}
		if i == len(moves)-1 {
			o.Reason, o.By = reason, by
		}
		r.phase, r.since, r.until = m.State, at, 0
		r.history = noted(r.history, o)
	}
}

func (r *round) moved(at int64, e negotiation.Moved) {
	r.move(at, e.Moves, e.Reason, string(e.By))
	if e.NegotiationID != "" {
		r.theirs = e.NegotiationID
	}
	if e.Reason != "" || e.By != "" {
		r.reason, r.by = e.Reason, string(e.By)
	}
	r.until = nanos(e.Until)
	if e.AgreementID != "" {
		r.agreement, r.agreementState = e.AgreementID, AgreementValid
	}
	if r.phase.Final() {
		r.ended, r.until = at, 0
		if r.phase == negotiation.PhaseFinalized {
			r.agreementUntil, r.failure = nanos(e.Until), nil // what went wrong was overcome
		}
	}
}

func (r *round) edrMoves(at int64, to string) { r.edr, r.edrSince = to, at }

// evict takes away what was kept beyond its time: the EDR, and the agreement unless only the
// former was.
func (r *round) evict(at int64, agreement bool) {
	if r.edr != EDRNone {
		r.edrMoves(at, EDRNone)
	}
	r.process, r.sealed, r.edrExpires, r.edrUntil = "", nil, 0, 0
	if agreement && r.agreementState == AgreementValid {
		r.agreementState, r.agreementUntil = AgreementEvicted, 0
	}
}

// Negotiation is one round of the negotiation of an asset as its users see it, with what came of
// it. There is no token in it.
type Negotiation struct {
	ID                     string          `json:"id"`
	Round                  int64           `json:"round"`
	Provider               string          `json:"provider"`  // its connector's address
	Connector              *string         `json:"connector"` // ours, by its configured name
	CounterPartyID         *string         `json:"counterPartyId"`
	AssetID                string          `json:"assetId"`
	OfferID                *string         `json:"offerId"`
	Constraints            *string         `json:"constraints"` // of the offer, for people
	Tried                  int             `json:"tried"`       // the how manyth it is for those who wait
	State                  string          `json:"state"`
	Code                   int             `json:"code"`
	ConnectorNegotiationID *string         `json:"connectorNegotiationId"`
	AgreementID            *string         `json:"agreementId"`
	Agreement              *Agreement      `json:"agreement"`
	EDR                    EDR             `json:"edr"`
	Reason                 *string         `json:"reason"` // why it was terminated, or its agreement is dead
	By                     *string         `json:"by"`     // who terminated it: provider, connector or waybill
	Error                  json.RawMessage `json:"error"`  // the last one: {step, message, code?}
	CreatedAt              time.Time       `json:"createdAt"`
	Since                  time.Time       `json:"since"` // it has been in this state
	Until                  *time.Time      `json:"until"` // the state lasts no longer
	Deadline               *time.Time      `json:"deadline"`
	EndedAt                *time.Time      `json:"endedAt"`
	// Position is the last command from the log that changed it; null for none.
	Position *kafka.Position `json:"position"`
	History  []Moment        `json:"history"`
	Tasks    []Task          `json:"tasks"`
	Waiters  []Waiter        `json:"waiters"` // the first hundred
}

// Agreement says of what use an agreement is.
type Agreement struct {
	State string     `json:"state"` // VALID, DEAD or EVICTED
	Until *time.Time `json:"until"` // it is used
}

// EDR says of what use an endpoint data reference is. What is in it stands elsewhere.
type EDR struct {
	State     string     `json:"state"` // NONE, REQUESTED, GRANTED or DEAD
	Since     time.Time  `json:"since"`
	ExpiresAt *time.Time `json:"expiresAt"` // as it says itself
	Until     *time.Time `json:"until"`     // it is handed out, or waited for
	ProcessID *string    `json:"processId"` // the connector's transfer process behind it
}

// Waiter is who waits for access.
type Waiter struct {
	ID        string     `json:"id"`
	Kind      string     `json:"kind,omitempty"` // transfer or orchestration: what is answered
	JobID     *string    `json:"jobId"`
	NodeID    *string    `json:"nodeId"`
	AssetType *string    `json:"assetType"` // where the wish is by type
	Need      string     `json:"need"`      // agreement or edr
	Since     time.Time  `json:"since"`
	Deadline  *time.Time `json:"deadline"`
}

// appendDoc writes the round as the HTTP interface shows it, but for its tasks and waiters, which
// are not its own.
func (r *round) appendDoc(b []byte) []byte {
	b = appendText(append(b, `{"id":`...), r.id)
	b = appendInt(b, `,"round":`, r.number)
	b = appendText(append(b, `,"provider":`...), r.provider)
	b = appendOptional(append(b, `,"connector":`...), r.connector)
	b = appendOptional(append(b, `,"counterPartyId":`...), r.party)
	b = appendText(append(b, `,"assetId":`...), r.asset)
	b = appendOptional(append(b, `,"offerId":`...), r.offer)
	b = appendOptional(append(b, `,"constraints":`...), r.constraints)
	b = appendInt(b, `,"tried":`, int64(r.tried))
	b = appendText(append(b, `,"state":`...), r.phase.String())
	b = appendInt(b, `,"code":`, int64(r.phase))
	b = appendOptional(append(b, `,"connectorNegotiationId":`...), r.theirs)
	b = appendOptional(append(b, `,"agreementId":`...), r.agreement)
	if b = append(b, `,"agreement":`...); r.agreementState == "" {
		b = append(b, "null"...)
	} else {
		b = appendText(append(b, `{"state":`...), r.agreementState)
		b = append(appendTime(append(b, `,"until":`...), r.agreementUntil), '}')
	}
	b = appendText(append(b, `,"edr":{"state":`...), r.edr)
	b = appendTime(append(b, `,"since":`...), r.edrSince)
	b = appendTime(append(b, `,"expiresAt":`...), r.edrExpires)
	b = appendTime(append(b, `,"until":`...), r.edrUntil)
	b = appendOptional(append(b, `,"processId":`...), r.process)
	b = appendOptional(append(b, `},"reason":`...), r.reason)
	b = appendOptional(append(b, `,"by":`...), r.by)
	b = appendRaw(append(b, `,"error":`...), r.failure)
	b = appendTime(append(b, `,"createdAt":`...), r.created)
	b = appendTime(append(b, `,"since":`...), r.since)
	b = appendTime(append(b, `,"until":`...), r.until)
	b = appendTime(append(b, `,"deadline":`...), r.deadline)
	b = appendTime(append(b, `,"endedAt":`...), r.ended)
	b = appendPosition(append(b, `,"position":`...), schemas.AggregateNegotiation, r.partition, r.command)
	b = appendMoments(append(b, `,"history":`...), r.history)
	return append(b, '}')
}

// readDoc takes a round up again from its document.
func (r *round) readDoc(doc string) error {
	var d Negotiation
	if err := json.Unmarshal([]byte(doc), &d); err != nil {
		return fmt.Errorf("a negotiation: %w", err)
	}
	r.id, r.number, r.provider, r.connector = d.ID, d.Round, d.Provider, value(d.Connector)
	r.party, r.asset, r.offer, r.constraints = value(d.CounterPartyID), d.AssetID, value(d.OfferID), value(d.Constraints)
	r.tried, r.phase, r.theirs, r.agreement = d.Tried, negotiation.Phase(d.Code), value(d.ConnectorNegotiationID), value(d.AgreementID)
	if d.Agreement != nil {
		r.agreementState, r.agreementUntil = d.Agreement.State, nanosOf(d.Agreement.Until)
	}
	r.edr, r.edrSince, r.edrExpires, r.edrUntil = d.EDR.State, nanos(d.EDR.Since), nanosOf(d.EDR.ExpiresAt), nanosOf(d.EDR.Until)
	r.process, r.reason, r.by, r.failure = value(d.EDR.ProcessID), value(d.Reason), value(d.By), notNull(d.Error)
	r.created, r.since, r.until = nanos(d.CreatedAt), nanos(d.Since), nanosOf(d.Until)
	r.deadline, r.ended, r.history = nanosOf(d.Deadline), nanosOf(d.EndedAt), d.History
	r.command = -1
	if d.Position != nil {
		r.command = d.Position.Offset
	}
	return nil
}
