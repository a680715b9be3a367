package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/waybill/waybill/integration/internal/audit"
	"github.com/waybill/waybill/integration/internal/fleet"
	"github.com/waybill/waybill/integration/internal/process"
	"github.com/waybill/waybill/integration/internal/stage"
)

type settings struct {
	full bool
	only string
	seed uint64
	// After how long brokers take one of theirs for dead.
	brokerSession time.Duration
}

// plays says whether an act is one of those that are wanted.
func (s settings) plays(act string) bool {
	names, not := strings.CutPrefix(s.only, "-")
	return s.only == "" || slices.Contains(strings.Split(names, ","), act) != not
}

// act is one part of the scenario, on a Kafka of its own.
type act struct {
	name string
	root bool // it needs the rights of root
	play func(context.Context, *scenario) error
}

func acts() []act {
	return []act{
		{"three", false, three},
		{"single", false, single},
		{"cut", true, cut},
		{"full", true, fullDisk},
		{"clock", false, clocks},
	}
}

// scenario is what the acts have in common.
type scenario struct {
	settings
	on    stage.Stage
	fleet *fleet.Fleet
	wrong audit.Wrongs
}

func main() {
	var s settings
	var names []string
	for _, a := range acts() {
		names = append(names, a.name)
	}
	flag.BoolVar(&s.full, "full", false, "every outage, for as long as they are to be outlasted: some ten minutes")
	flag.StringVar(&s.only, "only", "", "play only these, of "+strings.Join(names, ",")+"; all but these, with a dash in front")
	flag.Uint64Var(&s.seed, "seed", rand.Uint64()>>1, "what to draw the jobs from") //nolint:gosec // no secret
	flag.DurationVar(&s.brokerSession, "broker-session", 4*time.Second, "broker.session.timeout.ms of the Kafka of three nodes; Kafka's own is 9s")
	flags := stage.NewFlags(20 * time.Minute)
	flag.Parse()
	os.Exit(flags.Play("outage", func(ctx context.Context, on stage.Stage) error { return play(ctx, on, s) }))
}

func play(ctx context.Context, on stage.Stage, s settings) error {
	if !s.full && (s.only == "" || strings.ContainsAny(s.only, "-,")) {
		return together(ctx, s)
	}
	fmt.Printf("outages: seed %d\n", s.seed)
	sc := &scenario{settings: s, on: on}
	for _, a := range acts() {
		if !s.plays(a.name) {
			continue
		}
		if a.root && os.Geteuid() != 0 {
			if os.Getenv("CI") != "" {
				sc.wrong.Add("%s needs the rights of root", a.name)
			}
			fmt.Printf("%s is left out: it needs the rights of root\n", a.name)
			continue
		}
		began := time.Now()
		fmt.Printf("%s:\n", a.name)
		if err := a.play(ctx, sc); err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
		fmt.Printf("  (%.0f s)\n", time.Since(began).Seconds())
	}
	return sc.wrong.Report(os.Stdout)
}

// together plays the acts in processes of their own: first what needs the cores most, then the
// others side by side, for they mostly wait.
func together(ctx context.Context, s settings) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var errs []error
	for _, names := range [][]string{{"three"}, {"single", "cut", "full", "clock"}} {
		names = slices.DeleteFunc(names, func(name string) bool { return !s.plays(name) })
		said, ended := make([]bytes.Buffer, len(names)), make([]error, len(names))
		var all sync.WaitGroup
		for i, name := range names {
			args := []string{"-only", name, "-seed", strconv.FormatUint(s.seed, 10), "-broker-session", s.brokerSession.String()}
			cmd := exec.CommandContext(ctx, self, args...) //nolint:gosec // this very program
			cmd.Stdout, cmd.Stderr = &said[i], &said[i]
			cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // it has processes to end
			cmd.WaitDelay = time.Minute
			all.Go(func() { ended[i] = cmd.Run() })
		}
		all.Wait()
		for i, name := range names {
			fmt.Print(said[i].String())
			if ended[i] != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, ended[i]))
			}
		}
	}
	return errors.Join(errs...)
}

// short is the first where the scenario is played in short, else the second.
func (s *scenario) short(short, full time.Duration) time.Duration {
	if s.full {
		return full
	}
	return short
}

// stop stops processes in good order.
func (s *scenario) stop(processes ...*process.Process) {
	for _, p := range processes {
		if took, err := p.Stop(stopWithin); err != nil {
			s.wrong.Add("a process stopped %s after SIGTERM: %v", took, err)
		}
	}
}

// stopWithin is what an interrupt promises, five seconds, and what a busy machine adds to them.
const stopWithin = 8 * time.Second
