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

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/audit"
	"github.com/waybill/waybill/integration/internal/process"
	"github.com/waybill/waybill/integration/internal/stage"
	"github.com/waybill/waybill/internal/kafka"
)

const (
	workType     = "wordcount.example.com"
	shards       = 8
	joinWithin   = 30 * time.Second
	endWithin    = 40 * time.Second
	stopWithin   = 15 * time.Second
	answerWithin = 10 * time.Second
)

// worker is one of the two agents.
type worker struct {
	*process.Process
	name string
	args []string
}

type scenario struct {
	dir, kafka string
	agent      string // the script
	log        *os.File
	server     *process.Process
	api        *api.Client
	workers    []*worker
	jobs       []*job
	wrong      []string
}

func main() {
	agent := flag.String("agent", "docs/agent-in-python/agent.py", "the agent; PYTHONPATH leads to what it needs")
	flags := stage.NewFlags(4 * time.Minute)
	flag.Parse()
	os.Exit(flags.Play("languages", func(ctx context.Context, on stage.Stage) error { return run(ctx, on, *agent) }))
}

func run(ctx context.Context, on stage.Stage, agent string) error {
	s := &scenario{dir: on.Dir, log: on.Log, agent: agent, workers: []*worker{
		{name: "crc32", args: []string{"--partitioner", "consistent_random"}},
		{name: "murmur2"},
	}}
	fmt.Println("agents in Python, with a plain Kafka client:")
	for _, step := range []func(context.Context) error{
		s.start, s.define, s.begin, s.rollBack, s.hundred, s.kill, s.stop, s.placed, s.histories,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if _, err := s.server.Stop(answerWithin); err != nil {
		return fmt.Errorf("SIGTERM to the server: %w", err)
	}
	audit.Print(os.Stdout, s.wrong)
	if len(s.wrong) > 0 {
		return fmt.Errorf("%d things are wrong", len(s.wrong))
	}
	return nil
}

func (s *scenario) amiss(format string, args ...any) {
	s.wrong = append(s.wrong, fmt.Sprintf(format, args...))
}

// start starts the server.
func (s *scenario) start(ctx context.Context) (err error) {
	bin, err := process.Build(ctx, s.dir)
	if err != nil {
		return err
	}
	if s.kafka, err = process.FreeAddress(); err != nil {
		return err
	}
	listen, err := process.FreeAddress()
	if err != nil {
		return err
	}
	s.server, err = process.Start(ctx, process.Command{
		Path: bin, Args: []string{"serve", "--data", filepath.Join(s.dir, "data"), "--listen", listen, "--kafka-listen", s.kafka}, Log: s.log,
	})
	if err != nil {
		return err
	}
	s.api = api.New("http://" + listen)
	return s.api.Ready(ctx)
}

// define puts the definitions.
func (s *scenario) define(ctx context.Context) error {
	for _, d := range []struct{ path, body string }{
		{"activities/" + workType, `{"provider": "docs/agent-in-python", "heartbeatTimeout": "PT2S",
			"retry": {"limit": 3, "baseDelay": "PT0.2S", "maxDelay": "PT0.5S"}}`},
		{"orchestrations/count", `{"input": {"text": "", "texts": null, "seconds": 0, "busyFor": 0},
			"activities": [{"id": "c", "type": "` + workType + `", "inputs": ["text", "texts", "seconds", "busyFor"]}]}`},
	} {
		if err := s.api.Insist(ctx, http.MethodPut, "/v1/definitions/"+d.path, []byte(d.body), nil); err != nil {
			return err
		}
	}
	return nil
}

// begin starts both agents and waits until both have partitions of the work topic, which
// is made for the first job.
func (s *scenario) begin(ctx context.Context) (err error) {
	first := &job{id: "first", input: `{"text": "hello"}`, state: "COMPLETED", output: `{"words":1}`}
	if err := s.submit(ctx, first); err != nil {
		return err
	}
	began := time.Now()
	for _, w := range s.workers {
		args := append([]string{s.agent, "--brokers", s.kafka, "--type", workType, "--name", w.name, "--concurrency", "4"}, w.args...)
		if w.Process, err = process.Start(ctx, process.Command{Path: "python3", Args: args, Log: s.log}); err != nil {
			return err
		}
	}
	if err := s.shared(ctx, len(s.workers)); err != nil {
		return err
	}
	fmt.Printf("  both had joined their group %.1f s after they were started\n", time.Since(began).Seconds())
	return s.await(ctx, first)
}

// shared waits until the group has so many members, each with partitions.
func (s *scenario) shared(ctx context.Context, members int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, joinWithin, fmt.Errorf("%d agents have not shared the partitions within %s", members, joinWithin))
	defer cancel()
	cl, err := kafka.Config{Brokers: []string{s.kafka}}.NewClient()
	if err != nil {
		return err
	}
	defer cl.Close()
	group := kafka.Topics{}.Group("agents", workType)
	for {
		groups, err := kadm.NewClient(cl).DescribeGroups(ctx, group)
		if err != nil && ctx.Err() == nil {
			return err
		}
		busy := 0
		for _, m := range groups[group].Members {
			if a, ok := m.Assigned.AsConsumer(); ok && len(a.Topics) > 0 {
				busy++
			}
		}
		if busy == members {
			return nil
		}
		for _, w := range s.workers {
			select {
			case <-w.Done():
				return fmt.Errorf("agent %s has ended: %w", w.name, errors.Join(w.Err(), errors.New("its output says why")))
			default:
			}
		}
		if err := api.Pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// rolledBack is the work that stands on the topic, on each partition, and was never asked for.
const rolledBack = "rolled-back"

// rollBack writes work in a transaction and rolls it back. Whether an agent took it shows
// at the end.
func (s *scenario) rollBack(ctx context.Context) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.kafka), kgo.TransactionalID("languages"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return err
	}
	defer cl.Close()
	if err := cl.BeginTransaction(); err != nil {
		return err
	}
	for p := range int32(shards) {
		r := &kgo.Record{
			Topic: kafka.Topics{}.Work(workType), Partition: p, Key: []byte(rolledBack),
			Headers: []kgo.RecordHeader{{Key: "ce_type", Value: []byte("work.requested.v1")}},
			Value: fmt.Appendf(nil, `{"workId": "%s-%d", "attempt": 1, "aggregate": "orchestration", "aggregateId": "%[1]s", "run": 1,
				"activityId": "c", "type": "%[3]s", "input": {"text": "a"}, "requestedAt": "2026-01-01T00:00:00Z"}`, rolledBack, p, workType),
		}
		if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
			return err
		}
	}
	return cl.EndTransaction(ctx, kgo.TryAbort)
}

// stop tells the agent that is left to stop while it holds work, and waits for what
// becomes of that.
func (s *scenario) stop(ctx context.Context) error {
	last := &job{id: "last", input: `{"text": "a b", "seconds": 1.5}`, state: "COMPLETED", output: `{"words":2}`}
	if err := s.submit(ctx, last); err != nil {
		return err
	}
	w := s.workers[1]
	if err := s.claimedBy(ctx, last, w.name); err != nil {
		return err
	}
	took, err := w.Stop(stopWithin)
	if err != nil {
		return fmt.Errorf("SIGTERM to agent %s: %w", w.name, err)
	}
	if err := s.await(ctx, last); err != nil {
		return err
	}
	fmt.Printf("  told to stop, agent %s finished what it had begun and stopped within %.1f s\n", w.name, took.Seconds())
	return nil
}
