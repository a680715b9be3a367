package transfer_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/waybill/waybill/domain/task"
	. "github.com/waybill/waybill/domain/transfer" //nolint:revive // the tests read as sentences of this package
)

// The same transfer may be known to a connector from another log, or from before this one was emptied: a
// process that was asked for twice is broken.
func TestAnotherLogAsksForOtherProcesses(t *testing.T) {
	processes := map[string]bool{}
	for _, at := range []time.Time{epoch, epoch.Add(time.Hour)} {
		s := New("t-1")
		for _, c := range []Command{asked(push()), access("1")} {
			events, err := s.Decide(at, c)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range events {
				s = s.Evolve(at, e)
				if id, ok := processOf(t, e); ok {
					processes[id] = true
				}
			}
		}
	}
	if len(processes) != 2 {
		t.Errorf("the connector is asked for %v, want one of each log", processes)
	}
}

// processOf is what process a transfer-request is about, if the event asks for one.
func processOf(t *testing.T, e Event) (id string, ok bool) {
	t.Helper()
	w, ok := e.(Worked)
	if !ok {
		return "", false
	}
	r, ok := w.Event.(task.Requested)
	if !ok || r.Type != WorkRequest {
		return "", false
	}
	var in struct {
		ProcessID string `json:"processId"`
	}
	if err := json.Unmarshal(r.Input, &in); err != nil {
		t.Fatal(err)
	}
	return in.ProcessID, true
}
