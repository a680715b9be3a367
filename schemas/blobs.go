package schemas

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/google/uuid"

	"github.com/waybill/waybill/domain/blob"
)

// What stands on the blobs topic. Its values are bytes, not JSON.
const (
	// BlobRecord is the ce_type of all its records.
	BlobRecord = "blob.v1"
	// BlobClaim ends the key of the record by which an aggregate says that it remembers a blob.
	BlobClaim = "/claim"
)

// BlobChunk is the key of a chunk, by its number from 0.
func BlobChunk(id string, n int32) string { return id + "/" + strconv.Itoa(int(n)) }

// BlobStore keeps values where there is more room than in a record.
type BlobStore interface {
	Put(ctx context.Context, id string, data []byte) (partition int32, first, last int64, chunks int32, err error)
	Get(ctx context.Context, id string, partition int32, first, last int64, chunks int32) ([]byte, error)
}

// Blobs moves large values out of what goes into records, and puts them back into what is
// read. It is safe for concurrent use if its Store is.
type Blobs struct {
	Store BlobStore
	Max   int64 // the largest value that is taken, in bytes; 0: blob.DefaultMax
}

// PayloadError says that a value is over the hard limit. Nothing was written.
type PayloadError struct {
	Bytes, Limit int64
}

// Error implements error.
func (e *PayloadError) Error() string {
	return fmt.Sprintf("the value has %d bytes, over the limit of %d (--max-payload)", e.Bytes, e.Limit)
}

// CorruptError says that what was read is not what was written.
type CorruptError struct{ ID string }

// Error implements error.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("the value %s is not what was written: its SHA-256 is another", e.ID)
}

// Limit is the largest value that is taken, in bytes.
func (b Blobs) Limit() int64 {
	if b.Max == 0 {
		return blob.DefaultMax
	}
	return b.Max
}

// Pack makes a value fit into a record: what is large in it is written under the owner's id, and
// referred to. Its errors are a *PayloadError, a *blob.MisuseError for members that are
// reserved, an *UndecodableError for what is not JSON that every reader understands alike, and
// those of the Store.
func (b Blobs) Pack(ctx context.Context, owner string, value json.RawMessage) (json.RawMessage, error) {
	if err := blob.Refuse(value); err != nil {
		return nil, err
	}
	if n := int64(len(value)); n > b.Limit() {
		return nil, &PayloadError{n, b.Limit()}
	}
	if len(value) <= blob.Threshold {
		return value, nil
	}
	// What stands in a record is checked with the record.
	s := scanner{data: value, strict: true}
	s.raw()
	s.end()
	if s.err != nil {
		return nil, undecodable(BlobRecord, s.err)
	}
	return blob.Pack(value, blob.Threshold, func(part json.RawMessage) (blob.Ref, error) {
		id, err := uuid.NewV7()
		if err != nil {
			return blob.Ref{}, err
		}
		sum := sha256.Sum256(part)
		r := blob.Ref{ID: owner + "/" + id.String(), SHA256: hex.EncodeToString(sum[:])}
		r.Partition, r.Offset, r.Last, r.Chunks, err = b.Store.Put(ctx, r.ID, part)
		return r, err
	})
}

// Unpack puts what a value refers to into its place. Its errors are a *CorruptError, a
// *blob.TooLargeError for more than most bytes (0: four times the limit of one value), and
// those of the Store.
func (b Blobs) Unpack(ctx context.Context, value json.RawMessage, most int64) (json.RawMessage, error) {
	if !blob.Refers(value) {
		return value, nil
	}
	if most == 0 {
		most = 4 * b.Limit()
	}
	return blob.Resolve(value, most, func(r blob.Ref) (json.RawMessage, error) {
		if r.Bytes > most {
			return nil, &blob.TooLargeError{Limit: most}
		}
		data, err := b.Store.Get(ctx, r.ID, r.Partition, r.Offset, r.Last, r.Chunks)
		if err != nil {
			return nil, err
		}
		if sum := sha256.Sum256(data); int64(len(data)) != r.Bytes || hex.EncodeToString(sum[:]) != r.SHA256 {
			return nil, &CorruptError{r.ID}
		}
		return data, nil
	})
}
