package audit

import (
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/kafka"
)

// Record is one record as a reader of committed records sees it.
type Record struct {
	Topic     string
	Partition int32
	Offset    int64
	Key       string
	ID, Type  string    // ce_id, ce_type
	Source    string    // ce_source
	Sequence  int64     // ce_sequence, 0 for none
	Time      time.Time // ce_time
	Cause     string    // ce_causationid
	CauseHash string    // ce_causationhash
	Input     int64     // ce_inputoffset, -1 for none
	Value     string
	Headers   []kgo.RecordHeader
	// Producer and Epoch are who the broker says has written the batch.
	Producer int64
	Epoch    int16
}

func record(r *kgo.Record) Record {
	rec := Record{
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Key: string(r.Key), Value: string(r.Value),
		Headers: r.Headers, Producer: r.ProducerID, Epoch: r.ProducerEpoch, Input: -1,
	}
	for _, h := range r.Headers {
		rec.header(h.Key, string(h.Value))
	}
	return rec
}

func (r *Record) header(key, value string) {
	switch key {
	case kafka.HeaderID:
		r.ID = value
	case kafka.HeaderType:
		r.Type = value
	case kafka.HeaderSource:
		r.Source = value
	case kafka.HeaderSequence:
		r.Sequence, _ = strconv.ParseInt(value, 10, 64) // 0 is reported by Check
	case kafka.HeaderTime:
		r.Time, _ = time.Parse(time.RFC3339Nano, value) // likewise
	case kafka.HeaderCause:
		r.Cause = value
	case kafka.HeaderCauseHash:
		r.CauseHash = value
	case kafka.HeaderInputOffset:
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			n = -1 // then its cause is looked for among what is no command, and not found
		}
		r.Input = n
	}
}

// extra is a header that is no part of the envelope.
func (r *Record) extra(key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// place is topic/partition/offset.
func (r *Record) place() string { return fmt.Sprintf("%s/%d/%d", r.Topic, r.Partition, r.Offset) }
