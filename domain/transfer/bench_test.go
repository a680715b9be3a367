package transfer_test

import (
	"runtime"
	"strconv"
	"testing"

	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/task"
	. "github.com/waybill/waybill/domain/transfer" //nolint:revive // the tests read as sentences of this package
)

// play takes a pull transfer from beginning to end and returns how many events that took.
func play(b *testing.B, id string) (State, int) {
	b.Helper()
	s, events := New(id), 0
	give := func(c Command) {
		l, err := s.Decide(epoch, c)
		if err != nil {
			b.Fatal(err)
		}
		for _, e := range l {
			s.Follow(epoch, e)
			s = s.Evolve(epoch, e)
			events++
		}
	}
	give(asked(pull()))
	give(access("1"))
	give(Report{orchestration.Complete{Report: orchestration.Report{WorkID: task.WorkID("transfer", id, "fetch", "1"), Attempt: 1}, Output: raw(`{"value":"x"}`)}})
	if s.Phase() != PhaseCompleted {
		b.Fatalf("it is %s", s.Phase())
	}
	return s, events
}

// BenchmarkPull is a pull transfer with access that is granted at once.
func BenchmarkPull(b *testing.B) {
	events := 0
	for i := 0; b.Loop(); i++ {
		_, events = play(b, strconv.Itoa(i))
	}
	b.ReportMetric(float64(events), "events/op")
}

// BenchmarkKept is what an ended transfer takes in memory: there may be a great many.
func BenchmarkKept(b *testing.B) {
	const n = 10_000
	for b.Loop() {
		var before, after runtime.MemStats
		kept := make([]State, n)
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range kept {
			kept[i], _ = play(b, strconv.Itoa(i))
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/transfer")
		runtime.KeepAlive(kept)
	}
}
