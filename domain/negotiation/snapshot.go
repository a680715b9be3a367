package negotiation

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/task"
)

// SnapshotVersion is the version of what EncodeSnapshot writes. It grows with every change of that;
// DecodeSnapshot reads the older ones for ever.
const SnapshotVersion = 1

// snapshot is a State, version 1. Parts that came with events are written as these are. Who owns an
// ID, the timers, and what is found by its place are made anew.
type snapshot struct {
	Accesses []accessSnapshot  `json:"accesses,omitempty"`
	Listings []listingSnapshot `json:"listings,omitempty"`
	Wishes   []wishSnapshot    `json:"wishes,omitempty"`
	Tasks    task.Snapshot     `json:"tasks,omitzero"`
	Asked    int64             `json:"asked,omitempty"`
	Queue    []subjectSnapshot `json:"queue,omitempty"`
	Chores   []choreSnapshot   `json:"chores,omitempty"`
	Told     []string          `json:"told,omitempty"`
	Past     []pastSnapshot    `json:"past,omitempty"` // the oldest first
	Floor    int               `json:"floor,omitempty"`
	Count    int64             `json:"count,omitempty"`
	Party    string            `json:"party,omitempty"`
	Recent   []string          `json:"recent,omitempty"`
	Next     int               `json:"next,omitempty"` // place in Recent
}

type accessSnapshot struct {
	Asset          string       `json:"asset"`
	Round          int          `json:"round,omitempty"`
	Step           step         `json:"step,omitempty"` // by number
	Work           string       `json:"work,omitempty"`
	Queued         bool         `json:"queued,omitempty"`
	Busy           bool         `json:"busy,omitempty"`
	Waiters        []string     `json:"waiters,omitempty"`
	Tried          int          `json:"tried,omitempty"`
	Lost           int          `json:"lost,omitempty"`
	Disowned       int          `json:"disowned,omitempty"`
	Passing        bool         `json:"passing,omitempty"`
	Offer          *Offer       `json:"offer,omitempty"`
	OfferUntil     time.Time    `json:"offerUntil,omitzero"`
	Phase          Phase        `json:"phase,omitempty"`
	ID             string       `json:"id,omitempty"`
	NegotiationID  string       `json:"negotiationId,omitempty"`
	Party          string       `json:"party,omitempty"`
	StartedAt      time.Time    `json:"startedAt,omitzero"`
	Until          time.Time    `json:"until,omitzero"`
	Deadline       time.Time    `json:"deadline,omitzero"`
	Agreement      string       `json:"agreement,omitempty"`
	AgreementUntil time.Time    `json:"agreementUntil,omitzero"`
	EDR            *edrSnapshot `json:"edr,omitempty"`
}

type edrSnapshot struct {
	Phase     EDRPhase        `json:"phase,omitempty"`
	Process   string          `json:"process,omitempty"`
	Data      json.RawMessage `json:"data,omitempty"` // sealed
	ExpiresAt time.Time       `json:"expiresAt,omitzero"`
	Until     time.Time       `json:"until,omitzero"`
	EvictAt   time.Time       `json:"evictAt,omitzero"`
	Asked     int             `json:"asked,omitempty"`
	Old       string          `json:"old,omitempty"`
}

type listingSnapshot struct {
	Type    string    `json:"type"`
	Queued  bool      `json:"queued,omitempty"`
	Busy    bool      `json:"busy,omitempty"`
	Work    string    `json:"work,omitempty"`
	Waiters []string  `json:"waiters,omitempty"`
	Offers  []Offer   `json:"offers,omitempty"`
	Party   string    `json:"party,omitempty"`
	Until   time.Time `json:"until,omitzero"`
}

type wishSnapshot struct {
	Wish     Wish              `json:"wish"`
	N        int64             `json:"n"`
	Assets   []string          `json:"assets,omitempty"`
	Refused  []Unoffered       `json:"refused,omitempty"`
	Outcomes []outcomeSnapshot `json:"outcomes,omitempty"`
}

type outcomeSnapshot struct {
	Offer OfferState `json:"offer"`
	Again bool       `json:"again,omitempty"`
}

type subjectSnapshot struct {
	Kind kind   `json:"kind,omitempty"` // by number
	Key  string `json:"key"`
}

type choreSnapshot struct {
	Type   string `json:"type"`
	ID     string `json:"id"`
	Asset  string `json:"asset,omitempty"`
	Reason string `json:"reason,omitempty"`
}

type pastSnapshot struct {
	Asset string `json:"asset"`
	Round int    `json:"round"`
}

// EncodeSnapshot writes the state down, but for its id and its settings. What is sealed stays so.
func (s State) EncodeSnapshot() ([]byte, error) {
	b := s.b
	x := snapshot{
		Tasks: b.tasks.Snapshot(), Asked: b.asked, Told: b.told, Floor: b.floor, Count: b.count, Party: b.party,
		Recent: b.recent.order, Next: b.recent.next,
	}
	for _, key := range slices.Sorted(maps.Keys(b.accesses.rows)) {
		x.Accesses = append(x.Accesses, b.accesses.rows[key].snapshot())
	}
	for _, key := range slices.Sorted(maps.Keys(b.listings.rows)) {
		l := b.listings.rows[key]
		x.Listings = append(x.Listings, listingSnapshot{l.typ, l.queued, l.busy, l.work, l.waiters, l.offers, l.party, l.until})
	}
	for _, key := range slices.Sorted(maps.Keys(b.wishes.rows)) {
		x.Wishes = append(x.Wishes, b.wishes.rows[key].snapshot())
	}
	for _, q := range b.queue {
		x.Queue = append(x.Queue, subjectSnapshot{q.kind, q.key})
	}
	for _, c := range b.chores {
		x.Chores = append(x.Chores, choreSnapshot{c.typ, c.id, c.asset, c.reason})
	}
	for _, asset := range b.order {
		x.Past = append(x.Past, pastSnapshot{asset, *b.past.get(asset)})
	}
	return machine.Encode(x)
}

func (a *access) snapshot() accessSnapshot {
	x := accessSnapshot{
		Asset: a.asset, Round: a.round, Step: a.step, Work: a.work, Queued: a.queued, Busy: a.busy, Waiters: a.waiters,
		Tried: a.tried, Lost: a.lost, Disowned: a.disowned, Passing: a.passing, OfferUntil: a.offerUntil,
		Phase: a.phase, ID: a.id, NegotiationID: a.negotiationID, Party: a.party,
		StartedAt: a.startedAt, Until: a.until, Deadline: a.deadline, Agreement: a.agreement, AgreementUntil: a.agreementUntil,
	}
	if o := &a.offer; o.AssetID != "" || o.OfferID != "" || len(o.Policy) > 0 || len(o.Formats) > 0 || o.Constraints != "" || o.Unacceptable != "" {
		x.Offer = o
	}
	if e := &a.edr; e.phase != "" || e.process != "" || e.asked > 0 || e.old != "" {
		x.EDR = &edrSnapshot{e.phase, e.process, e.data, e.expiresAt, e.until, e.evictAt, e.asked, e.old}
	}
	return x
}

func (w *wish) snapshot() wishSnapshot {
	x := wishSnapshot{Wish: w.Wish, N: w.n, Assets: w.assets, Refused: w.refused}
	for _, o := range w.outcomes {
		x.Outcomes = append(x.Outcomes, outcomeSnapshot{o.OfferState, o.again})
	}
	return x
}

// DecodeSnapshot is the state that was written down. s is what New, or Configured, makes of its id.
func (s State) DecodeSnapshot(version int, data []byte) (State, error) {
	var x snapshot
	if err := machine.ReadSnapshot(data, version, SnapshotVersion, &x); err != nil {
		return s, fmt.Errorf("negotiation %s: %w", s.id, err)
	}
	b := &book{
		tasks: x.Tasks.Set(), asked: x.Asked, told: x.Told, floor: x.Floor, count: x.Count, party: x.Party,
		active: len(x.Told),
	}
	for i := range x.Accesses {
		b.restoreAccess(&x.Accesses[i])
	}
	for i := range x.Listings {
		b.restoreListing(&x.Listings[i])
	}
	for i := range x.Wishes {
		b.restoreWish(&x.Wishes[i])
	}
	for _, q := range x.Queue {
		b.queue = append(b.queue, subject{q.Kind, q.Key})
	}
	for _, c := range x.Chores {
		b.chores = append(b.chores, chore{c.Type, c.ID, c.Asset, c.Reason})
	}
	for _, p := range x.Past {
		if b.past.get(p.Asset) != nil {
			return s, fmt.Errorf("negotiation %s: a snapshot that has %q twice", s.id, p.Asset)
		}
		b.past.put(p.Asset, &p.Round)
		b.order = append(b.order, p.Asset)
	}
	for _, command := range x.Recent {
		b.recent.add(command)
	}
	if n := len(b.recent.order); n != len(x.Recent) || x.Next < 0 || x.Next >= max(n, 1) {
		return s, fmt.Errorf("negotiation %s: a snapshot that has %d recent commands, and goes on at %d", s.id, len(x.Recent), x.Next)
	}
	b.recent.next = x.Next
	s.b = b
	return s, nil
}

func (b *book) restoreAccess(x *accessSnapshot) {
	a := &access{
		asset: x.Asset, round: x.Round, step: x.Step, work: x.Work, queued: x.Queued, busy: x.Busy, waiters: x.Waiters,
		tried: x.Tried, lost: x.Lost, disowned: x.Disowned, passing: x.Passing, offerUntil: x.OfferUntil,
		phase: x.Phase, id: x.ID, negotiationID: x.NegotiationID, party: x.Party,
		startedAt: x.StartedAt, until: x.Until, deadline: x.Deadline, agreement: x.Agreement, agreementUntil: x.AgreementUntil,
	}
	if x.Offer != nil {
		a.offer = *x.Offer
	}
	if e := x.EDR; e != nil {
		a.edr = edr{e.Phase, e.Process, e.Data, e.ExpiresAt, e.Until, e.EvictAt, e.Asked, e.Old}
	}
	b.accesses.put(a.asset, a)
	if a.busy {
		b.active++
	}
	if a.step == stepRound {
		b.own(a.id, a.asset)
	}
	b.own(a.agreement, a.asset)
	b.own(a.edr.process, a.asset)
	b.arm(subject{ofAccess, a.asset})
}

func (b *book) restoreListing(x *listingSnapshot) {
	l := &listing{typ: x.Type, queued: x.Queued, busy: x.Busy, work: x.Work, waiters: x.Waiters, offers: x.Offers, party: x.Party, until: x.Until}
	if len(l.offers) > 0 {
		l.byAsset = make(map[string]int, len(l.offers))
		for i, o := range l.offers {
			l.byAsset[o.AssetID] = i
		}
	}
	b.listings.put(l.typ, l)
	if l.busy {
		b.active++
	}
	b.arm(subject{ofListing, l.typ})
}

func (b *book) restoreWish(x *wishSnapshot) {
	w := &wish{Wish: x.Wish, n: x.N, assets: x.Assets, refused: x.Refused}
	for _, o := range x.Outcomes {
		w.outcomes = append(w.outcomes, outcome{o.Offer, o.Again})
	}
	b.wishes.put(w.Waiter, w)
	b.arm(subject{ofWish, w.Waiter})
}
