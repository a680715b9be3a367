package provisioners

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/connectors/adapter"
	"github.com/waybill/waybill/internal/callbacks"
	"github.com/waybill/waybill/internal/seal"
	"github.com/waybill/waybill/schemas"
)

// local hands out addresses of our own. What is pushed there is received by producers/intake.
type local struct {
	addresses *callbacks.Addresses
	keys      *seal.Keyring
}

var errUnreachable = errors.New("nobody can reach this process: set --public-url to where the API is reached")

func (l local) provision(_ context.Context, _ agent.Activity, w wanted) agent.Result {
	if l.addresses == nil {
		return agent.Fatal(errUnreachable)
	}
	id := w.Definition.text("id")
	// Whoever has the address can push to it: the whole of it is the secret.
	address, err := json.Marshal(l.addresses.Upload(callbacks.Subject{Aggregate: schemas.AggregateTransfer, ID: w.TransferID, Task: id}))
	if err != nil {
		return agent.Fatal(err)
	}
	sealed, err := l.keys.Seal(seal.Transfer(w.TransferID), address)
	if err != nil {
		return agent.Fatal(err)
	}
	return provisioned(w, "upload", map[string]any{"type": "HttpData", "baseUrl": sealed})
}

// provisioned reports a resource that is there at once.
func provisioned(w wanted, name string, address map[string]any) agent.Result {
	return agent.Complete(map[string]any{"resource": map[string]any{
		"resourceDefinitionId": w.Definition.text("id"), "type": w.Definition.text("type"), "resourceName": name, "dataAddress": address,
	}})
}

// deprovision has nothing to do: an address whose transfer has ended takes nothing any more,
// and what came over the log goes as all large values do.
func (l local) deprovision(context.Context, agent.Activity, wanted) agent.Result {
	return agent.Complete(map[string]any{})
}

func (l local) collect(_ context.Context, w wanted) (adapter.Document, error) {
	if len(w.Resource.Content) == 0 {
		return adapter.Document{}, &adapter.Fault{Step: stepCollect, Err: errors.New("the transfer is said to be complete, but nothing was pushed to its address")}
	}
	contentType, body, err := schemas.ReadPushed(w.Resource.Content)
	if err != nil {
		return adapter.Document{}, &adapter.Fault{Step: stepCollect, Err: err}
	}
	return adapter.Document{Body: body, ContentType: contentType}, nil
}
