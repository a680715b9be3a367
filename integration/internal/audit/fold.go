package audit

import (
	"strconv"
	"time"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// aggregate is one aggregate while its events are folded.
type aggregate[S state[S, E], E any] struct {
	id     string
	state  S
	watch  watcher[S, E]
	events []*Record // by sequence; of a headless one, from its first on
	broken bool      // something of it is missing: it is not folded
	works  map[string]bool
	// The decision whose events are being read.
	cause string
}

// notes take what is wrong with one event.
type notes struct {
	c *checker
	r *Record
	b *books
}

func (n *notes) wrong(law Law, format string, args ...any) { n.c.wrong(law, n.r, format, args...) }

// said notes that an attempt has been reported on.
func (n *notes) said(workID string, number int) {
	put(n.c.said, n.b.name, attempt(workID, number), true)
}

// fold is the check of one aggregate type.
type fold[S state[S, E], E any] struct {
	folder[S, E]
	c          *checker
	aggregates map[string]*aggregate[S, E]
	decoders   map[int32]func(string, []byte) (E, error)
	touched    map[int32][]*aggregate[S, E] // since the last position
}

// check folds all aggregates of a type and holds each event against the laws.
func check[S state[S, E], E any](c *checker, how folder[S, E]) {
	f := &fold[S, E]{
		folder: how, c: c, aggregates: make(map[string]*aggregate[S, E]),
		decoders: make(map[int32]func(string, []byte) (E, error)), touched: make(map[int32][]*aggregate[S, E]),
	}
	for r := range c.records(c.Names.Events(how.name)) {
		b := c.book(how.name, r.Partition)
		c.writer(b, r)
		switch {
		case r.Key != schemas.ShardKey:
			f.event(b, r)
		case r.Type == schemas.ShardOwned:
			c.owned(b, r)
		case r.Type == schemas.ShardPosition:
			c.position(b, r)
			for _, a := range f.touched[r.Partition] {
				f.rests(a)
			}
			f.touched[r.Partition] = f.touched[r.Partition][:0]
		default:
			c.wrong(LawReadable, r, "nobody knows records of type %q in the books of a shard", r.Type)
		}
	}
	c.report.Aggregates += len(f.aggregates)
	for _, a := range f.aggregates {
		f.over(a)
	}
}

// event holds one event against the laws.
func (f *fold[S, E]) event(b *books, r *Record) {
	c := f.c
	if r.Sequence < 1 || r.Time.IsZero() || r.ID == "" || r.Type == "" {
		c.wrong(LawReadable, r, "an event of %s has no ce_id, ce_type, ce_sequence or ce_time", r.Key)
		return
	}
	if p := kafka.PartitionFor([]byte(r.Key), c.Shards); p != r.Partition {
		c.wrong(LawPlace, r, "an event of %s belongs on partition %d", r.Key, p)
	}
	if r.ID != machine.ID("event", f.name, r.Key, strconv.FormatInt(r.Sequence, 10)) {
		c.wrong(LawRepeat, r, "the id of event %d of %s is not derived from it: twice could not be told", r.Sequence, r.Key)
	}
	a := f.of(r)
	if !f.next(a, r) {
		return
	}
	c.report.Events++
	c.decided(b, r)
	f.causes(b, a, r)
	a.events = append(a.events, r)
	if a.broken {
		return
	}
	e, err := f.decode(r)
	if err != nil {
		c.wrong(LawReadable, r, "%v", err)
		f.give(a)
		return
	}
	f.evolve(b, a, r, e)
}

func (f *fold[S, E]) of(r *Record) *aggregate[S, E] {
	a := f.aggregates[r.Key]
	if a == nil {
		a = &aggregate[S, E]{id: r.Key, state: f.fresh(r.Key), watch: f.watch(r.Key), works: make(map[string]bool)}
		f.aggregates[r.Key] = a
	}
	return a
}

// give gives up folding an aggregate of which something is missing.
func (f *fold[S, E]) give(a *aggregate[S, E]) {
	a.broken = true
	f.c.broken[f.name+"/"+a.id] = true
}

// next says whether an event is the next of its aggregate. One that is there again is counted or
// reported.
func (f *fold[S, E]) next(a *aggregate[S, E], r *Record) bool {
	c := f.c
	if len(a.events) == 0 {
		switch {
		case r.Sequence == 1:
		case c.start(r.Topic, r.Partition) > 0:
			f.give(a) // it began before what was kept
		default:
			c.wrong(LawSequence, r, "%s begins with event %d", r.Key, r.Sequence)
			f.give(a)
		}
		return true
	}
	first, last := a.events[0].Sequence, a.events[len(a.events)-1].Sequence
	switch {
	case r.Sequence == last+1:
		return true
	case r.Sequence > last:
		c.wrong(LawSequence, r, "%s goes from event %d to %d", r.Key, last, r.Sequence)
		f.give(a)
		return true
	}
	if r.Sequence >= first && r.Sequence-first < int64(len(a.events)) {
		before := a.events[r.Sequence-first]
		if c.Embedded && before.ID == r.ID && before.Value == r.Value && before.Type == r.Type && before.Partition == r.Partition {
			c.report.Repeats++
			return false
		}
		c.wrong(LawRepeat, r, "%s has two events %d: the other is at %s", r.Key, r.Sequence, before.place())
		return false
	}
	c.wrong(LawSequence, r, "%s goes from event %d back to %d", r.Key, last, r.Sequence)
	return false
}

func (f *fold[S, E]) decode(r *Record) (E, error) {
	d := f.decoders[r.Partition]
	if d == nil {
		d = f.decoder()
		f.decoders[r.Partition] = d
	}
	return d(r.Type, []byte(r.Value))
}

// evolve folds an event in and holds what it does against the tables.
func (f *fold[S, E]) evolve(b *books, a *aggregate[S, E], r *Record, e E) {
	n := &notes{f.c, r, b}
	placement := placementOf(e)
	known := len(b.tokens) > 0 || f.c.start(r.Topic, r.Partition) == 0 // else who took the shard was let go of
	if placement != "" && placement != b.placement() && known {
		n.wrong(LawOwners, "it says that %s carries the work out, and %s has the shard", placement, b.placement())
	}
	if a.state.Ended() && !a.watch.after(e) {
		n.wrong(LawOver, "%s comes after the end of %s", r.Type, r.Key)
	}
	a.watch.event(n, r.Time, e)
	for _, w := range f.c.follow(b, r, a.state.Follow(r.Time, e), placement != "", f.delegate) {
		a.works[machine.ID("report", w.ID, strconv.Itoa(w.Attempt))] = true
	}
	a.state = a.state.Evolve(r.Time, e)
	a.watch.agrees(n, a.state)
	f.touched[r.Partition] = append(f.touched[r.Partition], a)
}

// causes looks for what made an event happen: a command, a report of a local agent, a timer, or a new owner.
func (f *fold[S, E]) causes(b *books, a *aggregate[S, E], r *Record) {
	c := f.c
	if r.Input >= 0 {
		put(c.caused, f.name, r.Cause, true)
		f.byCommand(r)
		a.cause = ""
		return
	}
	if r.Cause != "" && r.Cause == a.cause || a.broken {
		return
	}
	a.cause = r.Cause
	if a.works[r.Cause] || r.Cause == machine.ID("timer", f.name, r.Key, strconv.FormatInt(r.Sequence-1, 10)) {
		return
	}
	for _, token := range b.tokens {
		if r.Cause == machine.ID("takeover", token, r.Key) {
			return
		}
	}
	c.wrong(LawCauses, r, "event %d of %s was made by %q, which is no command, timer, taking or report", r.Sequence, r.Key, r.Cause)
}

func (f *fold[S, E]) byCommand(r *Record) {
	c := f.c
	topic := c.Names.Commands(f.name)
	if r.Input < c.start(topic, r.Partition) {
		return // it was let go of
	}
	cmd := c.command(f.name, r.Partition, r.Input)
	switch {
	case cmd == nil && c.sure(r):
		c.wrong(LawCauses, r, "event %d of %s was made by the command at offset %d, where none is", r.Sequence, r.Key, r.Input)
	case cmd == nil:
	case cmd.ID != r.Cause || cmd.Key != r.Key:
		c.wrong(LawCauses, r, "event %d of %s was made by %s at offset %d, where %s to %s is", r.Sequence, r.Key, r.Cause, r.Input, cmd.ID, cmd.Key)
	case r.CauseHash != "" && r.CauseHash != schemas.Fingerprint([]byte(cmd.Value)):
		c.wrong(LawCauses, r, "event %d of %s was made by a command with another body than the one at offset %d has", r.Sequence, r.Key, r.Input)
	}
}

// rests holds an aggregate that a transaction has left behind against the law that nothing waits for ever.
func (f *fold[S, E]) rests(a *aggregate[S, E]) {
	if !a.broken && a.watch.waits() && !a.state.Ended() && a.state.Deadline().IsZero() {
		f.c.wrong(LawDeadlines, a.events[len(a.events)-1], "%s waits, and nothing is ever due", a.id)
	}
}

// over looks at how an aggregate was left.
func (f *fold[S, E]) over(a *aggregate[S, E]) {
	if a.broken || f.c.Now.IsZero() || len(a.events) == 0 {
		return
	}
	r := a.events[len(a.events)-1]
	if d := a.state.Deadline(); !d.IsZero() && f.c.Now.Sub(d) > overdue && f.c.sure(r) {
		f.c.wrong(LawDeadlines, r, "something was due for %s at %s, and nothing has happened", a.id, d.Format(time.RFC3339Nano))
	}
}
