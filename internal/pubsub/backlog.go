package pubsub

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// maxBacklog* is how much may wait in memory before nothing more is taken from the
	// client, which then fetches no more: enough to keep quick readers busy meanwhile. One
	// fetch may come on top.
	maxBacklogRecords = 4096
	maxBacklogBytes   = 2 << 20
	// hesitation is how long to wait for the backlog to become shorter. After that some
	// partition's reader is slow, and fetching goes on without it.
	hesitation = 100 * time.Millisecond
	// foresight is how long before a paused partition runs empty, at its pace, it is
	// fetched again. A fetch for the others may be waiting for up to fetchWait.
	foresight = 2 * fetchWait
)

// load is an amount of records in memory.
type load struct{ records, bytes int }

func loadOf(rec *kgo.Record) load { return load{1, len(rec.Key) + len(rec.Value)} }

func (l *load) add(o load)          { l.records, l.bytes = l.records+o.records, l.bytes+o.bytes }
func (l *load) sub(o load)          { l.records, l.bytes = l.records-o.records, l.bytes-o.bytes }
func (l *load) exceeds(o load) bool { return l.records > o.records || l.bytes > o.bytes }

// backlog is what waits in the queues of all partitions that are not paused. It is safe
// for concurrent use.
type backlog struct {
	mu    sync.Mutex
	load  load
	short chan struct{} // says that it is no longer too long
}

func newBacklog() backlog { return backlog{short: make(chan struct{}, 1)} }

func (b *backlog) add(l load) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.load.add(l)
}

func (b *backlog) sub(l load) {
	b.mu.Lock()
	was := b.tooLong()
	b.load.sub(l)
	became := was && !b.tooLong()
	b.mu.Unlock()
	if became {
		select {
		case b.short <- struct{}{}:
		default:
		}
	}
}

func (b *backlog) tooLong() bool { return b.load.exceeds(load{maxBacklogRecords, maxBacklogBytes}) }

// wait waits for the backlog to be short; false if it is still too long after some time, or ctx ended.
func (b *backlog) wait(ctx context.Context) bool {
	timer := time.NewTimer(hesitation)
	defer timer.Stop()
	for {
		b.mu.Lock()
		tooLong := b.tooLong()
		b.mu.Unlock()
		if !tooLong {
			return true
		}
		select {
		case <-b.short:
		case <-timer.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// queue holds the records of one partition that were fetched and not yet delivered. It
// counts into the total unless it is paused.
type queue struct {
	total   *backlog
	records []*kgo.Record
	load    load

	paused bool
	since  time.Time // when it was paused
	popped int       // since then
}

func (q *queue) push(recs []*kgo.Record) {
	var more load
	for _, r := range recs {
		more.add(loadOf(r))
	}
	q.records = append(q.records, recs...)
	q.load.add(more)
	if !q.paused {
		q.total.add(more)
	}
}

// pop takes the oldest record; nil if there is none.
func (q *queue) pop() *kgo.Record {
	if len(q.records) == 0 {
		return nil
	}
	rec := q.records[0]
	q.records[0] = nil // the rest of the array lives on
	q.records = q.records[1:]
	q.load.sub(loadOf(rec))
	q.popped++
	if !q.paused {
		q.total.sub(loadOf(rec))
	}
	return rec
}

func (q *queue) pause() {
	if !q.paused {
		q.paused, q.since, q.popped = true, time.Now(), 0
		q.total.sub(q.load)
	}
}

func (q *queue) resume() {
	q.paused = false
	q.total.add(q.load)
}

// nearlyEmpty tells whether a paused queue will be empty soon, at the pace since it was
// paused; a pace takes a while to show.
func (q *queue) nearlyEmpty() bool {
	elapsed := time.Since(q.since)
	if elapsed < hesitation {
		return len(q.records) == 0
	}
	perRecord := float64(elapsed) / float64(max(1, q.popped))
	return perRecord*float64(len(q.records)) <= float64(foresight)
}
