package producers

import (
	"context"
	"encoding/json"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/domain/partstree"
	"github.com/waybill/waybill/domain/transfer"
	"github.com/waybill/waybill/internal/seal"
	"github.com/waybill/waybill/schemas"
)

// TransferCommand makes a command to a transfer, to be published. An empty commandID means
// a new one.
func TransferCommand(id, commandID string, c transfer.Command) (Command, error) {
	if err := CheckID("id", id); err != nil {
		return Command{}, err
	}
	typ, value, err := schemas.EncodeTransferCommand(c)
	return made(schemas.AggregateTransfer, id, commandID, typ, value, err)
}

// NegotiationCommand makes a command to the access to a counter-party, whose key is a
// connector's name, a space and the provider's normalised address.
func NegotiationCommand(key, commandID string, c negotiation.Command) (Command, error) {
	typ, value, err := schemas.EncodeNegotiationCommand(c)
	return made(schemas.AggregateNegotiation, key, commandID, typ, value, err)
}

func made(aggregate, key, commandID, typ string, value []byte, err error) (Command, error) {
	if err != nil {
		return Command{}, &InvalidError{Path: "body", Message: err.Error()}
	}
	if commandID == "" {
		commandID = NewID()
	}
	return Command{Aggregate: aggregate, ID: commandID, Type: typ, Key: key, Value: value}, nil
}

// Transfer asks for a transfer.
type Transfer struct {
	ID string // empty means a new UUIDv7
	transfer.Initiate
	Keys        *seal.Keyring // seal the secrets in it; without, one that has any is refused
	CommandID   string        // empty means derived from ID and the rest
	TraceParent string        // W3C trace context, optional
}

// InitiateTransfer publishes a wish for a transfer. The same ID with the same body is the same
// command, so a repeat is harmless; with another body it is refused as a conflict.
func (p *Publisher) InitiateTransfer(ctx context.Context, t Transfer) (Accepted, error) {
	if t.ID == "" {
		t.ID = NewID()
	}
	for path, value := range map[string]*json.RawMessage{"destination": &t.Destination, "properties": &t.Properties} {
		var err error
		if *value, err = SealSecrets(t.Keys, t.ID, path, *value); err != nil {
			return Accepted{}, err
		}
	}
	if m := t.Manifest; m != nil {
		raw, err := schemas.Encode(m)
		if err == nil {
			raw, err = SealSecrets(t.Keys, t.ID, "manifest", raw)
		}
		if err == nil {
			t.Manifest = new(transfer.Manifest)
			err = json.Unmarshal(raw, t.Manifest)
		}
		if err != nil {
			return Accepted{}, err
		}
	}
	c, err := TransferCommand(t.ID, t.CommandID, t.Initiate)
	if err != nil {
		return Accepted{}, err
	}
	if t.CommandID == "" {
		c.ID = InitiateID(t.ID, c.Value)
	}
	return p.asked(ctx, c, t.TraceParent)
}

// SealSecrets seals those members of a value about a transfer whose names say that they are secret:
// they cross the log. path is where the value stands, for an error.
func SealSecrets(keys *seal.Keyring, transferID, path string, value json.RawMessage) (json.RawMessage, error) {
	if len(value) == 0 {
		return value, nil
	}
	sealed, err := keys.SealMembers(seal.Transfer(transferID), value, seal.SecretName)
	if err != nil {
		return nil, &InvalidError{Path: path, Message: "has a secret that cannot be sealed here: " + err.Error()}
	}
	return sealed, nil
}

// InitiateID derives the ID of an initiate from its transfer and its body, as StartID does that of a start.
func InitiateID(id string, body []byte) string {
	return machine.ID("command", schemas.TransferInitiate, id, schemas.Fingerprint(body))
}

// TransferOperation is a verb, said of a transfer.
type TransferOperation struct {
	Verb        Verb
	ID          string // of the transfer
	Reason, By  string // for those who look at it later
	CommandID   string // empty means a new one
	TraceParent string
}

// OperateTransfer publishes what an operator says of a transfer. Saying it again is harmless.
func (p *Publisher) OperateTransfer(ctx context.Context, o TransferOperation) (Accepted, error) {
	if err := CheckID("id", o.ID); err != nil {
		return Accepted{}, err
	}
	body := Operation{Verb: o.Verb, Reason: o.Reason, By: o.By}
	value, err := body.members()
	if err == nil {
		_, err = schemas.DecodeTransferCommand(o.Verb.Type, value)
	}
	if err != nil {
		return Accepted{}, err
	}
	if o.CommandID == "" {
		o.CommandID = NewID()
	}
	return p.asked(ctx, Command{Aggregate: schemas.AggregateTransfer, ID: o.CommandID, Type: o.Verb.Type, Key: o.ID, Value: value}, o.TraceParent)
}

// Acquire asks for access to an asset, or to all of a type: a wish.
type Acquire struct {
	negotiation.Acquire        // Waiter empty means a new UUIDv7, Need empty an EDR
	CommandID           string // empty means derived from the rest
	TraceParent         string
}

// AcquireAccess publishes a wish for access. Who waits is answered on the completions topic.
func (p *Publisher) AcquireAccess(ctx context.Context, a Acquire) (Accepted, error) {
	key, err := NegotiationKey(a.Connector, a.Provider)
	if err != nil {
		return Accepted{}, err
	}
	if a.Waiter == "" {
		a.Waiter = NewID()
	}
	if a.Need == "" {
		a.Need = negotiation.NeedEDR
	}
	c, err := NegotiationCommand(key, a.CommandID, a.Acquire)
	if err != nil {
		return Accepted{}, err
	}
	if _, err := schemas.DecodeNegotiationCommand(c.Type, c.Value); err != nil {
		return Accepted{}, err
	}
	if a.CommandID == "" {
		c.ID = AcquireID(key, c.Value)
	}
	accepted, err := p.asked(ctx, c, a.TraceParent)
	accepted.ID = a.Waiter
	return accepted, err
}

// NegotiationKey is the key of the commands about the access to a counter-party: the name of a connector of
// ours, a space, and the provider's normalised address.
func NegotiationKey(connector, provider string) (string, error) {
	address, err := partstree.NormalizeURL(provider)
	if err != nil {
		return "", &InvalidError{Path: "provider", Message: err.Error()}
	}
	if connector == "" {
		return "", &InvalidError{Path: "connector", Message: "is needed: it is the name of the connector that the provider is spoken to through"}
	}
	return connector + " " + address, nil
}

// AcquireID derives the ID of a wish from what it says and who waits.
func AcquireID(key string, body []byte) string {
	return machine.ID("command", schemas.NegotiationAcquire, key, schemas.Fingerprint(body))
}

func (p *Publisher) asked(ctx context.Context, c Command, traceParent string) (Accepted, error) {
	c.TraceParent = traceParent
	pos, err := p.Publish(ctx, c)
	if err != nil {
		return Accepted{}, err
	}
	return Accepted{ID: c.Key, CommandID: c.ID, Position: pos}, nil
}
