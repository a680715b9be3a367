package transformer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/parquet-go/parquet-go"

	"github.com/waybill/waybill/integration/pipeline/services/blobs"
	"github.com/waybill/waybill/integration/pipeline/services/web"
)

// Row is one file of a repository.
type Row struct {
	Path    string `json:"path" parquet:"path"`
	Size    int64  `json:"size" parquet:"size"`
	SHA256  string `json:"sha256" parquet:"sha256"`
	Content []byte `json:"content" parquet:"content,zstd"`
}

// request is the body of POST /v3/transform-container-to-parquet.
type request struct {
	ContainerName string `json:"container_name"`
	SingleParquet bool   `json:"single_parquet"` // one file for all, otherwise one for each
}

// Handler transforms containers into others, whose names end with -parquet.
func Handler(storage *azblob.Client) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /v3/transform-container-to-parquet", web.Handle(func(r *http.Request) (any, error) {
		var req request
		if err := web.Body(r, &req); err != nil {
			return nil, err
		}
		if req.ContainerName == "" {
			return nil, web.Errorf(http.StatusUnprocessableEntity, "container_name is missing")
		}
		rows, err := readRows(r.Context(), storage, req.ContainerName)
		if err != nil {
			return nil, err
		}
		target := req.ContainerName + "-parquet"
		files := map[string][]Row{req.ContainerName + ".parquet": rows}
		if !req.SingleParquet {
			files = map[string][]Row{}
			for i, row := range rows {
				files[row.Path+".parquet"] = rows[i : i+1]
			}
		}
		if err := write(r.Context(), storage, target, files); err != nil {
			return nil, err
		}
		return map[string]any{
			"message":        fmt.Sprintf("%d files of container %s are in %d Parquet files of container %s", len(rows), req.ContainerName, len(files), target),
			"container_name": target,
		}, nil
	}))
	return mux
}

func readRows(ctx context.Context, storage *azblob.Client, container string) ([]Row, error) {
	var rows []Row
	err := blobs.Each(ctx, storage, container, func(name string, content []byte) error {
		sum := sha256.Sum256(content)
		rows = append(rows, Row{name, int64(len(content)), hex.EncodeToString(sum[:]), content})
		return nil
	})
	if bloberror.HasCode(err, bloberror.ContainerNotFound, bloberror.InvalidResourceName) {
		return nil, web.Errorf(http.StatusNotFound, "there is no container %q", container)
	}
	return rows, err
}

// write puts Parquet files into a container; a second call replaces what a first one wrote.
func write(ctx context.Context, storage *azblob.Client, container string, files map[string][]Row) error {
	_, err := storage.CreateContainer(ctx, container, nil)
	if err != nil && !bloberror.HasCode(err, bloberror.ContainerAlreadyExists) {
		return err
	}
	for name, rows := range files {
		var b bytes.Buffer
		if err := parquet.Write(&b, rows); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if _, err := storage.UploadBuffer(ctx, container, name, b.Bytes(), nil); err != nil {
			return err
		}
	}
	return nil
}

// ReadBack reads a Parquet file.
func ReadBack(ctx context.Context, storage *azblob.Client, container, name string) ([]Row, error) {
	content, err := blobs.Read(ctx, storage, container, name)
	if err != nil {
		return nil, err
	}
	return parquet.Read[Row](bytes.NewReader(content), int64(len(content)))
}
