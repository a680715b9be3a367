package connectors

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/connectors/adapter"
	"github.com/waybill/waybill/consumers/connectors/edc"
	"github.com/waybill/waybill/domain/partstree"
	"github.com/waybill/waybill/internal/outbound"
	"github.com/waybill/waybill/internal/seal"
	"github.com/waybill/waybill/schemas"
)

// What a document is read as, beside partstree.AsPartsTree and partstree.AsRegistry: as it is.
const (
	asIs       = ""
	asDocument = "document"
)

// Asset is what a document is of, and what it is read as.
type Asset struct {
	Provider   string
	AssetID    string
	As         string
	Properties json.RawMessage // of the transfer
}

// fetch gets a document and makes of it what whoever asked is to have.
func (s *set) fetch(ctx context.Context, a agent.Activity) agent.Result {
	var in struct {
		where
		AssetID    string          `json:"assetId"`
		As         string          `json:"as"`
		Properties json.RawMessage `json:"properties"`
		EDR        seal.Sealed     `json:"edr"`
	}
	fatal := func(step string, err error) agent.Result { return agent.Fatal(err).AtStep(step) }
	if err := a.Input.Decode(&in); err != nil {
		return fatal(adapter.StepAddress, err)
	}
	k, err := s.speaker(in.Connector)
	if err != nil {
		return fatal(adapter.StepAddress, err)
	}
	want := adapter.Want{Party: in.party(), AssetID: in.AssetID, Key: a.IdempotencyKey}
	if !in.EDR.IsZero() {
		edr, err := s.open(k.name, in.EDR)
		if err != nil {
			return fatal(adapter.StepEDR, err).WithCode(adapter.CodeEDRDead)
		}
		want.EDR = &edr
	}
	found, err := k.adapter.Document(ctx, want)
	if err != nil {
		return adapter.Failed(err)
	}
	return Output(found, Asset{Provider: in.Provider, AssetID: in.AssetID, As: in.As, Properties: in.Properties})
}

func (s *set) open(connector string, sealed seal.Sealed) (adapter.EDR, error) {
	secret, err := s.seals.Open(seal.EDR(connector), sealed)
	if err != nil {
		return adapter.EDR{}, fmt.Errorf("the EDR cannot be opened: %w", err)
	}
	return edc.ParseEDR(secret.Reveal(), time.Time{})
}

// Output is what whoever asked for an asset is to have of its document.
func Output(d adapter.Document, of Asset) agent.Result {
	switch of.As {
	case asIs, asDocument:
		return agent.Complete(content(d))
	case partstree.AsPartsTree:
		return partsTree(d, of)
	case partstree.AsRegistry:
		return registry(d, of)
	}
	return agent.Fatal(fmt.Errorf("a document cannot be read as %q", of.As)).AtStep(adapter.StepParse)
}

// content is JSON as it is, if everybody can read it alike, and everything else within an object.
func content(d adapter.Document) any {
	switch {
	case schemas.CheckReported(d.Body) == nil:
		return json.RawMessage(d.Body)
	case utf8.Valid(d.Body) && !bytes.Contains(d.Body, []byte{0}):
		return map[string]string{"text": string(d.Body), "contentType": d.ContentType}
	}
	return map[string]string{"base64": base64.StdEncoding.EncodeToString(d.Body), "contentType": d.ContentType}
}

// partsTree is the value of a document of a parts tree; it spawns a retrieve for each that this
// one asks for.
func partsTree(d adapter.Document, of Asset) agent.Result {
	doc, err := partstree.Parse(d.Body)
	if err != nil {
		return unreadable(d, err)
	}
	return agent.Complete(partstree.Output{Value: doc.Value, Order: doc.Order}).
		Spawn(partstree.Spawn(doc)...).
		WithKey(partstree.NodeID(of.Provider, of.AssetID))
}

// registry spawns a retrieve for each submodel of the part that was asked for.
func registry(d adapter.Document, of Asset) agent.Result {
	var part partstree.RegistryProperties
	if len(of.Properties) > 0 {
		if err := json.Unmarshal(of.Properties, &part); err != nil {
			return agent.Fatal(fmt.Errorf("properties: %w", err)).AtStep(adapter.StepParse)
		}
	}
	if part.GlobalAssetID == "" {
		return agent.Fatal(errors.New("properties say no globalAssetId: which part to look up")).AtStep(adapter.StepParse)
	}
	submodels, err := partstree.Lookup(d.Body, of.Provider, part.GlobalAssetID)
	if err != nil {
		return unreadable(d, err)
	}
	return agent.Complete(partstree.RegistryOutput{Submodels: len(submodels)}).
		Spawn(partstree.Spawn(partstree.Document{TransferProcesses: submodels})...)
}

func unreadable(d adapter.Document, err error) agent.Result {
	where := "the document"
	if d.Source != "" {
		where = "GET " + d.Source
	}
	return agent.Fatal(fmt.Errorf("%s: %w%s", where, err, outbound.Seen(d.ContentType, d.Body))).AtStep(adapter.StepParse)
}
