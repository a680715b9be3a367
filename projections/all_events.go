package projections

import (
	"context"
	"database/sql/driver"
	"strconv"

	"github.com/waybill/waybill/schemas"
)

// allEvents is where a page of the histories of all aggregates of a job goes on: after an event of one of
// them.
type allEvents struct {
	aggregate string // type; empty: at the beginning
	created   int64
	id        string
	sequence  int64
}

const allEventsList = "all-events"

func parseAllEvents(s string) (allEvents, error) {
	if s == "" {
		return allEvents{}, nil
	}
	parts, err := parseCursor(allEventsList, s, 4)
	if err != nil {
		return allEvents{}, err
	}
	created, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil {
		return allEvents{}, &CursorError{s}
	}
	sequence, err := strconv.ParseInt(parts[3], 10, 64)
	if err != nil {
		return allEvents{}, &CursorError{s}
	}
	return allEvents{parts[0], created, parts[2], sequence}, nil
}

// AllEvents lists the history of a job, then those of its transfers, then those of the negotiations that
// gave these and its activities access, each in the order in which they began. Within one, events stand
// as on the log but for what is sealed, which is left out.
func (d *DB) AllEvents(ctx context.Context, id string, limit int, from string) (Page, error) {
	p := newPager(limit)
	at, err := parseAllEvents(from)
	if err != nil {
		return Page{}, err
	}
	err = d.snapshot(ctx, func(c *conn) error {
		key, err := c.key(ctx, id)
		if err != nil {
			return err
		}
		t := teller{c: c, p: p, at: at}
		if err := t.tell(ctx, &told{aggregate: schemas.AggregateOrchestration, id: id, key: key}, 0, id); err != nil {
			return err
		}
		err = t.each(ctx, schemas.AggregateTransfer, "SELECT created, id FROM transfer x WHERE x.job = ? AND x.job IS NOT NULL", []driver.Value{id}, func(id string) (*told, error) {
			return c.told(ctx, schemas.AggregateTransfer, "SELECT key, 0, 0, id FROM transfer WHERE id = ?", id)
		})
		if err != nil {
			return err
		}
		return t.each(ctx, schemas.AggregateNegotiation, "SELECT created, id FROM negotiation x WHERE x.id IN ("+negotiationsOfJob+")", ofJob(id), func(id string) (*told, error) {
			return c.toldRound(ctx, id)
		})
	})
	return p.page, err
}

// teller puts one history after the other onto a page.
type teller struct {
	c  *conn
	p  *pager
	at allEvents
}

// tell puts what comes after the cursor of one history onto the page.
func (t *teller) tell(ctx context.Context, l *told, created int64, id string) error {
	after := int64(0)
	if t.at.aggregate != "" {
		if t.at.aggregate != l.aggregate || t.at.created != created || t.at.id != id {
			return nil // it is on the pages before
		}
		after = t.at.sequence
		t.at = allEvents{}
	}
	return t.c.tell(ctx, t.p, l, &after, func(last int64) string {
		return cursor(allEventsList, l.aggregate, strconv.FormatInt(created, 10), id, strconv.FormatInt(last, 10))
	})
}

// each tells the histories of aggregates of one kind, in the order in which they began.
func (t *teller) each(ctx context.Context, aggregate, query string, args []driver.Value, find func(id string) (*told, error)) error {
	if t.p.page.Next != "" {
		return nil
	}
	if t.at.aggregate != "" && t.at.aggregate != aggregate {
		return nil
	}
	if t.at.aggregate != "" {
		query += " AND (x.created, x.id) >= (?, ?)"
		args = append(args, t.at.created, t.at.id)
	}
	return t.c.queryOnce(ctx, query+" ORDER BY x.created, x.id", func(row []driver.Value) error {
		if t.p.page.Next != "" {
			return errStop
		}
		created, id := integer(row[0]), text(row[1])
		l, err := find(id)
		if err != nil || l == nil {
			return err
		}
		return t.tell(ctx, l, created, id)
	}, args...)
}
