package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/pubsub"
	"github.com/waybill/waybill/schemas"
)

// errIdle is why a type's group is left: nobody has asked for work of it for a while.
var errIdle = errors.New("there has been no work of this type")

// startWatching watches the work topics of all types for cancellations and, where memberships
// depend on it, for work. When it returns nothing that comes from now on is missed.
func (s *server) startWatching(ctx context.Context, loops *sync.WaitGroup) {
	if s.watcher == nil {
		return
	}
	types := make(map[string]string) // by topic
	var topics []string
	for _, typ := range s.pool.Types() {
		topics = append(topics, s.topics.Work(typ))
		types[s.topics.Work(typ)] = typ
	}
	if s.cfg.Idle > 0 && !s.cfg.ConsumerGroup {
		s.demands = make(map[string]chan struct{}, len(types))
		for _, typ := range types {
			s.demands[typ] = make(chan struct{}, 1)
		}
	}
	var w *pubsub.Watcher
	if len(topics) == 0 || !s.until(ctx, "", func() (err error) {
		w, err = s.watcher(ctx, topics, func(r *kgo.Record) { s.look(types[r.Topic], r) })
		return err
	}) {
		return
	}
	s.watching = w
	for _, topic := range topics {
		if w.Held(topic) {
			s.demand(types[topic])
		}
	}
	loops.Go(func() { w.Run(ctx) })
}

// look is told of each record on the work topics, whoever gets it. What is neither work nor the word that it is no longer
// wanted is taken as well: it goes to the dead letters.
func (s *server) look(typ string, r *kgo.Record) {
	s.hear(r)
	for _, h := range r.Headers {
		if h.Key != kafka.HeaderType || string(h.Value) != schemas.WorkCancelled {
			continue
		}
		// What cannot be read is dealt with where work is taken.
		if c, err := schemas.DecodeCancelWork(schemas.WorkCancelled, r.Value); err == nil {
			s.cancel(c)
			return
		}
	}
	s.demand(typ)
}

// demand says that there may be work of a type.
func (s *server) demand(typ string) {
	select {
	case s.demands[typ] <- struct{}{}:
	default: // it has been said, or nobody asks
	}
}

// serveOnDemand is a member of the type's share group while there is work of it. What might
// fall between two memberships is offered again, and heard of then.
func (s *server) serveOnDemand(ctx context.Context, typ string, demand <-chan struct{}) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-demand:
		}
		member, leave := context.WithCancelCause(ctx)
		var watching sync.WaitGroup
		watching.Go(func() { s.leaveWhenIdle(member, typ, demand, leave) })
		err := s.attend(member, typ)
		leave(nil)
		watching.Wait()
		if err != nil {
			return err
		}
	}
}

// leaveWhenIdle ends a membership after a while without work. With all slots taken there may be
// work that waits for one.
func (s *server) leaveWhenIdle(ctx context.Context, typ string, demand <-chan struct{}, leave context.CancelCauseFunc) {
	sl := s.pool.slots(typ)
	timer := time.NewTimer(s.cfg.Idle)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-demand:
		case <-timer.C:
			if s.shares.Load() && len(sl.taken) < cap(sl.taken) {
				leave(errIdle)
				return
			}
		}
		timer.Reset(s.cfg.Idle)
	}
}

// leave leaves the group of an idle type.
func (s *server) leave(ctx context.Context, typ string, from source) error {
	if err := from.leave(); err != nil {
		s.cfg.Log.WarnContext(ctx, "left the share group of an idle type", "agent", s.cfg.Name, "type", typ, "error", err)
	}
	return nil
}
