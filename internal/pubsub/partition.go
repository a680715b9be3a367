package pubsub

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/twmb/franz-go/pkg/kgo"
)

var errForeignMessage = errors.New("the Unmarshaler returned no message made with message.NewMessage")

// partition delivers the records of one partition in order, one at a time.
//
// It ends in two steps: when delivering ends, nothing new is delivered; when abandoned is
// closed, the Ack of the message that is out is no longer waited for.
type partition struct {
	sub *subscription
	id  int32

	delivering context.Context
	quit       context.CancelFunc
	abandoned  chan struct{}
	done       chan struct{} // closed when the partition has ended

	// messages is what the messages' contexts descend from.
	messages context.Context
	cancel   context.CancelFunc

	wake chan struct{} // says that the queue is no longer empty

	known bool // the client has had records of it; of the poller alone

	mu       sync.Mutex
	queue    queue
	position position
	had      *had // what was acked when this member had the partition before
}

func newPartition(s *subscription, id int32, had *had) *partition {
	p := &partition{
		sub:       s,
		id:        id,
		had:       had,
		abandoned: make(chan struct{}),
		done:      make(chan struct{}),
		wake:      make(chan struct{}, 1),
		queue:     queue{total: &s.backlog},
	}
	p.delivering, p.quit = context.WithCancel(s.reading)
	p.messages, p.cancel = context.WithCancel(s.ctx)
	return p
}

// finish ends partitions and returns when they have ended, having waited for Acks for
// the duration of drain.
func finish(ps []*partition, drain time.Duration) {
	for _, p := range ps {
		p.quit()
	}
	if drain > 0 {
		timer := time.NewTimer(drain)
		defer timer.Stop()
		awaitAll(ps, timer.C)
	}
	for _, p := range ps {
		close(p.abandoned)
		p.cancel()
	}
	for _, p := range ps {
		<-p.done
		p.mu.Lock()
		p.queue.pause() // what is left no longer counts
		p.mu.Unlock()
	}
}

func awaitAll(ps []*partition, timeout <-chan time.Time) {
	for _, p := range ps {
		select {
		case <-p.done:
		case <-timeout:
			return
		}
	}
}

// push queues records. It is called by the poller alone and never waits.
func (p *partition) push(recs []*kgo.Record) {
	p.mu.Lock()
	p.queue.push(recs)
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default: // it is awake, or about to be
	}
}

// next takes the oldest queued record, waiting for one; nil when delivering has ended.
func (p *partition) next() *kgo.Record {
	for {
		if p.delivering.Err() != nil {
			return nil
		}
		if rec := p.pop(); rec != nil {
			return rec
		}
		select {
		case <-p.wake:
		case <-p.delivering.Done():
		}
	}
}

func (p *partition) pop() *kgo.Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	rec := p.queue.pop()
	if p.queue.paused && p.queue.nearlyEmpty() {
		p.queue.resume()
		p.sub.client.ResumeFetchPartitions(map[string][]int32{p.sub.topic: {p.id}})
	}
	return rec
}

// pauseAbove stops fetching the partition if its queue is longer than a share.
func (p *partition) pauseAbove(share load) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.queue.paused && p.queue.load.exceeds(share) {
		p.queue.pause()
		p.sub.client.PauseFetchPartitions(map[string][]int32{p.sub.topic: {p.id}})
	}
}

func (p *partition) run() {
	defer close(p.done)
	defer p.cancel()
	defer p.quit()
	for {
		rec := p.next()
		if rec == nil {
			return
		}
		if !p.repeated(rec) && !p.handle(rec) {
			return
		}
		p.advance(rec)
	}
}

func (p *partition) advance(rec *kgo.Record) {
	p.mu.Lock()
	p.position.advance(rec)
	p.mu.Unlock()
	p.sub.wakeCommits()
}

// moved tells whether there is something to commit.
func (p *partition) moved() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.position.acked != p.position.committed
}

// repeated tells whether a record was acked already, before the partition was lost.
func (p *partition) repeated(rec *kgo.Record) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.had != nil && !p.had.again(rec) {
		p.had = nil
	}
	return p.had != nil
}

// uncommitted is what a successor of this partition need not deliver again.
func (p *partition) uncommitted() *had {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.position.uncommitted()
	if p.had != nil && h != nil {
		h.next = max(h.next, p.had.next) // it was lost again in the middle of the repetition
	}
	if h == nil && p.had != nil && !p.had.recognised {
		return p.had
	}
	return h
}

// handle delivers a record until it is acked; false if the partition ended before.
func (p *partition) handle(rec *kgo.Record) bool {
	for nacks := 1; ; nacks++ {
		switch p.attempt(rec) {
		case acked:
			return true
		case stopped:
			return false
		case nacked:
			if !pause(p.delivering, p.sub.cfg.Backoff(nacks)) {
				return false
			}
		}
	}
}

type outcome int

const (
	acked outcome = iota
	nacked
	stopped
)

func (p *partition) attempt(rec *kgo.Record) outcome {
	msg, err := p.sub.cfg.Unmarshaler.Unmarshal(rec)
	if err == nil && (msg == nil || msg.Acked() == nil || msg.Nacked() == nil) {
		err = errForeignMessage
	}
	if err == nil {
		return p.deliver(msg, rec)
	}
	if p.sub.cfg.Undecodable != nil {
		if err = p.sub.cfg.Undecodable(p.messages, rec, err); err == nil {
			return acked
		}
	}
	p.sub.report("decode", rec.Partition, rec.Offset, err)
	return nacked
}

func (p *partition) deliver(msg *message.Message, rec *kgo.Record) outcome {
	ctx, cancel := context.WithCancel(recordContext{p.messages, rec})
	defer cancel()
	msg.SetContext(ctx)
	if p.delivering.Err() != nil {
		return stopped // the select below would choose at random
	}
	select {
	case p.sub.out <- msg:
	case <-p.delivering.Done():
		return stopped
	}
	select {
	case <-msg.Acked():
		return acked
	case <-msg.Nacked():
		return nacked
	case <-p.abandoned:
	}
	select {
	case <-msg.Acked(): // both at once: an Ack in time is never dropped
		return acked
	default:
		return stopped
	}
}
