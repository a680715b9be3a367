package segment

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Partition is where one partition's files lie.
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

// Segments lists the partition's segment files (.dat) from the oldest to the newest.
func (p Partition) Segments() ([]string, error) {
	entries, err := os.ReadDir(p.Dir)
	if err != nil {
		return nil, err
	}
	var bases []int64
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".dat")
		if base, err := strconv.ParseInt(name, 10, 64); ok && err == nil {
			bases = append(bases, base)
		}
	}
	slices.Sort(bases)
	paths := make([]string, len(bases))
	for i, base := range bases {
		paths[i] = filepath.Join(p.Dir, fmt.Sprintf("%d.dat", base))
	}
	return paths, nil
}

// IndexOf is the index that belongs to a segment file.
func IndexOf(path string) string { return strings.TrimSuffix(path, ".dat") + ".idx" }

// Snapshot is where the broker writes, when it is closed, what it knows of the
// partition beyond its batches.
func (p Partition) Snapshot() string { return filepath.Join(p.Dir, "snapshot.json") }
