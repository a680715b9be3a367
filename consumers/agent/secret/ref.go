package secret

import (
	"errors"
	"fmt"
	"strings"
)

// Ref says where a secret is kept: in one of the three places. It may stand in a
// configuration and be printed.
type Ref struct {
	File  string `json:"file,omitempty"`  // path of a file; line ends at its end do not count
	Env   string `json:"env,omitempty"`   // name of an environment variable
	Vault string `json:"vault,omitempty"` // PATH#KEY below the mount of a KV v2 engine
}

// IsZero says that the Ref refers to nothing.
func (r Ref) IsZero() bool { return r == Ref{} }

// String names the place, as it would be written on one line.
func (r Ref) String() string {
	switch {
	case r.File != "":
		return "file " + r.File
	case r.Env != "":
		return "environment variable " + r.Env
	case r.Vault != "":
		return "vault " + r.Vault
	}
	return "nothing"
}

// Check says what is wrong with a Ref: it names no place, several, or half of one.
func (r Ref) Check() error {
	named := 0
	for _, place := range []string{r.File, r.Env, r.Vault} {
		if place != "" {
			named++
		}
	}
	if named != 1 {
		return errors.New("a secret is one of {file: PATH}, {env: NAME} and {vault: PATH#KEY}")
	}
	if r.Vault != "" {
		if _, _, err := r.vault(); err != nil {
			return err
		}
	}
	return nil
}

func (r Ref) vault() (path, key string, err error) {
	path, key, ok := strings.Cut(r.Vault, "#")
	if !ok || strings.Trim(path, "/") == "" || key == "" {
		return "", "", fmt.Errorf("vault %q: want PATH#KEY, a secret's path below its mount and one of its keys", r.Vault)
	}
	return strings.Trim(path, "/"), key, nil
}
