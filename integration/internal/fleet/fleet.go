package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/load"
	"github.com/waybill/waybill/integration/internal/process"
	"github.com/waybill/waybill/integration/internal/stage"
	"github.com/waybill/waybill/internal/kafka"
)

// Fleet is several servers on one Kafka.
type Fleet struct {
	Bin     string
	Brokers []string
	Jobs    []*load.Job // that were asked for in it, and must end as they say
	Servers []*Server   // those that run, in the order of their start
	Outside bool        // the pulse asks for work of an agent's own process as well
	Clocks  bool        // those of the servers are not right: a reader's says how long shards stand still

	dir       string
	providers *load.Providers
	mixed     []*load.Job // of every kind, not asked for yet
	pulses    int
}

// mixedJobs is how many jobs of every kind there are.
const mixedJobs = 400

// New makes a fleet without servers. Close it.
func New(ctx context.Context, on stage.Stage, seed uint64, brokers []string) (*Fleet, error) {
	bin, err := process.Build(ctx, on.Dir)
	if err != nil {
		return nil, err
	}
	f := &Fleet{Bin: bin, Brokers: brokers, dir: on.Dir}
	f.mixed, f.providers, err = load.New(ctx, seed, "m", mixedJobs)
	return f, err
}

// Close ends what the jobs speak with; the servers end with the context they were started with.
func (f *Fleet) Close() { f.providers.Close() }

// Server is a process of the fleet.
type Server struct {
	*process.Process
	Name, Member string
	URL          string
	Output       string // the file that it logs to

	options Options
}

// Options are what a server has that others have not.
type Options struct {
	Brokers []string // instead of the fleet's
	Listen  string   // instead of a free address of this machine
	Data    string   // instead of a directory of the fleet's
	Within  []string // a command that starts it elsewhere, `ip netns exec NAME` say
	Args    []string // further arguments
}

// Start starts a server, and waits until it is ready.
func (f *Fleet) Start(ctx context.Context, name string, with ...Options) (*Server, error) {
	s, err := f.Launch(ctx, name, with...)
	if err != nil {
		return nil, err
	}
	return s, f.Await(ctx, s)
}

// Launch starts a server and does not wait for it.
func (f *Fleet) Launch(ctx context.Context, name string, with ...Options) (*Server, error) {
	s := &Server{Name: name, Output: f.Log(name)}
	for _, o := range with {
		s.options = o
	}
	if s.options.Listen == "" {
		var err error
		if s.options.Listen, err = process.FreeAddress(); err != nil {
			return nil, err
		}
	}
	if s.options.Data == "" {
		s.options.Data = filepath.Join(f.dir, name)
	}
	s.URL = "http://" + s.options.Listen
	if err := f.run(ctx, s); err != nil {
		return nil, err
	}
	f.Servers = append(f.Servers, s)
	return s, nil
}

// Again starts a server that has ended anew, on its data and at its address, and waits until it
// is ready.
func (f *Fleet) Again(ctx context.Context, s *Server) error {
	if err := f.run(ctx, s); err != nil {
		return err
	}
	return f.Await(ctx, s)
}

func (f *Fleet) run(ctx context.Context, s *Server) error {
	brokers := f.Brokers
	if s.options.Brokers != nil {
		brokers = s.options.Brokers
	}
	args := append([]string{}, s.options.Within...)
	args = append(args, f.Bin, "serve", "--data", s.options.Data, "--listen", s.options.Listen)
	for _, b := range brokers {
		args = append(args, "--brokers", b)
	}
	if len(brokers) > 0 {
		args = append(args, "--create-topics")
	}
	for _, h := range f.providers.Hosts() {
		args = append(args, "--allow", h)
	}
	args = append(args, s.options.Args...)
	out, err := os.OpenFile(s.Output, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	s.Process, err = process.Start(ctx, process.Command{Path: args[0], Args: args[1:], Log: out})
	return errors.Join(err, out.Close()) // the process has its own
}

// readyWithin is how long a server may take to be ready.
const readyWithin = 60 * time.Second

// Await waits until a server is ready.
func (f *Fleet) Await(ctx context.Context, s *Server) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyWithin, fmt.Errorf("not ready after %s", readyWithin))
	defer cancel()
	err := s.Until(ctx, api.New(s.URL).Ready)
	if err == nil {
		_, err = s.Shards(ctx)
	}
	if err != nil {
		return fmt.Errorf("server %s: %w", s.Name, err)
	}
	return nil
}

// Run starts another command of the program beside the servers; its output goes to NAME.log.
func (f *Fleet) Run(ctx context.Context, name string, args ...string) (*process.Process, error) {
	return f.RunWithin(ctx, name, nil, args...)
}

// RunWithin is Run where a command, as that of Options.Within, starts it.
func (f *Fleet) RunWithin(ctx context.Context, name string, within []string, args ...string) (*process.Process, error) {
	out, err := os.OpenFile(f.Log(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	command := append(append(slices.Clone(within), f.Bin), args...)
	p, err := process.Start(ctx, process.Command{Path: command[0], Args: command[1:], Log: out})
	return p, errors.Join(err, out.Close()) // the process has its own
}

// Log is the file that something of the fleet logs to.
func (f *Fleet) Log(name string) string { return filepath.Join(f.dir, name+".log") }

// Client asks the servers that there are now, each the next one when one does not answer.
func (f *Fleet) Client() *api.Client { return f.from(0) }

func (f *Fleet) from(first int) *api.Client {
	var urls []string
	for i := range f.Servers {
		urls = append(urls, f.Servers[(first+i)%len(f.Servers)].URL)
	}
	return api.New(urls...)
}

// Readiness is what /readyz says.
type Readiness struct {
	Ready  bool   `json:"ready"`
	Reason string `json:"reason"`
	Member string `json:"member"`
	Checks []struct {
		Name    string          `json:"name"`
		Error   string          `json:"error"`
		Details json.RawMessage `json:"details"`
	} `json:"checks"`
}

// Readiness asks a server how it is.
func (s *Server) Readiness(ctx context.Context) (Readiness, error) {
	var r Readiness
	err := api.New(s.URL).Once(ctx, http.MethodGet, "/readyz", nil, &r)
	var status *api.StatusError
	if errors.As(err, &status) && status.Status == http.StatusServiceUnavailable {
		err = json.Unmarshal([]byte(status.Body), &r)
	}
	if r.Member != "" {
		s.Member = r.Member
	}
	return r, err
}

// Shards are those that a server decides.
func (s *Server) Shards(ctx context.Context) ([]int32, error) {
	r, err := s.Readiness(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range r.Checks {
		if c.Name == "machines" {
			var d struct {
				Shards []int32 `json:"shards"`
			}
			err := json.Unmarshal(c.Details, &d)
			return d.Shards, err
		}
	}
	return nil, fmt.Errorf("the readiness of %s says nothing of machines", s.Name)
}

// Spread waits until every shard has an owner, and none of the servers has more than one shard
// more than another.
func (f *Fleet) Spread(ctx context.Context, within time.Duration) (time.Duration, error) {
	began := time.Now()
	var counts []int
	for {
		counts = counts[:0]
		all, least, most := 0, kafka.DefaultShards, 0
		for _, s := range f.Servers {
			shards, err := s.Shards(ctx)
			if err != nil {
				all = -1
				break
			}
			n := len(shards)
			counts = append(counts, n)
			all, least, most = all+n, min(least, n), max(most, n)
		}
		if all == kafka.DefaultShards && most-least <= 1 {
			return time.Since(began), nil
		}
		if time.Since(began) > within {
			return 0, fmt.Errorf("the shards are not spread after %s: %v", within, counts)
		}
		if err := api.Pause(ctx, 50*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

// Pulse is a load that goes on until it is stopped.
type Pulse struct {
	f       *Fleet
	stop    context.CancelFunc
	ticking sync.WaitGroup
	asking  sync.WaitGroup

	mu     sync.Mutex
	jobs   []*load.Job
	failed error
}

// keys are ids for each shard, which differ in their ends.
func keys(prefix string) [kafka.DefaultShards]string {
	var found [kafka.DefaultShards]string
	left := len(found)
	for i := 0; left > 0; i++ {
		key := fmt.Sprintf("%s-%03d", prefix, i)
		if s := kafka.PartitionFor([]byte(key), kafka.DefaultShards); found[s] == "" {
			found[s] = key
			left--
		}
	}
	return found
}

// Pulse begins to ask for a small job of each shard, and again after every, of the servers in
// turn. What is asked for is asked for until it is acknowledged.
func (f *Fleet) Pulse(ctx context.Context, every time.Duration) *Pulse {
	f.pulses++
	p := &Pulse{f: f}
	ticking, stop := context.WithCancel(ctx)
	p.stop = stop
	name := fmt.Sprintf("p%d", f.pulses)
	// One that hangs, a paused one, must not have all of them: as behind a balancer.
	clients := make([]*api.Client, len(f.Servers))
	for i := range clients {
		clients[i] = f.from(i)
	}
	p.ticking.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for i := 0; ; i++ {
			for shard, id := range ids(name, i) {
				p.asking.Go(func() { p.ask(ctx, clients[(i+shard)%len(clients)], id) })
			}
			if f.Outside {
				p.asking.Go(func() { p.ask(ctx, clients[i%len(clients)], fmt.Sprintf("%s-%05d-outside", name, i)) })
			}
			select {
			case <-ticking.Done():
				return
			case <-tick.C:
			}
		}
	})
	return p
}

// ids are the ids of a round, one for each shard.
func ids(pulse string, round int) []string {
	found := keys(fmt.Sprintf("%s-%05d", pulse, round))
	return found[:]
}

func (p *Pulse) ask(ctx context.Context, c *api.Client, id string) {
	kind := load.Small
	if strings.HasSuffix(id, "-outside") {
		kind = load.Outside
	}
	j, err := kind(id)
	if err == nil {
		err = j.Submit(ctx, c)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.failed = errors.Join(p.failed, err)
		return
	}
	p.jobs = append(p.jobs, j)
}

// Stop asks for no more, waits until everything that was asked for is acknowledged, and hands
// it to the fleet.
func (p *Pulse) Stop() (int, error) {
	p.stop()
	p.ticking.Wait()
	p.asking.Wait()
	p.f.Jobs = append(p.f.Jobs, p.jobs...)
	return len(p.jobs), p.failed
}

// Drain waits until everything has ended.
func (f *Fleet) Drain(ctx context.Context, within time.Duration) (time.Duration, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("not all had ended after %s", within))
	defer cancel()
	err := load.Await(ctx, f.Client(), f.Jobs)
	return time.Since(began), err
}
