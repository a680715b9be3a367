package agents

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/domain/partstree"
)

// Lookup spawns one retrieve for each registry of a provider that has granted access, which looks a
// part up there. Its input is {provider, counterPartyId?, globalAssetId, offers}, the offers as acquire
// lists them; its output {value: "", registries}, where each says what came of it.
type Lookup struct{}

// Quick implements agent.Quick: it asks nobody.
func (Lookup) Quick(agent.Activity) bool { return true }

// Process implements agent.Processor.
func (Lookup) Process(_ context.Context, a agent.Activity) agent.Result {
	var in struct {
		Provider       string               `json:"provider"`
		CounterPartyID string               `json:"counterPartyId"`
		GlobalAssetID  string               `json:"globalAssetId"`
		Offers         []partstree.Registry `json:"offers"`
	}
	if err := a.Input.Decode(&in); err != nil {
		return agent.Fatal(err).AtStep("input")
	}
	spawn := partstree.SpawnRegistries(in.Provider, in.CounterPartyID, in.GlobalAssetID, in.Offers)
	if len(spawn) == 0 {
		return agent.Fatal(errors.New("no registry of " + in.Provider + " has granted access")).AtStep("negotiation")
	}
	type registry struct {
		AssetID string          `json:"assetId"`
		Granted bool            `json:"granted"`
		Error   json.RawMessage `json:"error,omitempty"`
	}
	registries := make([]registry, len(in.Offers))
	for i, r := range in.Offers {
		registries[i] = registry{r.AssetID, r.Granted(), r.Error}
	}
	return agent.Complete(map[string]any{"value": "", "registries": registries}).Spawn(spawn...)
}
