package agent

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/pubsub"
)

const (
	// mostBehind and mostAhead bound the differences of clocks that are left as they are. A record whose time is yet to come
	// says that this machine's clock is behind; one whose time has gone may have been late itself, and with
	// mostAhead a third of the shortest offer is left.
	mostBehind = time.Second
	mostAhead  = 20 * time.Second
	// settles is for how long the least of the differences counts. A shard may find an owner whose clock is behind
	// the one before: then what was true of it no longer is.
	settles = 10 * time.Second
	// mostWriters bounds how many are remembered: there is one to a shard.
	mostWriters = 4096
)

// clocks says what time it is in the shards, by whose clocks offers and deadlines end. Each of them has a producer id of
// its own, and its records tell when they were written: who reads one that is being written knows by how much this
// machine's clock is ahead of the shard's. Time is counted from there on by the monotonic clock, which nobody can put.
type clocks struct {
	began time.Time // by both clocks

	mu    sync.Mutex
	ahead map[int64]difference // by producer id
}

// difference is by how much our time is ahead of a writer's, and when that was found out.
type difference struct {
	by time.Duration
	at time.Time
}

func newClocks() *clocks { return &clocks{began: time.Now(), ahead: make(map[int64]difference)} }

// steady is the time by a wall clock that nobody has put since the agent was started.
func (c *clocks) steady(now time.Time) time.Time { return c.began.Round(0).Add(now.Sub(c.began)) }

// heard notes the time of a record that a writer has written just now. What comes late seems to say that our
// clock is further ahead than it is, so the least counts.
func (c *clocks) heard(writer int64, wrote time.Time) {
	if writer < 0 || wrote.IsZero() {
		return
	}
	now := time.Now()
	by := c.steady(now).Sub(wrote)
	c.mu.Lock()
	defer c.mu.Unlock()
	if d, known := c.ahead[writer]; known && by >= d.by && now.Sub(d.at) <= settles {
		return
	}
	if len(c.ahead) >= mostWriters {
		clear(c.ahead)
	}
	c.ahead[writer] = difference{by, now}
}

// theirs is what time it is for a writer that wrote at that time: what was heard of it says so, else our clock.
func (c *clocks) theirs(writer int64, wrote, now time.Time) time.Time {
	c.mu.Lock()
	d, known := c.ahead[writer]
	c.mu.Unlock()
	t := now.Round(0)
	if known {
		t = c.steady(now).Add(-d.by)
	}
	if t.Before(wrote) {
		return wrote
	}
	return t
}

// ours is work with its times by this machine's clock, and by how much that is ahead of the writer's; 0 where
// they are so near to each other that the times are left as they are.
func (c *clocks) ours(writer int64, wrote time.Time, w machine.Work) (machine.Work, time.Duration) {
	now := time.Now()
	theirs := c.theirs(writer, wrote, now)
	by := now.Round(0).Sub(theirs)
	if -mostBehind < by && by < mostAhead {
		return w, 0
	}
	for _, t := range []*time.Time{&w.Deadline, &w.OfferedUntil} {
		if !t.IsZero() {
			*t = now.Add(t.Sub(theirs))
		}
	}
	return w, by
}

// hear takes the time from a record that the watcher has met.
func (s *server) hear(r *kgo.Record) {
	for i := range r.Headers {
		if r.Headers[i].Key == kafka.HeaderTime {
			s.clocks.heard(r.ProducerID, written(string(r.Headers[i].Value)))
		}
	}
}

// written is the time of a record; zero where it says none.
func written(header string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, header)
	if err != nil {
		return time.Time{}
	}
	return t
}

// inOurTime is work with its times by this machine's clock, which may be hours from those of the servers.
func (s *server) inOurTime(msg *message.Message, w machine.Work) machine.Work {
	from := msg.Context()
	writer, ok := pubsub.MessageProducer(from)
	if !ok {
		writer = -1
	}
	wrote := written(msg.Metadata.Get(kafka.HeaderTime))
	if s.precedes(from) {
		s.clocks.heard(writer, wrote)
	}
	w, by := s.clocks.ours(writer, wrote, w)
	if by != 0 {
		direction := "ahead of"
		if by < 0 {
			direction, by = "behind", -by
		}
		trouble := fmt.Errorf("the clock of this machine seems to be %s %s a server's", by.Round(10*time.Second), direction)
		if !s.told.Again(trouble) {
			s.cfg.Log.WarnContext(from, "times of work are taken by the server's clock", "agent", s.cfg.Name, "error", trouble, "do", "put the clock right")
		}
	}
	return w
}

// precedes says that the watcher, which sees all that is written while it is there, has not met the message yet: it has
// come a moment ago. What lay there before may be of any age.
func (s *server) precedes(msg context.Context) bool {
	topic, ok := pubsub.MessageTopic(msg)
	if !ok || s.watching == nil {
		return false
	}
	partition, _ := pubsub.MessagePartition(msg)
	offset, _ := pubsub.MessageOffset(msg)
	return !s.watching.Passed(topic, partition, offset)
}
