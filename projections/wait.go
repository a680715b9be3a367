package projections

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/transfer"
	"github.com/waybill/waybill/internal/kafka"
)

// shard is one partition of the topics of an aggregate type.
type shard struct {
	aggregate string
	partition int32
}

// waiters is who waits for what. Run wakes them after each commit: nobody polls.
type waiters struct {
	mu      sync.Mutex
	known   bool // Run has said which shards there are
	reached map[shard]reached
	parked  map[shard]map[*parked]struct{}
	early   map[*parked]struct{} // parked before Run said which shards there are
	watched map[string]map[chan struct{}]struct{}
	urgent  chan struct{} // has a notice when somebody begins to wait for a position
	closed  bool
}

// reached is how far a shard's commands have been decided, as far as the rows tell.
type reached struct {
	command int64
	fault   *Fault
}

type parked struct {
	at   kafka.Position
	done chan error // with room for one answer
}

// WaitFor returns when the rows show what the command at a position has led to, be it a
// refusal. It fails at once when the position is none of this log's or its partition has
// stopped, and when ctx ends.
func (d *DB) WaitFor(ctx context.Context, position kafka.Position) error {
	p := &parked{at: position, done: make(chan error, 1)}
	d.waiting.park(p)
	defer d.waiting.leave(p)
	select {
	case err := <-p.done: // even where ctx has ended
		return err
	default:
	}
	select {
	case err := <-p.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("the view has not reached %s: %w", position, ctx.Err())
	}
}

func (w *waiters) park(p *parked) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := shard{p.at.Aggregate, p.at.Partition}
	r, ok := w.reached[s]
	switch {
	case w.closed:
		p.done <- ErrClosed
	case ok && w.answer(p, r):
	case w.known && !ok:
		p.done <- &NotFoundError{What: "partition of position", ID: p.at.String()}
	case !ok:
		put(&w.early, p)
	default:
		notify(w.urgent)
		if w.parked == nil {
			w.parked = make(map[shard]map[*parked]struct{})
		}
		l := w.parked[s]
		put(&l, p)
		w.parked[s] = l
	}
}

func put[K comparable](m *map[K]struct{}, k K) {
	if *m == nil {
		*m = make(map[K]struct{})
	}
	(*m)[k] = struct{}{}
}

// answer tells a waiter when there is something to tell.
func (w *waiters) answer(p *parked, r reached) bool {
	switch {
	case r.command > p.at.Offset:
		p.done <- nil
	case r.fault != nil:
		p.done <- r.fault
	default:
		return false
	}
	return true
}

func (w *waiters) leave(p *parked) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.early, p)
	delete(w.parked[shard{p.at.Aggregate, p.at.Partition}], p)
}

// wake tells whoever waits for what has been committed.
func (w *waiters) wake(parts []*partition, changed []string) {
	for _, p := range w.wakeKnown(parts, changed) {
		w.park(p)
	}
}

// wakeKnown wakes those who wait for shards that are known, and returns the others.
func (w *waiters) wakeKnown(parts []*partition, changed []string) []*parked {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.reached == nil {
		w.reached = make(map[shard]reached)
	}
	for _, p := range parts {
		s, r := shard{p.aggregate, p.number}, reached{p.command, p.fault}
		if p.aggregate == "" || w.reached[s] == r && w.known {
			continue
		}
		w.reached[s] = r
		for l := range w.parked[s] {
			if w.answer(l, r) {
				delete(w.parked[s], l)
			}
		}
	}
	w.known = true
	if len(w.watched) > 0 {
		for _, id := range changed {
			for ch := range w.watched[id] {
				notify(ch)
			}
		}
	}
	early := slices.Collect(maps.Keys(w.early))
	w.early = nil
	return early
}

// linger waits so long, unless somebody waits for a position.
func (w *waiters) linger(ctx context.Context, d time.Duration) {
	select {
	case <-w.urgent: // an old notice
	default:
	}
	if w.anybody() {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-w.urgent:
	case <-ctx.Done():
	}
}

func (w *waiters) anybody() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.parked {
		if len(l) > 0 {
			return true
		}
	}
	return false
}

// notify leaves a notice, unless there is one already.
func notify(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// close ends all waits.
func (w *waiters) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for _, l := range w.parked {
		for p := range l {
			p.done <- ErrClosed
		}
	}
	for p := range w.early {
		p.done <- ErrClosed
	}
	w.parked, w.early = nil, nil
}

// Watch returns a channel that has a notice whenever the job, the transfer or the negotiation has
// changed since the last one was taken; several changes may make one notice. The channel is closed when ctx
// ends. What does not exist yet may be watched.
func (d *DB) Watch(ctx context.Context, id string) <-chan struct{} {
	w := &d.waiting
	ch := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watched == nil {
		w.watched = make(map[string]map[chan struct{}]struct{})
	}
	l := w.watched[id]
	put(&l, ch)
	w.watched[id] = l
	context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.watched[id], ch)
		if len(w.watched[id]) == 0 {
			delete(w.watched, id)
		}
		close(ch)
	})
	return ch
}

// WaitEnded returns when the job has ended. It answers a *NotFoundError for a job that
// the rows do not have; who has just published it waits for its position first.
func (d *DB) WaitEnded(ctx context.Context, id string) error {
	return d.waitUntil(ctx, "job", id, "SELECT code FROM job WHERE id = ?", func(code int64) bool {
		return orchestration.Phase(code).Final()
	})
}

// WaitTransferOver is WaitEnded for a transfer: it returns when that has come to its outcome, whatever
// there is left to be undone.
func (d *DB) WaitTransferOver(ctx context.Context, id string) error {
	return d.waitUntil(ctx, "transfer", id, "SELECT code FROM transfer WHERE id = ?", func(code int64) bool {
		return transfer.Phase(code).Over()
	})
}

// WaitNegotiated is WaitEnded for a round of a negotiation.
func (d *DB) WaitNegotiated(ctx context.Context, id string) error {
	return d.waitUntil(ctx, "negotiation", id, "SELECT code FROM negotiation WHERE id = ?", func(code int64) bool {
		return negotiation.Phase(code).Final()
	})
}

func (d *DB) waitUntil(ctx context.Context, what, id, query string, over func(code int64) bool) error {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	changed := d.Watch(watching, id)
	for {
		found, ended := false, false
		err := d.read(ctx, func(c *conn) error {
			return c.query(context.WithoutCancel(ctx), query, func(row []driver.Value) error {
				found, ended = true, over(integer(row[0]))
				return nil
			}, id)
		})
		switch {
		case err != nil:
			return err
		case !found:
			return &NotFoundError{What: what, ID: id}
		case ended:
			return nil
		}
		if _, ok := <-changed; !ok {
			return fmt.Errorf("%s %s has not ended: %w", what, id, ctx.Err())
		}
	}
}

// NotFoundError says that there is no such thing in the view.
type NotFoundError struct{ What, ID string }

// Error implements error.
func (e *NotFoundError) Error() string { return fmt.Sprintf("there is no %s %q", e.What, e.ID) }

// IsNotFound says whether the error is a *NotFoundError.
func IsNotFound(err error) bool {
	var e *NotFoundError
	return errors.As(err, &e)
}

// Decided is the offset of the first command of a partition that the rows do not show to be decided. False where
// nothing has been read of it yet, or its events can be folded no further: then nobody here can tell.
func (d *DB) Decided(aggregate string, partition int32) (int64, bool) {
	w := &d.waiting
	w.mu.Lock()
	defer w.mu.Unlock()
	r, ok := w.reached[shard{aggregate, partition}]
	return r.command, ok && r.fault == nil
}
