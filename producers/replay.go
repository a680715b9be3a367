package producers

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// Header is a header of a record.
type Header struct {
	Key   string
	Value []byte
}

// Record is a record as it was read once.
type Record struct {
	Topic      string
	Key, Value []byte
	Headers    []Header
	// Partial says that not all of it was kept, for it is too large. It is read again from where it
	// lies: Partition and Offset. One that was never written has a negative Offset.
	Partial   bool
	Partition int32
	Offset    int64
}

// Replay writes a record to its topic again, as it was, and to its key's partition: a command, or work. It refuses
// topics that only the owner of a shard writes to: another writer there would break the log. The position of work has
// no aggregate. Its errors are those of Publish; an *InvalidError says why this record can be replayed never.
func (p *Publisher) Replay(ctx context.Context, r Record) (kafka.Position, error) {
	aggregate, err := p.replayable(r.Topic)
	if err != nil {
		return kafka.Position{}, err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	if r.Partial {
		return p.replayLarge(ctx, aggregate, r)
	}
	again := &kgo.Record{Topic: r.Topic, Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		again.Headers = append(again.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	w, err := p.produce(ctx, again)
	if err != nil {
		return kafka.Position{}, fmt.Errorf("replay to %s: %w", r.Topic, err)
	}
	return kafka.Position{Aggregate: aggregate, Partition: w.Partition, Offset: w.Offset}, nil
}

// replayable says what aggregate type a topic has commands of; none for a work topic.
func (p *Publisher) replayable(topic string) (aggregate string, err error) {
	if typ, ok := strings.CutPrefix(topic, p.topics.Work("")); ok && typ != "" {
		return "", nil
	}
	aggregate, ok := strings.CutSuffix(topic, ".commands")
	if aggregate, ok = cutPrefix(aggregate, p.topics.Commands(""), ok); !ok {
		return "", &InvalidError{Path: "topic", Message: fmt.Sprintf(
			"%s is no topic of commands or of work: what stands on any other is written by the owner of a shard alone, and made again by it", topic)}
	}
	return aggregate, nil
}

// cutPrefix takes the prefix of all topics, as it stands in a commands topic of an
// aggregate without a name, off a topic that has lost its last part.
func cutPrefix(s, unnamed string, ok bool) (string, bool) {
	prefix := strings.TrimSuffix(unnamed, ".commands")
	rest, cut := strings.CutPrefix(s, prefix)
	return rest, ok && cut && rest != "" && !strings.Contains(rest, ".")
}

// replayLarge copies a record that came compressed, and is larger than what a record may be otherwise.
func (p *Publisher) replayLarge(ctx context.Context, aggregate string, r Record) (kafka.Position, error) {
	if r.Offset < 0 {
		return kafka.Position{}, &InvalidError{Path: "record", Message: "was never written: it would have been too large. What it followed from says so to whoever waits"}
	}
	cl, err := p.kafka.NewClient(
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerBatchCompression(kgo.GzipCompression()), kgo.ProducerBatchMaxBytes(kafka.MaxUnpackedBytes),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{r.Topic: {r.Partition: kgo.NewOffset().At(r.Offset)}}),
	)
	if err != nil {
		return kafka.Position{}, fmt.Errorf("make a client for Kafka at %s: %w", strings.Join(p.brokers, ","), err)
	}
	defer cl.Close()
	found, err := p.lies(ctx, cl, r)
	if err != nil {
		return kafka.Position{}, err
	}
	err = cl.ProduceSync(ctx, found).FirstErr()
	switch {
	case errors.Is(err, kerr.MessageTooLarge):
		return kafka.Position{}, &InvalidError{Path: "record", Message: fmt.Sprintf("is too large to be written again, compressed too: %d bytes", len(found.Value))}
	case err != nil:
		return kafka.Position{}, &UnreachableError{Brokers: p.brokers, Topic: r.Topic, Err: err}
	}
	return kafka.Position{Aggregate: aggregate, Partition: found.Partition, Offset: found.Offset}, nil
}

// lies reads a record from where it lies, to be written again.
func (p *Publisher) lies(ctx context.Context, cl *kgo.Client, r Record) (*kgo.Record, error) {
	fetches := cl.PollRecords(ctx, 1)
	err := fetches.Err()
	_, packed := errors.AsType[*kgo.ErrDecompressTooLarge](err)
	switch {
	case packed:
		return nil, &InvalidError{Path: "record", Message: "lies in a batch that cannot be unpacked"}
	case errors.Is(err, kerr.OffsetOutOfRange):
		return nil, p.gone(r)
	case err != nil:
		return nil, &UnreachableError{Brokers: p.brokers, Topic: r.Topic, Err: err}
	}
	records := fetches.Records()
	if len(records) == 0 || records[0].Offset != r.Offset {
		return nil, p.gone(r)
	}
	found := records[0]
	again := &kgo.Record{Topic: r.Topic, Key: found.Key, Value: found.Value}
	for _, h := range found.Headers {
		if !strings.HasPrefix(h.Key, schemas.DeadLetterPrefix) {
			again.Headers = append(again.Headers, h)
		}
	}
	return again, nil
}

func (p *Publisher) gone(r Record) error {
	return &InvalidError{Path: "record", Message: fmt.Sprintf("was too large to be kept whole, and is no longer at %s/%d, offset %d", r.Topic, r.Partition, r.Offset)}
}
