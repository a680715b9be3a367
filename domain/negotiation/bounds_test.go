package negotiation

import (
	"fmt"
	"testing"
	"time"

	"github.com/waybill/waybill/domain/machine/machinetest"
)

func TestTheTimersOfThoseWhoAreGoneAreForgotten(t *testing.T) {
	s := New("edc http://provider1")
	s = s.Evolve(machinetest.Epoch, Joined{Wish{Waiter: "stays", AssetID: "doc", Need: NeedEDR, Deadline: machinetest.Epoch.Add(time.Hour)}})
	for i := range 10_000 {
		name := fmt.Sprint("t-", i)
		s = s.Evolve(machinetest.Epoch, Joined{Wish{Waiter: name, AssetID: "doc", Need: NeedEDR, Deadline: machinetest.Epoch.Add(24 * time.Hour)}})
		s = s.Evolve(machinetest.Epoch, Left{Waiter: name})
	}
	if n := len(s.b.timers); n > 200 {
		t.Errorf("%d timers are kept for one that waits", n)
	}
	if due := s.Deadline(); !due.Equal(machinetest.Epoch.Add(time.Hour)) {
		t.Errorf("it is due at %s", due)
	}
}
