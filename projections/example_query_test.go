package projections_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/internal/embedded"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/projections"
	"github.com/waybill/waybill/schemas"
)

// A read model of one's own is a file and a process that follows the log. Against a server
// that runs, the address of its Kafka listener is all that is needed.
func ExampleDB() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cluster, position, stop, err := exampleLog(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer stop()
	dir, err := os.MkdirTemp("", "waybill-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary directory: the system clears what stays

	db, err := projections.Open(ctx, projections.Config{Path: filepath.Join(dir, "view.db"), Kafka: cluster})
	if err != nil {
		log.Fatal(err)
	}
	following, end := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- db.Run(following) }()

	// Reads what was written, because it waits for the position of the write.
	if err := db.WaitFor(ctx, position); err != nil {
		log.Fatal(err)
	}
	job, err := db.Job(ctx, "order-4711", 10)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(job.ID, job.State, job.Progress.Running, "of", job.Progress.Total, "running")
	for _, n := range job.Nodes {
		fmt.Println(n.ID, n.State)
	}
	page, err := db.Jobs(ctx, projections.JobFilter{State: "IN_PROGRESS"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(page.Items), "in progress")

	end()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		log.Fatal(err)
	}
	if err := db.Close(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// order-4711 IN_PROGRESS 1 of 2 running
	// pick READY
	// pack PENDING
	// 1 in progress
}

// exampleLog is a Kafka cluster in memory with the events that a server would have
// written for one job, and the position of the command that asked for it.
func exampleLog(ctx context.Context) (kafka.Config, kafka.Position, func(), error) {
	position := kafka.Position{Aggregate: schemas.AggregateOrchestration}
	broker, err := kfake.NewCluster(embedded.Options()...)
	if err != nil {
		return kafka.Config{}, position, nil, err
	}
	cluster := kafka.Config{Brokers: broker.ListenAddrs(), Embedded: true}
	return cluster, position, broker.Close, exampleEvents(ctx, cluster)
}

func exampleEvents(ctx context.Context, cluster kafka.Config) error {
	cl, err := cluster.NewClient()
	if err != nil {
		return err
	}
	defer cl.Close()
	topics := cluster.Topics()
	if err := kafka.EnsureTopics(ctx, cl, topics.Specs(1, []string{
		schemas.AggregateOrchestration, schemas.AggregateDefinition, schemas.AggregateTransfer, schemas.AggregateNegotiation,
	}, nil)); err != nil {
		return err
	}
	plan, err := orchestration.NewPlan(definition.Orchestration{Type: "order", Activities: []definition.Activity{
		{ID: "pick", Type: "pick.example.com"}, {ID: "pack", Type: "pack.example.com", DependsOn: definition.Names{"pick"}},
	}})
	if err != nil {
		return err
	}
	at := time.Now()
	for i, e := range []orchestration.Event{
		orchestration.Started{Type: "order", Run: 1, Plan: plan, Input: json.RawMessage(`{}`)},
		orchestration.Requested{ActivityID: "pick", Attempt: 1, WorkID: "w-1", Deadline: at.Add(time.Hour)},
	} {
		typ, data, err := schemas.EncodeOrchestrationEvent(e)
		if err != nil {
			return err
		}
		ce := kafka.CloudEvent{ID: typ, Source: "example", Type: typ, Time: at, Sequence: int64(i + 1), Cause: "order-4711"}
		if err := exampleRecord(ctx, cl, topics, "order-4711", ce, data); err != nil {
			return err
		}
	}
	data, err := schemas.Encode(schemas.Position{Txn: 1, Next: 1, At: at})
	if err != nil {
		return err
	}
	return exampleRecord(ctx, cl, topics, schemas.ShardKey, kafka.CloudEvent{ID: "1", Source: "example", Type: schemas.ShardPosition}, data)
}

func exampleRecord(ctx context.Context, cl *kgo.Client, topics kafka.Topics, key string, ce kafka.CloudEvent, data []byte) error {
	r := &kgo.Record{Topic: topics.Events(schemas.AggregateOrchestration), Key: []byte(key), Value: data, Headers: ce.Headers()}
	return cl.ProduceSync(ctx, r).FirstErr()
}
