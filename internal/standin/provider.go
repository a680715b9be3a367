package standin

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Provider is a counter-party of the connector, with a data plane of its own.
type Provider struct {
	c           *Connector
	label       string
	participant string
	service     string
	assets      []*asset
	byID        map[string]*asset
	srv         server
	base        string // its URL

	// Connector.mu guards the rest.
	up, paused bool
	life       int // changes when it forgets
	agreements map[string]*agreement
	tokens     map[string]*grant // by jti
	parked     []resumption      // what waits for it to go on
	held       []resumption      // transfers of assets that are held
	counts     ProviderCounts
	now        atOnce
}

// asset as it is served.
type asset struct {
	Asset
	held     bool
	policies []*policy
	shown    map[string]rendering // in a catalog, by protocol
}

// grant is access to an asset by token.
type grant struct {
	token   string
	asset   *asset
	expires time.Time // zero: never
}

func (c *Connector) newProvider(cfg ProviderConfig) *Provider {
	p := &Provider{
		c: c, label: cfg.Name, participant: cfg.Participant, service: uuid.NewString(),
		byID: map[string]*asset{}, agreements: map[string]*agreement{}, tokens: map[string]*grant{}, life: 1,
		counts: ProviderCounts{Documents: map[string]int{}},
	}
	if p.participant == "" {
		p.participant = cfg.Name
	}
	p.srv.handler = p.serve
	for _, a := range cfg.Assets {
		p.add(a)
	}
	return p
}

func (p *Provider) add(cfg Asset) {
	if len(cfg.Policies) == 0 {
		cfg.Policies = []Policy{Open()}
	}
	if cfg.ContentType == "" {
		cfg.ContentType = "application/json"
	}
	a := &asset{Asset: cfg, held: cfg.Held}
	for _, c := range cfg.Policies {
		a.policies = append(a.policies, newPolicy(c))
	}
	p.assets = append(p.assets, a)
	p.byID[a.ID] = a
}

// name of a provider that may not be there: a client may ask for any address.
func (p *Provider) name() string {
	if p == nil {
		return ""
	}
	return p.label
}

// Address is the provider's counterPartyAddress for a protocol.
func (p *Provider) Address(protocol string) string {
	if protocol == Protocol08 {
		return p.base + "/protocol"
	}
	return p.base + "/protocol/2025-1"
}

// PublicURL is where the provider's documents are.
func (p *Provider) PublicURL() string { return p.base + "/public" }

// Participant is the provider's participant id.
func (p *Provider) Participant() string { return p.participant }

// Kill ends the provider: nothing listens any more, and what it was about to do stays undone.
func (p *Provider) Kill() {
	p.c.mu.Lock()
	p.up, p.paused = false, false
	p.c.mu.Unlock()
	p.srv.gate.open()
	p.srv.stop()
}

// Restart brings a provider back that was killed. One that forgets knows no agreement, no
// transfer and no token any more, and says nothing about negotiations that were under way.
func (p *Provider) Restart(ctx context.Context, forget bool) error {
	if err := p.srv.start(ctx); err != nil {
		return err
	}
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	p.up = true
	if forget {
		p.life++
		clear(p.agreements)
		clear(p.tokens)
		p.held = nil
	}
	p.goOn()
	return nil
}

// Pause stops the provider as SIGSTOP does a process: it accepts connections and answers
// nothing.
func (p *Provider) Pause() {
	p.srv.gate.close()
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	p.paused = true
}

// Resume ends a pause: what was waiting goes on.
func (p *Provider) Resume() {
	p.srv.gate.open()
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	p.paused = false
	p.goOn()
}

func (p *Provider) goOn() {
	parked := p.parked
	p.parked = nil
	for _, r := range parked {
		p.c.due(r)
	}
}

// Release lets the transfers of an asset that is held start, and those that come.
func (p *Provider) Release(assetID string) {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	if a := p.byID[assetID]; a != nil {
		a.held = false
	}
	held := p.held
	p.held = nil
	for _, r := range held {
		p.c.due(r) // one of another asset is held again
	}
}

// KillTokens makes every token of an asset useless, as a restart of the data plane does; the
// connectors notice nothing. It says how many there were.
func (p *Provider) KillTokens(assetID string) int {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	n := 0
	for jti, g := range p.tokens {
		if g.asset.ID == assetID {
			delete(p.tokens, jti)
			n++
		}
	}
	return n
}

// EndAgreements ends every agreement about an asset: its transfers are terminated by the
// provider, and others refused. It says how many there were.
func (p *Provider) EndAgreements(assetID string) int {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	n := 0
	for _, a := range p.agreements {
		if a.asset.ID == assetID && !a.ended {
			a.ended = true
			n++
		}
	}
	for _, t := range p.c.transferList {
		if t.agreement != nil && t.agreement.ended && t.provider == p && t.stage == TransferStarted {
			t.end(p.c)
		}
	}
	return n
}

// serve is what the provider serves by HTTP: its documents.
func (p *Provider) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/public" && !strings.HasPrefix(r.URL.Path, "/public/") {
		page(r, p.base+r.URL.Path, http.StatusNotFound).write(w)
		return
	}
	a, refused := p.admit(r.Header.Get("Authorization"))
	if a == nil {
		refused.write(w)
		return
	}
	lost := false
	if p.c.faults.armed.Load() {
		var struck *reply
		if struck, lost = p.c.suffer(r, call{op: Document, provider: p, asset: a.ID}); struck != nil {
			struck.write(w)
			return
		}
	}
	p.c.mu.Lock()
	p.counts.Documents[a.ID]++
	p.c.mu.Unlock()
	if lost {
		cut()
	}
	switch {
	case a.Broken:
		denied(http.StatusInternalServerError, "Received code transferring HTTP data: 500 - Internal Server Error.").write(w)
	case a.Handler != nil:
		http.StripPrefix("/public", a.Handler).ServeHTTP(w, r)
	default:
		reply{http.StatusOK, a.ContentType, a.Document}.write(w)
	}
}

// admit finds the asset that a token is for.
func (p *Provider) admit(token string) (*asset, reply) {
	if token == "" {
		p.count(&p.counts.Unauthorized)
		return nil, denied(http.StatusUnauthorized, "Missing Authorization Header")
	}
	jti := jtiOf(token)
	if jti == "" {
		p.count(&p.counts.Unauthorized)
		return nil, denied(http.StatusForbidden, "Failed to decode token")
	}
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	g := p.tokens[jti]
	if g == nil || g.token != token || !g.expires.IsZero() && time.Now().After(g.expires) {
		p.counts.Unauthorized++
		return nil, denied(http.StatusForbidden, "AccessTokenData with ID '"+jti+"' does not exist.")
	}
	return g.asset, reply{}
}

func (p *Provider) count(n *int) {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	*n++
}

// denied is an answer of the data plane.
func denied(status int, message string) reply {
	body, _ := json.Marshal(map[string][]string{"errors": {message}}) // cannot fail
	return reply{status, "application/json", body}
}

// jtiOf reads the id out of a token; empty where it is none.
func jtiOf(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || strings.HasPrefix(token, "Bearer ") {
		return ""
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		JTI string `json:"jti"`
	}
	if err := json.Unmarshal(raw, &claims); err != nil {
		return ""
	}
	return claims.JTI
}
