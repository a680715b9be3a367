package connectors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/connectors/adapter"
	"github.com/waybill/waybill/internal/seal"
)

// start starts a transfer process: of a push transfer, or the one behind an EDR.
func (s *set) start(ctx context.Context, j job) agent.Result {
	var in struct {
		AssetID      string          `json:"assetId"`
		AgreementID  string          `json:"agreementId"`
		TransferType string          `json:"transferType"`
		ProcessID    string          `json:"processId"`
		Destination  json.RawMessage `json:"destination"`
	}
	if err := j.Input.Decode(&in); err != nil {
		return agent.Fatal(err).AtStep(adapter.StepRequest)
	}
	destination, err := s.destination(j.JobID, in.Destination)
	if err != nil {
		return agent.Fatal(fmt.Errorf("destination: %w", err)).AtStep(adapter.StepRequest)
	}
	id, err := j.contracts.Start(ctx, j.party(), adapter.Transfer{
		ID: in.ProcessID, AssetID: in.AssetID, AgreementID: in.AgreementID, Type: in.TransferType,
		Destination: destination, Callback: j.callback(), Repeat: j.repeat(),
	})
	if err != nil {
		return adapter.Failed(err)
	}
	return agent.Complete(map[string]string{"processId": id})
}

// destination opens what is sealed in where a transfer is to go.
func (s *set) destination(transfer string, sealed json.RawMessage) (json.RawMessage, error) {
	if len(sealed) == 0 || string(sealed) == "null" {
		return nil, nil
	}
	opened, err := s.seals.OpenAll(seal.Transfer(transfer), sealed)
	if err != nil {
		return nil, err
	}
	return flat(opened.Reveal()), nil
}

// flat is a data address with its properties as members, as requests have it: provisioners report
// theirs with everything under properties.
func flat(address json.RawMessage) json.RawMessage {
	var members, properties map[string]json.RawMessage
	if json.Unmarshal(address, &members) != nil || json.Unmarshal(members["properties"], &properties) != nil {
		return address
	}
	delete(members, "properties")
	maps.Copy(members, properties)
	b, err := json.Marshal(members)
	if err != nil {
		return address
	}
	return b
}

func pollTransfer(ctx context.Context, j job) agent.Result {
	p, err := j.contracts.Process(ctx, j.Input.String("processId"))
	if end, ok := j.ended(p, err); ok {
		return end
	}
	return j.again(p.State)
}

// ended is the result of a process that goes on no more, or that could not be asked for.
func (j job) ended(p adapter.Process, err error) (agent.Result, bool) {
	switch {
	case errors.Is(err, adapter.ErrNotFound):
		return agent.Complete(ended{State: stateLost}), true
	case err != nil:
		return adapter.Failed(err), true
	case p.State == stateCompleted, p.State == stateTerminated:
		return agent.Complete(ended{State: p.State, Detail: p.Detail, AgreementDead: p.AgreementDead}), true
	case strings.HasPrefix(p.State, "DEPROVISION"):
		// How it came to its end is no longer said; had it been completed, we would have been told.
		return agent.Complete(ended{State: stateTerminated, Detail: strings.Join([]string{"the connector says " + p.State, p.Detail}, " ")}), true
	}
	return agent.Result{}, false
}

// granted is an EDR as it may cross the log.
type granted struct {
	State     string      `json:"state,omitempty"`
	EDR       seal.Sealed `json:"edr"`
	ExpiresAt time.Time   `json:"expiresAt,omitzero"`
}

func (s *set) pollEDR(ctx context.Context, j job) agent.Result {
	id := j.Input.String("processId")
	p, err := j.contracts.Process(ctx, id)
	if end, ok := j.ended(p, err); ok {
		return completedEDR(p, end)
	}
	if p.State != stateStarted {
		return j.again(p.State)
	}
	edr, err := j.contracts.EDR(ctx, id)
	switch {
	case errors.Is(err, adapter.ErrNotFound):
		return j.shortly(p.State)
	case err != nil:
		return adapter.Failed(err)
	}
	return s.grant(j, stateStarted, edr)
}

// completedEDR makes of a process that was completed one that has ended: its EDR is no longer
// good.
func completedEDR(p adapter.Process, end agent.Result) agent.Result {
	if p.State != stateCompleted {
		return end
	}
	return agent.Complete(ended{State: stateTerminated, Detail: "the provider completed the transfer process before its EDR was fetched"})
}

// shortly is again for what is there in a moment, at first.
func (j job) shortly(state string) agent.Result {
	const patience = 20
	var last polled
	if j.DecodeState(&last) != nil || last.State != state {
		last = polled{State: state}
	}
	if last.Times >= patience {
		return agent.Schedule(j.most).WithState(last)
	}
	last.Times++
	return agent.Schedule(min(soon, j.first)).WithState(last)
}

func (s *set) grant(j job, state string, edr adapter.EDR) agent.Result {
	sealed, err := s.seals.Seal(seal.EDR(j.name), edr.Raw)
	if err != nil {
		return agent.Fatal(fmt.Errorf("the EDR cannot be sealed: %w", err)).AtStep(adapter.StepEDR)
	}
	return agent.Complete(granted{State: state, EDR: sealed, ExpiresAt: edr.ExpiresAt})
}

func (s *set) refreshEDR(ctx context.Context, j job) agent.Result {
	edr, err := j.contracts.Refresh(ctx, j.Input.String("processId"))
	if err != nil {
		return adapter.Failed(err)
	}
	return s.grant(j, "", edr)
}

// endEDR ends the process behind an EDR; one that is gone is ended.
func endEDR(ctx context.Context, j job) agent.Result {
	err := j.contracts.Tell(ctx, j.Input.String("processId"), adapter.Terminate, j.Input.String("reason"))
	if err != nil && !errors.Is(err, adapter.ErrNotFound) {
		return adapter.Failed(err)
	}
	return agent.Complete(struct{}{})
}

// terminate ends a process, and says whether there was one to be told.
func terminate(ctx context.Context, j job) agent.Result {
	id := j.Input.String("processId")
	told := func(told bool) agent.Result { return agent.Complete(map[string]bool{"told": told}) }
	if !j.Input.Bool("requested") {
		// Whether the request that nobody answered has arrived only its id can say.
		if _, err := j.contracts.Process(ctx, id); err != nil {
			if errors.Is(err, adapter.ErrNotFound) {
				return told(false)
			}
			return adapter.Failed(err)
		}
	}
	err := j.contracts.Tell(ctx, id, adapter.Terminate, j.Input.String("reason"))
	switch {
	case errors.Is(err, adapter.ErrNotFound):
		return told(false)
	case err != nil:
		return adapter.Failed(err)
	}
	return told(true)
}

// tell asks for another change of a process.
func tell(v adapter.Verb) func(context.Context, job) agent.Result {
	return func(ctx context.Context, j job) agent.Result {
		if err := j.contracts.Tell(ctx, j.Input.String("processId"), v, j.Input.String("reason")); err != nil {
			return adapter.Failed(err)
		}
		return agent.Complete(struct{}{})
	}
}
