package agents

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
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
