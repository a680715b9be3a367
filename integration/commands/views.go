package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	_ "github.com/mattn/go-sqlite3" // where there is no sqlite3 command

	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/load"
)

// reader asks the SQLite file while somebody else writes it. Its answer has a line for
// each row, each value as SQL would write it.
type reader interface {
	name() string
	query(ctx context.Context, sql string) (string, error)
}

// newReader is the sqlite3 command where it is installed.
func newReader(file string) reader {
	if bin, err := exec.LookPath("sqlite3"); err == nil {
		return &sqlite3{bin, file}
	}
	return &driver{file}
}

type sqlite3 struct{ bin, file string }

func (s *sqlite3) name() string { return "sqlite3" }

func (s *sqlite3) query(ctx context.Context, sql string) (string, error) {
	// An outsider waits for the moment in which the file is switched over to another log.
	out, err := exec.CommandContext(ctx, s.bin, "-readonly", "-quote", "-cmd", ".timeout 2000", s.file, sql).CombinedOutput() //nolint:gosec // found in PATH
	if err != nil {
		return "", fmt.Errorf("sqlite3: %w: %s", err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

type driver struct{ file string }

func (d *driver) name() string { return "no sqlite3: its driver" }

func (d *driver) query(ctx context.Context, query string) (answer string, err error) {
	db, err := sql.Open("sqlite3", "file:"+d.file+"?mode=ro&_busy_timeout=2000")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	columns, err := rows.Columns()
	if err != nil {
		return "", err
	}
	var lines []string
	for rows.Next() {
		values, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return "", err
		}
		quoted := make([]string, len(values))
		for i, v := range values {
			switch v := v.(type) {
			case nil:
				quoted[i] = "NULL"
			case int64, float64:
				quoted[i] = fmt.Sprint(v)
			case []byte:
				quoted[i] = "'" + string(v) + "'"
			default:
				quoted[i] = fmt.Sprintf("'%v'", v)
			}
		}
		lines = append(lines, strings.Join(quoted, ","))
	}
	return strings.Join(lines, "\n"), rows.Err()
}

// glance is one look at all views, in one statement and so at one moment.
const glance = `SELECT
	(SELECT count(*) FROM jobs),
	(SELECT count(*) FROM nodes),
	(SELECT count(*) FROM rejections),
	(SELECT count(*) FROM positions),
	(SELECT sum(next_offset) FROM positions),
	(SELECT count(*) FROM jobs WHERE total IS NOT pending + running + waiting + completed + failed + cancelled + skipped),
	(SELECT count(*) FROM (SELECT j.id FROM jobs j LEFT JOIN nodes n ON n.job_id = j.id GROUP BY j.id HAVING count(n.id) <> j.total)),
	(SELECT count(*) FROM (SELECT j.id FROM jobs j JOIN nodes n ON n.job_id = j.id WHERE j.state IN ('COMPLETED', 'CANCELLED', 'ERROR')
		AND n.state NOT IN ('COMPLETED', 'FAILED', 'CANCELLED', 'SKIPPED')))`

// The numbers of a glance that count what must not be, and what they count.
var mustBeNone = map[int]string{ //nolint:gochecknoglobals // a constant
	5: "jobs whose progress does not add up",
	6: "jobs without all of their nodes",
	7: "ended jobs with nodes that have not ended",
}

// growing is how many of the numbers never become less.
const growing = 5

// views has jobs of every kind run and reads the views all the time.
func (s *scenario) views(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, drainWithin, fmt.Errorf("the jobs have not ended after %s", drainWithin))
	defer cancel()
	done := make(chan struct{})
	failed := make(chan error, len(s.jobs)+1)
	var all sync.WaitGroup
	for _, j := range s.jobs {
		all.Go(func() {
			if err := j.Run(ctx, s.api); err != nil {
				failed <- err
			}
		})
	}
	go func() {
		defer close(done)
		all.Wait()
		if err := load.Await(ctx, s.api, s.jobs); err != nil {
			failed <- err
		}
	}()
	looks, err := s.look(ctx, done)
	if err != nil {
		return err
	}
	select {
	case err := <-failed:
		return err
	default:
	}
	fmt.Printf("%d jobs ran while the views were read %d times: nothing by halves, nothing backwards\n", len(s.jobs), looks)
	return s.compare(ctx)
}

// look reads the views until done.
func (s *scenario) look(ctx context.Context, done <-chan struct{}) (looks int, err error) {
	var before []int64
	for {
		line, err := s.sql.query(ctx, glance)
		if err != nil {
			return looks, err
		}
		now, err := numbers(line)
		if err != nil {
			return looks, err
		}
		looks++
		for i, n := range now {
			if what, none := mustBeNone[i]; none && n != 0 {
				s.amiss("the views show %d %s", n, what)
			}
			if i < growing && before != nil && n < before[i] {
				s.amiss("number %d of the views went from %d to %d", i, before[i], n)
			}
		}
		before = now
		select {
		case <-done:
			return looks, nil
		default:
		}
		if err := api.Pause(ctx, 20*time.Millisecond); err != nil {
			return looks, err
		}
	}
}

func numbers(line string) ([]int64, error) {
	var all []int64
	for f := range strings.SplitSeq(line, ",") {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("the views say %q: %w", line, err)
		}
		all = append(all, n)
	}
	return all, nil
}

// compare checks that every job has ended as it must, in the view as over HTTP.
func (s *scenario) compare(ctx context.Context) error {
	answer, err := s.sql.query(ctx, "SELECT id, state FROM jobs WHERE id LIKE 'm-%' ORDER BY id")
	if err != nil {
		return err
	}
	states := map[string]string{}
	for line := range strings.SplitSeq(answer, "\n") {
		id, state, _ := strings.Cut(strings.TrimSpace(line), ",")
		states[strings.Trim(id, "'")] = strings.Trim(state, "'")
	}
	for _, j := range s.jobs {
		var found api.Job
		if err := s.api.Insist(ctx, "GET", "/v1/jobs/"+j.ID, nil, &found); err != nil {
			return err
		}
		if err := j.Check(&found); err != nil {
			s.amiss("%v", err)
		}
		if states[j.ID] != found.State {
			s.amiss("%s is %q in the view jobs and %q over HTTP", j.ID, states[j.ID], found.State)
		}
	}
	return nil
}
