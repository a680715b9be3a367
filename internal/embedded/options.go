package embedded

import (
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/waybill/waybill/internal/kafka"
)

// Options is how every cluster of the project is set up, those of tests included, so
// that tests meet the broker that users run: one node, topics only on request (a
// misspelt name is an error, not a new topic), batches as large as ours may get, and
// neither compaction nor retention.
func Options() []kfake.Opt {
	// Compaction deletes a partition's files before it writes them anew, so a kill in
	// between would lose what was acknowledged; and a partition that retention has
	// emptied begins again at offset 0 after the next start, below the positions of
	// its readers. Both wait for the first tick of this clock.
	const never = 10 * 365 * 24 * time.Hour
	// At start the broker reads one segment of every partition at a time into memory.
	// With its own default of 100 MiB that was the whole log, with 4 MiB still twice what
	// the process needs at work. Each segment that has been read keeps a file open.
	const segmentBytes = 1 << 20
	return []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.ClusterID(kafka.EmbeddedCluster),
		kfake.DefaultNumPartitions(kafka.DefaultShards),
		kfake.BrokerConfigs(map[string]string{
			"message.max.bytes":      strconv.Itoa(kafka.MaxMessageBytes),
			"log.cleaner.backoff.ms": strconv.FormatInt(never.Milliseconds(), 10),
			"log.segment.bytes":      strconv.Itoa(segmentBytes),
		}),
	}
}
