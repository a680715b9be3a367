package runner

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/waybill/waybill/domain/machine"
)

// What nobody needs any more is cut off the front of a shard's partitions: checkpoints before the last whole
// one but one, always; history, where it is not kept for ever. The second-newest whole checkpoint is what a
// new owner falls back on, so the events from there on stay, and the newest is read again before
// anything is cut. The events of what has not ended stay as well: a view that is built anew
// shows it from its first event on.

const (
	// leastTidy and mostTidy bound how often history is cut, if it is: ten times while it is kept.
	leastTidy = time.Second
	mostTidy  = time.Hour
	// keepWork is for how long work records are of use: see kafka.Topics.WorkSpec. The embedded broker does
	// not clean its topics by itself.
	keepWork = 7 * 24 * time.Hour
)

// front is what a cell can do without.
type front struct {
	cell   cell
	name   string
	newest kept // whole checkpoint, to be read again
	// Offsets: what is before can go; 0: nothing.
	snapshots, events, commands, completions int64
}

// tidying is the cutting of a shard, which goes on beside its decisions: what is old is looked for; then
// the cells agree to what is to be cut, so that nothing is asked of it any more; then it is cut.
type tidying struct {
	running sync.WaitGroup
	done    chan *cutting // nil while nothing goes on
	next    time.Time     // when history is cut again; zero: never
}

// cutting is one round of it.
type cutting struct {
	fronts  []front
	history bool
	agreed  bool
	others  kadm.Offsets // what nobody has to agree to
	failed  bool
}

// tidyEvery is how often history is cut.
func (c *Config) tidyEvery() time.Duration {
	return min(max(c.KeepHistory/10, leastTidy), mostTidy)
}

// tidy brings the cutting on, or begins it, if there is reason to. It comes between transactions.
func (sh *shard) tidy(ctx context.Context) {
	t := &sh.tidying
	if t.done != nil {
		select {
		case c := <-t.done:
			t.done = nil
			if c.failed || c.agreed {
				return
			}
			for i := range c.fronts {
				c.fronts[i].cell.agree(&c.fronts[i])
			}
			c.agreed = true
			sh.beside(ctx, c, sh.cut)
		default:
		}
		return
	}
	c := &cutting{history: sh.cfg.KeepHistory > 0 && !time.Now().Before(t.next)}
	if c.history {
		t.next = time.Now().Add(sh.cfg.tidyEvery())
	}
	for _, cell := range sh.cells {
		if f, ok := cell.front(c.history); ok {
			c.fronts = append(c.fronts, f)
		}
	}
	if len(c.fronts) > 0 {
		sh.beside(ctx, c, sh.look)
	}
}

// untilTidy is how long it is until history is cut again. It goes by the clock, which the shard's own time may be ahead
// of; and while a cutting goes on it says itself when it has ended.
func (sh *shard) untilTidy() time.Duration {
	if sh.tidying.done != nil || sh.tidying.next.IsZero() {
		return longest
	}
	return max(time.Until(sh.tidying.next), 0)
}

// beside does a step of the cutting beside the shard's decisions.
func (sh *shard) beside(ctx context.Context, c *cutting, step func(context.Context, *kadm.Client, *cutting) error) {
	done := make(chan *cutting, 1)
	sh.tidying.done = done
	sh.tidying.running.Go(func() {
		adm, err := sh.cfg.archive.admin()
		if err == nil {
			err = step(ctx, adm, c)
		}
		if c.failed = err != nil; c.failed && ctx.Err() == nil {
			sh.cfg.Logger.Warn("what is needed no more is cut off later", "shard", sh.id, "err", err)
		}
		done <- c
		sh.wakeUp()
	})
}

// front says what the cell can do without now, if it is anything new. For the sake of history it has another whole
// checkpoint made soon.
func (c *store[S, C, E]) front(history bool) (front, bool) {
	n := len(c.fulls)
	f := front{cell: c, name: c.m.Name}
	if history {
		c.wanted = n == 0 || c.fulls[n-1].From.Offset < c.reached.Offset
		f.commands = c.next - 1
	}
	if n < 2 || !history && c.fulls[n-2].first <= c.snapshotsStart {
		return f, history
	}
	f.newest, f.snapshots = c.fulls[n-1], c.fulls[n-2].first
	if !history {
		return f, true
	}
	f.events = c.fulls[n-2].From.Offset
	return f, true
}

// agree says what of the events can really go: what lives has all of its own.
func (c *store[S, C, E]) agree(f *front) {
	c.snapshotsStart = max(c.snapshotsStart, f.snapshots)
	for _, en := range c.entries {
		if !over(en.state) && en.seq > 0 {
			f.events = min(f.events, en.first)
		}
	}
	if f.events <= c.eventsStart {
		f.events = 0
		return
	}
	c.eventsStart = f.events
}

// look reads the newest checkpoints again, and finds what of the history is old enough.
func (sh *shard) look(ctx context.Context, adm *kadm.Client, c *cutting) error {
	var topics []string
	for i := range c.fronts {
		f := &c.fronts[i]
		if f.newest.Number > 0 {
			if err := sh.verify(ctx, f.name, f.newest); err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
		}
		topics = append(topics, sh.topics.Events(f.name), sh.topics.Commands(f.name), sh.topics.Completions(f.name))
	}
	if !c.history {
		return nil
	}
	old, err := sh.oldest(ctx, adm, sh.cfg.KeepHistory, topics)
	if err != nil {
		return err
	}
	for i := range c.fronts {
		f := &c.fronts[i]
		f.events = old[sh.topics.Events(f.name)].within(f.events)
		f.commands = old[sh.topics.Commands(f.name)].within(f.commands)
		f.completions = old[sh.topics.Completions(f.name)].within(math.MaxInt64)
	}
	if c.others, err = sh.oldWork(ctx, adm); err == nil {
		err = sh.oldLetters(ctx, adm, c.others)
	}
	return err
}

// cut cuts what was agreed to.
func (sh *shard) cut(ctx context.Context, adm *kadm.Client, c *cutting) error {
	offsets := make(kadm.Offsets)
	for topic, o := range c.others {
		offsets[topic] = o
	}
	for _, f := range c.fronts {
		for topic, at := range map[string]int64{
			sh.topics.Snapshots(f.name): f.snapshots, sh.topics.Events(f.name): f.events,
			sh.topics.Commands(f.name): f.commands, sh.topics.Completions(f.name): f.completions,
		} {
			if at > 0 {
				offsets.AddOffset(topic, sh.id, at, -1)
			}
		}
	}
	if len(offsets) == 0 {
		return nil
	}
	done, err := adm.DeleteRecords(ctx, offsets)
	if err == nil {
		err = done.Error()
	}
	if err != nil {
		return fmt.Errorf("cut off the front of partitions: %w", err)
	}
	return nil
}

// oldWork finds work records that are of no use any more, where the broker does not.
func (sh *shard) oldWork(ctx context.Context, adm *kadm.Client) (kadm.Offsets, error) {
	cut := make(kadm.Offsets)
	if !sh.cfg.Kafka.Embedded {
		return cut, nil
	}
	all, err := adm.ListTopics(ctx)
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	var topics []string
	for name := range all {
		if strings.HasPrefix(name, sh.topics.Work("")) {
			topics = append(topics, name)
		}
	}
	if len(topics) == 0 {
		return cut, nil
	}
	old, err := sh.oldest(ctx, adm, min(keepWork, sh.cfg.KeepHistory), topics)
	if err != nil {
		return nil, err
	}
	for topic, o := range old {
		if at := o.within(math.MaxInt64); at > 0 {
			cut.AddOffset(topic, sh.id, at, -1)
		}
	}
	return cut, nil
}

// oldLetters adds dead letters that are as old as what they could be replayed among. Their topic has one partition,
// which the owner of that shard looks after.
func (sh *shard) oldLetters(ctx context.Context, adm *kadm.Client, cut kadm.Offsets) error {
	if sh.id != 0 {
		return nil
	}
	topic := sh.topics.DeadLetters()
	old, err := sh.oldest(ctx, adm, sh.cfg.KeepHistory, []string{topic})
	if at := old[topic].within(math.MaxInt64); err == nil && at > 0 {
		cut.AddOffset(topic, sh.id, at, -1)
	}
	return err
}

// extent is the part of a partition that is old.
type extent struct{ start, until int64 }

// within is how far it can be cut up to a limit; 0: not at all.
func (e extent) within(limit int64) int64 {
	if at := min(limit, e.until); at > e.start {
		return at
	}
	return 0
}

// oldest finds what is older than that in the shard's partitions of some topics. A partition is never emptied: on the
// embedded broker it would begin again at offset 0 after the next start, below the positions of
// its readers.
func (sh *shard) oldest(ctx context.Context, adm *kadm.Client, age time.Duration, topics []string) (map[string]extent, error) {
	starts, err := adm.ListStartOffsets(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("find where partitions begin: %w", err)
	}
	ends, err := adm.ListEndOffsets(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("find where partitions end: %w", err)
	}
	young, err := adm.ListOffsetsAfterMilli(ctx, time.Now().Add(-age).UnixMilli(), topics...)
	if err != nil {
		return nil, fmt.Errorf("find what is old in partitions: %w", err)
	}
	old := make(map[string]extent)
	for _, t := range topics {
		start, ok1 := starts.Lookup(t, sh.id)
		end, ok2 := ends.Lookup(t, sh.id)
		y, ok3 := young.Lookup(t, sh.id)
		if !ok1 || !ok2 || !ok3 || start.Err != nil || end.Err != nil || y.Err != nil {
			continue // another time
		}
		old[t] = extent{start.Offset, min(y.Offset, end.Offset-1)}
	}
	return old, nil
}

// letGo forgets the ended aggregates whose events are gone.
func (c *store[S, C, E]) letGo() {
	if c.eventsStart == 0 {
		return
	}
	c.ended.keep(func(r *row) bool { return r.a >= c.eventsStart })
	for id, en := range c.entries {
		if over(en.state) && en.first < c.eventsStart {
			delete(c.entries, id)
		}
	}
}

// gone refuses what is asked of an aggregate whose history was let go.
func (c *store[S, C, E]) gone(id string) *machine.Refusal {
	return machine.Refuse(machine.NotFound, fmt.Sprintf("the events of %s %s are there no more", c.m.Name, id))
}

// letGoHint is what is added where something is not found that may have been there.
func (c *store[S, C, E]) letGoHint() string {
	return fmt.Sprintf("; the history of what ended more than %s ago was let go (--keep-history)", c.sh.cfg.KeepHistory)
}
