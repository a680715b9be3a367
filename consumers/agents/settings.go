package agents

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/internal/callbacks"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/outbound"
)

// Settings are what a configuration says of the agents that speak with the outside. What is
// not in it is not carried out.
type Settings struct {
	// Allow lists the hosts that http may call; see outbound.Hosts.
	Allow []string `json:"allow,omitempty"`
	// Secrets are those that an input of http may refer to.
	Secrets   map[string]Secret `json:"secrets,omitempty"`
	HTTP      HTTPSettings      `json:"http,omitzero"`
	Exec      *ExecConfig       `json:"exec,omitempty"`
	Terraform *TerraformConfig  `json:"terraform,omitempty"`
	Kafka     *KafkaConfig      `json:"kafka,omitempty"`
	// Concurrency is how many activities of a type run at once in a process with several types.
	Concurrency map[string]int `json:"concurrency,omitempty"`
}

// HTTPSettings bound what http does.
type HTTPSettings struct {
	Timeout     definition.Duration `json:"timeout,omitempty"`
	AnswerBytes int64               `json:"answerBytes,omitempty"`
}

// Surroundings are what a process has for its agents.
type Surroundings struct {
	Secrets   *secret.Store
	Callbacks *callbacks.Addresses // nil: others cannot reach us
	Proofs    *callbacks.Proofs    // nil: not every process has the key
	Kafka     kafka.Config
	Dir       string // for what has to be kept; may be empty
	Log       *slog.Logger
}

// Types lists the types that the settings say enough of to be carried out.
func (s *Settings) Types() []string {
	var l []string
	for _, t := range []struct {
		name       string
		configured bool
	}{{HTTPType, len(s.Allow) > 0}, {ExecType, s.Exec != nil}, {TerraformType, s.Terraform != nil}, {KafkaType, s.Kafka != nil}} {
		if t.configured {
			l = append(l, t.name)
		}
	}
	return l
}

// Make makes the agent of a type. A *Kafka has to be run by the caller, for the replies.
func (s *Settings) Make(ctx context.Context, typ string, in Surroundings) (agent.Processor, error) {
	p, err := s.make(ctx, typ, in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", typ, err)
	}
	return p, nil
}

func (s *Settings) make(ctx context.Context, typ string, in Surroundings) (agent.Processor, error) {
	switch typ {
	case HTTPType:
		hosts, err := outbound.New(s.Allow)
		if err != nil {
			return nil, err
		}
		if len(s.Allow) == 0 {
			return nil, errors.New("it may call nobody: list hosts under allow")
		}
		return NewHTTP(HTTPConfig{
			Outbound: hosts, Secrets: Secrets{Store: in.Secrets, ByName: s.Secrets}, Callbacks: in.Callbacks,
			Timeout: time.Duration(s.HTTP.Timeout), MaxBytes: s.HTTP.AnswerBytes, Concurrency: s.concurrency(typ),
		}), nil
	case ExecType:
		if s.Exec == nil || len(s.Exec.Programs) == 0 {
			return nil, errors.New("there are no programs: list them under exec.programs")
		}
		return NewExec(ExecConfig{Programs: s.Exec.Programs, Secrets: in.Secrets, Callbacks: in.Callbacks})
	case TerraformType:
		if s.Terraform == nil {
			return nil, errors.New("there are no modules: name their directory under terraform.modules")
		}
		cfg := *s.Terraform
		cfg.Secrets = in.Secrets
		if cfg.Dir == "" {
			if in.Dir == "" {
				return nil, errors.New("terraform.dir is missing: where workspaces are kept")
			}
			cfg.Dir = filepath.Join(in.Dir, "terraform")
		}
		return NewTerraform(cfg)
	case KafkaType:
		if s.Kafka == nil {
			return nil, errors.New("there are no topics: list them under kafka.topics")
		}
		cfg := *s.Kafka
		cfg.Own, cfg.Proofs, cfg.Secrets, cfg.Log = in.Kafka, in.Proofs, in.Secrets, in.Log
		return NewKafka(ctx, cfg)
	}
	return nil, errors.New("there is no such ready-made agent")
}

// DefaultConcurrencyOfPrograms is how many programs of a type run at once: they take memory
// and processors of this machine, where a request only waits for another one's.
const DefaultConcurrencyOfPrograms = 8

func (s *Settings) concurrency(typ string) int {
	otherwise := DefaultConcurrency
	if typ == ExecType || typ == TerraformType {
		otherwise = DefaultConcurrencyOfPrograms
	}
	return cmp.Or(s.Concurrency[typ], otherwise)
}

// RegisterConfigured registers every agent that the settings speak of, and returns them.
func (s *Settings) RegisterConfigured(ctx context.Context, pool *agent.Pool, in Surroundings) (made []agent.Processor, err error) {
	for _, typ := range s.Types() {
		p, err := s.Make(ctx, typ, in)
		if err != nil {
			return made, err
		}
		pool.Register(typ, p, s.concurrency(typ))
		made = append(made, p)
	}
	return made, nil
}
