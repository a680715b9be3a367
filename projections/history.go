package projections

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"github.com/google/uuid"

	"github.com/waybill/waybill/schemas"
)

// The history of a job is kept in pieces, one for each batch that had events of it: a
// row per event would cost more than all the rest. So is that of a transfer, and, of the events of
// a counter-party, that of each asset. Inside a piece events follow each other, each as
//
//	gap    where events of others lie between: the byte 255 and how many
//	type   one byte, its place in historyTypes; 0 and a string for others
//	time   varint, nanoseconds since the event before
//	cause  0: the same as the event before, 1: 16 bytes of a UUID, 2: a string
//	data   0: bytes, 1: number of a plan, the bytes before it, the bytes after it
//
// where strings and bytes follow their length.

// historyTypes gives wire names a number on disk: only ever append to it.
var historyTypes = [...]string{
	1:  schemas.OrchestrationStarted,
	2:  schemas.ActivityRequested,
	3:  schemas.ActivityOffered,
	4:  schemas.ActivityClaimed,
	5:  schemas.ActivityExtended,
	6:  schemas.ActivityWaited,
	7:  schemas.ActivityScheduled,
	8:  schemas.ActivityRetrying,
	9:  schemas.ActivityCompleted,
	10: schemas.ActivityFailed,
	11: schemas.TransfersFinished,
	12: schemas.OrchestrationEnded,
	13: schemas.ActivitySkipped,
	14: schemas.ActivityPaused,
	15: schemas.ActivityResumed,
	16: schemas.OrchestrationPaused,
	17: schemas.OrchestrationResumed,
	18: schemas.BlobsRemoved,
	19: schemas.TransferInitiated,
	20: schemas.TransferMoved,
	21: schemas.TransferAcquiring,
	22: schemas.TransferAccessGranted,
	23: schemas.TransferEnded,
	24: schemas.TaskRequested,
	25: schemas.TaskAttempted,
	26: schemas.TaskClaimed,
	27: schemas.TaskScheduled,
	28: schemas.TaskEnded,
	29: schemas.NegotiationCatalogRequested,
	30: schemas.NegotiationCatalogReceived,
	31: schemas.NegotiationStarted,
	32: schemas.NegotiationMoved,
	33: schemas.NegotiationServed,
	34: schemas.NegotiationEDRRequested,
	35: schemas.NegotiationEDRGranted,
}

// gapMark stands where a type would.
const gapMark = 255

const (
	sameCause = iota
	uuidCause
	textCause
)

// chunk is a piece of history being written.
type chunk struct {
	first int64 // sequence of the first event; 0 where there is none
	last  int64 // and of the last one
	at    int64 // of the last one
	cause string
	b     []byte
}

// past is one event of a history.
type past struct {
	sequence int64
	typ      string
	at       int64
	cause    string
	data     []byte
	plan     int64 // number of the plan that stands in data; 0 for none
	planAt   int   // where it stands
}

// add appends an event. Where the data contains the plan of that number, the plan is
// left out.
func (c *chunk) add(e past, plan []byte) {
	if c.first == 0 {
		c.first = e.sequence
	} else if gap := e.sequence - c.last - 1; gap > 0 {
		c.b = binary.AppendUvarint(append(c.b, gapMark), uint64(gap))
	}
	c.last = e.sequence
	c.b = appendType(c.b, e.typ)
	c.b = binary.AppendVarint(c.b, e.at-c.at)
	c.at = e.at
	c.b = c.appendCause(e.cause)
	before, after, found := bytes.Cut(e.data, plan)
	if len(plan) == 0 || !found {
		c.b = appendBytes(append(c.b, 0), e.data)
		return
	}
	c.b = binary.AppendUvarint(append(c.b, 1), uint64(e.plan))
	c.b = appendBytes(appendBytes(c.b, before), after)
}

func appendType(b []byte, typ string) []byte {
	for i := 1; i < len(historyTypes); i++ {
		if historyTypes[i] == typ {
			return append(b, byte(i))
		}
	}
	return appendBytes(append(b, 0), typ)
}

func (c *chunk) appendCause(cause string) []byte {
	if cause == c.cause {
		return append(c.b, sameCause)
	}
	c.cause = cause
	if id, ok := canonicalUUID(cause); ok {
		return append(append(c.b, uuidCause), id[:]...)
	}
	return appendBytes(append(c.b, textCause), cause)
}

// canonicalUUID parses a UUID that would be written the same way again.
func canonicalUUID(s string) (uuid.UUID, bool) {
	if len(s) != 36 {
		return uuid.UUID{}, false
	}
	for i := range len(s) {
		if s[i] >= 'A' && s[i] <= 'F' {
			return uuid.UUID{}, false
		}
	}
	id, err := uuid.Parse(s)
	return id, err == nil
}

func appendBytes[T ~[]byte | ~string](b []byte, v T) []byte {
	b = binary.AppendUvarint(b, uint64(len(v)))
	return append(b, v...)
}

func (c *chunk) reset() { *c = chunk{b: c.b[:0]} }

// errShort says that a piece of history ends in the middle of an event.
var errShort = errors.New("the piece of history is cut off")

// unpacker reads a piece of history.
type unpacker struct {
	b   []byte
	err error
}

func (u *unpacker) byte() byte {
	if len(u.b) == 0 {
		u.err = errShort
		return 0
	}
	c := u.b[0]
	u.b = u.b[1:]
	return c
}

func (u *unpacker) varint() int64 {
	v, n := binary.Varint(u.b)
	return v * int64(u.skip(n))
}

func (u *unpacker) uvarint() uint64 {
	v, n := binary.Uvarint(u.b)
	return v * uint64(u.skip(n))
}

// skip goes past a number of n bytes; it answers 0 where there was none.
func (u *unpacker) skip(n int) int {
	if n <= 0 {
		u.b, u.err = nil, errShort
		return 0
	}
	u.b = u.b[n:]
	return 1
}

func (u *unpacker) bytes() []byte {
	n := u.uvarint()
	if n > uint64(len(u.b)) {
		u.b, u.err = nil, errShort
		return nil
	}
	v := u.b[:n]
	u.b = u.b[n:]
	return v
}

// unpack hands the events of a piece that begins with sequence first to each, until
// that answers false.
func unpack(first int64, b []byte, each func(past) bool) error {
	u := unpacker{b: b}
	e := past{sequence: first}
	for ; len(u.b) > 0; e.sequence++ {
		if u.b[0] == gapMark {
			u.byte()
			e.sequence += int64(u.uvarint())
		}
		u.event(&e)
		if u.err != nil {
			return fmt.Errorf("event %d: %w", e.sequence, u.err)
		}
		if !each(e) {
			return nil
		}
	}
	return nil
}

func (u *unpacker) event(e *past) {
	if t := int(u.byte()); t == 0 {
		e.typ = string(u.bytes())
	} else if t < len(historyTypes) {
		e.typ = historyTypes[t]
	} else {
		u.err = fmt.Errorf("type %d is not known", t)
		return
	}
	e.at += u.varint()
	switch u.byte() {
	case uuidCause:
		var id uuid.UUID
		u.b = u.b[copy(id[:], u.b):]
		e.cause = id.String()
	case textCause:
		e.cause = string(u.bytes())
	}
	e.plan, e.planAt = 0, 0
	if u.byte() == 0 {
		e.data = u.bytes()
		return
	}
	e.plan = int64(u.uvarint())
	before, after := u.bytes(), u.bytes()
	e.planAt = len(before)
	e.data = append(append(make([]byte, 0, len(before)+len(after)), before...), after...)
}

// appendItem writes an event as the HTTP interface shows it; plan goes where it was cut out.
func (e past) appendItem(b []byte, aggregate, id string, plan string) []byte {
	b = appendText(append(b, `{"aggregate":`...), aggregate)
	b = appendText(append(b, `,"id":`...), id)
	b = append(b, `,"sequence":`...)
	b = strconv.AppendInt(b, e.sequence, 10)
	b = appendText(append(b, `,"type":`...), e.typ)
	b = appendTime(append(b, `,"time":`...), e.at)
	b = appendOptional(append(b, `,"commandId":`...), e.cause)
	b = append(b, `,"data":`...)
	if e.plan == 0 {
		return append(appendRaw(b, e.data), '}')
	}
	b = append(b, e.data[:e.planAt]...)
	b = append(b, plan...)
	b = append(b, e.data[e.planAt:]...)
	return append(b, '}')
}
