package intake_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/domain/transfer"
	"github.com/waybill/waybill/internal/callbacks"
	"github.com/waybill/waybill/internal/seal"
	"github.com/waybill/waybill/producers/intake"
	"github.com/waybill/waybill/schemas"
)

// outside is a fixture that others report to.
type outside struct {
	*fixture
	keys *seal.Keyring
	at   *callbacks.Addresses
}

func setUpOutside(t *testing.T) *outside {
	t.Helper()
	keys, err := seal.Parse(seal.New())
	if err != nil {
		t.Fatal(err)
	}
	o := &outside{fixture: &fixture{T: t, mux: http.NewServeMux()}, keys: keys, at: proofs.At("")}
	in, err := intake.New(intake.Config{
		Publisher: &o.log, Reads: &o.reads, MaxBody: 4000, MaxPayload: 500, Proofs: proofs, Keys: keys,
		Logger: slog.New(slog.NewTextHandler(&o.told, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	in.Routes(o.mux)
	o.reads.decision = &intake.Decision{Changed: true}
	return o
}

// send looks for the secret of an address wherever it must not be.
func (o *outside) send(method, path string, body []byte, headers ...string) *httptest.ResponseRecorder {
	o.Helper()
	w := o.fixture.send(method, path, string(body), headers...)
	for part := range strings.SplitSeq(path, "/") {
		if len(part) == 43 && strings.Contains(w.Body.String()+o.told.String(), part) {
			o.Errorf("the proof is in the answer or in the log: %s %s", w.Body, &o.told)
		}
	}
	return w
}

// transfers are the commands to transfers that were published.
func (o *outside) transfers() []transfer.Command {
	o.Helper()
	var l []transfer.Command
	for _, c := range o.log.commands {
		if c.Aggregate != schemas.AggregateTransfer || c.Key != "t-1" || c.ID == "" {
			o.Fatalf("published %+v", c)
		}
		d, err := schemas.DecodeTransferCommand(c.Type, c.Value)
		if err != nil {
			o.Fatalf("%s: %v: %s", c.Type, err, c.Value)
		}
		l = append(l, d)
	}
	return l
}

func (o *outside) open(purpose string, sealed json.RawMessage) string {
	o.Helper()
	open, err := o.keys.OpenAll(purpose, sealed)
	if err != nil {
		o.Fatal(err)
	}
	return string(open.Reveal())
}

var (
	ofPush  = callbacks.Subject{Aggregate: schemas.AggregateTransfer, ID: "t-1", Task: "p-1"}
	ofRound = callbacks.Subject{Aggregate: schemas.AggregateNegotiation, ID: "consumer http://provider:8282/protocol", Task: "r-1"}
)

// event is a connector's, as EDC writes it.
func event(id, typ, payload string) []byte {
	return fmt.Appendf(nil, `{"id":%q,"at":1700000000000,"payload":{%s},"type":%q}`, id, payload, typ)
}

const edr = `{"properties":{"https://w3id.org/edc/v0.0.1/ns/endpoint":"http://provider/public","https://w3id.org/edc/v0.0.1/ns/authorization":"eyJ.token","https://w3id.org/tractusx/auth/expiresIn":"300"}}`

func TestAConnectorSaysWhereAPushIs(t *testing.T) {
	o := setUpOutside(t)
	for _, name := range []string{"Requested", "Started", "Suspended", "Completed", "Terminated"} {
		w := o.send("POST", o.at.Connector(ofPush), event("e-"+name, "TransferProcess"+name,
			`"transferProcessId":"theirs","assetId":"a","type":"CONSUMER","contractId":"c","callbackAddresses":[],"reason":"because"`), "traceparent: 00-1-2-01")
		if w.Code != http.StatusOK || w.Body.Len() != 0 {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	told := o.transfers()
	for i, state := range []string{"REQUESTED", "STARTED", "SUSPENDED", "COMPLETED", "TERMINATED"} {
		want := transfer.Observed{ProcessID: "p-1", Token: "p-1", State: state, Detail: "because"}
		if len(told) != 5 || told[i] != want {
			t.Fatalf("told %+v, want %+v", told, want)
		}
	}
	if o.log.commands[0].TraceParent != "00-1-2-01" {
		t.Error("the trace is lost")
	}
	o.send("POST", o.at.Connector(ofPush), event("e-x", "TransferProcessTerminated", `"reason":"\"code\":\"404\" agreement not found or not valid"`))
	if got, ok := o.transfers()[5].(transfer.Observed); !ok || !got.AgreementDead {
		t.Errorf("%+v", o.transfers()[5])
	}
}

func TestAConnectorSaysWhereANegotiationIsAndHandsOutTheEDR(t *testing.T) {
	o := setUpOutside(t)
	round := func(typ, payload string) negotiation.Observed {
		t.Helper()
		if w := o.send("POST", o.at.Connector(ofRound), event("e-"+typ, typ, payload)); w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		c := o.log.commands[len(o.log.commands)-1]
		d, err := schemas.DecodeNegotiationCommand(c.Type, c.Value)
		got, ok := d.(negotiation.Observed)
		if err != nil || !ok || c.Aggregate != schemas.AggregateNegotiation || c.Key != ofRound.ID {
			t.Fatalf("%+v, %v", c, err)
		}
		return got
	}
	got := round("ContractNegotiationFinalized", `"contractNegotiationId":"n-1","contractAgreement":{"id":"g-1","assetId":"a","policy":{}},"contractOffers":[{}]`)
	if got.State != "FINALIZED" || got.Round != "r-1" || got.NegotiationID != "n-1" || got.AgreementID != "g-1" || got.AssetID != "a" || got.ProcessID != "" {
		t.Errorf("%+v", got)
	}
	if got := round("ContractNegotiationTerminated", `"contractNegotiationId":"n-1","reason":"no"`); got.State != "TERMINATED" || got.Detail != "no" {
		t.Errorf("%+v", got)
	}
	got = round("TransferProcessStarted", `"transferProcessId":"r-1","dataAddress":`+edr)
	if got.State != "STARTED" || got.ProcessID != "r-1" || got.Round != "" || time.Until(got.ExpiresAt) > 300*time.Second || time.Until(got.ExpiresAt) < 200*time.Second {
		t.Errorf("%+v", got)
	}
	if strings.Contains(string(got.EDR), "eyJ") || o.open(seal.EDR("consumer"), got.EDR) != edr {
		t.Errorf("the EDR is %s", got.EDR)
	}
	for _, c := range o.log.commands {
		if bytes.Contains(c.Value, []byte("eyJ")) {
			t.Errorf("a token is on the log: %s", c.Value)
		}
	}
}

func TestAnEventIsToldOnceAndOnlyToWhomItIsAbout(t *testing.T) {
	o := setUpOutside(t)
	for range 2 {
		o.send("POST", o.at.Connector(ofPush), event("e-1", "TransferProcessStarted", ``))
	}
	o.send("POST", o.at.Connector(ofPush), event("e-2", "TransferProcessStarted", ``))
	if c := o.log.commands; len(c) != 3 || c[0].ID != c[1].ID || c[0].ID == c[2].ID {
		t.Errorf("%+v", c)
	}
	for _, typ := range []string{"TransferProcessInitiated", "TransferProcessProvisioned", "ContractNegotiationFinalized", "AssetCreated", ""} {
		if w := o.send("POST", o.at.Connector(ofPush), event("e-3", typ, ``)); w.Code != http.StatusOK || len(o.log.commands) != 3 {
			t.Errorf("%s: %d", typ, w.Code)
		}
	}
}

func TestOnlyWhatWasAskedForIsAccepted(t *testing.T) {
	o := setUpOutside(t)
	connector, provisioner, upload := o.at.Connector(ofPush), o.at.Provisioner(ofPush), o.at.Upload(ofPush)
	other := callbacks.New([]byte("another key")).At("")
	elsewhere := strings.NewReplacer(callbacks.ConnectorPrefix, callbacks.ProvisionerPrefix, callbacks.UploadPrefix, callbacks.ConnectorPrefix)
	for _, path := range []string{
		connector + "x", other.Connector(ofPush), elsewhere.Replace(upload), callbacks.UploadPrefix + "x/y",
		provisioner + "/t-2/provision", other.Provisioner(ofPush) + "/t-1/deprovision", elsewhere.Replace(connector) + "/t-1/provision",
		o.at.Provisioner(ofRound) + "/" + "t-1/provision", o.at.Upload(ofRound), other.Upload(ofPush),
	} {
		w := o.send("POST", path, []byte(`{"resourceDefinitionId":"in","contentDataAddress":{},"type":"TransferProcessStarted"}`))
		o.wants(w, http.StatusNotFound, "no such address")
	}
	for body, status := range map[string]int{`{`: 400, `[]`: 422, `{"type":1}`: 422, `{"payload":"x"}`: 422, `{"x":"` + strings.Repeat("x", 5000) + `"}`: 413} {
		o.wants(o.send("POST", connector, []byte(body)), status)
	}
	if n := len(o.log.commands); n != 0 {
		t.Errorf("%d commands were published", n)
	}
	o.log.down = true
	o.wants(o.send("POST", connector, event("e", "TransferProcessStarted", "")), http.StatusServiceUnavailable)
	if !strings.Contains(o.told.String(), "[callback]") {
		t.Errorf("the log says %s", &o.told)
	}
}

const provisionedBody = `{"resourceDefinitionId":"in","assetId":"a","resourceName":"name","apiKeyJwt":"jwt-1","hasToken":true,
	"contentDataAddress":{"properties":{"https://w3id.org/edc/v0.0.1/ns/type":"AmazonS3","https://w3id.org/edc/v0.0.1/ns/secretAccessKey":"key-1"}}}`

func TestAProvisionerReportsInEDCsForm(t *testing.T) {
	o := setUpOutside(t)
	at := o.at.Provisioner(callbacks.Subject{Aggregate: schemas.AggregateTransfer, ID: "t-1", Task: "in"}) + "/t-1"
	for _, report := range []struct{ path, body string }{
		{"/provision", provisionedBody},
		{"/deprovision", `{"provisionedResourceId":"in","inProcess":true,"error":false}`},
		{"/deprovision", `{"provisionedResourceId":"t-1","error":true,"errorMessage":"it is stuck","further":1}`},
	} {
		if w := o.send("POST", at+report.path, []byte(report.body)); w.Code != http.StatusNoContent || w.Body.Len() != 0 {
			t.Errorf("%s: %d %s", report.path, w.Code, w.Body)
		}
	}
	told := o.transfers()
	p, ok := told[0].(transfer.Provisioned)
	if !ok || p.ResourceDefinitionID != "in" || p.AssetID != "a" || p.ResourceName != "name" || !p.HasToken {
		t.Errorf("%+v", told[0])
	}
	if on := string(o.log.commands[0].Value); strings.Contains(on, "jwt-1") || strings.Contains(on, "key-1") {
		t.Errorf("a secret is on the log: %s", on)
	}
	if got := o.open(seal.Transfer("t-1"), p.Secret); got != `"jwt-1"` {
		t.Errorf("the secret is %s", got)
	}
	if got := o.open(seal.Transfer("t-1"), p.ContentDataAddress); !strings.Contains(got, `"key-1"`) {
		t.Errorf("the address is %s", got)
	}
	if told[1] != (transfer.Deprovisioned{ProvisionedResourceID: "in", InProcess: true}) ||
		told[2] != (transfer.Deprovisioned{ProvisionedResourceID: "in", Error: true, ErrorMessage: "it is stuck"}) {
		t.Errorf("%+v", told[1:])
	}
	for _, body := range []string{
		`{"resourceDefinitionId":"in","contentDataAddress":{"a":` + strings.Repeat("[", 1200) + strings.Repeat("]", 1200) + `}}`,
		`{"resourceDefinitionId":"in","contentDataAddress":{"properties":{"baseUrl":{"$blob":{}}}}}`, `{}`, `{"resourceDefinitionId":"in"}`, `{"resourceDefinitionId":"in","contentDataAddress":"x"}`, `{"resourceDefinitionId":7}`,
	} {
		o.wants(o.send("POST", at+"/provision", []byte(body)), http.StatusUnprocessableEntity)
	}
}

func TestAProvisionerReportsOnlyAboutTheResourceThatItWasAskedFor(t *testing.T) {
	o := setUpOutside(t)
	at := o.at.Provisioner(callbacks.Subject{Aggregate: schemas.AggregateTransfer, ID: "t-1", Task: "other"}) + "/t-1"
	o.wants(o.send("POST", at+"/provision", []byte(provisionedBody)), http.StatusNotFound, "no such resource at this address")
	o.wants(o.send("POST", at+"/deprovision", []byte(`{"provisionedResourceId":"in"}`)), http.StatusNotFound, "no such resource at this address")
	if n := len(o.log.commands); n != 0 {
		t.Errorf("%d commands were published", n)
	}
}

func TestWhatOthersQuoteOfWhatTheyWereSentIsNotKept(t *testing.T) {
	o := setUpOutside(t)
	upload := o.at.Upload(ofPush)
	proof := upload[strings.LastIndex(upload, "/")+1:]
	o.send("POST", o.at.Connector(ofPush), event("e-1", "TransferProcessTerminated", `"reason":"cannot PUT `+upload+` with\u0000 eyJhbGciOiJub25lIn0.e30.c2ln, {\"authCode\":\"s3cret-word\"}"`))
	o.send("POST", o.at.Provisioner(ofPush)+"/t-1/deprovision", []byte(`{"error":true,"errorMessage":"cannot empty `+upload+`"}`))
	if n := len(o.log.commands); n != 2 {
		t.Fatalf("%d commands were published", n)
	}
	for _, c := range o.log.commands {
		if _, err := schemas.DecodeTransferCommand(c.Type, c.Value); err != nil {
			t.Error(err)
		}
		for _, secret := range []string{proof, "eyJ", "s3cret-word"} {
			if bytes.Contains(c.Value, []byte(secret)) || !bytes.Contains(c.Value, []byte("cannot ")) {
				t.Errorf("%s is in %s", secret, c.Value)
			}
		}
	}
}

func TestATokenThatAnEventBringsEndsWhenItSays(t *testing.T) {
	o := setUpOutside(t)
	token := "eyJhbGciOiJub25lIn0." + base64.RawURLEncoding.EncodeToString([]byte(`{"exp":1795273200}`)) + ".c2ln"
	o.send("POST", o.at.Connector(ofRound), event("e-1", "TransferProcessStarted", `"dataAddress":`+strings.Replace(edr, "eyJ.token", token, 1)))
	c := o.log.commands[0]
	d, err := schemas.DecodeNegotiationCommand(c.Type, c.Value)
	if got, ok := d.(negotiation.Observed); err != nil || !ok || !got.ExpiresAt.Equal(time.Unix(1795273200, 0)) {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestWhoReportsIsToldTheDecision(t *testing.T) {
	refused := func(c machine.Code, reason string) *intake.Decision {
		return &intake.Decision{Refusal: machine.Refuse(c, reason)}
	}
	for _, c := range []struct {
		decision *intake.Decision
		status   int
		word     string
	}{
		{&intake.Decision{}, 204, ""}, // it was known
		{refused(machine.NotFound, "there is no such resource"), 404, "no such resource"},
		{refused(machine.BadState, "it is COMPLETED"), 409, "COMPLETED"},
		{refused(machine.Conflict, "something else was pushed"), 409, "something else"},
	} {
		o := setUpOutside(t)
		o.reads.decision = c.decision
		for _, w := range []*httptest.ResponseRecorder{
			o.send("POST", o.at.Provisioner(callbacks.Subject{Aggregate: schemas.AggregateTransfer, ID: "t-1", Task: "in"})+"/t-1/provision", []byte(provisionedBody)),
			o.send("POST", o.at.Upload(ofPush), []byte("data")),
		} {
			if w.Code != c.status || !strings.Contains(w.Body.String(), c.word) {
				t.Errorf("want %d with %q: %d %s", c.status, c.word, w.Code, w.Body)
			}
		}
	}
}

func TestWhoReportsWaitsForTheDecisionOnlySoLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := setUpOutside(t)
		o.reads.decision = nil
		began := time.Now()
		if w := o.send("POST", o.at.Upload(ofPush), []byte("data")); w.Code != http.StatusAccepted {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if d := time.Since(began); d != 10*time.Second {
			t.Errorf("waited %s", d)
		}
		o.send("POST", o.at.Upload(ofPush), []byte("data"), "Prefer: wait=1")
		if d := time.Since(began); d != 11*time.Second {
			t.Errorf("waited %s", d)
		}
	})
}

func TestOnlySoManyUploadsAreUnderWayAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := setUpOutside(t)
		body, rest := io.Pipe() // nobody gets to its end
		codes := make(chan int)
		push := func(body io.Reader) {
			w := httptest.NewRecorder()
			o.mux.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPut, o.at.Upload(ofPush), body))
			codes <- w.Code
		}
		for range 16 {
			go push(body)
		}
		synctest.Wait()
		began := time.Now()
		go push(strings.NewReader("data"))
		if code := <-codes; code != http.StatusServiceUnavailable || time.Since(began) != 10*time.Second {
			t.Errorf("%d after %s", code, time.Since(began))
		}
		_ = rest.Close()
		for range 16 {
			<-codes
		}
		go push(strings.NewReader("data"))
		if code := <-codes; code != http.StatusNoContent {
			t.Errorf("%d, and there are places", code)
		}
	})
}

func TestWhatIsPushedGoesOverTheLogWordForWord(t *testing.T) {
	o := setUpOutside(t)
	at := o.at.Upload(callbacks.Subject{Aggregate: schemas.AggregateTransfer, ID: "t-1", Task: "in"})
	bodies := []string{"{\"value\": 1.0}\n", "", "\xff\x00 no text"}
	for i, body := range bodies {
		method := []string{"POST", "PUT", "POST"}[i]
		if w := o.send(method, at, []byte(body), "Content-Type: application/x"); w.Code != http.StatusNoContent {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		c, ok := o.transfers()[i].(transfer.Uploaded)
		contentType, got, err := schemas.ReadPushed(c.Content)
		if err != nil || !ok || string(got) != body || contentType != "application/x" || c.ResourceDefinitionID != "in" || c.Bytes != int64(len(body)) || len(c.Digest) != 64 {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
	}
	o.wants(o.send("POST", at, bytes.Repeat([]byte("x"), 501)), http.StatusRequestEntityTooLarge, "500 bytes")
	if w := o.send("GET", at, nil); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("it can be read: %d %s", w.Code, w.Body)
	}
}
