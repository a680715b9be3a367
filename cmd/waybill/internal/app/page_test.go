package app

import (
	"strings"
	"testing"

	"github.com/waybill/waybill/domain/orchestration"
)

// The page chooses jobs and nodes by their state.
func TestThePageKnowsEveryState(t *testing.T) {
	var states []string
	for _, p := range orchestration.Phases() {
		states = append(states, p.String())
	}
	for p := orchestration.ActivityPending; p <= orchestration.ActivitySkipped; p++ {
		states = append(states, p.String())
	}
	for _, s := range states {
		if !strings.Contains(string(page), "<option>"+s+"</option>") {
			t.Errorf("the page has no %s to choose", s)
		}
	}
}
