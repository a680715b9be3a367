package app_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/waybill/waybill/cmd/waybill/internal/app"
)

// A provider that fails is retried or given up as its failure says; the job ends, and its
// status says at which step, after how many attempts, and why.
func TestAFailingProviderIsRetriedOrGivenUpAndTheStatusSaysWhy(t *testing.T) {
	p := start(t, app.Config{})
	p.call(http.MethodPut, "/v1/definitions/orchestrations/quick-tree", `{"type":"quick-tree","output":["root.value"],"activities":[
		{"id":"root","type":"retrieve","inputs":["file","connectorUrl"],"attemptTimeout":"1s",
		 "retry":{"limit":2,"baseDelay":"10ms","maxDelay":"20ms"}}]}`, http.StatusCreated, nil)
	from := newProvider(t, documents(map[string]answer{
		"twice-500": func(w http.ResponseWriter, r *http.Request, base string, n int) {
			if n <= 2 {
				http.Error(w, "out of order", http.StatusInternalServerError)
				return
			}
			document("well again")(w, r, base, n)
		},
		"always-500": func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
			http.Error(w, "out of order", http.StatusInternalServerError)
		},
		"html": func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "<html><body>Please sign in</body></html>")
		},
		"large": func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
			w.Header().Set("Content-Type", "application/json")
			chunk := []byte(strings.Repeat(" ", 1<<20))
			for range 50 {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		},
		"endless": func(w http.ResponseWriter, r *http.Request, _ string, _ int) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"value":"`)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
	}))
	down := newProvider(t, documents(nil))
	down.Close()
	for name, c := range map[string]struct {
		at       *provider
		file     string
		state    string
		step     string
		attempts int
		says     string
	}{
		"500 then well":           {at: from, file: "twice-500", state: "COMPLETED"},
		"500 for ever":            {at: from, file: "always-500", state: "ERROR", step: "fetch", attempts: 3, says: "500"},
		"404":                     {at: from, file: "nothing-here", state: "ERROR", step: "fetch", attempts: 1, says: "404"},
		"HTML instead of JSON":    {at: from, file: "html", state: "ERROR", step: "parse", attempts: 1, says: "text/html"},
		"50 MB over the limit":    {at: from, file: "large", state: "ERROR", step: "fetch", attempts: 1, says: "limit"},
		"an endless slow body":    {at: from, file: "endless", state: "ERROR", attempts: 3, says: ""},
		"a provider that is down": {at: down, file: "any", state: "ERROR", step: "fetch", attempts: 3, says: "refused"},
		"a host not on the list":  {at: &provider{Server: nil}, file: "any", state: "ERROR", attempts: 1, says: "allow"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := &program{t, p.Main}
			url := "http://192.0.2.1:80"
			if c.at.Server != nil {
				url = c.at.URL
			}
			id := strings.ReplaceAll(strings.ToLower(name), " ", "-")
			j := q.run(fmt.Sprintf(`{"id":%q,"type":"quick-tree","input":{"file":%q,"connectorUrl":%q}}`, id, c.file, url))
			if j.State != c.state {
				t.Fatalf("the job is %s: %+v", j.State, j.Error)
			}
			if c.state == "COMPLETED" {
				return
			}
			if j.Error == nil || j.Nodes[0].Error == nil {
				t.Fatalf("no error in the status: %+v", j)
			}
			e := *j.Nodes[0].Error
			if c.step != "" && e.Step != c.step || e.Attempts != c.attempts || !strings.Contains(e.Message, c.says) {
				t.Errorf("the status says %+v, want step %q, %d attempts and %q", e, c.step, c.attempts, c.says)
			}
			if *j.Error != e {
				t.Errorf("the job's error %+v is not its activity's %+v", *j.Error, e)
			}
		})
	}
}

func TestWhatCanBeHadIsHadWherePartialResultsWereAskedFor(t *testing.T) {
	p := start(t, app.Config{})
	from := newProvider(t, documents(map[string]answer{"top": document("top", "there", "missing"), "there": document("there")}))
	j := p.tree("partial", from, "top", `,"partial":true`)
	if j.State != "COMPLETED" || j.Output.Value != "top there" || len(j.Failures) != 1 || j.Failures[0].Step != "fetch" {
		t.Errorf("the job is %s with %q and %+v", j.State, j.Output.Value, j.Failures)
	}
	j = p.tree("whole", from, "top", "")
	if j.State != "ERROR" || !strings.Contains(j.Error.Message, "404") {
		t.Errorf("without partial, the job is %s: %+v", j.State, j.Error)
	}
}
