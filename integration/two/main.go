package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/load"
	"github.com/waybill/waybill/integration/internal/process"
	"github.com/waybill/waybill/integration/internal/stage"
	"github.com/waybill/waybill/internal/kafka"
)

const (
	// spreadWithin is how long the group may take to give both members shards.
	spreadWithin = 30 * time.Second
	// pace is the time between two jobs.
	pace = 40 * time.Millisecond
	// killAfter is which part of the jobs has been asked for when one server is killed.
	killAfter = 0.3
	// drain is how long the jobs may take to end after the last was asked for: work that the
	// dead one had claimed comes again when its lease has run out.
	drain = 60 * time.Second
)

// server is one of the two.
type server struct {
	*process.Process
	name, listen, member string
}

type scenario struct {
	dir, bin  string
	kafka     *stage.Kafka
	cfg       kafka.Config
	log       *os.File
	broker    *process.Process
	servers   []*server
	jobs      []*load.Job
	providers *load.Providers
	killed    time.Time
}

func main() {
	jobs := flag.Int("jobs", 400, "how many jobs to ask for, 40 ms apart")
	seed := flag.Uint64("seed", rand.Uint64()>>1, "what to draw the jobs from") //nolint:gosec // no secret
	k := stage.NewKafka("two")
	flags := stage.NewFlags(4 * time.Minute)
	flag.Parse()
	os.Exit(flags.Play("two", func(ctx context.Context, on stage.Stage) error {
		return errors.Join(run(ctx, on, k, *jobs, *seed), k.Clear(ctx))
	}))
}

func run(ctx context.Context, on stage.Stage, k *stage.Kafka, jobs int, seed uint64) (err error) {
	s := &scenario{dir: on.Dir, log: on.Log, kafka: k}
	fmt.Printf("two servers on one broker (%s): seed %d, %d jobs\n", k, seed, jobs)
	if s.jobs, s.providers, err = load.New(ctx, seed, "t", jobs); err != nil {
		return err
	}
	defer s.providers.Close()
	if err := s.start(ctx); err != nil {
		return err
	}
	if err := s.work(ctx); err != nil {
		return err
	}
	wrong := s.report(ctx)
	if err := s.stop(); err != nil {
		return err
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%d things are wrong", len(wrong))
	}
	return nil
}

// startBroker starts a broker, unless there is one.
func (s *scenario) startBroker(ctx context.Context) error {
	address, err := process.FreeAddress()
	if err != nil {
		return err
	}
	if s.cfg = s.kafka.Config(address); s.kafka.Others() {
		return nil
	}
	s.broker, err = process.Start(ctx, process.Command{
		Path: s.bin, Args: []string{"broker", "--data", filepath.Join(s.dir, "broker"), "--kafka-listen", address}, Log: s.log,
	})
	return err
}

// start starts the broker and both servers and waits until both have shards.
func (s *scenario) start(ctx context.Context) (err error) {
	if s.bin, err = process.Build(ctx, s.dir); err != nil {
		return err
	}
	if err := s.startBroker(ctx); err != nil {
		return err
	}
	for _, name := range []string{"first", "second"} {
		srv := &server{name: name}
		if srv.listen, err = process.FreeAddress(); err != nil {
			return err
		}
		args := []string{"serve", "--data", filepath.Join(s.dir, name), "--listen", srv.listen, "--brokers", strings.Join(s.cfg.Brokers, ","), "--prefix", s.cfg.Prefix, "--create-topics"}
		for _, h := range s.providers.Hosts() {
			args = append(args, "--allow", h)
		}
		srv.Process, err = process.Start(ctx, process.Command{Path: s.bin, Args: args, Log: s.log})
		if err != nil {
			return err
		}
		s.servers = append(s.servers, srv)
		if err := srv.Until(ctx, api.New("http://"+srv.listen).Ready); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := s.spread(ctx); err != nil {
		return err
	}
	return load.Define(ctx, s.client(0))
}

// client asks server i first and the other one when it is gone.
func (s *scenario) client(i int) *api.Client {
	n := len(s.servers)
	return api.New("http://"+s.servers[i%n].listen, "http://"+s.servers[(i+1)%n].listen)
}

// readiness is what /readyz says.
type readiness struct {
	Ready  bool   `json:"ready"`
	Member string `json:"member"`
	Checks []struct {
		Name    string          `json:"name"`
		Details json.RawMessage `json:"details"`
	} `json:"checks"`
}

// shards are those that a server has.
func (s *scenario) shards(ctx context.Context, srv *server) ([]int32, error) {
	var r readiness
	if err := api.New("http://"+srv.listen).Once(ctx, http.MethodGet, "/readyz", nil, &r); err != nil {
		return nil, err
	}
	srv.member = r.Member
	for _, c := range r.Checks {
		if c.Name == "machines" {
			var d struct {
				Shards []int32 `json:"shards"`
			}
			err := json.Unmarshal(c.Details, &d)
			return d.Shards, err
		}
	}
	return nil, fmt.Errorf("the readiness of %s says nothing of machines", srv.name)
}

// spread waits until both servers are ready and have shards.
func (s *scenario) spread(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, spreadWithin, fmt.Errorf("not both had shards after %s", spreadWithin))
	defer cancel()
	began := time.Now()
	for {
		both := true
		var counts []int
		for _, srv := range s.servers {
			shards, err := s.shards(ctx, srv)
			both = both && err == nil && len(shards) > 0
			counts = append(counts, len(shards))
		}
		if both {
			fmt.Printf("  shards: %d and %d, %.2f s after both were ready\n", counts[0], counts[1], time.Since(began).Seconds())
			return nil
		}
		if err := api.Pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// work has the jobs asked for at both, kills the first server among them, and waits for
// the ends.
func (s *scenario) work(ctx context.Context) error {
	clients := []*api.Client{s.client(0), s.client(1)}
	var all sync.WaitGroup
	failed := make(chan error, len(s.jobs))
	for i, j := range s.jobs {
		if i == int(killAfter*float64(len(s.jobs))) {
			s.killed = time.Now()
			if err := s.servers[0].Kill(); err != nil {
				return err
			}
		}
		all.Go(func() {
			if err := j.Run(ctx, clients[i%2]); err != nil {
				failed <- err
			}
		})
		if err := api.Pause(ctx, pace); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, drain, fmt.Errorf("not drained after %s", drain))
	defer cancel()
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	select {
	case <-done:
	case err := <-failed:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-failed:
		return err
	default:
	}
	asked := time.Now()
	if err := load.Await(ctx, s.client(1), s.jobs); err != nil {
		return err
	}
	fmt.Printf("  all had ended %.1f s after the kill, %.1f s after the last was acknowledged\n", time.Since(s.killed).Seconds(), time.Since(asked).Seconds())
	return nil
}

// stop ends what is left in good order.
func (s *scenario) stop() error {
	var errs []error
	for _, p := range []struct {
		name string
		*process.Process
	}{{"the second server", s.servers[1].Process}, {"the broker", s.broker}} {
		if p.Process == nil {
			continue // it is not ours
		}
		took, err := p.Stop(5 * time.Second)
		if err != nil {
			errs = append(errs, fmt.Errorf("SIGTERM to %s: %w", p.name, err))
			continue
		}
		fmt.Printf("  %s stopped within %.2f s of SIGTERM\n", p.name, took.Seconds())
	}
	return errors.Join(errs...)
}
