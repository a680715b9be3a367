package pubsub

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/kafka"
)

// HeaderUnpackable is set on a message that stands for a batch which nobody can unpack, and says so: the client stands
// before it for ever unless it is told to go on. Its offset is that of the last record in it.
const HeaderUnpackable = "unpackable"

// pass delivers a message in place of such a batch, and goes on behind it.
func (s *subscription) pass(packed *kgo.ErrDecompressTooLarge) {
	p := s.partition(packed.Partition)
	p.push([]*kgo.Record{standIn(packed)})
	kafka.Pass(s.client, packed)
	if s.assignment == nil && !p.known {
		// The client moves no member of a group to where it has never read (franz-go 1.22.2, consumer_group.go:
		// applySetOffsets). It begins where the group has committed once it takes the topic anew.
		s.workers.Go(func() { s.anew(p, packed.NextOffset) })
	}
	p.known = true
}

func standIn(packed *kgo.ErrDecompressTooLarge) *kgo.Record {
	why := kafka.Unpackable(packed)
	return &kgo.Record{
		Topic: packed.Topic, Partition: packed.Partition, Offset: packed.NextOffset - 1, LeaderEpoch: packed.Epoch, Timestamp: time.Now(),
		Headers: []kgo.RecordHeader{{Key: HeaderUnpackable, Value: []byte(why)}},
	}
}

// anew takes the topic anew once what lies before an offset has been acked and committed.
func (s *subscription) anew(p *partition, next int64) {
	for !p.committed(next) {
		if p.delivering.Err() != nil || !pause(s.reading, impatience) {
			return
		}
	}
	s.client.PurgeTopicsFromConsuming(s.topic)
	s.client.AddConsumeTopics(s.topic)
}

// committed says whether everything before an offset is committed.
func (p *partition) committed(next int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.position.committed.Offset >= next
}
