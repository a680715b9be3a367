package segment

import (
	"encoding/binary"
	"hash/crc32"
	"os"
)

// EntryBytes is the size of one index entry.
const EntryBytes = 15

// entryVersion is the version of the entry format that the broker writes.
const entryVersion = 1

// AppendEntry appends the index entry of b. The broker works the timestamp out again
// at start; here it is the batch's own.
func AppendEntry(index []byte, b Batch) []byte {
	var e [EntryBytes]byte
	e[0] = entryVersion
	binary.LittleEndian.PutUint32(e[2:], uint32(b.LeaderEpoch))
	binary.LittleEndian.PutUint64(e[6:], uint64(b.MaxTimestamp))
	if b.Open() {
		e[14] = 1
	}
	e[1] = byte(crc32.Checksum(e[2:], castagnoli))
	return append(index, e[:]...)
}

// Indexes reports whether have holds a sound entry for each of the batches that want
// describes, and says the same of each: its leader epoch and whether it needs an end.
func Indexes(have, want []byte) bool {
	if len(have) != len(want) {
		return false
	}
	for i := 0; i < len(have); i += EntryBytes {
		h, w := have[i:i+EntryBytes], want[i:i+EntryBytes]
		sound := h[0] == entryVersion && h[1] == byte(crc32.Checksum(h[2:], castagnoli))
		same := string(h[2:6]) == string(w[2:6]) && h[14] == w[14]
		if !sound || !same {
			return false
		}
	}
	return true
}

// ReplaceFile puts content in the place of the file at path, whole or not at all, and
// on the disk.
func ReplaceFile(path string, content []byte) error {
	// The broker removes what a kill leaves behind by this ending.
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		f.Close() //nolint:errcheck // the write's error says more
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close() //nolint:errcheck // the sync's error says more
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
