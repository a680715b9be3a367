package negotiation

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/waybill/waybill/domain/task"
)

// aggregate is the type of the aggregate, the middle of its topics' names.
const aggregate = "negotiation"

// State is where the access to one counter-party stands. The State that New makes is one that nobody
// has asked for anything yet.
type State struct {
	id  string
	cfg *Config
	b   *book
}

// New is the access to the counter-party of that key before anything has happened.
func New(id string) State { return State{id: id, cfg: defaults, b: &book{}} }

// Key is the aggregate id of what a connector of ours and a provider's normalised address share.
func Key(connector, provider string) string { return connector + " " + provider }

// Split takes a key apart.
func Split(key string) (connector, provider string) {
	connector, provider, _ = strings.Cut(key, " ")
	return connector, provider
}

// ID is the aggregate id.
func (s State) ID() string { return s.id }

// Ended says that nothing moves on from here: never, somebody may always ask for access.
func (s State) Ended() bool { return false }

// Deadline is when Wake has something to do next, in whole milliseconds; zero if nothing waits. It puts
// the timers in order, so the caller must own the State.
func (s State) Deadline() time.Time {
	at := earliest(s.b.due(), s.b.tasks.Deadline())
	if up := at.Truncate(time.Millisecond); up.Before(at) {
		return up.Add(time.Millisecond) // a timer never fires before its time
	}
	return at
}

// book is all that is known. Evolve changes it in place; a decision folds its own events into a
// draft of it, so that each step of it sees what the one before has made.
type book struct {
	draft    bool
	accesses table[access]  // by asset
	listings table[listing] // by type
	wishes   table[wish]    // of those who wait, by waiter

	tasks  task.Set
	asked  int64     // tasks so far
	queue  []subject // who waits for a slot: the first goes next, the others may have gone
	chores []chore   // what is told to the connector when there is a slot to spare
	active int       // slots that are held
	told   []string  // of those, by chores: the IDs of their tasks

	past  table[int] // the last round of accesses that are forgotten, by asset
	order []string   // of those, the oldest first
	floor int        // no round of one that is not even among those is above this
	count int64      // wishes so far
	party string     // the counter-party's ID, from its catalog

	// What drafts do without.
	owners map[string]string // by ID of a live round, of an EDR's process, of an agreement: the asset
	recent recent
	timers timers
}

// access is what is known of one asset.
type access struct {
	asset   string
	round   int // the last one
	step    step
	work    string // ID of the task of this step
	queued  bool   // it waits for a slot
	busy    bool   // it holds one
	waiters []string

	// Of those who wait now.
	tried    int  // rounds
	lost     int  // processes that brought no EDR
	disowned int  // agreements that were refused
	passing  bool // some of it may have been a passing fault

	offer      Offer // chosen; what is left of it after the round is for people
	offerUntil time.Time

	phase         Phase
	id            string // ours, of the last negotiation
	negotiationID string // the connector's
	party         string // the counter-party's ID
	startedAt     time.Time
	until         time.Time // of the state, or of the EDR's process that is under way
	deadline      time.Time // of the round

	agreement      string
	agreementUntil time.Time
	edr            edr

	armed time.Time // its earliest timer
}

// step is what an access has under way at the connector.
type step uint8

const (
	stepNone step = iota
	stepCatalog
	stepRound
	stepEDR
)

// edr is the EDR of an access.
type edr struct {
	phase     EDRPhase // empty is NONE
	process   string
	data      json.RawMessage // sealed
	expiresAt time.Time
	until     time.Time // handed out until then
	evictAt   time.Time
	asked     int    // processes so far in this round
	old       string // process that is ended when another has brought an EDR
}

// listing is what the catalog has for a type.
type listing struct {
	typ     string
	queued  bool
	busy    bool
	work    string
	waiters []string
	offers  []Offer
	byAsset map[string]int // place in offers
	party   string
	until   time.Time // the answer is good until then; zero: there is none
	armed   time.Time
}

// wish is somebody who waits.
type wish struct {
	Wish
	n        int64    // the how manyth it is here
	assets   []string // by type: what it waits for, once that is known
	refused  []Unoffered
	outcomes []outcome // in the order they came
	armed    time.Time
}

// outcome is how it came out for one asset of a wish by type.
type outcome struct {
	OfferState
	again bool
}

// chore is something to be ended at the connector, for the sake of order.
type chore struct {
	typ    string // of the work
	id     string // the connector's id of the negotiation, or the process
	asset  string
	reason string
}

// recent remembers by which command the last answered wishes came: a repeat makes nothing happen.
type recent struct {
	commands map[string]struct{}
	order    []string
	next     int
}

// maxRecent is how many are remembered. Repeats come soon, or the runner knows them.
const maxRecent = 1024

func (r *recent) add(command string) {
	if command == "" || r.has(command) {
		return
	}
	if r.commands == nil {
		r.commands = make(map[string]struct{})
	}
	if len(r.order) < maxRecent {
		r.order = append(r.order, command)
	} else {
		delete(r.commands, r.order[r.next])
		r.order[r.next] = command
		r.next = (r.next + 1) % maxRecent
	}
	r.commands[command] = struct{}{}
}

func (r *recent) has(command string) bool {
	_, ok := r.commands[command]
	return ok && command != ""
}

// sketch is a draft of the book.
func (b *book) sketch() *book {
	return &book{
		draft: true, accesses: b.accesses.draft(), listings: b.listings.draft(), wishes: b.wishes.draft(),
		tasks: b.tasks, asked: b.asked, queue: b.queue, chores: b.chores, active: b.active, told: b.told,
		past: b.past.draft(), order: b.order, floor: b.floor, count: b.count, party: b.party,
	}
}

// maxPast is of how many forgotten accesses the last round is known. Those of others begin above all that
// were: no ID of a round is ever made twice.
const maxPast = 10_000

// forget drops an access that there is nothing to be known of but its last round.
func (b *book) forget(a *access) {
	b.accesses.drop(a.asset)
	if a.round == 0 {
		return
	}
	if b.past.get(a.asset) == nil {
		b.order = append(b.order, a.asset)
	}
	round := a.round
	b.past.put(a.asset, &round)
	if !b.draft && len(b.order) > maxPast {
		oldest := b.order[0]
		b.order = b.order[1:]
		b.floor = max(b.floor, *b.past.get(oldest))
		b.past.drop(oldest)
	}
}

// lastRound is the number that the next round of an asset that has no access is above.
func (b *book) lastRound(asset string) int {
	if round := b.past.get(asset); round != nil {
		return *round
	}
	return b.floor
}

// agreed says that there is an agreement to be used.
func (a *access) agreed(at time.Time) bool { return a.agreement != "" && at.Before(a.agreementUntil) }

// open says that there is an EDR to be used.
func (a *access) open(at time.Time) bool {
	return a.agreed(at) && a.edr.phase == EDRValid && at.Before(a.edr.until)
}

// meets says that whoever needs that has it.
func (a *access) meets(n Need, at time.Time) bool {
	if n == NeedEDR {
		return a.open(at)
	}
	return a.agreed(at)
}

// due is when something happens to the access by itself; zero: never.
func (a *access) due() time.Time {
	switch {
	case a.step == stepRound:
		return earliest(a.until, a.deadline)
	case a.step == stepEDR:
		return a.until
	case a.busy || a.queued:
		return time.Time{} // the task has a deadline, and so have those who wait
	}
	return earliest(a.agreementUntil, a.edr.evictAt)
}

func (l *listing) due() time.Time {
	if l.busy || l.queued {
		return time.Time{}
	}
	return l.until
}

// dueOf is when something happens by itself to what a timer is about, and what was armed for it.
func (b *book) dueOf(s subject) (due time.Time, armed *time.Time) {
	switch s.kind {
	case ofAccess:
		if a := b.accesses.get(s.key); a != nil {
			return a.due(), &a.armed
		}
	case ofListing:
		if l := b.listings.get(s.key); l != nil {
			return l.due(), &l.armed
		}
	case ofWish:
		if w := b.wishes.get(s.key); w != nil {
			return w.Deadline, &w.armed
		}
	}
	return time.Time{}, nil
}

// arm sets the timer of something to when it is due.
func (b *book) arm(s subject) {
	if b.draft {
		return
	}
	due, armed := b.dueOf(s)
	if armed != nil && !due.IsZero() && (armed.IsZero() || due.Before(*armed)) {
		*armed = due
		b.timers.push(timer{at: due, about: s})
		b.tidy()
	}
}

// tidy takes out the timers of what is no more, once they are most: those who were granted access in a second
// would have had a day to wait.
func (b *book) tidy() {
	if n := len(b.timers); n < 64 || n < 2*(len(b.accesses.rows)+len(b.listings.rows)+len(b.wishes.rows)) {
		return
	}
	kept := make(timers, 0, len(b.timers)/2)
	seen := make(map[subject]struct{}, len(b.timers)/2)
	for _, t := range b.timers {
		_, armed := b.dueOf(t.about)
		if _, again := seen[t.about]; armed == nil || again || !armed.Equal(t.at) {
			continue
		}
		seen[t.about] = struct{}{}
		kept.push(t)
	}
	b.timers = kept
}

// due is the earliest timer that counts.
func (b *book) due() time.Time {
	for len(b.timers) > 0 {
		t := b.timers[0]
		due, armed := b.dueOf(t.about)
		current := armed != nil && armed.Equal(t.at)
		if current && due.Equal(t.at) {
			return t.at
		}
		b.timers.pop()
		if current {
			*armed = time.Time{}
			b.arm(t.about)
		}
	}
	return time.Time{}
}
