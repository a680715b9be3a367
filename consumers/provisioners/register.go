package provisioners

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/domain/blob"
	"github.com/waybill/waybill/domain/transfer"
	"github.com/waybill/waybill/internal/callbacks"
	"github.com/waybill/waybill/internal/outbound"
	"github.com/waybill/waybill/internal/seal"
)

// DefaultConcurrency is how much work of a type is done at once: it waits for others most of
// the time.
const DefaultConcurrency = 64

// Config is what a process has for its provisioners. Zero values take the defaults.
type Config struct {
	Provisioners []Settings
	Keys         *seal.Keyring        // seal what is handed out, and open it again
	Secrets      *secret.Store        // where keys to object stores are kept
	Addresses    *callbacks.Addresses // where others reach us; nil: they cannot
	// Allow lists hosts that collect may call beside those of the configured provisioners.
	Allow       []string
	MaxBytes    int64 // of what is collected; blob.DefaultMax
	Concurrency int
}

// Types lists the types of work that Register registers.
func Types() []string {
	return []string{transfer.WorkProvision, transfer.WorkDeprovision, transfer.WorkCollect}
}

// Register registers the agents.
func Register(pool *agent.Pool, cfg Config) error {
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, blob.DefaultMax)
	cfg.Concurrency = cmp.Or(cfg.Concurrency, DefaultConcurrency)
	a, err := newAgents(cfg)
	if err != nil {
		return err
	}
	pool.Register(transfer.WorkProvision, agent.ProcessorFunc(a.provision), cfg.Concurrency)
	pool.Register(transfer.WorkDeprovision, agent.ProcessorFunc(a.deprovision), cfg.Concurrency)
	pool.Register(transfer.WorkCollect, agent.ProcessorFunc(a.collect), cfg.Concurrency)
	return nil
}

// newAgents makes one provisioner for each type.
func newAgents(cfg Config) (*agents, error) {
	if err := Check(cfg.Provisioners); err != nil {
		return nil, err
	}
	others := &others{}
	a := &agents{keys: cfg.Keys, others: others, byType: map[string]provisioner{LocalType: local{cfg.Addresses, cfg.Keys}}}
	allow := slices.Clone(cfg.Allow)
	for _, s := range cfg.Provisioners {
		var p provisioner
		var err error
		switch s.Adapter {
		case AdapterS3:
			var o *objects
			o, err = newObjects(s, cfg)
			p, others.stores = o, append(others.stores, o)
		case AdapterDirectory:
			p = directory{local{cfg.Addresses, cfg.Keys}, s.Directory}
		case AdapterHTTP:
			allow = append(allow, s.host())
			p, err = newAsked(s, cfg, others)
		default:
			p = local{cfg.Addresses, cfg.Keys}
		}
		if err != nil {
			return nil, fmt.Errorf("provisioner %s: %w", s.Type, err)
		}
		a.byType[s.Type] = p
	}
	hosts, err := outbound.New(allow)
	if err != nil {
		return nil, err
	}
	others.client, others.hosts = hosts.Client(cfg.Concurrency), hosts
	others.limits = outbound.Limits{MaxBytes: cfg.MaxBytes, Name: "document"}
	return a, nil
}
