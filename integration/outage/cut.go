package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/cluster"
	"github.com/waybill/waybill/integration/internal/fleet"
	"github.com/waybill/waybill/integration/internal/load"
	"github.com/waybill/waybill/integration/internal/process"
)

// island is a network namespace with two cables: one to Kafka, which is cut, and one by which we
// ask what lives in it how it is. Its addresses are of those set aside for tests (RFC 2544).
type island struct {
	name, cable string
	kafka, here string // addresses: Kafka's end of the first cable, the island's of the second
}

func ip(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput() //nolint:gosec // of ours
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// newIsland makes one; sink removes it.
func newIsland(ctx context.Context, id int) (*island, error) {
	i := &island{name: fmt.Sprintf("waybill-%d", id), cable: fmt.Sprintf("wbk%d", id)}
	net := fmt.Sprintf("198.18.%d.", id%250)
	i.kafka, i.here = net+"1", net+"6"
	other := fmt.Sprintf("wba%d", id)
	for _, args := range [][]string{
		{"netns", "add", i.name},
		{"link", "add", i.cable, "type", "veth", "peer", "name", "kafka", "netns", i.name},
		{"link", "add", other, "type", "veth", "peer", "name", "api", "netns", i.name},
		{"addr", "add", i.kafka + "/30", "dev", i.cable},
		{"addr", "add", net + "5/30", "dev", other},
		{"link", "set", i.cable, "up"},
		{"link", "set", other, "up"},
		{"-n", i.name, "addr", "add", net + "2/30", "dev", "kafka"},
		{"-n", i.name, "addr", "add", i.here + "/30", "dev", "api"},
		{"-n", i.name, "link", "set", "lo", "up"},
		{"-n", i.name, "link", "set", "kafka", "up"},
		{"-n", i.name, "link", "set", "api", "up"},
	} {
		if err := ip(ctx, args...); err != nil {
			return nil, errors.Join(err, i.sink(ctx))
		}
	}
	return i, nil
}

// sink removes the island, and its cables with it.
func (i *island) sink(ctx context.Context) error {
	return ip(context.WithoutCancel(ctx), "netns", "del", i.name)
}

// cut pulls the cable to Kafka out: nobody is told, packets get lost.
func (i *island) cut(ctx context.Context) error { return ip(ctx, "link", "set", i.cable, "down") }

// mend puts it back.
func (i *island) mend(ctx context.Context) error { return ip(ctx, "link", "set", i.cable, "up") }

// cut cuts one of two servers off from Kafka, which goes on for the other.
func cut(ctx context.Context, s *scenario) (err error) {
	port, err := process.FreePorts(4)
	if err != nil {
		return err
	}
	i, err := newIsland(ctx, port%10000)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, i.sink(ctx)) }()
	// A listener of its own for the island: who connects there is told to come there again.
	outside := net.JoinHostPort(i.kafka, strconv.Itoa(port+3))
	inner := fmt.Sprintf("CLIENT://127.0.0.1:%d,INTERNAL://127.0.0.1:%d", port, port+1)
	c, err := cluster.Start(ctx, cluster.Options{Dir: filepath.Join(s.on.Dir, "kafka-cut"), Port: port, Set: map[string]string{
		"listeners":                      fmt.Sprintf("%s,CONTROLLER://127.0.0.1:%d,ISLAND://%s", inner, port+2, outside),
		"advertised.listeners":           fmt.Sprintf("%s,ISLAND://%s", inner, outside),
		"listener.security.protocol.map": "CLIENT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT,ISLAND:PLAINTEXT",
	}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop()) }() //nolint:contextcheck // the end is bounded by itself
	if s.fleet, err = fleet.New(ctx, s.on, s.seed, c.Brokers()); err != nil {
		return err
	}
	defer s.fleet.Close()
	return s.cutOff(ctx, i, outside)
}

func (s *scenario) cutOff(ctx context.Context, i *island, outside string) error {
	if _, err := s.fleet.Start(ctx, "ashore"); err != nil {
		return err
	}
	castaway, err := s.fleet.Start(ctx, "island", fleet.Options{
		Brokers: []string{outside}, Listen: net.JoinHostPort(i.here, "7470"),
		Within: []string{"ip", "netns", "exec", i.name}, Args: []string{"--insecure"},
	})
	if err != nil {
		return err
	}
	if err := load.Define(ctx, s.fleet.Client()); err != nil {
		return err
	}
	if _, err := s.fleet.Spread(ctx, fleet.Stall); err != nil {
		return err
	}
	length := s.short(12*time.Second, 20*time.Second)
	var gone time.Time
	book, err := s.fleet.Under(ctx, &s.wrong, fmt.Sprintf("a server cut off for %s", length), nil, func(ctx context.Context) error {
		gone = time.Now()
		if err := i.cut(ctx); err != nil {
			return err
		}
		if err := api.Pause(ctx, length); err != nil {
			return err
		}
		r, err := castaway.Readiness(ctx)
		if err != nil {
			return err
		}
		fmt.Printf("  cut off it says: %v: %s\n", r.Ready, r.Reason)
		if r.Ready {
			s.wrong.Add("a server that is cut off from Kafka says that it is ready")
		}
		if err := i.mend(ctx); err != nil {
			return err
		}
		mended := time.Now()
		if _, err := s.fleet.Spread(ctx, 2*fleet.Stall); err != nil {
			return err
		}
		fmt.Printf("  it had its share of the shards again %.1f s after that\n", time.Since(mended).Seconds())
		return nil
	})
	if err != nil {
		return err
	}
	taken := book.Takeovers(castaway.Member, gone)
	if len(taken) > 0 {
		fmt.Printf("  its %d shards went on in the other after %.1f to %.1f s\n", len(taken), taken[0].After.Seconds(), taken[len(taken)-1].After.Seconds())
	}
	takings, wrong := book.Fenced()
	fmt.Printf("  shards were taken %d times; records behind a new owner that were not his: %d\n", takings, len(wrong))
	for _, w := range wrong {
		s.wrong.Add("%s", w)
	}
	if err := s.fleet.Audit(ctx, &s.wrong, false); err != nil {
		return err
	}
	s.stop(s.fleet.Servers[0].Process, castaway.Process)
	return nil
}
