package edc

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/consumers/connectors/adapter"
	"github.com/waybill/waybill/internal/outbound"
	"github.com/waybill/waybill/internal/redact"
)

// Protocols of the dataspace that connectors speak with each other.
const (
	Protocol2025 = "dataspace-protocol-http:2025-1"
	Protocol08   = "dataspace-protocol-http"
)

const (
	namespace = "https://w3id.org/edc/v0.0.1/ns/"
	// maxMessage bounds what an error shows of an answer.
	maxMessage = 1000
)

// context makes the plain names of a request EDC's.
var vocabulary = map[string]string{"@vocab": namespace}

// Config says how a connector is reached. ManagementURL is needed.
type Config struct {
	Name          string // ours, for errors
	ManagementURL string
	APIKey        secret.Ref // none: the connector wants none
	Secrets       *secret.Store
	Protocol      string // Protocol2025
	// Refresh uses the calls that tractusx-edc adds to renew a token.
	Refresh bool
	// Accepted are the policies that we accept, each a list of terms like "region eq eu"; none
	// means all.
	Accepted [][]string
	// Endpoints may be fetched from beside the provider's own host.
	Endpoints *outbound.Hosts
	Timeout   time.Duration   // of one request to the connector; outbound.DefaultTimeout
	Limits    outbound.Limits // of a document
	// Concurrency is how many connections are kept.
	Concurrency int
}

// Connector speaks with one connector. It is safe for concurrent use.
type Connector struct {
	cfg        Config
	management *http.Client
	data       *http.Client
}

var _ adapter.Contracts = (*Connector)(nil)

// New makes a Connector; it asks nothing yet.
func New(cfg Config) *Connector {
	cfg.Protocol = cmp.Or(cfg.Protocol, Protocol2025)
	cfg.ManagementURL = strings.TrimRight(cfg.ManagementURL, "/")
	cfg.Limits.Name = "document"
	if cfg.Endpoints == nil {
		cfg.Endpoints = &outbound.Hosts{}
	}
	c := &Connector{cfg: cfg}
	c.management, c.data = direct(cfg.Concurrency), direct(cfg.Concurrency)
	return c
}

// direct is a client that follows no redirect: what opens one door must not be carried to
// another. Where it may call is checked by whoever uses it.
func direct(callers int) *http.Client {
	client := (&outbound.Hosts{}).Client(max(callers, 1))
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return client
}

// refusal is an answer of the connector that is none.
type refusal struct {
	*adapter.Fault
	status  int
	own     bool // it is the connector's word and not its web server's
	message string
}

// is says that the connector itself answers that status.
func (r *refusal) is(status int) bool { return r != nil && r.own && r.status == status }

// err is the refusal as an error; nil stays nil.
func (r *refusal) err() error {
	if r == nil {
		return nil
	}
	return r.Fault
}

// call asks the management API. The body is sent with EDC's vocabulary; nil sends none.
func (c *Connector) call(ctx context.Context, step, method, path string, body map[string]any) (json.RawMessage, *refusal) {
	where := method + " " + c.cfg.ManagementURL + path
	var hidden redact.Values
	fault := func(err error) *refusal {
		return &refusal{Fault: &adapter.Fault{Step: step, Err: hidden.Error(fmt.Errorf("%s: %w", where, err))}}
	}
	req, err := c.request(ctx, method, path, body)
	if err != nil {
		return nil, fault(err)
	}
	key, err := c.key(ctx)
	if err != nil {
		r := fault(err)
		r.Again = true // keys are changed, and Vault is away, while we run
		return nil, r
	}
	if key != "" {
		req.Header.Set("X-Api-Key", key)
	}
	// Whatever it says of a request may quote it.
	hidden = hidden.Add(key, secret.Redacted)
	if destination, ok := body["dataDestination"].(json.RawMessage); ok {
		hidden = hidden.AddMembers(destination, secret.Redacted)
	}
	answer, failed := outbound.Limits{Timeout: c.cfg.Timeout, Stall: cmp.Or(c.cfg.Timeout, outbound.DefaultTimeout)}.Do(c.management, req)
	if failed != nil {
		r := fault(failed)
		r.Again, r.After = failed.Again, failed.After
		return nil, r
	}
	if !answer.OK() {
		return nil, c.refused(step, where, hidden, answer)
	}
	if len(answer.Body) > 0 && !json.Valid(answer.Body) {
		r := fault(fmt.Errorf("the answer is not JSON%s", outbound.Seen(answer.Header.Get("Content-Type"), answer.Body)))
		return nil, r
	}
	return answer.Body, nil
}

func (c *Connector) request(ctx context.Context, method, path string, body map[string]any) (*http.Request, error) {
	var content []byte
	if body != nil {
		body["@context"] = vocabulary
		var err error
		if content, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, c.cfg.ManagementURL+path, bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "waybill")
	return req, nil
}

// key is read for each request, so that a new one counts at once.
func (c *Connector) key(ctx context.Context) (string, error) {
	if c.cfg.APIKey.IsZero() || c.cfg.Secrets == nil {
		return "", nil
	}
	value, err := c.cfg.Secrets.Get(ctx, c.cfg.APIKey)
	if err != nil {
		return "", fmt.Errorf("the API key: %w", err)
	}
	return value.Reveal(), nil
}

// refused says what an answer means that is no 2xx.
func (c *Connector) refused(step, where string, hidden redact.Values, answer *outbound.Answer) *refusal {
	failed := answer.Refusal()
	r := &refusal{status: answer.Status}
	var missing bool
	r.message, missing, r.own = said(answer.Body)
	r.message = cut(redact.Text(hidden.Text(r.message))) // cut last: the rest of a key would be left
	err := failed.Err
	if r.message != "" {
		err = fmt.Errorf("%w: %s", err, r.message)
	}
	r.Fault = &adapter.Fault{Step: step, Err: fmt.Errorf("%s: %w", where, err), Again: failed.Again, After: failed.After}
	switch {
	case missing && answer.Status == http.StatusNotFound:
		r.Code = adapter.CodeNotFound
		r.Err = fmt.Errorf("%w: %w", r.Err, adapter.ErrNotFound)
	case !r.own && (answer.Status == http.StatusNotFound || answer.Status == http.StatusMethodNotAllowed):
		r.Again = true
		r.Err = fmt.Errorf("%w with a page that is not the management API's: the connector may be starting, or managementUrl is wrong", r.Err)
	case r.own && strings.Contains(r.message, "No provider dispatcher registered for protocol"):
		r.Again, r.After = false, 0 // whatever the provider does, this connector does not speak it
	}
	return r
}

// said is what a body says is wrong. It is the connector's own word where it is an array of
// errors with types; its web server, as long as nobody else answers, has pages, and objects
// where JSON is asked for.
func said(body []byte) (message string, missing, own bool) {
	var messages []string
	for _, item := range items(body) {
		e := object(item)
		kind := e.text("type")
		own = own || kind != "" && bytes.HasPrefix(bytes.TrimSpace(body), []byte("["))
		missing = missing || kind == "ObjectNotFound"
		m := cmp.Or(e.text("message"), e.text("error"))
		if path := e.text("path"); path != "" {
			m = path + ": " + m
		}
		if m != "" {
			messages = append(messages, m)
		}
	}
	return strings.Join(strings.Fields(strings.Join(messages, "; ")), " "), missing && own, own
}

// shown is what the connector says, as it may be kept.
func shown(message string) string {
	message = strings.ReplaceAll(strings.ToValidUTF8(message, "\uFFFD"), "\x00", "\uFFFD")
	return cut(redact.Text(message))
}

// maxState is longer than any state is called.
const maxState = 40

// stateOf is the state that the connector names. One that none can be called says nothing.
func stateOf(n node) string {
	state := n.text("state")
	if !sound(state) || len(state) > maxState {
		return ""
	}
	return state
}

func cut(message string) string {
	if len(message) > maxMessage {
		return strings.ToValidUTF8(message[:maxMessage], "") + "…"
	}
	return message
}

// find asks for the entries of a collection that have a value.
func (c *Connector) find(ctx context.Context, step, collection, left, right string) ([]node, *refusal) {
	raw, failed := c.call(ctx, step, http.MethodPost, collection+"/request", map[string]any{
		"@type": "QuerySpec", "limit": maxFound, "filterExpression": []any{criterion(left, right)},
	})
	if failed != nil {
		return nil, failed
	}
	var found []node
	for _, item := range items(raw) {
		found = append(found, object(item))
	}
	return found, nil
}

// maxFound is more than there can be of what was asked for under one key.
const maxFound = 50

func criterion(left, right string) map[string]any {
	return map[string]any{"@type": "Criterion", "operandLeft": left, "operator": "=", "operandRight": right}
}

func callbacks(address string) []any {
	if address == "" {
		return []any{}
	}
	return []any{map[string]any{"transactional": false, "uri": address, "events": []string{"contract.negotiation", "transfer.process"}}}
}

// created is the id that a connector gives what it was asked for.
func created(step string, raw json.RawMessage) (string, error) {
	id := object(raw).id()
	switch {
	case id == "":
		return "", &adapter.Fault{Step: step, Err: errors.New("the connector answers without an @id")}
	case !sound(id):
		return "", &adapter.Fault{Step: step, Err: fmt.Errorf("the connector answers with the @id %.100q, which is none that it could be asked about", id)}
	}
	return id, nil
}

// maxID bounds the ids of others: they are kept for as long as access is, and shown.
const maxID = 2048

// sound says whether an id of another system is one to keep and to ask about: within a path, two
// dots would name something else.
func sound(id string) bool {
	control := func(r rune) bool { return r < ' ' || r == 0x7f || r == utf8.RuneError }
	return id != "" && id != "." && id != ".." && len(id) <= maxID && !strings.ContainsFunc(id, control)
}

func escape(id string) string { return url.PathEscape(id) }
