package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/audit"
	"github.com/waybill/waybill/integration/internal/process"
	"github.com/waybill/waybill/integration/internal/stage"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

const (
	// readWithin is how long everything may take to be seen by all.
	readWithin = 60 * time.Second
	// quiet is how long a reader is listened to after it has seen everything: a repeat would come.
	quiet      = 2 * time.Second
	stopWithin = 15 * time.Second
)

// orchestration is what is asked for; it puts its input out again.
const orchestration = `{"input": {"text": null}, "activities": [
	{"id": "a", "type": "noop", "with": {"output": {"said": "{{input.text}}"}}}], "output": ["a.said"]}`

type scenario struct {
	stage.Stage
	audit.Wrongs
	kafka     *stage.Kafka
	cfg       kafka.Config
	topics    kafka.Topics
	jobs      int // of each client
	classpath string
	server    *process.Process
	api       *api.Client
	completed *jsonschema.Schema
}

func main() {
	jobs := flag.Int("jobs", 10, "how many jobs each client asks for")
	classpath := flag.String("classpath", "", "where the Java client and what it needs are")
	k := stage.NewKafka("clients")
	flags := stage.NewFlags(4 * time.Minute)
	flag.Parse()
	os.Exit(flags.Play("clients", func(ctx context.Context, on stage.Stage) error {
		s := &scenario{Stage: on, kafka: k, jobs: *jobs, classpath: *classpath}
		fmt.Printf("kcat, Java and Python on %s:\n", k)
		err := s.play(ctx)
		return errors.Join(err, k.Clear(ctx))
	}))
}

func (s *scenario) play(ctx context.Context) error {
	if err := s.start(ctx); err != nil {
		return err
	}
	clients := s.clients()
	readers, err := s.listen(ctx, clients)
	if err != nil {
		return err
	}
	want, err := s.ask(ctx, clients)
	if err != nil {
		return err
	}
	if err := s.rollBack(ctx); err != nil {
		return err
	}
	for _, r := range readers {
		if err := r.await(ctx, len(want)); err != nil {
			s.Add("%s: %v", r.name, err)
		}
	}
	if err := api.Pause(ctx, quiet); err != nil {
		return err
	}
	for _, r := range readers {
		r.end()
		s.compare(r.name, r.seen(), want)
	}
	if err := s.uncommitted(ctx, clients[1]); err != nil {
		return err
	}
	if err := s.startedOnce(ctx, want); err != nil {
		return err
	}
	if _, err := s.server.Stop(stopWithin); err != nil {
		return fmt.Errorf("SIGTERM to the server: %w", err)
	}
	return s.Report(os.Stdout)
}

// start starts the server and puts the definition.
func (s *scenario) start(ctx context.Context) error {
	bin, err := process.Build(ctx, s.Dir)
	if err != nil {
		return err
	}
	listen, err := process.FreeAddress()
	if err != nil {
		return err
	}
	embedded, err := process.FreeAddress()
	if err != nil {
		return err
	}
	s.cfg = s.kafka.Config(embedded)
	s.topics = s.cfg.Topics()
	args := append([]string{"serve", "--data", filepath.Join(s.Dir, "data"), "--listen", listen}, s.kafka.Args(embedded)...)
	if s.server, err = process.Start(ctx, process.Command{Path: bin, Args: args, Log: s.Log}); err != nil {
		return err
	}
	s.api = api.New("http://" + listen)
	if err := s.server.Until(ctx, s.api.Ready); err != nil {
		return err
	}
	return s.api.Insist(ctx, http.MethodPut, "/v1/definitions/orchestrations/say", []byte(orchestration), nil)
}

// startedOnce reads the events: each job has one start, on its key's partition.
func (s *scenario) startedOnce(ctx context.Context, want map[string]string) error {
	records, err := audit.Read(ctx, s.cfg.Brokers, s.topics.Events(schemas.AggregateOrchestration))
	if err != nil {
		return err
	}
	starts := map[string]int{}
	for _, r := range records {
		if r.Type == schemas.OrchestrationStarted {
			starts[r.Key]++
		}
	}
	for id := range want {
		if starts[id] != 1 {
			s.Add("%s was started %d times", id, starts[id])
		}
	}
	return nil
}
