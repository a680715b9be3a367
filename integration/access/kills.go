package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/waybill/waybill/internal/standin"
)

// waitingIn is one state that serve is killed in, and how it comes there and on.
type waitingIn struct {
	name string
	// hold keeps the transfer of the asset there until the function it returns is called; reached
	// says whether it is there.
	hold func(edc *standin.Connector, asset string) *standin.Fault
	// body is what the transfer has beside provider and asset.
	body map[string]any
	// state is where the transfer stands then, where no fault says that it is there.
	state string
	// resume is a verb that it takes to go on.
	resume string
	// again is how often the document may be fetched.
	again int
}

func kills(ctx context.Context, s site) error {
	states := waitingStates()
	provider := standin.ProviderConfig{Name: "provider"}
	for _, w := range states {
		provider.Assets = append(provider.Assets, document(w.asset()))
	}
	edc, err := standin.Start(ctx, standin.Config{APIKey: apiKey, Providers: []standin.ProviderConfig{provider}})
	if err != nil {
		return err
	}
	defer edc.Close()
	depot := newDepot(ctx)
	defer depot.close()
	config, err := s.configure(edc, []string{provider.Name}, 0, map[string]any{
		"provisioners": []any{map[string]string{"type": "depot", "adapter": "http", "endpoint": depot.url()}},
	})
	if err != nil {
		return err
	}
	srv, err := s.serve(ctx, "data", "--config", config)
	if err != nil {
		return err
	}
	for _, w := range states {
		if err := w.play(ctx, srv, edc, depot); err != nil {
			return fmt.Errorf("killed in %s: %w", w.name, err)
		}
	}
	fmt.Printf("  killed in %d states, everything was done once\n", len(states))
	return srv.end(ctx)
}

func (w waitingIn) asset() string { return strings.ReplaceAll(w.name, " ", "-") }

func (w waitingIn) pushed() bool { return w.body["transferType"] == standin.Push }

// play brings a transfer into the state, kills the server, and lets it go on.
func (w waitingIn) play(ctx context.Context, srv *server, edc *standin.Connector, d *depot) error {
	var held *standin.Fault
	if w.hold != nil {
		held = w.hold(edc, w.asset())
	}
	address := edc.Provider("provider").Address(standin.Protocol2025)
	body := map[string]any{"id": w.asset(), "provider": address, "assetId": w.asset()}
	for name, value := range w.body {
		body[name] = value
	}
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	if err := srv.Insist(ctx, http.MethodPost, "/v1/transfers", b, nil); err != nil {
		return err
	}
	if held != nil {
		if err := until(ctx, "the state", func() (bool, error) { return held.Hits() > 0, nil }); err != nil {
			return err
		}
	}
	if err := w.arrive(ctx, srv); err != nil {
		return err
	}
	if err := srv.Kill(); err != nil {
		return err
	}
	if held != nil && !w.pushed() {
		held.Mend()
	}
	if err := srv.start(ctx); err != nil {
		return err
	}
	if held != nil && w.pushed() { // not before there is somebody to push to
		held.Mend()
	}
	if err := w.goOn(ctx, srv, d); err != nil {
		return err
	}
	return w.check(ctx, srv, edc)
}

// arrive waits until the transfer stands where it is to be.
func (w waitingIn) arrive(ctx context.Context, srv *server) error {
	if w.resume != "" {
		if err := srv.Insist(ctx, http.MethodPost, "/v1/transfers/"+w.asset()+"/suspend", []byte(`{"reason":"a pause"}`), nil); err != nil {
			return err
		}
	}
	if w.state == "" {
		return nil
	}
	_, err := srv.sees(ctx, w.asset(), w.state, func(t transfer) bool { return t.State == w.state })
	return err
}

func (w waitingIn) goOn(ctx context.Context, srv *server, d *depot) error {
	if w.resume != "" {
		return srv.Insist(ctx, http.MethodPost, "/v1/transfers/"+w.asset()+"/"+w.resume, []byte(`{}`), nil)
	}
	if w.state != "" {
		return d.answer(ctx, w.asset())
	}
	return nil
}

func (w waitingIn) check(ctx context.Context, srv *server, edc *standin.Connector) error {
	t, err := srv.ended(ctx, w.asset())
	if err != nil {
		return err
	}
	var bad wrong
	bad.unless(t.Outcome == "completed", "it ended %s: %v", t.State, t.Reason)
	n := 0
	for _, x := range edc.Negotiations() {
		if x.Asset == w.asset() {
			n++
		}
	}
	bad.unless(n == 1, "%d negotiations", n)
	got := edc.Counts().Providers["provider"]
	if docs := got.Documents[w.asset()]; !w.pushed() {
		bad.unless(docs >= 1 && docs <= max(w.again, 1), "the document was fetched %d times", docs)
	} else {
		bad.unless(got.Pushed[w.asset()] == 1, "the document was pushed %d times", got.Pushed[w.asset()])
	}
	if w.state == "DEPROVISIONING_REQUESTED" {
		_, err = srv.sees(ctx, w.asset(), "DEPROVISIONED", func(t transfer) bool { return t.State == "DEPROVISIONED" })
	}
	return errors.Join(bad.err(), err)
}

func waitingStates() []waitingIn {
	request := func(op standin.Op) func(*standin.Connector, string) *standin.Fault {
		return func(edc *standin.Connector, asset string) *standin.Fault {
			return edc.OnRequest(op, standin.Hang(), standin.When{Asset: asset})
		}
	}
	stay := func(stage standin.Stage) func(*standin.Connector, string) *standin.Fault {
		return func(edc *standin.Connector, asset string) *standin.Fault {
			return edc.OnStage(stage, standin.Stay(), standin.When{Asset: asset})
		}
	}
	push := map[string]any{"transferType": standin.Push, "manifest": manifest("local")}
	return []waitingIn{
		{name: "catalog asked", hold: request(standin.Catalog)},
		{name: "negotiation asked", hold: request(standin.Negotiate)},
		{name: "negotiation REQUESTED", hold: stay(standin.NegotiationRequested)},
		{name: "negotiation AGREED", hold: stay(standin.NegotiationAgreed)},
		{name: "negotiation VERIFIED", hold: stay(standin.NegotiationVerified)},
		{name: "EDR asked", hold: request(standin.RequestTransfer)},
		{name: "EDR REQUESTED", hold: stay(standin.TransferRequested)},
		{name: "EDR not yet there", hold: stay(standin.TransferEDR)},
		{name: "document asked", hold: request(standin.Document), again: 2},
		{name: "SUSPENDED", hold: request(standin.Document), state: "SUSPENDED", resume: "resume", again: 2},
		{name: "push REQUESTED", hold: stay(standin.TransferRequested), body: push},
		{name: "push STARTED", hold: stay(standin.TransferStarted), body: push},
		{name: "PROVISIONING_REQUESTED", state: "PROVISIONING_REQUESTED", body: map[string]any{"manifest": manifest("depot"), "transferType": standin.Pull}},
		{name: "DEPROVISIONING_REQUESTED", state: "DEPROVISIONING_REQUESTED", body: map[string]any{"manifest": manifest("depot"), "transferType": standin.Pull}},
	}
}

func manifest(typ string) any {
	return map[string]any{"definitions": []any{map[string]string{"id": "in", "type": typ}}}
}
