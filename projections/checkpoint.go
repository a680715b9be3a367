package projections

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync/atomic"
)

// What is committed stands in the write-ahead log until a checkpoint copies it into the
// file, which syncs the disk twice. That is done beside the writer, so that a busy disk
// holds up no commit.

const (
	// checkpointRows is how many rows are written between two checkpoints: some 30 MB.
	checkpointRows = 20_000
	// maxLogPages is from where on the writer waits for a checkpoint: the write-ahead log
	// begins anew only when all of it has been copied, which never happens while commits
	// follow each other without a pause. 256 MB.
	maxLogPages = 64 << 10
)

// checkpointer copies the write-ahead log while Run writes.
type checkpointer struct {
	c     *conn
	due   chan struct{}
	large atomic.Bool // the log has grown past maxLogPages
}

func newCheckpointer(ctx context.Context, path string) (*checkpointer, error) {
	c, err := dial(ctx, path, "mode=rw&_mutex=no", "busy_timeout = 5000", "synchronous = NORMAL")
	if err != nil {
		return nil, err
	}
	return &checkpointer{c: c, due: make(chan struct{}, 1)}, nil
}

// run copies whenever it is due, until ctx ends.
func (k *checkpointer) run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, k.c.close()) }()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-k.due:
		}
		// Readers and the writer go on meanwhile; what they hold back is copied next time.
		pages, err := k.c.checkpoint("PASSIVE")
		if held(err) {
			continue // nothing is lost by copying it next time
		}
		if err != nil {
			return err
		}
		k.large.Store(pages > maxLogPages)
	}
}

// checkpoint copies the write-ahead log, and answers with its length in pages.
func (c *conn) checkpoint(mode string) (pages int64, err error) {
	err = c.queryOnce(c.steady, "PRAGMA wal_checkpoint("+mode+")", func(row []driver.Value) error {
		pages = integer(row[1])
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("checkpoint: %w", err)
	}
	return pages, nil
}
