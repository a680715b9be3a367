package blobs

import (
	"bytes"
	"context"
	"errors"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
)

// Env is the environment variable that says where the storage is, and with which key.
const Env = "AZURE_STORAGE_CONNECTION_STRING"

// Storage is the client that the environment describes.
func Storage() (*azblob.Client, error) {
	s := os.Getenv(Env)
	if s == "" {
		return nil, errors.New(Env + " is not set")
	}
	return azblob.NewClientFromConnectionString(s, nil)
}

// Read reads a blob.
func Read(ctx context.Context, storage *azblob.Client, container, name string) ([]byte, error) {
	got, err := storage.DownloadStream(ctx, container, name, nil)
	if err != nil {
		return nil, err
	}
	defer got.Body.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(got.Body)
	return b.Bytes(), err
}

// Each visits the blobs of a container in the order of their names.
func Each(ctx context.Context, storage *azblob.Client, container string, visit func(name string, content []byte) error) error {
	pages := storage.NewListBlobsFlatPager(container, nil)
	for pages.More() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, item := range page.Segment.BlobItems {
			content, err := Read(ctx, storage, container, *item.Name)
			if err != nil {
				return err
			}
			if err := visit(*item.Name, content); err != nil {
				return err
			}
		}
	}
	return nil
}
