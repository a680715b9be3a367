package blobs

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/kafka"
)

const (
	// chunkBytes is how large a chunk is: several fit into a batch, and none comes near the
	// largest that a topic takes.
	chunkBytes = 512 << 10
	// patience is how long a read goes on without a record before it asks whether there are
	// any left.
	patience = 2 * time.Second
	// recordType is the ce_type of a chunk.
	recordType = "blob.v1"
)

// GoneError says that a value cannot be had any more: it was removed, or a part of it is lost.
type GoneError struct {
	ID    string
	Found int32 // chunks
	Of    int32
}

// Error implements error.
func (e *GoneError) Error() string {
	if e.Found == 0 {
		return fmt.Sprintf("the value %s is gone: it was removed some time after its orchestration had ended", e.ID)
	}
	return fmt.Sprintf("of the value %s only %d of %d chunks are there: the rest is lost", e.ID, e.Found, e.Of)
}

// Store writes and reads values. It connects when it is first used, and is safe for concurrent
// use.
type Store struct {
	kafka kafka.Config
	topic string

	mu     sync.Mutex
	writer *kafka.Writer
	closed bool
}

// New makes a Store. The caller closes it.
func New(cfg kafka.Config) *Store { return &Store{kafka: cfg, topic: cfg.Topics().Blobs()} }

// Close lets go of the connections.
func (s *Store) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.writer != nil {
		s.writer.Close()
	}
}

var errClosed = errors.New("the store of large values is closed")

// producer is made when it is first needed: most processes never write a large value.
func (s *Store) producer() (*kafka.Writer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	if s.writer == nil {
		w, err := s.kafka.NewWriter(
			kgo.RequiredAcks(kgo.AllISRAcks()),
			kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(func(string) func(*kgo.Record, int) int {
				return func(r *kgo.Record, n int) int { return int(kafka.PartitionFor(owner(r.Key), int32(n))) }
			})),
			kgo.MaxBufferedBytes(128<<20),
		)
		if err != nil {
			return nil, fmt.Errorf("make a client for large values: %w", err)
		}
		s.writer = w
	}
	return s.writer, nil
}

// owner is the first part of a chunk's key.
func owner(key []byte) []byte {
	name, _, _ := strings.Cut(string(key), "/")
	return []byte(name)
}

// Put writes a value, and returns where it stands once every in-sync replica has it.
func (s *Store) Put(ctx context.Context, id string, data []byte) (partition int32, first, last int64, chunks int32, err error) {
	w, err := s.producer()
	if err != nil {
		return 0, 0, 0, 0, err
	}
	var records []*kgo.Record
	now := time.Now()
	for n := 0; len(data) > 0; n++ {
		size := min(chunkBytes, len(data))
		key := id + "/" + strconv.Itoa(n)
		records = append(records, &kgo.Record{
			Topic: s.topic, Key: []byte(key), Value: data[:size], Timestamp: now,
			Headers: kafka.CloudEvent{ID: key, Source: "/blobs", Type: recordType, InputOffset: -1}.Headers(),
		})
		data = data[size:]
	}
	cl := w.Client()
	results := cl.ProduceSync(ctx, records...)
	if err := results.FirstErr(); err != nil {
		w.Failed(ctx, cl, err)
		if errors.Is(err, kerr.UnknownTopicOrPartition) {
			return 0, 0, 0, 0, fmt.Errorf("topic %s does not exist: `waybill topics create` makes it", s.topic)
		}
		return 0, 0, 0, 0, fmt.Errorf("write a large value to %s: %w", s.topic, err)
	}
	r := records[0]
	return r.Partition, r.Offset, records[len(records)-1].Offset, int32(len(records)), nil
}

// Get reads a value from where Put has written it. A *GoneError says that it is not there any
// more, or not whole.
func (s *Store) Get(ctx context.Context, id string, partition int32, first, last int64, chunks int32) ([]byte, error) {
	cl, err := s.kafka.NewClient(
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{s.topic: {partition: kgo.NewOffset().At(first)}}),
		// Chunks are in no transaction, and whatever transaction is open beside them is no reason to wait.
		kgo.FetchIsolationLevel(kgo.ReadUncommitted()),
		kgo.FetchMaxPartitionBytes(4<<20),
		kgo.KeepControlRecords(), // so that the end is seen where nothing else lies there
	)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	g := gathering{id: id + "/", parts: make([][]byte, chunks)}
	for next := first; next <= last && g.found < chunks; {
		fetches, err := poll(ctx, cl)
		switch {
		case errors.Is(err, kerr.OffsetOutOfRange):
			return nil, &GoneError{id, g.found, chunks}
		case errors.Is(err, errQuiet):
			if s.past(ctx, cl, partition, last) {
				return nil, &GoneError{id, g.found, chunks}
			}
			continue
		case err != nil:
			return nil, fmt.Errorf("read a large value from %s/%d: %w", s.topic, partition, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			g.take(r)
			next = r.Offset + 1
		})
	}
	if g.found < chunks {
		return nil, &GoneError{id, g.found, chunks}
	}
	return g.whole(), nil
}

var errQuiet = errors.New("nothing has come for a while")

// poll waits for records, some time at a time.
func poll(ctx context.Context, cl *kgo.Client) (kgo.Fetches, error) {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	fetches := cl.PollFetches(limited)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case limited.Err() != nil && fetches.NumRecords() == 0:
		return nil, errQuiet
	}
	for _, e := range fetches.Errors() {
		if packed, ok := errors.AsType[*kgo.ErrDecompressTooLarge](e.Err); ok {
			kafka.Pass(cl, packed) // none of ours
			continue
		}
		if !errors.Is(e.Err, context.DeadlineExceeded) {
			return nil, e.Err
		}
	}
	return fetches, nil
}

// past says that the partition goes on after an offset: what has not come by then never will.
func (s *Store) past(ctx context.Context, cl *kgo.Client, partition int32, last int64) bool {
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, s.topic)
	if err != nil {
		return false // it is asked again
	}
	end, ok := ends.Lookup(s.topic, partition)
	return ok && end.Err == nil && end.Offset > last
}

// gathering puts the chunks of a value together.
type gathering struct {
	id    string // with the slash
	parts [][]byte
	found int32
	bytes int
}

func (g *gathering) take(r *kgo.Record) {
	number, ok := strings.CutPrefix(string(r.Key), g.id)
	n, err := strconv.Atoi(number)
	if !ok || err != nil || n < 0 || n >= len(g.parts) || g.parts[n] != nil || len(r.Value) == 0 {
		return // another value's, a claim, a tombstone
	}
	g.parts[n] = r.Value
	g.found++
	g.bytes += len(r.Value)
}

func (g *gathering) whole() []byte {
	if len(g.parts) == 1 {
		return g.parts[0]
	}
	b := make([]byte, 0, g.bytes)
	for _, p := range g.parts {
		b = append(b, p...)
	}
	return b
}
