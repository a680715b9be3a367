package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/audit"
	"github.com/waybill/waybill/integration/internal/load"
	"github.com/waybill/waybill/integration/internal/process"
	"github.com/waybill/waybill/integration/internal/stage"
	"github.com/waybill/waybill/schemas"
)

const (
	// settled is how long the group may take to spread the shards over its members.
	settled = 30 * time.Second
	// pace is the time between two jobs.
	pace = 40 * time.Millisecond
	// drain is how long the jobs may take to end after the last was asked for.
	drain = 60 * time.Second
)

// server is one process of the fleet.
type server struct {
	*process.Process
	name, listen string
	format       int
}

type scenario struct {
	dir, kafka string
	bins       map[int]string // by format
	log        *os.File
	broker     *process.Process
	jobs       []*load.Job
	providers  *load.Providers

	names   []string           // of the servers, in the order they are asked
	listen  map[string]string  // by name: a server that is replaced keeps its address
	servers map[string]*server // those that run
}

func main() {
	jobs := flag.Int("jobs", 250, "how many jobs to ask for, 40 ms apart")
	seed := flag.Uint64("seed", rand.Uint64()>>1, "what to draw the jobs from") //nolint:gosec // no secret
	flags := stage.NewFlags(4 * time.Minute)
	flag.Parse()
	os.Exit(flags.Play("upgrade", func(ctx context.Context, on stage.Stage) error { return run(ctx, on, *jobs, *seed) }))
}

// returned is the server of the old release that comes back in the end.
const returned = "returned"

const (
	older = schemas.LogFormat - 1
	newer = schemas.LogFormat
)

func run(ctx context.Context, on stage.Stage, jobs int, seed uint64) (err error) {
	s := &scenario{dir: on.Dir, log: on.Log, names: []string{"third", "first", "second", returned}}
	fmt.Printf("from format %d to %d: seed %d, %d jobs\n", older, newer, seed, jobs)
	if s.jobs, s.providers, err = load.New(ctx, seed, "u", jobs); err != nil {
		return err
	}
	defer s.providers.Close()
	if err := s.start(ctx); err != nil {
		return err
	}
	if err := s.upgrade(ctx); err != nil {
		return err
	}
	subject := &audit.Subject{
		Jobs: s.jobs, Client: s.client(), Brokers: []string{s.kafka}, Embedded: true, Out: os.Stdout, Scratch: s.dir,
	}
	for _, name := range s.names {
		if name != returned {
			subject.Files = append(subject.Files, filepath.Join(s.dir, name, "projections.db"))
		}
	}
	wrong := subject.All(ctx)
	wrong = append(wrong, trespassed(subject.Events())...)
	audit.Print(os.Stdout, wrong)
	if err := s.stop(); err != nil {
		return err
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%d things are wrong", len(wrong))
	}
	return nil
}

// start builds both releases and starts the broker and two servers of the old one.
func (s *scenario) start(ctx context.Context) (err error) {
	s.bins = map[int]string{}
	for format, tags := range map[int][]string{older: nil, newer: {"waybill_next_format"}} {
		dir := filepath.Join(s.dir, fmt.Sprint("format-", format))
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		if s.bins[format], err = process.Build(ctx, dir, tags...); err != nil {
			return err
		}
	}
	if s.kafka, err = process.FreeAddress(); err != nil {
		return err
	}
	s.broker, err = process.Start(ctx, process.Command{
		Path: s.bins[older], Args: []string{"broker", "--data", filepath.Join(s.dir, "broker"), "--kafka-listen", s.kafka}, Log: s.log,
	})
	if err != nil {
		return err
	}
	s.listen, s.servers = map[string]string{}, map[string]*server{}
	for _, name := range s.names {
		if s.listen[name], err = process.FreeAddress(); err != nil {
			return err
		}
	}
	for _, name := range []string{"first", "second"} {
		if _, err := s.serve(ctx, name, older); err != nil {
			return err
		}
	}
	return load.Define(ctx, s.client())
}

// serve starts a server and waits until it has shards; one of the old release may refuse them all.
func (s *scenario) serve(ctx context.Context, name string, format int) (*server, error) {
	srv := &server{name: name, format: format, listen: s.listen[name]}
	args := []string{"serve", "--data", filepath.Join(s.dir, name), "--listen", srv.listen, "--brokers", s.kafka}
	for _, h := range s.providers.Hosts() {
		args = append(args, "--allow", h)
	}
	var err error
	if srv.Process, err = process.Start(ctx, process.Command{Path: s.bins[format], Args: args, Log: s.log}); err != nil {
		return nil, err
	}
	s.servers[name] = srv
	return srv, srv.Until(ctx, func(ctx context.Context) error {
		return s.holds(ctx, srv, func(r readiness) bool { return r.Ready && r.shards() > 0 || name == returned && r.refuses() })
	})
}

// end stops a server in good order.
func (s *scenario) end(name string) error {
	srv := s.servers[name]
	delete(s.servers, name)
	took, err := srv.Stop(10 * time.Second)
	if err != nil {
		return fmt.Errorf("SIGTERM to %s: %w", name, err)
	}
	fmt.Printf("  %s, of format %d, stopped within %.2f s of SIGTERM\n", name, srv.format, took.Seconds())
	return nil
}

// client asks the next server when one is gone. The one that comes back is not asked: it says that it is not ready.
func (s *scenario) client() *api.Client {
	var urls []string
	for _, name := range s.names {
		if name != returned {
			urls = append(urls, "http://"+s.listen[name])
		}
	}
	return api.New(urls...)
}

// readiness is what /readyz says.
type readiness struct {
	Ready  bool `json:"ready"`
	Checks []struct {
		Name    string `json:"name"`
		Error   string `json:"error"`
		Details struct {
			Shards []int32 `json:"shards"`
		} `json:"details"`
	} `json:"checks"`
}

func (r readiness) shards() (n int) {
	for _, c := range r.Checks {
		n += len(c.Details.Shards)
	}
	return n
}

// refusal is what an old process has to say.
var refusal = fmt.Sprintf("written by a newer Waybill (format %d; this one knows up to %d): upgrade this process", newer, older)

// refuses says that the machines say so, and decide nothing.
func (r readiness) refuses() bool {
	for _, c := range r.Checks {
		if c.Name == "machines" {
			return strings.Contains(c.Error, "stands still") && strings.Contains(c.Error, refusal) && len(c.Details.Shards) == 0
		}
	}
	return false
}

func (s *scenario) ready(ctx context.Context, srv *server) (readiness, error) {
	var r readiness
	err := api.New("http://"+srv.listen).Once(ctx, http.MethodGet, "/readyz", nil, &r)
	if status, ok := errors.AsType[*api.StatusError](err); ok { // 503 says why
		err = json.Unmarshal([]byte(status.Body), &r)
	}
	return r, err
}

// holds waits until a server's readiness is so.
func (s *scenario) holds(ctx context.Context, srv *server, so func(readiness) bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, settled, fmt.Errorf("%s did not come to that within %s", srv.name, settled))
	defer cancel()
	for {
		r, err := s.ready(ctx, srv)
		if so(r) {
			return nil
		}
		if pause := api.Pause(ctx, 50*time.Millisecond); pause != nil {
			return fmt.Errorf("%w: it says %+v: %w", context.Cause(ctx), r, errors.Join(pause, err))
		}
	}
}

// upgrade goes from the old release to the new one while jobs are asked for, and brings an old one back.
func (s *scenario) upgrade(ctx context.Context) error {
	asking, stopAsking := context.WithCancel(ctx)
	defer stopAsking()
	asked := make(chan error, 1)
	go func() { asked <- s.ask(asking) }()
	if err := s.roll(ctx); err != nil {
		return err
	}
	if err := s.back(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, drain, fmt.Errorf("not drained after %s", drain))
	defer cancel()
	select {
	case err := <-asked:
		if err != nil {
			return err
		}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	began := time.Now()
	if err := load.Await(ctx, s.client(), s.jobs); err != nil {
		return err
	}
	fmt.Printf("  all had ended %.1f s after the last was acknowledged\n", time.Since(began).Seconds())
	return nil
}

// ask has all jobs asked for, at whichever servers run just then.
func (s *scenario) ask(ctx context.Context) error {
	var all sync.WaitGroup
	failed := make(chan error, len(s.jobs))
	for _, j := range s.jobs {
		all.Go(func() {
			if err := j.Run(ctx, s.client()); err != nil {
				failed <- err
			}
		})
		if err := api.Pause(ctx, pace); err != nil {
			return err
		}
	}
	all.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// roll lets a new server join, and replaces the old ones one after the other.
func (s *scenario) roll(ctx context.Context) error {
	began := time.Now()
	if _, err := s.serve(ctx, "third", newer); err != nil {
		return err
	}
	fmt.Printf("  a mixed fleet after %.1f s: two of format %d, one of format %d\n", time.Since(began).Seconds(), older, newer)
	if err := api.Pause(ctx, time.Second); err != nil { // it works for a while
		return err
	}
	for _, name := range []string{"first", "second"} {
		if err := s.end(name); err != nil {
			return err
		}
		if _, err := s.serve(ctx, name, newer); err != nil {
			return err
		}
	}
	fmt.Printf("  rolled over within %.1f s\n", time.Since(began).Seconds())
	return nil
}

// back starts an old server among the new ones, and stops it once it has refused.
func (s *scenario) back(ctx context.Context) error {
	began := time.Now()
	old, err := s.serve(ctx, returned, older)
	if err != nil {
		return err
	}
	fmt.Printf("  an old server came back, and refused after %.1f s: %s\n", time.Since(began).Seconds(), refusal)
	for _, name := range s.names {
		if name == old.name {
			continue
		}
		if err := s.holds(ctx, s.servers[name], func(r readiness) bool { return r.Ready && r.shards() > 0 }); err != nil {
			return err
		}
	}
	return s.end(old.name)
}

// stop ends what is left in good order.
func (s *scenario) stop() error {
	var errs []error
	for _, name := range s.names {
		if s.servers[name] != nil {
			errs = append(errs, s.end(name))
		}
	}
	_, err := s.broker.Stop(5 * time.Second)
	return errors.Join(append(errs, err)...)
}

// trespassed lists where an old process has decided anything after a new one had the shard.
func trespassed(records []audit.Record) (wrong []string) {
	slices.SortStableFunc(records, func(a, b audit.Record) int { return cmp.Compare(a.Offset, b.Offset) })
	had, now := map[int32]int{}, map[int32]int{}
	for _, r := range records {
		if r.Type == schemas.ShardOwned {
			o, err := schemas.DecodeOwned(r.Type, []byte(r.Value))
			if err != nil {
				return []string{err.Error()}
			}
			now[r.Partition] = o.Format
			had[r.Partition] = max(had[r.Partition], o.Format)
		} else if now[r.Partition] < had[r.Partition] {
			wrong = append(wrong, fmt.Sprintf("a process of format %d has written %s to shard %d at offset %d, which one of format %d has had",
				now[r.Partition], r.Type, r.Partition, r.Offset, had[r.Partition]))
		}
	}
	if len(had) == 0 {
		wrong = append(wrong, "nobody has owned anything")
	}
	return wrong
}
