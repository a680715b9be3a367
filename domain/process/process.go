package process

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/partstree"
	"github.com/waybill/waybill/domain/transfer"
)

// Route says through which of our connectors a provider is spoken to, by its normalised address, and
// who that is where it is configured. No connector: nothing can be negotiated with it. The error is
// about the address.
type Route func(provider string) (connector, counterPartyID string, err error)

// Wire names of the commands that follow from activities.
const (
	initiateType  = "transfer.initiate.v1"
	terminateType = "transfer.terminate.v1"
	acquireType   = "negotiation.acquire.v1"
	releaseType   = "negotiation.release.v1"
	completeType  = "work.complete.v1"
)

// Delegated says that activities of a type are carried out by another machine.
func Delegated(activityType string) bool {
	switch activityType {
	case definition.Retrieve, definition.Transfer, definition.Acquire:
		return true
	}
	return false
}

// Delegate turns an effect of an orchestration into the commands that follow from it elsewhere; false
// where agents carry it out. A fault says why the work can be handed to nobody: it has failed.
func Delegate(route Route, f machine.Effect) (sends []machine.Send, fault *orchestration.Fault, ok bool) {
	switch f := f.(type) {
	case machine.Work:
		if f.Unfit != "" || !Delegated(f.Type) {
			return nil, nil, false
		}
		send, fault := begin(route, f)
		if fault != nil {
			return nil, fault, true
		}
		return []machine.Send{send}, nil, true
	case machine.CancelWork:
		if !Delegated(f.Type) {
			return nil, nil, false
		}
		return end(route, f), nil, true
	case machine.Send, machine.Completion, machine.Announce, machine.Claim, machine.Discard:
	}
	return nil, nil, false
}

// TransferID is the transfer that carries out an attempt at an activity.
func TransferID(workID string, attempt int) string {
	return transfer.Asker{WorkID: workID, Attempt: attempt}.Transfer()
}

// waiter is who waits for access in an attempt at an activity.
func waiter(workID string, attempt int) string {
	return machine.ID("waiter", workID, strconv.Itoa(attempt))
}

func begin(route Route, w machine.Work) (machine.Send, *orchestration.Fault) {
	if w.Discriminator == definition.Dispose {
		return nothingToUndo(w), nil
	}
	switch w.Type {
	case definition.Retrieve:
		return retrieve(w)
	case definition.Transfer:
		return move(w)
	}
	return acquire(route, w)
}

// nothingToUndo completes what would undo an activity that has left nothing behind.
func nothingToUndo(w machine.Work) machine.Send {
	return machine.Send{
		ID: machine.ID("undone", w.ID, strconv.Itoa(w.Attempt)), Aggregate: w.Aggregate, Key: w.AggregateID, Type: completeType,
		Value: orchestration.Complete{Report: orchestration.Report{WorkID: w.ID, Attempt: w.Attempt}, Output: json.RawMessage("{}")},
	}
}

func wrong(format string, args ...any) *orchestration.Fault {
	return &orchestration.Fault{Step: "address", Message: fmt.Sprintf(format, args...)}
}

// decode reads an input, which was checked against its type's schema if that has not been changed.
func decode(w machine.Work, into any) *orchestration.Fault {
	input := w.Input
	if len(bytes.TrimSpace(input)) == 0 {
		input = json.RawMessage("{}")
	}
	if err := json.Unmarshal(input, into); err != nil {
		return wrong("the input cannot be read: %v", err)
	}
	return nil
}

// retrieve is a transfer of a document of a provider's.
func retrieve(w machine.Work) (machine.Send, *orchestration.Fault) {
	var in struct {
		partstree.Request
		As             *string         `json:"as"`
		Properties     json.RawMessage `json:"properties"`
		CounterPartyID string          `json:"counterPartyId"`
	}
	if fault := decode(w, &in); fault != nil {
		return machine.Send{}, fault
	}
	switch {
	case in.File == "":
		return machine.Send{}, wrong("the input has no file")
	case in.ConnectorURL == "":
		return machine.Send{}, wrong("the input has no connectorUrl")
	}
	file, err := partstree.NormalizeFile(in.File)
	if err != nil {
		return machine.Send{}, wrong("%v", err)
	}
	c := transfer.Initiate{Provider: in.ConnectorURL, AssetID: file, CounterPartyID: in.CounterPartyID, Properties: in.Properties, As: partstree.AsPartsTree}
	if in.As != nil {
		c.As = *in.As
	}
	return initiate(w, c), nil
}

// move is any transfer.
func move(w machine.Work) (machine.Send, *orchestration.Fault) {
	var c transfer.Initiate
	if fault := decode(w, &c); fault != nil {
		return machine.Send{}, fault
	}
	switch {
	case c.Provider == "":
		return machine.Send{}, wrong("the input has no provider")
	case c.AssetID == "":
		return machine.Send{}, wrong("the input has no assetId")
	}
	c.Retry = nil // it is the activity's to try again
	return initiate(w, c), nil
}

func initiate(w machine.Work, c transfer.Initiate) machine.Send {
	c.Asker = &transfer.Asker{Aggregate: w.Aggregate, ID: w.AggregateID, ActivityID: w.ActivityID, WorkID: w.ID, Attempt: w.Attempt}
	if left := w.Deadline.Sub(w.RequestedAt); !w.Deadline.IsZero() && (c.Deadline <= 0 || left < time.Duration(c.Deadline)) {
		c.Deadline = definition.Duration(max(left, time.Millisecond))
	}
	return machine.Send{
		ID: machine.ID("initiate", w.ID, strconv.Itoa(w.Attempt), strconv.Itoa(w.Offer)), Aggregate: transfer.Aggregate, Key: TransferID(w.ID, w.Attempt),
		Type: initiateType, Value: c, TraceParent: w.TraceParent,
	}
}

// wish is what an acquire activity wishes for, and where.
type wish struct {
	Provider       string           `json:"provider"`
	AssetID        string           `json:"assetId"`
	AssetType      string           `json:"assetType"`
	CounterPartyID string           `json:"counterPartyId"`
	Need           negotiation.Need `json:"need"`
	connector      string
}

// key is the negotiation with the provider.
func (w wish) key() string { return w.connector + " " + w.Provider }

func wished(route Route, input json.RawMessage) (wish, *orchestration.Fault) {
	var in wish
	if fault := decode(machine.Work{Input: input}, &in); fault != nil {
		return in, fault
	}
	if in.Provider == "" {
		return in, wrong("the input has no provider")
	}
	provider, err := partstree.NormalizeURL(in.Provider)
	if err != nil {
		return in, wrong("provider: %v", err)
	}
	connector, counterParty, err := route(provider)
	switch {
	case err != nil:
		return in, wrong("provider %s: %v", provider, err)
	case connector == "":
		return in, wrong("provider %s: no connector that can negotiate is configured for it", provider)
	}
	in.Provider, in.connector = provider, connector
	if in.CounterPartyID == "" {
		in.CounterPartyID = counterParty
	}
	return in, nil
}

// acquire wishes for access, and is answered like an agent's report.
func acquire(route Route, w machine.Work) (machine.Send, *orchestration.Fault) {
	in, fault := wished(route, w.Input)
	if fault != nil {
		return machine.Send{}, fault
	}
	switch {
	case (in.AssetID == "") == (in.AssetType == ""):
		return machine.Send{}, wrong("the input has to have either assetId or assetType")
	case strings.ContainsAny(in.AssetID+in.AssetType, "\x1f\x00"):
		return machine.Send{}, wrong("assetId and assetType have no control characters")
	case in.Need == "":
		in.Need = negotiation.NeedEDR
	case in.Need != negotiation.NeedEDR && in.Need != negotiation.NeedAgreement:
		return machine.Send{}, wrong("need %q is neither agreement nor edr", in.Need)
	}
	return machine.Send{
		ID: machine.ID("acquire", w.ID, strconv.Itoa(w.Attempt)), Aggregate: "negotiation", Key: in.key(), Type: acquireType, TraceParent: w.TraceParent,
		Value: negotiation.Acquire{
			Provider: in.Provider, Connector: in.connector, AssetID: in.AssetID, AssetType: in.AssetType, Need: in.Need,
			Waiter: waiter(w.ID, w.Attempt), CounterPartyID: in.CounterPartyID, Deadline: w.Deadline,
			Reply: &negotiation.Reply{Aggregate: w.Aggregate, ID: w.AggregateID, ActivityID: w.ActivityID, WorkID: w.ID, Attempt: w.Attempt},
		},
	}, nil
}

// end says that an attempt is no longer wanted. What it cannot be said of has begun nothing.
func end(route Route, c machine.CancelWork) []machine.Send {
	id := machine.ID("unwanted", c.ID, strconv.Itoa(c.Attempt))
	if c.Type != definition.Acquire {
		return []machine.Send{{
			ID: id, Aggregate: transfer.Aggregate, Key: TransferID(c.ID, c.Attempt), Type: terminateType,
			Value: transfer.Terminate{Reason: c.Reason, By: transfer.ByAsker},
		}}
	}
	in, fault := wished(route, c.Input)
	if fault != nil {
		return nil
	}
	return []machine.Send{{
		ID: id, Aggregate: "negotiation", Key: in.key(), Type: releaseType,
		Value: negotiation.Release{Waiter: waiter(c.ID, c.Attempt), Reason: c.Reason},
	}}
}
