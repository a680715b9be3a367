package pubsub

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Start says where a subscription begins that has no committed position. The zero Start
// is Earliest for a group, so that nothing published before the first member joined is
// missed, and Newest without one.
type Start struct {
	kind    startKind
	offsets map[string]map[int32]int64
}

type startKind int

const (
	startDefault startKind = iota
	startEarliest
	startNewest
	startFrom
)

// Earliest begins with the oldest record that a partition still holds.
func Earliest() Start { return Start{kind: startEarliest} }

// Newest begins with what is committed after Subscribe has returned. Partitions
// created later are read from their beginning. In a group it means the end of every
// partition for which nothing is committed yet, so a member that joins before the group
// has committed anything skips what was published while there was none.
func Newest() Start { return Start{kind: startNewest} }

// From begins at the given offsets: topic, partition, next offset to read. Partitions
// that are not named are read from the earliest; an offset outside of the partition
// moves to its nearer end. It is only for subscriptions without a group.
func From(offsets map[string]map[int32]int64) Start {
	return Start{kind: startFrom, offsets: offsets}
}

// assignment gives a subscription without a group its partitions: those there are, and
// those that are created later.
type assignment struct {
	start Start
	topic string
	known map[int32]bool
}

// first finds the partitions there are now and where to begin in each. A topic that
// does not exist has none yet.
func (a *assignment) first(ctx context.Context, client *kgo.Client) (map[int32]kgo.Offset, error) {
	if a.start.kind != startNewest && a.start.kind != startDefault {
		return a.more(ctx, client)
	}
	ends, err := kadm.NewClient(client).ListCommittedOffsets(ctx, a.topic)
	if err != nil {
		return nil, fmt.Errorf("find the end of topic %q: %w", a.topic, err)
	}
	found := make(map[int32]kgo.Offset)
	for p, end := range ends[a.topic] {
		switch {
		case errors.Is(end.Err, kerr.UnknownTopicOrPartition) && p < 0:
			continue
		case end.Err != nil:
			return nil, fmt.Errorf("find the end of topic %q partition %d: %w", a.topic, p, end.Err)
		}
		a.known[p] = true
		found[p] = kgo.NewOffset().At(end.Offset)
	}
	return found, nil
}

// more finds the partitions that were not known yet.
func (a *assignment) more(ctx context.Context, client *kgo.Client) (map[int32]kgo.Offset, error) {
	topics, err := kadm.NewClient(client).ListTopics(ctx, a.topic)
	if err != nil {
		return nil, fmt.Errorf("list the partitions of topic %q: %w", a.topic, err)
	}
	detail := topics[a.topic]
	if detail.Err != nil && !errors.Is(detail.Err, kerr.UnknownTopicOrPartition) {
		return nil, fmt.Errorf("list the partitions of topic %q: %w", a.topic, detail.Err)
	}
	found := make(map[int32]kgo.Offset)
	for p := range detail.Partitions {
		if a.known[p] {
			continue
		}
		a.known[p] = true
		found[p] = a.offset(p)
	}
	return found, nil
}

// offset is where to begin in a partition whose end need not be asked for.
func (a *assignment) offset(partition int32) kgo.Offset {
	if at, ok := a.start.offsets[a.topic][partition]; ok {
		return kgo.NewOffset().At(at)
	}
	return kgo.NewOffset().AtStart()
}
