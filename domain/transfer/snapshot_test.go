package transfer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/waybill/waybill/domain/machine/machinetest"
	"github.com/waybill/waybill/domain/orchestration"
)

// TestSnapshotsOfWhateverHappens takes a snapshot after each step of a random history and restores it:
// what was restored is written down the same way, decides the same, and goes on the same.
func TestSnapshotsOfWhateverHappens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newHistory(t)
		r.shadowed = true
		r.live()
	})
}

// restored writes a state down and reads it back.
func (r *history) restored(s State) State {
	data, err := s.EncodeSnapshot()
	if err != nil {
		r.t.Fatal(err)
	}
	back, err := New(s.id).DecodeSnapshot(SnapshotVersion, data)
	if err != nil {
		r.t.Fatalf("%v\n%s", err, data)
	}
	again, err := back.EncodeSnapshot()
	if err != nil || !bytes.Equal(again, data) {
		r.t.Fatalf("written down, read back, and written down again (%v):\n%s\n%s", err, data, again)
	}
	return back
}

// shade begins a shadow now and then, which goes on from a snapshot, and lets it be asked what the
// state is asked.
func (r *history) shade(c Command, events []Event, accepted bool) {
	if !r.shadowed {
		return
	}
	if r.shaded++; r.shadow == nil || r.shaded%8 == 0 {
		s := r.restored(r.s)
		r.shadow = &s
	}
	if got, want := r.shadow.Deadline(), r.s.Deadline(); !got.Equal(want) {
		r.t.Fatalf("after a snapshot something is due at %s; it is at %s", got, want)
	}
	got, err := r.shadow.Decide(r.at, c)
	if spelled(got) != spelled(events) || (err == nil) != accepted {
		r.t.Fatalf("%s, decided after a snapshot:\n%s, %v\nwithout:\n%s", spelled(c), spelled(got), err, spelled(events))
	}
}

// shadeFold lets the shadow fold in what the state does.
func (r *history) shadeFold(e Event) {
	if r.shadow == nil {
		return
	}
	if got, want := spelled(r.shadow.Follow(r.at, e)), spelled(r.s.Follow(r.at, e)); got != want {
		r.t.Fatalf("%s: after a snapshot there follows\n%s\nwithout:\n%s", spelled(e), got, want)
	}
	s := r.shadow.Evolve(r.at, e)
	r.restored(s)
	r.shadow = &s
}

// spelled is a value as the log would have it.
func spelled(v any) string {
	b, err := json.Marshal(v)
	return fmt.Sprintf("%T %s %v", v, b, err)
}

// sampled is a state with something of everything.
func sampled(tb testing.TB) State {
	tb.Helper()
	at := time.Date(2026, time.January, 2, 3, 4, 5, 6_000_007, time.UTC)
	s := New("t-1")
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
	on := func() orchestration.Report {
		t := s.tasks.Open()[0]
		return orchestration.Report{WorkID: t.WorkID, Attempt: t.Attempt}
	}
	give(Initiate{
		Provider: "http://provider:8181", AssetID: "asset", Fingerprint: "body", Connector: "consumer", Adapter: AdapterEDC, TransferType: "HttpData-PUSH",
		Manifest:   &Manifest{Definitions: []Definition{{ID: "d0", Type: "local", Raw: json.RawMessage(`{"id":"d0","type":"local","size":"<2>"}`)}}},
		Properties: json.RawMessage(`{"as":"is"}`), Asker: &Asker{Aggregate: "orchestration", ID: "job", ActivityID: "a", WorkID: "w", Attempt: 1},
		TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	})
	give(Report{orchestration.Complete{Report: on(), Output: json.RawMessage(`{"resource":{"dataAddress":{"type":"HttpData"}},"secret":{"$sealed":"k.push"}}`)}})
	give(Granted{Negotiation: "n", Round: 1, NegotiationID: "n-1", AgreementID: "agreement-1", Constraints: "region eq us"})
	give(Report{orchestration.Heartbeat{Report: on(), Agent: "one"}})
	give(Report{orchestration.Retry{Report: on(), Error: orchestration.Fault{Step: "request", Message: "down"}}})
	return s
}

var snapshots = machinetest.Snapshots[State]{
	Version: SnapshotVersion, Sample: sampled,
	Decode: func(version int, data []byte) (State, error) { return New("t-1").DecodeSnapshot(version, data) },
}

func TestGoldenSnapshots(t *testing.T) { snapshots.Golden(t) }

func TestASnapshotOfAnotherBuildIsRefused(t *testing.T) { snapshots.Refuses(t) }

func FuzzDecodeSnapshot(f *testing.F) { snapshots.Fuzz(f, func(s State) { s.Deadline() }) }
