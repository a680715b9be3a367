package agents

import (
	"context"
	"errors"
	"fmt"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/connectors/adapter"
	"github.com/waybill/waybill/consumers/connectors/plain"
	"github.com/waybill/waybill/domain/partstree"
	"github.com/waybill/waybill/internal/outbound"
)

// Retrieve gets a document from a plain provider: GET <connectorUrl>/<file>. Its input
// is {file, connectorUrl}, its output {value, order?}, and it spawns a retrieve for each
// document that this one asks for. Its failures say at which step they happened: address,
// fetch or parse.
type Retrieve struct{ from *plain.Connector }

// NewRetrieve makes a Retrieve with connections of its own.
func NewRetrieve(cfg plain.Config) *Retrieve { return &Retrieve{plain.New(cfg)} }

// Process implements agent.Processor.
func (r *Retrieve) Process(ctx context.Context, a agent.Activity) agent.Result {
	var in partstree.Request
	err := a.Input.Decode(&in)
	switch {
	case err != nil:
	case in.File == "":
		err = errors.New("the input has no file")
	case in.ConnectorURL == "":
		err = errors.New("the input has no connectorUrl")
	}
	if err != nil {
		return agent.Fatal(err).AtStep("address")
	}
	found, err := r.from.Document(ctx, adapter.Want{Party: adapter.Party{Provider: in.ConnectorURL}, AssetID: in.File, Key: a.IdempotencyKey})
	if err != nil {
		return adapter.Failed(err)
	}
	doc, err := partstree.Parse(found.Body)
	if err != nil {
		return agent.Fatal(fmt.Errorf("GET %s: %w%s", found.Source, err, outbound.Seen(found.ContentType, found.Body))).AtStep("parse")
	}
	return agent.Complete(partstree.Output{Value: doc.Value, Order: doc.Order}).
		Spawn(partstree.Spawn(doc)...).
		WithKey(partstree.NodeID(in.ConnectorURL, in.File))
}
