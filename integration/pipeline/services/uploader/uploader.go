package uploader

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"

	"github.com/waybill/waybill/integration/pipeline/services/web"
)

// Handler uploads repositories that lie below dir.
func Handler(storage *azblob.Client, dir string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /v2/repo/upload", web.Handle(func(r *http.Request) (any, error) {
		repo := r.URL.Query().Get("repo_path")
		name, err := filepath.Rel(dir, repo)
		if err != nil || name == "." || !filepath.IsLocal(name) {
			return nil, web.Errorf(http.StatusUnprocessableEntity, "repo_path %q does not lie below %s", repo, dir)
		}
		container := containerName(name)
		files, err := upload(r.Context(), storage, container, dir, name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, web.Errorf(http.StatusNotFound, "repo_path: %w", err)
		}
		if err != nil {
			return nil, err
		}
		return map[string]any{"container_name": container, "files": files}, nil
	}))
	return mux
}

// containerName is the same whenever the same clone is uploaded.
func containerName(clone string) string {
	sum := sha256.Sum256([]byte(clone))
	return "repo-" + hex.EncodeToString(sum[:8])
}

// upload puts every file into the container, git's own excepted. What is there already is
// replaced, so that a second call completes a first one that broke off.
func upload(ctx context.Context, storage *azblob.Client, container, dir, repo string) (files int, err error) {
	root, err := os.OpenRoot(filepath.Join(dir, repo))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	_, err = storage.CreateContainer(ctx, container, nil)
	if err != nil && !bloberror.HasCode(err, bloberror.ContainerAlreadyExists) {
		return 0, err
	}
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == ".git":
			return fs.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		f, err := root.Open(name)
		if err != nil {
			return err
		}
		files++
		_, err = storage.UploadFile(ctx, container, name, f, nil)
		return errors.Join(err, f.Close())
	})
	return files, err
}
