package definition

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/waybill/waybill/domain/machine"
)

// MergeInput puts the properties of a start's input over a definition's defaults; a property that both
// have is the given one, whole. Both must be objects or empty, else the error is a
// *machine.Refusal. Without defaults the result is what was given, or {}; otherwise it is
// written with sorted names, so that deriving it again gives the same bytes. Values keep
// their digits.
func MergeInput(defaults, given json.RawMessage) (json.RawMessage, error) {
	d, err := properties("the definition's input", defaults)
	if err != nil {
		return nil, err
	}
	if len(d) == 0 {
		return onlyGiven(given)
	}
	g, err := properties("the input", given)
	if err != nil {
		return nil, err
	}
	for k, v := range g {
		d[k] = v
	}
	return json.Marshal(d)
}

func onlyGiven(given json.RawMessage) (json.RawMessage, error) {
	trimmed := bytes.TrimSpace(given)
	if len(trimmed) == 0 {
		return json.RawMessage("{}"), nil
	}
	if trimmed[0] == '{' && json.Valid(trimmed) {
		return given, nil
	}
	_, err := properties("the input", given)
	return nil, err
}

func properties(what string, raw json.RawMessage) (map[string]json.RawMessage, error) {
	if len(bytes.TrimSpace(raw)) == 0 {
		return nil, nil
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(raw, &m); err != nil || m == nil {
		return nil, machine.Refuse(machine.Schema, what+" is not an object", notAnObject(raw)...)
	}
	return m, nil
}

func notAnObject(raw json.RawMessage) []machine.Problem {
	var f findings
	if v, ok := f.parse(raw); ok {
		f.want("", "an object", v)
	}
	l := f.all()
	for i := range l {
		l[i].Path = inputName
	}
	return l
}

// Resolve copies the policies of activity types (retry, timeouts) into the activities that
// say nothing of their own, and their schemas into Contracts. An activity that sets a part of
// retry has the rest of its type's. The function types finds an activity type. The definition
// itself is left alone.
func Resolve(o Orchestration, types func(activityType string) (ActivityType, bool)) Orchestration {
	o.Activities = slices.Clone(o.Activities)
	o.Contracts = nil
	for i := range o.Activities {
		a := &o.Activities[i]
		t, ok := types(a.Type)
		if !ok {
			continue
		}
		a.Retry = a.Retry.over(t.Retry)
		a.AttemptTimeout = orElse(a.AttemptTimeout, t.AttemptTimeout)
		a.Deadline = orElse(a.Deadline, t.Deadline)
		a.HeartbeatTimeout = orElse(a.HeartbeatTimeout, t.HeartbeatTimeout)
		if c := t.Contract(); !c.Empty() {
			if o.Contracts == nil {
				o.Contracts = make(map[string]Contract)
			}
			o.Contracts[a.Type] = c
		}
	}
	return o
}

// over is r where it says something, and the other where it does not.
func (r *Retry) over(other *Retry) *Retry {
	if r == nil || other == nil {
		if r == nil {
			r = other
		}
		return r
	}
	both := Retry{Limit: r.Limit, BaseDelay: orElse(r.BaseDelay, other.BaseDelay), MaxDelay: orElse(r.MaxDelay, other.MaxDelay)}
	if both.Limit == nil {
		both.Limit = other.Limit
	}
	return &both
}

func orElse(d, otherwise Duration) Duration {
	if d == 0 {
		return otherwise
	}
	return d
}
