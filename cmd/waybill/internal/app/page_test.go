package app

import (
	"strings"
	"testing"

	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/transfer"
)

// The page chooses jobs, nodes, transfers and negotiations by their state.
func TestThePageKnowsEveryState(t *testing.T) {
	var states []string
	for _, p := range orchestration.Phases() {
		states = append(states, p.String())
	}
	for p := orchestration.ActivityPending; p <= orchestration.ActivitySkipped; p++ {
		states = append(states, p.String())
	}
	for _, p := range transfer.Phases() {
		states = append(states, p.String())
	}
	for _, p := range negotiation.Phases() {
		states = append(states, p.String())
	}
	for _, s := range states {
		if !strings.Contains(string(page), "<option>"+s+"</option>") {
			t.Errorf("the page has no %s to choose", s)
		}
	}
}
