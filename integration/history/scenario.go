package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/audit"
	"github.com/waybill/waybill/integration/internal/process"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// The definitions of the history.
const (
	chainType   = "history-chain"
	waitingType = "history-waiting"

	chainDefinition = `{"activities": [{"id": "a", "type": "noop"},
		{"id": "b", "type": "noop", "dependsOn": "a"}, {"id": "c", "type": "noop", "dependsOn": "b"}]}`
	waitingDefinition = `{"activities": [{"id": "a", "type": "noop", "deadline": "P30D", "with": {"result": "wait"}}]}`

	// chainEvents is what an orchestration of three leaves on the log: started, requested
	// and completed for each activity, ended.
	chainEvents = 8
)

// The ids of orchestrations: the n-th of the history, the n-th that waits.
func chainID(n int) string   { return "old-" + strconv.Itoa(n) }
func waitingID(n int) string { return "waiting-" + strconv.Itoa(n) }

type scenario struct {
	settings
	dir, bin, listen string
	cluster          kafka.Config
	args             []string // what serve has to be told of it
	log              *os.File
	sizes            []onDisk // while the history was made
	wrong            []string
}

func (s *scenario) client() *api.Client { return api.New("http://" + s.listen) }

// amiss notes what is wrong and goes on, so that one run says all.
func (s *scenario) amiss(format string, args ...any) {
	s.wrong = append(s.wrong, fmt.Sprintf(format, args...))
	fmt.Println("  WRONG:", s.wrong[len(s.wrong)-1])
}

func (s *scenario) start(ctx context.Context) (*process.Process, error) {
	args := append([]string{"serve", "--data", filepath.Join(s.dir, "data"), "--listen", s.listen}, s.args...)
	if s.keepHistory > 0 {
		args = append(args, "--keep-history", s.keepHistory.String(), "--remember", remembered.String())
	}
	return process.Start(ctx, process.Command{Path: s.bin, Log: s.log, Args: args})
}

// write has the history made, and checks what memory that took.
func (s *scenario) write(ctx context.Context) error {
	p, err := s.start(ctx)
	if err != nil {
		return err
	}
	if err := s.client().Ready(ctx); err != nil {
		return err
	}
	chains := (s.events + chainEvents - 1) / chainEvents
	fmt.Printf("a history of %d orchestrations, and %d that wait\n", chains, s.waiting)
	began := time.Now()
	if err := s.decide(ctx, p, chains); err != nil {
		return err
	}
	took := time.Since(began)
	if err := s.projected(ctx, chains); err != nil {
		return err
	}
	later := time.Since(began) - took
	cpu, err := p.CPU()
	if err != nil {
		return err
	}
	fmt.Printf("  made in %.1f s, %.0f orchestrations/s, %.2f ms of CPU for each; the view was there %.1f s later\n",
		took.Seconds(), float64(chains)/took.Seconds(), cpu.Seconds()*1000/float64(chains), later.Seconds())
	if s.keepHistory > 0 {
		if err := s.steady(ctx, took); err != nil {
			return err
		}
	}
	if err := s.memory(p, "while it was made"); err != nil {
		return err
	}
	return s.stop(p)
}

// withoutCheckpoints is when the events alone tell.
const withoutCheckpoints = "without checkpoints"

// read starts on the history after a clean stop and after a kill.
func (s *scenario) read(ctx context.Context) error {
	before, err := s.disk()
	if err != nil {
		return err
	}
	fmt.Println("  on the disk:", before)
	p, err := s.measure(ctx, "after a clean stop")
	if err != nil {
		return err
	}
	if err := p.Kill(); err != nil {
		return err
	}
	if p, err = s.measure(ctx, "after kill -9"); err != nil {
		return err
	}
	if s.keepHistory > 0 {
		return s.stop(p)
	}
	if err := s.audit(ctx); err != nil {
		return err
	}
	// After a kill the embedded broker would have some of what was cut again.
	if err := errors.Join(s.forget(ctx), s.stop(p)); err != nil {
		return err
	}
	if p, err = s.measure(ctx, withoutCheckpoints); err != nil {
		return err
	}
	return s.stop(p)
}

// measure starts the process and times it until a job that was asked for after it was
// ready has completed; then it looks at what was there before.
func (s *scenario) measure(ctx context.Context, when string) (*process.Process, error) {
	said, err := s.said()
	if err != nil {
		return nil, err
	}
	p, err := s.start(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-p.Done():
			cancel(fmt.Errorf("the process has ended: %w", errors.Join(errors.New("see its output"), p.Err())))
		case <-ctx.Done():
		}
	}()
	c := s.client()
	if err := c.Ready(ctx); err != nil {
		return p, err
	}
	ready := time.Since(p.Began)
	if err := complete(ctx, c, fmt.Sprintf("new-%d", time.Now().UnixNano())); err != nil {
		return p, err
	}
	done := time.Since(p.Began)
	cpu, err := p.CPU()
	if err != nil {
		return p, err
	}
	fmt.Printf("%s: ready after %.2f s, a new job had completed after %.2f s, which took %.2f s of CPU\n",
		when, ready.Seconds(), done.Seconds(), cpu.Seconds())
	if err := s.origins(said, when != withoutCheckpoints); err != nil {
		return p, err
	}
	if done > startWithin && when != withoutCheckpoints {
		s.amiss("%s, the first job had completed only after %s; the limit is %s", when, done, startWithin)
	}
	if err := s.remembers(ctx, c); err != nil {
		return p, err
	}
	return p, s.memory(p, when)
}

// complete asks for a job and waits for its end.
func complete(ctx context.Context, c *api.Client, id string) error {
	if err := c.Insist(ctx, http.MethodPost, "/v1/jobs", body(id), nil); err != nil {
		return err
	}
	for {
		var j api.Job
		err := c.Insist(ctx, http.MethodGet, "/v1/jobs/"+id+"?wait=10s", nil, &j)
		switch {
		case err == nil && j.State == "COMPLETED":
			return nil
		case err == nil && j.Ended():
			return fmt.Errorf("%s is %s: %s", id, j.State, j.Error)
		case err != nil && !api.Is(err, http.StatusNotFound):
			return err
		}
		if err := api.Pause(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
}

func body(id string) []byte { return fmt.Appendf(nil, `{"id": %q, "type": %q}`, id, chainType) }

// memory checks what the process holds and has held at most.
func (s *scenario) memory(p *process.Process, when string) error {
	resident, err := p.RSS()
	if err != nil {
		return err
	}
	peak, err := p.PeakRSS()
	if err != nil {
		return err
	}
	fmt.Printf("  memory %s: %.0f MB, at most %.0f MB\n", when, float64(resident)/1e6, float64(peak)/1e6)
	if peak > residentLimit {
		s.amiss("the process held up to %.0f MB %s; the limit is %.0f MB", float64(peak)/1e6, when, residentLimit/1e6)
	}
	return nil
}

func (s *scenario) stop(p *process.Process) error {
	took, err := p.Stop(stopWithin)
	if err != nil {
		return fmt.Errorf("SIGTERM: %w", err)
	}
	fmt.Printf("  stopped within %.2f s of SIGTERM\n", took.Seconds())
	return nil
}

// audit counts the log and looks for what must not be there.
func (s *scenario) audit(ctx context.Context) error {
	n, err := audit.Count(ctx, s.cluster.Brokers, s.cluster.Topics().Events(schemas.AggregateOrchestration))
	if err != nil {
		return err
	}
	fmt.Printf("on the log: %d events of %d orchestrations, %d of them twice\n", n.Events, n.Aggregates, n.Repeats)
	for _, w := range n.Wrong {
		s.amiss("%s", w)
	}
	if n.Events-n.Repeats < s.events {
		s.amiss("the log has %d events, want %d or more", n.Events-n.Repeats, s.events)
	}
	if s.events > checked {
		return nil
	}
	log, err := audit.ReadLog(ctx, s.cluster)
	if err != nil {
		return err
	}
	report := audit.Check(log, audit.Options{Embedded: s.cluster.Embedded, Quiet: true, Now: time.Now()})
	fmt.Println("held against all laws:", report)
	for _, w := range audit.Sentences(report.Wrongs) {
		s.amiss("%s", w)
	}
	return nil
}

// checked is up to how many events a history is held against all laws, which wants all of it in memory.
const checked = 100_000
