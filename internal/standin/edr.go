package standin

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"
)

const (
	idsaHTTP = "https://w3id.org/idsa/v4.1/HTTP"
	nsAuth   = "https://w3id.org/tractusx/auth/"
)

// edr is an entry of the consumer's cache.
type edr struct {
	transfer *transfer
	token    string
	created  time.Time
}

// grant makes a token for a transfer.
func (c *Connector) grant(t *transfer) {
	jti := uuid.NewString()
	g := &grant{token: newToken(t.provider.participant, c.cfg.Participant, jti), asset: t.agreement.asset}
	if c.cfg.Refresh > 0 {
		g.expires = time.Now().Add(c.cfg.Refresh)
	}
	t.provider.tokens[jti] = g
	t.token = g.token
}

// newToken looks like a JWT; who has not been given it cannot make it.
func newToken(issuer, audience, jti string) string {
	enc := base64.RawURLEncoding.AppendEncode
	b := enc(nil, []byte(`{"kid":"public-key","alg":"ES256"}`))
	claims := fmt.Appendf(nil, `{"iss":%q,"aud":%q,"sub":%q,"iat":%d,"jti":%q}`, issuer, audience, issuer, time.Now().Unix(), jti)
	b = enc(append(b, '.'), claims)
	var signature [64]byte
	_, _ = rand.Read(signature[:]) // never fails
	return string(enc(append(b, '.'), signature[:]))
}

// revoke makes a transfer's token useless and takes the EDR out of the cache.
func (c *Connector) revoke(t *transfer) {
	if t.token == "" {
		return
	}
	delete(t.provider.tokens, jtiOf(t.token))
	if e := c.edrs[t.id]; e != nil && e.token == t.token {
		delete(c.edrs, t.id)
	}
	t.token = ""
}

// store brings the EDR into the cache, at once or a moment after STARTED.
func (c *Connector) store(t *transfer) {
	take, _, held := c.faults.onStage(TransferEDR, t.provider.name(), t.assetID)
	r := resumption{t, t.turn, keep}
	switch {
	case held != nil:
		held.held = append(held.held, r)
	case take > 0:
		c.after(take, r)
	default:
		c.keep(t)
	}
}

func (c *Connector) keep(m machine) {
	if t, ok := m.(*transfer); ok && t.token != "" {
		c.edrs[t.id] = &edr{transfer: t, token: t.token, created: time.Now()}
	}
}

// dataAddress is an EDR as the cache has it; with what Tractus-X adds, where it is that.
func (c *Connector) dataAddress(e *edr) reply {
	out := struct {
		Type          string `json:"@type"`
		Kind          string `json:"type"`
		Endpoint      string `json:"endpoint"`
		AuthType      string `json:"authType"`
		EndpointType  string `json:"endpointType"`
		Authorization string `json:"authorization"`
		ExpiresIn     string `json:"tx-auth:expiresIn,omitempty"`
		RefreshToken  string `json:"tx-auth:refreshToken,omitempty"`
		RefreshAt     string `json:"tx-auth:refreshEndpoint,omitempty"`
		ld
	}{"DataAddress", idsaHTTP, e.transfer.provider.PublicURL(), "bearer", idsaHTTP, e.token, "", "", "", closing()}
	if c.cfg.Refresh > 0 {
		out.ExpiresIn = strconv.Itoa(int(max(c.cfg.Refresh/time.Second, 1)))
		out.RefreshToken, out.RefreshAt = "refresh-"+jtiOf(e.token), e.transfer.provider.PublicURL()+"/token"
		out.Context = json.RawMessage(`{"@vocab":"` + nsEDC + `","edc":"` + nsEDC + `","tx-auth":"` + nsAuth + `"}`)
	}
	return answer(out)
}

// getEDR answers with the EDR of a transfer, refreshed first where that is asked for.
func (c *Connector) getEDR(id string, refreshed bool) reply {
	e := c.edrs[id]
	if e == nil {
		return notFound("EndpointDataReferenceEntry", id)
	}
	if refreshed {
		if c.cfg.Refresh == 0 {
			return nothing(http.StatusNotFound)
		}
		return c.refresh(e)
	}
	return c.dataAddress(e)
}

// refresh gives the EDR a new token; the old one is dead.
func (c *Connector) refresh(e *edr) reply {
	t := e.transfer
	if t.stage != TransferStarted || !t.provider.up || t.life != t.provider.life || t.provider.tokens[jtiOf(e.token)] == nil {
		return failed(http.StatusForbidden, "Could not refresh token")
	}
	delete(t.provider.tokens, jtiOf(e.token))
	c.grant(t)
	e.token = t.token
	return c.dataAddress(e)
}

// expired says whether the token of an EDR has run out.
func (c *Connector) expired(id string) bool {
	e := c.edrs[id]
	if e == nil || c.cfg.Refresh == 0 {
		return false
	}
	g := e.transfer.provider.tokens[jtiOf(e.token)]
	return g != nil && time.Now().After(g.expires)
}

// shown is the entry in a list of EDRs.
func (e *edr) shown() any {
	t := e.transfer
	return struct {
		ID          string `json:"@id"`
		Type        string `json:"@type"`
		Provider    string `json:"providerId"`
		Asset       string `json:"assetId"`
		Agreement   string `json:"agreementId"`
		Transfer    string `json:"transferProcessId"`
		Created     int64  `json:"createdAt"`
		Negotiation string `json:"contractNegotiationId"`
		ld
	}{t.id, "EndpointDataReferenceEntry", t.provider.participant, t.assetID, t.contractID, t.id, e.created.UnixMilli(), t.agreement.negotiation, closing()}
}
