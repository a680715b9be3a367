package app_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/cmd/waybill/internal/app"
	"github.com/waybill/waybill/consumers/connectors"
	"github.com/waybill/waybill/consumers/provisioners"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/internal/callbacks"
	"github.com/waybill/waybill/internal/seal"
	"github.com/waybill/waybill/internal/standin"
)

// pushing is a Waybill with a connector, a provider that pushes, and a provisioner that
// answers when the test says so.
type pushing struct {
	*outside
	provider string
	edc      *standin.Connector
	asked    chan map[string]string // of the provisioner
	early    func(asked map[string]string)
	answer   int
}

const (
	hour       = definition.Duration(time.Hour)
	addressKey = "a key for addresses"
)

// newPushing starts all but Waybill, and returns how that is configured.
func newPushing(t *testing.T, documents ...standin.Asset) (*pushing, app.Config) {
	t.Helper()
	edc, err := standin.Start(t.Context(), standin.Config{Providers: []standin.ProviderConfig{{Name: "provider1", Assets: documents}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(edc.Close)
	p := &pushing{edc: edc, provider: edc.Provider("provider1").Address(standin.Protocol2025), asked: make(chan map[string]string, 10), answer: http.StatusOK}
	depot := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body map[string]string
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if p.early != nil {
			p.early(body)
		}
		p.asked <- body
		w.WriteHeader(p.answer)
	}))
	t.Cleanup(depot.Close)
	return p, app.Config{
		Connectors: connectors.Config{Connectors: []connectors.Connector{
			// It is heard by its callbacks, or not at all.
			{Name: "consumer", Adapter: "edc", Match: []string{"*"}, ManagementURL: edc.ManagementURL(), Poll: connectors.Poll{First: hour, Most: hour}},
		}},
		Provisioners: []provisioners.Settings{{Type: "depot", Adapter: "http", Endpoint: depot.URL + "/provision"}},
		AddressKey:   []byte(addressKey),
	}
}

func startPushing(t *testing.T, documents ...standin.Asset) *pushing {
	t.Helper()
	p, cfg := newPushing(t, documents...)
	p.serve(start(t, cfg))
	return p
}

func (p *pushing) serve(w *program) {
	p.outside = &outside{program: w}
	p.call("PUT", "/v1/definitions/orchestrations/push", `{"type":"push","output":[{"source":"move.value","target":"value"}],"activities":[
		{"id":"move","type":"transfer","retry":{"limit":0},"inputs":["provider","assetId","manifest"],"with":{"transferType":"HttpData-PUSH"}}]}`, http.StatusCreated, nil)
}

// begin starts a job that has an asset pushed, and returns the job's and the transfer's ids.
func (p *pushing) begin(asset, manifest string) (id, transfer string) {
	p.t.Helper()
	var accepted struct{ ID string }
	p.call("POST", "/v1/jobs", fmt.Sprintf(`{"type":"push","input":{"provider":%q,"assetId":%q,"manifest":{"definitions":%s}}}`, p.provider, asset, manifest), http.StatusAccepted, &accepted)
	p.until(func() bool {
		var list struct{ Items []struct{ ID string } }
		p.call("GET", "/v1/transfers?job="+accepted.ID, "", http.StatusOK, &list)
		if len(list.Items) == 1 {
			transfer = list.Items[0].ID
		}
		return transfer != ""
	})
	return accepted.ID, transfer
}

// until looks again and again.
func (p *pushing) until(ready func() bool) {
	p.t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for range 3000 {
		if ready() {
			return
		}
		<-ticker.C
	}
	p.t.Fatal("it does not happen within 30 s")
}

type transferDoc struct {
	State, Outcome, Reason string
	Resources              []struct{ State string }
	History                []struct{ State string }
}

func (p *pushing) transfer(id string) (d transferDoc, raw string) {
	p.t.Helper()
	var r json.RawMessage
	p.call("GET", "/v1/transfers/"+id, "", http.StatusOK, &r)
	if err := json.Unmarshal(r, &d); err != nil {
		p.t.Fatal(err)
	}
	return d, string(r)
}

// reaches waits until the transfer is in a state.
func (p *pushing) reaches(id, state string) transferDoc {
	p.t.Helper()
	var d transferDoc
	var raw string
	p.until(func() bool {
		if d, raw = p.transfer(id); d.State != state && slices.Contains([]string{"TERMINATED", "DEPROVISIONED"}, d.State) {
			p.t.Fatalf("it does not become %s: %s", state, raw)
		}
		return d.State == state
	})
	return d
}

// post posts to an address that somebody was given.
func (p *pushing) post(address, body string, status int) string {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	if res.StatusCode != status {
		p.t.Fatalf("it answers %d, want %d: %s", res.StatusCode, status, answer)
	}
	return string(answer)
}

func TestWhatAProviderPushesArrives(t *testing.T) {
	large := `{"value":"` + strings.Repeat("fox ", 200_000) + `"}`
	p := startPushing(t, standin.Asset{ID: "small", Document: []byte(`{"value":"quick"}`)}, standin.Asset{ID: "large", Document: []byte(large)})
	for asset, want := range map[string]string{"small": `{"value":"quick"}`, "large": ""} {
		job, transfer := p.begin(asset, `[{"id":"in","type":"local"}]`)
		d := p.reaches(transfer, "DEPROVISIONED")
		if d.Outcome != "completed" || len(d.Resources) != 1 || d.Resources[0].State != "DEPROVISIONED" {
			t.Errorf("%s: %+v", asset, d)
		}
		var full struct {
			State  string
			Output json.RawMessage
		}
		p.call("GET", "/v1/jobs/"+job+"?wait=30s", "", http.StatusOK, &full)
		if full.State != "COMPLETED" || want != "" && string(full.Output) != want {
			t.Errorf("%s: %s with %.200s", asset, full.State, full.Output)
		}
	}
	p.nothingSecret("/uploads/")
}

func TestAProvisionerReportsWhenItLikes(t *testing.T) {
	p := startPushing(t, standin.Asset{ID: "a", Document: []byte(`{"value":"brown"}`)})
	job, transfer := p.begin("a", `[{"id":"in","type":"local"},{"id":"more","type":"depot"}]`)
	asked := <-p.asked
	if asked["type"] != "provision" || asked["transferProcessId"] != transfer || asked["resourceDefinitionId"] != "more" || asked["assetId"] != "a" {
		t.Errorf("asked %v", asked)
	}
	p.reaches(transfer, "PROVISIONING_REQUESTED")
	at := asked["callbackAddress"] + "/" + transfer
	report := func(definition string) string {
		return `{"resourceDefinitionId":"` + definition + `","assetId":"a","resourceName":"shelf","hasToken":true,"apiKeyJwt":"a-jwt-nobody-may-see",
			"contentDataAddress":{"properties":{"type":"AmazonS3","secretAccessKey":"a-key-nobody-may-see"}}}`
	}
	p.post(at+"/provision", report("other"), http.StatusNotFound)
	p.post(asked["callbackAddress"]+"/another/provision", report("more"), http.StatusNotFound)
	p.post(at+"/provision", report("more"), http.StatusNoContent)
	p.post(at+"/provision", report("more"), http.StatusNoContent)

	asked = <-p.asked
	if asked["type"] != "deprovision" || asked["resourceDefinitionId"] != "more" {
		t.Errorf("asked %v", asked)
	}
	d := p.reaches(transfer, "DEPROVISIONING_REQUESTED")
	if d.Outcome != "completed" {
		t.Errorf("%+v", d)
	}
	if late := p.post(at+"/provision", report("more"), http.StatusConflict); !strings.Contains(late, "DEPROVISIONING_REQUESTED") {
		t.Errorf("a late callback is told %s", late)
	}
	p.post(at+"/deprovision", `{"provisionedResourceId":"`+transfer+`","inProcess":false,"error":false}`, http.StatusNoContent)
	d = p.reaches(transfer, "DEPROVISIONED")
	var states []string
	for _, m := range d.History {
		states = append(states, m.State)
	}
	for _, state := range []string{"PROVISIONING", "PROVISIONING_REQUESTED", "PROVISIONED", "COMPLETED", "DEPROVISIONING", "DEPROVISIONING_REQUESTED"} {
		if !slices.Contains(states, state) {
			t.Errorf("%s is not in its history: %v", state, states)
		}
	}
	if late := p.post(at+"/deprovision", `{"provisionedResourceId":"more"}`, http.StatusConflict); !strings.Contains(late, "DEPROVISIONED") {
		t.Errorf("a late callback is told %s", late)
	}
	p.call("GET", "/v1/jobs/"+job+"?wait=30s", "", http.StatusOK, nil)
	p.nothingSecret("/uploads/", "nobody-may-see", strings.TrimPrefix(asked["callbackAddress"], p.URL()))
	if _, raw := p.transfer(transfer); strings.Contains(raw, "nobody-may-see") || strings.Contains(raw, "/uploads/") {
		t.Errorf("a secret is shown: %s", raw)
	}
}

func TestAConnectorThatIsNotPolledIsHeard(t *testing.T) {
	p := startPushing(t, standin.Asset{ID: "a", Document: []byte(`{"value":"jumps","transferProcesses":[]}`)})
	if j := p.run(fmt.Sprintf(`{"type":"parts-tree","input":{"file":"a","connectorUrl":%q}}`, p.provider)); j.State != "COMPLETED" {
		t.Fatalf("%+v", j)
	}
	n := p.edc.Counts().Providers["provider1"]
	if n.Negotiations != 1 || n.Documents["a"] != 1 {
		t.Errorf("the provider counts %+v", n)
	}
	p.nothingSecret("eyJ", "/callbacks/edc/")
}

func TestAProvisionerMayReportBeforeItAnswers(t *testing.T) {
	p, cfg := newPushing(t, standin.Asset{ID: "a", Document: []byte(`{"value":"over"}`)})
	p.early = func(asked map[string]string) {
		at := asked["callbackAddress"] + "/" + asked["transferProcessId"]
		if asked["type"] == "provision" {
			p.post(at+"/provision", `{"resourceDefinitionId":"more","contentDataAddress":{"type":"x"}}`, http.StatusNoContent)
			return
		}
		p.post(at+"/deprovision", `{"provisionedResourceId":"more","error":true,"errorMessage":"the shelf is stuck"}`, http.StatusNoContent)
	}
	p.serve(start(t, cfg))
	_, transfer := p.begin("a", `[{"id":"in","type":"local"},{"id":"more","type":"depot"}]`)
	if d := p.reaches(transfer, "DEPROVISIONED"); d.Outcome != "completed" || len(d.Resources) != 2 || d.Resources[1].State != "LEFT" {
		t.Errorf("%+v", d)
	}
}

func TestAProvisionerThatRefusesEndsTheTransferAndWhatWasMadeIsUndone(t *testing.T) {
	p, cfg := newPushing(t, standin.Asset{ID: "a"})
	p.answer = http.StatusForbidden
	p.serve(start(t, cfg))
	_, transfer := p.begin("a", `[{"id":"in","type":"local"},{"id":"more","type":"depot"}]`)
	d := p.reaches(transfer, "DEPROVISIONED")
	if d.Outcome != "terminated" || len(d.Resources) != 1 || d.Resources[0].State != "DEPROVISIONED" {
		t.Errorf("%+v", d)
	}
	for _, part := range []string{"provision: resource more", p.provider, "asset a", "403 Forbidden"} {
		if !strings.Contains(d.Reason, part) {
			t.Errorf("%q is not in %q", part, d.Reason)
		}
	}
	if n := p.edc.Counts().Providers["provider1"]; n.Negotiations != 0 {
		t.Errorf("the provider was told of it: %+v", n)
	}
}

func TestDataIsPushedOnce(t *testing.T) {
	p := startPushing(t, standin.Asset{ID: "a", Held: true, Document: []byte(`{"value":"the"}`)})
	_, transfer := p.begin("a", `[{"id":"in","type":"local"}]`)
	p.reaches(transfer, "REQUESTED")
	at := callbacks.New([]byte(addressKey)).At(p.URL()).Upload(callbacks.Subject{Aggregate: "transfer", ID: transfer, Task: "in"})
	p.post(at, `"mine"`, http.StatusNoContent)
	p.post(at, `"mine"`, http.StatusNoContent)
	p.post(at, `"other"`, http.StatusConflict)
	p.edc.Provider("provider1").Release("a")
	d := p.reaches(transfer, "DEPROVISIONED")
	if d.Outcome != "terminated" {
		t.Errorf("the provider's own data was refused, but: %+v", d)
	}
	p.post(at, `"mine"`, http.StatusConflict)
}

func TestWhoReceivesAPushAndWhoCollectsItShareNoDisk(t *testing.T) {
	p, cfg := newPushing(t, standin.Asset{ID: "a", Document: []byte(`{"value":"dog"}`)})
	cfg.SealKeys = seal.New()
	receives, collects := cfg, cfg
	receives.Roles = []string{app.RoleMachines, app.RoleProjections, app.RoleAPI}
	p.serve(start(t, receives))
	collects.Roles, collects.Brokers, collects.PublicURL = []string{app.RoleAgents}, p.Kafka().Brokers, p.URL()
	start(t, collects)
	job, _ := p.begin("a", `[{"id":"in","type":"local"}]`)
	var full struct{ Output json.RawMessage }
	p.call("GET", "/v1/jobs/"+job+"?wait=30s", "", http.StatusOK, &full)
	if string(full.Output) != `{"value":"dog"}` {
		t.Errorf("the job's output is %s", full.Output)
	}
}
