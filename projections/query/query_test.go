package query_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/kafka/kafkatest"
	"github.com/waybill/waybill/projections"
	"github.com/waybill/waybill/projections/query"
	"github.com/waybill/waybill/schemas"
)

// fixture is a log, a projection that follows it, and a server that answers from it.
type fixture struct {
	t       testing.TB
	db      *projections.DB
	cl      *kgo.Client
	topics  kafka.Topics
	server  *httptest.Server
	seq     map[string]int64
	command int64
	at      time.Time
	open    []*kgo.Record
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	return newFixtureWith(t, query.Config{})
}

func newFixtureWith(t testing.TB, with query.Config) *fixture {
	t.Helper()
	cfg := kafkatest.New(t)
	cl, err := cfg.NewClient(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionalID(cfg.Topics().TransactionalID(0)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	if err := kafka.EnsureTopics(t.Context(), cl, cfg.Topics().Specs(1, []string{schemas.AggregateOrchestration, schemas.AggregateDefinition, schemas.AggregateTransfer, schemas.AggregateNegotiation}, nil)); err != nil {
		t.Fatal(err)
	}
	db, err := projections.Open(t.Context(), projections.Config{Path: filepath.Join(t.TempDir(), "p.db"), Kafka: cfg})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- db.Run(ctx) }()
	f := &fixture{t: t, db: db, cl: cl, topics: cfg.Topics(), seq: map[string]int64{}, at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	mux := http.NewServeMux()
	with.DB, with.PositionWait, with.Heartbeat = db, 20*time.Millisecond, 5*time.Millisecond
	with.BuiltIn = func(kind string) []query.BuiltIn {
		return []query.BuiltIn{{Type: "noop", Definition: json.RawMessage(`{"description":"does nothing"}`)}}
	}
	query.Routes(mux, with)
	f.server = httptest.NewServer(mux)
	t.Cleanup(func() {
		f.server.Close()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func (f *fixture) record(aggregate, id, cause, typ string, data []byte) {
	f.seq[id]++
	f.at = f.at.Add(time.Millisecond)
	ce := kafka.CloudEvent{ID: machine.ID(id, strconv.FormatInt(f.seq[id], 10)), Source: "waybill", Type: typ, Time: f.at, Sequence: f.seq[id], Cause: cause, InputOffset: f.command}
	f.open = append(f.open, &kgo.Record{Topic: f.topics.Events(aggregate), Key: []byte(id), Value: data, Headers: ce.Headers()})
}

func (f *fixture) event(id, cause string, e orchestration.Event) {
	f.t.Helper()
	typ, data, err := schemas.EncodeOrchestrationEvent(e)
	if err != nil {
		f.t.Fatal(err)
	}
	f.record(schemas.AggregateOrchestration, id, cause, typ, data)
}

// commit closes the transaction; it answers with the position of its command.
func (f *fixture) commit(refused ...schemas.Refused) string {
	f.t.Helper()
	f.command++
	data, err := schemas.Encode(schemas.Position{Next: f.command, At: f.at, Refused: refused})
	if err != nil {
		f.t.Fatal(err)
	}
	ce := kafka.CloudEvent{ID: "p", Source: "waybill", Type: schemas.ShardPosition, InputOffset: -1, Time: f.at}
	aggregates := []string{schemas.AggregateTransfer, schemas.AggregateNegotiation, schemas.AggregateOrchestration}
	for _, a := range aggregates {
		f.open = append(f.open, &kgo.Record{Topic: f.topics.Events(a), Key: []byte(schemas.ShardKey), Value: data, Headers: ce.Headers()})
		if refused != nil { // the orchestrations' alone
			f.open[len(f.open)-1].Topic = f.topics.Events(schemas.AggregateOrchestration)
			break
		}
	}
	if err := f.cl.BeginTransaction(); err != nil {
		f.t.Fatal(err)
	}
	if err := f.cl.ProduceSync(f.t.Context(), f.open...).FirstErr(); err != nil {
		f.t.Fatal(err)
	}
	if err := f.cl.EndTransaction(f.t.Context(), kgo.TryCommit); err != nil {
		f.t.Fatal(err)
	}
	f.open = nil
	var p kafka.Position
	for _, a := range aggregates {
		if refused != nil {
			a = schemas.AggregateOrchestration
		}
		p = kafka.Position{Aggregate: a, Offset: f.command - 1}
		if err := f.db.WaitFor(f.t.Context(), p); err != nil {
			f.t.Fatal(err)
		}
	}
	return p.String()
}

// start begins a job of two activities, end ends it.
func (f *fixture) start(id string) {
	f.t.Helper()
	p, err := orchestration.NewPlan(definition.Orchestration{Type: "pair", Version: 1, Activities: []definition.Activity{
		{ID: "a", Type: "noop"}, {ID: "b", Type: "noop", DependsOn: definition.Names{"a"}},
	}})
	if err != nil {
		f.t.Fatal(err)
	}
	f.event(id, "start-"+id, orchestration.Started{Type: "pair", Run: 1, Plan: p, Input: json.RawMessage("{\n\"n\": 1}"), Labels: map[string]string{"team": "blue"}})
	f.event(id, "start-"+id, orchestration.Requested{ActivityID: "a", Attempt: 1, WorkID: "work-" + id, Deadline: f.at.Add(time.Hour)})
}

func (f *fixture) end(id string) {
	f.t.Helper()
	f.event(id, "r", orchestration.Completed{ActivityID: "a", Attempt: 1, Output: json.RawMessage(`1`)})
	f.event(id, "r", orchestration.Completed{ActivityID: "b", Attempt: 1})
	f.event(id, "r", orchestration.Ended{State: orchestration.PhaseCompleted, Output: json.RawMessage(`{"value":"The quick brown fox","path":"out.txt","size":19}`)})
}

func (f *fixture) get(path string, headers ...string) (status int, header http.Header, body string) {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), http.MethodGet, f.server.URL+path, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(b)
}

// want fetches a path and compares the status and parts of the answer.
func (f *fixture) want(path string, status int, parts ...string) {
	f.t.Helper()
	got, header, body := f.get(path)
	if got != status {
		f.t.Errorf("GET %s: %d %s", path, got, body)
	}
	kind := "application/json"
	if status >= 400 {
		kind = "application/problem+json"
	}
	if header.Get("Content-Type") != kind || !json.Valid([]byte(body)) {
		f.t.Errorf("GET %s: %s: %s", path, header.Get("Content-Type"), body)
	}
	for _, p := range parts {
		if !strings.Contains(body, p) {
			f.t.Errorf("GET %s: no %s in %s", path, p, body)
		}
	}
}

func TestEveryRouteAnswers(t *testing.T) {
	f := newFixture(t)
	f.start("one")
	f.end("one")
	f.start("two")
	pos := f.commit(schemas.Refused{CommandID: "bad", CommandType: schemas.OrchestrationStart, AggregateID: "x", Refusal: *machine.Refuse(machine.UnknownType, "no such type", machine.Problem{Path: "$.type", Message: "unknown"})})

	f.want("/v1/jobs", 200, `{"items":[{"id":"two"`, `{"id":"one"`, `"next":null}`)
	f.want("/v1/jobs?state=COMPLETED&type=pair&label=team%3Dblue&q=on&since=2026-01-01T00:00:00Z&until=2027-01-01T00:00:00Z", 200, `{"items":[{"id":"one"`)
	f.want("/v1/jobs?limit=1", 200, `{"items":[{"id":"two"`, `"next":"`)
	f.want("/v1/jobs?limit=0", 400, `"path":"limit"`)
	f.want("/v1/jobs?stat=COMPLETED", 400, `"path":"stat"`)
	f.want("/v1/jobs/one/result?wait=1s", 400, `"path":"wait"`)
	f.want("/v1/jobs?state=DONE", 400, `"path":"state"`)
	f.want("/v1/jobs?since=yesterday", 400, `"path":"since"`)
	f.want("/v1/jobs?since=9999-12-31T23:59:59Z", 200, `"items":[]`)
	f.want("/v1/jobs?until=0001-02-01T00:00:00Z", 200, `"items":[]`)
	f.want("/v1/jobs?limit=1;state=COMPLETED", 400, `"path":"query"`)
	f.want("/v1/jobs?label=team", 400, `"path":"label"`)
	f.want("/v1/jobs?cursor=x", 400, `"path":"cursor"`)
	f.want("/v1/jobs/one", 200, `"state":"COMPLETED"`, `"result":{"path":"out.txt","size":19}`, `"nodes":[{"id":"a"`, `"edges":[{"from":"a","to":"b","kind":"dependsOn"}]`)
	f.want("/v1/jobs/one?wait=1s", 200, `"state":"COMPLETED"`)
	f.want("/v1/jobs/two?wait=PT0.01S", 200, `"state":"IN_PROGRESS"`)
	f.want("/v1/jobs/two?wait=soon", 400, `"path":"wait"`)
	f.want("/v1/jobs/nobody", 404, `there is no job`)
	f.want("/v1/jobs/nobody?wait=1s", 404)
	f.want("/v1/jobs/two/nodes?state=PENDING", 200, `{"items":[{"id":"b"`)
	f.want("/v1/jobs/two/nodes?parent=a", 200, `{"items":[],"next":null}`)
	f.want("/v1/jobs/two/nodes?state=DONE", 400)
	f.want("/v1/jobs/two/edges", 200, `{"items":[{"from":"a","to":"b","kind":"dependsOn"}]`)
	f.want("/v1/jobs/two/events", 200, `"sequence":1`, `"sequence":2`, `"commandId":"start-two"`)
	f.want("/v1/jobs/two/events?after=1", 200, `{"items":[{"aggregate":"orchestration","id":"two","sequence":2`)
	f.want("/v1/jobs/nobody/events", 404)
	f.want("/v1/jobs/one/result", 200, `"The quick brown fox"`)
	f.want("/v1/jobs/two/result", 409, `no result yet`)
	f.want("/v1/commands/start-one", 200, `"state":"accepted"`, `"events":[{"aggregate":"orchestration","id":"one","sequence":1}`)
	f.want("/v1/commands/bad", 200, `"state":"rejected"`, `"code":"unknown-type"`, `"$.type"`)
	f.want("/v1/commands/none", 404)
	f.want("/v1/commands/none?position="+url.QueryEscape(pos), 404)
	f.want("/v1/commands/later?position=orchestration/0/99", 200, `"state":"pending"`)
	f.want("/v1/deadletters", 200, `"items":[]`)
	f.want("/v1/deadletters/none", 404)
	f.want("/v1/definitions/activities", 200, `"builtIn":true`)
	f.want("/v1/definitions/activities/noop", 200, `"builtIn":true`)
	f.want("/v1/definitions/activities/other", 404)
	f.want("/v1/definitions/activities/noop?version=9", 404, "version 9")
	f.want("/v1/definitions/orchestrations", 200)
	f.want("/v1/jobs/one?position=orchestration/0/99", 504, "has not reached")
	f.want("/v1/jobs/one?position=elsewhere/0/1", 400, `"path":"position"`)
	f.want("/v1/jobs/one?position=x", 400, `"path":"position"`)
	if status, _, body := f.get("/v1/jobs/one", "Waybill-Position", pos); status != http.StatusOK {
		t.Error(status, body)
	}
	_, header, body := f.get("/v1/jobs/one/result", "Accept", "text/plain")
	if header.Get("Content-Type") != "text/plain; charset=utf-8" || body != "The quick brown fox" {
		t.Error(header, body)
	}
}

func TestAReadThatTheServerGivesUpIsAnError(t *testing.T) {
	f := newFixture(t)
	f.start("job")
	f.commit()
	for _, path := range []string{"/v1/jobs/job?wait=10s", "/v1/jobs/job?position=orchestration/0/99"} {
		stopping, stop := context.WithCancel(t.Context())
		stop()
		w := httptest.NewRecorder()
		f.server.Config.Handler.ServeHTTP(w, httptest.NewRequestWithContext(stopping, http.MethodGet, path, nil))
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
			t.Errorf("GET %s: %d %q", path, w.Code, w.Body)
		}
	}
}

func TestAReadShowsWhatTheLastCommitWrote(t *testing.T) {
	f := newFixture(t)
	f.start("job")
	f.commit()
	f.want("/v1/jobs/job", 200, `"state":"IN_PROGRESS"`)
	f.want("/v1/jobs/job", 200, `"state":"IN_PROGRESS"`) // from the cache
	f.end("job")
	f.commit()
	f.want("/v1/jobs/job", 200, `"state":"COMPLETED"`)
}

// follow reads a stream of events until it ends, and hands each to see.
func (f *fixture) follow(id, lastID string, see func(name, id, data string)) int {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.server.URL+"/v1/jobs/"+id+"/stream", nil)
	if err != nil {
		f.t.Fatal(err)
	}
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer res.Body.Close()
	var name, eventID, data string
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ": ")
		switch key {
		case "event":
			name = value
		case "id":
			eventID = value
		case "data":
			data += value
		case "":
			if name != "" {
				see(name, eventID, data)
			} else if value == "still here" {
				see("", "", "")
			}
			name, eventID, data = "", "", ""
		}
	}
	if err := lines.Err(); err != nil {
		f.t.Fatal(err)
	}
	return res.StatusCode
}

func TestAStreamShowsEveryChangeAndEndsWithTheJob(t *testing.T) {
	f := newFixture(t)
	f.start("job")
	f.commit()
	var names []string
	silent, last := false, ""
	f.follow("job", "", func(name, id, data string) {
		if name == "" {
			if !silent { // nothing has happened for a while: now the job ends
				f.end("job")
				f.commit()
			}
			silent = true
			return
		}
		var doc struct{ ID, State string }
		if err := json.Unmarshal([]byte(data), &doc); err != nil {
			t.Error(err)
		}
		names = append(names, name+" "+doc.ID+" "+doc.State)
		if id != "" {
			last = id
		}
	})
	want := "node a READY, node b PENDING, job job IN_PROGRESS, node a COMPLETED, node b COMPLETED, job job COMPLETED"
	if got := strings.Join(names, ", "); got != want {
		t.Errorf("got %s", got)
	}
	t.Run("and goes on where it broke", func(t *testing.T) {
		n := 0
		f.follow("job", "3", func(name, _, data string) {
			if name == "node" && strings.Contains(data, `"id":"a"`) {
				t.Errorf("a was not changed since: %s", data)
			}
			n++
		})
		if n != 2 {
			t.Errorf("%d events", n)
		}
	})
	t.Run("and says that there is nothing more", func(t *testing.T) {
		if status := f.follow("job", last, func(string, string, string) { t.Error("an event") }); status != http.StatusNoContent {
			t.Error(status)
		}
	})
	f.want("/v1/jobs/nobody/stream", 404)
}
