package edc

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"

	"github.com/waybill/waybill/consumers/connectors/adapter"
)

const (
	processes = "/v3/transferprocesses"
	// property is the private property with our id of a process.
	property = "waybillId"
)

// Start implements adapter.Contracts.
func (c *Connector) Start(ctx context.Context, p adapter.Party, t adapter.Transfer) (string, error) {
	if t.Repeat {
		id, err := c.started(ctx, t.ID)
		if err != nil || id != "" {
			return id, err
		}
	}
	destination := t.Destination
	if len(destination) == 0 {
		destination = json.RawMessage(`{"type":"HttpProxy"}`)
	}
	raw, failed := c.call(ctx, adapter.StepRequest, http.MethodPost, processes, map[string]any{
		"@type": "TransferRequest", "@id": t.ID, "counterPartyAddress": p.Provider, "protocol": c.cfg.Protocol,
		"contractId": t.AgreementID, "assetId": t.AssetID, "transferType": t.Type, "dataDestination": destination,
		"privateProperties": map[string]string{property: t.ID}, "callbackAddresses": callbacks(t.Callback),
	})
	if failed != nil {
		if failed.own && !failed.Again {
			failed.Code = adapter.CodeRefused
			if noAgreement.MatchString(failed.message) {
				failed.Code = adapter.CodeAgreementDead
			}
		}
		return "", failed.err()
	}
	return created(adapter.StepRequest, raw)
}

// started looks for the process that was asked for already, by its id, then by our property:
// later connectors choose ids themselves. "" means that there is none.
func (c *Connector) started(ctx context.Context, id string) (string, error) {
	p, err := c.Process(ctx, id)
	if err == nil {
		return p.ID, nil
	}
	if !errors.Is(err, adapter.ErrNotFound) {
		return "", err
	}
	found, failed := c.find(ctx, adapter.StepRequest, processes, "privateProperties.'"+namespace+property+"'", id)
	if failed != nil {
		return "", failed.err()
	}
	for _, n := range found {
		if sound(n.id()) {
			return n.id(), nil
		}
	}
	return "", nil
}

// noAgreement are the words in which connectors say that an agreement is not there, or no longer
// good.
var noAgreement = regexp.MustCompile(`(?i)agreement.{0,200}(not found|not valid|expired|does not exist)`)

// Process implements adapter.Contracts.
func (c *Connector) Process(ctx context.Context, id string) (adapter.Process, error) {
	raw, failed := c.call(ctx, adapter.StepRequest, http.MethodGet, processes+"/"+escape(id), nil)
	if failed != nil {
		return adapter.Process{}, failed.err()
	}
	n := object(raw)
	said := detail(n)
	p := adapter.Process{ID: id, State: stateOf(n), Detail: shown(said)}
	if sound(n.id()) {
		p.ID = n.id()
	}
	p.AgreementDead = p.State == stateTerminated && noAgreement.MatchString(said)
	return p, nil
}

// Tell implements adapter.Contracts.
func (c *Connector) Tell(ctx context.Context, id string, v adapter.Verb, reason string) error {
	var body map[string]any
	switch v {
	case adapter.Terminate:
		body = map[string]any{"@type": "TerminateTransfer", "reason": because(reason)}
	case adapter.Suspend:
		body = map[string]any{"@type": "SuspendTransfer", "reason": because(reason)}
	case adapter.Resume:
	}
	_, failed := c.call(ctx, string(v), http.MethodPost, processes+"/"+escape(id)+"/"+string(v), body)
	if failed.is(http.StatusConflict) && already(v, failed.message) {
		return nil
	}
	return failed.err()
}

// already says whether a process is where it was to be brought: the connector names the state
// in which it refuses.
func already(v adapter.Verb, message string) bool {
	_, state, _ := strings.Cut(message, "because it's ")
	switch v {
	case adapter.Terminate:
		return true // whatever cannot be terminated has ended
	case adapter.Suspend:
		return strings.HasPrefix(state, "SUSPEND")
	case adapter.Resume:
		return strings.HasPrefix(state, "STARTED") || strings.HasPrefix(state, "STARTING") || strings.HasPrefix(state, "RESUM")
	}
	return false
}
