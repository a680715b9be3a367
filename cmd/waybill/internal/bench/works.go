package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	throughputJobs = 2000
	submitters     = 64
	latencyJobs    = 500
	fanJobs        = 5
)

// with measures on an engine of its own.
func with(ctx context.Context, b *bench, measure func(e *engine) (Figures, error)) (f Figures, err error) {
	e, err := b.engine(ctx)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, e.close(ctx)) }()
	return measure(e)
}

// throughput is W1.
func throughput(ctx context.Context, b *bench) (Figures, error) {
	return with(ctx, b, func(e *engine) (Figures, error) {
		c := startClock()
		if err := e.submitAll(ctx, "job", chainType, throughputJobs, submitters); err != nil {
			return Figures{}, err
		}
		took, cpu := c.read()
		behind, err := e.projected(ctx)
		f := Figures{PerSecond: throughputJobs / took, note: behindNote(behind)}
		f.note += fmt.Sprintf("; each took %s ms of CPU, %.0f %% of the cores", number(cpu*1000/throughputJobs), share(cpu, took))
		return f, err
	})
}

func behindNote(behind float64) string {
	return fmt.Sprintf("the projection had all of it %s s later", number(behind))
}

// clock measures time and the CPU time that this process, broker and clients included, has
// of it: on a machine that others use as well the second says more.
type clock struct {
	began time.Time
	cpu   float64
}

func startClock() clock { return clock{time.Now(), cpuSeconds()} }

func (c clock) read() (took, cpu float64) { return seconds(c.began), cpuSeconds() - c.cpu }

// share is how much of all cores a process had, in percent.
func share(cpu, took float64) float64 { return 100 * cpu / took / float64(runtime.NumCPU()) }

// cpuSeconds is 0 where the system does not tell.
func cpuSeconds() float64 {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / float64(time.Second)
}

// submitOnly submits n orchestrations; what goes wrong cancels ctx. The function it returns
// waits for the submitters.
func (e *engine) submitOnly(ctx context.Context, fail context.CancelCauseFunc, prefix, typ string, n, submitters int) (wait func()) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range submitters {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n || ctx.Err() != nil {
					return
				}
				if err := e.submit(ctx, jobID(prefix, i), typ); err != nil {
					fail(err)
					return
				}
			}
		})
	}
	return wg.Wait
}

// latency is W2.
func latency(ctx context.Context, b *bench) (Figures, error) {
	return with(ctx, b, func(e *engine) (Figures, error) {
		took := make([]time.Duration, latencyJobs)
		for i := range took {
			began := time.Now()
			if err := e.one(ctx, jobID("job", i), chainType); err != nil {
				return Figures{}, err
			}
			took[i] = time.Since(began)
		}
		return Figures{P50Ms: percentile(took, 50), P99Ms: percentile(took, 99)}, nil
	})
}

// one runs one orchestration from the submit to its completion. The completion may be here
// before the submit has been acknowledged.
func (e *engine) one(ctx context.Context, id, typ string) error {
	return e.submitAll(ctx, id, typ, 1, 1)
}

// percentile is in milliseconds; it sorts what it is given.
func percentile(took []time.Duration, p int) float64 {
	slices.Sort(took)
	i := min(len(took)*p/100, len(took)-1)
	return float64(took[i]) / float64(time.Millisecond)
}

// fan is W3.
func fan(ctx context.Context, b *bench) (Figures, error) {
	return with(ctx, b, func(e *engine) (Figures, error) {
		took := make([]time.Duration, fanJobs)
		for i := range took {
			began := time.Now()
			if err := e.one(ctx, jobID("fan", i), fanType); err != nil {
				return Figures{}, err
			}
			took[i] = time.Since(began)
		}
		return Figures{Seconds: percentile(took, 50) / 1000}, nil
	})
}

// tree is W7.
func tree(ctx context.Context, b *bench) (Figures, error) {
	return with(ctx, b, func(e *engine) (Figures, error) {
		c := startClock()
		if err := e.one(ctx, "tree", treeType); err != nil {
			return Figures{}, err
		}
		took, cpu := c.read()
		f := Figures{Seconds: took}
		behind, err := e.projected(ctx)
		if err != nil {
			return f, err
		}
		f.note = behindNote(behind) + fmt.Sprintf("; it took %s s of CPU, %.0f %% of the cores", number(cpu), share(cpu, took))
		return f, e.checkTree(ctx)
	})
}

// checkTree makes sure that the tree was what the figure says.
func (e *engine) checkTree(ctx context.Context) error {
	var job struct {
		Progress struct{ Total, Completed int } `json:"progress"`
	}
	if err := e.get(ctx, "/v1/jobs/tree-0", &job); err != nil {
		return err
	}
	if p := job.Progress; p.Total != treeNodes || p.Completed != treeNodes {
		return fmt.Errorf("the tree has %d nodes, %d completed; want %d", p.Total, p.Completed, treeNodes)
	}
	return nil
}
