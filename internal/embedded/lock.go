package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// lockFile is locked by whoever uses the data directory and holds its process ID.
const lockFile = "lock"

// lockDir makes the data directory ours until the returned file is closed or the
// process ends, however it ends.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock of data directory %s: %w", dir, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder := readHolder(f)
		f.Close() //nolint:errcheck // nothing was written
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("data directory %s is in use by %s: stop that process or name another directory with --data", dir, holder)
		}
		return nil, fmt.Errorf("lock data directory %s: %w", dir, err)
	}
	if err := writeHolder(f); err != nil {
		f.Close() //nolint:errcheck // the write's error says more
		return nil, fmt.Errorf("write the lock of data directory %s: %w", dir, err)
	}
	return f, nil
}

func readHolder(f *os.File) string {
	raw := make([]byte, 32)
	n, _ := f.ReadAt(raw, 0) // without it the message is just less exact
	if pid, err := strconv.Atoi(strings.TrimSpace(string(raw[:n]))); err == nil {
		return fmt.Sprintf("process %d", pid)
	}
	return "another process"
}

func writeHolder(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}
