package projections

import (
	"context"
	"database/sql/driver"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/domain/transfer"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// transferEvent folds in an event of a transfer, unless it is one that we have.
func (w *writer) transferEvent(ctx context.Context, p *partition, r *kgo.Record, ce kafka.CloudEvent) error {
	t, err := w.transfer(ctx, string(r.Key), p.number)
	if err != nil {
		return err
	}
	if fresh, err := p.follows(&t.aggregated, r, ce); !fresh {
		return err
	}
	e, err := schemas.DecodeTransferEvent(ce.Type, r.Value)
	if err != nil {
		return p.stop(r.Offset, ce.Type, err)
	}
	if !t.dirty {
		t.dirty = true
		w.batch.transfers = append(w.batch.transfers, t)
	}
	t.took(r.Offset, ce)
	if err := t.apply(ce.Time, e); err != nil {
		return p.stop(r.Offset, ce.Type, err)
	}
	w.cause(&t.aggregated, schemas.AggregateTransfer, t.asked(e), ce)
	t.past.add(past{sequence: ce.Sequence, typ: ce.Type, at: nanos(ce.Time), cause: ce.Cause, data: redact(r.Value)}, nil)
	return nil
}

// asked says that somebody asked for what the event says, by a command of their own: what an
// activity asks for nobody looks for.
func (t *transferring) asked(e transfer.Event) bool {
	switch e := e.(type) {
	case transfer.Initiated:
		return e.Asker == nil
	case transfer.Moved:
		switch t.phase { //nolint:exhaustive // the others are come to by what is reported
		case transfer.PhaseSuspending, transfer.PhaseSuspended, transfer.PhaseResuming, transfer.PhaseResumed, transfer.PhaseTerminating, transfer.PhaseDeprovisioning:
			return e.Error == nil
		}
	case transfer.Ended:
		return e.Outcome == transfer.OutcomeTerminated && e.Error == nil
	case transfer.ResourceProvisioned, transfer.ResourceUploaded, transfer.ResourceDeprovisioned, transfer.Acquiring, transfer.AccessGranted, transfer.AccessLost,
		transfer.Requested, transfer.Worked:
	}
	return false
}

// transfer finds a transfer in the cache or in SQLite, or begins one.
func (w *writer) transfer(ctx context.Context, id string, partition int32) (*transferring, error) {
	if t := w.transfers.get(id); t != nil {
		return t, nil
	}
	t := &transferring{aggregated: aggregated{id: id, partition: partition, command: -1}}
	err := w.c.query(ctx, "SELECT key, seq, code, created, doc, origin FROM transfer WHERE id = ?", func(row []driver.Value) error {
		t.kept = true
		t.key, t.seq, t.phase, t.created = integer(row[0]), integer(row[1]), transfer.Phase(integer(row[2])), integer(row[3])
		t.first = offsetOf(integer(row[5]))
		return t.readDoc(text(row[4]))
	}, id)
	if err != nil {
		return nil, err
	}
	if !t.kept {
		t.key = w.newKey()
	}
	w.transfers.put(t)
	return t, nil
}

func (w *writer) writeTransfers() error {
	for _, t := range w.batch.transfers {
		if err := w.writeTransfer(t); err != nil {
			return fmt.Errorf("transfer %s: %w", t.id, err)
		}
		if t.job != "" {
			w.batch.changed = append(w.batch.changed, t.job)
		}
		w.batch.changed = append(w.batch.changed, t.id)
	}
	return nil
}

func (w *writer) writeTransfer(t *transferring) error {
	doc := w.text(t.appendDoc)
	var err error
	if t.kept {
		_, err = w.c.exec("UPDATE transfer SET seq = ?, code = ?, negotiation = ?, doc = ? WHERE key = ?",
			t.seq, int64(t.phase), nullable(t.negotiation), doc, t.key)
	} else {
		_, err = w.c.exec("INSERT INTO transfer (key, id, seq, origin, code, created, provider, connector, asset, job, negotiation, doc) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
			t.key, t.id, t.seq, t.origin(), int64(t.phase), t.created, t.provider, t.connector, t.asset, nullable(t.job), nullable(t.negotiation), doc)
	}
	if err != nil {
		return err
	}
	w.rows += 2
	return w.writePast(t.key, &t.past)
}
