package sweeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// Config says what to sweep.
type Config struct {
	Kafka kafka.Config
	// Age is from when on what nobody has claimed is removed.
	Age    time.Duration
	Logger *slog.Logger // told of what went wrong and is tried again; nil: nobody is
}

// interval is how often the sweeper looks what has become old, at most.
const interval = time.Hour

const (
	// sessionTimeout is after how long the group gives up a member that was killed: others wait for it.
	sessionTimeout = 10 * time.Second
	// goodbye is how long leaving the group may take. A member that is still joining is only let go
	// when the one that the group waits for is given up.
	goodbye = time.Second
)

// leave closes the client; where that takes long it is left to itself.
func leave(cl *kgo.Client) {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		cl.CloseAllowingRebalance()
	}()
	select {
	case <-closed:
	case <-time.After(goodbye):
	}
}

// Run sweeps until ctx ends, which returns nil. Of several processes that run it each has some of
// the partitions.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &sweeper{cfg: cfg, topic: cfg.Kafka.Topics().Blobs(), parts: make(map[int32]*partition)}
	cl, err := cfg.Kafka.NewClient(
		kgo.ConsumerGroup(cfg.Kafka.Topics().Group("blobs")),
		kgo.ConsumeTopics(s.topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), // what was cut off meanwhile is nobody's
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.SessionTimeout(sessionTimeout),
		kgo.HeartbeatInterval(sessionTimeout/3),
		kgo.RebalanceTimeout(sessionTimeout),
		kgo.DisableAutoCommit(),
		kgo.FetchMaxWait(30*time.Second),
		kgo.FetchMaxBytes(4<<20),
		kgo.FetchMaxPartitionBytes(1<<20),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, m map[string][]int32) { s.drop(m[s.topic]) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, m map[string][]int32) { s.drop(m[s.topic]) }),
	)
	if err != nil {
		return fmt.Errorf("sweep %s: %w", s.topic, err)
	}
	defer leave(cl)
	every := min(interval, max(cfg.Age/10, time.Second))
	for next := time.Now().Add(every); ctx.Err() == nil; {
		fetches := poll(ctx, cl, next)
		s.read(fetches)
		for _, e := range fetches.Errors() {
			if packed, ok := errors.AsType[*kgo.ErrDecompressTooLarge](e.Err); ok {
				kafka.Pass(cl, packed) // what is in it nobody has written who claims it
			}
			if ctx.Err() == nil && !errors.Is(e.Err, context.DeadlineExceeded) && !s.told.Again(e.Err) {
				cfg.Logger.Warn("sweeping goes on", "topic", e.Topic, "partition", e.Partition, "error", e.Err)
			}
		}
		if time.Now().Before(next) {
			continue
		}
		next = time.Now().Add(every)
		if err := s.sweep(ctx, cl); err != nil && ctx.Err() == nil {
			cfg.Logger.Warn("sweeping is tried again", "topic", s.topic, "error", err)
		}
	}
	return nil
}

func poll(ctx context.Context, cl *kgo.Client, until time.Time) kgo.Fetches {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	return cl.PollFetches(ctx)
}

type sweeper struct {
	cfg   Config
	topic string
	told  kafka.Told

	mu    sync.Mutex // partitions go and come on the client's goroutine
	parts map[int32]*partition
}

// partition is what is known of one partition.
type partition struct {
	next   int64 // first offset not read
	values map[string]*value
	cut    int64 // what lies before has been cut off
}

// value is a value that is there.
type value struct {
	first   int64 // offset
	chunks  int32 // highest number of a chunk, and one
	at      time.Time
	claimed bool
}

func (s *sweeper) drop(partitions []int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range partitions {
		delete(s.parts, p)
	}
}

func (s *sweeper) read(fetches kgo.Fetches) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fetches.EachRecord(func(r *kgo.Record) {
		p := s.parts[r.Partition]
		if p == nil {
			p = &partition{values: make(map[string]*value)}
			s.parts[r.Partition] = p
		}
		p.next = r.Offset + 1
		p.read(r, s.cfg.Kafka.Embedded)
	})
}

// read notes a record. What is claimed is somebody else's to remove; where the front of the
// partition is cut off, it is kept in mind until it is.
func (p *partition) read(r *kgo.Record, cuts bool) {
	key := string(r.Key)
	if id, ok := strings.CutSuffix(key, schemas.BlobClaim); ok {
		switch v := p.values[id]; {
		case v == nil:
		case r.Value == nil || !cuts:
			delete(p.values, id)
		default:
			v.claimed = true
		}
		return
	}
	i := strings.LastIndexByte(key, '/')
	if i < 0 {
		return
	}
	n, err := strconv.ParseInt(key[i+1:], 10, 32)
	if err != nil || n < 0 || n >= maxChunks {
		return
	}
	id := key[:i]
	if r.Value == nil {
		if v := p.values[id]; v != nil && n+1 >= int64(v.chunks) {
			delete(p.values, id) // tombstones come in order
		}
		return
	}
	v := p.values[id]
	if v == nil {
		v = &value{first: r.Offset, at: r.Timestamp}
		p.values[id] = v
	}
	v.chunks = max(v.chunks, int32(n)+1)
}

// maxChunks is more than the largest value has. Each is removed by a record of its own, and whoever writes to the
// topic could name any number.
const maxChunks = 8 << 10

// sweep removes what is old and unclaimed, and remembers how far it has got.
func (s *sweeper) sweep(ctx context.Context, cl *kgo.Client) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	offsets, cut := make(map[int32]kgo.EpochOffset), make(kadm.Offsets)
	for number, p := range s.parts {
		if err := s.remove(ctx, cl, number, p, now); err != nil {
			return err
		}
		low := p.next
		for _, v := range p.values {
			low = min(low, v.first)
		}
		offsets[number] = kgo.EpochOffset{Epoch: -1, Offset: low}
		if s.cfg.Kafka.Embedded && low > p.cut {
			cut.AddOffset(s.topic, number, low, -1)
		}
	}
	if len(offsets) == 0 {
		return nil
	}
	if err := commit(ctx, cl, s.topic, offsets); err != nil {
		return err
	}
	if len(cut) == 0 {
		return nil
	}
	done, err := kadm.NewClient(cl).DeleteRecords(ctx, cut)
	if err == nil {
		err = done.Error()
	}
	if err != nil {
		return fmt.Errorf("cut off the front of %s: %w", s.topic, err)
	}
	for number := range cut[s.topic] {
		s.parts[number].cut = cut[s.topic][number].At
	}
	return nil
}

// commit remembers where another process would have to begin.
func commit(ctx context.Context, cl *kgo.Client, topic string, offsets map[int32]kgo.EpochOffset) error {
	var failed error
	cl.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{topic: offsets},
		func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
			failed = err
			if resp == nil {
				return
			}
			for _, t := range resp.Topics {
				for _, p := range t.Partitions {
					failed = errors.Join(failed, kerr.ErrorForCode(p.ErrorCode))
				}
			}
		})
	if failed != nil {
		return fmt.Errorf("commit offsets of %s: %w", topic, failed)
	}
	return nil
}

func (s *sweeper) remove(ctx context.Context, cl *kgo.Client, number int32, p *partition, now time.Time) error {
	for id, v := range p.values {
		if v.claimed || now.Sub(v.at) < s.cfg.Age {
			continue
		}
		var records []*kgo.Record
		for n := range v.chunks {
			key := schemas.BlobChunk(id, n)
			env := kafka.CloudEvent{ID: machine.ID("blob", key), Source: "/blobs/sweeper", Type: schemas.BlobRecord, InputOffset: -1}
			records = append(records, &kgo.Record{Topic: s.topic, Partition: number, Key: []byte(key), Headers: env.Headers()})
		}
		if err := cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
			return fmt.Errorf("remove %s: %w", id, err)
		}
		delete(p.values, id)
	}
	return nil
}
