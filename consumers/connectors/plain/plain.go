package plain

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/waybill/waybill/consumers/connectors/adapter"
	"github.com/waybill/waybill/domain/partstree"
	"github.com/waybill/waybill/internal/outbound"
)

// Config says how documents are got. Zero values take the defaults, no Hosts allow nothing.
type Config struct {
	Hosts       *outbound.Hosts
	Limits      outbound.Limits
	Concurrency int // connections kept per provider
}

// Connector gets documents.
type Connector struct {
	cfg    Config
	client *http.Client
}

// New makes a Connector with connections of its own.
func New(cfg Config) *Connector {
	if cfg.Hosts == nil {
		cfg.Hosts = &outbound.Hosts{}
	}
	cfg.Limits.Name = "document"
	return &Connector{cfg: cfg, client: cfg.Hosts.Client(max(cfg.Concurrency, 1))}
}

// Document implements adapter.Adapter.
func (c *Connector) Document(ctx context.Context, w adapter.Want) (adapter.Document, error) {
	where, err := c.address(w)
	if err != nil {
		return adapter.Document{}, &adapter.Fault{Step: adapter.StepAddress, Err: err}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, where.String(), http.NoBody)
	if err != nil {
		return adapter.Document{}, &adapter.Fault{Step: adapter.StepAddress, Err: err}
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "waybill")
	if w.Key != "" {
		req.Header.Set("Idempotency-Key", w.Key)
	}
	answer, fault := c.cfg.Limits.Do(c.client, req)
	if fault == nil {
		fault = answer.Refusal()
	}
	if fault != nil {
		f := &adapter.Fault{Step: adapter.StepFetch, Err: fmt.Errorf("GET %s: %w", where, fault), Again: fault.Again, After: fault.After}
		if fault.Address {
			f.Step = adapter.StepAddress
		}
		return adapter.Document{}, f
	}
	return adapter.Document{Body: answer.Body, ContentType: answer.Header.Get("Content-Type"), Source: where.String()}, nil
}

func (c *Connector) address(w adapter.Want) (*url.URL, error) {
	where, err := partstree.Location(w.Provider, w.AssetID)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(where)
	if err != nil {
		return nil, err
	}
	return u, c.cfg.Hosts.Check(u)
}
