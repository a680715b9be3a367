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
// no compaction.
func Options() []kfake.Opt {
	// Compaction deletes a partition's files before it writes them anew, so a kill in
	// between would lose what was acknowledged. Putting it off for ten years leaves
	// compacted topics whole; Broker applies retention itself, which only removes files.
	const never = 10 * 365 * 24 * time.Hour
	return []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.ClusterID("waybill-embedded"),
		kfake.DefaultNumPartitions(kafka.DefaultShards),
		kfake.BrokerConfigs(map[string]string{
			"message.max.bytes":      strconv.Itoa(kafka.MaxMessageBytes),
			"log.cleaner.backoff.ms": strconv.FormatInt(never.Milliseconds(), 10),
		}),
	}
}
