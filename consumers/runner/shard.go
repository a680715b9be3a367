package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// StoppedError is a record that this process cannot fold. The shard stands still until a
// build that can read it runs: skipping it would make another state than the log says.
type StoppedError struct {
	Topic     string
	Partition int32
	Offset    int64
	Err       error
}

// Error implements error.
func (e *StoppedError) Error() string {
	return fmt.Sprintf("%s/%d stands still at offset %d: %v", e.Topic, e.Partition, e.Offset, e.Err)
}

// Unwrap returns what is wrong with the record.
func (e *StoppedError) Unwrap() error { return e.Err }

// shard is one shard while this process owns it. It lives in one goroutine; local agents
// hand their results in from theirs.
type shard struct {
	id     int32
	cfg    *Config
	topics kafka.Topics
	token  string    // of this taking
	since  time.Time // every earlier owner is fenced since then; zero: not yet
	cl     *kgo.Client
	cells  []cell
	byName map[string]cell
	// commands has the aggregate type of each commands topic.
	commands map[string]string
	at       time.Time // of the last decision
	base     time.Time // a decision's time, and what the clock said then: see now
	read     time.Time

	pending []*kgo.Record // effects that go with the next transaction (embedded broker)
	wanted  map[string]struct{}
	held    held
	barrier map[string]bool // aggregate types whose commands before the taking are decided
	ready   func()

	doing   doing            // what is to blame for a panic
	touched bool             // by what is being done: the batch, or a state
	poison  map[doing]string // what has panicked often enough, and with what
	unwell  func(why string) // told of what is set aside

	tidying tidying
	severed severed
	hangs   atomic.Pointer[hangingError] // what the next owner has to end

	// results of local agents, handed in from their goroutines.
	mu      sync.Mutex
	results []localResult
	signal  chan struct{}
	running map[workKey]context.CancelFunc
}

// TransactionTimeout bounds how long an open transaction of a dead owner holds back its readers.
const TransactionTimeout = 10 * time.Second

// maxPoll bounds how many commands one transaction takes. All shards may be at one at once, and what follows from a
// command takes several kilobytes until it is committed: with 5,000 a process whose commands came from a publisher
// that is faster held 370 to 430 MB, with 1,000 267 to 294 MB, for the same time of the processor.
const maxPoll = 1000

// placement names this ownership where an event says who carries work out: the process,
// and which taking of the shard. What another ownership began is begun again.
func (sh *shard) placement() string { return sh.cfg.Member + "/" + sh.token[:8] }

// own takes the shard and runs it until ctx ends, which returns nil, or something goes
// wrong: then this process must assume that it has been fenced.
func (sh *shard) own(ctx context.Context) (err error) {
	sh.token = uuid.NewString()
	sh.signal, sh.severed = make(chan struct{}, 1), make(severed, 1)
	sh.running = make(map[workKey]context.CancelFunc)
	sh.wanted, sh.held = make(map[string]struct{}), held{}
	sh.barrier = make(map[string]bool)
	sh.commands = make(map[string]string)
	sh.cl, err = sh.cfg.Kafka.NewClient(
		kgo.TransactionalID(sh.topics.TransactionalID(sh.id)),
		kgo.TransactionTimeout(TransactionTimeout),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ManualFlushing(),
		kgo.MaxBufferedRecords(1<<20),
		kgo.MaxBufferedBytes(256<<20),
		kgo.FetchMaxWait(5*time.Second),
		// Each shard has a client of its own, and what one fetch brings takes several times its
		// size in both ends of the connection, the embedded broker's among them.
		kgo.FetchMaxBytes(2<<20),
		kgo.FetchMaxPartitionBytes(1<<20),
		kgo.WithHooks(sh.severed),
	)
	if err != nil {
		return err
	}
	// Work that this ownership began is no longer wanted once it ends; what it reports all
	// the same goes nowhere.
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer sh.close()
	defer stopWork()
	if err := guarded(func() error { return sh.take(ctx) }); err != nil {
		return fmt.Errorf("take shard %d: %w", sh.id, err)
	}
	sh.ready()
	sh.poison = sh.cfg.suspects.convicted(sh.id)
	err = guarded(func() error { return sh.run(ctx, work) })
	if bug, ok := errors.AsType[*BugError](err); ok {
		sh.cfg.suspects.blame(sh.id, sh.doing, bug.Cause)
	}
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("shard %d: %w", sh.id, err)
	}
	return nil
}

// close ends the client. What it reads is taken from it first: a client that finds new
// partitions while it is being closed goes on fetching them (franz-go 1.22.2, consumer.go:
// doOnMetadataUpdate), and touches what the closing touches.
func (sh *shard) close() {
	read := make(map[string][]int32)
	for name := range sh.byName {
		read[sh.topics.Commands(name)] = []int32{sh.id}
		read[sh.topics.Events(name)] = []int32{sh.id}
	}
	sh.cl.RemoveConsumePartitions(read)
	sh.cl.CloseAllowingRebalance()
}

// take fences every earlier owner, marks the end of the log, and reads up to the mark.
func (sh *shard) take(ctx context.Context) error {
	verdict, err := sh.judged(ctx)
	if err != nil {
		return err
	}
	if _, _, err := sh.cl.ProducerID(ctx); err != nil {
		return fmt.Errorf("initialise the transactional id: %w", err)
	}
	sh.since = time.Now()
	for _, m := range sh.cfg.Machines {
		c := m.open(sh)
		sh.cells = append(sh.cells, c)
		sh.byName[m.name()] = c
	}
	if err := sh.endHanging(ctx, verdict); err != nil {
		return err
	}
	owned := mustJSON(schemas.Owned{Member: sh.cfg.Member, Token: sh.token, At: sh.now(), Format: schemas.LogFormat})
	var marks []*kgo.Record
	for _, m := range sh.cfg.Machines {
		env := kafka.CloudEvent{ID: sh.token, Type: schemas.ShardOwned, InputOffset: -1}
		for _, t := range []string{sh.topics.Events(m.name()), sh.topics.Commands(m.name()), sh.topics.Snapshots(m.name())} {
			marks = append(marks, sh.record(t, sh.id, schemas.ShardKey, env, m.name(), owned))
		}
	}
	if err := transact(ctx, sh.cl, marks); err != nil {
		return fmt.Errorf("write the owned record: %w", err)
	}
	ends := make(map[string]int64)
	for _, r := range marks {
		ends[r.Topic] = r.Offset
	}
	if err := sh.restore(ctx, ends); err != nil {
		return err
	}
	commands := make(map[string]map[int32]kgo.Offset)
	for name, c := range sh.byName {
		sh.notBefore(c.lastTime())
		sh.commands[sh.topics.Commands(name)] = name
		commands[sh.topics.Commands(name)] = map[int32]kgo.Offset{sh.id: kgo.NewOffset().At(c.nextOffset())}
	}
	sh.cl.AddConsumePartitions(commands)
	return nil
}

// replayTurn is after how long others may replay besides: a shard that cannot be read, for
// want of a leader say, holds up no other for longer.
const replayTurn = 10 * time.Second

// restore brings every aggregate type back: from its newest checkpoint that can be used and the events after
// it, up to the owned record, whose offsets are given by topic.
func (sh *shard) restore(ctx context.Context, ends map[string]int64) error {
	select {
	case sh.cfg.replays <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	done := sync.OnceFunc(func() { <-sh.cfg.replays })
	defer done()
	defer time.AfterFunc(replayTurn, done).Stop()
	var topics []string
	for t := range ends {
		topics = append(topics, t)
	}
	starts, err := kadm.NewClient(sh.cl).ListStartOffsets(ctx, topics...)
	if err != nil {
		return fmt.Errorf("find where the log begins: %w", err)
	}
	start := func(topic string) (int64, error) {
		o, ok := starts.Lookup(topic, sh.id)
		if !ok {
			return 0, fmt.Errorf("find where %s/%d begins: %w", topic, sh.id, kerr.UnknownTopicOrPartition)
		}
		return o.Offset, o.Err
	}
	left := make(map[string]*replaying)
	from, read := make(map[string]map[int32]kgo.Offset), make(map[string][]int32)
	for name, c := range sh.byName {
		snapshots, events := sh.topics.Snapshots(name), sh.topics.Events(name)
		begins, err := start(snapshots)
		if err != nil {
			return err
		}
		if err := c.search(ctx, begins, ends[snapshots]); err != nil {
			return err
		}
		r := &replaying{cell: c, topic: events, end: ends[events]}
		if r.start, err = start(events); err != nil {
			return err
		}
		at, err := c.restore(ctx, r.start, r.end)
		if err != nil {
			return err
		}
		from[events], read[events] = map[int32]kgo.Offset{sh.id: kgo.NewOffset().At(at)}, []int32{sh.id}
		left[events] = r
	}
	// All at once, and likewise at the end: each change lets go of what is being fetched, and the
	// client waits a second before it asks again.
	sh.cl.AddConsumePartitions(from)
	if err := sh.replay(ctx, left); err != nil {
		return err
	}
	sh.cl.RemoveConsumePartitions(read)
	return nil
}

// origin says where the state of each aggregate type comes from.
func (sh *shard) origin() string {
	var l []string
	for name, c := range sh.byName {
		if from := c.origin(); from != "" {
			l = append(l, name+": "+from)
		}
	}
	slices.Sort(l)
	return strings.Join(l, "; ")
}

// replaying is the replay of an aggregate type's events.
type replaying struct {
	cell       cell
	topic      string
	start, end int64 // what the log has
	stale      bool  // it began anew: what was fetched before is not wanted
}

// again reads the events from where the cell's next checkpoint says.
func (sh *shard) again(ctx context.Context, r *replaying) error {
	at, err := r.cell.restore(ctx, r.start, r.end)
	if err != nil {
		return err
	}
	sh.cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{r.topic: {sh.id: kgo.NewOffset().At(at)}})
	return nil
}

// replay reads the events of every aggregate type to the owned record. Where they are not those that a
// checkpoint goes on from, it begins again with another.
func (sh *shard) replay(ctx context.Context, left map[string]*replaying) error {
	for len(left) > 0 {
		fetches := sh.cl.PollFetches(ctx)
		if err := fetchError(ctx, fetches); err != nil {
			return err
		}
		for _, r := range left {
			r.stale = false
		}
		for records := fetches.RecordIter(); !records.Done(); {
			record := records.Next()
			r := left[record.Topic]
			if r == nil || r.stale {
				continue
			}
			end, err := r.cell.replay(record, sh.token)
			if _, ok := errors.AsType[*mismatchError](err); ok {
				sh.cl.RemoveConsumePartitions(map[string][]int32{r.topic: {sh.id}})
				r.cell.refuseCheckpoint(err)
				err, r.stale = sh.again(ctx, r), true
			}
			if err != nil {
				return err
			}
			if end && !r.stale {
				delete(left, r.topic)
			}
		}
	}
	return nil
}

func fetchError(ctx context.Context, f kgo.Fetches) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	errs := f.Errors()
	if len(errs) == 0 {
		return nil
	}
	e := errs[0]
	if packed, ok := errors.AsType[*kgo.ErrDecompressTooLarge](e.Err); ok {
		return &StoppedError{Topic: e.Topic, Partition: e.Partition, Offset: packed.Offset, Err: e.Err}
	}
	return fmt.Errorf("read %s/%d: %w", e.Topic, e.Partition, e.Err)
}

// readError says what went wrong with reading commands, but for batches that nobody can
// unpack: the client would stand before them for ever, so they are dead letters.
func (sh *shard) readError(ctx, work context.Context, f kgo.Fetches) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for _, e := range f.Errors() {
		packed, ok := errors.AsType[*kgo.ErrDecompressTooLarge](e.Err)
		name, command := sh.commands[e.Topic]
		if !ok || !command {
			return fmt.Errorf("read %s/%d: %w", e.Topic, e.Partition, e.Err)
		}
		b := sh.begin()
		sh.byName[name].pass(b, packed)
		if err := sh.commit(ctx, work, b); err != nil {
			return err
		}
		kafka.Pass(sh.cl, packed)
	}
	return nil
}

// run decides until ctx ends. What was begun is committed before it returns.
func (sh *shard) run(ctx, work context.Context) error {
	first := sh.begin()
	for _, c := range sh.cells {
		if err := c.recovered(ctx, first); err != nil {
			return err
		}
	}
	if sh.cfg.restored != nil {
		sh.cfg.restored(ctx, sh)
	}
	sh.hand(first.inline...) // what was delegated again
	first.inline = nil
	if err := sh.commit(ctx, work, first); err != nil {
		return err
	}
	polled := make(chan kgo.Fetches)
	pollCtx, stopPoll := context.WithCancel(ctx)
	var polling sync.WaitGroup
	polling.Go(func() {
		for pollCtx.Err() == nil {
			f := sh.cl.PollRecords(pollCtx, maxPoll)
			select {
			case polled <- f:
			case <-pollCtx.Done():
			}
		}
	})
	defer polling.Wait()
	defer stopPoll()
	if sh.cfg.KeepHistory > 0 {
		sh.tidying.next = time.Now().Add(sh.cfg.tidyEvery())
	}
	if !sh.cfg.Kafka.Embedded {
		polling.Go(func() { sh.vigil(pollCtx) })
	}
	tidyCtx, stopTidy := context.WithCancel(ctx)
	defer sh.tidying.running.Wait()
	defer stopTidy()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(sh.untilDue())
		var fetches kgo.Fetches
		select {
		case <-ctx.Done():
			return sh.drain(ctx)
		case fetches = <-polled:
		case <-sh.signal:
		case <-timer.C:
			sh.say()
		}
		for more := true; more; fetches, more = sh.another(polled) {
			if hangs := sh.hangs.Load(); hangs != nil {
				return hangs
			}
			if err := sh.readError(ctx, work, fetches); err != nil {
				if ctx.Err() != nil {
					return sh.drain(ctx)
				}
				return err
			}
			if err := sh.step(ctx, work, fetches); err != nil {
				return err
			}
			if err := sh.offerHeld(ctx); err != nil {
				return err
			}
			if err := sh.checkpoint(ctx, sh.cfg.Checkpoint); err != nil {
				return err
			}
			sh.tidy(tidyCtx)
			if ctx.Err() != nil {
				return sh.drain(ctx) // what is left is decided by the next owner
			}
		}
		if err := sh.flush(ctx); err != nil {
			return err
		}
		if err := sh.offerHeld(ctx); err != nil {
			return err
		}
		if err := sh.checkpoint(ctx, sh.cfg.Checkpoint); err != nil {
			return err
		}
		sh.tidy(tidyCtx)
	}
}

// checkpoint lets the cells go on with their checkpoints, or begin them after that many bytes of events. It
// comes between transactions, with one of its own.
func (sh *shard) checkpoint(ctx context.Context, least int64) error {
	began := time.Now()
	var all []*kgo.Record
	of := make(map[cell][]*kgo.Record)
	for _, c := range sh.cells {
		if records := c.checkpoint(least); len(records) > 0 {
			of[c] = records
			all = append(all, records...)
		}
	}
	if len(all) == 0 {
		return nil
	}
	ctx, cancel := outlast(ctx)
	defer cancel()
	if err := transact(ctx, sh.cl, all); err != nil {
		return fmt.Errorf("write a checkpoint: %w", err)
	}
	for c, records := range of {
		c.checkpointed(records, time.Since(began))
	}
	return nil
}

// another says whether there is something to decide right now, so that the effects that
// trail go with it instead of in a transaction of their own.
func (sh *shard) another(polled <-chan kgo.Fetches) (kgo.Fetches, bool) {
	select {
	case f := <-polled:
		return f, true
	case <-sh.signal:
		return nil, true
	default:
		return nil, false
	}
}

// grace is how long a transaction that was begun may take when the process is to stop.
const grace = 3 * time.Second

// outlast is a context that ends a while after ctx does, so that what was begun can be finished.
func outlast(ctx context.Context) (context.Context, context.CancelFunc) {
	long, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		t := time.AfterFunc(grace, cancel)
		context.AfterFunc(long, func() { t.Stop() })
	})
	return long, func() { stop(); cancel() }
}

// drain commits the effects that trail, so that a clean stop leaves nothing to derive.
func (sh *shard) drain(ctx context.Context) error {
	if err := sh.flush(ctx); err != nil {
		return err
	}
	if sh.say() {
		if err := sh.commit(ctx, ctx, sh.begin()); err != nil {
			return err
		}
	}
	// The next owner goes on from here, if that takes no longer than it may.
	for until := time.Now().Add(parting); time.Now().Before(until); {
		if err := sh.checkpoint(ctx, min(sh.cfg.Checkpoint, leastCheckpoint)); err != nil || !sh.goesOn() {
			return err
		}
	}
	return nil
}

// parting is how long a clean stop takes at most for checkpoints.
const parting = time.Second

// goesOn says that the next turn brings a checkpoint on.
func (sh *shard) goesOn() bool {
	for _, c := range sh.cells {
		if c.goesOn() {
			return true
		}
	}
	return false
}

// quiet is how long nothing happens before a shard writes down that all has followed.
const quiet = time.Second

// say lets the cells write down that all has followed; true if one has not yet.
func (sh *shard) say() bool {
	unsaid := false
	for _, c := range sh.cells {
		unsaid = c.say() || unsaid
	}
	return unsaid
}

// longest is how long a shard sleeps at most when nothing is due.
const longest = time.Hour

func (sh *shard) untilDue() time.Duration {
	if sh.goesOn() {
		return 0
	}
	longest := sh.held.wait(longest)
	if sh.say() {
		longest = min(longest, quiet)
	}
	if !sh.caughtUp() {
		return longest
	}
	var at time.Time
	for _, c := range sh.cells {
		if d := c.deadline(); !d.IsZero() && (at.IsZero() || d.Before(at)) {
			at = d
		}
	}
	until := min(longest, sh.untilTidy())
	if at.IsZero() {
		return until
	}
	return min(max(at.Sub(sh.now()), 0), until)
}

// caughtUp says that every command that was on the log at the taking has been decided;
// only then do timers fire.
func (sh *shard) caughtUp() bool { return len(sh.barrier) == len(sh.cells) }

// now is the time of a decision: it never runs backwards in a shard. Where the clock has been
// put back, or the owner before had one that is ahead, it goes on from where it was: timers
// would stand still if it waited.
func (sh *shard) now() time.Time {
	read := time.Now()
	t := read.UTC().Truncate(time.Microsecond)
	if t.After(sh.at) {
		sh.base, sh.read = t, read
	} else if t = sh.base.Add(read.Sub(sh.read)).Truncate(time.Microsecond); !t.After(sh.at) {
		return sh.at
	}
	sh.at = t
	return sh.at
}

// notBefore lets no decision be made before a time that is on the log.
func (sh *shard) notBefore(t time.Time) {
	if t.After(sh.at) {
		sh.at, sh.base, sh.read = t, t, time.Now()
	}
}

func (sh *shard) begin() *batch { return &batch{at: sh.now()} }

// step decides what there is and commits it, in as many transactions as it takes. It stops
// in between when ctx has ended.
func (sh *shard) step(ctx, work context.Context, fetches kgo.Fetches) error {
	if err := sh.recall(ctx, fetches); err != nil {
		return err
	}
	left := fetches.RecordIter()
	err := sh.transaction(ctx, work, left)
	for err == nil && !left.Done() && ctx.Err() == nil {
		err = sh.transaction(ctx, work, left)
	}
	return err
}

// recall reads back, together, what the commands of one poll need of aggregates that have ended.
func (sh *shard) recall(ctx context.Context, fetches kgo.Fetches) error {
	var failed error
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if name, ok := sh.commands[p.Topic]; ok && failed == nil && len(p.Records) > 1 {
			failed = sh.byName[name].recall(ctx, p.Records)
		}
	})
	return failed
}

// transaction decides as much as fits into one transaction and commits it.
func (sh *shard) transaction(ctx, work context.Context, left *kgo.FetchesRecordIter) error {
	b := sh.begin()
	defer b.release() // of what was not begun, whatever went wrong: a panic, too
	for !left.Done() && !b.full() {
		if err := sh.decide(ctx, b, left.Next()); err != nil {
			return err
		}
	}
	for more := true; more && !b.full(); {
		var err error
		more, err = sh.decideLocal(b)
		if err == nil && !more && sh.caughtUp() {
			more, err = sh.wake(b)
		}
		if err != nil {
			return err
		}
	}
	sh.hand(b.inline...)
	b.inline = nil
	return sh.commit(ctx, work, b)
}

// decide decides a command.
func (sh *shard) decide(ctx context.Context, b *batch, r *kgo.Record) error {
	name, ok := sh.commands[r.Topic]
	if !ok {
		return nil
	}
	c := sh.byName[name]
	if err := c.command(ctx, b, r); err != nil {
		return err
	}
	return sh.passBarrier(b, name, c, r)
}

// passBarrier notes that the commands before the taking are decided, and then offers
// again what was lost with the old owner.
func (sh *shard) passBarrier(b *batch, name string, c cell, r *kgo.Record) error {
	if sh.barrier[name] || string(r.Key) != schemas.ShardKey {
		return nil
	}
	if env, err := kafka.ParseCloudEvent(r); err != nil || env.ID != sh.token {
		return nil //nolint:nilerr // another owner's mark, or nobody's
	}
	sh.barrier[name] = true
	return c.takeOver(b)
}

// decideLocal decides what local agents reported. It says whether there was anything.
func (sh *shard) decideLocal(b *batch) (bool, error) {
	sh.mu.Lock()
	results := sh.results
	sh.results = nil
	sh.mu.Unlock()
	inline := b.inline
	b.inline = nil
	results = append(inline, results...)
	for i, r := range results {
		if b.full() {
			sh.hand(results[i:]...)
			return true, nil
		}
		sh.forget(workKey{r.work.ID, r.work.Attempt})
		if err := r.cell.report(b, r.work, r.result); err != nil {
			return false, err
		}
	}
	return len(results) > 0, nil
}

func (sh *shard) wake(b *batch) (bool, error) {
	for _, c := range sh.cells {
		if more, err := c.wake(b); more || err != nil {
			return more, err
		}
	}
	return false, nil
}

// hand takes results in, to be decided in one of the next transactions.
func (sh *shard) hand(results ...localResult) {
	if len(results) == 0 {
		return
	}
	sh.mu.Lock()
	sh.results = append(sh.results, results...)
	sh.mu.Unlock()
	sh.wakeUp()
}

// wakeUp lets the shard look for something to do.
func (sh *shard) wakeUp() {
	select {
	case sh.signal <- struct{}{}:
	default:
	}
}

func (sh *shard) forget(k workKey) {
	sh.mu.Lock()
	cancel := sh.running[k]
	delete(sh.running, k)
	sh.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}

func (sh *shard) isRunning(k workKey) bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	_, ok := sh.running[k]
	return ok
}

// commit writes a batch. On real Kafka it is one transaction. On the embedded broker,
// which can tear the last one between partitions, what cannot be derived goes first and
// what follows from the events goes with the next transaction.
func (sh *shard) commit(ctx, work context.Context, b *batch) error {
	for _, c := range sh.cells {
		if err := c.close(b); err != nil {
			return err
		}
	}
	ctx, cancel := outlast(ctx)
	defer cancel()
	if err := sh.makeTopics(ctx, b); err != nil {
		return err
	}
	if !b.empty() {
		if err := sh.write(ctx, b); err != nil {
			return err
		}
	}
	for _, k := range b.cancel {
		sh.forget(k)
	}
	for _, p := range b.start {
		sh.start(work, p)
	}
	b.start = nil
	for _, c := range sh.cells {
		c.settle()
	}
	return nil
}

func (sh *shard) write(ctx context.Context, b *batch) error {
	if !sh.cfg.Kafka.Embedded {
		if err := transact(ctx, sh.cl, b.before, b.events, b.after); err != nil {
			return err
		}
		sh.committed(false)
		return nil
	}
	if len(b.before) > 0 {
		if err := transact(ctx, sh.cl, b.before); err != nil {
			return err
		}
	}
	if len(b.events) == 0 {
		sh.pending = append(sh.pending, b.after...)
		return nil
	}
	if err := transact(ctx, sh.cl, b.events, sh.pending); err != nil {
		return err
	}
	sh.pending = b.after
	sh.committed(len(b.after) > 0)
	return nil
}

// flush writes the effects that trail.
func (sh *shard) flush(ctx context.Context) error {
	if len(sh.pending) == 0 {
		return nil
	}
	ctx, cancel := outlast(ctx)
	defer cancel()
	if err := transact(ctx, sh.cl, sh.pending); err != nil {
		return err
	}
	sh.pending = nil
	sh.committed(false)
	return nil
}

func (sh *shard) committed(trailing bool) {
	for name, c := range sh.byName {
		c.committed(trailing)
		sh.cfg.lag.set(sh.topics.Commands(name), sh.id, c.nextOffset())
	}
	if len(sh.poison) > 0 {
		sh.cfg.suspects.acquit(sh.id, func(d doing) bool {
			return d.kind == doingCommand && d.number < sh.byName[d.aggregate].nextOffset()
		})
	}
}

// until is a context that ends with its parent, at the deadline if there is one, or when it is
// cancelled.
func until(parent context.Context, deadline time.Time) (context.Context, context.CancelFunc) {
	if deadline.IsZero() {
		return context.WithCancel(parent)
	}
	return context.WithDeadline(parent, deadline)
}

// start begins local work whose request is on the log.
func (sh *shard) start(work context.Context, p placed) {
	ctx, cancel := until(work, p.work.Deadline)
	k := workKey{p.work.ID, p.work.Attempt}
	sh.mu.Lock()
	sh.running[k] = cancel
	sh.mu.Unlock()
	p.slot.Run(ctx, p.work, func(r Result) {
		if work.Err() != nil {
			return // this ownership is over: another one drives the work again
		}
		sh.hand(localResult{p.cell, p.work, r})
	})
}

// needTopic notes that a work topic must be there before the transaction begins.
func (sh *shard) needTopic(activityType string) { sh.wanted[activityType] = struct{}{} }

// record makes a record for a partition of ours.
func (sh *shard) record(topic string, partition int32, key string, env kafka.CloudEvent, aggregate string, value []byte) *kgo.Record {
	env.Source = "/waybill/" + aggregate
	return &kgo.Record{Topic: topic, Partition: partition, Key: []byte(key), Value: value, Headers: env.Headers(), Timestamp: stamp(env.Time)}
}

// stamp is what a record's own time is where the shard's is that: the shard's goes on from where an
// owner before has left it, whose clock may have been hours ahead, and a broker takes no record
// that is more than an hour ahead of its own. Whoever reads the log goes by ce_time.
func stamp(at time.Time) time.Time {
	if now := time.Now(); at.After(now) {
		return now
	}
	return at
}

// keyed makes a record whose partition is its key's.
func (sh *shard) keyed(topic, key string, env kafka.CloudEvent, aggregate string, value []byte) *kgo.Record {
	return sh.record(topic, kafka.PartitionFor([]byte(key), sh.cfg.Shards), key, env, aggregate, value)
}

// forward puts a command that was written to another partition than its key's on the right
// one, as it is but for the record's own time: a topic may take none that is too far from now, and the
// command would hold the shard up for ever.
func (sh *shard) forward(r *kgo.Record, partition int32, at time.Time) *kgo.Record {
	return &kgo.Record{Topic: r.Topic, Partition: partition, Key: r.Key, Value: r.Value, Headers: r.Headers, Timestamp: stamp(at)}
}

// deadLetter keeps a record that cannot be read, with where it stood and why. One that came
// compressed can be larger than what fits into a record here: then what does not fit is left
// out, and the reason says so; the record itself still lies where it stood.
func (sh *shard) deadLetter(r *kgo.Record, why error, at time.Time) *kgo.Record {
	d := &kgo.Record{Topic: sh.topics.DeadLetters(), Key: r.Key, Value: r.Value, Timestamp: stamp(at)}
	if d.Key == nil {
		d.Key = []byte{}
	}
	reason, partial := clip(why.Error()), false
	if n := size(r); n > maxRecordBytes {
		reason += fmt.Sprintf(" (the record has %d bytes, over the limit of %d: it is not kept here whole)", n, maxRecordBytes)
		d.Key, d.Value = d.Key[:min(len(d.Key), maxKeyBytes)], nil
		partial = true
	} else {
		d.Headers = append(d.Headers, r.Headers...)
	}
	add := func(k, v string) { d.Headers = append(d.Headers, kgo.RecordHeader{Key: k, Value: []byte(v)}) }
	if partial {
		add(schemas.DeadLetterPartial, "true")
	}
	add(schemas.DeadLetterTopic, r.Topic)
	add(schemas.DeadLetterPartition, strconv.Itoa(int(r.Partition)))
	add(schemas.DeadLetterOffset, strconv.FormatInt(r.Offset, 10))
	add(schemas.DeadLetterError, reason)
	add(schemas.DeadLetterTime, at.Format(time.RFC3339Nano))
	add(schemas.DeadLetterID, machine.ID("deadletter", r.Topic, strconv.Itoa(int(r.Partition)), strconv.FormatInt(r.Offset, 10)))
	return d
}
