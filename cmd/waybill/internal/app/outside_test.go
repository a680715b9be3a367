package app_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"sigs.k8s.io/yaml"

	"github.com/waybill/waybill/cmd/waybill/internal/app"
	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/consumers/agents"
)

// guide is where the guide's definitions are; what is tested here is what stands there.
const guide = "../../../../docs/external-systems"

// secretToken is what must be told to the other system and to nobody else.
const secretToken = "a-token-that-nobody-may-see"

// outside is a Waybill whose agents may speak with a stand-in for another system.
type outside struct {
	*program
	standIn *httptest.Server

	mu    sync.Mutex
	calls []string
}

// startOutside starts both. The stand-in answers with what handle writes.
func startOutside(t *testing.T, settings agents.Settings, handle func(w http.ResponseWriter, r *http.Request, body string)) *outside {
	t.Helper()
	o := &outside{}
	o.standIn = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		if r.Header.Get("Authorization") != "Bearer "+secretToken {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		o.mu.Lock()
		o.calls = append(o.calls, r.Method+" "+r.URL.Path)
		o.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		handle(w, r, string(b))
	}))
	t.Cleanup(o.standIn.Close)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(secretToken), 0o600); err != nil {
		t.Fatal(err)
	}
	settings.Secrets = map[string]agents.Secret{}
	for _, name := range []string{"argo-workflows", "scalr"} {
		settings.Secrets[name] = agents.Secret{Ref: secret.Ref{File: file}, Hosts: []string{strings.TrimPrefix(o.standIn.URL, "http://")}}
	}
	o.program = start(t, app.Config{Outside: settings, Token: ""})
	return o
}

func (o *outside) called() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.calls)
}

// put puts a definition of the guide and returns its type.
func (o *outside) put(file string) string {
	o.t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		o.t.Fatal(err)
	}
	var d map[string]any
	if err := yaml.UnmarshalStrict(b, &d); err != nil {
		o.t.Fatalf("%s: %v", file, err)
	}
	if d["kind"] != "OrchestrationDefinition" {
		o.t.Fatalf("%s is of the kind %v", file, d["kind"])
	}
	delete(d, "kind")
	typ, _ := d["type"].(string)
	body, err := json.Marshal(d)
	if err != nil {
		o.t.Fatal(err)
	}
	o.call(http.MethodPut, "/v1/definitions/orchestrations/"+typ, string(body), http.StatusCreated, nil)
	return typ
}

// output runs a job and returns its output, or its error.
func (o *outside) output(body, want string) string {
	o.t.Helper()
	j := o.run(body)
	if j.State != want {
		o.t.Fatalf("the job is %s, want %s: %+v", j.State, want, j.Error)
	}
	if j.Error != nil {
		return j.Error.Message
	}
	var full struct{ Output json.RawMessage }
	o.call(http.MethodGet, "/v1/jobs/"+j.ID, "", http.StatusOK, &full)
	return string(full.Output)
}

// nothingSecret reads every record of every topic and looks for what must not be there.
func (o *outside) nothingSecret(secrets ...string) {
	o.t.Helper()
	cfg := o.Kafka()
	cl, err := cfg.NewClient()
	if err != nil {
		o.t.Fatal(err)
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(o.t.Context())
	if err != nil {
		o.t.Fatal(err)
	}
	left := map[string]map[int32]int64{}
	from := map[string]map[int32]kgo.Offset{}
	ends.Each(func(l kadm.ListedOffset) {
		if l.Offset == 0 {
			return
		}
		if left[l.Topic] == nil {
			left[l.Topic], from[l.Topic] = map[int32]int64{}, map[int32]kgo.Offset{}
		}
		left[l.Topic][l.Partition], from[l.Topic][l.Partition] = l.Offset, kgo.NewOffset().AtStart()
	})
	reader, err := cfg.NewClient(kgo.ConsumePartitions(from), kgo.FetchIsolationLevel(kgo.ReadUncommitted()), kgo.KeepControlRecords())
	if err != nil {
		o.t.Fatal(err)
	}
	defer reader.Close()
	read := 0
	for len(left) > 0 {
		fetches := reader.PollFetches(o.t.Context())
		if err := fetches.Err(); err != nil {
			o.t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			read++
			all := string(r.Key) + string(r.Value)
			for _, h := range r.Headers {
				all += string(h.Value)
			}
			for _, s := range secrets {
				if strings.Contains(all, s) {
					o.t.Errorf("%s has %q in it: %.500s", r.Topic, s, all)
				}
			}
			if r.Offset+1 >= left[r.Topic][r.Partition] {
				if delete(left[r.Topic], r.Partition); len(left[r.Topic]) == 0 {
					delete(left, r.Topic)
				}
			}
		})
	}
	if read < 10 {
		o.t.Errorf("only %d records were looked at", read)
	}
}

func TestEveryDefinitionOfTheGuideIsAccepted(t *testing.T) {
	p := &outside{program: start(t, app.Config{})}
	files, err := filepath.Glob(filepath.Join(guide, "*.yaml"))
	if err != nil || len(files) < 9 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	text, err := os.ReadFile(guide + "/../driving-external-systems.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		p.put(file)
		if !strings.Contains(string(text), "external-systems/"+filepath.Base(file)) {
			t.Errorf("the guide does not speak of %s", filepath.Base(file))
		}
	}
}

// Webhook-style: the other system is told where to report, and does so when it is done.
func TestAnArgoWorkflowReportsWhenItIsDone(t *testing.T) {
	submitted := make(chan map[string]string, 10)
	o := startOutside(t, agents.Settings{}, func(w http.ResponseWriter, _ *http.Request, body string) {
		var b struct {
			ResourceKind, ResourceName string
			SubmitOptions              struct {
				Name       string
				Parameters []string
			}
		}
		if err := json.Unmarshal([]byte(body), &b); err != nil || b.ResourceKind != "WorkflowTemplate" || b.ResourceName != "deploy" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		told := map[string]string{"name": b.SubmitOptions.Name}
		for _, p := range b.SubmitOptions.Parameters {
			name, value, _ := strings.Cut(p, "=")
			told[name] = value
		}
		submitted <- told
		fmt.Fprintf(w, `{"metadata": {"name": %q}, "spec": {"arguments": {"parameters": [{"name": "callback", "value": %q}]}}}`, b.SubmitOptions.Name, told["callback"])
	})
	typ := o.put(guide + "/argo-workflow.yaml")
	report := func(address, body string) {
		resp, err := http.Post(address, "application/json", strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusAccepted {
			answer, _ := io.ReadAll(resp.Body)
			t.Errorf("the report was answered with %s: %s", resp.Status, answer)
		}
	}
	var told map[string]string
	workflow := func(verb, body string) {
		told = <-submitted
		report(told["callback"]+verb, body)
	}
	body := fmt.Sprintf(`{"type": %q, "input": {"server": %q, "namespace": "ci", "template": "deploy", "parameters": "x"}}`, typ, o.standIn.URL)
	go workflow("/complete", `{"output": {"message": "deployed"}}`)
	if out := o.output(body, "COMPLETED"); out != `{"message":"deployed"}` {
		t.Errorf("the output is %s", out)
	}
	_, proof, _ := strings.Cut(told["callback"], "/callbacks/work/")
	_, proof, _ = strings.Cut(proof, "/")
	if len(proof) < 40 || !strings.HasPrefix(told["name"], "waybill-") || told["input"] != "x" {
		t.Errorf("it was told %v", told)
	}
	go workflow("/fail", `{"error": "workflow failed: no quota"}`)
	if message := o.output(body, "ERROR"); !strings.Contains(message, "workflow failed: no quota") {
		t.Errorf("the error is %s", message)
	}
	if calls := o.called(); !slices.Equal(calls, []string{"POST /api/v1/workflows/ci/submit", "POST /api/v1/workflows/ci/submit"}) {
		t.Errorf("called %q", calls)
	}
	o.nothingSecret(secretToken, proof)
}

// Polling-style: the other system is asked until it says how it went.
func TestAScalrRunIsAskedForUntilItHasEnded(t *testing.T) {
	statuses := []string{"planning", "applying", "applied", "planning", "errored", "applied", "planned_and_finished"}
	asked, destroys := 0, 0
	o := startOutside(t, agents.Settings{}, func(w http.ResponseWriter, r *http.Request, body string) {
		w.Header().Set("Content-Type", "application/vnd.api+json")
		if r.Method == http.MethodPost {
			destroys += strings.Count(body, `"is-destroy":true`)
			if r.Header.Get("Content-Type") != "application/vnd.api+json" || !strings.Contains(body, `"is-destroy":`) || !strings.Contains(body, `"id":"ws-1"`) || r.Header.Get("Idempotency-Key") == "" {
				w.WriteHeader(http.StatusUnprocessableEntity)
				return
			}
			w.WriteHeader(http.StatusCreated)
			fmt.Fprint(w, `{"data": {"id": "run-1", "attributes": {"status": "pending"}}}`)
			return
		}
		fmt.Fprintf(w, `{"data": {"id": "run-1", "attributes": {"status": %q}}}`, statuses[asked])
		asked++
	})
	typ := o.put(guide + "/scalr-run.yaml")
	body := fmt.Sprintf(`{"type": %q, "input": {"server": %q, "workspace": "ws-1", "every": "10ms"}}`, typ, o.standIn.URL)
	if out := o.output(body, "COMPLETED"); out != `{"run":"run-1","status":"applied"}` {
		t.Errorf("the output is %s", out)
	}
	if message := o.output(body, "ERROR"); !strings.Contains(message, "it failed there") || !strings.Contains(message, "errored") {
		t.Errorf("the error is %s", message)
	}
	want := []string{"POST /api/iacp/v3/runs", "GET /api/iacp/v3/runs/run-1", "GET /api/iacp/v3/runs/run-1", "GET /api/iacp/v3/runs/run-1"}
	if calls := o.called(); !slices.Equal(calls, append(want, want[:3]...)) {
		t.Errorf("called %q", calls)
	}
	deployed := o.run(strings.Replace(body, "{", `{"id": "deployed", `, 1))
	if deployed.State != "COMPLETED" || destroys != 0 {
		t.Fatalf("it is %s, after %d runs that destroy", deployed.State, destroys)
	}
	if j := o.dispose(deployed.ID); j.State != "COMPLETED" || destroys != 1 || asked != len(statuses) {
		t.Errorf("disposing is %s, after %d runs that destroy: %+v", j.State, destroys, j.Error)
	}
	o.nothingSecret(secretToken)
}

// dispose disposes of a job and returns the job that did.
func (o *outside) dispose(id string) job {
	o.t.Helper()
	var accepted struct{ Position string }
	o.call(http.MethodPost, "/v1/jobs/"+id+"/dispose", `{"reason": "no longer needed"}`, http.StatusAccepted, &accepted)
	var of struct{ Disposal struct{ ID string } }
	o.call(http.MethodGet, "/v1/jobs/"+id+"?position="+accepted.Position, "", http.StatusOK, &of)
	// The start of that job is a command that follows: it is there a moment later.
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		var list struct{ Items []job }
		o.call(http.MethodGet, "/v1/jobs?limit=1", "", http.StatusOK, &list)
		if len(list.Items) > 0 && list.Items[0].ID == of.Disposal.ID {
			var j job
			o.call(http.MethodGet, "/v1/jobs/"+of.Disposal.ID+"?wait=30s", "", http.StatusOK, &j)
			return j
		}
		select {
		case <-look.C:
		case <-o.t.Context().Done():
			o.t.Fatal("the job that disposes does not come")
		}
	}
}

// Programs and records, by way of the machine: what the configuration has, and nothing else.
func TestProgramsAndRecordsAreActivities(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(secretToken), 0o600); err != nil {
		t.Fatal(err)
	}
	o := startOutside(t, agents.Settings{
		Exec: &agents.ExecConfig{Programs: map[string]agents.Program{
			"echo": {Path: "/bin/cat"},
			"tell": {
				Path: "/bin/sh", Args: []string{"-c", `printf '{"key": "%s"}' "$KEY"; echo "it is $KEY" >&2; exit $0`, "${input.code}"},
				Env: map[string]agents.EnvValue{"KEY": {Secret: secret.Ref{File: key}}},
			},
		}},
		Kafka: &agents.KafkaConfig{Topics: []string{"orders"}, Replies: []string{"replies"}},
	}, nil)
	cfg := o.Kafka()
	cl, err := cfg.NewClient(kgo.ConsumeTopics("orders"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopics(t.Context(), 1, 1, nil, "orders", "replies"); err != nil {
		t.Fatal(err)
	}
	o.call(http.MethodPut, "/v1/definitions/orchestrations/order", `{"type": "order", "activities": [
		{"id": "prepare", "type": "exec", "with": {"program": "echo", "item": "{{input.item}}"}},
		{"id": "order", "type": "kafka", "dependsOn": "prepare", "with": {"topic": "orders", "value": "{{prepare}}", "reply": {"topic": "replies"}}}],
		"output": [{"source": "order.value.price", "target": "price"}]}`, http.StatusCreated, nil)
	go func() {
		for {
			fetches := cl.PollFetches(t.Context())
			if fetches.IsClientClosed() || t.Context().Err() != nil {
				return
			}
			fetches.EachRecord(func(r *kgo.Record) {
				answer := &kgo.Record{Topic: "replies", Value: []byte(`{"price": 12}`)}
				if string(r.Value) != `{"item":"book"}` {
					answer.Headers = append(answer.Headers, kgo.RecordHeader{Key: "error", Value: r.Value})
				}
				for _, h := range r.Headers {
					if h.Key == agents.DefaultCorrelation {
						answer.Headers = append(answer.Headers, h)
					}
				}
				cl.Produce(t.Context(), answer, nil)
			})
		}
	}()
	if out := o.output(`{"type": "order", "input": {"item": "book"}}`, "COMPLETED"); out != `{"price":12}` {
		t.Errorf("the output is %s", out)
	}
	o.call(http.MethodPut, "/v1/definitions/orchestrations/tell", `{"type": "tell", "activities": [
		{"id": "tell", "type": "exec", "retry": {"limit": 1, "baseDelay": "1ms"}, "with": {"program": "tell", "code": "{{input.code}}"}}], "output": ["tell.key"]}`, http.StatusCreated, nil)
	if out := o.output(`{"type": "tell", "input": {"code": 0}}`, "COMPLETED"); out != `{"key":"[secret KEY]"}` {
		t.Errorf("the output is %s", out)
	}
	for _, code := range []string{"1", "75"} {
		if message := o.output(`{"type": "tell", "input": {"code": `+code+`}}`, "ERROR"); !strings.Contains(message, "it is [secret KEY]") {
			t.Errorf("the error is %s", message)
		}
	}
	defer o.nothingSecret(secretToken)
	if message := o.output(`{"type": "order", "input": {"item": "pen"}}`, "ERROR"); !strings.Contains(message, `replies answers: {"item":"pen"}`) {
		t.Errorf("the error is %s", message)
	}
}

// The same resource and activity mean the same workspace, for deploying, deploying again and
// disposing, whichever job asks.
func TestTerraformIsKeyedByTheResource(t *testing.T) {
	dir := t.TempDir()
	record, binary := filepath.Join(dir, "record"), filepath.Join(dir, "terraform")
	script := "#!/bin/sh\necho \"$1 $(basename \"$(dirname \"$PWD\")\") $(cat waybill.auto.tfvars.json)\" >> " + record + "\n" +
		`[ "$1" = output ] && echo '{"id": {"value": "i-1"}, "key": {"value": "` + secretToken + `", "sensitive": true}}'` + "\nexit 0\n"
	if err := os.WriteFile(binary, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "vm"), 0o700); err != nil {
		t.Fatal(err)
	}
	path := map[string]agents.EnvValue{"PATH": {Text: os.Getenv("PATH")}}
	o := startOutside(t, agents.Settings{Terraform: &agents.TerraformConfig{Binary: binary, Modules: dir, Env: path}}, nil)
	o.call(http.MethodPut, "/v1/definitions/orchestrations/vm", `{"type": "vm", "schema": {"type": "object", "properties": {"size": {"type": "integer"}}}, "activities": [
		{"id": "vm", "type": "terraform", "with": {"module": "vm", "variables": {"size": "{{input.size}}"}}}], "output": ["vm.id"]}`, http.StatusCreated, nil)
	for _, size := range []string{"1", "2"} {
		if out := o.output(`{"id": "vm-`+size+`", "name": "tenant-1", "type": "vm", "input": {"size": `+size+`}}`, "COMPLETED"); out != `{"id":"i-1"}` {
			t.Errorf("the output is %s", out)
		}
	}
	if j := o.dispose("vm-2"); j.State != "COMPLETED" {
		t.Errorf("disposing is %s: %+v", j.State, j.Error)
	}
	b, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	var calls []string
	workspaces := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		calls = append(calls, f[0]+" "+f[2])
		workspaces[f[1]] = true
	}
	want := []string{
		`init {"size":1}`, `apply {"size":1}`, `output {"size":1}`, `init {"size":2}`, `apply {"size":2}`, `output {"size":2}`,
		`init {"size":2}`, `destroy {"size":2}`,
	}
	if !slices.Equal(calls, want) || len(workspaces) != 1 {
		t.Errorf("called %q in %v", calls, workspaces)
	}
	o.nothingSecret(secretToken)
}
