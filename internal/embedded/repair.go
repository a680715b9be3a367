package embedded

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/waybill/waybill/internal/embedded/internal/segment"
)

// openTransaction is a producer's transaction that has no end in one partition.
type openTransaction struct {
	topic         string
	partition     int32
	producerID    int64
	producerEpoch int16
}

// repairFiles makes the files of a broker that was not stopped cleanly say what is on
// the log, and returns the transactions without an end. Nobody else may use them.
//
// It reads every batch once and holds none.
func repairFiles(dir string) ([]openTransaction, error) {
	partitions, err := segment.Partitions(dir)
	if err != nil {
		return nil, fmt.Errorf("list the partitions of data directory %s: %w", dir, err)
	}
	var all []openTransaction
	for _, p := range partitions {
		open, err := repairPartition(p)
		if err != nil {
			return nil, fmt.Errorf("repair partition %d of %s: %w", p.Partition, p.Topic, err)
		}
		all = append(all, open...)
	}
	return all, nil
}

func repairPartition(p segment.Partition) ([]openTransaction, error) {
	paths, err := p.Segments()
	if err != nil {
		return nil, err
	}
	open := make(map[int64]openTransaction)
	damaged := false
	for _, path := range paths {
		index, whole, err := repairSegment(p, path, open)
		if err != nil {
			return nil, err
		}
		damaged = damaged || !index || !whole
	}
	if damaged || len(open) > 0 {
		// If a snapshot fits the files, the broker believes it and does not look for
		// open transactions itself: the marker would then close what it has never heard
		// of, without hiding it.
		if err := os.Remove(p.Snapshot()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	list := make([]openTransaction, 0, len(open))
	for _, o := range open {
		list = append(list, o)
	}
	slices.SortFunc(list, func(a, b openTransaction) int { return cmp.Compare(a.producerID, b.producerID) })
	return list, nil
}

// repairSegment reads one segment, keeping open up to date, and writes its index anew
// if that does not fit: a kill between the write of a batch and that of its entry leaves
// the batch without one, the broker then takes it for committed, and every later entry
// stands in the place of the one before. It reports whether the index had been right
// and whether the file ends with a whole batch; the broker itself cuts off what doesn't.
func repairSegment(p segment.Partition, path string, open map[int64]openTransaction) (index, whole bool, err error) {
	var want []byte
	end, size, err := segment.Read(path, func(b segment.Batch) error {
		want = segment.AppendEntry(want, b)
		switch {
		case b.Control:
			delete(open, b.ProducerID)
		case b.Open():
			open[b.ProducerID] = openTransaction{p.Topic, p.Partition, b.ProducerID, b.ProducerEpoch}
		}
		return nil
	})
	if err != nil {
		return false, false, err
	}
	have, err := os.ReadFile(segment.IndexOf(path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, false, err
	}
	if segment.Indexes(have, want) {
		return true, end == size, nil
	}
	return false, end == size, segment.ReplaceFile(segment.IndexOf(path), want)
}
