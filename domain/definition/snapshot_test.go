package definition_test

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/waybill/waybill/domain/definition"
)

const snapshotOf = "activity/http"

func putType(timeout, set string) definition.Put {
	return definition.Put{
		Definition: json.RawMessage(`{"type": "http", "description": "<b>", "attemptTimeout": "` + timeout + `"}`), Set: set, TakeOver: set == "mine",
	}
}

// TestSnapshotsOfWhateverHappens takes a snapshot after each step of a random history and restores it:
// what was restored is written down the same way and decides the same.
func TestSnapshotsOfWhateverHappens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := definition.New(snapshotOf)
		for range rapid.IntRange(0, 20).Draw(t, "commands") {
			c := rapid.SampledFrom([]definition.Command{
				putType("PT1S", ""), putType("PT2S", "mine"), putType("PT2S", "yours"), definition.Delete{}, definition.Delete{Running: 1}, definition.Put{Definition: json.RawMessage(`{}`)},
			}).Draw(t, "command")
			data, err := s.EncodeSnapshot()
			if err != nil {
				t.Fatal(err)
			}
			back, err := definition.New(snapshotOf).DecodeSnapshot(definition.SnapshotVersion, data)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := back.EncodeSnapshot(); err != nil || !bytes.Equal(again, data) {
				t.Fatalf("written down, read back, and written down again (%v):\n%s\n%s", err, data, again)
			}
			events, refused := s.Decide(time.Time{}, c)
			got, err := back.Decide(time.Time{}, c)
			if want := spelled(t, events); spelled(t, got) != want || (err == nil) != (refused == nil) {
				t.Fatalf("%+v, decided after a snapshot: %s (%v), without: %s (%v)", c, spelled(t, got), err, want, refused)
			}
			if rapid.Bool().Draw(t, "goes on from the snapshot") {
				s = back
			}
			for _, e := range events {
				s = s.Evolve(time.Time{}, e)
			}
		}
	})
}

func spelled(t *rapid.T, v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestGoldenSnapshots reads what every version ever wrote.
func TestGoldenSnapshots(t *testing.T) {
	written, err := os.ReadFile("testdata/snapshot.v1.json")
	if err != nil {
		t.Fatal(err)
	}
	s, err := definition.New(snapshotOf).DecodeSnapshot(1, written)
	if err != nil {
		t.Fatal(err)
	}
	if s.Version() != 3 || !strings.Contains(string(s.Definition()), `"description":"<b>"`) {
		t.Errorf("version 1 is read as version %d of %s", s.Version(), s.Definition())
	}
	data, err := s.EncodeSnapshot()
	if err != nil || !bytes.Equal(data, bytes.TrimSpace(written)) {
		t.Errorf("it is written otherwise than it was (%v); a change needs another version:\n%s\nwas:\n%s", err, data, written)
	}
}

// FuzzDecodeSnapshot reads anything: it is refused, or can be written down.
func FuzzDecodeSnapshot(f *testing.F) {
	f.Add([]byte(`{"version":3,"set":"mine","inForce":{"type":"http"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := definition.New(snapshotOf).DecodeSnapshot(definition.SnapshotVersion, data)
		if err != nil {
			return
		}
		if _, err := s.EncodeSnapshot(); err != nil {
			t.Fatalf("it can be read, and not be written: %v", err)
		}
	})
}
