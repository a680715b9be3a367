package edc_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/consumers/connectors/adapter"
	"github.com/waybill/waybill/consumers/connectors/edc"
)

func TestAnErrorOfAConnectorIsOneOfTheResults(t *testing.T) {
	for name, c := range map[string]struct {
		status  int
		body    string
		again   bool
		missing bool
		says    string
	}{
		"unknown":                        {404, notFound, false, true, "ContractNegotiation with ID=n1 was not found"},
		"a page while it boots":          {404, html404, true, false, "may be starting"},
		"a page in JSON while it boots":  {404, json404, true, false, "404 Not Found: Not Found with a page"},
		"a method while it boots":        {405, html404, true, false, "405 Method Not Allowed"},
		"a service that is not there":    {503, html404, true, false, "503"},
		"a fault":                        {500, html500, true, false, "500"},
		"a fault in its own words":       {500, `[{"message":"oops","type":"Unexpected"}]`, true, false, "oops"},
		"the provider's fault":           {502, badGate, true, false, "Failed to connect to localhost/127.0.0.1:1"},
		"a protocol that it lacks":       {502, `[{"message":"No provider dispatcher registered for protocol: x","type":"BadGateway"}]`, false, false, "No provider dispatcher"},
		"what is not valid":              {400, `[{"message":"@id cannot be null or blank","type":"ValidationFailure","path":"@id","invalidValue":null},{"message":"also","type":"ValidationFailure"}]`, false, false, "400 Bad Request: @id: @id cannot be null or blank; also"},
		"a page for what is not valid":   {400, html404, false, false, "400"},
		"a wrong key":                    {401, `[{"message":"Request could not be authenticated","type":"AuthenticationFailed","path":null,"invalidValue":null}]`, false, false, "could not be authenticated"},
		"no right":                       {403, `[{"message":"no","type":"NotAuthorized"}]`, false, false, "403"},
		"a conflict":                     {409, `[{"message":"no","type":"ObjectConflict"}]`, false, false, "409"},
		"a timeout":                      {408, "", true, false, "408"},
		"too early":                      {425, "", true, false, "425"},
		"too much":                       {429, "", true, false, "429"},
		"a 404 of another kind":          {404, `[{"message":"no","type":"Other"}]`, false, false, "404"},
		"an answer that is no JSON":      {200, "<html>", false, false, "the answer is not JSON (declared as text/plain"},
		"a redirect, which goes nowhere": {307, "", false, false, "307"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t).onWith(negotiation, answer{c.status, c.body, http.Header{"Retry-After": {"7"}, "Location": {"/elsewhere"}, "Content-Type": {"text/plain"}}})
			_, err := f.connector().Negotiation(t.Context(), "n1")
			got := fault(t, err)
			if got.Again != c.again || errors.Is(err, adapter.ErrNotFound) != c.missing || !strings.Contains(got.Error(), c.says) || !strings.Contains(got.Error(), "GET "+f.URL+"/management/v3/contractnegotiations/n1: ") {
				t.Errorf("got %+v: %v", got, got)
			}
			if wants := got.After; (wants == 7*time.Second) != (c.again && c.status != 404 && c.status != 405) {
				t.Errorf("it is to be asked again after %s", wants)
			}
			f.saw(negotiation)
		})
	}
}

func TestAConnectorThatCannotBeReached(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down := "http://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = edc.New(edc.Config{ManagementURL: down}).Negotiation(t.Context(), "n1")
	if got := fault(t, err); !got.Again || !strings.Contains(got.Error(), "connection refused") {
		t.Errorf("got %+v", got)
	}
	t.Run("because it hangs", func(t *testing.T) {
		w, s := public(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		_ = w
		_, err := edc.New(edc.Config{ManagementURL: s.URL, Timeout: 20 * time.Millisecond}).Negotiation(t.Context(), "n1")
		if got := fault(t, err); !got.Again || !strings.Contains(got.Error(), "20ms") {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("because it pours", func(t *testing.T) {
		_, s := public(t, func(w http.ResponseWriter, _ *http.Request) {
			for range 12 << 10 {
				if _, err := fmt.Fprint(w, strings.Repeat(" ", 1024)); err != nil {
					return
				}
			}
		})
		_, err := edc.New(edc.Config{ManagementURL: s.URL}).Negotiation(t.Context(), "n1")
		if got := fault(t, err); got.Again || !strings.Contains(got.Error(), "larger than the limit of 10485760 bytes") {
			t.Errorf("got %+v", got)
		}
	})
}

func TestTheAPIKeyIsReadEachTimeAndNeverShown(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	store, err := secret.NewStore(secret.Config{})
	if err != nil {
		t.Fatal(err)
	}
	// A gateway in between says what it does not like.
	f := newFake(t).on(negotiation, 400, `[{"message":"the key `+key+` is wrong","type":"InvalidRequest"}]`)
	c := f.connector(func(cfg *edc.Config) { cfg.APIKey, cfg.Secrets = secret.Ref{File: file}, store })
	write(key + "\n")
	_, err = c.Negotiation(t.Context(), "n1")
	if err == nil || strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), "the key "+secret.Redacted+" is wrong") {
		t.Errorf("got %v", err)
	}
	write("another-key")
	if _, err = c.Negotiation(t.Context(), "n1"); err == nil {
		t.Error("it is no error")
	}
	for n, want := range []string{key, "another-key"} {
		if got := f.asked[n].header.Get("X-Api-Key"); got != want {
			t.Errorf("request %d has the key %q", n, got)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Negotiation(t.Context(), "n1"); err == nil || !fault(t, err).Again || !strings.Contains(err.Error(), "the API key: secret in file "+file) {
		t.Errorf("got %v", err)
	}
}
