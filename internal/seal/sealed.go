package seal

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// MaxBytes is how large a secret may be: the largest tokens have some thousand bytes.
const MaxBytes = 64 << 10

// fit says what cannot be sealed, without a word of it.
func fit(value []byte) error {
	if len(value) > MaxBytes {
		return fmt.Errorf("it has %d bytes, over the limit of %d", len(value), MaxBytes)
	}
	if !json.Valid(value) {
		return errors.New("it is not JSON")
	}
	return nil
}

// member is the one member of what is sealed.
const member = "$sealed"

// Sealed is a secret that only a Keyring opens. Its zero value is none.
type Sealed struct {
	key string
	box []byte
}

// KeyID names the key that it was sealed with.
func (s Sealed) KeyID() string { return s.key }

// IsZero says that there is none.
func (s Sealed) IsZero() bool { return s.key == "" }

// String says no more than the key.
func (s Sealed) String() string { return "sealed with key " + s.key }

// MarshalJSON writes {"$sealed":"<key>.<base64url>"}; null where there is none.
func (s Sealed) MarshalJSON() ([]byte, error) {
	if s.IsZero() {
		return []byte("null"), nil
	}
	b := append([]byte(`{"`+member+`":"`+s.key+`.`), base64.RawURLEncoding.EncodeToString(s.box)...)
	return append(b, `"}`...), nil
}

// errForm does not show what stands where something sealed should: that may be the secret.
var errForm = errors.New(`want {"` + member + `":"<key id>.<base64url>"}`)

// UnmarshalJSON reads what MarshalJSON writes.
func (s *Sealed) UnmarshalJSON(b []byte) error {
	if bytes.Equal(bytes.TrimSpace(b), []byte("null")) {
		*s = Sealed{}
		return nil
	}
	var envelope map[string]string
	if json.Unmarshal(b, &envelope) != nil || len(envelope) != 1 {
		return errForm
	}
	text, ok := envelope[member]
	if !ok {
		return errForm
	}
	return s.parse(text)
}

func (s *Sealed) parse(text string) error {
	key, encoded, ok := strings.Cut(text, ".")
	if !ok || !validID(key) {
		return errForm
	}
	box, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return errForm
	}
	*s = Sealed{key, box}
	return nil
}

// Redacted stands wherever a secret would have been shown.
const Redacted = "«redacted»"

// Secret is what was sealed. It prints, logs and encodes as Redacted, inside of other
// values too.
type Secret struct{ value *[]byte } // a pointer, so that not even reflection prints it

var (
	_ fmt.Formatter  = Secret{}
	_ slog.LogValuer = Secret{}
	_ json.Marshaler = Secret{}
)

// Reveal is the JSON value itself, to be handed to what needs it and to nothing else.
func (s Secret) Reveal() json.RawMessage {
	if s.value == nil {
		return nil
	}
	return *s.value
}

// Decode decodes the value. Its error shows nothing of it.
func (s Secret) Decode(v any) error {
	if err := json.Unmarshal(s.Reveal(), v); err != nil {
		return fmt.Errorf("what was sealed is no %T", v)
	}
	return nil
}

// String is Redacted.
func (s Secret) String() string { return Redacted }

// Format prints Redacted for every verb.
func (s Secret) Format(f fmt.State, _ rune) {
	// A fmt.State keeps the error of its writer to itself.
	_, _ = io.WriteString(f, Redacted)
}

// LogValue is Redacted.
func (s Secret) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalJSON writes Redacted.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(Redacted) }
