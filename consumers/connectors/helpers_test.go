package connectors_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/consumers/connectors"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/internal/callbacks"
	"github.com/waybill/waybill/internal/seal"
	"github.com/waybill/waybill/internal/standin"
)

const apiKey = "api-key-of-the-consumer"

// world is a connector with one provider, and the agents that speak through it.
type world struct {
	*standin.Connector
	t        *testing.T
	pool     *agent.Pool
	seals    *seal.Keyring
	provider *standin.Provider
	address  string
}

func newWorld(t *testing.T, change ...func(*standin.Config, *connectors.Connector, *connectors.Surroundings)) *world {
	t.Helper()
	t.Setenv("CONNECTOR_KEY", apiKey)
	cfg := standin.Config{APIKey: apiKey, Providers: []standin.ProviderConfig{{Name: "provider1", Assets: []standin.Asset{
		{ID: "document", Document: []byte(`{"value":"The quick","order":1,"transferProcesses":[{"file":"next","connectorUrl":"http://provider2:8181"}]}`)},
		{ID: "registry", Document: []byte(`{"parts":{"urn:part":["submodel"]}}`), Properties: map[string]string{standin.TypeProperty: "registry"}},
		{ID: "region", Policies: []standin.Policy{standin.Region("us")}},
		{ID: "expired", Policies: []standin.Policy{standin.Expired()}},
	}}}}
	k := connectors.Connector{
		Name: "consumer", Adapter: connectors.AdapterEDC, Match: []string{"*"}, APIKey: secret.Ref{Env: "CONNECTOR_KEY"},
		Poll: connectors.Poll{First: definition.Duration(10 * time.Millisecond), Most: definition.Duration(70 * time.Millisecond)},
	}
	store, err := secret.NewStore(secret.Config{})
	if err != nil {
		t.Fatal(err)
	}
	seals, err := seal.Parse(seal.New())
	if err != nil {
		t.Fatal(err)
	}
	in := connectors.Surroundings{Secrets: store, Seals: seals}
	for _, c := range change {
		c(&cfg, &k, &in)
	}
	s, err := standin.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	k.ManagementURL = s.ManagementURL()
	w := &world{Connector: s, t: t, pool: agent.NewPool(nil), seals: seals, provider: s.Provider("provider1")}
	w.address = w.provider.Address(standin.Protocol2025)
	if err := connectors.Register(w.pool, connectors.Config{Connectors: []connectors.Connector{k}}, in); err != nil {
		t.Fatal(err)
	}
	return w
}

// input is the input of work about the provider, with more members.
func (w *world) input(more map[string]any) map[string]any {
	in := map[string]any{"connector": "consumer", "provider": w.address, "counterPartyId": "provider1"}
	for k, v := range more {
		in[k] = v
	}
	return in
}

// do has work done about the provider.
func (w *world) do(typ string, more map[string]any, change ...func(*machine.Work)) agent.Result {
	w.t.Helper()
	return do(w.t, w.pool, typ, w.input(more), change...)
}

func do(t *testing.T, pool *agent.Pool, typ string, input any, change ...func(*machine.Work)) agent.Result {
	t.Helper()
	raw, err := json.Marshal(input)
	if err != nil {
		t.Fatal(err)
	}
	work := machine.Work{ID: "work-1", Attempt: 1, Offer: 1, AggregateID: "t1", Type: typ, Input: raw}
	for _, c := range change {
		c(&work)
	}
	results := make(chan agent.Result, 1)
	if !pool.TryRun(t.Context(), work, func(r agent.Result) { results <- r }) {
		t.Fatalf("nobody does %s", typ)
	}
	r := <-results
	if text := string(r.Output()) + r.Fault().Message; strings.Contains(text, apiKey) {
		t.Errorf("%s shows the API key: %s", typ, text)
	}
	return r
}

// again is another attempt at work: somebody may have done it.
func again(w *machine.Work) { w.Attempt = 2 }

func withState(state json.RawMessage) func(*machine.Work) {
	return func(w *machine.Work) { w.State = state }
}

// done decodes the output of work that has to be done.
func done[T any](t *testing.T, r agent.Result) T {
	t.Helper()
	var v T
	if r.Kind() != agent.Completed {
		t.Fatalf("it is %q: %v", r.Kind(), r.Err())
	}
	if err := json.Unmarshal(r.Output(), &v); err != nil {
		t.Fatalf("%s: %v", r.Output(), err)
	}
	return v
}

// polls until the work is done, as a machine does.
func (w *world) polls(typ string, more map[string]any) agent.Result {
	w.t.Helper()
	var state json.RawMessage
	for {
		r := w.do(typ, more, withState(state))
		if r.Kind() != agent.Scheduled {
			return r
		}
		state = r.State()
		<-time.After(r.Wants())
	}
}

func fails(t *testing.T, r agent.Result, kind agent.Kind, step, code, text string) {
	t.Helper()
	if f := r.Fault(); r.Kind() != kind || f.Step != step || f.Code != code || !strings.Contains(f.Message, text) {
		t.Fatalf("it is %q at step %q with code %q: %s\nwant %q at step %q with code %q: …%s…", r.Kind(), f.Step, f.Code, f.Message, kind, step, code, text)
	}
}

type offer struct {
	AssetID, OfferID string
	Policy           json.RawMessage
	Formats          []string
	Constraints      string
	Unacceptable     string
}

type catalog struct {
	ParticipantID string
	Offers        []offer
}

type look struct {
	NegotiationID, ProcessID, State, AgreementID, AssetID, Detail string
	AgreementDead                                                 bool
	EDR                                                           json.RawMessage
	ExpiresAt                                                     time.Time
	Told                                                          bool
}

// offered is the catalog's offer for an asset.
func (w *world) offered(asset string) offer {
	w.t.Helper()
	c := done[catalog](w.t, w.do(connectors.CatalogType, map[string]any{"assetId": asset}))
	if len(c.Offers) != 1 {
		w.t.Fatalf("there are %d offers for %s", len(c.Offers), asset)
	}
	return c.Offers[0]
}

func (w *world) request(asset string) map[string]any {
	w.t.Helper()
	o := w.offered(asset)
	return map[string]any{
		"assetId": asset, "key": "key-of-" + asset, "offer": map[string]any{"offerId": o.OfferID, "policy": o.Policy},
		"callback": callbacks.Subject{Aggregate: "negotiation", ID: "consumer x", Task: "round-1"},
	}
}

// agreement negotiates an asset.
func (w *world) agreement(asset string) string {
	w.t.Helper()
	n := done[look](w.t, w.do(connectors.NegotiationRequestType, w.request(asset))).NegotiationID
	end := done[look](w.t, w.polls(connectors.NegotiationPollType, map[string]any{"negotiationId": n}))
	if end.State != "FINALIZED" || end.AgreementID == "" || end.AssetID != asset {
		w.t.Fatalf("the negotiation of %s ends %+v", asset, end)
	}
	return end.AgreementID
}

func process(asset, agreement string) map[string]any {
	return map[string]any{"assetId": asset, "agreementId": agreement, "transferType": standin.Pull, "processId": "p-" + asset}
}

// edr gets access to an asset.
func (w *world) edr(asset string) look {
	w.t.Helper()
	p := done[look](w.t, w.do(connectors.EDRRequestType, process(asset, w.agreement(asset)))).ProcessID
	return done[look](w.t, w.polls(connectors.EDRPollType, map[string]any{"processId": p}))
}
