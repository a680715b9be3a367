package pubsub

import (
	"fmt"
	"hash/maphash"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybill/waybill/internal/kafka"
)

// standsIn unpacks for a member of a share group. In place of a batch that nobody can unpack it gives one record that says so
// (HeaderUnpackable), at the batch's first offset. The client tells of such a batch, and gives back each of its records
// that it has taken; after the fifth time the broker drops them without a word, and until then they hold up what comes
// behind them. Of the batch with the one record in it the client accepts the others as not there.
type standsIn struct {
	kgo.Decompressor

	mu      sync.Mutex
	seed    maphash.Seed
	hostile map[uint64][]byte // what was given for what came, packed: it comes again for each of its records
}

// maxHostile bounds how much is remembered.
const maxHostile = 128

func newStandsIn() (*standsIn, error) {
	unpacker, err := kafka.Unpacker()
	return &standsIn{Decompressor: unpacker, seed: maphash.MakeSeed(), hostile: make(map[uint64][]byte)}, err
}

// Decompress implements kgo.Decompressor.
func (u *standsIn) Decompress(packed []byte, codec kgo.CompressionCodecType) ([]byte, error) {
	if stand := u.known(packed); stand != nil {
		return stand, nil
	}
	records, err := u.Decompressor.Decompress(packed, codec)
	if err == nil {
		return records, nil
	}
	why := fmt.Sprintf("the records from here on came compressed in one batch, which cannot be unpacked: %v", err)
	stand := one(why)
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.hostile) >= maxHostile {
		clear(u.hostile)
	}
	u.hostile[maphash.Bytes(u.seed, packed)] = stand
	return stand, nil
}

func (u *standsIn) known(packed []byte) []byte {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.hostile) == 0 {
		return nil
	}
	return u.hostile[maphash.Bytes(u.seed, packed)]
}

// one is a batch's only record, as it lies in it: without a key or value.
func one(why string) []byte {
	r := kmsg.NewRecord()
	r.Headers = []kmsg.Header{{Key: HeaderUnpackable, Value: []byte(why)}}
	r.Length = int32(len(r.AppendTo(nil)) - 1) // the length itself, which is 0 so far, takes a byte
	return r.AppendTo(nil)
}
