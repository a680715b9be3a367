package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
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
		began := time.Now()
		if err := e.submitAll(ctx, "job", chainType, throughputJobs, submitters); err != nil {
			return Figures{}, err
		}
		took := seconds(began)
		behind, err := e.projected(ctx)
		return Figures{PerSecond: throughputJobs / took, note: behindNote(behind)}, err
	})
}

func behindNote(behind float64) string {
	return fmt.Sprintf("the projection had all of it %s s later", number(behind))
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
		began := time.Now()
		if err := e.one(ctx, "tree", treeType); err != nil {
			return Figures{}, err
		}
		f := Figures{Seconds: seconds(began)}
		behind, err := e.projected(ctx)
		if err != nil {
			return f, err
		}
		f.note = behindNote(behind)
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
