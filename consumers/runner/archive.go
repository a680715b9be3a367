package runner

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybill/waybill/internal/kafka"
)

// archive reads what was committed from any offset of a partition on, for all shards of a process.
// A consumer would do it as well, but takes a client and some round trips each time that it
// is to begin somewhere else; and a shard's own client waits for commands on the same connection.
type archive struct {
	cfg kafka.Config

	mu     sync.Mutex
	cl     *kgo.Client
	topics map[string]kadm.TopicDetail
}

const (
	// archiveWait is how long the broker waits for the first record at the end of a partition.
	archiveWait = 500 * time.Millisecond
	// archivePatience is how long a broker may take for an answer besides: one that hangs leads nothing soon.
	archivePatience = 3 * time.Second
	// archiveTries is how often a partition is asked for of whoever leads it now, and archiveRest the
	// time in between. All of it is longer than brokers take to give up one that is gone.
	archiveTries = 60
	archiveRest  = 250 * time.Millisecond
)

// close ends the client. The archive can be used again all the same.
func (a *archive) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cl != nil {
		a.cl.Close()
	}
	a.cl, a.topics = nil, nil
}

// client makes the client, if there is none. The lock is held.
func (a *archive) client() (*kgo.Client, error) {
	if a.cl == nil {
		cl, err := a.cfg.NewClient()
		if err != nil {
			return nil, err
		}
		a.cl, a.topics = cl, make(map[string]kadm.TopicDetail)
	}
	return a.cl, nil
}

// shared is the same client for what is not reading.
func (a *archive) shared() (*kgo.Client, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.client()
}

// admin is the same.
func (a *archive) admin() (*kadm.Client, error) {
	cl, err := a.shared()
	if err != nil {
		return nil, err
	}
	return kadm.NewClient(cl), nil
}

// leader finds who leads a partition. No lock is held while the broker is asked: a question that hangs must not
// hold up the other shards.
func (a *archive) leader(ctx context.Context, topic string, partition int32) (*kgo.Client, kadm.TopicDetail, int32, error) {
	a.mu.Lock()
	cl, err := a.client()
	t, ok := a.topics[topic]
	a.mu.Unlock()
	if err != nil {
		return nil, kadm.TopicDetail{}, 0, err
	}
	if !ok {
		all, err := kadm.NewClient(cl).ListTopics(ctx, topic)
		if err != nil {
			return nil, t, 0, fmt.Errorf("find who leads %s: %w", topic, unreachedError{err})
		}
		if t = all[topic]; t.Err != nil {
			return nil, t, 0, fmt.Errorf("find who leads %s: %w", topic, t.Err)
		}
		a.know(cl, topic, t)
	}
	p, ok := t.Partitions[partition]
	switch {
	case !ok:
		return nil, t, 0, kerr.UnknownTopicOrPartition
	case p.Err != nil || p.Leader < 0:
		a.forget(topic)
		return nil, t, 0, kerr.LeaderNotAvailable
	}
	return cl, t, p.Leader, nil
}

// know keeps what the broker said of a topic, unless the client has been closed meanwhile.
func (a *archive) know(cl *kgo.Client, topic string, t kadm.TopicDetail) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cl == cl {
		a.topics[topic] = t
	}
}

func (a *archive) forget(topic string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.topics, topic)
}

// read answers with the next committed records from an offset on, some of atMost bytes, and the
// offset to go on at. At the end of the partition it waits a moment, and may have none.
func (a *archive) read(ctx context.Context, topic string, partition int32, from int64, atMost int32) ([]*kgo.Record, int64, error) {
	for try := 1; ; try++ {
		records, next, err := a.try(ctx, topic, partition, from, atMost)
		if err == nil || ctx.Err() != nil || try == archiveTries || !elsewhere(err) {
			return records, next, err
		}
		a.forget(topic)
		select {
		case <-ctx.Done():
			return nil, from, ctx.Err()
		case <-time.After(archiveRest):
		}
	}
}

// unreachedError is a broker that could not be asked.
type unreachedError struct{ error }

// Unwrap gives the cause.
func (e unreachedError) Unwrap() error { return e.error }

// elsewhere says that another broker may have the answer, or this one a moment later.
func elsewhere(err error) bool {
	if _, ok := errors.AsType[*kafka.AccessError](kafka.Explain(err)); ok {
		return false
	}
	_, unreached := errors.AsType[unreachedError](err)
	return unreached || kerr.IsRetriable(err) || errors.Is(err, kerr.UnknownTopicID)
}

func (a *archive) try(ctx context.Context, topic string, partition int32, from int64, atMost int32) ([]*kgo.Record, int64, error) {
	cl, detail, leader, err := a.leader(ctx, topic, partition)
	if err != nil {
		return nil, from, err
	}
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.IsolationLevel, req.SessionEpoch = int32(archiveWait/time.Millisecond), 1, atMost, 1, -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = topic, detail.ID
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = partition, from, atMost
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	asking, cancel := context.WithTimeout(ctx, archiveWait+archivePatience)
	defer cancel()
	// Not asked again by the client: it would ask the same broker, gone or not, for as long as it can.
	answer, err := cl.Broker(int(leader)).Request(asking, req)
	if err != nil {
		return nil, from, fmt.Errorf("read %s/%d from offset %d: %w", topic, partition, from, unreachedError{err})
	}
	resp, ok := answer.(*kmsg.FetchResponse)
	if !ok {
		return nil, from, fmt.Errorf("read %s/%d: the answer is a %T", topic, partition, answer)
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, from, fmt.Errorf("read %s/%d from offset %d: %w", topic, partition, from, err)
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return nil, from, fmt.Errorf("read %s/%d from offset %d: the broker answers for something else", topic, partition, from)
	}
	opts := kgo.ProcessFetchPartitionOpts{Offset: from, IsolationLevel: kgo.ReadCommitted(), Topic: topic, Partition: partition}
	got, next := kgo.ProcessFetchPartition(opts, &resp.Topics[0].Partitions[0], kgo.DefaultDecompressor(), nil)
	if got.Err != nil && len(got.Records) == 0 {
		return nil, from, fmt.Errorf("read %s/%d from offset %d: %w", topic, partition, from, got.Err)
	}
	return got.Records, next, nil
}
