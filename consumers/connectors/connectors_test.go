package connectors_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/connectors"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/partstree"
	"github.com/waybill/waybill/internal/callbacks"
	"github.com/waybill/waybill/internal/outbound"
	"github.com/waybill/waybill/internal/seal"
	"github.com/waybill/waybill/internal/standin"
)

func TestADocumentIsFetchedThroughAConnector(t *testing.T) {
	w := newWorld(t)
	got := w.edr("document")
	if got.State != "STARTED" {
		t.Fatalf("got %+v", got)
	}
	r := w.do(connectors.FetchType, map[string]any{"adapter": "edc", "assetId": "document", "edr": got.EDR, "as": "parts-tree"})
	out := done[partstree.Output](t, r)
	if out.Value != "The quick" || *out.Order != 1 || r.Key() != partstree.NodeID(w.address, "document") {
		t.Errorf("got %s under the key %q", r.Output(), r.Key())
	}
	if s := r.Spawned(); len(s) != 1 || s[0].Name != "next at http://provider2:8181" {
		t.Errorf("it spawns %+v", s)
	}
	if n := w.Counts().Providers["provider1"]; n.Negotiations != 1 || n.Documents["document"] != 1 {
		t.Errorf("the provider saw %+v", n)
	}
}

func TestWhatOpensADocumentLeavesAnAgentSealed(t *testing.T) {
	w := newWorld(t)
	got := w.edr("document")
	var sealed seal.Sealed
	if err := json.Unmarshal(got.EDR, &sealed); err != nil {
		t.Fatal(err)
	}
	secret, err := w.seals.Open(seal.EDR("consumer"), sealed)
	if err != nil {
		t.Fatal(err)
	}
	var edr struct{ Endpoint, Authorization string }
	if err := secret.Decode(&edr); err != nil || edr.Endpoint == "" || edr.Authorization == "" {
		t.Fatalf("it is %v, %v", edr, err)
	}
	t.Run("and opens for this connector only", func(t *testing.T) {
		other, err := w.seals.Seal(seal.EDR("another"), secret.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		r := w.do(connectors.FetchType, map[string]any{"assetId": "document", "edr": other})
		fails(t, r, agent.Failed, "edr", "edr-dead", "cannot be opened")
	})
	t.Run("and a dead one says so, without it", func(t *testing.T) {
		w.provider.KillTokens("document")
		r := w.do(connectors.FetchType, map[string]any{"assetId": "document", "edr": got.EDR})
		fails(t, r, agent.Failed, "fetch", "edr-dead", "403 Forbidden")
		if strings.Contains(r.Fault().Message, edr.Authorization) {
			t.Error("it shows the token")
		}
	})
}

func TestTheCatalogOfAProvider(t *testing.T) {
	w := newWorld(t, func(_ *standin.Config, k *connectors.Connector, _ *connectors.Surroundings) {
		k.AcceptedPolicies = [][]string{{"region eq eu"}}
	})
	one := w.offered("document")
	if one.AssetID != "document" || one.Unacceptable != "" || !slices.Contains(one.Formats, standin.Pull) || len(one.Policy) == 0 {
		t.Errorf("got %+v", one)
	}
	if o := w.offered("region"); o.Constraints != "region eq us" || !strings.Contains(o.Unacceptable, `"region eq us" is covered by none of the accepted policies: "region eq eu"`) {
		t.Errorf("got %+v", o)
	}
	typed := done[catalog](t, w.do(connectors.CatalogType, map[string]any{"assetType": "registry"}))
	if len(typed.Offers) != 1 || typed.Offers[0].AssetID != "registry" || typed.ParticipantID != "provider1" {
		t.Errorf("got %+v", typed)
	}
	if r := w.do(connectors.CatalogType, map[string]any{"assetId": "nothing"}); string(r.Output()) != `{"participantId":"provider1","offers":[]}` {
		t.Errorf("got %s", r.Output())
	}
	fails(t, w.do(connectors.CatalogType, map[string]any{}), agent.Failed, "catalog", "", "neither or both of assetId and assetType")
	t.Run("while the connector boots", func(t *testing.T) {
		defer w.OnRequest(standin.Catalog, standin.Boot(), standin.When{}).Mend()
		fails(t, w.do(connectors.CatalogType, map[string]any{"assetId": "document"}), agent.Retrying, "catalog", "", "may be starting")
	})
	t.Run("while it has died", func(t *testing.T) {
		w.Kill()
		fails(t, w.do(connectors.CatalogType, map[string]any{"assetId": "document"}), agent.Retrying, "catalog", "", "POST "+w.ManagementURL()+"/v3/catalog/request: ")
	})
}

func TestNothingIsAskedForTwiceAfterALostReply(t *testing.T) {
	w := newWorld(t)
	request := w.request("document")
	w.OnRequest(standin.Negotiate, standin.LoseReply(), standin.When{Times: 1})
	fails(t, w.do(connectors.NegotiationRequestType, request), agent.Retrying, "negotiation", "", "EOF")
	n := done[look](t, w.do(connectors.NegotiationRequestType, request, again)).NegotiationID
	if got := w.Negotiations(); len(got) != 1 || got[0].ID != n {
		t.Fatalf("there are the negotiations %+v", got)
	}
	end := done[look](t, w.polls(connectors.NegotiationPollType, map[string]any{"negotiationId": n}))

	w.OnRequest(standin.RequestTransfer, standin.LoseReply(), standin.When{Times: 1})
	start := process("document", end.AgreementID)
	fails(t, w.do(connectors.EDRRequestType, start), agent.Retrying, "request", "", "EOF")
	offeredAgain := func(w *machine.Work) { w.Offer = 2 }
	if p := done[look](t, w.do(connectors.EDRRequestType, start, offeredAgain)).ProcessID; p != "p-document" {
		t.Errorf("the process is %s", p)
	}
	if got := w.Transfers(); len(got) != 1 {
		t.Fatalf("there are the transfers %+v", got)
	}
	if got := done[look](t, w.polls(connectors.EDRPollType, map[string]any{"processId": "p-document"})); got.State != "STARTED" {
		t.Errorf("got %+v", got)
	}
	if n := w.Counts().Providers["provider1"]; n.Negotiations != 1 {
		t.Errorf("the provider saw %+v", n)
	}
}

func TestPollingGoesSlowerUntilSomethingChanges(t *testing.T) {
	w := newWorld(t)
	stuck := w.OnStage(standin.NegotiationRequested, standin.Stay(), standin.When{})
	n := done[look](t, w.do(connectors.NegotiationRequestType, w.request("document"))).NegotiationID
	poll := func(state json.RawMessage) agent.Result {
		return w.do(connectors.NegotiationPollType, map[string]any{"negotiationId": n}, withState(state))
	}
	var r agent.Result
	for _, want := range []time.Duration{10, 20, 40, 70, 70} {
		r = poll(r.State())
		if r.Kind() != agent.Scheduled || r.Wants() != want*time.Millisecond || !strings.HasPrefix(string(r.State()), `{"state":"REQUESTED"`) {
			t.Fatalf("it is %q after %s with %s: %v", r.Kind(), r.Wants(), r.State(), r.Err())
		}
	}
	if r := poll(json.RawMessage(`{"state":"REQUESTING","times":9}`)); r.Wants() != 10*time.Millisecond {
		t.Errorf("in another state it is asked again after %s", r.Wants())
	}
	if r := poll(json.RawMessage(`{"state":"REQUESTED","times":99}`)); r.Wants() != 70*time.Millisecond {
		t.Errorf("after long it is asked again after %s", r.Wants())
	}
	stuck.Mend()
	if end := done[look](t, w.polls(connectors.NegotiationPollType, map[string]any{"negotiationId": n})); end.State != "FINALIZED" {
		t.Errorf("got %+v", end)
	}
}

func TestANegotiationThatComesToNothing(t *testing.T) {
	w := newWorld(t)
	n := done[look](t, w.do(connectors.NegotiationRequestType, w.request("region"))).NegotiationID
	end := done[look](t, w.polls(connectors.NegotiationPollType, map[string]any{"negotiationId": n}))
	if end.State != "TERMINATED" || !strings.Contains(end.Detail, "the provider refused") {
		t.Errorf("got %+v", end)
	}
	if r := w.do(connectors.NegotiationPollType, map[string]any{"negotiationId": "unknown"}); string(r.Output()) != `{"state":"LOST"}` {
		t.Errorf("got %s", r.Output())
	}
	w.OnStage(standin.NegotiationRequested, standin.Stay(), standin.When{})
	n = done[look](t, w.do(connectors.NegotiationRequestType, w.request("document"))).NegotiationID
	for _, id := range []string{n, n, "unknown"} {
		if r := w.do(connectors.NegotiationTerminateType, map[string]any{"negotiationId": id, "reason": "no longer needed"}); string(r.Output()) != `{}` {
			t.Errorf("%s: %s %v", id, r.Output(), r.Err())
		}
	}
}

func TestAnAgreementThatIsRefused(t *testing.T) {
	w := newWorld(t)
	got := w.edr("expired")
	if got.State != "TERMINATED" || !got.AgreementDead || got.Detail == "" {
		t.Errorf("got %+v", got)
	}
	r := w.do(connectors.TransferRequestType, process("document", "none"))
	fails(t, r, agent.Failed, "request", "agreement-dead", "Contract agreement with id none not found")
}

func TestAnEDRIsWaitedForAndEnded(t *testing.T) {
	w := newWorld(t)
	w.OnStage(standin.TransferEDR, standin.Take(100*time.Millisecond), standin.When{})
	p := done[look](t, w.do(connectors.EDRRequestType, process("document", w.agreement("document")))).ProcessID
	var scheduled int
	var state json.RawMessage
	for {
		r := w.do(connectors.EDRPollType, map[string]any{"processId": p}, withState(state))
		if r.Kind() != agent.Scheduled {
			if got := done[look](t, r); got.State != "STARTED" {
				t.Errorf("got %+v", got)
			}
			break
		}
		if strings.Contains(string(r.State()), "STARTED") {
			scheduled++
			if r.Wants() != 10*time.Millisecond {
				t.Errorf("it is asked again after %s", r.Wants())
			}
		}
		state = r.State()
		<-time.After(r.Wants())
	}
	if scheduled == 0 {
		t.Error("the EDR was there at once")
	}
	for range 2 {
		if r := w.do(connectors.EDREndType, map[string]any{"processId": p}); string(r.Output()) != `{}` {
			t.Errorf("got %s %v", r.Output(), r.Err())
		}
	}
	if got := done[look](t, w.polls(connectors.EDRPollType, map[string]any{"processId": p})); got.State != "TERMINATED" || got.AgreementDead {
		t.Errorf("got %+v", got)
	}
	for _, typ := range []string{connectors.EDRPollType, connectors.TransferPollType} {
		if r := w.do(typ, map[string]any{"processId": "unknown"}); string(r.Output()) != `{"state":"LOST"}` {
			t.Errorf("got %s", r.Output())
		}
	}
	fails(t, w.do(connectors.EDRRefreshType, map[string]any{"processId": p}), agent.Failed, "edr", "edr-dead", "refresh: tractusx")
}

func TestATokenIsRefreshed(t *testing.T) {
	w := newWorld(t, func(s *standin.Config, k *connectors.Connector, _ *connectors.Surroundings) {
		s.Refresh, k.Refresh = time.Hour, connectors.RefreshTractusX
	})
	first := w.edr("document")
	if left := time.Until(first.ExpiresAt); left < 50*time.Minute || left > 70*time.Minute {
		t.Errorf("it is good for %s", left)
	}
	next := done[look](t, w.do(connectors.EDRRefreshType, map[string]any{"processId": "p-document", "edr": first.EDR}))
	if next.ExpiresAt.IsZero() {
		t.Errorf("got %+v", next)
	}
	if r := w.do(connectors.FetchType, map[string]any{"assetId": "document", "edr": next.EDR}); r.Kind() != agent.Completed {
		t.Error(r.Err())
	}
}

func TestAPushIsSentToWhereASealedDestinationIs(t *testing.T) {
	var got atomic.Pointer[string]
	sink := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { p := r.URL.Path; got.Store(&p) }))
	t.Cleanup(sink.Close)
	w := newWorld(t)
	address, err := w.seals.Seal(seal.Transfer("t1"), []byte(`"`+sink.URL+`/uploads/s3cret"`))
	if err != nil {
		t.Fatal(err)
	}
	push := process("document", w.agreement("document"))
	push["transferType"], push["destination"] = standin.Push, map[string]any{"type": "HttpData", "baseUrl": address}
	if r := w.do(connectors.TransferRequestType, push); string(r.Output()) != `{"processId":"p-document"}` {
		t.Fatalf("got %s %v", r.Output(), r.Err())
	}
	if r := w.polls(connectors.TransferPollType, map[string]any{"processId": "p-document"}); string(r.Output()) != `{"state":"COMPLETED"}` {
		t.Errorf("got %s %v", r.Output(), r.Err())
	}
	if p := got.Load(); p == nil || *p != "/uploads/s3cret" {
		t.Errorf("it was pushed to %v", p)
	}
	t.Run("of another transfer it opens nothing", func(t *testing.T) {
		other := func(w *machine.Work) { w.AggregateID = "t2" }
		r := w.do(connectors.TransferRequestType, push, other)
		fails(t, r, agent.Failed, "request", "", "destination: ")
	})
}

func TestAProcessIsToldToChange(t *testing.T) {
	w := newWorld(t)
	w.edr("document")
	tell := func(typ string) agent.Result {
		return w.do(typ, map[string]any{"processId": "p-document", "requested": true, "reason": "asleep"})
	}
	until := func(state string) {
		t.Helper()
		for deadline := time.Now().Add(5 * time.Second); ; {
			if p, _ := w.Transfer("p-document"); p.State == state {
				return
			} else if time.Now().After(deadline) {
				t.Fatalf("it is %s and not %s", p.State, state)
			}
		}
	}
	for _, step := range []struct{ typ, state string }{
		{connectors.TransferSuspendType, "SUSPENDED"},
		{connectors.TransferSuspendType, "SUSPENDED"},
		{connectors.TransferResumeType, "STARTED"},
		{connectors.TransferResumeType, "STARTED"},
	} {
		if r := tell(step.typ); string(r.Output()) != `{}` {
			t.Fatalf("%s: %s %v", step.typ, r.Output(), r.Err())
		}
		until(step.state)
	}
	for range 2 {
		if r := tell(connectors.TransferTerminateType); string(r.Output()) != `{"told":true}` {
			t.Fatalf("got %s %v", r.Output(), r.Err())
		}
		until("TERMINATED")
	}
	fails(t, tell(connectors.TransferSuspendType), agent.Failed, "suspend", "", "because it's TERMINATED")
	unknown := map[string]any{"processId": "unknown"}
	fails(t, w.do(connectors.TransferResumeType, unknown), agent.Failed, "resume", "not-found", "404")
}

func TestARequestThatNobodyAnsweredIsAskedForBeforeItIsEnded(t *testing.T) {
	w := newWorld(t)
	end := map[string]any{"processId": "p-document", "requested": false}
	if r := w.do(connectors.TransferTerminateType, end); string(r.Output()) != `{"told":false}` {
		t.Errorf("of one that has not arrived: %s %v", r.Output(), r.Err())
	}
	w.edr("document")
	boots := w.OnRequest(standin.GetTransfer, standin.Boot(), standin.When{})
	fails(t, w.do(connectors.TransferTerminateType, end), agent.Retrying, "request", "", "may be starting")
	boots.Mend()
	if r := w.do(connectors.TransferTerminateType, end); string(r.Output()) != `{"told":true}` {
		t.Errorf("of one that has: %s %v", r.Output(), r.Err())
	}
	if n := w.Counts().Requests[standin.TerminateTransfer]; n != 1 {
		t.Errorf("it was told %d times", n)
	}
}

func TestAConnectorCallsBackWhereItWasAskedTo(t *testing.T) {
	called := make(chan string, 100)
	endpoint := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { called <- r.URL.Path }))
	t.Cleanup(endpoint.Close)
	proofs := callbacks.New([]byte("a key of some length"))
	w := newWorld(t, func(_ *standin.Config, k *connectors.Connector, in *connectors.Surroundings) {
		in.Callbacks = proofs.At("http://127.0.0.1:1")
		k.CallbackURL = endpoint.URL + "/callbacks"
	})
	w.agreement("document")
	parts := strings.Split(strings.TrimPrefix(<-called, callbacks.ConnectorPrefix), "/")
	if len(parts) != 2 {
		t.Fatalf("it was called at %v", parts)
	}
	if s, ok := proofs.Connector(parts[0], parts[1]); !ok || s != (callbacks.Subject{Aggregate: "negotiation", ID: "consumer x", Task: "round-1"}) {
		t.Errorf("it was called about %+v, %v", s, ok)
	}
	if n := w.Counts().Callbacks.Transactional; n != 0 {
		t.Errorf("%d callbacks were asked for as transactional", n)
	}
}

func TestWhatAFetchedDocumentIsReadAs(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/x-test")
		fmt.Fprint(w, map[string]string{
			"/json": `[1,{"a":2}]`, "/text": "plain words", "/bytes": "\xff\xfe", "/nul": "a\x00", "/twice": `{"a":1,"a":2}`, "/tree": `{"value":"x"}`, "/page": "<html>",
			"/registry": `{"parts":{"urn:part":["submodel-1",{"file":"submodel-2","connectorUrl":"http://provider2:8181"}]}}`,
		}[r.URL.Path])
	}))
	t.Cleanup(s.Close)
	pool := agent.NewPool(nil)
	if err := connectors.Register(pool, connectors.Config{}, connectors.Surroundings{Allow: []string{"127.0.0.1:*"}}); err != nil {
		t.Fatal(err)
	}
	fetch := func(asset, as, properties string) agent.Result {
		return do(t, pool, connectors.FetchType, map[string]any{
			"adapter": "http", "connector": "", "provider": s.URL, "assetId": asset, "as": as, "properties": json.RawMessage(properties),
		})
	}
	for _, c := range []struct{ asset, as, want string }{
		{"json", "", `[1,{"a":2}]`},
		{"json", "document", `[1,{"a":2}]`},
		{"text", "", `{"contentType":"text/x-test","text":"plain words"}`},
		{"bytes", "", `{"base64":"//4=","contentType":"text/x-test"}`},
		{"nul", "", `{"base64":"YQA=","contentType":"text/x-test"}`},
		{"twice", "", `{"contentType":"text/x-test","text":"{\"a\":1,\"a\":2}"}`}, // JSON, but not the same to everybody
		{"tree", "parts-tree", `{"value":"x"}`},
	} {
		if r := fetch(c.asset, c.as, "null"); string(r.Output()) != c.want {
			t.Errorf("%s as %q: %s %v", c.asset, c.as, r.Output(), r.Err())
		}
	}
	fails(t, fetch("page", "parts-tree", "null"), agent.Failed, "parse", "", "GET "+s.URL+"/page: the document is not a JSON object")
	fails(t, fetch("page", "novel", "null"), agent.Failed, "parse", "", `cannot be read as "novel"`)
	t.Run("a registry", func(t *testing.T) {
		part := func(id string) string { return `{"globalAssetId":"` + id + `"}` }
		r := fetch("registry", "registry", part("urn:part"))
		if string(r.Output()) != `{"value":"","submodels":2}` || len(r.Spawned()) != 2 || r.Key() != "" {
			t.Fatalf("got %s %+v %v", r.Output(), r.Spawned(), r.Err())
		}
		if n := r.Spawned()[1].Name; n != "submodel-2 at http://provider2:8181" {
			t.Errorf("it spawns %s", n)
		}
		if r := fetch("registry", "registry", part("urn:other")); string(r.Output()) != `{"value":"","submodels":0}` || len(r.Spawned()) != 0 {
			t.Errorf("got %s %v", r.Output(), r.Err())
		}
		fails(t, fetch("registry", "registry", "null"), agent.Failed, "parse", "", "globalAssetId")
		fails(t, fetch("text", "registry", part("urn:part")), agent.Failed, "parse", "", "GET "+s.URL+"/text: ")
	})
}

func TestAPlainProviderIsAllowedByItsMatch(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"value":"x"}`) }))
	t.Cleanup(s.Close)
	pool := agent.NewPool(nil)
	cfg := connectors.Config{Connectors: []connectors.Connector{{Name: "plain", Adapter: connectors.AdapterHTTP, Match: []string{"http://127.0.0.1:*"}}}}
	if err := connectors.Register(pool, cfg, connectors.Surroundings{}); err != nil {
		t.Fatal(err)
	}
	ask := func(typ, connector, provider string) agent.Result {
		return do(t, pool, typ, map[string]any{"connector": connector, "provider": provider, "assetId": "a"})
	}
	if r := ask(connectors.FetchType, "plain", s.URL); string(r.Output()) != `{"value":"x"}` {
		t.Errorf("got %s %v", r.Output(), r.Err())
	}
	fails(t, ask(connectors.FetchType, "", s.URL), agent.Failed, "address", "", "not on the list of allowed hosts")
	fails(t, ask(connectors.FetchType, "plain", "http://elsewhere.example"), agent.Failed, "address", "", "not on the list of allowed hosts")
	fails(t, ask(connectors.FetchType, "unknown", s.URL), agent.Failed, "address", "", `no connector "unknown"`)
}

func TestATimeoutIsAlsoHowLongADocumentMayKeepUsWaiting(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"value":"x"}`) }))
	t.Cleanup(s.Close)
	fetch := func(timeout time.Duration) agent.Result {
		pool := agent.NewPool(nil)
		k := connectors.Connector{Name: "plain", Adapter: connectors.AdapterHTTP, Match: []string{"*"}, Timeout: definition.Duration(timeout)}
		in := connectors.Surroundings{Limits: outbound.Limits{Stall: 1}}
		if err := connectors.Register(pool, connectors.Config{Connectors: []connectors.Connector{k}}, in); err != nil {
			t.Fatal(err)
		}
		return do(t, pool, connectors.FetchType, map[string]any{"connector": "plain", "provider": s.URL, "assetId": "a"})
	}
	fails(t, fetch(0), agent.Retrying, "fetch", "", "nothing came for 1ns")
	if r := fetch(time.Minute); string(r.Output()) != `{"value":"x"}` {
		t.Errorf("got %s %v", r.Output(), r.Err())
	}
}

func TestNothingIsNegotiatedThroughAConnectorThatKnowsNoContracts(t *testing.T) {
	w := newWorld(t)
	raw := map[string]any{"connector": "", "assetId": "document"}
	fails(t, w.do(connectors.CatalogType, raw), agent.Failed, "address", "", "which knows no contracts")
	raw["connector"] = "unknown"
	fails(t, w.do(connectors.CatalogType, raw), agent.Failed, "address", "", `no connector "unknown"`)
}

func TestOnlySoMuchIsAskedForAtOnce(t *testing.T) {
	w := newWorld(t, func(_ *standin.Config, _ *connectors.Connector, in *connectors.Surroundings) {
		in.Concurrency = map[string]int{connectors.RequestsName: 2}
	})
	hang := w.OnRequest(standin.Catalog, standin.Slow(20*time.Millisecond), standin.When{})
	defer hang.Mend()
	const all = 8
	results := make(chan agent.Result, all)
	for i := range all {
		raw, err := json.Marshal(w.input(map[string]any{"assetId": "document"}))
		if err != nil {
			t.Fatal(err)
		}
		work := machine.Work{ID: fmt.Sprint(i), Attempt: 1, Type: connectors.CatalogType, Input: raw}
		if !w.pool.TryRun(t.Context(), work, func(r agent.Result) { results <- r }) {
			t.Fatal("nobody does it")
		}
	}
	for range all {
		if r := <-results; r.Kind() != agent.Completed {
			t.Error(r.Err())
		}
	}
	if most := w.Counts().Providers["provider1"].Most.Catalogs; most > 2 {
		t.Errorf("%d were under way at once", most)
	}
}

func TestEveryTypeOfWorkHasItsAgent(t *testing.T) {
	if got := newWorld(t).pool.Types(); len(got) != 14 {
		t.Errorf("got %v", got)
	}
	pool := agent.NewPool(nil)
	if err := connectors.Register(pool, connectors.Config{}, connectors.Surroundings{}); err != nil {
		t.Fatal(err)
	}
	if got := pool.Types(); !slices.Equal(got, []string{connectors.FetchType}) {
		t.Errorf("without contracts there are agents for %v", got)
	}
	if err := connectors.Register(pool, connectors.Config{}, connectors.Surroundings{Allow: []string{"a/b"}}); err == nil {
		t.Error("a wrong allow list is fine")
	}
	wrong := connectors.Config{Connectors: []connectors.Connector{{Name: "a"}}}
	if err := connectors.Register(pool, wrong, connectors.Surroundings{}); err == nil {
		t.Error("a wrong configuration is fine")
	}
}

func TestAnOfferWithAPolicyThatCannotBeReadLeavesTheOthers(t *testing.T) {
	for name, policy := range map[string]string{
		"nested too deeply": `"permission":` + strings.Repeat(`[`, 80) + strings.Repeat(`]`, 80),
		"a name twice":      `"permission":{"a":1,"a":2}`,
		"U+0000":            `"permission":"\u0000"`,
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"participantId":"p","dataset":[{"@id":"a","hasPolicy":{"@id":"o1",`+policy+`}},{"@id":"b","hasPolicy":{"@id":"o2"}}]}`)
		}))
		t.Cleanup(s.Close)
		pool := agent.NewPool(nil)
		k := connectors.Connector{Name: "consumer", Adapter: connectors.AdapterEDC, Match: []string{"*"}, ManagementURL: s.URL}
		if err := connectors.Register(pool, connectors.Config{Connectors: []connectors.Connector{k}}, connectors.Surroundings{}); err != nil {
			t.Fatal(err)
		}
		got := done[catalog](t, do(t, pool, connectors.CatalogType, map[string]any{"connector": "consumer", "provider": "http://p", "assetType": "x"}))
		if len(got.Offers) != 2 || !strings.Contains(got.Offers[0].Unacceptable, "cannot be read") || got.Offers[1].Unacceptable != "" {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}
