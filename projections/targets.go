package projections

import (
	"context"
	"database/sql/driver"
	"strconv"

	"github.com/waybill/waybill/domain/orchestration"
)

// Selection chooses what something is to be said of in bulk: jobs, or, where NodeState or
// NodeType is given, nodes of jobs.
type Selection struct {
	JobFilter                       // of the jobs; Limit and Cursor are of the targets
	States    []orchestration.Phase // jobs in one of these only
	NodeState string                // RETRYING
	NodeType  string                // activity type
}

func (s *Selection) ofNodes() bool { return s.NodeState != "" || s.NodeType != "" }

// Target is a job, or a node of it.
type Target struct{ JobID, NodeID string }

// from is what comes after SELECT and the columns.
func (s Selection) from() (*conditions, string, error) {
	after := s.Cursor
	s.Cursor = ""
	c, err := s.conditions()
	if err != nil {
		return nil, "", err
	}
	c.inState(s.States...)
	table := " FROM job j"
	if s.ofNodes() {
		table = " FROM job j JOIN node n ON n.key BETWEEN j.key << 32 AND (j.key << 32) + 0xffffffff"
	}
	if s.NodeState != "" {
		p, err := nodeState(s.NodeState)
		if err != nil {
			return nil, "", err
		}
		c.add("n.state = ?", int64(p))
	}
	if s.NodeType != "" {
		c.add("n.doc ->> '$.type' = ?", s.NodeType)
	}
	if after == "" {
		return c, table, nil
	}
	parts, err := parseCursor("targets", after, 3)
	if err != nil {
		return nil, "", err
	}
	created, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil {
		return nil, "", &CursorError{after}
	}
	if !s.ofNodes() {
		c.add("(j.created, j.id) < (?, ?)", created, parts[1])
		return c, table, nil
	}
	number, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil {
		return nil, "", &CursorError{after}
	}
	c.add("((j.created, j.id) < (?, ?) OR j.id = ? AND n.key & 0xffffffff > ?)", created, parts[1], parts[1], number)
	return c, table, nil
}

// CountTargets says how many there are.
func (d *DB) CountTargets(ctx context.Context, s Selection) (int64, error) {
	s.Cursor = ""
	where, table, err := s.from()
	if err != nil {
		return 0, err
	}
	var n int64
	err = d.read(ctx, func(c *conn) error {
		return c.queryOnce(ctx, "SELECT count(*)"+table+where.String(), func(row []driver.Value) error {
			n = integer(row[0])
			return nil
		}, where.args...)
	})
	return n, err
}

// Targets lists them, a page at a time, those of the newest job first. What leaves the
// selection meanwhile does not move the others to other pages.
func (d *DB) Targets(ctx context.Context, s Selection) (page []Target, next string, err error) {
	where, table, err := s.from()
	if err != nil {
		return nil, "", err
	}
	limit := s.Limit
	if limit <= 0 || limit > MaxPageSize {
		limit = MaxPageSize
	}
	columns, order := "j.created, j.id, 0, ''", " ORDER BY j.created DESC, j.id DESC"
	if s.ofNodes() {
		columns, order = "j.created, j.id, n.key & 0xffffffff, n.id", order+", n.key"
	}
	var last [3]string
	err = d.read(ctx, func(c *conn) error {
		return c.queryOnce(ctx, "SELECT "+columns+table+where.String()+order+" LIMIT "+strconv.Itoa(limit+1), func(row []driver.Value) error {
			if len(page) == limit {
				next = cursor("targets", last[:]...)
				return errStop
			}
			page = append(page, Target{JobID: text(row[1]), NodeID: text(row[3])})
			last = [3]string{strconv.FormatInt(integer(row[0]), 10), text(row[1]), strconv.FormatInt(integer(row[2]), 10)}
			return nil
		}, where.args...)
	})
	return page, next, err
}
