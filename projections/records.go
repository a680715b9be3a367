package projections

import (
	"context"
	"database/sql/driver"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/schemas"
)

func when(n int64) time.Time { return time.Unix(0, n).UTC() }

// maxCommandEvents is how many events a command names at most.
const maxCommandEvents = 1000

// Command says what has become of a command. One that the rows do not know is a
// *NotFoundError: it may not have been decided yet, which whoever has its position can
// tell with WaitFor, or be older than Config.Retention. Reports of agents are not
// remembered unless they were refused.
func (d *DB) Command(ctx context.Context, id string) (*Command, error) {
	var found *Command
	err := d.snapshot(ctx, func(c *conn) error {
		var err error
		if found, err = c.accepted(ctx, id); err != nil || found != nil {
			return err
		}
		found, err = c.rejected(ctx, id)
		return err
	})
	if err == nil && found == nil {
		err = &NotFoundError{What: "command", ID: id}
	}
	return found, err
}

// accepted finds the first time that a command had its way.
func (c *conn) accepted(ctx context.Context, id string) (*Command, error) {
	var found *Command
	err := c.query(ctx, `WITH RECURSIVE days (d) AS (
  SELECT min(day) FROM command UNION ALL SELECT (SELECT min(day) FROM command WHERE day > d) FROM days WHERE d IS NOT NULL)
SELECT aggregate, aggregate_id, first_seq, last_seq, at FROM days JOIN command ON day = d AND id = ?
ORDER BY first_seq = 0, day LIMIT 1`, func(row []driver.Value) error {
		at := when(integer(row[4]))
		found = &Command{ID: id, State: CommandAccepted, Aggregate: text(row[0]), AggregateID: text(row[1]), At: &at, Events: []EventID{}}
		if found.Aggregate == "" {
			found.Aggregate = schemas.AggregateOrchestration
		}
		first, last := integer(row[2]), integer(row[3])
		for s := first; s > 0 && s <= last && s-first < maxCommandEvents; s++ {
			found.Events = append(found.Events, EventID{found.Aggregate, found.AggregateID, s})
		}
		return nil
	}, commandKey(id))
	return found, err
}

const rejectionColumns = "command_id, command_type, aggregate, aggregate_id, code, reason, errors, at"

func rejection(row []driver.Value) (*Command, error) {
	at := when(integer(row[7]))
	c := &Command{
		ID: text(row[0]), State: CommandRejected, Type: text(row[1]), Aggregate: text(row[2]), AggregateID: text(row[3]),
		Code: machine.Code(text(row[4])), Reason: text(row[5]), At: &at, Events: []EventID{},
	}
	if err := json.Unmarshal([]byte(text(row[6])), &c.Errors); err != nil {
		return nil, fmt.Errorf("command %s: %w", c.ID, err)
	}
	return c, nil
}

// rejected finds the last refusal of a command: the same ID may have been used for
// several bodies.
func (c *conn) rejected(ctx context.Context, id string) (found *Command, err error) {
	err = c.query(ctx, "SELECT "+rejectionColumns+" FROM rejection WHERE command_id = ? ORDER BY at DESC, hash LIMIT 1", func(row []driver.Value) error {
		found, err = rejection(row)
		return err
	}, id)
	return found, err
}

// Rejections lists refused commands, the newest first; the items are Commands. aggregateID
// chooses those of one aggregate, empty means all.
func (d *DB) Rejections(ctx context.Context, aggregateID string, limit int, after string) (Page, error) {
	w := &conditions{}
	if aggregateID != "" {
		w.add("aggregate_id = ?", aggregateID)
	}
	return d.newest(ctx, newestList{
		name: "rejections", from: "rejection", id: "command_id || hash", columns: rejectionColumns, where: w, limit: limit, after: after,
		item: func(row []driver.Value) (any, error) { return rejection(row) },
	})
}

const deadLetterColumns = `id, topic, "partition", "offset", key, value, headers, error, at`

func deadLetter(row []driver.Value) (*DeadLetter, error) {
	l := &DeadLetter{
		ID: text(row[0]), Topic: text(row[1]), Partition: int32(integer(row[2])), Offset: integer(row[3]),
		Error: text(row[7]), At: when(integer(row[8])),
	}
	l.Key, _ = row[4].([]byte)
	l.Value, _ = row[5].([]byte)
	var headers [][2]string
	if err := json.Unmarshal([]byte(text(row[6])), &headers); err != nil {
		return nil, fmt.Errorf("dead letter %s: %w", l.ID, err)
	}
	l.Headers = make([]Header, len(headers))
	for i, h := range headers {
		v, err := base64.StdEncoding.DecodeString(h[1])
		if err != nil {
			return nil, fmt.Errorf("dead letter %s: header %s: %w", l.ID, h[0], err)
		}
		l.Headers[i] = Header{h[0], v}
	}
	return l, nil
}

// DeadLetters lists the records that could not be read, the newest first.
func (d *DB) DeadLetters(ctx context.Context, limit int, after string) (Page, error) {
	return d.newest(ctx, newestList{
		name: "deadletters", from: "deadletter", id: "id", columns: deadLetterColumns, where: &conditions{}, limit: limit, after: after,
		item: func(row []driver.Value) (any, error) { return deadLetter(row) },
	})
}

// DeadLetter finds one by its ID.
func (d *DB) DeadLetter(ctx context.Context, id string) (*DeadLetter, error) {
	var found *DeadLetter
	err := d.read(ctx, func(c *conn) error {
		return c.query(ctx, "SELECT "+deadLetterColumns+" FROM deadletter WHERE id = ?", func(row []driver.Value) (err error) {
			found, err = deadLetter(row)
			return err
		}, id)
	})
	if err == nil && found == nil {
		err = &NotFoundError{What: "dead letter", ID: id}
	}
	return found, err
}

// newestList is a list by time, the newest first.
type newestList struct {
	name, from, id, columns string // id tells rows of the same time apart
	where                   *conditions
	limit                   int
	after                   string
	item                    func(row []driver.Value) (any, error)
}

func (d *DB) newest(ctx context.Context, l newestList) (Page, error) {
	p := newPager(l.limit)
	if l.after != "" {
		parts, err := parseCursor(l.name, l.after, 2)
		if err != nil {
			return Page{}, err
		}
		at, err := strconv.ParseInt(parts[0], 10, 64)
		if err != nil {
			return Page{}, &CursorError{l.after}
		}
		l.where.add("(at < ? OR at = ? AND "+l.id+" < ?)", at, at, parts[1])
	}
	var last [2]string
	query := "SELECT " + l.columns + ", at, " + l.id + " FROM " + l.from + l.where.String() +
		" ORDER BY at DESC, " + l.id + " DESC LIMIT " + strconv.Itoa(p.limit+1)
	err := d.read(ctx, func(c *conn) error {
		return c.queryOnce(ctx, query, func(row []driver.Value) error {
			if p.full(func() string { return cursor(l.name, last[0], last[1]) }) {
				return errStop
			}
			it, err := l.item(row)
			if err != nil {
				return err
			}
			doc, err := schemas.Encode(it)
			if err != nil {
				return err
			}
			p.add(doc)
			n := len(row)
			last = [2]string{strconv.FormatInt(integer(row[n-2]), 10), text(row[n-1])}
			return nil
		}, l.where.args...)
	})
	return p.page, err
}

const definitionColumns = `kind, type, version, deleted, at, "set", body`

func definitionOf(row []driver.Value) *Definition {
	d := &Definition{
		Kind: text(row[0]), Type: text(row[1]), Version: integer(row[2]), Deleted: integer(row[3]) != 0, At: when(integer(row[4])), Set: text(row[5]),
	}
	if body := text(row[6]); body != "" {
		d.Definition = json.RawMessage(body)
	}
	return d
}

// Definitions lists the definitions of a kind (orchestration, activity) that are in force,
// by type.
func (d *DB) Definitions(ctx context.Context, kind string, limit int, after string) (Page, error) {
	p := newPager(limit)
	id := kind + "/"
	if after != "" {
		parts, err := parseCursor("definitions", after, 1)
		if err != nil {
			return Page{}, err
		}
		id = kind + "/" + parts[0]
	}
	var last string
	err := d.read(ctx, func(c *conn) error {
		return c.query(ctx, "SELECT "+definitionColumns+` FROM definition d
WHERE id > ? AND kind = ? AND NOT deleted AND seq = (SELECT max(seq) FROM definition e WHERE e.id = d.id) ORDER BY id`, func(row []driver.Value) error {
			if p.full(func() string { return cursor("definitions", last) }) {
				return errStop
			}
			it := definitionOf(row)
			doc, err := schemas.Encode(it)
			if err != nil {
				return err
			}
			p.add(doc)
			last = it.Type
			return nil
		}, id, kind)
	})
	return p.page, err
}

// Definition finds a definition of a kind: the one in force for version 0, else that
// version, which may have been deleted since.
func (d *DB) Definition(ctx context.Context, kind, typ string, version int64) (*Definition, error) {
	var found *Definition
	err := d.read(ctx, func(c *conn) error {
		query := "SELECT " + definitionColumns + " FROM definition WHERE id = ? AND ? = 0 ORDER BY seq DESC LIMIT 1"
		if version != 0 {
			query = "SELECT " + definitionColumns + " FROM definition WHERE id = ? AND version = ? AND NOT deleted ORDER BY seq DESC LIMIT 1"
		}
		return c.query(ctx, query, func(row []driver.Value) error {
			found = definitionOf(row)
			return nil
		}, kind+"/"+typ, version)
	})
	if err == nil && (found == nil || found.Deleted) {
		err = &NotFoundError{What: kind + " definition", ID: typ}
	}
	return found, err
}

// RunningJobs counts the jobs of an orchestration type that have not ended: while there
// are any, its definition is not deleted.
func (d *DB) RunningJobs(ctx context.Context, typ string) (int64, error) {
	var n int64
	err := d.read(ctx, func(c *conn) error {
		return c.query(ctx, "SELECT count(*) FROM job WHERE code IN (100, 600, 610, 700, 820, 1190) AND code <> 800 AND type = ?", func(row []driver.Value) error {
			n = integer(row[0])
			return nil
		}, typ)
	})
	return n, err
}

// LiveJobs counts the jobs that have not ended.
func (d *DB) LiveJobs(ctx context.Context) (int64, error) {
	var n int64
	err := d.read(ctx, func(c *conn) error {
		return c.query(ctx, "SELECT count(*) FROM job WHERE code IN (100, 600, 610, 700, 820, 1190) AND code <> 800", func(row []driver.Value) error {
			n = integer(row[0])
			return nil
		})
	})
	return n, err
}
