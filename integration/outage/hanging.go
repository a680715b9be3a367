package main

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/waybill/waybill/integration/internal/cluster"
	"github.com/waybill/waybill/integration/internal/fleet"
	"github.com/waybill/waybill/integration/internal/load"
	"github.com/waybill/waybill/internal/kafka"
)

// hanging plants what a broker that is alone and is killed may leave behind: a transaction of a shard that is decided, and
// still open in another shard's commands. Nobody reads on there. When the servers have lost the broker, they have to see it
// and to end it as it was decided: the job that lies in it is begun.
func (s *scenario) hanging(ctx context.Context, c *cluster.Cluster) error {
	p, err := s.plant(ctx)
	if err != nil {
		return fmt.Errorf("plant a hanging transaction: %w", err)
	}
	for _, step := range []func(context.Context, int) error{c.Kill, c.Restart} {
		if err := step(ctx, 1); err != nil {
			return err
		}
	}
	s.fleet.Jobs = append(s.fleet.Jobs, p.job)
	took, err := s.fleet.Drain(ctx, fleet.Stall)
	if err != nil {
		return fmt.Errorf("a transaction of shard %d hangs on %s: %w", p.of, p.where, err)
	}
	fmt.Printf("  a transaction of shard %d that hung on %s was committed %.1f s after the broker was back\n", p.of, p.where, took.Seconds())
	return nil
}

// planted is a transaction that hangs.
type planted struct {
	of    int32 // the shard whose it is
	where string
	job   *load.Job // that is asked for in it
}

func (s *scenario) plant(ctx context.Context) (planted, error) {
	cfg := kafka.Config{Brokers: s.fleet.Brokers}
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(kmsg.Produce.Int16(), 11) // from 12 on it is the broker that takes partitions into the transaction
	cl, err := cfg.NewClient(kgo.MaxVersions(versions))
	if err != nil {
		return planted{}, err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	if err := verify(ctx, adm, "false"); err != nil {
		return planted{}, err
	}
	p, err := hangOne(ctx, cfg, cl, adm)
	return p, errors.Join(err, verify(ctx, adm, "true"))
}

// verify has brokers look whether a partition that is written to is in the transaction, or not: the one that hangs was.
func verify(ctx context.Context, adm *kadm.Client, enable string) error {
	answers, err := adm.AlterBrokerConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "transaction.partition.verification.enable", Value: &enable}})
	for _, a := range answers {
		err = errors.Join(err, a.Err)
	}
	return err
}

// hangOne leaves a transaction open of some shard, in the commands of some other.
func hangOne(ctx context.Context, cfg kafka.Config, cl *kgo.Client, adm *kadm.Client) (planted, error) {
	topic := cfg.Topics().Commands("orchestration")
	for shard := range int32(kafka.DefaultShards) {
		txns, err := adm.DescribeTransactions(ctx, cfg.Topics().TransactionalID(shard))
		if err != nil {
			return planted{}, err
		}
		txn := txns.Sorted()[0]
		var set kadm.TopicsSet
		set.Add(topic)
		producers, err := adm.DescribeProducers(ctx, set)
		if err != nil {
			return planted{}, err
		}
		last := txn.ProducerEpoch - 1 // ending it took one
		for _, at := range producers[topic].Partitions.Sorted() {
			had, wrote := at.ActiveProducers[txn.ProducerID]
			if at.Partition == shard || txn.State != "CompleteCommit" || wrote && had.ProducerEpoch >= last {
				continue
			}
			p := planted{of: shard, where: fmt.Sprintf("%s/%d", topic, at.Partition)}
			var start *kmsg.Record
			if p.job, start, err = startOn(at.Partition); err != nil {
				return p, err
			}
			err := leave(ctx, cl, topic, at.Partition, txn, last, start)
			if errors.Is(err, kerr.InvalidProducerEpoch) {
				continue // it has written there meanwhile
			} else if err != nil {
				return p, err
			}
			return p, hangs(ctx, adm, topic, at.Partition)
		}
	}
	return planted{}, errors.New("every shard has written to every other one in its last transaction")
}

// startOn is the command that asks for a job of a shard.
func startOn(shard int32) (*load.Job, *kmsg.Record, error) {
	id := ""
	for n := 0; id == "" || kafka.PartitionFor([]byte(id), kafka.DefaultShards) != shard; n++ {
		id = fmt.Sprintf("hung-%03d", n)
	}
	job, err := load.Small(id)
	if err != nil {
		return nil, nil, err
	}
	r := &kmsg.Record{Key: []byte(id), Value: []byte(`{"type": "load-chain", "input": {"token": "` + id + `"}, "labels": {"kind": "chain"}}`)}
	env := kafka.CloudEvent{ID: id, Source: "/outage", Type: "orchestration.start.v1", InputOffset: -1}
	for _, h := range env.Headers() {
		r.Headers = append(r.Headers, kmsg.Header{Key: h.Key, Value: h.Value})
	}
	return job, r, nil
}

// leave writes a record that is part of a transaction and does not end it.
func leave(ctx context.Context, cl *kgo.Client, topic string, partition int32, txn kadm.DescribedTransaction, epoch int16, r *kmsg.Record) error {
	body := r.AppendTo(nil)[1:] // without its length, which is not known yet
	r.Length = int32(len(body))
	now := time.Now().UnixMilli()
	const transactional = 1 << 4
	batch := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, Attributes: transactional, FirstTimestamp: now, MaxTimestamp: now,
		ProducerID: txn.ProducerID, ProducerEpoch: epoch, NumRecords: 1, Records: r.AppendTo(nil),
	}
	const beforeLength, beforeSum = 8 + 4, 8 + 4 + 4 + 1 + 4
	written := batch.AppendTo(nil)
	batch.Length = int32(len(written) - beforeLength)
	batch.CRC = int32(crc32.Checksum(written[beforeSum:], crc32.MakeTable(crc32.Castagnoli)))
	req, t, p := kmsg.NewPtrProduceRequest(), kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	req.TransactionID, req.Acks, req.TimeoutMillis = &txn.TxnID, -1, 5000
	t.Topic, p.Partition, p.Records = topic, partition, batch.AppendTo(nil)
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	answer, err := req.RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(answer.Topics[0].Partitions[0].ErrorCode)
}

// hangs checks that a partition seems to end before what lies on it.
func hangs(ctx context.Context, adm *kadm.Client, topic string, partition int32) error {
	read, err := adm.ListCommittedOffsets(ctx, topic)
	if err != nil {
		return err
	}
	all, err := adm.ListEndOffsets(ctx, topic)
	if err != nil {
		return err
	}
	r, _ := read.Lookup(topic, partition)
	a, _ := all.Lookup(topic, partition)
	if r.Offset >= a.Offset {
		return fmt.Errorf("%s/%d can be read to its end at %d", topic, partition, a.Offset)
	}
	return nil
}
