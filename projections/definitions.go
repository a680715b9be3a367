package projections

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// definitionEvent keeps a version of a definition, unless it is one that we have.
func (w *writer) definitionEvent(ctx context.Context, p *partition, r *kgo.Record, ce kafka.CloudEvent) error {
	id := string(r.Key)
	var last int64
	err := w.c.query(ctx, "SELECT coalesce(max(seq), 0) FROM definition WHERE id = ?", func(row []driver.Value) error {
		last = integer(row[0])
		return nil
	}, id)
	if err != nil || ce.Sequence <= last {
		return err
	}
	if ce.Sequence != last+1 {
		return p.stop(r.Offset, ce.Type, fmt.Errorf("event %d of %s follows event %d: there is a gap in the log", ce.Sequence, id, last))
	}
	var v struct {
		Version    int64           `json:"version"`
		Definition json.RawMessage `json:"definition"`
		Set        string          `json:"set"`
	}
	deleted := false
	switch ce.Type {
	case schemas.DefinitionChanged:
	case schemas.DefinitionDeleted:
		deleted = true
	default:
		return p.stop(r.Offset, ce.Type, &schemas.UnknownVersionError{Type: ce.Type, Known: schemas.DefinitionEvents()})
	}
	if err := json.Unmarshal(r.Value, &v); err != nil {
		return p.stop(r.Offset, ce.Type, &schemas.UndecodableError{Type: ce.Type, Reason: err.Error()})
	}
	kind, typ, ok := strings.Cut(id, "/")
	if !ok {
		return p.stop(r.Offset, ce.Type, fmt.Errorf("key %q: want orchestration/<type> or activity/<type>", id))
	}
	if ce.Cause != "" {
		w.batch.commands = append(w.batch.commands, &commandRow{
			id: ce.Cause, aggregate: p.aggregate, aggregateID: id,
			first: ce.Sequence, last: ce.Sequence, at: nanos(ce.Time),
		})
	}
	_, err = w.c.exec("INSERT INTO definition (id, seq, kind, type, version, deleted, at, \"set\", body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
		id, ce.Sequence, kind, typ, v.Version, deleted, nanos(ce.Time), nullable(v.Set), nullable(string(v.Definition)))
	return err
}
