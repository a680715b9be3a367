package agent

import (
	"context"
	"time"

	"github.com/waybill/waybill/domain/machine"
)

// Reservation is a slot that has been taken for work that may not begin yet. Exactly one
// of Run and Release must be called.
type Reservation struct {
	pool  *Pool
	slots *slots
}

// Reserve takes a slot of the type, so that a machine can write down who carries the
// work out before it begins. False means that there is no agent for the type, or none is
// free.
func (p *Pool) Reserve(typ string) (*Reservation, bool) {
	s := p.slots(typ)
	if s == nil || p.isDraining() || !s.tryTake() {
		return nil, false
	}
	return &Reservation{p, s}, true
}

// Release gives the slot back unused.
func (r *Reservation) Release() { r.slots.give() }

// afterDrain is when work that met a Pool being drained is asked for again, likely of
// another process.
const afterDrain = time.Second

func (p *Pool) isDraining() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.draining
}

// Run carries the work out on a goroutine of its own and calls done with the result,
// once, after the slot was given back. The work's deadline and the end of ctx end the
// processor's context; done is called all the same, when the processor has returned.
// A Pool that is being drained begins nothing: the result then is to be called again.
func (r *Reservation) Run(ctx context.Context, work machine.Work, done func(Result)) {
	p, s := r.pool, r.slots
	ctx, run := p.begin(ctx, work)
	if run == nil {
		s.give()
		done(Schedule(afterDrain))
		return
	}
	p.launch(ctx, s, run, work, done)
}
