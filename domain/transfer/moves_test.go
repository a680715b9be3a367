package transfer_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/waybill/waybill/domain/orchestration"
	. "github.com/waybill/waybill/domain/transfer" //nolint:revive // the tests read as sentences of this package
)

var rewrite = flag.Bool("rewrite", false, "write states.md and what stands in testdata anew")

// golden holds a text against a file.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s says something else (-rewrite writes it down):\n%s", file, got)
	}
}

const statesHead = "# States of a transfer\n\nDrawn from the table in `moves.go`: `go test ./domain/transfer -run TestDiagram -rewrite`.\n\n"

func TestDiagram(t *testing.T) { golden(t, "states.md", statesHead+Diagram()) }

// TestEveryCell holds each of the moves between two states against the table of the design, written down
// here once more.
func TestEveryCell(t *testing.T) {
	before := []Phase{100, 200, 250, 300, 400, 500, 600, 650, 700, 720, 725, 750}
	from := map[Phase][]Phase{
		200: {100}, 250: {200}, 300: {100, 200, 250}, 400: {300}, 500: {400}, 600: {400, 500, 700, 720, 725}, 650: {600}, 700: {600, 650},
		720: {700}, 725: {720}, 750: {600}, 800: {600, 750}, 825: before, 850: append(slices.Clone(before), 825),
		900: {800, 850}, 950: {900}, 1000: {900, 950},
	}
	for _, a := range Phases() {
		for _, b := range Phases() {
			if got, want := a.CanMove(b), slices.Contains(from[b], a); got != want {
				t.Errorf("%s (%d) to %s (%d): %v, want %v", a, a, b, b, got, want)
			}
		}
	}
	if got := (&MoveError{PhaseSuspended, PhaseCompleted}).Error(); got != "SUSPENDED does not lead to COMPLETED" {
		t.Error(got)
	}
}

func TestPhases(t *testing.T) {
	codes := map[string]int{
		"INITIAL": 100, "PROVISIONING": 200, "PROVISIONING_REQUESTED": 250, "PROVISIONED": 300, "REQUESTING": 400, "REQUESTED": 500, "STARTED": 600,
		"SUSPENDING": 650, "SUSPENDED": 700, "RESUMING": 720, "RESUMED": 725, "COMPLETING": 750, "COMPLETED": 800, "TERMINATING": 825, "TERMINATED": 850,
		"DEPROVISIONING": 900, "DEPROVISIONING_REQUESTED": 950, "DEPROVISIONED": 1000,
	}
	for _, p := range Phases() {
		b, err := json.Marshal(p)
		var back Phase
		if err != nil || json.Unmarshal(b, &back) != nil || back != p || codes[p.String()] != int(p) {
			t.Errorf("%s (%d) is written %s and read %s", p, int(p), b, back)
		}
		delete(codes, p.String())
	}
	var p Phase
	if len(codes) > 0 || p.UnmarshalText([]byte("LOST")) == nil || Phase(7).String() != "Phase(7)" {
		t.Errorf("missing: %v", codes)
	}
}

// TestEveryCommandInEveryState writes down what each command makes of each state: the states it leads
// through, what else happens, or how it is refused.
func TestEveryCommandInEveryState(t *testing.T) {
	states := []struct {
		name string
		s    scenario
	}{
		{"nobody has asked", given()},
		{"PROVISIONING", provisioning},
		{"PROVISIONING_REQUESTED", elsewhere},
		{"PROVISIONED", acquiring},
		{"REQUESTING", requesting},
		{"REQUESTED", requested},
		{"STARTED (pull)", started},
		{"STARTED (pull, acquires anew)", started.When(fails(coded("fetch", "403", "edr-dead"), "fetch", "1"))},
		{"STARTED (push)", sending},
		{"SUSPENDING", suspending},
		{"SUSPENDED (pull)", suspended},
		{"SUSPENDED (push)", paused},
		{"RESUMING", resuming},
		{"RESUMED", resumed},
		{"COMPLETING", landed},
		{"COMPLETED", completed},
		{"TERMINATING", terminating},
		{"TERMINATED", terminated},
		{"DEPROVISIONING", deprovisioning},
		{"DEPROVISIONING_REQUESTED", freeing},
		{"DEPROVISIONED", freed},
	}
	observed := func(state string) Observed { return Observed{ProcessID: process("1"), State: state, Detail: "why"} }
	commands := []struct {
		name string
		c    Command
	}{
		{"suspend", Suspend{}},
		{"resume", Resume{}},
		{"terminate", Terminate{}},
		{"deprovision", Deprovision{}},
		{"granted", access("2")},
		{"refused", Refused{Error: fault("offer", "no offer")}},
		{"observed REQUESTED", observed("REQUESTED")},
		{"observed STARTED", observed("STARTED")},
		{"observed SUSPENDED", observed("SUSPENDED")},
		{"observed COMPLETED", observed("COMPLETED")},
		{"observed TERMINATED", observed("TERMINATED")},
		{"observed of another process", Observed{ProcessID: "somebody's", State: "STARTED"}},
		{"provisioned b", Provisioned{ResourceDefinitionID: "b"}},
		{"provisioned z", Provisioned{ResourceDefinitionID: "z"}},
		{"deprovisioned b", Deprovisioned{ProvisionedResourceID: "b"}},
		{"uploaded a", Uploaded{ResourceDefinitionID: "a", Digest: "d"}},
		{"a report of nobody's work", Report{orchestration.Complete{Report: orchestration.Report{WorkID: "w", Attempt: 1}}}},
		{"a heartbeat of nobody's", Report{orchestration.Heartbeat{Report: orchestration.Report{WorkID: "w", Attempt: 1}}}},
	}
	var b strings.Builder
	b.WriteString("What each command makes of each state; nothing where it changes nothing.\n")
	for _, state := range states {
		fmt.Fprintf(&b, "\n%s\n", state.name)
		for _, c := range commands {
			at := state.s.State(t)
			events, err := at.Decide(epoch, c.c)
			fmt.Fprintf(&b, "  %s: %s\n", c.name, brief(events, err))
		}
	}
	golden(t, "testdata/cells.txt", strings.ReplaceAll(b.String(), ": \n", ":\n"))
}

// brief is what happens in a few words.
func brief(events []Event, err error) string {
	if err != nil {
		return "refused, " + err.Error()
	}
	l := make([]string, len(events))
	for i, e := range events {
		l[i] = told(e)
	}
	return strings.Join(l, "; ")
}
