package negotiation

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
		r := newRun(t)
		r.shadowed = true
		r.live()
	})
}

// restored writes a state down and reads it back.
func (r *run) restored(s State) State {
	data, err := s.EncodeSnapshot()
	if err != nil {
		r.t.Fatal(err)
	}
	back, err := r.fresh().DecodeSnapshot(SnapshotVersion, data)
	if err != nil {
		r.t.Fatalf("%v\n%s", err, data)
	}
	again, err := back.EncodeSnapshot()
	if err != nil || !bytes.Equal(again, data) {
		r.t.Fatalf("written down, read back, and written down again (%v):\n%s\n%s", err, data, again)
	}
	if got, want := fmt.Sprint(back.b.owners, back.b.active), fmt.Sprint(s.b.owners, s.b.active); got != want {
		r.t.Fatalf("restored: %s, was: %s", got, want)
	}
	return back
}

// shade begins a shadow now and then, which goes on from a snapshot, and lets it be asked what the
// state is asked.
func (r *run) shade(c Command, events []Event, accepted bool) {
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
func (r *run) shadeFold(e Event) {
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
	s := New("edc http://provider1")
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
	done := func(name, output string) {
		t, ok := s.b.tasks.Find(name)
		if !ok {
			tb.Fatalf("%s is not under way", name)
		}
		give(Report{orchestration.Complete{Report: orchestration.Report{WorkID: t.WorkID, Attempt: t.Attempt}, Output: json.RawMessage(output)}})
	}
	n := 0
	wants := func(asset, typ string, need Need) {
		n++
		asker := "transfer"
		if typ != "" {
			asker = "orchestration"
		}
		give(Acquire{
			Provider: "http://provider1", Waiter: fmt.Sprint("t-", n), Need: need, AssetID: asset, AssetType: typ, CommandID: fmt.Sprint("c-", n),
			Reply: &Reply{Aggregate: asker, ID: fmt.Sprint("t-", n)}, TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		})
	}
	wants("doc", "", NeedEDR)
	done("catalog doc", `{"offers":[{"assetId":"doc","offerId":"o","policy":{"permit":"<all>"},"formats":["HttpData-PULL"]}]}`)
	done(workRequest+" doc", `{"negotiationId":"n"}`)
	done(workPoll+" doc", `{"state":"FINALIZED","agreementId":"a-1","assetId":"doc"}`)
	done(workEDR+" doc", `{"state":"STARTED"}`)
	done(workEDRPoll+" doc", `{"state":"STARTED","edr":{"$sealed":"k.polled"},"expiresAt":"2026-01-02T03:10:05Z"}`)
	wants("part", "", NeedAgreement)
	done("catalog part", `{"offers":[{"assetId":"part","offerId":"o2"}]}`)
	wants("", "registry", NeedAgreement)
	done("listing registry", `{"participantId":"BPN1","offers":[{"assetId":"reg-1","offerId":"o3"},{"assetId":"reg-2","offerId":"o4","unacceptable":"gold"}]}`)
	for i := range 4 {
		wants(fmt.Sprint("more-", i), "", NeedAgreement)
	}
	return s
}

var snapshots = machinetest.Snapshots[State]{
	Version: SnapshotVersion, Sample: sampled,
	Decode: func(version int, data []byte) (State, error) {
		return New("edc http://provider1").DecodeSnapshot(version, data)
	},
}

func TestGoldenSnapshots(t *testing.T) { snapshots.Golden(t) }

func TestASnapshotOfAnotherBuildIsRefused(t *testing.T) { snapshots.Refuses(t) }

func FuzzDecodeSnapshot(f *testing.F) { snapshots.Fuzz(f, func(s State) { s.Deadline() }) }
