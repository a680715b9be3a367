package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/cluster"
	"github.com/waybill/waybill/integration/internal/fleet"
	"github.com/waybill/waybill/integration/internal/load"
	"github.com/waybill/waybill/integration/internal/process"
)

// single takes the only node of a Kafka away: nothing can go on, and nobody has to be restarted.
func single(ctx context.Context, s *scenario) (err error) {
	c, err := cluster.Start(ctx, cluster.Options{Dir: filepath.Join(s.on.Dir, "kafka1")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop()) }() //nolint:contextcheck // the end is bounded by itself
	agent, err := s.start(ctx, c.Brokers())
	if err != nil {
		return err
	}
	defer s.fleet.Close()
	if s.full {
		if err := s.agentKilled(ctx); err != nil {
			return err
		}
	}
	if err := s.worked(ctx); err != nil {
		return err
	}
	w, err := s.watch(ctx)
	if err != nil {
		return err
	}
	all := []*process.Process{s.fleet.Servers[0].Process, s.fleet.Servers[1].Process, agent}
	down := s.short(15*time.Second, time.Minute)
	// It is away until it serves again: that takes some seconds more.
	began, away := time.Now(), time.Duration(0)
	_, err = s.fleet.Under(ctx, &s.wrong, fmt.Sprintf("the only node down for %s", down), &away, func(ctx context.Context) error {
		began = time.Now()
		if err := c.Kill(ctx, 1); err != nil {
			return err
		}
		if err := s.away(ctx, all, down); err != nil {
			return err
		}
		err := c.Restart(ctx, 1)
		away = time.Since(began)
		return err
	})
	if err != nil {
		return err
	}
	if err := w.end(ctx, s); err != nil {
		return err
	}
	if err := s.hanging(ctx, c); err != nil {
		return err
	}
	if err := s.fleet.Audit(ctx, &s.wrong, false); err != nil {
		return err
	}
	s.stop(all...)
	return nil
}

// worked waits until the agent has carried something out: a broker that is killed while it sets up a share group does
// so again half a minute after it is back, and that is of no outage in the life of a group.
func (s *scenario) worked(ctx context.Context) error {
	job, err := load.Outside("first-outside")
	if err != nil {
		return err
	}
	s.fleet.Jobs = append(s.fleet.Jobs, job)
	if err := job.Submit(ctx, s.fleet.Client()); err != nil {
		return err
	}
	_, err = s.fleet.Drain(ctx, fleet.Stall)
	return err
}

// agentKilled kills one of two agents: the other one has the work.
func (s *scenario) agentKilled(ctx context.Context) error {
	second, err := s.agent(ctx, "agent2")
	if err != nil {
		return err
	}
	before := len(s.fleet.Jobs)
	_, err = s.fleet.Under(ctx, &s.wrong, "an agent killed", nil, func(ctx context.Context) error {
		if err := api.Pause(ctx, 3*time.Second); err != nil {
			return err
		}
		if err := second.Kill(); err != nil {
			return err
		}
		return api.Pause(ctx, 5*time.Second)
	})
	if err != nil {
		return err
	}
	longest := time.Duration(0)
	for _, j := range s.fleet.Jobs[before:] {
		if !strings.HasSuffix(j.ID, "-outside") {
			continue
		}
		events, err := s.fleet.Client().Events(ctx, j.ID)
		if err != nil {
			return err
		}
		longest = max(longest, events[len(events)-1].Time.Sub(events[0].Time))
	}
	fmt.Printf("  the longest that work of agents took: %.1f s\n", longest.Seconds())
	if longest > fleet.Stall+leases {
		s.wrong.Add("work of agents took %.1f s after one was killed", longest.Seconds())
	}
	return nil
}

// leases is how long what the killed one had claimed waits besides: for its lease, and a backoff.
const leases = 15 * time.Second

// away looks at how processes fare while Kafka is away.
func (s *scenario) away(ctx context.Context, all []*process.Process, down time.Duration) error {
	settle := down / 3
	if err := api.Pause(ctx, settle); err != nil {
		return err
	}
	before, err := s.gauge(all)
	if err != nil {
		return err
	}
	if err := s.clear(ctx); err != nil {
		return err
	}
	if err := api.Pause(ctx, down-settle); err != nil {
		return err
	}
	after, err := s.gauge(all)
	if err != nil {
		return err
	}
	for i, name := range []string{"a", "b", "agent"} {
		span := after[i].at.Sub(before[i].at)
		cpu := 100 * (after[i].cpu - before[i].cpu).Seconds() / span.Seconds()
		lines := float64(after[i].lines-before[i].lines) / span.Minutes()
		grown := float64(after[i].rss-before[i].rss) / (1 << 20)
		fmt.Printf("  %s while it is away: %.1f %% of a core, %.0f lines of log a minute, %+.1f MB\n", name, cpu, lines, grown)
		if cpu > mostCPU {
			s.wrong.Add("%s takes %.1f %% of a core while Kafka is away", name, cpu)
		}
		if lines > mostLines {
			s.wrong.Add("%s writes %.0f lines a minute while Kafka is away", name, lines)
		}
	}
	return nil
}

// What a process may take while Kafka is away, requests that hang included.
const (
	mostCPU   = 30
	mostLines = 120
)

// gauge is how a process is at a time.
type gauge struct {
	at    time.Time
	cpu   time.Duration
	rss   int64
	lines int
}

func (s *scenario) gauge(all []*process.Process) ([]gauge, error) {
	var l []gauge
	for i, name := range []string{"a", "b", "agent"} {
		g := gauge{at: time.Now()}
		var err error
		if g.cpu, err = all[i].CPU(); err != nil {
			return nil, fmt.Errorf("%s has ended: %w", name, err)
		}
		if g.rss, err = all[i].RSS(); err != nil {
			return nil, fmt.Errorf("%s has ended: %w", name, err)
		}
		b, err := os.ReadFile(s.fleet.Log(name))
		if err != nil {
			return nil, err
		}
		g.lines = bytes.Count(b, []byte("\n"))
		l = append(l, g)
	}
	return l, nil
}

// clear asks a server for a job and for how it is: it says clearly what is wrong.
func (s *scenario) clear(ctx context.Context) error {
	srv := s.fleet.Servers[0]
	began := time.Now()
	a, err := askForJob(ctx, srv)
	if err != nil {
		return err
	}
	fmt.Printf("  the intake answers after %.1f s: %s\n", time.Since(began).Seconds(), a)
	if a.status != http.StatusServiceUnavailable || a.after == "" {
		s.wrong.Add("the intake answered %s: want 503 and when to come again", a)
	}
	r, err := srv.Readiness(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("  readiness: %v: %s\n", r.Ready, r.Reason)
	if r.Ready || !strings.Contains(r.Reason, "kafka") {
		s.wrong.Add("while Kafka is away readiness says %v: %s", r.Ready, r.Reason)
	}
	return nil
}

// reply is what the intake has said.
type reply struct {
	status      int
	after, body string
}

func (r reply) String() string {
	return fmt.Sprintf("%d, Retry-After %q: %s", r.status, r.after, r.body)
}

// askForJob asks a server for a job once.
func askForJob(ctx context.Context, srv *fleet.Server) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	body := strings.NewReader(`{"id": "refused", "type": "load-fatal", "input": {}}`)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, srv.URL+"/v1/jobs", body)
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 500))
	return reply{resp.StatusCode, resp.Header.Get("Retry-After"), strings.TrimSpace(string(answer))}, err
}

// watchers are people who wait for a job while Kafka is away.
type watchers struct {
	job  *load.Job
	over map[string]*process.Process
}

// watch begins to wait for a job, over HTTP and straight over Kafka.
func (s *scenario) watch(ctx context.Context) (*watchers, error) {
	w := &watchers{over: map[string]*process.Process{}}
	var err error
	if w.job, err = load.Wait("watched"); err != nil {
		return nil, err
	}
	if err := w.job.Submit(ctx, s.fleet.Client()); err != nil {
		return nil, err
	}
	if err := seen(ctx, api.New(s.fleet.Servers[0].URL), w.job.ID); err != nil {
		return nil, err
	}
	if w.over["watch"], err = s.fleet.Run(ctx, "watch", "watch", w.job.ID, "--server", s.fleet.Servers[0].URL); err != nil {
		return nil, err
	}
	w.over["submit --wait"], err = s.fleet.Run(ctx, "submit", "submit", "--brokers", strings.Join(s.fleet.Brokers, ","),
		"--id", w.job.ID, "--type", "load-waiting", "--input", fmt.Sprintf(`{"token": %q}`, w.job.Value), "--label", "kind=waiting", "--wait")
	return w, errors.Join(err, api.Pause(ctx, time.Second))
}

// seen waits until a server shows a job.
func seen(ctx context.Context, c *api.Client, id string) error {
	for {
		err := c.Once(ctx, http.MethodGet, "/v1/jobs/"+id, nil, nil)
		if !api.Is(err, http.StatusNotFound) {
			return err
		}
		if err := api.Pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// end completes the job, of which the watchers must learn.
func (w *watchers) end(ctx context.Context, s *scenario) error {
	if err := w.job.Finish(ctx, s.fleet.Client()); err != nil {
		return err
	}
	s.fleet.Jobs = append(s.fleet.Jobs, w.job)
	if _, err := s.fleet.Drain(ctx, fleet.Stall); err != nil {
		return err
	}
	for name, p := range w.over {
		select {
		case <-p.Done():
			if p.Err() != nil {
				s.wrong.Add("`waybill %s` ended with %v while it waited for a job", name, p.Err())
			}
		case <-time.After(fleet.Stall):
			s.wrong.Add("`waybill %s` has not heard of the end of its job", name)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
