package provisioners

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/connectors/adapter"
	"github.com/waybill/waybill/internal/callbacks"
	"github.com/waybill/waybill/internal/outbound"
	"github.com/waybill/waybill/schemas"
)

// maxAnswer bounds an answer of which only the status counts.
const maxAnswer = 64 << 10

// asked is another system that provisions: it accepts a request and reports by callback.
type asked struct {
	endpoint  *url.URL
	client    *http.Client
	limits    outbound.Limits
	addresses *callbacks.Addresses
	others    *others
}

func newAsked(s Settings, cfg Config, others *others) (*asked, error) {
	u, err := s.endpoint()
	if err != nil {
		return nil, err
	}
	hosts, err := outbound.New([]string{s.host()})
	if err != nil {
		return nil, err
	}
	return &asked{
		endpoint: u, client: hosts.Client(cfg.Concurrency), addresses: cfg.Addresses, others: others,
		limits: outbound.Limits{Timeout: time.Duration(s.Timeout), MaxBytes: maxAnswer},
	}, nil
}

// request is what EDC's HTTP provisioner sends.
type request struct {
	AssetID              string          `json:"assetId"`
	TransferProcessID    string          `json:"transferProcessId"`
	Policy               json.RawMessage `json:"policy"` // null where there is none yet
	CallbackAddress      string          `json:"callbackAddress"`
	ResourceDefinitionID string          `json:"resourceDefinitionId"`
	Type                 string          `json:"type"`
}

func (p *asked) provision(ctx context.Context, a agent.Activity, w wanted) agent.Result {
	return p.ask(ctx, a, w, w.Definition.text("id"), "provision")
}

func (p *asked) deprovision(ctx context.Context, a agent.Activity, w wanted) agent.Result {
	return p.ask(ctx, a, w, cmp.Or(w.Definition.text("id"), w.Resource.DefinitionID), "deprovision")
}

func (p *asked) ask(ctx context.Context, a agent.Activity, w wanted, definition, typ string) agent.Result {
	if p.addresses == nil {
		return agent.Fatal(errUnreachable)
	}
	body, err := schemas.Encode(request{
		AssetID: w.AssetID, TransferProcessID: w.TransferID, Policy: w.Policy, ResourceDefinitionID: definition, Type: typ,
		CallbackAddress: p.addresses.Provisioner(callbacks.Subject{Aggregate: schemas.AggregateTransfer, ID: w.TransferID, Task: definition}),
	})
	if err != nil {
		return agent.Fatal(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.endpoint.String(), bytes.NewReader(body))
	if err != nil {
		return agent.Fatal(err)
	}
	for name, value := range map[string]string{
		"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "waybill", "Idempotency-Key": a.IdempotencyKey,
	} {
		req.Header.Set(name, value)
	}
	answer, fault := p.limits.Do(p.client, req)
	if answer != nil && answer.OK() {
		return agent.Wait() // whatever else it says, or however it breaks off
	}
	if fault == nil {
		fault = answer.Refusal()
		fault.Again = passes(answer.Status)
	}
	err = fmt.Errorf("resource %s: POST %s: %w", definition, shown(p.endpoint), fault)
	if fault.Again {
		return agent.Retry(err).After(fault.After)
	}
	return agent.Fatal(err)
}

// passes says which answers EDC asks again after, and those by which HTTP itself asks for that.
func passes(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return status >= http.StatusInternalServerError && status <= http.StatusGatewayTimeout
}

// collect reads from where the provider was to send to.
func (p *asked) collect(ctx context.Context, w wanted) (adapter.Document, error) {
	return p.others.read(ctx, w.Resource.DataAddress, w.Secret)
}
