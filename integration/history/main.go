package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/waybill/waybill/integration/internal/process"
)

// What must hold.
const (
	startWithin   = 10 * time.Second
	stopWithin    = 5 * time.Second
	residentLimit = 300_000_000 // bytes
)

type settings struct {
	events, waiting int
	keep            bool
	on              string
	keepHistory     string
	limit           time.Duration
}

func main() {
	var s settings
	flag.IntVar(&s.events, "events", 1_000_000, "how many events the history has at least")
	flag.IntVar(&s.waiting, "waiting", 1000, "how many orchestrations wait, besides")
	flag.BoolVar(&s.keep, "keep", false, "leave the data behind")
	flag.StringVar(&s.on, "on", "", "measure on data left behind, instead of making a history")
	flag.StringVar(&s.keepHistory, "keep-history", "", "have the history let go after that time, and only look at what is left")
	flag.DurationVar(&s.limit, "limit", 15*time.Minute, "give up after this")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, s.limit, fmt.Errorf("given up after %s", s.limit))
	defer cancel()
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "history:", err)
		cancel()
		stop()
		os.Exit(1)
	}
}

// run makes the history in a temporary directory, or takes one that is there, and measures.
func run(ctx context.Context, s settings) (err error) {
	sc := &scenario{settings: s, dir: s.on}
	if s.on == "" {
		if sc.dir, err = os.MkdirTemp("", "waybill-history-"); err != nil {
			return err
		}
		defer func() {
			if s.keep || err != nil {
				fmt.Println("the data and the program's output are in", sc.dir)
				return
			}
			err = os.RemoveAll(sc.dir)
		}()
	}
	if err := sc.prepare(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sc.log.Close()) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the process
	if s.on == "" {
		if err := sc.write(ctx); err != nil {
			return err
		}
	}
	if err := sc.read(ctx); err != nil {
		return err
	}
	if len(sc.wrong) > 0 {
		return fmt.Errorf("%d things are wrong", len(sc.wrong))
	}
	return nil
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
	s.log, err = os.OpenFile(filepath.Join(s.dir, "output"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return err
}
