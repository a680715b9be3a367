package pubsub

import (
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// PartitionKey is the metadata entry that stands for the record's key. A message
	// without it has no key and goes to any partition; an empty one is a key of no bytes.
	PartitionKey = "partition_key"
	// HeaderUUID is the record header that carries a message's UUID. It is the one that
	// Watermill's own Kafka Pub/Sub uses, so that each can read the other's messages.
	HeaderUUID = "_watermill_message_uuid"
	// HeaderCloudEventsID is the header in which a CloudEvents record carries its id.
	HeaderCloudEventsID = "ce_id"
)

// Marshaler makes a record of a message. It must not keep the message, may leave the
// record's topic empty, and is called concurrently.
type Marshaler interface {
	Marshal(topic string, msg *message.Message) (*kgo.Record, error)
}

// Unmarshaler makes a message of a record, with message.NewMessage. It must not change
// the record: a redelivered record is unmarshaled again. It is called concurrently.
type Unmarshaler interface {
	Unmarshal(rec *kgo.Record) (*message.Message, error)
}

// Headers is the Marshaler and Unmarshaler used unless another is configured: metadata
// as headers, payload as value, PartitionKey as key. It never fails.
type Headers struct{}

var (
	_ Marshaler   = Headers{}
	_ Unmarshaler = Headers{}
)

// Marshal implements Marshaler. A nil payload becomes a record without a value, which
// deletes the key from a compacted topic. The UUID header is left out where the
// CloudEvents id says the same.
func (Headers) Marshal(topic string, msg *message.Message) (*kgo.Record, error) {
	rec := &kgo.Record{Topic: topic, Value: msg.Payload}
	rec.Headers = make([]kgo.RecordHeader, 0, len(msg.Metadata)+1)
	for k, v := range msg.Metadata {
		if k == PartitionKey {
			rec.Key = []byte(v)
			continue
		}
		rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: k, Value: []byte(v)})
	}
	if msg.UUID != "" && msg.Metadata[HeaderCloudEventsID] != msg.UUID {
		rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: HeaderUUID, Value: []byte(msg.UUID)})
	}
	return rec, nil
}

// Unmarshal implements Unmarshaler. Of several headers with one name the last counts,
// and the key counts more than a header named PartitionKey. A record that names no id
// gets one from its place in the log, the same at each delivery.
func (Headers) Unmarshal(rec *kgo.Record) (*message.Message, error) {
	msg := message.NewMessage("", rec.Value)
	msg.Metadata = make(message.Metadata, len(rec.Headers)+1)
	for _, h := range rec.Headers {
		if h.Key == HeaderUUID {
			msg.UUID = string(h.Value)
			continue
		}
		msg.Metadata[h.Key] = string(h.Value)
	}
	if rec.Key != nil {
		msg.Metadata[PartitionKey] = string(rec.Key)
	}
	if msg.UUID == "" {
		msg.UUID = msg.Metadata[HeaderCloudEventsID]
	}
	if msg.UUID == "" {
		msg.UUID = fmt.Sprintf("%s/%d/%d", rec.Topic, rec.Partition, rec.Offset)
	}
	return msg, nil
}
