package schemas_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/task"
	"github.com/waybill/waybill/domain/transfer"
	"github.com/waybill/waybill/schemas"
)

func TestGoldenTransferEvents(t *testing.T) { transferEventWire().isGolden(t) }

func TestGoldenTransferCommands(t *testing.T) { transferCommandWire().isGolden(t) }

func TestATransferTakesTheReportsAboutItsWork(t *testing.T) {
	transferCommandWire().takesReports(t, func(c orchestration.Command) transfer.Command { return transfer.Report{Command: c} })
}

func TestCommandsOfATransferThatAreNotOnTheWireAreNotWritten(t *testing.T) {
	for _, c := range []transfer.Command{transfer.Wake{}, transfer.TakeOver{Agent: "a"}} {
		if wireType, _, err := schemas.EncodeTransferCommand(c); err == nil {
			t.Errorf("%T is written as %s", c, wireType)
		}
	}
}

// wireOf is what of an event stands on the wire.
func wireOf(e transfer.Event) any {
	if w, ok := e.(transfer.Worked); ok {
		return w.Event
	}
	return e
}

func TestTransferEventsThatNobodyCouldReadAgainAreNotWritten(t *testing.T) {
	for name, e := range map[string]transfer.Event{
		"an output that is not JSON": transfer.Ended{Output: raw(`{"a":`)},
		"an EDR that is none":        transfer.AccessGranted{EDR: &transfer.EDR{ProcessID: "p"}},
		"an input that is not UTF-8": transfer.Worked{Event: task.Requested{Spec: task.Spec{Input: raw("\"\xff\"")}}},
		"work without an event":      transfer.Worked{},
	} {
		if _, data, err := schemas.EncodeTransferEvent(e); err == nil {
			t.Errorf("%s: written as %s", name, data)
		}
	}
}

// What is taken as deep as may be is put into work, which is deeper: that is read again as well.
func TestWhatATransferWasGivenCanBeReadAgainHoweverDeepItIs(t *testing.T) {
	deep := strings.Repeat("[", 298) + strings.Repeat("]", 298)
	c, err := schemas.DecodeTransferCommand(schemas.TransferInitiate, []byte(`{"provider":"p","assetId":"a","properties":{"x":`+deep+`}}`))
	if err != nil {
		t.Fatal(err)
	}
	input := raw(`{"adapter":"edc","properties":` + string(c.(transfer.Initiate).Properties) + `}`)
	wireType, data, err := schemas.EncodeTransferEvent(transfer.Worked{Event: task.Requested{Spec: task.Spec{WorkID: "w", Input: input}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := schemas.DecodeTransferEvent(wireType, data); err != nil {
		t.Error(err)
	}
}

func TestATransferEventOfTheFutureIsAnError(t *testing.T) {
	for _, wireType := range []string{"transfer.moved.v7", "task.ended.v2", "task.teleported.v1", schemas.ActivityClaimed, ""} {
		_, err := schemas.DecodeTransferEvent(wireType, []byte(`{}`))
		var unknown *schemas.UnknownVersionError
		if !errors.As(err, &unknown) || unknown.Type != wireType {
			t.Errorf("%q: got %v", wireType, err)
		}
	}
	e, err := schemas.DecodeTransferEvent(schemas.TransferMoved, []byte(`{"weather":[{}],"moves":[{"state":"STARTED","code":600,"mood":1}]}`))
	if err != nil {
		t.Fatal(err)
	}
	sameValue(t, e, transfer.Event(transfer.Moved{Moves: []transfer.Move{{State: transfer.PhaseStarted, Code: 600}}}))
}

func TestATransferEventThatCannotBeReadIsAnError(t *testing.T) {
	for _, data := range []string{"", "null", "[]", `{"moves":1}`, `{"moves":[{"state":"BORED"}]}`, `{"until":"yesterday"}`, `{} {}`, "\xff"} {
		_, err := schemas.DecodeTransferEvent(schemas.TransferMoved, []byte(data))
		var u *schemas.UndecodableError
		if !errors.As(err, &u) {
			t.Errorf("%q: got %v", data, err)
		}
	}
}

func TestCommandsOfATransferThatAreNotToBeHadAreRefused(t *testing.T) {
	granted := func(member string) string {
		return `{"negotiation":"c p","round":1,"negotiationId":"n","assetId":"a","agreementId":"g",` + member + `}`
	}
	for name, c := range map[string]struct {
		wireType, data string
		code           machine.Code
		path           string
	}{
		"an unknown type":                  {"transfer.explode.v1", `{}`, machine.UnknownType, ""},
		"a version of the future":          {"transfer.initiate.v2", `{}`, machine.UnknownType, ""},
		"an orchestration's command":       {schemas.OrchestrationStart, `{"type":"a"}`, machine.UnknownType, ""},
		"too large":                        {schemas.TransferInitiate, `{"provider":"` + strings.Repeat("a", 2<<20) + `"}`, machine.Limit, ""},
		"too deep":                         {schemas.TransferInitiate, `{"provider":"p","assetId":"a","properties":{"x":` + strings.Repeat("[", 400) + strings.Repeat("]", 400) + `}}`, machine.Limit, "$.properties.x" + strings.Repeat("[0]", 298)},
		"not an object":                    {schemas.TransferInitiate, `[]`, machine.Schema, "$"},
		"without an asset":                 {schemas.TransferInitiate, `{"provider":"p"}`, machine.Schema, "$.assetId"},
		"an empty provider":                {schemas.TransferInitiate, `{"provider":"","assetId":"a"}`, machine.Schema, "$.provider"},
		"an unknown member":                {schemas.TransferInitiate, `{"provider":"p","assetId":"a","asset":"b"}`, machine.Schema, "$.asset"},
		"properties that are a list":       {schemas.TransferInitiate, `{"provider":"p","assetId":"a","properties":[]}`, machine.Schema, "$.properties"},
		"a wrong deadline":                 {schemas.TransferInitiate, `{"provider":"p","assetId":"a","deadline":"soon"}`, machine.Schema, "$.deadline"},
		"a manifest without definitions":   {schemas.TransferInitiate, `{"provider":"p","assetId":"a","manifest":{}}`, machine.Schema, "$.manifest.definitions"},
		"a resource without a type":        {schemas.TransferInitiate, `{"provider":"p","assetId":"a","manifest":{"definitions":[{"id":"d"}]}}`, machine.Schema, "$.manifest.definitions[0].type"},
		"an asker that is no activity":     {schemas.TransferInitiate, `{"provider":"p","assetId":"a","asker":{"aggregate":"transfer","id":"t","activityId":"n","workId":"w","attempt":1}}`, machine.Schema, "$.asker.aggregate"},
		"an asker without a place":         {schemas.TransferInitiate, `{"provider":"p","assetId":"a","asker":{"aggregate":"orchestration","id":"t","workId":"w","attempt":1}}`, machine.Schema, "$.asker.activityId"},
		"a grant without an agreement":     {schemas.TransferGranted, `{"negotiation":"c p","round":1,"negotiationId":"n","assetId":"a"}`, machine.Schema, "$.agreementId"},
		"an EDR without its process":       {schemas.TransferGranted, granted(`"edr":{"data":` + sealed + `}`), machine.Schema, "$.edr.processId"},
		"an EDR in the clear":              {schemas.TransferGranted, granted(`"edr":{"processId":"p","data":{"endpoint":"http://x","authorization":"the-token"}}`), machine.Schema, "$.edr.data.authorization"},
		"an EDR with a word for a seal":    {schemas.TransferGranted, granted(`"edr":{"processId":"p","data":{"$sealed":"the-token"}}`), machine.Schema, "$.edr.data.$sealed"},
		"an EDR that is a text":            {schemas.TransferGranted, granted(`"edr":{"processId":"p","data":"the-token"}`), machine.Schema, "$.edr.data"},
		"an EDR that ends some time":       {schemas.TransferGranted, granted(`"edr":{"processId":"p","data":` + sealed + `,"expiresAt":"later"}`), machine.Schema, "$.edr.expiresAt"},
		"a refusal without an error":       {schemas.TransferRefused, `{"negotiation":"c p"}`, machine.Schema, "$.error"},
		"a state of nothing":               {schemas.TransferObserved, `{"state":"STARTED"}`, machine.Schema, "$.processId"},
		"a secret in the clear":            {schemas.TransferProvisioned, `{"resourceDefinitionId":"d","secret":"the-token"}`, machine.Schema, "$.secret"},
		"a resource that is not there":     {schemas.TransferResourceDeprovisioned, `{}`, machine.Schema, "$.provisionedResourceId"},
		"a reason that is a number":        {schemas.TransferSuspend, `{"reason":1}`, machine.Schema, "$.reason"},
		"a report about nothing":           {schemas.WorkComplete, `{"attempt":1}`, machine.Schema, "$.workId"},
		"a reference that was made up":     {schemas.TransferInitiate, `{"provider":"p","assetId":"a","properties":{"x":{"$blob":1}}}`, machine.Schema, "$.properties"},
		"a name twice":                     {schemas.TransferObserved, `{"processId":"p","state":"a","state":"b"}`, machine.Schema, "$.state"},
		"a number of rounds that is large": {schemas.TransferRefused, `{"negotiation":"c p","error":"x","rounds":99999999999}`, machine.Schema, "$.rounds"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := schemas.DecodeTransferCommand(c.wireType, []byte(c.data))
			var r *machine.Refusal
			if !errors.As(err, &r) || r.Code != c.code {
				t.Fatalf("got %v, %.300v", got, err)
			}
			if strings.Contains(err.Error(), "the-token") {
				t.Errorf("the secret is in the answer: %v", err)
			}
			if c.path != "" && (len(r.Errors) == 0 || r.Errors[0].Path != strings.ReplaceAll(c.path, ".$sealed", `["$sealed"]`) || r.Errors[0].Message == "") {
				t.Errorf("got %.300q, want the mistake at %s", r.Errors, c.path)
			}
		})
	}
	for _, data := range []string{"", "{", "\xff"} {
		_, err := schemas.DecodeTransferCommand(schemas.TransferInitiate, []byte(data))
		var u *schemas.UndecodableError
		if !errors.As(err, &u) {
			t.Errorf("%q: got %v", data, err)
		}
	}
}

func TestCommandsOfATransferAreTakenInAllTheirForms(t *testing.T) {
	for name, c := range map[string]struct {
		wireType, data string
		want           transfer.Command
	}{
		"with nulls for what is not": {
			schemas.TransferInitiate,
			"\ufeff" + ` {"provider":"p","assetId":"a","counterPartyId":null,"transferType":null,"destination":null,"manifest":null,"properties":null,"deadline":null,"asker":null,"as":null,"retry":null}`,
			transfer.Initiate{Provider: "p", AssetID: "a"},
		},
		"a grant without an EDR": {
			schemas.TransferGranted, `{"negotiation":"c p","round":0,"negotiationId":"n","assetId":"a","agreementId":"g","edr":null,"formats":null}`,
			transfer.Granted{Negotiation: "c p", NegotiationID: "n", AssetID: "a", AgreementID: "g"},
		},
		"a refusal in one word": {
			schemas.TransferRefused, `{"negotiation":"c p","error":"x","rounds":null}`,
			transfer.Refused{Negotiation: "c p", Error: orchestration.Fault{Message: "x"}},
		},
		"a resource without a secret": {
			schemas.TransferProvisioned, `{"resourceDefinitionId":"d","secret":null,"contentDataAddress":null,"hasToken":null}`,
			transfer.Provisioned{ResourceDefinitionID: "d"},
		},
		"a terminate that says nothing": {schemas.TransferTerminate, `{}`, transfer.Terminate{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := schemas.DecodeTransferCommand(c.wireType, []byte(c.data))
			if err != nil {
				t.Fatal(err)
			}
			sameValue(t, withoutTransferFingerprint(got), c.want)
		})
	}
}

func TestOneBodyOfAnInitiateHasOneFingerprint(t *testing.T) {
	fingerprint := func(data string) string {
		c, err := schemas.DecodeTransferCommand(schemas.TransferInitiate, []byte(data))
		if err != nil {
			t.Fatal(err)
		}
		return c.(transfer.Initiate).Fingerprint
	}
	a := fingerprint(`{"provider":"p","assetId":"a"}`)
	if b := fingerprint(` {"assetId":"a", "provider":"p"}`); a != b || a == "" {
		t.Errorf("%q and %q", a, b)
	}
	if b := fingerprint(`{"provider":"p","assetId":"b"}`); a == b {
		t.Errorf("another asset has %q too", b)
	}
}

func FuzzTransferCommand(f *testing.F) { transferCommandWire().fuzz(f) }

// FuzzTransferEvent holds the writer and the reader of events against encoding/json.
func FuzzTransferEvent(f *testing.F) {
	f.Add("n1", "w", "503 \"x\"\n", `{"a":1}`, 2, int64(1767355200123456789))
	f.Add("", "\x00\x1f\u2028<>&", "\xff\xc0", `[]`, -1, int64(0))
	f.Fuzz(func(t *testing.T, id, name, message, output string, n int, at int64) {
		if !json.Valid([]byte(output)) || !utf8.ValidString(output) || depth([]byte(output)) >= 90 {
			return
		}
		for _, e := range transferEventsOf(id, name, message, output, n, time.Unix(0, at).UTC()) {
			transferEventWire().sameAsJSON(t, e)
		}
	})
}

func transferEventsOf(id, name, message, output string, n int, at time.Time) []transfer.Event {
	fault := orchestration.Fault{Step: id, Message: message, Code: name}
	moves := []transfer.Move{{State: transfer.PhaseStarted, Code: n, Inferred: n%2 == 0}}
	l := []transfer.Event{
		transfer.Initiated{Provider: id, Connector: name, AssetID: message, Way: transfer.Pull, Properties: raw(output), Deadline: at, Asker: &transfer.Asker{ID: id, WorkID: name, Attempt: n}},
		transfer.Moved{Moves: moves, Reason: message, By: name, Error: &fault, Until: at},
		transfer.ResourceProvisioned{DefinitionID: id, Resource: raw(output), Secret: raw(output)},
		transfer.Acquiring{Negotiation: id, Need: name, Acquisition: n, Until: at},
		transfer.AccessGranted{Moves: moves, NegotiationID: id, Round: n, AgreementID: name, Constraints: message, EDR: &transfer.EDR{ProcessID: id, Data: raw(output), ExpiresAt: at}},
		transfer.AccessLost{ProcessID: id, Error: fault},
		transfer.Requested{ProcessID: id, Until: at},
		transfer.Ended{Moves: moves, Outcome: transfer.OutcomeCompleted, Output: raw(output), Key: name, Reason: message, Error: &fault, Spawn: []definition.Activity{{ID: id, Type: name}}},
	}
	for _, e := range []task.Event{
		task.Requested{Spec: task.Spec{WorkID: id, Name: name, Type: message, Input: raw(output), Deadline: at, Policy: task.Policy{Retries: n}}, Placement: name},
		task.Attempted{WorkID: id, Attempt: n},
		task.Claimed{WorkID: id, Attempt: n, Agent: name, Lease: at},
		task.Waited{WorkID: id, Attempt: n, Until: at, State: raw(output)},
		task.Retrying{WorkID: id, Attempt: n, Error: fault, At: at, State: raw(output)},
		task.Ended{WorkID: id, Attempt: n, How: task.Ending(name), Error: &fault},
	} {
		l = append(l, transfer.Worked{Event: e})
	}
	return l
}
