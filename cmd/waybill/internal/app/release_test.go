package app_test

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	_ "github.com/mattn/go-sqlite3" // reads the views as anybody may

	"github.com/waybill/waybill/cmd/waybill/internal/app"
	"github.com/waybill/waybill/internal/embedded"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// release makes the golden topics of a release, once, before it goes out:
//
//	go test ./cmd/waybill/internal/app -run TestGoldenTopics -release v0.2.0
var release = flag.String("release", "", "write the golden topics of this release")

// goldenTopic is a topic in a dump, goldenRecord one of its records. A dump has one in a line: the topics first.
type goldenTopic struct {
	Topic string  `json:"topic"`
	Ends  []int64 `json:"ends"` // by partition: the offset behind the last record, or marker
}

type goldenRecord struct {
	Topic     string      `json:"t"`
	Partition int32       `json:"p"`
	Offset    int64       `json:"o"`
	At        int64       `json:"at"` // unix milliseconds
	Key       goldenText  `json:"k"`
	Value     *goldenText `json:"v"` // absent: a tombstone
	Headers   [][2]string `json:"h"`
}

// goldenText is bytes that mostly are text: then they stand there as such, since base64 does not pack well.
type goldenText []byte

func (b goldenText) MarshalJSON() ([]byte, error) {
	if utf8.Valid(b) {
		return json.Marshal(string(b))
	}
	return json.Marshal([][]byte{b})
}

func (b *goldenText) UnmarshalJSON(data []byte) error {
	if data[0] == '"' {
		var s string
		err := json.Unmarshal(data, &s)
		*b = []byte(s)
		return err
	}
	var l [1][]byte
	err := json.Unmarshal(data, &l)
	*b = l[0]
	return err
}

// golden is what a release has left: its topics, and the rows that its projections made of them.
type golden struct {
	topics  []goldenTopic
	records []goldenRecord
	rows    map[string][]map[string]any
}

// views that the rows of a release are compared by. What a later release has more is left out.
var views = []string{"jobs", "nodes", "transfers", "negotiations", "rejections", "deadletters", "positions", "awaited"}

// TestGoldenTopicsOfEveryRelease starts the program on what each release has left behind.
func TestGoldenTopicsOfEveryRelease(t *testing.T) {
	if *release != "" {
		writeGolden(t, filepath.Join("testdata", "releases", *release))
	}
	dirs, err := filepath.Glob(filepath.Join("testdata", "releases", "*"))
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no release has left anything: %v", err)
	}
	seen := map[string]bool{}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			g := readGolden(t, dir)
			g.types(seen)
			g.check(t)
		})
	}
	if missing := slices.DeleteFunc(schemas.Names(), func(n string) bool { return seen[n] }); len(missing) > 0 {
		t.Errorf("no release has left anything of %s: write the topics of the next one (-release)", strings.Join(missing, ", "))
	}
}

func readGolden(t *testing.T, dir string) *golden {
	t.Helper()
	g := &golden{}
	lines(t, filepath.Join(dir, "topics.jsonl.gz"), func(line []byte) error {
		var topic goldenTopic
		if err := json.Unmarshal(line, &topic); err != nil {
			return err
		}
		if topic.Topic != "" {
			g.topics = append(g.topics, topic)
			return nil
		}
		var r goldenRecord
		err := json.Unmarshal(line, &r)
		g.records = append(g.records, r)
		return err
	})
	lines(t, filepath.Join(dir, "rows.json.gz"), func(line []byte) error { return json.Unmarshal(line, &g.rows) })
	return g
}

func lines(t *testing.T, path string, each func([]byte) error) {
	t.Helper()
	packed, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	s := bufio.NewScanner(z)
	s.Buffer(nil, 64<<20)
	for s.Scan() {
		if err := each(s.Bytes()); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
}

// check holds the release against this build: nothing that it has written is lost on it.
func (g *golden) check(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	broker := startBroker(t, filepath.Join(dir, "broker"))
	cfg := playedConfig()
	cfg.Brokers = []string{broker.Addr()}
	g.load(t, kafka.Config{Brokers: cfg.Brokers, Embedded: true})
	t.Run("the rows are those that the release had", func(t *testing.T) {
		shown := cfg
		shown.Roles, shown.Data = []string{app.RoleProjections, app.RoleAPI}, filepath.Join(dir, "shown")
		m, _ := startMain(t, shown)
		caughtUp(t, m)
		g.sameRows(t, rows(t, m))
	})
	t.Run("what was under way goes on to its end", func(t *testing.T) {
		going := cfg
		going.Data = filepath.Join(dir, "going")
		m, _ := startMain(t, going)
		eventually(t, "every shard is ready", func() error { return m.Ready() })
		caughtUp(t, m)
		before := rows(t, m)["jobs"]
		g.again(t, m)
		g.goOn(t, m, before)
	})
}

// startBroker starts an embedded broker that ends with the test.
func startBroker(t *testing.T, dir string) *embedded.Broker {
	t.Helper()
	broker, err := embedded.Start(t.Context(), embedded.Config{Dir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := broker.Close(); err != nil {
			t.Error(err)
		}
	})
	return broker
}

// types notes the wire types that the dump has something of.
func (g *golden) types(seen map[string]bool) {
	for _, r := range g.records {
		for _, h := range r.Headers {
			if h[0] == kafka.HeaderType {
				seen[h[1]] = true
			}
		}
	}
}

// load writes the records to where they stood. What lies between two of them were markers of transactions: several
// in a row, where several writers had records before them.
func (g *golden) load(t *testing.T, cfg kafka.Config) {
	t.Helper()
	cl, err := cfg.NewClient(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for _, topic := range g.topics {
		forever := "-1"
		configs := map[string]*string{"retention.ms": &forever, "retention.bytes": &forever}
		if _, err := kadm.NewClient(cl).CreateTopic(t.Context(), int32(len(topic.Ends)), 1, configs, topic.Topic); err != nil {
			t.Fatal(err)
		}
	}
	type place struct {
		topic     string
		partition int32
	}
	parts, next, ends := map[place][]goldenRecord{}, map[place]int64{}, map[place]int64{}
	for _, topic := range g.topics {
		for p, end := range topic.Ends {
			ends[place{topic.Topic, int32(p)}] = end
		}
	}
	for _, r := range g.records {
		at := place{r.Topic, r.Partition}
		parts[at] = append(parts[at], r)
	}
	for len(parts) > 0 { // in each round what comes up to the next markers of every partition
		var batch []*kgo.Record
		marks := kmsg.NewWriteTxnMarkersRequestMarker()
		marks.ProducerID, marks.Committed = 1<<40, true
		for at, left := range parts {
			n := 0
			for n < len(left) && left[n].Offset == next[at]+int64(n) {
				batch = append(batch, left[n].record())
				n++
			}
			parts[at] = left[n:]
			if next[at] += int64(n); next[at] == ends[at] {
				delete(parts, at)
				continue
			}
			mark := kmsg.NewWriteTxnMarkersRequestMarkerTopic()
			mark.Topic, mark.Partitions = at.topic, []int32{at.partition}
			marks.Topics = append(marks.Topics, mark)
			next[at]++
		}
		if err := cl.ProduceSync(t.Context(), batch...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if len(marks.Topics) > 0 {
			writeMarkers(t, cl, marks)
		}
	}
	g.loaded(t, cfg)
}

func writeMarkers(t *testing.T, cl *kgo.Client, marks kmsg.WriteTxnMarkersRequestMarker) {
	t.Helper()
	req := kmsg.NewPtrWriteTxnMarkersRequest()
	req.Markers = append(req.Markers, marks)
	shards := cl.RequestSharded(t.Context(), req)
	for _, s := range shards {
		if s.Err != nil {
			t.Fatal(s.Err)
		}
		resp, ok := s.Resp.(*kmsg.WriteTxnMarkersResponse)
		if !ok {
			t.Fatalf("markers are answered with %T", s.Resp)
		}
		for _, m := range resp.Markers {
			for _, topic := range m.Topics {
				for _, p := range topic.Partitions {
					if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
						t.Fatalf("a marker for %s/%d: %v", topic.Topic, p.Partition, err)
					}
				}
			}
		}
	}
}

// loaded compares what was loaded with the dump.
func (g *golden) loaded(t *testing.T, cfg kafka.Config) {
	t.Helper()
	got := dump(t, cfg).records
	if len(got) != len(g.records) {
		t.Fatalf("%d records are loaded of %d", len(got), len(g.records))
	}
	for i := range got {
		if !reflect.DeepEqual(got[i], g.records[i]) {
			t.Fatalf("loaded:\n%+v\nit was:\n%+v", got[i], g.records[i])
		}
	}
}

func (r *goldenRecord) record() *kgo.Record {
	k := &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Timestamp: time.UnixMilli(r.At)}
	if r.Value != nil {
		k.Value = *r.Value
	}
	for _, h := range r.Headers {
		k.Headers = append(k.Headers, kgo.RecordHeader{Key: h[0], Value: []byte(h[1])})
	}
	return k
}

// sameRows compares the rows with the release's, column by column that it had.
func (g *golden) sameRows(t *testing.T, got map[string][]map[string]any) {
	t.Helper()
	for view, want := range g.rows {
		if len(got[view]) != len(want) {
			t.Errorf("%s has %d rows, it had %d", view, len(got[view]), len(want))
			continue
		}
		for i, row := range want {
			for column, value := range row {
				if now := got[view][i][column]; fmt.Sprint(now) != fmt.Sprint(value) {
					t.Errorf("%s, row %d, %s: %v, it was %v", view, i, column, now, value)
				}
			}
		}
	}
}

// again delivers starts once more that have had their way: nothing comes of them.
func (g *golden) again(t *testing.T, m *app.Main) {
	t.Helper()
	cl, err := m.Kafka().NewClient()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	topics := m.Kafka().Topics()
	ended := map[string]bool{}
	for _, row := range g.rows["jobs"] {
		ended[fmt.Sprint(row["id"])] = row["ended_at"] != nil
	}
	histories := func() map[string]any {
		l := map[string]any{}
		for _, row := range rows(t, m)["jobs"] {
			if id := fmt.Sprint(row["id"]); ended[id] {
				l[id] = row["sequence"]
			}
		}
		return l
	}
	before := histories()
	repeated := 0
	for _, r := range g.records {
		if r.Topic == topics.Commands(schemas.AggregateOrchestration) && ended[string(r.Key)] && r.is(schemas.OrchestrationStart) {
			k := r.record()
			k.Timestamp = time.Now()
			if err := cl.ProduceSync(t.Context(), k).FirstErr(); err != nil {
				t.Fatal(err)
			}
			repeated++
		}
	}
	if repeated == 0 {
		t.Fatal("there is no start to be repeated")
	}
	caughtUp(t, m)
	if after := histories(); !maps.Equal(after, before) {
		t.Errorf("%d starts, delivered again, made something happen:\n%v\n%v", repeated, after, before)
	}
}

func (r *goldenRecord) is(wireType string) bool {
	return slices.Contains(r.Headers, [2]string{kafka.HeaderType, wireType})
}

// goOn carries out what is asked for, until every job that was under way has ended. What waits for an operator
// is told to go on.
func (g *golden) goOn(t *testing.T, m *app.Main, before []map[string]any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	p := newPlayer(ctx, t, m, true)
	var open []string
	for _, row := range before {
		if row["ended_at"] == nil {
			open = append(open, fmt.Sprint(row["id"]))
		}
	}
	if len(open) == 0 {
		t.Fatal("nothing was under way")
	}
	t.Logf("%d jobs of %d are under way", len(open), len(before))
	resume := func() {
		for _, row := range rows(t, m)["nodes"] {
			if job := fmt.Sprint(row["job_id"]); slices.Contains(open, job) && row["paused"] != nil {
				p.give(schemas.AggregateOrchestration, job, schemas.ActivityResume, say{"by": "ada", "reason": "upgraded", "activityId": row["id"]})
			}
		}
		for _, id := range open {
			p.give(schemas.AggregateOrchestration, id, schemas.OrchestrationResume, say{"by": "ada", "reason": "upgraded"})
		}
	}
	resume()
	began, told := time.Now(), time.Now()
	for {
		p.turn()
		open = slices.DeleteFunc(open, func(id string) bool {
			return slices.ContainsFunc(rows(t, m)["jobs"], func(row map[string]any) bool { return row["id"] == id && row["ended_at"] != nil })
		})
		if len(open) == 0 {
			t.Logf("they ended within %s", time.Since(began).Round(time.Millisecond))
			return
		}
		if time.Since(told) > 2*time.Second { // of transfers that are suspended, say: nobody asks them to go on
			told = time.Now()
			resume()
			for _, id := range p.transfers {
				p.give(schemas.AggregateTransfer, id, schemas.TransferTerminate, say{"by": "ada", "reason": "upgraded"})
			}
		}
		if ctx.Err() != nil {
			for _, row := range rows(t, m)["nodes"] {
				if slices.Contains(open, fmt.Sprint(row["job_id"])) {
					t.Log(row)
				}
			}
			t.Fatalf("these, which were under way, have not ended: %v", open)
		}
	}
}

// caughtUp waits until the rows have all that is on the log.
func caughtUp(t *testing.T, m *app.Main) {
	t.Helper()
	cl, err := m.Kafka().NewClient()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	eventually(t, "the rows have all that is on the log", func() error {
		ends, err := kadm.NewClient(cl).ListEndOffsets(t.Context(), followed(m.Kafka().Topics())...)
		if err != nil {
			return err
		}
		at := map[string]int64{}
		for _, row := range rows(t, m)["positions"] {
			n, _ := row["next_offset"].(int64)
			at[fmt.Sprint(row["topic"], "/", row["partition"])] = n
		}
		var behind error
		ends.Each(func(end kadm.ListedOffset) {
			if n := at[fmt.Sprint(end.Topic, "/", end.Partition)]; n < end.Offset {
				behind = fmt.Errorf("%s/%d has been read up to %d of %d", end.Topic, end.Partition, n, end.Offset)
			}
		})
		return behind
	})
}

// followed are the topics that the rows are made of.
func followed(t kafka.Topics) []string {
	return []string{
		t.Events(schemas.AggregateOrchestration), t.Events(schemas.AggregateDefinition), t.Events(schemas.AggregateTransfer),
		t.Events(schemas.AggregateNegotiation), t.DeadLetters(),
	}
}

func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: never: %v", what, err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// rows reads the views.
func rows(t *testing.T, m *app.Main) map[string][]map[string]any {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(m.Data(), "projections.db")+"?mode=ro&_busy_timeout=5000")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	all := map[string][]map[string]any{}
	for _, view := range views {
		l, err := rowsOf(t.Context(), db, view)
		if err != nil {
			t.Fatalf("%s: %v", view, err)
		}
		all[view] = l
	}
	return all
}

func rowsOf(ctx context.Context, db *sql.DB, view string) (list []map[string]any, err error) {
	found, err := db.QueryContext(ctx, "SELECT * FROM "+view)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, found.Close()) }()
	columns, err := found.Columns()
	if err != nil {
		return nil, err
	}
	for found.Next() {
		values, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := found.Scan(into...); err != nil {
			return nil, err
		}
		row := map[string]any{}
		for i, c := range columns {
			if b, ok := values[i].([]byte); ok {
				values[i] = string(b)
			}
			row[c] = values[i]
		}
		list = append(list, row)
	}
	slices.SortFunc(list, func(a, b map[string]any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return list, found.Err()
}

// writeGolden lets this build play and keeps what is on the topics then, and the rows.
func writeGolden(t *testing.T, dir string) {
	t.Helper()
	broker := startBroker(t, filepath.Join(t.TempDir(), "broker"))
	cfg := playedConfig()
	cfg.Brokers, cfg.Data, cfg.Listen = []string{broker.Addr()}, filepath.Join(t.TempDir(), "data"), "127.0.0.1:0"
	m := app.New(cfg)
	if err := m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	play(t, m)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	cfg.Roles = []string{app.RoleProjections, app.RoleAPI}
	shown, _ := startMain(t, cfg)
	caughtUp(t, shown)
	g := dump(t, shown.Kafka())
	g.rows = rows(t, shown)
	g.write(t, dir)
}

// play lets everything happen that there is a wire type for, and leaves some of it under way.
func play(t *testing.T, m *app.Main) {
	t.Helper()
	eventually(t, "every shard is ready", m.Ready)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	defer cancel()
	p := newPlayer(ctx, t, m, false)
	define(&program{t, m})
	large := strings.Repeat("The quick brown fox. ", 20_000)
	(&program{t, m}).call(http.MethodPost, "/v1/jobs", `{"id":"`+largeJob+`","type":"steps","input":{"large":"`+large+`"}}`, http.StatusAccepted, nil)
	p.give(schemas.AggregateOrchestration, undoneJob, schemas.OrchestrationStart, say{"type": "steps", "deadline": "P50Y"})
	for len(p.missing()) > 0 || len(p.jobs) < maxPlayedJobs {
		p.turn()
		p.beat()
		p.poke()
		if ctx.Err() != nil {
			t.Fatalf("nothing has come of %s", strings.Join(p.missing(), ", "))
		}
	}
	for i := range 5 { // some that are under way
		p.give(schemas.AggregateOrchestration, fmt.Sprint("left-", i), schemas.OrchestrationStart, say{"type": "steps", "deadline": "P50Y"})
		p.turn()
	}
}

// dump reads all topics from their beginnings.
func dump(t *testing.T, cfg kafka.Config) *golden {
	t.Helper()
	cl, err := cfg.NewClient()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	topics, err := adm.ListTopics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	g := &golden{}
	read := map[string]map[int32]kgo.Offset{}
	for _, topic := range topics.Sorted() {
		if !strings.HasPrefix(topic.Topic, kafka.DefaultPrefix+".") {
			continue
		}
		g.topics = append(g.topics, goldenTopic{topic.Topic, make([]int64, len(topic.Partitions))})
		read[topic.Topic] = map[int32]kgo.Offset{}
		for p := range topic.Partitions {
			read[topic.Topic][p] = kgo.NewOffset().AtStart()
		}
	}
	ends, err := adm.ListEndOffsets(t.Context(), topics.Names()...)
	if err != nil {
		t.Fatal(err)
	}
	left := map[string]int64{}
	ends.Each(func(end kadm.ListedOffset) {
		if _, ok := read[end.Topic]; ok && end.Offset > 0 {
			left[fmt.Sprint(end.Topic, end.Partition)] = end.Offset
			i := slices.IndexFunc(g.topics, func(x goldenTopic) bool { return x.Topic == end.Topic })
			g.topics[i].Ends[end.Partition] = end.Offset
		}
	})
	in, err := cfg.NewClient(kgo.ConsumePartitions(read), kgo.KeepControlRecords())
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	for len(left) > 0 {
		in.PollFetches(t.Context()).EachRecord(func(r *kgo.Record) {
			if at := fmt.Sprint(r.Topic, r.Partition); r.Offset+1 >= left[at] {
				delete(left, at)
			}
			if r.Attrs.IsControl() {
				return
			}
			k := goldenRecord{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, At: r.Timestamp.UnixMilli(), Key: r.Key}
			if r.Value != nil {
				value := goldenText(r.Value)
				k.Value = &value
			}
			for _, h := range r.Headers {
				k.Headers = append(k.Headers, [2]string{h.Key, string(h.Value)})
			}
			g.records = append(g.records, k)
		})
	}
	slices.SortFunc(g.records, func(a, b goldenRecord) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	return g
}

func (g *golden) write(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	packed(t, filepath.Join(dir, "topics.jsonl.gz"), func(e *json.Encoder) error {
		for _, x := range g.topics {
			if err := e.Encode(x); err != nil {
				return err
			}
		}
		for _, x := range g.records {
			if err := e.Encode(x); err != nil {
				return err
			}
		}
		return nil
	})
	packed(t, filepath.Join(dir, "rows.json.gz"), func(e *json.Encoder) error { return e.Encode(g.rows) })
}

func packed(t *testing.T, path string, write func(*json.Encoder) error) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewWriterLevel(f, gzip.BestCompression)
	if err == nil {
		err = errors.Join(write(json.NewEncoder(z)), z.Close(), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}
