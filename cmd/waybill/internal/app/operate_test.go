package app_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/waybill/waybill/cmd/waybill/internal/app"
	"github.com/waybill/waybill/cmd/waybill/internal/client"
)

// holding waits for somebody outside, then goes on.
const holding = `{"activities": [
	{"id": "a", "type": "noop", "with": {"result": "wait"}},
	{"id": "b", "type": "noop", "dependsOn": "a", "with": {"output": "{{a}}"}}], "output": ["b"]}`

// operator looks after jobs by HTTP.
type operator struct {
	*testing.T
	c *client.Client
}

// say says a verb and waits for the decision.
func (o operator) say(path, body string, want int) map[string]any {
	o.Helper()
	status, a := ask(o.T, o.c, http.MethodPost, path, body, "Prefer: wait=10")
	if status != want {
		o.Fatalf("%s %s: %d, want %d: %v", path, body, status, want, a)
	}
	return a
}

// job reads a job once the view shows what was answered.
func (o operator) job(id string, answer map[string]any) map[string]any {
	o.Helper()
	path := "/v1/jobs/" + id + "?position=" + fmt.Sprint(answer["position"])
	status, j := ask(o.T, o.c, http.MethodGet, path, "")
	if status != http.StatusOK {
		o.Fatalf("%s: %d %v", path, status, j)
	}
	return j
}

func (o operator) ended(id string) map[string]any {
	o.Helper()
	_, j := ask(o.T, o.c, http.MethodGet, "/v1/jobs/"+id+"?wait=30s", "")
	return j
}

func (o operator) put(typ, definition string) {
	o.Helper()
	if status, a := ask(o.T, o.c, http.MethodPut, "/v1/definitions/orchestrations/"+typ, definition); status != http.StatusCreated {
		o.Fatalf("put %s: %d %v", typ, status, a)
	}
}

func stateOf(j map[string]any, node int) any {
	nodes, _ := j["nodes"].([]any)
	n, _ := nodes[node].(map[string]any)
	return n["state"]
}

func TestAnOperatorLooksAfterAJob(t *testing.T) {
	_, c := startMain(t, app.Config{})
	o := operator{t, c}
	o.put("hold", holding)
	o.say("/v1/jobs", `{"id": "j-1", "type": "hold"}`, http.StatusCreated)
	o.say("/v1/jobs/j-1/pause", `{"reason": "maintenance", "by": "Ada"}`, http.StatusOK)
	a := o.say("/v1/jobs/j-1/pause", `{"reason": "again", "by": "Kim"}`, http.StatusOK)
	j := o.job("j-1", a)
	if p, _ := j["paused"].(map[string]any); j["state"] != "PAUSED" || p["by"] != "Ada" || p["reason"] != "maintenance" {
		t.Errorf("paused: %v", j)
	}
	a = o.say("/v1/jobs/j-1/nodes/a/complete", `{"output": {"x": 1}, "by": "Ada"}`, http.StatusOK)
	if j = o.job("j-1", a); stateOf(j, 0) != "COMPLETED" || stateOf(j, 1) != "PENDING" {
		t.Errorf("while it is paused: %v", j)
	}
	o.say("/v1/jobs/j-1/nodes/a/retry", "", http.StatusConflict)
	o.say("/v1/jobs/j-1/nodes/none/skip", "", http.StatusNotFound)
	o.say("/v1/jobs/none/resume", "", http.StatusNotFound)
	o.say("/v1/jobs/j-1/resume", "", http.StatusOK)
	if j = o.ended("j-1"); j["state"] != "COMPLETED" || fmt.Sprint(j["output"]) != "map[b:map[x:1]]" {
		t.Errorf("in the end: %v", j)
	}
	o.say("/v1/jobs/j-1/pause", "", http.StatusConflict)
	o.say("/v1/jobs/j-1/nodes/b/skip", "", http.StatusConflict)
}

func TestAnOperatorLooksAfterManyJobs(t *testing.T) {
	_, c := startMain(t, app.Config{})
	o := operator{t, c}
	o.put("hold", holding)
	o.put("busy", `{"activities": [{"id": "a", "type": "noop", "with": {"result": "retry", "times": 1}, "retry": {"baseDelay": "1h", "maxDelay": "1h"}}]}`)
	const each = 40
	for i := range each {
		for _, typ := range []string{"hold", "busy"} {
			o.say("/v1/jobs", fmt.Sprintf(`{"id": "%s-%d", "type": %q, "labels": {"team": "blue"}}`, typ, i, typ), http.StatusCreated)
		}
	}
	count := func(path string, want float64) {
		t.Helper()
		if a := o.say(path+"&dryRun=true", "", http.StatusOK); a["count"] != want {
			t.Fatalf("%s: %v, want %v", path, a, want)
		}
	}
	count("/v1/bulk/cancel?label=team=blue", 2*each)
	count("/v1/bulk/cancel?type=hold", each)
	for _, job := range []string{"busy-0", fmt.Sprintf("busy-%d", each-1)} {
		if status, a := ask(t, c, http.MethodPost, "/v1/jobs/"+job+"/nodes/a/pause", "", "Prefer: wait=10"); status != http.StatusOK {
			t.Fatal(a)
		}
	}
	count("/v1/bulk/retry?type=busy&nodeState=RETRYING", each)
	count("/v1/bulk/retry?all=true&nodeState=RETRYING", each)
	o.say("/v1/bulk/resume?nodeType=noop&type=busy", "", http.StatusAccepted)
	if a := o.say("/v1/bulk/retry?type=busy&nodeState=RETRYING", `{"reason": "it is back"}`, http.StatusAccepted); a["count"] != float64(each) {
		t.Errorf("retried: %v", a)
	}
	for i := range each {
		if j := o.ended(fmt.Sprintf("busy-%d", i)); j["state"] != "COMPLETED" {
			t.Errorf("busy-%d: %v", i, j)
		}
	}
	for range 2 { // under the same key it is harmless
		if status, a := ask(t, c, http.MethodPost, "/v1/bulk/cancel?label=team=blue", `{"reason": "enough"}`, "Idempotency-Key: k"); status != http.StatusAccepted {
			t.Fatal(a)
		}
	}
	for i := range each {
		if j := o.ended(fmt.Sprintf("hold-%d", i)); j["state"] != "CANCELLED" {
			t.Errorf("hold-%d: %v", i, j)
		}
	}
	count("/v1/bulk/cancel?label=team=blue", 0)
}

func TestWhatFailsInTheSameMomentIsAllInTheEnd(t *testing.T) {
	_, c := startMain(t, app.Config{})
	o := operator{t, c}
	o.put("twins", `{"activities": [
		{"id": "a", "type": "noop", "with": {"result": "fatal"}},
		{"id": "b", "type": "noop", "with": {"delay": "0.1s", "result": "fatal"}},
		{"id": "c", "type": "noop", "dependsOn": ["a", "b"]}]}`)
	o.say("/v1/jobs", `{"id": "j-1", "type": "twins"}`, http.StatusCreated)
	j := o.ended("j-1")
	if failures, _ := j["failures"].([]any); j["state"] != "ERROR" || len(failures) != 2 {
		t.Errorf("%v", j)
	}
}
