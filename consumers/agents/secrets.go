package agents

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/internal/outbound"
)

// Secret is a secret that activities may refer to.
type Secret struct {
	secret.Ref
	// Hosts may be told the secret, written as in an allow list. Whoever can put a definition
	// can refer to a secret, and must not thereby learn it.
	Hosts []string `json:"hosts,omitempty"`
}

// Secrets are secrets by the names that inputs refer to them by.
type Secrets struct {
	Store  *secret.Store
	ByName map[string]Secret
}

// minSecret is from how many bytes on a secret is one. A shorter one could not be told
// from ordinary text, and so not be kept out of what is written down.
const minSecret = 8

// For is the value of a secret that goes to a URL.
func (s Secrets) For(ctx context.Context, name string, u *url.URL) (string, error) {
	known, ok := s.ByName[name]
	if !ok || s.Store == nil {
		return "", fmt.Errorf("this agent has no secret %q: add it to the secrets of its configuration", name)
	}
	hosts, err := outbound.New(known.Hosts)
	if err != nil {
		return "", fmt.Errorf("secret %q: %w", name, err)
	}
	if err := hosts.Check(u); err != nil {
		return "", fmt.Errorf("secret %q is not for %s: its hosts are %s", name, u.Host, cmp.Or(strings.Join(known.Hosts, ", "), "none"))
	}
	value, err := s.Store.Get(ctx, known.Ref)
	if err != nil {
		return "", fmt.Errorf("secret %q: %w", name, err)
	}
	text := strings.TrimSpace(value.Reveal())
	if len(text) < minSecret {
		return "", fmt.Errorf("secret %q has %d bytes; one that can be kept out of answers has at least %d", name, len(text), minSecret)
	}
	return text, nil
}

// hidden are values that must not be written down, and what stands for them; the longest
// first, since one may be part of another.
type hidden []concealed

// leastHidden is from how many bytes on a value is hidden: a shorter one would be found
// everywhere.
const leastHidden = 4

type concealed struct{ value, as string }

// hide adds a value, and what it looks like in base64, within a URL or escaped in JSON.
func (h hidden) hide(value, as string) hidden {
	if len(value) < leastHidden {
		return h
	}
	forms := []string{
		value, base64.StdEncoding.EncodeToString([]byte(value)), base64.RawURLEncoding.EncodeToString([]byte(value)),
		url.QueryEscape(value), url.PathEscape(value),
	}
	if quoted, err := json.Marshal(value); err == nil {
		forms = append(forms, string(quoted[1:len(quoted)-1]))
	}
	for _, form := range forms {
		h = append(h, concealed{form, as})
	}
	slices.SortStableFunc(h, func(a, b concealed) int { return len(b.value) - len(a.value) })
	return h
}

func (h hidden) text(s string) string {
	for _, c := range h {
		s = strings.ReplaceAll(s, c.value, c.as)
	}
	return s
}

// end takes what is left of a value off the beginning of a text that was cut there.
func (h hidden) end(s string) string {
	rest := 0
	for _, c := range h {
		for n := len(c.value) - 1; n > rest; n-- {
			if strings.HasPrefix(s, c.value[len(c.value)-n:]) {
				rest = n
			}
		}
	}
	return s[rest:]
}

// json goes through the strings and names of a JSON value.
func (h hidden) json(v any) any {
	switch x := v.(type) {
	case string:
		return h.text(x)
	case []any:
		for i := range x {
			x[i] = h.json(x[i])
		}
	case map[string]any:
		open := make(map[string]any, len(x))
		for k, member := range x {
			open[h.text(k)] = h.json(member)
		}
		return open
	}
	return v
}
