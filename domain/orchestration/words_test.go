package orchestration_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/machine/machinetest"
	. "github.com/waybill/waybill/domain/orchestration" //nolint:revive // the tests read as sentences of this package
)

// The words that the tests of this package are written with.

var (
	given = machinetest.For(func() State { return New("o-1") })
	epoch = machinetest.Epoch
)

type scenario = machinetest.Scenario[State, Command, Event]

// activity is one of type noop.
func activity(id string, dependsOn ...string) definition.Activity {
	return definition.Activity{ID: id, Type: "noop", DependsOn: dependsOn}
}

func with(a definition.Activity, change func(*definition.Activity)) definition.Activity {
	change(&a)
	return a
}

func list(l ...definition.Activity) []definition.Activity { return l }

func compile(def definition.Orchestration) *Plan {
	p, err := NewPlan(def)
	if err != nil {
		panic(err) // a mistake in the test
	}
	return p
}

func plan(activities ...definition.Activity) *Plan {
	return compile(definition.Orchestration{Type: "job", Activities: activities})
}

func start(p *Plan) Start {
	return Start{Type: "job", Input: json.RawMessage(`{"cell":"blue"}`), Plan: p, Fingerprint: "body"}
}

// running is an orchestration of these activities that has just been started.
func running(activities ...definition.Activity) scenario {
	return given().When(start(plan(activities...)))
}

func started(p *Plan) Started {
	return Started{
		Type: "job", Run: 1, Plan: p, Input: json.RawMessage(`{"cell":"blue"}`),
		Deadline: epoch.Add(DefaultDeadline), Fingerprint: "body",
	}
}

func workID(id string) string { return machine.ID("work", "orchestration", "o-1", "1", id) }

func report(id string, attempt int) Report { return Report{WorkID: workID(id), Attempt: attempt} }

// requested is the first attempt, asked for after so much time.
func requested(id string, after ...time.Duration) Requested {
	at := epoch
	for _, d := range after {
		at = at.Add(d)
	}
	return Requested{ActivityID: id, Attempt: 1, WorkID: workID(id), Deadline: at.Add(DefaultActivityDeadline)}
}

// done completes the first attempt.
func done(id string, spawn ...definition.Activity) Complete {
	return Complete{Report: report(id, 1), Output: json.RawMessage(`"` + id + `"`), Spawn: spawn}
}

func completed(id string) Completed {
	return Completed{ActivityID: id, Attempt: 1, Output: json.RawMessage(`"` + id + `"`)}
}

func grown(id string, spawned []definition.Activity, shared []string, cycles ...string) Completed {
	c := completed(id)
	c.Spawned, c.Shared, c.Cycles = spawned, shared, cycles
	return c
}

func broken(id string) Fail {
	return Fail{Report: report(id, 1), Error: Fault{Step: "fetch", Message: "no such file"}}
}

func failure(id string) Failure {
	return Failure{ActivityID: id, Name: id, Step: "fetch", Message: "no such file", Attempts: 1, At: epoch}
}

func ended(p Phase) Ended { return Ended{State: p} }

// failedBy is the end of an orchestration by one failure.
func failedBy(f Failure) []Event {
	return []Event{Failed{ActivityID: f.ActivityID, Attempt: 1, Error: f}, Ended{State: PhaseError, Error: &f, Failures: []Failure{f}}}
}

func tolerant(a definition.Activity) definition.Activity {
	a.OnError = definition.OnErrorContinue
	return a
}

func lasting(d time.Duration) definition.Duration { return definition.Duration(d) }

func number(n int) *int { return &n }

// becomes is the test that the orchestration stands there.
func becomes(s scenario, p Phase) func(t *testing.T) {
	return func(t *testing.T) {
		t.Helper()
		if got := s.State(t).Phase(); got != p {
			t.Errorf("it is %s, want %s", got, p)
		}
	}
}
