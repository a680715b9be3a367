package producers

import (
	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/domain/transfer"
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
