package negotiation_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/machine/machinetest"
	. "github.com/waybill/waybill/domain/negotiation" //nolint:revive // the tests read as sentences of this package
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/task"
	"github.com/waybill/waybill/domain/transfer"
)

var given = machinetest.For[State, Command, Event](func() State { return New(key) })

var (
	offer  = Offer{AssetID: "doc", OfferID: "offer-1", Formats: []string{"HttpData-PULL"}, Constraints: "region eq us"}
	sealed = json.RawMessage(`{"$sealed":"k.token"}`)
)

func wants(waiter, asset string, n Need) Acquire {
	return Acquire{
		Provider: "http://provider1", Connector: "edc", AssetID: asset, Need: n, Waiter: waiter, CommandID: "command of " + waiter,
		Reply: &Reply{Aggregate: "transfer", ID: waiter},
	}
}

func wishOf(waiter, asset string, n Need) Wish {
	return Wish{
		Waiter: waiter, AssetID: asset, Need: n, Deadline: epoch.Add(DefaultWish), CommandID: "command of " + waiter,
		Reply: &Reply{Aggregate: "transfer", ID: waiter},
	}
}

// granted is the story of an asset that t-1 has been granted.
func granted() []Event {
	return []Event{
		Joined{wishOf("t-1", "doc", NeedEDR)},
		CatalogRequested{AssetID: "doc"},
		CatalogReceived{AssetID: "doc", ParticipantID: "provider1", Offers: []Offer{offer}, Until: epoch.Add(time.Minute)},
		Started{AssetID: "doc", Round: 1, ID: "round-1", Tried: 1, Moves: []Move{{State: PhaseRequesting}}, CounterPartyID: "provider1", Offer: offer},
		Moved{AssetID: "doc", Round: 1, Moves: []Move{{State: PhaseRequested}}, NegotiationID: "n-1"},
		Moved{AssetID: "doc", Round: 1, Moves: []Move{{State: PhaseFinalized}}, AgreementID: "a-1", Until: epoch.Add(24 * time.Hour)},
		EDRRequested{AssetID: "doc", Round: 1, ProcessID: "p-1"},
		EDRGranted{AssetID: "doc", Round: 1, ProcessID: "p-1", Data: sealed, Until: epoch.Add(time.Hour), EvictAt: epoch.Add(time.Hour)},
		Served{AssetID: "doc", Round: 1, AgreementID: "a-1", ProcessID: "p-1", Waiters: []string{"t-1"}},
	}
}

func TestValidAccessIsGrantedAtOnceByOneEvent(t *testing.T) {
	wish := wishOf("t-2", "doc", NeedEDR)
	t.Run("an EDR", given(granted()...).
		When(wants("t-2", "doc", NeedEDR)).
		Then(Served{AssetID: "doc", Round: 1, AgreementID: "a-1", ProcessID: "p-1", Wish: &wish}))
	push := wishOf("t-2", "doc", NeedAgreement)
	t.Run("an agreement", given(granted()...).
		When(wants("t-2", "doc", NeedAgreement)).
		Then(Served{AssetID: "doc", Round: 1, AgreementID: "a-1", Wish: &push}))
	t.Run("and whoever asked is told, with the EDR as it was sealed", given(granted()...).
		When(wants("t-2", "doc", NeedEDR)).
		Follows(
			machine.Send{
				ID: machine.ID("answer", "negotiation", key, "t-2", "2"), Aggregate: "transfer", Key: "t-2", Type: "transfer.granted.v1",
				Value: Granted{
					Negotiation: key, Round: 1, NegotiationID: "n-1", AssetID: "doc", AgreementID: "a-1", CounterPartyID: "provider1",
					Constraints: "region eq us", Formats: []string{"HttpData-PULL"}, EDR: &EDR{ProcessID: "p-1", Data: sealed},
				},
			},
			machine.Completion{
				ID: machine.ID("completion", "negotiation", key, "wish", "2"), Type: GrantedType,
				Value: WaiterCompletion{
					Waiter: "t-2", CommandID: "command of t-2", Round: 1, Constraints: "region eq us",
					OfferState: OfferState{
						ID: "round-1", AssetID: "doc", NegotiationID: "n-1", AgreementID: "a-1", EDR: &EDRState{ProcessID: "p-1", State: EDRValid},
					},
				},
			},
		))
}

func TestADeadEDRIsNamedByItsProcess(t *testing.T) {
	t.Run("the one in use is given up", given(granted()...).
		When(Release{Waiter: "t-1", Process: "p-1", Dead: true, Reason: "403"}).
		Then(EDRDead{AssetID: "doc", Round: 1, ProcessID: "p-1", Reason: "403"}))
	t.Run("an older one changes nothing", given(granted()...).
		When(Release{Waiter: "t-1", Process: "p-0", Dead: true}).
		Then())
	t.Run("somebody who is done with it takes nothing away", given(granted()...).
		When(Release{Waiter: "t-1", Process: "p-1"}).
		Then())
}

func TestAWaiterLeavesAlone(t *testing.T) {
	impatient := wants("t-2", "doc", NeedEDR)
	impatient.Deadline = epoch.Add(time.Minute)
	waiting := given(granted()[:4]...).When(impatient)
	t.Run("released", waiting.
		When(Release{Waiter: "t-2", Reason: "cancelled"}).
		Then(Left{Waiter: "t-2", Reason: "cancelled"}))
	s := waiting.After(2 * time.Minute).When(Release{Waiter: "t-9"}).State(t)
	if due := s.Deadline(); !due.Equal(epoch.Add(time.Minute)) {
		t.Fatalf("its deadline is %s", due)
	}
	events, err := s.Decide(epoch.Add(time.Minute), Wake{})
	if err != nil || len(events) != 1 {
		t.Fatalf("got %v, %v", events, err)
	}
	left, ok := events[0].(Left)
	if !ok || left.Waiter != "t-2" || left.Error == nil || !left.Again || left.Error.Step != "deadline" || !strings.Contains(left.Error.Message, "REQUESTING") {
		t.Fatalf("got %+v", events[0])
	}
}

func TestAWishThatCannotBeIsRefused(t *testing.T) {
	for what, c := range map[string]Acquire{
		"nobody is named": {Provider: "http://provider1", AssetID: "doc", Need: NeedEDR},
		"either an asset": {Provider: "http://provider1", Waiter: "t", Need: NeedEDR},
		"neither":         {Provider: "http://provider1", AssetID: "doc", Waiter: "t", Need: "all"},
		"connector":       {Provider: "http://provider1", Connector: "other", AssetID: "doc", Waiter: "t", Need: NeedEDR},
		"provider":        {Provider: "http://provider2", AssetID: "doc", Waiter: "t", Need: NeedEDR},
		"control":         {Provider: "http://provider1", AssetID: "d\x1foc", Waiter: "t", Need: NeedEDR},
		"one asset":       {Provider: "http://provider1", AssetType: "registry", Waiter: "t", Need: NeedEDR, Reply: &Reply{Aggregate: "transfer", ID: "t"}},
		"http":            {Provider: "ftp://provider1", AssetID: "doc", Waiter: "t", Need: NeedEDR},
	} {
		t.Run(what, given().When(c).Refuses(machine.Schema, what))
	}
	spelled := wants("t-2", "doc", NeedEDR)
	spelled.Provider = "HTTP://provider1:80/"
	t.Run("but not for how the address is spelled", func(t *testing.T) {
		given().When(spelled).State(t)
	})
}

func TestRoundsAreNumberedPerAssetAndNeverTwice(t *testing.T) {
	refused := func(asset string, round int) []Event {
		return []Event{
			Joined{wishOf("t-1", asset, NeedEDR)},
			Started{AssetID: asset, Round: round, Tried: 1, Moves: []Move{{State: PhaseRequesting}}},
			Moved{AssetID: asset, Round: round, Moves: []Move{{State: PhaseTerminated}}, By: ByProvider},
			Failed{AssetID: asset, Waiters: []string{"t-1"}, Rounds: 1},
		}
	}
	next := func(s State, asset string) int {
		c := wants("t-2", asset, NeedEDR)
		c.CommandID = asset
		p := newProvider(t, Config{})
		p.s = s
		p.give(c)
		p.run()
		p.give(wants("t-3", asset, NeedEDR))
		return p.last
	}
	s := machinetest.Fold(epoch, New(key), refused("doc", 7)...)
	if got := next(s, "doc"); got != 8 {
		t.Errorf("the round after round 7 is %d", got)
	}
	if got := next(machinetest.Fold(epoch, New(key), refused("doc", 7)...), "other"); got != 1 {
		t.Errorf("the first round of another asset is %d", got)
	}
	s = machinetest.Fold(epoch, New(key), refused("doc", 7)...)
	for i := range 10_000 {
		s = machinetest.Fold(epoch, s, refused(fmt.Sprint(i), 1)...)
	}
	if got := next(s, "doc"); got <= 7 {
		t.Errorf("after all that was forgotten, round %d comes after round 7", got)
	}
}

func TestAnAnswerThatGoesElsewhereIsAnotherWish(t *testing.T) {
	again := wants("t-1", "doc", NeedEDR)
	again.CommandID, again.Reply = "another", &Reply{Aggregate: "transfer", ID: "t-1", Attempt: 2}
	wish := wishOf("t-1", "doc", NeedEDR)
	wish.CommandID, wish.Reply = again.CommandID, again.Reply
	t.Run("it takes the place of the one before", given(granted()[:4]...).
		When(again).
		Then(Left{Waiter: "t-1", Reason: "it has another wish now"}, Joined{wish}))
}

// provider answers whatever is asked, in the order it is asked for.
type provider struct {
	t      *testing.T
	s      State
	at     time.Time
	works  []machine.Work
	asked  map[string]int
	answer map[string]int
	most   int
	last   int                        // round that was granted
	heard  func(typ string, in Input) // nil: nobody listens
}

func newProvider(t *testing.T, c Config) *provider {
	t.Helper()
	return &provider{t: t, s: Configured(func(string) Config { return c })(key), at: epoch, asked: map[string]int{}, answer: map[string]int{}}
}

func (p *provider) give(c Command) {
	events, err := p.s.Decide(p.at, c)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, e := range events {
		if e, ok := e.(Served); ok {
			p.last = e.Round
		}
		for _, f := range p.s.Follow(p.at, e) {
			switch f := f.(type) {
			case machine.Work:
				p.works = append(p.works, f)
				p.asked[f.Type]++
			case machine.Send:
				p.answer[f.Type]++
			case machine.CancelWork, machine.Completion, machine.Announce, machine.Claim, machine.Discard:
			}
		}
		p.s = p.s.Evolve(p.at, e)
	}
	p.most = max(p.most, len(p.works))
}

func (p *provider) run() {
	for len(p.works) > 0 {
		w := p.works[0]
		var in Input
		if err := json.Unmarshal(w.Input, &in); err != nil {
			p.t.Fatal(err)
		}
		if p.heard != nil {
			p.heard(w.Type, in)
		}
		out := `{}`
		switch w.Type {
		case "catalog":
			out = fmt.Sprintf(`{"participantId":"provider1","offers":[{"assetId":%q,"offerId":"o","policy":{"@type":"Offer"}}]}`, in.AssetID)
		case "negotiation-request":
			out = fmt.Sprintf(`{"negotiationId":%q}`, in.Key)
		case "negotiation-poll":
			out = fmt.Sprintf(`{"state":"FINALIZED","agreementId":"agreement of %s","assetId":%q}`, in.NegotiationID, in.AssetID)
		case "edr-poll":
			out = `{"state":"STARTED","edr":{"$sealed":"k.token"}}`
		}
		p.works = p.works[1:]
		p.give(Report{Command: orchestration.Complete{Report: orchestration.Report{WorkID: w.ID, Attempt: w.Attempt}, Output: json.RawMessage(out)}})
	}
}

func TestAThousandAssetsNeverExceedTheLimit(t *testing.T) {
	p := newProvider(t, Config{})
	for i := range 1000 {
		p.give(wants(fmt.Sprintf("t-%d", i), fmt.Sprintf("doc-%d", i), NeedEDR))
	}
	p.run()
	if p.most > DefaultParallelism || p.asked["negotiation-request"] != 1000 || p.answer["transfer.granted.v1"] != 1000 {
		t.Fatalf("%d at once; asked for %v, answered %v", p.most, p.asked, p.answer)
	}
}

func TestTwoThousandWishesForOneAssetCostOneNegotiation(t *testing.T) {
	p := newProvider(t, Config{})
	for i := range 2000 {
		p.give(wants(fmt.Sprintf("t-%d", i), "doc", NeedEDR))
	}
	p.run()
	if p.asked["catalog"] != 1 || p.asked["negotiation-request"] != 1 || p.asked["edr-request"] != 1 || p.answer["transfer.granted.v1"] != 2000 {
		t.Fatalf("asked for %v, answered %v", p.asked, p.answer)
	}
}

// TestTheAnswersAreWhatATransferReads holds the values of two packages together that do not know each
// other.
func TestTheAnswersAreWhatATransferReads(t *testing.T) {
	fits := func(from, into any) {
		t.Helper()
		b, err := json.Marshal(from)
		if err != nil {
			t.Fatal(err)
		}
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		if err := d.Decode(into); err != nil {
			t.Errorf("%s: %v", b, err)
		}
		if back, _ := json.Marshal(into); string(back) != string(b) {
			t.Errorf("%s is read as %s", b, back)
		}
	}
	fits(Granted{
		Negotiation: key, Round: 1, NegotiationID: "n", AssetID: "doc", AgreementID: "a", CounterPartyID: "p", Constraints: "c", Formats: []string{"f"},
		EDR: &EDR{ProcessID: "p-1", Data: sealed, ExpiresAt: epoch},
	}, &transfer.Granted{})
	fits(Refused{Negotiation: key, NegotiationID: "n", Error: Fault{Step: "s", Message: "m", Code: "c"}, Again: true, Rounds: 3, Constraints: "c"}, &transfer.Refused{})
}

func TestWorkOfADeadOwnerIsOfferedAgain(t *testing.T) {
	asked := task.Placed(task.Ask(task.Spec{WorkID: "w", Name: "catalog doc", Type: "catalog"}), "old")
	t.Run("by the new one", given(Joined{wishOf("t-1", "doc", NeedEDR)}, CatalogRequested{AssetID: "doc"}, Worked{Event: asked}).
		When(TakeOver{Placement: "new"}).
		Then(Worked{Event: task.Offered{WorkID: "w", Attempt: 1, Offer: 2}}))
}

func BenchmarkGrantedAtOnce(b *testing.B) {
	s := machinetest.Fold(epoch, New(key), granted()...)
	c := wants("t-2", "doc", NeedEDR)
	for i := range b.N {
		c.CommandID = fmt.Sprint(i)
		events, err := s.Decide(epoch, c)
		if err != nil || len(events) != 1 {
			b.Fatal(events, err)
		}
		s.Follow(epoch, events[0])
		s = s.Evolve(epoch, events[0])
	}
}

func BenchmarkNegotiated(b *testing.B) {
	p := &provider{t: &testing.T{}, s: Configured(func(string) Config { return Config{Parallelism: 100} })(key), at: epoch, asked: map[string]int{}, answer: map[string]int{}}
	for i := range b.N {
		p.give(wants(fmt.Sprintf("t-%d", i), fmt.Sprintf("doc-%d", i), NeedEDR))
		if len(p.works) >= 100 {
			p.run()
		}
	}
	p.run()
	if p.answer["transfer.granted.v1"] != b.N {
		b.Fatal(p.answer)
	}
}
