package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/waybill/waybill/cmd/waybill/internal/app"
	"github.com/waybill/waybill/cmd/waybill/internal/pace"
	"github.com/waybill/waybill/consumers/connectors"
	"github.com/waybill/waybill/internal/kafka"
)

// Options say what to measure. Zero values take the defaults.
type Options struct {
	Works    []string       // names, like W1; empty means DefaultWorks
	Shards   int            // of the topics; 0 means kafka.DefaultShards
	Runs     int            // how often each is measured; the median counts; 0 means once
	Fsync    bool           // the embedded broker syncs before it acknowledges
	Brokers  []string       // of another Kafka; empty means the embedded broker
	Security kafka.Security // of the way there
	// CPUProfile is a file for the profile of the works, without the bare log; empty writes
	// none.
	CPUProfile string
	Version    string    // of this program, for the report
	Out        io.Writer // where progress and figures go; nil discards them
}

// work is one of the works of the table in doc.go.
type work struct {
	name, what string
	measure    func(ctx context.Context, b *bench) (Figures, error)
}

func works() []work {
	return []work{
		{"W1", fmt.Sprintf("%d orchestrations of 3 activities from %d submitters", throughputJobs, submitters), throughput},
		{"W2", fmt.Sprintf("the same one at a time, %d of them", latencyJobs), latency},
		{"W3", fmt.Sprintf("one orchestration of %d activities side by side and a join, median of %d", fanWidth, fanJobs), fan},
		{"W4", fmt.Sprintf("GET /v1/jobs/{id}, %d clients, %d jobs, %s", queryClients, queryJobs, queryTime), queries},
		{"W5", fmt.Sprintf("start on %d live orchestrations and %d events of history, until a submitted one completes", coldLive, coldEvents), coldStart},
		{"W6", fmt.Sprintf("resident memory with %d waiting orchestrations", waitingJobs), waiting},
		{"W7", fmt.Sprintf("one orchestration that grows to %d nodes", treeNodes), tree},
		{"T1", fmt.Sprintf("%d transfers with a negotiation each, %d at once", newAccessTransfers, underWay), newAccess},
		{"T2", fmt.Sprintf("%d transfers of %d assets that are negotiated, %d at once", reuseTransfers, reuseAssets, underWay), reusedAccess},
		{"T3", fmt.Sprintf("one orchestration of %d acquires of one asset, one negotiation", wishes), manyWishes},
	}
}

// DefaultWorks are those that are done in seconds.
func DefaultWorks() []string { return []string{"W1", "W2", "W3", "W4", "W7"} }

// AllWorks lists all of them.
func AllWorks() []string {
	var names []string
	for _, w := range works() {
		names = append(names, w.name)
	}
	return names
}

// bench is one Run.
type bench struct {
	Options
	connectors connectors.Config // of the program
	cluster    *Cluster          // as the bare log has found it
}

// Run measures, tells of it on Out as it goes, and returns all figures.
func Run(ctx context.Context, o Options) (*Report, error) {
	if o.Out == nil {
		o.Out = io.Discard
	}
	o.Runs = max(o.Runs, 1)
	if o.Shards = cmp.Or(o.Shards, kafka.DefaultShards); o.Shards < 0 {
		return nil, &app.UsageError{Err: fmt.Errorf("--shards %d: there is one at least", o.Shards)}
	}
	chosen, err := choose(o.Works)
	if err != nil {
		return nil, err
	}
	defer pace.Keep()() // as serve does
	b := &bench{Options: o}
	r := &Report{Machine: machine(), Version: versions(o.Version), Settings: b.settings()}
	r.printHead(o.Out)
	if r.BareLog, err = median(o.Runs, func() (BareLog, error) { return b.bareLog(ctx) }); err != nil {
		return nil, fmt.Errorf("bare log: %w", err)
	}
	r.Settings.Kafka = b.cluster
	r.printBareLog(o.Out)
	return r, b.profiled(func() error { return b.measure(ctx, r, chosen) })
}

func (b *bench) measure(ctx context.Context, r *Report, chosen []work) error {
	for _, w := range chosen {
		fmt.Fprintf(b.Out, "\n%s  %s\n", w.name, w.what)
		f, err := median(b.Runs, func() (Figures, error) { return w.measure(ctx, b) })
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		r.set(w.name, f)
		r.printFigures(b.Out, w.name)
	}
	return nil
}

// profiled writes a profile of what measure does, if one was asked for.
func (b *bench) profiled(measure func() error) error {
	if b.CPUProfile == "" {
		return measure()
	}
	f, err := os.Create(b.CPUProfile)
	if err != nil {
		return &app.UsageError{Err: fmt.Errorf("--cpuprofile: %w", err)}
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return errors.Join(err, f.Close())
	}
	err = measure()
	pprof.StopCPUProfile()
	return errors.Join(err, f.Close())
}

// choose finds works by name, in the order of the table.
func choose(names []string) ([]work, error) {
	if len(names) == 0 {
		names = DefaultWorks()
	}
	var chosen []work
	for _, w := range works() {
		if slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, w.name) }) {
			chosen = append(chosen, w)
		}
	}
	for _, n := range names {
		if !slices.ContainsFunc(chosen, func(w work) bool { return strings.EqualFold(n, w.name) }) {
			return nil, &app.UsageError{Err: fmt.Errorf("--work %s: there is no such work, only %s", n, strings.Join(AllWorks(), ", "))}
		}
	}
	return chosen, nil
}

// measured is what a median is taken of.
type measured[T any] interface {
	rank() float64 // by which measurements are put in order
}

// median measures several times and takes the one in the middle as a whole: parts of
// different runs would not belong together.
func median[T measured[T]](runs int, measure func() (T, error)) (T, error) {
	all := make([]T, 0, runs)
	for range runs {
		// What one measurement leaves behind is not to be swept up in the time of the next.
		runtime.GC()
		debug.FreeOSMemory()
		m, err := measure()
		if err != nil {
			return m, err
		}
		all = append(all, m)
	}
	slices.SortStableFunc(all, func(a, b T) int { return cmp.Compare(a.rank(), b.rank()) })
	return all[(len(all)-1)/2], nil
}

// settings is what the figures were taken with.
func (b *bench) settings() Settings {
	s := Settings{
		Broker: "embedded", Fsync: b.Fsync, Brokers: b.Brokers, Runs: b.Runs, Shards: b.Shards, GOGC: cmp.Or(os.Getenv("GOGC"), "paced"),
		Warmup: fmt.Sprintf("%d orchestrations before the clock starts", warmupJobs),
	}
	if len(b.Brokers) > 0 {
		s.Broker, s.Fsync = "kafka", false
	}
	return s
}

func seconds(since time.Time) float64 { return time.Since(since).Seconds() }
