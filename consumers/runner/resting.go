package runner

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Of an aggregate that has ended little is asked for any more. It stays in memory for a while, since
// repeats and late reports are common; then a row says where its events begin and how many
// they are, and it is read back from them when something is asked for after all.

const (
	// defaultRecent is how many ended aggregates of a type stay in memory in each shard.
	defaultRecent = 2000
	// maxSpan is how far an aggregate's events may lie apart, in offsets, for it to be read back: the shard
	// decides nothing meanwhile. One that lived for longer stays in memory.
	maxSpan = 1 << 18
	// maxRecalled is how many bytes are read to find what the commands of one poll need. What
	// is not found then is looked for by itself.
	maxRecalled = 64 << 20
)

// resting is what a cell knows of aggregates that have ended.
type resting[S any] struct {
	ended  ledger // by digest of the id: offset of the first event, sequence of the last one
	recent []*entry[S]
	thawed []*entry[S] // read back for the transaction being made: they may forget afterwards
}

// aside is what an entry has of that.
type aside struct {
	queued bool // it is among the recent ones
	used   bool // since then
	far    bool // it is not read back: it stays
}

// over says that an aggregate has nothing more to do.
func over[S Aggregate[S, C, E], C, E any](s S) bool { return s.Ended() && s.Deadline().IsZero() }

// rest notes that an aggregate has ended, if it has. Its last event lies at the offset or behind it.
func (c *store[S, C, E]) rest(en *entry[S], last int64) {
	if en.queued || !over(en.state) {
		return
	}
	en.queued, en.used, en.far = true, false, en.first > 0 && last-en.first > maxSpan
	c.recent = append(c.recent, en)
}

// settle ends a transaction: who was read back for it forgets again, and who ended long ago leaves memory.
func (c *store[S, C, E]) settle() {
	for _, en := range c.thawed {
		c.forget(en)
	}
	clear(c.thawed)
	c.thawed = c.thawed[:0]
	for len(c.recent) > c.sh.cfg.Recent {
		en := c.recent[0]
		c.recent[0] = nil
		c.recent, en.queued = c.recent[1:], false
		switch {
		case c.entries[en.id] != en || !over(en.state) || en.far:
		case en.used:
			c.rest(en, en.first)
		default:
			c.leave(en)
		}
	}
}

// leave takes an ended aggregate out of memory.
func (c *store[S, C, E]) leave(en *entry[S]) {
	delete(c.entries, en.id)
	c.noteEnded(row{digest(en.id), en.first, en.seq})
}

// noteEnded keeps the newest of what is known of an ended aggregate.
func (c *store[S, C, E]) noteEnded(r row) {
	switch known := c.ended.find(r.key); {
	case known == nil:
		c.ended.add(r)
	case r.b > known.b:
		*known = r
	}
}

// forget lets an aggregate that was read back forget what it needs no more.
func (c *store[S, C, E]) forget(en *entry[S]) {
	if c.m.History != nil {
		en.state = c.m.History.Forget(en.state)
	}
	c.rest(en, en.first)
}

// asleep is an aggregate that has ended and left memory, without its state; nil if there is none.
func (c *store[S, C, E]) asleep(id string) *entry[S] {
	if c.ended.len() == 0 || c.entries[id] != nil {
		return nil
	}
	r := c.ended.find(digest(id))
	if r == nil || r.a < c.eventsStart {
		return nil
	}
	en := c.fresh(id)
	en.first, en.seq = r.a, r.b
	return en
}

// aggregate finds an aggregate in memory or on the log; it may be one that nobody has asked for. The error
// is a *machine.Refusal where it cannot be read back.
func (c *store[S, C, E]) aggregate(ctx context.Context, b *batch, id string) (*entry[S], error) {
	if en := c.entries[id]; en != nil {
		en.used = true
		return en, nil
	}
	en := c.asleep(id)
	if en == nil {
		return c.fresh(id), nil
	}
	state, err := c.readBack(ctx, b, en)
	if err != nil {
		return nil, err
	}
	c.thaw(en, state)
	return en, nil
}

// thaw keeps an aggregate that was read back, with all that it remembers, until the transaction ends.
func (c *store[S, C, E]) thaw(en *entry[S], state S) {
	en.state = state
	c.entries[en.id] = en
	c.thawed = append(c.thawed, en)
}

// recall reads back, in one pass, the ended aggregates that some commands are going to need. What it
// does not find is looked for when the command is decided.
func (c *store[S, C, E]) recall(ctx context.Context, commands []*kgo.Record) error {
	needed := make(map[string]*entry[S])
	var tales []*retelling[S]
	for _, r := range commands {
		en := c.needs(r)
		if en == nil || needed[en.id] != nil {
			continue
		}
		needed[en.id] = en
		tales = append(tales, c.retelling(en.id, en.first, en.seq))
	}
	if len(tales) < 2 {
		return nil
	}
	soon, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := c.tell(soon, tales, maxRecalled); err != nil && soon.Err() == nil {
		c.sh.cfg.Logger.Info("ended aggregates are read back one by one", "shard", c.sh.id, "err", err)
	}
	for _, t := range tales {
		if t.err == nil && t.seq == t.until {
			c.thaw(needed[t.id], t.state)
		}
	}
	return ctx.Err()
}

// needs is the ended aggregate that has to be read back for a command; nil if none has to be.
func (c *store[S, C, E]) needs(r *kgo.Record) *entry[S] {
	h := c.m.History
	en, awake := c.entries[string(r.Key)]
	switch {
	case awake && (h == nil || !en.state.Ended()):
		return nil
	case !awake:
		if en = c.asleep(string(r.Key)); en == nil {
			return nil
		}
	}
	rec, problem := parse(r)
	if problem != nil {
		return nil
	}
	if known, _ := c.seen.find(rec.env.ID, ""); known {
		return nil
	}
	cmd, err := c.m.DecodeCommand(rec.env.Type, rec.data)
	if err != nil {
		return nil // it is answered without
	}
	if _, silent := c.m.IsReport(cmd); silent || awake && !h.Needs(en.state, cmd) {
		return nil
	}
	return en
}
