package embedded

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sys/unix"
)

const (
	// reserve is what is left free on the disk. The broker acknowledges the end of a transaction
	// whether or not its marker could be written, and after the next start what was committed would
	// be gone: so records are refused while there is room for markers still.
	reserve = 64 << 20
	// reservePart is how much of a small file system that is at most.
	reservePart = 8
	// fastest is how many bytes a second may be written in between two looks at the disk.
	fastest = 512 << 20
	// oftenest and seldomest bound how often that is.
	oftenest, seldomest = 100 * time.Millisecond, 10 * time.Second
)

// FullError says that the disk has too little room.
type FullError struct {
	Dir        string
	Free, Want uint64 // bytes
}

// Error implements error.
func (e *FullError) Error() string {
	return fmt.Sprintf("the disk of %s has %d MB left, and %d are kept free: nothing is taken until there is more room; what was acknowledged is there",
		e.Dir, e.Free>>20, e.Want>>20)
}

// space refuses records while the disk is nearly full. Whoever writes waits and tries again.
type space struct {
	dir     string
	cluster *kfake.Cluster
	log     *slog.Logger
	free    func(dir string) (free, size uint64, err error)

	end  chan struct{}
	done chan struct{}

	mu   sync.Mutex
	full *FullError
	held bool // a control function is in place
}

// watchSpace looks at the disk until ended.
func watchSpace(dir string, cluster *kfake.Cluster, log *slog.Logger) *space {
	s := &space{dir: dir, cluster: cluster, log: log, free: statfs, end: make(chan struct{}), done: make(chan struct{})}
	go s.run()
	return s
}

func statfs(dir string) (free, size uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, err
	}
	return st.Bavail * uint64(st.Bsize), st.Blocks * uint64(st.Bsize), nil
}

func (s *space) run() {
	defer close(s.done)
	for {
		timer := time.NewTimer(s.look())
		select {
		case <-s.end:
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// stop ends the looking.
func (s *space) stop() {
	close(s.end)
	<-s.done
}

// look looks at the disk, and says when to look again.
func (s *space) look() time.Duration {
	free, size, err := s.free(s.dir)
	if err != nil {
		return seldomest // there is nothing to go by; the broker's own errors say more
	}
	want := min(reserve, size/reservePart)
	if free < want {
		s.shut(&FullError{s.dir, free, want})
		return oftenest
	}
	s.open(free, want)
	return min(max(time.Duration(float64(free-want)/fastest*float64(time.Second)), oftenest), seldomest)
}

// shut begins to refuse.
func (s *space) shut(full *FullError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full == nil {
		s.log.Error("nothing is taken: the disk is nearly full", "err", full)
	}
	s.full = full
	if !s.held {
		s.held = true
		s.cluster.ControlKey(kmsg.Produce.Int16(), s.refuse)
	}
}

// open takes records again, once there is some room to spare.
func (s *space) open(free, want uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full == nil || free < want+want/4 {
		return
	}
	s.full = nil
	s.log.Info("the disk has room again", "dir", s.dir, "free MB", free>>20)
}

// err is why nothing is taken.
func (s *space) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full == nil {
		return nil
	}
	return s.full
}

// refuse answers a request to write. The code is one upon which clients try again.
func (s *space) refuse(req kmsg.Request) (kmsg.Response, error, bool) { //nolint:revive // as kfake has it
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full == nil {
		s.held = false
		s.cluster.DropControl()
		return nil, nil, false
	}
	s.cluster.KeepControl()
	produce, ok := req.(*kmsg.ProduceRequest)
	if !ok {
		return nil, nil, false
	}
	why := s.full.Error()
	resp := kmsg.NewPtrProduceResponse()
	resp.Version = produce.Version
	for _, t := range produce.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.ErrorCode, rp.ErrorMessage = p.Partition, kerr.KafkaStorageError.Code, &why
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp, nil, true
}
