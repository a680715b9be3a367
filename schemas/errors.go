package schemas

import (
	"fmt"
	"strings"
)

// UnknownVersionError is a record of a type, or of a version of it, that this build does
// not know. Whoever folds the records of its partition must stop there: going on without
// it would make another state than the one the log says.
type UnknownVersionError struct {
	Topic string // where it was read; empty where the codec was not told
	Type  string // its ce_type
	Known []string
}

// Error implements error.
func (e *UnknownVersionError) Error() string {
	where := ""
	if e.Topic != "" {
		where = " on " + e.Topic
	}
	what := "is not a type this build knows"
	if v := e.sameName(); len(v) > 0 {
		what = "is a version this build does not know, only " + strings.Join(v, ", ")
	}
	return fmt.Sprintf("%q%s %s: it was written by a newer version of waybill; upgrade this process", e.Type, where, what)
}

// sameName lists the known versions of the name.
func (e *UnknownVersionError) sameName() []string {
	name, ok := unversioned(e.Type)
	if !ok {
		return nil
	}
	var same []string
	for _, k := range e.Known {
		if n, ok := unversioned(k); ok && n == name {
			same = append(same, k)
		}
	}
	return same
}

// unversioned cuts ".v7" off a wire name.
func unversioned(wireType string) (string, bool) {
	i := strings.LastIndex(wireType, ".v")
	if i <= 0 {
		return "", false
	}
	digits := wireType[i+2:]
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return "", false
	}
	return wireType[:i], true
}

// UndecodableError is a value that cannot be read at all, so that there is nobody and
// nothing to answer: it goes to the dead letters.
type UndecodableError struct {
	Type   string // ce_type of the record
	Offset int    // byte at which reading ended
	Reason string
}

// Error implements error.
func (e *UndecodableError) Error() string {
	return fmt.Sprintf("%s: the value cannot be read: byte %d: %s", e.Type, e.Offset, e.Reason)
}
