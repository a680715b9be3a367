package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/waybill/waybill/internal/embedded"
	"github.com/waybill/waybill/internal/kafka"
)

const (
	bareCommands = 200_000
	bareBytes    = 200 // of a record's value
	bareBatch    = 2000
	bareLatency  = 500
)

// Topics of the bare log: one in, two out.
const (
	bareIn     = "in"
	bareEvents = "events"
	bareOut    = "out"
)

// bareLog measures the log with nothing on it but what everything of ours stands on: a
// producer for each shard reads its commands and writes two records for each of them, as
// many as there are in one transaction.
func (b *bench) bareLog(ctx context.Context) (l BareLog, err error) {
	cfg, stop, err := b.log(ctx)
	if err != nil {
		return l, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	cl, err := cfg.NewClient(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxBufferedRecords(2*bareCommands))
	if err != nil {
		return l, err
	}
	defer cl.Close()
	// The client makes batches that large; a broker takes less unless it is told.
	largest := strconv.Itoa(kafka.MaxMessageBytes)
	var specs []kafka.Spec
	for _, name := range []string{bareIn, bareEvents, bareOut} {
		specs = append(specs, kafka.Spec{
			Name: cfg.Prefix + "." + name, Partitions: int32(b.Shards), Configs: map[string]*string{"max.message.bytes": &largest},
		})
	}
	if err := kafka.EnsureTopics(ctx, cl, specs); err != nil {
		return l, err
	}
	if err := produceCommands(ctx, cl, cfg.Prefix, b.Shards, bareCommands); err != nil {
		return l, err
	}
	if len(b.Brokers) > 0 {
		if b.cluster, err = describeCluster(ctx, cl, specs[0].Name); err != nil {
			return l, err
		}
	}
	return measureLog(ctx, cfg, cl, b.Shards)
}

// log is an embedded broker of its own, or the Kafka that was named.
func (b *bench) log(ctx context.Context) (kafka.Config, func() error, error) {
	cfg := kafka.Config{Brokers: b.Brokers, Security: b.Security, Prefix: "waybill-bench-" + uuid.NewString()[:8]}
	if len(b.Brokers) > 0 {
		return cfg, func() error { return deleteTopics(ctx, cfg, cfg.Prefix) }, nil
	}
	dir, err := os.MkdirTemp("", "waybill-bench-")
	if err != nil {
		return cfg, nil, fmt.Errorf("make a temporary directory: %w", err)
	}
	broker, err := embedded.Start(ctx, embedded.Config{Dir: dir, Listen: "127.0.0.1:0", Fsync: b.Fsync})
	if err != nil {
		return cfg, nil, errors.Join(err, os.RemoveAll(dir))
	}
	cfg.Brokers = []string{broker.Addr()}
	return cfg, func() error { return errors.Join(broker.Close(), os.RemoveAll(dir)) }, nil
}

// produceCommands puts commands on the log before the clock starts.
func produceCommands(ctx context.Context, cl *kgo.Client, prefix string, shards, n int) error {
	var failed error // the first: where one fails, often all do
	for i := range n {
		cl.Produce(ctx, bareRecord(prefix+"."+bareIn, int32(i%shards), []byte(strconv.Itoa(i))), func(_ *kgo.Record, err error) {
			failed = cmp.Or(failed, err)
		})
	}
	return errors.Join(cl.Flush(ctx), failed)
}

var bareValue = make([]byte, bareBytes)

func bareRecord(topic string, partition int32, key []byte) *kgo.Record {
	return &kgo.Record{Topic: topic, Partition: partition, Key: key, Value: bareValue}
}

// measureLog has all shards work off what is there, then one more command at a time.
func measureLog(ctx context.Context, cfg kafka.Config, cl *kgo.Client, shards int) (l BareLog, err error) {
	working, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan int, 1<<10)
	g, working := errgroup.WithContext(working)
	began := time.Now()
	for shard := range int32(shards) {
		g.Go(func() error { return bareShard(working, cfg, shard, done) })
	}
	for left := bareCommands; left > 0; {
		select {
		case n := <-done:
			left -= n
		case <-working.Done():
			return l, g.Wait()
		}
	}
	l.RecordsPerSecond = 2 * bareCommands / seconds(began)
	took := make([]time.Duration, bareLatency)
	for i := range took {
		began := time.Now()
		r := bareRecord(cfg.Prefix+"."+bareIn, int32(i%shards), []byte("one"))
		if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
			return l, err
		}
		select {
		case <-done:
		case <-working.Done():
			return l, g.Wait()
		}
		took[i] = time.Since(began)
	}
	l.p50Ms = percentile(took, 50)
	stop()
	return l, g.Wait()
}

// bareShard consumes, transforms and produces on one shard until ctx ends; done is told of
// each transaction.
func bareShard(ctx context.Context, cfg kafka.Config, shard int32, done chan<- int) error {
	in, events, out := cfg.Prefix+"."+bareIn, cfg.Prefix+"."+bareEvents, cfg.Prefix+"."+bareOut
	cl, err := cfg.NewClient(
		kgo.TransactionalID(cfg.Prefix+"-"+strconv.Itoa(int(shard))),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ManualFlushing(),
		kgo.MaxBufferedRecords(4*bareBatch),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{in: {shard: kgo.NewOffset().AtStart()}}),
	)
	if err != nil {
		return err
	}
	defer cl.Close()
	for {
		fetches := cl.PollRecords(ctx, bareBatch)
		if ctx.Err() != nil {
			return nil
		}
		if err := fetches.Err(); err != nil {
			return err
		}
		records := fetches.Records()
		if len(records) == 0 {
			continue
		}
		if err := cl.BeginTransaction(); err != nil {
			return err
		}
		var failed error
		noted := func(_ *kgo.Record, err error) { failed = cmp.Or(failed, err) }
		for _, r := range records {
			cl.Produce(ctx, bareRecord(events, shard, r.Key), noted)
			cl.Produce(ctx, bareRecord(out, shard, r.Key), noted)
		}
		err := errors.Join(cl.Flush(ctx), failed)
		if err == nil {
			err = cl.EndTransaction(ctx, kgo.TryCommit)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		done <- len(records)
	}
}
