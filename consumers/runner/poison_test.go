package runner_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/consumers/runner"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// brittle is an aggregate with the bugs that its commands name.
type brittle struct {
	bugs *bugs
	due  time.Time
}

// bugs says which panics a build has, and counts them.
type bugs struct {
	mended atomic.Bool
	met    atomic.Int32
}

func (b *bugs) meet(what string) {
	if !b.mended.Load() {
		b.met.Add(1)
		panic("a bug in " + what)
	}
}

func (s brittle) Decide(at time.Time, c string) ([]string, error) {
	switch c {
	case "decide":
		s.bugs.meet(c)
	case "wake":
		if s.due.IsZero() || at.Before(s.due) {
			return nil, nil
		}
		s.bugs.meet(c)
		return []string{"woken"}, nil
	case "encode":
		return []string{"cannot be encoded"}, nil
	}
	return []string{c}, nil
}

func (s brittle) Evolve(at time.Time, e string) brittle {
	switch e {
	case "evolve":
		s.bugs.meet(e)
	case "timer":
		s.due = at.Add(time.Second)
	case "woken":
		s.due = time.Time{}
	}
	return s
}

func (s brittle) Follow(time.Time, string) []machine.Effect { return nil }
func (s brittle) Deadline() time.Time                       { return s.due }
func (s brittle) Ended() bool                               { return false }

// joinBrittle starts a member whose machine has bugs.
func (f *fleet) joinBrittle(name string, b *bugs) *member {
	f.t.Helper()
	r, err := runner.New(runner.Config{
		Kafka: f.cfg, Shards: f.shards, Member: name, Logger: slog.New(slog.NewTextHandler(f.t.Output(), nil)).With("member", name),
		Machines: []runner.Binding{runner.Machine[brittle, string, string]{
			Name:          aggregate,
			New:           func(string) brittle { return brittle{bugs: b} },
			DecodeCommand: func(wireType string, _ []byte) (string, error) { return strings.TrimSuffix(wireType, ".v1"), nil },
			IsReport:      func(string) (bool, bool) { return false, false },
			Hash:          schemas.Fingerprint,
			EncodeEvent: func(e string) (string, []byte, error) {
				if strings.Contains(e, " ") {
					return "", nil, fmt.Errorf("no name: %q", e)
				}
				data, err := json.Marshal(e)
				return "happened.v1", data, err
			},
			NewDecoder: func() func(string, []byte) (string, error) {
				return func(_ string, data []byte) (e string, err error) { return e, json.Unmarshal(data, &e) }
			},
			Wake: func() string { return "wake" },
		}},
	})
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stopped := false
	m := &member{Runner: r, name: name, stop: func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-done; err != nil {
				f.t.Errorf("member %s: %v", name, err)
			}
		}
	}}
	f.t.Cleanup(m.stop)
	return m
}

func (f *fleet) happens(id, what string) {
	f.t.Helper()
	f.until(what+" happens to "+id, func() bool {
		for _, r := range f.read(f.cfg.Topics().Events(aggregate)) {
			if string(r.Key) == id && string(r.Value) == `"`+what+`"` {
				return true
			}
		}
		return false
	})
}

// taken counts how often a shard was taken.
func (f *fleet) taken() int {
	f.t.Helper()
	n := 0
	for _, r := range f.read(f.cfg.Topics().Events(aggregate)) {
		if e, err := kafka.ParseCloudEvent(r); err == nil && e.Type == schemas.ShardOwned {
			n++
		}
	}
	return n
}

func TestACommandWhoseDecisionPanicsIsADeadLetterAndThePartitionMovesOn(t *testing.T) {
	for what, takes := range map[string]int{"decide": 1, "encode": 1, "evolve": 3} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, 1, nil)
				m := f.joinBrittle("a", &bugs{})
				f.owns(m, 1)
				f.send("before", "fine.v1", `{}`)
				f.send("poison", what+".v1", `{"n":1}`)
				f.send("after", "fine.v1", `{}`)
				f.happens("after", "fine")
				f.happens("before", "fine")
				l := f.deadLetters()
				if len(l) != 1 || !strings.Contains(l[0], "command at offset") || !strings.Contains(l[0], "panicked") {
					t.Errorf("dead letters for %q, want one that names the panic", l)
				}
				if n := f.taken(); n != takes {
					t.Errorf("the shard was taken %d times, want %d", n, takes)
				}
				if err := m.Ready(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestADeadLetterOfAPanicIsDecidedWhenItIsReplayedToABuildWithoutTheBug(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, nil)
		b := &bugs{}
		m := f.joinBrittle("a", b)
		f.owns(m, 1)
		f.sendAs("c", "poison", "decide.v1", `{}`)
		f.until("it is a dead letter", func() bool { return len(f.deadLetters()) == 1 })
		f.sendAs("c", "poison", "decide.v1", `{}`)
		f.until("it is one again", func() bool { return len(f.deadLetters()) == 2 })
		b.mended.Store(true)
		f.sendAs("c", "poison", "decide.v1", `{}`)
		f.happens("poison", "decide")
		f.sendAs("c", "poison", "decide.v1", `{}`)
		f.send("after", "fine.v1", `{}`)
		f.happens("after", "fine")
		if l := f.history("poison"); len(l) != 1 {
			t.Errorf("replayed twice it happened as %q", l)
		}
	})
}

func TestARushOfCommandsThatPanicHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, nil)
		m := f.joinBrittle("a", &bugs{})
		f.owns(m, 1)
		var all []*kgo.Record
		for i := range 2000 {
			all = append(all, f.command(fmt.Sprintf("c%d", i), "job", "decide.v1", `{}`))
		}
		f.sendAll(append(all, f.command("last", "after", "fine.v1", `{}`))...)
		began := time.Now()
		f.happens("after", "fine")
		if d := time.Since(began); d > 5*time.Second {
			t.Errorf("what came after 2,000 of them waited for %s", d)
		}
		if n := len(f.deadLetters()); n != 2000 {
			t.Errorf("%d dead letters, want all 2,000", n)
		}
	})
}

func TestATimerThatPanicsIsSetAsideAndReadinessNamesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, nil)
		b := &bugs{}
		m := f.joinBrittle("a", b)
		f.owns(m, 1)
		f.send("clock", "timer.v1", `{}`)
		f.until("readiness names it", func() bool {
			err := m.Ready()
			return err != nil && strings.Contains(err.Error(), "the timer of orchestration clock panicked: a bug in wake")
		})
		f.send("after", "fine.v1", `{}`)
		f.happens("after", "fine")
		f.passes(10 * time.Minute)
		if n := b.met.Load(); n != 2 {
			t.Errorf("it was tried %d times, want 2", n)
		}
		m.stop()
		b.mended.Store(true)
		f.owns(f.joinBrittle("b", b), 1)
		f.happens("clock", "woken")
	})
}

// To go on without it would make another state than the log says.
func TestAnEventThatCannotBeFoldedStopsTheShardByNameAndIsTriedSeldom(t *testing.T) {
	for name, poison := range map[string]struct{ value, typ string }{
		"a panic": {`"evolve"`, "happened.v1"}, "not JSON": {`{`, "happened.v1"}, "no envelope": {`{}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, 1, nil)
				b := &bugs{}
				b.mended.Store(true)
				m := f.joinBrittle("a", b)
				f.owns(m, 1)
				f.send("job", "fine.v1", `{}`)
				f.happens("job", "fine")
				m.stop()
				r := &kgo.Record{Topic: f.cfg.Topics().Events(aggregate), Key: []byte("job"), Value: []byte(poison.value)}
				if poison.typ != "" {
					r.Headers = kafka.CloudEvent{ID: "e", Source: "test", Type: poison.typ, Subject: "job", Sequence: 2}.Headers()
				}
				if err := f.cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
					t.Fatal(err)
				}
				b.mended.Store(false)
				n := f.joinBrittle("b", b)
				want := fmt.Sprintf("%s/0 stands still at offset %d", r.Topic, r.Offset)
				f.until("readiness names it", func() bool {
					err := n.Ready()
					return err != nil && strings.Contains(err.Error(), want)
				})
				before := f.taken()
				f.passes(30 * time.Minute)
				if tries := f.taken() - before; tries > 40 {
					t.Errorf("it was tried %d times in half an hour", tries)
				}
				if err := n.Ready(); err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("readiness says %v, want %q", err, want)
				}
			})
		})
	}
}
