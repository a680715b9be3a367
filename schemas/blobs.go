package schemas

import "strconv"

// What stands on the blobs topic. Its values are bytes, not JSON.
const (
	// BlobRecord is the ce_type of all its records.
	BlobRecord = "blob.v1"
	// BlobClaim ends the key of the record by which an aggregate says that it remembers a blob.
	BlobClaim = "/claim"
)

// BlobChunk is the key of a chunk, by its number from 0.
func BlobChunk(id string, n int32) string { return id + "/" + strconv.Itoa(int(n)) }
