package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// keyBytes is the length of a key: AES-256.
const keyBytes = 32

// Keyring seals with one key and opens with all it has. It is safe for concurrent use, and
// prints no more than the ids of its keys. A nil Keyring refuses everything.
type Keyring struct {
	ids  []string // the current one first
	keys map[string]cipher.AEAD
}

// Parse reads keys: lines, or words, of id:base64, the current key first. What follows a #
// is a comment. Errors name ids and lines, never what stands there.
func Parse(text string) (*Keyring, error) {
	r := &Keyring{keys: map[string]cipher.AEAD{}}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line, _, _ = strings.Cut(line, "#")
		for _, word := range strings.Fields(line) {
			if err := r.add(word); err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
		}
	}
	if len(r.ids) == 0 {
		return nil, errors.New("no key is in it: want lines of id:base64, made by " + makeKey)
	}
	return r, nil
}

// makeKey is how a user makes a key.
const makeKey = `echo "k1:$(openssl rand -base64 32)"`

func (r *Keyring) add(word string) error {
	id, encoded, ok := strings.Cut(word, ":")
	if !ok || !validID(id) {
		return errors.New("want id:base64, with an id of at most 64 letters, digits, - and _")
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(key) != keyBytes {
		return fmt.Errorf("key %q: want %d bytes in base64, made by %s", id, keyBytes, makeKey)
	}
	if _, ok := r.keys[id]; ok {
		return fmt.Errorf("key %q stands there twice", id)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return fmt.Errorf("key %q: %w", id, err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return fmt.Errorf("key %q: %w", id, err)
	}
	r.ids, r.keys[id] = append(r.ids, id), aead
	return nil
}

// maxID bounds the id of a key.
const maxID = 64

func validID(id string) bool {
	other := func(c rune) bool {
		return c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z')
	}
	return id != "" && len(id) <= maxID && !strings.ContainsFunc(id, other)
}

// IDs lists the keys, the current one first.
func (r *Keyring) IDs() []string {
	if r == nil {
		return nil
	}
	return slices.Clone(r.ids)
}

// String names the keys.
func (r *Keyring) String() string { return "keys " + strings.Join(r.IDs(), ", ") }

// GoString is String: no verb prints a key.
func (r *Keyring) GoString() string { return r.String() }

// additional is what a secret is bound to beside its key. The length keeps two purposes
// apart whatever is in them.
func additional(id, purpose string) []byte {
	return fmt.Appendf(nil, "waybill sealed 1\x00%s\x00%d\x00%s", id, len(purpose), purpose)
}

// Seal seals a JSON value for a purpose, a text that tells it from all others: what it is and of what.
func (r *Keyring) Seal(purpose string, value []byte) (Sealed, error) {
	if r == nil || len(r.ids) == 0 {
		return Sealed{}, fmt.Errorf("seal %s: %w", purpose, ErrNoKeys)
	}
	if err := fit(value); err != nil {
		return Sealed{}, fmt.Errorf("seal %s: %w", purpose, err)
	}
	id := r.ids[0]
	// The nonce is drawn by the cipher and stands before the text.
	return Sealed{id, r.keys[id].Seal(nil, nil, value, additional(id, purpose))}, nil //nolint:gosec // G407: it takes no nonce
}

// Open gives back what was sealed for a purpose. Its error is an *OpenError or ErrNoKeys.
func (r *Keyring) Open(purpose string, s Sealed) (Secret, error) {
	if r == nil || len(r.ids) == 0 {
		return Secret{}, fmt.Errorf("open %s: %w", purpose, ErrNoKeys)
	}
	aead, ok := r.keys[s.key]
	if !ok {
		return Secret{}, &OpenError{KeyID: s.key, Purpose: purpose, Unknown: true}
	}
	value, err := aead.Open(nil, nil, s.box, additional(s.key, purpose))
	if err != nil {
		// The cipher's own error says less.
		return Secret{}, &OpenError{KeyID: s.key, Purpose: purpose}
	}
	return Secret{&value}, nil
}

// ErrNoKeys says that a process has no keys.
var ErrNoKeys = errors.New("this process has no keys to seal with")

// OpenError says why something stays sealed.
type OpenError struct {
	KeyID   string
	Purpose string
	Unknown bool // nobody here has the key; else it fits nothing that the key sealed for this purpose
}

// Error implements error.
func (e *OpenError) Error() string {
	if e.Unknown {
		return fmt.Sprintf("open %s: it is sealed with key %q, which is not among the keys of this process", e.Purpose, e.KeyID)
	}
	return fmt.Sprintf("open %s: key %q did not seal this for that, or it was changed since", e.Purpose, e.KeyID)
}
