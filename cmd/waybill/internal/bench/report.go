package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/waybill/waybill/cmd/waybill/internal/app"
)

// Report is all that one Run has found out. Its JSON is what --json prints and what
// Compare reads.
type Report struct {
	Machine  Machine            `json:"machine"`
	Version  map[string]string  `json:"version"` // of this program and of what it is built with
	Settings Settings           `json:"settings"`
	BareLog  BareLog            `json:"bareLog"`
	Works    map[string]Figures `json:"works"`
}

// Machine is what the figures were taken on.
type Machine struct {
	CPU      string  `json:"cpu"`
	Cores    int     `json:"cores"`
	MemoryMB int     `json:"memoryMB"`
	OS       string  `json:"os"`
	Arch     string  `json:"arch"`
	Load     float64 `json:"load"` // of the last minute when the run began
}

// Settings are what the figures were taken with.
type Settings struct {
	Broker  string   `json:"broker"` // embedded or kafka
	Brokers []string `json:"brokers,omitempty"`
	Fsync   bool     `json:"fsync"`
	Shards  int      `json:"shards"`
	Runs    int      `json:"runs"` // of which the median is shown
	GOGC    string   `json:"gogc"` // as the user has set it, else paced (package pace)
	Warmup  string   `json:"warmup"`
	Kafka   *Cluster `json:"kafka,omitempty"` // nil for the embedded broker
}

// Cluster is the Kafka that figures were taken on, and what our clients of it are set to.
type Cluster struct {
	Version            string `json:"version"` // as far as its API tells
	Nodes              int    `json:"nodes"`
	Replication        int    `json:"replication"` // of the bare log's topics, as of all that are made
	MinInsync          string `json:"minInsync"`
	MetadataMinAge     string `json:"metadataMinAge"`
	SessionTimeout     string `json:"sessionTimeout"` // of who holds shards
	TransactionTimeout string `json:"transactionTimeout"`
}

// BareLog is what the log does when nothing is decided: one command in, two records out,
// in transactions of one producer per shard.
type BareLog struct {
	// RecordsPerSecond counts the records out.
	RecordsPerSecond float64 `json:"recordsPerSecond"`

	p50Ms float64 // from a command to its records, one at a time
}

func (b BareLog) rank() float64 { return b.RecordsPerSecond }

// commandsPerSecond is how many commands that is: each has two records out.
func (b BareLog) commandsPerSecond() float64 { return b.RecordsPerSecond / 2 }

// Figures are those of one work; which it has depends on the work.
type Figures struct {
	PerSecond float64 `json:"perSecond,omitempty"`
	P50Ms     float64 `json:"p50Ms,omitempty"`
	P99Ms     float64 `json:"p99Ms,omitempty"`
	Seconds   float64 `json:"seconds,omitempty"`
	Megabytes float64 `json:"megabytes,omitempty"`

	note string // what else was seen
}

func (f Figures) rank() float64 { return f.PerSecond + f.P50Ms + f.Seconds + f.Megabytes }

func (r *Report) set(name string, f Figures) {
	if r.Works == nil {
		r.Works = make(map[string]Figures)
	}
	r.Works[name] = f
}

// figure is one number of a work.
type figure struct {
	name, unit string
	value      float64
	rising     bool // more is better
}

func (f Figures) list() []figure {
	var l []figure
	for _, x := range []figure{
		{"perSecond", "/s", f.PerSecond, true},
		{"p50Ms", " ms (p50)", f.P50Ms, false},
		{"p99Ms", " ms (p99)", f.P99Ms, false},
		{"seconds", " s", f.Seconds, false},
		{"megabytes", " MB", f.Megabytes, false},
	} {
		if x.value != 0 {
			l = append(l, x)
		}
	}
	return l
}

// ratio sets a work's figure in relation to the bare log of the same run, so that more is
// always better: what the work gets done in a second to the commands that the log takes in
// one, and the log's latency to the work's. Zero where there is nothing to compare.
func (r *Report) ratio(name string) (value float64, of string) {
	f, commands := r.Works[name], r.BareLog.commandsPerSecond()
	if commands == 0 {
		return 0, ""
	}
	switch name {
	case "W1":
		return f.PerSecond / commands, "orchestrations to the bare log's commands"
	case "W2":
		if r.BareLog.p50Ms == 0 || f.P50Ms == 0 {
			return 0, ""
		}
		return r.BareLog.p50Ms / f.P50Ms, "the bare log's p50 to this one"
	case "W3":
		return (fanWidth + 1) / f.Seconds / commands, "activities to the bare log's commands"
	case "W4":
		return f.PerSecond / commands, "queries to the bare log's commands"
	case "W5":
		return coldEvents / f.Seconds / commands, "events of history to the bare log's commands"
	case "W7":
		return treeNodes / f.Seconds / commands, "nodes to the bare log's commands"
	case "T1", "T2":
		return f.PerSecond / commands, "transfers to the bare log's commands"
	case "T3":
		return wishes / f.Seconds / commands, "wishes to the bare log's commands"
	}
	return 0, ""
}

// JSON writes the report as --json prints it.
func (r *Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// ReadReport reads what JSON wrote.
func ReadReport(path string) (*Report, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, &app.UsageError{Err: fmt.Errorf("--compare: %w", err)}
	}
	r := &Report{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, &app.UsageError{Err: fmt.Errorf("--compare %s: not what bench --json printed: %w", path, err)}
	}
	return r, nil
}

func (r *Report) printHead(w io.Writer) {
	m := r.Machine
	fmt.Fprintf(w, "machine   %s, %d cores, %d MB, %s/%s, load %.2f\n", m.CPU, m.Cores, m.MemoryMB, m.OS, m.Arch, m.Load)
	fmt.Fprintf(w, "versions ")
	for _, name := range []string{"waybill", "go", "kgo", "kfake", "sqlite3"} {
		if v := r.Version[name]; v != "" {
			fmt.Fprintf(w, " %s %s", name, v)
		}
	}
	s := r.Settings
	broker := s.Broker + " broker"
	if len(s.Brokers) > 0 {
		broker += " at " + strings.Join(s.Brokers, ",")
	}
	fmt.Fprintf(w, "\nsettings  %s\n", s.describe(broker))
}

func (s *Settings) describe(broker string) string {
	sync := "not synced"
	switch {
	case s.Broker == "kafka":
		sync = "synced as Kafka does"
	case s.Fsync:
		sync = "synced"
	}
	return fmt.Sprintf("%s, %s, %d shards, GOGC %s, median of %d, %s", broker, sync, s.Shards, s.GOGC, s.Runs, s.Warmup)
}

func (r *Report) printBareLog(w io.Writer) {
	b := r.BareLog
	if k := r.Settings.Kafka; k != nil {
		fmt.Fprintf(w, "kafka     %s, %d nodes, replication %d, min.insync.replicas %s; MetadataMinAge %s, session timeout %s, transaction timeout %s\n",
			k.Version, k.Nodes, k.Replication, k.MinInsync, k.MetadataMinAge, k.SessionTimeout, k.TransactionTimeout)
	}
	fmt.Fprintf(w, "\nbare log  one command in, two records out, in transactions\n          %s commands/s, %s records/s out; one at a time %s ms (p50)\n",
		number(b.commandsPerSecond()), number(b.RecordsPerSecond), number(b.p50Ms))
}

func (r *Report) printFigures(w io.Writer, name string) {
	f := r.Works[name]
	var parts []string
	for _, x := range f.list() {
		parts = append(parts, number(x.value)+x.unit)
	}
	fmt.Fprintf(w, "    %s\n", strings.Join(parts, ", "))
	if v, of := r.ratio(name); v != 0 {
		fmt.Fprintf(w, "    %s (%s)\n", number(v), of)
	}
	if f.note != "" {
		fmt.Fprintf(w, "    %s\n", f.note)
	}
}

// Compare prints, for each figure that both reports have, the new one in relation to the
// old one; over 1 is better, whichever way the figure runs.
func (r *Report) Compare(w io.Writer, old *Report) {
	fmt.Fprintf(w, "\ncompared with %s of %s, %d cores: over 1 is better\n", old.Version["waybill"], old.Machine.CPU, old.Machine.Cores)
	fmt.Fprintf(w, "    %-14s %10s -> %-10s %8s\n", "", "then", "now", "ratio")
	line := func(name string, then, now, ratio float64) {
		fmt.Fprintf(w, "    %-14s %10s -> %-10s %8.2f\n", name, number(then), number(now), ratio)
	}
	scale := 0.0 // how much faster this run's machine was, by the bare log
	if old.BareLog.RecordsPerSecond > 0 && r.BareLog.RecordsPerSecond > 0 {
		scale = r.BareLog.RecordsPerSecond / old.BareLog.RecordsPerSecond
		line("bare log", old.BareLog.RecordsPerSecond, r.BareLog.RecordsPerSecond, scale)
	}
	for _, name := range AllWorks() {
		was := make(map[string]float64)
		for _, x := range old.Works[name].list() {
			was[x.name] = x.value
		}
		for _, x := range r.Works[name].list() {
			then := was[x.name]
			if then == 0 {
				continue
			}
			ratio := x.value / then
			if !x.rising {
				ratio = then / x.value
			}
			line(name+" "+x.name, then, x.value, ratio)
			if scale > 0 && x.name != "megabytes" {
				fmt.Fprintf(w, "    %-14s %26s %8.2f\n", "", "by the bare log", ratio/scale)
			}
		}
	}
}

// number prints three digits, or all that a large one has before the point.
func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// machine describes this one; what cannot be found out stays empty.
func machine() Machine {
	m := Machine{Cores: runtime.NumCPU(), OS: runtime.GOOS, Arch: runtime.GOARCH, CPU: cpuName()}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		m.MemoryMB = int(uint64(info.Totalram) * uint64(info.Unit) >> 20)
		m.Load = float64(info.Loads[0]) / (1 << 16)
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.OS += " " + unix.ByteSliceToString(name.Release[:])
	}
	return m
}

func cpuName() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// versions are those that figures depend on.
func versions(self string) map[string]string {
	v := map[string]string{"waybill": self, "go": runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	names := map[string]string{
		"github.com/twmb/franz-go": "kgo", "github.com/twmb/franz-go/pkg/kfake": "kfake", "github.com/mattn/go-sqlite3": "sqlite3",
	}
	for _, d := range info.Deps {
		if name, ok := names[d.Path]; ok {
			v[name] = d.Version
		}
	}
	return v
}
