package schemas

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
)

// MaxCommandBytes is the largest value, in bytes, a command may have. It leaves room for
// the events and work records that repeat a command's input within a record of
// the log.
const MaxCommandBytes = 1 << 20

// EncodeOrchestrationCommand writes a command's value and names its type. It refuses the
// commands that are not on the wire.
func EncodeOrchestrationCommand(c orchestration.Command) (wireType string, data []byte, err error) {
	if wireType = orchestrationCommandType(c); wireType == "" {
		return "", nil, fmt.Errorf("command %T is not on the wire", c)
	}
	data, err = Encode(c)
	return wireType, data, err
}

func orchestrationCommandType(c orchestration.Command) string {
	switch c.(type) {
	case orchestration.Start:
		return OrchestrationStart
	case orchestration.Cancel:
		return OrchestrationCancel
	case orchestration.Complete:
		return WorkComplete
	case orchestration.Wait:
		return WorkWait
	case orchestration.Schedule:
		return WorkSchedule
	case orchestration.Retry:
		return WorkRetry
	case orchestration.Fail:
		return WorkFail
	case orchestration.Heartbeat:
		return WorkHeartbeat
	case orchestration.Wake, orchestration.TakeOver:
		return ""
	}
	return ""
}

// DecodeOrchestrationCommand reads and checks a command's value. What can be read but is
// not to be had is a *machine.Refusal; what cannot be read an *UndecodableError.
func DecodeOrchestrationCommand(wireType string, data []byte) (orchestration.Command, error) {
	switch wireType {
	case OrchestrationStart:
		c, err := command[orchestration.Start](wireType, data)
		if err != nil {
			return nil, err
		}
		c.Fingerprint = Fingerprint(data)
		return c, nil
	case OrchestrationCancel:
		return commandOf[orchestration.Cancel](wireType, data)
	case WorkComplete:
		return commandOf[orchestration.Complete](wireType, data)
	case WorkWait:
		return commandOf[orchestration.Wait](wireType, data)
	case WorkSchedule:
		return commandOf[orchestration.Schedule](wireType, data)
	case WorkRetry:
		return commandOf[orchestration.Retry](wireType, data)
	case WorkFail:
		return commandOf[orchestration.Fail](wireType, data)
	case WorkHeartbeat:
		return commandOf[orchestration.Heartbeat](wireType, data)
	}
	return nil, unknownCommand(wireType, OrchestrationCommands())
}

func unknownCommand(wireType string, known []string) *machine.Refusal {
	return machine.Refuse(machine.UnknownType, fmt.Sprintf("%q is not a command this aggregate takes; it takes %s", wireType, strings.Join(known, ", ")))
}

func commandOf[C orchestration.Command](wireType string, data []byte) (orchestration.Command, error) {
	c, err := command[C](wireType, data)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func command[C orchestration.Command](wireType string, data []byte) (C, error) {
	var c C
	switch {
	case len(data) > MaxCommandBytes:
		return c, machine.Refuse(machine.Limit, fmt.Sprintf("the value has %d bytes, the limit of a command is %d", len(data), MaxCommandBytes))
	case !utf8.Valid(data):
		return c, &UndecodableError{Type: wireType, Reason: "it is not UTF-8"}
	case !json.Valid(data):
		return c, &UndecodableError{Type: wireType, Reason: "it is not JSON"}
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, machine.Refuse(machine.Schema, "the value does not fit the schema of "+wireType, machine.Problem{Message: err.Error()})
	}
	return c, nil
}
