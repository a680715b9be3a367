package standin_test

import (
	"fmt"
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/standin"
)

var document = standin.Asset{ID: "document", Document: []byte(`{"value": "The quick"}`)}

func TestDocumentIsFetchedOverBothProtocols(t *testing.T) {
	for _, protocol := range []string{standin.Protocol2025, standin.Protocol08} {
		t.Run(protocol, func(t *testing.T) {
			c := start(t, standin.Config{}, document)
			c.protocol = protocol
			endpoint, token := c.started("transfer-1", "document")
			got := c.want(200, c.get(endpoint, token))
			if string(got.body) != string(document.Document) {
				t.Fatal(got)
			}
			n := c.edc.Counts().Providers["provider1"]
			want := standin.ProviderCounts{
				Catalogs: 1, Negotiations: 1, Agreements: 1, Transfers: map[string]int{"STARTED": 1}, Documents: map[string]int{"document": 1},
				Most: standin.Most{Catalogs: 1, Negotiations: 1, Transfers: 1, Together: 1},
			}
			if !reflect.DeepEqual(n, want) {
				t.Errorf("counted %+v, want %+v", n, want)
			}
		})
	}
}

func TestCatalogAnswersInTheTermsOfItsProtocol(t *testing.T) {
	two := standin.Asset{ID: "two", Policies: []standin.Policy{standin.Open(), standin.Region("us")}}
	registry := standin.Asset{ID: "registry", Properties: map[string]string{standin.TypeProperty: "registry", "terms": "open"}}
	c := start(t, standin.Config{}, document, two, registry)
	ask := func(filters ...string) object {
		return c.want(200, c.do("POST", "/v3/catalog/request", c.catalogRequest(filters...))).object()
	}
	id := edc + "id"
	t.Run("2025-1 has arrays also of one, and nothing where there is none", func(t *testing.T) {
		defer c.within(t)()
		one, _ := ask(id, "document")["dataset"].([]any)
		if len(one) != 1 || len(many(one[0].(object)["hasPolicy"])) != 1 || many(one[0].(object)["hasPolicy"])[0]["permission"] != nil {
			t.Error(one)
		}
		if none, ok := ask(id, "nonesuch")["dataset"]; ok {
			t.Error(none)
		}
	})
	t.Run("it is found by type", func(t *testing.T) {
		defer c.within(t)()
		found := many(ask(standin.TypeProperty, "registry")["dataset"])
		if len(found) != 1 || found[0]["@id"] != "registry" || found[0]["dct:type"] != "registry" || found[0]["edc:terms"] != "open" {
			t.Error(found)
		}
		if len(many(ask()["dataset"])) != 3 {
			t.Error("want all without a filter")
		}
	})
	t.Run("0.8 has the element itself where there is one", func(t *testing.T) {
		defer c.within(t)()
		c.protocol = standin.Protocol08
		one, _ := ask(id, "document")["dcat:dataset"].(object)
		if _, ok := one["odrl:hasPolicy"].(object); !ok {
			t.Error(one)
		}
		if offers, ok := ask(id, "two")["dcat:dataset"].(object)["odrl:hasPolicy"].([]any); !ok || len(offers) != 2 {
			t.Error(offers)
		}
		if none, ok := ask(id, "nonesuch")["dcat:dataset"].([]any); !ok || len(none) != 0 {
			t.Error(none)
		}
	})
	t.Run("what cannot be asked is a 502", func(t *testing.T) {
		defer c.within(t)()
		c.protocol = "dataspace-protocol-http:2024-1"
		contains(t, c.want(502, c.do("POST", "/v3/catalog/request", c.catalogRequest())).String(), "No provider dispatcher registered")
		c.protocol = standin.Protocol2025
		body := c.catalogRequest()
		body["counterPartyAddress"] = "http://127.0.0.1:1/protocol/2025-1"
		contains(t, c.want(502, c.do("POST", "/v3/catalog/request", body)).String(), "Failed to connect")
	})
}

func TestNothingIsDeduplicated(t *testing.T) {
	c := start(t, standin.Config{}, document)
	offer := c.offer("document")
	first := id(c.want(200, c.do("POST", "/v3/contractnegotiations", c.contractRequest("document", offer))))
	second := id(c.want(200, c.do("POST", "/v3/contractnegotiations", c.contractRequest("document", offer))))
	if first == second || c.edc.Counts().Providers["provider1"].Agreements != 2 {
		t.Error("want two agreements for two requests")
	}
}

func TestOurKeyInTheOfferFindsTheNegotiation(t *testing.T) {
	c := start(t, standin.Config{}, document)
	c.callback = "http://127.0.0.1:1/unguessable"
	offer := c.offer("document")
	ours := "b3Blbg==:ZG9jdW1lbnQ=:our-key"
	offer["@id"] = ours
	n := id(c.want(200, c.do("POST", "/v3/contractnegotiations", c.contractRequest("document", offer))))
	c.becomes("contractnegotiations", n, "FINALIZED")
	for field, value := range map[string]string{"contractOffers.id": ours, "callbackAddresses.uri": c.callback, "state": "1200"} {
		found := c.want(200, c.do("POST", "/v3/contractnegotiations/request", query(field, value))).list()
		if len(found) != 1 || found[0]["@id"] != n {
			t.Errorf("by %s: %v", field, found)
		}
	}
	if found := c.want(200, c.do("POST", "/v3/contractnegotiations/request", query("contractOffers.id", "other"))); string(found.body) != "[]" {
		t.Error(found)
	}
	contains(t, c.want(400, c.do("POST", "/v3/contractnegotiations/request", query("assetId", "x"))).String(), "Field assetId not found")
}

func query(field, value string) object {
	return object{"@type": "QuerySpec", "filterExpression": []object{{"operandLeft": field, "operator": "=", "operandRight": value}}}
}

func TestNegotiationsThatComeToNothing(t *testing.T) {
	const senseless = "Value in JsonObjects name/value pair cannot be null"
	for name, test := range map[string]struct {
		asset  string
		change object
		state  string
		detail string
	}{
		"a region that is not ours":     {"region", object{}, "TERMINATED", senseless},
		"an unknown definition":         {"document", object{"@id": "bm9uZXN1Y2g=:ZG9jdW1lbnQ=:x"}, "TERMINATED", senseless},
		"an id that is no offer's":      {"document", object{"@id": "nonsense"}, "TERMINATED", senseless},
		"another policy than offered":   {"expired", object{"permission": []any{}}, "TERMINATED", ""},
		"somebody else as the assigner": {"document", object{"assigner": "someone"}, "REQUESTED", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, standin.Config{}, document, standin.Asset{ID: "region", Policies: []standin.Policy{standin.Region("us")}},
				standin.Asset{ID: "expired", Policies: []standin.Policy{standin.Expired()}})
			body := c.contractRequest(test.asset, c.offer(test.asset))
			for name, v := range test.change {
				body["policy"].(object)[name] = v
			}
			n := id(c.want(200, c.do("POST", "/v3/contractnegotiations", body)))
			got := c.want(200, c.do("GET", "/v3/contractnegotiations/"+n, nil)).object()
			detail, _ := got["errorDetail"].(string)
			contains(t, detail, test.detail)
			if got["state"] != test.state || test.detail == "" && detail != "" {
				t.Error(got)
			}
			c.want(404, c.do("GET", "/v3/contractnegotiations/"+n+"/agreement", nil))
		})
	}
}

func TestAgreementIsForWhatTheOfferNames(t *testing.T) {
	c := start(t, standin.Config{}, document, standin.Asset{ID: "other"})
	offer := c.offer("document")
	n := id(c.want(200, c.do("POST", "/v3/contractnegotiations", c.contractRequest("other", offer))))
	if got := c.do("GET", "/v3/contractnegotiations/"+n, nil).object(); got["assetId"] != "other" {
		t.Error(got)
	}
	if got := c.do("GET", "/v3/contractnegotiations/"+n+"/agreement", nil).object(); got["assetId"] != "document" {
		t.Error(got)
	}
}

func TestWhatIsNotJSONLDIsRefusedWithAPage(t *testing.T) {
	c := start(t, standin.Config{}, document, standin.Asset{ID: "expired", Policies: []standin.Policy{standin.Region("us")}})
	without := c.catalogRequest()
	without["@context"] = "none"
	contains(t, c.want(400, c.do("POST", "/v3/catalog/request", without)).kind, "text/html")
	bare := c.contractRequest("expired", c.offer("expired"))
	bare["policy"].(object)["@context"] = "http://www.w3.org/ns/odrl.jsonld"
	contains(t, c.want(400, c.do("POST", "/v3/contractnegotiations", bare)).kind, "text/html")
	bare = c.contractRequest("document", c.offer("document"))
	delete(bare["policy"].(object), "@context")
	contains(t, c.want(400, c.do("POST", "/v3/contractnegotiations", bare)).String(), "was expected to be http://www.w3.org/ns/odrl/2/Offer")
	contains(t, c.want(404, c.do("GET", "/v3/nonesuch", nil)).kind, "text/html")
}

func TestTerminatingNegotiations(t *testing.T) {
	c := start(t, standin.Config{}, document)
	terminate := func(id string) answer {
		return c.do("POST", "/v3/contractnegotiations/"+id+"/terminate", object{"@id": id, "reason": "ours"})
	}
	finalized := c.negotiate("document")
	contains(t, c.want(500, terminate(finalized)).kind, "text/html")
	c.want(409, c.do("DELETE", "/v3/contractnegotiations/"+finalized, nil))
	c.edc.OnStage(standin.NegotiationRequested, standin.Stay(), standin.When{})
	stuck := c.negotiate("document")
	c.want(409, c.do("DELETE", "/v3/contractnegotiations/"+stuck, nil))
	c.want(400, c.do("POST", "/v3/contractnegotiations/"+stuck+"/terminate", object{"reason": "without @id"}))
	c.want(204, terminate(stuck))
	c.becomes("contractnegotiations", stuck, "TERMINATED")
	c.want(204, terminate(stuck))
	c.want(204, c.do("DELETE", "/v3/contractnegotiations/"+stuck, nil))
	contains(t, c.want(404, terminate(stuck)).String(), "ObjectNotFound")
}

func TestVerbsOfTransfers(t *testing.T) {
	for _, row := range []struct {
		state                                   string
		terminate, suspend, resume, deprovision int
	}{
		{"REQUESTED", 204, 409, 409, 409},
		{"STARTED", 204, 204, 409, 409},
		{"SUSPENDED", 204, 409, 204, 409},
		{"TERMINATED", 409, 409, 409, 204},
		{"DEPROVISIONED", 409, 409, 409, 409},
		{"unknown", 404, 404, 404, 404},
	} {
		for verb, status := range map[string]int{"terminate": row.terminate, "suspend": row.suspend, "resume": row.resume, "deprovision": row.deprovision} {
			t.Run(row.state+" "+verb, func(t *testing.T) {
				c := start(t, standin.Config{}, document, standin.Asset{ID: "held", Held: true})
				c.bring("transfer-1", row.state)
				got := c.want(status, c.verb("transfer-1", verb))
				if status == 409 {
					contains(t, got.String(), "because it's "+row.state)
				}
			})
		}
	}
}

// bring brings a transfer into a state.
func (c *client) bring(id, state string) {
	c.Helper()
	asset := "document"
	if state == "REQUESTED" {
		asset = "held"
	}
	if state == "unknown" {
		return
	}
	c.pull(id, c.agreement(asset))
	for _, verb := range map[string][]string{"SUSPENDED": {"suspend"}, "TERMINATED": {"terminate"}, "DEPROVISIONED": {"terminate", "deprovision"}}[state] {
		c.want(204, c.verb(id, verb))
	}
	c.becomes("transferprocesses", id, state)
}

func TestProviderIsToldOnceOfWhatItKnows(t *testing.T) {
	c := start(t, standin.Config{}, document)
	before := c.edc.OnStage(standin.TransferRequesting, standin.Stay(), standin.When{})
	agreement := c.agreement("document")
	c.pull("early", agreement)
	c.want(204, c.verb("early", "terminate"))
	before.Mend()
	c.pull("late", agreement)
	c.want(204, c.verb("late", "suspend"))
	c.want(204, c.verb("late", "resume"))
	c.want(204, c.verb("late", "terminate"))
	c.want(409, c.verb("late", "terminate"))
	early, _ := c.edc.Transfer("early")
	late, _ := c.edc.Transfer("late")
	if early.Told != (standin.Told{}) || early.State != "TERMINATED" {
		t.Errorf("told %+v of a transfer that was never requested", early)
	}
	if late.Told != (standin.Told{Requests: 1, Suspensions: 1, Resumptions: 1, Terminations: 1}) {
		t.Errorf("told %+v", late)
	}
}

func TestTokensDieWithTheirTransfer(t *testing.T) {
	c := start(t, standin.Config{}, document)
	endpoint, token := c.started("transfer-1", "document")
	contains(t, c.want(401, c.get(endpoint, "")).String(), "Missing Authorization Header")
	contains(t, c.want(403, c.get(endpoint, "Bearer "+token)).String(), "Failed to decode token")
	c.want(204, c.verb("transfer-1", "suspend"))
	contains(t, c.want(403, c.get(endpoint, token)).String(), "does not exist.")
	c.want(404, c.do("GET", "/v3/edrs/transfer-1/dataaddress", nil))
	c.want(204, c.verb("transfer-1", "resume"))
	_, fresh := c.token("transfer-1")
	c.want(403, c.get(endpoint, token))
	c.want(200, c.get(endpoint, fresh))
	if n := c.provider.KillTokens("document"); n != 1 {
		t.Error(n, "killed")
	}
	c.want(403, c.get(endpoint, fresh))
	c.becomes("transferprocesses", "transfer-1", "STARTED") // nobody has told the connector
	c.want(204, c.do("DELETE", "/v3/edrs/transfer-1", nil))
	c.want(400, c.do("DELETE", "/v3/edrs/transfer-1", nil))
}

func TestSameTransferTwiceBreaksTheFirst(t *testing.T) {
	c := start(t, standin.Config{}, document)
	agreement := c.agreement("document")
	c.pull("transfer-1", agreement)
	c.becomes("transferprocesses", "transfer-1", "STARTED")
	c.pull("transfer-1", agreement)
	c.becomes("transferprocesses", "transfer-1", "REQUESTED")
	if one, _ := c.edc.Transfer("transfer-1"); one.Told.Requests != 2 {
		t.Error(one)
	}
}

func TestPolicies(t *testing.T) {
	now := func(policy standin.Policy) []standin.Policy { return []standin.Policy{policy} }
	c := start(t, standin.Config{},
		standin.Asset{ID: "expired", Policies: now(standin.Expired())},
		standin.Asset{ID: "short", Policies: now(standin.Short(time.Second)), Document: []byte("{}")},
		standin.Asset{ID: "broken", Broken: true},
		standin.Asset{ID: "provisioned", Provision: 20 * time.Millisecond},
		standin.Asset{ID: "held", Held: true}, document)
	t.Run("expired: every transfer is refused", func(t *testing.T) {
		defer c.within(t)()
		c.pull("expired", c.agreement("expired"))
		c.becomes("transferprocesses", "expired", "TERMINATED")
		got := c.do("GET", "/v3/transferprocesses/expired", nil).String()
		contains(t, got, "agreement not found or not valid")
		contains(t, got, `\"code\":\"409\"`)
	})
	t.Run("short: the provider ends the transfer, and only a new negotiation helps", func(t *testing.T) {
		defer c.within(t)()
		agreement := c.agreement("short")
		c.pull("short", agreement)
		endpoint, token := c.token("short")
		c.becomes("transferprocesses", "short", "TERMINATED")
		c.want(403, c.get(endpoint, token))
		c.pull("again", agreement)
		c.becomes("transferprocesses", "again", "TERMINATED")
		c.pull("anew", c.agreement("short"))
		c.want(200, c.get(c.token("anew")))
	})
	t.Run("broken: the data plane answers 500", func(t *testing.T) {
		defer c.within(t)()
		contains(t, c.want(500, c.get(c.started("broken", "broken"))).String(), "Received code transferring HTTP data: 500")
	})
	t.Run("provisioned: REQUESTED for a while", func(t *testing.T) {
		defer c.within(t)()
		c.pull("provisioned", c.agreement("provisioned"))
		c.becomes("transferprocesses", "provisioned", "STARTED")
	})
	t.Run("held: REQUESTED until it is released", func(t *testing.T) {
		defer c.within(t)()
		c.pull("held", c.agreement("held"))
		if s := c.state("transferprocesses", "held"); s != "REQUESTED" {
			t.Error(s)
		}
		c.provider.Release("held")
		c.becomes("transferprocesses", "held", "STARTED")
	})
	t.Run("an agreement can be ended at any moment", func(t *testing.T) {
		defer c.within(t)()
		agreement := c.agreement("document")
		c.pull("ended", agreement)
		if n := c.provider.EndAgreements("document"); n != 1 {
			t.Error(n)
		}
		c.becomes("transferprocesses", "ended", "TERMINATED")
		c.pull("refused", agreement)
		c.becomes("transferprocesses", "refused", "TERMINATED")
	})
	t.Run("nobody knows such a kind of transfer", func(t *testing.T) {
		defer c.within(t)()
		body := c.transferRequest("odd", c.agreement("document"))
		body["transferType"] = "Carrier-PIGEON"
		c.want(200, c.do("POST", "/v3/transferprocesses", body))
		c.becomes("transferprocesses", "odd", "TERMINATED")
		contains(t, c.want(400, c.do("POST", "/v3/transferprocesses", c.transferRequest("odder", "none"))).String(), "Contract agreement with id none not found")
	})
}

func TestPushArrives(t *testing.T) {
	c := start(t, standin.Config{}, document, standin.Asset{ID: "broken", Broken: true})
	sink, arrived := c.sink()
	c.push("push", c.agreement("document"), sink)
	c.becomes("transferprocesses", "push", "COMPLETED")
	got := <-arrived
	if got.body != string(document.Document) || got.header.Get("X-Sink") != "1" {
		t.Error(got)
	}
	c.push("nowhere", c.agreement("document"), "http://127.0.0.1:1/")
	c.becomes("transferprocesses", "nowhere", "TERMINATED")
	c.push("broken", c.agreement("broken"), sink)
	c.becomes("transferprocesses", "broken", "TERMINATED")
	if n := c.edc.Counts().Providers["provider1"].Pushed["document"]; n != 1 {
		t.Error(n, "pushed")
	}
}

func TestTractusXRefreshesTokens(t *testing.T) {
	c := start(t, standin.Config{Refresh: 50 * time.Millisecond}, document)
	endpoint, token := c.started("transfer-1", "document")
	c.want(200, c.get(endpoint, token))
	c.eventually(func() bool { return c.get(endpoint, token).status == 403 }, "the token lives for ever")
	fresh := c.want(200, c.do("POST", "/v3/edrs/transfer-1/refresh", nil)).object()
	c.want(200, c.get(endpoint, fmt.Sprint(fresh["authorization"])))
	if fresh["tx-auth:expiresIn"] == nil {
		t.Error(fresh)
	}
	c.eventually(func() bool { return c.get(endpoint, fmt.Sprint(fresh["authorization"])).status == 403 }, "the token lives for ever")
	again := c.want(200, c.do("GET", "/v3/edrs/transfer-1/dataaddress?auto_refresh=true", nil)).object()
	c.want(200, c.get(endpoint, fmt.Sprint(again["authorization"])))
}

func TestWrongKeysAreCounted(t *testing.T) {
	c := start(t, standin.Config{}, document)
	url := c.edc.ManagementURL() + "/v3/catalog/request"
	contains(t, c.want(401, c.send("POST", url, nil, http.Header{"X-Api-Key": {"wrong"}})).String(), "AuthenticationFailed")
	contains(t, c.want(401, c.send("POST", url, nil, http.Header{})).String(), "x-api-key not found")
	if n := c.edc.Counts(); n.WrongKeys != 2 || len(n.Requests) != 0 {
		t.Error(n)
	}
}
