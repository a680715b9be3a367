package negotiation_test

import (
	"slices"
	"testing"
	"time"

	. "github.com/waybill/waybill/domain/negotiation" //nolint:revive // the tests read as sentences of this package
)

// Another log may speak with the same connector, or the same one begin anew on an empty log: a process
// that was asked for twice is broken, and a negotiation that is found by its key is taken for ours.
func TestAnotherLogAsksTheConnectorUnderOtherNames(t *testing.T) {
	var names []string
	for _, at := range []time.Time{epoch, epoch.Add(time.Hour)} {
		p := newProvider(t, Config{})
		p.at = at
		p.heard = func(typ string, in Input) {
			switch typ {
			case "negotiation-request":
				names = append(names, in.Key)
			case "edr-request":
				names = append(names, in.ProcessID)
			}
		}
		p.give(wants("t-1", "doc", NeedEDR))
		p.run()
	}
	if slices.Sort(names); len(slices.Compact(names)) != 4 || names[0] == "" {
		t.Errorf("the connector is asked for %q, want a negotiation and a process of each log", names)
	}
}
