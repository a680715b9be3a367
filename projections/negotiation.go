package projections

import (
	"slices"

	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/schemas"
)

// counterparty is one aggregate of negotiations being folded: what is open of it. What is known of
// each of its assets is an access, folded and cached by itself: there may be any number of them.
type counterparty struct {
	aggregated
	cachePlace[*counterparty]

	provider, connector string
	tasks               tasks
	waiters             map[string]*waiter
	changed             []*waiter
	wishes              []wish // of this batch
}

func (p *counterparty) cacheKey() string { return p.id }

func (p *counterparty) weigh() int { return 1 + len(p.tasks.open) + len(p.waiters) }

// waiter is who waits, and for what.
type waiter struct {
	id, typ, need   string // typ of the assets, where the wish is by type
	since, deadline int64
	kind            string // transfer or orchestration; empty for somebody outside
	job, node       string // whose activity it is, where it is one
	assets          []string
	rows            []string // assets as SQLite has them
	dirty           bool
}

// access is what is known of one asset of a counter-party: its rounds, of which only the last one
// changes any more.
type access struct {
	cachePlace[*access]

	party *counterparty
	asset string
	key   int64
	kept  bool
	round *round   // the last; nil before the first
	older []*round // that have changed in this batch
	dirty bool
	past  chunk
}

func (a *access) cacheKey() string { return a.party.id + "\x1f" + a.asset }

func (a *access) weigh() int { return documentWeight }

// asked says that the event is what somebody asked for by a command of their own, and names it:
// grants and refusals are the machine's.
func (p *counterparty) asked(e negotiation.Event) bool {
	var w *negotiation.Wish
	if e, ok := e.(negotiation.Joined); ok {
		w = &e.Wish
	}
	if e, ok := e.(negotiation.Served); ok {
		w = e.Wish
	}
	// A transfer, or an activity, that asks is answered by a command; nobody looks for its own.
	return w != nil && w.Reply == nil
}

// about is the asset that an event is about; "" for those that are about none, or several.
func (p *counterparty) about(e negotiation.Event) string {
	switch e := e.(type) {
	case negotiation.Served:
		if e.Wish != nil {
			return "" // was had at once: nothing has happened to the access
		}
		return e.AssetID
	case negotiation.Failed:
		return e.AssetID
	case negotiation.CatalogRequested:
		return e.AssetID
	case negotiation.CatalogReceived:
		return e.AssetID
	case negotiation.CatalogFailed:
		return e.AssetID
	case negotiation.Started:
		return e.AssetID
	case negotiation.Moved:
		return e.AssetID
	case negotiation.AgreementDead:
		return e.AssetID
	case negotiation.EDRRequested:
		return e.AssetID
	case negotiation.EDRGranted:
		return e.AssetID
	case negotiation.EDRDead:
		return e.AssetID
	case negotiation.Worked:
		if t := p.tasks.find(e.Work()); t != nil {
			return t.asset
		}
		return ""
	case negotiation.Joined, negotiation.Listed, negotiation.Answered, negotiation.Left, negotiation.Evicted:
	}
	return ""
}

// wait folds in who waits, and who no longer does.
func (p *counterparty) wait(at int64, e negotiation.Event) {
	p.answer(at, e)
	switch e := e.(type) {
	case negotiation.Joined:
		p.join(at, e.Wish)
	case negotiation.Listed:
		if w := p.touch(e.Waiter); w != nil {
			w.assets = slices.Clone(e.Assets)
		}
	case negotiation.Served:
		p.leave(e.Waiters, e.AssetID)
	case negotiation.Failed:
		p.leave(e.Waiters, e.AssetID)
	case negotiation.Answered:
		p.gone(e.Waiter)
	case negotiation.Left:
		p.gone(e.Waiter)
	case negotiation.CatalogRequested, negotiation.CatalogReceived, negotiation.CatalogFailed, negotiation.Started, negotiation.Moved,
		negotiation.AgreementDead, negotiation.EDRRequested, negotiation.EDRGranted, negotiation.EDRDead, negotiation.Evicted, negotiation.Worked:
	}
}

func (p *counterparty) join(at int64, e negotiation.Wish) {
	w := p.touch(e.Waiter)
	if w == nil {
		w = &waiter{id: e.Waiter, dirty: true}
		p.waiters[e.Waiter] = w
		p.changed = append(p.changed, w)
	}
	w.typ, w.need, w.since, w.deadline = e.AssetType, string(e.Need), at, nanos(e.Deadline)
	w.assets = []string{e.AssetID} // of a type, none yet: the catalog is asked
	w.kind, w.job, w.node = "", "", ""
	if r := e.Reply; r != nil {
		w.kind = r.Aggregate
		if r.Aggregate == schemas.AggregateOrchestration {
			w.job, w.node = r.ID, r.ActivityID
		}
	}
}

// touch finds a waiter that is about to change.
func (p *counterparty) touch(id string) *waiter {
	w := p.waiters[id]
	if w != nil && !w.dirty {
		w.dirty = true
		p.changed = append(p.changed, w)
	}
	return w
}

// leave says that waiters have got what they waited for, or never will. One by type waits on until it
// is answered.
func (p *counterparty) leave(ids []string, asset string) {
	for _, id := range ids {
		w := p.touch(id)
		if w == nil {
			continue
		}
		w.assets = slices.DeleteFunc(w.assets, func(a string) bool { return a == asset })
		if w.typ == "" || asset == "" {
			p.gone(id)
		}
	}
}

func (p *counterparty) gone(id string) {
	if w := p.touch(id); w != nil {
		w.assets = nil
		delete(p.waiters, id)
	}
}
