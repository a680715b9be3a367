package negotiation_test

import (
	"encoding/json"
	"flag"
	"os"
	"slices"
	"testing"

	. "github.com/waybill/waybill/domain/negotiation" //nolint:revive // the tests read as sentences of this package
)

var update = flag.Bool("update", false, "write states.md anew from the tables of moves")

const statesHead = "# States of a negotiation\n\nDrawn from the tables in `moves.go`: `go test ./domain/negotiation -run TestDiagram -update`.\n\n"

func TestDiagram(t *testing.T) {
	want := statesHead + Diagram()
	if *update {
		if err := os.WriteFile("states.md", []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("states.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("states.md does not show the tables as they are: run this test with -update")
	}
}

func TestPhasesHaveTheirPublicNamesAndCodes(t *testing.T) {
	codes := []int{50, 100, 200, 400, 700, 800, 850, 1050, 1100, 1200, 1300, 1400}
	for i, p := range Phases() {
		b, err := json.Marshal(p)
		var back Phase
		if err != nil || json.Unmarshal(b, &back) != nil || back != p || int(p) != codes[i] {
			t.Errorf("%s (%d) is written %s and read %s", p, int(p), b, back)
		}
	}
	var p Phase
	if err := p.UnmarshalText([]byte("LOST")); err == nil {
		t.Error("there is a state LOST")
	}
	if got := Phase(7).String(); got != "Phase(7)" {
		t.Error(got)
	}
}

func TestWhatWasPassedOverIsOnTheAllowedPath(t *testing.T) {
	for _, c := range []struct {
		from, to Phase
		path     []Phase
	}{
		{PhaseRequested, PhaseAgreed, []Phase{PhaseAgreed}},
		{PhaseRequesting, PhaseFinalized, []Phase{PhaseRequested, PhaseAgreed, PhaseVerifying, PhaseVerified, PhaseFinalized}},
		{PhaseOffered, PhaseFinalized, []Phase{PhaseAccepted, PhaseVerifying, PhaseVerified, PhaseFinalized}},
		{PhaseRequested, PhaseTerminated, []Phase{PhaseTerminated}},
		{PhaseVerified, PhaseAgreed, nil},
		{PhaseOffered, PhaseRequested, nil},
		{PhaseTerminated, PhaseFinalized, nil},
		{PhaseAgreed, PhaseAgreed, nil},
		{PhaseFinalized, PhaseTerminated, nil},
	} {
		if got := c.from.Path(c.to); !slices.Equal(got, c.path) {
			t.Errorf("from %s to %s: got %v, want %v", c.from, c.to, got, c.path)
		}
	}
}
