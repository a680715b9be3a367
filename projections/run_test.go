package projections

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// two scripts, one per shard, with everything on them.
func scripts(t testing.TB) []*script {
	t.Helper()
	l := make([]*script, shards)
	for i := range l {
		l[i] = newScript(t, int32(i))
		l[i].everything("p" + itoa(i))
	}
	return l
}

func TestADeletedFileIsRebuiltByteForByte(t *testing.T) {
	c := newCluster(t)
	both := scripts(t)
	for _, s := range both {
		c.write(s.take(0)...)
	}
	path := filepath.Join(t.TempDir(), "p.db")
	var want string
	for _, batch := range []int{0, 1, 10} {
		db, stop := c.run(Config{Path: path, MaxBatch: batch})
		for _, s := range both {
			s.reach(db)
		}
		stop()
		got := views(t, path)
		if want == "" {
			want = got
		}
		if got != want {
			t.Fatalf("got\n%s\nwant\n%s", got, want)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if err := Rebuild(path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAReaderGoesOnWhereItHadStopped(t *testing.T) {
	c := newCluster(t)
	s := newScript(t, 0)
	path := filepath.Join(t.TempDir(), "p.db")
	for round := range 3 {
		s.runChain("job-"+itoa(round), chain(t))
		s.tree("tree-"+itoa(round), false)
		s.position(schemas.Position{})
		c.write(s.take(0)...)
		db, stop := c.run(Config{Path: path})
		s.reach(db)
		p, err := db.Jobs(t.Context(), JobFilter{})
		if err != nil || len(p.Items) != 2*(round+1) {
			t.Fatalf("round %d: %d jobs, %v", round, len(p.Items), err)
		}
		stop()
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAReadSeesItsWrite(t *testing.T) {
	c := newCluster(t)
	s := newScript(t, 1)
	db, _ := c.run(Config{})
	position := kafka.Position{Aggregate: schemas.AggregateOrchestration, Partition: 1}

	waited := make(chan error, 1)
	go func() { waited <- db.WaitFor(limited(t), position) }()
	changed := db.Watch(limited(t), "job")
	s.tree("job", false)
	c.write(s.take(0)...) // the events are there, the transaction's end is not
	if _, ok := <-changed; !ok {
		t.Fatal("nothing came")
	}
	select {
	case err := <-waited:
		t.Fatalf("the position was reached before it was decided: %v", err)
	default:
	}
	s.position(schemas.Position{})
	c.write(s.take(0)...)
	if err := <-waited; err != nil {
		t.Fatal(err)
	}
	if _, err := db.Job(t.Context(), "job", 0); err != nil {
		t.Fatal(err)
	}
	for what, p := range map[string]kafka.Position{
		"a partition":  {Aggregate: schemas.AggregateOrchestration, Partition: 7},
		"an aggregate": {Aggregate: "parcel"},
	} {
		if err := db.WaitFor(limited(t), p); !IsNotFound(err) {
			t.Errorf("%s that is not there: %v", what, err)
		}
	}
}

func TestADatabaseOfAnOlderSchemaIsMadeAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.db")
	db := open(t, path)
	fold(t, db, 10, everything(t))
	want := views(t, path)
	if err := db.writer.c.run("DROP TABLE transfer; PRAGMA user_version = 1"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = open(t, path)
	if got := views(t, path); got != "" {
		t.Fatalf("the old rows are there still: %s", got)
	}
	fold(t, db, 10, everything(t))
	if got := views(t, path); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if err := db.writer.c.run("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Config{Path: path}); err == nil || !strings.Contains(err.Error(), "upgrade") {
		t.Error(err)
	}
}

func TestAWaitEndsWithItsContext(t *testing.T) {
	c := newCluster(t)
	db, _ := c.run(Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := db.WaitFor(ctx, kafka.Position{Aggregate: schemas.AggregateOrchestration}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestTheEndOfAJobIsWaitedFor(t *testing.T) {
	c := newCluster(t)
	s := newScript(t, 0)
	db, _ := c.run(Config{})
	s.runChain("job", chain(t))
	all := s.take(0)
	changed := db.Watch(limited(t), "job")
	c.write(all[:3]...)
	if _, ok := <-changed; !ok {
		t.Fatal("nothing came")
	}
	ended := make(chan error, 1)
	go func() { ended <- db.WaitEnded(limited(t), "job") }()
	c.write(all[3:]...)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	j, err := db.Job(t.Context(), "job", 0)
	if err != nil || j.State != "COMPLETED" {
		t.Fatalf("%+v, %v", j, err)
	}
	if err := db.WaitEnded(t.Context(), "nobody"); !IsNotFound(err) {
		t.Fatal(err)
	}
}

func TestAnEventOfAFutureVersionStopsItsPartitionOnly(t *testing.T) {
	c := newCluster(t)
	s, other := newScript(t, 0), newScript(t, 1)
	s.runChain("before", chain(t))
	bad := s.raw("before", "x", -1, "activity.completed.v2", []byte(`{}`))
	s.runChain("after", chain(t))
	s.position(schemas.Position{})
	c.write(s.take(0)...)
	path := filepath.Join(t.TempDir(), "p.db")
	for range 2 { // again after a restart
		db, stop := c.run(Config{Path: path})
		var fault *Fault
		if err := db.WaitFor(limited(t), kafka.Position{Aggregate: schemas.AggregateOrchestration}); !errors.As(err, &fault) {
			t.Fatal(err)
		}
		if fault.Type != "activity.completed.v2" || fault.Topic != bad.Topic || fault.Partition != 0 || fault.Offset != bad.Offset {
			t.Fatalf("%+v", fault)
		}
		var unknown *schemas.UnknownVersionError
		if err := db.Err(); !errors.As(err, &unknown) {
			t.Fatal(err)
		}
		if _, err := db.Job(t.Context(), "before", 0); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Job(t.Context(), "after", 0); !IsNotFound(err) {
			t.Fatal(err)
		}
		other.runChain("other-"+itoa(int(other.command)), chain(t))
		other.position(schemas.Position{})
		c.write(other.take(0)...)
		other.reach(db)
		stop()
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAPartitionThatANewerWaybillHasWrittenStandsStill(t *testing.T) {
	c := newCluster(t)
	s := newScript(t, 0)
	s.runChain("before", chain(t))
	owned := fmt.Sprintf(`{"member":"newer","token":"t","at":"2026-01-02T03:04:05Z","format":%d}`, schemas.LogFormat+1)
	bad := s.raw(schemas.ShardKey, "x", 0, schemas.ShardOwned, []byte(owned))
	s.runChain("after", chain(t))
	s.position(schemas.Position{})
	c.write(s.take(0)...)
	db, _ := c.run(Config{})
	err := db.WaitFor(limited(t), kafka.Position{Aggregate: schemas.AggregateOrchestration})
	var fault *Fault
	var newer *schemas.FormatError
	if !errors.As(err, &fault) || !errors.As(err, &newer) || fault.Offset != bad.Offset || newer.Format != schemas.LogFormat+1 {
		t.Fatal(err)
	}
	if _, err := db.Job(t.Context(), "before", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Job(t.Context(), "after", 0); !IsNotFound(err) {
		t.Fatal(err)
	}
}

func TestAValueThatIsNoJSONStopsItsPartition(t *testing.T) {
	c := newCluster(t)
	s := newScript(t, 0)
	s.raw("job", "x", 0, schemas.OrchestrationStarted, []byte(`{"type":`))
	s.position(schemas.Position{})
	c.write(s.take(0)...)
	db, _ := c.run(Config{})
	var fault *Fault
	if err := db.WaitFor(limited(t), kafka.Position{Aggregate: schemas.AggregateOrchestration}); !errors.As(err, &fault) {
		t.Fatal(err)
	}
}

func TestABatchThatNobodyCanUnpackStopsItsPartitionOnly(t *testing.T) {
	c := newCluster(t)
	cl, err := c.NewClient(kgo.ProducerBatchCompression(kgo.GzipCompression()), kgo.ProducerBatchMaxBytes(96<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	large := &kgo.Record{Topic: c.Topics().Events(schemas.AggregateTransfer), Key: []byte("k"), Value: make([]byte, kafka.MaxUnpackedBytes+1)}
	if err := cl.ProduceSync(limited(t), large).FirstErr(); err != nil {
		t.Fatal(err)
	}
	s := newScript(t, 0)
	s.runChain("job", chain(t))
	s.position(schemas.Position{})
	c.write(s.take(0)...)
	db, _ := c.run(Config{})
	s.reach(db)
	var fault *Fault
	for ctx := limited(t); !errors.As(db.Err(), &fault); runtime.Gosched() {
		if ctx.Err() != nil {
			t.Fatal(db.Err())
		}
	}
	if fault.Topic != large.Topic || fault.Offset != 0 {
		t.Errorf("%+v", fault)
	}
}

func TestALogThatIsNotTheOneThatWasReadIsNotFolded(t *testing.T) {
	s := newScript(t, 0)
	s.runChain("job", chain(t))
	s.position(schemas.Position{})
	records := s.take(0)
	path := filepath.Join(t.TempDir(), "p.db")
	c := newCluster(t)
	c.write(records...)
	db, stop := c.run(Config{Path: path})
	s.reach(db)
	stop()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	t.Run("after it was trimmed", func(t *testing.T) {
		s.runChain("second", chain(t))
		second := s.take(0)
		c.write(second...)
		adm := kadm.NewClient(c.cl)
		if _, err := adm.DeleteRecords(t.Context(), kadm.Offsets{second[2].Topic: {0: {Topic: second[2].Topic, Partition: 0, At: second[2].Offset}}}); err != nil {
			t.Fatal(err)
		}
		db, _ := c.run(Config{Path: path})
		fails(t, db, errTrimmed)
	})
	t.Run("after it was made anew", func(t *testing.T) {
		anew := c.anew()
		db, _ := anew.run(Config{Path: path})
		fails(t, db, errRecreated)
	})
}

func fails(t *testing.T, db *DB, want error) {
	t.Helper()
	err := db.WaitFor(limited(t), kafka.Position{Aggregate: schemas.AggregateOrchestration, Offset: 1000})
	if !errors.Is(err, want) || !strings.Contains(err.Error(), "rebuild") {
		t.Fatal(err)
	}
}

func TestLagEndsAtTheEndOfTheLog(t *testing.T) {
	c := newCluster(t)
	s := newScript(t, 0)
	s.runChain("job", chain(t))
	s.position(schemas.Position{})
	c.write(s.take(0)...)
	db, stop := c.run(Config{})
	s.reach(db)
	for {
		lags, err := db.Lag(limited(t))
		if err != nil {
			t.Fatal(err)
		}
		if len(lags) != len(aggregates)*shards+1 {
			t.Fatalf("%d partitions", len(lags))
		}
		total := int64(0)
		for _, l := range lags {
			total += l.Records()
		}
		if total == 0 { // the marker of the transaction may come with another poll
			break
		}
	}
	stop()
	if _, err := db.Lag(t.Context()); err == nil {
		t.Fatal("a lag although nobody reads")
	}
	if err := db.Err(); err == nil {
		t.Fatal("well although nobody reads")
	}
}

func TestAFileHasOneRun(t *testing.T) {
	c := newCluster(t)
	s := newScript(t, 0)
	s.runChain("job", chain(t))
	s.position(schemas.Position{})
	c.write(s.take(0)...)
	db, _ := c.run(Config{})
	s.reach(db)
	if err := db.Run(t.Context()); !errors.Is(err, ErrRunning) {
		t.Fatal(err)
	}
}

func TestRecordsOfAnAbortedTransactionAreNotSeen(t *testing.T) {
	c := newCluster(t)
	s := newScript(t, 0)
	s.runChain("aborted", chain(t))
	if err := c.cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := c.cl.ProduceSync(t.Context(), c.placed(s.take(0))...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := c.cl.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	s.runChain("committed", chain(t))
	s.position(schemas.Position{})
	c.write(s.take(0)...)
	db, _ := c.run(Config{})
	s.reach(db)
	p, err := db.Jobs(t.Context(), JobFilter{})
	if err != nil || len(p.Items) != 1 {
		t.Fatalf("%d jobs, %v", len(p.Items), err)
	}
}

func TestDefinitionsAndTheirVersions(t *testing.T) {
	c := newCluster(t)
	s := newScript(t, 1)
	s.aggregate = schemas.AggregateDefinition
	put := func(id, body string) {
		s.next()
		s.raw(id, "put-"+itoa(len(s.records)), s.command-1, schemas.DefinitionChanged, []byte(`{"kind":"orchestration","type":"x","version":`+itoa(int(s.seq[id]+1))+`,"definition":`+body+`}`))
	}
	put("orchestration/b", `{"v":1}`)
	put("orchestration/a", `{"v":1}`)
	put("orchestration/b", `{"v":2}`)
	put("activity/a", `{"v":1}`)
	put("orchestration/c", `{"v":1}`)
	s.raw("orchestration/c", "delete", s.next(), schemas.DefinitionDeleted, []byte(`{}`))
	s.position(schemas.Position{})
	c.write(s.take(0)...)
	db, _ := c.run(Config{})
	s.reach(db)

	p, err := db.Definitions(t.Context(), "orchestration", 1, "")
	if err != nil || len(p.Items) != 1 || p.Next == "" || !strings.Contains(string(p.Items[0]), `"type":"a"`) {
		t.Fatalf("%s, %v", document(t, p), err)
	}
	p, err = db.Definitions(t.Context(), "orchestration", 1, p.Next)
	if err != nil || len(p.Items) != 1 || p.Next != "" || !strings.Contains(string(p.Items[0]), `"v":2`) {
		t.Fatalf("%s, %v", document(t, p), err)
	}
	if d, err := db.Definition(t.Context(), "orchestration", "b", 1); err != nil || string(d.Definition) != `{"v":1}` {
		t.Fatalf("%+v, %v", d, err)
	}
	if _, err := db.Definition(t.Context(), "orchestration", "c", 0); !IsNotFound(err) {
		t.Fatal(err)
	}
	if cmd, err := db.Command(t.Context(), "delete"); err != nil || cmd.AggregateID != "orchestration/c" {
		t.Fatalf("%+v, %v", cmd, err)
	}
}

func TestJobsAreListedNewestFirstWhileNewOnesCome(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "p.db"))
	s := newScript(t, 0)
	part := &partition{topic: "events", aggregate: schemas.AggregateOrchestration, stored: -1}
	add := func(id string) {
		s.runChain(id, chain(t))
		for _, r := range s.take(part.next) {
			if err := db.writer.apply(t.Context(), part, r); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := db.writer.flush(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 10 {
		add("job-" + itoa(i))
	}
	seen := ""
	f := JobFilter{Limit: 3}
	for n := 0; ; n++ {
		p, err := db.Jobs(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range p.Items {
			id, _, _ := strings.Cut(strings.TrimPrefix(string(it), `{"id":"job-`), `"`)
			seen += id
		}
		if f.Cursor = p.Next; f.Cursor == "" {
			break
		}
		add("new-" + itoa(n))
	}
	if seen != "9876543210" {
		t.Fatal(seen)
	}
}

func TestJobsAreFiltered(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "p.db"))
	fold(t, db, 10, everything(t))
	for name, tc := range map[string]struct {
		f    JobFilter
		want int
	}{
		"by state":            {JobFilter{State: "CANCELLED"}, 1},
		"by the usual state":  {JobFilter{State: "COMPLETED"}, 19},
		"by type":             {JobFilter{Type: "parts-tree"}, 2},
		"by name":             {JobFilter{Name: "fox"}, 2},
		"by another name":     {JobFilter{Name: "fo"}, 0},
		"by set":              {JobFilter{Set: "team-a", State: "CANCELLED"}, 1},
		"by another set":      {JobFilter{Set: "team-b"}, 0},
		"by a part of it":     {JobFilter{Query: "fo"}, 2},
		"by label":            {JobFilter{Labels: map[string]string{"team": "blue", "env": "test"}}, 2},
		"by another label":    {JobFilter{Labels: map[string]string{"team": "red"}}, 0},
		"since":               {JobFilter{Since: epoch.Add(160 * time.Millisecond)}, 3},
		"by being paused":     {JobFilter{State: "PAUSED"}, 1},
		"until":               {JobFilter{Until: epoch.Add(10 * time.Millisecond)}, 2},
		"by a part of the id": {JobFilter{Query: "retry"}, 1},
		"by the error":        {JobFilter{Query: "enough"}, 1},
		"all of it":           {JobFilter{State: "IN_PROGRESS", Type: "chain", Query: "chain-3", Limit: 1}, 1},
	} {
		p, err := db.Jobs(t.Context(), tc.f)
		if err != nil || len(p.Items) != tc.want {
			t.Errorf("%s: %d, %v", name, len(p.Items), err)
		}
	}
	for name, f := range map[string]JobFilter{"state": {State: "DONE"}, "cursor": {Cursor: "x"}, "foreign cursor": {Cursor: cursor("nodes", "1")}} {
		if _, err := db.Jobs(t.Context(), f); err == nil {
			t.Errorf("a %s that there is none of was taken", name)
		}
	}
	if n, err := db.RunningJobs(t.Context(), "chain"); err != nil || n != 1 {
		t.Errorf("%d, %v", n, err)
	}
}

func TestNodesEdgesAndEventsComeInPages(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "p.db"))
	fold(t, db, 3, everything(t))
	for name, list := range map[string]func(limit int, cursor string) (Page, error){
		"nodes": func(n int, c string) (Page, error) {
			return db.Nodes(t.Context(), "p0-ended", NodeFilter{Limit: n, Cursor: c})
		},
		"edges":  func(n int, c string) (Page, error) { return db.Edges(t.Context(), "p0-ended", n, c) },
		"events": func(n int, c string) (Page, error) { return db.Events(t.Context(), "p0-ended", 0, n, c) },
	} {
		all, err := list(0, "")
		if err != nil || all.Next != "" || len(all.Items) < 4 {
			t.Fatalf("%s: %s, %v", name, document(t, all), err)
		}
		golden(t, name+".json", short(document(t, all)))
		var one Page
		for next := ""; ; {
			p, err := list(1, next)
			if err != nil {
				t.Fatal(name, err)
			}
			one.Items = append(one.Items, p.Items...)
			if next = p.Next; next == "" {
				break
			}
		}
		if document(t, one) != document(t, all) {
			t.Errorf("%s one by one: %s", name, document(t, one))
		}
	}
	for want, f := range map[int]NodeFilter{1: {State: "FAILED"}, 2: {Parent: "root"}, 3: {Since: 8}} {
		p, err := db.Nodes(t.Context(), "p0-ended", f)
		if err != nil || len(p.Items) != want {
			t.Errorf("%+v: %s, %v", f, document(t, p), err)
		}
	}
	p, err := db.Events(t.Context(), "p0-ended", 12, 0, "")
	if err != nil || len(p.Items) != 3 {
		t.Errorf("events after 12: %d, %v", len(p.Items), err)
	}
}

func TestWhatTheLogHasLetGoOfLeavesTheRows(t *testing.T) {
	s := newScript(t, 0)
	path := filepath.Join(t.TempDir(), "p.db")
	c := newCluster(t)
	var begins []int64 // of each job
	for _, id := range []string{"old", "older", "young"} {
		s.runChain(id, chain(t))
		s.position(schemas.Position{})
		records := s.take(0)
		c.write(records...)
		begins = append(begins, records[0].Offset)
	}
	db, stop := c.run(Config{Path: path})
	s.reach(db)
	stop()
	topic := c.Topics().Events(schemas.AggregateOrchestration)
	if _, err := kadm.NewClient(c.cl).DeleteRecords(t.Context(), kadm.Offsets{topic: {0: {Topic: topic, Partition: 0, At: begins[2]}}}); err != nil {
		t.Fatal(err)
	}
	start(t, db)
	for ctx := limited(t); ; runtime.Gosched() {
		_, err := db.Job(ctx, "old", 1)
		var gone *NotFoundError
		if errors.As(err, &gone) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	s.runChain("youngest", chain(t))
	s.position(schemas.Position{})
	c.write(s.take(0)...)
	s.reach(db)
	fresh, _ := c.run(Config{})
	s.reach(fresh)
	for query, want := range map[string]int64{
		"SELECT count(*) FROM job": 2,
		"SELECT count(*) FROM node WHERE key >> 32 NOT IN (SELECT key FROM job)":    0,
		"SELECT count(*) FROM history WHERE key >> 32 NOT IN (SELECT key FROM job)": 0,
		"SELECT count(*) FROM node": 2 * 3,
	} {
		for what, db := range map[string]*DB{"the file": db, "a fresh one": fresh} {
			if have := count(t, db, query); have != want {
				t.Errorf("%s: %s: %d, want %d", what, query, have, want)
			}
		}
	}
}

func count(t *testing.T, db *DB, query string) (n int64) {
	t.Helper()
	err := db.read(t.Context(), func(c *conn) error {
		return c.queryOnce(t.Context(), query, func(row []driver.Value) error {
			n = integer(row[0])
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
