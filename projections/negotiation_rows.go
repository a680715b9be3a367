package projections

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// negotiationEvent folds in an event of a counter-party, unless it is one that we have.
func (w *writer) negotiationEvent(ctx context.Context, p *partition, r *kgo.Record, ce kafka.CloudEvent) error {
	of, err := w.counterparty(ctx, string(r.Key), p.number)
	if err != nil {
		return err
	}
	if fresh, err := p.follows(&of.aggregated, r, ce); !fresh {
		return err
	}
	e, err := schemas.DecodeNegotiationEvent(ce.Type, r.Value)
	if err != nil {
		return p.stop(r.Offset, ce.Type, err)
	}
	if !of.dirty {
		of.dirty = true
		w.batch.parties = append(w.batch.parties, of)
	}
	of.took(r.Offset, ce)
	if err := w.negotiated(ctx, of, e, r, ce); err != nil {
		return err
	}
	of.wait(nanos(ce.Time), e)
	w.cause(&of.aggregated, schemas.AggregateNegotiation, of.asked(e), ce)
	return nil
}

// negotiated folds an event into the access that it is about.
func (w *writer) negotiated(ctx context.Context, of *counterparty, e negotiation.Event, r *kgo.Record, ce kafka.CloudEvent) error {
	at := nanos(ce.Time)
	about := of.about(e)
	if e, ok := e.(negotiation.Evicted); ok {
		return w.evicted(ctx, of, at, e, r, ce)
	}
	var failure json.RawMessage
	if e, ok := e.(negotiation.Worked); ok {
		failure = of.tasks.apply(at, e.Event)
		if about == "" {
			about = of.about(e) // it has just been asked for
		}
	}
	if about == "" {
		return nil
	}
	a, err := w.access(ctx, of, about)
	if err != nil {
		return err
	}
	w.change(a)
	a.past.add(past{sequence: ce.Sequence, typ: ce.Type, at: at, cause: ce.Cause, data: redact(r.Value)}, nil)
	if e, ok := e.(negotiation.Started); ok {
		if a.round != nil && a.round.dirty {
			a.older = append(a.older, a.round)
		}
		a.round = of.begin(at, ce.Sequence, e)
	}
	if a.round == nil {
		return nil
	}
	a.round.dirty, a.round.command = true, max(a.round.command, ce.InputOffset)
	if failure != nil && !a.round.phase.Final() {
		a.round.failure = failure
	}
	a.round.apply(at, e)
	return nil
}

// evicted takes away what was kept beyond its time.
func (w *writer) evicted(ctx context.Context, of *counterparty, at int64, e negotiation.Evicted, r *kgo.Record, ce kafka.CloudEvent) error {
	for _, l := range []struct {
		assets    []string
		agreement bool
	}{{e.Accesses, true}, {e.EDRs, false}} {
		for _, asset := range l.assets {
			a, err := w.access(ctx, of, asset)
			if err != nil {
				return err
			}
			w.change(a)
			a.past.add(past{sequence: ce.Sequence, typ: ce.Type, at: at, cause: ce.Cause, data: r.Value}, nil)
			if a.round != nil {
				a.round.dirty, a.round.command = true, max(a.round.command, ce.InputOffset)
				a.round.evict(at, l.agreement)
			}
		}
	}
	return nil
}

func (w *writer) change(a *access) {
	if !a.dirty {
		a.dirty = true
		w.batch.accesses = append(w.batch.accesses, a)
	}
}

// counterparty finds a counter-party in the cache or in SQLite, or begins one.
func (w *writer) counterparty(ctx context.Context, id string, partition int32) (*counterparty, error) {
	if p := w.parties.get(id); p != nil {
		return p, nil
	}
	p := &counterparty{aggregated: aggregated{id: id, partition: partition, command: -1}, waiters: map[string]*waiter{}}
	p.connector, p.provider, _ = strings.Cut(id, " ")
	err := w.c.query(ctx, "SELECT key, seq, tasks FROM party WHERE id = ?", func(row []driver.Value) error {
		p.kept = true
		p.key, p.seq = integer(row[0]), integer(row[1])
		var open []Task
		if err := json.Unmarshal([]byte(text(row[2])), &open); err != nil {
			return fmt.Errorf("negotiations with %s: %w", id, err)
		}
		p.tasks = readTasks(open)
		return nil
	}, id)
	if err != nil {
		return nil, err
	}
	if !p.kept {
		p.key = w.newKey()
	} else if err := w.readWaiters(ctx, p); err != nil {
		return nil, err
	}
	w.parties.put(p)
	return p, nil
}

// readWaiters takes up again who waits.
func (w *writer) readWaiters(ctx context.Context, p *counterparty) error {
	return w.c.query(ctx, "SELECT waiter, asset, doc FROM waiter WHERE party = ? ORDER BY waiter, asset", func(row []driver.Value) error {
		id := text(row[0])
		l := p.waiters[id]
		if l == nil {
			var d Waiter
			if err := json.Unmarshal([]byte(text(row[2])), &d); err != nil {
				return fmt.Errorf("waiter %s: %w", id, err)
			}
			l = &waiter{
				id: id, typ: value(d.AssetType), need: d.Need, since: nanos(d.Since), deadline: nanosOf(d.Deadline),
				kind: d.Kind, job: value(d.JobID), node: value(d.NodeID),
			}
			p.waiters[id] = l
		}
		l.assets = append(l.assets, text(row[1]))
		l.rows = append(l.rows, text(row[1]))
		return nil
	}, p.key)
}

// access finds what is known of an asset, or begins it.
func (w *writer) access(ctx context.Context, of *counterparty, asset string) (*access, error) {
	a := &access{party: of, asset: asset}
	if have := w.accesses.get(a.cacheKey()); have != nil {
		return have, nil
	}
	err := w.c.query(ctx, "SELECT key FROM access WHERE party = ? AND asset = ?", func(row []driver.Value) error {
		a.kept, a.key = true, integer(row[0])
		return nil
	}, of.key, asset)
	if err != nil {
		return nil, err
	}
	if !a.kept {
		a.key = w.newKey()
	} else if err := w.readRound(ctx, a); err != nil {
		return nil, err
	}
	w.accesses.put(a)
	return a, nil
}

// readRound takes the last round of an access up again.
func (w *writer) readRound(ctx context.Context, a *access) error {
	from, to := within(a.key)
	return w.c.query(ctx, "SELECT first, created, edr, doc FROM negotiation WHERE key BETWEEN ? AND ? ORDER BY key DESC LIMIT 1", func(row []driver.Value) error {
		r := &round{kept: true, first: integer(row[0]), partition: a.party.partition}
		if err := r.readDoc(text(row[3])); err != nil {
			return err
		}
		r.created = integer(row[1])
		if s := text(row[2]); s != "" {
			r.sealed = json.RawMessage(s)
		}
		a.round = r
		return nil
	}, from, to)
}

func (w *writer) writeNegotiations() error {
	for _, p := range w.batch.parties {
		if err := w.writeParty(p); err != nil {
			return fmt.Errorf("negotiations with %s: %w", p.id, err)
		}
	}
	for _, a := range w.batch.accesses {
		if err := w.writeAccess(a); err != nil {
			return fmt.Errorf("negotiations with %s for %s: %w", a.party.id, a.asset, err)
		}
	}
	return nil
}

func (w *writer) writeParty(p *counterparty) error {
	_, err := w.c.exec("INSERT INTO party (key, id, seq, tasks) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET seq = excluded.seq, tasks = excluded.tasks",
		p.key, p.id, p.seq, w.text(p.tasks.append))
	if err != nil {
		return err
	}
	w.rows++
	for _, l := range p.changed {
		if err := w.writeWaiter(p, l); err != nil {
			return err
		}
	}
	return w.writeWishes(p)
}

// writeWaiter has a row for each asset that somebody still waits for.
func (w *writer) writeWaiter(p *counterparty, l *waiter) error {
	for _, asset := range l.rows {
		if slices.Contains(l.assets, asset) {
			continue
		}
		w.rows++
		if _, err := w.c.exec("DELETE FROM waiter WHERE waiter = ? AND party = ? AND asset = ?", l.id, p.key, asset); err != nil {
			return err
		}
	}
	for _, asset := range l.assets {
		w.rows++
		_, err := w.c.exec("INSERT OR REPLACE INTO waiter (waiter, party, asset, since, job, doc) VALUES (?, ?, ?, ?, ?, ?)", l.id, p.key, asset, l.since, nullable(l.job), w.text(l.appendDoc))
		if err != nil {
			return err
		}
	}
	l.rows = append(l.rows[:0], l.assets...)
	return nil
}

func (l *waiter) appendDoc(b []byte) []byte {
	b = appendText(append(b, `{"id":`...), l.id)
	if l.kind != "" {
		b = appendText(append(b, `,"kind":`...), l.kind)
	}
	b = appendOptional(append(b, `,"jobId":`...), l.job)
	b = appendOptional(append(b, `,"nodeId":`...), l.node)
	b = appendOptional(append(b, `,"assetType":`...), l.typ)
	b = appendText(append(b, `,"need":`...), l.need)
	b = appendTime(append(b, `,"since":`...), l.since)
	return append(appendTime(append(b, `,"deadline":`...), l.deadline), '}')
}

func (w *writer) writeAccess(a *access) error {
	if !a.kept {
		if _, err := w.c.exec("INSERT INTO access (key, party, asset) VALUES (?, ?, ?)", a.key, a.party.key, a.asset); err != nil {
			return err
		}
	}
	rounds := a.older
	if a.round != nil && a.round.dirty {
		rounds = append(rounds, a.round)
	}
	for _, r := range rounds {
		if err := w.writeRound(a, r); err != nil {
			return err
		}
		w.batch.changed = append(w.batch.changed, r.id)
	}
	w.rows += len(rounds) + 1
	return w.writePast(a.key, &a.past)
}

func (w *writer) writeRound(a *access, r *round) error {
	key, doc := a.key<<32|r.number, w.text(r.appendDoc)
	if r.kept {
		_, err := w.c.exec("UPDATE negotiation SET code = ?, edr = ?, doc = ? WHERE key = ?", int64(r.phase), nullable(string(r.sealed)), doc, key)
		return err
	}
	_, err := w.c.exec("INSERT INTO negotiation (key, id, first, code, created, provider, connector, asset, edr, doc) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		key, r.id, r.first, int64(r.phase), r.created, r.provider, r.connector, r.asset, nullable(string(r.sealed)), doc)
	return err
}

// settle makes an access ready for the next batch.
func (a *access) settle() {
	a.dirty, a.kept, a.older = false, true, a.older[:0]
	if a.round != nil {
		a.round.dirty, a.round.kept = false, true
	}
}

// settle makes a counter-party ready for the next batch.
func (p *counterparty) settle() {
	p.dirty, p.kept = false, true
	for _, l := range p.changed {
		l.dirty = false
	}
	clear(p.changed)
	p.changed, p.wishes = p.changed[:0], p.wishes[:0]
}
