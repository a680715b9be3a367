package edc_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/waybill/waybill/consumers/connectors/adapter"
	"github.com/waybill/waybill/consumers/connectors/edc"
)

const (
	negotiate   = "POST /v3/contractnegotiations"
	negotiated  = "POST /v3/contractnegotiations/request"
	negotiation = "GET /v3/contractnegotiations/n1"
	agreed      = "GET /v3/contractnegotiations/n1/agreement"
	endIt       = "POST /v3/contractnegotiations/n1/terminate"

	ourKey   = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
	ourOffer = "cmVnaW9uLXVz:cmVnaW9uLWRvY3VtZW50:N2M5ZTY2NzktNzQyNS00MGRlLTk0NGItZTA3ZmMxZjkwYWU3"
)

func request(change ...func(*adapter.Offer)) adapter.Offer {
	o := adapter.Offer{AssetID: "region-document", OfferID: offerID, Policy: json.RawMessage(offer2025), Key: ourKey, Callback: "http://waybill/callbacks/x"}
	for _, c := range change {
		c(&o)
	}
	return o
}

func TestAnOfferIsAskedForWordForWordUnderOurKey(t *testing.T) {
	f := newFake(t).on(negotiate, 200, created)
	id, err := f.connector().Negotiate(t.Context(), provider, request())
	if err != nil || id != "n1" {
		t.Fatalf("got %q, %v", id, err)
	}
	f.sent(0, `{"@context":{"@vocab":"https://w3id.org/edc/v0.0.1/ns/"},"@type":"ContractRequest",
		"counterPartyAddress":"http://provider1:19194/protocol/2025-1","protocol":"dataspace-protocol-http:2025-1",
		"policy":{"@context":["http://www.w3.org/ns/odrl.jsonld",{"edc":"https://w3id.org/edc/v0.0.1/ns/"}],"@id":"`+ourOffer+`","@type":"Offer",
			"permission":[{"action":"use","constraint":[{"leftOperand":"edc:region","operator":"eq","rightOperand":"us"}]}],
			"assigner":"provider1","target":"region-document"},
		"callbackAddresses":[{"transactional":false,"uri":"http://waybill/callbacks/x","events":["contract.negotiation","transfer.process"]}]}`)
}

func TestAnOfferOf08IsAskedForWithItsPrefixes(t *testing.T) {
	f := newFake(t).on(negotiate, 200, created)
	policy := strings.Replace(offer08, "{", `{"@context":[`+prefixes+`],"odrl:target":{"@id":"old"},`, 1)
	_, err := f.connector(func(c *edc.Config) { c.Protocol = edc.Protocol08 }).Negotiate(t.Context(), provider, request(func(o *adapter.Offer) {
		o.Policy, o.Callback = json.RawMessage(policy), ""
	}))
	if err != nil {
		t.Fatal(err)
	}
	f.sent(0, `{"@context":{"@vocab":"https://w3id.org/edc/v0.0.1/ns/"},"@type":"ContractRequest",
		"counterPartyAddress":"http://provider1:19194/protocol/2025-1","protocol":"dataspace-protocol-http","callbackAddresses":[],
		"policy":{"@context":["http://www.w3.org/ns/odrl.jsonld",{"edc":"https://w3id.org/edc/v0.0.1/ns/","dcat":"http://www.w3.org/ns/dcat#",
			"dct":"http://purl.org/dc/terms/","odrl":"http://www.w3.org/ns/odrl/2/","dspace":"https://w3id.org/dspace/v0.8/"}],"@id":"`+ourOffer+`","@type":"odrl:Offer",
			"odrl:permission":{"odrl:action":{"@id":"odrl:use"},"odrl:constraint":{"odrl:leftOperand":{"@id":"edc:region"},"odrl:operator":{"@id":"odrl:eq"},"odrl:rightOperand":"us"}},
			"odrl:prohibition":[],"odrl:obligation":[],"assigner":"provider1","target":"region-document"}}`)
}

func TestARequestWhoseReplyWasLostIsLookedForFirst(t *testing.T) {
	again := func(o *adapter.Offer) { o.Repeat = true }
	t.Run("and not made again", func(t *testing.T) {
		f := newFake(t).on(negotiated, 200, `[{"@id":"n1","@type":"ContractNegotiation","state":"AGREED"}]`)
		if id, err := f.connector().Negotiate(t.Context(), provider, request(again)); err != nil || id != "n1" {
			t.Fatalf("got %q, %v", id, err)
		}
		f.saw(negotiated)
		f.sent(0, `{"@context":{"@vocab":"https://w3id.org/edc/v0.0.1/ns/"},"@type":"QuerySpec","limit":50,"filterExpression":[
			{"@type":"Criterion","operandLeft":"contractOffers.id","operator":"=","operandRight":"`+ourOffer+`"}]}`)
	})
	t.Run("and made where it has not arrived", func(t *testing.T) {
		f := newFake(t).on(negotiated, 200, `[]`).on(negotiate, 200, created)
		if id, err := f.connector().Negotiate(t.Context(), provider, request(again)); err != nil || id != "n1" {
			t.Fatalf("got %q, %v", id, err)
		}
		f.saw(negotiated, negotiate)
	})
	t.Run("and of two that have arrived the better one is gone on with", func(t *testing.T) {
		f := newFake(t).on(negotiated, 200, `[{"@id":"n0","state":"TERMINATED"},{"@id":"n1","state":"FINALIZED"},{"@id":"n2","state":"REQUESTED"}]`)
		if id, err := f.connector().Negotiate(t.Context(), provider, request(again)); err != nil || id != "n1" {
			t.Fatalf("got %q, %v", id, err)
		}
	})
	t.Run("by the callback address where the offer's id has no place for a key", func(t *testing.T) {
		f := newFake(t).on(negotiated, 200, `[{"@id":"n1","state":"REQUESTED"}]`)
		odd := func(o *adapter.Offer) { o.OfferID = "urn:offer" }
		if id, err := f.connector().Negotiate(t.Context(), provider, request(again, odd)); err != nil || id != "n1" {
			t.Fatalf("got %q, %v", id, err)
		}
		f.sent(0, `{"@context":{"@vocab":"https://w3id.org/edc/v0.0.1/ns/"},"@type":"QuerySpec","limit":50,"filterExpression":[
			{"@type":"Criterion","operandLeft":"callbackAddresses.uri","operator":"=","operandRight":"http://waybill/callbacks/x"}]}`)
	})
	t.Run("and made where there is no way to find it", func(t *testing.T) {
		f := newFake(t).on(negotiate, 200, created)
		odd := func(o *adapter.Offer) { o.OfferID, o.Callback = "urn:offer", "" }
		if _, err := f.connector().Negotiate(t.Context(), provider, request(again, odd)); err != nil {
			t.Fatal(err)
		}
		f.saw(negotiate)
	})
	t.Run("and not made while the connector cannot say", func(t *testing.T) {
		f := newFake(t).on(negotiated, 503, "")
		if _, err := f.connector().Negotiate(t.Context(), provider, request(again)); err == nil || !fault(t, err).Again {
			t.Fatalf("got %v", err)
		}
		f.saw(negotiated)
	})
}

func TestAnOfferOfNobodyIsNotAskedFor(t *testing.T) {
	_, err := newFake(t).connector().Negotiate(t.Context(), adapter.Party{Provider: provider.Provider}, request())
	if f := fault(t, err); f.Again || !strings.Contains(f.Error(), "participant id of http://provider1:19194/protocol/2025-1") {
		t.Fatalf("got %v", err)
	}
}

func TestWhereANegotiationIs(t *testing.T) {
	const refused = "Failed to send termination to counter party: Value in JsonObjects name/value pair cannot be null"
	for name, c := range map[string]struct {
		state string
		want  adapter.Negotiation
	}{
		"under way":              {`{"@id":"n1","@type":"ContractNegotiation","state":"REQUESTED","assetId":"a"}`, adapter.Negotiation{State: "REQUESTED"}},
		"ended":                  {`{"@id":"n1","state":"TERMINATED","errorDetail":"no longer needed"}`, adapter.Negotiation{State: "TERMINATED", Detail: "no longer needed"}},
		"refused":                {`{"@id":"n1","state":"TERMINATED","errorDetail":"` + refused + `"}`, adapter.Negotiation{State: "TERMINATED", Detail: "the provider refused the request; why is only in the connector's own log"}},
		"ended without a reason": {`{"@id":"n1","state":"TERMINATED"}`, adapter.Negotiation{State: "TERMINATED"}},
		// The negotiation names the asset that was asked for, the agreement another.
		"finalized": {`{"@id":"n1","state":"FINALIZED","contractAgreementId":"a1","assetId":"wrong"}`, adapter.Negotiation{State: "FINALIZED", AgreementID: "a1", AssetID: "region-document"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t).on(negotiation, 200, c.state).on(agreed, 200, `{"@type":"ContractAgreement","@id":"a1","assetId":"region-document","providerId":"provider1"}`)
			got, err := f.connector().Negotiation(t.Context(), "n1")
			if err != nil || got != c.want {
				t.Fatalf("got %+v, %v", got, err)
			}
		})
	}
	t.Run("finalized, but the agreement is not there yet", func(t *testing.T) {
		f := newFake(t).on(negotiation, 200, `{"@id":"n1","state":"FINALIZED"}`).on(agreed, 404, notFound)
		if _, err := f.connector().Negotiation(t.Context(), "n1"); errors.Is(err, adapter.ErrNotFound) || !fault(t, err).Again {
			t.Fatalf("got %v", err)
		}
	})
}

func TestEndingANegotiation(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		state  string // what it then says of itself; "": it is not asked
		fails  bool
	}{
		"under way":                    {204, "", "", false},
		"that ended":                   {409, `[{"message":"no","type":"ObjectConflict"}]`, "", false},
		"that is not there":            {404, notFound, "", false},
		"that is FINALIZED":            {500, html500, "FINALIZED", false},
		"while something is wrong":     {500, html500, "REQUESTED", true},
		"while the connector boots":    {405, html404, "", true},
		"while a gateway has no route": {502, badGate, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t).on(endIt, c.status, c.body)
			if c.state != "" {
				f.on(negotiation, 200, `{"@id":"n1","state":"`+c.state+`"}`).on(agreed, 200, `{"@id":"a1"}`)
			}
			err := f.connector().EndNegotiation(t.Context(), "n1", "")
			if (err != nil) != c.fails || err != nil && !fault(t, err).Again {
				t.Fatalf("got %v", err)
			}
			f.sent(0, `{"@context":{"@vocab":"https://w3id.org/edc/v0.0.1/ns/"},"@type":"TerminateNegotiation","@id":"n1","reason":"no longer needed"}`)
		})
	}
}
