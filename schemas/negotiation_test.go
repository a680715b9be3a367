package schemas_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/schemas"
)

func TestGoldenNegotiationEvents(t *testing.T) { negotiationEventWire().isGolden(t) }

func TestGoldenNegotiationCommands(t *testing.T) { negotiationCommandWire().isGolden(t) }

// What happened to its work stands on a negotiation's topic as it does on a transfer's.
func TestTheWorkOfANegotiationIsWrittenLikeThatOfATransfer(t *testing.T) {
	for wireType, e := range taskEvents() {
		gotType, data, err := schemas.EncodeNegotiationEvent(negotiation.Worked{Event: e})
		if err != nil || gotType != wireType {
			t.Fatalf("%s is encoded as %s: %v", wireType, gotType, err)
		}
		sameBytes(t, data, golden(t, wireType, data))
		got, err := schemas.DecodeNegotiationEvent(wireType, data)
		if err != nil {
			t.Fatal(err)
		}
		sameValue(t, got, negotiation.Event(negotiation.Worked{Event: e}))
	}
	negotiationCommandWire().takesReports(t, func(c orchestration.Command) negotiation.Command { return negotiation.Report{Command: c} })
}

func TestCommandsOfANegotiationThatAreNotOnTheWireAreNotWritten(t *testing.T) {
	for _, c := range []negotiation.Command{negotiation.Wake{}, negotiation.TakeOver{Agent: "a"}, negotiation.Report{Command: orchestration.Cancel{}}} {
		if wireType, _, err := schemas.EncodeNegotiationCommand(c); err == nil {
			t.Errorf("%T is written as %s", c, wireType)
		}
	}
}

func TestANegotiationEventOfTheFutureOrOfAnotherFormIsAnError(t *testing.T) {
	for _, wireType := range []string{"negotiation.moved.v7", "task.ended.v2", schemas.TransferMoved, schemas.NegotiationAcquire, ""} {
		_, err := schemas.DecodeNegotiationEvent(wireType, []byte(`{}`))
		var unknown *schemas.UnknownVersionError
		if !errors.As(err, &unknown) || unknown.Type != wireType {
			t.Errorf("%q: got %v", wireType, err)
		}
	}
	for wireType := range negotiationEvents() {
		for _, data := range []string{"", "null", "[]", `{} {}`, "\xff"} {
			_, err := schemas.DecodeNegotiationEvent(wireType, []byte(data))
			var u *schemas.UndecodableError
			if !errors.As(err, &u) {
				t.Errorf("%s %q: got %v", wireType, data, err)
			}
		}
	}
}

func TestNegotiationEventsThatNobodyCouldReadAgainAreNotWritten(t *testing.T) {
	for name, e := range map[string]negotiation.Event{
		"a policy that is not UTF-8": negotiation.CatalogReceived{Offers: []negotiation.Offer{{Policy: raw("\"\xff\"")}}},
		"a policy that is not JSON":  negotiation.Started{Offer: negotiation.Offer{Policy: raw(`{`)}},
		"an EDR that is none":        negotiation.EDRGranted{Data: raw(`{} {}`)},
	} {
		if _, data, err := schemas.EncodeNegotiationEvent(e); err == nil {
			t.Errorf("%s: written as %s", name, data)
		}
	}
}

// A provider may say that its EDR is good for ever: what cannot be written stops the shard.
func TestATimeBeyondTheCalendarIsItsEnd(t *testing.T) {
	for at, want := range map[time.Time]string{
		time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC): `"9999-12-31T23:59:59Z"`,
		time.Date(-7, 1, 1, 0, 0, 0, 0, time.UTC):    `"0000-01-01T00:00:00Z"`,
	} {
		wireType, data, err := schemas.EncodeNegotiationEvent(negotiation.Joined{Wish: negotiation.Wish{Deadline: at}})
		if err != nil || !strings.Contains(string(data), want) {
			t.Fatalf("%s is written as %s, %v", at, data, err)
		}
		if _, err := schemas.DecodeNegotiationEvent(wireType, data); err != nil {
			t.Error(err)
		}
	}
}

func TestCommandsOfANegotiationThatAreNotToBeHadAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		wireType, data string
		code           machine.Code
		path           string
	}{
		"an unknown type":               {"negotiation.explode.v1", `{}`, machine.UnknownType, ""},
		"a transfer's command":          {schemas.TransferInitiate, `{"provider":"p","assetId":"a"}`, machine.UnknownType, ""},
		"too large":                     {schemas.NegotiationRelease, `{"waiter":"` + strings.Repeat("a", 2<<20) + `"}`, machine.Limit, ""},
		"not an object":                 {schemas.NegotiationAcquire, `[]`, machine.Schema, "$"},
		"nothing that is wanted":        {schemas.NegotiationAcquire, `{"provider":"p","need":"edr","waiter":"w"}`, machine.Schema, "$"},
		"an asset and a type":           {schemas.NegotiationAcquire, `{"provider":"p","need":"edr","waiter":"w","assetId":"a","assetType":"b"}`, machine.Schema, "$"},
		"a need of another kind":        {schemas.NegotiationAcquire, `{"provider":"p","need":"love","assetId":"a"}`, machine.Schema, "$.need"},
		"no need":                       {schemas.NegotiationAcquire, `{"provider":"p","assetId":"a"}`, machine.Schema, "$.need"},
		"an unknown member":             {schemas.NegotiationAcquire, `{"provider":"p","need":"edr","assetId":"a","wait":"w"}`, machine.Schema, "$.wait"},
		"a deadline of some time":       {schemas.NegotiationAcquire, `{"provider":"p","need":"edr","assetId":"a","deadline":"PT5M"}`, machine.Schema, "$.deadline"},
		"a deadline after the calendar": {schemas.NegotiationAcquire, `{"provider":"p","need":"edr","assetId":"a","deadline":"9999-12-31T23:59:59-10:00"}`, machine.Schema, "$.deadline"},
		"an answer to a stranger":       {schemas.NegotiationAcquire, `{"provider":"p","need":"edr","assetId":"a","reply":{"aggregate":"negotiation","id":"x"}}`, machine.Schema, "$.reply.aggregate"},
		"a release of nobody":           {schemas.NegotiationRelease, `{"dead":true}`, machine.Schema, "$.waiter"},
		"a state of nothing":            {schemas.NegotiationObserved, `{"state":"FINALIZED"}`, machine.Schema, "$"},
		"no state":                      {schemas.NegotiationObserved, `{"round":"n"}`, machine.Schema, "$.state"},
		"an EDR in the clear":           {schemas.NegotiationObserved, `{"processId":"p","state":"STARTED","edr":{"authorization":"the-token"}}`, machine.Schema, "$.edr.authorization"},
		"an EDR that is not sealed":     {schemas.NegotiationObserved, `{"processId":"p","state":"STARTED","edr":{"$sealed":"the-token"}}`, machine.Schema, `$.edr["$sealed"]`},
		"a report about nothing":        {schemas.WorkComplete, `{"attempt":1}`, machine.Schema, "$.workId"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := schemas.DecodeNegotiationCommand(c.wireType, []byte(c.data))
			var r *machine.Refusal
			if !errors.As(err, &r) || r.Code != c.code {
				t.Fatalf("got %v, %.300v", got, err)
			}
			if strings.Contains(err.Error(), "the-token") {
				t.Errorf("the secret is in the answer: %v", err)
			}
			if c.path != "" && (len(r.Errors) == 0 || r.Errors[0].Path != c.path || r.Errors[0].Message == "") {
				t.Errorf("got %.300q, want the mistake at %s", r.Errors, c.path)
			}
		})
	}
}

func TestAWishMayLeaveOutWhatIsNotThere(t *testing.T) {
	got, err := schemas.DecodeNegotiationCommand(schemas.NegotiationAcquire,
		[]byte(`{"provider":"p","connector":null,"assetId":null,"assetType":"b","need":"agreement","waiter":null,"counterPartyId":null,"deadline":null,"reply":null}`))
	if err != nil {
		t.Fatal(err)
	}
	sameValue(t, got, negotiation.Command(negotiation.Acquire{Provider: "p", AssetType: "b", Need: negotiation.NeedAgreement}))
}

func FuzzNegotiationCommand(f *testing.F) { negotiationCommandWire().fuzz(f) }

// FuzzNegotiationEvent holds the writer and the reader of the frequent events against encoding/json.
func FuzzNegotiationEvent(f *testing.F) {
	f.Add("n1", "w", "503 \"x\"\n", 2, int64(1767355200123456789))
	f.Add("", "\x00\x1f\u2028<>&", "\xff\xc0", -1, int64(0))
	f.Fuzz(func(t *testing.T, id, name, text string, n int, at int64) {
		wish := negotiation.Wish{
			Waiter: id, AssetID: name, AssetType: text, Need: negotiation.Need(text), Deadline: time.Unix(0, at).UTC(),
			Reply: &negotiation.Reply{Aggregate: id, ID: name, Attempt: n}, CommandID: name,
		}
		for _, e := range []negotiation.Event{
			negotiation.Joined{Wish: wish},
			negotiation.Served{AssetID: id, Round: n, AgreementID: name, ProcessID: text, Waiters: []string{id, text}, Wish: &wish},
			negotiation.Served{AssetID: id, Waiters: []string{name}},
			negotiation.Moved{AssetID: id, Round: n, Reason: text, Until: time.Unix(0, at).UTC()},
		} {
			negotiationEventWire().sameAsJSON(t, e)
		}
	})
}
