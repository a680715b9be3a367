package orchestration

import (
	"encoding/json"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
)

// startType is the wire name of the command that starts an orchestration.
const startType = "orchestration.start.v1"

// maxCallbackBytes bounds what a callback is told; a larger completion is told without its
// output and failures, which the status has.
const maxCallbackBytes = 512 << 10

// callback starts the orchestration that tells the start's callback of the end. Its id is
// derived, so that deriving it again starts nothing new.
func (s State) callback(at time.Time, c machine.Completion) machine.Effect {
	data, err := json.Marshal(c.Value)
	if value, ok := c.Value.(Completion); ok && (err != nil || len(data) > maxCallbackBytes) {
		value.Output, value.Failures = nil, nil
		data, err = json.Marshal(value)
	}
	if err != nil {
		data = json.RawMessage("{}") // what is left is ours and always encodes
	}
	type input struct {
		URL     string          `json:"url"`
		ID      string          `json:"id"`
		Type    string          `json:"type"`
		Subject string          `json:"subject"`
		Time    time.Time       `json:"time"`
		Data    json.RawMessage `json:"data"`
	}
	type start struct {
		Type   string            `json:"type"`
		Input  input             `json:"input"`
		Labels map[string]string `json:"labels"`
	}
	return machine.Send{
		ID: machine.ID("callback-start", s.id, itoa(s.run)), Aggregate: "orchestration",
		Key: "callback-" + machine.ID("callback", s.id, itoa(s.run)), Type: startType,
		Value: start{
			Type:   definition.Callback,
			Input:  input{s.g.callback, c.ID, c.Type, s.id, at, data},
			Labels: map[string]string{"callbackOf": s.id},
		},
	}
}
