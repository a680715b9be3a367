package projections

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/waybill/waybill/domain/orchestration"
)

// targets reads all pages of a selection and holds their number against the count.
func targets(t *testing.T, db *DB, s Selection) []Target {
	t.Helper()
	var all []Target
	for {
		page, next, err := db.Targets(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		if s.Limit > 0 && len(page) > s.Limit {
			t.Errorf("a page has %d of %d", len(page), s.Limit)
		}
		if all = append(all, page...); next == "" {
			break
		}
		s.Cursor = next
	}
	if n, err := db.CountTargets(t.Context(), s); err != nil || int(n) != len(all) {
		t.Errorf("counted %d of %d, %v", n, len(all), err)
	}
	return all
}

func TestTargetsOfWhatIsSaidInBulk(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "p.db"))
	fold(t, db, 10, everything(t))
	running := []orchestration.Phase{orchestration.PhaseInProgress, orchestration.PhasePaused}
	for _, limit := range []int{0, 1, 2} {
		f := JobFilter{Limit: limit}
		if got := targets(t, db, Selection{JobFilter: f, States: running}); !slices.Equal(got, []Target{{JobID: "p0-operated"}, {JobID: "p0-retrying"}, {JobID: "p0-chain-3"}}) {
			t.Errorf("running: %v", got)
		}
		if got := targets(t, db, Selection{JobFilter: f, States: []orchestration.Phase{orchestration.PhaseCompleted}}); len(got) != 19 {
			t.Errorf("completed: %v", got)
		}
		if got := targets(t, db, Selection{JobFilter: JobFilter{State: "PAUSED", Limit: limit}, States: running}); !slices.Equal(got, []Target{{JobID: "p0-operated"}}) {
			t.Errorf("paused: %v", got)
		}
		if got := targets(t, db, Selection{JobFilter: JobFilter{State: "COMPLETED", Limit: limit}, States: running}); len(got) > 0 {
			t.Errorf("what has ended is not running: %v", got)
		}
		if got := targets(t, db, Selection{JobFilter: f, States: running, NodeState: "READY"}); !slices.Equal(got, []Target{
			{"p0-operated", "retried"}, {"p0-operated", "resumed"}, {"p0-operated", "paused"},
		}) {
			t.Errorf("READY nodes: %v", got)
		}
		if got := targets(t, db, Selection{JobFilter: f, States: running, NodeType: "retrieve"}); !slices.Equal(got, []Target{
			{"p0-retrying", "root"}, {"p0-retrying", "n-1"}, {"p0-retrying", "n-2"},
		}) {
			t.Errorf("nodes by type: %v", got)
		}
		if got := targets(t, db, Selection{JobFilter: f, States: running, NodeType: "retrieve", NodeState: "RETRYING"}); !slices.Equal(got, []Target{{"p0-retrying", "n-1"}}) {
			t.Errorf("RETRYING nodes by type: %v", got)
		}
	}
	for name, s := range map[string]Selection{
		"state": {JobFilter: JobFilter{State: "DONE"}}, "node state": {NodeState: "DONE"}, "cursor": {JobFilter: JobFilter{Cursor: "x"}},
		"foreign cursor": {JobFilter: JobFilter{Cursor: cursor("jobs", "1", "x")}},
		"no number":      {JobFilter: JobFilter{Cursor: cursor("targets", "x", "j", "1")}},
		"no node":        {JobFilter: JobFilter{Cursor: cursor("targets", "1", "j", "x")}, NodeType: "noop"},
	} {
		s.States = running
		if _, _, err := db.Targets(t.Context(), s); err == nil {
			t.Errorf("a %s that there is none of was taken", name)
		}
	}
}
