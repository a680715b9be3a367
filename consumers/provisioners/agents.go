package provisioners

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/connectors"
	"github.com/waybill/waybill/consumers/connectors/adapter"
	"github.com/waybill/waybill/internal/callbacks"
	"github.com/waybill/waybill/internal/seal"
)

// The steps of faults.
const (
	stepProvision   = "provision"
	stepDeprovision = "deprovision"
	stepCollect     = "collect"
)

// provisioner is how one type of resource is made and unmade.
type provisioner interface {
	provision(ctx context.Context, a agent.Activity, w wanted) agent.Result
	deprovision(ctx context.Context, a agent.Activity, w wanted) agent.Result
	// collect reads what landed in the resource.
	collect(ctx context.Context, w wanted) (adapter.Document, error)
}

// wanted is what a piece of work is about.
type wanted struct {
	connectors.Asset
	TransferID string            `json:"transferId"`
	Definition object            `json:"definition"`
	Resource   resource          `json:"resource"`
	Secret     string            `json:"secret"` // that came with the resource
	Policy     json.RawMessage   `json:"policy"`
	Callback   callbacks.Subject `json:"callback"`
}

// object is a definition: id, type and whatever else is for its provisioner.
type object map[string]json.RawMessage

func (o object) text(name string) string {
	var s string
	if json.Unmarshal(o[name], &s) != nil {
		return ""
	}
	return s
}

// resource is what was provisioned: what a provisioner of ours has reported, or what another
// one's callback has.
type resource struct {
	DefinitionID string      `json:"resourceDefinitionId"`
	Type         string      `json:"type,omitempty"`
	Name         string      `json:"resourceName,omitempty"`
	DataAddress  dataAddress `json:"dataAddress,omitempty"` // where the provider sends to
	// Content is what was pushed, where that has come over the log.
	Content json.RawMessage `json:"content,omitempty"`
	// ContentDataAddress is, in a callback, where the content is.
	ContentDataAddress dataAddress `json:"contentDataAddress,omitempty"`
}

// agents are the processors of the three types.
type agents struct {
	keys   *seal.Keyring
	byType map[string]provisioner
	others *others
}

func (a *agents) find(w wanted) (provisioner, error) {
	typ := w.Definition.text("type")
	if typ == "" {
		typ = w.Resource.Type
	}
	p, ok := a.byType[typ]
	if !ok {
		return nil, fmt.Errorf("nobody here provisions the type %q, only %s: add it to provisioners in the configuration", typ, strings.Join(slices.Sorted(maps.Keys(a.byType)), ", "))
	}
	return p, nil
}

// read decodes the input of a piece of work. Its errors show nothing of it: secrets are open.
func (a *agents) read(activity agent.Activity) (w wanted, err error) {
	transfer := activity.Input.String("transferId")
	if transfer == "" {
		transfer = activity.JobID
	}
	input := activity.Input.Raw()
	if len(input) == 0 {
		input = json.RawMessage("{}")
	}
	open, err := a.keys.OpenAll(seal.Transfer(transfer), input)
	if err != nil {
		return w, err
	}
	if err := open.Decode(&w); err != nil {
		return w, errors.New("the input is not of the form that provisioners take")
	}
	w.TransferID = transfer
	return w, nil
}

func (a *agents) provision(ctx context.Context, activity agent.Activity) agent.Result {
	w, err := a.read(activity)
	if err != nil {
		return agent.Fatal(err).AtStep(stepProvision)
	}
	if id := w.Definition.text("id"); id == "" {
		return agent.Fatal(errors.New("the definition has no id")).AtStep(stepProvision)
	}
	p, err := a.find(w)
	if err != nil {
		return agent.Fatal(err).AtStep(stepProvision)
	}
	return p.provision(ctx, activity, w).AtStep(stepProvision)
}

func (a *agents) deprovision(ctx context.Context, activity agent.Activity) agent.Result {
	w, err := a.read(activity)
	if err != nil {
		return agent.Fatal(err).AtStep(stepDeprovision)
	}
	p, err := a.find(w)
	if err != nil {
		return agent.Fatal(err).AtStep(stepDeprovision)
	}
	return p.deprovision(ctx, activity, w).AtStep(stepDeprovision)
}

// collect reads what landed, and makes of it what whoever asked for the asset is to have.
func (a *agents) collect(ctx context.Context, activity agent.Activity) agent.Result {
	w, err := a.read(activity)
	if err != nil {
		return agent.Fatal(err).AtStep(stepCollect)
	}
	var document adapter.Document
	if len(w.Resource.ContentDataAddress) > 0 {
		document, err = a.others.read(ctx, w.Resource.ContentDataAddress, w.Secret)
	} else if p, missing := a.find(w); missing != nil {
		return agent.Fatal(missing).AtStep(stepCollect)
	} else {
		document, err = p.collect(ctx, w)
	}
	if err != nil {
		return adapter.Failed(err)
	}
	return connectors.Output(document, w.Asset)
}
