package standin

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
)

// Connector is the consumer's connector, and all that stands behind it.
type Connector struct {
	cfg       Config
	srv       server
	base      string // its URL
	providers []*Provider
	byAddress map[string]counterParty
	outbox    outbox
	pushes    sync.WaitGroup
	ctx       context.Context // of what it does by itself
	cancel    context.CancelFunc

	mu              sync.Mutex
	up, paused      bool
	negotiations    map[string]*negotiation
	negotiationList []*negotiation
	transfers       map[string]*transfer
	transferList    []*transfer
	agreements      map[string]*agreement
	edrs            map[string]*edr
	parked          []resumption // what came due while it was paused
	faults          faults
	requests        map[Op]int
	wrongKeys       int
}

// counterParty is what an address stands for.
type counterParty struct {
	provider *Provider
	protocol string
}

// Start starts the connector and its providers. They end with ctx or with Close.
func Start(ctx context.Context, cfg Config) (*Connector, error) {
	if cfg.Participant == "" {
		cfg.Participant = "consumer"
	}
	if cfg.Region == "" {
		cfg.Region = "eu"
	}
	c := &Connector{cfg: cfg, byAddress: map[string]counterParty{}, requests: map[Op]int{}, up: true}
	c.faults.dice = rand.New(rand.NewPCG(cfg.Seed, 1)) //nolint:gosec // faults that can be repeated, no secrets
	c.srv.handler = c.manage
	c.forget()
	c.ctx, c.cancel = context.WithCancel(ctx)
	for _, p := range cfg.Providers {
		if err := c.join(ctx, c.newProvider(p)); err != nil {
			c.Close()
			return nil, fmt.Errorf("provider %s: %w", p.Name, err)
		}
	}
	if err := c.srv.start(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("connector: %w", err)
	}
	c.base = c.srv.url()
	c.outbox.start(context.WithoutCancel(ctx), &c.srv.gate) // stop ends it
	context.AfterFunc(ctx, c.Close)
	return c, nil
}

// join starts a provider and makes its addresses known.
func (c *Connector) join(ctx context.Context, p *Provider) error {
	if err := p.srv.start(ctx); err != nil {
		return err
	}
	p.base, p.up = p.srv.url(), true
	p.render()
	c.providers = append(c.providers, p)
	for _, protocol := range []string{Protocol2025, Protocol08} {
		address := p.Address(protocol)
		for _, known := range []string{address, strings.Replace(address, "127.0.0.1", "localhost", 1)} {
			c.byAddress[known] = counterParty{p, protocol}
		}
	}
	return nil
}

// Close ends all of it. Closing twice is fine.
func (c *Connector) Close() {
	c.cancel()
	c.Kill()
	for _, p := range c.providers {
		p.Kill()
	}
	c.pushes.Wait()
}

// ManagementURL is where the management API is: what is below it begins with /v3.
func (c *Connector) ManagementURL() string { return c.base + "/management" }

// Provider finds a provider by name; nil where there is none.
func (c *Connector) Provider(name string) *Provider {
	for _, p := range c.providers {
		if p.label == name {
			return p
		}
	}
	return nil
}

// Kill ends the connector: nothing listens any more, callbacks that were not sent never are.
// The providers live on.
func (c *Connector) Kill() {
	c.mu.Lock()
	c.up, c.paused, c.parked = false, false, nil
	c.mu.Unlock()
	c.srv.gate.open()
	c.outbox.stop()
	c.srv.stop()
}

// Restart brings a connector back that was killed, at the same address. One that forgets
// answers 404 to whatever it is asked about; its old tokens go on working, for they are the
// providers'.
func (c *Connector) Restart(ctx context.Context, forget bool) error {
	if err := c.srv.start(ctx); err != nil {
		return err
	}
	c.outbox.start(context.WithoutCancel(ctx), &c.srv.gate)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.up = true
	if forget {
		c.forget()
		return nil
	}
	for _, n := range c.negotiationList {
		n.turn++ // timers of the life before are void
		c.drive(n)
	}
	for _, t := range c.transferList {
		t.turn++
		if !t.resting() {
			c.drive(t)
		}
	}
	return nil
}

// forget empties the connector's memory; machines that are still waited for move no more.
func (c *Connector) forget() {
	for _, n := range c.negotiationList {
		n.turn++
		n.settled()
	}
	for _, t := range c.transferList {
		t.turn++
		t.settled()
	}
	c.negotiations, c.negotiationList = map[string]*negotiation{}, nil
	c.transfers, c.transferList = map[string]*transfer{}, nil
	c.agreements, c.edrs = map[string]*agreement{}, map[string]*edr{}
}

// Pause stops the connector as SIGSTOP does a process: it accepts connections and answers
// nothing, and nothing moves on.
func (c *Connector) Pause() {
	c.srv.gate.close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused = true
}

// Resume ends a pause: what came due meanwhile goes on.
func (c *Connector) Resume() {
	c.srv.gate.open()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused = false
	parked := c.parked
	c.parked = nil
	for _, r := range parked {
		c.due(r)
	}
}
