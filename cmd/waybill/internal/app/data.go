package app

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"
)

// data is the directory of one process.
type data struct {
	dir  string
	lock *os.File
}

// openData makes the directory if it is missing and takes it for this process.
func openData(dir string) (*data, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, usage("--data %s: %w", dir, err)
	}
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, usage("--data %s: %w", dir, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		err = errors.Join(err, f.Close())
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, usage("--data %s is in use by another process: stop it, or choose another directory", dir)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return &data{dir: dir, lock: f}, nil
}

// close gives the directory free.
func (d *data) close() error { return d.lock.Close() }

func (d *data) brokerDir() string  { return filepath.Join(d.dir, "kafka") }
func (d *data) database() string   { return filepath.Join(d.dir, "projections.db") }
func (d *data) resultsDir() string { return filepath.Join(d.dir, "results") }

// member is the identity of this process. It is kept, so that a process that is started
// again is the same member, and gets its shards and its work back at once.
func (d *data) member() (string, error) {
	path := filepath.Join(d.dir, "member")
	b, err := os.ReadFile(path)
	switch {
	case err == nil:
		id, err := uuid.Parse(strings.TrimSpace(string(b)))
		if err != nil {
			return "", fmt.Errorf("%s holds no member id (%w): delete it to become a new member", path, err)
		}
		return id.String(), nil
	case !errors.Is(err, os.ErrNotExist):
		return "", fmt.Errorf("read the member id: %w", err)
	}
	id := uuid.NewString()
	// Written whole or not at all: half an id would be another member, or none.
	if err := writeWhole(path, id+"\n"); err != nil {
		return "", fmt.Errorf("keep the member id: %w", err)
	}
	return id, nil
}

// addressKey is the key of a process that was given none: other processes cannot check what
// it proves. It is kept, so that addresses outlive a start.
func (d *data) addressKey() ([]byte, error) {
	path := filepath.Join(d.dir, "address.key")
	b, err := os.ReadFile(path)
	switch {
	case err == nil && len(b) >= minKeyBytes:
		return b, nil
	case err == nil:
		return nil, fmt.Errorf("%s holds no key: delete it to have another made; addresses given to others then end", path)
	case !errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("read the key of addresses: %w", err)
	}
	key := rand.Text() + rand.Text()
	if err := writeWhole(path, key); err != nil {
		return nil, fmt.Errorf("keep the key of addresses: %w", err)
	}
	return []byte(key), nil
}

func writeWhole(path, content string) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
