package agent

import (
	"context"
	"fmt"
	"runtime/debug"
)

// Processor carries out activities of one type. It is called concurrently.
type Processor interface {
	// Process carries out one attempt. It should return soon after ctx has ended; what
	// it reports then is refused if it is too late.
	Process(ctx context.Context, a Activity) Result
}

// ProcessorFunc is a function that is a Processor.
type ProcessorFunc func(ctx context.Context, a Activity) Result

// Process implements Processor.
func (f ProcessorFunc) Process(ctx context.Context, a Activity) Result { return f(ctx, a) }

// Quick is implemented by a Processor that has activities which take no time and do
// nothing outside. The machine may call Process for them in the middle of a decision,
// before the request is on the log, and again if that is lost.
type Quick interface {
	// Quick says whether this activity is such a one. It must not block.
	Quick(a Activity) bool
}

// process calls the processor. A panic is a fatal result: its message for everybody, its
// stack for the log alone.
func (p *Pool) process(ctx context.Context, processor Processor, a Activity) (r Result) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		text := p.redacted(fmt.Sprintf("the processor panicked: %v", v))
		p.log.ErrorContext(ctx, text, "type", a.Type, "work", a.ID, "attempt", a.Attempt, "job", a.JobID,
			"activity", a.ActivityID, "stack", string(debug.Stack()))
		r = fatal("process", text)
	}()
	return processor.Process(ctx, a).settled().redacted(p.redacted)
}
