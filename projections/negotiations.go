package projections

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"

	"github.com/waybill/waybill/schemas"
)

// Negotiations lists the rounds of negotiations, newest first. It answers a *StateError or a
// *CursorError for a filter that makes no sense.
func (d *DB) Negotiations(ctx context.Context, f AccessFilter) (Page, error) {
	where, err := f.conditions(negotiationStates())
	if err != nil {
		return Page{}, err
	}
	if f.Job != "" {
		where.add("x.id IN ("+negotiationsOfJob+")", ofJob(f.Job)...)
	}
	return d.newestOf(ctx, "negotiations", "SELECT x.created, x.id, x.key, x.doc FROM negotiation x", where, f.Limit, func(c *conn, row []driver.Value) ([]byte, error) {
		return c.negotiationDoc(ctx, integer(row[2]), text(row[3]))
	})
}

// negotiationsOfJob selects the rounds that gave a job's transfers and activities access, and those
// that they wait for.
const negotiationsOfJob = `SELECT t.negotiation FROM transfer t WHERE t.job = ? AND t.job IS NOT NULL AND t.negotiation IS NOT NULL
UNION SELECT w.negotiation FROM transfer t JOIN awaited w ON w.waiter = t.id WHERE t.job = ? AND t.job IS NOT NULL AND w.negotiation IS NOT NULL
UNION SELECT o.value FROM job j JOIN node n ON n.key BETWEEN j.key << 32 AND (j.key << 32) + 0xffffffff, json_each(n.access) o
  WHERE j.id = ? AND n.access IS NOT NULL
UNION SELECT w.negotiation FROM awaited w WHERE w.job = ? AND w.job IS NOT NULL AND w.negotiation IS NOT NULL`

// ofJob are its arguments.
func ofJob(id string) []driver.Value { return []driver.Value{id, id, id, id} }

// negotiationDoc is a round's document as it is shown: with the tasks that are open for its asset
// and who waits, where it is the last one.
func (c *conn) negotiationDoc(ctx context.Context, key int64, doc string) ([]byte, error) {
	b := append([]byte(doc[:len(doc)-1]), `,"tasks":`...)
	access := key >> 32
	_, end := within(access)
	var party int64
	var asset, open string
	err := c.query(ctx, `SELECT a.party, a.asset, p.tasks FROM access a JOIN party p ON p.key = a.party
WHERE a.key = ?1 AND NOT EXISTS (SELECT 1 FROM negotiation l WHERE l.key > ?2 AND l.key <= ?3)`, func(row []driver.Value) error {
		party, asset, open = integer(row[0]), text(row[1]), text(row[2])
		return nil
	}, access, key, end)
	if err != nil {
		return nil, err
	}
	if b, err = appendTasksOf(b, asset, open); err != nil {
		return nil, err
	}
	b = append(b, `,"waiters":[`...)
	if asset != "" {
		n := 0
		err = c.query(ctx, "SELECT doc FROM waiter WHERE party = ? AND asset = ? ORDER BY since, waiter LIMIT ?", func(row []driver.Value) error {
			if n++; n > 1 {
				b = append(b, ',')
			}
			b = append(b, text(row[0])...)
			return nil
		}, party, asset, int64(shownWaiters))
	}
	return append(b, "]}"...), err
}

// shownWaiters is how many waiters a document shows.
const shownWaiters = 100

// appendTasksOf writes those of a counter-party's tasks that are about an asset.
func appendTasksOf(b []byte, asset, open string) ([]byte, error) {
	var mine tasks
	if open != "" && open != "[]" {
		var all []Task
		if err := json.Unmarshal([]byte(open), &all); err != nil {
			return b, fmt.Errorf("tasks: %w", err)
		}
		for _, t := range readTasks(all).open {
			if t.asset == asset {
				mine.open = append(mine.open, t)
			}
		}
	}
	return mine.append(b), nil
}

// NegotiationDocument is a round of a negotiation, JSON as the HTTP interface answers it. It answers a
// *NotFoundError for one that is not in the view.
func (d *DB) NegotiationDocument(ctx context.Context, id string) ([]byte, error) {
	ctx = context.WithoutCancel(ctx) // lookups by key: cancelling them costs more than they do
	var b []byte
	err := d.snapshot(ctx, func(c *conn) error {
		var key int64
		var doc string
		err := c.query(ctx, "SELECT key, doc FROM negotiation WHERE id = ?", func(row []driver.Value) error {
			key, doc = integer(row[0]), text(row[1])
			return nil
		}, id)
		if err == nil && doc != "" {
			b, err = c.negotiationDoc(ctx, key, doc)
		}
		return err
	})
	if err == nil && b == nil {
		err = &NotFoundError{What: "negotiation", ID: id}
	}
	return b, err
}

// Negotiation is NegotiationDocument as a struct.
func (d *DB) Negotiation(ctx context.Context, id string) (*Negotiation, error) {
	doc, err := d.NegotiationDocument(ctx, id)
	if err != nil {
		return nil, err
	}
	n := new(Negotiation)
	if err := json.Unmarshal(doc, n); err != nil {
		return nil, fmt.Errorf("negotiation %s: %w", id, err)
	}
	return n, nil
}

// NegotiationEvents lists the history of a round: of the events of its counter-party those that are about
// its asset, from its start to the next round, the first one's with what led to it. What is sealed is
// left out.
func (d *DB) NegotiationEvents(ctx context.Context, id string, after int64, limit int, from string) (Page, error) {
	return d.eventsOf(ctx, after, limit, from, func(c *conn) (*told, error) {
		l, err := c.toldRound(ctx, id)
		if err == nil && l == nil {
			err = &NotFoundError{What: "negotiation", ID: id}
		}
		return l, err
	})
}

// toldRound finds the history of a round.
func (c *conn) toldRound(ctx context.Context, id string) (*told, error) {
	return c.told(ctx, schemas.AggregateNegotiation, `SELECT a.key,
  CASE WHEN EXISTS (SELECT 1 FROM negotiation o WHERE o.key >= a.key << 32 AND o.key < n.key) THEN n.first ELSE 0 END,
  coalesce((SELECT l.first FROM negotiation l WHERE l.key > n.key AND l.key <= (a.key << 32) + 0xffffffff ORDER BY l.key LIMIT 1), 0),
  p.id
FROM negotiation n JOIN access a ON a.key = n.key >> 32 JOIN party p ON p.key = a.party WHERE n.id = ?`, id)
}

// SealedEDR is the EDR of a round as it stands on the log.
type SealedEDR struct {
	NegotiationID string
	Connector     string
	State         string // REQUESTED, GRANTED, DEAD or NONE
	EDR           EDR
	Sealed        json.RawMessage // nil where there is none that is of use
}

// EDR finds the EDR of a round. What is in it is opened by who has the key.
func (d *DB) EDR(ctx context.Context, id string) (SealedEDR, error) {
	e := SealedEDR{}
	err := d.read(ctx, func(c *conn) error {
		return c.query(context.WithoutCancel(ctx), "SELECT id, connector, edr, doc -> '$.edr' FROM negotiation WHERE id = ?", func(row []driver.Value) error {
			e.NegotiationID, e.Connector = text(row[0]), text(row[1])
			if s := text(row[2]); s != "" {
				e.Sealed = json.RawMessage(s)
			}
			return json.Unmarshal([]byte(text(row[3])), &e.EDR)
		}, id)
	})
	if err == nil && e.NegotiationID == "" {
		err = &NotFoundError{What: "negotiation", ID: id}
	}
	return e, err
}

// LastNegotiation finds the last round of an asset: of a counter-party, by its connector and address. It is
// empty where there is none.
func (d *DB) LastNegotiation(ctx context.Context, party, asset string) (id string, err error) {
	err = d.read(ctx, func(c *conn) error {
		return c.query(context.WithoutCancel(ctx), `SELECT n.id FROM party p JOIN access a ON a.party = p.key
JOIN negotiation n ON n.key BETWEEN a.key << 32 AND (a.key << 32) + 0xffffffff WHERE p.id = ? AND a.asset = ? ORDER BY n.key DESC LIMIT 1`, func(row []driver.Value) error {
			id = text(row[0])
			return nil
		}, party, asset)
	})
	return id, err
}
