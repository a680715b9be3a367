package pubsub

import (
	"context"
	"errors"
	"sync"
)

// lifetime is what whoever ends a subscription needs of it.
type lifetime struct {
	stop context.CancelFunc
	err  error         // what went wrong at the end
	done chan struct{} // closed when everything, out included, is over
}

func (l *lifetime) life() *lifetime { return l }

// open are the subscriptions of a subscriber, which are closed together. The zero open
// has none. It is safe for concurrent use.
type open[S interface {
	comparable
	life() *lifetime
	report(doing string, partition int32, offset int64, err error)
}] struct {
	mu     sync.Mutex
	closed bool
	subs   map[S]struct{}
	err    error // of the subscriptions that Close has ended
}

// remember takes a subscription in, so that Close ends it; false: it is too late for that.
func (o *open[S]) remember(sub S) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return false
	}
	if o.subs == nil {
		o.subs = make(map[S]struct{})
	}
	o.subs[sub] = struct{}{}
	return true
}

// forget lets go of a subscription that has ended. What went wrong at its end is the
// answer of Close, or reported where its ctx was what ended it.
func (o *open[S]) forget(sub S) {
	life := sub.life()
	o.mu.Lock()
	delete(o.subs, sub)
	closed := o.closed
	if closed {
		o.err = errors.Join(o.err, life.err)
	}
	o.mu.Unlock()
	if !closed && life.err != nil {
		sub.report("end the subscription", -1, -1, life.err)
	}
	close(life.done)
}

// close ends all of them, side by side, and returns when they have ended, with what went
// wrong. Closing again waits likewise and returns the same.
func (o *open[S]) close() error {
	o.mu.Lock()
	o.closed = true
	lives := make([]*lifetime, 0, len(o.subs))
	for sub := range o.subs {
		lives = append(lives, sub.life())
	}
	o.mu.Unlock()
	for _, l := range lives {
		l.stop()
	}
	for _, l := range lives {
		<-l.done
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}
