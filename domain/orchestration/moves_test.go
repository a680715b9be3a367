package orchestration_test

import (
	"encoding/json"
	"flag"
	"os"
	"testing"

	. "github.com/waybill/waybill/domain/orchestration" //nolint:revive // the tests read as sentences of this package
)

var update = flag.Bool("update", false, "write states.md anew from the tables of moves")

const statesHead = "# States of an orchestration\n\nDrawn from the tables in `moves.go`: `go test ./domain/orchestration -run TestDiagram -update`.\n\n"

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

func TestPhases(t *testing.T) {
	for p, code := range map[Phase]int{
		PhaseInitial: 100, PhaseInProgress: 600, PhasePaused: 610, PhaseTransfersFinished: 700, PhaseCompleted: 800, PhaseError: -1, PhaseCancelled: 1200,
	} {
		b, err := json.Marshal(p)
		var back Phase
		if err != nil || json.Unmarshal(b, &back) != nil || back != p || int(p) != code {
			t.Errorf("%s (%d) is written %s and read %s", p, int(p), b, back)
		}
	}
	var p Phase
	if err := p.UnmarshalText([]byte("LOST")); err == nil {
		t.Error("there is a state LOST")
	}
	if got := Phase(7).String() + ActivityPhase(77).String(); got != "Phase(7)ActivityPhase(77)" {
		t.Error(got)
	}
	if ActivityPhase(77).CanMove(ActivityReady) || PhaseCompleted.CanMove(PhaseError) || ActivityCompleted.CanMove(ActivityFailed) {
		t.Error("an end is not final")
	}
}
