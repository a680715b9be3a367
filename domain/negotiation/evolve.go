package negotiation

import (
	"slices"
	"strings"
	"time"

	"github.com/waybill/waybill/domain/task"
)

// Evolve folds in an event that was decided at at. Events are facts: Evolve never refuses; one that
// makes no sense here changes nothing. The old State must not be used afterwards.
func (s State) Evolve(at time.Time, e Event) State {
	s.b.evolve(at, e)
	return s
}

func (b *book) evolve(at time.Time, e Event) {
	switch e := e.(type) {
	case Joined:
		b.join(e)
	case Listed:
		b.list(e)
	case Served:
		b.serve(e)
	case Failed:
		b.refuse(e)
	case Answered:
		b.leave(e.Waiter)
	case Left:
		b.leave(e.Waiter)
	case CatalogRequested:
		b.ask(e)
	case CatalogReceived:
		b.receive(e)
	case CatalogFailed:
		b.miss(e)
	case Evicted:
		b.evict(e)
	case Worked:
		b.work(at, e.Event)
	case Started:
		b.change(e.AssetID, func(a *access) { b.start(a, at, e) })
	case Moved:
		b.change(e.AssetID, func(a *access) { b.move(a, e) })
	case AgreementDead:
		b.change(e.AssetID, func(a *access) { b.disown(a, e) })
	case EDRRequested:
		b.change(e.AssetID, func(a *access) { b.request(a, e) })
	case EDRGranted:
		b.change(e.AssetID, func(a *access) { b.grant(a, e) })
	case EDRDead:
		b.change(e.AssetID, func(a *access) { b.bury(a, e) })
	}
}

// change changes an access, and lets it rest if there is nothing more to be done.
func (b *book) change(asset string, how func(*access)) {
	if a := b.accesses.edit(asset); a != nil {
		how(a)
		b.settle(a)
	}
}

// settle gives the slot of an access back where nobody waits and nothing is under way, and forgets
// one that there is nothing to be known of.
func (b *book) settle(a *access) {
	if len(a.waiters) == 0 {
		a.queued = false
		if a.step == stepNone {
			a.tried, a.lost, a.disowned, a.passing = 0, 0, 0, false
			if a.busy {
				a.busy = false
				b.active--
			}
			if a.agreement == "" {
				b.forget(a)
			}
		}
	}
	b.trim()
	b.arm(subject{ofAccess, a.asset})
}

// settleListing does the same for a type.
func (b *book) settleListing(l *listing) {
	if len(l.waiters) == 0 {
		l.queued = false
		if !l.busy && l.until.IsZero() {
			b.listings.drop(l.typ)
		}
	}
	b.trim()
	b.arm(subject{ofListing, l.typ})
}

// trim takes away from the head of the queue who does not wait for a slot any more.
func (b *book) trim() {
	for len(b.queue) > 0 && !b.queues(b.queue[0]) {
		b.queue = b.queue[1:]
	}
}

func (b *book) queues(s subject) bool {
	if s.kind == ofListing {
		l := b.listings.get(s.key)
		return l != nil && l.queued
	}
	a := b.accesses.get(s.key)
	return a != nil && a.queued
}

// take gives an access a slot, unless it holds one.
func (b *book) take(a *access) {
	a.queued = false
	if !a.busy {
		a.busy = true
		b.active++
	}
}

func (b *book) own(id, asset string) {
	if b.draft || id == "" {
		return
	}
	if b.owners == nil {
		b.owners = make(map[string]string)
	}
	b.owners[id] = asset
}

func (b *book) disownID(id string) {
	if !b.draft {
		delete(b.owners, id)
	}
}

func (b *book) join(e Joined) {
	b.count++
	b.wishes.put(e.Waiter, &wish{Wish: e.Wish, n: b.count})
	b.arm(subject{ofWish, e.Waiter})
	if e.AssetType == "" {
		b.await(e.AssetID, e.Waiter)
		return
	}
	l := b.listings.edit(e.AssetType)
	if l == nil {
		l = &listing{typ: e.AssetType}
		b.listings.put(e.AssetType, l)
	}
	l.waiters = append(l.waiters, e.Waiter)
	if !l.busy && !l.queued {
		l.queued = true
		b.queue = append(b.queue, subject{ofListing, e.AssetType})
	}
}

// await lets somebody wait for an asset.
func (b *book) await(asset, waiter string) *access {
	a := b.accesses.edit(asset)
	if a == nil {
		a = &access{asset: asset, round: b.lastRound(asset)}
		b.accesses.put(asset, a)
	}
	a.waiters = append(a.waiters, waiter)
	if !a.busy && !a.queued {
		a.queued = true
		b.queue = append(b.queue, subject{ofAccess, asset})
	}
	return a
}

func (b *book) list(e Listed) {
	w := b.wishes.edit(e.Waiter)
	l := b.listings.edit(e.AssetType)
	if w == nil || l == nil {
		return
	}
	w.assets, w.refused = e.Assets, e.Refused
	for _, asset := range e.Assets {
		a := b.await(asset, e.Waiter)
		if i, ok := l.byAsset[asset]; ok && a.step == stepNone && a.agreement == "" {
			a.offer, a.offerUntil, a.party = l.offers[i], l.until, l.party
		}
	}
	l.waiters = without(l.waiters, e.Waiter)
	b.settleListing(l)
}

// without is a list less some of it. It is another list: drafts share the old one.
func without(l []string, gone ...string) []string {
	if len(gone) == 1 {
		i := slices.Index(l, gone[0])
		if i < 0 {
			return l
		}
		return slices.Concat(l[:i], l[i+1:])
	}
	out := make(map[string]struct{}, len(gone))
	for _, x := range gone {
		out[x] = struct{}{}
	}
	var rest []string
	for _, x := range l {
		if _, ok := out[x]; !ok {
			rest = append(rest, x)
		}
	}
	return rest
}

func (b *book) serve(e Served) {
	if e.Wish != nil {
		b.count++
		b.remember(e.Wish.CommandID)
		return
	}
	b.change(e.AssetID, func(a *access) {
		for _, name := range e.Waiters {
			w := b.wishes.get(name)
			if w == nil {
				continue
			}
			b.settleWish(name, outcome{OfferState: a.state(w.Need)})
		}
		a.waiters = without(a.waiters, e.Waiters...)
	})
}

// state is how an access stands for somebody who has what he needs.
func (a *access) state(n Need) OfferState {
	o := OfferState{ID: a.id, AssetID: a.asset, NegotiationID: a.negotiationID, AgreementID: a.agreement}
	if n == NeedEDR {
		o.EDR = &EDRState{ProcessID: a.edr.process, State: EDRValid}
		if x := a.edr.expiresAt; !x.IsZero() {
			o.EDR.ExpiresAt = &x
		}
	}
	return o
}

// settleWish ends a wish for an asset, or notes the outcome of one asset of a wish by type.
func (b *book) settleWish(name string, o outcome) {
	w := b.wishes.edit(name)
	if w.AssetType != "" {
		w.outcomes = append(w.outcomes, o)
		return
	}
	b.remember(w.CommandID)
	b.wishes.drop(name)
}

func (b *book) remember(command string) {
	if !b.draft {
		b.recent.add(command)
	}
}

func (b *book) refuse(e Failed) {
	if e.AssetType != "" {
		l := b.listings.edit(e.AssetType)
		if l == nil {
			return
		}
		for _, name := range e.Waiters {
			if w := b.wishes.get(name); w != nil {
				b.remember(w.CommandID)
				b.wishes.drop(name)
			}
		}
		l.waiters = without(l.waiters, e.Waiters...)
		b.settleListing(l)
		return
	}
	b.change(e.AssetID, func(a *access) {
		for _, name := range e.Waiters {
			if b.wishes.get(name) != nil {
				fault := e.Error
				o := OfferState{AssetID: a.asset, NegotiationID: e.NegotiationID, Error: &fault}
				if e.Rounds > 0 {
					o.ID = a.id
				}
				b.settleWish(name, outcome{o, e.Again})
			}
		}
		a.waiters = without(a.waiters, e.Waiters...)
	})
}

// leave takes a wish out of everything.
func (b *book) leave(name string) {
	w := b.wishes.get(name)
	if w == nil {
		return
	}
	b.remember(w.CommandID)
	b.wishes.drop(name)
	for _, asset := range w.waitsFor() {
		b.change(asset, func(a *access) { a.waiters = without(a.waiters, name) })
	}
	if l := b.listings.edit(w.AssetType); w.AssetType != "" && l != nil {
		l.waiters = without(l.waiters, name)
		b.settleListing(l)
	}
}

// waitsFor lists the assets that a wish has no outcome of yet.
func (w *wish) waitsFor() []string {
	if w.AssetType == "" {
		return []string{w.AssetID}
	}
	if len(w.outcomes) == 0 {
		return w.assets
	}
	done := make([]string, len(w.outcomes))
	for i, o := range w.outcomes {
		done[i] = o.AssetID
	}
	return without(w.assets, done...)
}

func (b *book) ask(e CatalogRequested) {
	if e.AssetType == "" {
		b.change(e.AssetID, func(a *access) {
			b.take(a)
			a.step = stepCatalog
		})
		return
	}
	if l := b.listings.edit(e.AssetType); l != nil && !l.busy {
		l.queued, l.busy, l.until, l.offers, l.byAsset = false, true, time.Time{}, nil, nil
		b.active++
		b.settleListing(l)
	}
}

func (b *book) receive(e CatalogReceived) {
	if e.ParticipantID != "" {
		b.party = e.ParticipantID
	}
	if e.AssetType == "" {
		b.change(e.AssetID, func(a *access) {
			a.step, a.work, a.offer, a.offerUntil, a.party = stepNone, "", Offer{}, time.Time{}, e.ParticipantID
			if len(e.Offers) > 0 {
				if a.offer = e.Offers[0]; a.offer.Unacceptable == "" {
					a.offerUntil = e.Until
				}
			}
		})
		return
	}
	l := b.listings.edit(e.AssetType)
	if l == nil {
		return
	}
	b.heard(l)
	usable := slices.ContainsFunc(e.Offers, func(o Offer) bool { return o.Unacceptable == "" })
	if usable { // what was refused is asked for anew next time
		l.offers, l.until, l.party, l.byAsset = e.Offers, e.Until, e.ParticipantID, make(map[string]int, len(e.Offers))
		for i, o := range e.Offers {
			l.byAsset[o.AssetID] = i
		}
	}
	b.settleListing(l)
}

// heard gives the slot of a listing back.
func (b *book) heard(l *listing) {
	if l.busy {
		l.busy, l.work = false, ""
		b.active--
	}
}

func (b *book) miss(e CatalogFailed) {
	if e.AssetType == "" {
		b.change(e.AssetID, func(a *access) {
			a.step, a.work = stepNone, ""
		})
		return
	}
	if l := b.listings.edit(e.AssetType); l != nil {
		b.heard(l)
		b.settleListing(l)
	}
}

func (b *book) start(a *access, at time.Time, e Started) {
	b.take(a)
	b.forsake(a)
	a.step, a.round, a.tried, a.id, a.party, a.offer = stepRound, e.Round, e.Tried, e.ID, e.CounterPartyID, e.Offer
	a.phase, a.negotiationID = last(e.Moves), ""
	a.startedAt, a.until, a.deadline = at, e.Until, e.Deadline
	a.edr.asked, a.lost = 0, 0
	b.own(e.ID, a.asset)
}

func last(moves []Move) Phase {
	if len(moves) == 0 {
		return PhaseInitial
	}
	return moves[len(moves)-1].State
}

// forsake gives up the agreement of an access with all that hangs on it.
func (b *book) forsake(a *access) {
	b.disownID(a.agreement)
	a.agreement, a.agreementUntil, a.offerUntil = "", time.Time{}, time.Time{}
	b.release(a, "the agreement is not used any more")
}

// release gives up the EDR of an access. The connector is told to end what is behind it.
func (b *book) release(a *access, why string) {
	b.disownID(a.edr.process)
	for _, process := range []string{a.edr.process, a.edr.old} {
		if process != "" {
			b.chores = append(b.chores, chore{typ: workEDREnd, id: process, asset: a.asset, reason: why})
		}
	}
	a.edr = edr{asked: a.edr.asked}
}

func (b *book) move(a *access, e Moved) {
	if a.step != stepRound || e.Round != a.round {
		return
	}
	if e.NegotiationID != "" {
		a.negotiationID = e.NegotiationID
	}
	if len(e.Moves) > 0 {
		a.phase, a.until = last(e.Moves), e.Until
	}
	if !a.phase.Final() {
		return
	}
	a.step, a.work, a.offerUntil = stepNone, "", time.Time{}
	b.disownID(a.id)
	if a.phase == PhaseFinalized {
		a.agreement, a.agreementUntil, a.offer.Policy = e.AgreementID, e.Until, nil
		b.own(e.AgreementID, a.asset)
		return
	}
	a.passing = a.passing || e.By != ByProvider
	if e.By == ByWaybill && a.negotiationID != "" {
		b.chores = append(b.chores, chore{typ: workTerminate, id: a.negotiationID, asset: a.asset, reason: e.Reason})
	}
}

func (b *book) disown(a *access, e AgreementDead) {
	if a.agreement != e.AgreementID {
		return
	}
	if a.step == stepEDR {
		a.step, a.work = stepNone, ""
	}
	b.forsake(a)
	a.disowned++
}

func (b *book) request(a *access, e EDRRequested) {
	b.take(a)
	a.step, a.until = stepEDR, e.Deadline
	a.edr.phase = EDRPending
	if e.Refresh {
		return
	}
	if a.edr.process != "" {
		b.disownID(a.edr.process)
		a.edr.old = a.edr.process
	}
	a.edr.process, a.edr.data = e.ProcessID, nil
	a.edr.asked++
	b.own(e.ProcessID, a.asset)
}

// refreshing says that another token is asked for, not another process.
func (x *edr) refreshing() bool { return x.phase == EDRPending && x.data != nil }

func (b *book) grant(a *access, e EDRGranted) {
	if a.step != stepEDR || e.ProcessID != a.edr.process {
		return
	}
	a.step, a.work = stepNone, ""
	a.edr.phase, a.edr.data, a.edr.expiresAt, a.edr.until, a.edr.evictAt = EDRValid, e.Data, e.ExpiresAt, e.Until, e.EvictAt
	a.lost, a.disowned = 0, 0
	if a.edr.old != "" {
		b.chores = append(b.chores, chore{typ: workEDREnd, id: a.edr.old, asset: a.asset, reason: "another EDR has taken its place"})
		a.edr.old = ""
	}
}

func (b *book) bury(a *access, e EDRDead) {
	if e.ProcessID != a.edr.process {
		return
	}
	pending, refreshing := a.edr.phase == EDRPending, a.edr.refreshing()
	a.edr.phase = EDRPhaseDead
	if !pending {
		return
	}
	a.step, a.work = stepNone, ""
	b.disownID(e.ProcessID)
	a.edr.process, a.edr.data = "", nil
	switch {
	case refreshing:
		a.edr.old = e.ProcessID
		return
	case e.End:
		b.chores = append(b.chores, chore{typ: workEDREnd, id: e.ProcessID, asset: a.asset, reason: e.Reason})
	}
	a.lost++
	a.passing = true // the agreement was good enough
}

func (b *book) evict(e Evicted) {
	for _, asset := range e.EDRs {
		b.change(asset, func(a *access) { b.release(a, "its time to live has passed") })
	}
	for _, asset := range e.Accesses {
		b.change(asset, b.forsake)
	}
	for _, q := range e.Catalogs {
		if l := b.listings.edit(q.AssetType); l != nil {
			l.until, l.offers, l.byAsset = time.Time{}, nil, nil
			b.settleListing(l)
		}
	}
}

// work folds in what concerns a task.
func (b *book) work(at time.Time, e task.Event) {
	switch e := e.(type) {
	case task.Requested:
		b.asked++
		b.begin(e.Spec)
	case task.Ended:
		if slices.Contains(b.told, e.WorkID) {
			b.told = without(b.told, e.WorkID)
			b.active--
		}
	case task.Attempted, task.Offered, task.Claimed, task.Extended, task.Waited, task.Scheduled, task.Retrying, task.Nudged:
	}
	if !b.draft { // a decision asks the set as it was before
		b.tasks = b.tasks.Evolve(at, e)
	}
}

func (b *book) begin(spec task.Spec) {
	kind, key, _ := strings.Cut(spec.Name, " ")
	switch kind {
	case workTerminate, workEDREnd:
		if len(b.chores) > 0 {
			b.chores = b.chores[1:]
		}
		b.told = append(b.told, spec.WorkID)
		b.active++
	case nameListing:
		if l := b.listings.edit(key); l != nil {
			l.work = spec.WorkID
		}
	default:
		if a := b.accesses.edit(key); a != nil {
			a.work = spec.WorkID
		}
	}
}
