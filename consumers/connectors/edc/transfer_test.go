package edc_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/waybill/waybill/consumers/connectors/adapter"
)

const (
	start   = "POST /v3/transferprocesses"
	started = "POST /v3/transferprocesses/request"
	process = "GET /v3/transferprocesses/p1"

	createdProcess  = `{"@type":"IdResponse","@id":"p1","createdAt":1795271161338}`
	notFoundProcess = `[{"message":"Object of type TransferProcess with ID=p1 was not found","type":"ObjectNotFound","path":null,"invalidValue":null}]`
)

func pull(change ...func(*adapter.Transfer)) adapter.Transfer {
	t := adapter.Transfer{ID: "p1", AssetID: "region-document", AgreementID: "a1", Type: "HttpData-PULL", Callback: "http://waybill/callbacks/y"}
	for _, c := range change {
		c(&t)
	}
	return t
}

func lost(t *adapter.Transfer) { t.Repeat = true }

func TestATransferProcessIsStartedUnderOurID(t *testing.T) {
	f := newFake(t).on(start, 200, createdProcess)
	if id, err := f.connector().Start(t.Context(), provider, pull()); err != nil || id != "p1" {
		t.Fatalf("got %q, %v", id, err)
	}
	f.sent(0, `{"@context":{"@vocab":"https://w3id.org/edc/v0.0.1/ns/"},"@type":"TransferRequest","@id":"p1",
		"counterPartyAddress":"http://provider1:19194/protocol/2025-1","protocol":"dataspace-protocol-http:2025-1",
		"contractId":"a1","assetId":"region-document","transferType":"HttpData-PULL","dataDestination":{"type":"HttpProxy"},"privateProperties":{"waybillId":"p1"},
		"callbackAddresses":[{"transactional":false,"uri":"http://waybill/callbacks/y","events":["contract.negotiation","transfer.process"]}]}`)
	t.Run("to where a push goes", func(t *testing.T) {
		f := newFake(t).on(start, 200, createdProcess)
		if _, err := f.connector().Start(t.Context(), provider, pull(func(t *adapter.Transfer) {
			t.Type, t.Callback, t.Destination = "HttpData-PUSH", "", json.RawMessage(`{"type":"HttpData","baseUrl":"http://sink/x"}`)
		})); err != nil {
			t.Fatal(err)
		}
		f.sent(0, `{"@context":{"@vocab":"https://w3id.org/edc/v0.0.1/ns/"},"@type":"TransferRequest","@id":"p1",
			"counterPartyAddress":"http://provider1:19194/protocol/2025-1","protocol":"dataspace-protocol-http:2025-1",
			"contractId":"a1","assetId":"region-document","transferType":"HttpData-PUSH","dataDestination":{"type":"HttpData","baseUrl":"http://sink/x"},
			"privateProperties":{"waybillId":"p1"},"callbackAddresses":[]}`)
	})
}

func TestAProcessWhoseReplyWasLostIsLookedForFirst(t *testing.T) {
	t.Run("by its id, and not started again: that would break it", func(t *testing.T) {
		f := newFake(t).on(process, 200, `{"@id":"p1","@type":"TransferProcess","state":"STARTED"}`)
		if id, err := f.connector().Start(t.Context(), provider, pull(lost)); err != nil || id != "p1" {
			t.Fatalf("got %q, %v", id, err)
		}
		f.saw(process)
	})
	t.Run("by our property, where the connector chooses ids itself", func(t *testing.T) {
		f := newFake(t).on(process, 404, notFoundProcess).on(started, 200, `[{"@id":"theirs","state":"STARTED"}]`)
		if id, err := f.connector().Start(t.Context(), provider, pull(lost)); err != nil || id != "theirs" {
			t.Fatalf("got %q, %v", id, err)
		}
		f.sent(1, `{"@context":{"@vocab":"https://w3id.org/edc/v0.0.1/ns/"},"@type":"QuerySpec","limit":50,"filterExpression":[
			{"@type":"Criterion","operandLeft":"privateProperties.'https://w3id.org/edc/v0.0.1/ns/waybillId'","operator":"=","operandRight":"p1"}]}`)
	})
	t.Run("and started where it has not arrived", func(t *testing.T) {
		f := newFake(t).on(process, 404, notFoundProcess).on(started, 200, `[]`).on(start, 200, createdProcess)
		if id, err := f.connector().Start(t.Context(), provider, pull(lost)); err != nil || id != "p1" {
			t.Fatalf("got %q, %v", id, err)
		}
		f.saw(process, started, start)
	})
	t.Run("and not started while the connector boots and says 404 of everything", func(t *testing.T) {
		for _, page := range []string{html404, json404} {
			f := newFake(t).on(process, 404, page)
			if _, err := f.connector().Start(t.Context(), provider, pull(lost)); err == nil || !fault(t, err).Again {
				t.Fatalf("got %v", err)
			}
			f.saw(process)
		}
	})
}

func TestAnAgreementThatIsNoLongerGood(t *testing.T) {
	f := newFake(t).on(start, 400, `[{"message":"Contract agreement with id a1 not found","type":"InvalidRequest","path":null,"invalidValue":null}]`)
	_, err := f.connector().Start(t.Context(), provider, pull())
	if got := fault(t, err); got.Code != adapter.CodeAgreementDead || got.Again || !strings.Contains(got.Error(), "Contract agreement with id a1 not found") {
		t.Fatalf("got %+v", got)
	}
	const why = "Cannot process TransferRequestMessage because agreement not found or not valid"
	for detail, c := range map[string]struct {
		dead bool
		says string
	}{
		`{\"@type\":\"TransferError\",\"code\":\"409\",\"reason\":[\"` + why + `\"],\"@context\":[\"https://w3id.org/dspace/2025/1/context.jsonld\"]}`: {true, "409: " + why},
		`{\"@type\":\"dspace:TransferError\",\"dspace:code\":\"404\",\"dspace:reason\":\"` + why + `\"}`:                                               {true, "404: " + why},
		`{\"@type\":\"TransferError\",\"code\":\"409\",\"reason\":[\"it cannot be started\"]}`:                                                         {false, "409: it cannot be started"},
		`{\"else\":1}`:     {false, `{"else":1}`},
		`no longer needed`: {false, "no longer needed"},
		``:                 {false, ""},
	} {
		f := newFake(t).on(process, 200, `{"@id":"p1","state":"TERMINATED","errorDetail":"`+detail+`"}`)
		got, err := f.connector().Process(t.Context(), "p1")
		if want := (adapter.Process{ID: "p1", State: "TERMINATED", Detail: c.says, AgreementDead: c.dead}); err != nil || got != want {
			t.Errorf("%s: got %+v, %v", detail, got, err)
		}
	}
}

// What a connector answers in which of its states is the table of the reference.
func TestTellingAProcess(t *testing.T) {
	conflict := func(command, state string) string {
		return `[{"message":"Could not execute ` + command + `Command on TransferProcess with ID [p1] because it's ` + state + `","type":"ObjectConflict","path":null,"invalidValue":null}]`
	}
	for name, c := range map[string]struct {
		verb   adapter.Verb
		status int
		body   string
		fails  string // "": it is done
	}{
		"terminate, REQUESTED or STARTED":   {adapter.Terminate, 204, "", ""},
		"terminate, TERMINATED":             {adapter.Terminate, 409, conflict("TerminateTransfer", "TERMINATED"), ""},
		"terminate, DEPROVISIONED":          {adapter.Terminate, 409, conflict("TerminateTransfer", "DEPROVISIONED"), ""},
		"terminate, unknown":                {adapter.Terminate, 404, notFoundProcess, "not found"},
		"suspend, STARTED":                  {adapter.Suspend, 204, "", ""},
		"suspend, SUSPENDED":                {adapter.Suspend, 409, conflict("SuspendTransfer", "SUSPENDED"), ""},
		"suspend, REQUESTED":                {adapter.Suspend, 409, conflict("SuspendTransfer", "REQUESTED"), "because it's REQUESTED"},
		"suspend, TERMINATED":               {adapter.Suspend, 409, conflict("SuspendTransfer", "TERMINATED"), "because it's TERMINATED"},
		"resume, SUSPENDED":                 {adapter.Resume, 204, "", ""},
		"resume, STARTED":                   {adapter.Resume, 409, conflict("ResumeTransfer", "STARTED"), ""},
		"resume, RESUMED":                   {adapter.Resume, 409, conflict("ResumeTransfer", "RESUMED"), ""},
		"resume, REQUESTED":                 {adapter.Resume, 409, conflict("ResumeTransfer", "REQUESTED"), "because it's REQUESTED"},
		"resume, TERMINATED":                {adapter.Resume, 409, conflict("ResumeTransfer", "TERMINATED"), "because it's TERMINATED"},
		"a conflict of somebody in between": {adapter.Terminate, 409, html500, "409 Conflict"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t).on("POST /v3/transferprocesses/p1/"+string(c.verb), c.status, c.body)
			err := f.connector().Tell(t.Context(), "p1", c.verb, "")
			if (err == nil) != (c.fails == "") || err != nil && (!strings.Contains(err.Error(), c.fails) || fault(t, err).Again) {
				t.Fatalf("got %v", err)
			}
			if errors.Is(err, adapter.ErrNotFound) != (c.status == 404) {
				t.Fatalf("got %v", err)
			}
			if c.verb == adapter.Resume {
				if f.asked[0].body != "" {
					t.Errorf("it was sent %s", f.asked[0].body)
				}
				return
			}
			typ := map[adapter.Verb]string{adapter.Terminate: "TerminateTransfer", adapter.Suspend: "SuspendTransfer"}[c.verb]
			f.sent(0, `{"@context":{"@vocab":"https://w3id.org/edc/v0.0.1/ns/"},"@type":"`+typ+`","reason":"no longer needed"}`)
		})
	}
}
