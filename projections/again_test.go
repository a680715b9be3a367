package projections

import (
	"context"
	"errors"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// follow runs a DB whose writer was changed.
func (c *cluster) follow(change func(w *writer)) *DB {
	c.t.Helper()
	db := openWith(c.t, Config{Path: filepath.Join(c.t.TempDir(), "p.db"), Kafka: c.Config})
	change(db.writer)
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { done <- db.Run(ctx) }()
	c.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, ctx.Err()) {
			c.t.Error(err)
		}
	})
	return db
}

// A panic would take the process along, at each start anew.
func TestAnEventOverWhichThisBuildPanicsStopsItsPartitionByNameAndNoOther(t *testing.T) {
	c := newCluster(t)
	s := newScript(t, 0)
	s.runChain("job", chain(t))
	s.position(schemas.Position{})
	first := s.records[0]
	c.write(s.take(0)...)
	db := c.follow(func(w *writer) { w.decoder = nil })
	var fault *Fault
	for ctx := limited(t); !errors.As(db.Err(), &fault); runtime.Gosched() {
		if ctx.Err() != nil {
			t.Fatal(db.Err())
		}
	}
	if fault.Topic != first.Topic || fault.Offset != first.Offset || fault.Type != schemas.OrchestrationStarted || !strings.Contains(fault.Error(), "panics over it: runtime error") {
		t.Errorf("%+v", fault)
	}
	letter := &kgo.Record{Topic: c.Topics().DeadLetters(), Key: []byte("k"), Value: []byte("v")}
	c.write(letter)
	for ctx := limited(t); ; runtime.Gosched() {
		if _, err := db.DeadLetter(t.Context(), DeadLetterID(letter.Topic, 0, letter.Offset)); err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatal("the other partitions are not followed")
		}
	}
}

func TestDeadLettersThatNobodyCanUnpackAreListedAsThat(t *testing.T) {
	c := newCluster(t)
	cl, err := c.NewClient(kgo.ProducerBatchCompression(kgo.GzipCompression()), kgo.ProducerBatchMaxBytes(96<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	large := &kgo.Record{Topic: c.Topics().DeadLetters(), Key: []byte("k"), Value: make([]byte, kafka.MaxUnpackedBytes+1)}
	if err := cl.ProduceSync(limited(t), large).FirstErr(); err != nil {
		t.Fatal(err)
	}
	after := &kgo.Record{Topic: c.Topics().DeadLetters(), Key: []byte("k"), Value: []byte("v")}
	c.write(after)
	db, _ := c.run(Config{})
	for ctx := limited(t); ; runtime.Gosched() {
		if _, err := db.DeadLetter(t.Context(), DeadLetterID(after.Topic, 0, after.Offset)); err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatal("it holds up what comes after it")
		}
	}
	l, err := db.DeadLetter(t.Context(), DeadLetterID(large.Topic, 0, large.Offset))
	if err != nil || !strings.Contains(l.Error, "in one batch, which cannot be unpacked") {
		t.Errorf("%+v, %v", l, err)
	}
	if err := db.Err(); err != nil {
		t.Error(err)
	}
}

func TestAFileThatAnotherProgramHoldsIsWaitedForAndReadinessSaysSo(t *testing.T) {
	c := newCluster(t)
	db := c.follow(func(w *writer) {
		if err := w.c.run("PRAGMA busy_timeout = 10"); err != nil {
			t.Fatal(err)
		}
	})
	other, err := dialWriter(t.Context(), db.cfg.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := other.close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := other.exec("BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	s := newScript(t, 0)
	s.runChain("job", chain(t))
	s.position(schemas.Position{})
	c.write(s.take(0)...)
	for ctx := limited(t); db.Health().Held == nil; runtime.Gosched() {
		if ctx.Err() != nil {
			t.Fatal("readiness never says so")
		}
	}
	if err := db.Err(); err == nil || !strings.Contains(err.Error(), "nothing can be written for now") {
		t.Error(err)
	}
	if _, err := other.exec("COMMIT"); err != nil {
		t.Fatal(err)
	}
	s.reach(db)
	for ctx := limited(t); db.Err() != nil; runtime.Gosched() {
		if ctx.Err() != nil {
			t.Fatal(db.Err())
		}
	}
	if _, err := db.Job(t.Context(), "job", 0); err != nil {
		t.Error(err)
	}
}

// What is wrong may show only when a batch is written, and then nobody knows which of its records it was.
func TestARecordThatCannotBeWrittenStopsItsPartitionByNameAndTakesNothingElseOfItsBatchAlong(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, w *writer)
		says  string
	}{
		"the writing panics": {
			func(t *testing.T, w *writer) {
				t.Helper()
				w.c.stmts[insertRejection] = nil
				t.Cleanup(func() { delete(w.c.stmts, insertRejection) })
			},
			"panics over it: runtime error",
		},
		"SQLite does not take it": {
			func(t *testing.T, w *writer) {
				t.Helper()
				if err := w.c.run("CREATE TRIGGER no BEFORE INSERT ON rejection BEGIN SELECT raise(ABORT, 'not this one'); END"); err != nil {
					t.Fatal(err)
				}
			},
			"not this one",
		},
	} {
		t.Run(name, func(t *testing.T) {
			cl := newCluster(t)
			good, bad := newScript(t, 0), newScript(t, 1)
			good.runChain("good", chain(t))
			good.position(schemas.Position{})
			bad.runChain("before", chain(t))
			bad.position(schemas.Position{Refused: []schemas.Refused{{CommandID: "x", Refusal: machine.Refusal{Code: machine.Schema}}}})
			spoilt := bad.records[len(bad.records)-1]
			bad.runChain("after", chain(t))
			cl.write(append(good.take(0), bad.take(0)...)...)
			db := cl.follow(func(w *writer) { c.spoil(t, w) })
			var fault *Fault
			for ctx := limited(t); !errors.As(db.Err(), &fault); runtime.Gosched() {
				if ctx.Err() != nil {
					t.Fatal(db.Err())
				}
			}
			if fault.Topic != spoilt.Topic || fault.Partition != 1 || fault.Offset != spoilt.Offset || fault.Type != schemas.ShardPosition || !strings.Contains(fault.Error(), c.says) {
				t.Errorf("%+v", fault)
			}
			good.runChain("later", chain(t))
			good.position(schemas.Position{})
			cl.write(good.take(0)...)
			good.reach(db)
			for _, id := range []string{"good", "before", "later"} {
				if _, err := db.Job(t.Context(), id, 0); err != nil {
					t.Errorf("%s: %v", id, err)
				}
			}
			if n := len(db.Health().Faults); n != 1 {
				t.Errorf("%d partitions have stopped", n)
			}
		})
	}
}
