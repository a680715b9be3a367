package schemas

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/waybill/waybill/domain/definition"
)

// EncodeDefinitionCommand writes a command's value and names its type.
func EncodeDefinitionCommand(c definition.Command) (wireType string, data []byte, err error) {
	switch c.(type) {
	case definition.Put:
		wireType = DefinitionPut
	case definition.Delete:
		wireType = DefinitionDelete
	default:
		return "", nil, fmt.Errorf("command %T is not on the wire", c)
	}
	data, err = Encode(c)
	return wireType, data, err
}

// DecodeDefinitionCommand reads and checks a command's value, with the errors of
// DecodeOrchestrationCommand. The definition itself is for the aggregate to check: it
// names all mistakes at once.
func DecodeDefinitionCommand(wireType string, data []byte) (definition.Command, error) {
	if wireType != DefinitionPut && wireType != DefinitionDelete {
		return nil, unknownCommand(wireType, DefinitionCommands())
	}
	data, err := measure(data)
	if err != nil {
		return nil, err
	}
	// Of a put the schema says no more than that it is an object: the definition finds the mistakes.
	if object := bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")); wireType == DefinitionPut && object {
		err = readable(wireType, data)
	} else {
		err = explain(wireType, data, nil)
	}
	if err != nil {
		return nil, err
	}
	if wireType == DefinitionDelete {
		return definition.Delete{}, nil
	}
	var put definition.Put
	if err := json.Unmarshal(data, &put); err != nil {
		return nil, undecodable(wireType, err)
	}
	return put, nil
}

// EncodeDefinitionEvent writes an event's value and names its type.
func EncodeDefinitionEvent(e definition.Event) (wireType string, data []byte, err error) {
	switch e.(type) {
	case definition.Changed:
		wireType = DefinitionChanged
	case definition.Deleted:
		wireType = DefinitionDeleted
	default:
		return "", nil, fmt.Errorf("event %T is not on the wire", e)
	}
	data, err = Encode(e)
	return wireType, data, err
}

// DecodeDefinitionEvent reads an event's value, with the errors of
// Decoder.DecodeOrchestrationEvent.
func DecodeDefinitionEvent(wireType string, data []byte) (definition.Event, error) {
	switch wireType {
	case DefinitionChanged:
		var e definition.Changed
		err := decodeKnown(wireType, data, &e, DefinitionEvents())
		return e, err
	case DefinitionDeleted:
		return definition.Deleted{}, nil
	}
	return nil, &UnknownVersionError{Type: wireType, Known: DefinitionEvents()}
}
