package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/waybill/waybill/internal/standin"
)

// ending is a transfer that is terminated, and how often its provider is to hear of that.
type ending struct {
	name  string
	asset string
	hold  func(edc *standin.Connector, asset string) *standin.Fault
	push  bool
	kill  bool // the server dies when it has been asked to terminate
	told  int
}

func terminations(ctx context.Context, s site) error {
	all := []ending{
		{name: "a push before it was requested", asset: "early", push: true, hold: func(edc *standin.Connector, asset string) *standin.Fault {
			return edc.OnStage(standin.NegotiationRequested, standin.Stay(), standin.When{Asset: asset})
		}},
		{name: "a push that was requested", asset: "requested", push: true, told: 1, hold: held},
		{name: "a push that was requested, by a server that dies", asset: "killed", push: true, kill: true, told: 1, hold: held},
		{name: "a pull, whose process is the access's", asset: "pull", hold: func(edc *standin.Connector, asset string) *standin.Fault {
			return edc.OnRequest(standin.Document, standin.Hang(), standin.When{Asset: asset})
		}},
	}
	provider := standin.ProviderConfig{Name: "provider"}
	for _, e := range all {
		provider.Assets = append(provider.Assets, document(e.asset))
	}
	edc, err := standin.Start(ctx, standin.Config{APIKey: apiKey, Providers: []standin.ProviderConfig{provider}})
	if err != nil {
		return err
	}
	defer edc.Close()
	config, err := s.configure(edc, []string{provider.Name}, 0, nil)
	if err != nil {
		return err
	}
	srv, err := s.serve(ctx, "data", "--config", config)
	if err != nil {
		return err
	}
	for _, e := range all {
		if err := e.play(ctx, srv, edc); err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
		fmt.Printf("  %s: told %d times\n", e.name, e.told)
	}
	return srv.end(ctx)
}

func held(edc *standin.Connector, asset string) *standin.Fault {
	return edc.OnStage(standin.TransferRequested, standin.Stay(), standin.When{Asset: asset})
}

func (e ending) play(ctx context.Context, srv *server, edc *standin.Connector) error {
	fault := e.hold(edc, e.asset)
	defer fault.Mend()
	body := map[string]any{"id": e.asset, "provider": edc.Provider("provider").Address(standin.Protocol2025), "assetId": e.asset}
	if e.push {
		body["transferType"], body["manifest"] = standin.Push, manifest("local")
	}
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	if err := srv.Insist(ctx, http.MethodPost, "/v1/transfers", b, nil); err != nil {
		return err
	}
	if err := until(ctx, "the state", func() (bool, error) { return fault.Hits() > 0, nil }); err != nil {
		return err
	}
	for range 2 { // twice, as somebody would who was not answered
		if err := srv.Insist(ctx, http.MethodPost, "/v1/transfers/"+e.asset+"/terminate", []byte(`{"reason":"nobody wants it"}`), nil); err != nil {
			return err
		}
	}
	if e.kill {
		if err := srv.killed(ctx); err != nil {
			return err
		}
	}
	t, err := srv.ended(ctx, e.asset)
	if err != nil {
		return err
	}
	var w wrong
	w.unless(t.Outcome == "terminated", "it ended %s, %s", t.State, t.Outcome)
	told := 0
	for _, x := range edc.Transfers() {
		if x.Asset == e.asset {
			told += x.Told.Terminations
			w.unless(e.push || x.Told.Terminations == 0, "the access's process %s was ended", x.ID)
		}
	}
	w.unless(told == e.told, "its provider was told %d times, not %d", told, e.told)
	return w.err()
}
