package audit

import (
	"slices"
	"strconv"
	"strings"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/schemas"
)

// effect is what must follow from a record of the events.
type effect struct {
	law       Law
	topic, id string
	typ, key  string
	partition int32 // -1: the key's
	work      *machine.Work
	gone      bool // a deletion: its record need not stay

	from   *Record
	books  *books
	txn    int64
	want   int // copies
	copies int
}

// expect notes an effect.
func (c *checker) expect(b *books, r *Record, txn int64, e effect) {
	if c.effects[e.topic] == nil {
		c.effects[e.topic] = make(map[string]*effect)
	}
	if before := c.effects[e.topic][e.id]; before != nil {
		before.want++
		return
	}
	e.from, e.books, e.txn, e.want = r, b, txn, 1
	c.effects[e.topic][e.id] = &e
}

// must says that an effect has to be there by now.
func (c *checker) must(e *effect) bool {
	return c.sure(e.from) && e.txn <= e.books.followed && !c.unfit[e.key] && len(c.trimmed(e.topic)) == 0 && !e.gone
}

// trimmed are the partitions of a topic whose beginning was let go of.
func (c *checker) trimmed(topic string) []int32 {
	var l []int32
	for p, start := range c.Starts[topic] {
		if start > 0 {
			l = append(l, p)
		}
	}
	return l
}

// follow notes what follows from an event, given what the machine says.
func (c *checker) follow(b *books, r *Record, effects []machine.Effect, placed bool, delegate func(machine.Effect) ([]machine.Send, bool)) (asked []machine.Work) {
	txn := b.last.Txn + 1
	for _, f := range effects {
		if w, ok := f.(machine.Work); ok {
			asked = append(asked, w)
			c.wanted[attempt(w.ID, w.Attempt)] = true
		}
		if delegate != nil {
			if sends, ok := delegate(f); ok {
				for _, s := range sends {
					c.sends(b, r, txn, s)
				}
				continue
			}
		}
		switch f := f.(type) {
		case machine.Work:
			if !placed && f.Unfit == "" {
				c.expect(b, r, txn, effect{
					law: LawWork, topic: c.Names.Work(f.Type), typ: schemas.WorkRequested, key: f.ID, partition: -1, work: &f,
					id: machine.ID("offer", f.ID, strconv.Itoa(f.Attempt), strconv.Itoa(f.Offer)),
				})
			}
		case machine.Send:
			c.sends(b, r, txn, f)
		case machine.Completion:
			c.expect(b, r, txn, effect{law: LawCompletions, topic: c.Names.Completions(b.name), typ: f.Type, id: f.ID, key: r.Key, partition: b.partition})
		case machine.Announce:
			id := machine.ID("announce", f.Key, strconv.FormatInt(r.Sequence, 10))
			c.expect(b, r, txn, effect{law: LawDefinitions, topic: c.Names.Definitions(), typ: f.Type, id: id, key: f.Key, partition: 0, gone: true})
			if c.inForce[f.Key] = id; f.Value == nil {
				c.inForce[f.Key] = ""
			}
		case machine.CancelWork, machine.Claim, machine.Discard: // hints, and the sweeper's
		}
	}
	return asked
}

func attempt(workID string, n int) string { return workID + "/" + strconv.Itoa(n) }

func (c *checker) sends(b *books, r *Record, txn int64, s machine.Send) {
	c.expect(b, r, txn, effect{law: LawSent, topic: c.Names.Commands(s.Aggregate), typ: s.Type, id: s.ID, key: s.Key, partition: -1})
}

// found notes a record that may be an effect; nil where nothing has it for one.
func (c *checker) found(r *Record) *effect {
	e := c.effects[r.Topic][r.ID]
	if e == nil {
		return nil
	}
	if e.copies++; e.copies > e.want {
		if c.Embedded {
			c.report.Repeats++
		} else {
			c.wrong(e.law, r, "what follows from %s is there %d times, for %d", e.from.place(), e.copies, e.want)
		}
	}
	switch {
	case r.Type != e.typ || r.Key != e.key:
		c.wrong(e.law, r, "it is %s of %s; from %s follows %s of %s", r.Type, r.Key, e.from.place(), e.typ, e.key)
	case e.partition >= 0 && r.Partition != e.partition:
		c.wrong(LawPlace, r, "it belongs on partition %d", e.partition)
	}
	return e
}

// completions holds the ends and refusals that were told against those that were decided.
func (c *checker) completions(name string) {
	events := c.Names.Events(name)
	for r := range c.records(c.Names.Completions(name)) {
		c.teller(c.book(name, r.Partition), r)
		known := slices.Contains(schemas.Completions(), r.Type)
		switch e := c.found(r); {
		case !known:
			c.wrong(LawReadable, r, "nobody knows completions of type %q", r.Type)
		case e == nil && c.start(events, r.Partition) > 0: // what it followed from was let go of
		case e == nil && r.Type == schemas.CommandRejected:
			c.wrong(LawAnswers, r, "the command %s is refused, and no position record says so", r.Cause)
		case e == nil:
			c.wrong(LawCompletions, r, "the end %s of %s is told, and it has not ended so", r.Type, r.Key)
		case r.Type != schemas.CommandRejected:
			c.report.Completions++
		}
	}
}

// teller holds who tells an end, or refuses a command, against who has decided it: both are of one transaction,
// but on the embedded broker.
func (c *checker) teller(b *books, r *Record) {
	if (c.Embedded || b.trails) && r.Producer >= 0 || c.start(c.Names.Events(b.name), r.Partition) > 0 || !c.sureOf(b.name, r.Partition) {
		return
	}
	if !b.writers[writer{r.Producer, r.Epoch}] {
		c.wrong(LawOwners, r, "it was written by producer %d in the epoch %d, who has decided nothing", r.Producer, r.Epoch)
	}
}

// work holds the work topics against what was asked for.
func (c *checker) work() {
	events := false
	for _, name := range aggregates() {
		events = events || len(c.trimmed(c.Names.Events(name))) > 0
	}
	prefix := c.Names.Work("")
	for topic := range c.Records {
		if !strings.HasPrefix(topic, prefix) {
			continue
		}
		for r := range c.records(topic) {
			if !events { // else who asked may have been let go of
				c.piece(r)
			}
		}
	}
}

func (c *checker) piece(r *Record) {
	switch r.Type {
	case schemas.WorkRequested:
		c.report.Work++
		w, err := schemas.DecodeWork(r.Type, []byte(r.Value))
		if err != nil {
			c.wrong(LawReadable, r, "%v", err)
			return
		}
		e := c.effects[r.Topic][r.ID]
		if e == nil {
			if !c.broken[w.Aggregate+"/"+w.AggregateID] {
				c.wrong(LawWork, r, "attempt %d of %s of %s %s is offered, and nobody has asked for that", w.Attempt, w.ActivityID, w.Aggregate, w.AggregateID)
			}
			return
		}
		c.sameWork(r, w, e.work)
	case schemas.WorkCancelled:
		x, err := schemas.DecodeCancelWork(r.Type, []byte(r.Value))
		if err != nil {
			c.wrong(LawReadable, r, "%v", err)
		} else if !c.wanted[attempt(x.ID, x.Attempt)] && len(c.broken) == 0 {
			c.wrong(LawWork, r, "attempt %d of work %s is cancelled, and nobody has asked for it", x.Attempt, x.ID)
		}
	default:
		c.wrong(LawReadable, r, "nobody knows work of type %q", r.Type)
	}
}

// sameWork: every offer of an attempt is of the same work.
func (c *checker) sameWork(r *Record, got machine.Work, want *machine.Work) {
	if want == nil || got.ID != want.ID || got.Attempt != want.Attempt || got.Offer != want.Offer || got.Aggregate != want.Aggregate ||
		got.AggregateID != want.AggregateID || got.ActivityID != want.ActivityID || got.Run != want.Run || got.Type != want.Type {
		c.wrong(LawWork, r, "the work %s in attempt %d is not what was asked for", got.ID, got.Attempt)
	}
}

// missing reports what should have followed and did not.
func (c *checker) missing() {
	for topic, effects := range c.effects {
		for r := range c.records(topic) {
			if !strings.HasSuffix(topic, ".completions") && r.Key != schemas.ShardKey {
				c.found(r)
			}
		}
		for _, e := range effects {
			switch {
			case e.copies >= e.want || !c.must(e):
			case e.law == LawWork && c.LeftOut:
				c.report.LeftOut++
			default:
				c.wrong(e.law, e.from, "%s of %s follows from it, and is not on %s", e.typ, e.key, topic)
			}
		}
	}
}

// definitionsInForce holds the definitions topic against what was decided last.
func (c *checker) definitionsInForce() {
	last := make(map[string]*Record)
	for r := range c.records(c.Names.Definitions()) {
		last[r.Key] = r
	}
	for key, id := range c.inForce {
		e := c.effects[c.Names.Definitions()][id]
		if id == "" || !c.sure(e.from) || e.txn > e.books.followed {
			continue
		}
		if r := last[key]; r == nil {
			c.wrong(LawDefinitions, e.from, "the definition %s is in force, and is not on %s", key, e.topic)
		} else if r.ID != id {
			c.wrong(LawDefinitions, r, "it is not what was decided last of %s, at %s", key, e.from.place())
		}
	}
}
