package agents_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/agents"
	"github.com/waybill/waybill/domain/definition"
)

func activity(input string) agent.Activity {
	return agent.Activity{
		ID: "work-1", Attempt: 1, JobID: "job-1", ActivityID: "a", IdempotencyKey: "work-1",
		Input: agent.NewValues(json.RawMessage(input)),
	}
}

func TestNoop(t *testing.T) {
	is := func(t *testing.T, r agent.Result, kind agent.Kind) {
		t.Helper()
		if r.Kind() != kind {
			t.Fatalf("it is %q (%v), want %q", r.Kind(), r.Err(), kind)
		}
	}
	do := func(t *testing.T, input string) agent.Result {
		t.Helper()
		return agents.Noop{}.Process(t.Context(), activity(input))
	}
	t.Run("completes without an input", func(t *testing.T) {
		r := do(t, "")
		is(t, r, agent.Completed)
		if r.Output() != nil {
			t.Fatalf("with %s", r.Output())
		}
	})
	t.Run("gives the result it is asked for", func(t *testing.T) {
		for word, kind := range map[string]agent.Kind{
			"complete": agent.Completed, "wait": agent.Waiting, "schedule": agent.Scheduled, "retry": agent.Retrying, "fatal": agent.Failed,
		} {
			is(t, do(t, `{"result":"`+word+`"}`), kind)
		}
	})
	t.Run("gives it so many times, then completes", func(t *testing.T) {
		a := activity(`{"result":"retry","times":2,"output":7}`)
		for _, kind := range []agent.Kind{agent.Retrying, agent.Retrying, agent.Completed} {
			r := agents.Noop{}.Process(t.Context(), a)
			is(t, r, kind)
			a.State = r.State()
			a.Attempt++
		}
	})
	t.Run("does not poll without a pause", func(t *testing.T) {
		if r := do(t, `{"result":"schedule"}`); r.Wants() != time.Second {
			t.Fatalf("after %s", r.Wants())
		}
		if r := do(t, `{"result":"schedule","after":"PT0S"}`); r.Wants() != 0 {
			t.Fatalf("after %s", r.Wants())
		}
	})
	t.Run("returns its output as it is", func(t *testing.T) {
		if r := do(t, `{"output":{"a":[1,2]},"size":100}`); string(r.Output()) != `{"a":[1,2]}` {
			t.Fatalf("got %s", r.Output())
		}
	})
	t.Run("makes an output of the size", func(t *testing.T) {
		if r := do(t, `{"size":1000}`); len(r.Output()) != 1000 || !json.Valid(r.Output()) {
			t.Fatalf("got %d bytes", len(r.Output()))
		}
	})
	t.Run("spawns what it is told", func(t *testing.T) {
		r := do(t, `{"spawn":[{"id":"a","type":"noop","with":{"output":1}},{"id":"b","type":"noop","dependsOn":"a"}]}`)
		is(t, r, agent.Completed)
		if s := r.Spawned(); len(s) != 2 || s[1].DependsOn[0] != "a" || definition.CheckSpawned(&s[0]) != nil {
			t.Fatalf("got %+v", s)
		}
	})
	t.Run("takes its time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			is(t, do(t, `{"delay":"PT90S"}`), agent.Completed)
			if d := time.Since(began); d != 90*time.Second {
				t.Fatalf("it took %s", d)
			}
		})
	})
	t.Run("ends when nobody wants it any more", func(t *testing.T) {
		enough := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(enough)
		r := agents.Noop{}.Process(ctx, activity(`{"delay":"1h"}`))
		is(t, r, agent.Retrying)
		if r.Err().Error() != "enough" {
			t.Fatalf("got %v", r.Err())
		}
	})
	t.Run("says what is wrong with its input", func(t *testing.T) {
		for input, says := range map[string]string{
			`[]`: "cannot unmarshal", `{"delay":"soon"}`: "want ISO 8601", `{"delay":"-1s"}`: "negative", `{"result":"maybe"}`: `"maybe" is none of`,
			`{"size":-1}`: "size -1", `{"size":99999999999}`: "limit of 67108864 bytes", `{"times":-1}`: "times -1", `{"spawn":{}}`: "cannot unmarshal",
		} {
			r := do(t, input)
			is(t, r, agent.Failed)
			if f := r.Fault(); f.Step != "input" || !strings.Contains(f.Message, says) {
				t.Errorf("%s: %+v, want %q", input, f, says)
			}
		}
	})
	t.Run("is quick when there is no delay", func(t *testing.T) {
		for input, quick := range map[string]bool{
			"": true, "{}": true, `{"output":"delay"}`: true, `{"delay":"PT0S"}`: true, `{"spawn":[{"with":{"delay":"1s"}}]}`: true,
			`{"delay":"1s"}`: false, `{"d\u0065lay":"1s"}`: false, `{`: true,
		} {
			if got := (agents.Noop{}).Quick(activity(input)); got != quick {
				t.Errorf("%s: %v", input, got)
			}
		}
	})
}
