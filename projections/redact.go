package projections

import (
	"bytes"

	"github.com/waybill/waybill/internal/seal"
)

var (
	sealedStart = []byte(`{"$sealed":"`)
	redacted    = []byte(`"` + seal.Redacted + `"`)
)

// redact is seal.Redact, without taking apart what stands as our own writers write it: no string can have
// that in it, for there its quotes would be escaped, and what is sealed has none.
func redact(value []byte) []byte {
	rest, found := value, false
	var b []byte
	for {
		i := bytes.Index(rest, sealedStart)
		if i < 0 {
			break
		}
		n := bytes.IndexByte(rest[i+len(sealedStart):], '"')
		end := i + len(sealedStart) + n + 1
		if n < 0 || end >= len(rest) || rest[end] != '}' {
			return seal.Redact(value)
		}
		b = append(append(b, rest[:i]...), redacted...)
		rest, found = rest[end+1:], true
	}
	if !found {
		return seal.Redact(value) // nothing, or written otherwise
	}
	return seal.Redact(append(b, rest...))
}
