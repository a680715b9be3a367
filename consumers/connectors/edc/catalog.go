package edc

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"strings"

	"github.com/waybill/waybill/consumers/connectors/adapter"
)

const (
	byID      = namespace + "id"
	byType    = "http://purl.org/dc/terms/type"
	byOldType = namespace + "type"
	// page is how many datasets are asked for at once, pages how often: no type has more.
	page  = 200
	pages = 50
)

// Catalog implements adapter.Contracts.
func (c *Connector) Catalog(ctx context.Context, p adapter.Party, w adapter.Wish) (adapter.Catalog, error) {
	if w.AssetID != "" {
		return c.catalog(ctx, p, byID, w.AssetID, w.AssetID)
	}
	found, err := c.catalog(ctx, p, byType, w.AssetType, "")
	if err != nil || len(found.Offers) > 0 {
		return found, err
	}
	return c.catalog(ctx, p, byOldType, w.AssetType, "")
}

// catalog asks for the datasets that have a value; of those, where an asset is given, only
// that one counts, whatever the provider makes of the filter.
func (c *Connector) catalog(ctx context.Context, p adapter.Party, left, right, asset string) (adapter.Catalog, error) {
	found := adapter.Catalog{Offers: []adapter.Offered{}}
	for n := range pages {
		body := map[string]any{
			"@type": "CatalogRequest", "counterPartyAddress": p.Provider, "protocol": c.cfg.Protocol,
			"querySpec": map[string]any{"offset": n * page, "limit": page, "filterExpression": []any{criterion(left, right)}},
		}
		if p.ID != "" {
			body["counterPartyId"] = p.ID
		}
		raw, failed := c.call(ctx, adapter.StepCatalog, http.MethodPost, "/v3/catalog/request", body)
		if failed != nil {
			return adapter.Catalog{}, failed.err()
		}
		catalog := object(raw)
		if id := catalog.text("participantId"); sound(id) {
			found.ParticipantID = id
		}
		datasets := items(catalog.get("dataset"))
		for _, raw := range datasets {
			dataset := object(raw)
			if asset == "" || dataset.id() == asset {
				found.Offers = append(found.Offers, c.offers(catalog["@context"], dataset)...)
			}
		}
		if len(datasets) < page {
			break
		}
	}
	return found, nil
}

// offers are those of one dataset.
func (c *Connector) offers(context json.RawMessage, dataset node) []adapter.Offered {
	var formats []string
	for _, raw := range items(dataset.get("distribution")) {
		if f := local(object(raw).text("format")); f != "" {
			formats = append(formats, f)
		}
	}
	var list []adapter.Offered
	for _, raw := range items(dataset.get("hasPolicy")) {
		offer := object(raw)
		if !sound(offer.id()) || !sound(dataset.id()) { // nobody could ask for it
			continue
		}
		p := readPolicy(offer)
		list = append(list, adapter.Offered{
			AssetID: dataset.id(), OfferID: offer.id(), Policy: withPrefixes(raw, offer, context), Formats: formats,
			Constraints: shown(p.String()), Unacceptable: shown(p.unacceptable(c.cfg.Accepted)),
		})
	}
	return list
}

// withPrefixes puts what the catalog's own context adds to the usual ones into the offer,
// which is taken out of the catalog and has to be understood alone. An offer that needs
// nothing stays word for word.
func withPrefixes(raw json.RawMessage, offer node, context json.RawMessage) json.RawMessage {
	if _, own := offer["@context"]; own {
		return raw
	}
	var added []json.RawMessage
	for _, item := range items(context) {
		if !usual(text(item)) || item[0] == '{' {
			added = append(added, item)
		}
	}
	if len(added) == 0 {
		return raw
	}
	whole := maps.Clone(offer)
	list, err := json.Marshal(added)
	if err != nil {
		return raw
	}
	whole["@context"] = list
	out, err := json.Marshal(whole)
	if err != nil {
		return raw
	}
	return out
}

// usual are the contexts of the protocol itself. They must not stand in a policy: they protect
// the names that the policy's own context defines.
func usual(context string) bool {
	return strings.HasPrefix(context, "https://w3id.org/dspace/") || strings.HasPrefix(context, "https://w3id.org/edc/")
}

// policyContext is the context of a policy that is sent: ODRL's, EDC's prefix, and what the
// catalog added to that.
func policyContext(own json.RawMessage) []any {
	prefixes := map[string]json.RawMessage{"edc": json.RawMessage(`"` + namespace + `"`)}
	list := []any{"http://www.w3.org/ns/odrl.jsonld"}
	for _, item := range items(own) {
		if item[0] != '{' {
			if t := text(item); !usual(t) && t != "http://www.w3.org/ns/odrl.jsonld" {
				list = append(list, t)
			}
			continue
		}
		for name, iri := range object(item) {
			if !strings.HasPrefix(name, "@") {
				prefixes[name] = iri
			}
		}
	}
	return append(list, prefixes)
}
