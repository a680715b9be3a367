package sweeper_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/consumers/sweeper"
	"github.com/waybill/waybill/internal/blobs"
	"github.com/waybill/waybill/internal/embedded/embeddedtest"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

const age = 10 * time.Hour

// topic is a blobs topic in fake time, with what has been put there.
type topic struct {
	t     *testing.T
	cfg   kafka.Config
	cl    *kgo.Client
	store *blobs.Store
	put   map[string]place
}

type place struct {
	partition   int32
	first, last int64
	chunks      int32
}

func newTopic(t *testing.T, embedded bool) *topic {
	t.Helper()
	cfg, _ := embeddedtest.Virtual(t)
	cfg.Embedded = embedded
	cl, err := cfg.NewClient(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	if err := kafka.EnsureTopics(t.Context(), cl, cfg.Topics().Specs(1, nil, nil)); err != nil {
		t.Fatal(err)
	}
	store := blobs.New(cfg)
	t.Cleanup(store.Close)
	return &topic{t, cfg, cl, store, map[string]place{}}
}

// write puts a value, in three chunks.
func (p *topic) write(id string) {
	p.t.Helper()
	var x place
	var err error
	x.partition, x.first, x.last, x.chunks, err = p.store.Put(p.t.Context(), id, []byte(strings.Repeat(id, 1<<20/len(id)+1)))
	if err != nil {
		p.t.Fatal(err)
	}
	p.put[id] = x
}

// claim is what the machine does, and discard removes it as the machine does.
func (p *topic) claim(id string) { p.record(id+schemas.BlobClaim, []byte{}) }

func (p *topic) discard(id string) {
	for n := range p.put[id].chunks {
		p.record(schemas.BlobChunk(id, n), nil)
	}
	p.record(id+schemas.BlobClaim, nil)
}

func (p *topic) record(key string, value []byte) {
	p.t.Helper()
	if err := p.cl.ProduceSync(p.t.Context(), &kgo.Record{Topic: p.cfg.Topics().Blobs(), Key: []byte(key), Value: value}).FirstErr(); err != nil {
		p.t.Fatal(err)
	}
}

// tombstones are the ids that have some.
func (p *topic) tombstones() map[string]int {
	p.t.Helper()
	ends, err := kadm.NewClient(p.cl).ListEndOffsets(p.t.Context(), p.cfg.Topics().Blobs())
	if err != nil {
		p.t.Fatal(err)
	}
	end, _ := ends.Lookup(p.cfg.Topics().Blobs(), 0)
	cl, err := p.cfg.NewClient(kgo.ConsumeTopics(p.cfg.Topics().Blobs()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		p.t.Fatal(err)
	}
	defer cl.Close()
	found := map[string]int{}
	for next := int64(0); next < end.Offset; {
		f := cl.PollFetches(p.t.Context())
		if err := f.Err(); err != nil {
			p.t.Fatal(err)
		}
		f.EachRecord(func(r *kgo.Record) {
			next = r.Offset + 1
			if r.Value == nil {
				found[string(r.Key[:strings.LastIndexByte(string(r.Key), '/')])]++
			}
		})
	}
	return found
}

// sweep runs a sweeper for so long.
func (p *topic) sweep(d time.Duration) {
	p.t.Helper()
	ctx, cancel := context.WithCancel(p.t.Context())
	done := make(chan error, 1)
	go func() {
		done <- sweeper.Run(ctx, sweeper.Config{Kafka: p.cfg, Age: age, Logger: slog.New(slog.NewTextHandler(p.t.Output(), nil))})
	}()
	time.Sleep(d) //nolint:forbidigo // fake time
	cancel()
	if err := <-done; err != nil {
		p.t.Error(err)
	}
}

func TestWhatNobodyClaimsIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTopic(t, false)
		p.write("job-1/a")
		p.write("job-2/b")
		p.claim("job-2/b")
		p.sweep(age - 2*time.Hour)
		if got := p.tombstones(); len(got) > 0 {
			t.Fatalf("removed before its time: %v", got)
		}
		p.write("job-3/c")
		p.sweep(3 * time.Hour) // another process, which goes on where the first was
		if got := p.tombstones(); len(got) != 1 || got["job-1/a"] != 3 {
			t.Errorf("removed are %v", got)
		}
	})
}

func TestTheEmbeddedBrokerIsCutOffUpToTheOldestValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTopic(t, true)
		for _, id := range []string{"job-1/a", "job-2/b", "job-3/c"} {
			p.write(id)
			p.claim(id)
		}
		p.discard("job-1/a")
		p.discard("job-3/c")
		p.sweep(2 * time.Hour)
		get := func(id string) error {
			x := p.put[id]
			_, err := p.store.Get(t.Context(), id, x.partition, x.first, x.last, x.chunks)
			return err
		}
		var gone *blobs.GoneError
		if err := get("job-1/a"); !errors.As(err, &gone) {
			t.Errorf("what lay in front is still there: %v", err)
		}
		if err := get("job-2/b"); err != nil {
			t.Errorf("what is still wanted: %v", err)
		}
		if err := get("job-3/c"); err != nil {
			t.Errorf("what lies behind it stays for as long: %v", err)
		}
		p.discard("job-2/b")
		p.sweep(2 * time.Hour)
		if err := get("job-3/c"); !errors.As(err, &gone) {
			t.Errorf("nothing is wanted any more: %v", err)
		}
	})
}
