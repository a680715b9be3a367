package embeddedtest

import (
	"os"
	"testing"

	"github.com/waybill/waybill/internal/embedded/internal/segment"
)

// CutLastMarker takes the last commit out of one partition of a stopped broker's data
// directory, as if the broker had been killed before it wrote that partition's marker:
// the transaction is open there, and whole in its other partitions. The last thing in
// the partition has to be that commit.
func CutLastMarker(t testing.TB, dir, topic string, partition int32) {
	t.Helper()
	p := segment.Partition{Topic: topic, Partition: partition, Dir: segment.Dir(dir, topic, partition)}
	segments, err := p.Segments()
	if err != nil || len(segments) == 0 {
		t.Fatalf("partition %d of %s has no segments: %v", partition, topic, err)
	}
	s := segments[len(segments)-1]
	var last segment.Batch
	batches := int64(0)
	if _, _, err := segment.Read(s.Path, func(b segment.Batch) error {
		last = b
		batches++
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if !last.Commit {
		t.Fatalf("partition %d of %s does not end with a commit: its last batch, at offset %d, is another", partition, topic, last.FirstOffset)
	}
	cutAt(t, s.Path, last.Position)
	cutAt(t, s.Index(), (batches-1)*segment.EntryBytes)
}

func cutAt(t testing.TB, path string, size int64) {
	t.Helper()
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}
