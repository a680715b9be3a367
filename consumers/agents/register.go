package agents

import (
	"time"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/connectors/plain"
	"github.com/waybill/waybill/internal/outbound"
)

// Names of the built-in activity types.
const (
	NoopType      = "noop"
	RetrieveType  = "retrieve"
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
	// Timeout bounds one request of retrieve, from the connection to the last byte.
	Timeout time.Duration
	// MaxDocumentBytes bounds one document.
	MaxDocumentBytes int64
	// CallbackKey signs what callback sends; empty means that it does not sign.
	CallbackKey []byte
	// Concurrency of the types that do something; noop has ConcurrencyOfNoop.
	Concurrency int
}

const (
	// ConcurrencyOfNoop is high, since waiting, which is all that noop ever does, is cheap.
	ConcurrencyOfNoop = 4096
	// DefaultConcurrency of retrieve and aggregate: mostly they wait for the other side.
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
	pool.Register(RetrieveType, NewRetrieve(plain.Config{
		Hosts: hosts, Limits: outbound.Limits{Timeout: cfg.Timeout, MaxBytes: cfg.MaxDocumentBytes}, Concurrency: cfg.Concurrency,
	}), cfg.Concurrency)
	pool.Register(LookupType, Lookup{}, cfg.Concurrency)
	pool.Register(CallbackType, NewCallback(hosts, cfg.CallbackKey, cfg.Concurrency), cfg.Concurrency)
	if cfg.Results != "" {
		pool.Register(AggregateType, NewAggregate(cfg.Results), cfg.Concurrency)
	}
	return nil
}
