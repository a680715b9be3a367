package projections

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/schemas"
)

// life is a job that the machine itself decides.
type life struct {
	s     *script
	id    string
	state orchestration.State
	work  map[string]orchestration.Report // by activity, of its last attempt
	n     int
}

func (s *script) life(id string, compensate bool, activities ...definition.Activity) *life {
	s.t.Helper()
	l := &life{s: s, id: id, state: orchestration.New(id).Remember(), work: map[string]orchestration.Report{}}
	l.say(orchestration.Start{
		Type: "stack", Input: json.RawMessage(`{"cell":"blue"}`), Fingerprint: "0123456789abcdef",
		Plan: planOf(s.t, definition.Orchestration{
			Type: "stack", Compensate: compensate, Output: []definition.Mapping{{Source: "vm", Target: "vm"}}, Activities: activities,
		}),
	})
	return l
}

func (l *life) say(c orchestration.Command) {
	l.s.t.Helper()
	events, err := l.state.Decide(l.s.at, c)
	if err != nil || len(events) == 0 {
		l.s.t.Fatalf("%+v: %v, %v", c, events, err)
	}
	l.n++
	cause, input := machine.ID(l.id, itoa(l.n)), l.s.next()
	for _, e := range events {
		at := l.s.at
		l.s.event(l.id, cause, input, e)
		l.state = l.state.Evolve(at, e)
		if r, ok := e.(orchestration.Requested); ok {
			l.work[r.ActivityID] = orchestration.Report{WorkID: r.WorkID, Attempt: r.Attempt}
		}
	}
}

func (l *life) done(id string, spawn ...definition.Activity) {
	l.s.t.Helper()
	l.say(orchestration.Complete{Report: l.work[id], Output: json.RawMessage(`{"of":"` + id + `"}`), Spawn: spawn})
}

func (l *life) fails(id string) {
	l.s.t.Helper()
	l.say(orchestration.Fail{Report: l.work[id], Error: orchestration.Fault{Step: "make", Message: "no room"}})
}

// lives has jobs that are undone, run again and disposed of.
func lives(t testing.TB) []*kgo.Record {
	t.Helper()
	s := newScript(t, 0)
	network, vm := definition.Activity{ID: "network", Type: "net"}, definition.Activity{ID: "vm", Type: "vm", DependsOn: definition.Names{"network"}}
	audit := definition.Activity{ID: "audit", Type: "audit"}
	undo := func(id string) *life {
		l := s.life(id, true, network, vm, audit)
		l.done("network", definition.Activity{ID: "port", Type: "net"})
		l.done("port")
		l.fails("vm")
		s.at = s.at.Add(time.Second)
		l.say(orchestration.Wake{}) // the audit had its time
		return l
	}
	undo("undoing").done("port~dispose")
	undone := undo("undone")
	undone.done("port~dispose")
	undone.fails("network~dispose")
	s.position(schemas.Position{})
	cancelled := s.life("cancelling", true, network, vm, audit)
	cancelled.done("network")
	cancelled.say(orchestration.Cancel{Reason: "too dear", By: "kim"})

	again := s.life("again", false, network, vm, audit)
	again.done("audit")
	again.done("network", definition.Activity{ID: "port", Type: "net"}, definition.Activity{ID: "rule", Type: "net"})
	again.done("port", definition.Activity{ID: "rule", Type: "net"}, definition.Activity{ID: "network", Type: "net"})
	again.done("rule")
	again.done("vm")
	again.say(orchestration.Rerun{From: definition.Names{"network"}, Reason: "another range", By: "kim"})
	s.position(schemas.Position{})
	again.done("network", definition.Activity{ID: "address", Type: "net"})
	again.done("address")

	failed := s.life("mended", false, network, vm)
	failed.done("network")
	failed.fails("vm")
	failed.say(orchestration.Rerun{})
	failed.done("vm")
	failed.say(orchestration.Dispose{Reason: "the customer left", By: "kim"})
	s.position(schemas.Position{})
	s.event("disposing", machine.ID("dispose"), s.next(), orchestration.Started{
		Type: "stack", Run: 1, Plan: planOf(t, definition.Orchestration{Type: "stack", Activities: []definition.Activity{{ID: "vm", Type: "vm", Discriminator: "dispose"}}}),
		Input: json.RawMessage(`{}`), Deadline: s.at.Add(time.Hour), Disposes: &orchestration.Disposes{ID: "mended", Run: 2}, Resource: "mended",
	})
	rerun := undo("rerun-after-undoing")
	rerun.done("port~dispose")
	rerun.done("network~dispose")
	rerun.say(orchestration.Rerun{})
	rerun.done("network")
	s.position(schemas.Position{})
	return s.take(0)
}

// TestAnotherRunReadsNothingThatWasRemoved: it were refused else, so that what it has can be read.
func TestAnotherRunReadsNothingThatWasRemoved(t *testing.T) {
	s := newScript(t, 0)
	l := s.life("o-1", false, definition.Activity{ID: "vm", Type: "vm"})
	l.done("vm")
	s.event("o-1", "timer", -1, orchestration.BlobsRemoved{Blobs: 1, Bytes: 1 << 20})
	l.say(orchestration.Rerun{From: definition.Names{"vm"}})
	l.done("vm")
	s.position(schemas.Position{})
	db := open(t, filepath.Join(t.TempDir(), "p.db"))
	fold(t, db, 5, s.take(0))
	if res, err := db.Result(t.Context(), "o-1"); err != nil || !res.BlobsRemovedAt.IsZero() {
		t.Errorf("removed at %s: %v", res.BlobsRemovedAt, err)
	}
}

func TestUndoingAndFurtherRunsGiveTheSameRowsHoweverTheyCame(t *testing.T) {
	records := lives(t)
	rows := func(db *DB) string {
		return views(t, db.cfg.Path) + dump(t, db.cfg.Path, `SELECT j.id, e.key & 0xffffffff, "from", "to", kind FROM edge e JOIN job j ON j.key = e.key >> 32 ORDER BY j.id, e.key`)
	}
	var want string
	for _, n := range []int{len(records), 1, 2, 3, 7} {
		db := open(t, filepath.Join(t.TempDir(), "p.db"))
		fold(t, db, n, records)
		if got := rows(db); want == "" {
			want = got
		} else if got != want {
			t.Fatalf("batches of %d made other rows:\n%s\nwant\n%s", n, got, want)
		}
	}
	doubled := append([]*kgo.Record(nil), records...)
	for _, r := range records {
		again := *r
		again.Offset = int64(len(doubled))
		doubled = append(doubled, &again)
	}
	twice := open(t, filepath.Join(t.TempDir(), "twice.db"))
	fold(t, twice, 7, doubled)
	if got := rows(twice); got != want {
		t.Fatalf("twice made other rows:\n%s\nwant\n%s", got, want)
	}
	forgetful := open(t, filepath.Join(t.TempDir(), "forgetful.db"))
	part := &partition{topic: "events", aggregate: schemas.AggregateOrchestration, stored: -1}
	for _, r := range records {
		forgetful.writer.jobs = jobCache{}
		if err := forgetful.writer.apply(t.Context(), part, r); err != nil {
			t.Fatal(err)
		}
		if _, err := forgetful.writer.flush(); err != nil {
			t.Fatal(err)
		}
	}
	if got := rows(forgetful); got != want {
		t.Fatalf("without a memory, got\n%s\nwant\n%s", got, want)
	}
}

func TestAJobShowsWhatUndidItAndWhatRunsAgain(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "p.db"))
	fold(t, db, 5, lives(t))
	for _, id := range []string{"undoing", "undone", "cancelling", "again", "mended", "disposing", "rerun-after-undoing"} {
		t.Run(id, func(t *testing.T) {
			j, err := db.Job(t.Context(), id, -1)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "lifecycle-"+id+".json", short(document(t, j)))
		})
	}
	got := dump(t, db.cfg.Path, "SELECT id, state, run, output IS NULL AS empty, compensation, disposed_by IS NOT NULL AS disposed, disposes FROM jobs ORDER BY id")
	for _, want := range []string{
		"id=again state=IN_PROGRESS run=2 empty=1 compensation=<nil> disposed=0 disposes=<nil>",
		"id=cancelling state=CANCELLING run=1 empty=1 compensation=RUNNING",
		"id=disposing state=IN_PROGRESS run=1 empty=1 compensation=<nil> disposed=0 disposes=mended",
		"id=mended state=COMPLETED run=2 empty=0 compensation=<nil> disposed=1",
		"id=undoing state=COMPENSATING run=1 empty=1 compensation=RUNNING",
		"id=undone state=ERROR run=1 empty=1 compensation=FAILED",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("want %q in\n%s", want, got)
		}
	}
}
