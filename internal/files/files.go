// Package files writes files that are there whole or not at all, and nowhere else than below
// the directory they are for.
package files

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Write writes a file below a directory, which is made if it is not there, and returns its path. The
// name is relative, with slashes. The file is written under another name, then given its own, so that
// nobody sees half of it, and what was there before stays until then. The directory is opened as a
// root: neither the name nor a symbolic link leads out of it.
func Write(dir, name string, content []byte) (string, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close() //nolint:errcheck // a directory that was only looked at
	parent := path.Dir(name)
	if err := root.MkdirAll(parent, 0o750); err != nil {
		return "", err
	}
	temporary := path.Join(parent, ".waybill-"+rand.Text()+".tmp")
	if err := writeSynced(root, temporary, content); err != nil {
		return "", errors.Join(err, remove(root, temporary))
	}
	if err := root.Rename(temporary, name); err != nil {
		return "", errors.Join(err, remove(root, temporary))
	}
	if err := syncDirectory(root, parent); err != nil {
		return "", err
	}
	return filepath.Abs(filepath.Join(dir, filepath.FromSlash(name)))
}

// maxNameBytes leaves room for an extension in what file systems take.
const maxNameBytes = 200

// Name is a file's name for what may be called anything: never hidden, and never a directory's. What
// cannot be one is called otherwise.
func Name(id, otherwise string) string {
	name := url.PathEscape(id)
	if name == "" || len(name) > maxNameBytes || strings.HasPrefix(name, ".") {
		return otherwise
	}
	return name
}

func writeSynced(root *os.Root, name string, content []byte) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

func remove(root *os.Root, name string) error {
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// syncDirectory makes the new name survive the machine.
func syncDirectory(root *os.Root, dir string) error {
	f, err := root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
