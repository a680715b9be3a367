package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	"github.com/waybill/waybill/integration/internal/process"
	"github.com/waybill/waybill/internal/standin"
)

const (
	limitedAssets = 1000
	limit         = 5
	// step is how long the provider takes for each step of a negotiation.
	step = 2 * time.Millisecond
)

func limits(ctx context.Context, s site) error {
	p := standin.ProviderConfig{Name: "provider"}
	for i := range limitedAssets {
		p.Assets = append(p.Assets, document("asset-"+strconv.Itoa(i)))
	}
	edc, err := standin.Start(ctx, standin.Config{APIKey: apiKey, Providers: []standin.ProviderConfig{p}})
	if err != nil {
		return err
	}
	defer edc.Close()
	edc.OnStage(standin.NegotiationRequested, standin.Take(step), standin.When{})
	edc.OnStage(standin.NegotiationVerified, standin.Take(step), standin.When{})
	edc.OnStage(standin.TransferRequested, standin.Take(step), standin.When{})
	servers, stop, err := s.pair(ctx, edc)
	if err != nil {
		return err
	}
	ids := make(chan string, limitedAssets)
	for i := range limitedAssets {
		body, err := json.Marshal(map[string]string{
			"id": fmt.Sprintf("t-%d", i), "provider": edc.Provider(p.Name).Address(standin.Protocol2025), "assetId": "asset-" + strconv.Itoa(i),
		})
		if err != nil {
			return err
		}
		if err := servers[i%2].Insist(ctx, http.MethodPost, "/v1/transfers", body, nil); err != nil {
			return err
		}
		ids <- fmt.Sprintf("t-%d", i)
	}
	var w wrong
	for range limitedAssets {
		t, err := servers[0].ended(ctx, <-ids)
		if err != nil {
			return err
		}
		w.unless(t.Outcome == "completed", "transfer %s: %v", t.ID, t.Reason)
	}
	got := edc.Counts().Providers[p.Name]
	w.unless(got.Most.Together <= limit, "%d were under way at once: %+v", got.Most.Together, got.Most)
	w.unless(len(edc.Negotiations()) == limitedAssets, "%d negotiations", len(edc.Negotiations()))
	for asset, n := range got.Documents {
		w.unless(n == 1, "%s was fetched %d times", asset, n)
	}
	w.unless(len(got.Documents) == limitedAssets, "%d documents were fetched", len(got.Documents))
	fmt.Printf("  %d transfers of %d assets, two servers: at most %d under way at once\n", limitedAssets, limitedAssets, got.Most.Together)
	return errors.Join(w.err(), stop())
}

// pair starts two servers on one broker, which can open what the other has sealed.
func (s site) pair(ctx context.Context, edc *standin.Connector) (_ []*server, stop func() error, _ error) {
	config, err := s.configure(edc, []string{"provider"}, limit, nil)
	if err != nil {
		return nil, nil, err
	}
	halt := func() error { return nil }
	if !s.kafka.Others() {
		if s.broker, err = process.FreeAddress(); err != nil {
			return nil, nil, err
		}
		broker, err := process.Start(ctx, process.Command{
			Path: s.bin, Args: []string{"broker", "--data", filepath.Join(s.Dir, "broker"), "--kafka-listen", s.broker}, Log: s.Log,
		})
		if err != nil {
			return nil, nil, err
		}
		halt = func() error { _, err := broker.Stop(10 * time.Second); return err }
	}
	var servers []*server
	for _, name := range []string{"first", "second"} {
		srv, err := s.serve(ctx, name, "--config", config)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
		servers = append(servers, srv)
	}
	return servers, func() error {
		return errors.Join(servers[0].end(ctx), servers[1].end(ctx), halt())
	}, nil
}
