package machine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// ReadSnapshot reads the value of a snapshot, which must have the version that the caller knows. It takes no
// member that it does not know: a state must not go on without something that another build
// has kept in it. Whoever has an error reads the events instead.
func ReadSnapshot(data []byte, version, known int, into any) error {
	if version != known {
		return fmt.Errorf("a snapshot of version %d; this build reads version %d", version, known)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("a snapshot that cannot be read: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return fmt.Errorf("a snapshot that goes on behind its end, at byte %d", dec.InputOffset())
	}
	return nil
}
