package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Unpacker is how every client of ours unpacks batches: up to MaxUnpackedBytes. Whatever cannot be unpacked, or is
// no records then, is an error that is kgo.ErrMaxDecompress: only of a batch that is too large the client says where it
// lies, so that a reader can go on behind it (Pass). Brokers of others refuse such batches; the embedded one does not look.
func Unpacker() (kgo.Decompressor, error) {
	bounded, err := boundedDecompressor()
	return unpacker{bounded}, err
}

// boundedDecompressor is the client's own with our bound, which it gives to nobody but its clients.
var boundedDecompressor = sync.OnceValues(func() (kgo.Decompressor, error) {
	cl, err := kgo.NewClient(kgo.MaxDecompressBatchBytes(MaxUnpackedBytes))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	d, ok := cl.OptValue(kgo.WithDecompressor).(kgo.Decompressor)
	if !ok {
		return nil, errors.New("the client does not say how it unpacks")
	}
	return d, nil
})

type unpacker struct{ bounded kgo.Decompressor }

// Decompress implements kgo.Decompressor.
func (u unpacker) Decompress(packed []byte, codec kgo.CompressionCodecType) ([]byte, error) {
	records, err := u.bounded.Decompress(packed, codec)
	if err == nil && !framed(records) {
		err = errors.New("what is in it are no records")
	}
	switch {
	case errors.Is(err, kgo.ErrMaxDecompress):
		return nil, fmt.Errorf("it has more than %d bytes then: %w", MaxUnpackedBytes, err)
	case err != nil:
		return nil, &notUnpacked{err}
	}
	return records, nil
}

// notUnpacked says why a batch cannot be unpacked, in its own words.
type notUnpacked struct{ err error }

func (e *notUnpacked) Error() string   { return e.err.Error() }
func (e *notUnpacked) Unwrap() []error { return []error{e.err, kgo.ErrMaxDecompress} }

// framed says that bytes are one record after the other. The client stops without a word at what is none, and asks for it again.
func framed(records []byte) bool {
	for len(records) > 0 {
		length, used := binary.Varint(records)
		if used <= 0 || length < 0 || length > int64(len(records)-used) {
			return false
		}
		records = records[used+int(length):]
	}
	return true
}

// Unpackable says what is wrong with a batch that a client could not unpack.
func Unpackable(batch *kgo.ErrDecompressTooLarge) string {
	return fmt.Sprintf("the records from offset %d to %d came compressed in one batch, which cannot be unpacked or takes more than %d bytes then",
		batch.Offset, batch.NextOffset-1, MaxUnpackedBytes)
}
