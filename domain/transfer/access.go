package transfer

import (
	"bytes"
	"time"

	"github.com/waybill/waybill/domain/orchestration"
)

// acquire goes on to what lets the document be moved: access, which a plain provider gives to
// whoever asks.
func (s State) acquire(at time.Time, out []Event, ms []Move) []Event {
	l := s.l
	if l.plain() {
		return append(out, AccessGranted{Moves: append(ms, moves(PhaseRequesting, PhaseStarted)...)}, s.fetch(nil))
	}
	need := NeedEDR
	if l.Way == Push {
		need = NeedAgreement
	}
	return append(out, Acquiring{
		Moves: ms, Negotiation: l.Connector + " " + l.Provider, Need: need,
		Acquisition: l.acquisitions + 1, Until: l.within(at, AcquireWithin),
	})
}

// What is needed of a negotiation.
const (
	NeedAgreement = "agreement"
	NeedEDR       = "edr"
)

// decideGranted goes on with access. An answer to a wish that is no more changes nothing, nor
// does one with what is known to be dead.
func (s State) decideGranted(at time.Time, c Granted) []Event {
	l := s.l
	if l == nil || !l.acquiring || l.stale(c) {
		return nil
	}
	e := AccessGranted{
		NegotiationID: c.NegotiationID, Round: c.Round, AgreementID: c.AgreementID, CounterPartyID: c.CounterPartyID,
		Constraints: c.Constraints,
	}
	first := s.phase == PhaseProvisioned
	granted := s.with(e)
	if l.Way == Push {
		if first {
			e.Moves = moves(PhaseRequesting)
		}
		return []Event{e, granted.request(at, e.AgreementID)}
	}
	e.EDR = c.EDR
	if first {
		// A granted EDR is all it needs: nothing is requested of the connector.
		e.Moves = moves(PhaseRequesting, PhaseStarted)
	}
	if s.phase == PhaseSuspended {
		return []Event{e}
	}
	return []Event{e, granted.fetch(e.EDR)}
}

// with is the State as far as work is asked for by it, once access is granted.
func (s State) with(e AccessGranted) State {
	next := *s.l
	next.grant = e
	s.l = &next
	return s
}

// stale says that an answer is about access that was reported dead. A process whose EDR was refreshed has another
// token under the same name.
func (l *live) stale(c Granted) bool {
	if l.Way == Push {
		return l.lost.AgreementID != "" && c.AgreementID == l.lost.AgreementID
	}
	dead := l.lostEDR
	return c.EDR == nil || dead != nil && c.EDR.ProcessID == dead.ProcessID && bytes.Equal(c.EDR.Data, dead.Data)
}

func (s State) decideRefused(at time.Time, c Refused) []Event {
	if s.l == nil || !s.l.acquiring {
		return nil
	}
	fault := c.Error
	fault.Step = orElse(fault.Step, stepNegotiation)
	return s.terminate(at, nil, cause{fault: &fault, again: c.Again, refused: true})
}

// lose goes on after access that was granted turned out to be dead: other access is acquired, and
// nothing has failed, unless that happens time and again.
func (s State) lose(at time.Time, out []Event, e AccessLost, c cause) []Event {
	if s.l.acquisitions >= MaxAcquisitions {
		fault := e.Error
		fault.Message += "; the access was dead each time"
		c.fault, c.again = &fault, true
		return s.terminate(at, out, c)
	}
	return s.acquire(at, append(out, e), nil)
}

// loseAgreement is lose for a push transfer, whose process at the connector is over.
func (s State) loseAgreement(at time.Time, out []Event, fault orchestration.Fault, but string) []Event {
	out = s.drop(out, fault.Message, but)
	return s.lose(at, out, AccessLost{AgreementID: s.l.grant.AgreementID, Error: fault}, cause{silent: true, but: but})
}
