package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/process"
	"github.com/waybill/waybill/integration/internal/stage"
)

const (
	costLimit  = 200_000_000 // bytes, over what the idle server holds
	clients    = 32          // that start and complete side by side
	stopWithin = 5 * time.Second
	// settle is how long the memory is watched: the highest of what is seen counts.
	settle = 5 * time.Second
)

const definition = `{"output": ["ask.answer"], "activities": [
	{"id": "ask", "type": "noop", "with": {"result": "wait"}}]}`

func main() {
	jobs := flag.Int("jobs", 10_000, "how many orchestrations wait at once")
	k := stage.NewKafka("waiting")
	flags := stage.NewFlags(5 * time.Minute)
	flag.Parse()
	os.Exit(flags.Play("waiting", func(ctx context.Context, on stage.Stage) error {
		return errors.Join(run(ctx, on, k, *jobs), k.Clear(ctx))
	}))
}

// scenario is one server and the jobs that wait in it.
type scenario struct {
	kafka  *stage.Kafka
	client *api.Client
	server *process.Process
	jobs   int
	idle   int64 // bytes that the server holds before the first
}

func run(ctx context.Context, on stage.Stage, k *stage.Kafka, jobs int) error {
	s := &scenario{kafka: k, jobs: jobs}
	fmt.Printf("waiting (%s):\n", k)
	if err := s.start(ctx, on); err != nil {
		return err
	}
	if err := s.wait(ctx); err != nil {
		return err
	}
	if err := s.complete(ctx); err != nil {
		return err
	}
	_, err := s.server.Stop(stopWithin)
	return err
}

func (s *scenario) start(ctx context.Context, on stage.Stage) error {
	bin, err := process.Build(ctx, on.Dir)
	if err != nil {
		return err
	}
	listen, err := process.FreeAddress()
	if err != nil {
		return err
	}
	embedded, err := process.FreeAddress()
	if err != nil {
		return err
	}
	s.server, err = process.Start(ctx, process.Command{
		Path: bin, Args: append([]string{"serve", "--data", filepath.Join(on.Dir, "data"), "--listen", listen}, s.kafka.Args(embedded)...), Log: on.Log,
	})
	if err != nil {
		return err
	}
	s.client = api.New("http://" + listen)
	if err := s.client.Ready(ctx); err != nil {
		return err
	}
	s.idle, err = s.server.RSS()
	fmt.Printf("the server is up; it holds %d MB\n", s.idle/1_000_000)
	return errors.Join(err, s.client.Insist(ctx, http.MethodPut, "/v1/definitions/orchestrations/ask", []byte(definition), nil))
}

// each calls do for every job, several side by side.
func (s *scenario) each(ctx context.Context, do func(context.Context, string) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(clients)
	for i := range s.jobs {
		g.Go(func() error { return do(ctx, "w-"+strconv.Itoa(i)) })
	}
	return g.Wait()
}

// wait starts the jobs, waits until all of them wait, and measures.
func (s *scenario) wait(ctx context.Context) error {
	began := time.Now()
	err := s.each(ctx, func(ctx context.Context, id string) error {
		return s.client.Insist(ctx, http.MethodPost, "/v1/jobs", []byte(`{"type": "ask", "id": "`+id+`"}`), nil)
	})
	if err != nil {
		return err
	}
	if err := s.each(ctx, s.untilItWaits); err != nil {
		return err
	}
	fmt.Printf("%d orchestrations wait, %s after the first was asked for\n", s.jobs, time.Since(began).Round(time.Millisecond))
	var most int64
	for end := time.Now().Add(settle); time.Now().Before(end); {
		rss, err := s.server.RSS()
		if err != nil {
			return err
		}
		most = max(most, rss)
		if err := api.Pause(ctx, settle/20); err != nil {
			return err
		}
	}
	peak, err := s.server.PeakRSS()
	cost := most - s.idle
	fmt.Printf("resident while they wait: %d MB (%d MB at most since the start), so they cost %d MB\n", most/1_000_000, peak/1_000_000, cost/1_000_000)
	if err == nil && cost > costLimit {
		err = fmt.Errorf("that is over the limit of %d MB", costLimit/1_000_000)
	}
	return err
}

// workOf is the work of a job's only node once that waits; "" before.
func (s *scenario) workOf(ctx context.Context, id string) (string, error) {
	var j api.Job
	err := s.client.Insist(ctx, http.MethodGet, "/v1/jobs/"+id, nil, &j)
	if err != nil && !api.Is(err, http.StatusNotFound) { // the view may not have it yet
		return "", err
	}
	if len(j.Nodes) == 1 && j.Nodes[0].State == "WAITING" {
		return j.Nodes[0].WorkID, nil
	}
	if j.Ended() {
		return "", fmt.Errorf("job %s is %s before anybody has completed it: %s", id, j.State, j.Error)
	}
	return "", nil
}

func (s *scenario) untilItWaits(ctx context.Context, id string) error {
	for {
		work, err := s.workOf(ctx, id)
		if work != "" || err != nil {
			return err
		}
		if err := api.Pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// complete completes every job from outside, and looks at how it has ended.
func (s *scenario) complete(ctx context.Context) error {
	began := time.Now()
	err := s.each(ctx, func(ctx context.Context, id string) error {
		work, err := s.workOf(ctx, id)
		if err != nil {
			return err
		}
		return s.client.Insist(ctx, http.MethodPost, "/v1/work/"+work+"/complete", []byte(`{"output": {"answer": "`+id+`"}}`), nil)
	})
	if err != nil {
		return err
	}
	completed := time.Since(began)
	err = s.each(ctx, func(ctx context.Context, id string) error {
		var j api.Job
		if err := s.client.Insist(ctx, http.MethodGet, "/v1/jobs/"+id+"?wait=30s", nil, &j); err != nil {
			return err
		}
		var out struct{ Answer string }
		if err := json.Unmarshal(j.Output, &out); err != nil || j.State != "COMPLETED" || out.Answer != id {
			return fmt.Errorf("job %s is %s with the output %s: %s", id, j.State, j.Output, j.Error)
		}
		return nil
	})
	if err != nil {
		return err
	}
	rss, err := s.server.RSS()
	fmt.Printf("all were completed over HTTP within %s and have ended with their own output %s after the first; resident then: %d MB\n",
		completed.Round(time.Millisecond), time.Since(began).Round(time.Millisecond), rss/1_000_000)
	return err
}
