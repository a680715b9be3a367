package projections

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/waybill/waybill/domain/transfer"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// Transfer is one transfer process as its users see it. What is secret in it was left out.
type Transfer struct {
	ID                string          `json:"id"`
	JobID             *string         `json:"jobId"`  // whose activity asked for it
	NodeID            *string         `json:"nodeId"` // that activity
	Attempt           int             `json:"attempt,omitempty"`
	Provider          string          `json:"provider"`  // its connector's address
	Connector         *string         `json:"connector"` // ours, by its configured name
	Adapter           *string         `json:"adapter"`
	CounterPartyID    *string         `json:"counterPartyId"`
	AssetID           string          `json:"assetId"`
	Way               string          `json:"way"` // pull or push
	TransferType      string          `json:"transferType"`
	State             string          `json:"state"`
	Code              int             `json:"code"`
	Outcome           *string         `json:"outcome"` // completed or terminated, once it is decided
	Reason            *string         `json:"reason"`  // of the outcome
	By                *string         `json:"by"`      // who terminated it
	Error             json.RawMessage `json:"error"`   // the last one: {step, message, code?}
	ProviderProcessID *string         `json:"providerProcessId"`
	Manifest          json.RawMessage `json:"manifest"`
	Resources         []Resource      `json:"resources"`
	Destination       json.RawMessage `json:"destination"`
	Properties        json.RawMessage `json:"properties"`
	CreatedAt         time.Time       `json:"createdAt"`
	Since             time.Time       `json:"since"` // it has been in this state
	Until             *time.Time      `json:"until"` // the state ends by itself
	Deadline          *time.Time      `json:"deadline"`
	EndedAt           *time.Time      `json:"endedAt"`
	WaitingOn         *WaitingOn      `json:"waitingOn"`
	Tasks             []Task          `json:"tasks"`
	NegotiationID     *string         `json:"negotiationId"`
	AgreementID       *string         `json:"agreementId"`
	Constraints       *string         `json:"constraints"` // of the offer, for people
	EDRExpiresAt      *time.Time      `json:"edrExpiresAt"`
	Output            json.RawMessage `json:"output"`
	// Position is the last command that the transfer has read from the log; null for none.
	Position *kafka.Position `json:"position"`
	History  []Moment        `json:"history"`
}

// appendDoc writes the transfer as the HTTP interface shows it.
func (t *transferring) appendDoc(b []byte) []byte {
	b = appendText(append(b, `{"id":`...), t.id)
	b = appendOptional(append(b, `,"jobId":`...), t.job)
	b = appendOptional(append(b, `,"nodeId":`...), t.node)
	if t.attempt > 0 {
		b = appendInt(b, `,"attempt":`, int64(t.attempt))
	}
	b = appendText(append(b, `,"provider":`...), t.provider)
	b = appendOptional(append(b, `,"connector":`...), t.connector)
	b = appendOptional(append(b, `,"adapter":`...), t.adapter)
	b = appendOptional(append(b, `,"counterPartyId":`...), t.party)
	b = appendText(append(b, `,"assetId":`...), t.asset)
	b = appendText(append(b, `,"way":`...), string(t.way))
	b = appendText(append(b, `,"transferType":`...), t.typ)
	b = appendText(append(b, `,"state":`...), t.phase.String())
	b = appendInt(b, `,"code":`, int64(t.phase))
	b = appendOptional(append(b, `,"outcome":`...), string(t.outcome))
	b = appendOptional(append(b, `,"reason":`...), t.reason)
	b = appendOptional(append(b, `,"by":`...), t.by)
	b = appendRaw(append(b, `,"error":`...), t.failure)
	b = appendOptional(append(b, `,"providerProcessId":`...), t.process)
	b = appendRaw(append(b, `,"manifest":`...), t.manifest)
	b = appendResources(append(b, `,"resources":`...), t.resources)
	b = appendRaw(append(b, `,"destination":`...), t.destination)
	b = appendRaw(append(b, `,"properties":`...), t.properties)
	b = appendTime(append(b, `,"createdAt":`...), t.created)
	b = appendTime(append(b, `,"since":`...), t.since)
	b = appendTime(append(b, `,"until":`...), t.until)
	b = appendTime(append(b, `,"deadline":`...), t.deadline)
	b = appendTime(append(b, `,"endedAt":`...), t.ended)
	b = appendWaitingOn(append(b, `,"waitingOn":`...), t.waitingOn)
	b = t.tasks.append(append(b, `,"tasks":`...))
	b = appendOptional(append(b, `,"negotiationId":`...), t.negotiation)
	b = appendOptional(append(b, `,"agreementId":`...), t.agreement)
	b = appendOptional(append(b, `,"constraints":`...), t.constraints)
	b = appendTime(append(b, `,"edrExpiresAt":`...), t.edrExpires)
	b = appendRaw(append(b, `,"output":`...), t.output)
	b = appendPosition(append(b, `,"position":`...), schemas.AggregateTransfer, t.partition, t.command)
	b = appendMoments(append(b, `,"history":`...), t.history)
	return append(b, '}')
}

func appendWaitingOn(b []byte, on func() (kind, id string)) []byte {
	kind, id := on()
	if kind == "" {
		return append(b, "null"...)
	}
	b = appendText(append(b, `{"kind":`...), kind)
	return append(appendText(append(b, `,"id":`...), id), '}')
}

// appendPosition writes the last command that an aggregate has read from the log.
func appendPosition(b []byte, aggregate string, partition int32, command int64) []byte {
	if command < 0 {
		return append(b, "null"...)
	}
	b = append(append(append(b, '"'), aggregate...), '/')
	b = strconv.AppendInt(b, int64(partition), 10)
	return append(appendInt(b, "/", command), '"')
}

func appendResources(b []byte, l []Resource) []byte {
	b = append(b, '[')
	for i, r := range l {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(append(b, `{"resourceDefinitionId":`...), r.DefinitionID)
		b = appendText(append(b, `,"state":`...), r.State)
		b = appendRaw(append(b, `,"resource":`...), r.Resource)
		b = appendRaw(append(b, `,"error":`...), r.Error)
		if r.Uploaded > 0 {
			b = appendInt(b, `,"uploaded":`, r.Uploaded)
		}
		b = append(b, '}')
	}
	return append(b, ']')
}

// readDoc takes a transfer up again from its document.
func (t *transferring) readDoc(doc string) error {
	var d Transfer
	if err := json.Unmarshal([]byte(doc), &d); err != nil {
		return fmt.Errorf("transfer %s: %w", t.id, err)
	}
	t.job, t.node, t.attempt = value(d.JobID), value(d.NodeID), d.Attempt
	t.provider, t.connector, t.adapter = d.Provider, value(d.Connector), value(d.Adapter)
	t.party, t.asset, t.typ, t.way = value(d.CounterPartyID), d.AssetID, d.TransferType, transfer.Way(d.Way)
	t.outcome, t.reason, t.by = transfer.Outcome(value(d.Outcome)), value(d.Reason), value(d.By)
	t.failure, t.process = notNull(d.Error), value(d.ProviderProcessID)
	t.manifest, t.destination, t.properties = notNull(d.Manifest), notNull(d.Destination), notNull(d.Properties)
	t.since, t.until, t.deadline, t.ended = nanos(d.Since), nanosOf(d.Until), nanosOf(d.Deadline), nanosOf(d.EndedAt)
	if on := d.WaitingOn; on != nil && on.Kind == WaitNegotiation {
		t.acquiring = on.ID
	}
	for _, r := range d.Resources {
		r.Resource, r.Error = notNull(r.Resource), notNull(r.Error)
		t.resources = append(t.resources, r)
	}
	t.tasks = readTasks(d.Tasks)
	t.negotiation, t.agreement, t.constraints = value(d.NegotiationID), value(d.AgreementID), value(d.Constraints)
	t.edrExpires, t.output, t.history = nanosOf(d.EDRExpiresAt), notNull(d.Output), d.History
	if d.Position != nil {
		t.command = d.Position.Offset
	}
	return nil
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
