package projections

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/schemas"
)

// BenchmarkFold folds the jobs of W1 (three activities that do nothing) from records in
// memory: what the projection costs without the broker. Transactions of the owner have
// 50 jobs, batches of ours 20 transactions.
func BenchmarkFold(b *testing.B) {
	db := open(b, filepath.Join(b.TempDir(), "p.db"))
	s := newScript(b, 0)
	p := chain(b)
	part := &partition{topic: s.topics.Events(s.aggregate), aggregate: s.aggregate, stored: -1}
	var offset int64
	var cpu time.Duration
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; {
		b.StopTimer()
		for range 20 {
			for range 50 {
				s.runChain(machine.ID("job", b.Name(), itoa(n)), p)
				n++
			}
			s.position(schemas.Position{})
		}
		records := s.take(offset)
		offset += int64(len(records))
		cpu -= cpuTime(b)
		b.StartTimer()
		for _, r := range records {
			if err := db.writer.apply(b.Context(), part, r); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := db.writer.flush(); err != nil {
			b.Fatal(err)
		}
		cpu += cpuTime(b)
	}
	b.ReportMetric(float64(cpu.Microseconds())/float64(b.N), "cpu-µs/job")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
}

// cpuTime is what the process has used so far: on a busy machine the only time that says
// anything.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
