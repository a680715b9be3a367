package machines

import (
	"cmp"
	"context"
	"encoding/json"
	"time"

	"github.com/waybill/waybill/consumers/connectors"
	"github.com/waybill/waybill/consumers/runner"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/task"
	"github.com/waybill/waybill/domain/transfer"
	"github.com/waybill/waybill/internal/seal"
	"github.com/waybill/waybill/schemas"
)

// Routes finds how a provider is spoken with. It is safe for concurrent use; the error says what is
// wrong with the address. *connectors.Routes is one.
type Routes interface {
	Find(provider string) (connectors.Route, error)
}

// stepAddress is the step at which a transfer fails whose provider nobody can speak with.
const stepAddress = "address"

// Transfer is the machine of transfers.
func Transfer(routes Routes) runner.Binding {
	return runner.Machine[transfer.State, transfer.Command, transfer.Event]{
		Name:          schemas.AggregateTransfer,
		New:           transfer.New,
		DecodeCommand: schemas.DecodeTransferCommand,
		Admit: func(_ context.Context, id string, c transfer.Command) (transfer.Command, error) {
			if err := asked(id, c); err != nil {
				return nil, err
			}
			c, err := withoutSecrets(c)
			return routed(routes, c), err
		},
		Trace: func(c transfer.Command, traceParent string) transfer.Command {
			if c, ok := c.(transfer.Initiate); ok && len(traceParent) <= maxTraceParent {
				c.TraceParent = traceParent
				return c
			}
			return c
		},
		IsReport: func(c transfer.Command) (report, silent bool) {
			if r, ok := c.(transfer.Report); ok {
				return isReport(r.Command)
			}
			return false, false
		},
		Hash:        schemas.Fingerprint,
		EncodeEvent: schemas.EncodeTransferEvent,
		NewDecoder:  func() func(string, []byte) (transfer.Event, error) { return schemas.DecodeTransferEvent },
		Snapshot: &runner.Snapshot[transfer.State]{
			Version: transfer.SnapshotVersion, Encode: transfer.State.EncodeSnapshot,
			Decode: func(version int, id string, data []byte) (transfer.State, error) {
				return transfer.New(id).DecodeSnapshot(version, data)
			},
		},
		Wake: func() transfer.Command { return transfer.Wake{} },
		TakeOver: func(placement, agent string, since time.Time) transfer.Command {
			return transfer.TakeOver{Placement: placement, Agent: agent, Since: since}
		},
		Place: func(e transfer.Event, placement string) transfer.Event {
			if w, ok := e.(transfer.Worked); ok {
				return transfer.Worked{Event: task.Placed(w.Event, placement)}
			}
			return e
		},
		Placement: func(e transfer.Event) string {
			if w, ok := e.(transfer.Worked); ok {
				return task.Placement(w.Event)
			}
			return ""
		},
		Report: func(w machine.Work, r runner.Result) transfer.Command {
			return transfer.Report{Command: reported(w, r)}
		},
	}
}

// withoutSecrets lets no secret go further that somebody has put on the log in the clear. A transfer
// for an activity ends with it, so that the activity is answered.
func withoutSecrets(c transfer.Command) (transfer.Command, error) {
	start, ok := c.(transfer.Initiate)
	if !ok {
		return c, nil
	}
	member := inTheClear(start)
	if member == "" {
		return start, nil
	}
	const advice = "is a secret in the clear; POST /v1/transfers and package producers seal it, and a provisioner hands out its own"
	if start.Asker == nil {
		return c, machine.Refuse(machine.Schema, "a secret must be sealed before it crosses the log", machine.Problem{Path: "$." + member, Message: advice})
	}
	start.Destination, start.Manifest, start.Properties = nil, nil, nil
	start.Problem = &orchestration.Fault{Step: stepAddress, Message: member + " " + advice}
	return start, nil
}

// inTheClear names a secret of a new transfer that is not sealed.
func inTheClear(start transfer.Initiate) string {
	name := func(of string, value json.RawMessage) string {
		if len(value) == 0 {
			return ""
		}
		if member := seal.InTheClear(value, seal.SecretName); member != "" {
			return of + "." + member
		}
		return ""
	}
	found := cmp.Or(name("destination", start.Destination), name("properties", start.Properties))
	if start.Manifest == nil || found != "" {
		return found
	}
	for _, d := range start.Manifest.Definitions {
		if member := name("manifest", d.Raw); member != "" {
			return member
		}
	}
	return ""
}

// asked refuses a transfer in the name of an activity that another transfer carries out: each attempt has one,
// and one answer.
func asked(id string, c transfer.Command) error {
	start, ok := c.(transfer.Initiate)
	if !ok || start.Asker == nil {
		return nil
	}
	if want := start.Asker.Transfer(); id != want {
		return machine.Refuse(machine.Schema, "it is not the transfer of that activity's attempt", machine.Problem{Path: "asker", Message: "the transfer of that attempt is " + want})
	}
	return nil
}

// routed fills in how the provider of a new transfer is spoken to. What is wrong with its address
// ends the transfer, so that whoever asked is answered.
func routed(routes Routes, c transfer.Command) transfer.Command {
	start, ok := c.(transfer.Initiate)
	if !ok || start.Problem != nil {
		return c
	}
	r, err := routes.Find(start.Provider)
	if err != nil {
		start.Problem = &orchestration.Fault{Step: stepAddress, Message: err.Error()}
		return start
	}
	start.Connector, start.Adapter, start.Provider = r.Connector, r.Adapter, r.Provider
	if start.CounterPartyID == "" {
		start.CounterPartyID = r.CounterPartyID
	}
	return start
}
