package negotiation

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/task"
)

// Decide answers a command with the events it makes happen. A command that has already had its way
// makes nothing happen. A command that cannot have its way is answered with a *machine.Refusal, the
// only error there is.
func (s State) Decide(at time.Time, c Command) ([]Event, error) {
	switch c := c.(type) {
	case Acquire:
		return s.acquire(at, c)
	case Release:
		return s.release(at, c), nil
	case Observed:
		return s.observed(at, c), nil
	case Report:
		return s.report(at, c.Command)
	case Wake:
		return s.wake(at), nil
	case TakeOver:
		return worked(nil, s.b.tasks.TakeOver(orchestration.TakeOver(c))), nil
	}
	return nil, machine.Refuse(machine.UnknownType, fmt.Sprintf("a negotiation knows no command %T", c))
}

// decision is a decision in the making. Each event is folded into a draft of the book at once, so
// that the next step sees what the one before has made of it.
type decision struct {
	at     time.Time
	s      State
	b      *book
	events []Event
	over   string // ID of the task whose end it is about
}

func (s State) decision(at time.Time) *decision { return &decision{at: at, s: s, b: s.b.sketch()} }

func (d *decision) emit(e Event) {
	d.events = append(d.events, e)
	d.b.evolve(d.at, e)
}

func worked(events []Event, of []task.Event) []Event {
	for _, e := range of {
		events = append(events, Worked{e})
	}
	return events
}

// tasks emits what a set of tasks has decided.
func (d *decision) tasks(of []task.Event) {
	for _, e := range of {
		d.emit(Worked{e})
	}
}

// drop gives up the task of an access, if it is still open.
func (d *decision) drop(work, why string) {
	if work != d.over {
		d.tasks(d.s.b.tasks.Drop(work, why))
	}
}

// nudge makes the agent that looks how far an asset's negotiation or process is look at once.
func (d *decision) nudge(typ, asset string) {
	if t, ok := d.s.b.tasks.Find(typ + " " + asset); ok {
		d.tasks(d.s.b.tasks.Nudge(t.WorkID))
	}
}

// done gives the slots that are free to those who wait for one, and ends the decision.
func (d *decision) done() []Event {
	most := d.s.cfg.Parallelism
	errands := max(1, most/4) // what is ended for the sake of order never takes all the room
	for most > 1 && len(d.b.chores) > 0 && len(d.b.told) < errands && d.b.active < most {
		d.errand()
	}
	for len(d.b.queue) > 0 && d.b.active < most {
		next := d.b.queue[0]
		if next.kind == ofListing {
			d.askFor(next.key)
		} else {
			d.next(next.key)
		}
		if len(d.b.queue) > 0 && d.b.queue[0] == next {
			break // cannot be: whoever is at the head begins, or is answered
		}
	}
	for len(d.b.chores) > 0 && len(d.b.told) < errands && d.b.active < most {
		d.errand()
	}
	return d.events
}

// where is the beginning of every input.
func (d *decision) where(party string) Input {
	connector, provider := Split(d.s.id)
	return Input{Connector: connector, Provider: provider, CounterPartyID: party}
}

// ask asks for work. key is the asset, mostly.
func (d *decision) ask(typ, name, key string, in Input, deadline time.Time) {
	b, err := machine.Encode(in)
	if err != nil {
		b = nil // every part of it was read as JSON
	}
	name += " " + key
	d.emit(Worked{task.Ask(task.Spec{
		WorkID: task.WorkID(aggregate, d.s.id, name, strconv.FormatInt(d.b.asked+1, 10)), Name: name, Type: typ, Input: b,
		Deadline: deadline, Policy: task.Policy{Retries: d.s.cfg.Retries, MaxDelay: definition.Duration(maxDelay)},
	})})
}

const (
	// maxDelay bounds the backoff of one request: somebody waits for it.
	maxDelay = 15 * time.Second
	// grace is how much longer a task may take than the access waits for it.
	grace = time.Minute
	// errandTime is how long the connector may take to end something.
	errandTime = 5 * time.Minute
)

// errand begins the first chore.
func (d *decision) errand() {
	c := d.b.chores[0]
	in := d.where(d.b.party)
	in.AssetID, in.Reason = c.asset, c.reason
	if c.typ == workTerminate {
		in.NegotiationID = c.id
	} else {
		in.ProcessID = c.id
	}
	d.ask(c.typ, c.typ, c.id, in, d.at.Add(errandTime))
}

// report answers an agent.
func (s State) report(at time.Time, c orchestration.Command) ([]Event, error) {
	events, end, err := s.b.tasks.Decide(at, c)
	if err != nil {
		return nil, err
	}
	look, looked := c.(orchestration.Schedule)
	if end == nil && (!looked || len(events) == 0) {
		return worked(nil, events), nil
	}
	d := s.decision(at)
	d.tasks(events)
	if end != nil {
		d.ended(end)
	} else {
		d.looked(look)
	}
	return d.done(), nil
}

// looked takes down the state that an agent saw which looks again later.
func (d *decision) looked(c orchestration.Schedule) {
	var look Look
	if len(c.State) == 0 || json.Unmarshal(c.State, &look) != nil {
		return
	}
	for _, t := range d.s.b.tasks.Open() {
		if t.WorkID != c.WorkID || t.Type != workPoll {
			continue
		}
		if _, asset, _ := strings.Cut(t.Name, " "); asset != "" {
			d.see(asset, look.State)
		}
		return
	}
}

// ended goes on after the end of a task.
func (d *decision) ended(end *task.End) {
	d.over = end.WorkID
	f := &end.Fault // an agent's, which every waiter is told
	f.Step, f.Message, f.Code = machine.Clip(f.Step, maxStep), clip(f.Message), machine.Clip(f.Code, maxStep)
	kind, key, _ := strings.Cut(end.Name, " ")
	if kind == nameListing {
		if l := d.b.listings.get(key); l != nil && l.busy && l.work == end.WorkID {
			d.listed(l, end)
		}
		return
	}
	a := d.b.accesses.get(key)
	if a == nil || a.step == stepNone || a.work != end.WorkID {
		return
	}
	switch kind {
	case workCatalog:
		d.catalogued(a, end)
	case workRequest:
		d.requested(a, end)
	case workPoll:
		d.polled(a, end)
	case workEDR:
		d.processRequested(a, end)
	case workEDRPoll, workRefresh:
		d.processPolled(a, end)
	}
}

// observed takes what the connector says by itself for a hint: an end is looked at once more.
func (s State) observed(at time.Time, c Observed) []Event {
	id := c.Round
	if id == "" {
		id = c.ProcessID
	}
	asset, ok := s.b.owners[id]
	if !ok {
		return nil // it is over
	}
	a := s.b.accesses.get(asset)
	if a == nil {
		return nil
	}
	d := s.decision(at)
	switch {
	case c.Round != "" && a.step == stepRound && a.id == c.Round:
		d.roundObserved(a, c)
	case c.ProcessID != "" && a.edr.process == c.ProcessID:
		d.processObserved(a, c)
	}
	return d.done()
}

// wake lets what is due happen. The caller wakes again while something is due.
func (s State) wake(at time.Time) []Event {
	if events, end := s.b.tasks.Wake(at); len(events) > 0 {
		if end == nil {
			return worked(nil, events)
		}
		d := s.decision(at)
		d.tasks(events)
		d.ended(end)
		return d.done()
	}
	var due []subject
	seen := map[subject]struct{}{}
	s.b.dueAt(at, func(about subject) bool {
		if _, again := seen[about]; again {
			return false
		}
		seen[about] = struct{}{}
		due = append(due, about)
		return len(due) == maxDue
	})
	if len(due) == 0 {
		return nil
	}
	d := s.decision(at)
	d.fire(due)
	return d.done()
}

// maxDue is how many timers fire in one decision: what it makes happen is one transaction.
const maxDue = 200

// fire is what happens when timers are due. What the one before has made of it may not be due any more.
func (d *decision) fire(due []subject) {
	var gone Evicted
	for _, s := range due {
		when, _ := d.b.dueOf(s)
		if !passed(when, d.at) {
			continue
		}
		switch s.kind {
		case ofWish:
			d.expire(s.key)
		case ofListing:
			gone.Catalogs = append(gone.Catalogs, Query{AssetType: s.key})
		case ofAccess:
			a := d.b.accesses.get(s.key)
			switch {
			case a.step == stepRound:
				d.stuck(a)
			case a.step == stepEDR:
				d.overdue(a)
			case passed(a.agreementUntil, d.at):
				gone.Accesses = append(gone.Accesses, s.key)
			default:
				gone.EDRs = append(gone.EDRs, s.key)
			}
		}
	}
	if len(gone.Accesses)+len(gone.EDRs)+len(gone.Catalogs) > 0 {
		d.emit(gone)
	}
}
