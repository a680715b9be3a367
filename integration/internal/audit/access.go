package audit

import (
	"strconv"
	"time"

	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/domain/transfer"
)

func itoa(n int) string { return strconv.Itoa(n) }

// transferWatch follows a transfer.
type transferWatch struct {
	phase transfer.Phase // 0: nobody has asked for it
	ended bool
	tasks tasks
}

func watchTransfer(string) watcher[transfer.State, transfer.Event] {
	return &transferWatch{tasks: newTasks()}
}

func (w *transferWatch) waits() bool               { return w.phase != 0 }
func (w *transferWatch) after(transfer.Event) bool { return false }

func (w *transferWatch) agrees(n *notes, s transfer.State) {
	if s.Phase() != w.phase {
		n.wrong(LawMoves, "it leads to %s, and the machine makes %s of it", w.phase, s.Phase())
	}
}

func (w *transferWatch) walk(n *notes, moves []transfer.Move) {
	for _, m := range moves {
		if !w.phase.CanMove(m.State) {
			n.wrong(LawMoves, "%v", &transfer.MoveError{From: w.phase, To: m.State})
		}
		if m.Code != int(m.State) {
			n.wrong(LawMoves, "%s has the code %d", m.State, m.Code)
		}
		w.phase = m.State
	}
}

func (w *transferWatch) event(n *notes, at time.Time, e transfer.Event) {
	switch e := e.(type) {
	case transfer.Initiated:
		if w.phase != 0 {
			n.wrong(LawMoves, "it begins again, after %s", w.phase)
		}
		w.phase = transfer.PhaseInitial
	case transfer.Moved:
		w.walk(n, e.Moves)
	case transfer.Acquiring:
		w.walk(n, e.Moves)
	case transfer.AccessGranted:
		w.walk(n, e.Moves)
	case transfer.Requested:
		w.walk(n, e.Moves)
	case transfer.Ended:
		w.ends(n, e)
	case transfer.Worked:
		w.tasks.event(n, at, e.Event)
	case transfer.ResourceProvisioned, transfer.ResourceUploaded, transfer.ResourceDeprovisioned, transfer.AccessLost:
	}
}

// ends: there is one end, and the state says which.
func (w *transferWatch) ends(n *notes, e transfer.Ended) {
	w.walk(n, e.Moves)
	if w.ended {
		n.wrong(LawOver, "the transfer has ended before")
	}
	w.ended = true
	want := transfer.PhaseCompleted
	if e.Outcome == transfer.OutcomeTerminated {
		want = transfer.PhaseTerminated
	}
	if w.phase != want {
		n.wrong(LawMoves, "it is %s, and ends as %s", e.Outcome, w.phase)
	}
}

// negotiationWatch follows the access to one counter-party.
type negotiationWatch struct {
	accesses map[string]*accessWatch
	waiting  map[string]bool // waiters
	tasks    tasks
}

// accessWatch is the access to one asset.
type accessWatch struct {
	round int
	phase negotiation.Phase
	edr   negotiation.EDRPhase
}

func watchNegotiation(string) watcher[negotiation.State, negotiation.Event] {
	return &negotiationWatch{accesses: make(map[string]*accessWatch), waiting: make(map[string]bool), tasks: newTasks()}
}

func (w *negotiationWatch) waits() bool                      { return len(w.waiting) > 0 || w.tasks.open > 0 }
func (w *negotiationWatch) after(negotiation.Event) bool     { return true }
func (w *negotiationWatch) agrees(*notes, negotiation.State) {}
func (w *negotiationWatch) access(asset string) *accessWatch {
	a := w.accesses[asset]
	if a == nil {
		a = &accessWatch{edr: negotiation.EDRNone}
		w.accesses[asset] = a
	}
	return a
}

func (w *negotiationWatch) event(n *notes, at time.Time, e negotiation.Event) {
	switch e := e.(type) {
	case negotiation.Joined:
		w.waiting[e.Waiter] = true
	case negotiation.Served:
		w.served(e)
	case negotiation.Failed:
		if e.AssetType != "" || e.AssetID != "" {
			w.leave(e.Waiters...)
		}
	case negotiation.Answered:
		w.leave(e.Waiter)
	case negotiation.Left:
		w.leave(e.Waiter)
	case negotiation.Started:
		w.starts(n, e)
	case negotiation.Moved:
		w.moved(n, e)
	case negotiation.EDRRequested:
		w.access(e.AssetID).opens(n, negotiation.EDRPending)
	case negotiation.EDRGranted:
		w.access(e.AssetID).opens(n, negotiation.EDRValid)
	case negotiation.EDRDead:
		w.access(e.AssetID).opens(n, negotiation.EDRPhaseDead)
	case negotiation.AgreementDead:
		w.access(e.AssetID).edr = negotiation.EDRNone // it hung on the agreement
	case negotiation.Evicted:
		for _, asset := range append(append([]string(nil), e.Accesses...), e.EDRs...) {
			w.access(asset).edr = negotiation.EDRNone
		}
	case negotiation.Worked:
		w.tasks.event(n, at, e.Event)
	case negotiation.Listed, negotiation.CatalogRequested, negotiation.CatalogReceived, negotiation.CatalogFailed:
	}
}

func (w *negotiationWatch) leave(waiters ...string) {
	for _, name := range waiters {
		delete(w.waiting, name)
	}
}

// served lets go of those who waited for the asset. Who waits for a type goes on until it is answered, which
// is then still told: to count it out here only means not to ask for its deadline.
func (w *negotiationWatch) served(e negotiation.Served) { w.leave(e.Waiters...) }

func (w *negotiationWatch) starts(n *notes, e negotiation.Started) {
	a := w.access(e.AssetID)
	if e.Round <= a.round {
		n.wrong(LawMoves, "round %d for %s follows round %d", e.Round, e.AssetID, a.round)
	}
	if a.round > 0 && a.phase != 0 && !a.phase.Final() {
		n.wrong(LawMoves, "round %d for %s begins while round %d is %s", e.Round, e.AssetID, a.round, a.phase)
	}
	a.round, a.phase, a.edr = e.Round, negotiation.PhaseInitial, negotiation.EDRNone
	moves := e.Moves
	if len(moves) > 0 && moves[0].State == negotiation.PhaseInitial {
		moves = moves[1:] // that is where it begins
	}
	a.walk(n, moves)
}

func (w *negotiationWatch) moved(n *notes, e negotiation.Moved) {
	a := w.access(e.AssetID)
	if e.Round != a.round {
		n.wrong(LawMoves, "round %d for %s moves, and round %d is the last", e.Round, e.AssetID, a.round)
		return
	}
	a.walk(n, e.Moves)
}

func (a *accessWatch) walk(n *notes, moves []negotiation.Move) {
	for _, m := range moves {
		if !a.phase.CanMove(m.State) {
			n.wrong(LawMoves, "%s does not lead to %s", a.phase, m.State)
		}
		a.phase = m.State
	}
}

func (a *accessWatch) opens(n *notes, to negotiation.EDRPhase) {
	if !a.edr.CanMove(to) {
		n.wrong(LawMoves, "an EDR that is %s does not lead to %s", a.edr, to)
	}
	a.edr = to
}
