package machines

import (
	"context"
	"fmt"
	"time"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/runner"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
)

// Local lets a runner use the agents of this process.
func Local(p *agent.Pool) runner.Local { return local{p} }

type local struct{ pool *agent.Pool }

// Inline implements runner.Local.
func (l local) Inline(w machine.Work) (runner.Result, bool) {
	r, ok := l.pool.Inline(w)
	return r, ok
}

// Reserve implements runner.Local.
func (l local) Reserve(activityType string) (runner.Slot, bool) {
	r, ok := l.pool.Reserve(activityType)
	if !ok {
		return nil, false
	}
	return slot{r}, true
}

// stepInput is the step at which work fails whose input is too large.
const stepInput = "input"

// soon is when work that is too large for a record looks for a free slot again.
const soon = time.Second

// TooLarge implements runner.Local.
func (l local) TooLarge(w machine.Work, limit int) runner.Result {
	if l.pool.Has(w.Type) {
		return agent.Schedule(soon)
	}
	return agent.Fatal(&runner.TooLargeError{Bytes: len(w.Input) + len(w.Outputs) + len(w.State), Limit: limit}).AtStep(stepInput)
}

type slot struct{ r *agent.Reservation }

// Run implements runner.Slot.
func (s slot) Run(ctx context.Context, w machine.Work, done func(runner.Result)) {
	s.r.Run(ctx, w, func(r agent.Result) { done(r) })
}

// reported is what a local agent says of a piece of work, as the command that tells a machine.
func reported(w machine.Work, r runner.Result) orchestration.Command {
	rep := orchestration.Report{WorkID: w.ID, Attempt: w.Attempt}
	switch r := r.(type) {
	case agent.Result:
		return r.Command(rep)
	case *orchestration.Fault: // of what could not be handed on
		return orchestration.Fail{Report: rep, Error: *r}
	case error: // *runner.TooLargeError or *runner.UnfitError
		return orchestration.Fail{Report: rep, Error: orchestration.Fault{Step: stepInput, Message: r.Error()}}
	}
	return orchestration.Fail{Report: rep, Error: orchestration.Fault{Message: fmt.Sprintf("a local agent answered with a %T", r)}}
}

// Release implements runner.Slot.
func (s slot) Release() { s.r.Release() }
