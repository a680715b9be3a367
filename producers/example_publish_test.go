package producers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/waybill/waybill/internal/embedded"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/producers"
	"github.com/waybill/waybill/schemas"
)

// A job is asked for by one record on the commands topic. Against a server that runs,
// the address of its Kafka listener is all that is needed.
func ExamplePublisher() {
	cluster, stop, err := exampleCluster()
	if err != nil {
		log.Fatal(err)
	}
	defer stop()

	publisher, err := producers.New(cluster)
	if err != nil {
		log.Fatal(err)
	}
	defer publisher.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	job, err := publisher.StartOrchestration(ctx, producers.Start{
		ID:    "order-4711",
		Type:  "parts-tree",
		Input: json.RawMessage(`{"file": "test-document-1", "connectorUrl": "http://provider1:8181"}`),
	})
	if err != nil {
		log.Fatal(err)
	}
	again, err := publisher.StartOrchestration(ctx, producers.Start{
		ID:    "order-4711",
		Type:  "parts-tree",
		Input: json.RawMessage(`{"connectorUrl": "http://provider1:8181", "file": "test-document-1"}`),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("job", job.ID, "asked for at", job.Position)
	fmt.Println("the same command again:", job.CommandID == again.CommandID)
	// Output:
	// job order-4711 asked for at orchestration/0/0
	// the same command again: true
}

// exampleCluster is a Kafka cluster in memory with the topics a server would make.
func exampleCluster() (kafka.Config, func(), error) {
	cluster, err := kfake.NewCluster(embedded.Options()...)
	if err != nil {
		return kafka.Config{}, nil, err
	}
	cfg := kafka.Config{Brokers: cluster.ListenAddrs(), Embedded: true}
	client, err := cfg.NewClient()
	if err != nil {
		return kafka.Config{}, nil, err
	}
	defer client.Close()
	specs := cfg.Topics().Specs(1, []string{schemas.AggregateOrchestration}, nil)
	return cfg, cluster.Close, kafka.EnsureTopics(context.Background(), client, specs)
}
