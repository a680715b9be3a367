// Package blobs keeps values that are too large for a record on a topic of their own, in
// chunks.
//
//	store := blobs.New(cfg)
//	defer store.Close()
//	partition, first, last, chunks, err := store.Put(ctx, "job-1/0197…", data)
//	data, err = store.Get(ctx, "job-1/0197…", partition, first, last, chunks)
//
// An id is an owner, a slash and something unique; all of an owner's chunks lie on the
// partition of that name, where whoever decides for the owner can remove them in its own
// transactions. Chunk n has the key <id>/<n>. The topic is compacted: a key that got a record without a
// value is gone after a while, which is up to the broker; until then it can still be read.
//
// Chunks are not part of any transaction: they are written, and acknowledged, before the record
// that names them.
package blobs
