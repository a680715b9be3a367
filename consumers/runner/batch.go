package runner

import (
	"context"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/internal/kafka"
)

// batch is one transaction in the making.
type batch struct {
	at time.Time
	// before cannot be derived from the events: forwarded commands and dead letters.
	before []*kgo.Record
	// events are the events and the position records.
	events []*kgo.Record
	// after follows from the events.
	after []*kgo.Record
	bytes int
	books int // of these, what the position records will have
	asked int // the work that the decision being made asks for, in bytes
	// start is local work, to be begun once its request is committed.
	start []placed
	// inline are the results of work that took no time; they are decided in this batch.
	inline []localResult
	// cancel is local work that is no longer wanted.
	cancel []workKey
}

// placed is a piece of work with a slot for it.
type placed struct {
	cell cell
	work machine.Work
	slot Slot
}

type localResult struct {
	cell   cell
	work   machine.Work
	result Result
}

// workKey names an attempt.
type workKey struct {
	id      string
	attempt int
}

const (
	// maxBatchBytes is from which size on a transaction takes nothing more.
	maxBatchBytes = 8 << 20
	// maxBookBytes is the same for what is to be remembered in one position record.
	maxBookBytes = 1 << 20
	// maxRecordBytes is the largest record that is written. The rest of a batch's bytes is
	// for what surrounds it.
	maxRecordBytes = kafka.MaxMessageBytes - 64<<10
)

// full says that what is to be decided next has to go with another transaction.
func (b *batch) full() bool { return b.bytes > maxBatchBytes || b.books > maxBookBytes }

// without takes back local work that is no longer wanted before it has begun.
func (b *batch) without(k workKey) bool {
	for i, p := range b.start {
		if p.work.ID == k.id && p.work.Attempt == k.attempt {
			p.slot.Release()
			b.start = slices.Delete(b.start, i, i+1)
			return true
		}
	}
	return false
}

func (b *batch) empty() bool {
	return len(b.before) == 0 && len(b.events) == 0 && len(b.after) == 0
}

func size(r *kgo.Record) int {
	n := len(r.Key) + len(r.Value) + 40
	for i := range r.Headers {
		n += len(r.Headers[i].Key) + len(r.Headers[i].Value) + 4
	}
	return n
}

func (b *batch) addEvent(r *kgo.Record)  { b.events = append(b.events, r); b.bytes += size(r) }
func (b *batch) addAfter(r *kgo.Record)  { b.after = append(b.after, r); b.bytes += size(r) }
func (b *batch) addBefore(r *kgo.Record) { b.before = append(b.before, r); b.bytes += size(r) }

// answer takes the result of work that took no time. What it worked on is not needed any more.
func (b *batch) answer(c cell, w machine.Work, r Result) {
	w.Input, w.State = nil, nil
	b.inline = append(b.inline, localResult{c, w, r})
}

// release gives back the slots of work that will not be begun.
func (b *batch) release() {
	for _, p := range b.start {
		p.slot.Release()
	}
	b.start = nil
}

// maxInFlight is how many bytes are handed to the client at once: less than it can buffer.
const maxInFlight = 64 << 20

// transact writes records in one transaction. Any error means that this process must
// assume that it has been fenced.
func transact(ctx context.Context, cl *kgo.Client, groups ...[]*kgo.Record) error {
	if err := cl.BeginTransaction(); err != nil {
		return err
	}
	var first error
	done := func(_ *kgo.Record, err error) { // called one after the other
		if err != nil && first == nil {
			first = err
		}
	}
	handed := 0
	for _, g := range groups {
		for _, r := range g {
			if handed += len(r.Value) + 1<<10; handed > maxInFlight {
				if err := cl.Flush(ctx); err != nil {
					return err
				}
				handed = 0
			}
			cl.Produce(ctx, r, done)
		}
	}
	if err := cl.Flush(ctx); err != nil {
		return err
	}
	if first != nil {
		return first
	}
	for _, g := range groups {
		if err := loaded(ctx, cl, g); err != nil {
			return err
		}
	}
	return cl.EndTransaction(ctx, kgo.TryCommit)
}

// loaded waits until the client itself knows the partitions that it has written to. It
// sends the records of a topic it has never produced to a moment before it puts the topic
// where EndTransaction looks for what was written; if the broker is quicker than that,
// EndTransaction finds nothing, aborts, and returns no error (franz-go 1.22.2,
// txn.go: "no produce succeeded in this transaction").
func loaded(ctx context.Context, cl *kgo.Client, records []*kgo.Record) error {
	last := ""
	for _, r := range records {
		if r.Topic == last {
			continue
		}
		last = r.Topic
		for {
			if leader, _, _ := cl.PartitionLeader(r.Topic, r.Partition); leader >= 0 {
				break
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Millisecond):
			}
		}
	}
	return nil
}
