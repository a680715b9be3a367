package intake_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/internal/callbacks"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/producers"
	"github.com/waybill/waybill/producers/intake"
	"github.com/waybill/waybill/schemas"
)

// log is a publisher that keeps what it is given.
type log struct {
	mu       sync.Mutex
	commands []producers.Command
	replayed []producers.Record
	down     bool
	hold     chan struct{} // publishing waits for it, where there is one
}

func (l *log) Publish(ctx context.Context, c producers.Command) (kafka.Position, error) {
	if l.hold != nil {
		select {
		case <-l.hold:
		case <-ctx.Done():
			return kafka.Position{}, &producers.UnreachableError{Brokers: []string{"b:9092"}, Topic: "t", Err: ctx.Err()}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return kafka.Position{}, &producers.UnreachableError{Brokers: []string{"b:9092"}, Topic: "t", Err: context.DeadlineExceeded}
	}
	l.commands = append(l.commands, c)
	return kafka.Position{Aggregate: c.Aggregate, Partition: 3, Offset: int64(len(l.commands))}, nil
}

func (l *log) report(ctx context.Context, w producers.Work, typ, value string) (producers.Accepted, error) {
	pos, err := l.Publish(ctx, producers.Command{Aggregate: w.Aggregate, ID: "report", Type: typ, Key: w.AggregateID, Value: []byte(value)})
	return producers.Accepted{ID: w.ID, CommandID: "report", Position: pos}, err
}

func (l *log) PackInput(_ context.Context, _ string, input json.RawMessage) (json.RawMessage, error) {
	return input, nil
}

func (l *log) Pack(_ context.Context, _, _ string, value json.RawMessage) (json.RawMessage, error) {
	return value, nil
}

func (l *log) CompleteWork(ctx context.Context, w producers.Work, output json.RawMessage) (producers.Accepted, error) {
	return l.report(ctx, w, schemas.WorkComplete, fmt.Sprintf("%s#%d %s", w.ID, w.Attempt, output))
}

func (l *log) FailWork(ctx context.Context, w producers.Work, f orchestration.Fault) (producers.Accepted, error) {
	return l.report(ctx, w, schemas.WorkFail, fmt.Sprintf("%s#%d %s", w.ID, w.Attempt, f.Message))
}

func (l *log) HeartbeatWork(ctx context.Context, w producers.Work, agent string) (producers.Accepted, error) {
	return l.report(ctx, w, schemas.WorkHeartbeat, fmt.Sprintf("%s#%d %s", w.ID, w.Attempt, agent))
}

func (l *log) Replay(_ context.Context, r producers.Record) (kafka.Position, error) {
	if !strings.HasSuffix(r.Topic, ".commands") {
		return kafka.Position{}, &producers.InvalidError{Path: "topic", Message: r.Topic + " is not a commands topic"}
	}
	l.replayed = append(l.replayed, r)
	return kafka.Position{Aggregate: "orchestration", Partition: 1, Offset: 7}, nil
}

// reads answers what the test says; undecided for ever unless decided.
type reads struct {
	decision    *intake.Decision
	work        map[string]intake.Work
	letters     map[string]producers.Record
	versions    map[string]int
	users       string
	targets     [][]intake.Target // pages
	selected    []intake.Selection
	negotiation string
	decided     atomic.Int64
	live        atomic.Int64
}

func (r *reads) Decided(string, int32) (int64, bool) { return r.decided.Load(), true }

func (r *reads) Live(context.Context) (int64, error) { return r.live.Load(), nil }

func (r *reads) Negotiation(context.Context, string, string) (string, error) {
	return r.negotiation, nil
}

func (r *reads) Refused(context.Context, string) (bool, error) { return false, nil }

func (r *reads) Decision(ctx context.Context, _ string, _ kafka.Position) (intake.Decision, error) {
	if r.decision != nil {
		return *r.decision, nil
	}
	<-ctx.Done()
	return intake.Decision{}, ctx.Err()
}

func known[T any](m map[string]T, k string) (T, error) {
	v, ok := m[k]
	if !ok {
		return v, intake.ErrUnknown
	}
	return v, nil
}

func (r *reads) Work(_ context.Context, id string) (intake.Work, error) { return known(r.work, id) }

func (r *reads) CountTargets(_ context.Context, s intake.Selection) (int64, error) {
	r.selected = append(r.selected, s)
	n := 0
	for _, page := range r.targets {
		n += len(page)
	}
	return int64(n), nil
}

func (r *reads) Targets(_ context.Context, s intake.Selection, cursor string) ([]intake.Target, string, error) {
	r.selected = append(r.selected, s)
	if s.Filter.Get("state") == "LOST" {
		return nil, "", &intake.FilterError{Param: "state", Message: "there is no LOST"}
	}
	at := len(cursor)
	if at+1 < len(r.targets) {
		return r.targets[at], cursor + "x", nil
	}
	return r.targets[at], "", nil
}

func (r *reads) DeadLetter(_ context.Context, id string) (producers.Record, error) {
	return known(r.letters, id)
}

func (r *reads) Definition(_ context.Context, kind, typ string) (int, error) {
	return known(r.versions, kind+"/"+typ)
}

func (r *reads) InUse(context.Context, string, string) (string, error) { return r.users, nil }

var proofs = callbacks.New([]byte("key"))

type fixture struct {
	*testing.T
	log   log
	reads reads
	mux   *http.ServeMux
	told  bytes.Buffer // in the log of the process
}

func setUp(t *testing.T) *fixture {
	t.Helper()
	return setUpWith(t, func(*intake.Config) {})
}

func setUpWith(t *testing.T, change func(*intake.Config)) *fixture {
	t.Helper()
	f := &fixture{T: t, mux: http.NewServeMux()}
	cfg := intake.Config{Publisher: &f.log, Reads: &f.reads, MaxBody: 1000, MaxPayload: 500, Proofs: proofs, Logger: slog.New(slog.NewTextHandler(&f.told, nil))}
	change(&cfg)
	in, err := intake.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	in.Routes(f.mux)
	return f
}

// send sends a request; headers are "Name: value".
func (f *fixture) send(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	f.Helper()
	r := httptest.NewRequestWithContext(f.Context(), method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	f.mux.ServeHTTP(w, r)
	return w
}

// do sends a request whose answer is JSON.
func (f *fixture) do(method, path, body string, headers ...string) (*httptest.ResponseRecorder, map[string]any) {
	f.Helper()
	w := f.send(method, path, body, headers...)
	var answer map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		f.Fatalf("%s %s answered %d %q", method, path, w.Code, w.Body)
	}
	return w, answer
}

func (f *fixture) wants(w *httptest.ResponseRecorder, status int, words ...string) {
	f.Helper()
	if w.Code != status {
		f.Errorf("status %d, want %d: %s", w.Code, status, w.Body)
	}
	if wantType := "application/problem+json"; status >= 400 && w.Header().Get("Content-Type") != wantType {
		f.Errorf("an error of type %s", w.Header().Get("Content-Type"))
	}
	for _, word := range words {
		if !strings.Contains(w.Body.String(), word) {
			f.Errorf("%q is not in %s", word, w.Body)
		}
	}
}

func TestAJobIsAcceptedWithItsPlaceOnTheLog(t *testing.T) {
	f := setUp(t)
	w, a := f.do("POST", "/v1/jobs", `{"id":"j-1","type":"greet","input":{"name":"Ada"},"labels":{"a":"b"}}`, "traceparent: 00-1-2-01")
	f.wants(w, http.StatusAccepted, `"id":"j-1"`, `"position":"orchestration/3/1"`)
	if got := w.Header().Get("Location"); got != "/v1/jobs/j-1" {
		t.Errorf("Location %q", got)
	}
	if got := w.Header().Get("Waybill-Position"); got != "orchestration/3/1" {
		t.Errorf("Waybill-Position %q", got)
	}
	c := f.log.commands[0]
	if c.Type != schemas.OrchestrationStart || c.Key != "j-1" || c.ID != a["commandId"] || c.TraceParent != "00-1-2-01" {
		t.Errorf("published %+v", c)
	}
	if got, want := string(c.Value), `{"input":{"name":"Ada"},"labels":{"a":"b"},"type":"greet"}`; got != want {
		t.Errorf("published %s, want %s", got, want)
	}
}

func TestTheSameRequestAgainIsTheSameJobAndCommand(t *testing.T) {
	f := setUp(t)
	same := func(name string, want bool, one, other func() map[string]any) {
		t.Helper()
		a, b := one(), other()
		if got := a["id"] == b["id"] && a["commandId"] == b["commandId"]; got != want {
			t.Errorf("%s: the same is %v, want %v: %v and %v", name, got, want, a, b)
		}
	}
	post := func(body string, headers ...string) func() map[string]any {
		return func() map[string]any { _, a := f.do("POST", "/v1/jobs", body, headers...); return a }
	}
	same("same id, same body", true, post(`{"id":"j","type":"t"}`), post(`{ "type":"t", "id":"j" }`))
	same("same id, other body", false, post(`{"id":"j","type":"t"}`), post(`{"id":"j","type":"t","partial":true}`))
	same("same key", true, post(`{"type":"t"}`, "Idempotency-Key: k"), post(`{"type":"t"}`, "Idempotency-Key: k"))
	same("other key", false, post(`{"type":"t"}`, "Idempotency-Key: k"), post(`{"type":"t"}`, "Idempotency-Key: l"))
	same("no id and no key", false, post(`{"type":"t"}`), post(`{"type":"t"}`))
}

func TestWhatCanBeSeenAtTheEdgeIsRefusedAtOnce(t *testing.T) {
	for _, c := range []struct {
		name, body string
		header     string
		status     int
		words      []string
	}{
		{"not JSON", `{"type":`, "", 400, []string{"not JSON", "byte 8"}},
		{"not UTF-8", "{\"type\":\"\xff\"}", "", 400, []string{"UTF-8"}},
		{"too large", `{"type":"` + strings.Repeat("x", 1500) + `"}`, "", 413, []string{"1500 bytes", "may have 500 (--max-payload)"}},
		{"another type", `{"type":"t"}`, "Content-Type: text/plain", 415, []string{"text/plain", "application/json"}},
		{"not an object", `[1]`, "", 422, []string{"object"}},
		{"a name twice", `{"type":"t","type":"u"}`, "", 422, []string{`"$.type"`, "twice"}},
		{"null", `null`, "", 422, []string{"object"}},
		{"an id that fits no URL", `{"id":"a/b","type":"t"}`, "", 422, []string{`"path":"$.id"`}},
		{"an id that is a number", `{"id":1,"type":"t"}`, "", 422, []string{`"path":"$.id"`, "string"}},
		{"a deadline that is none", `{"type":"t","deadline":"soon"}`, "", 422, []string{"schema"}},
		{"a wait that is none", `{"type":"t"}`, "Prefer: wait=soon", 400, []string{"wait=N"}},
		{"an endless key", `{"type":"t"}`, "Idempotency-Key: " + strings.Repeat("k", 1025), 400, []string{"1024"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := setUp(t)
			headers := []string{"X: y"}
			if c.header != "" {
				headers = append(headers, c.header)
			}
			w, _ := f.do("POST", "/v1/jobs", c.body, headers...)
			f.wants(w, c.status, c.words...)
			if n := len(f.log.commands); n != 0 {
				t.Errorf("%d commands were published", n)
			}
		})
	}
}

func TestWhoPrefersToWaitIsToldTheDecision(t *testing.T) {
	refused := func(code machine.Code) *intake.Decision {
		return &intake.Decision{Refusal: machine.Refuse(code, "because", machine.Problem{Path: "input.name", Message: "is missing"})}
	}
	for name, c := range map[string]struct {
		decision *intake.Decision
		status   int
		words    []string
	}{
		"accepted":        {&intake.Decision{Changed: true}, 201, []string{`"commandId"`}},
		"the same id":     {refused(machine.Conflict), 409, []string{`"conflict"`, `"commandId"`}},
		"no such type":    {refused(machine.UnknownType), 422, []string{`"unknown-type"`}},
		"a wrong input":   {refused(machine.Schema), 422, []string{`"$.input.name"`, "is missing"}},
		"takes no starts": {refused(machine.Inactive), 409, []string{`"inactive"`}},
	} {
		t.Run(name, func(t *testing.T) {
			f := setUp(t)
			f.reads.decision = c.decision
			w, _ := f.do("POST", "/v1/jobs", `{"id":"j","type":"t"}`, "Prefer: respond-async, wait=5")
			f.wants(w, c.status, c.words...)
			if got := w.Header().Get("Preference-Applied"); got != "wait=5" {
				t.Errorf("Preference-Applied %q", got)
			}
		})
	}
}

func TestAnUndecidedJobIsAnsweredWhenTheWaitIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := setUp(t)
		began := time.Now()
		w, _ := f.do("POST", "/v1/jobs", `{"type":"t"}`, "Prefer: wait=7")
		f.wants(w, http.StatusAccepted)
		if d := time.Since(began); d != 7*time.Second {
			t.Errorf("waited %s", d)
		}
		w, _ = f.do("POST", "/v1/jobs", `{"type":"t"}`, "Prefer: wait=999999999")
		f.wants(w, http.StatusAccepted)
		if d := time.Since(began); d != 7*time.Second+intake.DefaultMaxWait {
			t.Errorf("waited %s", d)
		}
	})
}

func TestWithoutKafkaTheCallerIsToldToComeAgain(t *testing.T) {
	f := setUp(t)
	f.log.down = true
	w, _ := f.do("POST", "/v1/jobs", `{"type":"t"}`)
	f.wants(w, http.StatusServiceUnavailable, "b:9092", "again")
	if w.Header().Get("Retry-After") == "" {
		t.Error("it is not said when")
	}
}

func TestACancelMayBeMeantTwice(t *testing.T) {
	f := setUp(t)
	w, a := f.do("POST", "/v1/jobs/j-1/cancel", `{"reason":"no longer wanted","by":"Ada"}`)
	f.wants(w, http.StatusAccepted, `"id":"j-1"`)
	_, b := f.do("POST", "/v1/jobs/j-1/cancel", "")
	if a["commandId"] == b["commandId"] {
		t.Error("it was the same command")
	}
	_, c := f.do("POST", "/v1/jobs/j-1/cancel", "", "Idempotency-Key: k")
	_, d := f.do("POST", "/v1/jobs/j-1/cancel", "", "Idempotency-Key: k")
	if c["commandId"] != d["commandId"] {
		t.Error("the same key made another command")
	}
	f.reads.decision = &intake.Decision{Refusal: machine.Refuse(machine.NotFound, "there is no job j-1")}
	w, _ = f.do("POST", "/v1/jobs/j-1/cancel", "", "Prefer: wait=1")
	f.wants(w, http.StatusNotFound, "no job j-1")
}

func TestADefinitionIsAnsweredOnceItIsDecided(t *testing.T) {
	f := setUp(t)
	f.reads.decision = &intake.Decision{Changed: true}
	w, _ := f.do("PUT", "/v1/definitions/orchestrations/greet", `{"activities":[]}`)
	f.wants(w, http.StatusCreated, `"created"`, `"orchestration"`)
	c := f.log.commands[0]
	if c.Aggregate != schemas.AggregateDefinition || c.Key != "orchestration/greet" || c.Type != schemas.DefinitionPut || string(c.Value) != `{"activities":[],"type":"greet"}` {
		t.Errorf("published %+v", c)
	}
	f.reads.versions = map[string]int{"orchestration/greet": 2}
	w, _ = f.do("PUT", "/v1/definitions/orchestrations/greet", `{"type":"greet","activities":[]}`)
	f.wants(w, http.StatusOK, `"changed"`, `"version":2`)
	f.reads.decision = &intake.Decision{}
	w, _ = f.do("PUT", "/v1/definitions/orchestrations/greet", `{"type":"greet","activities":[]}`)
	f.wants(w, http.StatusOK, `"unchanged"`)
	f.reads.decision = &intake.Decision{Refusal: machine.Refuse(machine.Schema, "the definition has mistakes",
		machine.Problem{Path: "activities[0].dependsOn", Message: "there is no b"}, machine.Problem{Path: "activities[1].id", Message: "is empty"})}
	w, _ = f.do("PUT", "/v1/definitions/activities/greet", `{}`)
	f.wants(w, http.StatusUnprocessableEntity, "$.activities[0].dependsOn", "$.activities[1].id")
	w, _ = f.do("PUT", "/v1/definitions/activities/greet", `{"type":"other"}`)
	f.wants(w, http.StatusUnprocessableEntity, `"path":"$.type"`, "other")
}

func TestADefinitionIsDeletedOnlyWhenNobodyUsesIt(t *testing.T) {
	f := setUp(t)
	w, _ := f.do("DELETE", "/v1/definitions/orchestrations/greet", "")
	f.wants(w, http.StatusNotFound, "greet")
	f.reads.versions = map[string]int{"orchestration/greet": 1}
	f.reads.users = "3 running jobs"
	w, _ = f.do("DELETE", "/v1/definitions/orchestrations/greet", "")
	f.wants(w, http.StatusConflict, "3 running jobs")
	f.reads.users = ""
	f.reads.decision = &intake.Decision{Changed: true}
	w, _ = f.do("DELETE", "/v1/definitions/orchestrations/greet", "")
	f.wants(w, http.StatusOK, `"deleted"`)
}

func TestAReportGoesToTheAttemptThatWaitsForIt(t *testing.T) {
	f := setUp(t)
	f.reads.work = map[string]intake.Work{
		"w": {Aggregate: "orchestration", AggregateID: "j-1", Attempt: 2, State: orchestration.ActivityWaiting},
		"e": {Aggregate: "orchestration", AggregateID: "j-1", Attempt: 2, State: orchestration.ActivityCompleted},
	}
	w, _ := f.do("POST", "/v1/work/w/complete", `{"output":{"a":1}}`)
	f.wants(w, http.StatusAccepted)
	w, _ = f.do("POST", "/v1/work/w/fail", `{"error":"broken","attempt":2}`)
	f.wants(w, http.StatusAccepted)
	w, _ = f.do("POST", "/v1/work/w/heartbeat", "")
	f.wants(w, http.StatusAccepted)
	var got []string
	for _, c := range f.log.commands {
		got = append(got, c.Type+" "+c.Key+" "+string(c.Value))
	}
	want := []string{`work.complete.v1 j-1 w#2 {"a":1}`, "work.fail.v1 j-1 w#2 broken", "work.heartbeat.v1 j-1 w#2 "}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("published %q, want %q", got, want)
	}
	w, _ = f.do("POST", "/v1/work/x/complete", `{}`)
	f.wants(w, http.StatusNotFound, "x")
	w, _ = f.do("POST", "/v1/work/e/complete", `{}`)
	f.wants(w, http.StatusConflict, "COMPLETED")
	w, _ = f.do("POST", "/v1/work/w/complete", `{"attempt":1}`)
	f.wants(w, http.StatusConflict, "attempt 2", "WAITING")
	w, _ = f.do("POST", "/v1/work/w/fail", `{}`)
	f.wants(w, http.StatusUnprocessableEntity, `"path":"$.error"`)
	w, _ = f.do("POST", "/v1/work/w/fail", `{"error":5}`)
	f.wants(w, http.StatusUnprocessableEntity, `"path":"$.error"`, "a string")
	w, _ = f.do("POST", "/v1/work/w/complete", `{"outputs":{"a":1}}`)
	f.wants(w, http.StatusUnprocessableEntity, `"path":"$.outputs"`, "not known")
	w, _ = f.do("POST", "/v1/work/w/fail", `{"attempt":"two"}`)
	f.wants(w, http.StatusUnprocessableEntity, `"path":"$.attempt"`, "got string")
}

// Such an address is good for as long as nothing was reported, so it is in no log.
func TestTheProofOfACallbackIsNotLogged(t *testing.T) {
	f := setUp(t)
	f.log.down = true
	f.reads.work = map[string]intake.Work{"w": {Aggregate: "orchestration", AggregateID: "j-1", Attempt: 1, State: orchestration.ActivityWaiting}}
	w, _ := f.do("POST", "/callbacks/work/w/"+proofs.Of("w")+"/complete", `{"output":{"a":1}}`)
	f.wants(w, http.StatusServiceUnavailable)
	if told := f.told.String(); !strings.Contains(told, "path=/callbacks/work/w/[callback]/complete") || strings.Contains(told, proofs.Of("w")) {
		t.Errorf("the log says %s", told)
	}
}

func TestACallbackProvesThatItWasAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := setUp(t)
		f.reads.work = map[string]intake.Work{
			"w": {Aggregate: "orchestration", AggregateID: "j-1", Attempt: 2, State: orchestration.ActivityWaiting},
			"e": {Aggregate: "orchestration", AggregateID: "j-1", Attempt: 2, State: orchestration.ActivityCompleted},
			"r": {Aggregate: "orchestration", AggregateID: "j-1", Attempt: 2, State: orchestration.ActivityRetrying},
		}
		at := func(work string) string { return "/callbacks/work/" + work + "/" + proofs.Of(work) }
		w, _ := f.do("POST", at("w"), ` {"state":"ok"} `, "Content-Type: text/plain")
		f.wants(w, http.StatusAccepted)
		w, _ = f.do("POST", at("w"), "")
		f.wants(w, http.StatusAccepted)
		w, _ = f.do("POST", at("w")+"/complete", `{"output":{"a":1}}`)
		f.wants(w, http.StatusAccepted)
		w, _ = f.do("POST", at("w")+"/fail", `{"error":"broken"}`)
		f.wants(w, http.StatusAccepted)
		w, _ = f.do("POST", at("w")+"/heartbeat", "")
		f.wants(w, http.StatusAccepted)
		var got []string
		for _, c := range f.log.commands {
			got = append(got, c.Type+" "+string(c.Value))
		}
		want := `work.complete.v1 w#2 {"body":{"state":"ok"}}, work.complete.v1 w#2 {"body":null}, work.complete.v1 w#2 {"a":1}, work.fail.v1 w#2 broken, work.heartbeat.v1 w#2 `
		if strings.Join(got, ", ") != want {
			t.Errorf("published %q, want %q", got, want)
		}
		for _, path := range []string{"/callbacks/work/w/" + proofs.Of("x"), "/callbacks/work/w/x/complete", "/callbacks/work/e/" + proofs.Of("w")} {
			w, _ = f.do("POST", path, "{}")
			f.wants(w, http.StatusNotFound, "no such address")
		}
		w, _ = f.do("POST", at("e"), "{}")
		f.wants(w, http.StatusConflict, "COMPLETED")
		w, _ = f.do("POST", at("w"), "<done/>")
		f.wants(w, http.StatusBadRequest, "not JSON")
		w, _ = f.do("POST", at("w"), `"`+strings.Repeat("x", 1500)+`"`)
		f.wants(w, http.StatusRequestEntityTooLarge, "1500 bytes")
		// These come again a little later, when there is somebody to take them.
		for _, work := range []string{"r", "x"} {
			w, _ = f.do("POST", at(work), "{}")
			f.wants(w, http.StatusServiceUnavailable)
			if w.Header().Get("Retry-After") == "" {
				t.Errorf("%s is not asked to come again", work)
			}
		}
	})
}

func TestADeadLetterIsReplayedToItsTopic(t *testing.T) {
	f := setUp(t)
	f.reads.letters = map[string]producers.Record{
		"d": {Topic: "waybill.orchestration.commands", Key: []byte("k")},
		"e": {Topic: "waybill.orchestration.events", Key: []byte("k")},
	}
	w, _ := f.do("POST", "/v1/deadletters/d/replay", "")
	f.wants(w, http.StatusAccepted, `"topic":"waybill.orchestration.commands"`, `"position":"orchestration/1/7"`)
	if len(f.log.replayed) != 1 {
		t.Errorf("replayed %v", f.log.replayed)
	}
	w, _ = f.do("POST", "/v1/deadletters/e/replay", "")
	f.wants(w, http.StatusConflict, "not a commands topic")
	w, _ = f.do("POST", "/v1/deadletters/x/replay", "")
	f.wants(w, http.StatusNotFound)
}

func TestAnIntakeNeedsSomebodyToPublishAndToAsk(t *testing.T) {
	if _, err := intake.New(intake.Config{}); err == nil || errors.Is(err, intake.ErrUnknown) {
		t.Errorf("got %v", err)
	}
}
