package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waybill/waybill/cmd/waybill/internal/app"
)

// provider is a connector that serves documents over HTTP and counts how often each was
// fetched.
type provider struct {
	*httptest.Server
	mu      sync.Mutex
	fetched map[string]int
	total   int
}

// answer writes a document; base is the provider's own address, n how often it was asked for.
type answer func(w http.ResponseWriter, r *http.Request, base string, n int)

func newProvider(t *testing.T, find func(file string) (answer, bool)) *provider {
	t.Helper()
	p := &provider{fetched: map[string]int{}}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		file := strings.TrimPrefix(r.URL.Path, "/")
		p.mu.Lock()
		p.fetched[file]++
		p.total++
		n := p.fetched[file]
		p.mu.Unlock()
		a, ok := find(file)
		if !ok {
			http.NotFound(w, r)
			return
		}
		a(w, r, p.URL, n)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *provider) count(file string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fetched[file]
}

// document is a parts tree's document with its children at the same provider.
func document(value string, children ...string) answer {
	return func(w http.ResponseWriter, _ *http.Request, base string, _ int) {
		type transfer struct {
			File         string `json:"file"`
			ConnectorURL string `json:"connectorUrl"`
		}
		doc := struct {
			Value     string     `json:"value"`
			Transfers []transfer `json:"transferProcesses,omitempty"`
		}{Value: value}
		for _, c := range children {
			doc.Transfers = append(doc.Transfers, transfer{c, base})
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(doc); err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

func documents(m map[string]answer) func(string) (answer, bool) {
	return func(file string) (answer, bool) { a, ok := m[file]; return a, ok }
}

// program is the whole of Waybill on free ports, with a client.
type program struct {
	t *testing.T
	*app.Main
}

func start(t *testing.T, cfg app.Config) *program {
	t.Helper()
	cfg = anywhere(t, cfg)
	if cfg.Data == "" {
		cfg.Data = t.TempDir()
	}
	cfg.Listen, cfg.KafkaListen = "127.0.0.1:0", "127.0.0.1:0"
	cfg.Allow = []string{"127.0.0.1:*"}
	m := app.New(cfg)
	if err := m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return &program{t, m}
}

// call makes a request and decodes the answer, which must have that status.
func (p *program) call(method, path, body string, status int, into any) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 2*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, p.URL()+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	if res.StatusCode != status {
		p.t.Fatalf("%s %s answers %d %s, want %d", method, path, res.StatusCode, b, status)
	}
	if into != nil {
		if err := json.Unmarshal(b, into); err != nil {
			p.t.Fatalf("%s %s: %v in %s", method, path, err, b)
		}
	}
}

// job is what a status query says, as far as the tests look.
type job struct {
	ID       string
	State    string
	Output   struct{ Value string }
	Error    *failure
	Failures []failure
	Progress struct{ Total, Completed, Failed, Cancelled int }
	Nodes    []node
	Edges    []struct{ From, To, Kind string }
}

type node struct {
	ID, Name, State string
	Attempt         int
	Error           *failure
}

type failure struct {
	Step, Message string
	Attempts      int
}

// tree runs a parts tree from a file of the provider to its end.
func (p *program) tree(id string, from *provider, file, more string) job {
	p.t.Helper()
	body := fmt.Sprintf(`{"id":%q,"type":"parts-tree","input":{"file":%q,"connectorUrl":%q}%s}`, id, file, from.URL, more)
	return p.run(body)
}

// run starts a job and waits for its end.
func (p *program) run(body string) job {
	p.t.Helper()
	var accepted struct{ ID, Position string }
	p.call(http.MethodPost, "/v1/jobs", body, http.StatusAccepted, &accepted)
	var j job
	for range 10 {
		p.call(http.MethodGet, "/v1/jobs/"+accepted.ID+"?wait=30s&position="+accepted.Position, "", http.StatusOK, &j)
		switch j.State {
		case "COMPLETED", "ERROR", "CANCELLED":
			return j
		}
	}
	p.t.Fatalf("job %s has not ended: %+v", accepted.ID, j.Progress)
	return j
}

// generated is a tree in which every document above the last level has so many children:
// "t" is the root, "t-3" its fourth child.
func generated(levels, children int) func(string) (answer, bool) {
	return func(file string) (answer, bool) {
		if file != "t" && !strings.HasPrefix(file, "t-") {
			return nil, false
		}
		var names []string
		if strings.Count(file, "-") < levels {
			for i := range children {
				names = append(names, file+"-"+strconv.Itoa(i))
			}
		}
		return document("v", names...), true
	}
}
