package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// remembered is how many attempts an agent recognises when they come again.
const remembered = 16 << 10

// Serve takes work of every registered type from the work topics, as long as slots are
// free, until ctx ends. Then it takes nothing new, gives its processors the grace time,
// and ends their contexts; it returns nil if everything was reported, and an
// *UnfinishedError if something was left to its lease. It returns early with the reason
// if a subscription ends. Types registered later are not served.
func (p *Pool) Serve(ctx context.Context, cfg Config) error {
	cfg, err := cfg.complete()
	if err != nil {
		return err
	}
	t, err := cfg.transport()
	if err != nil {
		return err
	}
	defer p.storeFor(cfg)()
	s := newServer(p, cfg, t)
	return errors.Join(s.run(ctx), t.close())
}

// server is one call of Serve.
type server struct {
	cfg    Config
	pool   *Pool
	topics kafka.Topics
	*transport

	seen   *lru.Cache[attempt, struct{}] // attempts that were claimed here
	struck *lru.Cache[attempt, struct{}] // attempts that were cancelled

	work    context.Context // of the processors; outlives the one of Serve by the grace time
	stop    context.CancelCauseFunc
	reports context.Context // of the reports; outlives the one above by lastWords

	mu   sync.Mutex
	held map[attempt]*run
	left map[string]int // by type: what was stopped before it came to a result
	wg   sync.WaitGroup // of what is held
}

// attempt tells attempts apart.
type attempt struct {
	id string
	n  int
}

func newServer(p *Pool, cfg Config, t *transport) *server {
	// The only error is a size below 1.
	seen, _ := lru.New[attempt, struct{}](remembered)
	struck, _ := lru.New[attempt, struct{}](remembered)
	return &server{
		cfg: cfg, pool: p, topics: cfg.Kafka.Topics(), transport: t,
		seen: seen, struck: struck, held: map[attempt]*run{}, left: map[string]int{},
	}
}

func (s *server) run(ctx context.Context) error {
	reports, gone := context.WithCancel(context.WithoutCancel(ctx))
	defer gone()
	s.reports = reports
	s.work, s.stop = context.WithCancelCause(reports)
	defer s.stop(ErrStopped)

	taking, enough := context.WithCancelCause(ctx)
	defer enough(nil)
	var loops sync.WaitGroup
	for _, typ := range s.pool.Types() {
		if err := s.subscribe(taking, typ, &loops, enough); err != nil {
			enough(err)
			break
		}
	}
	<-taking.Done()
	loops.Wait()
	err := s.drain()
	if ctx.Err() == nil {
		err = errors.Join(context.Cause(taking), err)
	}
	return err
}

// subscribe starts the loops of one activity type.
func (s *server) subscribe(ctx context.Context, typ string, loops *sync.WaitGroup, fail context.CancelCauseFunc) error {
	topic := s.topics.Work(typ)
	failed := func(err error) error { return fmt.Errorf("agent %s: subscribe to %s: %w", s.cfg.Name, topic, err) }
	subscriber, err := s.transport.work(typ)
	if err != nil {
		return failed(err)
	}
	// First the cancellations, so that none is missed of work that is taken.
	if s.cancelled != nil {
		messages, err := s.cancelled.Subscribe(ctx, topic)
		if err != nil {
			return failed(err)
		}
		loops.Go(func() { s.watch(messages) })
	}
	messages, err := subscriber.Subscribe(ctx, topic)
	if err != nil {
		return failed(err)
	}
	loops.Go(func() {
		s.take(ctx, typ, messages)
		if ctx.Err() == nil {
			fail(fmt.Errorf("agent %s: the subscription to %s has ended", s.cfg.Name, topic))
		}
	})
	return nil
}

// watch looks for cancellations alone.
func (s *server) watch(messages <-chan *message.Message) {
	for msg := range messages {
		if msg.Metadata.Get(kafka.HeaderType) == schemas.WorkCancelled {
			// What cannot be read is dealt with where work is taken.
			if c, err := schemas.DecodeCancelWork(schemas.WorkCancelled, msg.Payload); err == nil {
				s.cancel(c)
			}
		}
		msg.Ack()
	}
}

// take receives a message whenever a slot of the type is free. It takes the slot only
// once there is something to do on it: the machine of this process wants it as well.
func (s *server) take(ctx context.Context, typ string, messages <-chan *message.Message) {
	for {
		sl := s.pool.slots(typ)
		if sl.take(ctx) != nil {
			return
		}
		sl.give()
		select {
		case <-ctx.Done():
			return
		case msg, ok := <-messages:
			if !ok {
				return
			}
			s.receive(ctx, typ, sl, msg)
		}
	}
}

func (s *server) receive(ctx context.Context, typ string, sl *slots, msg *message.Message) {
	switch wireType := msg.Metadata.Get(kafka.HeaderType); wireType {
	case schemas.WorkRequested:
		w, err := decodeWork(typ, msg)
		if err != nil {
			s.bury(ctx, msg, err)
			return
		}
		s.accept(sl, msg, w) //nolint:contextcheck // the message's context ends when it is no longer ours
	case schemas.WorkCancelled:
		c, err := schemas.DecodeCancelWork(wireType, msg.Payload)
		if err != nil {
			s.bury(ctx, msg, err)
			return
		}
		s.cancel(c)
		msg.Ack()
	default:
		s.bury(ctx, msg, fmt.Errorf("ce_type %q is neither %s nor %s", wireType, schemas.WorkRequested, schemas.WorkCancelled))
	}
}

// decodeWork reads a work record and checks what the runtime itself needs of it.
func decodeWork(typ string, msg *message.Message) (machine.Work, error) {
	w, err := schemas.DecodeWork(schemas.WorkRequested, msg.Payload)
	switch {
	case err != nil:
		return w, err
	case w.ID == "" || w.Attempt < 1 || w.Aggregate == "" || w.AggregateID == "":
		return w, fmt.Errorf("the work record has no workId, attempt, aggregate or aggregateId: %q, %d, %q, %q", w.ID, w.Attempt, w.Aggregate, w.AggregateID)
	case w.Type != typ:
		return w, fmt.Errorf("the work record asks for %q but lies among those of %q", w.Type, typ)
	}
	return w, nil
}

// accept begins the work on a slot, unless it is a repeat or nobody wants it any more.
func (s *server) accept(sl *slots, msg *message.Message, w machine.Work) {
	if !s.wanted(w) {
		msg.Ack()
		return
	}
	if sl.take(msg.Context()) != nil {
		s.forget(w)
		msg.Nack()
		return
	}
	workCtx, r := s.pool.begin(s.work, w)
	if r == nil {
		sl.give()
		s.forget(w)
		<-msg.Context().Done() // the Pool is being drained: nothing will be taken any more
		msg.Nack()
		return
	}
	s.mu.Lock()
	s.held[attempt{w.ID, w.Attempt}] = r
	s.mu.Unlock()
	s.wg.Go(func() {
		defer s.release(w, r)
		s.carry(workCtx, sl, r, msg, w)
	})
}

// wanted says whether the attempt is new to this agent, not cancelled and not over.
func (s *server) wanted(w machine.Work) bool {
	key := attempt{w.ID, w.Attempt}
	if !w.Deadline.IsZero() && !time.Now().Before(w.Deadline) || s.struck.Contains(key) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, holds := s.held[key]; holds || s.seen.Contains(key) {
		return false
	}
	s.seen.Add(key, struct{}{})
	return true
}

// forget lets the attempt come again.
func (s *server) forget(w machine.Work) { s.seen.Remove(attempt{w.ID, w.Attempt}) }

func (s *server) release(w machine.Work, r *run) {
	s.mu.Lock()
	delete(s.held, attempt{w.ID, w.Attempt})
	s.mu.Unlock()
	s.pool.end(r)
}

// cancel ends the context of the processor that has the attempt, or drops the attempt when it comes.
func (s *server) cancel(c machine.CancelWork) {
	key := attempt{c.ID, c.Attempt}
	s.struck.Add(key, struct{}{})
	s.mu.Lock()
	r := s.held[key]
	s.mu.Unlock()
	if r != nil {
		r.cancel(fmt.Errorf("%w: %s", ErrCancelled, c.Reason))
	}
}

// drain waits for what is held: the grace time, then until the processors, their
// contexts ended, have returned.
func (s *server) drain() error {
	idle := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(idle)
	}()
	if within(idle, s.cfg.Grace) {
		return nil
	}
	s.stop(ErrStopped)
	within(idle, lastWords)
	return s.unfinished()
}

func within(done <-chan struct{}, limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

func (s *server) unfinished() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := maps.Clone(s.left)
	for _, r := range s.held {
		counts[r.typ]++
	}
	if len(counts) == 0 {
		return nil
	}
	return &UnfinishedError{Counts: counts, Cause: fmt.Errorf("agent %s: the grace time of %s is over", s.cfg.Name, s.cfg.Grace)}
}
