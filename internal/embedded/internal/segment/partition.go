package segment

import (
	"cmp"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Partition says where one partition's files lie.
type Partition struct {
	Topic     string
	Partition int32
	Dir       string
}

// Dir is the directory of a partition below the broker's data directory.
func Dir(dataDir, topic string, partition int32) string {
	return filepath.Join(dataDir, "partitions", fmt.Sprintf("%s-%d", url.PathEscape(topic), partition))
}

// Partitions lists the partitions that have files, in the order of their names. A data
// directory without any is no error.
func Partitions(dataDir string) ([]Partition, error) {
	entries, err := os.ReadDir(filepath.Join(dataDir, "partitions"))
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Partition
	for _, e := range entries {
		escaped, number, ok := cutLast(e.Name(), "-")
		topic, errTopic := url.PathUnescape(escaped)
		n, errNumber := strconv.ParseInt(number, 10, 32)
		if !ok || !e.IsDir() || errTopic != nil || errNumber != nil {
			continue // not a directory of the broker's
		}
		all = append(all, Partition{topic, int32(n), filepath.Join(dataDir, "partitions", e.Name())})
	}
	return all, nil
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// Segment is one segment file of a partition.
type Segment struct {
	BaseOffset int64
	Path       string
}

// Index is the path of the index that belongs to the segment.
func (s Segment) Index() string { return strings.TrimSuffix(s.Path, ".dat") + ".idx" }

// Segments lists the partition's segments from the oldest to the newest.
func (p Partition) Segments() ([]Segment, error) {
	entries, err := os.ReadDir(p.Dir)
	if err != nil {
		return nil, err
	}
	var all []Segment
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".dat")
		if base, err := strconv.ParseInt(name, 10, 64); ok && err == nil {
			all = append(all, Segment{base, filepath.Join(p.Dir, e.Name())})
		}
	}
	slices.SortFunc(all, func(a, b Segment) int { return cmp.Compare(a.BaseOffset, b.BaseOffset) })
	return all, nil
}

func (p Partition) snapshotPath() string { return filepath.Join(p.Dir, "snapshot.json") }
