package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// entry is one aggregate in memory.
type entry[S any] struct {
	id    string
	state S
	seq   int64
	first int64 // offset of its first event
	due   due[*entry[S]]
	aside
	weight
	// cold says that the state has not been folded: the replay found only what is known of an ended
	// aggregate, and an event that goes on from there.
	cold bool
}

// store is the cell of a Machine.
type store[S Aggregate[S, C, E], C, E any] struct {
	m      Machine[S, C, E]
	sh     *shard
	decode func(string, []byte) (E, error)
	// Names of topics, put together once: every record needs one.
	eventsTopic, completionsTopic, snapshotsTopic string

	// entries are the aggregates in memory: those that live, and those that ended a short while ago.
	entries map[string]*entry[S]
	resting[S]
	checkpoints[S]
	restoring
	agenda agenda[*entry[S]]
	seen   remembered
	alive  int   // of the entries: those that have not ended
	next   int64 // first command not decided
	last   time.Time

	txn      int64 // the last transaction on the log
	followed int64 // the last whose effects are certainly on the log
	certain  int64 // the same as the checkpoint says that was loaded
	events   int   // of the transaction being made
	moved    bool  // next has moved since the last position
	refused  []schemas.Refused
	settled  []schemas.Settled
	// unfollowed are the events, read back, whose effects may be missing.
	unfollowed []replayed[E]
	unanswered []unanswered
	begun      []begun[S]
	wire       []written
	closing    *kgo.Record  // the position record of the transaction being made; nil if it has none
	closingAt  time.Time    // what it says; the record's own time has no microseconds
	reached    schemas.Mark // the last position record on the log
	unsaid     bool         // the last position on the log leaves open whether all has followed
}

// begun is an aggregate whose first event is in the transaction being made, so that nobody knows
// its offset yet.
type begun[S any] struct {
	entry *entry[S]
	event *kgo.Record
}

// unanswered is a refusal, read back, whose answer may be missing.
type unanswered struct {
	txn int64
	at  time.Time
	schemas.Refused
}

// replayed is an event read back.
type replayed[E any] struct {
	txn    int64
	id     string
	seq    int64
	offset int64
	at     time.Time
	event  E
}

func (m Machine[S, C, E]) open(sh *shard) cell { return m.cell(sh) }

func (m Machine[S, C, E]) cell(sh *shard) *store[S, C, E] {
	return &store[S, C, E]{
		m: m, sh: sh, decode: m.NewDecoder(), entries: make(map[string]*entry[S]),
		seen:        remembered{keep: sh.cfg.Remember},
		eventsTopic: sh.topics.Events(m.Name), completionsTopic: sh.topics.Completions(m.Name), snapshotsTopic: sh.topics.Snapshots(m.Name),
	}
}

func (c *store[S, C, E]) nextOffset() int64   { return c.next }
func (c *store[S, C, E]) lastTime() time.Time { return c.last }

func (c *store[S, C, E]) live() int {
	n := 0
	for _, e := range c.entries {
		if !e.state.Ended() {
			n++
		}
	}
	return n
}

// replay folds in a record of the events. What a transaction did is folded once the
// positions say that its effects are certainly on the log; the rest is kept until the end.
func (c *store[S, C, E]) replay(r *kgo.Record, token string) (end bool, err error) {
	err = c.folding(r.Offset, func() error {
		end, err = c.take(r, token)
		return err
	})
	return end, err
}

func (c *store[S, C, E]) take(r *kgo.Record, token string) (bool, error) {
	env, err := kafka.ParseCloudEvent(r)
	if err != nil {
		return false, c.broken(r, err)
	}
	c.since += int64(size(r))
	switch env.Type {
	case schemas.ShardOwned:
		var o schemas.Owned
		if err := json.Unmarshal(r.Value, &o); err != nil {
			return false, c.broken(r, err)
		}
		if err := schemas.CheckFormat(o.Format); err != nil {
			return false, c.broken(r, err)
		}
		c.notBefore(o.At)
		return o.Token == token, c.fits(r, nil, o.Token == token)
	case schemas.ShardPosition:
		var p schemas.Position
		if err := json.Unmarshal(r.Value, &p); err != nil {
			return false, c.broken(r, err)
		}
		if err := c.fits(r, &p, false); err != nil {
			return false, err
		}
		if err := c.position(p); err != nil {
			return false, c.broken(r, err)
		}
		c.reached = schemas.Mark{Offset: r.Offset, Txn: p.Txn, At: p.At}
		return false, nil
	}
	if err := c.fits(r, nil, false); err != nil {
		return false, err
	}
	e, err := c.decode(env.Type, r.Value)
	if err != nil {
		return false, c.broken(r, err)
	}
	c.folded++
	c.notBefore(env.Time)
	if env.CauseHash != "" {
		c.seen.add(env.Cause, env.CauseHash, env.Time)
	}
	c.unfollowed = append(c.unfollowed, replayed[E]{c.txn + 1, string(r.Key), env.Sequence, r.Offset, env.Time, e})
	return false, nil
}

func (c *store[S, C, E]) broken(r *kgo.Record, err error) error { return c.brokenAt(r.Offset, err) }

func (c *store[S, C, E]) notBefore(at time.Time) {
	if at.After(c.last) {
		c.last = at
	}
}

func (c *store[S, C, E]) position(p schemas.Position) error {
	p.Followed = max(p.Followed, min(c.certain, p.Txn))
	c.txn, c.followed, c.next = p.Txn, p.Followed, max(c.next, p.Next)
	c.notBefore(p.At)
	for _, x := range p.Refused {
		if x.Hash != "" {
			c.seen.add(x.CommandID, x.Hash, p.At)
		}
		c.unanswered = append(c.unanswered, unanswered{p.Txn, p.At, x})
	}
	for _, x := range p.Settled {
		c.seen.add(x.CommandID, x.Hash, p.At)
	}
	n := 0
	for n < len(c.unfollowed) && c.unfollowed[n].txn <= p.Followed {
		if err := c.fold(c.unfollowed[n]); err != nil {
			return err
		}
		n++
	}
	c.unfollowed = append(c.unfollowed[:0], c.unfollowed[n:]...)
	n = 0
	for n < len(c.unanswered) && c.unanswered[n].txn <= p.Followed {
		n++
	}
	c.unanswered = append(c.unanswered[:0], c.unanswered[n:]...)
	c.settle()
	return nil
}

// fold takes an event in, unless it has its sequence already. A gap is an error: the log
// lost something, and going on would hide it.
func (c *store[S, C, E]) fold(x replayed[E]) error {
	if c.entries[x.id] == nil {
		if r := c.ended.find(digest(x.id)); r != nil && x.seq <= r.b {
			return nil
		}
	}
	en := c.entry(x.id)
	switch {
	case x.seq <= en.seq:
		return nil
	case x.seq > en.seq+1:
		return c.brokenAt(x.offset, fmt.Errorf("%s %s has the event of sequence %d after that of %d: events are missing", c.m.Name, x.id, x.seq, en.seq))
	}
	if x.seq == 1 {
		en.first = x.offset
	}
	c.touch(en)
	if en.seq = x.seq; en.cold {
		return nil
	}
	err := c.folding(x.offset, func() error {
		en.state = en.state.Evolve(x.at, x.event)
		return nil
	})
	if err == nil {
		c.rest(en, x.offset)
	}
	return err
}

// entry is the aggregate in memory, where it is put if need be.
func (c *store[S, C, E]) entry(id string) *entry[S] {
	en, ok := c.entries[id]
	if !ok {
		en = c.fresh(id)
		if r := c.ended.find(digest(id)); r != nil {
			en.first, en.seq, en.cold = r.a, r.b, true
		}
		c.entries[id] = en
	}
	return en
}

// fresh is an aggregate before anything has happened. It is not kept unless something does.
func (c *store[S, C, E]) fresh(id string) *entry[S] {
	en := &entry[S]{id: id, state: c.m.New(id)}
	en.due.value = en
	return en
}

// recovered folds in the last transactions' events and derives what follows from them
// again: readers drop what they have already, by its ID.
func (c *store[S, C, E]) recovered(ctx context.Context, b *batch) error {
	revived, err := c.revive(ctx)
	if err != nil {
		return err
	}
	for _, x := range c.unfollowed {
		if en := c.entry(x.id); x.seq > en.seq {
			err := c.folding(x.offset, func() error {
				local := c.m.Placement != nil && c.m.Placement(x.event) != ""
				for _, f := range c.delegate(b, en.state.Follow(x.at, x.event)) {
					if _, work := f.(machine.Work); !work || !local {
						c.emit(b, en, x.seq, x.at, f)
					}
				}
				return c.fold(x)
			})
			if err != nil {
				return err
			}
		}
	}
	for _, x := range c.unanswered {
		b.addAfter(c.rejection(x.Refused, x.at))
	}
	c.unfollowed, c.unanswered = nil, nil
	for _, en := range revived {
		c.forget(en)
	}
	for _, en := range c.entries {
		c.schedule(en)
	}
	c.settle()
	c.alive = c.live()
	return nil
}

func (c *store[S, C, E]) schedule(en *entry[S]) {
	var at int64
	if d := en.state.Deadline(); !d.IsZero() {
		at = d.UnixMilli()
	}
	c.agenda.set(&en.due, at)
}

func (c *store[S, C, E]) deadline() time.Time {
	if d := c.agenda.first(); d != nil {
		return time.UnixMilli(d.at)
	}
	return time.Time{}
}

// decideRecord decides a record of the commands partition. Its error means that this process
// cannot go on with the shard; whatever is wrong with the record itself is answered.
func (c *store[S, C, E]) decideRecord(ctx context.Context, b *batch, r *kgo.Record) error {
	c.next, c.moved = r.Offset+1, true
	rec, problem := parse(r)
	if string(r.Key) == schemas.ShardKey && problem == nil {
		if rec.env.Type == schemas.ShardOwned {
			return nil
		}
		problem = fmt.Errorf("the key %s is that of the shards' own records", schemas.ShardKey)
	}
	if problem != nil {
		b.addBefore(c.sh.deadLetter(r, problem, b.at))
		return nil
	}
	if p := kafka.PartitionFor(r.Key, c.sh.cfg.Shards); p != c.sh.id {
		if n := size(r); n > maxRecordBytes {
			b.addBefore(c.sh.deadLetter(r, fmt.Errorf("it is not on partition %d, its key's, and too large to be forwarded: %d bytes", p, n), b.at))
			return nil
		}
		b.addBefore(c.sh.forward(r, p, b.at))
		return nil
	}
	cmd, err := c.m.DecodeCommand(rec.env.Type, rec.data)
	var refusal *machine.Refusal
	switch {
	case errors.As(err, &refusal):
		if hash := c.m.Hash(rec.data); !c.known(b, rec, hash) {
			c.refuse(b, rec, hash, refusal)
		}
		return nil
	case err != nil:
		b.addBefore(c.sh.deadLetter(r, err, b.at))
		return nil
	}
	if report, silent := c.m.IsReport(cmd); report {
		return c.decideReport(ctx, b, rec, cmd, silent)
	}
	return c.decideOnce(ctx, b, rec, cmd)
}

// pass keeps where a batch lies that nobody can unpack, and goes on behind it.
func (c *store[S, C, E]) pass(b *batch, packed *kgo.ErrDecompressTooLarge) {
	c.next, c.moved = packed.NextOffset, true
	why := errors.New(kafka.Unpackable(packed) + ", and are not kept here")
	letter := c.sh.deadLetter(&kgo.Record{Topic: packed.Topic, Partition: packed.Partition, Offset: packed.Offset}, why, b.at)
	letter.Headers = append(letter.Headers, kgo.RecordHeader{Key: schemas.DeadLetterPartial, Value: []byte("true")})
	b.addBefore(letter)
}

// maxKeyBytes bounds what the records that follow from a command repeat of its envelope.
const maxKeyBytes = 1 << 10

// parse reads a command's envelope. Its error says why nobody can be answered.
func parse(r *kgo.Record) (commandRecord, error) {
	env, err := kafka.ParseCloudEvent(r)
	switch {
	case err != nil:
		return commandRecord{}, err
	case len(r.Key) == 0:
		return commandRecord{}, errors.New("the record has no key; the key is the aggregate's id")
	case len(r.Key) > maxKeyBytes:
		return commandRecord{}, fmt.Errorf("the key has %d bytes, over the limit of %d", len(r.Key), maxKeyBytes)
	case !utf8.Valid(r.Key):
		return commandRecord{}, errors.New("the key is not UTF-8")
	case bytes.ContainsFunc(r.Key, unicode.IsControl):
		return commandRecord{}, fmt.Errorf("the key %q has a control character", r.Key)
	case len(env.ID) > maxKeyBytes:
		return commandRecord{}, fmt.Errorf("ce_id has %d bytes, over the limit of %d", len(env.ID), maxKeyBytes)
	case len(env.Type) > maxKeyBytes:
		return commandRecord{}, fmt.Errorf("ce_type has %d bytes, over the limit of %d", len(env.Type), maxKeyBytes)
	case env.Subject != "" && env.Subject != string(r.Key):
		return commandRecord{}, fmt.Errorf("ce_subject %.100q is not the key %.100q", env.Subject, r.Key)
	}
	return commandRecord{env, string(r.Key), r.Value, r.Offset}, nil
}

// decideReport decides a command that is recognised by what it reports on.
func (c *store[S, C, E]) decideReport(ctx context.Context, b *batch, rec commandRecord, cmd C, silent bool) error {
	if silent && c.asleep(rec.key) != nil {
		return nil // after the end there is nothing that it could change
	}
	en, err := c.aggregate(ctx, b, rec.key)
	if err == nil {
		c.ordinary(en, cmd)
		var events []E
		if events, err = en.state.Decide(b.at, cmd); err == nil {
			err = c.apply(b, en, events, cause{id: rec.env.ID, offset: rec.at})
		}
	}
	var refusal *machine.Refusal
	if errors.As(err, &refusal) {
		if !silent {
			c.refuse(b, rec, "", refusal)
		}
		return nil
	}
	return err
}

// known says that a command had its way before, or that another had its ID, which is answered.
func (c *store[S, C, E]) known(b *batch, rec commandRecord, hash string) bool {
	known, same := c.seen.find(rec.env.ID, hash)
	if known && !same {
		c.refuse(b, rec, "", machine.Refuse(machine.Conflict, "another command had the id "+rec.env.ID+"; an id names one command"))
	}
	return known
}

// decideOnce decides a command that is recognised by its ID.
func (c *store[S, C, E]) decideOnce(ctx context.Context, b *batch, rec commandRecord, cmd C) error {
	hash := c.m.Hash(rec.data)
	if c.known(b, rec, hash) {
		return nil
	}
	if c.m.Trace != nil && rec.env.TraceParent != "" {
		cmd = c.m.Trace(cmd, rec.env.TraceParent)
	}
	if c.m.Identify != nil {
		cmd = c.m.Identify(cmd, rec.env.ID)
	}
	if c.m.Admit != nil {
		var err error
		cmd, err = c.m.Admit(ctx, rec.key, cmd)
		if answered, err := c.answer(b, rec, hash, err); answered || err != nil {
			return err
		}
	}
	var events []E
	en, err := c.aggregate(ctx, b, rec.key)
	if err == nil {
		if why := c.crowded(en, cmd, rec); why != nil {
			c.refuse(b, rec, "", why) // not remembered: the same may be said again
			return nil
		}
		events, err = c.decideOn(ctx, b, en, cmd, cause{rec.env.ID, hash, rec.at})
	}
	if answered, err := c.answer(b, rec, hash, err); answered || err != nil {
		return err
	}
	c.seen.add(rec.env.ID, hash, b.at)
	if len(events) == 0 {
		b.books += len(rec.env.ID) + len(rec.key) + len(hash) + bookEntryBytes
		c.settled = append(c.settled, schemas.Settled{CommandID: rec.env.ID, AggregateID: rec.key, Hash: hash})
	}
	return nil
}

// ours is what the source of what our own machines send begins with.
const ours = "/waybill/"

// crowded says why nothing new is begun: each aggregate that has not ended takes memory here, and whoever writes to the
// topic cannot be told to come again later but by a refusal. What the machines send each other is begun all the same.
func (c *store[S, C, E]) crowded(en *entry[S], cmd C, rec commandRecord) *machine.Refusal {
	limit := c.sh.cfg.MaxLive
	if limit == 0 || c.alive < limit || en.seq > 0 || c.m.Begins == nil || !c.m.Begins(cmd) || strings.HasPrefix(rec.env.Source, ours) {
		return nil
	}
	return machine.Refuse(machine.Limit, fmt.Sprintf("%d of type %s have not ended in shard %d, which is the limit: ask again when there are fewer", c.alive, c.m.Name, c.sh.id))
}

// bookEntryBytes is about what an entry of a position record takes besides its texts.
const bookEntryBytes = 64

// answer turns a refusal into its answer; other errors stay errors.
func (c *store[S, C, E]) answer(b *batch, rec commandRecord, hash string, err error) (bool, error) {
	var refusal *machine.Refusal
	switch {
	case err == nil:
		return false, nil
	case errors.As(err, &refusal):
		c.refuse(b, rec, hash, refusal)
		return true, nil
	}
	return false, err
}

// refuse answers a command. With a hash, the answer is remembered under the command's ID.
func (c *store[S, C, E]) refuse(b *batch, rec commandRecord, hash string, refusal *machine.Refusal) {
	c.sh.touched = true
	if c.eventsStart > 0 && refusal.Code == machine.NotFound && c.sh.cfg.KeepHistory > 0 {
		other := *refusal
		other.Reason += c.letGoHint()
		refusal = &other
	}
	x := schemas.Refused{CommandID: rec.env.ID, CommandType: rec.env.Type, AggregateID: rec.key, Hash: hash, Refusal: *refusal}
	x.Reason, x.Errors = clip(x.Reason), rooted(x.Errors)
	if hash != "" {
		c.seen.add(rec.env.ID, hash, b.at)
	}
	c.refused = append(c.refused, x)
	answer := c.rejection(x, b.at)
	b.books += len(answer.Value)
	b.addAfter(answer)
}

// maxReasonBytes bounds a text that says what is wrong: it may quote what was sent.
const maxReasonBytes = 4 << 10

// clip shortens a text to that, between two characters.
func clip(s string) string {
	const mark = "…"
	if len(s) <= maxReasonBytes {
		return s
	}
	cut := maxReasonBytes - len(mark)
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + mark
}

// rooted spells every path from the root of the body, $.a[0].b, whoever found the mistake.
func rooted(problems []machine.Problem) []machine.Problem {
	l := make([]machine.Problem, len(problems))
	for i, p := range problems {
		switch {
		case p.Path == "":
			p.Path = "$"
		case strings.HasPrefix(p.Path, "["):
			p.Path = "$" + p.Path
		case !strings.HasPrefix(p.Path, "$"):
			p.Path = "$." + p.Path
		}
		p.Path, p.Message = clip(p.Path), clip(p.Message)
		l[i] = p
	}
	return l
}

func (c *store[S, C, E]) rejection(x schemas.Refused, at time.Time) *kgo.Record {
	return c.sh.record(c.completionsTopic, c.sh.id, x.AggregateID, kafka.CloudEvent{
		ID:   machine.ID("rejected", c.m.Name, x.AggregateID, x.CommandID, x.CommandType, x.Reason),
		Type: schemas.CommandRejected, Subject: x.AggregateID, Time: at, Cause: x.CommandID, InputOffset: -1,
	}, c.m.Name, mustJSON(x))
}

// decideResult decides what a local agent says.
func (c *store[S, C, E]) decideResult(b *batch, w machine.Work, r Result) error {
	en := c.entries[w.AggregateID]
	if en == nil {
		return nil // it has ended so long ago that it is not in memory any more, or there is no such
	}
	cmd := c.m.Report(w, r)
	c.ordinary(en, cmd)
	events, err := en.state.Decide(b.at, cmd)
	if err == nil {
		err = c.apply(b, en, events, cause{id: machine.ID("report", w.ID, strconv.Itoa(w.Attempt)), offset: -1})
	}
	var refusal *machine.Refusal
	if errors.As(err, &refusal) {
		return nil // the orchestration has ended meanwhile, or the attempt was given up
	}
	return err
}

func (c *store[S, C, E]) takeOver(b *batch) error {
	if c.m.TakeOver == nil {
		return nil
	}
	for _, en := range c.entries {
		if en.state.Ended() {
			continue
		}
		err := c.aside(doingTakeOver, en, func() error {
			events, err := en.state.Decide(b.at, c.m.TakeOver(c.sh.placement(), c.sh.cfg.Member, c.sh.cfg.started))
			if err != nil {
				return err
			}
			return c.apply(b, en, events, cause{id: machine.ID("takeover", c.sh.token, en.id), offset: -1})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *store[S, C, E]) wake(b *batch) (bool, error) {
	d := c.agenda.first()
	if d == nil || c.m.Wake == nil || d.at > b.at.UnixMilli() {
		return false, nil
	}
	en := d.value
	err := c.sh.twice(doing{doingTimer, c.m.Name, en.id, en.seq}, func() error { return c.fire(b, en) })
	if bug, given := c.sh.given(err); given {
		c.agenda.set(&en.due, 0) // until something else happens to it
		c.sh.setAside(bug)
		return true, nil
	}
	return err == nil, err
}

// fire lets happen what is due.
func (c *store[S, C, E]) fire(b *batch, en *entry[S]) error {
	events, err := en.state.Decide(b.at, c.m.Wake())
	if err != nil {
		return err
	}
	if len(events) > 0 {
		return c.apply(b, en, events, cause{id: machine.ID("timer", c.m.Name, en.id, strconv.FormatInt(en.seq, 10)), offset: -1})
	}
	// Nothing was due after all. Left where it is, the timer would fire for ever.
	c.schedule(en)
	if d := c.agenda.first(); d != nil && d.value == en && d.at <= b.at.UnixMilli() {
		return &BugError{Cause: fmt.Sprintf("%s %s has a deadline of %s that it does not act on", c.m.Name, en.id, time.UnixMilli(d.at).UTC())}
	}
	return nil
}

// cause is what made events happen.
type cause struct {
	id     string
	hash   string
	offset int64
}

// written is an event as it goes on the wire.
type written struct {
	typ  string
	data []byte
}

// write encodes events that were decided together. Where one of them is too large for a record, it is a
// *machine.Refusal: they could be written never, and what comes after them neither.
func (c *store[S, C, E]) write(en *entry[S], events []E) error {
	clear(c.wire)
	c.wire = c.wire[:0]
	for _, e := range events {
		typ, data, err := c.m.EncodeEvent(e)
		if err != nil {
			return &BugError{Cause: fmt.Sprintf("encode an event of %s %s: %v", c.m.Name, en.id, err)}
		}
		if n := len(data); n > maxEventBytes {
			return machine.Refuse(machine.Limit, fmt.Sprintf("the event %s would have %d bytes, over the limit of %d for a record", typ, n, maxEventBytes))
		}
		c.wire = append(c.wire, written{typ, data})
	}
	return nil
}

// maxEventBytes leaves room for what surrounds an event in its record, and for who carries the work out.
const maxEventBytes = maxRecordBytes - 16<<10

// apply folds decided events in and puts them, and what follows from them, into the batch.
// Where one of them is too large for a record, it is a *machine.Refusal and nothing has happened.
func (c *store[S, C, E]) apply(b *batch, en *entry[S], events []E, why cause) error {
	if len(events) == 0 {
		return nil
	}
	if err := c.write(en, events); err != nil {
		return err
	}
	b.asked, c.sh.touched = 0, true
	was := en.seq > 0 && !en.state.Ended()
	for i, e := range events {
		effects := c.delegate(b, en.state.Follow(b.at, e))
		w := c.wire[i]
		if c.placed(b, effects) {
			var err error
			e = c.m.Place(e, c.sh.placement())
			if w.typ, w.data, err = c.m.EncodeEvent(e); err != nil {
				return fmt.Errorf("encode an event of %s %s: %w", c.m.Name, en.id, err)
			}
		}
		en.seq++
		env := kafka.CloudEvent{
			ID: machine.ID("event", c.m.Name, en.id, strconv.FormatInt(en.seq, 10)), Type: w.typ, Time: b.at,
			Subject: en.id, Sequence: en.seq, Cause: why.id, InputOffset: why.offset,
		}
		if i == 0 {
			env.CauseHash = why.hash
		}
		r := c.sh.record(c.eventsTopic, c.sh.id, en.id, env, c.m.Name, w.data)
		if en.seq == 1 {
			c.entries[en.id] = en
			c.begun = append(c.begun, begun[S]{en, r})
		}
		before := b.bytes
		b.addEvent(r)
		c.since += int64(b.bytes - before)
		c.events++
		local := c.m.Placement != nil && c.m.Placement(e) != ""
		for _, f := range effects {
			if _, work := f.(machine.Work); !work || !local {
				c.emit(b, en, en.seq, b.at, f)
			}
		}
		en.state = en.state.Evolve(b.at, e)
	}
	switch is := !en.state.Ended(); {
	case is && !was:
		c.alive++
	case was && !is:
		c.alive--
	}
	c.schedule(en)
	c.touch(en)
	c.rest(en, c.reached.Offset)
	return nil
}

// delegate hands work to the machines that carry it out, in the same transaction.
func (c *store[S, C, E]) delegate(b *batch, effects []machine.Effect) []machine.Effect {
	if c.m.Delegate == nil {
		return effects
	}
	var kept []machine.Effect // nil as long as nothing was delegated
	for i, f := range effects {
		sends, answer, ok := c.m.Delegate(f)
		switch {
		case ok && kept == nil:
			kept = append(make([]machine.Effect, 0, len(effects)), effects[:i]...)
		case !ok && kept != nil:
			kept = append(kept, f)
		}
		for _, s := range sends {
			kept = append(kept, s)
		}
		if w, work := f.(machine.Work); ok && work {
			b.answer(c, w, answer)
		}
	}
	if kept != nil {
		return kept
	}
	return effects
}

// placed decides who carries out the work that an event asks for: an agent of this very
// process that is free, or whoever reads the work topic.
func (c *store[S, C, E]) placed(b *batch, effects []machine.Effect) bool {
	if c.m.Place == nil {
		return false
	}
	for _, f := range effects {
		if w, ok := f.(machine.Work); ok && c.local(b, w) {
			return true
		}
	}
	return false
}

// local says that this process carries the work out, or answers for it.
func (c *store[S, C, E]) local(b *batch, w machine.Work) bool {
	if b.asked += len(w.Input) + len(w.Outputs) + len(w.State); w.Unfit == "" && b.asked > maxAskedBytes {
		w.Unfit = fmt.Sprintf("its input, with those of what is asked for at the same time, is over the limit of %d bytes", maxAskedBytes)
	}
	if w.Unfit != "" {
		b.answer(c, w, &UnfitError{w.Unfit})
		return true
	}
	tooLarge := len(w.Input)+len(w.Outputs)+len(w.State) > maxWorkBytes
	agents := c.sh.cfg.Local
	if agents == nil {
		if tooLarge {
			b.answer(c, w, &TooLargeError{len(w.Input) + len(w.Outputs) + len(w.State), maxWorkBytes})
		}
		return tooLarge
	}
	if r, ok := agents.Inline(w); ok {
		b.answer(c, w, r)
		return true
	}
	if slot, ok := agents.Reserve(w.Type); ok {
		b.start = append(b.start, placed{c, w, slot})
		return true
	}
	if tooLarge {
		b.answer(c, w, agents.TooLarge(w, maxWorkBytes))
	}
	return tooLarge
}

// maxWorkBytes is up to which size of its input work goes to a work topic.
const maxWorkBytes = 2 << 20

// maxAskedBytes is how much work one decision asks for: ten thousand activities may start at
// once, each with the whole input, and all of it has to be held until it is written.
const maxAskedBytes = 128 << 20

// emit puts an effect of the event of that sequence into the batch.
func (c *store[S, C, E]) emit(b *batch, en *entry[S], seq int64, at time.Time, f machine.Effect) {
	t := c.sh.topics
	env := kafka.CloudEvent{Time: at, InputOffset: -1}
	switch f := f.(type) {
	case machine.Work:
		env.ID = machine.ID("offer", f.ID, strconv.Itoa(f.Attempt), strconv.Itoa(f.Offer))
		env.Type, env.Subject, env.TraceParent = schemas.WorkRequested, f.ID, f.TraceParent
		c.sh.needTopic(f.Type)
		c.follows(b, c.sh.keyed(t.Work(f.Type), f.ID, env, c.m.Name, mustJSON(f)))
	case machine.CancelWork:
		k := workKey{f.ID, f.Attempt}
		if b.without(k) {
			return
		}
		if c.sh.isRunning(k) {
			b.cancel = append(b.cancel, k)
			return
		}
		env.ID = machine.ID("cancel", f.ID, strconv.Itoa(f.Attempt))
		env.Type, env.Subject = schemas.WorkCancelled, f.ID
		c.sh.needTopic(f.Type)
		b.addAfter(c.sh.keyed(t.Work(f.Type), f.ID, env, c.m.Name, mustJSON(f)))
	case machine.Send:
		env.ID, env.Type, env.Subject, env.TraceParent = f.ID, f.Type, f.Key, f.TraceParent
		c.follows(b, c.sh.keyed(t.Commands(f.Aggregate), f.Key, env, c.m.Name, mustJSON(f.Value)))
	case machine.Completion:
		env.ID, env.Type, env.Subject = f.ID, f.Type, en.id
		c.follows(b, c.sh.record(c.completionsTopic, c.sh.id, en.id, env, c.m.Name, mustJSON(f.Value)))
	case machine.Claim:
		for _, x := range f.Blobs {
			b.addAfter(c.blob(x.ID+schemas.BlobClaim, at, []byte{}))
		}
	case machine.Discard:
		for _, x := range f.Blobs {
			for n := range x.Chunks {
				b.addAfter(c.blob(schemas.BlobChunk(x.ID, n), at, nil))
			}
			b.addAfter(c.blob(x.ID+schemas.BlobClaim, at, nil))
		}
	case machine.Announce:
		env.ID = machine.ID("announce", f.Key, strconv.FormatInt(seq, 10))
		env.Type, env.Subject = f.Type, f.Key
		var value []byte
		if f.Value != nil {
			value = mustJSON(f.Value)
		}
		b.addAfter(c.sh.record(t.Definitions(), 0, f.Key, env, c.m.Name, value))
	}
}

// follows puts a record that follows from an event into the batch. One that is too large can be written never, and
// would hold up the shard for ever: it becomes a dead letter that says so.
func (c *store[S, C, E]) follows(b *batch, r *kgo.Record) {
	if n := size(r); n > maxRecordBytes {
		r.Offset = -1 // it stands nowhere
		r = c.sh.deadLetter(r, fmt.Errorf("what follows for %.100q has %d bytes, over the limit of %d for a record", r.Key, n, maxRecordBytes), r.Timestamp)
	}
	b.addAfter(r)
}

// blob is a record about a blob that was written under the id of an aggregate of this shard: a
// claim, or, without a value, the end of a chunk. Those are partitions of the same number.
func (c *store[S, C, E]) blob(key string, at time.Time, value []byte) *kgo.Record {
	env := kafka.CloudEvent{ID: machine.ID("blob", key), Type: schemas.BlobRecord, Time: at, InputOffset: -1}
	return c.sh.record(c.sh.topics.Blobs(), c.sh.id, key, env, c.m.Name, value)
}

// close adds the position record, if this transaction has anything of this cell.
func (c *store[S, C, E]) close(b *batch) error {
	if c.events == 0 && !c.moved {
		return nil
	}
	p := schemas.Position{Txn: c.txn + 1, Followed: c.txn + 1, Next: c.next, At: b.at, Refused: c.refused, Settled: c.settled}
	if c.sh.cfg.Kafka.Embedded {
		p.Followed = c.followed
	}
	c.unsaid = c.followed < c.txn
	c.refused, c.settled, c.moved, c.events = nil, nil, false, 0
	c.txn++
	c.closing = c.sh.record(c.eventsTopic, c.sh.id, schemas.ShardKey, kafka.CloudEvent{
		ID:   machine.ID("position", c.m.Name, strconv.Itoa(int(c.sh.id)), strconv.FormatInt(p.Txn, 10)),
		Type: schemas.ShardPosition, Time: b.at, InputOffset: -1,
	}, c.m.Name, mustJSON(p))
	c.closingAt = b.at
	b.addEvent(c.closing)
	c.since += int64(size(c.closing))
	return nil
}

// committed says that the transaction is on the log: all of it, or, where its effects
// trail, its events and the effects of the one before.
func (c *store[S, C, E]) committed(trailing bool) {
	for _, x := range c.begun {
		x.entry.first = x.event.Offset
	}
	clear(c.begun)
	c.begun = c.begun[:0]
	c.followed = c.txn
	if c.closing == nil {
		return
	}
	c.reached = schemas.Mark{Offset: c.closing.Offset, Txn: c.txn, At: c.closingAt}
	if trailing {
		c.followed--
		c.unsaid = true
	}
	c.closing = nil
}

// say makes the next transaction write a position if the log does not say yet that
// everything has followed: a new owner then derives nothing again.
func (c *store[S, C, E]) say() bool {
	if c.unsaid && c.followed == c.txn {
		c.moved = true
	}
	return c.unsaid
}

// mustJSON encodes a value of ours, whose raw JSON was checked when it came in. It escapes no
// more than JSON asks for: what was measured must not grow.
func mustJSON(v any) []byte {
	b, err := schemas.Encode(v)
	if err != nil {
		return []byte(strconv.Quote(err.Error()))
	}
	return b
}
