package seal

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// maxFile bounds a file of keys.
const maxFile = 1 << 20

// ReadFile reads the keys in a file.
func ReadFile(path string) (*Keyring, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s has %d bytes: that is no file of keys", path, info.Size())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r, err := Parse(string(b))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// New makes a key, a line for a file of keys, with an id of its own.
func New() string {
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // never fails: the program would have ended
	return strings.ToLower(rand.Text()[:8]) + ":" + base64.StdEncoding.EncodeToString(key) + "\n"
}

// Keep reads the keys in a file that only this process uses, and makes it with one key in it
// where there is none.
func Keep(path string) (*Keyring, error) {
	r, err := ReadFile(path)
	if !errors.Is(err, os.ErrNotExist) {
		return r, err
	}
	if err := keep(path, New()); err != nil {
		return nil, fmt.Errorf("keep the keys that secrets are sealed with: %w", err)
	}
	return ReadFile(path)
}

// keep writes a file whole or not at all, for its owner's eyes only: what a key has sealed is
// lost without it, so it is on the disk before anything is sealed.
func keep(path, content string) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return err
	}
	_, err = tmp.WriteString(content)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return os.Rename(tmp.Name(), path)
}
