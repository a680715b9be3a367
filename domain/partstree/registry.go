package partstree

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/waybill/waybill/domain/definition"
)

// How a document reads, where it is not to be taken as it is.
const (
	AsPartsTree = "parts-tree" // see Parse
	AsRegistry  = "registry"   // see Lookup
)

// Lookup finds the submodels of a part in a registry's document, in their order. It reads
//
//	{"parts": {"<globalAssetId>": [{"file": "submodel-1", "connectorUrl": "http://provider2:8181"}, "submodel-2"]}}
//
// where a name alone is a file at the registry's own provider, and, shorter,
//
//	{"parts": ["part-1", "part-2"]}
//
// where each part has one submodel at the registry's own provider, which is called as the part.
// A part that the registry does not know has none, which is no error: another registry may know it.
func Lookup(body []byte, provider, globalAssetID string) ([]Transfer, error) {
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	if !utf8.Valid(body) {
		return nil, errors.New("the registry is not UTF-8")
	}
	var registry struct {
		Parts json.RawMessage `json:"parts"`
	}
	if err := json.Unmarshal(body, &registry); err != nil {
		return nil, fmt.Errorf("the registry is not a JSON object: %w", err)
	}
	switch {
	case len(registry.Parts) == 0:
		return nil, errors.New("the registry has no parts")
	case registry.Parts[0] == '[':
		return named(registry.Parts, provider, globalAssetID)
	case registry.Parts[0] != '{':
		return nil, fmt.Errorf("parts is neither an object nor an array but %s", kind(registry.Parts))
	}
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(registry.Parts, &parts); err != nil {
		return nil, fmt.Errorf("parts: %w", err)
	}
	var entries []json.RawMessage
	if raw, ok := parts[globalAssetID]; ok && json.Unmarshal(raw, &entries) != nil {
		return nil, fmt.Errorf("parts[%q] is not an array but %s", globalAssetID, kind(raw))
	}
	list := make([]Transfer, 0, len(entries))
	for i, entry := range entries {
		t, err := submodel(entry, provider)
		if err != nil {
			return nil, fmt.Errorf("parts[%q][%d]%w", globalAssetID, i, err)
		}
		list = append(list, t)
	}
	return list, nil
}

// named finds a part in a list of names.
func named(parts json.RawMessage, provider, globalAssetID string) ([]Transfer, error) {
	var names []json.RawMessage
	if err := json.Unmarshal(parts, &names); err != nil {
		return nil, fmt.Errorf("parts: %w", err)
	}
	for i, raw := range names {
		t, err := submodel(raw, provider)
		switch {
		case err != nil:
			return nil, fmt.Errorf("parts[%d]%w", i, err)
		case t.File == globalAssetID && t.ConnectorURL == provider:
			return []Transfer{t}, nil
		}
	}
	return nil, nil
}

// submodel reads an entry: {file, connectorUrl}, or the name of a file at the provider.
func submodel(raw json.RawMessage, provider string) (Transfer, error) {
	var name string
	if json.Unmarshal(raw, &name) != nil {
		return transfer(raw)
	}
	if strings.Contains(name, "{{") {
		return Transfer{}, errors.New(" contains {{, which no address may")
	}
	return Transfer{File: name, ConnectorURL: provider}, nil
}

// RegistryRequest is the input of a retrieve activity that looks a part up.
type RegistryRequest struct {
	Request
	As             string             `json:"as"`
	CounterPartyID string             `json:"counterPartyId,omitempty"`
	Properties     RegistryProperties `json:"properties"`
}

// RegistryProperties say which part is looked up.
type RegistryProperties struct {
	GlobalAssetID string `json:"globalAssetId"`
}

// RegistryOutput is the output of a retrieve activity that has looked a part up. Its empty value
// joins with those of the submodels.
type RegistryOutput struct {
	Value     string `json:"value"`
	Submodels int    `json:"submodels"`
}

// Registry is an offer of a provider's that access was acquired to, or not.
type Registry struct {
	AssetID string          `json:"assetId"`
	Error   json.RawMessage `json:"error,omitempty"`
}

// Granted says that access was acquired.
func (r Registry) Granted() bool { return len(r.Error) == 0 || string(r.Error) == "null" }

// SpawnRegistries lists one retrieve activity for each registry that granted access, which looks the part
// up there. One that fails leaves a tombstone where there are others: they may know the part.
func SpawnRegistries(provider, counterPartyID, globalAssetID string, registries []Registry) []definition.Activity {
	var list []definition.Activity
	onError := definition.OnErrorPartial
	if len(registries) > 1 {
		onError = definition.OnErrorContinue
	}
	seen := make(map[string]bool, len(registries))
	for _, r := range registries {
		u, f := spelling(provider, r.AssetID)
		if !r.Granted() || seen[f] || strings.Contains(f, "{{") {
			continue
		}
		seen[f] = true
		with, err := json.Marshal(RegistryRequest{Request{f, u}, AsRegistry, counterPartyID, RegistryProperties{globalAssetID}})
		if err != nil {
			continue // texts always encode
		}
		list = append(list, definition.Activity{
			ID: "registry-" + NodeID(u, f), Name: globalAssetID + " in " + Name(u, f), Type: RetrieveType, With: with, OnError: onError,
		})
	}
	return list
}
