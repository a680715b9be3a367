package embedded

import (
	"strconv"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/waybill/waybill/internal/kafka"
)

// Options is how every cluster of the project is set up, those of tests included, so
// that tests meet the broker that users run: one node, topics only on request (a
// misspelt name is an error, not a new topic), and batches as large as ours may get.
func Options() []kfake.Opt {
	return []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.ClusterID("waybill-embedded"),
		kfake.DefaultNumPartitions(kafka.DefaultShards),
		kfake.BrokerConfigs(map[string]string{
			"message.max.bytes": strconv.Itoa(kafka.MaxMessageBytes),
		}),
	}
}
