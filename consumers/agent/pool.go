package agent

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/trace"

	"github.com/waybill/waybill/domain/blob"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/schemas"
)

// DefaultConcurrency is how many activities of a type run at once unless said otherwise.
const DefaultConcurrency = 16

// Pool holds the agents of this process and the slots that bound how many activities of
// each type run at once, whether they come from a topic or from a machine in this
// process. It is safe for concurrent use.
type Pool struct {
	log   *slog.Logger
	types atomic.Pointer[map[string]*slots] // copied on write: it is read for each activity
	blobs atomic.Pointer[schemas.Blobs]     // nil: none
	hide  atomic.Pointer[func(string) string]

	mu       sync.Mutex
	draining bool
	cancels  map[*run]struct{}
	idle     chan struct{} // made by Drain, closed when the last run has ended
}

// slots are the places of one activity type. A place is taken by sending.
type slots struct {
	processor Processor
	quick     Quick // nil if the processor has none
	taken     chan struct{}
}

// run is one activity under way.
type run struct {
	typ    string
	cancel context.CancelCauseFunc
}

// NewPool makes a Pool without agents. What processors panic with goes to the logger; nil
// means slog.Default.
func NewPool(log *slog.Logger) *Pool {
	if log == nil {
		log = slog.Default()
	}
	p := &Pool{log: log, cancels: map[*run]struct{}{}}
	p.types.Store(&map[string]*slots{})
	return p
}

// Register adds the agent of an activity type; concurrency below 1 means
// DefaultConcurrency. Registering a type again replaces its agent for what comes later.
func (p *Pool) Register(typ string, processor Processor, concurrency int) {
	if concurrency < 1 {
		concurrency = DefaultConcurrency
	}
	s := &slots{processor: processor, taken: make(chan struct{}, concurrency)}
	s.quick, _ = processor.(Quick)
	p.mu.Lock()
	defer p.mu.Unlock()
	types := maps.Clone(*p.types.Load())
	types[typ] = s
	p.types.Store(&types)
}

// Redact makes the Pool take secrets out of the errors of all results with that function: they
// are kept on the log and shown to everybody.
func (p *Pool) Redact(hide func(string) string) { p.hide.Store(&hide) }

func (p *Pool) redacted(text string) string {
	if hide := p.hide.Load(); hide != nil && text != "" {
		return (*hide)(text)
	}
	return text
}

// Types lists the registered activity types, sorted.
func (p *Pool) Types() []string { return slices.Sorted(maps.Keys(*p.types.Load())) }

// Has says whether there is an agent for the type.
func (p *Pool) Has(typ string) bool { return p.slots(typ) != nil }

func (p *Pool) slots(typ string) *slots { return (*p.types.Load())[typ] }

// Inline carries the work out here and now if its agent says that it takes no time
// (Quick); false means that it did not. It takes no slot.
func (p *Pool) Inline(work machine.Work) (Result, bool) {
	s := p.slots(work.Type)
	if s == nil || s.quick == nil {
		return Result{}, false
	}
	if blob.Refers(work.Input) || blob.Refers(work.Outputs) {
		return Result{}, false
	}
	a := newActivity(work, nil)
	if !p.isQuick(s.quick, a) {
		return Result{}, false
	}
	r := p.process(context.Background(), s.processor, a)
	// A large output is not written in the middle of a decision: it is made again.
	return r, len(r.output) <= blob.Threshold && !blob.Marked(r.output)
}

// isQuick asks the processor; one that panics over the question is not quick, and its
// fault is met, and reported, when it processes the activity.
func (p *Pool) isQuick(q Quick, a Activity) (quick bool) {
	defer func() {
		if v := recover(); v != nil {
			quick = false
		}
	}()
	return q.Quick(a)
}

// TryRun carries the work out on a goroutine of its own if a slot of its type is free,
// and calls done with the result, after the slot was given back. False means that there
// is no agent for the type, or none is free: done is not called. The work's deadline and
// the end of ctx end the processor's context; done is called all the same, when the
// processor has returned.
func (p *Pool) TryRun(ctx context.Context, work machine.Work, done func(Result)) bool {
	s := p.slots(work.Type)
	if s == nil || !s.tryTake() {
		return false
	}
	ctx, r := p.begin(ctx, work)
	if r == nil {
		s.give()
		return false
	}
	p.launch(ctx, s, r, work, done)
	return true
}

// launch carries the work out on a goroutine, on a slot that the caller has taken, and
// gives the slot back before it tells of the result.
func (p *Pool) launch(ctx context.Context, s *slots, r *run, work machine.Work, done func(Result)) {
	go func() {
		result := goneResult()
		defer p.end(r)
		defer func() {
			s.give()
			done(result)
		}()
		result = p.carryOut(ctx, s, r, work, nil)
	}()
}

// goneResult stands until the processor has returned: one that ends its goroutine
// (runtime.Goexit) never does, but whoever waits for the result is still told.
func goneResult() Result {
	return fatal("process", "the processor ended its goroutine instead of returning")
}

// carryOut processes the work within its deadline, on a slot that the caller has taken.
func (p *Pool) carryOut(ctx context.Context, s *slots, r *run, work machine.Work, beat func(context.Context) error) Result {
	defer r.cancel(nil)
	if !work.Deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, work.Deadline)
		defer cancel()
	}
	if !trace.SpanContextFromContext(ctx).IsValid() {
		ctx = traced(ctx, work) // what the processor calls is still in the trace of whoever asked
	}
	work, failed := p.whole(ctx, work)
	if failed != nil {
		return *failed
	}
	return p.packed(ctx, work, p.process(ctx, s.processor, newActivity(work, beat)))
}

func (s *slots) tryTake() bool {
	select {
	case s.taken <- struct{}{}:
		return true
	default:
		return false
	}
}

func (s *slots) take(ctx context.Context) error {
	select {
	case s.taken <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *slots) give() { <-s.taken }

// begin notes that something runs, unless the Pool is being drained (nil).
func (p *Pool) begin(ctx context.Context, work machine.Work) (context.Context, *run) {
	ctx, cancel := context.WithCancelCause(ctx)
	r := &run{typ: work.Type, cancel: cancel}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.draining {
		cancel(nil)
		return ctx, nil
	}
	p.cancels[r] = struct{}{}
	return ctx, r
}

func (p *Pool) end(r *run) {
	r.cancel(nil)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.cancels, r)
	if len(p.cancels) == 0 && p.idle != nil {
		close(p.idle)
		p.idle = nil
	}
}

// Drain takes nothing new and waits until what runs has ended and been told. If ctx ends
// first, it ends the contexts of the processors and returns an error that counts them.
func (p *Pool) Drain(ctx context.Context) error {
	idle := p.close()
	if idle == nil {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.cancels) == 0 {
		return nil
	}
	counts := map[string]int{}
	for r := range p.cancels {
		counts[r.typ]++
		r.cancel(ErrStopped)
	}
	return &UnfinishedError{Counts: counts, Cause: context.Cause(ctx)}
}

// close takes nothing new; the channel is closed when nothing runs any more, and nil if
// that is so already.
func (p *Pool) close() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.draining = true
	if len(p.cancels) == 0 {
		return nil
	}
	if p.idle == nil {
		p.idle = make(chan struct{})
	}
	return p.idle
}

// UnfinishedError says how many activities were still under way when their agent had to
// stop. Their leases run out by themselves, and they are tried again.
type UnfinishedError struct {
	Counts map[string]int // by activity type
	Cause  error
}

// Error implements error.
func (e *UnfinishedError) Error() string {
	parts := make([]string, 0, len(e.Counts))
	for _, typ := range slices.Sorted(maps.Keys(e.Counts)) {
		parts = append(parts, fmt.Sprintf("%d of type %s", e.Counts[typ], typ))
	}
	return fmt.Sprintf("stopped with activities under way: %s: %v", strings.Join(parts, ", "), e.Cause)
}

// Unwrap gives the cause.
func (e *UnfinishedError) Unwrap() error { return e.Cause }
