package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/cluster"
	"github.com/waybill/waybill/integration/internal/fleet"
	"github.com/waybill/waybill/integration/internal/load"
	"github.com/waybill/waybill/integration/internal/process"
)

// clocks puts the wall clocks of servers forward and back while they decide, and lets shards change
// hands between those whose clocks differ. The agent's clock is right at no time.
func clocks(ctx context.Context, s *scenario) (err error) {
	c, err := cluster.Start(ctx, cluster.Options{Dir: filepath.Join(s.on.Dir, "kafka-clock")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop()) }() //nolint:contextcheck // the end is bounded by itself
	if s.fleet, err = fleet.New(ctx, s.on, s.seed, c.Brokers()); err != nil {
		return err
	}
	defer s.fleet.Close()
	t := &times{scenario: s}
	if err := t.start(ctx); err != nil {
		return err
	}
	if err := t.agents(ctx); err != nil {
		return err
	}
	if err := t.play(ctx); err != nil {
		return err
	}
	if err := s.fleet.Audit(ctx, &s.wrong, false); err != nil {
		return err
	}
	s.stop(t.a.Process, t.b.Process, t.outside)
	return nil
}

// times is two servers and an agent with clocks of their own.
type times struct {
	*scenario
	a, b       *fleet.Server
	outside    *process.Process
	ca, cb, cc clock
}

func (t *times) start(ctx context.Context) (err error) {
	dir := filepath.Join(t.on.Dir, "clock")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if t.fleet.Bin, err = jumping(ctx, dir); err != nil {
		return err
	}
	t.fleet.Clocks = true
	for _, x := range []struct {
		name   string
		clock  *clock
		server **fleet.Server
	}{{"fast", &t.ca, &t.a}, {"slow", &t.cb, &t.b}} {
		if *x.clock, err = newClock(filepath.Join(dir, x.name)); err != nil {
			return err
		}
		if *x.server, err = t.fleet.Start(ctx, x.name, fleet.Options{Within: x.clock.within()}); err != nil {
			return err
		}
	}
	if err := load.Define(ctx, t.fleet.Client()); err != nil {
		return err
	}
	if _, err := t.fleet.Spread(ctx, fleet.Stall); err != nil {
		return err
	}
	t.fleet.Outside = true
	if t.cc, err = newClock(filepath.Join(dir, "agent")); err != nil {
		return err
	}
	return t.startAgent(ctx, time.Hour)
}

// startAgent starts an agent by a clock that is that far ahead.
func (t *times) startAgent(ctx context.Context, ahead time.Duration) (err error) {
	if err := t.cc.put(ahead); err != nil {
		return err
	}
	t.outside, err = t.agent(ctx, "agent", t.cc.within()...)
	return err
}

// agents lets an agent work whose clock is ahead, and then one whose clock is behind, while those of the
// servers are left alone: the log then says how long the work took.
func (t *times) agents(ctx context.Context) error {
	for _, x := range []step{
		{what: "an agent whose clock is an hour ahead", do: func(context.Context) error { return nil }},
		{what: "one whose clock is an hour behind", do: t.agentAgain(-time.Hour)},
	} {
		before := len(t.fleet.Jobs)
		if _, err := t.fleet.Under(ctx, &t.wrong, x.what, nil, x.do); err != nil {
			return err
		}
		longest, err := t.longestOutside(ctx, before)
		if err != nil {
			return err
		}
		if longest > fleet.Stall {
			t.wrong.Add("%s: work took %.1f s", x.what, longest.Seconds())
		}
	}
	return nil
}

// agentAgain stops the agent and starts it again by another clock.
func (t *times) agentAgain(ahead time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		if took, err := t.outside.Stop(stopWithin); err != nil {
			return fmt.Errorf("SIGTERM to the agent after %s: %w", took, err)
		}
		return t.startAgent(ctx, ahead)
	}
}

// step is something that is done to clocks, or to those who have them.
type step struct {
	what string
	do   func(ctx context.Context) error
	full bool // only in full
}

func (t *times) play(ctx context.Context) error {
	steps := []step{
		{what: "the clock of a server an hour forward", do: t.put(&t.ca, time.Hour)},
		{what: "its shards to a server whose clock is right, and back", do: t.again(&t.a)},
		{what: "its clock an hour back", do: t.put(&t.ca, 0)},
		{what: "shards of both clocks change hands", do: t.again(&t.b), full: true},
		{what: "the clock of the other server an hour back", do: t.put(&t.cb, -time.Hour), full: true},
		{what: "its shards to a server whose clock is right, and back again", do: t.again(&t.b), full: true},
		{what: "a clock two hours forward", do: t.put(&t.ca, 2*time.Hour), full: true},
		{what: "its shards to a server whose clock is three hours behind, and back", do: t.again(&t.a), full: true},
		{what: "both clocks right again", do: t.put(&t.ca, 0, &t.cb), full: true},
	}
	for i, st := range steps {
		if st.full && !t.full {
			continue
		}
		book, err := t.fleet.Under(ctx, &t.wrong, st.what, nil, func(ctx context.Context) error {
			// Timers and leases are running when the clocks are put.
			if err := t.slow(ctx, i); err != nil {
				return err
			}
			return st.do(ctx)
		})
		if err != nil {
			return err
		}
		ahead := book.Ahead(time.Now(), 50*time.Minute)
		fmt.Printf("  shards whose time is an hour ahead now: %d\n", ahead)
		if ahead == 0 {
			t.wrong.Add("%s: no shard has a time that is ahead: the clock was not put, or time ran backwards", st.what)
		}
	}
	return nil
}

// slow asks for jobs whose three steps take a second or two each.
func (t *times) slow(ctx context.Context, step int) error {
	for i := range 8 {
		j, err := load.Slow(fmt.Sprintf("slow-%d-%d", step, i), time.Duration(1+i%2)*time.Second)
		if err == nil {
			err = j.Submit(ctx, t.fleet.Client())
		}
		if err != nil {
			return err
		}
		t.fleet.Jobs = append(t.fleet.Jobs, j)
	}
	return nil
}

// put puts a clock, and others to what it has.
func (t *times) put(c *clock, ahead time.Duration, others ...*clock) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, c := range append(others, c) {
			if err := c.put(ahead); err != nil {
				return err
			}
		}
		return api.Pause(ctx, 2*time.Second)
	}
}

// again stops a server, whose shards the other one takes, and starts it again, which gives it some back.
func (t *times) again(of **fleet.Server) func(context.Context) error {
	return func(ctx context.Context) error {
		if took, err := (*of).Stop(stopWithin); err != nil {
			return fmt.Errorf("SIGTERM to %s after %s: %w", (*of).Name, took, err)
		}
		if err := t.fleet.Again(ctx, *of); err != nil {
			return err
		}
		_, err := t.fleet.Spread(ctx, fleet.Stall)
		return err
	}
}
