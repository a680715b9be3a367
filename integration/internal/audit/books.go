package audit

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/schemas"
)

// books are what the events partition of a shard says of who has decided, and how far.
type books struct {
	name      string // aggregate type
	partition int32
	owner     schemas.Owned
	tokens    []string // of the takings, in order
	last      schemas.Position
	first     int64     // next, in the first position that is there; -1: none is
	followed  int64     // the last transaction whose effects must be there
	trails    bool      // effects go with a later transaction: it was the embedded broker
	time      time.Time // nothing may be decided before
	open      []*Record // events since the last position

	producers map[int64]int16 // with their epochs
	producer  int64
	writers   map[writer]bool // whose transactions have events here
}

// writer is who writes a transaction, or, to newer brokers, one transaction of its.
type writer struct {
	producer int64
	epoch    int16
}

// refusal is an answer that stands in a position record.
type refusal struct {
	schemas.Refused
	record *Record
}

func (c *checker) book(name string, partition int32) *books {
	if c.shards[name] == nil {
		c.shards[name] = make(map[int32]*books)
	}
	b := c.shards[name][partition]
	if b == nil {
		b = &books{name: name, partition: partition, first: -1, producers: make(map[int64]int16), producer: -1, writers: make(map[writer]bool)}
		c.shards[name][partition] = b
	}
	return b
}

// lastEpoch is from which on a broker gives a producer another id by itself.
const lastEpoch = 32766

// writer holds who has written a record, as the broker knows it, against who has written before: an
// earlier owner's id or epoch does not come back.
func (c *checker) writer(b *books, r *Record) {
	epoch, known := b.producers[r.Producer]
	switch {
	case r.Producer < 0:
		c.wrong(LawOwners, r, "it was written outside of every transaction")
		return
	case known && r.Producer != b.producer:
		c.wrong(LawOwners, r, "producer %d writes again after producer %d took its place", r.Producer, b.producer)
	case known && r.Epoch < epoch:
		c.wrong(LawOwners, r, "producer %d writes in the epoch %d after the epoch %d", r.Producer, r.Epoch, epoch)
	case !known && b.producer >= 0 && r.Type != schemas.ShardOwned && b.producers[b.producer] < lastEpoch:
		c.wrong(LawOwners, r, "producer %d writes, and has not taken the shard from producer %d", r.Producer, b.producer)
	}
	b.producer, b.producers[r.Producer] = r.Producer, max(epoch, r.Epoch)
	b.writers[writer{r.Producer, r.Epoch}] = true
}

// again says that a record of the books is there a second time, which is counted or reported.
func (c *checker) again(r *Record, repeated bool) bool {
	if !repeated {
		return false
	}
	if c.Embedded {
		c.report.Repeats++
		return true
	}
	c.wrong(LawRepeat, r, "the %s record %s is there again", r.Type, r.ID)
	return true
}

// owned notes that somebody takes the shard.
func (c *checker) owned(b *books, r *Record) {
	o, err := schemas.DecodeOwned(r.Type, []byte(r.Value))
	switch {
	case err != nil:
		c.wrong(LawReadable, r, "%v", err)
		return
	case o.Token != r.ID || len(o.Token) < 8 || o.Member == "":
		c.wrong(LawOwners, r, "the taking %s has the token %q and the member %q", r.ID, o.Token, o.Member)
		return
	case c.again(r, slices.Contains(b.tokens, o.Token)):
		return
	}
	if len(b.open) > 0 {
		c.unclosed(b)
	}
	c.report.Takings++
	b.owner, b.tokens = o, append(b.tokens, o.Token)
	if o.At.After(b.time) {
		b.time = o.At // the new owner reads it before it decides anything
	}
}

// placement is how events name the ownership whose agents carry work out.
func (b *books) placement() string {
	if len(b.owner.Token) < 8 {
		return ""
	}
	return b.owner.Member + "/" + b.owner.Token[:8]
}

// decided holds the time and the owner of an event against those before.
func (c *checker) decided(b *books, r *Record) {
	if len(b.tokens) == 0 && c.start(r.Topic, r.Partition) == 0 {
		c.wrong(LawOwners, r, "it was decided before anybody had taken the shard")
	}
	c.notBefore(b, r, r.Time)
	b.open = append(b.open, r)
}

func (c *checker) notBefore(b *books, r *Record, at time.Time) {
	if at.Before(b.time) {
		c.wrong(LawTime, r, "it was decided at %s, after what was decided at %s", at.Format(time.RFC3339Nano), b.time.Format(time.RFC3339Nano))
		return
	}
	b.time = at
}

// unclosed reports events that no position closes: they were not written in one transaction with it.
func (c *checker) unclosed(b *books) {
	c.wrong(LawPositions, b.open[0], "no position record closes the transaction that it was written in, with %d events", len(b.open))
	b.open = nil
}

// position holds the end of a transaction against the one before, and against what it had.
func (c *checker) position(b *books, r *Record) {
	p, err := schemas.DecodePosition(r.Type, []byte(r.Value))
	if err != nil {
		c.wrong(LawReadable, r, "%v", err)
		return
	}
	if c.again(r, b.first >= 0 && p.Txn == b.last.Txn && r.ID == positionID(b, p.Txn)) {
		return
	}
	trimmed := b.first < 0 && c.start(r.Topic, r.Partition) > 0
	q := b.last
	if trimmed {
		q = schemas.Position{Txn: p.Txn - 1}
	}
	switch {
	case r.ID != positionID(b, p.Txn):
		c.wrong(LawPositions, r, "the id of the position %d is not derived from it", p.Txn)
	case p.Txn != q.Txn+1:
		c.wrong(LawPositions, r, "position %d follows position %d", p.Txn, q.Txn)
	}
	if p.Next < q.Next || p.Followed < q.Followed || p.Followed > p.Txn {
		c.wrong(LawPositions, r, "position %d says next %d and followed %d, after next %d and followed %d", p.Txn, p.Next, p.Followed, q.Next, q.Followed)
	}
	if end, ok := c.Ends[c.Names.Commands(b.name)][b.partition]; ok && p.Next > end && c.sure(r) {
		c.wrong(LawPositions, r, "position %d says that the commands before %d are decided, and there are none after %d", p.Txn, p.Next, end-1)
	}
	if !trimmed {
		c.decisions(b, r, q.Next, p)
	}
	c.notBefore(b, r, p.At)
	b.open = nil
	if b.last = p; b.first < 0 {
		b.first = p.Next
	}
	if c.sure(r) {
		b.followed = p.Followed
	}
	b.trails = b.trails || p.Followed < p.Txn
}

func positionID(b *books, txn int64) string {
	return machine.ID("position", b.name, strconv.Itoa(int(b.partition)), strconv.FormatInt(txn, 10))
}

// decisions holds what a transaction decided against the commands that its position says it decided.
func (c *checker) decisions(b *books, r *Record, from int64, p schemas.Position) {
	for _, e := range b.open {
		if e.Input >= 0 && (e.Input < from || e.Input >= p.Next) {
			c.wrong(LawPositions, e, "it was made by the command at offset %d, and its transaction says that it has decided those from %d to %d", e.Input, from, p.Next-1)
		}
	}
	taken := c.between(b.name, b.partition, from, p.Next)
	came := func(id string) bool {
		return slices.ContainsFunc(taken, func(cmd *Record) bool { return cmd.ID == id }) || c.start(c.Names.Commands(b.name), b.partition) > from
	}
	for _, x := range p.Refused {
		if c.sure(r) && !came(x.CommandID) {
			c.wrong(LawPositions, r, "it refuses the command %s, which is not among those from %d to %d", x.CommandID, from, p.Next-1)
		}
		c.refuse(b, r, p.Txn, x)
	}
	for _, x := range p.Settled {
		if c.sure(r) && !came(x.CommandID) {
			c.wrong(LawPositions, r, "it settles the command %s, which is not among those from %d to %d", x.CommandID, from, p.Next-1)
		}
		put(c.settled, b.name, x.CommandID, true)
	}
}

// refuse notes a refusal, from which an answer on the completions topic follows.
func (c *checker) refuse(b *books, r *Record, txn int64, x schemas.Refused) {
	c.report.Refusals++
	put(c.refused, b.name, x.CommandID, append(c.refused[b.name][x.CommandID], &refusal{x, r}))
	c.expect(b, r, txn, effect{
		law: LawAnswers, topic: c.Names.Completions(b.name), typ: schemas.CommandRejected, key: x.AggregateID, partition: b.partition,
		id: machine.ID("rejected", b.name, x.AggregateID, x.CommandID, x.CommandType, x.Reason),
	})
}

func put[V any](m map[string]map[string]V, outer, inner string, v V) {
	if m[outer] == nil {
		m[outer] = make(map[string]V)
	}
	m[outer][inner] = v
}

// owners holds the takings of a shard against each other: it is taken for all aggregate types at once, with a
// mark among the commands.
func (c *checker) owners() {
	for _, name := range aggregates() {
		topic := c.Names.Commands(name)
		for r := range c.records(topic) {
			if r.Key != schemas.ShardKey || r.Type != schemas.ShardOwned || c.start(c.Names.Events(name), r.Partition) > 0 || c.Embedded {
				continue
			}
			if b := c.shards[name][r.Partition]; (b == nil || !slices.Contains(b.tokens, r.ID)) && !c.letters[r.place()] && c.sureOf(name, r.Partition) {
				c.wrong(LawOwners, r, "the taking %s has its mark here, and none among the events", r.ID)
			}
		}
		for p, b := range c.shards[name] {
			if len(b.open) > 0 {
				c.unclosed(b)
			}
			o := c.shards[schemas.AggregateOrchestration][p]
			if o == nil || c.Embedded || name == schemas.AggregateOrchestration {
				continue
			}
			if a, l := strings.Join(b.tokens, " "), strings.Join(o.tokens, " "); !strings.HasSuffix(l, a) && !strings.HasSuffix(a, l) && c.Quiet {
				c.at(LawOwners, c.Names.Events(name), p, "its takings are not those of the orchestrations' partition %d", p)
			}
		}
	}
}

// sureOf says that the events of a partition were read up to where nothing was added any more.
func (c *checker) sureOf(name string, partition int32) bool {
	topic := c.Names.Events(name)
	sure, marked := c.Sure[topic][partition]
	return !marked || sure == c.Ends[topic][partition]
}
