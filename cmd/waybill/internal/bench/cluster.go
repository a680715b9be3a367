package bench

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/consumers/runner"
	"github.com/waybill/waybill/internal/kafka"
)

// minInsync is the setting of a topic that says how many replicas have to have what is acknowledged.
const minInsync = "min.insync.replicas"

// describeCluster finds out what figures on a Kafka depend on, from a topic that was made there as
// all topics of ours are.
func describeCluster(ctx context.Context, cl *kgo.Client, topic string) (*Cluster, error) {
	adm := kadm.NewClient(cl)
	c := &Cluster{
		MetadataMinAge: kafka.MetadataMinAge.String(), SessionTimeout: runner.DefaultSessionTimeout.String(),
		TransactionTimeout: runner.TransactionTimeout.String(),
	}
	nodes, err := adm.ApiVersions(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask the brokers for their versions: %w", err)
	}
	c.Nodes = len(nodes)
	for _, n := range nodes {
		if c.Version = "Kafka " + n.VersionGuess(); n.Err == nil {
			break
		}
	}
	topics, err := adm.ListTopics(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("describe topic %s: %w", topic, err)
	}
	for _, p := range topics[topic].Partitions {
		c.Replication = max(c.Replication, len(p.Replicas))
	}
	configs, err := adm.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("describe topic %s: %w", topic, err)
	}
	for _, r := range configs {
		for _, k := range r.Configs {
			if k.Key == minInsync {
				c.MinInsync = k.MaybeValue()
			}
		}
	}
	return c, nil
}
