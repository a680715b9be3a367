// Package launch makes an agent a program: one file, one main.
//
//	func main() {
//		launch.Main(launch.Agent{
//			Name:  "greeter",
//			Types: []launch.Type{{Type: "greet.example.com", New: newGreeter}},
//		})
//	}
//
//	func newGreeter(_ context.Context, s *services.Services) (agent.Processor, error) {
//		return agent.ProcessorFunc(func(ctx context.Context, a agent.Activity) agent.Result {
//			return agent.Complete(map[string]any{"greeting": "hello " + a.Input.String("name")})
//		}), nil
//	}
//
// One process may carry out several types, and any number of processes may share one.
//
// # Configuration
//
// Flags go before the environment, the environment before a YAML file (--config). A flag
// --log-level is GREETER_LOG_LEVEL in the environment (the prefix is Agent.Prefix) and
// logLevel in the file. `--help` lists them, `--print-config` prints what is in force. What
// the agent itself has to know stands under settings, in a structure of its own:
//
//	brokers: [kafka-1:9092, kafka-2:9092]
//	concurrency: {greet.example.com: 32}
//	grace: 30s
//	vault: {address: "https://vault:8200", kubernetes: {role: greeter}}
//	settings:
//	  url: https://greetings.example.com
//	  apiKey: {vault: "greeter/api#key"}
//
// A secret never stands in a configuration, only where it is kept (secret.Ref).
//
// # How it ends
//
// The first SIGINT or SIGTERM lets what runs finish for the time of --grace; then the
// contexts of the processors end, and what comes to no result is given back, so that another
// agent has it at once and it costs no attempt. A second signal ends the process at once.
// Exit codes: 0 stopped as asked, 1 something broke, 2 usage, 3 Kafka did not answer at the
// start. A broker that goes away later is waited for.
//
// # Health
//
// /healthz, /readyz and /metrics (Prometheus) are served on a free port of 127.0.0.1 that
// is logged, or on --listen; beyond this machine only with --insecure, for nobody is asked
// who they are.
package launch
