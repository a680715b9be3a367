package app_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/waybill/waybill/cmd/waybill/internal/app"
)

func TestOneDocumentAloneIsATree(t *testing.T) {
	p := start(t, app.Config{})
	from := newProvider(t, documents(map[string]answer{"one": document("alone")}))
	j := p.tree("one", from, "one", "")
	if j.State != "COMPLETED" || j.Output.Value != "alone" {
		t.Errorf("the job is %s with %q", j.State, j.Output.Value)
	}
}

func TestASharedChildIsFetchedOnceAndCyclesAreRecordedNotFollowed(t *testing.T) {
	p := start(t, app.Config{})
	from := newProvider(t, documents(map[string]answer{
		"top":    document("top", "left", "right"),
		"left":   document("left", "shared"),
		"right":  document("right", "shared", "right"), // and itself
		"shared": document("shared", "top"),            // and back to the top
	}))
	j := p.tree("graph", from, "top", "")
	if want := "top left shared right"; j.State != "COMPLETED" || j.Output.Value != want {
		t.Errorf("the job is %s with %q, want %q", j.State, j.Output.Value, want)
	}
	for _, file := range []string{"top", "left", "right", "shared"} {
		if n := from.count(file); n != 1 {
			t.Errorf("%s was fetched %d times", file, n)
		}
	}
	var kinds []string
	for _, e := range j.Edges {
		kinds = append(kinds, e.Kind)
	}
	for kind, n := range map[string]int{"shared": 1, "cycle": 2} {
		if got := len(slices.DeleteFunc(slices.Clone(kinds), func(k string) bool { return k != kind })); got != n {
			t.Errorf("%d edges are %s, want %d: %v", got, kind, n, j.Edges)
		}
	}
}

func TestATreeOf37449DocumentsIsOneJob(t *testing.T) {
	p := start(t, app.Config{})
	from := newProvider(t, generated(5, 8))
	j := p.tree("large", from, "t", "")
	const documents = 1 + 8 + 64 + 512 + 4096 + 32768
	if j.State != "COMPLETED" || j.Progress.Completed != documents+1 {
		t.Fatalf("the job is %s: %+v %+v", j.State, j.Progress, j.Error)
	}
	if n := len(strings.Fields(j.Output.Value)); n != documents {
		t.Errorf("%d values were joined, want %d", n, documents)
	}
	if from.total != documents {
		t.Errorf("%d documents were fetched, want each once", from.total)
	}
}

func TestATreeOverALimitEndsWithTheLimitNamed(t *testing.T) {
	p := start(t, app.Config{})
	from := newProvider(t, generated(150, 1)) // deeper than 100
	j := p.tree("deep", from, "t", "")
	if j.State != "ERROR" || j.Error == nil || !strings.Contains(j.Error.Message, "limit of 100 depth") {
		t.Errorf("the job is %s: %+v", j.State, j.Error)
	}
	wide := newProvider(t, documents(map[string]answer{"wide": document("wide", names(5)...)}))
	p.call(http.MethodPut, "/v1/definitions/orchestrations/small", `{"type":"small","limits":{"nodes":5},"activities":[
		{"id":"root","type":"retrieve","inputs":["file","connectorUrl"]}]}`, http.StatusCreated, nil)
	j = p.run(`{"id":"wide","type":"small","input":{"file":"wide","connectorUrl":"` + wide.URL + `"}}`)
	if j.State != "ERROR" || !strings.Contains(j.Error.Message, "limit of 5 nodes") {
		t.Errorf("the job is %s: %+v", j.State, j.Error)
	}
}

func names(n int) []string {
	l := make([]string, n)
	for i := range l {
		l[i] = "n" + string(rune('a'+i))
	}
	return l
}
