package demo

import (
	"context"
	"crypto/rand"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"

	"github.com/waybill/waybill/cmd/waybill/internal/app"
	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/consumers/connectors"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/internal/outbound"
	"github.com/waybill/waybill/internal/standin"
)

// keyFile holds the API key of the connector, in the demo's directory.
const keyFile = "api-key"

// startConnector starts a connector of ours and the providers behind it, each with the
// documents of its folder as assets.
func (a *providers) startConnector(ctx context.Context) error {
	key := rand.Text()
	if err := os.WriteFile(filepath.Join(filepath.Dir(a.list[0].dir), keyFile), []byte(key), 0o600); err != nil {
		return err
	}
	cfg := standin.Config{APIKey: key}
	for _, p := range a.list {
		assets, err := p.assets()
		if err != nil {
			return fmt.Errorf("the documents of %s: %w", p.name, err)
		}
		cfg.Providers = append(cfg.Providers, standin.ProviderConfig{Name: p.name, Assets: assets})
	}
	edc, err := standin.Start(ctx, cfg)
	if err != nil {
		return fmt.Errorf("the connector: %w", err)
	}
	a.edc = edc
	for _, p := range a.list {
		p.behind(edc)
	}
	return nil
}

// assets are the provider's documents, read from its folder when they are asked for: what is
// changed there is seen.
func (p *provider) assets() ([]standin.Asset, error) {
	entries, err := fs.ReadDir(documents, "documents/"+p.name)
	if err != nil {
		return nil, err
	}
	var assets []standin.Asset
	for _, e := range entries {
		path := filepath.Join(p.dir, e.Name())
		assets = append(assets, standin.Asset{ID: e.Name(), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			document, err := os.ReadFile(path)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(document)
		})})
	}
	return assets, nil
}

// behind makes the provider one of a connector's, as slow or as broken as was asked for.
func (p *provider) behind(edc *standin.Connector) {
	p.url = edc.Provider(p.name).Address(standin.Protocol2025)
	mine := standin.When{Provider: p.name}
	var refused *standin.Fault
	p.asked = func() int {
		n := counted(edc, p.name)
		if refused != nil {
			n.documents += refused.Hits()
		}
		return n.catalogs + n.negotiations + n.documents
	}
	if p.delay > 0 {
		edc.OnStage(standin.NegotiationRequested, standin.Take(p.delay), mine)
		edc.OnRequest(standin.Document, standin.Slow(p.delay), mine)
	}
	if p.broken {
		refused = edc.OnRequest(standin.Document, standin.Refuse(http.StatusServiceUnavailable), mine)
	}
}

// seen is what providers were asked for.
type seen struct{ catalogs, negotiations, documents int }

// counted adds up what the named providers have seen.
func counted(edc *standin.Connector, names ...string) seen {
	var n seen
	counts := edc.Counts()
	for _, name := range names {
		p := counts.Providers[name]
		n.catalogs, n.negotiations = n.catalogs+p.Catalogs, n.negotiations+p.Negotiations
		for _, gets := range p.Documents {
			n.documents += gets
		}
	}
	return n
}

// through says how the program speaks with the providers.
func (a *providers) through(cfg *app.Config) {
	match := make([]string, len(a.list))
	for i, p := range a.list {
		match[i] = p.url
	}
	slices.Sort(match)
	k := connectors.Connector{
		Name: "plain", Adapter: connectors.AdapterHTTP, Match: match,
		Timeout: definition.Duration(a.list[0].delay + outbound.DefaultTimeout), // slow is not broken
	}
	if a.edc != nil {
		k.Name, k.Adapter, k.ManagementURL = "consumer", connectors.AdapterEDC, a.edc.ManagementURL()
		k.APIKey = secret.Ref{File: filepath.Join(filepath.Dir(a.list[0].dir), keyFile)}
	}
	cfg.Connectors = connectors.Config{Connectors: []connectors.Connector{k}}
}
