package agents_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/agents"
	"github.com/waybill/waybill/consumers/connectors/plain"
	"github.com/waybill/waybill/domain/partstree"
	"github.com/waybill/waybill/internal/outbound"
)

// provider serves with the handler until the test ends.
func provider(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL
}

func says(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

func asks(connectorURL, file string) agent.Activity {
	raw, err := json.Marshal(partstree.Request{File: file, ConnectorURL: connectorURL})
	if err != nil {
		panic(err)
	}
	return activity(string(raw))
}

func retrieve(t *testing.T, a agent.Activity) agent.Result {
	t.Helper()
	hosts, err := outbound.New([]string{"127.0.0.1:*"})
	if err != nil {
		t.Fatal(err)
	}
	return agents.NewRetrieve(plain.Config{Hosts: hosts}).Process(t.Context(), a)
}

func fails(t *testing.T, r agent.Result, kind agent.Kind, step, text string) {
	t.Helper()
	if f := r.Fault(); r.Kind() != kind || f.Step != step || !strings.Contains(f.Message, text) {
		t.Fatalf("it is %q at step %q: %s\nwant %q at step %q: …%s…", r.Kind(), f.Step, f.Message, kind, step, text)
	}
	if r.Output() != nil || r.Spawned() != nil {
		t.Fatalf("a failure has an output: %s %v", r.Output(), r.Spawned())
	}
}

func TestADocumentIsRetrieved(t *testing.T) {
	var seen *http.Request
	url := provider(t, func(w http.ResponseWriter, r *http.Request) {
		seen = r
		says(200, "application/json", `{"value":"jumps over","order":3,"transferProcesses":[
			{"file":"test-document-4","connectorUrl":"http://PROVIDER2:8181/"},{"file":"test-document-4","connectorUrl":"http://provider2:8181"}]}`)(w, r)
	})
	r := retrieve(t, asks(url+"/", "a folder/test-document-3?"))
	if r.Kind() != agent.Completed || string(r.Output()) != `{"value":"jumps over","order":3}` {
		t.Fatalf("got %q %s %v", r.Kind(), r.Output(), r.Err())
	}
	if r.Key() != partstree.NodeID(url, "a folder/test-document-3?") {
		t.Errorf("its identity is %q", r.Key())
	}
	if s := r.Spawned(); len(s) != 1 || s[0].Name != "test-document-4 at http://provider2:8181" || s[0].ID != partstree.NodeID("http://provider2:8181", "test-document-4") {
		t.Errorf("it spawns %+v", s)
	}
	if seen.URL.EscapedPath() != "/a%20folder/test-document-3%3F" || seen.Header.Get("Idempotency-Key") != "work-1" || seen.Method != http.MethodGet {
		t.Errorf("it asked %s %s with %v", seen.Method, seen.URL.EscapedPath(), seen.Header)
	}
}

func TestWhatCannotBeRetrieved(t *testing.T) {
	page := provider(t, says(200, "text/html", "<!DOCTYPE html><p>log in"))
	down := provider(t, says(503, "", ""))
	for name, c := range map[string]struct {
		a    agent.Activity
		kind agent.Kind
		step string
		says string
	}{
		"no file":             {activity(`{"connectorUrl":"http://127.0.0.1:1"}`), agent.Failed, "address", "no file"},
		"no connector":        {activity(`{"file":"a"}`), agent.Failed, "address", "no connectorUrl"},
		"a number for a file": {activity(`{"file":1,"connectorUrl":"http://127.0.0.1:1"}`), agent.Failed, "address", "input:"},
		"a host not allowed":  {activity(`{"file":"a","connectorUrl":"http://provider9:8181"}`), agent.Failed, "address", "provider9:8181 is not on the list of allowed hosts"},
		"a web page":          {asks(page, "a"), agent.Failed, "parse", "GET " + page + "/a: the document is not a JSON object"},
		"a provider's fault":  {asks(down, "a"), agent.Retrying, "fetch", "GET " + down + "/a: it answers 503"},
	} {
		t.Run(name, func(t *testing.T) { fails(t, retrieve(t, c.a), c.kind, c.step, c.says) })
	}
}
