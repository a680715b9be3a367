package producers

import (
	"context"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/kafka"
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
}

// Replay writes a record to its topic again, as it was. It refuses topics that only the
// owner of a shard writes to: another writer there would break the log.
func (p *Publisher) Replay(ctx context.Context, r Record) (kafka.Position, error) {
	aggregate, ok := strings.CutSuffix(r.Topic, ".commands")
	if aggregate, ok = cutPrefix(aggregate, p.topics.Commands(""), ok); !ok {
		return kafka.Position{}, &InvalidError{Path: "topic", Message: fmt.Sprintf("%s is not a commands topic; only commands can be replayed", r.Topic)}
	}
	headers := make([]kgo.RecordHeader, len(r.Headers))
	for i, h := range r.Headers {
		headers[i] = kgo.RecordHeader{Key: h.Key, Value: h.Value}
	}
	w, err := p.produce(ctx, &kgo.Record{Topic: r.Topic, Key: r.Key, Value: r.Value, Headers: headers})
	if err != nil {
		return kafka.Position{}, fmt.Errorf("replay to %s: %w", r.Topic, err)
	}
	return kafka.Position{Aggregate: aggregate, Partition: w.Partition, Offset: w.Offset}, nil
}

// cutPrefix takes the prefix of all topics, as it stands in a commands topic of an
// aggregate without a name, off a topic that has lost its last part.
func cutPrefix(s, unnamed string, ok bool) (string, bool) {
	prefix := strings.TrimSuffix(unnamed, ".commands")
	rest, cut := strings.CutPrefix(s, prefix)
	return rest, ok && cut && rest != "" && !strings.Contains(rest, ".")
}
