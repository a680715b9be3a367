package embedded

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/waybill/waybill/internal/embedded/internal/segment"
)

// repaired is what repairFiles found.
type repaired struct {
	open    []openTransaction
	dropped int64 // bytes at the ends of files that were no whole batches
}

// openTransaction is a producer's transaction that has no end in one partition.
type openTransaction struct {
	topic         string
	partition     int32
	producerID    int64
	producerEpoch int16
	first, last   int64 // the offsets of its records
}

// repairFiles makes the files of a broker that was not stopped cleanly say what is on
// the log, and returns the transactions without an end. Nobody else may use them.
//
// It reads every batch once and holds none. The snapshots it leaves spare the broker its
// own search for open transactions, for which it would hold the whole log in memory.
func repairFiles(dir string) (repaired, error) {
	partitions, err := segment.Partitions(dir)
	if err != nil {
		return repaired{}, fmt.Errorf("list the partitions of data directory %s: %w", dir, err)
	}
	var all repaired
	for _, p := range partitions {
		r := repair{partition: p, open: make(map[int64]openTransaction)}
		if err := r.run(); err != nil {
			return repaired{}, fmt.Errorf("repair partition %d of %s: %w", p.Partition, p.Topic, err)
		}
		all.open = append(all.open, r.openInOrder()...)
		all.dropped += r.dropped
	}
	return all, nil
}

// repair is the repair of one partition.
type repair struct {
	partition segment.Partition
	snapshot  segment.Snapshot
	open      map[int64]openTransaction // by producer ID
	empty     bool                      // no batch was seen yet
	dropped   int64
}

func (r *repair) run() error {
	segments, err := r.partition.Segments()
	if err != nil {
		return err
	}
	r.snapshot, r.empty = segment.Snapshot{Version: segment.SnapshotVersion}, true
	for i, s := range segments {
		extent, err := r.readSegment(s, i == len(segments)-1)
		if err != nil {
			return err
		}
		r.snapshot.Segments = append(r.snapshot.Segments, extent)
	}
	if r.empty {
		return nil
	}
	r.finish()
	return r.partition.WriteSnapshot(r.snapshot)
}

// readSegment reads one segment, cuts off what is no whole batch, and writes its index
// anew if that does not fit: a kill between the write of a batch and that of its entry
// leaves the batch without one, the broker then takes it for committed, and every later
// entry stands in the place of the one before.
func (r *repair) readSegment(s segment.Segment, last bool) (segment.Extent, error) {
	var index []byte
	extent := segment.Extent{BaseOffset: s.BaseOffset}
	whole, size, err := segment.Read(s.Path, func(b segment.Batch) error {
		if len(index) == 0 {
			extent.MinEpoch = b.LeaderEpoch
		}
		extent.MaxEpoch = b.LeaderEpoch
		index = segment.AppendEntry(index, b)
		r.add(b)
		return nil
	})
	if err != nil {
		return extent, err
	}
	extent.Size = whole
	if whole < size {
		if err := torn(s.Path, whole, size, last); err != nil {
			return extent, err
		}
		r.dropped += size - whole
		if err := os.Truncate(s.Path, whole); err != nil {
			return extent, err
		}
	}
	have, err := os.ReadFile(s.Index())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return extent, err
	}
	if segment.Indexes(have, index) {
		return extent, nil
	}
	return extent, segment.ReplaceFile(s.Index(), index)
}

// DamagedError is a file that has been damaged by something else than a kill. Nothing was
// changed: what lies behind is still there.
type DamagedError struct {
	Path     string
	At, Size int64 // in bytes
}

// Error implements error.
func (e *DamagedError) Error() string {
	return fmt.Sprintf("%s is damaged at byte %d, and not only at its end: restore it from a copy; to go on without the %d bytes from there on, and lose what was acknowledged in them, cut it: truncate -s %d %s",
		e.Path, e.At, e.Size-e.At, e.At, e.Path)
}

// torn is nil where what is no whole batch is the last thing that was written, as a kill
// leaves it; anything else must not be cut off with all that was acknowledged behind it.
func torn(path string, whole, size int64, last bool) error {
	behind := !last
	if last {
		var err error
		if behind, err = segment.Behind(path, whole); err != nil {
			return err
		}
	}
	if behind {
		return &DamagedError{path, whole, size}
	}
	return nil
}

// checkFiles refuses files that were damaged while nobody used them. The broker itself would
// cut them where the damage is.
func checkFiles(dir string) error {
	partitions, err := segment.Partitions(dir)
	if err != nil {
		return fmt.Errorf("list the partitions of data directory %s: %w", dir, err)
	}
	for _, p := range partitions {
		segments, err := p.Segments()
		if err != nil {
			return err
		}
		for i, s := range segments {
			whole, size, err := segment.Read(s.Path, func(segment.Batch) error { return nil })
			if err == nil && whole < size {
				err = torn(s.Path, whole, size, i == len(segments)-1)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// add folds the next batch in.
func (r *repair) add(b segment.Batch) {
	s := &r.snapshot
	if r.empty {
		r.empty = false
		s.LogStartOffset = b.FirstOffset
		s.CreatedAt = time.UnixMilli(b.FirstTimestamp)
	}
	s.HighWatermark = b.LastOffset + 1
	s.Epoch = b.LeaderEpoch
	s.MaxTimestamp = max(s.MaxTimestamp, b.MaxTimestamp)
	o, isOpen := r.open[b.ProducerID]
	switch {
	case b.Control:
		if isOpen && !b.Commit {
			s.Aborted = append(s.Aborted, segment.Aborted{ProducerID: b.ProducerID, FirstOffset: o.first, LastOffset: b.FirstOffset})
		}
		delete(r.open, b.ProducerID)
	case b.Open():
		if !isOpen {
			o = openTransaction{topic: r.partition.Topic, partition: r.partition.Partition, producerID: b.ProducerID, first: b.FirstOffset}
		}
		o.producerEpoch, o.last = b.ProducerEpoch, b.LastOffset
		r.open[b.ProducerID] = o
	}
}

// finish hides the records of open transactions: the marker that each will get hides
// only what the broker itself has seen being written.
func (r *repair) finish() {
	s := &r.snapshot
	s.LastStableOffset = s.HighWatermark
	for _, o := range r.openInOrder() {
		s.Aborted = append(s.Aborted, segment.Aborted{ProducerID: o.producerID, FirstOffset: o.first, LastOffset: o.last})
	}
	slices.SortStableFunc(s.Aborted, func(a, b segment.Aborted) int { return cmp.Compare(a.LastOffset, b.LastOffset) })
	// What was deleted stays so, as far as the last clean stop knew.
	if last, ok := r.partition.ReadSnapshot(); ok && last.LogStartOffset <= s.HighWatermark {
		s.LogStartOffset = max(s.LogStartOffset, last.LogStartOffset)
		s.CreatedAt = last.CreatedAt
	}
}

func (r *repair) openInOrder() []openTransaction {
	list := make([]openTransaction, 0, len(r.open))
	for _, o := range r.open {
		list = append(list, o)
	}
	slices.SortFunc(list, func(a, b openTransaction) int { return cmp.Compare(a.first, b.first) })
	return list
}
