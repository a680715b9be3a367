package negotiation

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/task"
)

// proceed goes on with an access after a step. One that holds no slot waits for its turn.
func (d *decision) proceed(asset string) {
	d.serve(asset)
	if a := d.b.accesses.get(asset); a != nil && a.busy {
		d.next(asset)
	}
}

// next does for an access what comes next. It holds a slot, or there is one for it.
func (d *decision) next(asset string) {
	d.serve(asset)
	a := d.b.accesses.get(asset)
	if a == nil || len(a.waiters) == 0 || a.step != stepNone {
		return
	}
	switch {
	case a.agreed(d.at):
		d.process(a)
	case a.tried >= d.s.cfg.Rounds:
		d.fail(a, d.fault(a, atNegotiation, "no negotiation led to access"), a.passing)
	case d.at.Before(a.offerUntil):
		d.start(a)
	default:
		d.emit(CatalogRequested{AssetID: asset})
		in := d.where(d.partyOf(a))
		in.AssetID = asset
		d.ask(workCatalog, workCatalog, asset, in, d.at.Add(d.s.cfg.Catalog))
	}
}

// again tries once more, or refuses all who wait if that was done often enough.
func (d *decision) again(asset string, step, text, code string) {
	a := d.b.accesses.get(asset)
	if a == nil {
		return
	}
	if a.tried >= d.s.cfg.Rounds {
		fault := d.fault(a, step, text)
		fault.Code = code
		d.fail(a, fault, a.passing)
		return
	}
	d.proceed(asset)
}

// partyOf is the counter-party's ID, as far as anybody knows.
func (d *decision) partyOf(a *access) string {
	for _, name := range a.waiters {
		if w := d.b.wishes.get(name); w != nil && w.CounterPartyID != "" {
			return w.CounterPartyID
		}
	}
	return cmp.Or(a.party, d.b.party)
}

// failed refuses all who wait after a request that came to nothing.
func (d *decision) failed(asset, step string, end Fault, again bool) {
	if a := d.b.accesses.get(asset); a != nil {
		fault := d.fault(a, cmp.Or(step, end.Step), end.Message)
		fault.Code = end.Code
		d.fail(a, fault, again)
	}
}

// catalogued goes on with the catalog's answer for an asset.
func (d *decision) catalogued(a *access, end *task.End) {
	var c Catalog
	if fault := outcomeOf(end, &c); fault != nil {
		d.emit(CatalogFailed{AssetID: a.asset, Error: *fault, Again: end.Again})
		d.failed(a.asset, atCatalog, *fault, end.Again)
		return
	}
	e := CatalogReceived{AssetID: a.asset, ParticipantID: c.ParticipantID, Offers: []Offer{}, Until: d.at.Add(d.s.cfg.Listing)}
	if o := choose(c.Offers, a.asset); o != nil {
		e.Offers = append(e.Offers, *o)
	}
	asset := a.asset
	d.emit(e)
	switch {
	case len(e.Offers) == 0:
		d.failed(asset, atCatalog, Fault{Message: "the provider does not offer the asset", Code: codeNotFound}, false)
	case e.Offers[0].Unacceptable != "":
		d.failed(asset, atOffer, Fault{Message: "no policy that is accepted here takes the offer: " + e.Offers[0].Unacceptable, Code: codeRefused}, false)
	default:
		d.proceed(asset)
	}
}

// outcomeOf reads what a task has come to; the fault is why it has come to nothing.
func outcomeOf(end *task.End, into interface{ bound() error }) *Fault {
	if !end.Completed {
		return &end.Fault
	}
	err := read(end.Report.Output, into)
	if err == nil {
		err = into.bound()
	}
	if err != nil {
		return &Fault{Message: clip(err.Error())}
	}
	return nil
}

// choose is the first acceptable offer for an asset, or else the first; nil if there is none.
func choose(offers []Offer, asset string) *Offer {
	var first *Offer
	for i := range offers {
		o := &offers[i]
		if o.AssetID != "" && o.AssetID != asset {
			continue
		}
		if o.AssetID = asset; o.Unacceptable == "" {
			return o
		}
		if first == nil {
			first = o
		}
	}
	return first
}

// start begins a round.
func (d *decision) start(a *access) {
	needsAgreement := func(name string) bool { w := d.b.wishes.get(name); return w != nil && w.Need == NeedAgreement }
	if !slices.ContainsFunc(a.waiters, needsAgreement) && !d.pullable(a) {
		return
	}
	n, asset, offer := a.round+1, a.asset, a.offer
	id := machine.ID(aggregate, d.s.id, asset, strconv.Itoa(n))
	deadline := d.at.Add(d.s.cfg.Round)
	d.emit(Started{
		AssetID: asset, Round: n, ID: id, Tried: a.tried + 1, Moves: []Move{move(PhaseInitial), move(PhaseRequesting)},
		CounterPartyID: d.partyOf(a), Offer: offer, Until: earliest(d.at.Add(d.s.cfg.State), deadline), Deadline: deadline,
	})
	in := d.where(d.partyOf(a))
	in.AssetID, in.Offer, in.Key = asset, &OfferRef{offer.OfferID, offer.Policy}, d.foreign("offer", id)
	in.Callback = &Callback{aggregate, d.s.id, id}
	d.ask(workRequest, workRequest, asset, in, deadline.Add(grace))
}

// foreign is an ID for the connector's books. It has the time in it, for whoever begins anew on an empty log, and
// whoever else speaks with the same connector, counts from 1 as well: what one of them has started would be taken
// for the other's, or be broken by it.
func (d *decision) foreign(parts ...string) string {
	return machine.ID(append(parts, strconv.FormatInt(d.at.UnixMicro(), 10))...)
}

func move(p Phase) Move { return Move{State: p, Code: int(p)} }

// pullable says that the offer's formats have one that brings an EDR; if not, all who wait are refused.
func (d *decision) pullable(a *access) bool {
	if pull(d.s.cfg.TransferType, a.offer.Formats) != "" {
		return true
	}
	fault := d.fault(a, atOffer, fmt.Sprintf("the offer cannot be pulled: its formats are %v", a.offer.Formats))
	fault.Code = codeRefused
	d.fail(a, fault, false)
	return false
}

// moved takes down the states up to one, those passed over as inferred. An earlier one changes nothing.
func (d *decision) moved(a *access, to Phase, e Moved) {
	path := a.phase.Path(to)
	if path == nil {
		return
	}
	for i, p := range path {
		m := move(p)
		m.Inferred = i < len(path)-1
		e.Moves = append(e.Moves, m)
	}
	e.AssetID, e.Round = a.asset, a.round
	if !to.Final() {
		e.Until = earliest(d.at.Add(d.s.cfg.State), a.deadline)
	}
	d.emit(e)
}

// see takes down a state of a round that is not its end.
func (d *decision) see(asset, state string) {
	a := d.b.accesses.get(asset)
	var to Phase
	if a == nil || a.step != stepRound || to.UnmarshalText([]byte(state)) != nil || to >= PhaseFinalized {
		return
	}
	d.moved(a, to, Moved{})
}

// roundObserved takes down a state that a callback names. Of an end the agent has to find more than the
// callback says, so it looks at once.
func (d *decision) roundObserved(a *access, c Observed) {
	if a.negotiationID == "" || c.NegotiationID != "" && c.NegotiationID != a.negotiationID {
		return // the answer to the request will say where it is
	}
	var to Phase
	if to.UnmarshalText([]byte(c.State)) != nil {
		return
	}
	if to >= PhaseFinalized {
		d.nudge(workPoll, a.asset)
		return
	}
	d.see(a.asset, c.State)
}

// requested goes on when the connector has taken the request for a negotiation, or has not.
func (d *decision) requested(a *access, end *task.End) {
	asset := a.asset
	var look Look
	fault := outcomeOf(end, &look)
	if fault == nil && look.NegotiationID == "" {
		fault = &Fault{Message: "the connector's answer names no negotiation"}
	}
	if fault != nil {
		d.moved(a, PhaseTerminated, Moved{Reason: fault.Message, By: ByConnector})
		d.failed(asset, atNegotiation, *fault, end.Again)
		return
	}
	d.moved(a, PhaseRequested, Moved{NegotiationID: look.NegotiationID})
	in := d.where(a.party)
	in.AssetID, in.NegotiationID = asset, look.NegotiationID
	d.ask(workPoll, workPoll, asset, in, a.deadline.Add(grace))
}

// polled goes on with the end of a negotiation.
func (d *decision) polled(a *access, end *task.End) {
	asset, negotiation := a.asset, a.negotiationID
	var look Look
	if fault := outcomeOf(end, &look); fault != nil {
		d.moved(a, PhaseTerminated, Moved{Reason: fault.Message, By: ByWaybill})
		if end.Again {
			d.again(asset, atNegotiation, fault.Message, "")
		} else {
			d.failed(asset, atNegotiation, *fault, false)
		}
		return
	}
	switch look.State {
	case PhaseFinalized.String():
		d.finalized(a, look)
	case PhaseTerminated.String():
		text := fmt.Sprintf("negotiation %s was TERMINATED", negotiation)
		d.moved(a, PhaseTerminated, Moved{Reason: cmp.Or(look.Detail, text), By: ByProvider})
		if look.Detail != "" {
			text += ": " + look.Detail
		}
		d.again(asset, atNegotiation, text, codeRefused)
	case stateLost:
		text := fmt.Sprintf("the connector knows negotiation %s no longer", negotiation)
		d.moved(a, PhaseTerminated, Moved{Reason: text, By: ByConnector})
		d.again(asset, atNegotiation, text, "")
	default:
		text := fmt.Sprintf("negotiation %s is said to have ended %q", negotiation, look.State)
		d.moved(a, PhaseTerminated, Moved{Reason: text, By: ByWaybill})
		d.again(asset, atNegotiation, text, "")
	}
}

// finalized takes the agreement, if it is for the asset that was asked for.
func (d *decision) finalized(a *access, look Look) {
	asset := a.asset
	switch {
	case look.AgreementID == "":
		text := fmt.Sprintf("negotiation %s is FINALIZED and names no agreement", a.negotiationID)
		d.moved(a, PhaseFinalized, Moved{Reason: text})
		d.again(asset, atAgreement, text, "")
	case look.AssetID != "" && look.AssetID != asset:
		text := fmt.Sprintf("agreement %s of negotiation %s is for asset %q", look.AgreementID, a.negotiationID, look.AssetID)
		d.moved(a, PhaseFinalized, Moved{Reason: text})
		d.failed(asset, atAgreement, Fault{Message: text, Code: codeRefused}, false)
	default:
		d.moved(a, PhaseFinalized, Moved{AgreementID: look.AgreementID, Until: d.at.Add(d.s.cfg.Agreement)})
		d.proceed(asset)
	}
}

// stuck gives up a round that stays where it is.
func (d *decision) stuck(a *access) {
	asset := a.asset
	text := fmt.Sprintf("the negotiation stayed %s until %s", a.phase, d.at.UTC().Format(time.RFC3339))
	if passed(a.deadline, d.at) {
		text = fmt.Sprintf("the negotiation was still %s after %s", a.phase, a.deadline.Sub(a.startedAt))
	}
	if a.negotiationID != "" {
		text += " (negotiation " + a.negotiationID + ")"
	}
	d.drop(a.work, text)
	ending := move(PhaseTerminated)
	ending.Inferred = true // nobody waits for the connector to say so
	d.emit(Moved{AssetID: asset, Round: a.round, Moves: []Move{move(PhaseTerminating), ending}, Reason: text, By: ByWaybill})
	d.again(asset, atNegotiation, text, "")
}

// disown gives up an agreement that was refused: there is one other round, and if its agreement is refused
// too, so are all who wait.
func (d *decision) disown(a *access, why string) {
	asset, agreement := a.asset, a.agreement
	if a.step == stepEDR {
		d.drop(a.work, why)
	}
	d.emit(AgreementDead{AssetID: asset, Round: a.round, AgreementID: agreement, Reason: why})
	if a = d.b.accesses.get(asset); a == nil {
		return
	}
	text := fmt.Sprintf("agreement %s is of no use: %s", agreement, why)
	if a.disowned > 1 {
		fault := d.fault(a, atAgreement, text+"; so was the one before it")
		fault.Code = codeAgreementDead
		d.fail(a, fault, a.passing)
		return
	}
	d.again(asset, atAgreement, text, codeAgreementDead)
}
