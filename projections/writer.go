package projections

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// partition is one partition of the log and how far it has been read.
type partition struct {
	topic     string
	topicID   string
	aggregate string // empty for the dead letters
	number    int32
	next      int64 // offset of the next record to fold in
	command   int64 // what lies before it on the commands partition has been decided
	decidedAt int64
	stored    int64 // next, as SQLite has it; -1 where it has none
	start     int64 // where the log begins, as far as that is known
	left      int64 // origin up to which what the log has let go of has left the rows
	dirty     bool  // rows depend on it
	fault     *Fault
}

// writer folds records into rows. Everything that one poll brought is folded in memory
// first, so that each row is written once, then written in one transaction together
// with the positions.
type writer struct {
	c       *conn
	decoder *schemas.Decoder
	// What had events lately.
	jobs      jobCache
	transfers cache[*transferring]
	parties   cache[*counterparty]
	accesses  cache[*access]

	nextKey int64
	plans   map[*orchestration.Plan]plan
	keep    time.Duration
	newest  int64        // time of the newest event
	pruned  int64        // day up to which old commands are gone
	leaving []*partition // of which the rows may have more than the log
	scratch []byte
	rows    int // written since the last checkpoint
	batch   batch
}

// batch is what is to be written.
type batch struct {
	open       bool // a transaction is open
	jobs       []*job
	transfers  []*transferring
	parties    []*counterparty
	accesses   []*access
	commands   []*commandRow
	rejections []rejectionRow
	parts      []*partition
	changed    []string // ids of jobs, transfers and negotiations, for whoever watches them
}

// commandRow is an accepted command and the events that it made happen.
type commandRow struct {
	id, aggregate, aggregateID string
	first, last, at            int64
	queued                     bool
}

type rejectionRow struct {
	schemas.Refused
	aggregate string
	at        int64
}

// plan is a definition as it stands in started events.
type plan struct {
	key int64
	raw []byte
}

// maxPlans bounds how many definitions are remembered; beyond it they are looked up again.
const maxPlans = 1024

// apply folds in one record. A *Fault stops its partition, any other error everything.
func (w *writer) apply(ctx context.Context, p *partition, r *kgo.Record) error {
	if r.Offset < p.next {
		return nil
	}
	if r.Attrs.IsControl() {
		p.next = r.Offset + 1
		return nil
	}
	if err := w.begin(); err != nil {
		return err
	}
	var err error
	if p.aggregate == "" {
		err = w.deadLetter(r)
	} else {
		err = w.record(ctx, p, r)
	}
	if err != nil {
		return err
	}
	p.next = r.Offset + 1
	w.touch(p)
	return nil
}

func (w *writer) touch(p *partition) {
	if !p.dirty {
		p.dirty = true
		w.batch.parts = append(w.batch.parts, p)
	}
}

func (w *writer) begin() error {
	if w.batch.open {
		return nil
	}
	_, err := w.c.exec("BEGIN IMMEDIATE")
	w.batch.open = err == nil
	return err
}

// record folds in a record of an events topic.
func (w *writer) record(ctx context.Context, p *partition, r *kgo.Record) error {
	ce, err := kafka.ParseCloudEvent(r)
	if err != nil {
		return p.stop(r.Offset, ce.Type, err)
	}
	switch ce.Type {
	case schemas.ShardPosition:
		pos, err := schemas.DecodePosition(ce.Type, r.Value)
		if err != nil {
			return p.stop(r.Offset, ce.Type, err)
		}
		w.position(p, pos)
		return nil
	case schemas.ShardOwned:
		owned, err := schemas.DecodeOwned(ce.Type, r.Value)
		if err == nil {
			err = schemas.CheckFormat(owned.Format)
		}
		if err != nil {
			return p.stop(r.Offset, ce.Type, err)
		}
		return nil
	}
	if string(r.Key) == schemas.ShardKey {
		return p.stop(r.Offset, ce.Type, &schemas.UnknownVersionError{Type: ce.Type, Known: schemas.BookRecords()})
	}
	if ce.Sequence <= 0 || len(r.Key) == 0 || ce.Time.IsZero() {
		return p.stop(r.Offset, ce.Type, fmt.Errorf("an event needs a key, %s and %s", kafka.HeaderSequence, kafka.HeaderTime))
	}
	w.newest = max(w.newest, nanos(ce.Time))
	switch p.aggregate {
	case schemas.AggregateDefinition:
		return w.definitionEvent(ctx, p, r, ce)
	case schemas.AggregateTransfer:
		return w.transferEvent(ctx, p, r, ce)
	case schemas.AggregateNegotiation:
		return w.negotiationEvent(ctx, p, r, ce)
	}
	return w.orchestrationEvent(ctx, p, r, ce)
}

// position takes note of what the shard's owner has decided. It closes each transaction,
// so it comes after the events of the commands it speaks of.
func (w *writer) position(p *partition, pos schemas.Position) {
	at := nanos(pos.At)
	p.command = max(p.command, pos.Next)
	p.decidedAt = max(p.decidedAt, at)
	w.newest = max(w.newest, at)
	for _, r := range pos.Refused {
		w.batch.rejections = append(w.batch.rejections, rejectionRow{r, p.aggregate, at})
	}
	for _, s := range pos.Settled {
		w.batch.commands = append(w.batch.commands, &commandRow{id: s.CommandID, aggregate: p.aggregate, aggregateID: s.AggregateID, at: at})
	}
}

// orchestrationEvent folds in an event of a job, unless it is one that we have.
func (w *writer) orchestrationEvent(ctx context.Context, p *partition, r *kgo.Record, ce kafka.CloudEvent) error {
	j, err := w.job(ctx, string(r.Key), p.number)
	if err != nil {
		return err
	}
	if fresh, err := p.follows(&j.aggregated, r, ce); !fresh {
		return err
	}
	e, err := w.decoder.DecodeOrchestrationEvent(ce.Type, r.Value)
	if err != nil {
		return p.stop(r.Offset, ce.Type, err)
	}
	if again, ok := e.(orchestration.RerunStarted); ok {
		if err := w.reopen(ctx, j, again); err != nil {
			return err
		}
	}
	if !j.dirty {
		w.batch.jobs = append(w.batch.jobs, j)
	}
	j.took(r.Offset, ce)
	if err := j.apply(ce.Time, e); err != nil {
		return p.stop(r.Offset, ce.Type, err)
	}
	w.cause(&j.aggregated, schemas.AggregateOrchestration, asked(e), ce)
	return w.remember(ctx, j, e, ce, r.Value)
}

// asked says that somebody asked for what the event says, by a command of their own.
func asked(e orchestration.Event) bool {
	switch e := e.(type) {
	case orchestration.Started, orchestration.RerunStarted, orchestration.Disposed, orchestration.Paused, orchestration.Resumed,
		orchestration.ActivityPaused, orchestration.ActivityResumed, orchestration.Skipped:
		return true
	case orchestration.Compensating:
		return e.State == orchestration.PhaseCancelling
	case orchestration.Ended: // after undoing, it is the last report's
		return e.State == orchestration.PhaseCancelled && (e.Compensation == nil || e.Compensation.Total == 0)
	case orchestration.Requested:
		return e.By != "" // an operator's word
	case orchestration.Completed:
		return e.By != ""
	case orchestration.Failed:
		return e.By != ""
	case orchestration.Offered, orchestration.Claimed, orchestration.Extended, orchestration.Waited, orchestration.Scheduled,
		orchestration.Retrying, orchestration.TransfersFinished, orchestration.BlobsRemoved:
	}
	return false
}

// remember appends the event to the job's history.
func (w *writer) remember(ctx context.Context, j *job, e orchestration.Event, ce kafka.CloudEvent, data []byte) error {
	it := past{sequence: ce.Sequence, typ: ce.Type, at: nanos(ce.Time), cause: ce.Cause, data: data}
	st, ok := e.(orchestration.Started)
	if !ok || st.Plan == nil {
		j.past.add(it, nil)
		return nil
	}
	pl, err := w.planOf(ctx, st.Plan)
	it.plan = pl.key
	j.past.add(it, pl.raw)
	return err
}

// planOf finds the number of a definition, or gives it one.
func (w *writer) planOf(ctx context.Context, p *orchestration.Plan) (plan, error) {
	if pl, ok := w.plans[p]; ok {
		return pl, nil
	}
	raw, err := p.MarshalJSON()
	if err != nil {
		return plan{}, fmt.Errorf("definition of a started orchestration: %w", err)
	}
	pl := plan{raw: raw}
	body := string(raw)
	if _, err = w.c.exec("INSERT OR IGNORE INTO plan (body) VALUES (?)", body); err != nil {
		return plan{}, err
	}
	err = w.c.query(ctx, "SELECT key FROM plan WHERE body = ?", func(row []driver.Value) error {
		pl.key = integer(row[0])
		return nil
	}, body)
	if err != nil {
		return plan{}, err
	}
	if len(w.plans) >= maxPlans {
		clear(w.plans)
	}
	w.plans[p] = pl
	return pl, nil
}

// job finds a job in the cache or in SQLite, or begins one.
func (w *writer) job(ctx context.Context, id string, partition int32) (*job, error) {
	if j := w.jobs.get(id); j != nil {
		return j, nil
	}
	j := &job{aggregated: aggregated{id: id, partition: partition, command: -1}}
	err := w.c.query(ctx, "SELECT key, seq, code, type, coalesce(name, ''), coalesce(\"set\", ''), created, doc, origin FROM job WHERE id = ?", func(row []driver.Value) error {
		j.kept = true
		j.key, j.seq, j.phase = integer(row[0]), integer(row[1]), orchestration.Phase(integer(row[2]))
		j.typ, j.name, j.set, j.created = text(row[3]), text(row[4]), text(row[5]), integer(row[6])
		j.first = offsetOf(integer(row[8]))
		return j.readDoc(text(row[7]))
	}, id)
	if err != nil {
		return nil, err
	}
	if !j.kept {
		j.key = w.newKey()
	} else if err := w.readNodes(ctx, j); err != nil {
		return nil, err
	}
	w.jobs.put(j)
	return j, nil
}

// newKey numbers the aggregates of all kinds, in whatever order they come.
func (w *writer) newKey() int64 {
	w.nextKey++
	return w.nextKey - 1
}

// jobDoc reads a job's document back.
type jobDoc struct {
	DefinitionVersion int             `json:"definitionVersion"`
	Run               int             `json:"run"`
	StartedAt         *time.Time      `json:"startedAt"`
	EndedAt           *time.Time      `json:"endedAt"`
	Deadline          *time.Time      `json:"deadline"`
	Labels            json.RawMessage `json:"labels"`
	Partial           bool            `json:"partial"`
	Result            json.RawMessage `json:"result"`
	Error             json.RawMessage `json:"error"`
	Failures          json.RawMessage `json:"failures"`
	Paused            json.RawMessage `json:"paused"`
	Progress          Progress        `json:"progress"`
	Fingerprint       string          `json:"fingerprint"`
	BlobsRemovedAt    *time.Time      `json:"blobsRemovedAt"`
	Compensation      *Compensation   `json:"compensation"`
	Disposal          json.RawMessage `json:"disposal"`
	Disposes          json.RawMessage `json:"disposes"`
	Position          *kafka.Position `json:"position"`
}

func (j *job) readDoc(doc string) error {
	var d jobDoc
	if err := json.Unmarshal([]byte(doc), &d); err != nil {
		return fmt.Errorf("job %s: %w", j.id, err)
	}
	j.fingerprint = d.Fingerprint
	j.removed = nanosOf(d.BlobsRemovedAt)
	j.compensation, j.disposal, j.disposes = d.Compensation, d.Disposal, d.Disposes
	j.version, j.run, j.partial = d.DefinitionVersion, d.Run, d.Partial
	j.started, j.ended, j.deadline = nanosOf(d.StartedAt), nanosOf(d.EndedAt), nanosOf(d.Deadline)
	j.labels, j.failures, j.paused = d.Labels, d.Failures, d.Paused
	j.result, j.failure = notNull(d.Result), notNull(d.Error)
	g := d.Progress
	j.count = counts{
		pending: g.Pending, running: g.Running, waiting: g.Waiting, completed: g.Completed,
		failed: g.Failed, cancelled: g.Cancelled, skipped: g.Skipped,
	}
	if d.Position != nil {
		j.command = d.Position.Offset
	}
	return nil
}

// readNodes takes up the open nodes of a job again. The ones that have ended are not
// needed: they never change in this run.
func (w *writer) readNodes(ctx context.Context, j *job) error {
	from, to := within(j.key)
	// The numbers go on after the last: another run may have left gaps.
	err := w.c.query(ctx, `SELECT (SELECT coalesce(max(key) + 1, 0) FROM edge WHERE key BETWEEN ?1 AND ?2),
(SELECT coalesce(max(key) + 1, 0) FROM node WHERE key BETWEEN ?1 AND ?2)`, func(row []driver.Value) error {
		j.linked, j.registered = uint32(integer(row[0])), uint32(integer(row[1]))
		return nil
	}, from, to)
	if err != nil || j.phase.Final() {
		return err
	}
	return w.c.query(ctx, "SELECT key, seq, state, waited, doc FROM node WHERE key BETWEEN ? AND ? AND state < 6", func(row []driver.Value) error {
		n, err := readNode(uint32(integer(row[0])), integer(row[1]), orchestration.ActivityPhase(integer(row[2])), integer(row[3]) != 0, text(row[4]))
		if err != nil {
			return fmt.Errorf("job %s: %w", j.id, err)
		}
		j.nodes.add(n)
		return nil
	}, from, to)
}

// within is the range of keys that belong to a job.
func within(job int64) (from, to int64) { return job << 32, job<<32 | 0xffffffff }

// abandon takes back what has not been committed. What is in memory has run ahead of the
// rows, so nothing of it is used again.
func (w *writer) abandon(cause error) error {
	if !w.batch.open {
		return cause
	}
	w.batch = batch{}
	clear(w.plans)
	w.jobs, w.transfers, w.parties, w.accesses = jobCache{}, cache[*transferring]{}, cache[*counterparty]{}, cache[*access]{}
	_, err := w.c.exec("ROLLBACK")
	return errors.Join(cause, err)
}
