package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	_ "github.com/mattn/go-sqlite3" // database/sql finds the driver by its name
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/audit"
	"github.com/waybill/waybill/integration/internal/cluster"
	"github.com/waybill/waybill/integration/internal/process"
	"github.com/waybill/waybill/internal/kafka"
)

const (
	clients    = 48 // that push side by side
	stopWithin = 8 * time.Second
	// maxMemory is what the server may hold at most, whatever is pushed. Idle it holds some 60 MB; with
	// the broker in the same process that has its share, too.
	maxMemory = 400 << 20
	// endsWithin is how long after the last was accepted all of them must have ended.
	endsWithin = time.Minute
	typ        = "pressed"
)

// scene is one act on a server of its own.
type scene struct {
	act
	settings
	bin, dir string
	log      *os.File
	apache   *cluster.Cluster

	address string
	kafka   kafka.Config
	broker  *process.Process
	server  *process.Process
	client  *api.Client
	pushed  *pushed
	after   func() error // ends what runs beside the server; may be nil
	args    []string     // of the server

	poisoned *kgo.Record // what nobody can fold
	round    int
}

func (s *scene) play(ctx context.Context) (err error) {
	defer func() {
		if s.after != nil {
			err = errors.Join(err, s.after())
		}
	}()
	if s.act.poison {
		return s.poison(ctx)
	}
	steps := []func(context.Context) error{s.start, s.press, s.ends, s.lawful}
	if s.floods {
		steps = []func(context.Context) error{s.start, s.flood, s.lawful}
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if s.after != nil {
		err, s.after = s.after(), nil
	}
	return errors.Join(err, s.stop())
}

// start starts the server, and the broker where that is a process of its own.
func (s *scene) start(ctx context.Context) (err error) {
	if s.address, err = process.FreeAddress(); err != nil {
		return err
	}
	broker, err := process.FreeAddress()
	if err != nil {
		return err
	}
	args := append([]string{"serve", "--data", s.data(), "--listen", s.address}, s.flags...)
	s.kafka = kafka.Config{Brokers: []string{broker}, Prefix: "pressure-" + s.name + "-" + strings.ReplaceAll(s.address, ":", "-")}
	args = append(args, "--prefix", s.kafka.Prefix)
	switch {
	case s.brokers != "":
		s.kafka.Brokers = strings.Split(s.brokers, ",")
		args = append(args, "--brokers", s.brokers, "--create-topics")
	case s.act.broker:
		s.kafka.Embedded = true
		s.broker, err = process.Start(ctx, process.Command{
			Path: s.bin, Args: []string{"broker", "--data", filepath.Join(s.dir, "broker"), "--kafka-listen", broker}, Log: s.log,
		})
		args = append(args, "--brokers", broker)
	default:
		s.kafka.Embedded = true
		args = append(args, "--kafka-listen", broker)
	}
	if err != nil {
		return err
	}
	s.args = args
	if s.server, err = process.Start(ctx, process.Command{Path: s.bin, Args: args, Log: s.log}); err != nil {
		return err
	}
	s.client = api.New("http://" + s.address)
	if err := s.server.Until(ctx, s.client.Ready); err != nil {
		return err
	}
	if err := s.client.Insist(ctx, http.MethodPut, "/v1/definitions/activities/"+slowType, []byte("{}"), nil); err != nil {
		return err
	}
	return s.client.Insist(ctx, http.MethodPut, "/v1/definitions/orchestrations/"+typ, []byte(s.job), nil)
}

// press pushes, and lets happen what happens meanwhile.
func (s *scene) press(ctx context.Context) error {
	idle, err := s.server.RSS()
	if err != nil {
		return err
	}
	pushing, enough := context.WithTimeout(ctx, s.push)
	defer enough()
	s.pushed = newPushed("http://"+s.address, s.name)
	g, gctx := errgroup.WithContext(ctx)
	for i := range clients {
		g.Go(func() error { return s.pushed.push(gctx, pushing, i) })
	}
	if s.during != nil {
		g.Go(func() error { return s.during(gctx, s) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	peak, err := s.server.PeakRSS()
	if err != nil {
		return err
	}
	fmt.Printf("%s: %d clients for %s: %d accepted, %d told to come again (%s of Retry-After); the server held %d MB idle and %d MB at most (limit %d MB)\n",
		s.name, clients, s.push, len(s.pushed.accepted), s.pushed.refused, s.pushed.waits(), idle>>20, peak>>20, maxMemory>>20)
	switch {
	case peak > maxMemory:
		return errors.New("that is over the limit of memory")
	case len(s.pushed.accepted) == 0:
		return errors.New("nothing was accepted")
	case s.pushed.refused == 0:
		return errors.New("nobody was told to come again: nothing was pressed")
	}
	return s.counted(ctx)
}

// counted checks that the metrics say for what there was no room.
func (s *scene) counted(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address+"/metrics", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	for _, reason := range s.reasons {
		name := `waybill_intake_rejections_total{reason="` + reason + `"}`
		for line := range strings.Lines(string(body)) {
			if count, ok := strings.CutPrefix(line, name); ok && strings.TrimSpace(count) != "0" {
				return nil
			}
		}
	}
	return fmt.Errorf("the metrics do not say that there was no room for any of %v", s.reasons)
}

// ends waits for every job that was accepted.
func (s *scene) ends(ctx context.Context) error {
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, endsWithin, fmt.Errorf("not all had ended after %s", endsWithin))
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(clients)
	for _, id := range s.pushed.accepted {
		g.Go(func() error { return s.awaited(ctx, id) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	fmt.Printf("%s: all of them had ended %s after the last was pushed\n", s.name, time.Since(began).Round(10*time.Millisecond))
	return nil
}

// awaited waits until a job that was accepted has ended well.
func (s *scene) awaited(ctx context.Context, id string) error {
	for {
		var j api.Job
		err := s.client.Insist(ctx, http.MethodGet, "/v1/jobs/"+id+"?wait=10s", nil, &j)
		switch {
		case err != nil && !api.Is(err, http.StatusNotFound): // the view may not have it yet
			return fmt.Errorf("%s, which was accepted: %w", id, err)
		case err != nil:
			if err := api.Pause(ctx, 100*time.Millisecond); err != nil {
				return err
			}
		case j.State == "COMPLETED":
			return nil
		case j.Ended():
			return fmt.Errorf("%s ended %s: %s", id, j.State, j.Error)
		}
	}
}

// lawful holds the log against its laws: no gap, no repeat, one completion for each.
func (s *scene) lawful(ctx context.Context) error {
	l, err := audit.ReadLog(ctx, s.kafka)
	if err != nil {
		return err
	}
	report := audit.Check(l, audit.Options{Embedded: s.kafka.Embedded, Quiet: true, Now: time.Now()})
	fmt.Printf("%s: %s\n", s.name, report)
	for _, w := range report.Wrongs[:min(len(report.Wrongs), 10)] {
		fmt.Println("  ", w)
	}
	if n := len(report.Wrongs); n > 0 {
		return fmt.Errorf("%d things on the log are wrong", n)
	}
	return nil
}

func (s *scene) stop() error {
	_, err := s.server.Stop(stopWithin)
	if s.broker != nil {
		_, ended := s.broker.Stop(stopWithin)
		err = errors.Join(err, ended)
	}
	return err
}

// slowType is of an agent that is slower than the intake.
const slowType = "slow.example.com"

// serveSlowly carries work out, until the scene is over.
func serveSlowly(ctx context.Context, s *scene) error {
	// It outlasts the pushing, by which its context ends.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() {
		done <- agent.Run(ctx, agent.Config{Name: "slow", Type: slowType, Concurrency: 32, Kafka: s.kafka, Log: slog.New(slog.NewTextHandler(s.log, nil))},
			agent.ProcessorFunc(func(ctx context.Context, _ agent.Activity) agent.Result {
				if err := api.Pause(ctx, 100*time.Millisecond); err != nil {
					return agent.Retry(err)
				}
				return agent.Complete(nil)
			}))
	}()
	s.after = func() error {
		cancel()
		return <-done
	}
	return nil
}

// holdView holds the lock of the view's file for most of the time, as somebody with a shell would.
func holdView(ctx context.Context, s *scene) (err error) {
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(s.data(), "projections.db")+"?_txlock=immediate&_busy_timeout=5000")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := api.Pause(ctx, s.push+time.Second); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Rollback()
}

// pauseKafka stops the broker for half of the time.
func pauseKafka(ctx context.Context, s *scene) error {
	pause, resume := func() error { return s.broker.Signal(syscall.SIGSTOP) }, func() error { return s.broker.Signal(syscall.SIGCONT) }
	if s.apache != nil {
		pause, resume = func() error { return s.apache.Pause(ctx, 1) }, func() error { return s.apache.Resume(context.WithoutCancel(ctx), 1) }
	}
	if err := api.Pause(ctx, s.push/4); err != nil {
		return err
	}
	if err := pause(); err != nil {
		return err
	}
	// Whatever happens, a stopped process is not left behind.
	return errors.Join(api.Pause(ctx, s.push), resume())
}
