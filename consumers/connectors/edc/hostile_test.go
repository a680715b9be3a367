package edc_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/consumers/connectors/adapter"
	"github.com/waybill/waybill/consumers/connectors/edc"
	"github.com/waybill/waybill/internal/callbacks"
)

func withKey(t *testing.T) func(*edc.Config) {
	t.Helper()
	store, err := secret.NewStore(secret.Config{Getenv: func(string) (string, bool) { return key, true }})
	if err != nil {
		t.Fatal(err)
	}
	return func(cfg *edc.Config) { cfg.APIKey, cfg.Secrets = secret.Ref{Env: "KEY"}, store }
}

func TestWhatAConnectorQuotesOfARequestIsNotShown(t *testing.T) {
	const password = "the-password-of-a-destination"
	callback := callbacks.New([]byte("a key of some length")).At("http://waybill").Connector(callbacks.Subject{Aggregate: "transfer", ID: "t1", Task: "p1"})
	proof := callback[strings.LastIndex(callback, "/")+1:]
	said, err := json.Marshal([]map[string]string{{"type": "ValidationFailure", "message": fmt.Sprintf(
		"key %s (%s), password %s, callback %s", key, base64.StdEncoding.EncodeToString([]byte(key)), password, callback,
	)}})
	if err != nil {
		t.Fatal(err)
	}
	for name, a := range map[string]answer{
		"in its words":        {status: 400, body: string(said)},
		"in its content type": {status: 200, body: "x", header: http.Header{"Content-Type": {"text/" + key}}},
	} {
		f := newFake(t).onWith("POST /v3/transferprocesses", a)
		_, err = f.connector(withKey(t)).Start(t.Context(), provider, pull(func(p *adapter.Transfer) {
			p.Callback, p.Destination = callback, json.RawMessage(`{"type":"HttpData","authCode":"`+password+`"}`)
		}))
		if err == nil || !strings.Contains(err.Error(), secret.Redacted) {
			t.Errorf("%s: got %v", name, err)
		}
		for _, hidden := range []string{key, base64.StdEncoding.EncodeToString([]byte(key)), password, proof} {
			if strings.Contains(err.Error(), hidden) {
				t.Errorf("%s: %s is in %v", name, hidden, err)
			}
		}
	}
}

func TestWhatAConnectorSaysOfAnEndIsShortAndWithoutSecrets(t *testing.T) {
	detail, err := json.Marshal("could not write to {\"baseUrl\":\"x\",\"authCode\":\"s3cret-word\"} with " + token + "\x00" + strings.Repeat("z", 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	f := newFake(t).on("GET /v3/transferprocesses/p1", 200, `{"@id":"p1","state":"TERMINATED","errorDetail":`+string(detail)+`}`)
	p, err := f.connector().Process(t.Context(), "p1")
	if err != nil || len(p.Detail) > 1100 || strings.ContainsAny(p.Detail, "\x00") || strings.Contains(p.Detail, token) || strings.Contains(p.Detail, "s3cret-word") {
		t.Errorf("got %.300q, %v", p.Detail, err)
	}
}

func TestAnIDThatWouldNameSomethingElseIsNotAskedAbout(t *testing.T) {
	for name, id := range map[string]string{"the level above": "..", "the level itself": ".", "control characters": "a\nb", "no end": strings.Repeat("x", 5000)} {
		body, err := json.Marshal(map[string]string{"@id": id})
		if err != nil {
			t.Fatal(err)
		}
		f := newFake(t).on(negotiate, 200, string(body))
		if got, err := f.connector().Negotiate(t.Context(), provider, request()); err == nil || fault(t, err).Again || !strings.Contains(err.Error(), "none that it could be asked about") {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	f := newFake(t).on("GET /v3/contractnegotiations/..%2Fa%3Fb%23c", 404, notFound)
	if _, err := f.connector().Negotiation(t.Context(), "../a?b#c"); err == nil || !errors.Is(err, adapter.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestAStateThatNoneIsCalledSaysNothing(t *testing.T) {
	for _, state := range []string{strings.Repeat("F", 1<<20), `a\u0000b`} {
		f := newFake(t).on(negotiation, 200, `{"@id":"n1","state":"`+state+`"}`)
		if got, err := f.connector().Negotiation(t.Context(), "n1"); err != nil || got.State != "" {
			t.Errorf("got %.50q, %v", got.State, err)
		}
	}
}

func TestAnOfferThatNobodyCouldAskForIsLeftOut(t *testing.T) {
	dataset := func(asset, offer string) string { return `{"@id":"` + asset + `","hasPolicy":{"@id":"` + offer + `"}}` }
	f := newFake(t).on(catalogRequest, 200, `{"participantId":"`+strings.Repeat("p", 1<<20)+`","dataset":[`+strings.Join([]string{
		dataset(`a\u0000b`, "o1"), dataset("..", "o2"), dataset("good", "o3"), dataset(strings.Repeat("x", 1<<20), "o4"), dataset("bad", `o\n5`),
	}, ",")+`]}`)
	got, err := f.connector().Catalog(t.Context(), provider, adapter.Wish{AssetType: "registry"})
	if err != nil || len(got.Offers) != 1 || got.Offers[0].AssetID != "good" || got.ParticipantID != "" {
		t.Errorf("got %d offers, %v", len(got.Offers), err)
	}
}

func TestATokenThatIsGoodForAgesHasNoEnd(t *testing.T) {
	for _, exp := range []string{"549755813888", `"NaN"`, `"Inf"`, "1e300", "-1", "0", `"soon"`} {
		got, err := edc.ParseEDR(json.RawMessage(address("http://127.0.0.1/x", jwt(`{"exp":`+exp+`}`), "")), time.Now())
		if err != nil || !got.ExpiresAt.IsZero() {
			t.Errorf("%s: it ends %s, %v", exp, got.ExpiresAt, err)
		}
	}
}

func TestATokenWithLineEndsIsNone(t *testing.T) {
	raw, err := json.Marshal(map[string]string{"endpoint": "http://127.0.0.1/x", "authorization": "abc\r\nX-Injected: 1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := edc.ParseEDR(raw, time.Now()); err == nil || strings.Contains(err.Error(), "abc") {
		t.Errorf("got %v", err)
	}
}

func TestWhatAProviderQuotesOfATokenIsNotShown(t *testing.T) {
	conn := func(t *testing.T, w http.ResponseWriter) func(string) {
		t.Helper()
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return func(string) {}
		}
		return func(s string) { fmt.Fprint(c, s); _ = c.Close() }
	}
	for name, answers := range map[string]func(t *testing.T, w http.ResponseWriter){
		"a reason": func(t *testing.T, w http.ResponseWriter) {
			t.Helper()
			conn(t, w)("HTTP/1.1 403 no " + token + "\r\nContent-Length: 0\r\n\r\n")
		},
		"no HTTP": func(t *testing.T, w http.ResponseWriter) { t.Helper(); conn(t, w)("GARBAGE " + token + "\r\n\r\n") },
		"a header": func(t *testing.T, w http.ResponseWriter) {
			t.Helper()
			conn(t, w)("HTTP/1.1 200 OK\r\nbad " + token + "\r\n\r\n")
		},
		"its type and text": func(_ *testing.T, w http.ResponseWriter) {
			w.Header().Set("Content-Type", "text/"+token)
			fmt.Fprint(w, "you sent "+token)
		},
	} {
		t.Run(name, func(t *testing.T) {
			want, _ := public(t, func(w http.ResponseWriter, _ *http.Request) { answers(t, w) })
			got, err := edc.New(edc.Config{}).Document(t.Context(), want)
			if text := fmt.Sprint(err, string(got.Body), got.ContentType); strings.Contains(text, token) || err == nil && !strings.Contains(text, secret.Redacted) {
				t.Errorf("got %s", text)
			}
		})
	}
}
