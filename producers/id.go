package producers

import (
	"fmt"

	"github.com/google/uuid"

	"github.com/waybill/waybill/domain/machine"
)

// MaxIDBytes is how long an ID that a user gives may be, in bytes.
const MaxIDBytes = 128

// InvalidError says what is wrong with an input before anything was written.
type InvalidError struct {
	Path    string // which field
	Message string
}

// Error implements error.
func (e *InvalidError) Error() string { return e.Path + ": " + e.Message }

// NewID returns an ID for something nobody has named: a UUIDv7, so that IDs sort by
// the time they were made.
func NewID() string {
	// It draws from crypto/rand, which never fails: Must cannot panic.
	return uuid.Must(uuid.NewV7()).String()
}

// CheckID says what keeps an ID from being used in a URL and as a key. Its error is an
// *InvalidError.
func CheckID(path, id string) error {
	switch {
	case id == "":
		return &InvalidError{Path: path, Message: "is empty"}
	case len(id) > MaxIDBytes:
		return &InvalidError{Path: path, Message: fmt.Sprintf("has %d bytes, the limit is %d", len(id), MaxIDBytes)}
	}
	for i := range len(id) {
		if !idByte(id[i], i == 0) {
			return &InvalidError{Path: path, Message: fmt.Sprintf("has %q at byte %d: letters, digits and _ are allowed, and after the first also - . ~ : @", id[i:i+1], i+1)}
		}
	}
	return nil
}

// idByte allows what a path segment may hold unescaped. The first byte is stricter, so
// that no ID is "..", looks like a flag, or is the key of a shard's books.
func idByte(b byte, first bool) bool {
	switch {
	case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9', b == '_':
		return true
	case b == '-', b == '.', b == '~', b == ':', b == '@':
		return !first
	}
	return false
}

// IDFromKey derives the ID of a job from an idempotency key, so that the same key
// names the same job.
func IDFromKey(key string) string { return machine.ID("idempotency-key", key) }
