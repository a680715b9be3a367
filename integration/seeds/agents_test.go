package seeds_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
)

// plans are the orchestration types of a world.
type plans map[string]*orchestration.Plan

func (p plans) Plan(_ context.Context, typ string, input json.RawMessage) (*orchestration.Plan, json.RawMessage, error) {
	if plan, ok := p[typ]; ok {
		return plan, input, nil
	}
	return nil, nil, machine.Refuse(machine.UnknownType, "there is no orchestration type "+strconv.Quote(typ))
}

func (plans) Activity(string) (definition.ActivityType, bool) {
	return definition.ActivityType{}, false
}

func (plans) BuiltIn(string) bool           { return false }
func (plans) UsedBy(string) []string        { return nil }
func (plans) CatchUp(context.Context) error { return nil }

// The providers of a world: one that gives its documents to whoever asks, one behind a connector.
const (
	plainProvider = "http://plain.example"
	edcProvider   = "http://edc.example"
)

func newPlans(t *testing.T) plans {
	t.Helper()
	one := 1
	retrieve := func(provider, file string) json.RawMessage {
		return json.RawMessage(`{"connectorUrl":"` + provider + `","file":"` + file + `","as":""}`)
	}
	p := plans{}
	for _, d := range []definition.Orchestration{
		{Type: "chain", Activities: []definition.Activity{
			{ID: "a", Type: "noop"},
			{ID: "b", Type: "noop", DependsOn: definition.Names{"a"}},
			{ID: "c", Type: "noop", DependsOn: definition.Names{"b"}},
		}},
		{Type: "mix", Activities: []definition.Activity{
			{ID: "first", Type: "noop"},
			{ID: "slow", Type: "slow", DependsOn: definition.Names{"first"}},
			{ID: "again", Type: "again", DependsOn: definition.Names{"first"}},
			{ID: "flaky", Type: "flaky", DependsOn: definition.Names{"first"}},
			{ID: "wait", Type: "wait", DependsOn: definition.Names{"first"}},
			{ID: "far", Type: "far", DependsOn: definition.Names{"slow"}},
			{ID: "last", Type: "noop", DependsOn: definition.Names{"slow", "again", "flaky", "wait", "far"}},
		}},
		{Type: "tree", Activities: []definition.Activity{
			{ID: "root", Type: "spawn", With: json.RawMessage(`{"levels":3}`)},
			{ID: "join", Type: "noop", DependsOn: definition.Names{"root"}},
		}},
		{Type: "wide", Activities: []definition.Activity{
			{ID: "s0", Type: "slow"},
			{ID: "s1", Type: "slow"},
			{ID: "s2", Type: "slow"},
			{ID: "s3", Type: "slow"},
			{ID: "s4", Type: "slow"},
			{ID: "s5", Type: "slow"},
			{ID: "f0", Type: "far"},
			{ID: "f1", Type: "far"},
		}},
		{Type: "hopeless", Activities: []definition.Activity{
			{ID: "slow", Type: "slow"},
			{ID: "fails", Type: "fails", Retry: &definition.Retry{Limit: &one}},
		}},
		{Type: "undone", Compensate: true, Activities: []definition.Activity{
			{ID: "first", Type: "slow"},
			{ID: "tree", Type: "spawn", With: json.RawMessage(`{"levels":1}`)},
			{ID: "far", Type: "far", DependsOn: definition.Names{"first"}},
			{ID: "wait", Type: "wait", DependsOn: definition.Names{"first"}},
			{ID: "slow", Type: "slow", DependsOn: definition.Names{"tree", "far"}},
			{ID: "fails", Type: "fails", DependsOn: definition.Names{"far"}, Retry: &definition.Retry{Limit: &one}},
		}},
		{Type: "documents", Activities: []definition.Activity{
			{ID: "plain", Type: definition.Retrieve, With: retrieve(plainProvider, "one")},
			{ID: "access", Type: definition.Acquire, With: json.RawMessage(`{"provider":"` + edcProvider + `","assetId":"two"}`)},
			{ID: "behind", Type: definition.Retrieve, With: retrieve(edcProvider, "two")},
			{ID: "later", Type: definition.Retrieve, With: retrieve(edcProvider, "two"), DependsOn: definition.Names{"behind"}},
		}},
	} {
		plan, err := orchestration.NewPlan(d)
		if err != nil {
			t.Fatal(err)
		}
		p[d.Type] = plan
	}
	return p
}

// shared are the activity types whose work agents take from its topic as well; that of the first is made when there
// is work. The others' work lies on theirs when somebody has no slot free, until a machine's own agent takes it up.
func shared() []string { return []string{"slow", "far", "flaky", "fetch"} }

// workTypes are all that there is work of.
func workTypes() []string {
	return append(shared(), "noop", "again", "spawn", "fails", "wait",
		"catalog", "negotiation-request", "negotiation-poll", "negotiation-terminate", "edr-request", "edr-poll", "edr-end")
}

// outside is what somebody outside has to report on.
type outside struct {
	mu      sync.Mutex
	waiting []agent.Activity
}

func (o *outside) add(a agent.Activity) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting = append(o.waiting, a)
}

// next is the one that has waited longest.
func (o *outside) next() (a agent.Activity, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.waiting) == 0 {
		return a, false
	}
	a, o.waiting = o.waiting[0], o.waiting[1:]
	return a, true
}

// newPool holds the agents of those types, with few slots, so that some work goes to its topic.
func newPool(o *outside, types ...string) *agent.Pool {
	pool := agent.NewPool(slog.New(slog.DiscardHandler))
	for _, typ := range types {
		pool.Register(typ, processor(o, typ), 2)
	}
	return pool
}

func processor(o *outside, typ string) agent.Processor {
	switch typ {
	case "noop":
		return quick{}
	case "again":
		return again{}
	case "spawn":
		return tree{}
	}
	return agent.ProcessorFunc(func(ctx context.Context, a agent.Activity) agent.Result {
		switch typ {
		case "far":
			return pause(ctx, a, 3*time.Second)
		case "slow":
			return pause(ctx, a, 700*time.Millisecond)
		case "fails":
			return agent.Retry(errors.New("as always"))
		case "flaky":
			if a.Attempt%3 != 0 {
				return agent.Retry(errors.New("not yet"))
			}
			return pause(ctx, a, 100*time.Millisecond)
		case "wait":
			o.add(a)
			return agent.Wait()
		}
		return connector(typ, a)
	})
}

// connector does what an agent does that speaks with a connector, with one that has everything.
func connector(typ string, a agent.Activity) agent.Result {
	switch typ {
	case "fetch":
		return agent.Complete(map[string]string{"document": a.Input.String("assetId")})
	case "catalog":
		return agent.Complete(map[string]any{"participantId": "them", "offers": []map[string]any{
			{"assetId": a.Input.String("assetId"), "offerId": "offer", "policy": map[string]any{}, "formats": []string{"HttpData-PULL"}},
		}})
	case "negotiation-request":
		return agent.Complete(map[string]string{"negotiationId": "theirs of " + a.Input.String("key")})
	case "negotiation-poll":
		if a.Attempt == 1 {
			return agent.Schedule(time.Second)
		}
		return agent.Complete(map[string]string{"state": "FINALIZED", "agreementId": "agreement of " + a.Input.String("negotiationId")})
	case "edr-poll":
		return agent.Complete(map[string]any{"state": "STARTED", "edr": map[string]string{"$sealed": "k1." + strings.Repeat("A", 64)}})
	}
	return agent.Complete(struct{}{})
}

// pause takes its time; longer for some activities than for others.
func pause(ctx context.Context, a agent.Activity, most time.Duration) agent.Result {
	select {
	case <-time.After(most * time.Duration(len(a.JobID)%4+1) / 4):
		return agent.Complete(map[string]string{"by": a.ActivityID})
	case <-ctx.Done():
		return agent.Retry(context.Cause(ctx))
	}
}

// quick completes at once.
type quick struct{}

func (quick) Quick(agent.Activity) bool { return true }
func (quick) Process(context.Context, agent.Activity) agent.Result {
	return agent.Complete(map[string]int{"n": 1})
}

// again asks to be called again after a second, twice.
type again struct{}

func (again) Quick(agent.Activity) bool { return true }
func (again) Process(_ context.Context, a agent.Activity) agent.Result {
	if a.Attempt < 3 {
		return agent.Schedule(time.Second)
	}
	return agent.Complete(nil)
}

// tree spawns two of its kind for each level.
type tree struct{}

func (tree) Quick(agent.Activity) bool { return true }
func (tree) Process(_ context.Context, a agent.Activity) agent.Result {
	var in struct{ Levels int }
	if err := a.Input.Decode(&in); err != nil {
		return agent.Fatal(err)
	}
	r := agent.Complete(map[string]string{"value": a.ActivityID})
	if in.Levels <= 1 {
		return r
	}
	var spawn []definition.Activity
	for i := range 2 {
		with := json.RawMessage(`{"levels":` + strconv.Itoa(in.Levels-1) + `}`)
		spawn = append(spawn, definition.Activity{ID: a.ActivityID + "-" + strconv.Itoa(i), Type: a.Type, With: with})
	}
	return r.Spawn(spawn...)
}
