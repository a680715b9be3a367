package projections

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/task"
)

// taskRow is a task that is open, as a transfer or a negotiation shows it.
type taskRow struct {
	name, typ, work string
	asset           string // that it is about, of a negotiation
	phase           orchestration.ActivityPhase
	attempt         int
	agent           string
	since, next     int64
	deadline        int64
	failure         json.RawMessage // the last error
}

// tasks are what is open of an aggregate, in the order it was asked for.
type tasks struct{ open []taskRow }

func (s *tasks) any() bool { return len(s.open) > 0 }

func (s *tasks) find(work string) *taskRow {
	i := slices.IndexFunc(s.open, func(t taskRow) bool { return t.work == work })
	if i < 0 {
		return nil
	}
	return &s.open[i]
}

// apply folds an event in; it answers with what went wrong, where something did.
func (s *tasks) apply(at int64, e task.Event) json.RawMessage {
	if e, ok := e.(task.Requested); ok {
		t := taskRow{name: e.Name, typ: e.Type, work: e.WorkID, asset: assetOf(e.Input), deadline: nanos(e.Deadline)}
		t.offer(at, 1, e.Placement)
		s.open = append(s.open, t)
		return nil
	}
	t := s.find(e.Work())
	if t == nil {
		return nil
	}
	switch e := e.(type) {
	case task.Attempted:
		t.offer(at, e.Attempt, e.Placement)
	case task.Offered:
		t.offer(at, e.Attempt, e.Placement)
	case task.Claimed:
		t.move(at, orchestration.ActivityRunning)
		t.agent = e.Agent
	case task.Waited:
		t.rest(at, orchestration.ActivityWaiting, e.Until)
	case task.Scheduled:
		t.rest(at, orchestration.ActivityScheduled, e.At)
	case task.Retrying:
		t.rest(at, orchestration.ActivityRetrying, e.At)
		t.failure = faultOf(e.Error)
		return t.failure
	case task.Ended:
		s.open = slices.DeleteFunc(s.open, func(t taskRow) bool { return t.work == e.WorkID })
		if e.Error != nil && e.How != task.Dropped {
			return faultOf(*e.Error)
		}
	case task.Requested, task.Extended, task.Nudged:
		// A lease is between the machine and the agent: nothing to see.
	}
	return nil
}

// assetOf is the asset that a task's input names, if it does.
func assetOf(input json.RawMessage) string {
	var in struct {
		AssetID string `json:"assetId"`
	}
	if json.Unmarshal(input, &in) != nil {
		return ""
	}
	return in.AssetID
}

func (t *taskRow) move(at int64, to orchestration.ActivityPhase) {
	t.phase, t.since, t.next, t.agent = to, at, 0, ""
}

// offer puts an attempt before the agents; one with a placement is being carried out already.
func (t *taskRow) offer(at int64, attempt int, placement string) {
	t.attempt = attempt
	if placement == "" {
		t.move(at, orchestration.ActivityReady)
		return
	}
	t.move(at, orchestration.ActivityRunning)
	t.agent = placement
}

func (t *taskRow) rest(at int64, to orchestration.ActivityPhase, next time.Time) {
	t.move(at, to)
	t.next = nanos(next)
}

// append writes them as a list.
func (s *tasks) append(b []byte) []byte {
	b = append(b, '[')
	for i := range s.open {
		t := &s.open[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(append(b, `{"name":`...), t.name)
		b = appendText(append(b, `,"type":`...), t.typ)
		b = appendText(append(b, `,"workId":`...), t.work)
		if t.asset != "" {
			b = appendText(append(b, `,"assetId":`...), t.asset)
		}
		b = appendText(append(b, `,"state":`...), t.phase.String())
		b = appendInt(b, `,"attempt":`, int64(t.attempt))
		b = appendOptional(append(b, `,"agent":`...), t.agent)
		b = appendTime(append(b, `,"since":`...), t.since)
		b = appendTime(append(b, `,"nextAt":`...), t.next)
		b = appendTime(append(b, `,"deadline":`...), t.deadline)
		b = append(appendRaw(append(b, `,"error":`...), t.failure), '}')
	}
	return append(b, ']')
}

// Task is a piece of work that a transfer, or a negotiation, has asked agents for.
type Task struct {
	Name     string          `json:"name"`
	Type     string          `json:"type"` // of the agents
	WorkID   string          `json:"workId"`
	AssetID  string          `json:"assetId,omitempty"` // that it is about
	State    string          `json:"state"`             // READY, RUNNING, WAITING, SCHEDULED or RETRYING
	Attempt  int             `json:"attempt"`
	Agent    *string         `json:"agent"` // who carries it out
	Since    time.Time       `json:"since"`
	NextAt   *time.Time      `json:"nextAt"` // the next attempt, or until when it waits
	Deadline *time.Time      `json:"deadline"`
	Error    json.RawMessage `json:"error"` // the last
}

// readTasks takes tasks up again from a document.
func readTasks(l []Task) (s tasks) {
	for _, d := range l {
		t := taskRow{
			name: d.Name, typ: d.Type, work: d.WorkID, asset: d.AssetID, attempt: d.Attempt,
			since: nanos(d.Since), next: nanosOf(d.NextAt), deadline: nanosOf(d.Deadline), failure: notNull(d.Error),
		}
		if d.Agent != nil {
			t.agent = *d.Agent
		}
		t.phase, _ = nodeState(d.State)
		s.open = append(s.open, t)
	}
	return s
}
