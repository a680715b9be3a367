package standin

import "time"

// process is what a negotiation and a transfer have in common. Connector.mu guards it.
type process struct {
	id             string
	stage          Stage
	since, created time.Time
	turn           int // counts the moves: a timer that was set in another turn does nothing

	provider    *Provider
	life        int // of the provider, when it was asked
	protocol    string
	address     string // of the counter-party, as the client wrote it
	assetID     string
	correlation string // the provider's id for it; none until the provider was told
	detail      string
	callbacks   []callbackAddress
	counted     *int // where it counts as under way
}

// machine is a negotiation or a transfer. All is called with Connector.mu held.
type machine interface {
	core() *process
	// resting says that nothing moves it on from here but a command.
	resting() bool
	// move leaves the stage; false says that it could not.
	move(c *Connector) bool
	// end is the provider's own wish to end it.
	end(c *Connector)
}

// resumption is a machine that goes on later, unless it has moved meanwhile.
type resumption struct {
	m    machine
	turn int
	how  how
}

type how int

const (
	goOn  how = iota
	endIt     // the provider does
	keep      // the EDR is in the cache now
	done      // all is pushed
)

// enter brings a machine into a stage and tells whoever wants to know.
func (c *Connector) enter(m machine, s Stage) {
	p := m.core()
	p.stage, p.since = s, time.Now()
	p.turn++
	c.tell(m)
}

// drive moves a machine on until it rests, waits or is held.
func (c *Connector) drive(m machine) {
	p := m.core()
	for {
		take, end, held := c.faults.onStage(p.stage, p.provider.name(), p.assetID)
		switch {
		case held != nil:
			held.held = append(held.held, resumption{m: m, turn: p.turn})
			return
		case take > 0:
			r := resumption{m: m, turn: p.turn}
			if end {
				r.how = endIt
			}
			c.after(take, r)
			return
		case end:
			m.end(c)
			return
		}
		if m.resting() || !m.move(c) {
			return
		}
	}
}

// after goes on with a machine after a time.
func (c *Connector) after(d time.Duration, r resumption) {
	time.AfterFunc(d, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.due(r)
	})
}

// due goes on with a machine. A connector that is paused does so when it goes on itself, one
// that is dead never.
func (c *Connector) due(r resumption) {
	switch p := r.m.core(); {
	case !c.up || p.turn != r.turn:
	case c.paused:
		c.parked = append(c.parked, r)
	case r.how == endIt:
		r.m.end(c)
	case r.how == keep:
		c.keep(r.m)
	case r.how == done:
		c.pushed(r.m)
	case !r.m.resting() && r.m.move(c):
		c.drive(r.m)
	}
}

// reached is how it went to speak with a provider.
type reached int

const (
	spoken reached = iota
	later          // the provider hangs: it goes on when the provider does
	never
)

// ask is the consumer speaking to the provider, which may be gone, hang, or not know the
// process any more.
func (c *Connector) ask(m machine) reached {
	switch p := m.core(); {
	case p.provider == nil || !p.provider.up || p.correlation != "" && p.life != p.provider.life:
		return never
	case p.provider.paused:
		p.provider.parked = append(p.provider.parked, resumption{m: m, turn: p.turn})
		return later
	}
	return spoken
}

// hear is the provider speaking to the consumer: what has died says nothing, and what has
// forgotten never will.
func (c *Connector) hear(m machine) bool {
	switch p := m.core(); {
	case p.life != p.provider.life:
		return false
	case !p.provider.up || p.provider.paused:
		p.provider.parked = append(p.provider.parked, resumption{m: m, turn: p.turn})
		return false
	}
	return true
}

// settled takes a process out of what is under way at its provider.
func (p *process) settled() {
	if p.counted != nil {
		*p.counted--
		p.counted = nil
	}
}
