package audit

import (
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/task"
	"github.com/waybill/waybill/domain/transfer"
)

// placementOf is whose own agent an event hands work to.
func placementOf(e any) string {
	switch e := e.(type) {
	case orchestration.Requested:
		return e.Placement
	case orchestration.Offered:
		return e.Placement
	case transfer.Worked:
		return task.Placement(e.Event)
	case negotiation.Worked:
		return task.Placement(e.Event)
	}
	return ""
}

// piece is a piece of work, an activity's or a task's, as the events tell it.
type piece struct {
	phase    orchestration.ActivityPhase
	workID   string
	attempts int
	offers   int
	due      time.Time // when it is to be called again
}

// moves holds a change of a piece of work against the table.
func (p *piece) moves(n *notes, what string, to orchestration.ActivityPhase) {
	if !p.phase.CanMove(to) {
		n.wrong(LawMoves, "%s: %v", what, &orchestration.MoveError{From: p.phase, To: to})
	}
	p.phase = to
}

// request is another attempt: the next one, and not before its time, unless somebody says so.
func (p *piece) request(n *notes, at time.Time, what, placement string, number int, ordered bool) {
	if number != p.attempts+1 {
		n.wrong(LawAsked, "%s: attempt %d is asked for after attempt %d", what, number, p.attempts)
	}
	if at.Before(p.due) && !ordered {
		n.wrong(LawAsked, "%s: attempt %d is asked for before its time, %s", what, number, p.due.Format(time.RFC3339Nano))
	}
	p.attempts, p.offers, p.due = number, 1, time.Time{}
	p.moves(n, what, placed(placement))
}

// offer is the same attempt again.
func (p *piece) offer(n *notes, what, placement string, number, offer int) {
	p.same(n, what, number)
	if offer != p.offers+1 {
		n.wrong(LawAsked, "%s: offer %d of attempt %d follows offer %d", what, offer, number, p.offers)
	}
	p.offers = offer
	p.moves(n, what, placed(placement))
}

// same: nothing is said of an attempt but the last.
func (p *piece) same(n *notes, what string, number int) {
	if number != p.attempts {
		n.wrong(LawAsked, "%s: something is said of attempt %d, and attempt %d is out", what, number, p.attempts)
	}
}

// rests is a report after which there is another attempt.
func (p *piece) rests(n *notes, what string, number int, to orchestration.ActivityPhase, due time.Time) {
	p.same(n, what, number)
	n.said(p.workID, number)
	p.moves(n, what, to)
	if to != orchestration.ActivityWaiting {
		p.due = due
	}
}

// ends is a report after which there is none.
func (p *piece) ends(n *notes, what string, number int, to orchestration.ActivityPhase) {
	p.same(n, what, number)
	n.said(p.workID, number)
	p.moves(n, what, to)
}

func placed(placement string) orchestration.ActivityPhase {
	if placement != "" {
		return orchestration.ActivityRunning
	}
	return orchestration.ActivityReady
}

// tasks are the pieces of work of a transfer or a negotiation, by work ID.
type tasks struct {
	pieces map[string]*piece
	names  map[string]string // of those that are open, by name: no two have the same
	open   int
}

func newTasks() tasks { return tasks{pieces: make(map[string]*piece), names: make(map[string]string)} }

func (t *tasks) event(n *notes, at time.Time, e task.Event) {
	if e, ok := e.(task.Requested); ok {
		t.ask(n, at, e)
		return
	}
	p := t.pieces[e.Work()]
	if p == nil {
		n.wrong(LawAsked, "something is said of work %s, which nobody has asked for", e.Work())
		return
	}
	what := "work " + p.workID
	switch e := e.(type) {
	case task.Attempted:
		p.request(n, at, what, e.Placement, e.Attempt, true) // an agent may be called before its time, to look
	case task.Offered:
		p.offer(n, what, e.Placement, e.Attempt, e.Offer)
	case task.Claimed:
		p.same(n, what, e.Attempt)
		p.moves(n, what, orchestration.ActivityRunning)
	case task.Extended:
		p.same(n, what, e.Attempt)
		p.moves(n, what, orchestration.ActivityRunning)
	case task.Waited:
		p.rests(n, what, e.Attempt, orchestration.ActivityWaiting, e.Until)
	case task.Scheduled:
		p.rests(n, what, e.Attempt, orchestration.ActivityScheduled, e.At)
	case task.Retrying:
		p.rests(n, what, e.Attempt, orchestration.ActivityRetrying, e.At)
	case task.Ended:
		p.ends(n, what, e.Attempt, ending(e.How))
		t.open--
		for name, id := range t.names {
			if id == p.workID {
				delete(t.names, name)
			}
		}
	case task.Requested, task.Nudged:
	}
}

func (t *tasks) ask(n *notes, at time.Time, e task.Requested) {
	if t.pieces[e.WorkID] != nil {
		n.wrong(LawAsked, "work %s is asked for again", e.WorkID)
	}
	if other := t.names[e.Name]; other != "" {
		n.wrong(LawAsked, "%s is asked for as work %s, and work %s has not ended", e.Name, e.WorkID, other)
	}
	p := &piece{workID: e.WorkID}
	t.pieces[e.WorkID], t.names[e.Name] = p, e.WorkID
	t.open++
	p.request(n, at, "work "+e.WorkID, e.Placement, 1, false)
}

func ending(how task.Ending) orchestration.ActivityPhase {
	switch how {
	case task.Completed:
		return orchestration.ActivityCompleted
	case task.Failed:
		return orchestration.ActivityFailed
	case task.GivenUp, task.Dropped:
	}
	return orchestration.ActivityCancelled
}

// definitionWatch has nothing to hold against a table: a definition is in force or it is not.
type definitionWatch struct{}

func watchDefinition(string) watcher[definition.State, definition.Event] { return definitionWatch{} }

func (definitionWatch) event(*notes, time.Time, definition.Event) {}
func (definitionWatch) agrees(*notes, definition.State)           {}
func (definitionWatch) after(definition.Event) bool               { return true }
func (definitionWatch) waits() bool                               { return false }

// orchestrationWatch follows an orchestration.
type orchestrationWatch struct {
	id         string
	phase      orchestration.Phase
	run        int
	activities map[string]*piece
	undoing    bool
}

func watchOrchestration(id string) watcher[orchestration.State, orchestration.Event] {
	return &orchestrationWatch{id: id, phase: orchestration.PhaseInitial, activities: make(map[string]*piece)}
}

func (w *orchestrationWatch) waits() bool {
	return w.phase != orchestration.PhaseInitial && !w.phase.Final()
}

func (w *orchestrationWatch) after(e orchestration.Event) bool {
	_, again := e.(orchestration.RerunStarted)
	_, disposed := e.(orchestration.Disposed)
	_, removed := e.(orchestration.BlobsRemoved)
	return again || disposed || removed
}

func (w *orchestrationWatch) agrees(n *notes, s orchestration.State) {
	if s.Phase() != w.phase {
		n.wrong(LawMoves, "it leads to %s, and the machine makes %s of it", w.phase, s.Phase())
	}
}

func (w *orchestrationWatch) moves(n *notes, to orchestration.Phase) {
	if !w.phase.CanMove(to) {
		n.wrong(LawMoves, "%v", &orchestration.MoveError{From: w.phase, To: to})
	}
	w.phase = to
}

func (w *orchestrationWatch) event(n *notes, at time.Time, e orchestration.Event) {
	switch e := e.(type) {
	case orchestration.Started:
		w.starts(n, e)
	case orchestration.RerunStarted:
		w.again(n, e)
	case orchestration.TransfersFinished:
		w.moves(n, orchestration.PhaseTransfersFinished)
	case orchestration.Paused:
		w.moves(n, orchestration.PhasePaused)
	case orchestration.Resumed:
		w.resumes(n, e.State)
	case orchestration.Compensating:
		w.undoes(n, e)
	case orchestration.Ended:
		w.ends(n, e.State)
	case orchestration.Disposed, orchestration.BlobsRemoved:
		if !w.phase.Final() {
			n.wrong(LawMoves, "%s has not ended", w.id)
		}
	case orchestration.ActivityPaused:
		w.activity(n, e.ActivityID)
	case orchestration.ActivityResumed:
		w.activity(n, e.ActivityID)
	case orchestration.Requested, orchestration.Offered, orchestration.Claimed, orchestration.Extended, orchestration.Waited,
		orchestration.Scheduled, orchestration.Retrying, orchestration.Completed, orchestration.Failed, orchestration.Skipped:
		w.of(n, at, e)
	}
}

func (w *orchestrationWatch) starts(n *notes, e orchestration.Started) {
	w.moves(n, orchestration.PhaseInProgress)
	if e.Run != 1 {
		n.wrong(LawMoves, "%s begins with run %d", w.id, e.Run)
	}
	w.run = e.Run
	if e.Plan == nil {
		n.wrong(LawReadable, "%s is started without a definition", w.id)
		return
	}
	for _, a := range e.Plan.Definition().Activities {
		w.activities[a.ID] = &piece{}
	}
}

// again: what runs again is asked for anew, and what is gone may be spawned anew.
func (w *orchestrationWatch) again(n *notes, e orchestration.RerunStarted) {
	w.moves(n, orchestration.PhaseInProgress)
	if e.Run != w.run+1 {
		n.wrong(LawMoves, "run %d of %s follows run %d", e.Run, w.id, w.run)
	}
	w.run, w.undoing = e.Run, false
	for _, id := range e.Reset {
		w.activities[id] = &piece{}
	}
	for id, p := range w.activities {
		if p.phase == orchestration.ActivityCancelled {
			delete(w.activities, id)
		}
	}
}

// resumes: the table says from where, and Resumed where it goes on.
func (w *orchestrationWatch) resumes(n *notes, to orchestration.Phase) {
	if w.phase != orchestration.PhasePaused || to != orchestration.PhaseInProgress && to != orchestration.PhaseTransfersFinished {
		n.wrong(LawMoves, "%s is resumed to %s", w.phase, to)
	}
	w.moves(n, to)
}

func (w *orchestrationWatch) undoes(n *notes, e orchestration.Compensating) {
	if !w.undoing {
		w.moves(n, e.State)
		w.cancel()
	}
	w.undoing = true
	for _, a := range e.Undo {
		w.activities[a.ID] = &piece{}
	}
}

func (w *orchestrationWatch) ends(n *notes, to orchestration.Phase) {
	w.moves(n, to)
	if !to.Final() {
		n.wrong(LawMoves, "%s ends as %s", w.id, to)
	}
	if to == orchestration.PhaseCompleted {
		for id, p := range w.activities {
			if !p.phase.Final() {
				n.wrong(LawMoves, "%s is completed, and its activity %s is %s", w.id, id, p.phase)
			}
		}
	}
	w.cancel()
}

// cancel ends whatever has not ended.
func (w *orchestrationWatch) cancel() {
	for _, p := range w.activities {
		if !p.phase.Final() {
			p.phase = orchestration.ActivityCancelled
		}
	}
}

func (w *orchestrationWatch) activity(n *notes, id string) *piece {
	p := w.activities[id]
	if p == nil {
		n.wrong(LawAsked, "there is no activity %s in %s", id, w.id)
		p = &piece{}
		w.activities[id] = p
	}
	return p
}

// of holds an event about an activity against the table.
func (w *orchestrationWatch) of(n *notes, at time.Time, e orchestration.Event) {
	switch e := e.(type) {
	case orchestration.Requested:
		p := w.activity(n, e.ActivityID)
		if p.workID = e.WorkID; e.WorkID != machine.ID("work", "orchestration", w.id, itoa(w.run), e.ActivityID) {
			n.wrong(LawAsked, "work %s of %s is not that of run %d", e.WorkID, e.ActivityID, w.run)
		}
		p.request(n, at, e.ActivityID, e.Placement, e.Attempt, e.By != "")
	case orchestration.Offered:
		w.activity(n, e.ActivityID).offer(n, e.ActivityID, e.Placement, e.Attempt, e.Offer)
	case orchestration.Claimed:
		w.holds(n, e.ActivityID, e.Attempt)
	case orchestration.Extended:
		w.holds(n, e.ActivityID, e.Attempt)
	case orchestration.Waited:
		w.activity(n, e.ActivityID).rests(n, e.ActivityID, e.Attempt, orchestration.ActivityWaiting, e.Until)
	case orchestration.Scheduled:
		w.activity(n, e.ActivityID).rests(n, e.ActivityID, e.Attempt, orchestration.ActivityScheduled, e.At)
	case orchestration.Retrying:
		w.activity(n, e.ActivityID).rests(n, e.ActivityID, e.Attempt, orchestration.ActivityRetrying, e.At)
	case orchestration.Completed:
		w.activity(n, e.ActivityID).ends(n, e.ActivityID, e.Attempt, orchestration.ActivityCompleted)
		w.spawns(n, e)
	case orchestration.Failed:
		w.activity(n, e.ActivityID).ends(n, e.ActivityID, e.Attempt, orchestration.ActivityFailed)
	case orchestration.Skipped:
		p := w.activity(n, e.ActivityID)
		p.ends(n, e.ActivityID, p.attempts, orchestration.ActivitySkipped)
	case orchestration.Started, orchestration.RerunStarted, orchestration.TransfersFinished, orchestration.Paused, orchestration.Resumed, orchestration.Compensating,
		orchestration.Ended, orchestration.Disposed, orchestration.BlobsRemoved, orchestration.ActivityPaused, orchestration.ActivityResumed:
	}
}

func (w *orchestrationWatch) holds(n *notes, id string, number int) {
	p := w.activity(n, id)
	p.same(n, id, number)
	p.moves(n, id, orchestration.ActivityRunning)
}

func (w *orchestrationWatch) spawns(n *notes, e orchestration.Completed) {
	for _, a := range e.Spawned {
		if p := w.activities[a.ID]; p != nil && w.run == 1 {
			n.wrong(LawRepeat, "%s spawns %s, which is there already", e.ActivityID, a.ID)
		}
		w.activities[a.ID] = &piece{}
	}
}
