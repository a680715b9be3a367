package query_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/domain/transfer"
	"github.com/waybill/waybill/internal/seal"
	"github.com/waybill/waybill/projections/query"
	"github.com/waybill/waybill/schemas"
)

const (
	token    = "eyJhbGciOiJub25lIn0.c2VjcmV0"
	provider = "http://provider1:8282/protocol"
	party    = "consumer " + provider
)

func (f *fixture) transfer(id, cause string, events ...transfer.Event) {
	f.t.Helper()
	for _, e := range events {
		typ, data, err := schemas.EncodeTransferEvent(e)
		if err != nil {
			f.t.Fatal(err)
		}
		f.record(schemas.AggregateTransfer, id, cause, typ, data)
	}
}

func (f *fixture) negotiation(cause string, events ...negotiation.Event) {
	f.t.Helper()
	for _, e := range events {
		typ, data, err := schemas.EncodeNegotiationEvent(e)
		if err != nil {
			f.t.Fatal(err)
		}
		f.record(schemas.AggregateNegotiation, party, cause, typ, data)
	}
}

var round = machine.ID("negotiation", party, "asset-1", "1")

// access begins a transfer and negotiates what it needs, as far as an EDR; end completes it.
func (f *fixture) access(edr json.RawMessage) {
	f.t.Helper()
	f.transfer("t-1", "initiate", transfer.Initiated{
		Provider: provider, Connector: "consumer", Adapter: "edc", AssetID: "asset-1", Way: transfer.Pull, TransferType: "HttpData-PULL", Deadline: f.at.Add(time.Hour),
		Asker: &transfer.Asker{Aggregate: "orchestration", ID: "one", ActivityID: "a", WorkID: "w", Attempt: 1},
	}, transfer.Acquiring{Moves: []transfer.Move{{State: transfer.PhaseProvisioned, Code: 300}}, Negotiation: party, Need: "edr", Acquisition: 1, Until: f.at.Add(time.Hour)})
	f.negotiation("acquire", negotiation.Joined{Wish: negotiation.Wish{Waiter: "t-1", AssetID: "asset-1", Need: negotiation.NeedEDR, Deadline: f.at.Add(time.Hour)}},
		negotiation.Started{AssetID: "asset-1", Round: 1, ID: round, Tried: 1, Moves: []negotiation.Move{{State: negotiation.PhaseInitial, Code: 50}, {State: negotiation.PhaseRequesting, Code: 100}}, Offer: negotiation.Offer{AssetID: "asset-1", OfferID: "o"}, Until: f.at.Add(time.Hour), Deadline: f.at.Add(time.Hour)})
	if edr == nil {
		return
	}
	f.negotiation("finalized", negotiation.Moved{AssetID: "asset-1", Round: 1, Moves: []negotiation.Move{{State: negotiation.PhaseFinalized, Code: 1200}}, NegotiationID: "theirs", AgreementID: "agreement-1", Until: f.at.Add(time.Hour)},
		negotiation.EDRRequested{AssetID: "asset-1", Round: 1, ProcessID: "p-1", Deadline: f.at.Add(time.Hour)},
		negotiation.EDRGranted{AssetID: "asset-1", Round: 1, ProcessID: "p-1", Data: edr, Until: f.at.Add(time.Hour), EvictAt: f.at.Add(time.Hour)},
		negotiation.Served{AssetID: "asset-1", Round: 1, AgreementID: "agreement-1", ProcessID: "p-1", Waiters: []string{"t-1"}})
	f.transfer("t-1", "done", transfer.AccessGranted{
		Moves: []transfer.Move{{State: transfer.PhaseRequesting, Code: 400}, {State: transfer.PhaseStarted, Code: 600}}, NegotiationID: "theirs", Round: 1, AgreementID: "agreement-1",
		EDR: &transfer.EDR{ProcessID: "p-1", Data: edr},
	},
		transfer.Ended{Moves: []transfer.Move{{State: transfer.PhaseCompleting, Code: 750}, {State: transfer.PhaseCompleted, Code: 800}}, Outcome: transfer.OutcomeCompleted, Output: json.RawMessage(`{"value":1}`)})
}

func keyring(t *testing.T, address string) (*seal.Keyring, json.RawMessage) {
	t.Helper()
	keys, err := seal.Parse(seal.New())
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := keys.Seal(seal.EDR("consumer"), []byte(address))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(sealed)
	if err != nil {
		t.Fatal(err)
	}
	return keys, raw
}

func TestEveryRouteOfTransfersAndNegotiationsAnswers(t *testing.T) {
	_, edr := keyring(t, `{"endpoint":"http://data","authorization":"`+token+`"}`)
	f := newFixture(t)
	f.start("one")
	f.access(edr)
	f.end("one")
	f.commit()
	f.want("/v1/transfers", 200, `{"items":[{"id":"t-1","jobId":"one","nodeId":"a"`, `"state":"COMPLETED","code":800,"outcome":"completed"`, `"history":[{"state":"INITIAL"`)
	f.want("/v1/transfers?state=COMPLETED&provider=HTTP://provider1:8282/protocol/&asset=asset-1&job=one&connector=consumer&limit=1", 200, `"t-1"`)
	f.want("/v1/transfers?state=STARTED", 200, `{"items":[],"next":null}`)
	f.want("/v1/transfers?state=FINALIZED", 400, `"path":"state"`)
	f.want("/v1/transfers?stat=STARTED", 400, `"path":"stat"`)
	f.want("/v1/transfers?cursor=x", 400, `"path":"cursor"`)
	f.want("/v1/transfers?limit=0", 400, `"path":"limit"`)
	f.want("/v1/transfers/t-1", 200, `"negotiationId":"`+round+`"`, `"agreementId":"agreement-1"`, `"position":"transfer/0/`)
	f.want("/v1/transfers/t-1?wait=1s", 200, `"COMPLETED"`)
	f.want("/v1/transfers/t-1?wait=soon", 400, `"path":"wait"`)
	f.want("/v1/transfers/nobody", 404, "there is no transfer")
	f.want("/v1/transfers/nobody?wait=1s", 404)
	f.want("/v1/transfers/t-1?position=transfer/0/99", 504, "has not reached")
	f.want("/v1/transfers/t-1/events", 200, `"aggregate":"transfer","id":"t-1","sequence":1`, schemas.TransferEnded)
	f.want("/v1/transfers/t-1/events?after=3", 200, `{"items":[{"aggregate":"transfer","id":"t-1","sequence":4`)
	f.want("/v1/transfers/nobody/events", 404)
	f.want("/v1/negotiations", 200, `{"items":[{"id":"`+round+`","round":1`, `"edr":{"state":"GRANTED"`, `"waiters":[]`)
	f.want("/v1/negotiations?state=FINALIZED&provider="+provider+"&asset=asset-1&job=one&connector=consumer", 200, round)
	f.want("/v1/negotiations?state=STARTED", 400, `"path":"state"`)
	f.want("/v1/negotiations/"+round, 200, `"agreement":{"state":"VALID"`, `"connectorNegotiationId":"theirs"`)
	f.want("/v1/negotiations/"+round+"?wait=1s", 200, `"FINALIZED"`)
	f.want("/v1/negotiations/nobody", 404, "there is no negotiation")
	f.want("/v1/negotiations/"+round+"/events", 200, `"id":"`+party+`"`, schemas.NegotiationEDRGranted, seal.Redacted)
	f.want("/v1/negotiations/nobody/events", 404)
	f.want("/v1/negotiations/nobody/edr", 403, "token") // nothing is said of it
	f.want("/v1/wishes/t-1?wait=1s", 200, `"state":"GRANTED"`, round)
	f.want("/v1/wishes/nobody", 404, "there is no wish")
	f.want("/v1/jobs/one/events?all=true", 200, schemas.OrchestrationEnded, schemas.TransferEnded, schemas.NegotiationStarted)
	f.want("/v1/jobs/one/events?all=true&limit=2", 200, `"next":"`)
	f.want("/v1/jobs/one/events?all=maybe", 400, `"path":"all"`)
	f.want("/v1/jobs/one/events?all=true&after=1", 400, `"path":"after"`)
	f.want("/v1/jobs/one/events?all=false", 200, schemas.OrchestrationEnded)
}

func TestARequestWaitsForTheOutcomeOfATransferAndANegotiation(t *testing.T) {
	_, edr := keyring(t, `{}`)
	f := newFixture(t)
	f.access(nil)
	f.commit()
	f.want("/v1/transfers/t-1?wait=10ms", 200, `"state":"PROVISIONED"`, `"waitingOn":{"kind":"negotiation","id":"`+round+`"}`)
	f.want("/v1/negotiations/"+round+"?wait=10ms", 200, `"state":"REQUESTING"`, `"waiters":[{"id":"t-1"`)
	answers := make(chan string, 2)
	for _, path := range []string{"/v1/transfers/t-1?wait=20s", "/v1/negotiations/" + round + "?wait=20s"} {
		go func() {
			_, _, body := f.get(path)
			answers <- body
		}()
	}
	f.seq["t-1"], f.seq[party] = 2, 2
	f.negotiation("finalized", negotiation.Moved{AssetID: "asset-1", Round: 1, Moves: []negotiation.Move{{State: negotiation.PhaseFinalized, Code: 1200}}, AgreementID: "agreement-1", Until: f.at.Add(time.Hour)})
	f.transfer("t-1", "done", transfer.Ended{Moves: []transfer.Move{{State: transfer.PhaseTerminated, Code: 850}}, Outcome: transfer.OutcomeTerminated, Reason: "nobody needs it", By: "ada"})
	f.commit()
	both := <-answers + <-answers
	if !strings.Contains(both, `"TERMINATED"`) || !strings.Contains(both, `"FINALIZED"`) {
		t.Error(both)
	}
	_ = edr
}

func TestAnEDRIsToldToWhoHasTheTokenAndNowhereElse(t *testing.T) {
	for form, address := range map[string]string{
		"flat":  `{"endpoint":"http://data","authorization":"` + token + `"}`,
		"below": `{"properties":{"https://w3id.org/edc/v0.0.1/ns/endpoint":"http://data","https://w3id.org/edc/v0.0.1/ns/authorization":"` + token + `"}}`,
	} {
		t.Run(form, func(t *testing.T) {
			keys, edr := keyring(t, address)
			f := newFixtureWith(t, query.Config{Keys: keys, Guarded: true})
			f.start("one")
			f.access(edr)
			f.commit()
			path := "/v1/negotiations/" + round + "/edr"
			f.want(path, 200, `"endpoint":"http://data"`, `"authorization":"`+token+`"`, `"processId":"p-1"`)
			if _, header, _ := f.get(path); header.Get("Cache-Control") != "no-store" {
				t.Error(header)
			}
			f.want("/v1/negotiations/nobody/edr", 404)
			for _, other := range []string{"/v1/transfers", "/v1/transfers/t-1", "/v1/transfers/t-1/events", "/v1/negotiations", "/v1/negotiations/" + round, "/v1/negotiations/" + round + "/events", "/v1/jobs/one/events?all=true"} {
				if _, _, body := f.get(other); strings.Contains(body, token) || strings.Contains(body, "$sealed") {
					t.Errorf("%s shows it: %s", other, body)
				}
			}
			f.negotiation("dead", negotiation.EDRDead{AssetID: "asset-1", Round: 1, ProcessID: "p-1", Reason: "403"})
			f.commit()
			f.want(path, 409, "DEAD")
		})
	}
	keys, edr := keyring(t, `{}`)
	for what, with := range map[string]query.Config{"a server without a token": {Keys: keys}, "one without keys": {Guarded: true}} {
		f := newFixtureWith(t, with)
		f.access(edr)
		f.commit()
		if status, _, body := f.get("/v1/negotiations/" + round + "/edr"); status != http.StatusForbidden {
			t.Errorf("%s answers %d %s", what, status, body)
		}
	}
}
