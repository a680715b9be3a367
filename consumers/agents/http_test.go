package agents_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/consumers/agents"
	"github.com/waybill/waybill/internal/callbacks"
	"github.com/waybill/waybill/internal/outbound"
)

const token = "s3cr3t-/\"token"

// other is a system that is called, and the agent that may call it.
type other struct {
	*httptest.Server
	*agents.HTTP
	host string
}

func newOther(t *testing.T, handler http.HandlerFunc, options ...func(*agents.HTTPConfig)) other {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	o := other{Server: s, host: strings.TrimPrefix(s.URL, "http://")}
	outbound, err := outbound.New([]string{o.host})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	store, err := secret.NewStore(secret.Config{Getenv: func(name string) (string, bool) { return "short", name == "WAYBILL_TEST_SHORT" }})
	if err != nil {
		t.Fatal(err)
	}
	cfg := agents.HTTPConfig{
		Outbound: outbound, Callbacks: callbacks.New([]byte("key")).At("https://waybill.example.com"),
		Secrets: agents.Secrets{Store: store, ByName: map[string]agents.Secret{
			"token":     {Ref: secret.Ref{File: file}, Hosts: []string{o.host}},
			"elsewhere": {Ref: secret.Ref{File: file}, Hosts: []string{"elsewhere.example.com"}},
			"nowhere":   {Ref: secret.Ref{File: file}},
			"absent":    {Ref: secret.Ref{Env: "WAYBILL_TEST_NOT_SET"}, Hosts: []string{o.host}},
			"short":     {Ref: secret.Ref{Env: "WAYBILL_TEST_SHORT"}, Hosts: []string{o.host}},
		}},
	}
	for _, set := range options {
		set(&cfg)
	}
	o.HTTP = agents.NewHTTP(cfg)
	return o
}

// call processes an input, in which %s is the address of the other system.
func (o other) call(t *testing.T, input string, change ...func(*agent.Activity)) agent.Result {
	t.Helper()
	a := activity(strings.ReplaceAll(input, "%s", o.URL))
	for _, c := range change {
		c(&a)
	}
	return o.Process(t.Context(), a)
}

func with(state json.RawMessage) func(*agent.Activity) {
	return func(a *agent.Activity) { a.State = state }
}

// path reads a value out of a result's output, as JSON.
func path(t *testing.T, raw json.RawMessage, names ...string) string {
	t.Helper()
	for _, name := range names {
		var m map[string]json.RawMessage
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		raw = m[name]
	}
	return string(raw)
}

func completed(t *testing.T, r agent.Result) json.RawMessage {
	t.Helper()
	if r.Kind() != agent.Completed {
		t.Fatalf("it is %s: %v", r.Kind(), r.Err())
	}
	return r.Output()
}

func failed(t *testing.T, r agent.Result, kind agent.Kind, text string) {
	t.Helper()
	if r.Kind() != kind || r.Err() == nil || !strings.Contains(r.Err().Error(), text) {
		t.Errorf("it is %s %q: %v; want %s: %s", r.Kind(), r.Output(), r.Err(), kind, text)
	}
}

func TestHTTPSendsTheRequestAndHandsOnTheAnswer(t *testing.T) {
	var got *http.Request
	var body string
	o := newOther(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got, body = r, string(b)
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.Header().Add("X-Seen", "a")
		w.Header().Add("X-Seen", "b")
		w.Header().Set("Set-Cookie", "session=1")
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"path": "/repos/1", "size": 12345678901234567890, "parts": [1, {"a": "<b>"}]}`)
	})
	out := completed(t, o.call(t, `{"method": "post", "url": "%s/v1/repos?a=1", "path": ["x/y", 7], "query": {"q": "a b&c", "n": 3, "l": ["u", true], "none": null},
		"headers": {"X-A": "1", "x-none": null, "X-Work": "${work.id}", "Authorization": {"secret": "token", "prefix": "Bearer "}}, "body": {"repo": {"url": "https://a"}}}`))
	if got.Method != "POST" || got.URL.EscapedPath() != "/v1/repos/x%2Fy/7" || got.URL.RawQuery != "a=1&l=u&l=true&n=3&q=a+b%26c" {
		t.Errorf("it called %s %s", got.Method, got.URL)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "X-A": "1", "X-Work": "work-1", "Idempotency-Key": "work-1", "X-None": "",
		"Authorization": "Bearer " + token, "User-Agent": "waybill",
	} {
		if v := got.Header.Get(name); v != want {
			t.Errorf("%s is %q, want %q", name, v, want)
		}
	}
	if body != `{"repo": {"url": "https://a"}}` {
		t.Errorf("the body is %s", body)
	}
	if want := `{"parts":[1,{"a":"<b>"}],"path":"/repos/1","size":12345678901234567890}`; path(t, out, "body") != want && path(t, out, "body") != strings.NewReplacer("<", `\u003c`, ">", `\u003e`).Replace(want) {
		t.Errorf("the body handed on is %s", path(t, out, "body"))
	}
	if path(t, out, "status") != "201" || path(t, out, "headers", "x-seen") != `"a, b"` || path(t, out, "headers", "set-cookie") != "" {
		t.Errorf("the output is %s", out)
	}
	completed(t, o.call(t, `{"method": "PUT", "url": "%s/raw", "text": "a=${job.id} $${callback} ${unknown}", "headers": {"Content-Type": "application/x"}}`))
	if body != "a=job-1 ${callback} ${unknown}" || got.Header.Get("Content-Type") != "application/x" {
		t.Errorf("the raw body is %q", body)
	}
	completed(t, o.call(t, `{"url": "%s"}`))
	if got.Method != "GET" || got.ContentLength != 0 || got.Header.Get("Content-Type") != "" {
		t.Errorf("without a method it is %s with %d bytes", got.Method, got.ContentLength)
	}
}

func TestHTTPClassifiesAnswers(t *testing.T) {
	o := newOther(t, func(w http.ResponseWriter, r *http.Request) {
		code, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(code)
		fmt.Fprint(w, "no,\n because")
	})
	for code, kind := range map[int]agent.Kind{
		200: agent.Completed, 204: agent.Completed, 304: agent.Failed, 400: agent.Failed, 401: agent.Failed, 404: agent.Failed, 422: agent.Failed,
		408: agent.Retrying, 425: agent.Retrying, 429: agent.Retrying, 500: agent.Retrying, 502: agent.Retrying, 503: agent.Retrying,
	} {
		r := o.call(t, fmt.Sprintf(`{"url": "%%s/%d?secret=1"}`, code))
		if r.Kind() != kind {
			t.Errorf("%d makes it %s: %v", code, r.Kind(), r.Err())
		}
		if kind == agent.Retrying && r.Wants() != 7*time.Second {
			t.Errorf("%d is tried again after %s", code, r.Wants())
		}
		if kind == agent.Failed && code >= 400 && (!strings.Contains(r.Err().Error(), "no, because") || strings.Contains(r.Err().Error(), "secret")) {
			t.Errorf("%d is told as %v", code, r.Err())
		}
		listed := o.call(t, fmt.Sprintf(`{"url": "%%s/%d", "expect": ["2xx", 304, "4xx", "5xx"]}`, code))
		if listed.Kind() != agent.Completed {
			t.Errorf("%d, which is expected, makes it %s: %v", code, listed.Kind(), listed.Err())
		}
	}
	failed(t, o.call(t, `{"url": "%s/200", "expect": 201}`), agent.Failed, "it answers 200 OK: no, because")
	o.Close()
	failed(t, o.call(t, `{"url": "%s/200"}`), agent.Retrying, "connection refused")
}

func TestHTTPTakesWhateverIsAnswered(t *testing.T) {
	answers := map[string]struct{ contentType, body string }{
		"/html":    {"text/html", "<html><title>Log in</title></html>"},
		"/nojson":  {"application/json", "<html>"},
		"/two":     {"application/json", "{} {}"},
		"/problem": {"application/problem+json", `{"a":1}`},
		"/latin":   {"text/plain; charset=iso-8859-1", "caf\xe9"},
		"/badjson": {"application/json", "{\"a\":\"caf\xe9\"}"},
		"/empty":   {"application/json", ""},
		"/deep":    {"application/json", strings.Repeat("[", 65) + strings.Repeat("]", 65)},
		"/large":   {"text/plain", strings.Repeat("x", 2000)},
		"/none":    {"", "[1]"},
	}
	o := newOther(t, func(w http.ResponseWriter, r *http.Request) {
		a := answers[r.URL.Path]
		w.Header()["Content-Type"] = []string{a.contentType}
		fmt.Fprint(w, a.body)
	}, func(cfg *agents.HTTPConfig) { cfg.MaxBytes = 1000 })
	for _, c := range []struct{ path, answer, body, base64, fault string }{
		{"/html", "auto", `"\u003chtml\u003e\u003ctitle\u003eLog in\u003c/title\u003e\u003c/html\u003e"`, "", ""},
		{"/html", "json", "", "", "the answer is not JSON"},
		{"/nojson", "auto", "", "", "the answer is not JSON"},
		{"/nojson", "text", `"\u003chtml\u003e"`, "", ""},
		{"/two", "auto", "", "", "there is more behind"},
		{"/problem", "auto", `{"a":1}`, "", ""},
		{"/latin", "auto", "null", `"Y2Fm6Q=="`, ""},
		{"/latin", "json", "", "", "it is not UTF-8"},
		{"/badjson", "json", "", "", "it is not UTF-8"},
		{"/empty", "auto", "null", "", ""},
		{"/empty", "json", "", "", "the answer is empty"},
		{"/deep", "auto", "", "", "nested deeper than 64"},
		{"/large", "auto", "", "", "larger than the limit of 1000 bytes"},
		{"/none", "auto", "[1]", "", ""},
	} {
		r := o.call(t, `{"url": "%s`+c.path+`", "answer": "`+c.answer+`"}`)
		if c.fault != "" {
			failed(t, r, agent.Failed, c.fault)
			continue
		}
		out := completed(t, r)
		unescaped := strings.NewReplacer(`\u003c`, "<", `\u003e`, ">")
		if unescaped.Replace(path(t, out, "body")) != unescaped.Replace(c.body) || path(t, out, "base64") != c.base64 {
			t.Errorf("%s as %s is %s", c.path, c.answer, out)
		}
	}
}

func TestHTTPDoesNotWaitForEver(t *testing.T) {
	release := make(chan struct{})
	arrived := make(chan struct{}, 9)
	o := newOther(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			fmt.Fprint(w, "a")
			w.(http.Flusher).Flush()
		}
		arrived <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)
	failed(t, o.call(t, `{"url": "%s/", "timeout": "50ms"}`), agent.Retrying, "not done within the timeout of 50ms")
	failed(t, o.call(t, `{"url": "%s/slow", "timeout": "50ms"}`), agent.Retrying, "after 1 bytes of the answer: not done within")
	<-arrived
	<-arrived
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-arrived
		cancel(errors.New("nobody wants it"))
	}()
	failed(t, o.Process(ctx, activity(`{"url": "`+o.URL+`"}`)), agent.Retrying, "nobody wants it")
}

func TestHTTPCallsOnlyWhatIsAllowed(t *testing.T) {
	var seen http.Header
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r.Header }))
	defer elsewhere.Close()
	handler := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusTemporaryRedirect)
	}
	o := newOther(t, handler)
	to := func(address string) string { return `{"url": "%s/?to=` + url.QueryEscape(address) + `"}` }
	failed(t, o.call(t, to(elsewhere.URL)), agent.Failed, "it redirects to where nothing may be called")
	failed(t, o.call(t, to("/again?to=/again")), agent.Failed, "")
	failed(t, o.call(t, to("file:///etc/passwd")), agent.Failed, "neither http nor https")
	failed(t, o.call(t, `{"url": "`+elsewhere.URL+`"}`), agent.Failed, "not on the list of allowed hosts")
	for input, want := range map[string]string{
		`{"url": "//host/x"}`:                          "has no scheme and host",
		`{"url": "http:x"}`:                            "has no host",
		`{"url": "ftp://host/x"}`:                      "neither http nor https",
		`{"url": "http://user:pass@host/x"}`:           "has a user in it",
		`{"url": "http://h ost/"}`:                     "the url cannot be read",
		`{"url": "%s", "path": [".."]}`:                "cannot be a part of it",
		`{"url": "%s", "path": [{}]}`:                  "path:",
		`{"url": "http://169.254.169.254/latest"}`:     "not on the list",
		`{"url": "%s", "headers": {"Host": "x"}}`:      "cannot be set",
		`{"url": "%s", "headers": {"A\r\nB": "x"}}`:    "cannot be set",
		`{"url": "%s", "headers": {"A": "x\r\nB: y"}}`: "control character",
	} {
		failed(t, o.call(t, input), agent.Failed, want)
	}
	every := newOther(t, handler, func(cfg *agents.HTTPConfig) { cfg.Outbound, _ = outbound.New([]string{"*"}) })
	failed(t, every.call(t, to("http://169.254.169.254/latest/meta-data")), agent.Failed, "never called")
	completed(t, every.call(t, strings.TrimSuffix(to(elsewhere.URL), "}")+`, "headers": {"X-Api-Key": {"secret": "token"}, "X-Other": "1"}}`))
	if seen.Get("X-Other") != "1" || seen.Get("X-Api-Key") != "" || seen.Get("Referer") != "" {
		t.Errorf("who was redirected to sees %v", seen)
	}
}

func TestHTTPKeepsSecrets(t *testing.T) {
	o := newOther(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Echo", r.Header.Get("Authorization"))
		if r.URL.Path == "/bad" {
			w.WriteHeader(http.StatusForbidden)
		}
		if err := json.NewEncoder(w).Encode(map[string]any{"headers": r.Header, r.Header.Get("Authorization"): 1}); err != nil {
			t.Error(err)
		}
	})
	for _, header := range []string{`{"secret": "token"}`, `{"secret": "token", "prefix": "Bearer "}`, `{"secret": "token", "prefix": "Basic ", "encode": "base64"}`} {
		for _, p := range []string{"/", "/bad"} {
			r := o.call(t, `{"url": "%s`+p+`", "headers": {"Authorization": `+header+`}}`)
			told := string(r.Output())
			if r.Err() != nil {
				told = r.Err().Error()
			}
			for _, form := range []string{token, strings.ReplaceAll(token, `"`, `\"`), "czNjcjN0", "s3cr3t"} {
				if strings.Contains(told, form) {
					t.Errorf("%s tells %s", p, told)
				}
			}
			if !strings.Contains(told, "[secret") {
				t.Errorf("%s does not say what was there: %s", p, told)
			}
		}
	}
	for header, want := range map[string]string{
		`{"secret": "nobody"}`:                    `has no secret "nobody"`,
		`{"secret": "elsewhere"}`:                 "is not for",
		`{"secret": "absent"}`:                    "it is not set",
		`{"secret": "nowhere"}`:                   "its hosts are none",
		`{"secret": "short"}`:                     "has 5 bytes",
		`{"secret": "token", "encode": "rot13"}`:  "want {",
		`{"secret": "token", "unknown": "rot13"}`: "want {",
		`"Bearer in the clear"`:                   "stands in the clear",
		`["a"]`:                                   "want a text",
	} {
		r := o.call(t, `{"url": "%s", "headers": {"Authorization": `+header+`}}`)
		failed(t, r, agent.Failed, want)
		if strings.Contains(r.Err().Error(), "Bearer") {
			t.Errorf("it tells %v", r.Err())
		}
	}
}

func TestHTTPWaitsForAReport(t *testing.T) {
	var sent map[string]string
	code := http.StatusAccepted
	o := newOther(t, func(w http.ResponseWriter, r *http.Request) {
		sent = nil
		if err := json.NewDecoder(r.Body).Decode(&sent); err != nil {
			t.Error(err)
		}
		w.WriteHeader(code)
	})
	input := `{"method": "POST", "url": "%s", "body": {"done": "${callback}", "failed": "tell ${callback.fail}!"}, "wait": {"on": 202, "timeout": "PT1H"}}`
	r := o.call(t, input)
	if r.Kind() != agent.Waiting || r.Wants() != time.Hour {
		t.Fatalf("it is %s for %s: %v", r.Kind(), r.Wants(), r.Err())
	}
	want := "https://waybill.example.com/callbacks/work/work-1/" + callbacks.New([]byte("key")).Of("work-1")
	if sent["done"] != want || sent["failed"] != "tell "+want+"/fail!" {
		t.Errorf("it was told %v", sent)
	}
	code = http.StatusOK
	if r := o.call(t, input); r.Kind() != agent.Completed {
		t.Errorf("done at once, it is %s: %v", r.Kind(), r.Err())
	}
	code = http.StatusConflict
	failed(t, o.call(t, input), agent.Failed, "409")
	none := newOther(t, nil, func(cfg *agents.HTTPConfig) { cfg.Callbacks = nil })
	failed(t, none.call(t, input), agent.Failed, "--public-url")
}

func TestHTTPPollsUntilTheAnswerSaysHowItWent(t *testing.T) {
	phase, status := "Running", http.StatusOK
	var asked *http.Request
	o := newOther(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodPost {
			w.Header().Set("Location", "/runs/by-location")
			w.WriteHeader(http.StatusAccepted)
			fmt.Fprint(w, `{"data": {"id": "a/../b", "n": 12345678901234567}}`)
			return
		}
		asked = r
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"status": {"phase": %q}, "list": [{"x": 1.0}]}`, phase)
	})
	input := func(poll string) string {
		return `{"method": "POST", "url": "%s/runs?wait=no", "body": {}, "headers": {"Authorization": {"secret": "token"}, "Content-Type": "application/json"},
			"poll": {"every": "3s", "failWhen": {"body.status.phase": ["Failed", "Error"]}, "until": [{"body.status.phase": "Gone"}, {"body.status.phase": {"not": [null, "Running"]}, "status": 200, "body.list.0.x": 1}], ` + poll + `}}`
	}
	plain := input(`"url": "%s/runs/${response.body.data.id}/x", "query": {"n": "${response.body.data.n}"}`)
	accepted := o.call(t, plain)
	if accepted.Kind() != agent.Scheduled || accepted.Wants() != 3*time.Second {
		t.Fatalf("accepted, it is %s after %s: %v", accepted.Kind(), accepted.Wants(), accepted.Err())
	}
	if strings.Contains(string(accepted.State()), token) {
		t.Errorf("the state is %s", accepted.State())
	}
	again := o.call(t, plain, with(accepted.State()))
	if again.Kind() != agent.Scheduled || asked.URL.EscapedPath() != "/runs/a%2F..%2Fb/x" || asked.URL.RawQuery != "n=12345678901234567" {
		t.Fatalf("asked at %s it is %s: %v", asked.URL, again.Kind(), again.Err())
	}
	if asked.Header.Get("Authorization") != token || asked.Header.Get("Idempotency-Key") != "" || asked.Header.Get("Content-Type") != "" {
		t.Errorf("it asked with %v", asked.Header)
	}
	status = http.StatusServiceUnavailable
	failed(t, o.call(t, plain, with(again.State())), agent.Retrying, "poll: GET")
	status = http.StatusNotFound
	failed(t, o.call(t, plain, with(again.State())), agent.Failed, "404")
	status, phase = http.StatusOK, "Failed"
	failed(t, o.call(t, plain, with(again.State())), agent.Failed, `it failed there: {"list":[{"x":1.0}],"status":{"phase":"Failed"}}`)
	phase = "Succeeded"
	out := completed(t, o.call(t, plain, with(again.State())))
	if path(t, out, "body", "status", "phase") != `"Succeeded"` || path(t, out, "accepted", "body", "data", "n") != "12345678901234567" {
		t.Errorf("the output is %s", out)
	}
	completed(t, o.call(t, input(`"url": "${response.headers.location}"`), with(again.State())))
	if asked.URL.Path != "/runs/by-location" {
		t.Errorf("it asked at %s", asked.URL)
	}
	failed(t, o.call(t, input(`"url": "%s/${response.body.data.name}"`), with(again.State())), agent.Failed, "there is no body.data.name")
	failed(t, o.call(t, input(`"url": "%s/${response.body.data}"`), with(again.State())), agent.Failed, "cannot be part of a text")
}

func TestHTTPUndoesWithItsOwnRequest(t *testing.T) {
	var got string
	o := newOther(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Method + " " + r.URL.Path })
	undo := func(a *agent.Activity) { a.Discriminator = "dispose" }
	// What is undone comes with its output over its input.
	completed(t, o.call(t, `{"method": "POST", "url": "%s/things?x=1", "status": 201, "headers": {"a": "b"}, "body": {"id": 1}, "accepted": {}, "more": 1,
		"dispose": {"method": "DELETE", "url": "%s/things/${output.body.id}"}}`, undo))
	if got != "DELETE /things/1" {
		t.Errorf("it sent %s", got)
	}
	got = ""
	completed(t, o.call(t, `{"method": "POST", "url": "%s/things", "dispose": {}}`, undo))
	completed(t, o.call(t, `{"url": "%s/things"}`, undo))
	failed(t, o.call(t, `{"method": "POST", "url": "%s/things"}`, undo), agent.Failed, "does not say how to undo")
	failed(t, o.call(t, `{"method": "POST", "url": "%s/things", "dispose": {"ur": 1}}`, undo), agent.Failed, "dispose:")
	if got != "" {
		t.Errorf("it sent %s", got)
	}
}

func TestHTTPSaysWhatIsWrongWithItsInput(t *testing.T) {
	o := newOther(t, func(http.ResponseWriter, *http.Request) { t.Error("it calls") })
	for input, want := range map[string]string{
		`{}`:                                    "has no url",
		`[]`:                                    "input:",
		`{"url": "%s", "expct": 200}`:           `unknown field "expct"`,
		`{"url": "%s", "expect": "6xx"}`:        "want statuses",
		`{"url": "%s", "expect": {}}`:           "want statuses",
		`{"url": "%s", "method": "GET /"}`:      "method",
		`{"url": "%s", "method": "CONNECT"}`:    "method",
		`{"url": "%s", "body": 1, "text": "a"}`: "want one of them",
		`{"url": "%s", "answer": "xml"}`:        "want auto, json or text",
		`{"url": "%s", "timeout": "soon"}`:      "want ISO 8601",
		`{"url": "%s", "query": {"a": {}}}`:     "query a",
		`{"url": "%s", "wait": {}, "poll": {"url": "%s", "until": {"status": 200}}}`: "want one of them",
		`{"url": "%s", "poll": {"url": "%s"}}`:                                       "until",
		`{"url": "%s", "poll": {"url": "%s", "until": {}}}`:                          "always holds",
		`{"url": "%s", "poll": {"url": "%s", "until": 3}}`:                           "want a condition",
	} {
		failed(t, o.call(t, input), agent.Failed, want)
	}
}
