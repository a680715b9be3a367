package negotiation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/partstree"
)

// The steps at which access is refused.
const (
	atCatalog     = "catalog"
	atOffer       = "offer"
	atNegotiation = "negotiation"
	atAgreement   = "agreement"
	atEDR         = "edr"
	atDeadline    = "deadline"
)

// The codes of a fault.
const (
	codeAgreementDead = "agreement-dead"
	codeNotFound      = "not-found" // it is not offered
	codeRefused       = "refused"   // by the other side, or by the policies that are accepted here
)

// maxAnswered is how many waiters one event answers: it has to fit into a record.
const maxAnswered = 1000

const (
	// maxText bounds the text of a fault.
	maxText = 2 << 10
	// maxName bounds what an asset, a type, a counter-party, a negotiation and the like are called.
	maxName = 2 << 10
	// maxWaiter bounds the name of a waiter: maxAnswered of them stand in one event.
	maxWaiter = 1 << 10
	// maxStep bounds the step and the code of a fault.
	maxStep = 100
)

// named says that something can be called that.
func named(name string) bool {
	return name != "" && len(name) <= maxName && !strings.ContainsFunc(name, unicode.IsControl)
}

func (s State) acquire(at time.Time, c Acquire) ([]Event, error) {
	if err := s.check(c); err != nil {
		return nil, err
	}
	if s.b.recent.has(c.CommandID) {
		return nil, nil
	}
	w := Wish{
		Waiter: c.Waiter, AssetID: c.AssetID, AssetType: c.AssetType, Need: c.Need, CounterPartyID: c.CounterPartyID,
		Deadline: c.Deadline, Reply: c.Reply, CommandID: c.CommandID, TraceParent: c.TraceParent,
	}
	if w.Deadline.IsZero() {
		w.Deadline = at.Add(s.cfg.Wish)
	}
	before := s.b.wishes.get(c.Waiter)
	if before != nil && before.same(w) {
		return nil, nil
	}
	if before == nil && c.AssetType == "" { // thousands a second go this way
		if a := s.b.accesses.get(c.AssetID); a != nil && a.meets(c.Need, at) {
			return []Event{a.served(c.Need, nil, &w)}, nil
		}
	}
	d := s.decision(at)
	if before != nil {
		d.emit(Left{Waiter: c.Waiter, Reason: "it has another wish now"})
	}
	d.emit(Joined{w})
	if c.AssetType == "" {
		// The others that wait have not what they need, or would not: only the new one is looked at.
		if a := d.b.accesses.get(c.AssetID); a.meets(c.Need, at) {
			d.serve(c.AssetID)
		}
	} else if l := d.b.listings.get(c.AssetType); !l.busy && at.Before(l.until) {
		d.spread(c.AssetType, l.offers)
	}
	return d.done(), nil
}

func (s State) check(c Acquire) error {
	switch {
	case c.Waiter == "":
		return refuse("waiter", "nobody is named who is to be answered")
	case (c.AssetID == "") == (c.AssetType == ""):
		return refuse("assetId", "want either an asset or a type of assets")
	case c.Need != NeedAgreement && c.Need != NeedEDR:
		return refuse("need", fmt.Sprintf("%q is neither agreement nor edr", c.Need))
	case c.AssetType != "" && c.Reply != nil && c.Reply.Aggregate == transferAggregate:
		return refuse("assetType", "a transfer is of one asset")
	}
	names := [...]struct {
		path, text string
		most       int
	}{{"waiter", c.Waiter, maxWaiter}, {"assetId", c.AssetID, maxName}, {"assetType", c.AssetType, maxName}, {"counterPartyId", c.CounterPartyID, maxName}}
	for _, x := range names {
		switch {
		case len(x.text) > x.most:
			return refuse(x.path, fmt.Sprintf("has %d bytes, over the limit of %d", len(x.text), x.most))
		case strings.ContainsFunc(x.text, unicode.IsControl):
			return refuse(x.path, "has a control character")
		}
	}
	if r := c.Reply; r != nil && len(r.ID)+len(r.ActivityID)+len(r.WorkID) > maxName {
		return refuse("reply", fmt.Sprintf("has more than %d bytes", maxName))
	}
	return s.checkKey(c)
}

// checkKey refuses what has come to the wrong aggregate: two for one provider would negotiate twice.
func (s State) checkKey(c Acquire) error {
	connector, provider := Split(s.id)
	if c.Connector != "" && c.Connector != connector {
		return refuse("connector", fmt.Sprintf("connector %q was asked for at %q: a wish goes to the key <connector> <normalised address>", c.Connector, s.id))
	}
	if c.Provider == provider && s.b.count > 0 {
		return nil // the first wish has had its address checked
	}
	address, err := partstree.NormalizeURL(c.Provider)
	switch {
	case err != nil:
		return refuse("provider", err.Error())
	case address != provider:
		return refuse("provider", fmt.Sprintf("the provider %s was asked for at %q: a wish goes to the key <connector> <normalised address>", address, s.id))
	}
	return nil
}

func refuse(path, message string) error {
	return machine.Refuse(machine.Schema, "this cannot be acquired", machine.Problem{Path: path, Message: message})
}

// same says that the wish is the one that waits already: a command with another ID may repeat it, but
// an answer that goes elsewhere is another wish.
func (w *wish) same(other Wish) bool {
	if w.CommandID != "" && w.CommandID == other.CommandID {
		return true
	}
	reply := w.Reply == other.Reply || w.Reply != nil && other.Reply != nil && *w.Reply == *other.Reply
	return reply && w.AssetID == other.AssetID && w.AssetType == other.AssetType && w.Need == other.Need
}

func (a *access) served(n Need, waiters []string, w *Wish) Served {
	e := Served{AssetID: a.asset, Round: a.round, AgreementID: a.agreement, Waiters: waiters, Wish: w}
	if n == NeedEDR {
		e.ProcessID = a.edr.process
	}
	return e
}

// serve grants access to those who have what they need.
func (d *decision) serve(asset string) {
	a := d.b.accesses.get(asset)
	if a == nil {
		return
	}
	for _, n := range []Need{NeedAgreement, NeedEDR} {
		if !a.meets(n, d.at) {
			continue
		}
		var met []string
		for _, name := range a.waiters {
			if w := d.b.wishes.get(name); w != nil && w.Need == n {
				met = append(met, name)
			}
		}
		for some := range slices.Chunk(met, maxAnswered) {
			d.emit(a.served(n, some, nil))
		}
		d.conclude(met)
		if a = d.b.accesses.get(asset); a == nil {
			return
		}
	}
}

// fail refuses all who wait for an asset.
func (d *decision) fail(a *access, fault Fault, again bool) {
	all := a.waiters
	for some := range slices.Chunk(all, maxAnswered) {
		d.emit(Failed{
			AssetID: a.asset, Waiters: some, Error: fault, Again: again, Rounds: a.tried, NegotiationID: a.negotiationID,
			Constraints: a.offer.Constraints,
		})
	}
	d.conclude(all)
}

// fault is why there is no access to an asset: at which step, and all that the other side does not say.
func (d *decision) fault(a *access, step, text string) Fault {
	connector, provider := Split(d.s.id)
	var b strings.Builder
	fmt.Fprintf(&b, "%s (asset %q of %s through connector %q", text, a.asset, provider, connector)
	if c := a.offer.Constraints; c != "" {
		fmt.Fprintf(&b, "; offered with %s", c)
	}
	if a.tried > 0 {
		fmt.Fprintf(&b, "; rounds tried: %d", a.tried)
	}
	return Fault{Step: step, Message: clip(b.String() + ")")}
}

func clip(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}

// conclude answers those wishes by type that have an outcome for each of their assets.
func (d *decision) conclude(names []string) {
	for _, name := range names {
		if w := d.b.wishes.get(name); w != nil && w.AssetType != "" && w.assets != nil && len(w.outcomes) == len(w.assets) {
			d.answer(w, nil)
		}
	}
}

// answer ends a wish by type. What has no outcome has late for one.
func (d *decision) answer(w *wish, late *Fault) {
	outcomes := make(map[string]outcome, len(w.outcomes))
	for _, o := range w.outcomes {
		outcomes[o.AssetID] = o
	}
	e := Answered{Waiter: w.Waiter, AssetType: w.AssetType, Offers: make([]OfferState, 0, len(w.assets)+len(w.refused))}
	failed, texts := true, []string(nil)
	add := func(o OfferState, again bool) {
		e.Offers = append(e.Offers, o)
		if o.Error == nil {
			failed = false
			return
		}
		e.Again = e.Again || again
		texts = append(texts, o.Error.Message)
		if e.Error == nil {
			e.Error = &Fault{Step: o.Error.Step}
		}
	}
	for _, asset := range w.assets {
		o, ok := outcomes[asset]
		if !ok {
			o = outcome{OfferState{AssetID: asset, Error: late}, true}
		}
		add(o.OfferState, o.again)
	}
	for _, r := range w.refused {
		add(OfferState{AssetID: r.AssetID, Error: &r.Error}, false)
	}
	if failed {
		e.Error.Message = clip(fmt.Sprintf("none of the %d assets of type %q could be had: %s", len(e.Offers), w.AssetType, strings.Join(texts, "; ")))
	} else {
		e.Error, e.Again = nil, false
	}
	if b, err := machine.Encode(e.Offers); err == nil && len(b) > maxAnswer {
		e.Offers, e.Again = []OfferState{}, false
		e.Error = &Fault{Step: atOffer, Message: fmt.Sprintf("the answer for the assets of type %q would have %d bytes, over the limit of %d", clip(w.AssetType), len(b), maxAnswer)}
	}
	d.emit(e)
}

// maxAnswer bounds what comes of a wish by type: it goes to whoever asked as a command.
const maxAnswer = 900 << 10

// expire refuses somebody whose own deadline has passed.
func (d *decision) expire(name string) {
	w := d.b.wishes.get(name)
	what, asset := "it was still waiting", w.AssetID
	if a := d.b.accesses.get(asset); w.AssetType == "" && a != nil {
		what = a.stands()
	}
	connector, provider := Split(d.s.id)
	fault := Fault{Step: atDeadline, Message: clip(fmt.Sprintf("no access by %s: %s (%s of %s through connector %q)",
		w.Deadline.UTC().Format(time.RFC3339), what, cmp.Or(quoted("asset", w.AssetID), quoted("type", w.AssetType)), provider, connector))}
	if w.AssetType != "" && w.assets != nil {
		d.answer(w, &fault)
		return
	}
	d.emit(Left{Waiter: name, Error: &fault, Again: true})
}

func quoted(what, name string) string {
	if name == "" {
		return ""
	}
	return fmt.Sprintf("%s %q", what, name)
}

// stands says for people what an access is at.
func (a *access) stands() string {
	switch a.step {
	case stepCatalog:
		return "the catalog was being asked"
	case stepRound:
		return fmt.Sprintf("the negotiation of round %d was %s", a.tried, a.phase)
	case stepEDR:
		return "the EDR was " + string(EDRPending)
	case stepNone:
	}
	return "it waited for its turn, since there are so many requests at this provider"
}

// release takes a waiter out and takes down what it says of what it was granted.
func (s State) release(at time.Time, c Release) []Event {
	waits := s.b.wishes.get(c.Waiter) != nil
	if !waits && !c.Dead {
		return nil
	}
	c.Reason = clip(c.Reason)
	d := s.decision(at)
	if waits {
		d.emit(Left{Waiter: c.Waiter, Reason: c.Reason})
	}
	if !c.Dead {
		return d.done()
	}
	if a := d.b.accesses.get(s.b.owners[c.Agreement]); a != nil && c.Agreement != "" && a.agreement == c.Agreement {
		d.disown(a, cmp.Or(c.Reason, "the agreement was refused"))
	}
	if a := d.b.accesses.get(s.b.owners[c.Process]); a != nil && c.Process != "" && a.edr.process == c.Process && a.edr.phase == EDRValid {
		d.emit(EDRDead{AssetID: a.asset, Round: a.round, ProcessID: c.Process, Reason: cmp.Or(c.Reason, "the EDR opens nothing any more")})
	}
	return d.done()
}
