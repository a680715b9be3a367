package orchestration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine/machinetest"
)

// TestSnapshotsOfWhateverHappens takes a snapshot after each step of a random history and restores it:
// what was restored is written down the same way, decides the same, and goes on the same.
func TestSnapshotsOfWhateverHappens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRun(t)
		r.shadowed = true
		r.live()
	})
}

// shadow goes on from a snapshot beside the state that it was taken of.
type shadow struct {
	s     State
	given int
}

// restored writes a state down and reads it back.
func (r *run) restored(s State) State {
	data, err := s.EncodeSnapshot()
	if err != nil {
		r.t.Fatal(err)
	}
	plans := func([]byte) (*Plan, error) { return r.start.Plan, nil } // as equal definitions share a plan
	if rapid.IntRange(0, 9).Draw(r.t, "own plan") == 0 {
		plans = nil
	}
	back, err := New(s.id).DecodeSnapshot(SnapshotVersion, data, plans)
	if err != nil {
		r.t.Fatalf("%v\n%s", err, data)
	}
	again, err := back.EncodeSnapshot()
	if err != nil || !bytes.Equal(again, data) {
		r.t.Fatalf("written down, read back, and written down again (%v):\n%s\n%s", err, data, again)
	}
	if got, want := derived(back), derived(s); got != want {
		r.t.Fatalf("restored:\n%s\nwas:\n%s", got, want)
	}
	return back
}

// derived is what stands in no snapshot.
func derived(s State) string {
	if s.g == nil {
		return ""
	}
	g := s.g
	text := fmt.Sprint(g.typ, g.open, g.retrieving, g.working, g.checked, g.deadline, g.verdict, len(g.index))
	for name, i := range g.index {
		if j, ok := g.find(name); !ok || j != i {
			text += " lost " + name
		}
	}
	for i := range g.nodes {
		n := &g.nodes[i]
		text += fmt.Sprint("\n", n.id(), " ", n.workID, n.parent, n.depth, n.level, n.late, n.timer, n.deadline, n.began, n.next, n.lease, spelled(n.def))
		if n.spawned > 0 {
			text += fmt.Sprint(n.first)
		}
		if j, ok := g.findWork(n.workID); n.workID != "" && (!ok || int(j) != i) {
			text += " lost work"
		}
	}
	return text
}

func spelled(v any) string {
	b, err := json.Marshal(v)
	return fmt.Sprint(string(b), err)
}

// shade begins a shadow now and then, and lets it be asked what the state is asked.
func (r *run) shade(c Command, events []Event, accepted bool) {
	if !r.shadowed {
		return
	}
	if r.shadow == nil || r.shadow.given >= 8 {
		r.shadow = &shadow{s: r.restored(r.s)}
	}
	r.shadow.given++
	if got, want := r.shadow.s.Deadline(), r.s.Deadline(); !got.Equal(want) {
		r.t.Fatalf("after a snapshot something is due at %s; it is at %s", got, want)
	}
	got, err := r.shadow.s.Decide(r.at, c)
	if !same(got, events) || (err == nil) != accepted {
		r.t.Fatalf("%+v, decided after a snapshot:\n%+v, %v\nwithout:\n%+v", c, got, err, events)
	}
}

// same compares events as the log would have them.
func same(a, b []Event) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y) && len(a) == len(b)
}

// shadeFold lets the shadow fold in what the state does.
func (r *run) shadeFold(e Event, follows any) {
	if r.shadow == nil {
		return
	}
	if got := r.shadow.s.Follow(r.at, e); !reflect.DeepEqual(got, follows) {
		r.t.Fatalf("%+v: after a snapshot there follows\n%+v\nwithout:\n%+v", e, got, follows)
	}
	r.shadow.s = r.shadow.s.Evolve(r.at, e)
	r.restored(r.shadow.s)
}

// sampled is a state with something of everything.
func sampled(tb testing.TB) State {
	tb.Helper()
	limit := 2
	plan, err := NewPlan(definition.Orchestration{
		Type: "job", Compensate: true,
		Activities: []definition.Activity{
			{ID: "a", Type: "noop", Retry: &definition.Retry{Limit: &limit}, OnError: definition.OnErrorContinue},
			{ID: "b", Type: "noop", DependsOn: definition.Names{"a"}},
			{ID: "c", Type: "http"},
			{ID: "d", Type: "http"},
			{ID: "e", Type: AggregateType, DependsOn: definition.Names{"b"}},
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	at := time.Date(2026, time.January, 2, 3, 4, 5, 6_000_007, time.UTC)
	s := New("o-1")
	give := func(c Command) {
		at = at.Add(1500 * time.Millisecond)
		events, err := s.Decide(at, c)
		if err != nil {
			tb.Fatal(err)
		}
		for _, e := range events {
			s = s.Evolve(at, e)
		}
	}
	on := func(id string) Report {
		i, _ := s.g.find(id)
		return Report{WorkID: s.g.nodes[i].workID, Attempt: int(s.g.nodes[i].attempt)}
	}
	give(Start{
		Type: "job", Plan: plan, Input: json.RawMessage(`{"x":"<1>"}`), Labels: map[string]string{"team": "blue"}, Callback: "https://example.com/ended",
		Fingerprint: "body", TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	})
	give(Complete{
		Report: on("a"), Key: "first", Output: json.RawMessage(`{"large":{"$blob":"o-1/1"},"n":1}`),
		Spawn: []definition.Activity{
			{ID: "m", Type: "noop", Context: definition.Context{"a"}}, {ID: "n", Type: "http", DependsOn: definition.Names{"m"}}, {ID: "c", Type: "http"},
		},
		Contracts: map[string]definition.Contract{"noop": {Output: json.RawMessage(`{"type":"object"}`)}},
	})
	give(Heartbeat{Report: on("c"), Agent: "one"})
	give(Retry{Report: on("d"), Error: Fault{Step: "fetch", Message: "down"}})
	give(Schedule{Report: on("c"), After: definition.Duration(time.Minute), State: json.RawMessage(`{"seen":2}`)})
	give(PauseActivity{Order{ActivityID: "d", By: "kim", Reason: "wait"}})
	give(Complete{Report: on("m"), Output: json.RawMessage(`{"v":2}`), Spawn: []definition.Activity{{ID: "first", Type: "noop"}, {ID: "p", Type: "noop"}}})
	return s
}

var snapshots = machinetest.Snapshots[State]{
	Version: SnapshotVersion, Sample: sampled,
	Decode: func(version int, data []byte) (State, error) { return New("o-1").DecodeSnapshot(version, data, nil) },
}

func TestGoldenSnapshots(t *testing.T) { snapshots.Golden(t) }

func TestASnapshotOfAnotherBuildIsRefused(t *testing.T) {
	snapshots.Refuses(t,
		`{"phase":"ASLEEP"}`,
		`{"phase":"IN_PROGRESS","graph":{"plan":{"type":"t","activities":[{"id":"a","type":"noop"}]},"startedAt":"2026-01-02T03:04:05Z","nodes":[]}}`,
	)
}

func FuzzDecodeSnapshot(f *testing.F) {
	snapshots.Fuzz(f, func(s State) {
		if due := s.Deadline(); s.g != nil && !due.IsZero() {
			_, _ = s.Decide(due, Wake{})
		}
	})
}
