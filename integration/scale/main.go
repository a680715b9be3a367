package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/audit"
	"github.com/waybill/waybill/integration/internal/cluster"
	"github.com/waybill/waybill/integration/internal/fleet"
	"github.com/waybill/waybill/integration/internal/load"
	"github.com/waybill/waybill/integration/internal/stage"
)

const (
	// stall is how long no shard may stand still, whatever is done to the processes.
	stall = fleet.Stall
	// missed is how long a process that was killed stays away: longer than it takes the others to notice.
	missed = 10 * time.Second
	// spreadWithin is how long the group may take to give every process its share.
	spreadWithin = 30 * time.Second
	// stopWithin is what an interrupt promises, five seconds, and what a busy machine adds to them.
	stopWithin = 8 * time.Second
)

type settings struct {
	processes int
	burst     int
	paused    time.Duration
	seed      uint64
}

type scenario struct {
	settings
	fleet *fleet.Fleet
	wrong audit.Wrongs
	names int
}

func main() {
	var s settings
	flag.IntVar(&s.processes, "processes", 4, "how many processes share the work in the end")
	flag.IntVar(&s.burst, "burst", 300, "how many jobs are asked for at once to measure the throughput")
	flag.DurationVar(&s.paused, "paused", 12*time.Second, "how long a process is stopped (SIGSTOP)")
	flag.Uint64Var(&s.seed, "seed", rand.Uint64()>>1, "what to draw the jobs from") //nolint:gosec // no secret
	flags := stage.NewFlags(8 * time.Minute)
	flag.Parse()
	os.Exit(flags.Play("scale", func(ctx context.Context, on stage.Stage) error { return play(ctx, on, s) }))
}

func play(ctx context.Context, on stage.Stage, s settings) (err error) {
	fmt.Printf("processes that share the work of one Kafka: seed %d\n", s.seed)
	nodes, err := cluster.Start(ctx, cluster.Options{Dir: filepath.Join(on.Dir, "kafka")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, nodes.Stop()) }() //nolint:contextcheck // the end is bounded by itself
	sc := &scenario{settings: s}
	if sc.fleet, err = fleet.New(ctx, on, s.seed, nodes.Brokers()); err != nil {
		return err
	}
	defer sc.fleet.Close()
	for _, step := range []func(context.Context) error{sc.grow, sc.roll, sc.kill, sc.pause, sc.end} {
		began := time.Now()
		if err := step(ctx); err != nil {
			return err
		}
		fmt.Printf("  (%.0f s)\n", time.Since(began).Seconds())
	}
	return sc.wrong.Report(os.Stdout)
}

// grow starts one process, then two and four, and measures what they get done.
func (s *scenario) grow(ctx context.Context) error {
	for n := 1; n <= s.processes; n *= 2 {
		for len(s.fleet.Servers) < n {
			s.names++
			if _, err := s.fleet.Launch(ctx, fmt.Sprintf("s%d", s.names)); err != nil {
				return err
			}
		}
		for _, srv := range s.fleet.Servers {
			if err := s.fleet.Await(ctx, srv); err != nil {
				return err
			}
		}
		took, err := s.fleet.Spread(ctx, spreadWithin)
		if err != nil {
			return err
		}
		if n == 1 {
			if err := load.Define(ctx, s.fleet.Client()); err != nil {
				return err
			}
		}
		began := time.Now()
		if err := s.bursts(ctx, fmt.Sprintf("b%d", n)); err != nil {
			return err
		}
		ended := time.Now()
		book, err := s.fleet.Read(ctx)
		if err != nil {
			return err
		}
		decided := book.Decided(began, ended)
		fmt.Printf("  %d processes: %.1f jobs/s; shards spread after %.1f s; events decided by each:", n, float64(s.burst)/ended.Sub(began).Seconds(), took.Seconds())
		for _, srv := range s.fleet.Servers {
			fmt.Printf(" %d", decided[srv.Member])
			if decided[srv.Member] == 0 {
				s.wrong.Add("of %d processes %s decided nothing", n, srv.Name)
			}
		}
		fmt.Println()
	}
	return nil
}

// submitters ask for jobs at the same time.
const submitters = 32

// bursts asks for many small jobs as fast as they are taken, and waits for their ends.
func (s *scenario) bursts(ctx context.Context, name string) error {
	jobs := make([]*load.Job, s.burst)
	next := make(chan *load.Job, s.burst)
	for i := range jobs {
		j, err := load.Small(fmt.Sprintf("%s-%05d", name, i))
		if err != nil {
			return err
		}
		jobs[i] = j
		next <- j
	}
	close(next)
	var all sync.WaitGroup
	failed := make(chan error, submitters)
	for i := range submitters {
		client := api.New(s.fleet.Servers[i%len(s.fleet.Servers)].URL)
		all.Go(func() {
			for j := range next {
				if err := j.Submit(ctx, client); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	all.Wait()
	select {
	case err := <-failed:
		return err
	default:
	}
	s.fleet.Jobs = append(s.fleet.Jobs, jobs...)
	return load.Await(ctx, s.fleet.Client(), jobs)
}

// roll restarts every process, one after the other.
func (s *scenario) roll(ctx context.Context) error {
	_, err := s.fleet.Under(ctx, &s.wrong, "rolling restart", nil, func(ctx context.Context) error {
		for _, srv := range s.fleet.Servers {
			took, err := srv.Stop(stopWithin)
			if err != nil {
				return fmt.Errorf("SIGTERM to %s after %s: %w", srv.Name, took, err)
			}
			if err := s.fleet.Again(ctx, srv); err != nil {
				return err
			}
		}
		_, err := s.fleet.Spread(ctx, spreadWithin)
		return err
	})
	return err
}

// kill kills a process: the others take its shards.
func (s *scenario) kill(ctx context.Context) error {
	victim := s.fleet.Servers[0]
	var killed time.Time
	book, err := s.fleet.Under(ctx, &s.wrong, "kill -9 of a process", nil, func(ctx context.Context) error {
		killed = time.Now()
		if err := victim.Kill(); err != nil {
			return err
		}
		if err := api.Pause(ctx, missed); err != nil {
			return err
		}
		return s.fleet.Again(ctx, victim)
	})
	if err != nil {
		return err
	}
	s.taken(book, victim, killed)
	return nil
}

// taken says how the shards of a process that had gone went on.
func (s *scenario) taken(book *fleet.Book, victim *fleet.Server, gone time.Time) {
	all := book.Takeovers(victim.Member, gone)
	if len(all) == 0 {
		s.wrong.Add("%s had no shard", victim.Name)
		return
	}
	for _, t := range all {
		if t.By == "" || t.After > stall {
			s.wrong.Add("shard %d of %s was taken by %q after %.1f s", t.Shard, victim.Name, t.By, t.After.Seconds())
		}
	}
	fmt.Printf("  its %d shards went on in others after %.1f to %.1f s\n", len(all), all[0].After.Seconds(), all[len(all)-1].After.Seconds())
}

// pause stops a process with work under way and lets it wake: it can write no more, and is of use
// again.
func (s *scenario) pause(ctx context.Context) error {
	victim := s.fleet.Servers[len(s.fleet.Servers)-1]
	var stopped, woke time.Time
	var useful time.Duration
	refused, err := s.fenced(victim)
	if err != nil {
		return err
	}
	book, err := s.fleet.Under(ctx, &s.wrong, fmt.Sprintf("SIGSTOP of a process for %s", s.paused), nil, func(ctx context.Context) error {
		// Its agents have work under way, whose results it has at once when it wakes.
		if err := s.slow(ctx, s.paused/3); err != nil {
			return err
		}
		stopped = time.Now()
		if err := victim.Pause(); err != nil {
			return err
		}
		if err := api.Pause(ctx, s.paused); err != nil {
			return err
		}
		woke = time.Now()
		if err := victim.Resume(); err != nil {
			return err
		}
		var err error
		if _, err = s.fleet.Spread(ctx, spreadWithin); err != nil {
			return err
		}
		useful = time.Since(woke)
		return api.Pause(ctx, 2*time.Second)
	})
	if err != nil {
		return err
	}
	s.taken(book, victim, stopped)
	decided := book.Decided(woke.Add(useful), time.Now())
	fmt.Printf("  awake, it had its share again after %.1f s, and decided %d events\n", useful.Seconds(), decided[victim.Member])
	if decided[victim.Member] == 0 {
		s.wrong.Add("%s decided nothing after it woke", victim.Name)
	}
	late, err := s.fenced(victim)
	if err != nil {
		return err
	}
	fmt.Printf("  its transactions that were refused: %d\n", late-refused)
	takings, wrong := book.Fenced()
	fmt.Printf("  shards were taken %d times; records behind a new owner that were not his: %d\n", takings, len(wrong))
	for _, w := range wrong {
		s.wrong.Add("%s", w)
	}
	return nil
}

// slow asks for jobs of each shard that take their time, and waits until they run.
func (s *scenario) slow(ctx context.Context, each time.Duration) error {
	for i := range 4 * len(s.fleet.Servers) {
		j, err := load.Slow(fmt.Sprintf("slow-%03d", i), each)
		if err == nil {
			err = j.Submit(ctx, s.fleet.Client())
		}
		if err != nil {
			return err
		}
		s.fleet.Jobs = append(s.fleet.Jobs, j)
	}
	return api.Pause(ctx, each/2)
}

// fenced counts how often a server has told that a shard of its was dropped: somebody else had it.
func (s *scenario) fenced(srv *fleet.Server) (int, error) {
	b, err := os.ReadFile(srv.Output)
	return bytes.Count(b, []byte("shard dropped")), err
}

// end audits everything, and stops the processes.
func (s *scenario) end(ctx context.Context) error {
	if err := s.fleet.Audit(ctx, &s.wrong, false); err != nil {
		return err
	}
	for _, srv := range s.fleet.Servers {
		if took, err := srv.Stop(stopWithin); err != nil {
			s.wrong.Add("%s stopped %s after SIGTERM: %v", srv.Name, took, err)
		}
	}
	return nil
}
