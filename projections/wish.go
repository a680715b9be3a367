package projections

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"time"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/schemas"
)

// What has become of a wish for access.
const (
	WishWaiting = "WAITING"
	WishGranted = "GRANTED"
	WishRefused = "REFUSED"
)

// Wish is the wish for access of somebody who is no transfer and no activity, and its answer.
type Wish struct {
	Waiter    string    `json:"waiter"`
	Provider  string    `json:"provider"`
	Connector string    `json:"connector"`
	AssetID   string    `json:"assetId,omitempty"`
	AssetType string    `json:"assetType,omitempty"`
	Need      string    `json:"need"`
	State     string    `json:"state"` // WAITING, GRANTED or REFUSED
	CreatedAt time.Time `json:"createdAt"`
	Since     time.Time `json:"since"` // it has been in this state
	// What was granted; of a wish by type, how it came out for each asset.
	NegotiationID string                   `json:"negotiationId,omitempty"`
	AgreementID   string                   `json:"agreementId,omitempty"`
	ProcessID     string                   `json:"processId,omitempty"` // of the EDR
	Offers        []negotiation.OfferState `json:"offers,omitempty"`
	// Why it was refused.
	Error       *negotiation.Fault `json:"error,omitempty"`
	Constraints string             `json:"constraints,omitempty"` // of the offer, for people
	Rounds      int                `json:"rounds,omitempty"`      // that were tried
}

// wish is what is to be written of one.
type wish struct {
	Wish
	created int64
}

// answer folds in what becomes of the wishes of those outside: nobody else tells them.
func (p *counterparty) answer(at int64, e negotiation.Event) {
	switch e := e.(type) {
	case negotiation.Joined:
		if e.Reply == nil {
			p.wishOf(at, at, e.Wish, func(w *Wish) {})
		}
	case negotiation.Served:
		if e.Wish != nil && e.Wish.Reply == nil {
			p.wishOf(at, at, *e.Wish, func(w *Wish) { p.granted(w, e) })
		}
		if e.Wish == nil {
			p.eachOutside(at, e.Waiters, func(w *Wish) { p.granted(w, e) })
		}
	case negotiation.Failed:
		p.eachOutside(at, e.Waiters, func(w *Wish) {
			w.State, w.Error, w.Constraints, w.Rounds = WishRefused, &e.Error, e.Constraints, e.Rounds
		})
	case negotiation.Answered:
		if l := p.waiters[e.Waiter]; l != nil && l.kind == "" {
			p.wishOf(at, l.since, l.wish(), func(w *Wish) {
				if w.State, w.Offers, w.Error = WishGranted, e.Offers, e.Error; e.Error != nil {
					w.State = WishRefused
				}
			})
		}
	case negotiation.Left:
		if l := p.waiters[e.Waiter]; l != nil && l.kind == "" {
			p.wishOf(at, l.since, l.wish(), func(w *Wish) {
				w.State, w.Error = WishRefused, e.Error
				if w.Error == nil {
					w.Error = &negotiation.Fault{Message: "it was taken back"}
				}
			})
		}
	case negotiation.Listed, negotiation.CatalogRequested, negotiation.CatalogReceived, negotiation.CatalogFailed, negotiation.Started, negotiation.Moved,
		negotiation.AgreementDead, negotiation.EDRRequested, negotiation.EDRGranted, negotiation.EDRDead, negotiation.Evicted, negotiation.Worked:
	}
}

// eachOutside answers those of the waiters who are outside, and wait for one asset or one listing.
func (p *counterparty) eachOutside(at int64, ids []string, how func(*Wish)) {
	for _, id := range ids {
		l := p.waiters[id]
		if l != nil && l.kind == "" && (l.typ == "" || len(l.assets) == 1 && l.assets[0] == "") {
			p.wishOf(at, l.since, l.wish(), how)
		}
	}
}

// wish is what a waiter wishes for.
func (l *waiter) wish() negotiation.Wish {
	w := negotiation.Wish{Waiter: l.id, AssetType: l.typ, Need: negotiation.Need(l.need)}
	if l.typ == "" && len(l.assets) > 0 {
		w.AssetID = l.assets[0]
	}
	return w
}

func (p *counterparty) wishOf(at, created int64, of negotiation.Wish, how func(*Wish)) {
	created -= created % int64(time.Microsecond) // as it is read back
	w := wish{created: created, Wish: Wish{
		Waiter: of.Waiter, Provider: p.provider, Connector: p.connector, AssetID: of.AssetID, AssetType: of.AssetType, Need: string(of.Need),
		State: WishWaiting, CreatedAt: when(created), Since: when(at),
	}}
	how(&w.Wish)
	p.wishes = append(p.wishes, w)
}

func (p *counterparty) granted(w *Wish, e negotiation.Served) {
	w.State, w.AgreementID = WishGranted, e.AgreementID
	w.NegotiationID = machine.ID("negotiation", p.id, e.AssetID, fmt.Sprint(e.Round))
	if w.Need == string(negotiation.NeedEDR) {
		w.ProcessID = e.ProcessID
	}
}

func (w *writer) writeWishes(p *counterparty) error {
	for i := range p.wishes {
		x := &p.wishes[i]
		doc, err := schemas.Encode(&x.Wish)
		if err != nil {
			return err
		}
		w.rows++
		if _, err := w.c.exec("INSERT OR REPLACE INTO wish (waiter, party, created, doc) VALUES (?, ?, ?, ?)", x.Waiter, p.key, x.created, string(doc)); err != nil {
			return err
		}
		w.batch.changed = append(w.batch.changed, x.Waiter)
	}
	return nil
}

// Wish finds the wish of somebody who waits for access, or has waited: the last one, where it has been said to
// several counter-parties. Like the answers to commands they are kept for Config.Retention.
func (d *DB) Wish(ctx context.Context, waiter string) (*Wish, error) {
	var found *Wish
	err := d.read(ctx, func(c *conn) error {
		return c.query(context.WithoutCancel(ctx), "SELECT doc FROM wish WHERE waiter = ? ORDER BY created DESC LIMIT 1", func(row []driver.Value) error {
			found = new(Wish)
			return json.Unmarshal([]byte(text(row[0])), found)
		}, waiter)
	})
	if err == nil && found == nil {
		err = &NotFoundError{What: "wish", ID: waiter}
	}
	return found, err
}

// WaitAnswered returns when a wish has been answered.
func (d *DB) WaitAnswered(ctx context.Context, waiter string) error {
	return d.waitUntil(ctx, "wish", waiter, "SELECT doc ->> '$.state' = 'WAITING' FROM wish WHERE waiter = ? ORDER BY created DESC LIMIT 1", func(waiting int64) bool {
		return waiting == 0
	})
}
