package embedded

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/waybill/waybill/internal/embedded/internal/segment"
)

// producersFile is the broker's log of producer IDs: JSON entries, each behind its
// length (4 bytes, of what follows the checksum), checksum (4) and version (2).
const producersFile = "pids.log"

const (
	entryHead    = 10
	entryCounted = 2 // the version, which the length counts with the JSON
)

// dropSupersededProducers removes the producer IDs that a transactional ID has left
// behind. When a producer's epochs are used up, after some 32,000 transactions, its
// transactional ID gets a new producer ID. The broker does not log that the old one is
// gone; after a kill it would know both, take either for the current one from start to
// start, and fence the owner of a shard by raising the other.
func dropSupersededProducers(dir string) error {
	path := filepath.Join(dir, producersFile)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	entries := producerEntries(raw)
	current := make(map[string]int64) // by transactional ID
	owner := make(map[int64]string)   // by producer ID
	for _, e := range entries {
		if e.TransactionalID != "" {
			current[e.TransactionalID] = e.ProducerID
			owner[e.ProducerID] = e.TransactionalID
		}
	}
	var keep []byte
	for _, e := range entries {
		if id, ok := owner[e.ProducerID]; !ok || current[id] == e.ProducerID {
			keep = append(keep, e.raw...)
		}
	}
	if len(keep) == len(raw) {
		return nil
	}
	if err := segment.ReplaceFile(path, keep); err != nil {
		return fmt.Errorf("drop superseded producers: %w", err)
	}
	return nil
}

type producerEntry struct {
	ProducerID      int64  `json:"pid"`
	TransactionalID string `json:"txid"`
	raw             []byte
}

// producerEntries reads the whole entries; the first one that a kill cut short ends them,
// as for the broker.
func producerEntries(raw []byte) []producerEntry {
	var all []producerEntry
	for len(raw) >= entryHead {
		size := entryHead - entryCounted + int64(binary.LittleEndian.Uint32(raw))
		if size < entryHead || size > int64(len(raw)) {
			break
		}
		e := producerEntry{raw: raw[:size]}
		if crc32.Checksum(e.raw[entryHead-entryCounted:], crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32(raw[4:]) {
			break
		}
		if json.Unmarshal(e.raw[entryHead:], &e) == nil {
			all = append(all, e)
		}
		raw = raw[size:]
	}
	return all
}
