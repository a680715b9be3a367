package projections

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/mattn/go-sqlite3"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/kafka"
)

// What a batch was thrown away for is folded again from the positions in the file: a record over which
// this build panics, so that its partition stops there and the others go on, and a file
// that cannot be written for now.

// panicError is a panic over a record.
type panicError struct {
	topic     string
	partition int32
	offset    int64
	typ       string
	cause     any
	stack     []byte
}

// Error implements error.
func (e *panicError) Error() string {
	return fmt.Sprintf("this build panics over it: %v\n%s", e.cause, e.stack)
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
	if p, ok := errors.AsType[*panicError](err); ok {
		f.poison[spot{p.topic, p.partition, p.offset}] = p
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

// apply folds a record in, and stops its partition where this build is known to panic over it.
func (f *follower) apply(ctx context.Context, p *partition, r *kgo.Record) (err error) {
	if bug := f.poison[spot{r.Topic, r.Partition, r.Offset}]; bug != nil {
		return p.stop(r.Offset, bug.typ, bug)
	}
	defer func() {
		if v := recover(); v != nil {
			ce, _ := kafka.ParseCloudEvent(r)
			err = &panicError{r.Topic, r.Partition, r.Offset, ce.Type, v, debug.Stack()}
		}
	}()
	return f.w.apply(ctx, p, r)
}

// hold notes why the file cannot be written for now; nil: it can.
func (d *DB) hold(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.status.Held = err
}

// pass goes on behind dead letters that nobody can unpack: they are dead already, and say so in the list.
func (f *follower) pass(p *partition, packed *kgo.ErrDecompressTooLarge) error {
	if err := f.w.begin(); err != nil {
		return err
	}
	err := f.w.unreadable(packed)
	if err == nil {
		p.next = packed.NextOffset
		f.w.touch(p)
		kafka.Pass(f.cl, packed)
	}
	return err
}
