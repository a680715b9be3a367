package schemas

import (
	"fmt"

	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/domain/orchestration"
)

// EncodeNegotiationCommand writes a command's value and names its type. It refuses the commands that
// are not on the wire.
func EncodeNegotiationCommand(c negotiation.Command) (wireType string, data []byte, err error) {
	switch c := c.(type) {
	case negotiation.Report:
		return encodeReport(c.Command)
	case negotiation.Acquire:
		wireType = NegotiationAcquire
	case negotiation.Release:
		wireType = NegotiationRelease
	case negotiation.Observed:
		wireType = NegotiationObserved
	case negotiation.Wake, negotiation.TakeOver:
	}
	if wireType == "" {
		return "", nil, fmt.Errorf("command %T is not on the wire", c)
	}
	data, err = Encode(c)
	return wireType, data, err
}

// DecodeNegotiationCommand reads and checks a command's value as DecodeOrchestrationCommand does. It is
// safe for concurrent use.
func DecodeNegotiationCommand(wireType string, data []byte) (negotiation.Command, error) {
	return takeCommand(wireType, data, NegotiationCommands(), (*reader).negotiation,
		func(c orchestration.Command) negotiation.Command { return negotiation.Report{Command: c} })
}

func (r *reader) negotiation(wireType string) negotiation.Command {
	switch wireType {
	case NegotiationAcquire:
		return r.acquire()
	case NegotiationRelease:
		return r.released()
	case NegotiationObserved:
		return r.observedThere()
	}
	return nil
}

func (r *reader) acquire() negotiation.Acquire {
	var c negotiation.Acquire
	given := 0
	for o := r.object(); o.next(); {
		switch string(o.name) {
		case "provider":
			c.Provider = r.must(&given, 1)
		case "connector":
			c.Connector = r.str()
		case "assetId":
			c.AssetID = r.str()
		case "assetType":
			c.AssetType = r.str()
		case "need":
			c.Need = r.needed()
			given |= 2
		case "waiter":
			c.Waiter = r.str()
		case "counterPartyId":
			c.CounterPartyID = r.str()
		case "deadline":
			c.Deadline = r.instant()
		case "reply":
			c.Reply = r.reply()
		default:
			r.unknown(o.name)
		}
	}
	r.all(given, 3)
	if (c.AssetID == "") == (c.AssetType == "") {
		r.mismatch("want either an assetId or an assetType")
	}
	return c
}

func (r *reader) needed() negotiation.Need {
	n := negotiation.Need(r.words())
	if r.err == nil && n != negotiation.NeedAgreement && n != negotiation.NeedEDR {
		r.mismatch(fmt.Sprintf("%q is neither agreement nor edr", n))
	}
	return n
}

func (r *reader) reply() *negotiation.Reply {
	if r.err != nil || r.null() {
		return nil
	}
	var a negotiation.Reply
	given := 0
	for o := r.object(); o.next(); {
		switch string(o.name) {
		case "aggregate":
			if a.Aggregate = r.must(&given, 1); a.Aggregate != AggregateTransfer && a.Aggregate != AggregateOrchestration {
				r.mismatch("only transfers and activities of orchestrations are answered")
			}
		case "id":
			a.ID = r.must(&given, 2)
		case "activityId":
			a.ActivityID = r.str()
		case "workId":
			a.WorkID = r.str()
		case "attempt":
			if !r.null() {
				a.Attempt = r.count(0)
			}
		default:
			r.unknown(o.name)
		}
	}
	r.all(given, 3)
	return &a
}

func (r *reader) released() negotiation.Release {
	var c negotiation.Release
	given := 0
	for o := r.object(); o.next(); {
		switch string(o.name) {
		case "waiter":
			c.Waiter = r.must(&given, 1)
		case "process":
			c.Process = r.str()
		case "agreement":
			c.Agreement = r.str()
		case "dead":
			c.Dead = r.boolean()
		case "reason":
			c.Reason = r.str()
		default:
			r.unknown(o.name)
		}
	}
	r.all(given, 1)
	return c
}

func (r *reader) observedThere() negotiation.Observed {
	var c negotiation.Observed
	given := 0
	for o := r.object(); o.next(); {
		switch string(o.name) {
		case "assetId":
			c.AssetID = r.str()
		case "round":
			c.Round = r.str()
		case "processId":
			c.ProcessID = r.str()
		case "negotiationId":
			c.NegotiationID = r.str()
		case "state":
			c.State = r.must(&given, 1)
		case "detail":
			c.Detail = r.str()
		case "agreementId":
			c.AgreementID = r.str()
		case "edr":
			if !r.null() {
				c.EDR = r.sealed()
			}
		case "expiresAt":
			c.ExpiresAt = r.instant()
		default:
			r.unknown(o.name)
		}
	}
	r.all(given, 1)
	if c.Round == "" && c.ProcessID == "" {
		r.mismatch("want a round or a processId")
	}
	return c
}

// EncodeNegotiationEvent writes an event's value and names its type, as EncodeOrchestrationEvent does.
func EncodeNegotiationEvent(e negotiation.Event) (wireType string, data []byte, err error) {
	w := writer{out: make([]byte, 0, 256)}
	switch e := e.(type) {
	case negotiation.Joined:
		wireType = NegotiationJoined
		w.wish(&e.Wish)
	case negotiation.Served:
		wireType = NegotiationServed
		w.served(&e)
	case negotiation.Worked:
		wireType = w.task(e.Event)
	case negotiation.Listed, negotiation.Failed, negotiation.Answered, negotiation.Left,
		negotiation.CatalogRequested, negotiation.CatalogReceived, negotiation.CatalogFailed, negotiation.Started, negotiation.Moved,
		negotiation.AgreementDead, negotiation.EDRRequested, negotiation.EDRGranted, negotiation.EDRDead, negotiation.Evicted:
		wireType = negotiationEventType(e)
		w.whole(e)
	}
	if wireType == "" {
		return "", nil, fmt.Errorf("event %T has no wire name", e)
	}
	if w.err != nil {
		return "", nil, fmt.Errorf("write %s: %w", wireType, w.err)
	}
	return wireType, w.end(), nil
}

// negotiationEventType names the events that are not frequent enough to be written by hand.
func negotiationEventType(e negotiation.Event) string {
	switch e.(type) {
	case negotiation.Listed:
		return NegotiationListed
	case negotiation.Failed:
		return NegotiationFailed
	case negotiation.Answered:
		return NegotiationAnswered
	case negotiation.Left:
		return NegotiationLeft
	case negotiation.CatalogRequested:
		return NegotiationCatalogRequested
	case negotiation.CatalogReceived:
		return NegotiationCatalogReceived
	case negotiation.CatalogFailed:
		return NegotiationCatalogFailed
	case negotiation.Started:
		return NegotiationStarted
	case negotiation.Moved:
		return NegotiationMoved
	case negotiation.AgreementDead:
		return NegotiationAgreementDead
	case negotiation.EDRRequested:
		return NegotiationEDRRequested
	case negotiation.EDRGranted:
		return NegotiationEDRGranted
	case negotiation.EDRDead:
		return NegotiationEDRDead
	case negotiation.Evicted:
		return NegotiationEvicted
	case negotiation.Joined, negotiation.Served, negotiation.Worked:
	}
	return ""
}

func (w *writer) wish(e *negotiation.Wish) {
	w.str("waiter", e.Waiter)
	w.optional("assetId", e.AssetID)
	w.optional("assetType", e.AssetType)
	w.str("need", string(e.Need))
	w.optional("counterPartyId", e.CounterPartyID)
	w.time("deadline", e.Deadline)
	w.reply(e.Reply)
	w.optional("commandId", e.CommandID)
	w.optional("traceparent", e.TraceParent)
}

func (w *writer) reply(a *negotiation.Reply) {
	if a == nil {
		return
	}
	w.name("reply")
	n := w.nested()
	n.str("aggregate", a.Aggregate)
	n.str("id", a.ID)
	n.optional("activityId", a.ActivityID)
	n.optional("workId", a.WorkID)
	if a.Attempt != 0 {
		n.integer("attempt", a.Attempt)
	}
	w.close(&n)
}

func (w *writer) served(e *negotiation.Served) {
	w.str("assetId", e.AssetID)
	w.integer("round", e.Round)
	w.str("agreementId", e.AgreementID)
	w.optional("processId", e.ProcessID)
	w.strings("waiters", e.Waiters)
	if e.Wish != nil {
		w.name("wish")
		n := w.nested()
		n.wish(e.Wish)
		w.close(&n)
	}
}

// DecodeNegotiationEvent reads an event's value, as Decoder.DecodeOrchestrationEvent does. It is safe
// for concurrent use.
func DecodeNegotiationEvent(wireType string, data []byte) (negotiation.Event, error) {
	return takeEvent(wireType, data, NegotiationEvents(), (*scanner).negotiation)
}

func (s *scanner) negotiation(wireType string) negotiation.Event {
	switch wireType {
	case NegotiationJoined:
		return negotiation.Joined{Wish: s.wish()}
	case NegotiationServed:
		return s.served()
	case NegotiationListed:
		return rare[negotiation.Listed](s)
	case NegotiationFailed:
		return rare[negotiation.Failed](s)
	case NegotiationAnswered:
		return rare[negotiation.Answered](s)
	case NegotiationLeft:
		return rare[negotiation.Left](s)
	case NegotiationCatalogRequested:
		return rare[negotiation.CatalogRequested](s)
	case NegotiationCatalogReceived:
		return rare[negotiation.CatalogReceived](s)
	case NegotiationCatalogFailed:
		return rare[negotiation.CatalogFailed](s)
	case NegotiationStarted:
		return rare[negotiation.Started](s)
	case NegotiationMoved:
		return rare[negotiation.Moved](s)
	case NegotiationAgreementDead:
		return rare[negotiation.AgreementDead](s)
	case NegotiationEDRRequested:
		return rare[negotiation.EDRRequested](s)
	case NegotiationEDRGranted:
		return rare[negotiation.EDRGranted](s)
	case NegotiationEDRDead:
		return rare[negotiation.EDRDead](s)
	case NegotiationEvicted:
		return rare[negotiation.Evicted](s)
	}
	if e := s.task(wireType); e != nil {
		return negotiation.Worked{Event: e}
	}
	return nil
}

// rare reads an object that comes too seldom to be read by hand.
func rare[E any](s *scanner) (e E) {
	if s.err == nil && s.space() != '{' {
		s.mismatchOrSyntax("want an object")
	}
	s.other(&e)
	return e
}

func (s *scanner) wish() negotiation.Wish {
	var e negotiation.Wish
	for o := s.object(); o.next(); {
		switch string(o.name) {
		case "waiter":
			e.Waiter = s.str()
		case "assetId":
			e.AssetID = s.str()
		case "assetType":
			e.AssetType = s.str()
		case "need":
			e.Need = negotiation.Need(s.str())
		case "counterPartyId":
			e.CounterPartyID = s.str()
		case "deadline":
			e.Deadline = s.instant()
		case "reply":
			e.Reply = s.reply()
		case "commandId":
			e.CommandID = s.str()
		case "traceparent":
			e.TraceParent = s.str()
		default:
			s.raw()
		}
	}
	return e
}

func (s *scanner) reply() *negotiation.Reply {
	if s.null() {
		return nil
	}
	var a negotiation.Reply
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

func (s *scanner) served() negotiation.Served {
	var e negotiation.Served
	for o := s.object(); o.next(); {
		switch string(o.name) {
		case "assetId":
			e.AssetID = s.str()
		case "round":
			e.Round = s.integer()
		case "agreementId":
			e.AgreementID = s.str()
		case "processId":
			e.ProcessID = s.str()
		case "waiters":
			e.Waiters = s.strings()
		case "wish":
			if !s.null() {
				w := s.wish()
				e.Wish = &w
			}
		default:
			s.raw()
		}
	}
	return e
}
