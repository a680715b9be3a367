package seeds_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/connectors"
	"github.com/waybill/waybill/consumers/machines"
	"github.com/waybill/waybill/consumers/runner"
	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/integration/internal/audit"
	"github.com/waybill/waybill/internal/embedded/embeddedtest"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/projections"
	"github.com/waybill/waybill/schemas"
)

// world is a broker with a few processes, in fake time.
type world struct {
	t       *testing.T
	cfg     kafka.Config
	cluster *kfake.Cluster
	shards  int32
	plans   plans
	routes  *connectors.Routes
	groups  bool          // agents use consumer groups, not share groups
	keep    time.Duration // history; 0: all of it
	dir     string
	harm    *harm

	cl        *kgo.Client // of the test itself: it places records where it wants
	rng       *rand.Rand  // of the goroutine that makes things happen
	processes []*process
	outside   outside
	resumes   int // how many were sent in peace
	calm      atomic.Bool
	faults    []*kfake.FaultHandle
}

// newWorld is a world without processes. embedded is how they take the broker: as one that can tear a
// transaction, or as a real one.
func newWorld(t *testing.T, seed uint64, isEmbedded, groups bool) *world {
	t.Helper()
	cfg, cluster := embeddedtest.Virtual(t)
	cfg.Embedded = isEmbedded
	cfg.Extra = append(cfg.Extra, kgo.DisableClientMetrics()) // they take time
	w := &world{
		t: t, cfg: cfg, cluster: cluster, shards: 3, plans: newPlans(t), groups: groups, dir: t.TempDir(),
		rng: rand.New(rand.NewPCG(seed, 0)),
	}
	var err error
	if w.cl, err = cfg.NewClient(kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.cl.Close)
	if _, _, err := w.cl.ProducerID(t.Context()); err != nil { // what befalls the others is not to befall the test
		t.Fatal(err)
	}
	w.routes, err = connectors.NewRoutes(connectors.Config{Connectors: []connectors.Connector{
		{Name: "ours", Adapter: connectors.AdapterEDC, Match: []string{edcProvider}, ManagementURL: "http://ours.example/management"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	types := []string{schemas.AggregateOrchestration, schemas.AggregateDefinition, schemas.AggregateTransfer, schemas.AggregateNegotiation}
	if err := kafka.EnsureTopics(t.Context(), w.cl, cfg.Topics().Specs(w.shards, types, shared()[1:])); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.leave()
		for _, p := range w.processes {
			p.stop()
		}
		w.passes(2 * held) // what was on its way still arrives
	})
	return w
}

// passes lets time go by.
func (w *world) passes(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // fake time
}

// process is one process of a world: it is started, killed and started again.
type process struct {
	w      *world
	name   string
	agents bool // agents only
	rows   bool // has a projection
	wire   *wire
	runner atomic.Pointer[runner.Runner]  // nil while it does not live, or has agents only
	view   atomic.Pointer[projections.DB] // the last one
	end    func()
}

// add adds a process that has not been started.
func (w *world) add(p *process) *process {
	p.w = w
	w.processes = append(w.processes, p)
	return p
}

func (p *process) file() string { return filepath.Join(p.w.dir, p.name+".db") }

// start starts the parts of a process. One that fails is begun again, as the program does it.
func (p *process) start() {
	p.wire = &wire{}
	p.wire.mistreat(p.w.harm)
	cfg := p.w.cfg
	cfg.Dial = p.wire.through(cfg.Dial)
	log := slog.New(slog.NewTextHandler(p.w.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})).With("process", p.name)
	ctx, cancel := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	part := func(name string, run func(context.Context) error) {
		parts.Go(func() {
			for ctx.Err() == nil {
				if err := run(ctx); err != nil && ctx.Err() == nil {
					log.Warn("begun again", "part", name, "err", err)
					select {
					case <-ctx.Done():
					case <-time.After(time.Second):
					}
				}
			}
		})
	}
	part("agents", func(ctx context.Context) error {
		types := shared()
		if p.agents {
			types = []string{"far"}
		}
		return newPool(&p.w.outside, types...).Serve(ctx, agent.Config{
			Name: p.name, Kafka: cfg, Grace: time.Second, Log: slog.New(slog.DiscardHandler), ConsumerGroup: p.w.groups,
		})
	})
	if !p.agents {
		part("machines", p.machines(cfg, log).Run)
	}
	if p.rows {
		part("projection", func(ctx context.Context) error { return p.project(ctx, cfg) })
	}
	p.end = func() { cancel(); parts.Wait() }
}

func (p *process) machines(cfg kafka.Config, log *slog.Logger) *runner.Runner {
	r, err := runner.New(runner.Config{
		Kafka: cfg, Shards: p.w.shards, Member: p.name, Local: machines.Local(newPool(&p.w.outside, workTypes()...)), Logger: log,
		KeepHistory: p.w.keep,
		Checkpoint:  4 << 10, Recent: 2, // so that a few minutes have many checkpoints, and ended aggregates leave memory
		Machines: []runner.Binding{
			machines.Orchestration(p.w.plans, p.w.routes, 0), machines.Definition(p.w.plans), machines.Transfer(p.w.routes),
			machines.Negotiation(p.w.routes, func(string) negotiation.Config { return negotiation.Config{} }),
		},
	})
	if err != nil {
		p.w.t.Fatal(err)
	}
	p.runner.Store(r)
	return r
}

func (p *process) project(ctx context.Context, cfg kafka.Config) error {
	db, err := projections.Open(ctx, projections.Config{Path: p.file(), Kafka: cfg})
	if err != nil {
		return err
	}
	p.view.Store(db)
	err = db.Run(ctx)
	if err := db.Close(); err != nil {
		p.w.t.Errorf("the projection of %s: %v", p.name, err)
	}
	return err
}

func (p *process) lives() bool { return p.end != nil }

func (p *process) stop() {
	if p.lives() {
		p.wire.open()
		p.end()
		p.end = nil
		p.runner.Store(nil)
	}
}

// kill lets nothing of the process through any more; what it does until it notices that
// counts for nothing.
func (p *process) kill() {
	if p.lives() {
		p.wire.kill()
		p.stop()
	}
}

// command is what is sent.
type command struct {
	aggregate, id, key, typ, value string
}

// send publishes a command until it is acknowledged, on its partition or on another.
func (w *world) send(c command) {
	partition := kafka.PartitionFor([]byte(c.key), w.shards)
	if w.rng.IntN(5) == 0 {
		partition = w.rng.Int32N(w.shards)
	}
	if c.aggregate == "" {
		c.aggregate = schemas.AggregateOrchestration
	}
	for {
		r := &kgo.Record{
			Topic: w.cfg.Topics().Commands(c.aggregate), Partition: partition, Key: []byte(c.key), Value: []byte(c.value),
			Headers: kafka.CloudEvent{ID: c.id, Source: "test", Type: c.typ, Subject: c.key, Time: time.Now()}.Headers(),
		}
		if err := w.cl.ProduceSync(w.t.Context(), r).FirstErr(); err == nil {
			return
		}
		w.passes(100 * time.Millisecond)
	}
}

// tell reports, from outside, on an activity that waits.
func (w *world) tell() {
	if a, ok := w.outside.next(); ok {
		w.send(command{
			id: "told-" + a.ID, key: a.JobID, typ: schemas.WorkComplete,
			value: fmt.Sprintf(`{"workId":%q,"attempt":%d,"output":{"by":"outside"}}`, a.ID, a.Attempt),
		})
	}
}

// peace is how long everything may take to end.
const peace = 20 * time.Minute

// ends lets everybody live, and whoever waits be told, until all is over. back are what lets jobs and
// transfers go on that somebody has held up, by their ids.
func (w *world) ends(back map[string]command) {
	w.calm.Store(true)
	for _, f := range w.faults {
		f.Remove()
	}
	for _, p := range w.processes {
		p.unharmed()
	}
	began := time.Now()
	for i := 0; time.Since(began) < peace; i++ {
		if i%12 == 0 {
			for _, id := range slices.Sorted(maps.Keys(back)) { // what holds it up may have come after what lets it go on
				w.resumes++
				c := back[id]
				c.id = "resume-" + strconv.Itoa(w.resumes)
				w.send(c)
			}
		}
		w.passes(5 * time.Second)
		for range 10 {
			w.tell()
		}
		if len(w.unended()) == 0 {
			return
		}
	}
	w.t.Fatalf("%s of peace, and not everything is over: %s", peace, strings.Join(w.unended(), "; "))
}

// unharmed lets a process live.
func (p *process) unharmed() {
	if p.wire != nil {
		p.wire.deafen(0)
		p.wire.open()
	}
	if !p.lives() {
		p.start()
	}
}

// late carries the next request of a kind out after a while, whoever has given it up meanwhile. What it
// returns says how many it were.
func (w *world) late(key kmsg.Key, by time.Duration) func() int {
	var hits atomic.Int32
	w.cluster.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
		if w.cluster.DropControl(); !w.calm.Load() && hits.CompareAndSwap(0, 1) {
			w.cluster.SleepControl(func() { w.passes(by) })
		}
		return nil, nil, false
	})
	return func() int { return int(hits.Load()) }
}

// unended says what is not over: jobs and transfers, commands, processes that are not ready.
func (w *world) unended() []string {
	var l []string
	log := w.log()
	for _, name := range []string{schemas.AggregateOrchestration, schemas.AggregateTransfer} {
		last := make(map[string]string)
		for _, r := range log.Records[w.cfg.Topics().Events(name)] {
			switch r.Type {
			case schemas.OrchestrationEnded, schemas.TransferEnded:
				delete(last, r.Key)
			case schemas.ShardOwned, schemas.ShardPosition, schemas.OrchestrationDisposed, schemas.BlobsRemoved:
			default:
				last[r.Key] = r.Type + " " + r.Value
			}
		}
		for id, what := range last {
			l = append(l, id+" after "+what)
		}
	}
	for _, wrong := range audit.Check(log, audit.Options{Quiet: true, Embedded: w.cfg.Embedded, DeadLetters: true}).Wrongs {
		if wrong.Law == audit.LawAnswers {
			l = append(l, wrong.String())
		}
	}
	for _, p := range w.processes {
		if r := p.runner.Load(); r != nil {
			if err := r.Ready(); err != nil {
				l = append(l, fmt.Sprintf("%s: %v", p.name, err))
			}
		}
	}
	slices.Sort(l)
	return l
}

func (w *world) log() *audit.Log {
	w.t.Helper()
	log, err := audit.ReadLog(w.t.Context(), w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return log
}

// rebuildTrimmed does what the guide says where a projection slept for longer than history is kept, and says so.
func (p *process) rebuildTrimmed() {
	db := p.view.Load()
	if db == nil || db.Err() == nil || !strings.Contains(db.Err().Error(), "waybill projections rebuild") {
		return
	}
	p.stop()
	if err := projections.Rebuild(p.file()); err != nil {
		p.w.t.Error(err)
	}
	p.start()
	p.w.passes(latest)
}

// judge holds the log and the rows against the laws.
func (w *world) judge() *audit.Report {
	w.t.Helper()
	if w.keep > 0 {
		w.passes(2*w.keep + latest) // the rows come to know what the log has let go of
		for _, p := range w.processes {
			p.rebuildTrimmed()
		}
	}
	report := audit.Check(w.log(), audit.Options{Embedded: w.cfg.Embedded, Quiet: true, Now: time.Now(), LeftOut: true})
	wrongs := report.Wrongs
	for _, p := range w.processes {
		if p.rows {
			found, _, err := audit.Projection(w.t.Context(), w.cfg, p.file(), w.dir)
			if err != nil {
				w.t.Error(err)
			}
			wrongs = append(wrongs, found...)
		}
	}
	for _, wrong := range wrongs {
		w.t.Error(wrong)
	}
	w.owners()
	return report
}

// leave writes down what is on the log of a world in which something was wrong.
func (w *world) leave() {
	if !w.t.Failed() || *dump == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	log, err := audit.ReadLog(ctx, w.cfg)
	if err != nil {
		w.t.Log("the log cannot be kept:", err)
		return
	}
	path := filepath.Join(*dump, strings.NewReplacer("/", "-", " ", "_").Replace(w.t.Name())+".records")
	f, err := os.Create(path)
	if err != nil {
		w.t.Log("the log cannot be kept:", err)
		return
	}
	if err := errors.Join(log.Dump(f), f.Close()); err != nil {
		w.t.Log("the log cannot be kept:", err)
	}
	w.t.Log("what is on the log is in", path)
}

// owners: each shard has one.
func (w *world) owners() {
	w.t.Helper()
	owners := map[int32][]string{}
	for _, p := range w.processes {
		if r := p.runner.Load(); r != nil {
			for _, s := range r.Owned() {
				owners[s] = append(owners[s], p.name)
			}
		}
	}
	for s := range w.shards {
		if len(owners[s]) != 1 {
			w.t.Errorf("shard %d belongs to %s", s, strings.Join(owners[s], " and "))
		}
	}
}
