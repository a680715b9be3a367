package intake_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/internal/seal"
	"github.com/waybill/waybill/producers/intake"
	"github.com/waybill/waybill/schemas"
)

// setUpSealed has keys, and a connector for some of the providers.
func setUpSealed(t *testing.T) (*fixture, *seal.Keyring) {
	t.Helper()
	keys, err := seal.Parse(seal.New())
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{T: t, mux: http.NewServeMux()}
	in, err := intake.New(intake.Config{Publisher: &f.log, Reads: &f.reads, Keys: keys, Connector: func(provider string) (string, error) {
		switch {
		case strings.Contains(provider, "plain"):
			return "", nil
		case !strings.HasPrefix(strings.ToLower(provider), "http"):
			return "", errors.New("is no http or https URL")
		}
		return "consumer", nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	in.Routes(f.mux)
	return f, keys
}

const wanted = `"provider":"http://p:8282/dsp","assetId":"asset-1"`

func TestATransferIsAskedForOnceHoweverOftenItIsSaid(t *testing.T) {
	f, _ := setUpSealed(t)
	body := `{"id":"t-1",` + wanted + `,"destination":{"type":"HttpData","authCode":"s3cret"}}`
	for range 2 {
		w, a := f.do("POST", "/v1/transfers", body)
		f.wants(w, 202)
		if a["id"] != "t-1" || w.Header().Get("Location") != "/v1/transfers/t-1" || w.Header().Get("Waybill-Position") == "" {
			t.Errorf("%v %v", a, w.Header())
		}
	}
	f.do("POST", "/v1/transfers", `{`+wanted+`}`, "Idempotency-Key: k")
	f.do("POST", "/v1/transfers", `{`+wanted+`}`, "Idempotency-Key: k")
	f.do("POST", "/v1/transfers", `{`+wanted+`}`)
	c := f.log.commands
	if c[0].ID != c[1].ID || c[2].ID != c[3].ID || c[2].Key != c[3].Key || c[4].Key == c[3].Key {
		t.Errorf("%+v", c)
	}
	if c[0].Aggregate != schemas.AggregateTransfer || c[0].Type != schemas.TransferInitiate || c[0].Key != "t-1" {
		t.Errorf("%+v", c[0])
	}
	if other, a := f.do("POST", "/v1/transfers", `{"id":"t-1",`+wanted+`,"transferType":"HttpData-PUSH"}`); other.Code != 202 || a["commandId"] == c[0].ID {
		t.Errorf("another body is the same command: %v", a)
	}
}

func TestSecretsOfATransferAreSealedBeforeTheyReachTheLog(t *testing.T) {
	f, keys := setUpSealed(t)
	body := `{"id":"t-1",` + wanted + `,"destination":{"type":"AmazonS3","secretAccessKey":"s3cret"},"properties":{"apiKey":"s3cret","n":1.50},
"manifest":{"definitions":[{"id":"d","type":"http","token":"s3cret"}]}}`
	w, _ := f.do("POST", "/v1/transfers", body)
	f.wants(w, 202)
	value := string(f.log.commands[0].Value)
	if strings.Contains(value, "s3cret") || strings.Count(value, `"$sealed"`) != 3 || !strings.Contains(value, "1.50") {
		t.Error(value)
	}
	open, err := keys.OpenAll(seal.Transfer("t-1"), f.log.commands[0].Value)
	if err != nil || strings.Count(string(open.Reveal()), `"s3cret"`) != 3 {
		t.Error(err)
	}
	without := setUp(t) // without keys
	w, a := without.do("POST", "/v1/transfers", body)
	if w.Code != 422 || len(without.log.commands) > 0 || strings.Contains(fmt.Sprint(a), "s3cret") || strings.Contains(without.told.String(), "s3cret") {
		t.Errorf("%d %v", w.Code, a)
	}
}

func TestWhatTransfersAndAccessTake(t *testing.T) {
	for _, tc := range []struct {
		path, body string
		status     int
		where      string
	}{
		{"/v1/transfers", `{` + wanted + `}`, 202, ""},
		{"/v1/transfers", `{"provider":"http://p"}`, 422, "$.assetId"},
		{"/v1/transfers", `{"provider":"http://ada:s3cret@p","assetId":"a"}`, 422, "$.provider"},
		{"/v1/transfers", `{` + wanted + `,"asker":{"aggregate":"orchestration"}}`, 422, "$.asker"},
		{"/v1/transfers", `{` + wanted + `,"colour":"red"}`, 422, "$.colour"},
		{"/v1/transfers", `{"id":"../x",` + wanted + `}`, 422, "$.id"},
		{"/v1/transfers", `[]`, 422, "$"},
		{"/v1/transfers", `{`, 400, ""},
		{"/v1/transfers/t-1/suspend", ``, 202, ""},
		{"/v1/transfers/t-1/resume", `{"reason":"r","by":"Ada"}`, 202, ""},
		{"/v1/transfers/t-1/deprovision", `{"why":"r"}`, 422, "$.why"},
		{"/v1/transfers/-t/terminate", ``, 404, ""},
		{"/v1/negotiations", `{` + wanted + `}`, 202, ""},
		{"/v1/negotiations", `{` + wanted + `,"need":"agreement","waiter":"w-1"}`, 202, ""},
		{"/v1/negotiations", `{"provider":"http://p","assetType":"registry"}`, 202, ""},
		{"/v1/negotiations", `{` + wanted + `,"assetType":"registry"}`, 422, ""},
		{"/v1/negotiations", `{"assetId":"a"}`, 422, "$.provider"},
		{"/v1/negotiations", `{"provider":"http://plain","assetId":"a"}`, 422, "$.provider"},
		{"/v1/negotiations", `{"provider":"ftp://p","assetId":"a"}`, 422, "$.provider"},
		{"/v1/negotiations", `{` + wanted + `,"reply":{"aggregate":"transfer","id":"t-1"}}`, 422, "$.reply"},
		{"/v1/negotiations", `{` + wanted + `,"need":"everything"}`, 422, "$.need"},
	} {
		f, _ := setUpSealed(t)
		w, a := f.do("POST", tc.path, tc.body)
		if w.Code != tc.status {
			t.Errorf("%s %s: %d, %v", tc.path, tc.body, w.Code, a)
			continue
		}
		if tc.where != "" && (len(f.log.commands) > 0 || fmt.Sprint(a["errors"].([]any)[0].(map[string]any)["path"]) != tc.where) {
			t.Errorf("%s %s: %v", tc.path, tc.body, a)
		}
	}
}

func TestAWishForAccessGoesToItsCounterParty(t *testing.T) {
	f, _ := setUpSealed(t)
	f.reads.decision, f.reads.negotiation = &intake.Decision{Changed: true}, "round-1"
	body := `{"provider":"HTTP://P:80/dsp/","assetId":"asset-1","id":"me"}`
	w, a := f.do("POST", "/v1/negotiations", body, "Prefer: wait=1")
	f.wants(w, 200)
	c := f.log.commands[0]
	if c.Aggregate != schemas.AggregateNegotiation || c.Key != "consumer http://p/dsp" || c.Type != schemas.NegotiationAcquire ||
		string(c.Value) != `{"assetId":"asset-1","connector":"consumer","need":"edr","provider":"HTTP://P:80/dsp/","waiter":"me"}` {
		t.Errorf("%+v %s", c, c.Value)
	}
	if w.Header().Get("Location") != "/v1/wishes/me" || a["id"] != "me" || a["negotiation"] != c.Key || a["negotiationId"] != "round-1" || a["commandId"] != c.ID {
		t.Errorf("%v", a)
	}
	if _, again := f.do("POST", "/v1/negotiations", body); again["commandId"] != c.ID {
		t.Errorf("%v", again)
	}
}

func TestARefusalOfATransferIsTold(t *testing.T) {
	f, _ := setUpSealed(t)
	f.reads.decision = &intake.Decision{Refusal: machine.Refuse(machine.BadState, "transfer t-1 is COMPLETED (800)")}
	w, a := f.do("POST", "/v1/transfers/t-1/suspend", "", "Prefer: wait=1")
	f.wants(w, 409)
	if a["code"] != "state" || a["commandId"] != f.log.commands[0].ID {
		t.Errorf("%v", a)
	}
	f.reads.decision = &intake.Decision{}
	for path, status := range map[string]int{"/v1/transfers": 201, "/v1/transfers/t-1/suspend": 200} {
		body := ""
		if status == 201 {
			body = `{` + wanted + `}`
		}
		w, _ := f.do("POST", path, body, "Prefer: wait=1")
		f.wants(w, status)
	}
}
