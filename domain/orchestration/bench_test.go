package orchestration_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	. "github.com/waybill/waybill/domain/orchestration" //nolint:revive // the tests read as sentences of this package
)

// carry runs an orchestration as the runner does, without the log: whatever is asked for is
// completed, with what spawn says. It returns how many activities were completed.
func carry(tb testing.TB, c Start, spawn func(id string) []definition.Activity) int {
	tb.Helper()
	s := New("o-1")
	var queue []machine.Work
	give := func(c Command) {
		events, err := s.Decide(epoch, c)
		if err != nil {
			tb.Fatal(err)
		}
		for _, e := range events {
			for _, f := range s.Follow(epoch, e) {
				if w, ok := f.(machine.Work); ok {
					queue = append(queue, w)
				}
			}
			s = s.Evolve(epoch, e)
		}
		s.Deadline()
	}
	give(c)
	n := 0
	for ; n < len(queue); n++ {
		give(Complete{Report: Report{WorkID: queue[n].ID, Attempt: 1}, Output: []byte(`{"value":"x"}`), Spawn: spawn(queue[n].ActivityID)})
	}
	if s.Phase() != PhaseCompleted {
		tb.Fatalf("it is %s after %d activities", s.Phase(), n)
	}
	return n
}

func nothing(string) []definition.Activity { return nil }

// tree spawns children down to a level; an id has a letter for each.
func tree(levels, children int) func(id string) []definition.Activity {
	return func(id string) []definition.Activity {
		if len(id) >= levels {
			return nil
		}
		l := make([]definition.Activity, children)
		for k := range l {
			l[k] = activity(id + string(rune('a'+k)))
		}
		return l
	}
}

// layers spawns all of the next layer from each of a layer.
func layers(deep, wide int) func(id string) []definition.Activity {
	return func(id string) []definition.Activity {
		var layer, k int
		if _, err := fmt.Sscanf(id, "n%d-%d", &layer, &k); err != nil {
			layer = -1
		}
		if layer++; layer >= deep {
			return nil
		}
		l := make([]definition.Activity, wide)
		for k := range l {
			l[k] = activity(fmt.Sprintf("n%d-%d", layer, k))
		}
		return l
	}
}

// tangled is a plan of n activities, each of which depends on ten of the hundred before it.
func tangled(n int) *Plan {
	l := make([]definition.Activity, n)
	for i := range l {
		l[i] = activity(fmt.Sprintf("a%d", i))
		for k := range min(i, 10) {
			l[i].DependsOn = append(l[i].DependsOn, fmt.Sprintf("a%d", i-1-(k*k)%min(i, 100)))
		}
	}
	return plan(l...)
}

func parallel(n int) *Plan {
	l := make([]definition.Activity, n+1)
	for i := range n {
		l[i] = activity(fmt.Sprintf("a%d", i))
		l[n].DependsOn = append(l[n].DependsOn, l[i].ID)
	}
	l[n].ID, l[n].Type = "join", "noop"
	return plan(l...)
}

func benchmark(b *testing.B, p *Plan, spawn func(id string) []definition.Activity) {
	b.Helper()
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n = carry(b, start(p), spawn)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/node")
	b.ReportMetric(float64(n), "nodes")
}

// What W7 does: 37,449 nodes, five levels below the root.
func BenchmarkTree(b *testing.B)     { benchmark(b, plan(activity("r")), tree(6, 8)) }
func BenchmarkParallel(b *testing.B) { benchmark(b, parallel(1000), nothing) }
func BenchmarkTangled(b *testing.B)  { benchmark(b, tangled(1000), nothing) }
func BenchmarkLayers(b *testing.B)   { benchmark(b, plan(activity("r")), layers(10, 100)) }
func BenchmarkChain(b *testing.B) {
	benchmark(b, plan(activity("a"), activity("b", "a"), activity("c", "b")), nothing)
}

// BenchmarkPlan compiles and starts a plan of 1,000 activities and 10,000 edges.
func BenchmarkPlan(b *testing.B) {
	def := *tangled(1000).Definition()
	for b.Loop() {
		if _, err := New("o-1").Decide(epoch, start(compile(def))); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWaiting measures what an orchestration of three activities takes while its first
// one waits for a callback, the definition they share left out.
func BenchmarkWaiting(b *testing.B) {
	p := plan(activity("a"), activity("b", "a"), activity("c", "b"))
	const n = 10_000
	for b.Loop() {
		before := live()
		states := make([]State, n)
		for k := range states {
			states[k] = waiting(b, fmt.Sprintf("orchestration-%08d", k), p)
		}
		b.ReportMetric(float64(live()-before)/n, "B/orchestration")
		runtime.KeepAlive(states)
	}
}

func waiting(tb testing.TB, id string, p *Plan) State {
	tb.Helper()
	s := New(id)
	c := Start{Type: "job", Plan: p, Input: []byte(`{"cell":"blue"}`), Fingerprint: "0123456789abcdef0123456789abcdef"}
	for _, c := range []Command{c, Wait{Report: Report{WorkID: machine.ID("work", "orchestration", id, "1", "a"), Attempt: 1}}} {
		events, err := s.Decide(epoch, c)
		if err != nil {
			tb.Fatal(err)
		}
		for _, e := range events {
			s = s.Evolve(epoch, e)
		}
		s.Deadline()
	}
	return s
}

func live() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
