package schemas_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/waybill/waybill/schemas"
)

// What the documents say about records is what the JSON Schemas say, copied: -update does
// that.
func TestTheDocumentsHaveTheSchemasOfTheRecords(t *testing.T) {
	shared := sharedComponents(t)
	for file, all := range map[string]bool{"openapi.json": false, "asyncapi.json": true} {
		t.Run(file, func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			doc := tree(t, text).(map[string]any)
			insert(doc, shared, all)
			want, err := json.MarshalIndent(doc, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			want = append(unescaped(want), '\n')
			if bytes.Equal(text, want) {
				return
			}
			if !*update {
				t.Fatalf("%s is not what the schemas say; go test ./schemas -update writes it", file)
			}
			if err := os.WriteFile(file, want, 0o600); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// unescaped undoes what encoding/json escapes for HTML's sake.
func unescaped(text []byte) []byte {
	return []byte(strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(string(text)))
}

// sharedComponents are the schemas of all records, and what they share, with references
// as documents have them.
func sharedComponents(t *testing.T) map[string]any {
	t.Helper()
	shared := map[string]any{}
	for _, name := range schemas.Names() {
		text, _ := schemas.JSONSchema(name)
		text = bytes.ReplaceAll(text, []byte(`"#/$defs/`), []byte(`"#/components/schemas/`))
		doc := tree(t, text).(map[string]any)
		defs, _ := doc["$defs"].(map[string]any)
		maps.Copy(shared, defs)
		for _, k := range []string{"$schema", "$id", "$defs"} {
			delete(doc, k)
		}
		shared[name] = doc
	}
	return shared
}

// insert puts the shared schemas into a document: all of them, or those it refers to.
func insert(doc, shared map[string]any, all bool) {
	components := doc["components"].(map[string]any)["schemas"].(map[string]any)
	if all {
		maps.Copy(components, shared)
		return
	}
	for added := true; added; {
		added = false
		for _, ref := range references(doc) {
			name := strings.TrimPrefix(ref, "#/components/schemas/")
			if s, ok := shared[name]; ok && !reflect.DeepEqual(components[name], s) {
				components[name], added = s, true
			}
		}
	}
}

func TestOpenAPIIsValid(t *testing.T) {
	doc, err := openapi3.NewLoader().LoadFromData(schemas.OpenAPI())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("it is of version %s", doc.OpenAPI)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestReferencesOfTheDocumentsLeadSomewhere(t *testing.T) {
	for name, text := range map[string][]byte{"openapi": schemas.OpenAPI(), "asyncapi": schemas.AsyncAPI()} {
		doc := tree(t, text)
		for _, ref := range references(doc) {
			if !leadsSomewhere(doc, ref) {
				t.Errorf("%s: %s leads nowhere", name, ref)
			}
		}
	}
}

// leadsSomewhere follows a JSON pointer within a document.
func leadsSomewhere(doc any, ref string) bool {
	pointer, ok := strings.CutPrefix(ref, "#/")
	for _, step := range strings.Split(pointer, "/") {
		m, _ := doc.(map[string]any)
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		if doc, ok = m[step]; !ok {
			return false
		}
	}
	return ok
}

func TestOpenAPIHasEveryCall(t *testing.T) {
	var doc struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal(schemas.OpenAPI(), &doc); err != nil {
		t.Fatal(err)
	}
	var got []string
	for path, methods := range doc.Paths {
		for m := range methods {
			if m != "parameters" {
				got = append(got, strings.ToUpper(m)+" "+path)
			}
		}
	}
	slices.Sort(got)
	if want := calls(); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// calls are those of the design's section on querying that are there by now.
func calls() []string {
	l := []string{
		"POST /v1/jobs", "GET /v1/jobs", "GET /v1/jobs/{id}", "GET /v1/jobs/{id}/nodes", "GET /v1/jobs/{id}/edges",
		"GET /v1/jobs/{id}/events", "GET /v1/jobs/{id}/result", "GET /v1/jobs/{id}/input", "GET /v1/jobs/{id}/nodes/{nodeId}/output", "GET /v1/jobs/{id}/stream",
		"POST /v1/jobs/{id}/cancel", "POST /v1/jobs/{id}/pause", "POST /v1/jobs/{id}/resume", "POST /v1/jobs/{id}/rerun", "POST /v1/jobs/{id}/dispose", "POST /v1/bulk/{verb}",
		"POST /v1/work/{workId}/complete", "POST /v1/work/{workId}/fail", "POST /v1/work/{workId}/heartbeat",
		"POST /callbacks/work/{workId}/{proof}", "POST /callbacks/work/{workId}/{proof}/complete",
		"POST /callbacks/work/{workId}/{proof}/fail", "POST /callbacks/work/{workId}/{proof}/heartbeat",
		"POST /callbacks/edc/{subject}/{proof}", "POST /uploads/{subject}/{proof}", "PUT /uploads/{subject}/{proof}",
		"POST /callbacks/provisioner/{subject}/{proof}/{transferId}/provision", "POST /callbacks/provisioner/{subject}/{proof}/{transferId}/deprovision",
		"GET /v1/commands/{id}", "GET /v1/deadletters", "GET /v1/deadletters/{id}", "POST /v1/deadletters/{id}/replay",
		"GET /healthz", "GET /readyz", "GET /metrics", "GET /openapi.json", "GET /asyncapi.json", "GET /",
	}
	for _, kind := range []string{"orchestrations", "activities"} {
		path := "/v1/definitions/" + kind
		l = append(l, "GET "+path, "GET "+path+"/{type}", "PUT "+path+"/{type}", "DELETE "+path+"/{type}")
	}
	for _, thing := range []string{"/v1/transfers", "/v1/negotiations"} {
		l = append(l, "GET "+thing, "POST "+thing, "GET "+thing+"/{id}", "GET "+thing+"/{id}/events")
	}
	l = append(l, "GET /v1/negotiations/{id}/edr", "GET /v1/wishes/{id}")
	for _, verb := range []string{"suspend", "resume", "terminate", "deprovision"} {
		l = append(l, "POST /v1/transfers/{id}/"+verb)
	}
	for _, verb := range []string{"retry", "skip", "complete", "fail", "pause", "resume"} {
		l = append(l, "POST /v1/jobs/{id}/nodes/{nodeId}/"+verb)
	}
	slices.Sort(l)
	return l
}

// A job over HTTP is the start on the topic, and its id.
func TestAJobIsStartedWithTheMembersOfAStart(t *testing.T) {
	var doc struct {
		Components struct {
			Schemas struct {
				StartJob struct {
					Properties map[string]any `json:"properties"`
				} `json:"StartJob"`
			} `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(schemas.OpenAPI(), &doc); err != nil {
		t.Fatal(err)
	}
	start := sharedComponents(t)[schemas.OrchestrationStart].(map[string]any)["properties"].(map[string]any)
	want := append(slices.Collect(maps.Keys(start)), "id")
	slices.Sort(want)
	if got := slices.Sorted(maps.Keys(doc.Components.Schemas.StartJob.Properties)); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// asyncDocument is what the tests look at of an AsyncAPI document.
type asyncDocument struct {
	Version    string                          `json:"asyncapi"`
	Info       struct{ Title, Version string } `json:"info"`
	Channels   map[string]asyncChannel         `json:"channels"`
	Operations map[string]struct {
		Action   string `json:"action"`
		Channel  ref    `json:"channel"`
		Messages []ref  `json:"messages"`
	} `json:"operations"`
	Components struct {
		Messages map[string]struct {
			Name     string                     `json:"name"`
			Title    string                     `json:"title"`
			Headers  ref                        `json:"headers"`
			Payload  json.RawMessage            `json:"payload"`
			Bindings map[string]json.RawMessage `json:"bindings"`
		} `json:"messages"`
	} `json:"components"`
}

type asyncChannel struct {
	Address    string         `json:"address"`
	Parameters map[string]any `json:"parameters"`
	Messages   map[string]ref `json:"messages"`
}

type ref struct {
	Ref string `json:"$ref"`
}

func readAsyncAPI(t *testing.T) asyncDocument {
	t.Helper()
	var doc asyncDocument
	if err := json.Unmarshal(schemas.AsyncAPI(), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Version != "3.0.0" || doc.Info.Title == "" || doc.Info.Version == "" {
		t.Errorf("it is %s of %+v", doc.Version, doc.Info)
	}
	return doc
}

func TestAsyncAPIHasEveryRecordOnSomeTopic(t *testing.T) {
	doc := readAsyncAPI(t)
	there := map[string]bool{}
	for _, c := range doc.Channels {
		for name, m := range c.Messages {
			there[name] = true
			if m.Ref != "#/components/messages/"+name {
				t.Errorf("%s: %s is %s", c.Address, name, m.Ref)
			}
		}
	}
	for _, name := range schemas.Names() {
		m, ok := doc.Components.Messages[name]
		switch {
		case !ok || !there[name]:
			t.Errorf("%s is on no topic", name)
		case m.Name != name || m.Title == "" || m.Headers.Ref == "" || m.Bindings["kafka"] == nil:
			t.Errorf("%s is incomplete: %+v", name, m)
		case !strings.Contains(string(m.Payload), `"#/components/schemas/`+name+`"`):
			t.Errorf("%s has the payload %s", name, m.Payload)
		}
	}
}

func TestAsyncAPIHasEveryTopic(t *testing.T) {
	doc := readAsyncAPI(t)
	got := map[string]bool{}
	for name, c := range doc.Channels {
		got[c.Address] = true
		for _, part := range strings.Split(c.Address, ".") {
			if p, ok := strings.CutPrefix(part, "{"); ok && c.Parameters[strings.TrimSuffix(p, "}")] == nil {
				t.Errorf("%s: parameter %s is not described", name, part)
			}
		}
	}
	for _, want := range []string{
		"{prefix}.orchestration.commands", "{prefix}.orchestration.events", "{prefix}.orchestration.completions",
		"{prefix}.transfer.commands", "{prefix}.transfer.events", "{prefix}.transfer.completions",
		"{prefix}.negotiation.commands", "{prefix}.negotiation.events", "{prefix}.negotiation.completions",
		"{prefix}.definition.commands", "{prefix}.definition.events", "{prefix}.definition.completions",
		"{prefix}.definitions", "{prefix}.work.{activityType}", "{prefix}.deadletters", "{prefix}.shards", "{prefix}.blobs",
	} {
		if !got[want] {
			t.Errorf("%s is not there", want)
		}
	}
}

func TestAsyncAPIOperationsUseMessagesOfTheirTopics(t *testing.T) {
	doc := readAsyncAPI(t)
	used := map[string]bool{}
	for name, op := range doc.Operations {
		if op.Action != "send" && op.Action != "receive" {
			t.Errorf("%s is to %q", name, op.Action)
		}
		for _, m := range op.Messages {
			used[m.Ref] = true
			if !strings.HasPrefix(m.Ref, op.Channel.Ref+"/messages/") {
				t.Errorf("%s: %s is not of %s", name, m.Ref, op.Channel.Ref)
			}
		}
	}
	for name, c := range doc.Channels {
		for m := range c.Messages {
			if r := "#/channels/" + name + "/messages/" + m; !used[r] && m != schemas.ShardOwned {
				t.Errorf("no operation has %s", r)
			}
		}
	}
}

func TestDocumentsAreTheCallersOwn(t *testing.T) {
	for name, document := range map[string]func() []byte{"openapi": schemas.OpenAPI, "asyncapi": schemas.AsyncAPI} {
		document()[0] = '!'
		if document()[0] != '{' {
			t.Errorf("%s has been changed by its reader", name)
		}
	}
}
