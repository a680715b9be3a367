package definition

import (
	"encoding/json"
	"fmt"

	"github.com/waybill/waybill/domain/machine"
)

// SnapshotVersion is the version of what EncodeSnapshot writes. It grows with every change of that;
// DecodeSnapshot reads the older ones for ever.
const SnapshotVersion = 1

// snapshot is a State, version 1.
type snapshot struct {
	Version int             `json:"version,omitempty"`
	Set     string          `json:"set,omitempty"`
	InForce json.RawMessage `json:"inForce,omitempty"`
}

// EncodeSnapshot writes the state down, but for its id.
func (s State) EncodeSnapshot() ([]byte, error) {
	return machine.Encode(snapshot{Version: s.version, Set: s.set, InForce: s.inForce})
}

// DecodeSnapshot is the state that was written down. s is what New makes of its id.
func (s State) DecodeSnapshot(version int, data []byte) (State, error) {
	var x snapshot
	if err := machine.ReadSnapshot(data, version, SnapshotVersion, &x); err != nil {
		return s, fmt.Errorf("definition %s: %w", s.key(), err)
	}
	s.version, s.set, s.inForce = x.Version, x.Set, x.InForce
	return s, nil
}
