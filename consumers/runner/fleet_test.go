package runner_test

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/machines"
	"github.com/waybill/waybill/consumers/runner"
	"github.com/waybill/waybill/internal/embedded/embeddedtest"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

const aggregate = "orchestration"

// fleet is a cluster with a few members on it, in fake time unless it is real.
type fleet struct {
	real    bool
	t       *testing.T
	cfg     kafka.Config
	cluster *kfake.Cluster
	shards  int32
	plans   plans
	cl      *kgo.Client
	ids     int
	// How its members are set up, beside the defaults: most tests meet checkpoints, and ended aggregates that
	// have left memory.
	checkpoint int64
	recent     int
	keep       time.Duration
	mu         sync.Mutex
	origins    map[string]string // of the last taking of each shard
}

func newFleet(t *testing.T, shards int32, p plans) *fleet {
	t.Helper()
	cfg, cluster := embeddedtest.Virtual(t)
	return fleetOn(t, cfg, cluster, shards, p)
}

func fleetOn(t *testing.T, cfg kafka.Config, cluster *kfake.Cluster, shards int32, p plans) *fleet {
	t.Helper()
	cl, err := cfg.NewClient()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	if err := kafka.EnsureTopics(t.Context(), cl, cfg.Topics().Specs(shards, []string{aggregate}, []string{"remote"})); err != nil {
		t.Fatal(err)
	}
	return &fleet{
		t: t, cfg: cfg, cluster: cluster, shards: shards, plans: p, cl: cl,
		checkpoint: 1 << 10, recent: 1, origins: make(map[string]string),
	}
}

// member is one process of a fleet: its connections can be held up, as if it slept.
type member struct {
	*runner.Runner
	name string
	pool *agent.Pool
	gate *gate
	stop func()
}

// memory is the broker in memory, which can be told to fail; on another the test is passed over.
func (f *fleet) memory() *kfake.Cluster {
	f.t.Helper()
	if f.real {
		f.t.Skip("a broker of others cannot be told when to fail")
	}
	return f.cluster
}

// join starts a member; register adds its local agents.
func (f *fleet) join(name string, register func(*agent.Pool)) *member {
	f.t.Helper()
	return f.joinWith(name, register, func(*runner.Config) {})
}

// joinWith is join with other settings.
func (f *fleet) joinWith(name string, register func(*agent.Pool), change func(*runner.Config)) *member {
	f.t.Helper()
	m := &member{name: name, gate: &gate{}, pool: agent.NewPool(slog.New(slog.DiscardHandler))}
	if register != nil {
		register(m.pool)
	}
	cfg := f.cfg
	if dial := cfg.Dial; dial != nil {
		cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if err := m.gate.pass(); err != nil {
				return nil, err
			}
			c, err := dial(ctx, network, address)
			return &gated{c, m.gate}, err
		}
	}
	settings := runner.Config{
		Kafka: cfg, Shards: f.shards, Member: name, Local: machines.Local(m.pool),
		Machines:   []runner.Binding{machines.Orchestration(f.plans, nil, 0)},
		Logger:     slog.New(&listener{slog.NewTextHandler(f.t.Output(), nil), f}).With("member", name),
		Checkpoint: f.checkpoint, Recent: f.recent, KeepHistory: f.keep,
	}
	change(&settings)
	runner.CheckRestored(&settings, func(why string) { f.t.Error(why) })
	r, err := runner.New(settings)
	if err != nil {
		f.t.Fatal(err)
	}
	m.Runner = r
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	var once sync.Once
	m.stop = func() {
		once.Do(func() {
			cancel()
			m.gate.open()
			if err := <-done; err != nil {
				f.t.Errorf("member %s: %v", name, err)
			}
		})
	}
	f.t.Cleanup(m.stop)
	return m
}

// listener hears where the state of a shard comes from.
type listener struct {
	slog.Handler
	f *fleet
}

func (l *listener) Handle(ctx context.Context, r slog.Record) error {
	shard, from := "", ""
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "shard":
			shard = a.Value.String()
		case "from":
			from = a.Value.String()
		}
		return true
	})
	if r.Message == "shard taken" {
		l.f.mu.Lock()
		l.f.origins[shard] = from
		l.f.mu.Unlock()
	}
	return l.Handler.Handle(ctx, r)
}

func (l *listener) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &listener{l.Handler.WithAttrs(attrs), l.f}
}

// origin says where the state of a shard came from when it was taken last.
func (f *fleet) origin(shard int) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.origins[strconv.Itoa(shard)]
}

// gate holds up whoever passes while it is shut.
type gate struct {
	mu     sync.Mutex
	shut   chan struct{}
	dead   bool
	commit func() // called once, before the end of a transaction passes
}

func (g *gate) atCommit(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.commit = f
}

// looks looks at what is about to be written: a client writes each request at once.
func (g *gate) looks(request []byte) {
	const key = 4 // bytes before it: the length
	if len(request) < key+2 || binary.BigEndian.Uint16(request[key:]) != uint16(kmsg.EndTxn) {
		return
	}
	g.mu.Lock()
	f := g.commit
	g.commit = nil
	g.mu.Unlock()
	if f != nil {
		f()
	}
}

// kill lets nothing pass any more.
func (g *gate) kill() {
	g.mu.Lock()
	g.dead = true
	g.mu.Unlock()
	g.open()
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut == nil {
		g.shut = make(chan struct{})
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut != nil {
		close(g.shut)
		g.shut = nil
	}
}

func (g *gate) pass() error {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut != nil {
		<-shut
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dead {
		return net.ErrClosed
	}
	return nil
}

// gated is a connection behind a gate.
type gated struct {
	net.Conn
	gate *gate
}

func (c *gated) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err := c.gate.pass(); err != nil {
		return 0, err
	}
	return n, err
}

func (c *gated) Write(b []byte) (int, error) {
	c.gate.looks(b)
	if err := c.gate.pass(); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// until waits for something to become true.
func (f *fleet) until(what string, ok func() bool) {
	f.t.Helper()
	for range 6000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond) //nolint:forbidigo // fake time, or a pause between two looks
	}
	f.t.Fatalf("a minute passed and %s did not happen", what)
}

// twoSessions is longer than a member is missed, twice.
const twoSessions = 13 * time.Second

// passes lets time go by; where it is real no more than it takes to be missed.
func (f *fleet) passes(d time.Duration) {
	if f.real {
		d = min(d, twoSessions)
	}
	time.Sleep(d) //nolint:forbidigo // fake time; and in real time nothing is to happen
}

// soon is how long something may take; more where time is real, and others have the machine too.
func (f *fleet) soon(d time.Duration) time.Duration {
	if f.real {
		return 5 * d
	}
	return d
}

func (f *fleet) owns(m *member, n int) {
	f.t.Helper()
	f.until(m.name+" owns "+strconv.Itoa(n)+" shards", func() bool { return len(m.Owned()) == n })
}

// send publishes a command under a new ID.
func (f *fleet) send(key, typ, value string) {
	f.t.Helper()
	f.ids++
	f.sendAs("command-"+strconv.Itoa(f.ids), key, typ, value)
}

func (f *fleet) sendAs(id, key, typ, value string) {
	f.t.Helper()
	r := &kgo.Record{
		Topic: f.cfg.Topics().Commands(aggregate), Key: []byte(key), Value: []byte(value),
		Headers: kafka.CloudEvent{ID: id, Source: "test", Type: typ, Subject: key}.Headers(),
	}
	if err := f.cl.ProduceSync(f.t.Context(), r).FirstErr(); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) start(id, typ string) {
	f.t.Helper()
	f.send(id, schemas.OrchestrationStart, `{"type":"`+typ+`"}`)
}

// read reads what a topic holds, committed, up to now.
func (f *fleet) read(topic string) []*kgo.Record {
	f.t.Helper()
	if f.real {
		f.settles(topic)
		return f.readAll(topic) // how long a broker may be silent is not known
	}
	cl, err := f.cfg.NewClient(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		f.t.Fatal(err)
	}
	defer cl.Close()
	var all []*kgo.Record
	for {
		ctx, cancel := context.WithTimeout(f.t.Context(), 300*time.Millisecond)
		fetches := cl.PollFetches(ctx)
		cancel()
		if fetches.NumRecords() == 0 {
			return all
		}
		fetches.EachRecord(func(r *kgo.Record) { all = append(all, r) })
	}
}

// settles waits a moment for the end of what is being committed: a commit is told to one partition after
// the other, and who has seen it in one may look at another too soon.
func (f *fleet) settles(topic string) {
	f.t.Helper()
	adm := kadm.NewClient(f.cl)
	for range 20 {
		committed, err1 := adm.ListCommittedOffsets(f.t.Context(), topic)
		written, err2 := adm.ListEndOffsets(f.t.Context(), topic)
		open := errors.Join(err1, err2) != nil
		written.Each(func(o kadm.ListedOffset) {
			c, ok := committed.Lookup(o.Topic, o.Partition)
			open = open || ok && c.Offset < o.Offset
		})
		if !open {
			return
		}
		f.passes(100 * time.Millisecond)
	}
}

// readAll reads what is committed on a topic; nothing of one that is not there.
func (f *fleet) readAll(topic string) []*kgo.Record {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	ends, err := kadm.NewClient(f.cl).ListCommittedOffsets(ctx, topic)
	for ; kerr.IsRetriable(err) && ctx.Err() == nil; f.passes(100 * time.Millisecond) {
		ends, err = kadm.NewClient(f.cl).ListCommittedOffsets(ctx, topic)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	from, left := map[int32]kgo.Offset{}, map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		switch {
		case errors.Is(o.Err, kerr.UnknownTopicOrPartition):
		case o.Err != nil:
			f.t.Fatal(topic, o.Err)
		case o.Offset > 0:
			from[o.Partition], left[o.Partition] = kgo.NewOffset().AtStart(), o.Offset
		}
	})
	cl, err := f.cfg.NewClient(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}), kgo.KeepControlRecords())
	if err != nil {
		f.t.Fatal(err)
	}
	defer cl.Close()
	var all []*kgo.Record
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); errors.Is(err, kerr.UnknownTopicID) {
			return nil // it is being made again
		} else if err != nil {
			f.t.Fatalf("%s, %v to be read: %v", topic, left, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				all = append(all, r)
			}
			if r.Offset >= left[r.Partition]-1 {
				delete(left, r.Partition)
			}
		})
	}
	return all
}

// history is the events of one orchestration as "sequence type", checked for gaps and repeats.
func (f *fleet) history(id string) []string {
	f.t.Helper()
	var l []string
	for _, r := range f.read(f.cfg.Topics().Events(aggregate)) {
		if string(r.Key) != id {
			continue
		}
		e, err := kafka.ParseCloudEvent(r)
		if err != nil {
			f.t.Fatal(err)
		}
		if e.Sequence != int64(len(l)+1) {
			f.t.Errorf("%s: sequence %d follows %d", id, e.Sequence, len(l))
		}
		l = append(l, strings.TrimSuffix(e.Type, ".v1"))
	}
	return l
}

// completions are the ends of one orchestration, repeats of a record dropped by its ID.
func (f *fleet) completions(id string) (distinct []string, copies int) {
	f.t.Helper()
	seen := map[string]bool{}
	for _, r := range f.read(f.cfg.Topics().Completions(aggregate)) {
		e, err := kafka.ParseCloudEvent(r)
		if err != nil {
			f.t.Fatal(err)
		}
		if string(r.Key) != id {
			continue
		}
		copies++
		if !seen[e.ID] {
			seen[e.ID] = true
			distinct = append(distinct, strings.TrimSuffix(e.Type, ".v1"))
		}
	}
	return distinct, copies
}

func (f *fleet) ends(id, how string) {
	f.t.Helper()
	f.until(id+" ends "+how, func() bool {
		l, _ := f.completions(id)
		return len(l) == 1 && l[0] == "orchestration."+how
	})
}
