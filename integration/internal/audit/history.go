package audit

import (
	"encoding/json"
	"fmt"

	"github.com/waybill/waybill/integration/internal/api"
)

// History checks one job's history: sequence numbers from 1 without a gap or a repeat,
// one start and one end, each attempt of an activity requested once and left once, each
// activity ended once.
func History(id string, events []api.Event) []string {
	h := &history{id: id, once: map[string]int64{}}
	for i, e := range events {
		if want := int64(i) + 1; e.Sequence != want {
			h.wrong = append(h.wrong, fmt.Sprintf("%s: event %d of its history has the sequence %d (%s)", id, want, e.Sequence, e.Type))
			return h.wrong // what follows would only say so again
		}
		h.look(e)
	}
	if len(events) == 0 || events[len(events)-1].Type != "orchestration.ended.v1" {
		h.wrong = append(h.wrong, fmt.Sprintf("%s: its history of %d events does not close with its end", id, len(events)))
	}
	return h.wrong
}

type history struct {
	id    string
	once  map[string]int64 // what may be there once -> the sequence of the event it was seen in
	wrong []string
}

func (h *history) look(e api.Event) {
	var b struct {
		ActivityID string `json:"activityId"`
		Attempt    int    `json:"attempt"`
		Offer      int    `json:"offer"`
	}
	if err := json.Unmarshal(e.Data, &b); err != nil {
		h.wrong = append(h.wrong, fmt.Sprintf("%s: event %d: %v", h.id, e.Sequence, err))
		return
	}
	attempt := fmt.Sprintf("attempt %d of %s", b.Attempt, b.ActivityID)
	switch e.Type {
	case "orchestration.started.v1", "orchestration.transfers-finished.v1", "orchestration.ended.v1":
		h.single(e, e.Type)
	case "activity.requested.v1":
		h.single(e, "the request of "+attempt)
	case "activity.offered.v1":
		h.single(e, fmt.Sprintf("offer %d of %s", b.Offer, attempt))
	case "activity.waited.v1":
		h.single(e, "the waiting in "+attempt)
	case "activity.scheduled.v1", "activity.retrying.v1":
		h.single(e, "the end of "+attempt)
	case "activity.completed.v1", "activity.failed.v1":
		h.single(e, "the end of "+attempt)
		h.single(e, "the end of "+b.ActivityID)
	}
}

func (h *history) single(e api.Event, what string) {
	if before, ok := h.once[what]; ok {
		h.wrong = append(h.wrong, fmt.Sprintf("%s: %s stands in events %d and %d (%s)", h.id, what, before, e.Sequence, e.Type))
		return
	}
	h.once[what] = e.Sequence
}
