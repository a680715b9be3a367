package runner

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// A checkpoint spares a new owner the events before it. It is made between transactions, a little at a time,
// so that the shard goes on meanwhile: each aggregate is written down as it stands when its turn
// comes, with its sequence, by which the replay tells what it has already. Most checkpoints have
// only what has changed since the one before; when those together outweigh the last whole one,
// another whole one is made.

const (
	// defaultCheckpoint is after how many bytes of events there is another checkpoint: what a new owner has
	// to fold in again, of each shard, a tenth of a second's work or less.
	defaultCheckpoint = 4 << 20
	// leastCheckpoint is for how many bytes of events a clean stop makes another one.
	leastCheckpoint = 64 << 10
	// turnBytes is how much is written down between two transactions, at some 100 MB/s.
	turnBytes = 256 << 10
	// partBytes is how large a record of a checkpoint gets.
	partBytes = 512 << 10
	// frameRows is how many rows stand in a frame.
	frameRows = 1 << 10
	// guessBytes is what an aggregate is taken to need that has never been written down.
	guessBytes = 256
)

// checkpoints are what a cell knows of its own.
type checkpoints[S any] struct {
	since   int64       // bytes of events that the newest does not have
	dirty   []*entry[S] // aggregates that have changed since
	cost    int64       // what these take, about
	number  int64       // highest that was ever given
	newest  kept        // the one to go on from; zero: the next has to be whole
	fulls   []kept      // whole ones that can be read, oldest first
	changes int64       // bytes of those that go on from the last of these
	ids     int64       // number of the first remembered ID that the newest does not have
	making  *making[S]
	// What lies before on the snapshots and the events is not there any more, or will not be in a moment.
	snapshotsStart, eventsStart int64
	wanted                      bool // another whole one is to be made soon: history is to be cut
}

// kept is a checkpoint on the log.
type kept struct {
	schemas.Checkpoint
	first int64     // offset of its first record
	end   int64     // and of the last
	at    time.Time // when it was written
	whole bool      // all of it is as it was written
}

// making is a checkpoint that is being made.
type making[S any] struct {
	schemas.Checkpoint
	subject           string
	todo              []*entry[S]
	ended, endedUntil int64 // numbers of rows still to be written
	ids, idsUntil     int64
	rows              []byte // of a frame of ended aggregates
	rowCount          int
	sum               hash.Hash
	rest              []byte        // written down, but in no record yet
	records           []*kgo.Record // not on the log yet
	first             int64         // offset of the first record; negative: none is on the log yet
	whole             bool          // there is nothing more to write down
	last              *kgo.Record
	turns             int
	longest           time.Duration // turn: for so long nothing was decided
}

// weight is what an entry has of that.
type weight struct {
	dirty bool
	bytes int32 // of its last snapshot
}

// touch notes that an aggregate has changed.
func (c *store[S, C, E]) touch(en *entry[S]) {
	if en.dirty || c.m.Snapshot == nil {
		return
	}
	if en.bytes == 0 {
		en.bytes = guessBytes
	}
	en.dirty = true
	c.dirty = append(c.dirty, en)
	c.cost += int64(en.bytes)
}

// due says whether it is time for another checkpoint: it costs no more than the events that it spares.
func (c *store[S, C, E]) due(least int64) bool {
	return c.m.Snapshot != nil && c.reached.Txn > 0 && (c.wanted || c.since >= max(least, c.cost))
}

// checkpoint goes on with a checkpoint, or begins one for that many bytes of events, and returns the records that
// are to be written next. It is called between transactions.
func (c *store[S, C, E]) checkpoint(least int64) []*kgo.Record {
	if c.making == nil {
		if !c.due(least) {
			return nil
		}
		c.begin()
	}
	m := c.making
	if err := guarded(c.writeDown); err != nil {
		c.abandon(err)
		return nil
	}
	if m.whole && c.followed >= m.To.Txn && m.last == nil {
		c.finish()
	}
	if m.last == nil && m.whole {
		return nil // what is left goes with the end
	}
	records := m.records
	m.records = nil
	return records
}

// checkpointed says that records of a checkpoint are on the log, after so long a turn.
func (c *store[S, C, E]) checkpointed(records []*kgo.Record, took time.Duration) {
	m := c.making
	m.turns, m.longest = m.turns+1, max(m.longest, took)
	if m.first < 0 {
		m.first = records[0].Offset
	}
	if m.last == nil {
		return
	}
	c.sh.cfg.Logger.Debug("checkpoint written", "shard", c.sh.id, "aggregate", c.m.Name, "checkpoint", m.Number, "whole", m.Full(),
		"aggregates", m.Aggregates, "bytes", m.Bytes, "turns", m.turns, "longest", m.longest)
	c.newest = kept{m.Checkpoint, m.first, m.last.Offset, c.sh.at, true}
	c.ids, c.changes, c.making = m.idsUntil, c.changes+m.Bytes, nil
	if m.Full() {
		c.fulls, c.changes = append(c.fulls[max(0, len(c.fulls)-1):], c.newest), 0
	}
}

// goesOn says that a checkpoint is being made which the next turn brings on.
func (c *store[S, C, E]) goesOn() bool {
	m := c.making
	return m != nil && (!m.whole || c.followed >= m.To.Txn)
}

func (c *store[S, C, E]) begin() {
	c.number++
	m := &making[S]{first: -1, sum: sha256.New(), subject: c.sh.token + "/" + strconv.FormatInt(c.number, 10)}
	m.Number, m.Base, m.Previous, m.From = c.number, c.newest.Base, c.newest.Number, c.reached
	m.todo, m.ids, m.idsUntil = c.dirty, c.ids, c.seen.ids.end()
	if c.wanted || c.newest.Number == 0 || c.changes > c.fulls[len(c.fulls)-1].Bytes {
		c.letGo()
		m.Base, m.Previous, c.wanted = m.Number, 0, false
		m.todo = slices.AppendSeq(make([]*entry[S], 0, len(c.entries)), maps.Values(c.entries))
		m.ids, m.ended, m.endedUntil = c.seen.ids.first, c.ended.first, c.ended.end()
		for _, en := range c.dirty {
			if c.entries[en.id] != en { // it has left memory
				m.todo = append(m.todo, en)
			}
		}
	}
	c.dirty, c.cost, c.since, c.making = nil, 0, 0, m
}

// abandon gives a checkpoint up. What it had taken of the changes is lost, so the next has to be whole.
func (c *store[S, C, E]) abandon(err error) {
	c.sh.cfg.Logger.Warn("a checkpoint cannot be made; a new owner has the events", "shard", c.sh.id, "aggregate", c.m.Name, "err", err)
	c.making, c.newest = nil, kept{}
}

// writeDown writes down as much as one turn may.
func (c *store[S, C, E]) writeDown() error {
	m := c.making
	if m.whole {
		return nil
	}
	m.To = c.reached
	before := len(m.rest)
	for len(m.rest)-before < turnBytes {
		switch {
		case len(m.todo) > 0:
			en := m.todo[len(m.todo)-1]
			m.todo[len(m.todo)-1] = nil
			m.todo = m.todo[:len(m.todo)-1]
			if err := c.writeEntry(m, en); err != nil {
				return err
			}
		case m.ended < m.endedUntil:
			m.addEnded(*c.ended.at(m.ended))
			m.ended++
		case m.rowCount > 0:
			m.closeRows()
		case max(m.ids, c.seen.ids.first) < m.idsUntil:
			m.addIDs(&c.seen.ids)
		default:
			m.whole = true
			c.cut(m, 1)
			return nil
		}
	}
	c.cut(m, partBytes)
	return nil
}

// writeEntry writes an aggregate down as it stands, or the row of one that has ended.
func (c *store[S, C, E]) writeEntry(m *making[S], en *entry[S]) error {
	if !en.dirty && !m.Full() {
		return nil // a checkpoint has it since it was put on the list
	}
	en.dirty = false
	if over(en.state) && !en.far {
		m.addEnded(row{digest(en.id), en.first, en.seq})
		return nil
	}
	state, err := c.m.Snapshot.Encode(en.state)
	if err != nil {
		return fmt.Errorf("write down %s %s: %w", c.m.Name, en.id, err)
	}
	l := liveState{en.id, en.seq, en.first, c.m.Snapshot.Version, state}
	before := len(m.rest)
	m.rest = appendFrame(m.rest, liveFrame, l.append(nil))
	en.bytes = int32(min(len(m.rest)-before, 1<<30))
	m.Aggregates++
	return nil
}

func (m *making[S]) addEnded(r row) {
	m.rows = appendRow(m.rows, endedFrame, r)
	m.Ended++
	if m.rowCount++; m.rowCount == frameRows {
		m.closeRows()
	}
}

func (m *making[S]) closeRows() {
	m.rest = appendFrame(m.rest, endedFrame, m.rows)
	m.rows, m.rowCount = m.rows[:0], 0
}

func (m *making[S]) addIDs(ids *ledger) {
	m.ids = max(m.ids, ids.first)
	var rows []byte
	for n := 0; n < frameRows && m.ids < m.idsUntil; n++ {
		rows = appendRow(rows, idFrame, *ids.at(m.ids))
		m.ids++
		m.Remembered++
	}
	m.rest = appendFrame(m.rest, idFrame, rows)
}

// cut makes records of what is written down, as long as there is enough for one.
func (c *store[S, C, E]) cut(m *making[S], enough int) {
	for len(m.rest) >= enough {
		n := min(len(m.rest), partBytes)
		m.Parts++
		m.Bytes += int64(n)
		m.sum.Write(m.rest[:n])
		m.records = append(m.records, c.part(schemas.ShardSnapshot, m.rest[:n:n]))
		m.rest = m.rest[n:]
	}
	m.rest = append([]byte(nil), m.rest...) // what is before belongs to the records
}

// part makes a record of the checkpoint that is being made.
func (c *store[S, C, E]) part(typ string, value []byte) *kgo.Record {
	m := c.making
	env := kafka.CloudEvent{
		ID:   machine.ID("checkpoint", c.m.Name, strconv.Itoa(int(c.sh.id)), m.subject, typ, strconv.Itoa(m.Parts)),
		Type: typ, Subject: m.subject, Sequence: int64(m.Parts), Time: c.sh.at, InputOffset: -1,
	}
	return c.sh.record(c.snapshotsTopic, c.sh.id, schemas.ShardKey, env, c.m.Name, value)
}

// finish adds the record that ends a checkpoint.
func (c *store[S, C, E]) finish() {
	m := c.making
	m.Followed, m.Last, m.Format = c.followed, c.sh.at, schemas.LogFormat
	m.Checksum = hex.EncodeToString(m.sum.Sum(nil))
	m.last = c.part(schemas.ShardCheckpoint, mustJSON(m.Checkpoint))
	m.records = append(m.records, m.last)
}
