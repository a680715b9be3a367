package standin

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// callbackAddress is where a client wants to be told.
type callbackAddress struct {
	Type          string       `json:"@type,omitempty"`
	Transactional bool         `json:"transactional"`
	URI           string       `json:"uri"`
	Events        list[string] `json:"events"`
	AuthKey       string       `json:"authKey,omitempty"`
	AuthCodeID    string       `json:"authCodeId,omitempty"`
}

// wants says whether an event is one it asked for.
func (a *callbackAddress) wants(event string) bool {
	for _, e := range a.Events {
		if strings.HasPrefix(event, e) {
			return true
		}
	}
	return false
}

// message is a callback that is to be sent.
type message struct {
	uri, key, secret string
	body             []byte
	wait             time.Duration
	behind           int // how many others are to go first
}

// tell sends callbacks about the stage that a machine is in.
func (c *Connector) tell(m machine) {
	p := m.core()
	event, ok := events[p.stage]
	if !ok || len(p.callbacks) == 0 {
		return
	}
	var body []byte
	for i := range p.callbacks {
		a := &p.callbacks[i]
		if !a.wants(event.name) {
			continue
		}
		if a.Transactional {
			c.outbox.add(&c.outbox.counts.Transactional)
		}
		out := message{uri: a.URI, key: a.AuthKey}
		if a.AuthCodeID != "" {
			secret, known := c.cfg.Vault[a.AuthCodeID]
			if !known {
				continue // EDC says nothing either
			}
			out.secret = secret
		}
		if body == nil {
			body = c.event(m, event.class)
		}
		out.body = body
		c.post(event.class, p, out)
	}
}

// post hands a callback to the thread, unless a fault has other plans.
func (c *Connector) post(class string, p *process, out message) {
	f := c.faults.onCallback(class, p.provider.name(), p.assetID)
	switch {
	case f == nil:
	case f.callback.lose:
		c.outbox.add(&c.outbox.counts.Lost)
		return
	case f.callback.behind > 0:
		out.behind = f.callback.behind
		f.late = append(f.late, out)
		return
	case f.callback.repeat:
		c.outbox.put(out)
	default:
		out.wait = f.callback.take
	}
	c.outbox.put(out)
	for _, f := range c.faults.callbacks {
		f.overtaken()
	}
}

// overtaken sends what has let enough others go first.
func (f *Fault) overtaken() {
	kept := f.late[:0]
	for _, m := range f.late {
		if m.behind--; m.behind > 0 {
			kept = append(kept, m)
			continue
		}
		f.c.outbox.put(m)
	}
	f.late = kept
}

// event is the body of a callback.
func (c *Connector) event(m machine, class string) []byte {
	out := struct {
		ID      string `json:"id"`
		At      int64  `json:"at"`
		Payload any    `json:"payload"`
		Type    string `json:"type"`
	}{uuid.NewString(), m.core().since.UnixMilli(), nil, class}
	switch m := m.(type) {
	case *negotiation:
		out.Payload = m.payload(c)
	case *transfer:
		out.Payload = m.payload()
	}
	body, _ := json.Marshal(out) // cannot fail
	return body
}

// eventAddress is a callback address as events show it.
type eventAddress struct {
	URI           string   `json:"uri"`
	Events        []string `json:"events"`
	Transactional bool     `json:"transactional"`
	AuthKey       *string  `json:"authKey"`
	AuthCodeID    *string  `json:"authCodeId"`
}

func (p *process) eventAddresses() []eventAddress {
	out := make([]eventAddress, len(p.callbacks))
	for i, a := range p.callbacks {
		out[i] = eventAddress{a.URI, a.Events, a.Transactional, optional(a.AuthKey), optional(a.AuthCodeID)}
	}
	return out
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

type eventPolicy struct {
	Permissions []json.RawMessage `json:"permissions"`
	Assigner    string            `json:"assigner"`
	Assignee    *string           `json:"assignee"`
	Target      string            `json:"target"`
	Type        map[string]string `json:"@type"`
}

type eventOffer struct {
	ID      string      `json:"id"`
	Policy  eventPolicy `json:"policy"`
	AssetID string      `json:"assetId"`
}

type eventAgreement struct {
	ID       string      `json:"id"`
	Provider string      `json:"providerId"`
	Consumer string      `json:"consumerId"`
	Signed   int64       `json:"contractSigningDate"`
	AssetID  string      `json:"assetId"`
	Policy   eventPolicy `json:"policy"`
}

type negotiationPayload struct {
	ID        string          `json:"contractNegotiationId"`
	Address   string          `json:"counterPartyAddress"`
	Party     string          `json:"counterPartyId"`
	Callbacks []eventAddress  `json:"callbackAddresses"`
	Offers    []eventOffer    `json:"contractOffers"`
	Protocol  string          `json:"protocol"`
	Agreement *eventAgreement `json:"contractAgreement,omitempty"`
	Last      *eventOffer     `json:"lastContractOffer"`
}

func (n *negotiation) payload(c *Connector) any {
	rule := eventPolicy{Permissions: []json.RawMessage{}, Assigner: n.assigner, Target: n.assetID, Type: map[string]string{"@policytype": "offer"}}
	if n.offer != nil && n.offer.inEvents != "" {
		rule.Permissions = []json.RawMessage{json.RawMessage(n.offer.inEvents)}
	}
	offer := eventOffer{n.offerID, rule, n.assetID}
	out := negotiationPayload{
		ID: n.id, Address: n.address, Party: n.assigner, Callbacks: n.eventAddresses(),
		Offers: []eventOffer{offer}, Protocol: n.protocol, Last: &offer,
	}
	if a := n.agreement; a != nil && n.stage == NegotiationFinalized {
		rule.Type, rule.Assignee = map[string]string{"@policytype": "contract"}, &c.cfg.Participant
		rule.Target = a.asset.ID
		out.Agreement = &eventAgreement{a.id, n.assigner, c.cfg.Participant, a.signed.Unix(), a.asset.ID, rule}
	}
	return out
}

type transferPayload struct {
	ID        string            `json:"transferProcessId"`
	Callbacks []eventAddress    `json:"callbackAddresses"`
	AssetID   string            `json:"assetId"`
	Type      string            `json:"type"`
	Contract  string            `json:"contractId"`
	Reason    string            `json:"reason,omitempty"`
	Address   *transferDataAddr `json:"dataAddress,omitempty"`
}

type transferDataAddr struct {
	Properties map[string]string `json:"properties"`
}

func (t *transfer) payload() any {
	out := transferPayload{ID: t.id, Callbacks: t.eventAddresses(), AssetID: t.assetID, Type: "CONSUMER", Contract: t.contractID}
	if t.stage == TransferSuspended || t.stage == TransferTerminated {
		out.Reason = t.detail
	}
	if t.stage == TransferStarted && t.token != "" {
		out.Address = &transferDataAddr{map[string]string{
			nsEDC + "type": idsaHTTP, nsEDC + "endpointType": idsaHTTP, nsEDC + "authType": "bearer",
			nsEDC + "endpoint": t.provider.PublicURL(), nsEDC + "authorization": t.token,
		}}
	}
	return out
}

// outbox is the one thread that sends all callbacks of a connector.
type outbox struct {
	mu     sync.Mutex
	queue  []message
	counts CallbackCounts
	wake   chan struct{}
	cancel context.CancelFunc
	done   chan struct{}
}

// callbackTimeout is how long an answer to a callback is waited for.
const callbackTimeout = 30 * time.Second

func (o *outbox) start(ctx context.Context, g *gate) {
	o.mu.Lock()
	defer o.mu.Unlock()
	ctx, o.cancel = context.WithCancel(ctx)
	o.wake, o.done = make(chan struct{}, 1), make(chan struct{})
	go o.run(ctx, g, o.wake, o.done)
}

// stop forgets what was not sent.
func (o *outbox) stop() {
	o.mu.Lock()
	cancel, done := o.cancel, o.done
	o.cancel, o.wake, o.queue = nil, nil, nil
	o.mu.Unlock()
	if cancel != nil {
		cancel()
		<-done
	}
}

// put queues a callback; a connector that is dead sends none.
func (o *outbox) put(m message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.wake == nil {
		return
	}
	o.queue = append(o.queue, m)
	select {
	case o.wake <- struct{}{}:
	default: // it has been woken already
	}
}

func (o *outbox) add(n *int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	*n++
}

func (o *outbox) counted() CallbackCounts {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.counts
}

func (o *outbox) run(ctx context.Context, g *gate, wake <-chan struct{}, done chan<- struct{}) {
	defer close(done)
	client := &http.Client{Transport: &http.Transport{}, Timeout: callbackTimeout}
	defer client.CloseIdleConnections()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wake:
		}
		o.mu.Lock()
		batch := o.queue
		o.queue = nil
		o.mu.Unlock()
		for i := range batch {
			if ctx.Err() != nil || !g.pass(ctx) || !pause(ctx, batch[i].wait) {
				return
			}
			o.send(ctx, client, &batch[i])
		}
	}
}

// pause says whether a time went by before ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	if d == 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// send posts a callback: once, and only where no connection was to be had once more, as
// EDC's HTTP client does. What is answered does not matter.
func (o *outbox) send(ctx context.Context, client *http.Client, m *message) {
	o.add(&o.counts.Sent)
	for range 2 {
		status, err := deliver(ctx, client, m)
		if err == nil {
			if status/100 != 2 {
				o.add(&o.counts.Failed)
			}
			return
		}
	}
	o.add(&o.counts.Failed)
}

func deliver(ctx context.Context, client *http.Client, m *message) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.uri, bytes.NewReader(m.body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	if m.key != "" {
		req.Header.Set(m.key, m.secret)
	}
	return exchange(client, req)
}
