package downloader

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/waybill/waybill/integration/pipeline/services/web"
)

// request is the body of POST /v1/download_repository.
type request struct {
	RepoURL string `json:"repo_url"`
	Branch  string `json:"branch"` // empty means the repository's own
}

// Handler clones repositories below dir with git.
func Handler(dir string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /v1/download_repository", web.Handle(func(r *http.Request) (any, error) {
		var req request
		if err := web.Body(r, &req); err != nil {
			return nil, err
		}
		if req.RepoURL == "" {
			return nil, web.Errorf(http.StatusUnprocessableEntity, "repo_url is missing")
		}
		name := place(r.Header.Get("Idempotency-Key"), req)
		if err := clone(r.Context(), req, dir, name); err != nil {
			return nil, err
		}
		return map[string]string{"path": filepath.Join(dir, name)}, nil
	}))
	return mux
}

// place names the directory of a request's clone: the same one when the request is repeated.
func place(key string, req request) string {
	sum := sha256.Sum256([]byte(key + "\n" + req.RepoURL + "\n" + req.Branch))
	return hex.EncodeToString(sum[:])
}

// clone clones beside the place and moves the clone there once it is whole.
func clone(ctx context.Context, req request, dir, name string) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	if _, err := root.Stat(name); err == nil {
		return nil
	}
	fresh, err := os.MkdirTemp(dir, "clone-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(fresh)) }()
	args := []string{"clone", "--quiet", "--depth=1"}
	if req.Branch != "" {
		args = append(args, "--branch="+req.Branch)
	}
	cmd := exec.CommandContext(ctx, "git", append(args, "--", req.RepoURL, fresh)...) //nolint:gosec // nothing after -- is an option
	cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0", "GIT_ALLOW_PROTOCOL=file:https")
	if out, err := cmd.CombinedOutput(); err != nil {
		return web.Errorf(http.StatusUnprocessableEntity, "git clone %s: %w: %s", req.RepoURL, err, strings.TrimSpace(string(out)))
	}
	if err := root.Rename(filepath.Base(fresh), name); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil // or another request was quicker
}
