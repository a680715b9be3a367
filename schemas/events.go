package schemas

import (
	"encoding/json"
	"fmt"

	"github.com/waybill/waybill/domain/orchestration"
)

// EncodeOrchestrationEvent writes an event's value and names its type.
func EncodeOrchestrationEvent(e orchestration.Event) (wireType string, data []byte, err error) {
	if wireType = orchestrationEventType(e); wireType == "" {
		return "", nil, fmt.Errorf("event %T has no wire name", e)
	}
	data, err = json.Marshal(e)
	return wireType, data, err
}

func orchestrationEventType(e orchestration.Event) string {
	switch e.(type) {
	case orchestration.Started:
		return OrchestrationStarted
	case orchestration.Requested:
		return ActivityRequested
	case orchestration.Offered:
		return ActivityOffered
	case orchestration.Claimed:
		return ActivityClaimed
	case orchestration.Extended:
		return ActivityExtended
	case orchestration.Waited:
		return ActivityWaited
	case orchestration.Scheduled:
		return ActivityScheduled
	case orchestration.Retrying:
		return ActivityRetrying
	case orchestration.Completed:
		return ActivityCompleted
	case orchestration.Failed:
		return ActivityFailed
	case orchestration.TransfersFinished:
		return TransfersFinished
	case orchestration.Ended:
		return OrchestrationEnded
	}
	return ""
}

// Decoder reads events. It remembers the definitions it has read, so that the
// orchestrations of one definition share one plan. Its zero value is ready. It is not
// safe for concurrent use: each reader has its own.
type Decoder struct{}

// NewDecoder makes a Decoder.
func NewDecoder() *Decoder { return &Decoder{} }

// DecodeOrchestrationEvent reads an event's value. It returns an *UnknownVersionError for a
// type this build does not know, and an *UndecodableError for a value that does not fit.
func (d *Decoder) DecodeOrchestrationEvent(wireType string, data []byte) (orchestration.Event, error) {
	switch wireType {
	case OrchestrationStarted:
		return event[orchestration.Started](wireType, data)
	case ActivityRequested:
		return event[orchestration.Requested](wireType, data)
	case ActivityOffered:
		return event[orchestration.Offered](wireType, data)
	case ActivityClaimed:
		return event[orchestration.Claimed](wireType, data)
	case ActivityExtended:
		return event[orchestration.Extended](wireType, data)
	case ActivityWaited:
		return event[orchestration.Waited](wireType, data)
	case ActivityScheduled:
		return event[orchestration.Scheduled](wireType, data)
	case ActivityRetrying:
		return event[orchestration.Retrying](wireType, data)
	case ActivityCompleted:
		return event[orchestration.Completed](wireType, data)
	case ActivityFailed:
		return event[orchestration.Failed](wireType, data)
	case TransfersFinished:
		return event[orchestration.TransfersFinished](wireType, data)
	case OrchestrationEnded:
		return event[orchestration.Ended](wireType, data)
	}
	return nil, &UnknownVersionError{Type: wireType, Known: OrchestrationEvents()}
}

func event[E orchestration.Event](wireType string, data []byte) (orchestration.Event, error) {
	var e E
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, undecodable(wireType, err)
	}
	return e, nil
}
