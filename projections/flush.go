package projections

import (
	"errors"
	"fmt"
	"time"

	"github.com/waybill/waybill/schemas"
)

// flush writes the batch and commits it. It answers with the ids of the jobs, transfers and
// negotiations that changed; the slice is used again for the next batch.
func (w *writer) flush() ([]string, error) {
	if !w.batch.open {
		return nil, nil
	}
	b := &w.batch
	b.changed = b.changed[:0]
	for _, j := range b.jobs {
		if err := w.writeJob(j); err != nil {
			return nil, fmt.Errorf("job %s: %w", j.id, err)
		}
		b.changed = append(b.changed, j.id)
	}
	if err := w.writeTransfers(); err != nil {
		return nil, err
	}
	if err := w.writeNegotiations(); err != nil {
		return nil, err
	}
	if err := w.writeCommands(); err != nil {
		return nil, err
	}
	if err := w.writeRejections(); err != nil {
		return nil, err
	}
	if err := w.prune(); err != nil {
		return nil, err
	}
	if err := w.letGo(); err != nil {
		return nil, err
	}
	if err := w.writePositions(); err != nil {
		return nil, err
	}
	if _, err := w.c.exec("COMMIT"); err != nil {
		return nil, err
	}
	w.settle()
	return b.changed, nil
}

// settle makes the batch ready for the next records: what was written is clean.
func (w *writer) settle() {
	b := &w.batch
	for _, j := range b.jobs {
		j.dirty = false
		j.written()
		w.jobs.settle(j)
	}
	for _, t := range b.transfers {
		t.dirty, t.kept = false, true
		w.transfers.settle(t)
	}
	for _, p := range b.parties {
		p.settle()
		w.parties.settle(p)
	}
	for _, a := range b.accesses {
		a.settle()
		w.accesses.settle(a)
	}
	w.jobs.trim()
	w.transfers.trim()
	w.parties.trim()
	w.accesses.trim()
	for _, p := range b.parts {
		p.dirty, p.stored = false, p.next
	}
	clear(b.jobs)
	clear(b.transfers)
	clear(b.parties)
	clear(b.accesses)
	clear(b.commands)
	b.jobs, b.transfers, b.parties, b.accesses = b.jobs[:0], b.transfers[:0], b.parties[:0], b.accesses[:0]
	b.commands, b.rejections, b.parts = b.commands[:0], b.rejections[:0], b.parts[:0]
	b.open = false
}

// written says that SQLite has all of it.
func (j *job) written() {
	j.fresh, j.cleared, j.kept = false, false, true
	j.input, j.output = nil, nil
	j.linked += uint32(len(j.edges))
	j.changed, j.edges = j.changed[:0], j.edges[:0]
}

// maxInlineInput is the largest input, in bytes, that stands in a job's own row while the
// job runs: the row is written again with every change.
const maxInlineInput = 2 << 10

func (w *writer) writeJob(j *job) error {
	if j.fresh && j.kept {
		if err := w.forgetRun(j); err != nil {
			return err
		}
	}
	doc := w.text(j.appendDoc)
	var err error
	switch {
	case j.fresh:
		err = w.writeFresh(j, doc)
	case j.output == nil && j.cleared:
		_, err = w.c.exec("UPDATE job SET seq = ?, code = ?, doc = ?, output = NULL WHERE key = ?", j.seq, int64(j.phase), doc, j.key)
	case j.output == nil:
		_, err = w.c.exec("UPDATE job SET seq = ?, code = ?, doc = ? WHERE key = ?", j.seq, int64(j.phase), doc, j.key)
	default:
		_, err = w.c.exec("UPDATE job SET seq = ?, code = ?, doc = ?, output = ? WHERE key = ?", j.seq, int64(j.phase), doc, string(j.output), j.key)
	}
	if err != nil {
		return err
	}
	if err := w.writeNodes(j); err != nil {
		return err
	}
	return w.writePast(j.key, &j.past)
}

// writeFresh writes all of a job whose run has just begun.
func (w *writer) writeFresh(j *job, doc string) error {
	inline := string(j.input)
	if len(j.input) > maxInlineInput && !j.phase.Final() {
		inline = ""
		if _, err := w.c.exec("INSERT INTO job_input (job, input) VALUES (?, ?)", j.key, string(j.input)); err != nil {
			return err
		}
	}
	_, err := w.c.exec("INSERT OR REPLACE INTO job (key, id, seq, origin, code, type, name, \"set\", created, doc, input, output) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		j.key, j.id, j.seq, j.origin(), int64(j.phase), j.typ, nullable(j.name), nullable(j.set), j.created, doc, nullable(inline), nullable(string(j.output)))
	if err != nil || len(j.labels) <= len("{}") {
		return err
	}
	_, err = w.c.exec("INSERT INTO job_label (name, value, created, job_id, job) SELECT key, value, ?, ?, ? FROM json_each(?)",
		j.created, j.id, j.key, string(j.labels))
	return err
}

// forgetRun removes what an earlier run of the job left behind; its history stays.
func (w *writer) forgetRun(j *job) error {
	from, to := within(j.key)
	for _, q := range []string{"DELETE FROM node WHERE key BETWEEN ? AND ?", "DELETE FROM edge WHERE key BETWEEN ? AND ?"} {
		if _, err := w.c.exec(q, from, to); err != nil {
			return err
		}
	}
	if _, err := w.c.exec("DELETE FROM job_input WHERE job = ?", j.key); err != nil {
		return err
	}
	_, err := w.c.exec("DELETE FROM job_label WHERE (name, value) IN (SELECT l.key, l.value FROM job, json_each(job.doc, '$.labels') l WHERE job.key = ?1) AND created = ?2 AND job_id = ?3",
		j.key, j.created, j.id)
	return err
}

func (w *writer) writeNodes(j *job) error {
	for _, n := range j.changed {
		doc := w.text(n.appendDoc)
		key := j.key<<32 | int64(n.number)
		access, err := n.accessed()
		if err != nil {
			return err
		}
		if n.kept {
			_, err = w.c.exec("UPDATE node SET seq = ?, state = ?, waited = ?, work = ?, access = ?, doc = ? WHERE key = ?",
				n.seq, int64(n.phase), n.waited, nullable(n.lookup()), access, doc, key)
		} else {
			_, err = w.c.exec("INSERT INTO node (key, id, seq, state, waited, work, access, doc) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
				key, n.id, n.seq, int64(n.phase), n.waited, nullable(n.lookup()), access, doc)
		}
		if err != nil {
			return err
		}
		n.kept, n.dirty = true, false
	}
	w.rows += len(j.changed) + 2 // the job and its history as well
	for i, e := range j.edges {
		key := j.key<<32 | int64(j.linked) + int64(i)
		if _, err := w.c.exec(`INSERT INTO edge (key, "from", "to", kind) VALUES (?, ?, ?, ?)`, key, e.from, e.to, e.kind); err != nil {
			return err
		}
	}
	return nil
}

// writePast writes the piece of history that the batch has of an aggregate.
func (w *writer) writePast(key int64, past *chunk) error {
	if past.first == 0 {
		return nil
	}
	_, err := w.c.exec("INSERT INTO history (key, events) VALUES (?, ?)", key<<32|past.first, past.b)
	past.reset()
	return err
}

// text renders with the scratch buffer.
func (w *writer) text(render func([]byte) []byte) string {
	w.scratch = render(w.scratch[:0])
	return string(w.scratch)
}

// day is the length of the buckets in which commands grow old.
const day = int64(24 * 3600 * 1e9)

func (w *writer) writeCommands() error {
	for _, c := range w.batch.commands {
		c.queued = false
		_, err := w.c.exec(`INSERT INTO command (day, id, aggregate, aggregate_id, first_seq, last_seq, at) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (day, id) DO UPDATE SET last_seq = max(last_seq, excluded.last_seq)`,
			c.at/day, commandKey(c.id), aggregateColumn(c.aggregate), c.aggregateID, c.first, c.last, c.at)
		if err != nil {
			return fmt.Errorf("command %s: %w", c.id, err)
		}
	}
	return nil
}

// aggregateColumn leaves the name out that nearly all rows have.
func aggregateColumn(aggregate string) string {
	if aggregate == schemas.AggregateOrchestration {
		return ""
	}
	return aggregate
}

// commandKey is a command's id as it is stored: 16 bytes for a UUID, never 16 bytes for
// anything else.
func commandKey(id string) []byte {
	if u, ok := canonicalUUID(id); ok {
		return u[:]
	}
	b := append(make([]byte, 0, len(id)+2), id...)
	for b = append(b, 0); len(b) == 16; {
		b = append(b, 0)
	}
	return b
}

const insertRejection = "INSERT OR IGNORE INTO rejection (command_id, hash, command_type, aggregate, aggregate_id, code, reason, errors, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"

func (w *writer) writeRejections() error {
	for _, r := range w.batch.rejections {
		errs, err := schemas.Encode(r.Errors)
		if err != nil {
			return fmt.Errorf("command %s: %w", r.CommandID, err)
		}
		if len(r.Errors) == 0 {
			errs = []byte("[]")
		}
		_, err = w.c.exec(insertRejection,
			r.CommandID, r.Hash, r.CommandType, r.aggregate, r.AggregateID, string(r.Code), r.Reason, string(errs), r.at)
		if err != nil {
			return fmt.Errorf("command %s: %w", r.CommandID, err)
		}
	}
	return nil
}

// maxPrune bounds what one transaction takes away, so that no day's end stops the work.
const maxPrune = 5_000

// prune takes away answers to commands that are older than anybody may ask for. An event from the future, of an owner
// whose clock was wrong, must not take away all of them.
func (w *writer) prune() error {
	oldest := min(w.newest, time.Now().UnixNano()) - int64(w.keep)
	if oldest/day <= w.pruned {
		return nil
	}
	a, err := w.c.exec("DELETE FROM command WHERE (day, id) IN (SELECT day, id FROM command WHERE day < ? LIMIT ?)", oldest/day, int64(maxPrune))
	if err != nil {
		return err
	}
	b, err := w.c.exec("DELETE FROM rejection WHERE key IN (SELECT key FROM rejection WHERE at < ? LIMIT ?)", oldest, int64(maxPrune))
	if err != nil {
		return err
	}
	c, err := w.c.exec("DELETE FROM wish WHERE (waiter, party) IN (SELECT waiter, party FROM wish WHERE created < ? LIMIT ?)", oldest, int64(maxPrune))
	if err != nil {
		return err
	}
	if a < maxPrune && b < maxPrune && c < maxPrune {
		w.pruned = oldest / day
	}
	return nil
}

var errForeignWriter = errors.New("another process writes to the same file; give each its own")

// writePositions writes how far each partition has been read. It refuses to go on from
// where it has not been: then somebody else writes to this file as well.
func (w *writer) writePositions() error {
	for _, p := range w.batch.parts {
		var n int64
		var err error
		if p.stored < 0 {
			n, err = w.c.exec(`INSERT OR IGNORE INTO log_position (topic, "partition", topic_id, next_offset, next_command, decided_at) VALUES (?, ?, ?, ?, ?, ?)`,
				p.topic, int64(p.number), p.topicID, p.next, p.command, p.decidedAt)
		} else {
			n, err = w.c.exec(`UPDATE log_position SET next_offset = ?, next_command = ?, decided_at = ? WHERE topic = ? AND "partition" = ? AND next_offset = ?`,
				p.next, p.command, p.decidedAt, p.topic, int64(p.number), p.stored)
		}
		if err != nil {
			return err
		}
		if n != 1 {
			return fmt.Errorf("position of %s/%d is not %d any more: %w", p.topic, p.number, p.stored, errForeignWriter)
		}
	}
	return nil
}
