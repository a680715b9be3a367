package standin

import (
	"fmt"
	"net"
	"time"

	"github.com/google/uuid"
)

// transfer is the consumer's side of a transfer process.
type transfer struct {
	process
	contractID  string
	agreement   *agreement
	kind        string // Pull, Push or what no provider has
	destination destination
	private     map[string]string
	told        *Told
	again       bool // the provider knows the id from another: it never starts
	provisioned bool
	pushing     bool
	token       string // of the EDR that is alive
}

// Told is what a provider was told about one transfer process.
type Told struct {
	Requests, Suspensions, Resumptions, Terminations int
}

func (t *transfer) core() *process { return &t.process }

func (t *transfer) resting() bool {
	switch t.stage {
	case TransferStarted:
		return t.kind != Push
	case TransferSuspended, TransferCompleted, TransferTerminated, TransferDeprovisioned:
		return true
	default:
		return false
	}
}

func (t *transfer) move(c *Connector) bool {
	switch t.stage {
	case TransferInitial:
		c.enter(t, TransferProvisioned)
	case TransferProvisioned:
		c.enter(t, TransferRequesting)
	case TransferRequesting:
		return t.request(c)
	case TransferRequested:
		return t.start(c)
	case TransferStarted:
		if c.hear(t) {
			c.push(t)
		}
		return false
	case TransferSuspending, TransferResuming:
		return t.pause(c)
	case TransferTerminating:
		return t.terminate(c)
	case TransferDeprovisioning:
		c.enter(t, TransferDeprovisioned)
	default: // it rests
		return false
	}
	return true
}

// ask gives the transfer up where its provider cannot be spoken with.
func (t *transfer) ask(c *Connector) reached {
	how := c.ask(t)
	if how == never {
		t.fail(c, unreachable(t.address))
	}
	return how
}

// request is the provider's answer to what it is asked.
func (t *transfer) request(c *Connector) bool {
	if how := t.ask(c); how != spoken {
		return how == never
	}
	t.told.Requests++
	known := t.provider.agreements[t.contractID]
	switch {
	case known == nil:
		t.fail(c, t.refusal("404"))
		return true
	case !known.valid(time.Now()):
		t.fail(c, t.refusal("409"))
		return true
	}
	t.correlation, t.life = uuid.NewString(), t.provider.life
	c.enter(t, TransferRequested)
	return true
}

// refusal is the provider's error in the words of its protocol.
func (t *transfer) refusal(code string) string {
	if t.protocol == Protocol08 {
		return fmt.Sprintf(`{"@type":"dspace:TransferError","dspace:code":%q,"dspace:reason":"Cannot process TransferRequestMessage because agreement not found or not valid","@context":%s}`, code, catalogContext08)
	}
	return fmt.Sprintf(`{"@type":"TransferError","code":%q,"reason":["Cannot process TransferRequestMessage because agreement not found or not valid"],"@context":%s}`, code, catalogContext25)
}

// unreachable is what a client of EDC's says of an address where nobody listens.
func unreachable(address string) string {
	host := hostOf(address)
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		return "org.eclipse.edc.http.spi.EdcHttpClientException: " + host
	}
	return fmt.Sprintf("org.eclipse.edc.http.spi.EdcHttpClientException: Failed to connect to %s/127.0.0.1:%s", name, port)
}

// start is the provider's part, once what is behind it is provisioned.
func (t *transfer) start(c *Connector) bool {
	if t.again || !c.hear(t) {
		return false
	}
	if t.kind != Pull && t.kind != Push {
		t.end(c)
		return false
	}
	switch a := t.agreement.asset; {
	case a.held:
		t.provider.held = append(t.provider.held, resumption{m: t, turn: t.turn})
		return false
	case a.Provision > 0 && !t.provisioned:
		t.provisioned = true
		c.after(a.Provision, resumption{m: t, turn: t.turn})
		return false
	}
	c.started(t)
	return true
}

// pause carries out a suspend or a resume; where the provider cannot be told, either ends in
// TERMINATED.
func (t *transfer) pause(c *Connector) bool {
	if how := t.ask(c); how != spoken {
		return how == never
	}
	if t.stage == TransferResuming {
		t.told.Resumptions++
		c.started(t)
		return true
	}
	t.told.Suspensions++
	c.revoke(t)
	c.enter(t, TransferSuspended)
	return true
}

// fail is the consumer giving up.
func (t *transfer) fail(c *Connector, detail string) {
	t.detail = detail
	c.enter(t, TransferTerminating)
}

// terminate tells the provider, if it was ever asked and still listens.
func (t *transfer) terminate(c *Connector) bool {
	if t.correlation != "" {
		switch c.ask(t) {
		case later:
			return false
		case spoken:
			t.told.Terminations++
		case never:
		}
	}
	c.over(t, TransferTerminated)
	return true
}

func (t *transfer) end(c *Connector) { c.over(t, TransferTerminated) }

// over ends a transfer and whatever gave access to its data.
func (c *Connector) over(t *transfer, s Stage) {
	t.settled()
	c.revoke(t)
	c.enter(t, s)
}

// started begins the data flow: with a new EDR, or by pushing.
func (c *Connector) started(t *transfer) {
	t.settled()
	if t.kind == Pull {
		c.grant(t)
	}
	c.enter(t, TransferStarted)
	if t.kind == Pull {
		c.store(t)
	}
	if v := t.agreement.policy.Valid; v > 0 {
		// The provider's policy monitor ends what has run out.
		c.after(time.Until(t.agreement.signed.Add(v)), resumption{t, t.turn, endIt})
	}
}
