package redact

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/waybill/waybill/internal/seal"
)

// Values are values that must not be written down, and what stands for them; the longest
// first, since one may be part of another.
type Values []value

// least is from how many bytes on a value is hidden: a shorter one would be found
// everywhere.
const least = 4

type value struct{ text, as string }

// Add adds a value, and what it looks like in base64, within a URL or escaped in JSON.
func (v Values) Add(text, as string) Values {
	if len(text) < least {
		return v
	}
	forms := []string{
		text, base64.StdEncoding.EncodeToString([]byte(text)), base64.RawURLEncoding.EncodeToString([]byte(text)),
		url.QueryEscape(text), url.PathEscape(text),
	}
	if quoted, err := json.Marshal(text); err == nil {
		forms = append(forms, string(quoted[1:len(quoted)-1]))
	}
	for _, form := range forms {
		v = append(v, value{form, as})
	}
	slices.SortStableFunc(v, func(a, b value) int { return len(b.text) - len(a.text) })
	return v
}

// leastSent is least for what is taken out of documents: what is in them is somebody's.
const leastSent = 8

// Sent are secrets that a request was sent with, to be taken out of what comes of it: some quote what they
// were sent, in documents too.
func Sent(as string, secrets ...string) (v Values) {
	for _, s := range secrets {
		if len(s) >= leastSent {
			v = v.Add(s, as)
		}
	}
	return v
}

// AddMembers adds what stands in a JSON value, at any depth, under names that say that it is secret.
func (v Values) AddMembers(raw json.RawMessage, as string) Values {
	var in any
	if json.Unmarshal(raw, &in) != nil {
		return v
	}
	return v.addMembers(in, false, as)
}

func (v Values) addMembers(in any, secret bool, as string) Values {
	switch x := in.(type) {
	case string:
		if secret {
			return v.Add(x, as)
		}
	case []any:
		for _, item := range x {
			v = v.addMembers(item, secret, as)
		}
	case map[string]any:
		for name, member := range x {
			v = v.addMembers(member, secret || seal.SecretName(name), as)
		}
	}
	return v
}

// Error is an error whose text has none of the values in it.
func (v Values) Error(err error) error {
	text := err.Error()
	if shown := v.Text(text); shown != text {
		return errors.New(shown)
	}
	return err
}

// Text takes the values out of a text.
func (v Values) Text(s string) string {
	for _, c := range v {
		s = strings.ReplaceAll(s, c.text, c.as)
	}
	return s
}

// Bytes takes the values out of a document. One that has none of them is not copied.
func (v Values) Bytes(b []byte) []byte {
	for _, c := range v {
		if bytes.Contains(b, []byte(c.text)) {
			b = bytes.ReplaceAll(b, []byte(c.text), []byte(c.as))
		}
	}
	return b
}

// End takes what is left of a value off the beginning of a text that was cut there.
func (v Values) End(s string) string {
	rest := 0
	for _, c := range v {
		for n := len(c.text) - 1; n > rest; n-- {
			if strings.HasPrefix(s, c.text[len(c.text)-n:]) {
				rest = n
			}
		}
	}
	return s[rest:]
}

// JSON goes through the strings and names of a JSON value.
func (v Values) JSON(in any) any {
	switch x := in.(type) {
	case string:
		return v.Text(x)
	case []any:
		for i := range x {
			x[i] = v.JSON(x[i])
		}
	case map[string]any:
		open := make(map[string]any, len(x))
		for k, member := range x {
			open[v.Text(k)] = v.JSON(member)
		}
		return open
	}
	return in
}
