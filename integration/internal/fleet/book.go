package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// entry is a record of the events, with what the broker itself knows of who wrote it.
type entry struct {
	offset   int64
	at       time.Time
	job      bool   // an event, and not the owner's books
	owner    string // of an owned record: the member
	producer int64
	epoch    int16
}

// Book is the events topic, shard by shard.
type Book struct{ shards map[int32][]entry }

// Read reads the events of orchestrations as they stand on the log, what is not committed left out.
func (f *Fleet) Read(ctx context.Context) (*Book, error) {
	cfg := kafka.Config{Brokers: f.Brokers}
	topic := cfg.Topics().Events(schemas.AggregateOrchestration)
	cl, err := cfg.NewClient(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords())
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListCommittedOffsets(ctx, topic)
	if err = errors.Join(err, ends.Error()); err != nil {
		return nil, err
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	b := &Book{shards: map[int32][]entry{}}
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := errors.Join(context.Cause(ctx), fetches.Err()); err != nil {
			return nil, err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
			if e, ok := read(r); ok {
				b.shards[r.Partition] = append(b.shards[r.Partition], e)
			}
		})
	}
	return b, nil
}

// watch reads along until it is stopped. The times of what it has read are those at which a reader had
// it, whatever the clocks say of those who wrote it.
func (f *Fleet) watch(ctx context.Context) (stop func() *Book, err error) {
	cfg := kafka.Config{Brokers: f.Brokers}
	cl, err := cfg.NewClient(kgo.ConsumeTopics(cfg.Topics().Events(schemas.AggregateOrchestration)), kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	b := &Book{shards: map[int32][]entry{}}
	var reading sync.WaitGroup
	reading.Go(func() {
		defer cl.Close()
		for ctx.Err() == nil {
			cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
				if e, ok := read(r); ok {
					e.at = time.Now()
					b.shards[r.Partition] = append(b.shards[r.Partition], e)
				}
			})
		}
	})
	return func() *Book { cancel(); reading.Wait(); return b }, nil
}

func read(r *kgo.Record) (entry, bool) {
	if r.Attrs.IsControl() {
		return entry{}, false
	}
	env, err := kafka.ParseCloudEvent(r)
	if err != nil {
		return entry{}, false // the audit finds it
	}
	e := entry{offset: r.Offset, at: env.Time, job: string(r.Key) != schemas.ShardKey, producer: r.ProducerID, epoch: r.ProducerEpoch}
	if env.Type == schemas.ShardOwned {
		var o schemas.Owned
		if json.Unmarshal(r.Value, &o) == nil {
			e.owner, e.at = o.Member, o.At
		}
	}
	return e, true
}

// Still is how long a shard made no event.
type Still struct {
	Shard int32
	Began time.Time
	For   time.Duration
}

// Longest finds, for each shard, the longest time between two events of jobs that were decided
// within a span. A shard without any stood still for all of it.
func (b *Book) Longest(from, until time.Time) []Still {
	longest := make([]Still, kafka.DefaultShards)
	for s := range longest {
		at := &longest[s]
		at.Shard = int32(s)
		before := from
		look := func(t time.Time) {
			if d := t.Sub(before); d > at.For {
				at.Began, at.For = before, d
			}
			before = t
		}
		for _, e := range b.shards[int32(s)] {
			if e.job && e.at.After(from) && e.at.Before(until) {
				look(e.at)
			}
		}
		look(until)
	}
	slices.SortFunc(longest, func(a, b Still) int { return cmp.Compare(b.For, a.For) })
	return longest
}

// Fenced checks, from what the broker stamped on each record, that nobody wrote to a shard after
// somebody else had taken it: behind an owned record stands nothing of an older epoch of the
// shard's producer. It answers with the number of takings, and what is wrong.
func (b *Book) Fenced() (takings int, wrong []string) {
	for s, entries := range b.shards {
		var now entry
		for _, e := range entries {
			switch {
			case e.owner != "":
				takings++
				if e.producer == now.producer && e.epoch <= now.epoch && now.owner != "" {
					wrong = append(wrong, fmt.Sprintf("shard %d: %s took it at offset %d with epoch %d, but %s had %d already", s, e.owner, e.offset, e.epoch, now.owner, now.epoch))
				}
				now = e
			case now.owner == "":
				wrong = append(wrong, fmt.Sprintf("shard %d: the record at offset %d stands before any owner", s, e.offset))
			case e.producer == now.producer && e.epoch < now.epoch || e.producer < now.producer:
				wrong = append(wrong, fmt.Sprintf("shard %d: the record at offset %d was written with producer %d, epoch %d, after %s had taken the shard with %d, %d",
					s, e.offset, e.producer, e.epoch, now.owner, now.producer, now.epoch))
			}
		}
	}
	return takings, wrong
}

// Takeover is how a shard went on after its owner had gone.
type Takeover struct {
	Shard int32
	By    string
	After time.Duration // the first event of a job
}

// Takeovers finds, for each shard that a member had at a time, who had it next and how soon it
// made an event; a shard that nobody went on with has no By.
func (b *Book) Takeovers(member string, gone time.Time) []Takeover {
	var all []Takeover
	for s, entries := range b.shards {
		owner, found := "", Takeover{Shard: s}
		for _, e := range entries {
			if e.owner != "" {
				if e.at.After(gone) && owner != member {
					break // it was not his
				}
				owner = e.owner
			}
			if e.at.After(gone) && owner != member && e.job {
				found.By, found.After = owner, e.at.Sub(gone)
				break
			}
		}
		if had(entries, member, gone) {
			all = append(all, found)
		}
	}
	slices.SortFunc(all, func(a, b Takeover) int { return cmp.Compare(a.After, b.After) })
	return all
}

// had says whether a member owned the shard at a time.
func had(entries []entry, member string, at time.Time) bool {
	owner := ""
	for _, e := range entries {
		if e.owner != "" && !e.at.After(at) {
			owner = e.owner
		}
	}
	return owner == member
}

// Decided counts the events of jobs that each member decided within a span.
func (b *Book) Decided(from, until time.Time) map[string]int {
	n := map[string]int{}
	for _, entries := range b.shards {
		owner := ""
		for _, e := range entries {
			if e.owner != "" {
				owner = e.owner
			}
			if e.job && e.at.After(from) && e.at.Before(until) {
				n[owner]++
			}
		}
	}
	return n
}

// Ahead counts the shards whose last event of a job was decided that long after a time.
func (b *Book) Ahead(of time.Time, by time.Duration) int {
	n := 0
	for _, entries := range b.shards {
		i := len(entries) - 1
		for i >= 0 && !entries[i].job {
			i--
		}
		if i >= 0 && entries[i].at.Sub(of) >= by {
			n++
		}
	}
	return n
}

// Stills says the longest of them, and how many there were above a limit.
func Stills(l []Still, limit time.Duration) string {
	above := 0
	var each []string
	for _, s := range l {
		if s.For > limit {
			above++
		}
		each = append(each, fmt.Sprintf("%.1f", s.For.Seconds()))
	}
	return fmt.Sprintf("longest %.1f s (shards: %s), above %.0f s: %d", l[0].For.Seconds(), strings.Join(each, " "), limit.Seconds(), above)
}
