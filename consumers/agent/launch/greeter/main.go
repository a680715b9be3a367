// Command greeter is the smallest whole agent: it carries out activities of the type
// greet.example.com. Take it as the beginning of your own.
//
//	go run github.com/waybill/waybill/consumers/agent/launch/greeter --brokers 127.0.0.1:9092
package main

import (
	"context"
	"errors"
	"time"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/agent/launch"
	"github.com/waybill/waybill/consumers/agent/services"
	"github.com/waybill/waybill/domain/definition"
)

func main() {
	own := settings{Greeting: "hello"}
	launch.Main(launch.Agent{
		Name: "greeter", Settings: &own,
		Types: []launch.Type{{
			Type: "greet.example.com",
			New: func(_ context.Context, s *services.Services) (agent.Processor, error) {
				return &greeter{own, s}, nil
			},
		}},
	})
}

// settings are the agent's own: `settings: {greeting: moin}` in its file.
type settings struct {
	Greeting string `json:"greeting"`
}

type greeter struct {
	settings
	*services.Services
}

// Process greets whom the input names, after the time it names.
func (g *greeter) Process(ctx context.Context, a agent.Activity) agent.Result {
	var in struct {
		Name  string              `json:"name"`
		After definition.Duration `json:"after"`
	}
	if err := a.Input.Decode(&in); err != nil {
		return agent.Fatal(err) // another attempt would meet it again
	}
	if in.Name == "" {
		return agent.Fatal(errors.New("input name is missing"))
	}
	timer := time.NewTimer(time.Duration(in.After))
	defer timer.Stop()
	select {
	case <-ctx.Done(): // cancelled, out of time, or the agent stops
		return agent.Retry(context.Cause(ctx))
	case <-timer.C:
	}
	g.Log.DebugContext(ctx, "greeted", "name", in.Name, "attempt", a.Attempt)
	return agent.Complete(map[string]any{"greeting": g.Greeting + " " + in.Name})
}
