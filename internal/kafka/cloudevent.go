package kafka

import (
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

// CloudEvent is a record's envelope: CloudEvents 1.0, Kafka protocol binding, binary
// mode. The value of the record is the data, JSON.
type CloudEvent struct {
	ID      string    // ce_id: unique per source; a retry repeats it
	Source  string    // ce_source
	Type    string    // ce_type: a versioned wire name
	Subject string    // ce_subject: the aggregate id; the record's key where absent
	Time    time.Time // ce_time; zero where absent
	// Sequence counts an aggregate's events from 1 without gaps; 0 where absent
	// (extension "sequence").
	Sequence int64
	// Cause is the ID of the command, or the report, that made the event happen
	// (extension "causationid").
	Cause string
	// CauseHash is the fingerprint of the command's body, on the first event of a
	// decision: it tells a repeat from another command under the same ID.
	CauseHash string
	// InputOffset is the offset of the command on its partition; -1 where the cause
	// was not read from the log (a timer, a local agent).
	InputOffset int64
	TraceParent string
}

// Header names.
const (
	HeaderID          = "ce_id"
	HeaderSource      = "ce_source"
	HeaderSpecVersion = "ce_specversion"
	HeaderType        = "ce_type"
	HeaderSubject     = "ce_subject"
	HeaderTime        = "ce_time"
	HeaderSequence    = "ce_sequence"
	HeaderCause       = "ce_causationid"
	HeaderCauseHash   = "ce_causationhash"
	HeaderInputOffset = "ce_inputoffset"
	HeaderTraceParent = "traceparent"
	HeaderContentType = "content-type"
)

var (
	specVersion = []byte("1.0")
	contentType = []byte("application/json")
)

// Headers encodes the envelope. Absent attributes take no header.
func (e CloudEvent) Headers() []kgo.RecordHeader {
	h := make([]kgo.RecordHeader, 0, 10)
	add := func(k string, v []byte) { h = append(h, kgo.RecordHeader{Key: k, Value: v}) }
	add(HeaderSpecVersion, specVersion)
	add(HeaderID, []byte(e.ID))
	add(HeaderSource, []byte(e.Source))
	add(HeaderType, []byte(e.Type))
	if e.Subject != "" {
		add(HeaderSubject, []byte(e.Subject))
	}
	if !e.Time.IsZero() {
		add(HeaderTime, e.Time.UTC().AppendFormat(nil, time.RFC3339Nano))
	}
	if e.Sequence > 0 {
		add(HeaderSequence, strconv.AppendInt(nil, e.Sequence, 10))
	}
	if e.Cause != "" {
		add(HeaderCause, []byte(e.Cause))
	}
	if e.CauseHash != "" {
		add(HeaderCauseHash, []byte(e.CauseHash))
	}
	if e.InputOffset >= 0 && e.Sequence > 0 {
		add(HeaderInputOffset, strconv.AppendInt(nil, e.InputOffset, 10))
	}
	if e.TraceParent != "" {
		add(HeaderTraceParent, []byte(e.TraceParent))
	}
	add(HeaderContentType, contentType)
	return h
}

// ParseCloudEvent reads a record's envelope. It refuses a record without ce_id or
// ce_type, with a header that is not UTF-8, or with a time or number that does not
// parse; the error names the header.
func ParseCloudEvent(r *kgo.Record) (CloudEvent, error) {
	e := CloudEvent{InputOffset: -1}
	for i := range r.Headers {
		h := &r.Headers[i]
		if !utf8.Valid(h.Value) {
			return e, fmt.Errorf("header %s is not UTF-8", h.Key)
		}
		var err error
		switch h.Key {
		case HeaderID:
			e.ID = string(h.Value)
		case HeaderSource:
			e.Source = string(h.Value)
		case HeaderType:
			e.Type = string(h.Value)
		case HeaderSubject:
			e.Subject = string(h.Value)
		case HeaderTime:
			e.Time, err = time.Parse(time.RFC3339Nano, string(h.Value))
		case HeaderSequence:
			e.Sequence, err = strconv.ParseInt(string(h.Value), 10, 64)
		case HeaderCause:
			e.Cause = string(h.Value)
		case HeaderCauseHash:
			e.CauseHash = string(h.Value)
		case HeaderInputOffset:
			e.InputOffset, err = strconv.ParseInt(string(h.Value), 10, 64)
		case HeaderTraceParent:
			e.TraceParent = string(h.Value)
		}
		if err != nil {
			return e, fmt.Errorf("header %s: %w", h.Key, err)
		}
	}
	switch {
	case e.Type == "":
		return e, fmt.Errorf("header %s is missing", HeaderType)
	case e.ID == "":
		return e, fmt.Errorf("header %s is missing", HeaderID)
	}
	return e, nil
}
