package segment

import (
	"encoding/json"
	"os"
	"time"
)

// Snapshot is what the broker knows of a partition beyond its batches. It writes one
// when it is closed, and believes it at start if the segments are the ones it names.
type Snapshot struct {
	Version          int       `json:"version"`
	HighWatermark    int64     `json:"high_watermark"`
	LastStableOffset int64     `json:"last_stable_offset"`
	LogStartOffset   int64     `json:"log_start_offset"`
	Epoch            int32     `json:"epoch"`
	MaxTimestamp     int64     `json:"max_timestamp"`
	CreatedAt        time.Time `json:"created_at"`
	// Aborted is in the order of the last offsets.
	Aborted  []Aborted `json:"aborted_txns,omitempty"`
	Segments []Extent  `json:"segments"`
}

// Aborted is a transaction whose records a reader of committed records does not see.
type Aborted struct {
	ProducerID  int64 `json:"producer_id"`
	FirstOffset int64 `json:"first_offset"`
	LastOffset  int64 `json:"last_offset"`
}

// Extent is one segment file and its size in bytes.
type Extent struct {
	BaseOffset int64 `json:"base_offset"`
	Size       int64 `json:"size"`
	MinEpoch   int32 `json:"min_epoch,omitempty"`
	MaxEpoch   int32 `json:"max_epoch,omitempty"`
}

// SnapshotVersion is the version of the format that is written here.
const SnapshotVersion = 1

// ReadSnapshot reads the partition's snapshot. ok is false if there is none or it
// cannot be read, as after a kill while it was written.
func (p Partition) ReadSnapshot() (s Snapshot, ok bool) {
	raw, err := os.ReadFile(p.snapshotPath())
	if err != nil || json.Unmarshal(raw, &s) != nil {
		return Snapshot{}, false
	}
	return s, true
}

// WriteSnapshot replaces the partition's snapshot. It does not wait for the disk: the
// broker does without a snapshot it cannot read.
func (p Partition) WriteSnapshot(s Snapshot) error {
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(p.snapshotPath(), raw, 0o600)
}
