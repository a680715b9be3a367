package secret

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
)

// Redacted stands wherever a secret would have been printed.
const Redacted = "«redacted»"

// Value is a secret. It prints, logs and encodes as Redacted, inside of other values too.
// The zero Value is empty.
type Value struct{ text *string } // a pointer, so that not even reflection prints it

var (
	_ fmt.Formatter  = Value{}
	_ slog.LogValuer = Value{}
	_ json.Marshaler = Value{}
)

// New makes a secret of a text.
func New(text string) Value { return Value{&text} }

// Reveal is the secret itself, to be handed to what needs it and to nothing else.
func (v Value) Reveal() string {
	if v.text == nil {
		return ""
	}
	return *v.text
}

// Empty says that there is nothing in it.
func (v Value) Empty() bool { return v.Reveal() == "" }

// Equal compares two secrets in a time that says nothing about them but their length.
func (v Value) Equal(other Value) bool {
	return subtle.ConstantTimeCompare([]byte(v.Reveal()), []byte(other.Reveal())) == 1
}

// String is Redacted.
func (v Value) String() string { return Redacted }

// Format prints Redacted for every verb.
func (v Value) Format(f fmt.State, _ rune) {
	// A fmt.State keeps the error of its writer to itself.
	_, _ = io.WriteString(f, Redacted)
}

// LogValue is Redacted.
func (v Value) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalText writes Redacted.
func (v Value) MarshalText() ([]byte, error) { return []byte(Redacted), nil }

// MarshalJSON writes Redacted.
func (v Value) MarshalJSON() ([]byte, error) { return json.Marshal(Redacted) }
