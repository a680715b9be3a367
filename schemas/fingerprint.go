package schemas

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// Fingerprint tells bodies apart: 16 hex digits of the SHA-256 of the canonical JSON, in
// which neither the order of keys nor white space matters. What is not JSON is hashed as
// it is.
func Fingerprint(data []byte) string {
	var v any
	if err := json.Unmarshal(data, &v); err == nil {
		if c, err := json.Marshal(v); err == nil {
			data = c
		}
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}
