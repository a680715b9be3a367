package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	_ "github.com/mattn/go-sqlite3" // database/sql finds the driver by its name
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/projections"
)

const (
	// alike is how long a projection may take to have read what a fresh one has.
	alike = 20 * time.Second
	// between two looks at how far both are.
	again = 100 * time.Millisecond
	// shownRows is how many rows of one view are told.
	shownRows = 10
)

// Projection folds the log into a new file below dir and holds all views of the live file at path against it,
// row by row. rows is how many there are.
func Projection(ctx context.Context, cfg kafka.Config, path, dir string) (wrongs []Wrong, rows int, err error) {
	fresh := filepath.Join(dir, "fresh.db")
	if err := projections.Rebuild(fresh); err != nil {
		return nil, 0, err
	}
	db, err := projections.Open(ctx, projections.Config{Path: fresh, Kafka: cfg})
	if err != nil {
		return nil, 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- db.Run(ctx) }()
	defer func() {
		cancel()
		if e := <-ended; !errors.Is(e, context.Canceled) {
			err = errors.Join(err, e)
		}
		err = errors.Join(err, db.Close())
	}()
	if err := caughtUp(ctx, db); err != nil {
		return nil, 0, err
	}
	cut, err := isCut(ctx, cfg)
	if err != nil {
		return nil, 0, err
	}
	return views(ctx, path, fresh, cut)
}

// isCut says that the log has let go of some history.
func isCut(ctx context.Context, cfg kafka.Config) (cut bool, err error) {
	cl, err := cfg.NewClient()
	if err != nil {
		return false, err
	}
	defer cl.Close()
	var events []string
	for _, a := range aggregates() {
		events = append(events, cfg.Topics().Events(a))
	}
	starts, err := kadm.NewClient(cl).ListStartOffsets(ctx, events...)
	if err = errors.Join(err, starts.Error()); err != nil {
		return false, fmt.Errorf("the starts of the topics: %w", err)
	}
	starts.Each(func(o kadm.ListedOffset) { cut = cut || o.Offset > 0 })
	return cut, nil
}

// caughtUp waits until a projection has read what there is.
func caughtUp(ctx context.Context, db *projections.DB) error {
	for {
		lags, err := db.Lag(ctx)
		if err == nil && !slices.ContainsFunc(lags, func(l projections.Lag) bool { return l.Records() > 0 }) {
			return db.Err()
		}
		if db.Health().Running && db.Err() != nil {
			return db.Err()
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(again):
		}
	}
}

// Views holds all views of two files against each other, once the first has read as far as the second.
func Views(ctx context.Context, path, fresh string) (wrongs []Wrong, rows int, err error) {
	return views(ctx, path, fresh, false)
}

// views does, of a log that was cut or not: what was refused before the cut the live file goes on knowing, as long as
// answers are kept.
func views(ctx context.Context, path, fresh string, cut bool) (wrongs []Wrong, rows int, err error) {
	live, err := open(path)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, live.Close()) }()
	other, err := open(fresh)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, other.Close()) }()
	names, err := texts(ctx, other, "SELECT name FROM sqlite_master WHERE type = 'view' ORDER BY name")
	if err != nil {
		return nil, 0, err
	}
	if err := awaitAlike(ctx, live, other); err != nil {
		return nil, 0, err
	}
	for _, view := range names {
		w, n, err := differences(ctx, live, other, view, cut && view == "rejections")
		if err != nil {
			return nil, 0, fmt.Errorf("view %s: %w", view, err)
		}
		wrongs, rows = append(wrongs, w...), rows+n
	}
	return wrongs, rows, nil
}

func open(path string) (*sql.DB, error) {
	db, err := sql.Open("sqlite3", "file:"+path+"?mode=ro")
	if err == nil {
		db.SetMaxOpenConns(1)
	}
	return db, err
}

// decided is how far a file has read. Where a partition ends with the markers of transactions, the offset that was
// written down last depends on how the records came, so that it says less than what was decided.
const decided = `SELECT topic || '/' || "partition" || ' ' || next_command || ' ' || decided_at FROM positions
UNION ALL SELECT 'dead letters ' || count(*) FROM deadletters ORDER BY 1`

// awaitAlike waits until one file has read as far as another, for a while: what differs then is reported.
func awaitAlike(ctx context.Context, live, other *sql.DB) error {
	for end := time.Now().Add(alike); time.Now().Before(end); {
		a, err := texts(ctx, live, decided)
		if err != nil {
			return err
		}
		b, err := texts(ctx, other, decided)
		if err != nil || slices.Equal(a, b) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(again):
		}
	}
	return nil
}

func texts(ctx context.Context, db *sql.DB, query string) ([]string, error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var l []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		l = append(l, s)
	}
	return l, rows.Err()
}

// differences are the rows of a view that one file has and the other has not. The first may have more, where that is
// said.
func differences(ctx context.Context, live, other *sql.DB, view string, more bool) ([]Wrong, int, error) {
	have := make(map[string]int)
	n := 0
	if err := everyRow(ctx, other, view, func(row string) { have[row]++; n++ }); err != nil {
		return nil, 0, err
	}
	var wrongs []Wrong
	tell := func(format string, row string) {
		wrongs = append(wrongs, Wrong{Law: LawProjections, Offset: -1, What: fmt.Sprintf(format, view, row)})
	}
	if err := everyRow(ctx, live, view, func(row string) {
		if have[row]--; have[row] < 0 && !more {
			tell("the view %s has a row that a fresh replay has not: %s", row)
		}
	}); err != nil {
		return nil, 0, err
	}
	for row, left := range have {
		if left > 0 {
			tell("the view %s lacks a row that a fresh replay has: %s", row)
		}
	}
	if more := len(wrongs) - shownRows; more > 0 {
		wrongs = wrongs[:shownRows]
		tell("the view %s is wrong in %s more rows", itoa(more))
	}
	return wrongs, n, nil
}

// everyRow calls visit with every row of a view as a text.
func everyRow(ctx context.Context, db *sql.DB, view string, visit func(row string)) error {
	rows, err := db.QueryContext(ctx, `SELECT * FROM "`+view+`"`) //nolint:gosec // a view's own name, out of sqlite_master
	if err != nil {
		return err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return err
	}
	cells, into := make([]any, len(names)), make([]any, len(names))
	for i := range cells {
		into[i] = &cells[i]
	}
	var text strings.Builder
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		text.Reset()
		for i, v := range cells {
			if view == "positions" && names[i] == "next_offset" {
				continue // see decided
			}
			if b, ok := v.([]byte); ok {
				v = string(b)
			}
			fmt.Fprintf(&text, "%s=%v ", names[i], v)
		}
		visit(text.String())
	}
	return rows.Err()
}
