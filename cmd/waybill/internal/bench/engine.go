package bench

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/waybill/waybill/cmd/waybill/internal/app"
	"github.com/waybill/waybill/cmd/waybill/internal/client"
	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/completions"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/producers"
	"github.com/waybill/waybill/schemas"
)

const (
	warmupJobs = 64
	// readyTimeout bounds the start of the program; on another Kafka a group has to form.
	readyTimeout = time.Minute
	readyPoll    = 2 * time.Millisecond
	sealKeyBytes = 32
	// patience is how long nothing may complete before a measurement is given up.
	patience = 2 * time.Minute
)

// engine is the program with its best client: what is submitted is published by producers,
// what has ended is told by a subscriber.
type engine struct {
	b      *bench
	dir    string // temporary
	prefix string // of the topics
	keys   string // for what is sealed on them: another Kafka's could be read by other processes
	main   *app.Main

	client    *client.Client
	publisher *producers.Publisher
	// ended has the ids of the orchestrations that completed.
	ended   chan string
	failed  chan error // why the subscription or the program ended
	stop    context.CancelFunc
	stopped chan struct{}
}

// engine starts the program on an empty data directory. The caller closes it.
func (b *bench) engine(ctx context.Context) (e *engine, err error) {
	// Another Kafka has topics of its own, and maybe those of an earlier run.
	e = &engine{b: b, prefix: "waybill-bench-" + uuid.NewString()[:8]}
	key := make([]byte, sealKeyBytes)
	rand.Read(key) // never fails
	e.keys = "bench:" + base64.StdEncoding.EncodeToString(key)
	if e.dir, err = os.MkdirTemp("", "waybill-bench-"); err != nil {
		return nil, fmt.Errorf("make a temporary directory: %w", err)
	}
	if err := e.start(ctx); err != nil {
		return nil, errors.Join(err, e.remove(ctx))
	}
	if err := e.prepare(ctx); err != nil {
		return nil, errors.Join(err, e.close(ctx))
	}
	return e, nil
}

// start starts the program and its client, on whatever the data directory holds.
func (e *engine) start(ctx context.Context) error {
	e.main = app.New(app.Config{
		Data: filepath.Join(e.dir, "data"), Listen: "127.0.0.1:0", KafkaListen: "127.0.0.1:0",
		Brokers: e.b.Brokers, Security: e.b.Security, CreateTopics: true, Fsync: e.b.Fsync, Prefix: e.prefix, Shards: int32(e.b.Shards), Version: e.b.Version,
		Agents: map[string]agent.Processor{treeType: grower{}}, Connectors: e.b.connectors, SealKeys: e.keys,
	})
	if err := e.main.Start(ctx); err != nil {
		return err
	}
	if err := e.connect(ctx); err != nil {
		return errors.Join(err, e.main.Close())
	}
	return nil
}

// connect makes the clients and returns when no completion will be missed.
func (e *engine) connect(ctx context.Context) (err error) {
	if e.client, err = client.New(e.main.URL(), ""); err != nil {
		return err
	}
	if e.publisher, err = producers.New(e.main.Kafka()); err != nil {
		return err
	}
	ready := make(chan struct{})
	e.ended, e.failed, e.stopped = make(chan string, 1<<17), make(chan error, 2), make(chan struct{})
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	e.stop = stop
	cfg := completions.Config{
		Kafka: e.main.Kafka(), Ready: func() { close(ready) },
		Rejected: func(r schemas.Rejected) error { return fmt.Errorf("a command was refused: %w", &r.Refusal) },
	}
	go func() {
		defer close(e.stopped)
		if err := completions.Subscribe(running, cfg, e.take); err != nil {
			e.failed <- err
		}
	}()
	go func() {
		if err := e.main.Wait(running); err != nil {
			e.failed <- err
		}
	}()
	select {
	case <-ready:
		return nil
	case err = <-e.failed:
	case <-ctx.Done():
		err = ctx.Err()
	}
	e.disconnect()
	return err
}

// take is told of each end.
func (e *engine) take(c completions.Completion) error {
	if c.Name != schemas.OrchestrationCompleted {
		return fmt.Errorf("orchestration %s ended %s: %v", c.ID, c.State, c.Error)
	}
	e.ended <- c.ID
	return nil
}

// prepare waits until every shard is decided, puts the definitions and runs a few
// orchestrations, so that nothing is done for the first time while the clock runs.
func (e *engine) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for e.main.Ready() != nil {
		select {
		case <-time.After(readyPoll):
		case err := <-e.failed:
			return err
		case <-ctx.Done():
			return fmt.Errorf("not ready within %s: %w", readyTimeout, e.main.Ready())
		}
	}
	for _, d := range definitions() {
		raw, err := json.Marshal(d.value)
		if err != nil {
			return err
		}
		if _, err := e.client.Do(ctx, "PUT", d.path, nil, raw, nil); err != nil {
			return fmt.Errorf("put %s: %w", d.path, err)
		}
	}
	return e.submitAll(ctx, "warmup", chainType, warmupJobs, submitters)
}

// submit publishes a start and waits until it is on the log.
func (e *engine) submit(ctx context.Context, id, typ string) error {
	_, err := e.publisher.StartOrchestration(ctx, producers.Start{ID: id, Type: typ})
	return err
}

// await waits until n orchestrations have completed.
func (e *engine) await(ctx context.Context, n int) error {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for done := range n {
		select {
		case <-e.ended:
		case err := <-e.failed:
			return err
		case <-limit.C:
			return fmt.Errorf("%d of %d orchestrations had completed when nothing had for %s", done, n, patience)
		case <-ctx.Done():
			return ctx.Err()
		}
		limit.Reset(patience)
	}
	return nil
}

// submitAll submits n orchestrations of a type from several submitters and waits until
// all have completed.
func (e *engine) submitAll(ctx context.Context, prefix, typ string, n, submitters int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	wait := e.submitOnly(ctx, cancel, prefix, typ, n, submitters)
	err := e.await(ctx, n)
	cancel(err)
	wait()
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// projected waits until the projection has folded all that is on the log, and says how
// long that took.
func (e *engine) projected(ctx context.Context) (float64, error) {
	began := time.Now()
	for {
		var ready struct {
			Checks []struct {
				Name    string `json:"name"`
				Details struct {
					Lag *int64 `json:"lag"`
				} `json:"details"`
			} `json:"checks"`
		}
		if err := e.get(ctx, "/readyz", &ready); err != nil {
			return 0, err
		}
		for _, c := range ready.Checks {
			if c.Details.Lag != nil && *c.Details.Lag == 0 {
				return seconds(began), nil
			}
		}
		select {
		case <-time.After(readyPoll):
		case err := <-e.failed:
			return 0, err
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// get asks the program over HTTP.
func (e *engine) get(ctx context.Context, path string, into any) error {
	a, err := e.client.Get(ctx, path, nil)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(a.Body, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func (e *engine) disconnect() {
	e.stop()
	<-e.stopped
	e.publisher.Close()
}

// pause stops the program and its client; start starts it again on the same data.
func (e *engine) pause() error {
	e.disconnect()
	return e.main.Close()
}

// close stops everything and removes what it has written.
func (e *engine) close(ctx context.Context) error {
	return errors.Join(e.pause(), e.remove(ctx))
}

func (e *engine) remove(ctx context.Context) error {
	err := os.RemoveAll(e.dir)
	if len(e.b.Brokers) == 0 {
		return err
	}
	return errors.Join(err, deleteTopics(ctx, kafka.Config{Brokers: e.b.Brokers, Security: e.b.Security}, e.prefix))
}

// deleteTopics removes the topics below a prefix from a Kafka that stays.
func deleteTopics(ctx context.Context, cfg kafka.Config, prefix string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyTimeout)
	defer cancel()
	cl, err := cfg.NewClient()
	if err != nil {
		return err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	topics, err := adm.ListTopics(ctx)
	if err != nil {
		return fmt.Errorf("list topics to delete: %w", err)
	}
	var ours []string
	for _, name := range topics.Names() {
		if len(name) > len(prefix) && name[:len(prefix)+1] == prefix+"." {
			ours = append(ours, name)
		}
	}
	if len(ours) == 0 {
		return nil
	}
	answers, err := adm.DeleteTopics(ctx, ours...)
	return errors.Join(err, answers.Error())
}

func jobID(prefix string, n int) string { return prefix + "-" + strconv.Itoa(n) }
