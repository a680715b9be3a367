package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/waybill/waybill/internal/embedded/internal/segment"
)

const (
	// cleanStopFile is there only while the broker is stopped and was stopped cleanly.
	cleanStopFile = "clean-stop"
	// metaFile is the first file the broker writes into a data directory.
	metaFile = "meta.json"
)

// writeCleanStop records that everything was closed in order.
func writeCleanStop(dir string) error {
	size, err := sizes(dir)
	if err != nil {
		return err
	}
	return segment.ReplaceFile(filepath.Join(dir, cleanStopFile), []byte(size))
}

// takeCleanStop reports whether the last stop was clean, and removes the record of it,
// so that from here on every stop counts as unclean until one is recorded again. A
// directory that never held a broker counts as clean.
func takeCleanStop(dir string) (bool, error) {
	if _, err := os.Stat(filepath.Join(dir, metaFile)); errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	path := filepath.Join(dir, cleanStopFile)
	then, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	now, err := sizes(dir)
	if err != nil {
		return false, err
	}
	return string(then) == now, os.Remove(path)
}

// sizes sums up the partitions' files. The machine may die after a clean stop and
// take with it what only its page cache held; then the sums differ.
func sizes(dir string) (string, error) {
	var files, bytes int64
	err := filepath.WalkDir(filepath.Join(dir, "partitions"), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() || (filepath.Ext(path) != ".dat" && filepath.Ext(path) != ".idx") {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		files++
		bytes += info.Size()
		return nil
	})
	return fmt.Sprintf("files %d bytes %d\n", files, bytes), err
}
