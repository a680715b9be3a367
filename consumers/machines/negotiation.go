package machines

import (
	"context"
	"fmt"
	"time"

	"github.com/waybill/waybill/consumers/connectors"
	"github.com/waybill/waybill/consumers/runner"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/domain/task"
	"github.com/waybill/waybill/schemas"
)

// Negotiation is the machine of negotiations. settings are those of a connector of ours, by its
// configured name.
func Negotiation(routes Routes, settings func(connector string) negotiation.Config) runner.Binding {
	fresh := negotiation.Configured(settings)
	return runner.Machine[negotiation.State, negotiation.Command, negotiation.Event]{
		Name:          schemas.AggregateNegotiation,
		New:           fresh,
		DecodeCommand: schemas.DecodeNegotiationCommand,
		Admit: func(_ context.Context, id string, c negotiation.Command) (negotiation.Command, error) {
			return wished(routes, id, c)
		},
		Trace: func(c negotiation.Command, traceParent string) negotiation.Command {
			if c, ok := c.(negotiation.Acquire); ok && len(traceParent) <= maxTraceParent {
				c.TraceParent = traceParent
				return c
			}
			return c
		},
		Identify: func(c negotiation.Command, commandID string) negotiation.Command {
			if c, ok := c.(negotiation.Acquire); ok {
				c.CommandID = commandID
				if c.Waiter == "" {
					c.Waiter = commandID
				}
				return c
			}
			return c
		},
		IsReport: func(c negotiation.Command) (report, silent bool) {
			if r, ok := c.(negotiation.Report); ok {
				return isReport(r.Command)
			}
			return false, false
		},
		Hash:        schemas.Fingerprint,
		EncodeEvent: schemas.EncodeNegotiationEvent,
		NewDecoder:  func() func(string, []byte) (negotiation.Event, error) { return schemas.DecodeNegotiationEvent },
		Snapshot: &runner.Snapshot[negotiation.State]{
			Version: negotiation.SnapshotVersion, Encode: negotiation.State.EncodeSnapshot,
			Decode: func(version int, id string, data []byte) (negotiation.State, error) {
				return fresh(id).DecodeSnapshot(version, data)
			},
		},
		Wake: func() negotiation.Command { return negotiation.Wake{} },
		TakeOver: func(placement, agent string, since time.Time) negotiation.Command {
			return negotiation.TakeOver{Placement: placement, Agent: agent, Since: since}
		},
		Place: func(e negotiation.Event, placement string) negotiation.Event {
			if w, ok := e.(negotiation.Worked); ok {
				return negotiation.Worked{Event: task.Placed(w.Event, placement)}
			}
			return e
		},
		Placement: func(e negotiation.Event) string {
			if w, ok := e.(negotiation.Worked); ok {
				return task.Placement(w.Event)
			}
			return ""
		},
		Report: func(w machine.Work, r runner.Result) negotiation.Command {
			return negotiation.Report{Command: reported(w, r)}
		},
	}
}

// wished refuses a wish under a key that is not its provider's: the limits of a provider hold
// because everybody who wants something of it meets in one place.
func wished(routes Routes, id string, c negotiation.Command) (negotiation.Command, error) {
	wish, ok := c.(negotiation.Acquire)
	if !ok {
		return c, nil
	}
	r, err := routes.Find(wish.Provider)
	if err != nil {
		return nil, machine.Refuse(machine.Schema, "the provider's address is wrong", machine.Problem{Path: "provider", Message: err.Error()})
	}
	if r.Adapter == connectors.AdapterHTTP {
		return nil, machine.Refuse(machine.NotFound, fmt.Sprintf("no connector is configured for %s: what a plain provider has needs no access", r.Provider))
	}
	if want := negotiation.Key(r.Connector, r.Provider); id != want {
		return nil, machine.Refuse(machine.Schema, fmt.Sprintf("the key of access to %s is %q, not %q", wish.Provider, want, id))
	}
	wish.Connector, wish.Provider = r.Connector, r.Provider
	if wish.CounterPartyID == "" {
		wish.CounterPartyID = r.CounterPartyID
	}
	return wish, nil
}
