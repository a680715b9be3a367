package schemas

import (
	"fmt"

	"github.com/waybill/waybill/domain/transfer"
)

// EncodeTransferEvent writes an event's value and names its type, as EncodeOrchestrationEvent does.
func EncodeTransferEvent(e transfer.Event) (wireType string, data []byte, err error) {
	w := writer{out: make([]byte, 0, 256)}
	switch e := e.(type) {
	case transfer.Initiated:
		wireType = TransferInitiated
		w.initiated(&e)
	case transfer.Moved:
		wireType = TransferMoved
		w.moves(e.Moves)
		w.signature(e.Reason, e.By)
		w.fault(e.Error)
		w.truth("again", e.Again)
		w.length("after", e.After)
		w.until("until", e.Until)
	case transfer.ResourceProvisioned:
		wireType = TransferResourceProvisioned
		w.str("resourceDefinitionId", e.DefinitionID)
		w.json("resource", e.Resource)
		w.json("secret", e.Secret)
	case transfer.ResourceUploaded:
		wireType = TransferResourceUploaded
		w.str("resourceDefinitionId", e.DefinitionID)
		w.str("digest", e.Digest)
		w.integer("bytes", int(e.Bytes))
		w.json("content", e.Content)
	case transfer.ResourceDeprovisioned:
		wireType = TransferResourceFreed
		w.str("resourceDefinitionId", e.DefinitionID)
		w.fault(e.Error)
	case transfer.Acquiring:
		wireType = TransferAcquiring
		w.moves(e.Moves)
		w.str("negotiation", e.Negotiation)
		w.str("need", e.Need)
		w.integer("acquisition", e.Acquisition)
		w.time("until", e.Until)
	case transfer.AccessGranted:
		wireType = TransferAccessGranted
		w.accessGranted(&e)
	case transfer.AccessLost:
		wireType = TransferAccessLost
		w.optional("processId", e.ProcessID)
		w.optional("agreementId", e.AgreementID)
		w.fault(&e.Error)
	case transfer.Requested:
		wireType = TransferRequested
		w.moves(e.Moves)
		w.str("processId", e.ProcessID)
		w.until("until", e.Until)
	case transfer.Ended:
		wireType = TransferEnded
		w.transferEnded(&e)
	case transfer.Worked:
		wireType = w.task(e.Event)
	}
	if wireType == "" {
		return "", nil, fmt.Errorf("event %T has no wire name", e)
	}
	if w.err != nil {
		return "", nil, fmt.Errorf("write %s: %w", wireType, w.err)
	}
	return wireType, w.end(), nil
}

func (w *writer) initiated(e *transfer.Initiated) {
	w.str("provider", e.Provider)
	w.optional("connector", e.Connector)
	w.optional("adapter", e.Adapter)
	w.str("assetId", e.AssetID)
	w.optional("counterPartyId", e.CounterPartyID)
	w.str("way", string(e.Way))
	w.str("transferType", e.TransferType)
	w.json("destination", e.Destination)
	if e.Manifest != nil {
		w.other("manifest", e.Manifest)
	}
	w.json("properties", e.Properties)
	w.time("deadline", e.Deadline)
	w.asker(e.Asker)
	w.optional("as", e.As)
	if e.Retry != nil {
		w.other("retry", e.Retry)
	}
	w.str("fingerprint", e.Fingerprint)
	w.optional("traceparent", e.TraceParent)
}

func (w *writer) asker(a *transfer.Asker) {
	if a == nil {
		return
	}
	w.name("asker")
	n := w.nested()
	n.str("aggregate", a.Aggregate)
	n.str("id", a.ID)
	n.str("activityId", a.ActivityID)
	n.str("workId", a.WorkID)
	n.integer("attempt", a.Attempt)
	w.close(&n)
}

// moves leaves out what is not there.
func (w *writer) moves(l []transfer.Move) {
	if len(l) == 0 {
		return
	}
	w.name("moves")
	for i, m := range l {
		w.out = append(w.out, separator(i))
		n := w.nested()
		n.str("state", m.State.String())
		n.integer("code", m.Code)
		n.truth("inferred", m.Inferred)
		w.close(&n)
	}
	w.out = append(w.out, ']')
}

func (w *writer) accessGranted(e *transfer.AccessGranted) {
	w.moves(e.Moves)
	w.optional("negotiationId", e.NegotiationID)
	if e.Round != 0 {
		w.integer("round", e.Round)
	}
	w.optional("agreementId", e.AgreementID)
	w.optional("counterPartyId", e.CounterPartyID)
	w.optional("constraints", e.Constraints)
	w.edr(e.EDR)
}

func (w *writer) edr(e *transfer.EDR) {
	if e == nil {
		return
	}
	w.name("edr")
	n := w.nested()
	n.str("processId", e.ProcessID)
	n.name("data")
	n.raw("data", e.Data)
	n.until("expiresAt", e.ExpiresAt)
	w.close(&n)
}

func (w *writer) transferEnded(e *transfer.Ended) {
	w.moves(e.Moves)
	w.str("outcome", string(e.Outcome))
	w.json("output", e.Output)
	if len(e.Spawn) > 0 {
		w.activities("spawn", e.Spawn)
	}
	w.optional("key", e.Key)
	w.signature(e.Reason, e.By)
	w.fault(e.Error)
	w.truth("again", e.Again)
	w.length("after", e.After)
	w.truth("refused", e.Refused)
}

// DecodeTransferEvent reads an event's value, as Decoder.DecodeOrchestrationEvent does. It is safe for
// concurrent use.
func DecodeTransferEvent(wireType string, data []byte) (transfer.Event, error) {
	return takeEvent(wireType, data, TransferEvents(), (*scanner).transfer)
}

// takeEvent reads an event of a machine that keeps tasks; read makes nil of a type that it does not know.
func takeEvent[E any](wireType string, data []byte, known []string, read func(*scanner, string) E) (none E, err error) {
	s := scanner{data: data}
	e := read(&s, wireType)
	if any(e) == nil && s.err == nil {
		return none, &UnknownVersionError{Type: wireType, Known: append(known, TaskEvents()...)}
	}
	s.end()
	if s.err != nil {
		return none, undecodable(wireType, s.err)
	}
	return e, nil
}

func (s *scanner) transfer(wireType string) transfer.Event {
	switch wireType {
	case TransferInitiated:
		return s.initiated()
	case TransferMoved:
		return s.moved()
	case TransferResourceProvisioned:
		return rare[transfer.ResourceProvisioned](s)
	case TransferResourceUploaded:
		return rare[transfer.ResourceUploaded](s)
	case TransferResourceFreed:
		return rare[transfer.ResourceDeprovisioned](s)
	case TransferAcquiring:
		return s.acquiring()
	case TransferAccessGranted:
		return s.accessGranted()
	case TransferAccessLost:
		return rare[transfer.AccessLost](s)
	case TransferRequested:
		return rare[transfer.Requested](s)
	case TransferEnded:
		return s.transferEnded()
	}
	if e := s.task(wireType); e != nil {
		return transfer.Worked{Event: e}
	}
	return nil
}

func (s *scanner) initiated() transfer.Initiated {
	var e transfer.Initiated
	for o := s.object(); o.next(); {
		switch string(o.name) {
		case "provider":
			e.Provider = s.str()
		case "connector":
			e.Connector = s.str()
		case "adapter":
			e.Adapter = s.str()
		case "assetId":
			e.AssetID = s.str()
		case "counterPartyId":
			e.CounterPartyID = s.str()
		case "way":
			e.Way = transfer.Way(s.str())
		case "transferType":
			e.TransferType = s.str()
		case "destination":
			e.Destination = s.copied()
		case "manifest":
			s.other(&e.Manifest)
		case "properties":
			e.Properties = s.copied()
		case "deadline":
			e.Deadline = s.instant()
		case "asker":
			e.Asker = s.asker()
		case "as":
			e.As = s.str()
		case "retry":
			s.other(&e.Retry)
		case "fingerprint":
			e.Fingerprint = s.str()
		case "traceparent":
			e.TraceParent = s.str()
		default:
			s.raw()
		}
	}
	return e
}

func (s *scanner) asker() *transfer.Asker {
	if s.null() {
		return nil
	}
	var a transfer.Asker
	for o := s.object(); o.next(); {
		switch string(o.name) {
		case "aggregate":
			a.Aggregate = s.str()
		case "id":
			a.ID = s.str()
		case "activityId":
			a.ActivityID = s.str()
		case "workId":
			a.WorkID = s.str()
		case "attempt":
			a.Attempt = s.integer()
		default:
			s.raw()
		}
	}
	return &a
}

func (s *scanner) moves() []transfer.Move {
	if s.null() {
		return nil
	}
	var l []transfer.Move
	for a := s.array(); a.next(); {
		var m transfer.Move
		for o := s.object(); o.next(); {
			switch string(o.name) {
			case "state":
				if err := m.State.UnmarshalText([]byte(s.str())); err != nil {
					s.mismatch(err.Error())
				}
			case "code":
				m.Code = s.integer()
			case "inferred":
				m.Inferred = s.boolean()
			default:
				s.raw()
			}
		}
		l = append(l, m)
	}
	return l
}

func (s *scanner) moved() transfer.Moved {
	var e transfer.Moved
	for o := s.object(); o.next(); {
		switch string(o.name) {
		case "moves":
			e.Moves = s.moves()
		case "reason":
			e.Reason = s.str()
		case "by":
			e.By = s.str()
		case "error":
			s.other(&e.Error)
		case "again":
			e.Again = s.boolean()
		case "after":
			e.After = s.length()
		case "until":
			e.Until = s.instant()
		default:
			s.raw()
		}
	}
	return e
}

func (s *scanner) acquiring() transfer.Acquiring {
	var e transfer.Acquiring
	for o := s.object(); o.next(); {
		switch string(o.name) {
		case "moves":
			e.Moves = s.moves()
		case "negotiation":
			e.Negotiation = s.str()
		case "need":
			e.Need = s.str()
		case "acquisition":
			e.Acquisition = s.integer()
		case "until":
			e.Until = s.instant()
		default:
			s.raw()
		}
	}
	return e
}

func (s *scanner) accessGranted() transfer.AccessGranted {
	var e transfer.AccessGranted
	for o := s.object(); o.next(); {
		switch string(o.name) {
		case "moves":
			e.Moves = s.moves()
		case "negotiationId":
			e.NegotiationID = s.str()
		case "round":
			e.Round = s.integer()
		case "agreementId":
			e.AgreementID = s.str()
		case "counterPartyId":
			e.CounterPartyID = s.str()
		case "constraints":
			e.Constraints = s.str()
		case "edr":
			e.EDR = s.edr()
		default:
			s.raw()
		}
	}
	return e
}

func (s *scanner) edr() *transfer.EDR {
	if s.null() {
		return nil
	}
	var e transfer.EDR
	for o := s.object(); o.next(); {
		switch string(o.name) {
		case "processId":
			e.ProcessID = s.str()
		case "data":
			e.Data = s.copied()
		case "expiresAt":
			e.ExpiresAt = s.instant()
		default:
			s.raw()
		}
	}
	return &e
}

func (s *scanner) transferEnded() transfer.Ended {
	var e transfer.Ended
	for o := s.object(); o.next(); {
		switch string(o.name) {
		case "moves":
			e.Moves = s.moves()
		case "outcome":
			e.Outcome = transfer.Outcome(s.str())
		case "output":
			e.Output = s.copied()
		case "spawn":
			e.Spawn = s.activities()
		case "key":
			e.Key = s.str()
		case "reason":
			e.Reason = s.str()
		case "by":
			e.By = s.str()
		case "error":
			s.other(&e.Error)
		case "again":
			e.Again = s.boolean()
		case "after":
			e.After = s.length()
		case "refused":
			e.Refused = s.boolean()
		default:
			s.raw()
		}
	}
	return e
}
