package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/waybill/waybill/internal/kafka"
)

// part is something that runs beside others until it is told to stop.
type part struct {
	name string
	stop func()
	done chan struct{}
	err  error // why it ended; set before done is closed
	// alone says that no other part needs this one, so that it is stopped while others stop.
	alone bool
}

// failure says which part ended while it should have run.
type failure struct {
	part string
	err  error
}

func (f failure) Error() string {
	if f.err == nil {
		return fmt.Sprintf("%s ended unexpectedly", f.part)
	}
	return fmt.Sprintf("%s: %v", f.part, f.err)
}

func (f failure) Unwrap() error { return f.err }

// begin starts a part. It runs until it is told to stop, however long ctx, which bounds the
// start, lasts; what it returns before that ends the program.
func (m *Main) begin(ctx context.Context, name string, run func(context.Context) error) *part {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p := &part{name: name, stop: cancel, done: make(chan struct{})}
	m.parts = append(m.parts, p)
	go func() {
		defer close(p.done)
		err := run(ctx)
		if ctx.Err() != nil {
			if !errors.Is(err, context.Canceled) {
				p.err = err
			}
			return
		}
		m.fail(failure{name, kafka.Explain(err)})
	}()
	return p
}

// fail notes the first reason to end.
func (m *Main) fail(err error) {
	select {
	case m.failed <- err:
	default:
	}
}

// end tells the part to stop and waits for that, no longer than until the deadline.
func (p *part) end(deadline <-chan time.Time) error {
	p.stop()
	select {
	case <-p.done:
	case <-deadline:
		select {
		case <-p.done: // it had stopped by then
		default:
			return fmt.Errorf("%s did not stop in time", p.name)
		}
	}
	if p.err != nil {
		return fmt.Errorf("stop %s: %w", p.name, p.err)
	}
	return nil
}
