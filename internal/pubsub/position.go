package pubsub

import "github.com/twmb/franz-go/pkg/kgo"

// position is how far a partition has been acked and how far that is committed.
//
// It also remembers which record came first after the commits, for this case: the broker
// goes away, the member loses its session, and with it the right to commit what was
// acked meanwhile; then it is given the partition again, from the old commit. If the
// very same record comes first again, nobody else has had the partition meanwhile, or
// to no effect, and what was acked need not be delivered a second time.
type position struct {
	acked     kgo.EpochOffset // the next offset to ack; zero before the first
	committed kgo.EpochOffset
	// first is the first record acked after the last commit, second that after the commit
	// under way, if any: the broker may have heard of it though we have not heard of the broker.
	first, second mark
	committing    bool
}

// mark recognises a record. The offset alone would not do: a topic that was deleted and
// created again has the same ones.
type mark struct{ offset, millis int64 }

func markOf(rec *kgo.Record) mark { return mark{rec.Offset, rec.Timestamp.UnixMilli()} }

func (p *position) advance(rec *kgo.Record) {
	if p.acked == p.committed {
		p.first = markOf(rec)
	}
	if p.committing {
		p.second, p.committing = markOf(rec), false
	}
	p.acked = kgo.EpochOffset{Epoch: rec.LeaderEpoch, Offset: rec.Offset + 1}
}

// begin is what to commit; false if there is nothing.
func (p *position) begin() (kgo.EpochOffset, bool) {
	if p.acked == p.committed {
		return p.acked, false
	}
	p.committing = true
	return p.acked, true
}

func (p *position) succeeded(at kgo.EpochOffset) {
	p.committed = at
	p.first, p.committing = p.second, false
}

// had is what was acked and is not known to be committed.
type had struct {
	first, second mark
	next          int64 // the offset after the last one acked
	recognised    bool
}

func (p *position) uncommitted() *had {
	if p.acked == p.committed {
		return nil
	}
	return &had{first: p.first, second: p.second, next: p.acked.Offset}
}

// again tells whether a record was acked before the partition was lost. It must be asked
// about each record in order, and is of no more use once it has said no.
func (h *had) again(rec *kgo.Record) bool {
	if !h.recognised && markOf(rec) != h.first && markOf(rec) != h.second {
		return false
	}
	h.recognised = true
	return rec.Offset < h.next
}
