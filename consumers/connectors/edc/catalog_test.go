package edc_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/waybill/waybill/consumers/connectors/adapter"
	"github.com/waybill/waybill/consumers/connectors/edc"
)

const (
	catalogRequest = "POST /v3/catalog/request"
	offerID        = "cmVnaW9uLXVz:cmVnaW9uLWRvY3VtZW50:NTgxMzFlNDItOWE1YS00YWIyLWFiNTgtNzMzZTkxNmNiYjI1"

	offer2025 = `{"@id":"` + offerID + `","@type":"Offer","permission":[{"action":"use","constraint":[{"leftOperand":"edc:region","operator":"eq","rightOperand":"us"}]}]}`
	one2025   = `{"@id":"c","@type":"Catalog","participantId":"provider1","dataset":[{"@id":"region-document","@type":"Dataset",
		"hasPolicy":[` + offer2025 + `],"distribution":[{"@type":"Distribution","format":"HttpData-PULL"},{"@type":"Distribution","format":"HttpData-PUSH"}]}],
		"@context":["https://w3id.org/dspace/2025/1/context.jsonld","https://w3id.org/edc/dspace/v0.0.1"]}`
	none2025 = `{"@id":"c","@type":"Catalog","participantId":"provider1","@context":["https://w3id.org/dspace/2025/1/context.jsonld"]}`

	prefixes = `{"@vocab":"https://w3id.org/edc/v0.0.1/ns/","edc":"https://w3id.org/edc/v0.0.1/ns/","dcat":"http://www.w3.org/ns/dcat#","dct":"http://purl.org/dc/terms/","odrl":"http://www.w3.org/ns/odrl/2/","dspace":"https://w3id.org/dspace/v0.8/"}`
	offer08  = `{"@id":"` + offerID + `","@type":"odrl:Offer","odrl:permission":{"odrl:action":{"@id":"odrl:use"},"odrl:constraint":{"odrl:leftOperand":{"@id":"edc:region"},"odrl:operator":{"@id":"odrl:eq"},"odrl:rightOperand":"us"}},"odrl:prohibition":[],"odrl:obligation":[]}`
	one08    = `{"@id":"c","@type":"dcat:Catalog","dspace:participantId":"provider1","dcat:dataset":{"@id":"region-document","@type":"dcat:Dataset",
		"odrl:hasPolicy":` + offer08 + `,"dcat:distribution":[{"@type":"dcat:Distribution","dct:format":{"@id":"HttpData-PULL"}},{"@type":"dcat:Distribution","dct:format":{"@id":"HttpData-PUSH"}}]},
		"@context":` + prefixes + `}`
	none08 = `{"@id":"c","@type":"dcat:Catalog","dspace:participantId":"provider1","dcat:dataset":[],"@context":` + prefixes + `}`
)

func TestACatalogIsReadInTheTermsOfBothProtocols(t *testing.T) {
	for name, c := range map[string]struct{ protocol, catalog string }{
		"2025-1, where all is an array": {edc.Protocol2025, one2025},
		"0.8, where one is no array":    {edc.Protocol08, one08},
		"0.8, where there are several": {edc.Protocol08, strings.Replace(strings.Replace(one08, `"dcat:dataset":{`, `"dcat:dataset":[{"@id":"other","odrl:hasPolicy":`+offer08+`},{`, 1), `]},
		"@context"`, `]}],"@context"`, 1)},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t).on(catalogRequest, 200, c.catalog)
			got, err := f.connector(func(cfg *edc.Config) { cfg.Protocol = c.protocol }).Catalog(t.Context(), provider, adapter.Wish{AssetID: "region-document"})
			if err != nil {
				t.Fatal(err)
			}
			if got.ParticipantID != "provider1" || len(got.Offers) != 1 {
				t.Fatalf("got %+v", got)
			}
			o := got.Offers[0]
			if o.AssetID != "region-document" || o.OfferID != offerID || fmt.Sprint(o.Formats) != "[HttpData-PULL HttpData-PUSH]" || o.Constraints != "region eq us" || o.Unacceptable != "" {
				t.Errorf("got %+v", o)
			}
			f.sent(0, `{"@context":{"@vocab":"https://w3id.org/edc/v0.0.1/ns/"},"@type":"CatalogRequest","counterPartyAddress":"`+provider.Provider+`",
				"counterPartyId":"provider1","protocol":"`+c.protocol+`","querySpec":{"offset":0,"limit":200,"filterExpression":[
				{"@type":"Criterion","operandLeft":"https://w3id.org/edc/v0.0.1/ns/id","operator":"=","operandRight":"region-document"}]}}`)
		})
	}
}

func TestAnOfferIsKeptWordForWord(t *testing.T) {
	f := newFake(t).on(catalogRequest, 200, one2025)
	got, err := f.connector().Catalog(t.Context(), provider, adapter.Wish{AssetID: "region-document"})
	if err != nil || string(got.Offers[0].Policy) != offer2025 {
		t.Fatalf("got %+v, %v", got, err)
	}
	t.Run("with the prefixes that it needs", func(t *testing.T) {
		f := newFake(t).on(catalogRequest, 200, one08)
		got, err := f.connector().Catalog(t.Context(), provider, adapter.Wish{AssetID: "region-document"})
		if err != nil {
			t.Fatal(err)
		}
		sameJSON(t, string(got.Offers[0].Policy), strings.Replace(offer08, "{", `{"@context":[`+prefixes+`],`, 1))
	})
}

func TestACatalogWithoutTheAssetIsNoError(t *testing.T) {
	for name, catalog := range map[string]string{
		"2025-1": none2025, "0.8": none08,
		"a provider that does not filter": strings.ReplaceAll(one2025, "region-document", "other-document"),
		"a dataset without an offer":      strings.Replace(one2025, offer2025, "", 1),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := newFake(t).on(catalogRequest, 200, catalog).connector().Catalog(t.Context(), provider, adapter.Wish{AssetID: "region-document"})
			if err != nil || len(got.Offers) != 0 || got.Offers == nil || got.ParticipantID != "provider1" {
				t.Fatalf("got %+v, %v", got, err)
			}
		})
	}
}

func TestATypeIsLookedForInBothProperties(t *testing.T) {
	f := newFake(t).on(catalogRequest, 200, none2025).on(catalogRequest, 200, one2025)
	got, err := f.connector().Catalog(t.Context(), adapter.Party{Provider: provider.Provider}, adapter.Wish{AssetType: "registry"})
	if err != nil || len(got.Offers) != 1 || got.Offers[0].AssetID != "region-document" {
		t.Fatalf("got %+v, %v", got, err)
	}
	for n, property := range []string{"http://purl.org/dc/terms/type", "https://w3id.org/edc/v0.0.1/ns/type"} {
		f.sent(n, `{"@context":{"@vocab":"https://w3id.org/edc/v0.0.1/ns/"},"@type":"CatalogRequest","counterPartyAddress":"`+provider.Provider+`",
			"protocol":"dataspace-protocol-http:2025-1","querySpec":{"offset":0,"limit":200,"filterExpression":[
			{"@type":"Criterion","operandLeft":"`+property+`","operator":"=","operandRight":"registry"}]}}`)
	}
}

func TestACatalogIsReadInPages(t *testing.T) {
	var full []string
	for i := range 200 {
		full = append(full, fmt.Sprintf(`{"@id":"a%d","hasPolicy":[%s]}`, i, offer2025))
	}
	f := newFake(t).on(catalogRequest, 200, `{"participantId":"provider1","dataset":[`+strings.Join(full, ",")+`]}`).on(catalogRequest, 200, one2025)
	got, err := f.connector().Catalog(t.Context(), provider, adapter.Wish{AssetType: "registry"})
	if err != nil || len(got.Offers) != 201 {
		t.Fatalf("got %d offers, %v", len(got.Offers), err)
	}
}

func TestAPolicyInWordsAndWhetherItIsAccepted(t *testing.T) {
	region := `{"leftOperand":"edc:region","operator":"eq","rightOperand":"eu"}`
	purpose := `{"odrl:leftOperand":{"@id":"cx-policy:UsagePurpose"},"odrl:operator":{"@id":"odrl:isAnyOf"},"odrl:rightOperand":["a","b"]}`
	for name, c := range map[string]struct {
		policy, words string
		accepted      [][]string
		refused       string
	}{
		"nothing":                       {`{"permission":[]}`, "", [][]string{{"region eq eu"}}, ""},
		"no member at all":              {`{}`, "", [][]string{{"region eq eu"}}, ""},
		"one constraint":                {`{"permission":{"action":"use","constraint":` + region + `}}`, "region eq eu", [][]string{{"x eq y"}, {"region eq eu"}}, ""},
		"by its whole name":             {`{"permission":{"constraint":` + region + `}}`, "region eq eu", [][]string{{"edc:region  eq eu"}}, ""},
		"another one":                   {`{"permission":{"constraint":` + region + `}}`, "region eq eu", [][]string{{"region eq us"}, {"x eq y", "z eq w"}}, `its policy "region eq eu" is covered by none of the accepted policies: "region eq us", "x eq y and z eq w"`},
		"another's whole name":          {`{"permission":{"constraint":` + region + `}}`, "region eq eu", [][]string{{"cx:region eq eu"}}, "covered by none"},
		"everything, where no list is":  {`{"permission":{"constraint":` + region + `}}`, "region eq eu", nil, ""},
		"two, in two permissions":       {`{"odrl:permission":[{"odrl:constraint":` + region + `},{"odrl:constraint":[` + purpose + `]}]}`, "region eq eu and UsagePurpose isAnyOf a,b", [][]string{{"region eq eu"}}, "covered by none"},
		"two, both accepted":            {`{"odrl:permission":[{"odrl:constraint":` + region + `},{"odrl:constraint":[` + purpose + `]}]}`, "region eq eu and UsagePurpose isAnyOf a,b", [][]string{{"region eq eu", "UsagePurpose isAnyOf a,b"}}, ""},
		"all of several":                {`{"permission":{"constraint":{"and":[` + region + `,` + purpose + `]}}}`, "(region eq eu and UsagePurpose isAnyOf a,b)", [][]string{{"region eq eu"}}, "covered by none"},
		"one of several":                {`{"permission":{"constraint":{"odrl:or":{"@list":[` + region + `,` + purpose + `]}}}}`, "(region eq eu or UsagePurpose isAnyOf a,b)", [][]string{{"region eq eu"}}, ""},
		"a prohibition":                 {`{"prohibition":{"action":{"@id":"odrl:use"},"constraint":` + region + `}}`, "prohibited to use where region eq eu", [][]string{{"region eq eu"}}, "covered by none"},
		"a duty and an obligation":      {`{"permission":{"duty":{"action":"inform"}},"obligation":{"action":{"type":"delete"}}}`, "obliged to inform and obliged to delete", [][]string{{"obliged to inform", "obliged to delete"}}, ""},
		"what nobody understands":       {`{"permission":{"constraint":{"region":"eu"}}}`, `{"region":"eu"}`, [][]string{{"region eq eu"}}, "covered by none"},
		"a permission that is a string": {`{"permission":"all"}`, `"all"`, [][]string{{"region eq eu"}}, "covered by none"},
	} {
		t.Run(name, func(t *testing.T) {
			catalog := `{"dataset":[{"@id":"a","hasPolicy":[` + strings.Replace(c.policy, "{", `{"@id":"o",`, 1) + `]}]}`
			catalog = strings.Replace(catalog, `"o",}`, `"o"}`, 1)
			f := newFake(t).on(catalogRequest, 200, catalog)
			got, err := f.connector(func(cfg *edc.Config) { cfg.Accepted = c.accepted }).Catalog(t.Context(), provider, adapter.Wish{AssetID: "a"})
			if err != nil || len(got.Offers) != 1 {
				t.Fatalf("got %+v, %v", got, err)
			}
			o := got.Offers[0]
			if o.Constraints != c.words {
				t.Errorf("it says %q, not %q", o.Constraints, c.words)
			}
			if (o.Unacceptable == "") != (c.refused == "") || !strings.Contains(o.Unacceptable, c.refused) {
				t.Errorf("it is refused because %q, not because %q", o.Unacceptable, c.refused)
			}
		})
	}
}
