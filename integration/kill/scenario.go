package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/load"
	"github.com/waybill/waybill/integration/internal/process"
	"github.com/waybill/waybill/internal/kafka"
)

const (
	clients = 8
	// readyWithin is after how long a process that is not ready is given up.
	readyWithin = 30 * time.Second
	// firstReady is the same for the first one: it waits a minute for a Kafka that makes its topics slowly.
	firstReady = 75 * time.Second
	// drain is how long the jobs may take to end once nobody kills any more.
	drain = 60 * time.Second
	// reportWithin is how long the looking may take, after a run that was given up as well.
	reportWithin = 60 * time.Second
	// stopWithin is what Ctrl-C promises.
	stopWithin = 5 * time.Second
)

// life is one process from its start to its end.
type life struct {
	began, ended time.Time
	ready        time.Duration // 0 for never
}

// scenario is one run.
type scenario struct {
	settings
	fsync       bool
	bin, dir    string
	listen      string
	embedded    string // where the embedded broker listens
	cfg         kafka.Config
	log         *os.File
	rnd         *rand.Rand
	providers   *load.Providers
	jobs        []*load.Job
	clients     []*api.Client
	lives       []life
	killed      time.Duration // from the first start to the last kill
	drained     time.Duration // from the last kill to the last end
	stopped     time.Duration
	submissions sync.WaitGroup
	failed      chan error

	mu    sync.Mutex
	small []*load.Job
}

// one does one run and prints its figures.
func one(ctx context.Context, s settings, bin, dir string, fsync bool, seed uint64) (err error) {
	sc := &scenario{settings: s, fsync: fsync, bin: bin, dir: dir, failed: make(chan error, 1)}
	sc.rnd = rand.New(rand.NewPCG(seed, 2)) //nolint:gosec // the same moments from the same seed
	name := "without --fsync"
	if fsync {
		name = "with --fsync"
	}
	fmt.Printf("%s: seed %d, %d jobs of %d clients, %d kills\n", name, seed, s.jobs, clients, s.kills)
	if err := sc.prepare(ctx, seed); err != nil {
		return err
	}
	defer sc.providers.Close()
	defer func() { err = errors.Join(err, sc.log.Close()) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p, err := sc.killAll(ctx)
	if err == nil {
		err = sc.await(ctx)
	}
	if p == nil {
		return err
	}
	reporting, enough := context.WithTimeout(context.WithoutCancel(ctx), reportWithin)
	defer enough()
	wrong := sc.report(reporting)
	sc.stopped, err = stop(p, err)
	fmt.Printf("  stopped within %.2f s of SIGTERM\n", sc.stopped.Seconds())
	if len(wrong) > 0 {
		return errors.Join(err, fmt.Errorf("%s: %d things are wrong", name, len(wrong)))
	}
	return err
}

func stop(p *process.Process, before error) (time.Duration, error) {
	took, err := p.Stop(stopWithin)
	if err != nil {
		err = fmt.Errorf("SIGTERM: %w", err)
	}
	return took, errors.Join(before, err)
}

func (s *scenario) prepare(ctx context.Context, seed uint64) error {
	var err error
	if err = os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	if s.listen, err = process.FreeAddress(); err != nil {
		return err
	}
	if s.embedded, err = process.FreeAddress(); err != nil {
		return err
	}
	s.cfg = s.kafka.Config(s.embedded)
	if s.jobs, s.providers, err = load.New(ctx, seed, "k", s.settings.jobs); err != nil {
		return err
	}
	for range clients {
		s.clients = append(s.clients, api.New("http://"+s.listen))
	}
	s.log, err = os.Create(filepath.Join(s.dir, "output"))
	return err
}

func (s *scenario) start(ctx context.Context) (*process.Process, error) {
	args := append([]string{"serve", "--data", filepath.Join(s.dir, "data"), "--listen", s.listen}, s.kafka.Args(s.embedded)...)
	for _, h := range s.providers.Hosts() {
		args = append(args, "--allow", h)
	}
	if s.fsync {
		args = append(args, "--fsync")
	}
	return process.Start(ctx, process.Command{Path: s.bin, Args: args, Log: s.log})
}

// killAll starts the process, kills it as often as it is to be killed, and returns the
// last one, which lives. Each life brings its share of the jobs.
func (s *scenario) killAll(ctx context.Context) (*process.Process, error) {
	p, err := s.start(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.ready(ctx, p); err != nil {
		return p, err
	}
	began := p.Began
	humming, quiet := context.WithCancel(ctx)
	defer quiet()
	s.submissions.Go(func() { s.hum(ctx, humming.Done()) })
	for k := 0; ; k++ {
		s.release(ctx, k)
		if k == s.kills {
			s.killed = p.Began.Sub(began)
			ready, err := s.readyAfter(ctx, p)
			s.lives = append(s.lives, life{began: p.Began, ready: ready})
			return p, err
		}
		l := life{began: p.Began}
		if l.ready, err = s.live(ctx, p, k == 0); err != nil {
			return p, err
		}
		if err := p.Kill(); err != nil {
			return p, errors.Join(context.Cause(ctx), fmt.Errorf("kill %d: %w", k+1, err))
		}
		l.ended = time.Now()
		s.lives = append(s.lives, l)
		if p, err = s.start(ctx); err != nil {
			return nil, err
		}
	}
}

// live lets a process live for as long as is drawn, and returns how soon it was ready: one
// of six dies within its start, the others die at work, some time after they were ready.
func (s *scenario) live(ctx context.Context, p *process.Process, first bool) (time.Duration, error) {
	if !first && s.rnd.IntN(6) == 0 {
		dies, cancel := context.WithDeadline(ctx, p.Began.Add(time.Duration(s.rnd.IntN(400))*time.Millisecond))
		defer cancel()
		if api.New("http://"+s.listen).Ready(dies) != nil {
			return 0, context.Cause(ctx) // killed before, as it may be
		}
		ready := time.Since(p.Began)
		<-dies.Done()
		return ready, context.Cause(ctx)
	}
	span := time.Duration(20+s.rnd.IntN(900)) * time.Millisecond
	ready, err := s.readyAfter(ctx, p)
	if err != nil {
		return 0, err
	}
	return ready, api.Pause(ctx, span)
}

// readyAfter waits until the process is ready and returns after how long it was.
func (s *scenario) readyAfter(ctx context.Context, p *process.Process) (time.Duration, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, readyWithin, fmt.Errorf("not ready %s after start %d", readyWithin, len(s.lives)+1))
	defer cancel()
	err := api.New("http://" + s.listen).Ready(ctx)
	return time.Since(p.Began), err
}

// ready waits for the first start and puts the definitions.
func (s *scenario) ready(ctx context.Context, p *process.Process) error {
	ctx, cancel := context.WithTimeoutCause(ctx, firstReady, fmt.Errorf("not ready after %s", firstReady))
	defer cancel()
	go func() {
		select {
		case <-p.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := s.clients[0].Ready(ctx); err != nil {
		return err
	}
	return load.Define(ctx, s.clients[0])
}

// release has the jobs of the k-th life asked for.
func (s *scenario) release(ctx context.Context, k int) {
	lives := s.kills + 1
	for i := k * len(s.jobs) / lives; i < (k+1)*len(s.jobs)/lives; i++ {
		s.submissions.Go(func() {
			if err := s.jobs[i].Run(ctx, s.clients[i%clients]); err != nil {
				s.fail(err)
			}
		})
	}
}

// fail notes the first reason to give up.
func (s *scenario) fail(err error) {
	select {
	case s.failed <- err:
	default:
	}
}

// hum asks for small jobs until quiet, each until it is acknowledged, whatever happens.
func (s *scenario) hum(ctx context.Context, quiet <-chan struct{}) {
	if s.settings.hum <= 0 {
		return
	}
	tick := time.NewTicker(s.settings.hum)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-quiet:
			return
		case <-tick.C:
		}
		s.submissions.Go(func() {
			j, err := load.Small(fmt.Sprintf("hum-%06d", i))
			if err == nil {
				err = j.Submit(ctx, s.clients[i%clients])
			}
			if err != nil {
				s.fail(err)
				return
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.small = append(s.small, j)
		})
	}
}

// await waits until every job has been acknowledged and has ended.
func (s *scenario) await(ctx context.Context) error {
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, drain, fmt.Errorf("not drained after %s", drain))
	defer cancel()
	done := make(chan struct{})
	go func() { s.submissions.Wait(); close(done) }()
	select {
	case <-done:
	case err := <-s.failed:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-s.failed:
		return err
	default:
	}
	s.jobs = append(s.jobs, s.small...)
	if err := load.Await(ctx, s.clients[0], s.jobs); err != nil {
		return err
	}
	s.drained = time.Since(began)
	return nil
}
