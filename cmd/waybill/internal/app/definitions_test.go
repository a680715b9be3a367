package app_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/waybill/waybill/cmd/waybill/internal/app"
)

func TestWhatRunsKeepsItsVersion(t *testing.T) {
	_, c := startMain(t, app.Config{})
	const path = "/v1/definitions/orchestrations/hold"
	wants := func(status int, method, path, body string, words ...string) map[string]any {
		t.Helper()
		got, a := ask(t, c, method, path, body, "Prefer: wait=10")
		for _, w := range words {
			if !strings.Contains(fmt.Sprint(a), w) {
				t.Errorf("%s %s answers %v, want it to say %s", method, path, a, w)
			}
		}
		if got != status {
			t.Fatalf("%s %s: %d, want %d: %v", method, path, got, status, a)
		}
		return a
	}
	wants(201, "PUT", path, hold)
	wants(201, "POST", "/v1/jobs", `{"id": "j-1", "type": "hold"}`)
	work := workOf(t, c, "j-1")
	wants(200, "PUT", path, strings.Replace(hold, `"a.x"`, `"a.y"`, 1), "version:2")
	wants(200, "PUT", path, strings.Replace(hold, `{`, `{"active": false, `, 1), "version:3")
	wants(409, "POST", "/v1/jobs", `{"id": "j-2", "type": "hold"}`, "not active")
	wants(409, "DELETE", path, "", "1 job that has not ended")
	a := wants(202, "POST", "/v1/work/"+work+"/complete", `{"output": {"x": 1, "y": 2}}`)
	job := wants(200, "GET", "/v1/jobs/j-1?wait=30s&position="+fmt.Sprint(a["position"]), "")
	if !reflect.DeepEqual(job["output"], map[string]any{"x": 1.0}) || job["definitionVersion"] != 1.0 {
		t.Errorf("the job: %v", job)
	}
	wants(200, "DELETE", path, "")
}

// Every property of the reference comes back as it was put.
func TestADefinitionComesBackAsItWasPut(t *testing.T) {
	_, c := startMain(t, app.Config{})
	for path, body := range map[string]string{
		"activities/activity1.example.com": `{"type": "activity1.example.com", "provider": "provisioner.example.com",
			"description": "Provisions a resource for a tenant", "inputSchema": {"openAPIV3Schema": {}}, "outputSchema": {"openAPIV3Schema": {}}}`,
		"orchestrations/tenant.example.com": `{"type": "tenant.example.com", "active": true, "schema": {}, "input": {"cell": "eu"}, "output": ["activity2"],
			"activities": [
				{"id": "activity1", "type": "noop", "discriminator": "deploy", "inputs": ["cell", "baseUrl"], "dependsOn": []},
				{"id": "activity2", "type": "noop", "dependsOn": "activity1", "inputs": [{"source": "activity1.resource", "target": "resourceId"}]}]}`,
	} {
		if status, a := ask(t, c, "PUT", "/v1/definitions/"+path+"?set=team-a", body); status != http.StatusCreated {
			t.Fatalf("%s: %d %v", path, status, a)
		}
		if status, a := ask(t, c, "PUT", "/v1/definitions/"+path+"?set=team-b", body); status != http.StatusConflict || !strings.Contains(fmt.Sprint(a), "belongs to set team-a") {
			t.Errorf("%s of another set: %d %v", path, status, a)
		}
		if status, a := ask(t, c, "PUT", "/v1/definitions/"+path+"?set=a/b", body); status != http.StatusBadRequest {
			t.Errorf("%s of a set with a strange name: %d %v", path, status, a)
		}
		_, got := ask(t, c, "GET", "/v1/definitions/"+path, "")
		want := decoded(t, body)
		want["version"] = 1.0
		if !reflect.DeepEqual(got["definition"], any(want)) || got["set"] != "team-a" {
			t.Errorf("%s: got %v, want %v", path, got, want)
		}
	}
}

func decoded(t *testing.T, body string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestInputsThatCannotFitAreRefusedWithBothTypes(t *testing.T) {
	_, c := startMain(t, app.Config{})
	for typ, schemas := range map[string]string{
		"count": `"outputSchema": {"openAPIV3Schema": {"type": "object", "properties": {"total": {"type": "integer"}}}}`,
		"print": `"inputSchema": {"openAPIV3Schema": {"type": "object", "properties": {"text": {"type": "string"}}}}`,
	} {
		if status, a := ask(t, c, "PUT", "/v1/definitions/activities/"+typ, "{"+schemas+"}"); status != http.StatusCreated {
			t.Fatal(status, a)
		}
	}
	status, a := ask(t, c, "PUT", "/v1/definitions/orchestrations/both", `{"activities": [{"id": "c", "type": "count"},
		{"id": "p", "type": "print", "dependsOn": "c", "inputs": [{"source": "c.total", "target": "text"}]}]}`)
	want := `$.activities[1].inputs[0]: the inputSchema of print wants string for "text", found "c.total", which is integer by the outputSchema of count`
	if status != http.StatusUnprocessableEntity || !strings.Contains(fmt.Sprint(a["detail"]), want) {
		t.Errorf("%d %v", status, a)
	}
}
