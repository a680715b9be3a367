package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/waybill/waybill/integration/internal/process"
	"github.com/waybill/waybill/integration/internal/stage"
)

type settings struct {
	kills, jobs int
	hum         time.Duration
	seed        uint64
	fsync       string
	limit       time.Duration
	keep        bool
	kafka       *stage.Kafka
}

func main() {
	var s settings
	flag.IntVar(&s.kills, "kills", 50, "how often to kill the process, per run")
	flag.IntVar(&s.jobs, "jobs", 500, "how many jobs to ask for, per run")
	flag.DurationVar(&s.hum, "hum", 10*time.Millisecond, "time between two small jobs beside them, so that there is always something to be killed in; 0: none")
	flag.Uint64Var(&s.seed, "seed", rand.Uint64()>>1, "what to draw jobs and moments from") //nolint:gosec // no secret
	flag.StringVar(&s.fsync, "fsync", "both", "run without (no), with (yes) or both")
	flag.DurationVar(&s.limit, "limit", 5*time.Minute, "give a run up after this")
	flag.BoolVar(&s.keep, "keep", false, "leave the data behind")
	s.kafka = stage.NewKafka("kill")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := errors.Join(run(ctx, s), s.kafka.Clear(ctx)); err != nil {
		fmt.Fprintln(os.Stderr, "kill:", err)
		stop()
		os.Exit(1)
	}
}

// run builds the program and does one run without and one with synced writes.
func run(ctx context.Context, s settings) (err error) {
	dir, err := os.MkdirTemp("", "waybill-kill-")
	if err != nil {
		return err
	}
	defer func() {
		if s.keep || err != nil {
			fmt.Println("the data and the program's output are in", dir)
			return
		}
		err = os.RemoveAll(dir)
	}()
	bin, err := process.Build(ctx, dir)
	if err != nil {
		return err
	}
	var runs []bool
	if s.kafka.Others() { // whose writes are its own business
		s.fsync = "no"
	}
	switch s.fsync {
	case "both":
		runs = []bool{false, true}
	case "no":
		runs = []bool{false}
	case "yes":
		runs = []bool{true}
	default:
		return fmt.Errorf("-fsync %s: want no, yes or both", s.fsync)
	}
	var errs []error
	for i, fsync := range runs {
		runCtx, cancel := context.WithTimeoutCause(ctx, s.limit, fmt.Errorf("given up after %s", s.limit))
		errs = append(errs, one(runCtx, s, bin, fmt.Sprintf("%s/run%d", dir, i+1), fsync, s.seed+uint64(i)))
		cancel()
	}
	return errors.Join(errs...)
}
