package intake_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/waybill/waybill/domain/blob"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/producers/intake"
	"github.com/waybill/waybill/schemas"
)

func TestVerbsBecomeCommands(t *testing.T) {
	for path, want := range map[string]struct{ typ, value string }{
		"pause":                {schemas.OrchestrationPause, `{"reason":"r","by":"Ada"}`},
		"resume":               {schemas.OrchestrationResume, `{"reason":"r","by":"Ada"}`},
		"cancel":               {schemas.OrchestrationCancel, `{"reason":"r","by":"Ada"}`},
		"nodes/n-1~2/retry":    {schemas.ActivityRetry, `{"activityId":"n-1~2","by":"Ada","reason":"r"}`},
		"nodes/n-1~2/skip":     {schemas.ActivitySkip, `{"activityId":"n-1~2","by":"Ada","reason":"r"}`},
		"nodes/n-1~2/complete": {schemas.ActivityComplete, `{"activityId":"n-1~2","by":"Ada","reason":"r"}`},
		"nodes/n-1~2/fail":     {schemas.ActivityFail, `{"activityId":"n-1~2","by":"Ada","reason":"r"}`},
		"nodes/n-1~2/pause":    {schemas.ActivityPause, `{"activityId":"n-1~2","by":"Ada","reason":"r"}`},
		"nodes/n-1~2/resume":   {schemas.ActivityResume, `{"activityId":"n-1~2","by":"Ada","reason":"r"}`},
	} {
		t.Run(path, func(t *testing.T) {
			f := setUp(t)
			w, a := f.do("POST", "/v1/jobs/j-1/"+path, `{"reason":"r","by":"Ada"}`)
			f.wants(w, 202)
			c := f.log.commands[0]
			if c.Type != want.typ || c.Key != "j-1" || string(c.Value) != want.value || a["commandId"] != c.ID || a["id"] != "j-1" {
				t.Errorf("%+v, %s, answered %v", c, c.Value, a)
			}
			f.do("POST", "/v1/jobs/j-1/"+path, "", "Idempotency-Key: k")
			f.do("POST", "/v1/jobs/j-1/"+path, "", "Idempotency-Key: k")
			if l := f.log.commands; l[1].ID != l[2].ID || l[0].ID == l[1].ID {
				t.Errorf("%s, %s, %s", l[0].ID, l[1].ID, l[2].ID)
			}
		})
	}
}

func TestNobodyTerminatesATransferInTheNameOfAMachine(t *testing.T) {
	f := setUp(t)
	for _, by := range []string{"asker", "connector"} {
		w, a := f.do("POST", "/v1/transfers/t-1/terminate", `{"by":"`+by+`"}`)
		if f.wants(w, 422); !strings.Contains(fmt.Sprint(a), "$.by") {
			t.Errorf("%s: %v", by, a)
		}
	}
	w, _ := f.do("POST", "/v1/transfers/t-1/terminate", `{"by":"Ada"}`)
	f.wants(w, 202)
}

func TestWhatVerbsTake(t *testing.T) {
	for _, tc := range []struct {
		path, body string
		status     int
		where      string
	}{
		{"j-1/nodes/a/skip", `{"output":[1,2]}`, 202, ""},
		{"j-1/nodes/a/complete", `{"output":null}`, 202, ""},
		{"j-1/nodes/a/fail", `{"error":"gone"}`, 202, ""},
		{"j-1/nodes/a/fail", `{"error":{"step":"fetch","message":"gone"}}`, 202, ""},
		{"j-1/nodes/a/fail", `{"error":7}`, 422, "$.error"},
		{"j-1/nodes/a/retry", `{"output":1}`, 422, "$.output"},
		{"j-1/nodes/a/retry", `{"activityId":"b"}`, 422, "$.activityId"},
		{"j-1/pause", `{"why":"r"}`, 422, "$.why"},
		{"j-1/pause", `[]`, 422, "$"},
		{"-j/pause", ``, 404, ""},
		{"-j/nodes/a/retry", ``, 404, ""},
	} {
		f := setUp(t)
		w, a := f.do("POST", "/v1/jobs/"+tc.path, tc.body)
		if w.Code != tc.status {
			t.Errorf("%s %s: %d, %v", tc.path, tc.body, w.Code, a)
		}
		if tc.where != "" && (len(f.log.commands) > 0 || fmt.Sprint(a["errors"].([]any)[0].(map[string]any)["path"]) != tc.where) {
			t.Errorf("%s %s: %v", tc.path, tc.body, a)
		}
	}
}

func TestBulkCountsFirst(t *testing.T) {
	f := setUp(t)
	f.reads.targets = [][]intake.Target{{{JobID: "j-2"}, {JobID: "j-1"}}}
	w, a := f.do("POST", "/v1/bulk/cancel?type=parts-tree&label=team=a&label=env=b&dryRun=true", "")
	f.wants(w, 200)
	if a["count"] != 2.0 || a["dryRun"] != true || a["verb"] != "cancel" || a["commands"] != nil || len(f.log.commands) > 0 {
		t.Errorf("%v, %d commands", a, len(f.log.commands))
	}
	s := f.reads.selected[0]
	open := []orchestration.Phase{orchestration.PhaseInProgress, orchestration.PhasePaused, orchestration.PhaseTransfersFinished}
	if s.Filter.Get("type") != "parts-tree" || !reflect.DeepEqual(s.Filter["label"], []string{"team=a", "env=b"}) || !reflect.DeepEqual(s.States, open) {
		t.Errorf("%+v", s)
	}
	f.do("POST", "/v1/bulk/resume?all=true&dryRun=true", "")
	if s := f.reads.selected[1]; !reflect.DeepEqual(s.States, []orchestration.Phase{orchestration.PhasePaused}) {
		t.Errorf("%+v", s)
	}
}

func TestBulkSaysItOfAll(t *testing.T) {
	f := setUp(t)
	for p := range 3 { // pages
		var page []intake.Target
		for i := range 1000 {
			page = append(page, intake.Target{JobID: fmt.Sprintf("j-%d-%d", p, i)})
		}
		f.reads.targets = append(f.reads.targets, page)
	}
	ids := map[string]bool{}
	for range 2 {
		w, a := f.do("POST", "/v1/bulk/pause?all=true", `{"reason":"r"}`, "Idempotency-Key: k")
		f.wants(w, 202)
		commands := a["commands"].([]any)
		if a["count"] != 3000.0 || len(commands) != 3000 {
			t.Fatalf("%v of %d", a["count"], len(commands))
		}
		last := commands[2999].(map[string]any)
		if last["id"] != "j-2-999" || last["position"] == "" || last["commandId"] == "" {
			t.Errorf("%v", last)
		}
	}
	for _, c := range f.log.commands {
		ids[c.ID] = true
		if c.Type != schemas.OrchestrationPause || string(c.Value) != `{"reason":"r"}` {
			t.Fatalf("%+v", c)
		}
	}
	if len(ids) != 3000 || len(f.log.commands) != 6000 {
		t.Errorf("%d commands under %d ids", len(f.log.commands), len(ids))
	}
}

func TestBulkOfNodes(t *testing.T) {
	f := setUp(t)
	f.reads.targets = [][]intake.Target{{{JobID: "j-1", NodeID: "a"}, {JobID: "j-1", NodeID: "b"}}}
	w, a := f.do("POST", "/v1/bulk/retry?type=parts-tree&nodeState=RETRYING", `{"by":"Ada"}`)
	f.wants(w, 202)
	first := a["commands"].([]any)[0].(map[string]any)
	if first["id"] != "j-1" || first["nodeId"] != "a" || f.reads.selected[0].NodeState != "RETRYING" {
		t.Errorf("%v of %+v", first, f.reads.selected[0])
	}
	values := map[string]bool{}
	for _, c := range f.log.commands {
		values[c.Type+string(c.Value)] = true
	}
	want := map[string]bool{}
	for _, n := range []string{"a", "b"} {
		want[fmt.Sprintf(`%s{"activityId":"%s","by":"Ada"}`, schemas.ActivityRetry, n)] = true
	}
	if !reflect.DeepEqual(values, want) {
		t.Errorf("%v", values)
	}
	f.do("POST", "/v1/bulk/pause?nodeType=http", "")
	if c := f.log.commands[2]; c.Type != schemas.ActivityPause {
		t.Errorf("%+v", c)
	}
}

func TestBulkThatMakesNoSense(t *testing.T) {
	for path, want := range map[string]struct {
		status int
		where  string
	}{
		"cancel":                                {400, "query"},
		"cancel?all=false":                      {400, "query"},
		"cancel?dryRun=true":                    {400, "query"},
		"cancel?stat=ERROR":                     {400, "stat"},
		"cancel?type=":                          {400, "type"},
		"cancel?type=a&type=b":                  {400, "type"},
		"cancel?all=yes":                        {400, "all"},
		"cancel?type=a;b":                       {400, "query"},
		"cancel?state=LOST":                     {400, "state"},
		"cancel?type=a&nodeState=RETRYING":      {400, "nodeState"},
		"retry?type=a":                          {400, "nodeState"},
		"retry?nodeState=RETRYING":              {400, "query"},
		"explode?all=true":                      {404, ""},
		"retry?nodeState=RETRYING&all=true&x=y": {400, "x"},
	} {
		f := setUp(t)
		f.reads.targets = [][]intake.Target{{{JobID: "j-1"}}}
		w, a := f.do("POST", "/v1/bulk/"+path, "")
		if w.Code != want.status || len(f.log.commands) > 0 {
			t.Errorf("%s: %d, %v", path, w.Code, a)
		}
		if want.where != "" && a["errors"].([]any)[0].(map[string]any)["path"] != want.where {
			t.Errorf("%s: %v", path, a)
		}
	}
	f := setUp(t)
	w, _ := f.do("POST", "/v1/bulk/cancel?all=true", `{"why":"r"}`)
	f.wants(w, 422)
	// A reference is ours to write, however well it is written.
	forged := blob.Ref{ID: "j-2/x", Type: "string", Bytes: 10, SHA256: strings.Repeat("0", 64), Chunks: 1}.JSON()
	f.reads.targets = [][]intake.Target{{{JobID: "j-1", NodeID: "a"}}}
	w, a := f.do("POST", "/v1/bulk/skip?nodeState=RETRYING&all=true", `{"reason":"r","output":{"x":`+string(forged)+`}}`)
	f.wants(w, 422)
	if a["errors"].([]any)[0].(map[string]any)["path"] != "$.output.x" || len(f.log.commands) > 0 {
		t.Errorf("%v, %v", a, f.log.commands)
	}
}
