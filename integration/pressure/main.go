package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/waybill/waybill/integration/internal/cluster"
	"github.com/waybill/waybill/integration/internal/process"
	"github.com/waybill/waybill/integration/internal/stage"
)

type settings struct {
	push    time.Duration
	act     string
	brokers string
	apache  bool
}

func main() {
	var s settings
	flag.DurationVar(&s.push, "for", 5*time.Second, "how long to push, each time")
	flag.StringVar(&s.act, "act", "", "only this: agents, view, kafka, machines or poison")
	flag.StringVar(&s.brokers, "brokers", strings.Join(cluster.Brokers(), ","), "a Kafka that is there already, HOST:PORT,…; it is not paused")
	flag.BoolVar(&s.apache, "real", false, "start an Apache Kafka for it")
	flags := stage.NewFlags(10 * time.Minute)
	flag.Parse()
	os.Exit(flags.Play("pressure", func(ctx context.Context, on stage.Stage) error { return play(ctx, on, s) }))
}

// act is one thing that is slower than the intake.
type act struct {
	name    string
	job     string   // definition of what is pushed
	flags   []string // of the server: small limits, so that they are reached in seconds
	reasons []string // any of which has to be among those why there was no room
	// during happens while jobs are pushed; nil: nothing.
	during func(ctx context.Context, p *scene) error
	// broker says that the broker has to be a process of its own, and pauses that it is paused.
	broker, pauses bool
	// floods says that commands are published to Kafka, and poison that nothing is pushed: see scene.flood and scene.poison.
	floods, poison bool
}

const quick = `{"activities": [{"id": "a", "type": "noop"}, {"id": "b", "type": "noop", "dependsOn": "a"}]}`

func acts() []act {
	return []act{
		{
			name: "agents", job: `{"activities": [{"id": "a", "type": "` + slowType + `"}]}`,
			flags: []string{"--max-live", "1000"}, reasons: []string{"live"}, during: serveSlowly,
		},
		{name: "view", job: quick, flags: []string{"--max-backlog", "100"}, reasons: []string{"backlog"}, during: holdView},
		{name: "kafka", job: quick, reasons: []string{"kafka", "requests"}, during: pauseKafka, broker: true, pauses: true},
		{name: "machines", job: quick, broker: true, floods: true},
		{name: "poison", job: quick, broker: true, poison: true},
	}
}

func play(ctx context.Context, on stage.Stage, s settings) (err error) {
	bin, err := process.Build(ctx, on.Dir)
	if err != nil {
		return err
	}
	var apache *cluster.Cluster
	if s.apache {
		if apache, err = cluster.Start(ctx, cluster.Options{}); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, apache.Stop()) }() //nolint:contextcheck // it is stopped whatever has ended
		s.brokers = strings.Join(apache.Brokers(), ",")
	}
	played := 0
	for _, a := range acts() {
		if s.act != "" && s.act != a.name || a.pauses && s.brokers != "" && apache == nil {
			continue
		}
		played++
		dir := filepath.Join(on.Dir, a.name)
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return err
		}
		p := &scene{act: a, settings: s, bin: bin, dir: dir, log: on.Log, apache: apache}
		if err := p.play(ctx); err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
	}
	if played == 0 {
		return fmt.Errorf("there is nothing called %q to play here", s.act)
	}
	return nil
}
