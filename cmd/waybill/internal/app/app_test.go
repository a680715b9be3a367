package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/waybill/waybill/cmd/waybill/internal/app"
	"github.com/waybill/waybill/cmd/waybill/internal/client"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/kafka/kafkatest"
	"github.com/waybill/waybill/internal/seal"
	"github.com/waybill/waybill/schemas"
)

// anywhere lets a program without a Kafka have that of others, where one is named.
func anywhere(t *testing.T, cfg app.Config) app.Config {
	t.Helper()
	if len(cfg.Brokers) > 0 {
		return cfg
	}
	if others, ok := kafkatest.Others(t); ok {
		cfg.Brokers, cfg.Prefix, cfg.CreateTopics = others.Brokers, others.Prefix, true
		if cfg.SealKeys == "" {
			cfg.SealKeys = seal.New() // a log that is shared needs keys that are
		}
	}
	return cfg
}

// startMain starts the program on free ports and stops it with the test.
func startMain(t *testing.T, cfg app.Config) (*app.Main, *client.Client) {
	t.Helper()
	cfg = anywhere(t, cfg)
	if cfg.Data == "" {
		cfg.Data = t.TempDir()
	}
	cfg.Listen, cfg.KafkaListen = "127.0.0.1:0", "127.0.0.1:0"
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

// ask asks for a path and takes the answer apart.
func ask(t *testing.T, c *client.Client, method, path, body string, header ...string) (int, map[string]any) {
	t.Helper()
	h := http.Header{}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		h.Set(name, value)
	}
	var raw []byte
	if body != "" {
		raw = []byte(body)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	path, query, _ := strings.Cut(path, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	a, err := c.Do(ctx, method, path, values, raw, h)
	var status *client.StatusError
	if errors.As(err, &status) {
		return status.Status, map[string]any{"detail": status.Error(), "code": status.Code}
	}
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal(a.Body, &v); err != nil {
		t.Fatalf("%s %s: %s: %v", method, path, a.Body, err)
	}
	return a.Status, v
}

const three = `{"activities": [
	{"id": "a", "type": "noop"},
	{"id": "b", "type": "noop", "dependsOn": "a"},
	{"id": "c", "type": "noop", "dependsOn": "b", "with": {"output": {"x": 1}}}], "output": ["c.x"]}`

func TestAJobRunsFromDefinitionToResult(t *testing.T) {
	m, c := startMain(t, app.Config{})
	want := func(what string, status, wanted int, answer map[string]any) {
		t.Helper()
		if status != wanted {
			t.Fatalf("%s: %d, want %d: %v", what, status, wanted, answer)
		}
	}
	status, a := ask(t, c, "PUT", "/v1/definitions/orchestrations/three", three)
	want("put", status, http.StatusCreated, a)
	status, a = ask(t, c, "PUT", "/v1/definitions/orchestrations/three", three)
	want("put again", status, http.StatusOK, a)
	if a["result"] != "unchanged" {
		t.Errorf("put again: %v", a)
	}
	status, a = ask(t, c, "POST", "/v1/jobs", `{"id": "j-1", "type": "three"}`, "Prefer: wait=10")
	want("start", status, http.StatusCreated, a)
	status, again := ask(t, c, "POST", "/v1/jobs", `{"type": "three", "id": "j-1"}`, "Prefer: wait=10")
	want("start again", status, http.StatusCreated, again)
	if again["commandId"] != a["commandId"] {
		t.Errorf("the same start was another command: %v, %v", a, again)
	}
	status, job := ask(t, c, "GET", "/v1/jobs/j-1?wait=30s&position="+fmt.Sprint(again["position"]), "")
	want("get", status, http.StatusOK, job)
	if out, ok := job["output"].(map[string]any); job["state"] != "COMPLETED" || !ok || out["x"] != 1.0 {
		t.Errorf("the job: %v", job)
	}
	status, a = ask(t, c, "POST", "/v1/jobs", `{"id": "j-1", "type": "three", "partial": true}`, "Prefer: wait=10")
	want("start with another body", status, http.StatusConflict, a)
	status, a = ask(t, c, "POST", "/v1/jobs", `{"type": "four"}`, "Prefer: wait=10")
	want("start of an unknown type", status, http.StatusUnprocessableEntity, a)
	status, a = ask(t, c, "POST", "/v1/jobs/j-1/cancel", "", "Prefer: wait=10")
	if status != http.StatusOK && status != http.StatusConflict {
		t.Errorf("cancel of an ended job: %d %v", status, a)
	}
	status, a = ask(t, c, "DELETE", "/v1/definitions/orchestrations/three", "")
	want("delete", status, http.StatusOK, a)
	status, a = ask(t, c, "PUT", "/v1/definitions/orchestrations/three", `{"activities": [{"id": "a", "type": "none"}, {"id": "b", "type": "noop", "dependsOn": "z"}]}`)
	want("put with mistakes", status, http.StatusUnprocessableEntity, a)
	if s := fmt.Sprint(a["detail"]); !strings.Contains(s, "$.activities[0].type") || !strings.Contains(s, "$.activities[1].dependsOn") {
		t.Errorf("the mistakes: %s", s)
	}
	if err := m.Ready(); err != nil {
		t.Error(err)
	}
}

const hold = `{"activities": [{"id": "a", "type": "noop", "with": {"result": "wait"}}], "output": ["a.x"]}`

func TestAProcessThatIsStartedAgainGoesOnAsTheSameMember(t *testing.T) {
	cfg := anywhere(t, app.Config{Data: t.TempDir()})
	m, c := startMain(t, cfg)
	ask(t, c, "PUT", "/v1/definitions/orchestrations/hold", hold)
	if status, a := ask(t, c, "POST", "/v1/jobs", `{"id": "j-1", "type": "hold"}`, "Prefer: wait=10"); status != http.StatusCreated {
		t.Fatal(status, a)
	}
	before := whenReady(t, m, c)
	began := time.Now()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("it took %s to stop", d)
	}

	m, c = startMain(t, cfg)
	after := whenReady(t, m, c)
	if before["member"] != after["member"] || before["member"] == nil {
		t.Errorf("member %v is now %v", before["member"], after["member"])
	}
	work := workOf(t, c, "j-1")
	status, a := ask(t, c, "POST", "/v1/work/"+work+"/complete", `{"output": {"x": 42}}`)
	if status != http.StatusAccepted {
		t.Fatalf("report: %d %v", status, a)
	}
	_, job := ask(t, c, "GET", "/v1/jobs/j-1?wait=30s&position="+fmt.Sprint(a["position"]), "")
	if out, ok := job["output"].(map[string]any); job["state"] != "COMPLETED" || !ok || out["x"] != 42.0 {
		t.Errorf("the job: %v", job)
	}
	if status, a := ask(t, c, "POST", "/v1/work/"+work+"/complete", `{"output": {"x": 43}}`); status != http.StatusConflict {
		t.Errorf("report after the end: %d %v", status, a)
	}
	if status, a := ask(t, c, "POST", "/v1/work/none/complete", `{}`); status != http.StatusNotFound {
		t.Errorf("report about nothing: %d %v", status, a)
	}
}

// whenReady waits until everything is ready, and returns what readiness says then.
func whenReady(t *testing.T, m *app.Main, c *client.Client) map[string]any {
	t.Helper()
	for m.Ready() != nil {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal(m.Ready())
		}
	}
	_, answer := ask(t, c, "GET", "/readyz", "")
	return answer
}

// workOf waits until the job's node waits, and returns its work's ID.
func workOf(t *testing.T, c *client.Client, id string) string {
	t.Helper()
	for t.Context().Err() == nil {
		_, page := ask(t, c, "GET", "/v1/jobs/"+id+"/nodes", "")
		if items, ok := page["items"].([]any); ok && len(items) == 1 {
			if n, ok := items[0].(map[string]any); ok && n["state"] == "WAITING" {
				return fmt.Sprint(n["workId"])
			}
		}
		// What the node does next is on its way through the log.
		select {
		case <-time.After(10 * time.Millisecond):
		case <-t.Context().Done():
		}
	}
	t.Fatal("the node never waited")
	return ""
}

func TestADataDirectoryInUseIsSaidInOneLine(t *testing.T) {
	m, _ := startMain(t, app.Config{})
	err := app.New(app.Config{Data: m.Data(), Listen: "127.0.0.1:0", KafkaListen: "127.0.0.1:0"}).Start(t.Context())
	var usage *app.UsageError
	if !errors.As(err, &usage) || !strings.Contains(err.Error(), m.Data()) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
}

func TestASecondProcessJoinsTheBrokerOfTheFirst(t *testing.T) {
	first, c := startMain(t, app.Config{Roles: []string{app.RoleMachines, app.RoleProjections, app.RoleAPI}})
	ask(t, c, "PUT", "/v1/definitions/orchestrations/three", three)
	ask(t, c, "POST", "/v1/jobs", `{"id": "j-1", "type": "three"}`, "Prefer: wait=10")
	_, _ = startMain(t, app.Config{Brokers: first.Kafka().Brokers, Prefix: first.Kafka().Prefix, Roles: []string{app.RoleAgents}})
	_, job := ask(t, c, "GET", "/v1/jobs/j-1?wait=30s", "")
	if job["state"] != "COMPLETED" {
		t.Errorf("the job: %v", job)
	}
}

func TestAnUnreachableKafkaIsNamed(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	err := app.New(app.Config{Data: t.TempDir(), Listen: "127.0.0.1:0", Brokers: []string{"127.0.0.1:1"}}).Start(ctx)
	var unreachable *app.UnreachableError
	if !errors.As(err, &unreachable) || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("got %v", err)
	}
}

func TestWhatMustNotGetThroughDoesNot(t *testing.T) {
	m, _ := startMain(t, app.Config{Token: "secret"})
	get := func(path string, header ...string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, m.URL()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range header {
			name, value, _ := strings.Cut(line, ": ")
			if name == "Host" {
				r.Host = value
			}
			r.Header.Set(name, value)
		}
		if len(header) > 1 {
			r.Method = http.MethodPost
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode >= 400 && res.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: an error of type %s", path, res.Header.Get("Content-Type"))
		}
		return res.StatusCode
	}
	for _, c := range []struct {
		what   string
		got    int
		wanted int
	}{
		{"no token", get("/v1/jobs"), 401},
		{"another token", get("/v1/jobs", "Authorization: Bearer secreT"), 401},
		{"the token", get("/v1/jobs", "Authorization: Bearer secret"), 200},
		{"metrics without", get("/metrics"), 401},
		{"liveness without", get("/healthz"), 200},
		{"the page without", get("/"), 200},
		{"this machine's name", get("/healthz", "Host: LocalHost:7470"), 200},
		{"a foreign name", get("/healthz", "Host: evil.example"), 421},
		{"a callback by another name", get("/callbacks/edc/x/y", "Host: host.docker.internal"), 405}, // which it proves itself for
		{"a foreign page", get("/v1/jobs", "Authorization: Bearer secret", "Sec-Fetch-Site: cross-site"), 403},
		{"nothing there", get("/v2", "Authorization: Bearer secret"), 404},
		{"another method", get("/v1/jobs/j-1/nodes", "Authorization: Bearer secret", "X: y"), 405},
		{"OpenAPI", get("/openapi.json", "Authorization: Bearer secret"), 200},
		{"AsyncAPI", get("/asyncapi.json", "Authorization: Bearer secret"), 200},
	} {
		if c.got != c.wanted {
			t.Errorf("%s: %d, want %d", c.what, c.got, c.wanted)
		}
	}
}

func TestEveryRouteIsInTheOpenAPIDocument(t *testing.T) {
	_, c := startMain(t, app.Config{})
	_, doc := ask(t, c, "GET", "/openapi.json", "")
	paths, ok := doc["paths"].(map[string]any)
	if !ok {
		t.Fatal("no paths")
	}
	for path, methods := range paths {
		if !strings.HasPrefix(path, "/v1/") {
			continue
		}
		m, ok := methods.(map[string]any)
		if !ok {
			t.Fatal(path)
		}
		for method := range m {
			if !strings.Contains("get put post delete", method) {
				continue
			}
			concrete := strings.NewReplacer("{", "", "}", "").Replace(path)
			r := httptest.NewRequestWithContext(t.Context(), strings.ToUpper(method), concrete, nil)
			status, a := ask(t, c, r.Method, r.URL.Path, "")
			if detail := fmt.Sprint(a["detail"]); status == http.StatusMethodNotAllowed || strings.Contains(detail, "/openapi.json says what there is") {
				t.Errorf("%s %s is in the document, but nobody answers: %d %s", method, path, status, detail)
			}
		}
	}
}

func TestATokenFileHoldsOneToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	for text, want := range map[string]string{"secret\n": "secret", "": "", "two words\n": "", "a\nb\n": ""} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := app.ReadToken(path)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

func TestAStopIsQuickAndLeavesNothingRunning(t *testing.T) {
	before := goleak.IgnoreCurrent()
	m := app.New(app.Config{Data: t.TempDir(), Listen: "127.0.0.1:0", KafkaListen: "127.0.0.1:0"})
	if err := m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(m.URL(), "")
	if err != nil {
		t.Fatal(err)
	}
	whenReady(t, m, c)
	ask(t, c, "PUT", "/v1/definitions/orchestrations/hold", hold)
	ask(t, c, "POST", "/v1/jobs", `{"id": "j-1", "type": "hold"}`, "Prefer: wait=10")
	// Somebody follows the job, somebody else waits for its end.
	streams := make(chan error, 2)
	go func() {
		streams <- c.Stream(t.Context(), "/v1/jobs/j-1/stream", nil, "", func(client.Event) error { return nil })
	}()
	go func() {
		_, err := c.Get(t.Context(), "/v1/jobs/j-1", url.Values{"wait": {"30s"}})
		streams <- err
	}()
	began := time.Now()
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("it took %s to stop", d)
	}
	for range 2 {
		<-streams // however it ended
	}
	c.Close()
	goleak.VerifyNone(t, before)
}

func TestARecordThatNobodyCanReadIsKeptAndReplayed(t *testing.T) {
	m, c := startMain(t, app.Config{})
	cl, err := m.Kafka().NewClient()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	commands := m.Kafka().Topics().Commands(schemas.AggregateOrchestration)
	for _, r := range []*kgo.Record{
		{Topic: commands, Key: []byte("j-1"), Value: []byte(`{"type":`), Headers: kafka.CloudEvent{ID: "c-1", Source: "test", Type: schemas.OrchestrationStart}.Headers()},
		{Topic: commands, Key: []byte("j-1"), Value: []byte("\xff\xfe")},
	} {
		if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	// The partition goes on: what comes behind them is decided.
	if status, a := ask(t, c, "POST", "/v1/jobs", `{"id": "j-1", "type": "none"}`, "Prefer: wait=10"); status != http.StatusUnprocessableEntity {
		t.Fatalf("the command behind them: %d %v", status, a)
	}
	letters := deadLetters(t, c, 2)
	status, a := ask(t, c, "POST", "/v1/deadletters/"+letters[0]+"/replay", "")
	if status != http.StatusAccepted || a["topic"] != commands {
		t.Fatalf("replay: %d %v", status, a)
	}
	deadLetters(t, c, 3) // as unreadable as before
	if status, a := ask(t, c, "POST", "/v1/deadletters/none/replay", ""); status != http.StatusNotFound {
		t.Errorf("replay of nothing: %d %v", status, a)
	}
}

// deadLetters waits until there are so many and returns their IDs.
func deadLetters(t *testing.T, c *client.Client, n int) []string {
	t.Helper()
	for {
		_, page := ask(t, c, "GET", "/v1/deadletters", "")
		if items, ok := page["items"].([]any); ok && len(items) >= n {
			var ids []string
			for _, it := range items {
				if l, ok := it.(map[string]any); ok {
					ids = append(ids, fmt.Sprint(l["id"]))
				}
			}
			return ids
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatalf("there are not %d dead letters", n)
		}
	}
}
