package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/process"
	"github.com/waybill/waybill/producers"
	"github.com/waybill/waybill/schemas"
)

const (
	// inFlight is how many orchestrations are under way while the history is made.
	inFlight = 512
	// patience is how long nothing may complete before the load is given up.
	patience = 30 * time.Second
)

// decide has the orchestrations asked for and waits until all but the waiting ones have
// ended, as told on the completions topic.
func (s *scenario) decide(ctx context.Context, p *process.Process, chains int) error {
	c := s.client()
	for typ, def := range map[string]string{chainType: chainDefinition, waitingType: waitingDefinition} {
		if err := c.Insist(ctx, http.MethodPut, "/v1/definitions/orchestrations/"+typ, []byte(def), nil); err != nil {
			return err
		}
	}
	publisher, err := producers.New(s.cluster)
	if err != nil {
		return err
	}
	defer publisher.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	slots := make(chan struct{}, inFlight)
	var submitters sync.WaitGroup
	defer submitters.Wait()
	submit := func(id, typ string) {
		submitters.Go(func() {
			if _, err := publisher.StartOrchestration(ctx, producers.Start{ID: id, Type: typ}); err != nil {
				cancel(fmt.Errorf("start %s: %w", id, err))
			}
		})
	}
	for i := range s.waiting {
		submit(waitingID(i), waitingType)
	}
	submitters.Wait()
	submitters.Go(func() {
		for i := range chains {
			select {
			case slots <- struct{}{}:
				submit(chainID(i), chainType)
			case <-ctx.Done():
				return
			}
		}
	})
	err = s.completions(ctx, chains, slots, p)
	if err != nil {
		cancel(err)
	}
	return err
}

// completions reads the completions topic until so many orchestrations have ended, each
// of which frees a slot.
func (s *scenario) completions(ctx context.Context, chains int, slots <-chan struct{}, p *process.Process) error {
	cl, err := s.cluster.NewClient(
		kgo.ConsumeTopics(s.cluster.Topics().Completions(schemas.AggregateOrchestration)),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	)
	if err != nil {
		return err
	}
	defer cl.Close()
	tenth := max(chains/10, 1)
	for done := 0; done < chains; {
		pollCtx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("nothing has completed for %s", patience))
		fetches := cl.PollFetches(pollCtx)
		err := context.Cause(pollCtx)
		cancel()
		if err != nil {
			return fmt.Errorf("%d of %d have completed: %w", done, chains, err)
		}
		for _, e := range fetches.Errors() {
			err = errors.Join(err, e.Err)
		}
		for it := fetches.RecordIter(); !it.Done(); {
			if r := it.Next(); err == nil {
				err = ended(r)
			}
			<-slots
			if done++; done%tenth == 0 {
				err = errors.Join(err, s.progress(p, done))
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ended says whether a record is the good end of an orchestration.
func ended(r *kgo.Record) error {
	for _, h := range r.Headers {
		if h.Key == "ce_type" && string(h.Value) == "orchestration.completed.v1" {
			return nil
		}
	}
	return fmt.Errorf("%s was answered with %s", r.Key, r.Value)
}

// progress shows how memory and the disk grow with the history.
func (s *scenario) progress(p *process.Process, done int) error {
	resident, err := p.RSS()
	if err != nil {
		return err
	}
	d, err := s.disk()
	s.sizes = append(s.sizes, d)
	fmt.Printf("  %d have ended: %.0f MB of memory, %s\n", done, float64(resident)/1e6, d)
	return err
}

// projected waits until the view has the last orchestrations.
func (s *scenario) projected(ctx context.Context, chains int) error {
	c := s.client()
	if s.keepHistory > 0 {
		return nil // it may have let go of them already
	}
	for i := max(0, chains-inFlight); i < chains; i++ {
		for {
			var j api.Job
			err := c.Insist(ctx, http.MethodGet, "/v1/jobs/"+chainID(i), nil, &j)
			if err == nil && j.Ended() {
				break
			}
			if err != nil && !api.Is(err, http.StatusNotFound) {
				return err
			}
			if err := api.Pause(ctx, 20*time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

// remembers checks that a process that was started on the history knows it: an ended
// orchestration asked for again changes nothing, and one that waits goes on.
func (s *scenario) remembers(ctx context.Context, c *api.Client) error {
	if s.keepHistory > 0 {
		return s.goOn(ctx, c) // what has ended may have been let go
	}
	before, err := c.Events(ctx, chainID(0))
	if err != nil {
		return err
	}
	if err := c.Insist(ctx, http.MethodPost, "/v1/jobs", body(chainID(0)), nil); err != nil {
		return err
	}
	if err := s.goOn(ctx, c); err != nil {
		return err
	}
	after, err := c.Events(ctx, chainID(0))
	if err != nil {
		return err
	}
	if len(before) != chainEvents || len(after) != len(before) {
		s.amiss("%s had %d events and has %d after it was asked for again, want %d", chainID(0), len(before), len(after), chainEvents)
	}
	return nil
}

// goOn completes an orchestration that waits from outside.
func (s *scenario) goOn(ctx context.Context, c *api.Client) error {
	if s.waiting == 0 {
		return nil
	}
	for i := range s.waiting {
		id := waitingID(i)
		var j api.Job
		if err := c.Insist(ctx, http.MethodGet, "/v1/jobs/"+id, nil, &j); err != nil {
			return err
		}
		if j.Ended() {
			continue // in a run before
		}
		if len(j.Nodes) != 1 || j.Nodes[0].State != "WAITING" {
			s.amiss("%s does not wait: it is %s", id, j.State)
			return nil
		}
		if err := c.Insist(ctx, http.MethodPost, "/v1/work/"+j.Nodes[0].WorkID+"/complete", []byte(`{"output": {}}`), nil); err != nil {
			return err
		}
		if err := c.Insist(ctx, http.MethodGet, "/v1/jobs/"+id+"?wait=10s", nil, &j); err != nil {
			return err
		}
		if j.State != "COMPLETED" {
			s.amiss("%s is %s after its work was completed", id, j.State)
		}
		return nil
	}
	return errors.New("no orchestration waits any more")
}
