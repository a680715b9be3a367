package agents

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
)

// Source is where a secret comes from: a file, read anew each time so that it can be
// changed while we run, or an environment variable.
type Source struct {
	File string `json:"file,omitempty"`
	Env  string `json:"env,omitempty"`
}

// minSecret is from how many bytes on a secret is one. A shorter one could not be told
// from ordinary text, and so not be kept out of what is written down.
const minSecret = 8

// read gives the value, without the spaces around it.
func (s Source) read() (string, error) {
	var value string
	switch {
	case s.File != "" && s.Env != "":
		return "", errors.New("it names a file and an environment variable; want one of them")
	case s.File != "":
		b, err := os.ReadFile(s.File)
		if err != nil {
			return "", err
		}
		value = string(bytes.TrimSpace(b))
	case s.Env != "":
		value = strings.TrimSpace(os.Getenv(s.Env))
		if value == "" {
			return "", fmt.Errorf("the environment variable %s is not set", s.Env)
		}
	default:
		return "", errors.New("it names neither a file nor an environment variable")
	}
	if len(value) < minSecret {
		return "", fmt.Errorf("its value has %d bytes; a secret has at least %d", len(value), minSecret)
	}
	return value, nil
}

// Secret is a secret that activities of type http may refer to.
type Secret struct {
	Source
	// Hosts may be told the secret, written as in an allow list. Whoever can put a definition
	// can refer to a secret, and must not thereby learn it.
	Hosts []string `json:"hosts"`
}

// Secrets are secrets by name.
type Secrets map[string]Secret

// For is the value of a secret that goes to a URL.
func (s Secrets) For(name string, u *url.URL) (string, error) {
	secret, ok := s[name]
	if !ok {
		return "", fmt.Errorf("this agent has no secret %q: add it to the secrets of its configuration", name)
	}
	hosts, err := NewOutbound(secret.Hosts)
	if err != nil {
		return "", fmt.Errorf("secret %q: %w", name, err)
	}
	if err := hosts.Check(u); err != nil {
		return "", fmt.Errorf("secret %q is not for %s: its hosts are %s", name, u.Host, strings.Join(secret.Hosts, ", "))
	}
	value, err := secret.read()
	if err != nil {
		return "", fmt.Errorf("secret %q: %w", name, err)
	}
	return value, nil
}

// hidden are values that must not be written down, and what stands for them; the longest
// first, since one may be part of another.
type hidden []concealed

type concealed struct{ value, as string }

// hide adds a value, and what it looks like in base64, within a URL or escaped in JSON.
func (h hidden) hide(value, as string) hidden {
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
		clear := make(map[string]any, len(x))
		for k, member := range x {
			clear[h.text(k)] = h.json(member)
		}
		return clear
	}
	return v
}
