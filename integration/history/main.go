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
	"github.com/waybill/waybill/integration/internal/stage"
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
	keepHistory     time.Duration
	limit           time.Duration
	kafka           *stage.Kafka
}

func main() {
	var s settings
	flag.IntVar(&s.events, "events", 1_000_000, "how many events the history has at least")
	flag.IntVar(&s.waiting, "waiting", 1000, "how many orchestrations wait, besides")
	flag.BoolVar(&s.keep, "keep", false, "leave the data behind")
	flag.StringVar(&s.on, "on", "", "measure on data left behind, instead of making a history")
	flag.DurationVar(&s.keepHistory, "keep-history", 0, "have the history let go after that time, and look at what is left")
	flag.DurationVar(&s.limit, "limit", 15*time.Minute, "give up after this")
	s.kafka = stage.NewKafka("history")
	flag.Parse()
	if s.kafka.Others() && s.on != "" {
		fmt.Fprintln(os.Stderr, "history: -on is for data with the embedded broker's log")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, s.limit, fmt.Errorf("given up after %s", s.limit))
	defer cancel()
	if err := errors.Join(run(ctx, s), s.kafka.Clear(ctx)); err != nil {
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
	broker, err := process.FreeAddress()
	if err != nil {
		return err
	}
	s.args, s.cluster = s.kafka.Args(broker), s.kafka.Config(broker)
	s.log, err = os.OpenFile(filepath.Join(s.dir, "output"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return err
}
