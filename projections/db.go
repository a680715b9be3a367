package projections

import (
	"context"
	"database/sql/driver"
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// Defaults of Config, in this one place.
const (
	// DefaultReaders is how many queries are answered at a time. SQLite reads from the
	// page cache: more connections than cores only take memory.
	DefaultReaders = 4
	// DefaultRetention is how long the answer to a command is kept: as long as the machines
	// recognise its repeats.
	DefaultRetention = 7 * 24 * time.Hour
	// DefaultMaxBatch is how many records one transaction folds in at most: enough for a busy
	// log, and short enough that nobody waits for a commit.
	DefaultMaxBatch = 10_000
	// DefaultCacheBytes is the size of the cache of documents that are asked for again and again.
	DefaultCacheBytes = 16 << 20
)

// Config says where the log is and where the rows go.
type Config struct {
	// Path of the SQLite file; its directory is made if need be.
	Path  string
	Kafka kafka.Config
	// Readers is the number of connections for queries; 0 means DefaultReaders.
	Readers int
	// Retention is how long accepted and refused commands are kept, counted back from the
	// newest event; 0 means DefaultRetention.
	Retention time.Duration
	// MaxBatch is the number of records per transaction; 0 means DefaultMaxBatch.
	MaxBatch int
	// CacheBytes bounds the cache of job documents; 0 means DefaultCacheBytes.
	CacheBytes int
}

func (c Config) withDefaults() Config {
	if c.Readers <= 0 {
		c.Readers = DefaultReaders
	}
	if c.Retention <= 0 {
		c.Retention = DefaultRetention
	}
	if c.MaxBatch <= 0 {
		c.MaxBatch = DefaultMaxBatch
	}
	if c.CacheBytes <= 0 {
		c.CacheBytes = DefaultCacheBytes
	}
	return c
}

// DB is the read model: one SQLite file that Run keeps up with the log, and the queries
// over it. All methods are safe for concurrent use.
type DB struct {
	cfg     Config
	writer  *writer
	running atomic.Bool
	readers chan *conn
	all     []*conn
	docs    docCache
	waiting waiters

	mu     sync.Mutex
	client *kgo.Client  // of Run; nil while it does not run
	parts  []*partition // under mu: written by Run alone, read by whoever asks
	seen   []int64      // by partition: next, as committed
	status Health
	closed bool
}

//go:embed schema/*.sql
var migrations embed.FS

// schemaVersion is the user_version of a file with this build's schema. One of an older build is
// removed, and the log is folded anew.
const schemaVersion = 3

const schemaFile = "schema/0001.sql"

// Open opens the file, and makes it if it is not there. Nothing is read from the log
// before Run. The caller closes the DB after Run has returned.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	cfg = cfg.withDefaults()
	if cfg.Path == "" {
		return nil, errors.New("projections: Config.Path is needed")
	}
	if err := os.MkdirAll(filepath.Dir(cfg.Path), 0o750); err != nil {
		return nil, fmt.Errorf("projections: %w", err)
	}
	w, err := openWriter(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("projections: %w", err)
	}
	d := &DB{cfg: cfg, writer: w, readers: make(chan *conn, cfg.Readers)}
	d.docs.limit = cfg.CacheBytes
	d.waiting.urgent = make(chan struct{}, 1)
	if err := d.openReaders(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("projections: %w", err), d.Close())
	}
	return d, nil
}

// openWriter opens the one connection that writes, on a file of this build's schema.
func openWriter(ctx context.Context, cfg Config) (*writer, error) {
	c, err := dialWriter(ctx, cfg.Path)
	if err != nil {
		return nil, err
	}
	have, err := c.version(ctx)
	if err == nil && have > 0 && have < schemaVersion {
		if err = errors.Join(c.close(), Rebuild(cfg.Path)); err != nil {
			return nil, err
		}
		if c, err = dialWriter(ctx, cfg.Path); err != nil {
			return nil, err
		}
		have = 0
	}
	w := &writer{
		c: c, decoder: schemas.NewDecoder(), plans: make(map[*orchestration.Plan]plan), keep: cfg.Retention, pruned: -1 << 62,
	}
	if err == nil {
		err = c.migrate(have)
	}
	if err == nil {
		err = w.open(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", cfg.Path, err), c.close())
	}
	return w, nil
}

func dialWriter(ctx context.Context, path string) (*conn, error) {
	return dial(ctx, path, "mode=rwc&_mutex=no", // a connection never has two users
		"busy_timeout = 5000",           // somebody with a sqlite3 shell may hold a lock for a moment
		"journal_mode = WAL",            // readers never wait for the writer, nor it for them
		"synchronous = NORMAL",          // a power cut may lose the last commits, rows and positions together: they are folded again
		"wal_autocheckpoint = 0",        // done beside the writer: checkpoint.go
		"journal_size_limit = 67108864", // a log that a long reader let grow shrinks again
		"cache_size = -32000",           // kB: the upper pages of the indexes, and a batch's worth of others
		"temp_store = MEMORY",
	)
}

func (w *writer) open(ctx context.Context) error {
	err := w.c.query(ctx, `SELECT max(key) + 1 FROM (SELECT coalesce(max(key), 0) AS key FROM job UNION ALL SELECT coalesce(max(key), 0) FROM transfer
UNION ALL SELECT coalesce(max(key), 0) FROM party UNION ALL SELECT coalesce(max(key), 0) FROM access)`, func(row []driver.Value) error {
		w.nextKey = integer(row[0])
		return nil
	})
	if err != nil {
		return err
	}
	return w.c.query(ctx, "SELECT coalesce(max(decided_at), 0) FROM log_position", func(row []driver.Value) error {
		w.newest = integer(row[0])
		return nil
	})
}

// version is the schema that a file has; 0 for none.
func (c *conn) version(ctx context.Context) (have int, err error) {
	err = c.queryOnce(ctx, "PRAGMA user_version", func(row []driver.Value) error {
		have = int(integer(row[0]))
		return nil
	})
	return have, err
}

// migrate makes the tables of a file that has none. One of a newer build is refused.
func (c *conn) migrate(have int) error {
	switch {
	case have > schemaVersion:
		return fmt.Errorf("its schema is version %d, this build knows only up to %d: upgrade, or delete the file and have it rebuilt from the log", have, schemaVersion)
	case have == schemaVersion:
		return nil
	}
	text, err := migrations.ReadFile(schemaFile)
	if err != nil {
		return err
	}
	if err := c.run(fmt.Sprintf("BEGIN IMMEDIATE; %s; PRAGMA user_version = %d; COMMIT", text, schemaVersion)); err != nil {
		return fmt.Errorf("%s: %w", schemaFile, err)
	}
	return nil
}

// openReaders opens the connections for queries.
func (d *DB) openReaders(ctx context.Context) error {
	for range d.cfg.Readers {
		c, err := dial(ctx, d.cfg.Path, "mode=ro&_mutex=no",
			"busy_timeout = 5000",
			"query_only = 1",
			"cache_size = -4000", // kB each; the system's page cache has the rest
		)
		if err != nil {
			return err
		}
		d.all = append(d.all, c)
		d.readers <- c
	}
	return nil
}

// Close closes the file. Queries that are under way finish first. Run must have returned.
func (d *DB) Close() error {
	d.mu.Lock()
	closed := d.closed
	d.closed = true
	d.mu.Unlock()
	if closed {
		return nil
	}
	var errs []error
	for range d.all {
		c := <-d.readers
		errs = append(errs, c.close())
	}
	close(d.readers)
	d.waiting.close()
	return errors.Join(append(errs, d.writer.c.close())...)
}

// ErrClosed is what a query on a closed DB answers.
var ErrClosed = errors.New("projections: the database is closed")

// read lends a connection for queries.
func (d *DB) read(ctx context.Context, use func(c *conn) error) error {
	select {
	case c, ok := <-d.readers:
		if !ok {
			return ErrClosed
		}
		defer func() { d.readers <- c }()
		return use(c)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// snapshot lends a connection whose queries all see the same moment.
func (d *DB) snapshot(ctx context.Context, use func(c *conn) error) error {
	return d.read(ctx, func(c *conn) error {
		if _, err := c.exec("BEGIN"); err != nil {
			return err
		}
		err := use(c)
		_, end := c.exec("COMMIT")
		return errors.Join(err, end)
	})
}

// Rebuild removes the file at path, so that the next Run folds the log from its
// beginning. No process may have it open.
func Rebuild(path string) error {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("rebuild: %w", err)
		}
	}
	return nil
}
