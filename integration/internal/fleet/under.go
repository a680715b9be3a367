package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/audit"
)

const (
	// Stall is how long no shard may stand still, whatever is done to processes and brokers.
	Stall = 15 * time.Second
	// beat is the time between two jobs of a shard while something is done.
	beat = 400 * time.Millisecond
	// calm is how long the load goes on before something is done.
	calm = time.Second
	// drain is how long everything may take to end once nothing is done any more.
	drain = 60 * time.Second
	// mixedAtOnce is how many jobs of every kind are asked for before something is done.
	mixedAtOnce = 150
)

// Under does something to the fleet while a load goes on, jobs of every kind among it, waits until
// everything has ended, and says how long shards stood still. A shard that did so for longer than
// Stall is wrong; away, where it is not nil, is how long there was no Kafka at all, which it may
// stand still besides.
func (f *Fleet) Under(ctx context.Context, wrong *audit.Wrongs, what string, away *time.Duration, do func(ctx context.Context) error) (*Book, error) {
	began := time.Now()
	seen, err := f.watch(ctx)
	if err != nil {
		return nil, err
	}
	defer seen()
	pulse := f.Pulse(ctx, beat)
	mixed := f.someMixed(ctx)
	if err := api.Pause(ctx, calm); err != nil {
		return nil, err
	}
	if err := do(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if err := api.Pause(ctx, calm); err != nil {
		return nil, err
	}
	asked, err := pulse.Stop()
	if err = errors.Join(err, mixed()); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	until := time.Now()
	drained, err := f.Drain(ctx, drain)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	book, err := f.Read(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	told := book
	if f.Clocks {
		told = seen()
	}
	stills := told.Longest(began, until)
	limit := Stall
	if away != nil {
		limit += *away
		fmt.Printf("  Kafka was away for %.1f s\n", away.Seconds())
	}
	fmt.Printf("  %s: %d jobs, all ended %.1f s later; shards stood still: %s\n", what, asked, drained.Seconds(), Stills(stills, limit))
	for _, still := range stills {
		if still.For > limit {
			wrong.Add("%s: shard %d stood still for %.1f s from %s on", what, still.Shard, still.For.Seconds(), still.Began.Format(time.TimeOnly))
		}
	}
	return book, nil
}

// someMixed asks for the next jobs of every kind; what it returns waits until they are
// acknowledged.
func (f *Fleet) someMixed(ctx context.Context) func() error {
	n := min(mixedAtOnce, len(f.mixed))
	jobs := f.mixed[:n]
	f.mixed = f.mixed[n:]
	f.Jobs = append(f.Jobs, jobs...)
	client := f.Client()
	var all sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for _, j := range jobs {
		all.Go(func() {
			if err := j.Run(ctx, client); err != nil {
				mu.Lock()
				failed = errors.Join(failed, err)
				mu.Unlock()
			}
		})
	}
	return func() error { all.Wait(); return failed }
}

// Audit holds everything against what must be, when all is over: the jobs, the log, and what each
// server has made of it. Embedded says that the broker was the embedded one.
func (f *Fleet) Audit(ctx context.Context, wrong *audit.Wrongs, embedded bool) error {
	scratch, err := os.MkdirTemp(f.dir, "audit-")
	if err != nil {
		return err
	}
	subject := &audit.Subject{
		Jobs: f.Jobs, Client: f.Client(), Brokers: f.Brokers, Embedded: embedded, Scratch: scratch, Out: os.Stdout,
	}
	for _, s := range f.Servers {
		subject.Files = append(subject.Files, filepath.Join(s.options.Data, "projections.db"))
	}
	for _, w := range subject.All(ctx) {
		wrong.Add("%s", w)
	}
	return nil
}
