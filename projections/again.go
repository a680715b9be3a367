package projections

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/mattn/go-sqlite3"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/kafka"
)

// What a batch was thrown away for is folded again from the positions in the file: a record over which
// this build panics, or that SQLite does not take, so that its partition stops there and the others go on; and a
// file that cannot be written for now. Where that shows only when the batch is written, nobody knows which
// record it was: the batch is folded again record by record, each in a transaction of its own.

// recordError says why this build cannot keep a record.
type recordError struct {
	at    spot
	typ   string
	cause error
}

// Error implements error.
func (e *recordError) Error() string { return e.cause.Error() }

func (e *recordError) Unwrap() error { return e.cause }

// panicked makes an error of what was recovered.
func panicked(v any) error {
	return fmt.Errorf("this build panics over it: %v\n%s", v, debug.Stack())
}

// spot is where a record lies.
type spot struct {
	topic     string
	partition int32
	offset    int64
}

// pauseHeld is how long Run waits before it tries again to write a file that another program holds, or whose
// disk is full. The first try has waited as long as SQLite does.
const pauseHeld = time.Second

// heldError is a file that cannot be written for now.
type heldError struct{ err error }

// Error implements error.
func (e *heldError) Error() string {
	return fmt.Sprintf("nothing can be written for now, and it is tried again: %v", e.err)
}

func (e *heldError) Unwrap() error { return e.err }

// held says whether an error goes away when another program, or the disk, lets go.
func held(err error) bool {
	e, ok := errors.AsType[sqlite3.Error](err)
	return ok && (e.Code == sqlite3.ErrBusy || e.Code == sqlite3.ErrLocked || e.Code == sqlite3.ErrFull)
}

// refused says whether an error lies in what was to be written, and not in the file, the disk or in being told to end.
func refused(err error) bool {
	if isFault(err) || errors.Is(err, errForeignWriter) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	e, ok := errors.AsType[sqlite3.Error](err)
	if !ok {
		return true
	}
	return slices.Contains([]sqlite3.ErrNo{sqlite3.ErrError, sqlite3.ErrTooBig, sqlite3.ErrConstraint, sqlite3.ErrMismatch, sqlite3.ErrRange}, e.Code)
}

// run folds until something cannot be dealt with by going back.
func (f *follower) run(ctx context.Context) error {
	for {
		err := f.begin(ctx)
		for err == nil {
			err = f.step(ctx)
		}
		if err = f.again(ctx, err); err == nil {
			err = f.w.open(ctx) // what it counts has run ahead of the rows
		}
		if err != nil {
			return err
		}
		f.stop()
	}
}

// again is nil where it helps to go back.
func (f *follower) again(ctx context.Context, err error) error {
	if r, ok := errors.AsType[*recordError](err); ok {
		f.blame(r)
		return nil
	}
	if !held(err) {
		return err
	}
	f.held = true
	f.d.hold(&heldError{err})
	timer := time.NewTimer(pauseHeld)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stop lets go of all partitions, to begin again.
func (f *follower) stop() {
	all := make(map[string][]int32)
	for topic, parts := range f.parts {
		for n := range parts {
			all[topic] = append(all[topic], n)
		}
	}
	f.cl.RemoveConsumePartitions(all)
}

// apply folds a record in, and stops its partition where this build is known not to be able to keep it.
func (f *follower) apply(ctx context.Context, p *partition, r *kgo.Record) (err error) {
	at := spot{r.Topic, r.Partition, r.Offset}
	if bad := f.poison[at]; bad != nil {
		return p.stop(r.Offset, bad.typ, bad)
	}
	defer func() {
		if v := recover(); v != nil {
			err = panicked(v)
		}
		if err != nil && refused(err) {
			err = &recordError{at, typeOf(r), err}
		}
	}()
	f.folded, f.latest = f.folded+1, r
	return f.w.apply(ctx, p, r)
}

// flush writes what was folded.
func (f *follower) flush() (changed []string, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicked(v)
		}
		if err == nil || !refused(err) {
			return
		}
		e := &recordError{cause: err}
		if r := f.latest; f.folded == 1 {
			e.at, e.typ = spot{r.Topic, r.Partition, r.Offset}, typeOf(r)
		}
		err = e
	}()
	return f.w.flush()
}

func typeOf(r *kgo.Record) string {
	ce, _ := kafka.ParseCloudEvent(r)
	return ce.Type
}

// blame notes the record that cannot be kept. Where several come into question, each up to here is written by itself.
func (f *follower) blame(e *recordError) {
	if e.at.topic != "" {
		f.poison[e.at] = e
		return
	}
	for topic, parts := range f.parts {
		for n, p := range parts {
			f.singly = append(f.singly, spot{topic, n, p.next})
		}
	}
}

// most is how many records may be folded together.
func (f *follower) most() int {
	f.singly = slices.DeleteFunc(f.singly, func(s spot) bool {
		p := f.parts[s.topic][s.partition]
		return p == nil || p.fault != nil || p.next >= s.offset
	})
	if len(f.singly) > 0 {
		return 1
	}
	return f.d.cfg.MaxBatch
}

// hold notes why the file cannot be written for now; nil: it can.
func (d *DB) hold(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.status.Held = err
}

// pass goes on behind dead letters that nobody can unpack: they are dead already, and say so in the list.
func (f *follower) pass(ctx context.Context, p *partition, packed *kgo.ErrDecompressTooLarge) error {
	if err := f.apply(ctx, p, unreadable(packed, f.w.newest)); err != nil {
		return err
	}
	p.next = packed.NextOffset
	kafka.Pass(f.cl, packed)
	return nil
}
