package blobs_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/blobs"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/kafka/kafkatest"
)

func newStore(t *testing.T) (*blobs.Store, kafka.Config) {
	t.Helper()
	cfg := kafkatest.New(t)
	cl, err := cfg.NewClient()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := kafka.EnsureTopics(t.Context(), cl, cfg.Topics().Specs(4, nil, nil)); err != nil {
		t.Fatal(err)
	}
	s := blobs.New(cfg)
	t.Cleanup(s.Close)
	return s, cfg
}

func random(n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestWhatIsPutCanBeGot(t *testing.T) {
	s, _ := newStore(t)
	for _, size := range []int{1, 512 << 10, 512<<10 + 1, 10 << 20} {
		id := "job-" + strconv.Itoa(size) + "/x"
		data := random(size)
		partition, first, last, chunks, err := s.Put(t.Context(), id, data)
		if err != nil {
			t.Fatal(err)
		}
		if want := kafka.PartitionFor([]byte("job-"+strconv.Itoa(size)), 4); partition != want {
			t.Errorf("%s lies on partition %d, want its owner's, %d", id, partition, want)
		}
		got, err := s.Get(t.Context(), id, partition, first, last, chunks)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes: got %d, %v", size, len(got), err)
		}
	}
}

func TestManyArePutAndGotAtOnce(t *testing.T) {
	s, _ := newStore(t)
	failed := make(chan error, 16)
	for n := range 16 {
		go func() {
			id := "job/" + strconv.Itoa(n) // all on one partition
			data := random(1<<20 + n)
			partition, first, last, chunks, err := s.Put(t.Context(), id, data)
			if err == nil {
				var got []byte
				if got, err = s.Get(t.Context(), id, partition, first, last, chunks); err == nil && !bytes.Equal(got, data) {
					err = errors.New("got something else")
				}
			}
			failed <- err
		}()
	}
	for range 16 {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}

func TestWhatIsLostIsSaid(t *testing.T) {
	s, _ := newStore(t)
	partition, first, last, chunks, err := s.Put(t.Context(), "job/a", random(1<<20))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, _, err = s.Put(t.Context(), "job/b", random(1<<20)); err != nil {
		t.Fatal(err)
	}
	for name, get := range map[string]func() ([]byte, error){
		"another id":             func() ([]byte, error) { return s.Get(t.Context(), "job/c", partition, first, last, chunks) },
		"a chunk too many":       func() ([]byte, error) { return s.Get(t.Context(), "job/a", partition, first, last, chunks+1) },
		"an offset out of range": func() ([]byte, error) { return s.Get(t.Context(), "job/a", partition, 1<<40, 1<<40, 1) },
	} {
		var gone *blobs.GoneError
		if _, err := get(); !errors.As(err, &gone) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAReadThatIsGivenUpEnds(t *testing.T) {
	s, _ := newStore(t)
	partition, first, _, _, err := s.Put(t.Context(), "job/a", random(1000))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	// The rest has not been written yet, as far as a reader can tell.
	if _, err := s.Get(ctx, "job/a", partition, first, first+5, 2); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
