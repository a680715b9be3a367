package pubsub

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// recordKey finds the record behind a message in the message's context.
type recordKey struct{}

// recordContext is context.WithValue without its reflection: one is made per message.
type recordContext struct {
	context.Context
	record *kgo.Record
}

// Value implements context.Context.
func (c recordContext) Value(key any) any {
	if _, ok := key.(recordKey); ok {
		return c.record
	}
	return c.Context.Value(key)
}

func recordOf(ctx context.Context) (*kgo.Record, bool) {
	rec, ok := ctx.Value(recordKey{}).(*kgo.Record)
	return rec, ok
}

// MessageTopic is the topic that the message with this context was read from; false if
// the context is not one of a message that a Subscriber delivered.
func MessageTopic(ctx context.Context) (string, bool) {
	rec, ok := recordOf(ctx)
	if !ok {
		return "", false
	}
	return rec.Topic, true
}

// MessagePartition is the partition that the message with this context was read from;
// false as for MessageTopic.
func MessagePartition(ctx context.Context) (int32, bool) {
	rec, ok := recordOf(ctx)
	if !ok {
		return 0, false
	}
	return rec.Partition, true
}

// MessageOffset is the offset of the message with this context within its partition;
// false as for MessageTopic.
func MessageOffset(ctx context.Context) (int64, bool) {
	rec, ok := recordOf(ctx)
	if !ok {
		return 0, false
	}
	return rec.Offset, true
}

// MessageTimestamp is when the message with this context was produced, or appended,
// whichever its topic keeps; false as for MessageTopic.
func MessageTimestamp(ctx context.Context) (time.Time, bool) {
	rec, ok := recordOf(ctx)
	if !ok {
		return time.Time{}, false
	}
	return rec.Timestamp, true
}

// MessageProducer is the producer id of who wrote the message with this context, which tells
// transactional writers apart; false as for MessageTopic, and where its writer had none.
func MessageProducer(ctx context.Context) (int64, bool) {
	rec, ok := recordOf(ctx)
	if !ok || rec.ProducerID < 0 {
		return 0, false
	}
	return rec.ProducerID, true
}
