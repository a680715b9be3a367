package projections

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/domain/transfer"
	"github.com/waybill/waybill/schemas"
)

// AccessFilter chooses transfers, or negotiations. Zero values choose all.
type AccessFilter struct {
	State     string // STARTED
	Provider  string // its connector's normalised address
	Connector string // ours, by its name
	Asset     string
	Job       string // whose activities asked
	Limit     int    // of the page; 0 means DefaultPageSize
	Cursor    string // Page.Next of the page before
}

// states are those of transfers, or of negotiations.
type states struct {
	list   string // its name, in cursors
	common int    // the code that its index leaves out
	codes  map[string]int
	known  []string
}

func transferStates() states {
	s := states{list: "transfers", common: int(transfer.PhaseCompleted), codes: map[string]int{}}
	for _, p := range transfer.Phases() {
		s.codes[p.String()] = int(p)
		s.known = append(s.known, p.String())
	}
	return s
}

func negotiationStates() states {
	s := states{list: "negotiations", common: int(negotiation.PhaseFinalized), codes: map[string]int{}}
	for _, p := range negotiation.Phases() {
		s.codes[p.String()] = int(p)
		s.known = append(s.known, p.String())
	}
	return s
}

// conditions are those that both lists have; the job is not among them.
func (f AccessFilter) conditions(s states) (*conditions, error) {
	c := &conditions{}
	if f.State != "" {
		code, ok := s.codes[f.State]
		switch {
		case !ok:
			return nil, &StateError{f.State, s.known}
		case code == s.common:
			c.add("+x.code = ?", int64(code)) // that one is not in the index
		default:
			c.add("x.code = ? AND x.code <> "+strconv.Itoa(s.common), int64(code))
		}
	}
	for column, v := range map[string]string{"provider": f.Provider, "asset": f.Asset, "connector": f.Connector} {
		if v != "" {
			c.add("x."+column+" = ?", v)
		}
	}
	if f.Cursor == "" {
		return c, nil
	}
	parts, err := parseCursor(s.list, f.Cursor, 2)
	if err != nil {
		return nil, err
	}
	created, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil {
		return nil, &CursorError{f.Cursor}
	}
	c.add("(x.created, x.id) < (?, ?)", created, parts[1])
	return c, nil
}

// Transfers lists transfers, newest first. It answers a *StateError or a *CursorError for a
// filter that makes no sense.
func (d *DB) Transfers(ctx context.Context, f AccessFilter) (Page, error) {
	where, err := f.conditions(transferStates())
	if err != nil {
		return Page{}, err
	}
	if f.Job != "" {
		where.add("x.job = ? AND x.job IS NOT NULL", f.Job)
	}
	return d.newestOf(ctx, "transfers", "SELECT x.created, x.id, x.doc, x.provider FROM transfer x", where, f.Limit, func(c *conn, row []driver.Value) ([]byte, error) {
		return c.transferDoc(ctx, text(row[1]), text(row[2]), text(row[3]))
	})
}

// newestOf lists rows that begin with created and id, newest first.
func (d *DB) newestOf(ctx context.Context, list, query string, where *conditions, limit int, doc func(c *conn, row []driver.Value) ([]byte, error)) (Page, error) {
	p := newPager(limit)
	query += where.String() + " ORDER BY x.created DESC, x.id DESC LIMIT " + strconv.Itoa(p.limit+1)
	var last [2]string
	err := d.snapshot(ctx, func(c *conn) error {
		return c.queryOnce(ctx, query, func(row []driver.Value) error {
			if p.full(func() string { return cursor(list, last[0], last[1]) }) {
				return errStop
			}
			last = [2]string{strconv.FormatInt(integer(row[0]), 10), text(row[1])}
			b, err := doc(c, row)
			p.add(b)
			return err
		}, where.args...)
	})
	return p.page, err
}

// waitsForAccess is how a document says that a transfer waits for access; what follows is the
// counter-party, in the place of the round.
const waitsForAccess = `,"waitingOn":{"kind":"negotiation","id":`

// transferDoc is a transfer's document as it is shown: what it waits for is looked up.
func (c *conn) transferDoc(ctx context.Context, id, doc, provider string) ([]byte, error) {
	before, rest, waits := strings.Cut(doc, waitsForAccess)
	if !waits {
		return []byte(doc), nil
	}
	kind, of, err := c.awaited(ctx, id, provider)
	if err != nil {
		return nil, err
	}
	_, after, _ := strings.Cut(rest, "}")
	b := appendWaitingOn(append([]byte(before), `,"waitingOn":`...), func() (string, string) { return kind, of })
	if after, bare := strings.CutPrefix(after, noTasks); bare && kind == WaitProvider {
		if b, err = c.appendTasksFor(ctx, append(b, `,"tasks":`...), id); err != nil {
			return nil, err
		}
		return append(b, after...), nil
	}
	return append(b, after...), nil
}

// noTasks is how a transfer's document says that it has no work under way.
const noTasks = `,"tasks":[]`

// appendTasksFor writes what is under way for somebody who waits and has no negotiation yet: how the
// catalog is asked, which could not be seen anywhere else.
func (c *conn) appendTasksFor(ctx context.Context, b []byte, waiter string) ([]byte, error) {
	var asset, open string
	err := c.query(ctx, "SELECT w.asset, p.tasks FROM waiter w JOIN party p ON p.key = w.party WHERE w.waiter = ? LIMIT 1", func(row []driver.Value) error {
		asset, open = text(row[0]), text(row[1])
		return nil
	}, waiter)
	if err != nil {
		return nil, err
	}
	return appendTasksOf(b, asset, open)
}

// awaited says on whom somebody waits who waits for access: on a negotiation, or, as long as there
// is none, on the provider's catalog.
func (c *conn) awaited(ctx context.Context, waiter, provider string) (kind, id string, err error) {
	kind, id = WaitProvider, provider
	err = c.query(ctx, "SELECT negotiation FROM awaited WHERE waiter = ? AND negotiation IS NOT NULL LIMIT 1", func(row []driver.Value) error {
		kind, id = WaitNegotiation, text(row[0])
		return nil
	}, waiter)
	return kind, id, err
}

// TransferDocument is a transfer, JSON as the HTTP interface answers it. It answers a
// *NotFoundError for one that is not in the view.
func (d *DB) TransferDocument(ctx context.Context, id string) ([]byte, error) {
	ctx = context.WithoutCancel(ctx) // a lookup by key: cancelling it costs more than it does
	var b []byte
	err := d.snapshot(ctx, func(c *conn) error {
		var doc, provider string
		err := c.query(ctx, "SELECT doc, provider FROM transfer WHERE id = ?", func(row []driver.Value) error {
			doc, provider = text(row[0]), text(row[1])
			return nil
		}, id)
		if err == nil && doc != "" {
			b, err = c.transferDoc(ctx, id, doc, provider)
		}
		return err
	})
	if err == nil && b == nil {
		err = &NotFoundError{What: "transfer", ID: id}
	}
	return b, err
}

// Transfer is TransferDocument as a struct.
func (d *DB) Transfer(ctx context.Context, id string) (*Transfer, error) {
	doc, err := d.TransferDocument(ctx, id)
	if err != nil {
		return nil, err
	}
	t := new(Transfer)
	if err := json.Unmarshal(doc, t); err != nil {
		return nil, fmt.Errorf("transfer %s: %w", id, err)
	}
	return t, nil
}

// TransferEvents lists the history of a transfer as it stands on the log but for what is sealed, the
// oldest first, the ones after sequence only.
func (d *DB) TransferEvents(ctx context.Context, id string, after int64, limit int, from string) (Page, error) {
	return d.eventsOf(ctx, after, limit, from, func(c *conn) (*told, error) {
		l, err := c.told(ctx, schemas.AggregateTransfer, "SELECT key, 0, 0, id FROM transfer WHERE id = ?", id)
		if err == nil && l == nil {
			err = &NotFoundError{What: "transfer", ID: id}
		}
		return l, err
	})
}

// told is a history: of an aggregate, or, of a counter-party, what belongs to one round.
type told struct {
	aggregate, id string
	key           int64
	from, to      int64 // sequences: from this one on, before that one; 0 for no bound
}

// told finds a history by a query of its key, its bounds and its id.
func (c *conn) told(ctx context.Context, aggregate, query string, args ...driver.Value) (l *told, err error) {
	err = c.query(ctx, query, func(row []driver.Value) error {
		l = &told{aggregate: aggregate, key: integer(row[0]), from: integer(row[1]), to: integer(row[2]), id: text(row[3])}
		return nil
	}, args...)
	return l, err
}

// eventsOf pages through a history.
func (d *DB) eventsOf(ctx context.Context, after int64, limit int, from string, find func(c *conn) (*told, error)) (Page, error) {
	p := newPager(limit)
	if from != "" {
		var err error
		if after, err = parseNumber("events", from); err != nil {
			return Page{}, err
		}
	}
	err := d.snapshot(ctx, func(c *conn) error {
		l, err := find(c)
		if err != nil {
			return err
		}
		return c.tell(ctx, p, l, &after, func(last int64) string { return cursor("events", strconv.FormatInt(last, 10)) })
	})
	return p.page, err
}

// tell puts the events of a history onto the page that come after one. next makes the cursor of a
// page that is full.
func (c *conn) tell(ctx context.Context, p *pager, l *told, after *int64, next func(last int64) string) error {
	*after = max(*after, l.from-1)
	first, last := within(l.key)
	if l.to > 0 {
		last = first + l.to - 1
	}
	// The piece in which the event after this one lies begins at or before it.
	return c.query(ctx, `SELECT key & 0xffffffff, events FROM history
WHERE key BETWEEN coalesce((SELECT max(key) FROM history WHERE key BETWEEN ?1 AND ?1 + ?2), ?1) AND ?3 ORDER BY key`, func(row []driver.Value) error {
		blob, _ := row[1].([]byte)
		return c.events(ctx, p, l, integer(row[0]), blob, after, next)
	}, first, *after+1, last)
}
