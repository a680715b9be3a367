package segment

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Batch is the header of a record batch, as far as transactions are concerned.
type Batch struct {
	// Position and Size say where in the file the batch lies, in bytes.
	Position, Size int64
	// FirstOffset and LastOffset are those of its records.
	FirstOffset, LastOffset int64
	// FirstTimestamp and MaxTimestamp are in milliseconds since 1970.
	FirstTimestamp, MaxTimestamp int64
	LeaderEpoch                  int32
	ProducerID                   int64
	ProducerEpoch                int16
	Transactional                bool
	// Control marks the end of a transaction, and Commit which of the two ends it is.
	Control, Commit bool
}

// Open reports whether the batch belongs to a transaction that needs an end marker.
func (b Batch) Open() bool { return b.Transactional && !b.Control }

const (
	headerBytes   = 61 // first offset up to the number of records
	lengthEnd     = 12 // the length field counts what follows it
	crcStart      = 21 // the checksum covers what follows it
	magicByte     = 16
	magic         = 2 // the format of batches
	transactional = 0x10
	control       = 0x20
	// controlBytes bounds a control batch: a header and one record of some 20 bytes.
	controlBytes = 1 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errTorn ends the reading of a file at a batch that is cut short or damaged.
var errTorn = errors.New("torn batch")

// Read calls each with every whole batch of the file, in order, until each returns an
// error, which it then returns. It ends without an error at the first batch that is
// cut short or whose checksum is wrong, as the broker does. It returns the bytes up to
// there and the bytes of the file. It holds no more than a buffer in memory.
func Read(path string, each func(Batch) error) (whole, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	r := reader{in: bufio.NewReaderSize(f, 256<<10)}
	size = info.Size()
	for whole < size {
		b, err := r.next(size - whole)
		if errors.Is(err, errTorn) {
			return whole, size, nil
		}
		if err != nil {
			return whole, size, fmt.Errorf("read %s at byte %d: %w", path, whole, err)
		}
		b.Position = whole
		if err := each(b); err != nil {
			return whole, size, err
		}
		whole += b.Size
	}
	return whole, size, nil
}

type reader struct {
	in   *bufio.Reader
	head [headerBytes]byte
}

// next reads one batch, of which there are at most left bytes.
func (r *reader) next(left int64) (Batch, error) {
	if left < headerBytes {
		return Batch{}, errTorn
	}
	if _, err := io.ReadFull(r.in, r.head[:]); err != nil {
		return Batch{}, err
	}
	b := header(r.head[:])
	if b.Size < headerBytes || b.Size > left {
		return Batch{}, errTorn
	}
	sum := crc32.New(castagnoli)
	sum.Write(r.head[crcStart:])
	rest := io.TeeReader(io.LimitReader(r.in, b.Size-headerBytes), sum)
	if b.Control && b.Size <= controlBytes {
		raw, err := io.ReadAll(rest)
		if err != nil {
			return Batch{}, err
		}
		b.Commit = isCommit(raw)
	} else if _, err := io.Copy(io.Discard, rest); err != nil {
		return Batch{}, err
	}
	if sum.Sum32() != binary.BigEndian.Uint32(r.head[crcStart-4:]) {
		return Batch{}, errTorn
	}
	return b, nil
}

// header reads the fields at their places on the wire.
func header(h []byte) Batch {
	attributes := binary.BigEndian.Uint16(h[21:])
	first := int64(binary.BigEndian.Uint64(h))
	return Batch{
		Size:           lengthEnd + int64(binary.BigEndian.Uint32(h[8:])),
		FirstOffset:    first,
		LastOffset:     first + int64(int32(binary.BigEndian.Uint32(h[23:]))),
		FirstTimestamp: int64(binary.BigEndian.Uint64(h[27:])),
		MaxTimestamp:   int64(binary.BigEndian.Uint64(h[35:])),
		LeaderEpoch:    int32(binary.BigEndian.Uint32(h[12:])),
		ProducerID:     int64(binary.BigEndian.Uint64(h[43:])),
		ProducerEpoch:  int16(binary.BigEndian.Uint16(h[51:])),
		Transactional:  attributes&transactional != 0,
		Control:        attributes&control != 0,
	}
}

// isCommit tells from the records of a control batch which end it marks. What cannot
// be read counts as an abort, as it does for the broker.
func isCommit(records []byte) bool {
	var rec kmsg.Record
	var key kmsg.ControlRecordKey
	if rec.ReadFrom(records) != nil || key.ReadFrom(rec.Key) != nil {
		return false
	}
	return key.Type == kmsg.ControlRecordKeyTypeCommit
}

// Behind says whether a whole batch begins anywhere behind that byte of the file. A write
// that was cut short is the last thing in its file; what has whole batches behind it was
// damaged by something else.
func Behind(path string, at int64) (bool, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return false, err
	}
	for p := at + 1; p+headerBytes <= int64(len(raw)); p++ {
		if raw[p+magicByte] != magic {
			continue
		}
		b := raw[p:]
		size := lengthEnd + int64(binary.BigEndian.Uint32(b[8:]))
		if size < headerBytes || size > int64(len(b)) {
			continue
		}
		if crc32.Checksum(b[crcStart:size], castagnoli) == binary.BigEndian.Uint32(b[crcStart-4:]) {
			return true, nil
		}
	}
	return false, nil
}
