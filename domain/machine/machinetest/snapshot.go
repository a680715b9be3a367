package machinetest

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Snapshots is what every machine's snapshots are held to.
type Snapshots[S interface{ EncodeSnapshot() ([]byte, error) }] struct {
	// Version is the one that is written.
	Version int
	// Decode reads a snapshot of the sample's aggregate.
	Decode func(version int, data []byte) (S, error)
	// Sample is a state with something of everything.
	Sample func(tb testing.TB) S
}

func (x Snapshots[S]) sample(tb testing.TB) []byte {
	tb.Helper()
	data, err := x.Sample(tb).EncodeSnapshot()
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// Golden reads what every version ever wrote, from testdata/snapshot.v1.json and so on. With -rewrite, the
// transcripts' flag, that of this version is written anew.
func (x Snapshots[S]) Golden(t *testing.T) {
	t.Helper()
	data := x.sample(t)
	if f := flag.Lookup("rewrite"); f != nil && f.Value.String() == "true" {
		if err := os.WriteFile(golden(x.Version), append(data, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for version := 1; version <= x.Version; version++ {
		written, err := os.ReadFile(golden(version))
		if err != nil {
			t.Fatal(err)
		}
		if version == x.Version && !bytes.Equal(bytes.TrimSpace(written), data) {
			t.Errorf("version %d is written otherwise than it was; a change needs another version:\n%s\nwas:\n%s", version, data, written)
		}
		got, err := x.Decode(version, written)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := got.EncodeSnapshot(); err != nil || !bytes.Equal(again, data) {
			t.Errorf("version %d is read as\n%s (%v)\nwant\n%s", version, again, err, data)
		}
	}
}

func golden(version int) string {
	return filepath.Join("testdata", fmt.Sprintf("snapshot.v%d.json", version))
}

// Refuses says that what another build has written, or nobody, is not taken for a state.
func (x Snapshots[S]) Refuses(t *testing.T, more ...string) {
	t.Helper()
	data := string(x.sample(t))
	if _, err := x.Decode(x.Version+1, []byte(data)); err == nil {
		t.Error("a newer version is taken")
	}
	for _, text := range append(more, `{"more":1}`, data[:len(data)/2], data+data) {
		if _, err := x.Decode(x.Version, []byte(text)); err == nil {
			t.Errorf("this is taken: %s", text)
		}
	}
}

// Fuzz reads anything: it is refused, or is a state that can be written down; then goOn is asked what it does.
func (x Snapshots[S]) Fuzz(f *testing.F, goOn func(S)) {
	f.Helper()
	f.Add(x.sample(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := x.Decode(x.Version, data)
		if err != nil {
			return
		}
		if _, err := s.EncodeSnapshot(); err != nil {
			t.Fatalf("it can be read, and not be written: %v", err)
		}
		goOn(s)
	})
}
