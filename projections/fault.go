package projections

import (
	"errors"
	"fmt"
)

// Fault says that a partition of the log cannot be folded any further: its next record
// is of a version that this build does not know, cannot be read, or is no longer there.
// Skipping it would show a state that the log does not have. The other partitions go on.
type Fault struct {
	Topic     string
	Partition int32
	Offset    int64  // of the record at which the partition stopped
	Type      string // its ce_type, where it has one
	Err       error
}

// Error implements error: where, what, why.
func (f *Fault) Error() string {
	typ := ""
	if f.Type != "" {
		typ = " (" + f.Type + ")"
	}
	return fmt.Sprintf("%s/%d has stopped at offset %d%s: %v", f.Topic, f.Partition, f.Offset, typ, f.Err)
}

// Unwrap is the cause.
func (f *Fault) Unwrap() error { return f.Err }

func (p *partition) stop(offset int64, typ string, err error) *Fault {
	p.fault = &Fault{Topic: p.topic, Partition: p.number, Offset: offset, Type: typ, Err: err}
	return p.fault
}

// isFault says whether an error stops a partition only.
func isFault(err error) bool {
	var f *Fault
	return errors.As(err, &f)
}
