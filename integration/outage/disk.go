package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/cluster"
	"github.com/waybill/waybill/integration/internal/fleet"
	"github.com/waybill/waybill/integration/internal/load"
	"github.com/waybill/waybill/integration/internal/process"
)

// disk is a file system of its own, in memory.
type disk struct{ dir string }

// newDisk makes one at a directory; remove it.
func newDisk(dir string, megabytes int) (*disk, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", megabytes)); err != nil {
		return nil, fmt.Errorf("mount a file system at %s: %w", dir, err)
	}
	return &disk{dir}, nil
}

func (d *disk) remove() error { return syscall.Unmount(d.dir, syscall.MNT_DETACH) }

func (d *disk) filler() string { return filepath.Join(d.dir, "filler") }

// fill fills it up but for so many bytes.
func (d *disk) fill(leave int64) error {
	f, err := os.Create(d.filler())
	if err != nil {
		return err
	}
	var st syscall.Statfs_t
	if err = syscall.Statfs(d.dir, &st); err == nil {
		_, err = io.CopyN(f, zeros{}, int64(st.Bavail)*st.Bsize-leave)
	}
	if errors.Is(err, syscall.ENOSPC) {
		err = nil // somebody else was quicker
	}
	return errors.Join(err, f.Close())
}

// clear makes the room again.
func (d *disk) clear() error { return os.Remove(d.filler()) }

type zeros struct{}

// Read implements io.Reader.
func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// fullDisk lets disks run full: that of a server with the embedded broker, that of a server whose
// broker is elsewhere, and in full that of a real broker.
func fullDisk(ctx context.Context, s *scenario) error {
	acts := []func(context.Context) error{s.fullEmbedded, s.fullProjection}
	if s.full {
		acts = append(acts, s.fullKafka)
	}
	for _, act := range acts {
		if err := act(ctx); err != nil {
			return err
		}
	}
	return nil
}

const megabyte = 1 << 20

// fullEmbedded lets the disk of a server's data run nearly full, full, and full with the process
// killed besides.
func (s *scenario) fullEmbedded(ctx context.Context) (err error) {
	d, err := newDisk(filepath.Join(s.on.Dir, "small"), 96)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.remove()) }()
	kafka, err := process.FreeAddress()
	if err != nil {
		return err
	}
	if s.fleet, err = fleet.New(ctx, s.on, s.seed, []string{kafka}); err != nil {
		return err
	}
	defer s.fleet.Close()
	// Without --brokers the server has the broker itself.
	srv, err := s.fleet.Start(ctx, "embedded", fleet.Options{Brokers: []string{}, Data: filepath.Join(d.dir, "data"), Args: []string{"--kafka-listen", kafka}})
	if err != nil {
		return err
	}
	if err := load.Define(ctx, s.fleet.Client()); err != nil {
		return err
	}
	cases := []fullness{
		{name: "nearly full", leave: 4 * megabyte, refuses: true},
		{name: "full, and the process killed", refuses: true, kill: true},
	}
	if s.full {
		cases = append(cases, fullness{name: "full", refuses: true})
	}
	for _, c := range cases {
		if err := s.runFull(ctx, d, srv, c); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	if err := s.fleet.Audit(ctx, &s.wrong, true); err != nil {
		return err
	}
	s.stop(srv.Process)
	return nil
}

// fullProjection lets the disk of a server's data run full, but not that of its broker.
func (s *scenario) fullProjection(ctx context.Context) (err error) {
	d, err := newDisk(filepath.Join(s.on.Dir, "smaller"), 32)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.remove()) }()
	kafka, err := process.FreeAddress()
	if err != nil {
		return err
	}
	if s.fleet, err = fleet.New(ctx, s.on, s.seed, []string{kafka}); err != nil {
		return err
	}
	defer s.fleet.Close()
	broker, err := s.fleet.Run(ctx, "broker", "broker", "--data", filepath.Join(s.on.Dir, "broker"), "--kafka-listen", kafka)
	if err != nil {
		return err
	}
	srv, err := s.fleet.Start(ctx, "small", fleet.Options{Data: filepath.Join(d.dir, "data")})
	if err != nil {
		return err
	}
	if err := load.Define(ctx, s.fleet.Client()); err != nil {
		return err
	}
	if err := s.runFull(ctx, d, srv, fullness{name: "full, the broker's is not"}); err != nil {
		return err
	}
	if err := s.fleet.Audit(ctx, &s.wrong, true); err != nil {
		return err
	}
	s.stop(srv.Process, broker)
	return nil
}

// fullness is how full a disk gets, and what becomes of that.
type fullness struct {
	name    string
	leave   int64 // bytes
	refuses bool  // nothing can be taken
	kill    bool  // the process is killed besides
}

// runFull fills the disk for a while in the middle of a load.
func (s *scenario) runFull(ctx context.Context, d *disk, srv *fleet.Server, how fullness) error {
	pulse := s.fleet.Pulse(ctx, 200*time.Millisecond)
	if err := api.Pause(ctx, time.Second); err != nil {
		return err
	}
	if err := d.fill(how.leave); err != nil {
		return err
	}
	if err := api.Pause(ctx, time.Second); err != nil {
		return err
	}
	if how.refuses {
		a, err := askForJob(ctx, srv)
		if err != nil {
			return err
		}
		fmt.Printf("  the disk is %s: the intake answers %s\n", how.name, a)
		if a.status != http.StatusServiceUnavailable {
			s.wrong.Add("the disk is %s: the intake answers %s", how.name, a)
		}
	}
	r, err := srv.Readiness(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("  the disk is %s; readiness: %v: %s\n", how.name, r.Ready, r.Reason)
	if r.Ready || !strings.Contains(r.Reason, "disk") {
		s.wrong.Add("the disk is %s, and readiness says %v: %s", how.name, r.Ready, r.Reason)
	}
	if how.kill {
		if err := srv.Kill(); err != nil {
			return err
		}
	}
	if err := d.clear(); err != nil {
		return err
	}
	cleared := time.Now()
	if how.kill {
		if err := s.fleet.Again(ctx, srv); err != nil {
			return err
		}
	}
	if err := s.fleet.Await(ctx, srv); err != nil {
		return err
	}
	ready := time.Since(cleared)
	asked, err := pulse.Stop()
	if err != nil {
		return err
	}
	drained, err := s.fleet.Drain(ctx, fleet.Stall)
	fmt.Printf("  ready %.1f s after there was room again; %d jobs, all ended %.1f s later\n", ready.Seconds(), asked, drained.Seconds())
	return err
}

// fullKafka lets the disk of a real broker run full: it ends, and is started again when there is
// room. That is its nature; ours wait.
func (s *scenario) fullKafka(ctx context.Context) (err error) {
	dir := filepath.Join(s.on.Dir, "kafka-full")
	d, err := newDisk(filepath.Join(dir, "node-1", "data"), 300)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	defer func() { err = errors.Join(err, d.remove()) }()
	c, err := cluster.Start(ctx, cluster.Options{Dir: dir})
	if err != nil {
		return err
	}
	// What it has written goes with the disk.
	defer func() { _ = c.Stop() }() //nolint:contextcheck // the end is bounded by itself
	agent, err := s.start(ctx, c.Brokers())
	if err != nil {
		return err
	}
	defer s.fleet.Close()
	away := time.Duration(0)
	_, err = s.fleet.Under(ctx, &s.wrong, "the disk of the only node full", &away, func(ctx context.Context) error {
		began := time.Now()
		if err := d.fill(0); err != nil {
			return err
		}
		if err := api.Pause(ctx, 10*time.Second); err != nil {
			return err
		}
		if err := s.clear(ctx); err != nil {
			return err
		}
		if err := api.Pause(ctx, 10*time.Second); err != nil {
			return err
		}
		if err := d.clear(); err != nil {
			return err
		}
		err := c.Restart(ctx, 1)
		away = time.Since(began)
		return err
	})
	if err != nil {
		return err
	}
	if err := s.fleet.Audit(ctx, &s.wrong, false); err != nil {
		return err
	}
	s.stop(s.fleet.Servers[0].Process, s.fleet.Servers[1].Process, agent)
	return nil
}
