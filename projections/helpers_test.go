package projections

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
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
	"github.com/waybill/waybill/schemas"
)

func itoa(n int) string { return strconv.Itoa(n) }

func open(t testing.TB, path string) *DB {
	t.Helper()
	return openWith(t, Config{Path: path})
}

func openWith(t testing.TB, cfg Config) *DB {
	t.Helper()
	if cfg.Path == "" {
		cfg.Path = filepath.Join(t.TempDir(), "projections.db")
	}
	db, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// limited is the test's context with a limit, so that what never comes fails the test.
func limited(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// cluster is a Kafka with the topics.
type cluster struct {
	t testing.TB
	kafka.Config
	cl *kgo.Client
}

const shards = 2

func newCluster(t testing.TB) *cluster {
	t.Helper()
	return clusterOf(t, kafkatest.New(t))
}

// clusterOf makes the topics on a Kafka.
func clusterOf(t testing.TB, cfg kafka.Config) *cluster {
	t.Helper()
	cl, err := cfg.NewClient(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionalID(cfg.Topics().TransactionalID(0)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	specs := cfg.Topics().Specs(shards, aggregates, nil)
	if err := kafka.EnsureTopics(limited(t), cl, specs); err != nil {
		t.Fatal(err)
	}
	return &cluster{t, cfg, cl}
}

// anew is a cluster with topics of the same names that are others.
func (c *cluster) anew() *cluster {
	c.t.Helper()
	if c.Prefix == "" {
		return newCluster(c.t)
	}
	if err := kafkatest.Clear(limited(c.t), c.Config); err != nil {
		c.t.Fatal(err)
	}
	if err := kafka.EnsureTopics(limited(c.t), c.cl, c.Topics().Specs(shards, aggregates, nil)); err != nil {
		c.t.Fatal(err)
	}
	return c
}

// placed puts the records of a script, which knows nothing of a prefix, on the cluster's topics.
func (c *cluster) placed(records []*kgo.Record) []*kgo.Record {
	for _, r := range records {
		if below, ok := strings.CutPrefix(r.Topic, kafka.DefaultPrefix+"."); ok && c.Prefix != "" {
			r.Topic = c.Prefix + "." + below
		}
	}
	return records
}

// write commits records in one transaction.
func (c *cluster) write(records ...*kgo.Record) {
	c.t.Helper()
	ctx := limited(c.t)
	if err := c.cl.BeginTransaction(); err != nil {
		c.t.Fatal(err)
	}
	if err := c.cl.ProduceSync(ctx, c.placed(records)...).FirstErr(); err != nil {
		c.t.Fatal(err)
	}
	if err := c.cl.EndTransaction(ctx, kgo.TryCommit); err != nil {
		c.t.Fatal(err)
	}
}

// run follows the log with a DB on a file until the test ends or stop is called.
func (c *cluster) run(cfg Config) (db *DB, stop func()) {
	c.t.Helper()
	cfg.Kafka = c.Config
	db = openWith(c.t, cfg)
	return db, start(c.t, db)
}

func start(t testing.TB, db *DB) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- db.Run(ctx) }()
	stopped := false
	stop = func() {
		t.Helper()
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// reach waits until the DB shows what the script has written so far.
func (s *script) reach(db *DB) {
	s.t.Helper()
	if err := db.WaitFor(limited(s.t), kafka.Position{Aggregate: s.aggregate, Partition: s.partition, Offset: s.command - 1}); err != nil {
		s.t.Fatal(err)
	}
}

// views are the rows that must be the same for the same events.
func views(t testing.TB, path string) string {
	t.Helper()
	return dump(t, path, "SELECT * FROM jobs ORDER BY id") + dump(t, path, "SELECT * FROM nodes ORDER BY job_id, number")
}

// dump reads rows as a stranger would: with a connection of its own, read-only.
func dump(t testing.TB, path, query string) string {
	t.Helper()
	outside, err := sql.Open("sqlite3", "file:"+path+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := outside.Close(); err != nil {
			t.Error(err)
		}
	}()
	rows, err := outside.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for rows.Next() {
		values := make([]any, len(names))
		for i := range values {
			values[i] = new(any)
		}
		if err := rows.Scan(values...); err != nil {
			t.Fatal(err)
		}
		for i, v := range values {
			fmt.Fprintf(&b, "%s=%v ", names[i], *v.(*any))
		}
		b.WriteByte('\n')
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// document shows a value with its keys sorted: their order is nobody's business.
func document(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(b, &tree); err != nil {
		t.Fatal(err)
	}
	if b, err = json.MarshalIndent(tree, "", " "); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// command takes the next offset on the commands partition.
func (s *script) next() int64 {
	s.command++
	return s.command - 1
}

// tree appends a job whose root spawns nodes, shares one and meets a cycle; a node
// retries, another waits, one fails and is left behind.
func (s *script) tree(id string, end bool) {
	p := planOf(s.t, definition.Orchestration{Type: "parts-tree", Version: 3, Activities: []definition.Activity{
		{ID: "root", Type: "retrieve"}, {ID: "join", Type: "aggregate", DependsOn: definition.Names{"root"}},
	}})
	start, cause := s.next(), machine.ID("start", id)
	work := func(node string) string { return machine.ID("work", id, node) }
	request := func(cause string, input int64, node string, attempt int) {
		s.event(id, cause, input, orchestration.Requested{ActivityID: node, Attempt: attempt, WorkID: work(node), Deadline: s.at.Add(time.Hour)})
	}
	s.event(id, cause, start, orchestration.Started{
		Type: "parts-tree", Run: 1, Plan: p, Input: json.RawMessage(`{"file":"test-document-1","big":"` + strings.Repeat("x", 3000) + `"}`),
		Partial: true, Labels: map[string]string{"team": "blue", "env": "test"}, Deadline: s.at.Add(24 * time.Hour),
		Name: "fox", Set: "team-a", Fingerprint: "0123456789abcdef",
	})
	request(cause, start, "root", 1)
	s.event(id, "claim", s.next(), orchestration.Claimed{ActivityID: "root", Attempt: 1, Agent: "agent-7", Lease: s.at.Add(time.Minute)})
	s.event(id, "done", s.next(), orchestration.Completed{
		ActivityID: "root", Attempt: 1, Output: json.RawMessage(`{"value":"The \"quick\" ü"}`),
		Spawned: []definition.Activity{{ID: "n-1", Name: "test-document-2 at http://provider2:8181", Type: "retrieve"}, {ID: "n-2", Type: "retrieve", Discriminator: "deploy", DependsOn: definition.Names{"n-1"}}},
	})
	request("done", s.command-1, "n-1", 1)
	fault := orchestration.Failure{ActivityID: "n-1", Name: "test-document-2 at http://provider2:8181", Step: "fetch", Message: "connection refused", Attempts: 1, At: s.at}
	s.event(id, "retry", s.next(), orchestration.Retrying{ActivityID: "n-1", Attempt: 1, Error: fault, At: s.at.Add(time.Second)})
	if !end {
		return
	}
	request("timer", -1, "n-1", 2)
	s.event(id, "wait", s.next(), orchestration.Waited{ActivityID: "n-1", Attempt: 2, Until: s.at.Add(time.Hour)})
	s.event(id, "done2", s.next(), orchestration.Completed{ActivityID: "n-1", Attempt: 2, Output: json.RawMessage(`"plain"`), Shared: []string{"n-2"}, Cycles: []string{"root"}})
	request("done2", -1, "n-2", 1)
	fault.ActivityID, fault.Attempts, fault.Message = "n-2", 1, "404"
	s.event(id, "fail", s.next(), orchestration.Failed{ActivityID: "n-2", Attempt: 1, Error: fault, Continued: true})
	s.event(id, "fail", s.command-1, orchestration.TransfersFinished{})
	request("fail", s.command-1, "join", 1)
	s.event(id, machine.ID("cancel", id), s.next(), orchestration.Ended{State: orchestration.PhaseCancelled, Failures: []orchestration.Failure{fault}, Reason: "enough", By: "me"})
	s.event(id, "timer", -1, orchestration.BlobsRemoved{Blobs: 1, Bytes: 1 << 20})
}

// operated appends a job that somebody looks after: one node skipped, one tried again, one
// completed, one paused and resumed, one still paused, as the job is.
func (s *script) operated(id string) {
	var l []definition.Activity
	for _, a := range []string{"skipped", "retried", "completed", "resumed", "paused"} {
		l = append(l, definition.Activity{ID: a, Type: "noop"})
	}
	l = append(l, definition.Activity{ID: "after", Type: "noop", DependsOn: definition.Names{"resumed"}})
	s.event(id, machine.ID("start", id), s.next(), orchestration.Started{
		Type: "operated", Run: 1, Plan: planOf(s.t, definition.Orchestration{Type: "operated", Activities: l}), Input: json.RawMessage(`{}`), Deadline: s.at.Add(24 * time.Hour),
	})
	request := func(node string, attempt int, by string) {
		s.event(id, machine.ID(by+"request", id, node), s.next(), orchestration.Requested{
			ActivityID: node, Attempt: attempt, WorkID: machine.ID("work", id, node), Deadline: s.at.Add(time.Hour), By: by,
		})
	}
	for _, a := range []string{"retried", "completed", "resumed", "paused"} {
		request(a, 1, "")
	}
	for _, a := range []string{"resumed", "paused"} {
		s.event(id, machine.ID("pause", id, a), s.next(), orchestration.ActivityPaused{ActivityID: a, Reason: "maintenance", By: "ada"})
	}
	s.event(id, machine.ID("skip", id), s.next(), orchestration.Skipped{ActivityID: "skipped", Output: json.RawMessage(`7`), Reason: "nobody needs it", By: "ada"})
	s.event(id, "wait", s.next(), orchestration.Waited{ActivityID: "retried", Attempt: 1, Until: s.at.Add(time.Hour)})
	request("retried", 2, "ada")
	s.event(id, machine.ID("complete", id), s.next(), orchestration.Completed{ActivityID: "completed", Attempt: 1, Reason: "by hand", By: "ada"})
	s.event(id, machine.ID("hold", id), s.next(), orchestration.Paused{Reason: "lunch", By: "ada"})
	s.event(id, machine.ID("go", id), s.next(), orchestration.Resumed{State: orchestration.PhaseInProgress, By: "ada"})
	s.event(id, machine.ID("resume", id), s.next(), orchestration.ActivityResumed{ActivityID: "resumed", By: "ada"})
	s.event(id, machine.ID("hold again", id), s.next(), orchestration.Paused{Reason: "lunch", By: "ada"})
}

// everything appends jobs of all kinds and closes the transaction.
func (s *script) everything(name string) {
	plan := chain(s.t)
	for i := range 20 {
		s.runChain(name+"-chain-"+itoa(i), plan)
	}
	s.tree(name+"-ended", true)
	s.tree(name+"-retrying", false)
	s.position(schemas.Position{})
	// A second run of a job that had ended.
	id := name + "-chain-3"
	s.event(id, machine.ID("again", id), s.next(), orchestration.Started{Type: "chain", Run: 2, Plan: plan, Input: json.RawMessage(`{}`)})
	s.position(schemas.Position{})
	s.operated(name + "-operated")
	s.position(schemas.Position{})
}
