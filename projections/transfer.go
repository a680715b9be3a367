package projections

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/transfer"
	"github.com/waybill/waybill/schemas"
)

// transferring is one transfer being folded. Times are nanoseconds, 0 is none.
type transferring struct {
	aggregated
	cachePlace[*transferring]

	// What it is.
	provider, connector, adapter string
	party, asset, typ            string
	way                          transfer.Way
	job, node                    string // whose activity asked for it, where one did
	attempt                      int
	manifest                     json.RawMessage // secrets left out, as in all that follows
	destination, properties      json.RawMessage
	created, deadline            int64

	// How far it is.
	phase                  transfer.Phase
	since, until           int64
	tasks                  tasks
	resources              []Resource
	acquiring              string // the negotiation that is asked for access
	negotiation            string // id of the round that gave it
	agreement, constraints string
	process                string // the connector's transfer process: of a push transfer, or behind the EDR
	edrExpires             int64
	outcome                transfer.Outcome
	reason, by             string
	failure                json.RawMessage // the last error
	output                 json.RawMessage
	ended                  int64
	history                []Moment
}

func (t *transferring) cacheKey() string { return t.id }

func (t *transferring) weigh() int {
	if t.settled() {
		return 0
	}
	return documentWeight
}

// settled says that nothing moves it any more, as far as the rows tell. What was provisioned may
// be undone afterwards: then it is read back.
func (t *transferring) settled() bool { return t.phase.Over() && !t.tasks.any() }

// Resource is one that was provisioned for a transfer.
type Resource struct {
	DefinitionID string          `json:"resourceDefinitionId"` // what of the manifest it is
	State        string          `json:"state"`                // PROVISIONED, DEPROVISIONED, or LEFT where it could not be undone
	Resource     json.RawMessage `json:"resource"`
	Error        json.RawMessage `json:"error"`              // why it was left
	Uploaded     int64           `json:"uploaded,omitempty"` // bytes that were pushed to it
}

// States of a resource.
const (
	resourceThere = "PROVISIONED"
	resourceGone  = "DEPROVISIONED"
	resourceLeft  = "LEFT"
)

// apply folds one event in; at is when it was decided. Events are facts: one that makes no
// sense here changes nothing but the sequence.
func (t *transferring) apply(at time.Time, e transfer.Event) error {
	n := nanos(at)
	switch e := e.(type) {
	case transfer.Initiated:
		return t.initiate(n, e)
	case transfer.Moved:
		t.move(n, e.Moves, e.Reason, e.By)
		t.until = nanos(e.Until)
		t.fault(e.Error)
	case transfer.Acquiring:
		t.move(n, e.Moves, "", "")
		t.acquiring, t.until = e.Negotiation, nanos(e.Until)
	case transfer.AccessGranted:
		t.granted(e)
		t.move(n, e.Moves, "", "")
	case transfer.AccessLost:
		t.process, t.edrExpires = "", 0
		t.fault(&e.Error)
	case transfer.Requested:
		t.process = e.ProcessID
		t.move(n, e.Moves, "", "")
		if len(e.Moves) > 0 {
			t.until = nanos(e.Until)
		}
	case transfer.ResourceProvisioned:
		t.resources = append(t.resources, Resource{DefinitionID: e.DefinitionID, State: resourceThere, Resource: redact(e.Resource)})
	case transfer.ResourceUploaded:
		t.uploaded(e)
	case transfer.ResourceDeprovisioned:
		t.deprovisioned(e)
	case transfer.Ended:
		t.outcome, t.output, t.ended = e.Outcome, redact(e.Output), n
		t.move(n, e.Moves, e.Reason, e.By)
		t.reason, t.by = e.Reason, e.By
		if t.fault(e.Error); t.outcome == transfer.OutcomeCompleted {
			t.failure = nil // it was overcome
		}
	case transfer.Worked:
		if failure := t.tasks.apply(n, e.Event); failure != nil {
			t.failure = failure // what went wrong with a task is the transfer's last error
		}
	}
	return nil
}

func (t *transferring) initiate(at int64, e transfer.Initiated) error {
	t.provider, t.connector, t.adapter = e.Provider, e.Connector, e.Adapter
	t.party, t.asset, t.typ, t.way = e.CounterPartyID, e.AssetID, e.TransferType, e.Way
	if e.Asker != nil && e.Asker.Aggregate == schemas.AggregateOrchestration {
		t.job, t.node, t.attempt = e.Asker.ID, e.Asker.ActivityID, e.Asker.Attempt
	}
	if e.Manifest != nil {
		raw, err := schemas.Encode(e.Manifest)
		if err != nil {
			return fmt.Errorf("manifest: %w", err)
		}
		t.manifest = redact(raw)
	}
	t.destination, t.properties = redact(e.Destination), redact(e.Properties)
	t.created, t.deadline = at, nanos(e.Deadline)
	t.phase, t.since = transfer.PhaseInitial, at
	t.history = noted(t.history, Moment{State: t.phase.String(), Code: int(t.phase), At: when(at)})
	return nil
}

// move takes the transfer through states; why and by whom belongs to the last of them.
func (t *transferring) move(at int64, moves []transfer.Move, reason, by string) {
	for i, m := range moves {
		o := Moment{State: m.State.String(), Code: int(m.State), At: when(at), Inferred: m.Inferred}
		if i == len(moves)-1 {
			o.Reason, o.By = reason, by
		}
		t.phase, t.since, t.until = m.State, at, 0
		t.history = noted(t.history, o)
	}
	if len(moves) > 0 {
		t.acquiring = "" // said anew where it goes on
	}
}

func (t *transferring) granted(e transfer.AccessGranted) {
	t.negotiation, t.agreement, t.constraints = "", e.AgreementID, e.Constraints
	if e.Round > 0 { // ours: what the event names is the connector's
		t.negotiation = machine.ID("negotiation", t.connector+" "+t.provider, t.asset, strconv.Itoa(e.Round))
	}
	if e.CounterPartyID != "" {
		t.party = e.CounterPartyID
	}
	if e.EDR != nil {
		t.process, t.edrExpires = e.EDR.ProcessID, nanos(e.EDR.ExpiresAt)
	}
	t.acquiring, t.until = "", 0
}

// uploaded notes how much was pushed to a resource; what it was goes to whoever collects it.
func (t *transferring) uploaded(e transfer.ResourceUploaded) {
	for i := range t.resources {
		if r := &t.resources[i]; r.DefinitionID == e.DefinitionID {
			r.Uploaded = e.Bytes
		}
	}
}

func (t *transferring) deprovisioned(e transfer.ResourceDeprovisioned) {
	for i := range t.resources {
		r := &t.resources[i]
		if r.DefinitionID != e.DefinitionID {
			continue
		}
		r.State, r.Error = resourceGone, nil
		if e.Error != nil {
			r.State, r.Error = resourceLeft, faultOf(*e.Error)
		}
	}
}

func (t *transferring) fault(f *orchestration.Fault) {
	if f != nil {
		t.failure = faultOf(*f)
	}
}

// waitingOn says on whom the transfer waits, where it waits on somebody: kind and id. That of a
// negotiation is the counter-party's as yet; who reads it finds the round.
func (t *transferring) waitingOn() (kind, id string) {
	if t.acquiring != "" {
		return WaitNegotiation, t.acquiring
	}
	switch t.phase {
	case transfer.PhaseProvisioning, transfer.PhaseProvisioningRequested, transfer.PhaseDeprovisioning, transfer.PhaseDeprovisioningRequested:
		return WaitProvisioner, t.outstanding()
	case transfer.PhaseInitial, transfer.PhaseProvisioned, transfer.PhaseSuspended, transfer.PhaseCompleted, transfer.PhaseTerminated, transfer.PhaseDeprovisioned:
		return "", ""
	case transfer.PhaseRequesting, transfer.PhaseRequested, transfer.PhaseStarted, transfer.PhaseSuspending, transfer.PhaseResuming, transfer.PhaseResumed,
		transfer.PhaseCompleting, transfer.PhaseTerminating:
	}
	return WaitProvider, t.provider
}

// outstanding is the type of the first resource that is not as the transfer wants it.
func (t *transferring) outstanding() string {
	var m transfer.Manifest
	if len(t.manifest) == 0 || json.Unmarshal(t.manifest, &m) != nil {
		return ""
	}
	undoing := t.phase >= transfer.PhaseDeprovisioning
	there := make(map[string]bool, len(t.resources))
	for _, r := range t.resources {
		there[r.DefinitionID] = r.State == resourceThere
	}
	for _, d := range m.Definitions {
		if there[d.ID] == undoing {
			return d.Type
		}
	}
	return ""
}

// What a node, or a transfer, may wait on.
const (
	WaitAgent       = "agent"
	WaitCallback    = "callback"
	WaitTransfer    = "transfer"
	WaitNegotiation = "negotiation"
	WaitProvider    = "provider"
	WaitProvisioner = "provisioner"
)
