package process_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/domain/orchestration"
	. "github.com/waybill/waybill/domain/process" //nolint:revive // the tests read as sentences of this package
	"github.com/waybill/waybill/domain/transfer"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// route knows one connector, and one provider that none can speak with.
func route(provider string) (string, string, error) {
	switch provider {
	case "http://plain:8181":
		return "", "", nil
	case "http://forbidden":
		return "", "", errors.New("not allowed")
	}
	return "consumer", "provider", nil
}

func work(typ, input string) machine.Work {
	return machine.Work{
		ID: "w-1", Attempt: 2, Offer: 1, Aggregate: "orchestration", AggregateID: "job-1", ActivityID: "root", Type: typ, Input: json.RawMessage(input),
		RequestedAt: epoch, Deadline: epoch.Add(time.Hour), TraceParent: "00-4bf9-00f0-01",
	}
}

// sent is the one command that follows from an effect.
func sent(t *testing.T, f machine.Effect) machine.Send {
	t.Helper()
	sends, fault, ok := Delegate(route, f)
	if !ok || fault != nil || len(sends) != 1 {
		t.Fatalf("%+v leads to %v, %v, %v", f, sends, fault, ok)
	}
	again, _, _ := Delegate(route, f)
	if !same(t, sends[0], again[0]) {
		t.Fatalf("another time it leads to %v", again)
	}
	return sends[0]
}

func same(t *testing.T, a, b any) bool {
	t.Helper()
	x, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(x) == string(y)
}

func leads(f machine.Effect, want machine.Send) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		if got := sent(t, f); !same(t, got, want) {
			x, _ := json.MarshalIndent(got, "", " ")
			y, _ := json.MarshalIndent(want, "", " ")
			t.Errorf("it leads to\n%s\nnot to\n%s", x, y)
		}
	}
}

var asker = &transfer.Asker{Aggregate: "orchestration", ID: "job-1", ActivityID: "root", WorkID: "w-1", Attempt: 2}

func initiates(c transfer.Initiate) machine.Send {
	c.Asker = asker
	return machine.Send{
		ID: machine.ID("initiate", "w-1", "2", "1"), Aggregate: "transfer", Key: machine.ID("transfer", "w-1", "2"), Type: "transfer.initiate.v1",
		Value: c, TraceParent: "00-4bf9-00f0-01",
	}
}

func TestARetrieveIsATransfer(t *testing.T) {
	hour := definition.Duration(time.Hour)
	t.Run("of a document of a parts tree", leads(work("retrieve", `{"file":"/a","connectorUrl":"http://p"}`),
		initiates(transfer.Initiate{Provider: "http://p", AssetID: "a", As: "parts-tree", Deadline: hour})))
	t.Run("of a registry", leads(work("retrieve", `{"file":"r","connectorUrl":"http://p","as":"registry","counterPartyId":"provider","properties":{"globalAssetId":"g"}}`),
		initiates(transfer.Initiate{Provider: "http://p", AssetID: "r", As: "registry", CounterPartyID: "provider", Deadline: hour, Properties: json.RawMessage(`{"globalAssetId":"g"}`)})))
	t.Run("which is terminated when it is not wanted any more", leads(
		machine.CancelWork{ID: "w-1", Attempt: 2, Type: "retrieve", Reason: "the orchestration is CANCELLED"},
		machine.Send{
			ID: machine.ID("unwanted", "w-1", "2"), Aggregate: "transfer", Key: machine.ID("transfer", "w-1", "2"), Type: "transfer.terminate.v1",
			Value: transfer.Terminate{Reason: "the orchestration is CANCELLED", By: transfer.ByAsker},
		}))
	undo := work("retrieve", `{"file":"a","connectorUrl":"http://p"}`)
	undo.Discriminator = definition.Dispose
	t.Run("and leaves nothing to undo", leads(undo, machine.Send{
		ID: machine.ID("undone", "w-1", "2"), Aggregate: "orchestration", Key: "job-1", Type: "work.complete.v1",
		Value: orchestration.Complete{Report: orchestration.Report{WorkID: "w-1", Attempt: 2}, Output: json.RawMessage("{}")},
	}))
}

func TestATransferActivityIsATransfer(t *testing.T) {
	t.Run("with all that it says", leads(
		work("transfer", `{"provider":"http://p","assetId":"a","transferType":"HttpData-PUSH","manifest":{"definitions":[{"id":"d","type":"local","size":1}]},"as":"document","deadline":"PT5M","asker":{"id":"somebody"}}`),
		initiates(transfer.Initiate{
			Provider: "http://p", AssetID: "a", TransferType: "HttpData-PUSH", As: "document", Deadline: definition.Duration(5 * time.Minute),
			Manifest: &transfer.Manifest{Definitions: []transfer.Definition{{ID: "d", Type: "local", Raw: json.RawMessage(`{"id":"d","type":"local","size":1}`)}}},
		})))
}

func TestAnAcquireIsAWish(t *testing.T) {
	wish := negotiation.Acquire{
		Provider: "http://p", Connector: "consumer", AssetType: "registry", Need: negotiation.NeedEDR, Waiter: machine.ID("waiter", "w-1", "2"),
		CounterPartyID: "provider", Deadline: epoch.Add(time.Hour),
		Reply: &negotiation.Reply{Aggregate: "orchestration", ID: "job-1", ActivityID: "root", WorkID: "w-1", Attempt: 2},
	}
	t.Run("at the negotiation with the provider", leads(work("acquire", `{"provider":"HTTP://P/","assetType":"registry"}`), machine.Send{
		ID: machine.ID("acquire", "w-1", "2"), Aggregate: "negotiation", Key: "consumer http://p", Type: "negotiation.acquire.v1", Value: wish, TraceParent: "00-4bf9-00f0-01",
	}))
	wish.AssetType, wish.AssetID, wish.Need, wish.CounterPartyID = "", "a", negotiation.NeedAgreement, "another"
	t.Run("for what is needed", leads(work("acquire", `{"provider":"http://p","assetId":"a","need":"agreement","counterPartyId":"another"}`), machine.Send{
		ID: machine.ID("acquire", "w-1", "2"), Aggregate: "negotiation", Key: "consumer http://p", Type: "negotiation.acquire.v1", Value: wish, TraceParent: "00-4bf9-00f0-01",
	}))
	t.Run("which is taken back when it is not wanted any more", leads(
		machine.CancelWork{ID: "w-1", Attempt: 2, Type: "acquire", Reason: "enough", Input: json.RawMessage(`{"provider":"http://p/","assetId":"a"}`)},
		machine.Send{
			ID: machine.ID("unwanted", "w-1", "2"), Aggregate: "negotiation", Key: "consumer http://p", Type: "negotiation.release.v1",
			Value: negotiation.Release{Waiter: machine.ID("waiter", "w-1", "2"), Reason: "enough"},
		}))
}

func TestWhatCannotBeDelegated(t *testing.T) {
	for input, c := range map[string]struct{ typ, want string }{
		``:                            {"retrieve", "the input has no file"},
		`{"connectorUrl":"http://p"}`: {"retrieve", "no file"},
		`{"file":"a"}`:                {"retrieve", "no connectorUrl"},
		`{"file":"../a","connectorUrl":"http://p"}`:             {"retrieve", `path segment ".."`},
		`{"file":7,"connectorUrl":"http://p"}`:                  {"retrieve", "cannot be read"},
		`{"assetId":"a"}`:                                       {"transfer", "no provider"},
		`{"provider":"http://p"}`:                               {"transfer", "no assetId"},
		`{"provider":"http://p","x":1}`:                         {"acquire", "either assetId or assetType"},
		`{"assetId":"a","x":1}`:                                 {"acquire", "no provider"},
		`{"provider":"p","assetId":"a"}`:                        {"acquire", "does not begin with http"},
		`{"provider":"http://plain:8181/","assetId":"a"}`:       {"acquire", "http://plain:8181: no connector"},
		`{"provider":"http://forbidden","assetId":"a"}`:         {"acquire", "http://forbidden: not allowed"},
		`{"provider":"http://p","assetId":"a","need":"token"}`:  {"acquire", `need "token"`},
		`{"provider":"http://p","assetId":"a","assetType":"b"}`: {"acquire", "either"},
		`{"provider":"http://p","assetId":"a\u0000"}`:           {"acquire", "no control characters"},
	} {
		sends, fault, ok := Delegate(route, work(c.typ, input))
		if !ok || len(sends) > 0 || fault == nil || fault.Step != "address" || !strings.Contains(fault.Message, c.want) {
			t.Errorf("%s %s: %v, %+v, want %q", c.typ, input, sends, fault, c.want)
		}
	}
	unfit := work("retrieve", `{}`)
	unfit.Unfit = "too large"
	for _, f := range []machine.Effect{work("noop", `{}`), machine.CancelWork{Type: "noop"}, machine.Completion{}, unfit} {
		if sends, fault, ok := Delegate(route, f); ok || fault != nil || sends != nil {
			t.Errorf("%+v is delegated", f)
		}
	}
	if sends, _, ok := Delegate(route, machine.CancelWork{Type: "acquire", Input: json.RawMessage(`{}`)}); !ok || sends != nil {
		t.Errorf("what has begun nothing is taken back by %v", sends)
	}
}

// An orchestration's own word that it is cancelled says enough to find the negotiation.
func TestACancelledOrchestrationTakesItsWishBack(t *testing.T) {
	plan, err := orchestration.NewPlan(definition.Orchestration{Type: "job", Activities: []definition.Activity{
		{ID: "access", Type: definition.Acquire, With: json.RawMessage(`{"provider":"http://{{input.host}}/","assetId":"a"}`)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	s := orchestration.New("job-1")
	var sends []machine.Send
	for _, c := range []orchestration.Command{
		orchestration.Start{Type: "job", Input: json.RawMessage(`{"host":"p"}`), Plan: plan, Fingerprint: "body"}, orchestration.Cancel{Reason: "enough"},
	} {
		events, err := s.Decide(epoch, c)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			for _, f := range s.Follow(epoch, e) {
				l, _, _ := Delegate(route, f)
				sends = append(sends, l...)
			}
			s = s.Evolve(epoch, e)
		}
	}
	if len(sends) != 2 || sends[0].Key != "consumer http://p" || sends[1].Key != sends[0].Key ||
		sends[1].Value.(negotiation.Release).Waiter != sends[0].Value.(negotiation.Acquire).Waiter {
		t.Fatalf("got %+v", sends)
	}
}
