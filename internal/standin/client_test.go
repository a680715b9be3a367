package standin_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/standin"
)

const (
	key = "the-key"
	edc = "https://w3id.org/edc/v0.0.1/ns/"
)

// object is JSON.
type object = map[string]any

// client speaks the management API as a real one would.
type client struct {
	testing.TB
	edc      *standin.Connector
	provider *standin.Provider
	protocol string
	http     *http.Client
	callback string
	accept   string
}

// start starts a connector with one provider and a client of it.
func start(t testing.TB, cfg standin.Config, assets ...standin.Asset) *client {
	t.Helper()
	cfg.APIKey = key
	cfg.Providers = []standin.ProviderConfig{{Name: "provider1", Assets: assets}, {Name: "provider2"}}
	c, err := standin.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	t.Cleanup(func() { c.Close(); transport.CloseIdleConnections() })
	return &client{TB: t, edc: c, provider: c.Provider("provider1"), protocol: standin.Protocol2025, http: &http.Client{Transport: transport}}
}

// within lets a subtest fail for what the client finds; the function ends that.
func (c *client) within(t testing.TB) func() {
	t.Helper()
	outer := c.TB
	c.TB = t
	return func() { c.TB = outer }
}

// answer is what came back.
type answer struct {
	status int
	kind   string
	body   []byte
	err    error
}

func (a answer) object() object {
	var out object
	_ = json.Unmarshal(a.body, &out)
	return out
}

func (a answer) list() []object {
	var out []object
	_ = json.Unmarshal(a.body, &out)
	return out
}

func (a answer) String() string { return fmt.Sprintf("%d %s %v", a.status, a.body, a.err) }

// do sends a request; a body gets the context of EDC's names.
func (c *client) do(method, path string, body object) answer {
	c.Helper()
	var raw []byte
	if body != nil {
		if _, ok := body["@context"]; !ok {
			body["@context"] = object{"@vocab": edc}
		}
		raw, _ = json.Marshal(body)
	}
	return c.send(method, c.edc.ManagementURL()+path, raw, http.Header{"X-Api-Key": {key}, "Accept": {c.accept}})
}

func (c *client) send(method, url string, body []byte, header http.Header) answer {
	c.Helper()
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		c.Fatal(err)
	}
	req.Header = header
	res, err := c.http.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer res.Body.Close()
	out := answer{status: res.StatusCode, kind: res.Header.Get("Content-Type")}
	out.body, out.err = io.ReadAll(res.Body)
	return out
}

// want fails unless the status is as wanted.
func (c *client) want(status int, a answer) answer {
	c.Helper()
	if a.status != status {
		c.Fatalf("want %d, got %s", status, a)
	}
	return a
}

func (c *client) catalogRequest(filters ...string) object {
	var expression []object
	for i := 0; i < len(filters); i += 2 {
		expression = append(expression, object{"operandLeft": filters[i], "operator": "=", "operandRight": filters[i+1]})
	}
	return object{
		"@type": "CatalogRequest", "counterPartyAddress": c.provider.Address(c.protocol), "protocol": c.protocol,
		"counterPartyId": c.provider.Participant(), "querySpec": object{"filterExpression": expression},
	}
}

// offer finds the first offer of an asset in the catalog.
func (c *client) offer(asset string) object {
	c.Helper()
	catalog := c.want(200, c.do("POST", "/v3/catalog/request", c.catalogRequest(edc+"id", asset))).object()
	sets := many(catalog["dataset"], catalog["dcat:dataset"])
	if len(sets) != 1 {
		c.Fatalf("no dataset in %v", catalog)
	}
	offers := many(sets[0]["hasPolicy"], sets[0]["odrl:hasPolicy"])
	return offers[0]
}

// many reads whichever of the values there is, an array or an object.
func many(values ...any) []object {
	var out []object
	for _, v := range values {
		switch v := v.(type) {
		case object:
			out = append(out, v)
		case []any:
			for _, e := range v {
				if o, ok := e.(object); ok {
					out = append(out, o)
				}
			}
		}
	}
	return out
}

// contractRequest is the body that negotiates for an offer of the catalog.
func (c *client) contractRequest(asset string, offer object) object {
	offer["@context"] = []any{"http://www.w3.org/ns/odrl.jsonld", object{"edc": edc}}
	offer["assigner"], offer["target"] = c.provider.Participant(), asset
	return object{
		"@type": "ContractRequest", "counterPartyAddress": c.provider.Address(c.protocol), "protocol": c.protocol, "policy": offer,
		"callbackAddresses": c.callbacks(),
	}
}

func (c *client) callbacks() []object {
	if c.callback == "" {
		return nil
	}
	return []object{{"transactional": false, "uri": c.callback, "events": []string{"contract.negotiation", "transfer.process"}}}
}

// negotiate begins a negotiation and returns its id.
func (c *client) negotiate(asset string) string {
	c.Helper()
	return id(c.want(200, c.do("POST", "/v3/contractnegotiations", c.contractRequest(asset, c.offer(asset)))))
}

func id(a answer) string {
	s, _ := a.object()["@id"].(string)
	return s
}

func (c *client) state(kind, id string) string {
	s, _ := c.do("GET", "/v3/"+kind+"/"+id+"/state", nil).object()["state"].(string)
	return s
}

// becomes waits until something is in a state.
func (c *client) becomes(kind, id, state string) {
	c.Helper()
	c.eventually(func() bool { return c.state(kind, id) == state }, "%s %s is %s, not %s", kind, id, c.state(kind, id), state)
}

// eventually waits for a condition.
func (c *client) eventually(ok func() bool, format string, args ...any) {
	c.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			c.Fatalf(format, args...)
		}
		<-time.After(time.Millisecond)
	}
}

// agreement negotiates to the end.
func (c *client) agreement(asset string) string {
	c.Helper()
	n := c.negotiate(asset)
	c.becomes("contractnegotiations", n, "FINALIZED")
	s, _ := c.do("GET", "/v3/contractnegotiations/"+n, nil).object()["contractAgreementId"].(string)
	return s
}

func (c *client) transferRequest(id, agreement string) object {
	return object{
		"@type": "TransferRequest", "@id": id, "counterPartyAddress": c.provider.Address(c.protocol), "protocol": c.protocol,
		"contractId": agreement, "transferType": standin.Pull, "dataDestination": object{"type": "HttpProxy"},
		"callbackAddresses": c.callbacks(),
	}
}

// pull begins a transfer under an agreement.
func (c *client) pull(id, agreement string) {
	c.Helper()
	c.want(200, c.do("POST", "/v3/transferprocesses", c.transferRequest(id, agreement)))
}

// push begins a transfer to a sink.
func (c *client) push(id, agreement, sink string) {
	c.Helper()
	body := c.transferRequest(id, agreement)
	body["transferType"], body["dataDestination"] = standin.Push, object{"type": "HttpData", "baseUrl": sink, "header:x-sink": "1"}
	c.want(200, c.do("POST", "/v3/transferprocesses", body))
}

// token pulls and returns the EDR's endpoint and token.
func (c *client) token(id string) (endpoint, token string) {
	c.Helper()
	edr := c.want(200, c.do("GET", "/v3/edrs/"+id+"/dataaddress", nil)).object()
	endpoint, _ = edr["endpoint"].(string)
	token, _ = edr["authorization"].(string)
	return endpoint, token
}

// get fetches a document.
func (c *client) get(endpoint, token string) answer {
	c.Helper()
	header := http.Header{}
	if token != "" {
		header.Set("Authorization", token)
	}
	return c.send("GET", endpoint, nil, header)
}

// started negotiates, pulls and returns the EDR's endpoint and token.
func (c *client) started(transfer, asset string) (endpoint, token string) {
	c.Helper()
	c.pull(transfer, c.agreement(asset))
	c.becomes("transferprocesses", transfer, "STARTED")
	return c.token(transfer)
}

// verb gives a transfer a command.
func (c *client) verb(id, verb string) answer {
	c.Helper()
	var body object
	if verb == "terminate" || verb == "suspend" {
		body = object{"reason": "ours"}
	}
	return c.do("POST", "/v3/transferprocesses/"+id+"/"+verb, body)
}

func contains(t testing.TB, text, part string) {
	t.Helper()
	if !strings.Contains(text, part) {
		t.Errorf("want %q in %s", part, text)
	}
}
