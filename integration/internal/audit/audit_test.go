package audit_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/audit"
)

const (
	started   = "orchestration.started.v1"
	requested = "activity.requested.v1"
	retrying  = "activity.retrying.v1"
	completed = "activity.completed.v1"
	ended     = "orchestration.ended.v1"
)

func history(types ...string) []api.Event {
	var l []api.Event
	attempt := 0
	for i, t := range types {
		if t == requested {
			attempt++
		}
		data, _ := json.Marshal(map[string]any{"activityId": "a", "attempt": attempt})
		l = append(l, api.Event{Sequence: int64(i) + 1, Type: t, Data: data})
	}
	return l
}

func TestHistory(t *testing.T) {
	good := history(started, requested, retrying, requested, completed, ended)
	t.Run("nothing is wrong with a retried job", func(t *testing.T) {
		if wrong := audit.History("j", good); len(wrong) > 0 {
			t.Error(wrong)
		}
	})
	for name, bad := range map[string][]api.Event{
		"a gap":                        slices.Delete(slices.Clone(good), 2, 3),
		"a repeat":                     slices.Insert(slices.Clone(good), 2, good[1]),
		"an activity that ended twice": history(started, requested, completed, completed, ended),
		"an attempt that is asked for twice": func() []api.Event {
			l := history(started, requested, requested, completed, ended)
			l[2].Data = l[1].Data
			return l
		}(),
		"two ends":                   history(started, requested, completed, ended, ended),
		"no end":                     history(started, requested, completed),
		"no history":                 nil,
		"something that is no event": {{Sequence: 1, Type: started, Data: json.RawMessage("x")}},
	} {
		t.Run("it finds "+name, func(t *testing.T) {
			if len(audit.History("j", bad)) == 0 {
				t.Error("it found nothing")
			}
		})
	}
}

func TestCompletions(t *testing.T) {
	end := func(key, id, typ string) audit.Record { return audit.Record{Key: key, ID: id, Type: typ} }
	const good, bad = "orchestration.completed.v1", "orchestration.failed.v1"
	want := map[string]string{"a": "COMPLETED"}
	t.Run("a repeat under the same id is counted", func(t *testing.T) {
		wrong, repeats, refusals := audit.Completions([]audit.Record{end("a", "1", good), end("a", "1", good), end("a", "2", "command.rejected.v1")}, want)
		if len(wrong) > 0 || repeats != 1 || refusals != 1 {
			t.Error(wrong, repeats, refusals)
		}
	})
	for name, l := range map[string][]audit.Record{
		"two ends": {end("a", "1", good), end("a", "2", good)}, "no end": nil, "another end": {end("a", "1", bad)},
	} {
		t.Run("it finds "+name, func(t *testing.T) {
			if wrong, _, _ := audit.Completions(l, want); len(wrong) == 0 {
				t.Error("it found nothing")
			}
		})
	}
}
