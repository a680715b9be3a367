package agents_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/agents"
	"github.com/waybill/waybill/domain/partstree"
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

// hangs until the client has gone.
func hangs(r *http.Request) { <-r.Context().Done() }

func asks(connectorURL, file string) agent.Activity {
	raw, err := json.Marshal(partstree.Request{File: file, ConnectorURL: connectorURL})
	if err != nil {
		panic(err)
	}
	return activity(string(raw))
}

func retrieveWith(t *testing.T, cfg agents.RetrieveConfig, allow ...string) *agents.Retrieve {
	t.Helper()
	o, err := agents.NewOutbound(allow)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Outbound = o
	return agents.NewRetrieve(cfg)
}

func retrieve(t *testing.T, a agent.Activity) agent.Result {
	t.Helper()
	return retrieveWith(t, agents.RetrieveConfig{}, "127.0.0.1:*").Process(t.Context(), a)
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

func TestRetrievingNeedsAnAddressThatIsAllowed(t *testing.T) {
	for name, c := range map[string]struct{ input, says string }{
		"no file":              {`{"connectorUrl":"http://127.0.0.1:1"}`, "no file"},
		"no connector":         {`{"file":"a"}`, "no connectorUrl"},
		"a number for a file":  {`{"file":1,"connectorUrl":"http://127.0.0.1:1"}`, "input:"},
		"no http":              {`{"file":"a","connectorUrl":"ftp://127.0.0.1"}`, "does not begin with http"},
		"a way out":            {`{"file":"../a","connectorUrl":"http://127.0.0.1:1"}`, `the path segment ".."`},
		"a host not allowed":   {`{"file":"a","connectorUrl":"http://provider9:8181"}`, "provider9:8181 is not on the list of allowed hosts"},
		"a password":           {`{"file":"a","connectorUrl":"http://u:secret@127.0.0.1:1"}`, "user information"},
		"the cloud's metadata": {`{"file":"latest","connectorUrl":"http://169.254.169.254"}`, "169.254.169.254:80 is not on the list"},
	} {
		t.Run(name, func(t *testing.T) {
			r := retrieve(t, activity(c.input))
			fails(t, r, agent.Failed, "address", c.says)
			if strings.Contains(r.Fault().Message, "secret") {
				t.Fatal("it shows the password")
			}
		})
	}
	t.Run("the cloud's metadata, though everything is allowed", func(t *testing.T) {
		r := retrieveWith(t, agents.RetrieveConfig{}, "*").Process(t.Context(), asks("http://169.254.169.254", "latest/meta-data"))
		fails(t, r, agent.Failed, "address", "never called")
	})
	t.Run("nothing, where nothing is allowed", func(t *testing.T) {
		r := agents.NewRetrieve(agents.RetrieveConfig{}).Process(t.Context(), asks("http://127.0.0.1:1", "a"))
		fails(t, r, agent.Failed, "address", "not on the list")
	})
}

func TestAnswersThatAreNoDocument(t *testing.T) {
	for name, c := range map[string]struct {
		h    http.HandlerFunc
		kind agent.Kind
		step string
		says string
	}{
		"500":                {says(500, "", ""), agent.Retrying, "fetch", "500 Internal Server Error"},
		"503":                {says(503, "", ""), agent.Retrying, "fetch", "503"},
		"408":                {says(408, "", ""), agent.Retrying, "fetch", "408"},
		"425":                {says(425, "", ""), agent.Retrying, "fetch", "425"},
		"429":                {says(429, "", ""), agent.Retrying, "fetch", "429"},
		"404":                {says(404, "", "not here"), agent.Failed, "fetch", "404 Not Found"},
		"401":                {says(401, "", ""), agent.Failed, "fetch", "401"},
		"304":                {says(304, "", ""), agent.Failed, "fetch", "304"},
		"a web page":         {says(200, "text/html", "<!DOCTYPE html><p>log in"), agent.Failed, "parse", "(declared as text/html, it begins like text/html; charset=utf-8)"},
		"a page called JSON": {says(200, "application/json", "<html>"), agent.Failed, "parse", "declared as application/json, it begins like text/html"},
		"nothing":            {says(200, "application/json", ""), agent.Failed, "parse", "it begins like empty"},
		"no value":           {says(200, "application/json", "{}"), agent.Failed, "parse", "value is missing"},
		"half of it": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, `{"value":`)
		}, agent.Retrying, "fetch", "after 9 bytes of the document: unexpected EOF"},
		"a broken connection": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, agent.Retrying, "fetch", "EOF"},
		"a redirect elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://elsewhere.example/x", http.StatusFound)
		}, agent.Failed, "fetch", "elsewhere.example:80 is not on the list"},
		"a redirect to a file": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "file:///etc/passwd")
			w.WriteHeader(http.StatusFound)
		}, agent.Failed, "fetch", "neither http nor https"},
		"a redirect in circles": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
		}, agent.Failed, "fetch", "again and again"},
	} {
		t.Run(name, func(t *testing.T) {
			url := provider(t, c.h)
			r := retrieve(t, asks(url, "a"))
			fails(t, r, c.kind, c.step, c.says)
			if !strings.Contains(r.Fault().Message, "GET "+url+"/a: ") {
				t.Errorf("it does not say what was asked for: %s", r.Fault().Message)
			}
		})
	}
}

func TestARedirectWithinWhatIsAllowedIsFollowed(t *testing.T) {
	well := provider(t, says(200, "application/json", `{"value":"moved"}`))
	url := provider(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, well+"/b", http.StatusMovedPermanently)
	})
	if r := retrieve(t, asks(url, "a")); string(r.Output()) != `{"value":"moved"}` || r.Key() != partstree.NodeID(url, "a") {
		t.Fatalf("got %s %v", r.Output(), r.Err())
	}
}

func TestARedirectToTheMetadataIsRefused(t *testing.T) {
	url := provider(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://[::ffff:169.254.169.254]/latest", http.StatusFound)
	})
	r := retrieveWith(t, agents.RetrieveConfig{}, "*").Process(t.Context(), asks(url, "a"))
	fails(t, r, agent.Failed, "address", "never called")
}

func TestAProviderThatIsDown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	fails(t, retrieve(t, asks(address, "a")), agent.Retrying, "fetch", "connection refused")
}

func TestAProviderThatRecovers(t *testing.T) {
	var calls atomic.Int32
	url := provider(t, func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			says(500, "", "")(w, r)
			return
		}
		says(200, "application/json", `{"value":"well"}`)(w, r)
	})
	fails(t, retrieve(t, asks(url, "a")), agent.Retrying, "fetch", "500")
	if r := retrieve(t, asks(url, "a")); string(r.Output()) != `{"value":"well"}` {
		t.Fatalf("got %v", r.Err())
	}
}

func TestADocumentThatIsTooLarge(t *testing.T) {
	const fifty = 50 << 20
	pour := func(w http.ResponseWriter) (sent int) {
		chunk := []byte(strings.Repeat("x", 64<<10))
		for sent < fifty {
			n, err := w.Write(chunk)
			if err != nil {
				break
			}
			sent += n
		}
		return sent
	}
	t.Run("is refused by the length it declares", func(t *testing.T) {
		url := provider(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(fifty))
			pour(w)
		})
		fails(t, retrieve(t, asks(url, "a")), agent.Failed, "fetch", "larger than the limit of 10485760 bytes")
	})
	t.Run("is cut off where it declares none", func(t *testing.T) {
		sent := make(chan int, 1)
		url := provider(t, func(w http.ResponseWriter, _ *http.Request) { sent <- pour(w) })
		fails(t, retrieve(t, asks(url, "a")), agent.Failed, "fetch", "larger than the limit of 10485760 bytes")
		if n := <-sent; n >= fifty {
			t.Error("all of it was read")
		}
	})
	t.Run("is fine at exactly the limit", func(t *testing.T) {
		body := `{"value":"exact"}`
		url := provider(t, says(200, "application/json", body))
		r := retrieveWith(t, agents.RetrieveConfig{MaxBytes: int64(len(body))}, "*").Process(t.Context(), asks(url, "a"))
		if r.Kind() != agent.Completed {
			t.Fatal(r.Err())
		}
	})
}

func TestAProviderThatIsSlow(t *testing.T) {
	const soon = 50 * time.Millisecond
	drip := func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			fmt.Fprint(w, " ")
			if http.NewResponseController(w).Flush() != nil {
				return
			}
			select {
			case <-r.Context().Done():
			case <-time.After(time.Millisecond):
			}
		}
	}
	for name, c := range map[string]struct {
		h    http.HandlerFunc
		cfg  agents.RetrieveConfig
		says string
	}{
		"with an answer":   {func(_ http.ResponseWriter, r *http.Request) { hangs(r) }, agents.RetrieveConfig{Timeout: soon}, "not done within the timeout of 50ms"},
		"and sends no end": {drip, agents.RetrieveConfig{Timeout: soon}, "not done within the timeout of 50ms"},
		"and sends no more": {func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, `{"value":`)
			_ = http.NewResponseController(w).Flush()
			hangs(r)
		}, agents.RetrieveConfig{Stall: soon}, "after 9 bytes of the document: nothing came for 50ms"},
	} {
		t.Run(name, func(t *testing.T) {
			r := retrieveWith(t, c.cfg, "*").Process(t.Context(), asks(provider(t, c.h), "a"))
			fails(t, r, agent.Retrying, "fetch", c.says)
		})
	}
	t.Run("is left alone when nobody wants the document any more", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		url := provider(t, func(_ http.ResponseWriter, r *http.Request) {
			cancel(errors.New("the job was cancelled"))
			hangs(r)
		})
		r := retrieveWith(t, agents.RetrieveConfig{}, "*").Process(ctx, asks(url, "a"))
		fails(t, r, agent.Retrying, "fetch", "the job was cancelled")
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	url := provider(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "120")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	if r := retrieve(t, asks(url, "a")); r.Wants() != 2*time.Minute {
		t.Fatalf("it comes again after %s", r.Wants())
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-7": 0, "soon": 0, "1.5": 0, "999999999": 24 * time.Hour,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute, "Fri, 02 Jan 2025 03:05:05 GMT": 0,
	} {
		if got := agents.RetryAfter(header, now); got != want {
			t.Errorf("%q: %s, want %s", header, got, want)
		}
	}
}

func TestAPasswordInAnEnvironmentProxyIsNotUsed(t *testing.T) {
	proxy := provider(t, func(http.ResponseWriter, *http.Request) { t.Error("a proxy was asked") })
	t.Setenv("HTTP_PROXY", proxy)
	u, err := url.Parse(provider(t, says(200, "application/json", `{"value":"direct"}`)))
	if err != nil {
		t.Fatal(err)
	}
	if r := retrieve(t, asks(u.String(), "a")); string(r.Output()) != `{"value":"direct"}` {
		t.Fatal(r.Err())
	}
}
