package projections

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/mattn/go-sqlite3"
)

// conn is one SQLite connection, used by one goroutine at a time. It speaks to the
// driver itself: database/sql would put a lock, an interface conversion per value and,
// for whatever can be cancelled, a goroutine per statement around calls that take a
// few microseconds.
type conn struct {
	raw   *sqlite3.SQLiteConn
	stmts map[string]*stmt // prepared once, by their text
	// steady is a context that never ends: what changes rows is not interrupted, and the
	// driver starts a goroutine for whatever can be.
	steady context.Context
}

// dial opens a connection to the file and runs pragmas.
func dial(ctx context.Context, path, options string, pragmas ...string) (*conn, error) {
	// A question mark would begin the options, a percent sign an escape.
	escaped := strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)
	dc, err := (&sqlite3.SQLiteDriver{}).Open("file:" + escaped + "?" + options)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	raw, ok := dc.(*sqlite3.SQLiteConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("open %s: the driver gave a %T", path, dc), dc.Close())
	}
	c := &conn{raw: raw, stmts: make(map[string]*stmt), steady: context.WithoutCancel(ctx)}
	for _, p := range pragmas {
		if err := c.run("PRAGMA " + p); err != nil {
			return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), c.close())
		}
	}
	return c, nil
}

func (c *conn) close() error {
	var errs []error
	for _, s := range c.stmts {
		errs = append(errs, s.s.Close())
	}
	return errors.Join(append(errs, c.raw.Close())...)
}

// run executes statements that take no arguments and are not worth keeping.
func (c *conn) run(query string) error {
	if _, err := c.raw.ExecContext(c.steady, query, nil); err != nil {
		return fmt.Errorf("%s: %w", firstLine(query), err)
	}
	return nil
}

// prepared returns the statement of a text that is the same for every call.
func (c *conn) prepared(query string) (*stmt, error) {
	if s, ok := c.stmts[query]; ok {
		return s, nil
	}
	s, err := c.prepare(query)
	if err == nil {
		c.stmts[query] = s
	}
	return s, err
}

// prepare makes a statement for a text that is put together for one call. The caller
// closes it.
func (c *conn) prepare(query string) (*stmt, error) {
	ds, err := c.raw.Prepare(query)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", firstLine(query), err)
	}
	s, ok := ds.(*sqlite3.SQLiteStmt)
	if !ok {
		return nil, errors.Join(fmt.Errorf("%s: the driver gave a %T", firstLine(query), ds), ds.Close())
	}
	return &stmt{s: s, query: query}, nil
}

// exec runs a kept statement and says how many rows it changed.
func (c *conn) exec(query string, args ...driver.Value) (int64, error) {
	s, err := c.prepared(query)
	if err != nil {
		return 0, err
	}
	return s.exec(c.steady, args...)
}

// query runs a kept statement and hands its rows to each; the row's slice is used
// again for the next.
func (c *conn) query(ctx context.Context, query string, each func(row []driver.Value) error, args ...driver.Value) error {
	s, err := c.prepared(query)
	if err != nil {
		return err
	}
	return s.each(ctx, each, args...)
}

// queryOnce is query for a text that is put together for this call.
func (c *conn) queryOnce(ctx context.Context, query string, each func(row []driver.Value) error, args ...driver.Value) error {
	s, err := c.prepare(query)
	if err != nil {
		return err
	}
	return errors.Join(s.each(ctx, each, args...), s.s.Close())
}

// stmt is a prepared statement.
type stmt struct {
	s     *sqlite3.SQLiteStmt
	query string
	args  []driver.NamedValue // kept, to bind without allocating
	row   []driver.Value
}

func (s *stmt) bind(args []driver.Value) []driver.NamedValue {
	s.args = s.args[:0]
	for i, a := range args {
		s.args = append(s.args, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	return s.args
}

func (s *stmt) exec(ctx context.Context, args ...driver.Value) (int64, error) {
	r, err := s.s.ExecContext(ctx, s.bind(args))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", firstLine(s.query), err)
	}
	return r.RowsAffected()
}

// errStop ends each early, without an error.
var errStop = errors.New("enough rows")

func (s *stmt) each(ctx context.Context, each func(row []driver.Value) error, args ...driver.Value) (err error) {
	rows, err := s.s.QueryContext(ctx, s.bind(args))
	if err != nil {
		return fmt.Errorf("%s: %w", firstLine(s.query), err)
	}
	defer func() { // where each panics as well: what is open would keep the write-ahead log from being copied
		if err = errors.Join(err, rows.Close()); err != nil {
			err = fmt.Errorf("%s: %w", firstLine(s.query), err)
		}
	}()
	if s.row == nil {
		s.row = make([]driver.Value, len(rows.Columns()))
	}
	for err == nil {
		if err = rows.Next(s.row); err == nil {
			err = each(s.row)
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, errStop) {
		err = nil
	}
	return err
}

// firstLine names a statement in an error.
func firstLine(query string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(query), "\n")
	if len(line) > 80 {
		line = line[:80] + "…"
	}
	return line
}

// integer reads a column that holds an integer; NULL is 0.
func integer(v driver.Value) int64 {
	n, _ := v.(int64)
	return n
}

// text reads a column that holds text or bytes; NULL is empty.
func text(v driver.Value) string {
	switch v := v.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	}
	return ""
}

// nullable is NULL for no text at all.
func nullable(s string) driver.Value {
	if s == "" {
		return nil
	}
	return s
}
