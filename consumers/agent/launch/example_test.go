package launch_test

import (
	"context"
	"fmt"
	"os"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/agent/launch"
	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/consumers/agent/services"
)

// A whole agent: this is the file that `go build` makes a program of. Its main calls
// launch.Main(greeter()); here Run shows what it would run with.
func Example() {
	code := launch.Run(context.Background(), greeter(), launch.Env{
		Args: []string{"--brokers", "kafka:9092", "--name", "greeter-1", "--settings", "{greeting: moin}", "--print-config"},
		Out:  os.Stdout, Err: os.Stdout,
	})
	fmt.Println(code)
	// Output:
	// brokers:
	// - kafka:9092
	// concurrency:
	//   greet.example.com: 32
	// consumerGroup: false
	// grace: PT10S
	// httpTimeout: PT60S
	// httpTries: 3
	// insecure: false
	// listen: 127.0.0.1:0
	// logFormat: text
	// logLevel: info
	// name: greeter-1
	// prefix: waybill
	// settings:
	//   apiKey:
	//     env: GREETER_KEY
	//   greeting: moin
	// 0
}

// settings are what the greeter has to know.
type settings struct {
	Greeting string     `json:"greeting"`
	APIKey   secret.Ref `json:"apiKey"`
}

func greeter() launch.Agent {
	own := settings{Greeting: "hello", APIKey: secret.Ref{Env: "GREETER_KEY"}}
	return launch.Agent{
		Name: "greeter", Version: "1.0", Settings: &own,
		Types: []launch.Type{{
			Type: "greet.example.com", Concurrency: 32,
			New: func(ctx context.Context, s *services.Services) (agent.Processor, error) {
				key, err := s.Secrets.Get(ctx, own.APIKey)
				if err != nil {
					return nil, err
				}
				return &greet{own.Greeting, key}, nil
			},
		}},
	}
}

// greet carries out activities of the type greet.example.com.
type greet struct {
	greeting string
	key      secret.Value
}

// Process implements agent.Processor.
func (g *greet) Process(_ context.Context, a agent.Activity) agent.Result {
	name := a.Input.String("name")
	if name == "" {
		return agent.Fatal(fmt.Errorf("input name is missing"))
	}
	return agent.Complete(map[string]any{"greeting": g.greeting + " " + name})
}
