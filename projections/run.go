package projections

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"sort"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// aggregates whose events are folded.
var aggregates = []string{schemas.AggregateOrchestration, schemas.AggregateDefinition, schemas.AggregateTransfer, schemas.AggregateNegotiation}

// ErrRunning is what a second Run answers: a file has one writer.
var ErrRunning = errors.New("projections: already running")

// Run folds the log into the file until ctx ends, and returns why it ended. Whatever it
// has not committed then is folded again by the next Run. A record that cannot be
// folded does not end it: its partition stops, Health says so, and the others go on.
//
// It wakes when records arrive; what arrives while it writes is folded in one
// transaction.
func (d *DB) Run(ctx context.Context) error {
	if !d.running.CompareAndSwap(false, true) {
		return ErrRunning
	}
	defer d.running.Store(false)
	cl, err := d.cfg.Kafka.NewClient(
		// The markers of transactions are seen, so that a partition read to its end has
		// the position of its end.
		kgo.KeepControlRecords(),
	)
	if err != nil {
		return fmt.Errorf("projections: %w", err)
	}
	defer cl.Close()
	k, err := newCheckpointer(ctx, d.cfg.Path)
	if err != nil {
		return fmt.Errorf("projections: %w", err)
	}
	f := &follower{d: d, w: d.writer, cl: cl, checkpoints: k, poison: make(map[spot]*recordError)}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return k.run(ctx) })
	g.Go(func() error {
		defer d.follow(nil, nil)
		return f.run(ctx)
	})
	g.Go(func() error { return f.look(ctx) })
	if err := g.Wait(); err != nil {
		return fmt.Errorf("projections: %w", err)
	}
	return nil
}

// follower reads the log for one Run.
type follower struct {
	d           *DB
	w           *writer
	cl          *kgo.Client
	checkpoints *checkpointer
	parts       map[string]map[int32]*partition
	last        int // records in the batch before

	folded int         // records since the last commit
	latest *kgo.Record // of these

	poison map[spot]*recordError              // what this build cannot keep
	singly []spot                             // up to there each record is written by itself
	held   bool                               // nothing could be written lately
	starts atomic.Pointer[kadm.ListedOffsets] // where the log begins, as far as that is news
}

// begin finds the partitions and goes on where the file says. Where it may not read the log it does not
// begin; a right that is taken away later is waited for.
func (f *follower) begin(ctx context.Context) error {
	parts, err := f.find(ctx)
	for ctx.Err() == nil && (kafka.Passing(err) && !isMissing(err) || f.parts != nil && kafka.Denied(err)) {
		rest(ctx)
		parts, err = f.find(ctx)
	}
	if err != nil {
		return err
	}
	if err := f.w.positions(ctx, parts); err != nil {
		return err
	}
	f.parts, f.w.leaving = make(map[string]map[int32]*partition), nil
	from := make(map[string]map[int32]kgo.Offset)
	for _, p := range parts {
		if f.parts[p.topic] == nil {
			f.parts[p.topic], from[p.topic] = make(map[int32]*partition), make(map[int32]kgo.Offset)
		}
		f.parts[p.topic][p.number] = p
		if p.start > 0 {
			f.w.leaving = append(f.w.leaving, p)
		}
		if p.fault == nil {
			from[p.topic][p.number] = kgo.NewOffset().At(p.next)
			if p.stored < 0 {
				from[p.topic][p.number] = kgo.NewOffset().AtStart()
			}
		}
	}
	f.d.follow(f.cl, parts)
	f.cl.AddConsumePartitions(from)
	return nil
}

// find lists the partitions of the topics that are folded.
func (f *follower) find(ctx context.Context) ([]*partition, error) {
	of := make(map[string]string)
	for _, a := range aggregates {
		of[f.d.cfg.Kafka.Topics().Events(a)] = a
	}
	names := f.d.topics()
	adm := kadm.NewClient(f.cl)
	details, err := adm.ListTopics(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	starts, err := adm.ListStartOffsets(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("find where the log begins: %w", err)
	}
	var parts []*partition
	for _, name := range names {
		t, ok := details[name]
		if !ok || errors.Is(t.Err, kerr.UnknownTopicOrPartition) {
			return nil, &missingError{name}
		}
		if t.Err != nil {
			return nil, fmt.Errorf("topic %s: %w", name, t.Err)
		}
		for _, n := range t.Partitions.Numbers() {
			start, _ := starts.Lookup(name, n)
			parts = append(parts, &partition{topic: name, topicID: t.ID.String(), aggregate: of[name], number: n, stored: -1, start: start.Offset})
		}
	}
	return parts, nil
}

// topics are those that are folded; the dead letters have no aggregate type.
func (d *DB) topics() []string {
	topics := d.cfg.Kafka.Topics()
	names := []string{topics.DeadLetters()}
	for _, a := range aggregates {
		names = append(names, topics.Events(a))
	}
	return names
}

// missingError is a topic that nobody has created.
type missingError struct{ topic string }

func (e *missingError) Error() string {
	return fmt.Sprintf("topic %s is not there: create the topics first", e.topic)
}

func isMissing(err error) bool {
	var m *missingError
	return errors.As(err, &m)
}

// breath is how long to wait after a fault that passes before the log is asked again: some are
// returned at once each time.
const breath = 250 * time.Millisecond

func rest(ctx context.Context) {
	timer := time.NewTimer(breath)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// positions puts each partition where the file says.
func (w *writer) positions(ctx context.Context, parts []*partition) error {
	for _, p := range parts {
		err := w.c.query(ctx, `SELECT topic_id, next_offset, next_command, decided_at FROM log_position WHERE topic = ? AND "partition" = ?`, func(row []driver.Value) error {
			p.next, p.command, p.decidedAt = integer(row[1]), integer(row[2]), integer(row[3])
			p.stored = p.next
			if id := text(row[0]); id != p.topicID {
				_ = p.stop(p.next, "", errRecreated)
			}
			return nil
		}, p.topic, int64(p.number))
		if err != nil {
			return err
		}
	}
	return nil
}

var (
	errRecreated = errors.New("the topic is another one of the same name: it was deleted and created again; rebuild the projection (waybill projections rebuild)")
	errTrimmed   = errors.New("the log does not hold this offset: it was trimmed, or it is another log; rebuild the projection (waybill projections rebuild)")
)

// How long the first records of a batch wait for more, when nobody waits for them. One
// transaction for all that an orchestration does costs a third of one for each step, and
// under load that time is the machines'.
const (
	linger     = time.Millisecond
	lingerBusy = 25 * time.Millisecond
	busy       = 256   // records in the batch before
	plenty     = 2_000 // records: a transaction of its own, whatever comes after
)

// step folds in what has arrived, and tells whoever waits for it.
func (f *follower) step(ctx context.Context) error {
	f.folded = 0
	most := f.most()
	n, err := f.fold(ctx, f.poll(ctx, most))
	if err == nil && n < min(plenty, most) {
		f.d.waiting.linger(ctx, f.patience())
		var more int
		more, err = f.fold(ctx, f.cl.PollRecords(nil, most-n)) //nolint:staticcheck,contextcheck // nil is how the client is told not to wait
		n += more
	}
	f.last = n
	f.looked()
	if err == nil && len(f.w.leaving) > 0 {
		err = f.w.begin()
	}
	if err != nil {
		return f.w.abandon(err)
	}
	changed, err := f.flush()
	if err != nil {
		return f.w.abandon(err)
	}
	f.d.committed(changed)
	if f.held && n > 0 {
		f.held = false
		f.d.hold(nil)
	}
	return f.checkpoint()
}

func (f *follower) patience() time.Duration {
	if f.last >= busy {
		return lingerBusy
	}
	return linger
}

// fold folds one poll in memory; it answers with the number of records.
func (f *follower) fold(ctx context.Context, fetches kgo.Fetches) (n int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	fetches.EachPartition(func(fp kgo.FetchTopicPartition) {
		p := f.parts[fp.Topic][fp.Partition]
		if err != nil || (p != nil && p.fault != nil) {
			return
		}
		if p == nil || fp.Err != nil {
			err = f.broken(ctx, p, fp)
		}
		n += len(fp.Records)
		for i := 0; err == nil && i < len(fp.Records); i++ {
			err = f.apply(ctx, p, fp.Records[i])
		}
		if isFault(err) {
			f.cl.PauseFetchPartitions(map[string][]int32{p.topic: {p.number}})
			err = nil
		}
	})
	return n, err
}

// checkpoint has the write-ahead log copied when it is due.
func (f *follower) checkpoint() error {
	if f.w.rows < checkpointRows {
		return nil
	}
	f.w.rows = 0
	if f.checkpoints.large.Swap(false) {
		_, err := f.w.c.checkpoint("RESTART")
		return err
	}
	notify(f.checkpoints.due)
	return nil
}

// broken decides what an error of a fetch means: a *Fault where the log is not what it
// was, nothing where it passes, or a right was taken away, for the client goes on by itself, and the end of Run otherwise.
func (f *follower) broken(ctx context.Context, p *partition, fp kgo.FetchTopicPartition) error {
	var lost *kgo.ErrDataLoss
	var packed *kgo.ErrDecompressTooLarge
	switch {
	case p == nil && errors.Is(fp.Err, context.DeadlineExceeded):
		return nil // nothing has come
	case p == nil && (kafka.Passing(fp.Err) || kafka.Denied(fp.Err)):
		rest(ctx)
		return nil
	case p == nil:
		return fmt.Errorf("read the log: %w", fp.Err)
	case errors.Is(fp.Err, kerr.OffsetOutOfRange) && f.within(ctx, p):
		rest(ctx) // a broker that has just come to lead may be behind for a moment
		return nil
	case errors.Is(fp.Err, kerr.OffsetOutOfRange), errors.As(fp.Err, &lost):
		return p.stop(p.next, "", errTrimmed)
	case errors.As(fp.Err, &packed) && p.aggregate == "":
		return f.pass(ctx, p, packed)
	case errors.As(fp.Err, &packed):
		return p.stop(packed.Offset, "", errors.New(kafka.Unpackable(packed)+": nothing of ours is written like that"))
	case errors.Is(fp.Err, kerr.UnknownTopicID), errors.Is(fp.Err, kerr.UnknownTopicOrPartition):
		// A broker that was down may say so for a moment of a topic that is there.
		if f.there(ctx, p) {
			rest(ctx)
			return nil
		}
		return p.stop(p.next, "", errRecreated)
	case kafka.Passing(fp.Err), kafka.Denied(fp.Err):
		rest(ctx)
		return nil
	default:
		return fmt.Errorf("read %s/%d at offset %d: %w", p.topic, p.number, p.next, fp.Err)
	}
}

// there says that a partition's topic is still the one that was found, as far as anybody can tell.
func (f *follower) there(ctx context.Context, p *partition) bool {
	details, err := kadm.NewClient(f.cl).ListTopics(ctx, p.topic)
	if err != nil {
		return true // nobody can
	}
	t := details[p.topic]
	return t.Err == nil && t.ID.String() == p.topicID || t.Err != nil && !errors.Is(t.Err, kerr.UnknownTopicOrPartition)
}

// within says that the log of a partition holds where the reading has come to, or goes on there, as far as
// anybody can tell.
func (f *follower) within(ctx context.Context, p *partition) bool {
	adm := kadm.NewClient(f.cl)
	starts, err := adm.ListStartOffsets(ctx, p.topic)
	if err != nil {
		return true // nobody can
	}
	ends, err := adm.ListEndOffsets(ctx, p.topic)
	if err != nil {
		return true
	}
	start, known := starts.Lookup(p.topic, p.number)
	end, ended := ends.Lookup(p.topic, p.number)
	if !known || !ended || start.Err != nil || end.Err != nil {
		return true
	}
	return start.Offset <= p.next && p.next <= end.Offset
}

var errNoEnd = errors.New("the broker does not tell")

var errNotRunning = errors.New("projections: not running")

// Health says how the projection is.
type Health struct {
	// Running says that Run follows the log.
	Running bool
	// Faults are the partitions that have stopped, by topic and number.
	Faults []*Fault
	// Held is why nothing can be written for now: another program holds the file, the disk is full. It is
	// tried again.
	Held error
}

// Err is nil for a projection that follows all of the log. Readiness is made of it.
func (h Health) Err() error {
	if !h.Running {
		return errNotRunning
	}
	errs := make([]error, len(h.Faults))
	for i, f := range h.Faults {
		errs[i] = f
	}
	return errors.Join(append(errs, h.Held)...)
}

// Health says whether Run follows the log, and which partitions have stopped.
func (d *DB) Health() Health {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.status
	h.Faults = append([]*Fault(nil), h.Faults...)
	return h
}

// Err is Health().Err().
func (d *DB) Err() error { return d.Health().Err() }

// follow publishes the partitions of a Run that begins; without a client it has ended.
func (d *DB) follow(cl *kgo.Client, parts []*partition) {
	d.mu.Lock()
	d.client = cl
	d.status.Running = cl != nil
	if cl != nil {
		d.parts, d.seen = parts, make([]int64, len(parts))
	}
	d.mu.Unlock()
	if cl != nil {
		d.committed(nil)
	}
}

// committed tells everybody what has been committed: first the cache, so that nobody who
// is woken reads an old document.
func (d *DB) committed(changed []string) {
	d.docs.forget(changed)
	d.mu.Lock()
	d.status.Faults = nil
	for i, p := range d.parts {
		d.seen[i] = p.next
		if p.fault != nil {
			d.status.Faults = append(d.status.Faults, p.fault)
		}
	}
	d.mu.Unlock()
	d.waiting.wake(d.parts, changed)
}

// Lag is how far the projection is behind the end of a partition.
type Lag struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Next      int64  `json:"next"` // offset of the next record to fold in
	End       int64  `json:"end"`  // what is committed lies before it
}

// Records is how many offsets are still to be folded in, markers of transactions included.
func (l Lag) Records() int64 { return max(0, l.End-l.Next) }

// Lag asks the broker for the ends of the partitions, by topic and number. It fails while
// Run does not follow the log.
func (d *DB) Lag(ctx context.Context) ([]Lag, error) {
	d.mu.Lock()
	cl := d.client
	d.mu.Unlock()
	if cl == nil {
		return nil, errNotRunning
	}
	ends, err := kadm.NewClient(cl).ListCommittedOffsets(ctx, d.topics()...)
	if err != nil {
		return nil, fmt.Errorf("projections: ends of the log: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	lags := make([]Lag, 0, len(d.parts))
	for i, p := range d.parts {
		end, ok := ends.Lookup(p.topic, p.number)
		if !ok || end.Err != nil {
			return nil, fmt.Errorf("projections: the end of %s/%d is not known: %w", p.topic, p.number, errors.Join(errNoEnd, end.Err))
		}
		lags = append(lags, Lag{Topic: p.topic, Partition: p.number, Next: d.seen[i], End: end.Offset})
	}
	sort.Slice(lags, func(i, j int) bool {
		a, b := lags[i], lags[j]
		return a.Topic < b.Topic || a.Topic == b.Topic && a.Partition < b.Partition
	})
	return lags, nil
}
