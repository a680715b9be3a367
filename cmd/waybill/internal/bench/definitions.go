package bench

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/agents"
	"github.com/waybill/waybill/domain/definition"
)

// Types of the benchmark's own.
const (
	chainType   = "bench-chain"
	fanType     = "bench-fan"
	treeType    = "bench-tree" // of an orchestration and of its activities
	waitingType = "bench-waiting"
)

const (
	chainLength  = 3
	fanWidth     = 1000
	treeLevels   = 5 // below the root
	treeChildren = 8
	// treeNodes is 1 + 8 + 8^2 + … + 8^5.
	treeNodes = 37449
)

// put is a definition and where it is put.
type put struct {
	path  string
	value any
}

// definitions are what the works need; activity types come first, for orchestrations name
// them.
func definitions() []put {
	of := func(typ string) string { return "/v1/definitions/orchestrations/" + typ }
	return []put{
		{"/v1/definitions/activities/" + treeType, definition.ActivityType{Type: treeType}},
		{of(chainType), chainDefinition()},
		{of(fanType), fanDefinition()},
		{of(treeType), definition.Orchestration{Type: treeType, Activities: []definition.Activity{
			{ID: "n", Type: treeType, With: levels(treeLevels)},
		}}},
		{of(waitingType), definition.Orchestration{Type: waitingType, Activities: []definition.Activity{
			{ID: "wait", Type: agents.NoopType, With: json.RawMessage(`{"result":"wait"}`), Deadline: definition.Duration(waitingDeadline)},
		}}},
	}
}

// chainDefinition is activities that do nothing, one after the other.
func chainDefinition() definition.Orchestration {
	o := definition.Orchestration{Type: chainType}
	for i := range chainLength {
		a := definition.Activity{ID: "a" + strconv.Itoa(i), Type: agents.NoopType}
		if i > 0 {
			a.DependsOn = definition.Names{"a" + strconv.Itoa(i-1)}
		}
		o.Activities = append(o.Activities, a)
	}
	return o
}

// fanDefinition is activities that do nothing, side by side, and one that waits for all.
func fanDefinition() definition.Orchestration {
	o := definition.Orchestration{Type: fanType}
	join := definition.Activity{ID: "join", Type: agents.NoopType}
	for i := range fanWidth {
		id := "a" + strconv.Itoa(i)
		o.Activities = append(o.Activities, definition.Activity{ID: id, Type: agents.NoopType})
		join.DependsOn = append(join.DependsOn, id)
	}
	o.Activities = append(o.Activities, join)
	return o
}

// levels is the input of an activity with so many levels below it.
func levels(n int) json.RawMessage {
	return json.RawMessage(`{"levels":` + strconv.Itoa(n) + `}`)
}

// grower does nothing but spawn children until its levels are used up.
type grower struct{}

// Quick implements agent.Quick.
func (grower) Quick(agent.Activity) bool { return true }

// Process implements agent.Processor.
func (grower) Process(_ context.Context, a agent.Activity) agent.Result {
	var in struct {
		Levels int `json:"levels"`
	}
	if err := a.Input.Decode(&in); err != nil {
		return agent.Fatal(err).AtStep("input")
	}
	if in.Levels < 1 {
		return agent.Complete(nil)
	}
	children := make([]definition.Activity, treeChildren)
	for i := range children {
		children[i] = definition.Activity{ID: a.ActivityID + strconv.Itoa(i), Type: treeType, With: levels(in.Levels - 1)}
	}
	return agent.Complete(nil).Spawn(children...)
}
