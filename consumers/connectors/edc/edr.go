package edc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/consumers/connectors/adapter"
	"github.com/waybill/waybill/internal/jwt"
	"github.com/waybill/waybill/internal/outbound"
	"github.com/waybill/waybill/internal/redact"
)

// EDR implements adapter.Contracts.
func (c *Connector) EDR(ctx context.Context, processID string) (adapter.EDR, error) {
	path := "/v3/edrs/" + escape(processID) + "/dataaddress"
	if c.cfg.Refresh {
		path += "?auto_refresh=true"
	}
	return c.edr(ctx, http.MethodGet, path)
}

// Refresh implements adapter.Contracts.
func (c *Connector) Refresh(ctx context.Context, processID string) (adapter.EDR, error) {
	if !c.cfg.Refresh {
		return adapter.EDR{}, &adapter.Fault{Step: adapter.StepEDR, Code: adapter.CodeEDRDead, Err: fmt.Errorf("connector %s cannot refresh a token: it is not configured with refresh: tractusx", c.cfg.Name)}
	}
	edr, err := c.edr(ctx, http.MethodPost, "/v3/edrs/"+escape(processID)+"/refresh")
	if f, ok := errors.AsType[*adapter.Fault](err); ok && !f.Again {
		f.Code = adapter.CodeEDRDead
	}
	return edr, err
}

func (c *Connector) edr(ctx context.Context, method, path string) (adapter.EDR, error) {
	raw, failed := c.call(ctx, adapter.StepEDR, method, path, nil)
	if failed != nil {
		return adapter.EDR{}, failed.err()
	}
	edr, err := ParseEDR(raw, time.Now())
	if err != nil {
		return adapter.EDR{}, &adapter.Fault{Step: adapter.StepEDR, Err: err}
	}
	return edr, nil
}

// ParseEDR reads a data address, as the connector's cache answers it or, within properties
// with whole names, as a callback has it. Its error shows nothing of it.
func ParseEDR(raw json.RawMessage, now time.Time) (adapter.EDR, error) {
	n := object(raw)
	if n.text("endpoint") == "" {
		n = object(n.get("properties"))
	}
	edr := adapter.EDR{Endpoint: n.text("endpoint"), Authorization: n.text("authorization"), Raw: raw}
	switch {
	case edr.Endpoint == "":
		return adapter.EDR{}, errors.New("the data address has no endpoint")
	case edr.Authorization == "":
		return adapter.EDR{}, errors.New("the data address has no authorization")
	case strings.ContainsFunc(edr.Authorization, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
		return adapter.EDR{}, errors.New("the data address has an authorization with line ends or the like in it, which cannot be sent")
	}
	if at, ok := jwt.Expiry(edr.Authorization); ok {
		edr.ExpiresAt = at
	} else if seconds, ok := number(n.get("expiresIn")); ok && seconds > 0 && seconds < float64(maxExpiry/time.Second) {
		edr.ExpiresAt = now.Add(time.Duration(seconds * float64(time.Second))).UTC()
	}
	return edr, nil
}

// maxExpiry bounds how long a token says that it is good; more is no limit at all.
const maxExpiry = 10 * 365 * 24 * time.Hour

// Document implements adapter.Adapter: it is fetched from where the EDR leads, with its token.
func (c *Connector) Document(ctx context.Context, w adapter.Want) (adapter.Document, error) {
	wrong := func(err error) (adapter.Document, error) {
		return adapter.Document{}, &adapter.Fault{Step: adapter.StepAddress, Err: err}
	}
	if w.EDR == nil {
		return adapter.Document{}, &adapter.Fault{Step: adapter.StepEDR, Code: adapter.CodeEDRDead, Err: fmt.Errorf("an asset of %s is fetched with an EDR, and there is none", w.Provider)}
	}
	u, err := url.Parse(w.EDR.Endpoint)
	if err != nil {
		return wrong(errors.New("the endpoint of the EDR is no URL"))
	}
	where := outbound.Shown(u)
	if err := c.mayCall(u, w.Provider); err != nil {
		return wrong(fmt.Errorf("the endpoint of the EDR, %s: %w", where, err))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return wrong(fmt.Errorf("the endpoint of the EDR, %s, cannot be asked", where))
	}
	req.Header.Set("Authorization", w.EDR.Authorization)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "waybill")
	answer, failed := c.cfg.Limits.Do(c.data, req)
	if failed == nil {
		failed = answer.Refusal()
	}
	_, bare, _ := strings.Cut(w.EDR.Authorization, " ") // of a scheme
	hidden := redact.Sent(secret.Redacted, w.EDR.Authorization, bare)
	if failed == nil {
		return adapter.Document{
			Body: hidden.Bytes(answer.Body), ContentType: hidden.Text(answer.Header.Get("Content-Type")), Source: hidden.Text(where),
		}, nil
	}
	f := &adapter.Fault{Step: adapter.StepFetch, Err: hidden.Error(fmt.Errorf("GET %s: %w", where, failed)), Again: failed.Again, After: failed.After}
	switch {
	case failed.Address:
		f.Step = adapter.StepAddress
	case answer != nil && (answer.Status == http.StatusUnauthorized || answer.Status == http.StatusForbidden):
		f.Code = adapter.CodeEDRDead
		f.Err = fmt.Errorf("%w: the EDR is no longer good", f.Err)
	case answer != nil && answer.Status == http.StatusNotFound && webPage(answer.Body):
		f.Again, f.After = true, outbound.RetryAfter(answer.Header.Get("Retry-After"), time.Now())
		f.Err = fmt.Errorf("%w with a page of a web server: the provider may be starting", f.Err)
	}
	return adapter.Document{}, f
}

// webPage says that an answer is what the web server of a connector has where nobody answers yet: a
// page, or where JSON is asked for an object that says what was asked for.
func webPage(body []byte) bool {
	e := object(body)
	return bytes.HasPrefix(bytes.TrimSpace(body), []byte("<")) || e.text("status") == "404" && e.text("url") != ""
}

// mayCall says whether the endpoint that a provider names is one to call: on the provider's own
// host, or on one that is configured. Addresses that are never called are refused on dialling.
func (c *Connector) mayCall(u *url.URL, provider string) error {
	if p, err := url.Parse(provider); err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && strings.EqualFold(u.Hostname(), p.Hostname()) {
		return nil
	}
	if err := c.cfg.Endpoints.Check(u); err != nil {
		return fmt.Errorf("%w, or under allowEndpoints of connector %s", err, c.cfg.Name)
	}
	return nil
}
