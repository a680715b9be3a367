package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/load"
	"github.com/waybill/waybill/integration/internal/process"
	"github.com/waybill/waybill/integration/internal/stage"
	"github.com/waybill/waybill/internal/kafka"
)

const (
	stopWithin   = 5 * time.Second
	readyWithin  = 75 * time.Second // a server waits a minute for a Kafka that makes its topics slowly
	answerWithin = 20 * time.Second
	drainWithin  = time.Minute
	rebuildIn    = time.Minute
)

func main() {
	jobs := flag.Int("jobs", 200, "how many jobs run while the views are read")
	k := stage.NewKafka("commands")
	seed := flag.Uint64("seed", rand.Uint64()>>1, "what to draw the jobs from") //nolint:gosec // no secret
	flags := stage.NewFlags(5 * time.Minute)
	flag.Parse()
	os.Exit(flags.Play("commands", func(ctx context.Context, on stage.Stage) error {
		return errors.Join(run(ctx, on, k, *jobs, *seed), k.Clear(ctx))
	}))
}

type scenario struct {
	dir, bin, listen string
	embedded         string // where the embedded broker listens, if that is the one
	kafka            *stage.Kafka
	topics           kafka.Topics
	log              *os.File
	api              *api.Client
	client           client
	sql              reader
	jobs             []*load.Job
	providers        *load.Providers
	process          *process.Process
	rnd              *rand.Rand
	wrong            []string
}

func run(ctx context.Context, on stage.Stage, k *stage.Kafka, jobs int, seed uint64) (err error) {
	s := &scenario{dir: on.Dir, kafka: k, log: on.Log, rnd: rand.New(rand.NewPCG(seed, 3))} //nolint:gosec // the same from the same seed
	if s.jobs, s.providers, err = load.New(ctx, seed, "m", jobs); err != nil {
		return err
	}
	defer s.providers.Close()
	if err := s.prepare(ctx); err != nil {
		return err
	}
	fmt.Printf("commands (%s): seed %d, %s, %s\n", k, seed, s.client.name(), s.sql.name())
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
	if s.embedded, err = process.FreeAddress(); err != nil {
		return err
	}
	cfg := s.kafka.Config(s.embedded)
	s.topics = cfg.Topics()
	s.api = api.New("http://" + s.listen)
	s.client = newClient(cfg, filepath.Join(s.dir, "value"))
	s.sql = newReader(s.database())
	return nil
}

func (s *scenario) data() string     { return filepath.Join(s.dir, "data") }
func (s *scenario) database() string { return filepath.Join(s.data(), "projections.db") }

// start starts the process and puts the definitions.
func (s *scenario) start(ctx context.Context) (err error) {
	args := append([]string{"serve", "--data", s.data(), "--listen", s.listen}, s.kafka.Args(s.embedded)...)
	for _, h := range s.providers.Hosts() {
		args = append(args, "--allow", h)
	}
	if s.process, err = process.Start(ctx, process.Command{Path: s.bin, Args: args, Log: s.log}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, readyWithin, fmt.Errorf("not ready after %s", readyWithin))
	defer cancel()
	if err := s.process.Until(ctx, s.api.Ready); err != nil {
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
