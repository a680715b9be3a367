package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/waybill/waybill/internal/standin"
)

// many is how many jobs run at once in the larger cases.
const many = 200

// registry is an asset that says which submodels the parts have.
func registry() standin.Asset {
	return standin.Asset{
		ID: "registry", Properties: map[string]string{standin.TypeProperty: "registry"},
		Document: []byte(`{"parts": {"part-a": ["submodel-a", "shared"], "part-b": ["submodel-b", "shared"]}}`),
	}
}

func document(id string) standin.Asset {
	return standin.Asset{ID: id, Document: []byte(`{"value": "` + id + `"}`)}
}

// a testCase is jobs that begin at once, at a provider of their own.
type testCase struct {
	name  string
	parts []string // of each job
	// negotiated are the assets that are, once each.
	negotiated []string
}

func cases(ctx context.Context, s site) error {
	all := []testCase{
		{"two-same", []string{"part-a", "part-a"}, []string{"registry", "submodel-a", "shared"}},
		{"two-different", []string{"part-a", "part-b"}, []string{"registry", "submodel-a", "submodel-b", "shared"}},
		{"many-same", repeat(many, "part-a"), []string{"registry", "submodel-a", "shared"}},
		{"many-different", repeat(many/2, "part-a", "part-b"), []string{"registry", "submodel-a", "submodel-b", "shared"}},
	}
	cfg := standin.Config{APIKey: apiKey}
	names := make([]string, len(all))
	for i, c := range all {
		names[i] = c.name
		cfg.Providers = append(cfg.Providers, standin.ProviderConfig{
			Name: c.name, Assets: []standin.Asset{registry(), document("submodel-a"), document("submodel-b"), document("shared")},
		})
	}
	edc, err := standin.Start(ctx, cfg)
	if err != nil {
		return err
	}
	defer edc.Close()
	config, err := s.configure(edc, names, 0, nil)
	if err != nil {
		return err
	}
	srv, err := s.serve(ctx, "data", "--config", config)
	if err != nil {
		return err
	}
	for _, c := range all {
		if err := c.play(ctx, srv, edc); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return srv.end(ctx)
}

func repeat(n int, parts ...string) []string {
	var l []string
	for range n {
		l = append(l, parts...)
	}
	return l
}

// play runs the jobs, and one more when they have ended.
func (c testCase) play(ctx context.Context, srv *server, edc *standin.Connector) error {
	if err := c.run(ctx, srv, edc, "first", c.parts); err != nil {
		return err
	}
	fetched := len(c.parts)
	if err := c.check(edc, fetched); err != nil {
		return err
	}
	if err := c.run(ctx, srv, edc, "later", c.parts[:1]); err != nil {
		return err
	}
	if err := c.check(edc, fetched+1); err != nil {
		return fmt.Errorf("with a later job: %w", err)
	}
	fmt.Printf("  %-15s %3d jobs at once and one later: %d negotiations\n", c.name, len(c.parts), len(c.negotiated))
	return nil
}

func (c testCase) run(ctx context.Context, srv *server, edc *standin.Connector, prefix string, parts []string) error {
	failed := make(chan error, len(parts))
	for i, part := range parts {
		go func() {
			id := fmt.Sprintf("%s-%s-%d", c.name, prefix, i)
			body, err := json.Marshal(map[string]any{
				"id": id, "type": "registry-tree",
				"input": map[string]string{"globalAssetId": part, "provider": edc.Provider(c.name).Address(standin.Protocol2025), "destination": id},
			})
			if err == nil {
				err = srv.Insist(ctx, http.MethodPost, "/v1/jobs", body, nil)
			}
			if err == nil {
				err = srv.job(ctx, id)
			}
			failed <- err
		}()
	}
	var first error
	for range parts {
		if err := <-failed; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// check counts at the provider: each asset negotiated once, each document fetched once per job.
func (c testCase) check(edc *standin.Connector, jobs int) error {
	var w wrong
	negotiated := map[string]int{}
	for _, n := range edc.Negotiations() {
		if n.Provider == c.name {
			negotiated[n.Asset]++
		}
	}
	for _, asset := range c.negotiated {
		w.unless(negotiated[asset] == 1, "%s was negotiated %d times", asset, negotiated[asset])
		delete(negotiated, asset)
	}
	w.unless(len(negotiated) == 0, "also negotiated: %v", negotiated)
	got := edc.Counts().Providers[c.name]
	w.unless(got.Documents["registry"] == jobs, "the registry was asked %d times by %d jobs", got.Documents["registry"], jobs)
	w.unless(got.Documents["shared"] == jobs, "the document of both parts was fetched %d times by %d jobs", got.Documents["shared"], jobs)
	w.unless(got.Documents["submodel-a"]+got.Documents["submodel-b"] == jobs, "the submodels were fetched %d and %d times by %d jobs",
		got.Documents["submodel-a"], got.Documents["submodel-b"], jobs)
	return w.err()
}
