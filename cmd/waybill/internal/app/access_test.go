package app_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/cmd/waybill/internal/app"
	"github.com/waybill/waybill/cmd/waybill/internal/client"
	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/consumers/connectors"
	"github.com/waybill/waybill/internal/standin"
	"github.com/waybill/waybill/projections"
)

// TestTransfersAndNegotiationsAreAskedForAndShown goes all the way through the program: over HTTP, through the
// log and the machines, to a provider and into the view, which is then made anew.
func TestTransfersAndNegotiationsAreAskedForAndShown(t *testing.T) {
	t.Setenv("WAYBILL_TEST_API_KEY", theAPIKey)
	edc, err := standin.Start(t.Context(), standin.Config{APIKey: theAPIKey, Providers: []standin.ProviderConfig{{Name: "provider1", Assets: []standin.Asset{
		{ID: "document", Document: []byte(`{"value":"The quick"}`)},
		{ID: "held", Document: []byte(`{"value":"brown fox"}`), Held: true},
		{ID: "refused", Policies: []standin.Policy{standin.Region("us")}},
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(edc.Close)
	address := edc.Provider("provider1").Address(standin.Protocol2025)
	data := t.TempDir()
	cfg := app.Config{
		Data: data, Listen: "127.0.0.1:0", KafkaListen: "127.0.0.1:0", Token: "the-token", Logger: slog.New(slog.DiscardHandler),
		Connectors: connectors.Config{Connectors: []connectors.Connector{{
			Name: "consumer", Adapter: connectors.AdapterEDC, Match: []string{"http://127.0.0.1:*"},
			ManagementURL: edc.ManagementURL(), APIKey: secret.Ref{Env: "WAYBILL_TEST_API_KEY"},
		}}},
	}
	m, api := serveWith(t, cfg)
	post := func(path, body string, status int) map[string]any {
		t.Helper()
		got, a := ask(t, api, "POST", path, strings.Replace(body, "{", `{"provider":"`+address+`",`, 1), "Prefer: wait=20")
		if got != status {
			t.Fatalf("POST %s %s: %d %v", path, body, got, a)
		}
		return a
	}
	shows := func(path string, want ...string) map[string]any {
		t.Helper()
		status, a := ask(t, api, "GET", path, "")
		for _, w := range want {
			if key, value, _ := strings.Cut(w, "="); status != http.StatusOK || fmt.Sprint(a[key]) != value {
				t.Fatalf("GET %s: %d %v, want %s", path, status, a, w)
			}
		}
		return a
	}

	post("/v1/transfers", `{"id":"t-1","assetId":"document"}`, 201)
	post("/v1/transfers", `{"id":"t-1","assetId":"document"}`, 201) // is the same one
	post("/v1/transfers", `{"id":"t-1","assetId":"held"}`, 409)
	done := shows("/v1/transfers/t-1?wait=30s", "state=COMPLETED", "outcome=completed", "counterPartyId=provider1")
	negotiation := fmt.Sprint(done["negotiationId"])
	shows("/v1/negotiations/"+negotiation, "state=FINALIZED", "assetId=document", "round=1", "connector=consumer")

	wish := post("/v1/negotiations", `{"assetId":"document"}`, 200)
	if wish["negotiationId"] != negotiation {
		t.Errorf("access that is there is not found: %v", wish)
	}
	shows("/v1/wishes/"+fmt.Sprint(wish["id"])+"?wait=30s", "state=GRANTED", "negotiationId="+negotiation)
	wish = post("/v1/negotiations", `{"assetId":"nothing like this"}`, 200)
	if why := shows("/v1/wishes/"+fmt.Sprint(wish["id"])+"?wait=30s", "state=REFUSED"); !strings.Contains(fmt.Sprint(why["error"]), "not-found") {
		t.Errorf("%v", why)
	}
	edr := shows("/v1/negotiations/" + negotiation + "/edr")
	if edr["endpoint"] == "" || len(fmt.Sprint(edr["authorization"])) < 20 {
		t.Error("no EDR to fetch with")
	}

	post("/v1/transfers", `{"id":"t-2","assetId":"held","transferType":"HttpData-PUSH","destination":{"type":"HttpData","baseUrl":"http://127.0.0.1:1/place"}}`, 201)
	if status, a := ask(t, api, "POST", "/v1/transfers/t-2/resume", `{}`, "Prefer: wait=20"); status != http.StatusConflict || a["code"] != "state" {
		t.Errorf("%d %v", status, a)
	}
	if status, a := ask(t, api, "POST", "/v1/transfers/t-2/terminate", `{"reason":"nobody needs it","by":"ada"}`, "Prefer: wait=20"); status != http.StatusOK {
		t.Errorf("%d %v", status, a)
	}
	shows("/v1/transfers/t-2?wait=30s", "outcome=terminated", "by=ada")

	if status, a := ask(t, api, "POST", "/v1/jobs", `{"id":"job","type":"parts-tree","input":{"file":"document","connectorUrl":"`+address+`"}}`, "Prefer: wait=20"); status != http.StatusCreated {
		t.Fatal(a)
	}
	nodes := shows("/v1/jobs/job?wait=30s", "state=COMPLETED")["nodes"].([]any)
	node := nodes[0].(map[string]any)
	if node["negotiationId"] != negotiation {
		t.Errorf("%v", node)
	}
	shows("/v1/transfers/"+fmt.Sprint(node["transferId"]), "jobId=job", "nodeId=root", "negotiationId="+negotiation)

	// The view is deleted, and is the same again.
	before := map[string]map[string]any{}
	pages := []string{"/v1/transfers", "/v1/negotiations", "/v1/jobs/job", "/v1/jobs/job/events?all=true&limit=1000", "/v1/wishes/" + fmt.Sprint(wish["id"]), "/v1/transfers/t-2/events"}
	for _, page := range pages {
		before[page] = shows(page)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := projections.Rebuild(data + "/projections.db"); err != nil {
		t.Fatal(err)
	}
	m, api = serveWith(t, cfg)
	whenReady(t, m, api)
	for _, page := range pages {
		for deadline := time.Now().Add(30 * time.Second); ; {
			_, after := ask(t, api, "GET", page, "")
			if fmt.Sprint(after) == fmt.Sprint(before[page]) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s is\n%v\nwas\n%v", page, after, before[page])
			}
			select { // the log is being read
			case <-time.After(20 * time.Millisecond):
			case <-t.Context().Done():
			}
		}
	}
}

// serveWith is startMain for who has the token.
func serveWith(t *testing.T, cfg app.Config) (*app.Main, *client.Client) {
	t.Helper()
	m := app.New(cfg)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := m.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	c, err := client.New(m.URL(), cfg.Token)
	if err != nil {
		t.Fatal(err)
	}
	return m, c
}
