package projections

import (
	"encoding/json"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/domain/definition"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/internal/kafka"
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

// BenchmarkFoldTransfers folds transfers as they go with an EDR that is there already: what a provider's
// access costs once it is negotiated. Each is over within a batch of ours, as they are where 2,000 of them
// come in a second.
func BenchmarkFoldTransfers(b *testing.B) {
	db := open(b, filepath.Join(b.TempDir(), "p.db"))
	transfers, negotiations := newScriptOf(b, schemas.AggregateTransfer, 0), newScriptOf(b, schemas.AggregateNegotiation, 0)
	part := map[string]*partition{}
	for _, s := range []*script{transfers, negotiations} {
		part[s.aggregate] = &partition{topic: s.topics.Events(s.aggregate), aggregate: s.aggregate, stored: -1}
	}
	offset := map[string]int64{}
	var cpu time.Duration
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; {
		b.StopTimer()
		var records []*kgo.Record
		for range 500 {
			id := machine.ID("transfer", itoa(n))
			transfers.reused(id, "job-"+itoa(n/100))
			negotiations.negotiation(machine.ID("acquire", id), negotiations.next(), negotiation.Served{
				AssetID: "asset-1", Round: 2, AgreementID: "agreement-1", ProcessID: "process-1", Waiters: []string{id},
				Wish: &negotiation.Wish{Waiter: id, AssetID: "asset-1", Need: negotiation.NeedEDR, Deadline: negotiations.at.Add(time.Hour), Reply: &negotiation.Reply{Aggregate: "transfer", ID: id}},
			})
			n++
		}
		for _, s := range []*script{transfers, negotiations} {
			s.position(schemas.Position{})
			taken := s.take(offset[s.aggregate])
			offset[s.aggregate] += int64(len(taken))
			for _, r := range taken {
				r.Topic = s.aggregate
				records = append(records, r)
			}
		}
		cpu -= cpuTime(b)
		b.StartTimer()
		for _, r := range records {
			if err := db.writer.apply(b.Context(), part[r.Topic], r); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := db.writer.flush(); err != nil {
			b.Fatal(err)
		}
		cpu += cpuTime(b)
	}
	b.ReportMetric(float64(cpu.Microseconds())/float64(b.N), "cpu-µs/transfer")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "transfers/s")
}

// BenchmarkFollow follows a log that has the jobs of W1 on it already: with the broker's
// part and the client's.
func BenchmarkFollow(b *testing.B) {
	c := newCluster(b)
	s := newScript(b, 0)
	p := chain(b)
	for n := 0; n < b.N; {
		for range 50 {
			s.runChain(machine.ID("job", b.Name(), itoa(n)), p)
			n++
		}
		s.position(schemas.Position{})
		c.write(s.take(0)...)
	}
	db := openWith(b, Config{Kafka: c.Config})
	cpu := -cpuTime(b)
	b.ReportAllocs()
	b.ResetTimer()
	stop := start(b, db)
	if err := db.WaitFor(b.Context(), kafka.Position{Aggregate: s.aggregate, Offset: s.command - 1}); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	cpu += cpuTime(b)
	stop()
	b.ReportMetric(float64(cpu.Microseconds())/float64(b.N), "cpu-µs/job")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
}

// BenchmarkTree folds one job that grows to 37,449 nodes: five levels by eight children.
func BenchmarkTree(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		db := openWith(b, Config{})
		s := newScript(b, 0)
		s.grow("job", 5, 8)
		records := s.take(0)
		b.StartTimer()
		fold(b, db, 2000, records)
		b.ReportMetric(float64(len(records)), "events")
	}
}

// grow appends a job that spawns so many levels of so many children.
func (s *script) grow(id string, levels, width int) {
	p := planOf(s.t, definition.Orchestration{Type: "tree", Version: 1, Activities: []definition.Activity{{ID: "n", Type: "noop"}}})
	s.event(id, "start", s.next(), orchestration.Started{Type: "tree", Run: 1, Plan: p, Input: json.RawMessage(`{}`)})
	level := []string{"n"}
	for l := 0; l <= levels; l++ {
		var next []string
		for _, n := range level {
			s.event(id, "r", -1, orchestration.Requested{ActivityID: n, Attempt: 1, WorkID: machine.ID(id, n), Placement: "serve-1", Deadline: s.at.Add(time.Hour)})
			done := orchestration.Completed{ActivityID: n, Attempt: 1, Output: json.RawMessage(`{"value":1}`)}
			for i := range width {
				if l < levels {
					done.Spawned = append(done.Spawned, definition.Activity{ID: n + itoa(i), Type: "noop"})
					next = append(next, n+itoa(i))
				}
			}
			s.event(id, "r", -1, done)
		}
		level = next
	}
	s.event(id, "r", -1, orchestration.Ended{State: orchestration.PhaseCompleted})
	s.position(schemas.Position{})
}

// BenchmarkJobDocument asks for jobs by id: the same few, as who watches them does, or
// all of them, so that nearly every one comes out of SQLite.
func BenchmarkJobDocument(b *testing.B) {
	const jobs = 20_000
	db := openWith(b, Config{CacheBytes: 1 << 20})
	s := newScript(b, 0)
	p := chain(b)
	for i := range jobs {
		s.runChain("job-"+itoa(i), p)
	}
	fold(b, db, 5000, s.take(0))
	for name, n := range map[string]int{"few": 16, "all": jobs} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var next atomic.Int64
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := db.JobDocument(b.Context(), "job-"+itoa(int(next.Add(7919))%n)); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// cpuTime is what the process has used so far: on a busy machine the only time that says
// anything.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
