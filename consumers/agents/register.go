package agents

import (
	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/internal/outbound"
)

// Names of the built-in activity types.
const (
	NoopType      = "noop"
	AggregateType = "aggregate"
	CallbackType  = "callback"
	HTTPType      = "http"
	ExecType      = "exec"
	TerraformType = "terraform"
	KafkaType     = "kafka"
	LookupType    = "registry-lookup"
)

// Config is what the built-in agents need to know. Zero values take the defaults.
type Config struct {
	// Results is the directory that results are written below; aggregate is registered only
	// if it is set. It is created when the first result is written.
	Results string
	// Allow lists the hosts that may be called; see outbound.Hosts. None unless set.
	Allow []string
	// CallbackKey signs what callback sends; empty means that it does not sign.
	CallbackKey []byte
	// Concurrency of the types that do something; noop has ConcurrencyOfNoop.
	Concurrency int
}

const (
	// ConcurrencyOfNoop is high, since waiting, which is all that noop ever does, is cheap.
	ConcurrencyOfNoop = 4096
	// DefaultConcurrency of the others: mostly they wait for the other side.
	DefaultConcurrency = 64
)

// Register registers the agents that need no Settings. An entry of the allow list that cannot be read
// is an error.
func Register(pool *agent.Pool, cfg Config) error {
	hosts, err := outbound.New(cfg.Allow)
	if err != nil {
		return err
	}
	if cfg.Concurrency < 1 {
		cfg.Concurrency = DefaultConcurrency
	}
	pool.Register(NoopType, Noop{}, ConcurrencyOfNoop)
	pool.Register(LookupType, Lookup{}, cfg.Concurrency)
	pool.Register(CallbackType, NewCallback(hosts, cfg.CallbackKey, cfg.Concurrency), cfg.Concurrency)
	if cfg.Results != "" {
		pool.Register(AggregateType, NewAggregate(cfg.Results), cfg.Concurrency)
	}
	return nil
}
