package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/pubsub"
	"github.com/waybill/waybill/schemas"
)

// remembered is how many attempts an agent recognises when they come again.
const remembered = 16 << 10

// Serve takes work of every registered type from the work topics, as long as slots are
// free, until ctx ends. Then it takes nothing new, gives its processors the grace time,
// and ends their contexts; what then comes to no result is given back, so that another agent
// has it at once and it costs no attempt. It returns nil if everything was reported or given
// back, and an *UnfinishedError if something was left to its lease. A broker that is away is waited for;
// it returns early only if a Subscriber of the Config ends, or Kafka does not let us in. Types registered later are not served.
func (p *Pool) Serve(ctx context.Context, cfg Config) error {
	cfg, err := cfg.complete()
	if err != nil {
		return err
	}
	if cfg.Subscriber == nil {
		if err := cfg.Kafka.Admitted(ctx); err != nil {
			return fmt.Errorf("agent %s: %w", cfg.Name, err)
		}
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

	mu sync.Mutex
	// demands says, by type, that there may be work; nil where membership does not depend on it.
	demands map[string]chan struct{}
	shares  atomic.Bool // the broker has share groups

	clocks   *clocks
	told     kafka.Told
	watching *pubsub.Watcher // nil if there is none; set before anything is taken

	held map[attempt]*holding
	left map[string]int // by type: what was stopped before it came to a result
	wg   sync.WaitGroup // of what is held
}

// holding is an attempt that this agent has.
type holding struct {
	*run
	work    machine.Work
	claimed bool // that is on the log, and nothing that ends it is
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
		seen: seen, struck: struck, held: map[attempt]*holding{}, left: map[string]int{}, clocks: newClocks(),
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
	// First the cancellations, so that none is missed of work that is taken.
	s.startWatching(taking, &loops)
	for _, typ := range s.pool.Types() {
		loops.Go(func() {
			if err := s.serve(taking, typ); err != nil {
				enough(err)
			}
		})
	}
	<-taking.Done()
	loops.Wait()
	err := s.drain() //nolint:contextcheck // ctx has ended: reports have one that outlives it
	if ctx.Err() == nil {
		err = errors.Join(context.Cause(taking), err)
	}
	return err
}

// serve takes work of one activity type until ctx ends. A broker that is away is waited for.
func (s *server) serve(ctx context.Context, typ string) error {
	var watching sync.WaitGroup
	defer watching.Wait()
	if s.cancelled != nil {
		var messages <-chan *message.Message
		if !s.until(ctx, typ, func() (err error) {
			messages, err = s.cancelled.Subscribe(ctx, s.topics.Work(typ))
			return err
		}) {
			return nil
		}
		watching.Go(func() { s.watch(messages) })
	}
	if d := s.demands[typ]; d != nil {
		return s.serveOnDemand(ctx, typ, d)
	}
	return s.attend(ctx, typ)
}

// attend is a member of the type's group until ctx ends.
func (s *server) attend(ctx context.Context, typ string) error {
	fetchers := max(1, min(s.cfg.Fetchers, cap(s.pool.slots(typ).taken)/4))
	errs := make(chan error, fetchers)
	for i := range fetchers {
		go func() { errs <- s.fetch(ctx, typ, i, fetchers > 1) }()
	}
	var ended error
	for range fetchers {
		ended = errors.Join(ended, <-errs)
	}
	return ended
}

// fetch takes work as one member of the type's group. Where it is one of several, which only
// a share group has, it keeps a slot while it waits for work (keeps).
func (s *server) fetch(ctx context.Context, typ string, member int, keeps bool) error {
	wanted, want := s.free(typ), chan struct{}(nil)
	if keeps {
		want = make(chan struct{})
		wanted = func(ctx context.Context) error {
			select {
			case <-want:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	var from source
	var messages <-chan *message.Message
	subscribed := s.until(ctx, typ, func() (err error) {
		from, err = s.transport.work(ctx, typ, wanted)
		if err == nil && (from.shared || member == 0) {
			messages, err = from.Subscribe(ctx, s.topics.Work(typ))
		}
		return err
	})
	if !subscribed || messages == nil {
		return nil
	}
	s.shares.Store(from.shared)
	if from.shared && keeps {
		s.takeKept(ctx, typ, from, messages, want)
	} else {
		s.take(ctx, typ, from, messages)
	}
	if errors.Is(context.Cause(ctx), errIdle) {
		return s.leave(ctx, typ, from)
	}
	if ctx.Err() == nil {
		return fmt.Errorf("agent %s: the subscription to %s has ended", s.cfg.Name, s.topics.Work(typ))
	}
	return nil
}

// until subscribes until that succeeds; false if ctx ended first.
func (s *server) until(ctx context.Context, typ string, subscribe func() error) bool {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := subscribe()
		if err == nil || ctx.Err() != nil {
			return ctx.Err() == nil
		}
		s.cfg.Log.WarnContext(ctx, "subscribing is tried again", "agent", s.cfg.Name, "type", typ, "pause", pause, "error", kafka.Explain(err))
		rest(ctx, pause)
	}
}

// free waits for a free slot, without taking it: the machine of this process wants it as well.
func (s *server) free(typ string) func(context.Context) error {
	return func(ctx context.Context) error {
		sl := s.pool.slots(typ)
		if err := sl.take(ctx); err != nil {
			return err
		}
		sl.give()
		return nil
	}
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

// take receives a message whenever a slot of the type is free.
func (s *server) take(ctx context.Context, typ string, from source, messages <-chan *message.Message) {
	free := s.free(typ)
	for free(ctx) == nil {
		select {
		case <-ctx.Done():
			return
		case msg, ok := <-messages:
			if !ok {
				return
			}
			s.receive(ctx, typ, from, nil, msg)
		}
	}
}

// takeKept receives a message for each slot it has taken.
func (s *server) takeKept(ctx context.Context, typ string, from source, messages <-chan *message.Message, want chan<- struct{}) {
	sl := s.pool.slots(typ)
	for sl.take(ctx) == nil {
		msg := awaited(ctx, messages, want)
		if msg == nil || !s.receive(ctx, typ, from, sl, msg) {
			sl.give()
		}
		if msg == nil {
			return
		}
	}
}

// awaited is the next message; nil when there is none to come. The subscriber asks again
// whether one is wanted after a fetch that has failed.
func awaited(ctx context.Context, messages <-chan *message.Message, want chan<- struct{}) *message.Message {
	for {
		select {
		case want <- struct{}{}:
		case msg := <-messages:
			return msg
		case <-ctx.Done():
			return nil
		}
	}
}

// receive deals with a message; kept is a slot taken for it, nil where there is none. It
// says whether the message is work that has begun, on that slot.
func (s *server) receive(ctx context.Context, typ string, from source, kept *slots, msg *message.Message) bool {
	switch wireType := msg.Metadata.Get(kafka.HeaderType); wireType {
	case schemas.WorkRequested:
		w, err := decodeWork(typ, msg)
		if err != nil {
			s.bury(ctx, msg, err)
			return false
		}
		return s.accept(from, kept, msg, s.inOurTime(msg, w)) //nolint:contextcheck // the message's context ends when it is no longer ours
	case schemas.WorkCancelled:
		c, err := schemas.DecodeCancelWork(wireType, msg.Payload)
		if err != nil {
			s.bury(ctx, msg, err)
			return false
		}
		s.cancel(c)
		msg.Ack()
	default:
		if why := msg.Metadata.Get(pubsub.HeaderUnpackable); why != "" {
			s.bury(ctx, msg, errors.New(why))
			return false
		}
		s.bury(ctx, msg, fmt.Errorf("ce_type %q is neither %s nor %s", wireType, schemas.WorkRequested, schemas.WorkCancelled))
	}
	return false
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
func (s *server) accept(from source, kept *slots, msg *message.Message, w machine.Work) (begun bool) {
	if !s.wanted(w) {
		msg.Ack()
		return false
	}
	sl := kept
	if sl == nil {
		sl = s.pool.slots(w.Type)
		if from.takeSlot(msg.Context(), sl) != nil {
			s.forget(w)
			msg.Nack()
			return false
		}
	}
	workCtx, r := s.pool.begin(s.work, w)
	if r == nil {
		if kept == nil {
			sl.give()
		}
		s.forget(w)
		<-msg.Context().Done() // the Pool is being drained: nothing will be taken any more
		msg.Nack()
		return false
	}
	s.mu.Lock()
	s.held[attempt{w.ID, w.Attempt}] = &holding{run: r, work: w}
	s.mu.Unlock()
	claiming := msg.Context()
	if from.shared {
		// The broker hands the next one to whoever is free only when it has heard of this one.
		// What is lost before it is claimed is offered again.
		msg.Ack()
		claiming = workCtx
	}
	s.wg.Go(func() {
		defer s.release(w, r)
		s.carry(workCtx, claiming, sl, r, msg, w)
	})
	return true
}

// patience is how long a message of a shared source waits for a slot that the machine of
// this process was quicker to take, before it goes to another agent.
const patience = 500 * time.Millisecond

func (f source) takeSlot(ctx context.Context, sl *slots) error {
	if f.shared {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	return sl.take(ctx)
}

// wanted says whether the attempt is new to this agent, not cancelled and not over, and
// whether it has not been offered again since: then another agent may have it.
func (s *server) wanted(w machine.Work) bool {
	key := attempt{w.ID, w.Attempt}
	if passed(w.Deadline) || passed(w.OfferedUntil) || s.struck.Contains(key) {
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

// passed says that a time has passed; zero means never.
func passed(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

// note says whether a claim is on the log that nothing has ended yet.
func (s *server) note(w machine.Work, claimed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.held[attempt{w.ID, w.Attempt}]; h != nil {
		h.claimed = claimed
	}
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
	h := s.held[key]
	s.mu.Unlock()
	if h != nil {
		h.cancel(fmt.Errorf("%w: %s", ErrCancelled, c.Reason))
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
	if !within(idle, lastWords) {
		s.abandon()
	}
	return s.unfinished()
}

// abandon gives back what processors still hold that do not listen. Their contexts have
// ended and the process is about to, so nothing is gained by keeping it.
func (s *server) abandon() {
	ctx, cancel := context.WithTimeout(s.reports, lastWords)
	defer cancel()
	s.mu.Lock()
	var deaf []machine.Work
	for key, h := range s.held {
		if h.claimed {
			deaf = append(deaf, h.work)
			delete(s.held, key)
		}
	}
	s.mu.Unlock()
	var back sync.WaitGroup
	for _, w := range deaf {
		back.Go(func() { s.giveBack(ctx, w) })
	}
	back.Wait()
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
	for _, h := range s.held {
		counts[h.typ]++
	}
	if len(counts) == 0 {
		return nil
	}
	return &UnfinishedError{Counts: counts, Cause: fmt.Errorf("agent %s: the grace time of %s is over", s.cfg.Name, s.cfg.Grace)}
}
