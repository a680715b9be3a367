package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waybill/waybill/cmd/waybill/internal/app"
	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/agent/launch"
	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/consumers/agent/services"
	"github.com/waybill/waybill/consumers/agents"
	"github.com/waybill/waybill/internal/callbacks"
)

// agentPrefix begins the environment variables of a ready-made agent.
const agentPrefix = "WAYBILL_AGENT"

// agentSettings are those of a ready-made agent in a process of its own.
type agentSettings struct {
	agents.Settings
	// PublicURL is where others reach the API. AddressKey is the key that its processes make
	// addresses unguessable with; without it none are given away.
	PublicURL  string     `json:"publicUrl,omitempty"`
	AddressKey secret.Ref `json:"addressKey,omitzero"`
	// Dir is where terraform keeps its workspaces unless it says so itself.
	Dir string `json:"dir,omitempty"`
}

func newAgent(env *Env) *cobra.Command {
	var below []*cobra.Command
	for _, typ := range []string{agents.HTTPType, agents.ExecType, agents.TerraformType, agents.KafkaType} {
		below = append(below, newAgentOf(env, typ))
	}
	return group(cobra.Command{
		Use: "agent", Short: "Run a ready-made agent apart from the server",
		Long: "Run a ready-made agent in a process of its own, which joins by way of Kafka. Any number of processes may share a type.",
	}, below...)
}

func newAgentOf(env *Env, typ string) *cobra.Command {
	return &cobra.Command{
		Use: typ, Short: fmt.Sprintf("Carry out activities of type %s", typ),
		DisableFlagParsing: true, // the launcher of agents has flags, environment and file of its own
		RunE: func(cmd *cobra.Command, args []string) error {
			code := launch.Run(cmd.Context(), readyMade(typ), launch.Env{Args: args, Out: env.Out, Err: env.Err, Getenv: env.Getenv})
			if code != exitDone {
				return &exitError{code: code}
			}
			return nil
		},
	}
}

// readyMade is a ready-made agent as a program.
func readyMade(typ string) launch.Agent {
	settings := new(agentSettings)
	return launch.Agent{
		Name: "waybill-agent-" + typ, Version: version(), Prefix: agentPrefix, Settings: settings,
		Types: []launch.Type{{Type: typ, New: func(ctx context.Context, s *services.Services) (agent.Processor, error) {
			in, err := settings.surroundings(ctx, s)
			if err != nil {
				return nil, err
			}
			p, err := settings.Make(ctx, typ, in)
			if k, ok := p.(*agents.Kafka); ok {
				go k.Keep(ctx)
			}
			return p, err
		}}},
	}
}

func (a *agentSettings) surroundings(ctx context.Context, s *services.Services) (agents.Surroundings, error) {
	in := agents.Surroundings{Secrets: s.Secrets, Kafka: s.Kafka, Dir: a.Dir, Log: s.Log}
	if a.AddressKey.IsZero() {
		return in, nil
	}
	key, err := s.Secrets.Get(ctx, a.AddressKey)
	bytes := []byte(strings.TrimSpace(key.Reveal()))
	if err == nil {
		err = app.CheckKey(bytes)
	}
	if err != nil {
		return in, fmt.Errorf("addressKey: %w", err)
	}
	in.Proofs = callbacks.New(bytes)
	if a.PublicURL != "" {
		in.Callbacks = in.Proofs.At(a.PublicURL)
	}
	return in, nil
}
