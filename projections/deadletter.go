package projections

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// DeadLetterID is the ID of what could not be read at a place on the log: the same for
// every copy, and fit for a URL.
func DeadLetterID(topic string, partition int32, offset int64) string {
	return machine.ID("deadletter", topic, strconv.Itoa(int(partition)), strconv.FormatInt(offset, 10))
}

// deadLetter keeps a record that nobody could read. Whatever is missing in it is no
// reason to stop: it is a dead letter already.
func (w *writer) deadLetter(r *kgo.Record) error {
	d := grave{topic: r.Topic, partition: int64(r.Partition), offset: r.Offset, at: r.Timestamp}
	headers := make([][2]string, 0, len(r.Headers))
	for _, h := range r.Headers {
		if !d.header(h.Key, string(h.Value)) {
			headers = append(headers, [2]string{h.Key, base64.StdEncoding.EncodeToString(h.Value)})
		}
	}
	id := DeadLetterID(d.topic, int32(d.partition), d.offset)
	if d.offset < 0 { // it stood nowhere: its own place tells it from others
		id = DeadLetterID(r.Topic, r.Partition, r.Offset)
	}
	list, err := json.Marshal(headers)
	if err != nil {
		return fmt.Errorf("dead letter %s/%d/%d: %w", d.topic, d.partition, d.offset, err)
	}
	_, err = w.c.exec(`INSERT OR IGNORE INTO deadletter (id, origin, topic, "partition", "offset", key, value, headers, error, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		id, originOf(r.Partition, r.Offset), d.topic, d.partition, d.offset,
		slices.Clone(r.Key), slices.Clone(r.Value), string(list), d.reason, nanos(d.at))
	return err
}

// unreadable stands for dead letters that nobody can unpack.
func unreadable(packed *kgo.ErrDecompressTooLarge, at int64) *kgo.Record {
	why := "dead letters: " + kafka.Unpackable(packed) + ", and are not kept here"
	return &kgo.Record{
		Topic: packed.Topic, Partition: packed.Partition, Offset: packed.Offset, Timestamp: time.Unix(0, at),
		Headers: []kgo.RecordHeader{{Key: schemas.DeadLetterError, Value: []byte(why)}},
	}
}

// grave is where a dead letter stood, and why it could not be read.
type grave struct {
	topic             string
	partition, offset int64
	reason            string
	at                time.Time
}

// header takes what our own headers say; it answers false for one of the record's own. A
// value that makes no sense leaves what is known otherwise.
func (d *grave) header(key, value string) bool {
	switch key {
	case schemas.DeadLetterTopic:
		d.topic = value
	case schemas.DeadLetterPartition:
		if n, err := strconv.ParseInt(value, 10, 32); err == nil {
			d.partition = n
		}
	case schemas.DeadLetterOffset:
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			d.offset = n
		}
	case schemas.DeadLetterError:
		d.reason = value
	case schemas.DeadLetterTime:
		if t, err := time.Parse(time.RFC3339Nano, value); err == nil {
			d.at = t
		}
	case schemas.DeadLetterID:
	default:
		return false
	}
	return true
}
