package projections

import (
	"context"
	"database/sql/driver"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/schemas"
)

// Limits of a page.
const (
	DefaultPageSize = 100
	MaxPageSize     = 1000
	// maxPageBytes ends a page early, so that large outputs don't make answers of any size.
	maxPageBytes = 4 << 20
)

// Page is a part of a list. Its items are JSON documents as the HTTP interface answers
// them; Job, Node, Edge, Event, Command, DeadLetter and Definition are their shapes.
type Page struct {
	Items []json.RawMessage
	// Next is the cursor of the page that follows; empty after the last. It stays good while
	// rows are added, and on a rebuilt file.
	Next string
}

// MarshalJSON writes {"items": [...], "next": cursor or null}.
func (p Page) MarshalJSON() ([]byte, error) {
	n := 32 + len(p.Next)
	for _, it := range p.Items {
		n += len(it) + 1
	}
	b := append(make([]byte, 0, n), `{"items":[`...)
	for i, it := range p.Items {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, it...)
	}
	return append(appendOptional(append(b, `],"next":`...), p.Next), '}'), nil
}

// pager fills a page.
type pager struct {
	page  Page
	limit int
	bytes int
}

func newPager(limit int) *pager {
	if limit <= 0 {
		limit = DefaultPageSize
	}
	return &pager{limit: min(limit, MaxPageSize)}
}

// full says that there is no room for one more. The page then goes on after the last
// item, at cursor.
func (p *pager) full(cursor func() string) bool {
	if len(p.page.Items) < p.limit && p.bytes < maxPageBytes {
		return false
	}
	p.page.Next = cursor()
	return true
}

func (p *pager) add(doc []byte) {
	p.page.Items = append(p.page.Items, doc)
	p.bytes += len(doc)
}

// CursorError says that a cursor is none that a page of this list has given.
type CursorError struct{ Cursor string }

// Error implements error.
func (e *CursorError) Error() string {
	return fmt.Sprintf("cursor %.100q is none that this list has given: leave it out to begin anew", e.Cursor)
}

// cursor packs what a page goes on after. Nobody else takes it apart.
func cursor(list string, parts ...string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(list + "\x1f" + strings.Join(parts, "\x1f")))
}

func parseCursor(list, s string, n int) ([]string, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	parts := strings.Split(string(b), "\x1f")
	if err != nil || len(parts) != n+1 || parts[0] != list {
		return nil, &CursorError{s}
	}
	return parts[1:], nil
}

func parseNumber(list, s string) (int64, error) {
	if s == "" {
		return -1, nil
	}
	parts, err := parseCursor(list, s, 1)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64>>1 {
		return 0, &CursorError{s}
	}
	return n, nil
}

// JobFilter chooses jobs. Zero values choose all.
type JobFilter struct {
	State  string            // COMPLETED
	Type   string            // of the definition
	Name   string            // of what it deploys
	Set    string            // whose it is
	Labels map[string]string // all of them
	Since  time.Time         // created then or later
	Until  time.Time         // created before
	Query  string            // part of the id, the name, the type, a label or the error
	Limit  int               // of the page; 0 means DefaultPageSize
	Cursor string            // Page.Next of the page before
}

// StateError says that a state is none of those there are.
type StateError struct {
	State string
	Known []string
}

// Error implements error.
func (e *StateError) Error() string {
	return fmt.Sprintf("state %.100q: want one of %s", e.State, strings.Join(e.Known, ", "))
}

func jobState(s string) (orchestration.Phase, error) {
	phases := orchestration.Phases()
	known := make([]string, len(phases))
	for i, p := range phases {
		if known[i] = p.String(); known[i] == s {
			return p, nil
		}
	}
	return 0, &StateError{s, known}
}

// conditions puts a WHERE together.
type conditions struct {
	where []string
	args  []driver.Value
}

func (c *conditions) add(where string, args ...driver.Value) {
	c.where = append(c.where, where)
	c.args = append(c.args, args...)
}

// inState asks for jobs in one of the states, as the index knows them.
func (c *conditions) inState(states ...orchestration.Phase) {
	codes := make([]string, len(states))
	for i, p := range states {
		codes[i] = strconv.Itoa(int(p))
	}
	if in := strings.Join(codes, ", "); slices.Contains(states, orchestration.PhaseCompleted) {
		c.add("+j.code IN (" + in + ")") // that one is not in the index
	} else {
		c.add("j.code IN (" + in + ") AND j.code <> 800")
	}
}

func (c *conditions) String() string {
	if len(c.where) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(c.where, " AND ")
}

func (f JobFilter) conditions() (*conditions, error) {
	c := &conditions{}
	if f.State != "" {
		p, err := jobState(f.State)
		if err != nil {
			return nil, err
		}
		c.inState(p)
	}
	if f.Type != "" {
		c.add("j.type = ?", f.Type)
	}
	if f.Name != "" {
		c.add("j.name = ?", f.Name)
	}
	if f.Set != "" {
		c.add(`j."set" = ?`, f.Set)
	}
	for name, value := range f.Labels {
		c.add("j.key IN (SELECT job FROM job_label WHERE name = ? AND value = ?)", name, value)
	}
	if !f.Since.IsZero() {
		c.add("j.created >= ?", nanos(f.Since))
	}
	if !f.Until.IsZero() {
		c.add("j.created < ?", nanos(f.Until))
	}
	if f.Query != "" {
		c.add("(instr(j.id, ?) OR instr(j.name, ?) OR instr(j.type, ?) OR instr(j.doc ->> '$.labels', ?) OR instr(j.doc ->> '$.error', ?))", f.Query, f.Query, f.Query, f.Query, f.Query)
	}
	if f.Cursor == "" {
		return c, nil
	}
	parts, err := parseCursor("jobs", f.Cursor, 2)
	if err != nil {
		return nil, err
	}
	created, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil {
		return nil, &CursorError{f.Cursor}
	}
	c.add("(j.created, j.id) < (?, ?)", created, parts[1])
	return c, nil
}

// jobColumns are what a job's document is put together from.
const jobColumns = "j.doc, coalesce(j.input, (SELECT i.input FROM job_input i WHERE i.job = j.key)), j.output"

// Jobs lists jobs without their nodes, newest first. It answers a *StateError or a
// *CursorError for a filter that makes no sense.
func (d *DB) Jobs(ctx context.Context, f JobFilter) (Page, error) {
	where, err := f.conditions()
	if err != nil {
		return Page{}, err
	}
	p := newPager(f.Limit)
	query := "SELECT j.created, j.id, " + jobColumns + " FROM job j" + where.String() +
		" ORDER BY j.created DESC, j.id DESC LIMIT " + strconv.Itoa(p.limit+1)
	var last [2]string
	err = d.read(ctx, func(c *conn) error {
		return c.queryOnce(ctx, query, func(row []driver.Value) error {
			if p.full(func() string { return cursor("jobs", last[0], last[1]) }) {
				return errStop
			}
			p.add(append(openJob(nil, row[2:5]), '}'))
			last = [2]string{strconv.FormatInt(integer(row[0]), 10), text(row[1])}
			return nil
		}, where.args...)
	})
	return p.page, err
}

// openJob writes a job's document but for its nodes and the closing brace; row has
// jobColumns.
func openJob(b []byte, row []driver.Value) []byte {
	doc := text(row[0])
	b = append(b, doc[:len(doc)-1]...)
	b = appendRaw(append(b, `,"input":`...), text(row[1]))
	return appendRaw(append(b, `,"output":`...), text(row[2]))
}

// jobNodes is how many nodes stand in a job's document.
const jobNodes = 100

// JobDocument is a job with its first 100 nodes, JSON as the HTTP interface answers it.
// The caller must not change it. It answers a *NotFoundError for a job that is not in
// the view.
func (d *DB) JobDocument(ctx context.Context, id string) ([]byte, error) {
	doc, commits := d.docs.get(id)
	if doc != nil {
		return doc, nil
	}
	doc, fixed, err := d.jobDocument(ctx, id, jobNodes)
	if err == nil && fixed {
		d.docs.put(id, doc, commits)
	}
	return doc, err
}

// Job is JobDocument as a struct, with as many nodes as asked for; negative means all.
func (d *DB) Job(ctx context.Context, id string, nodes int) (*Job, error) {
	if nodes < 0 {
		nodes = math.MaxInt32
	}
	doc, _, err := d.jobDocument(ctx, id, nodes)
	if err != nil {
		return nil, err
	}
	j := new(Job)
	if err := json.Unmarshal(doc, j); err != nil {
		return nil, fmt.Errorf("job %s: %w", id, err)
	}
	return j, nil
}

// jobDocument puts the document together. fixed says that it stays so until the job or one of its
// transfers has another event.
func (d *DB) jobDocument(ctx context.Context, id string, nodes int) (b []byte, fixed bool, err error) {
	ctx = context.WithoutCancel(ctx) // lookups by key: cancelling them costs more than they do
	err = d.snapshot(ctx, func(c *conn) error {
		var key int64
		err := c.query(ctx, "SELECT j.key, "+jobColumns+" FROM job j WHERE j.id = ?", func(row []driver.Value) error {
			key = integer(row[0])
			b = openJob(make([]byte, 0, 4096), row[1:])
			return nil
		}, id)
		if err != nil || key == 0 {
			return err
		}
		b, fixed, err = c.appendNodes(ctx, b, id, key, nodes)
		return err
	})
	if err == nil && b == nil {
		err = &NotFoundError{What: "job", ID: id}
	}
	return b, fixed, err
}

// appendNodes writes the nodes of a job, at most so many, with the edges that lead to
// them, and closes the document.
func (c *conn) appendNodes(ctx context.Context, b []byte, job string, key int64, limit int) (doc []byte, fixed bool, err error) {
	from, to := within(key)
	fixed = true
	var edges []byte
	n, truncated, start := 0, false, len(b)
	b = append(b, `,"nodes":[`...)
	err = c.query(ctx, "SELECT id, doc FROM node WHERE key BETWEEN ? AND ? ORDER BY key LIMIT ?", func(row []driver.Value) error {
		if n == limit || len(b)-start > maxPageBytes {
			truncated = true
			return errStop
		}
		if n > 0 {
			b = append(b, ',')
		}
		n++
		id := text(row[0])
		doc, same, err := c.nodeDoc(ctx, job, id, text(row[1]))
		if err != nil {
			return err
		}
		b, fixed = append(b, doc...), fixed && same
		edges, err = appendNodeEdges(edges, id, doc)
		return err
	}, from, to, int64(limit)+1)
	if err != nil {
		return b, false, err
	}
	b = strconv.AppendBool(append(b, `],"nodesTruncated":`...), truncated)
	err = c.query(ctx, `SELECT "from", "to", kind FROM edge WHERE key BETWEEN ? AND ? ORDER BY key LIMIT ?`, func(row []driver.Value) error {
		edges = appendEdge(edges, text(row[0]), text(row[1]), text(row[2]))
		return nil
	}, from, to, int64(limit))
	b = append(b, `,"edges":[`...)
	if len(edges) > 0 {
		b = append(b, edges[1:]...) // without the comma
	}
	return append(b, "]}"...), fixed, err
}

// appendEdge writes a comma and an edge.
func appendEdge(b []byte, from, to, kind string) []byte {
	b = appendText(append(b, `,{"from":`...), from)
	b = appendText(append(b, `,"to":`...), to)
	b = appendText(append(b, `,"kind":`...), kind)
	return append(b, '}')
}

// links are the fields of a node from which edges follow.
type links struct {
	Parent    string   `json:"parent"`
	DependsOn []string `json:"dependsOn"`
}

// noLinks is how the document of a node begins that has neither; most have no need to be
// parsed.
const noLinks = `,"parent":null,"dependsOn":[],"state":`

// appendNodeEdges writes the edges that lead to a node.
func appendNodeEdges(b []byte, id, doc string) ([]byte, error) {
	if strings.Contains(doc, noLinks) {
		return b, nil
	}
	var l links
	if err := json.Unmarshal([]byte(doc), &l); err != nil {
		return b, fmt.Errorf("node %s: %w", id, err)
	}
	if l.Parent != "" {
		b = appendEdge(b, l.Parent, id, EdgeSpawned)
	}
	for _, d := range l.DependsOn {
		b = appendEdge(b, d, id, EdgeDependsOn)
	}
	return b, nil
}

// key finds a job's key.
func (c *conn) key(ctx context.Context, id string) (key int64, err error) {
	err = c.query(ctx, "SELECT key FROM job WHERE id = ?", func(row []driver.Value) error {
		key = integer(row[0])
		return nil
	}, id)
	if err == nil && key == 0 {
		err = &NotFoundError{What: "job", ID: id}
	}
	return key, err
}

func nodeState(s string) (orchestration.ActivityPhase, error) {
	known := make([]string, 0, orchestration.ActivitySkipped+1)
	for p := orchestration.ActivityPending; p <= orchestration.ActivitySkipped; p++ {
		if known = append(known, p.String()); p.String() == s {
			return p, nil
		}
	}
	return 0, &StateError{s, known}
}

// NodeFilter chooses nodes of a job. Zero values choose all.
type NodeFilter struct {
	State  string // RETRYING
	Parent string // id of the node that spawned them
	Since  int64  // changed by an event after this sequence
	Limit  int
	Cursor string
}

func (f NodeFilter) conditions(key int64) (*conditions, error) {
	after, err := parseNumber("nodes", f.Cursor)
	if err != nil {
		return nil, err
	}
	from, to := within(key)
	c := &conditions{}
	c.add("key BETWEEN ? AND ?", from+after+1, to)
	if f.State != "" {
		p, err := nodeState(f.State)
		if err != nil {
			return nil, err
		}
		c.add("state = ?", int64(p))
	}
	if f.Parent != "" {
		c.add("doc ->> '$.parent' = ?", f.Parent)
	}
	if f.Since > 0 {
		c.add("seq > ?", f.Since)
	}
	return c, nil
}

// Nodes lists the nodes of a job as they were registered. It answers a *NotFoundError
// for a job that is not in the view.
func (d *DB) Nodes(ctx context.Context, id string, f NodeFilter) (Page, error) {
	p := newPager(f.Limit)
	err := d.snapshot(ctx, func(c *conn) error {
		key, err := c.key(ctx, id)
		if err != nil {
			return err
		}
		where, err := f.conditions(key)
		if err != nil {
			return err
		}
		var last int64
		return c.queryOnce(ctx, "SELECT key & 0xffffffff, id, doc FROM node"+where.String()+" ORDER BY key LIMIT "+strconv.Itoa(p.limit+1), func(row []driver.Value) error {
			if p.full(func() string { return cursor("nodes", strconv.FormatInt(last, 10)) }) {
				return errStop
			}
			last = integer(row[0])
			doc, _, err := c.nodeDoc(ctx, id, text(row[1]), text(row[2]))
			p.add([]byte(doc))
			return err
		}, where.args...)
	})
	return p.page, err
}

// linkBase is where the numbers of the edges that follow from no node begin in a cursor.
const linkBase = 1 << 32

// Edges lists the edges of a job: for each node, in the order of Nodes, those that lead to
// it, then the links to nodes that were there already. A page may be a little longer
// than its limit: it never ends between the edges of one node.
func (d *DB) Edges(ctx context.Context, id string, limit int, after string) (Page, error) {
	p := newPager(limit)
	last, err := parseNumber("edges", after)
	if err != nil {
		return Page{}, err
	}
	next := func() string { return cursor("edges", strconv.FormatInt(last, 10)) }
	err = d.snapshot(ctx, func(c *conn) error {
		key, err := c.key(ctx, id)
		if err != nil {
			return err
		}
		from, to := within(key)
		if last < linkBase {
			err = c.query(ctx, "SELECT key & 0xffffffff, id, doc FROM node WHERE key BETWEEN ? AND ? ORDER BY key", func(row []driver.Value) error {
				if p.full(next) {
					return errStop
				}
				last = integer(row[0])
				return p.addEdges(text(row[1]), text(row[2]))
			}, from+last+1, to)
		}
		if err != nil || p.page.Next != "" {
			return err
		}
		return c.query(ctx, `SELECT key & 0xffffffff, "from", "to", kind FROM edge WHERE key BETWEEN ? AND ? ORDER BY key`, func(row []driver.Value) error {
			if p.full(next) {
				return errStop
			}
			last = linkBase + integer(row[0])
			p.add(appendEdge(nil, text(row[1]), text(row[2]), text(row[3]))[1:])
			return nil
		}, from+max(0, last-linkBase+1), to)
	})
	return p.page, err
}

func (p *pager) addEdges(id, doc string) error {
	edges, err := appendNodeEdges(nil, id, doc)
	if err != nil || len(edges) == 0 {
		return err
	}
	var list []json.RawMessage
	edges[0] = '['
	if err := json.Unmarshal(append(edges, ']'), &list); err != nil {
		return fmt.Errorf("edges of %s: %w", id, err)
	}
	for _, e := range list {
		p.add(e)
	}
	return nil
}

// Events lists the history of a job as it stands on the log, the oldest first, the ones
// after sequence only.
func (d *DB) Events(ctx context.Context, id string, after int64, limit int, from string) (Page, error) {
	return d.eventsOf(ctx, after, limit, from, func(c *conn) (*told, error) {
		key, err := c.key(ctx, id)
		return &told{aggregate: schemas.AggregateOrchestration, id: id, key: key}, err
	})
}

// events puts the events of a piece onto the page that come after one.
func (c *conn) events(ctx context.Context, p *pager, l *told, first int64, blob []byte, after *int64, next func(last int64) string) error {
	var failed error
	err := unpack(first, blob, func(e past) bool {
		if l.to > 0 && e.sequence >= l.to {
			failed = errStop
			return false
		}
		if e.sequence <= *after {
			return true
		}
		if p.full(func() string { return next(*after) }) {
			failed = errStop
			return false
		}
		var body string
		if e.plan != 0 {
			failed = c.query(ctx, "SELECT body FROM plan WHERE key = ?", func(row []driver.Value) error {
				body = text(row[0])
				return nil
			}, e.plan)
		}
		p.add(e.appendItem(nil, l.aggregate, l.id, body))
		*after = e.sequence
		return failed == nil
	})
	if err == nil {
		err = failed
	}
	return err
}

// JobState is a job without its nodes.
type JobState struct {
	Document []byte // JSON
	Sequence int64  // of the last event that it shows
	Ended    bool
}

// JobState reads a job without its nodes.
func (d *DB) JobState(ctx context.Context, id string) (JobState, error) {
	var s JobState
	err := d.read(ctx, func(c *conn) error {
		return c.query(context.WithoutCancel(ctx), "SELECT j.seq, j.code, "+jobColumns+" FROM job j WHERE j.id = ?", func(row []driver.Value) error {
			s = JobState{
				Document: append(openJob(nil, row[2:]), '}'), Sequence: integer(row[0]),
				Ended: orchestration.Phase(integer(row[1])).Final(),
			}
			return nil
		}, id)
	})
	if err == nil && s.Document == nil {
		err = &NotFoundError{What: "job", ID: id}
	}
	return s, err
}

// Result is what a job has come to.
type Result struct {
	State  orchestration.Phase
	Output json.RawMessage // nil where there is none
	// BlobsRemovedAt is when what the output refers to was removed; zero where it was not.
	BlobsRemovedAt time.Time
}

// Result answers with a job's output, and with the state that says why there may be none.
func (d *DB) Result(ctx context.Context, id string) (Result, error) {
	var r Result
	found := false
	err := d.read(ctx, func(c *conn) error {
		return c.query(context.WithoutCancel(ctx), "SELECT code, output, doc ->> '$.blobsRemovedAt' FROM job WHERE id = ?", func(row []driver.Value) error {
			found = true
			r.State = orchestration.Phase(integer(row[0]))
			if s := text(row[1]); s != "" {
				r.Output = json.RawMessage(s)
			}
			r.BlobsRemovedAt = instant(row[2])
			return nil
		}, id)
	})
	if err == nil && !found {
		err = &NotFoundError{What: "job", ID: id}
	}
	return r, err
}

// Value is a part of a job that may refer to what is kept elsewhere.
type Value struct {
	JSON           json.RawMessage // nil where there is none
	BlobsRemovedAt time.Time       // when what it refers to was removed; zero where it was not
}

// Input reads a job's input.
func (d *DB) Input(ctx context.Context, id string) (Value, error) {
	return d.value(ctx, &NotFoundError{What: "job", ID: id},
		"SELECT coalesce(j.input, (SELECT i.input FROM job_input i WHERE i.job = j.key)), j.doc ->> '$.blobsRemovedAt' FROM job j WHERE j.id = ?", id)
}

// NodeOutput reads the output of one of a job's nodes.
func (d *DB) NodeOutput(ctx context.Context, id, node string) (Value, error) {
	return d.value(ctx, &NotFoundError{What: "node", ID: node}, `SELECT nullif(n.doc -> '$.output', 'null'), j.doc ->> '$.blobsRemovedAt'
FROM job j JOIN node n ON n.key BETWEEN j.key << 32 AND (j.key << 32) + 0xffffffff WHERE j.id = ? AND n.id = ?`, id, node)
}

func (d *DB) value(ctx context.Context, missing error, query string, args ...driver.Value) (Value, error) {
	var v Value
	found := false
	err := d.read(ctx, func(c *conn) error {
		return c.query(ctx, query, func(row []driver.Value) error {
			found = true
			if s := text(row[0]); s != "" {
				v.JSON = json.RawMessage(s)
			}
			v.BlobsRemovedAt = instant(row[1])
			return nil
		}, args...)
	})
	if err == nil && !found {
		err = missing
	}
	return v, err
}

// instant reads a time as documents have it; zero where there is none.
func instant(v driver.Value) time.Time {
	t, err := time.Parse(timeFormat, text(v))
	if err != nil {
		return time.Time{}
	}
	return t
}

// WorkOwner is the activity that a piece of work belongs to.
type WorkOwner struct {
	JobID   string
	NodeID  string
	Attempt int
	State   orchestration.ActivityPhase
}

// WorkOwner finds the activity of a work ID. Of activities that have ended only those are
// found that had waited for somebody: nobody else outside knows the ID.
func (d *DB) WorkOwner(ctx context.Context, workID string) (WorkOwner, error) {
	o := WorkOwner{}
	err := d.read(ctx, func(c *conn) error {
		return c.query(context.WithoutCancel(ctx), `SELECT j.id, n.id, n.doc ->> '$.attempt', n.state FROM node n JOIN job j ON j.key = n.key >> 32
WHERE n.work = ? AND n.work IS NOT NULL`, func(row []driver.Value) error {
			o = WorkOwner{
				JobID: text(row[0]), NodeID: text(row[1]), Attempt: int(integer(row[2])),
				State: orchestration.ActivityPhase(integer(row[3])),
			}
			return nil
		}, workID)
	})
	if err == nil && o.JobID == "" {
		err = &NotFoundError{What: "work", ID: workID}
	}
	return o, err
}
