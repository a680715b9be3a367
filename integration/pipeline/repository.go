package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// repository is the bare one that is downloaded.
type repository struct {
	url   string
	files map[string]string // name -> content
}

// makeRepository makes a bare repository with files that are easily spoilt.
func (s *scenario) makeRepository(ctx context.Context) error {
	binary := make([]byte, 1<<20)
	for i := range binary {
		binary[i] = byte(i * i >> 3)
	}
	s.repo = &repository{
		url: "file://" + filepath.Join(s.dir, "example.git"),
		files: map[string]string{
			"README.md":               "# An example\n",
			"empty":                   "",
			".hidden":                 "not to be left out\n",
			"src/main.go":             "package main\r\n\r\nfunc main() {}\r\n",
			"src/deep/er/über uns.md": "Größe: 3 µm ✓\n",
			"data/binary":             string(binary),
			"100% #1 & more?.txt":     "a name that has to be escaped\n",
		},
	}
	work := filepath.Join(s.dir, "work")
	for name, content := range s.repo.files {
		path := filepath.Join(work, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=trunk", work},
		{"-C", work, "add", "--all"},
		{"-C", work, "-c", "user.name=Nobody", "-c", "user.email=nobody@example.com", "commit", "--quiet", "--message=An example"},
		{"clone", "--quiet", "--bare", work, filepath.Join(s.dir, "example.git")},
	} {
		cmd := exec.CommandContext(ctx, "git", args...) //nolint:gosec // of ours
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("git %s: %w\n%s", args[0], err, out)
		}
	}
	return nil
}

// row is a row of the Parquet file, as `services rows` prints it.
type row struct {
	Path    string `json:"path"`
	Size    int64  `json:"size"`
	SHA256  string `json:"sha256"`
	Content []byte `json:"content"`
}

// compare says how the rows differ from the repository.
func (r *repository) compare(rows []row) (wrong []string) {
	left := maps.Clone(r.files)
	for _, row := range rows {
		content, ok := left[row.Path]
		delete(left, row.Path)
		sum := sha256.Sum256([]byte(content))
		switch {
		case !ok:
			wrong = append(wrong, fmt.Sprintf("the Parquet file has %q, which is not in the repository or there twice", row.Path))
		case string(row.Content) != content || row.Size != int64(len(content)) || row.SHA256 != hex.EncodeToString(sum[:]):
			wrong = append(wrong, fmt.Sprintf("%q is not the same in the Parquet file: %d bytes, want %d", row.Path, row.Size, len(content)))
		}
	}
	for name := range left {
		wrong = append(wrong, fmt.Sprintf("%q is not in the Parquet file", name))
	}
	return wrong
}

// cli runs the program as a user would and returns what it printed, on both streams.
func (s *scenario) cli(ctx context.Context, args ...string) (out string, code int, err error) {
	cmd := exec.CommandContext(ctx, s.bin, args...) //nolint:gosec // what the scenario has built
	cmd.Env = append(os.Environ(), "WAYBILL_SERVER="+s.server)
	b, err := cmd.CombinedOutput()
	if cmd.ProcessState != nil && cmd.ProcessState.Exited() {
		return strings.TrimSpace(string(b)), cmd.ProcessState.ExitCode(), nil
	}
	return string(b), 0, err
}

func since(t time.Time) string { return fmt.Sprintf("%.1f s", time.Since(t).Seconds()) }
