package provisioners

import (
	"context"
	"fmt"
	"path"

	"github.com/waybill/waybill/consumers/connectors/adapter"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/internal/files"
)

// directory hands out addresses as local does, and keeps what was pushed as a file: what lands in a
// directory is there for programs that know nothing of transfers. It stays when the address goes.
type directory struct {
	local
	path string
}

func (d directory) collect(ctx context.Context, w wanted) (adapter.Document, error) {
	document, err := d.local.collect(ctx, w)
	if err != nil {
		return document, err
	}
	name := path.Join(fileName(w.TransferID), fileName(w.Resource.DefinitionID))
	if _, err := files.Write(d.path, name, document.Body); err != nil {
		// A disk that is full or away is mended; a path that is wrong is, too, by whoever reads this.
		return adapter.Document{}, &adapter.Fault{Step: stepCollect, Again: true, Err: fmt.Errorf("what was pushed cannot be kept in %s: %w", d.path, err)}
	}
	return document, nil
}

func fileName(id string) string { return files.Name(id, machine.ID("file", id)) }
