package runner

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// restoring is how a cell comes back to what it knew.
type restoring struct {
	found   []kept   // whole checkpoints that are as they were written, oldest first
	chosen  []kept   // what was loaded: one that holds everything, and those that go on from it; empty: the events alone
	passed  bool     // the replay has met what the chosen one says of the log
	tried   int64    // number of the last one that was chosen; those from there on are not to be tried again
	useless []string // why others could not be used
	folded  int      // events since
}

// archiveBytes is how much of a checkpoint is read at a time.
const archiveBytes = 1 << 20

// search reads the snapshots of the shard from the log's beginning up to the record of this taking, and
// keeps in mind which checkpoints are whole.
func (c *store[S, C, E]) search(ctx context.Context, from, until int64) error {
	var open *audit
	for from <= until {
		records, next, err := c.sh.cfg.archive.read(ctx, c.snapshotsTopic, c.sh.id, from, archiveBytes)
		if err != nil {
			return err
		}
		for _, r := range records {
			if r.Offset >= until {
				break
			}
			var k kept
			if open, k = open.next(r); k.whole {
				c.found = append(c.found, k)
			} else if k.Number > 0 {
				c.useless = append(c.useless, fmt.Sprintf("checkpoint %d is not as it was written", k.Number))
			}
			c.number = max(c.number, k.Number)
		}
		from = next
	}
	return nil
}

// verify reads a checkpoint again.
func (sh *shard) verify(ctx context.Context, name string, k kept) error {
	var open *audit
	for from := k.first; from <= k.end; {
		records, next, err := sh.cfg.archive.read(ctx, sh.topics.Snapshots(name), sh.id, from, archiveBytes)
		if err != nil {
			return err
		}
		for _, r := range records {
			var read kept
			if open, read = open.next(r); r.Offset == k.end && read.whole && read.Checksum == k.Checksum {
				return nil
			}
		}
		from = next
	}
	return fmt.Errorf("checkpoint %d is not as it was written", k.Number)
}

// audit is what is known of a checkpoint that is being read.
type audit struct {
	subject string
	first   int64
	parts   int
	bytes   int64
	sum     hash.Hash
	broken  bool // a part is missing
}

// next looks at the next record of the snapshots: it may end a checkpoint. What is no part of a whole one was left
// by an owner that did not come to its end, or has been damaged: it is passed over.
func (a *audit) next(r *kgo.Record) (*audit, kept) {
	env, err := kafka.ParseCloudEvent(r)
	if err != nil {
		return nil, kept{}
	}
	if a == nil || a.subject != env.Subject {
		a = &audit{subject: env.Subject, first: r.Offset, sum: sha256.New()}
	}
	switch env.Type {
	case schemas.ShardSnapshot:
		a.parts++
		a.broken = a.broken || int64(a.parts) != env.Sequence
		a.bytes += int64(len(r.Value))
		a.sum.Write(r.Value)
		return a, kept{}
	case schemas.ShardCheckpoint:
		k := kept{first: a.first, end: r.Offset, at: env.Time}
		if k.Checkpoint, err = schemas.DecodeCheckpoint(env.Type, r.Value); err != nil {
			return nil, kept{}
		}
		k.whole = !a.broken && a.parts == k.Parts && a.bytes == k.Bytes && hex.EncodeToString(a.sum.Sum(nil)) == k.Checksum
		return nil, k
	}
	return nil, kept{}
}

// origin says where the state comes from; nothing where there is none.
func (c *store[S, C, E]) origin() string {
	switch {
	case len(c.chosen) == 0 && c.folded == 0:
		return ""
	case len(c.chosen) == 0:
		return fmt.Sprintf("%d events", c.folded)
	}
	return fmt.Sprintf("checkpoint %d of %s and %d events", c.newest.Number, c.newest.at.Format(time.RFC3339), c.folded)
}

// chain lists the checkpoint that holds everything and those that go on from it up to the given one; nil
// where one of them is missing.
func (c *store[S, C, E]) chain(last kept) []kept {
	l := []kept{last}
	for !l[0].Full() {
		i := slices.IndexFunc(c.found, func(k kept) bool { return k.Number == l[0].Previous })
		if i < 0 || c.found[i].Number >= l[0].Number {
			return nil
		}
		l = slices.Insert(l, 0, c.found[i])
	}
	return l
}

// restore loads the newest checkpoint that can be used and was not tried yet, and returns the offset from which on
// the events have to be folded in. They are on the log from start on; this taking's record is at end.
func (c *store[S, C, E]) restore(ctx context.Context, start, end int64) (int64, error) {
	c.eventsStart = start
	for _, k := range c.found {
		if err := schemas.CheckFormat(k.Format); err != nil {
			return 0, &StoppedError{c.snapshotsTopic, c.sh.id, k.end, err}
		}
	}
	for i := len(c.found) - 1; i >= 0; i-- {
		k := c.found[i]
		if c.tried > 0 && k.Number >= c.tried {
			continue
		}
		c.tried = k.Number
		chain := c.chain(k)
		var err error
		switch {
		case c.m.Snapshot == nil:
			return 0, c.complete(start)
		case chain == nil:
			err = errors.New("one that it goes on from is missing")
		case k.From.Offset < start || k.To.Offset >= end || k.From.Offset > k.To.Offset:
			err = fmt.Errorf("it goes on from the events at %d to %d, and the log has those from %d to %d", k.From.Offset, k.To.Offset, start, end)
		default:
			err = guarded(func() error { return c.load(ctx, chain) })
		}
		if err == nil {
			c.chosen = chain
			return k.From.Offset, nil
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		c.refuseCheckpoint(err)
	}
	return 0, c.complete(start)
}

// refuseCheckpoint notes why the checkpoint that was tried last is of no use, and forgets what came of it.
func (c *store[S, C, E]) refuseCheckpoint(err error) {
	c.useless = append(c.useless, fmt.Sprintf("checkpoint %d: %v", c.tried, err))
	c.sh.cfg.Logger.Warn("a checkpoint cannot be used", "shard", c.sh.id, "aggregate", c.m.Name, "checkpoint", c.tried, "err", err)
	c.reset()
}

// complete says whether the events are there from the first on.
func (c *store[S, C, E]) complete(start int64) error {
	if start == 0 {
		return nil
	}
	why := "there is no checkpoint"
	if len(c.useless) > 0 {
		why = fmt.Sprint(c.useless)
	}
	return &StoppedError{c.eventsTopic, c.sh.id, start, fmt.Errorf("the events before have been let go, and no checkpoint on %s/%d stands for them (%s): run the build that wrote the checkpoints, or restore that topic from a copy",
		c.snapshotsTopic, c.sh.id, why)}
}

// reset forgets everything but what was found of checkpoints.
func (c *store[S, C, E]) reset() {
	other := c.m.cell(c.sh)
	other.restoring, other.number, other.eventsStart = c.restoring, c.number, c.eventsStart
	other.chosen, other.passed, other.folded = nil, false, 0
	*c = *other
}

// load takes in what some checkpoints hold, one after the other.
func (c *store[S, C, E]) load(ctx context.Context, chain []kept) error {
	s := &scanner{live: c.loadLive, row: c.loadRow}
	for _, k := range chain {
		if err := c.loadOne(ctx, k, s); err != nil {
			return fmt.Errorf("checkpoint %d: %w", k.Number, err)
		}
		if k.Full() {
			c.changes = 0
		} else {
			c.changes += k.Bytes
		}
	}
	for id, en := range c.entries {
		if r := c.ended.find(digest(id)); r != nil && r.b >= en.seq {
			delete(c.entries, id) // it has ended since it was written down
		}
	}
	last := chain[len(chain)-1]
	c.certain, c.last, c.newest, c.ids = last.Followed, last.Last, last, c.seen.ids.end()
	for _, k := range c.found {
		if k.Full() && k.Number <= last.Number {
			c.fulls = append(c.fulls, k)
		}
	}
	return nil
}

func (c *store[S, C, E]) loadOne(ctx context.Context, k kept, s *scanner) error {
	for at := k.first; at < k.end; {
		records, next, err := c.sh.cfg.archive.read(ctx, c.snapshotsTopic, c.sh.id, at, archiveBytes)
		if err != nil {
			return err
		}
		for _, r := range records {
			if r.Offset >= k.end || string(r.Key) != schemas.ShardKey {
				break
			}
			if err := s.feed(r.Value); err != nil {
				return err
			}
		}
		at = next
	}
	return s.end()
}

func (c *store[S, C, E]) loadLive(l liveState) error {
	if en := c.entries[l.id]; en != nil && en.seq >= l.seq {
		return nil
	}
	state, err := c.m.Snapshot.Decode(l.version, l.id, bytes.Clone(l.state))
	if err != nil {
		return fmt.Errorf("read %s %s: %w", c.m.Name, l.id, err)
	}
	en := c.fresh(l.id)
	en.state, en.seq, en.first, en.bytes = state, l.seq, l.first, int32(min(len(l.state), 1<<30))
	en.far = over(state)
	c.entries[l.id] = en
	return nil
}

func (c *store[S, C, E]) loadRow(kind byte, r row) {
	if kind == idFrame {
		c.seen.put(r)
	} else {
		c.noteEnded(r)
	}
}

// mismatchError says that the log is not the one that a checkpoint was made of: its end was lost, and
// other events stand there now.
type mismatchError struct {
	mark  schemas.Mark
	found string
}

// Error implements error.
func (e *mismatchError) Error() string {
	return fmt.Sprintf("transaction %d should have ended at offset %d; %s: the log has lost its end since, or is another one", e.mark.Txn, e.mark.Offset, e.found)
}

// fits compares the log with what the chosen checkpoint says of it.
func (c *store[S, C, E]) fits(r *kgo.Record, p *schemas.Position, end bool) error {
	if len(c.chosen) == 0 || c.passed {
		return nil
	}
	k := c.chosen[len(c.chosen)-1]
	for _, mark := range [...]schemas.Mark{k.From, k.To} {
		switch {
		case r.Offset > mark.Offset && c.reached.Offset < mark.Offset:
			return &mismatchError{mark, fmt.Sprintf("the next record is at %d", r.Offset)}
		case r.Offset == mark.Offset && (p == nil || p.Txn != mark.Txn || !p.At.Equal(mark.At)):
			return &mismatchError{mark, "what ends there is another"}
		}
	}
	c.passed = r.Offset >= k.To.Offset
	if end && !c.passed {
		return &mismatchError{k.To, fmt.Sprintf("the log ends at %d", r.Offset)}
	}
	return nil
}
