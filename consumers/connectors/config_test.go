package connectors_test

import (
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/waybill/waybill/consumers/connectors"
	"github.com/waybill/waybill/domain/negotiation"
)

func read(t *testing.T, text string) connectors.Config {
	t.Helper()
	var c connectors.Config
	if err := yaml.UnmarshalStrict([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

const example = `
connectors:
  - name: consumer
    adapter: edc
    match: ["http://localhost:*/protocol/2025-1"]
    managementUrl: http://localhost:29193/management
    apiKey: {file: api-key}
    protocol: dataspace-protocol-http:2025-1
    callbackUrl: http://127.0.0.1:7470/callbacks
    refresh: tractusx
    acceptedPolicies: [["region eq eu"]]
    allowEndpoints: ["data.example:8185"]
    poll: {first: 100ms, most: PT1S}
    timeout: 5s
    parallelism: 7
    rounds: 2
    processes: 4
    retries: 6
    transferType: HttpData-PULL
    ttl: {agreement: 1h, edr: 2h, negotiation: 3h, catalog: 4h}
    deadlines: {catalog: 5h, state: 6h, edr: 7h, wish: 8h}
  - name: plain
    adapter: http
    match: ["http://127.0.0.1:*", "https://provider.example"]
participants: {"http://LOCALHOST:26723/protocol/2025-1/": provider2}
`

func TestAProviderIsSpokenWithThroughTheFirstConnectorThatMatches(t *testing.T) {
	routes, err := connectors.NewRoutes(read(t, example))
	if err != nil {
		t.Fatal(err)
	}
	for provider, want := range map[string]connectors.Route{
		"http://LocalHost:26723/protocol/2025-1/": {Connector: "consumer", Adapter: "edc", Provider: "http://localhost:26723/protocol/2025-1", CounterPartyID: "provider2"},
		"http://localhost/protocol/2025-1/x":      {Connector: "consumer", Adapter: "edc", Provider: "http://localhost/protocol/2025-1/x"},
		"http://localhost:1/protocol/2025-10":     {Adapter: "http", Provider: "http://localhost:1/protocol/2025-10"},
		"http://localhost:1/protocol":             {Adapter: "http", Provider: "http://localhost:1/protocol"},
		"https://localhost:1/protocol/2025-1":     {Adapter: "http", Provider: "https://localhost:1/protocol/2025-1"},
		"http://127.0.0.1:8181":                   {Connector: "plain", Adapter: "http", Provider: "http://127.0.0.1:8181"},
		"https://provider.example:443/a":          {Connector: "plain", Adapter: "http", Provider: "https://provider.example/a"},
		"https://provider.example:444":            {Adapter: "http", Provider: "https://provider.example:444"},
		"https://x.provider.example":              {Adapter: "http", Provider: "https://x.provider.example"},
	} {
		if got, err := routes.Find(provider); err != nil || got != want {
			t.Errorf("%s: got %+v, %v", provider, got, err)
		}
	}
	for _, wrong := range []string{"", "localhost", "ftp://localhost", "http://u:p@localhost", "http://localhost/../x"} {
		if got, err := routes.Find(wrong); err == nil {
			t.Errorf("%q: got %+v", wrong, got)
		}
	}
}

func TestPatterns(t *testing.T) {
	for pattern, c := range map[string]struct{ fits, not string }{
		"*":                         {"https://anything:1/x", ""},
		"http://*":                  {"http://a", "http://a:1"},
		"http://*:*":                {"http://a:1/x", "https://a:1"},
		"https://*:*/api":           {"https://a:1/api/b", "https://a:1/apis"},
		"http://[::1]:8181":         {"http://[::1]:8181", "http://[::1]"},
		"http://[::1]":              {"http://[::1]", "http://[::1]:1"},
		"HTTP://Provider1:80/":      {"http://provider1", "http://provider2"},
		"http://provider1:8181/a/b": {"http://provider1:8181/a/b", "http://provider1:8181/a"},
	} {
		cfg := connectors.Config{Connectors: []connectors.Connector{{Name: "k", Adapter: "http", Match: []string{pattern}}}}
		routes, err := connectors.NewRoutes(cfg)
		if err != nil {
			t.Errorf("%s: %v", pattern, err)
			continue
		}
		if r, err := routes.Find(c.fits); err != nil || r.Connector != "k" {
			t.Errorf("%s does not fit %s: %v", pattern, c.fits, err)
		}
		if r, err := routes.Find(c.not); c.not != "" && (err != nil || r.Connector != "") {
			t.Errorf("%s fits %s: %v", pattern, c.not, err)
		}
	}
	for _, wrong := range []string{"", "provider1", "ftp://a", "http://", "http://a.*", "http://a:x", "http://a/*", "http://u@a", "http://a?b"} {
		cfg := connectors.Config{Connectors: []connectors.Connector{{Name: "k", Adapter: "http", Match: []string{wrong}}}}
		if err := cfg.Check(); err == nil || !strings.Contains(err.Error(), "match") {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}

func TestAConnectorSaysHowAccessIsAcquired(t *testing.T) {
	got := read(t, example).Connectors[0].Negotiations()
	want := negotiation.Config{
		Parallelism: 7, Rounds: 2, Processes: 4, Retries: 6, TransferType: "HttpData-PULL", Refresh: true,
		Agreement: time.Hour, EDR: 2 * time.Hour, Round: 3 * time.Hour, Listing: 4 * time.Hour,
		Catalog: 5 * time.Hour, State: 6 * time.Hour, Process: 7 * time.Hour, Wish: 8 * time.Hour,
	}
	if got != want {
		t.Errorf("got %+v", got)
	}
}

func TestAMistakeInAConfigurationIsNamed(t *testing.T) {
	edc := "adapter: edc, match: ['*'], managementUrl: 'http://localhost:1/management'"
	for text, want := range map[string]string{
		"connectors: [{}]":                                                       `connectors[0] (): the name "" is none`,
		"connectors: [{name: a b}]":                                              `the name "a b" is none`,
		"connectors: [{name: a}]":                                                "connectors[0] (a): match is missing",
		"connectors: [{name: a, match: ['*']}]":                                  "adapter is missing: edc or http",
		"connectors: [{name: a, match: ['*'], adapter: ftp}]":                    `there is no adapter "ftp"`,
		"connectors: [{name: a, match: ['*'], adapter: edc}]":                    "managementUrl is missing",
		"connectors: [{name: a, match: ['*'], adapter: http, protocol: x}]":      "protocol is for adapter edc only",
		"connectors: [{name: a, " + edc + "}, {name: a, " + edc + "}]":           "connectors[1] (a): there is another one of this name",
		"connectors: [{name: a, " + edc + ", apiKey: {file: a, env: b}}]":        "apiKey: a secret is one of",
		"connectors: [{name: a, " + edc + ", protocol: dsp}]":                    `protocol "dsp"`,
		"connectors: [{name: a, " + edc + ", refresh: often}]":                   `refresh "often"`,
		"connectors: [{name: a, " + edc + ", callbackUrl: 'http://u:s3cret@a'}]": "callbackUrl http://u:xxxxx@a",
		"connectors: [{name: a, " + edc + ", allowEndpoints: ['a/b']}]":          `allowEndpoints: allowed host "a/b"`,
		"connectors: [{name: a, " + edc + ", parallelism: -1}]":                  "parallelism -1 is negative",
		"connectors: [{name: a, " + edc + ", rounds: -1}]":                       "rounds -1 is negative",
		"participants: {localhost: a}":                                           "participants: the address",
		"participants: {'http://localhost': ''}":                                 "participants: http://localhost has no id",
	} {
		err := read(t, text).Check()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", text, err)
		}
		if _, again := connectors.NewRoutes(read(t, text)); again == nil {
			t.Errorf("%s: there are routes", text)
		}
	}
	if err := read(t, example).Check(); err != nil {
		t.Error(err)
	}
}
