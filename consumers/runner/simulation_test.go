//go:build simulation

package runner_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/machines"
	"github.com/waybill/waybill/consumers/runner"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

var (
	simulations = flag.Int("simulations", 30, "how many simulations are run")
	firstSeed   = flag.Uint64("simulation-seed", 1, "the first simulation's seed; the others follow it")
)

// A few processes, each with machines and agents, live through two bad minutes: they sleep,
// are killed, come back, and every request of theirs may fail, come late, or be answered
// to nobody. Afterwards the log is held against its laws.
func TestWhateverHappensTheLogKeepsItsLaws(t *testing.T) {
	for i := range *simulations {
		seed := *firstSeed + uint64(i) //nolint:gosec // a small count
		kind := "embedded"
		if seed%2 == 0 {
			kind = "real"
		}
		t.Run(fmt.Sprintf("seed %d, %s", seed, kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { simulate(t, seed, kind == "embedded") })
		})
	}
}

// simulation is one run.
type simulation struct {
	*fleet
	rng       *rand.Rand // of the goroutine that makes things happen
	processes []*process
	far       *process // agents only
	commands  []*sentCommand
	faults    []*kfake.FaultHandle
	hits      int // misfortunes
	resumes   int // how many were sent in peace
	calm      atomic.Bool

	mu       sync.Mutex
	running  map[string]int // attempts under way, by process, start, work and attempt
	overlaps []string
	waiting  []agent.Activity // what somebody outside has to report on
}

// sentCommand is a command; some have another's ID.
type sentCommand struct {
	id, key, typ, value string
	sent                bool
}

// shared are the activity types whose work agents take from its topic as well. The topics of
// the others are made when somebody has no slot free, and nobody reads them.
var shared = []string{"far", "slow", "flaky"} //nolint:gochecknoglobals // a table of a test

func simulate(t *testing.T, seed uint64, isEmbedded bool) {
	s := &simulation{
		fleet:   newFleet(t, 3, simulatedPlans(t)),
		rng:     rand.New(rand.NewPCG(seed, 0)), //nolint:gosec // a seed that can be repeated is the point
		running: make(map[string]int),
	}
	s.cfg.Embedded = isEmbedded
	for _, typ := range shared {
		if err := kafka.EnsureTopics(t.Context(), s.cl, []kafka.Spec{s.cfg.Topics().WorkSpec(s.shards, typ)}); err != nil {
			t.Fatal(err)
		}
	}
	s.far = &process{s: s, name: "far", agentsOnly: true}
	t.Cleanup(func() {
		for _, p := range append(s.processes, s.far) {
			p.stop()
		}
	})
	s.far.start()
	for i := range 2 + s.rng.IntN(2) {
		p := &process{s: s, name: "m" + strconv.Itoa(i)}
		s.processes = append(s.processes, p)
		p.start()
	}
	s.prepareCommands()
	s.misfortunes(2 * time.Minute)
	s.peace()
	s.passes(latest) // nothing of what comes late may matter any more
	s.check()
	if testing.Verbose() {
		t.Logf("%d commands, %d faults, %d events, %d attempts run twice at once in one process",
			len(s.commands), s.hits, len(s.read(s.cfg.Topics().Events(aggregate))), len(s.overlaps))
	}
}

func simulatedPlans(t *testing.T) plans {
	t.Helper()
	one := 1
	p := plans{}
	for _, d := range []definition.Orchestration{
		{Type: "chain", Activities: []definition.Activity{
			{ID: "a", Type: "noop"},
			{ID: "b", Type: "noop", DependsOn: definition.Names{"a"}},
			{ID: "c", Type: "noop", DependsOn: definition.Names{"b"}},
		}},
		{Type: "mix", Activities: []definition.Activity{
			{ID: "first", Type: "noop"},
			{ID: "slow", Type: "slow", DependsOn: definition.Names{"first"}},
			{ID: "again", Type: "again", DependsOn: definition.Names{"first"}},
			{ID: "flaky", Type: "flaky", DependsOn: definition.Names{"first"}},
			{ID: "wait", Type: "wait", DependsOn: definition.Names{"first"}},
			{ID: "far", Type: "far", DependsOn: definition.Names{"slow"}},
			{ID: "last", Type: "noop", DependsOn: definition.Names{"slow", "again", "flaky", "wait", "far"}},
		}},
		{Type: "tree", Activities: []definition.Activity{
			{ID: "root", Type: "spawn", With: json.RawMessage(`{"levels":3}`)},
			{ID: "join", Type: "noop", DependsOn: definition.Names{"root"}},
		}},
		{Type: "wide", Activities: []definition.Activity{
			{ID: "s0", Type: "slow"},
			{ID: "s1", Type: "slow"},
			{ID: "s2", Type: "slow"},
			{ID: "s3", Type: "slow"},
			{ID: "s4", Type: "slow"},
			{ID: "s5", Type: "slow"},
			{ID: "f0", Type: "far"},
			{ID: "f1", Type: "far"},
		}},
		{Type: "hopeless", Activities: []definition.Activity{
			{ID: "slow", Type: "slow"},
			{ID: "fails", Type: "fails", Retry: &definition.Retry{Limit: &one}},
		}},
		{Type: "undone", Compensate: true, Activities: []definition.Activity{
			{ID: "first", Type: "slow"},
			{ID: "tree", Type: "spawn", With: json.RawMessage(`{"levels":1}`)},
			{ID: "far", Type: "far", DependsOn: definition.Names{"first"}},
			{ID: "wait", Type: "wait", DependsOn: definition.Names{"first"}},
			{ID: "slow", Type: "slow", DependsOn: definition.Names{"tree", "far"}},
			{ID: "fails", Type: "fails", DependsOn: definition.Names{"far"}, Retry: &definition.Retry{Limit: &one}},
		}},
	} {
		plan, err := orchestration.NewPlan(d)
		if err != nil {
			t.Fatal(err)
		}
		p[d.Type] = plan
	}
	return p
}

// process is one process of a simulation: it is started, killed and started again.
type process struct {
	s          *simulation
	name       string
	agentsOnly bool
	starts     int
	wire       *wire
	runner     atomic.Pointer[runner.Runner] // nil while it does not live, or has agents only
	end        func()
}

// wire is what a process's connections go through.
type wire struct {
	gate

	mu   sync.Mutex
	deaf int // answers that will not reach it
}

func (w *wire) hears() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.deaf == 0 {
		return true
	}
	w.deaf--
	return false
}

// wired is a connection that loses answers now and then, and itself with them.
type wired struct {
	gated
	w *wire
}

func (c *wired) Read(b []byte) (int, error) {
	n, err := c.gated.Read(b)
	if err == nil && !c.w.hears() {
		return 0, errors.Join(io.ErrUnexpectedEOF, c.Close())
	}
	return n, err
}

func (p *process) start() {
	p.starts++
	p.wire = &wire{}
	cfg, w := p.s.cfg, p.wire
	dial := cfg.Dial
	cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if err := w.pass(); err != nil {
			return nil, err
		}
		c, err := dial(ctx, network, address)
		return &wired{gated{c, &w.gate}, w}, err
	}
	log := slog.New(slog.NewTextHandler(p.s.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})).With("process", p.name)
	pool := p.pool()
	ctx, cancel := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	types := slices.DeleteFunc(pool.Types(), func(typ string) bool { return !slices.Contains(shared, typ) })
	work, err := readWork(cfg, types...)
	if err != nil {
		p.s.t.Fatal(err)
	}
	parts.Go(func() { work.run(ctx) })
	parts.Go(func() {
		// When it stops it says what it could not finish.
		err := pool.Serve(ctx, agent.Config{
			Name: p.name, Grace: time.Second, Log: slog.New(slog.DiscardHandler), Subscriber: work, Publisher: work,
		})
		if ctx.Err() == nil {
			p.s.t.Errorf("agents of %s: %v", p.name, err)
		}
	})
	if !p.agentsOnly {
		r, err := runner.New(runner.Config{
			Kafka: cfg, Shards: p.s.shards, Member: p.name, Local: machines.Local(pool), Logger: log,
			Machines: []runner.Binding{machines.Orchestration(p.s.plans, nil, 0)},
		})
		if err != nil {
			p.s.t.Fatal(err)
		}
		p.runner.Store(r)
		parts.Go(func() {
			if err := r.Run(ctx); err != nil {
				p.s.t.Errorf("machines of %s: %v", p.name, err)
			}
		})
	}
	p.end = func() { cancel(); parts.Wait(); _ = work.Close() }
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

// pool holds the agents, with few slots, so that some work goes to its topic.
func (p *process) pool() *agent.Pool {
	pool := agent.NewPool(slog.New(slog.DiscardHandler))
	add := func(typ string, do func(context.Context, agent.Activity) agent.Result) {
		pool.Register(typ, agent.ProcessorFunc(p.watched(do)), 2)
	}
	add("far", func(ctx context.Context, a agent.Activity) agent.Result { return pause(ctx, a, 3*time.Second) })
	if p.agentsOnly {
		return pool
	}
	pool.Register("noop", quick{}, 2)
	pool.Register("again", again{}, 2)
	pool.Register("spawn", tree{2}, 2)
	add("slow", func(ctx context.Context, a agent.Activity) agent.Result { return pause(ctx, a, 700*time.Millisecond) })
	add("fails", func(context.Context, agent.Activity) agent.Result { return agent.Retry(errors.New("as always")) })
	add("flaky", func(ctx context.Context, a agent.Activity) agent.Result {
		if a.Attempt%3 != 0 {
			return agent.Retry(errors.New("not yet"))
		}
		return pause(ctx, a, 100*time.Millisecond)
	})
	add("wait", func(_ context.Context, a agent.Activity) agent.Result {
		p.s.mu.Lock()
		p.s.waiting = append(p.s.waiting, a)
		p.s.mu.Unlock()
		return agent.Wait()
	})
	return pool
}

// pause takes its time; longer for some activities than for others.
func pause(ctx context.Context, a agent.Activity, most time.Duration) agent.Result {
	select {
	case <-time.After(most * time.Duration(len(a.JobID)%4+1) / 4):
		return agent.Complete(map[string]string{"by": a.ActivityID})
	case <-ctx.Done():
		return agent.Retry(context.Cause(ctx))
	}
}

// watched notices when one process carries out an attempt twice at once.
func (p *process) watched(do func(context.Context, agent.Activity) agent.Result) func(context.Context, agent.Activity) agent.Result {
	s, start := p.s, p.starts
	return func(ctx context.Context, a agent.Activity) agent.Result {
		key := fmt.Sprintf("%s/%d %s/%s attempt %d", p.name, start, a.JobID, a.ActivityID, a.Attempt)
		s.mu.Lock()
		if s.running[key]++; s.running[key] > 1 {
			s.overlaps = append(s.overlaps, key)
		}
		s.mu.Unlock()
		defer func() {
			s.mu.Lock()
			s.running[key]--
			s.mu.Unlock()
		}()
		return do(ctx, a)
	}
}

// prepareCommands thinks of what is going to be sent: starts of every kind, wrong ones,
// other bodies under an ID that is taken, cancels, and whatever operators say.
func (s *simulation) prepareCommands() {
	types := []string{"chain", "mix", "mix", "wide", "tree", "hopeless", "undone", "undone", "unheard-of"}
	add := func(id, key, typ, value string) {
		s.commands = append(s.commands, &sentCommand{id: id, key: key, typ: typ, value: value})
	}
	for i := range 40 {
		job := "job-" + strconv.Itoa(i) + strings.Repeat("x", s.rng.IntN(4))
		body := `{"type":"` + types[s.rng.IntN(len(types))] + `","input":{"n":` + strconv.Itoa(i) + `}}`
		add("start-"+strconv.Itoa(i), job, schemas.OrchestrationStart, body)
		switch s.rng.IntN(8) {
		case 3:
			add("start-"+strconv.Itoa(i), job, schemas.OrchestrationStart, `{"type":"mix","partial":true}`)
		case 0:
			add("other-start-"+strconv.Itoa(i), job, schemas.OrchestrationStart, `{"type":"chain","partial":true}`)
		case 1:
			add("cancel-"+strconv.Itoa(i), job, schemas.OrchestrationCancel, `{"reason":"enough"}`)
		case 2:
			add("same-start-"+strconv.Itoa(i), job, schemas.OrchestrationStart, body)
		}
		for n := range s.rng.IntN(4) {
			typ, value := s.word()
			// Some time later, to whatever has become of an earlier one.
			earlier := s.commands[s.rng.IntN(len(s.commands))].key
			add(fmt.Sprintf("word-%d-%d", i, n), earlier, typ, value)
		}
	}
	add("stray", "nobody", schemas.OrchestrationCancel, `{}`)
	add("strange", "nobody", "orchestration.fly.v1", `{}`)
}

// word is what an operator says, of whatever activity.
func (s *simulation) word() (typ, value string) {
	ids := []string{"a", "b", "first", "slow", "far", "wait", "flaky", "fails", "fails", "root", "tree", "s0", "f1", "last", "far~dispose", "first~dispose"}
	id := strconv.Quote(ids[s.rng.IntN(len(ids))])
	switch s.rng.IntN(14) {
	case 0, 1:
		return schemas.OrchestrationPause, `{"reason":"lunch"}`
	case 2:
		return schemas.OrchestrationResume, `{}`
	case 3, 4:
		return schemas.OrchestrationRerun, `{"by":"kim"}`
	case 5:
		return schemas.OrchestrationRerun, `{"from":` + id + `}`
	case 6:
		return schemas.OrchestrationDispose, `{"by":"kim"}`
	case 7:
		return schemas.OrchestrationCancel, `{"reason":"enough"}`
	case 8:
		return schemas.ActivitySkip, `{"activityId":` + id + `}`
	case 9:
		return schemas.ActivityComplete, `{"activityId":` + id + `,"output":{"by":"kim"}}`
	case 10:
		return schemas.ActivityFail, `{"activityId":` + id + `}`
	}
	return schemas.ActivityRetry, `{"activityId":` + id + `}`
}

// resume lets what somebody has paused go on.
func (s *simulation) resume(cl *kgo.Client) {
	jobs := map[string]bool{}
	for _, c := range s.commands {
		if c.typ == schemas.OrchestrationPause && !jobs[c.key] {
			jobs[c.key] = true
			s.resumes++
			s.publish(&sentCommand{id: "resume-" + strconv.Itoa(s.resumes), key: c.key, typ: schemas.OrchestrationResume, value: `{}`}, cl)
		}
	}
}

// publish sends a command until it is acknowledged, on its partition or on another.
func (s *simulation) publish(c *sentCommand, cl *kgo.Client) {
	partition := kafka.PartitionFor([]byte(c.key), s.shards)
	if s.rng.IntN(5) == 0 {
		partition = s.rng.Int32N(s.shards)
	}
	for {
		r := &kgo.Record{
			Topic: s.cfg.Topics().Commands(aggregate), Partition: partition, Key: []byte(c.key), Value: []byte(c.value),
			Headers: kafka.CloudEvent{ID: c.id, Source: "test", Type: c.typ, Subject: c.key}.Headers(),
		}
		if err := cl.ProduceSync(s.t.Context(), r).FirstErr(); err == nil {
			c.sent = true
			return
		}
		s.passes(100 * time.Millisecond)
	}
}

// misfortunes lets commands and faults loose for a while.
func (s *simulation) misfortunes(d time.Duration) {
	cl, err := s.cfg.NewClient(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		s.t.Fatal(err)
	}
	defer cl.Close()
	commands := slices.Clone(s.commands)
	for end := time.Now().Add(d); time.Now().Before(end) || len(commands) > 0; {
		s.passes(time.Duration(s.rng.IntN(600)) * time.Millisecond)
		switch {
		case len(commands) > 0 && s.rng.IntN(3) > 0:
			s.publish(commands[0], cl)
			if s.rng.IntN(4) > 0 { // else it is sent once more
				commands = commands[1:]
			}
		case s.rng.IntN(3) == 0:
			s.tell(cl)
		default:
			s.misfortune(s.processes[s.rng.IntN(len(s.processes))])
		}
	}
}

// tell reports, from outside, on an activity that waits.
func (s *simulation) tell(cl *kgo.Client) {
	s.mu.Lock()
	var a agent.Activity
	if n := len(s.waiting); n > 0 {
		a, s.waiting = s.waiting[0], s.waiting[1:]
	}
	s.mu.Unlock()
	if a.ID != "" {
		s.publish(&sentCommand{
			id: "told-" + a.ID, key: a.JobID, typ: schemas.WorkComplete,
			value: fmt.Sprintf(`{"workId":%q,"attempt":%d,"output":{"by":"outside"}}`, a.ID, a.Attempt),
		}, cl)
	}
}

func (s *simulation) misfortune(p *process) {
	s.hits++
	switch s.rng.IntN(10) {
	case 0:
		p.wire.close()
	case 1, 2:
		p.wire.open()
	case 3:
		if p.kill(); s.rng.IntN(2) == 0 {
			p.start()
		}
	case 4:
		if !p.lives() {
			p.start()
		} else if s.rng.IntN(3) == 0 {
			p.stop()
		}
	case 5:
		p.wire.mu.Lock()
		p.wire.deaf = 1 + s.rng.IntN(3)
		p.wire.mu.Unlock()
	case 6:
		s.loseCommit()
	default:
		for range 1 + s.rng.IntN(3) {
			s.disturb()
		}
	}
}

// loseCommit lets a shard's next commit succeed without its owner hearing of it.
func (s *simulation) loseCommit() {
	s.cluster.ControlKey(int16(kmsg.EndTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
		s.cluster.DropControl()
		for _, p := range s.processes {
			r := p.runner.Load()
			if r == nil || s.calm.Load() {
				continue
			}
			for _, shard := range r.Owned() {
				if e, ok := req.(*kmsg.EndTxnRequest); ok && e.TransactionalID == s.cfg.Topics().TransactionalID(shard) {
					p.wire.mu.Lock()
					p.wire.deaf++
					p.wire.mu.Unlock()
				}
			}
		}
		return nil, nil, false
	})
}

// answers are the errors that a broker may well give.
var answers = map[kmsg.Key][]*kerr.Error{ //nolint:gochecknoglobals // a table of a test
	kmsg.InitProducerID:     {kerr.CoordinatorNotAvailable, kerr.NotCoordinator, kerr.ConcurrentTransactions, kerr.CoordinatorLoadInProgress, kerr.UnknownServerError, kerr.RequestTimedOut},
	kmsg.Produce:            {kerr.NotLeaderForPartition, kerr.RequestTimedOut, kerr.UnknownServerError, kerr.NotEnoughReplicasAfterAppend, kerr.ConcurrentTransactions, kerr.InvalidProducerEpoch},
	kmsg.AddPartitionsToTxn: {kerr.ConcurrentTransactions, kerr.NotCoordinator, kerr.UnknownServerError, kerr.CoordinatorLoadInProgress},
	kmsg.EndTxn:             {kerr.ConcurrentTransactions, kerr.CoordinatorNotAvailable, kerr.NotCoordinator, kerr.UnknownServerError, kerr.RequestTimedOut},
	kmsg.Fetch:              {kerr.NotLeaderForPartition, kerr.UnknownServerError, kerr.OffsetOutOfRange, kerr.RequestTimedOut, kerr.UnknownTopicOrPartition},
	kmsg.FindCoordinator:    {kerr.CoordinatorNotAvailable, kerr.UnknownServerError, kerr.RequestTimedOut},
	kmsg.JoinGroup:          {kerr.CoordinatorNotAvailable, kerr.NotCoordinator, kerr.UnknownMemberID, kerr.RebalanceInProgress, kerr.UnknownServerError},
	kmsg.SyncGroup:          {kerr.CoordinatorNotAvailable, kerr.NotCoordinator, kerr.UnknownMemberID, kerr.RebalanceInProgress, kerr.IllegalGeneration, kerr.UnknownServerError},
	kmsg.Heartbeat:          {kerr.CoordinatorNotAvailable, kerr.NotCoordinator, kerr.UnknownMemberID, kerr.RebalanceInProgress, kerr.IllegalGeneration, kerr.UnknownServerError},
	kmsg.DescribeGroups:     {kerr.CoordinatorNotAvailable, kerr.NotCoordinator, kerr.UnknownServerError},
	kmsg.Metadata:           {kerr.LeaderNotAvailable, kerr.UnknownTopicOrPartition, kerr.UnknownServerError},
	kmsg.ListOffsets:        {kerr.NotLeaderForPartition, kerr.UnknownServerError, kerr.RequestTimedOut},
	kmsg.CreateTopics:       {kerr.RequestTimedOut, kerr.NotController, kerr.UnknownServerError},
	kmsg.OffsetFetch:        {kerr.NotCoordinator, kerr.UnknownServerError},
}

// latest is how late a request may be dealt with: long after its transaction has timed out.
const latest = 15 * time.Second

// disturb lets some of the next requests of a kind fail, get lost, or come late.
func (s *simulation) disturb() {
	keys := make([]kmsg.Key, 0, len(answers))
	for k := range answers {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	key := keys[s.rng.IntN(len(keys))]
	switch l := answers[key]; s.rng.IntN(3) {
	case 0:
		s.cluster.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
			if s.calm.Load() {
				s.cluster.DropControl()
				return nil, nil, false
			}
			return nil, errCut, true
		})
	case 1:
		late, once := time.Duration(s.rng.Int64N(int64(latest))), false
		s.cluster.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
			if s.cluster.DropControl(); !once && !s.calm.Load() {
				once = true
				s.cluster.SleepControl(func() { s.passes(late) })
			}
			return nil, nil, false
		})
	default:
		s.faults = append(s.faults, s.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Err: l[s.rng.IntN(len(l))], Count: 1 + s.rng.IntN(4), TopLevel: s.rng.IntN(3) == 0}))
	}
}

// peace lets everybody live, and whoever waits be told, until all is over.
func (s *simulation) peace() {
	s.calm.Store(true)
	for _, f := range s.faults {
		f.Remove()
	}
	for _, p := range s.processes {
		p.wire.mu.Lock()
		p.wire.deaf = 0
		p.wire.mu.Unlock()
		p.wire.open()
		if !p.lives() {
			p.start()
		}
	}
	cl, err := s.cfg.NewClient(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		s.t.Fatal(err)
	}
	defer cl.Close()
	for i := range 240 {
		if i%12 == 0 {
			s.resume(cl) // a pause may have come late
		}
		s.passes(5 * time.Second)
		for range 10 {
			s.tell(cl)
		}
		if s.over() {
			return
		}
	}
	s.t.Fatalf("twenty minutes of peace, and not everything is over: %s", s.unended())
}
