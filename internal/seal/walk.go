package seal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
)

// SealMembers seals every member of a value whose name says that it is secret, at any depth, and
// every address that is a secret itself (SecretURL).
// What is sealed already, empty or null stays as it is.
func (r *Keyring) SealMembers(purpose string, value json.RawMessage, secret func(name string) bool) (json.RawMessage, error) {
	w := walker{hidden: secret, hide: func(value json.RawMessage) (json.RawMessage, error) {
		if empty(value) || IsSealed(value) {
			return value, nil
		}
		s, err := r.Seal(purpose, value)
		if err != nil {
			return nil, err
		}
		return s.MarshalJSON()
	}}
	return w.walk(purpose, value)
}

// InTheClear names a member of a value that is what SealMembers seals and is not sealed; "" where there
// is none.
func InTheClear(value json.RawMessage, secret func(name string) bool) string {
	found, at := "", ""
	w := walker{
		hidden: func(name string) bool { at = name; return secret(name) },
		hide: func(value json.RawMessage) (json.RawMessage, error) {
			if !empty(value) && !IsSealed(value) && found == "" {
				found = at
			}
			return value, nil
		},
	}
	// What is no JSON has no members.
	_, _ = w.walk("", value)
	return found
}

func empty(value json.RawMessage) bool { return string(value) == `""` || string(value) == "null" }

// OpenAll gives a value with everything in it open that was sealed for a purpose.
func (r *Keyring) OpenAll(purpose string, value json.RawMessage) (Secret, error) {
	w := walker{sealed: func(s Sealed) (json.RawMessage, error) {
		open, err := r.Open(purpose, s)
		return open.Reveal(), err
	}}
	open, err := w.walk(purpose, value)
	if err != nil {
		return Secret{}, err
	}
	b := []byte(open)
	return Secret{&b}, nil
}

// Redact gives a value with Redacted in the place of everything sealed, to be shown. A
// value that cannot be read is Redacted as a whole.
func Redact(value json.RawMessage) json.RawMessage {
	if !bytes.Contains(value, []byte(member)) {
		return value
	}
	w := walker{sealed: func(Sealed) (json.RawMessage, error) { return redacted, nil }}
	shown, err := w.walk("", value)
	if err != nil {
		return redacted
	}
	return shown
}

var redacted = json.RawMessage(`"` + Redacted + `"`)

// IsSealed says whether a value is something sealed as a whole.
func IsSealed(value json.RawMessage) bool {
	var s Sealed
	return bytes.Contains(value, []byte(member)) && s.UnmarshalJSON(value) == nil
}

// secretWords are in the names of members that hold secrets: those of data addresses, of
// object stores and of HTTP.
var secretWords = []string{
	"secret", "password", "passwd", "passphrase", "token", "apikey", "authcode", "authorization",
	"credential", "privatekey", "accesskey", "accountkey", "sharedkey", "jwt", "signature", "connectionstring",
}

// publicEndings end names that have such a word and only tell where or what the secret is.
var publicEndings = []string{"name", "alias", "type", "id", "endpoint", "url", "reference", "audience"}

// SecretName says whether a member of this name holds a secret, as far as a name can say it.
// Names are read without their namespace.
func SecretName(name string) bool {
	if i := strings.LastIndexAny(name, "/#:"); i >= 0 {
		name = name[i+1:]
	}
	name = strings.NewReplacer("-", "", "_", "", ".", "").Replace(strings.ToLower(name))
	if strings.HasPrefix(name, "sas") { // a shared access signature, as a URL too
		return true
	}
	for _, end := range publicEndings {
		if strings.HasSuffix(name, end) {
			return false
		}
	}
	for _, word := range secretWords {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

// SecretURL says whether a text is an address that opens by itself what it leads to: by a password, or by a
// signature or a token in its query.
func SecretURL(text string) bool {
	if !strings.Contains(text, "://") {
		return false
	}
	u, err := url.Parse(text)
	if err != nil {
		return false
	}
	if _, ok := u.User.Password(); ok {
		return true
	}
	for name := range u.Query() {
		if SecretParam(name) {
			return true
		}
	}
	return false
}

// SecretParam is SecretName for the names in the query of an address.
func SecretParam(name string) bool { return strings.EqualFold(name, "sig") || SecretName(name) }

// walker copies a value in one pass, member by member and in their order, and replaces parts of it.
type walker struct {
	hidden func(name string) bool // nil: none
	hide   func(value json.RawMessage) (json.RawMessage, error)
	sealed func(Sealed) (json.RawMessage, error) // nil: as it is

	in    *json.Decoder
	depth int
	out   bytes.Buffer
}

// walk's errors show nothing of the value.
func (w *walker) walk(purpose string, value json.RawMessage) (json.RawMessage, error) {
	w.in = json.NewDecoder(bytes.NewReader(value))
	w.in.UseNumber() // as it was written
	err := w.value()
	if err == nil {
		if _, err = w.in.Token(); errors.Is(err, io.EOF) {
			return w.out.Bytes(), nil
		}
		err = errNotJSON
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errNotJSON
	}
	var open *OpenError
	if errors.As(err, &open) {
		return nil, err // says what for
	}
	return nil, fmt.Errorf("%s: %w", purpose, err)
}

// maxDepth bounds the nesting of values that are walked: what others write must not take the stack.
const maxDepth = 1000

var (
	errNotJSON = errors.New("it is not JSON")
	errDeep    = errors.New("it is nested too deeply")
)

func (w *walker) value() error {
	t, err := w.in.Token()
	if err != nil {
		return err
	}
	if w.depth++; w.depth > maxDepth {
		return errDeep
	}
	defer func() { w.depth-- }()
	switch t {
	case json.Delim('{'):
		return w.object()
	case json.Delim('['):
		return w.array()
	}
	if text, ok := t.(string); ok && w.hide != nil && SecretURL(text) {
		return w.address(text)
	}
	return w.scalar(t)
}

// address hides an address that is secret.
func (w *walker) address(text string) error {
	start := w.out.Len()
	if err := w.scalar(text); err != nil {
		return err
	}
	value := bytes.Clone(w.out.Bytes()[start:])
	w.out.Truncate(start)
	hidden, err := w.hide(value)
	w.out.Write(hidden)
	return err
}

func (w *walker) scalar(v any) error {
	enc := json.NewEncoder(&w.out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	w.out.Truncate(w.out.Len() - 1) // the encoder's line end
	return nil
}

func (w *walker) array() error {
	w.out.WriteByte('[')
	for first := true; w.in.More(); first = false {
		if !first {
			w.out.WriteByte(',')
		}
		if err := w.value(); err != nil {
			return err
		}
	}
	w.out.WriteByte(']')
	_, err := w.in.Token()
	return err
}

func (w *walker) object() error {
	start := w.out.Len()
	w.out.WriteByte('{')
	for first := true; w.in.More(); first = false {
		t, err := w.in.Token()
		if err != nil {
			return err
		}
		name, _ := t.(string)
		if name == member && w.sealed != nil {
			if !first {
				return errForm
			}
			return w.envelope(start)
		}
		if !first {
			w.out.WriteByte(',')
		}
		if err := w.member(name); err != nil {
			return err
		}
	}
	w.out.WriteByte('}')
	_, err := w.in.Token()
	return err
}

func (w *walker) member(name string) error {
	if err := w.scalar(name); err != nil {
		return err
	}
	w.out.WriteByte(':')
	if w.hidden == nil || !w.hidden(name) {
		return w.value()
	}
	var value json.RawMessage
	if err := w.in.Decode(&value); err != nil {
		return err
	}
	hidden, err := w.hide(value)
	w.out.Write(hidden)
	return err
}

// envelope replaces the object that begins in the output at start.
func (w *walker) envelope(start int) error {
	t, err := w.in.Token()
	if err != nil {
		return err
	}
	text, ok := t.(string)
	var s Sealed
	if !ok || s.parse(text) != nil || w.in.More() {
		return errForm
	}
	if _, err := w.in.Token(); err != nil {
		return err
	}
	open, err := w.sealed(s)
	if err != nil {
		return err
	}
	w.out.Truncate(start)
	w.out.Write(open)
	return nil
}
