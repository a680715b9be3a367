package edc_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/consumers/connectors/adapter"
	"github.com/waybill/waybill/consumers/connectors/edc"
	"github.com/waybill/waybill/internal/outbound"
)

const (
	dataAddress = "GET /v3/edrs/p1/dataaddress"
	noEDR       = `[{"message":"Object of type EndpointDataReferenceEntry with ID=p1 was not found","type":"ObjectNotFound","path":null,"invalidValue":null}]`
)

func jwt(claims string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"ES256"}`)) + "." + encode([]byte(claims)) + "." + encode([]byte("signature"))
}

func address(endpoint, token, more string) string {
	return fmt.Sprintf(`{"@type":"DataAddress","type":"https://w3id.org/idsa/v4.1/HTTP","endpoint":%q,"authType":"bearer","endpointType":"https://w3id.org/idsa/v4.1/HTTP","authorization":%q%s}`, endpoint, token, more)
}

func TestAnEDRIsReadInAllItsForms(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	plain, until := jwt(`{"iss":"provider","aud":"consumer"}`), jwt(`{"exp":1798761600}`)
	for name, c := range map[string]struct {
		raw, token string
		expires    time.Time
	}{
		"of the cache":                 {address("http://provider1:1/public", plain, ""), plain, time.Time{}},
		"with the end in the token":    {address("http://provider1:1/public", until, `,"expiresIn":"300"`), until, time.Unix(1798761600, 0).UTC()},
		"with the end beside it":       {address("http://provider1:1/public", plain, `,"expiresIn":"300"`), plain, now.Add(5 * time.Minute)},
		"as tractusx writes it":        {address("http://provider1:1/public", plain, `,"tx-auth:expiresIn":{"@value":300}`), plain, now.Add(5 * time.Minute)},
		"with a token that is no JWT":  {address("http://provider1:1/public", "opaque", ""), "opaque", time.Time{}},
		"with an end that is nonsense": {address("http://provider1:1/public", jwt(`{"exp":"soon"}`), `,"expiresIn":-1`), jwt(`{"exp":"soon"}`), time.Time{}},
		"of a callback": {`{"properties":{"https://w3id.org/edc/v0.0.1/ns/type":"https://w3id.org/idsa/v4.1/HTTP","https://w3id.org/edc/v0.0.1/ns/endpoint":"http://provider1:1/public",
			"https://w3id.org/edc/v0.0.1/ns/authorization":"` + plain + `","https://w3id.org/edc/v0.0.1/ns/authType":"bearer","https://w3id.org/edc/v0.0.1/ns/endpointType":"https://w3id.org/idsa/v4.1/HTTP"}}`, plain, time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := edc.ParseEDR(json.RawMessage(c.raw), now)
			if err != nil || got.Endpoint != "http://provider1:1/public" || got.Authorization != c.token || !got.ExpiresAt.Equal(c.expires) || string(got.Raw) != c.raw {
				t.Fatalf("got %+v, %v", got, err)
			}
		})
	}
	for name, raw := range map[string]string{"no endpoint": `{"authorization":"s3cret"}`, "no token": `{"endpoint":"http://s3cret"}`, "no object": `["s3cret"]`, "nothing": ``} {
		if _, err := edc.ParseEDR(json.RawMessage(raw), now); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnEDRIsNotThereForAMoment(t *testing.T) {
	f := newFake(t).on(dataAddress, 404, noEDR).on(dataAddress, 200, address("http://provider1:1/public", "token", ""))
	c := f.connector()
	if _, err := c.EDR(t.Context(), "p1"); !errors.Is(err, adapter.ErrNotFound) {
		t.Fatalf("got %v", err)
	}
	if got, err := c.EDR(t.Context(), "p1"); err != nil || got.Authorization != "token" {
		t.Fatalf("got %+v, %v", got, err)
	}
}

func TestATokenIsRefreshedWhereTheConnectorCan(t *testing.T) {
	tractusx := func(c *edc.Config) { c.Refresh = true }
	f := newFake(t).on("POST /v3/edrs/p1/refresh", 200, address("http://provider1:1/public", "newer", `,"expiresIn":"300"`)).
		on(dataAddress+"?auto_refresh=true", 200, address("http://provider1:1/public", "token", ""))
	c := f.connector(tractusx)
	if got, err := c.Refresh(t.Context(), "p1"); err != nil || got.Authorization != "newer" || got.ExpiresAt.IsZero() {
		t.Fatalf("got %+v, %v", got, err)
	}
	if got, err := c.EDR(t.Context(), "p1"); err != nil || got.Authorization != "token" {
		t.Fatalf("got %+v, %v", got, err)
	}
	for name, err := range map[string]error{
		"an unknown process": func() error {
			_, err := newFake(t).on("POST /v3/edrs/p1/refresh", 404, noEDR).connector(tractusx).Refresh(t.Context(), "p1")
			return err
		}(),
		"another connector": func() error { _, err := newFake(t).connector().Refresh(t.Context(), "p1"); return err }(),
	} {
		if got := fault(t, err); got.Code != adapter.CodeEDRDead || got.Again {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

const token = "eyJhbGciOiJFUzI1NiJ9.s3cret.token"

// public is a provider's data plane.
func public(t *testing.T, h http.HandlerFunc) (adapter.Want, *httptest.Server) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return adapter.Want{
		Party: adapter.Party{Provider: "http://127.0.0.1:19194/protocol/2025-1"}, AssetID: "a",
		EDR: &adapter.EDR{Endpoint: s.URL + "/public?key=s3cret", Authorization: token},
	}, s
}

func TestADocumentIsFetchedWithTheBareToken(t *testing.T) {
	w, s := public(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != token || r.URL.RawQuery != "key=s3cret" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"value":"x"}`)
	})
	got, err := edc.New(edc.Config{}).Document(t.Context(), w)
	if err != nil || string(got.Body) != `{"value":"x"}` || got.ContentType != "application/json" || got.Source != s.URL+"/public" {
		t.Fatalf("got %+v, %v", got, err)
	}
}

func TestWhatAProviderAnswersInsteadOfADocument(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed with the token") }))
	t.Cleanup(elsewhere.Close)
	for name, c := range map[string]struct {
		status int
		body   string
		again  bool
		code   string
	}{
		"no header":          {401, `{"errors":["Missing Authorization Header"]}`, false, adapter.CodeEDRDead},
		"a token that ended": {403, `{"errors":["AccessTokenData with ID 'x' does not exist."]}`, false, adapter.CodeEDRDead},
		"a backend's fault":  {500, `{"errors":["Received code transferring HTTP data: 500 - Internal Server Error."]}`, true, ""},
		"too much":           {429, token, true, ""},
		"no such document":   {404, token, false, ""},
		"nobody there yet":   {404, `{"message":"Not Found","url":"http://provider1:1/public","status":"404"}`, true, ""},
		"its page":           {404, "<html><title>Error 404 Not Found</title></html>", true, ""},
		"a redirect":         {302, "", false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w, s := public(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "7")
				w.Header().Set("Location", elsewhere.URL)
				w.WriteHeader(c.status)
				fmt.Fprint(w, c.body)
			})
			_, err := edc.New(edc.Config{}).Document(t.Context(), w)
			got := fault(t, err)
			if got.Again != c.again || got.Code != c.code || got.Step != "fetch" || !strings.Contains(got.Error(), "GET "+s.URL+"/public: it answers ") {
				t.Errorf("got %+v", got)
			}
			if strings.Contains(got.Error(), "s3cret") {
				t.Errorf("it shows a secret: %v", got)
			}
			if c.again && got.After != 7*time.Second {
				t.Errorf("it is to be asked again after %s", got.After)
			}
		})
	}
}

func TestAnEndpointMustBeAtTheProviderOrAllowed(t *testing.T) {
	hosts, err := outbound.New([]string{"data.example:8185", "169.254.169.254:*"})
	if err != nil {
		t.Fatal(err)
	}
	for endpoint, says := range map[string]string{
		"http://elsewhere.example/public":    "elsewhere.example:80 is not on the list of allowed hosts",
		"http://data.example/public":         "data.example:80 is not on the list",
		"file:///etc/passwd":                 "neither http nor https",
		"http://169.254.169.254/latest":      "never called",
		"http://[fe80::1]/x":                 "not on the list",
		"//provider.example/x":               "neither http nor https",
		"http://provider.example\x7f/s3cret": "is no URL",
	} {
		w := adapter.Want{Party: adapter.Party{Provider: "http://provider.example:19194/protocol"}, EDR: &adapter.EDR{Endpoint: endpoint, Authorization: token}}
		_, err := edc.New(edc.Config{Name: "consumer", Endpoints: hosts}).Document(t.Context(), w)
		got := fault(t, err)
		if got.Step != "address" || got.Again || !strings.Contains(got.Error(), says) || strings.Contains(got.Error(), "s3cret") {
			t.Errorf("%s: %+v", endpoint, got)
		}
	}
	t.Run("even the provider's own, where that is never called", func(t *testing.T) {
		w := adapter.Want{Party: adapter.Party{Provider: "http://169.254.169.254/protocol"}, EDR: &adapter.EDR{Endpoint: "http://169.254.169.254/latest", Authorization: token}}
		_, err := edc.New(edc.Config{}).Document(t.Context(), w)
		if got := fault(t, err); got.Step != "address" || !strings.Contains(got.Error(), "never called") {
			t.Errorf("got %+v", got)
		}
	})
}

func TestWithoutAnEDRNothingIsFetched(t *testing.T) {
	_, err := edc.New(edc.Config{}).Document(t.Context(), adapter.Want{Party: provider})
	if got := fault(t, err); got.Step != "edr" || got.Code != adapter.CodeEDRDead {
		t.Fatalf("got %+v", got)
	}
}
