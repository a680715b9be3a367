package secret

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// defaultKeep is how long a secret that was fetched from Vault is used: rotated ones are
// then picked up without a restart, and Vault is not asked for each activity.
const defaultKeep = time.Minute

// maxFile bounds a file with a secret: keys and certificates are far smaller.
const maxFile = 1 << 20

// Config says what a Store needs beyond files and environment.
type Config struct {
	// Vault says how to reach Vault; without an Address, the environment's VAULT_ADDR does,
	// and without either no secret can be kept there.
	Vault VaultConfig
	// Keep is how long a secret of Vault is used before it is fetched again; a minute
	// unless set.
	Keep time.Duration
	// Getenv replaces os.LookupEnv.
	Getenv func(string) (string, bool)
}

// Store fetches secrets. It is safe for concurrent use.
type Store struct {
	cfg   Config
	vault *vault

	mu    sync.Mutex
	given []string // what was handed out, longest first
}

// NewStore makes a Store. It connects to nothing yet.
func NewStore(cfg Config) (*Store, error) {
	cfg.Keep = cmp.Or(cfg.Keep, defaultKeep)
	if cfg.Getenv == nil {
		cfg.Getenv = os.LookupEnv
	}
	s := &Store{cfg: cfg}
	var err error
	if s.vault, err = newVault(cfg); err != nil {
		return nil, err
	}
	return s, nil
}

// Get fetches the secret that a Ref refers to. An empty one is an error.
func (s *Store) Get(ctx context.Context, r Ref) (Value, error) {
	if err := r.Check(); err != nil {
		return Value{}, err
	}
	text, err := s.fetch(ctx, r)
	if err == nil && text == "" {
		err = errors.New("it is empty")
	}
	if err != nil {
		return Value{}, fmt.Errorf("secret in %s: %w", r, err)
	}
	s.remember(text)
	return New(text), nil
}

func (s *Store) fetch(ctx context.Context, r Ref) (string, error) {
	switch {
	case r.File != "":
		return readFile(r.File)
	case r.Env != "":
		text, ok := s.cfg.Getenv(r.Env)
		if !ok {
			return "", errors.New("it is not set")
		}
		return text, nil
	}
	path, key, err := r.vault()
	if err != nil {
		return "", err
	}
	return s.vault.get(ctx, path, key)
}

func readFile(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.Size() > maxFile {
		return "", fmt.Errorf("it has %d bytes, over the limit of %d", info.Size(), maxFile)
	}
	b, err := os.ReadFile(path)
	return strings.TrimRight(string(b), "\r\n"), err
}

// shortest is from how many bytes on a secret is taken out of texts: a shorter one is
// found in words that have nothing to do with it.
const shortest = 5

func (s *Store) remember(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(text) < shortest || slices.Contains(s.given, text) {
		return
	}
	s.given = append(s.given, text)
	// One that is part of another must not leave the rest of that standing.
	slices.SortStableFunc(s.given, func(a, b string) int { return len(b) - len(a) })
}

// Redact takes every secret that was handed out out of a text.
func (s *Store) Redact(text string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, secret := range s.given {
		if strings.Contains(text, secret) {
			text = strings.ReplaceAll(text, secret, Redacted)
		}
	}
	return text
}
