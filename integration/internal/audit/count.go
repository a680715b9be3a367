package audit

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/schemas"
)

// Counted is what a topic of events holds.
type Counted struct {
	Events     int // of aggregates, repeats among them
	Repeats    int
	Aggregates int
	Wrong      []string
}

// Count reads a topic of events as Read does and checks that each aggregate's sequence
// runs from 1 without a gap; it keeps no record, so that the topic may be long.
func Count(ctx context.Context, brokers []string, topic string) (*Counted, error) {
	counted, last := &Counted{}, map[string]int64{}
	err := each(ctx, brokers, topic, func(r *kgo.Record) {
		rec := record(r)
		if rec.Key == schemas.ShardKey {
			return
		}
		counted.Events++
		switch before := last[rec.Key]; {
		case rec.Sequence == before+1:
			last[rec.Key] = rec.Sequence
		case rec.Sequence >= 1 && rec.Sequence <= before:
			counted.Repeats++
		default:
			counted.Wrong = append(counted.Wrong, fmt.Sprintf("%s goes from event %d to %d at %d/%d", rec.Key, before, rec.Sequence, rec.Partition, rec.Offset))
		}
	})
	counted.Aggregates = len(last)
	return counted, err
}

// each calls visit for every record of a topic, from its beginning to its present end,
// read committed.
func each(ctx context.Context, brokers []string, topic string, visit func(*kgo.Record)) error {
	cl, err := kgo.NewClient(
		kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords(),
	)
	if err != nil {
		return err
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topic)
	if err = errors.Join(err, ends.Error()); err != nil {
		return fmt.Errorf("the end of %s: %w", topic, err)
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	for len(left) > 0 {
		pollCtx, cancel := context.WithTimeout(ctx, idle)
		fetches := cl.PollFetches(pollCtx)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if fetches.NumRecords() == 0 {
			return nil
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
			if !r.Attrs.IsControl() {
				visit(r)
			}
		})
	}
	return nil
}
