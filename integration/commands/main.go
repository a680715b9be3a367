package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/load"
	"github.com/waybill/waybill/integration/internal/process"
)

const (
	stopWithin   = 5 * time.Second
	readyWithin  = 30 * time.Second
	answerWithin = 20 * time.Second
	drainWithin  = time.Minute
	rebuildIn    = time.Minute
)

func main() {
	jobs := flag.Int("jobs", 200, "how many jobs run while the views are read")
	seed := flag.Uint64("seed", rand.Uint64()>>1, "what to draw the jobs from") //nolint:gosec // no secret
	keep := flag.Bool("keep", false, "leave the data behind")
	limit := flag.Duration("limit", 5*time.Minute, "give up after this")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, *limit, fmt.Errorf("given up after %s", *limit))
	defer cancel()
	if err := run(ctx, *jobs, *seed, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "commands:", err)
		cancel()
		stop()
		os.Exit(1)
	}
}

type scenario struct {
	dir, bin, listen, kafka string
	log                     *os.File
	api                     *api.Client
	client                  client
	sql                     reader
	jobs                    []*load.Job
	providers               *load.Providers
	process                 *process.Process
	rnd                     *rand.Rand
	wrong                   []string
}

func run(ctx context.Context, jobs int, seed uint64, keep bool) (err error) {
	s := &scenario{rnd: rand.New(rand.NewPCG(seed, 3))} //nolint:gosec // the same from the same seed
	if s.dir, err = os.MkdirTemp("", "waybill-commands-"); err != nil {
		return err
	}
	defer func() {
		if keep || err != nil {
			fmt.Println("the data and the program's output are in", s.dir)
			return
		}
		err = os.RemoveAll(s.dir)
	}()
	if s.jobs, s.providers, err = load.New(ctx, seed, "m", jobs); err != nil {
		return err
	}
	defer s.providers.Close()
	if err := s.prepare(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.log.Close()) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the process
	fmt.Printf("commands: seed %d, %s, %s\n", seed, s.client.name(), s.sql.name())
	for _, step := range []func(context.Context) error{s.start, s.misplaced, s.bad, s.views, s.rebuild, s.stop} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if len(s.wrong) > 0 {
		return fmt.Errorf("%d things are wrong", len(s.wrong))
	}
	return nil
}

// amiss notes what is wrong and goes on, so that one run says all.
func (s *scenario) amiss(format string, args ...any) {
	s.wrong = append(s.wrong, fmt.Sprintf(format, args...))
	fmt.Println("  WRONG:", s.wrong[len(s.wrong)-1])
}

func (s *scenario) prepare(ctx context.Context) (err error) {
	if s.bin, err = process.Build(ctx, s.dir); err != nil {
		return err
	}
	if s.listen, err = process.FreeAddress(); err != nil {
		return err
	}
	if s.kafka, err = process.FreeAddress(); err != nil {
		return err
	}
	s.api = api.New("http://" + s.listen)
	s.client = newClient(s.kafka, filepath.Join(s.dir, "value"))
	s.sql = newReader(s.database())
	s.log, err = os.Create(filepath.Join(s.dir, "output"))
	return err
}

func (s *scenario) data() string     { return filepath.Join(s.dir, "data") }
func (s *scenario) database() string { return filepath.Join(s.data(), "projections.db") }

// start starts the process and puts the definitions.
func (s *scenario) start(ctx context.Context) (err error) {
	args := []string{"serve", "--data", s.data(), "--listen", s.listen, "--kafka-listen", s.kafka}
	for _, h := range s.providers.Hosts() {
		args = append(args, "--allow", h)
	}
	if s.process, err = process.Start(ctx, process.Command{Path: s.bin, Args: args, Log: s.log}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, readyWithin, fmt.Errorf("not ready after %s", readyWithin))
	defer cancel()
	if err := s.api.Ready(ctx); err != nil {
		return err
	}
	return load.Define(ctx, s.api)
}

func (s *scenario) stop(context.Context) error {
	took, err := s.process.Stop(stopWithin)
	if err != nil {
		return fmt.Errorf("SIGTERM: %w", err)
	}
	fmt.Printf("stopped within %.2f s of SIGTERM\n", took.Seconds())
	return nil
}
