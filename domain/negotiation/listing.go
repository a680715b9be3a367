package negotiation

import (
	"fmt"
	"slices"

	"github.com/waybill/waybill/domain/task"
)

// askFor asks the catalog for a type.
func (d *decision) askFor(typ string) {
	party := d.b.party
	for _, name := range d.b.listings.get(typ).waiters {
		if w := d.b.wishes.get(name); w != nil && w.CounterPartyID != "" {
			party = w.CounterPartyID
			break
		}
	}
	d.emit(CatalogRequested{AssetType: typ})
	in := d.where(party)
	in.AssetType = typ
	d.ask(workCatalog, nameListing, typ, in, d.at.Add(d.s.cfg.Catalog))
}

// listed goes on with the catalog's answer for a type.
func (d *decision) listed(l *listing, end *task.End) {
	var c Catalog
	if fault := outcomeOf(end, &c); fault != nil {
		d.emit(CatalogFailed{AssetType: l.typ, Error: *fault, Again: end.Again})
		d.unlisted(l.typ, *fault, end.Again)
		return
	}
	offers := perAsset(c.Offers)
	if n := len(offers); n > maxListed {
		fault := Fault{Message: fmt.Sprintf("the provider offers %d assets of that type, over the limit of %d", n, maxListed)}
		d.emit(CatalogFailed{AssetType: l.typ, Error: fault})
		d.unlisted(l.typ, fault, false)
		return
	}
	d.emit(CatalogReceived{AssetType: l.typ, ParticipantID: c.ParticipantID, Offers: offers, Until: d.at.Add(d.s.cfg.Listing)})
	if len(offers) == 0 {
		d.unlisted(l.typ, Fault{Message: "the provider offers nothing of that type", Code: codeNotFound}, false)
		return
	}
	d.spread(l.typ, offers)
}

// perAsset is the offer that is taken of each asset, in the catalog's order.
func perAsset(offers []Offer) []Offer {
	chosen := []Offer{}
	place := map[string]int{}
	for _, o := range offers {
		i, ok := place[o.AssetID]
		switch {
		case o.AssetID == "":
		case !ok:
			place[o.AssetID] = len(chosen)
			chosen = append(chosen, o)
		case chosen[i].Unacceptable != "" && o.Unacceptable == "":
			chosen[i] = o
		}
	}
	return chosen
}

// unlisted refuses all who wait for what there is of a type.
func (d *decision) unlisted(typ string, why Fault, again bool) {
	l := d.b.listings.get(typ)
	if l == nil {
		return
	}
	connector, provider := Split(d.s.id)
	fault := Fault{Step: atCatalog, Code: why.Code, Message: clip(fmt.Sprintf("%s (type %q of %s through connector %q)", why.Message, typ, provider, connector))}
	for some := range slices.Chunk(l.waiters, maxAnswered) {
		d.emit(Failed{AssetType: typ, Waiters: some, Error: fault, Again: again})
	}
}

// spread lets those who wait for a type wait for each asset that is offered.
func (d *decision) spread(typ string, offers []Offer) {
	e := Listed{AssetType: typ}
	connector, provider := Split(d.s.id)
	for _, o := range offers {
		if o.Unacceptable == "" {
			e.Assets = append(e.Assets, o.AssetID)
			continue
		}
		e.Refused = append(e.Refused, Unoffered{o.AssetID, Fault{
			Step: atOffer, Code: codeRefused, Message: clip(fmt.Sprintf("no policy that is accepted here takes the offer: %s (asset %q of %s through connector %q)",
				o.Unacceptable, o.AssetID, provider, connector)),
		}})
	}
	l := d.b.listings.get(typ)
	if l == nil {
		return // nobody waits any more
	}
	names := l.waiters
	for _, name := range names {
		e.Waiter = name
		d.emit(e)
	}
	for _, asset := range e.Assets {
		d.serve(asset)
	}
	for _, name := range names { // all may be refused without a negotiation
		if w := d.b.wishes.get(name); w != nil && len(w.assets) == 0 {
			d.answer(w, nil)
		}
	}
}
