package audit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// Log is what the topics below a prefix hold for a reader of committed records, from their
// starts to ends that were marked beforehand.
type Log struct {
	Names  kafka.Topics
	Shards int32
	// Records are those of each topic, each partition's in the order of their offsets.
	Records map[string][]Record
	// Starts are the offsets that partitions begin at, where that is not 0: what lay before
	// was let go of.
	Starts map[string]map[int32]int64
	// Ends are the marked ends.
	Ends map[string]map[int32]int64
	// Sure is up to where events were on the log before the ends of the other topics were marked: what
	// follows from them must be there.
	Sure map[string]map[int32]int64
}

// start is where a partition begins.
func (l *Log) start(topic string, partition int32) int64 { return l.Starts[topic][partition] }

// sure says that what follows from a record must have been read.
func (l *Log) sure(r *Record) bool {
	s, marked := l.Sure[r.Topic]
	return !marked || r.Offset < s[r.Partition]
}

// aggregates are the types whose machines are known here.
func aggregates() []string {
	return []string{schemas.AggregateOrchestration, schemas.AggregateTransfer, schemas.AggregateNegotiation, schemas.AggregateDefinition}
}

// ReadLog reads every topic below a prefix. Others may write meanwhile: what is read is a cut in which
// no event is without what caused it.
func ReadLog(ctx context.Context, cfg kafka.Config) (*Log, error) {
	cl, err := cfg.NewClient(kgo.KeepControlRecords())
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	l := &Log{
		Names: cfg.Topics(), Records: make(map[string][]Record),
		Starts: make(map[string]map[int32]int64), Ends: make(map[string]map[int32]int64), Sure: make(map[string]map[int32]int64),
	}
	if err := l.mark(ctx, adm); err != nil {
		return nil, err
	}
	return l, l.read(ctx, cl)
}

// mark finds the topics, where they begin, and up to where they are read. The ends of the events are
// asked for before and after the others': what follows from an event comes no earlier than it.
func (l *Log) mark(ctx context.Context, adm *kadm.Client) error {
	prefix := strings.TrimSuffix(l.Names.Shards(), "shards")
	all, err := adm.ListTopics(ctx)
	if err != nil {
		return fmt.Errorf("list topics: %w", err)
	}
	var events, others []string
	for _, name := range all.Names() {
		switch {
		case !strings.HasPrefix(name, prefix):
		case slices.ContainsFunc(aggregates(), func(a string) bool { return name == l.Names.Events(a) }):
			events = append(events, name)
		default:
			others = append(others, name)
		}
	}
	if len(events) == 0 {
		return fmt.Errorf("there is no topic of events whose name begins with %s", prefix)
	}
	l.Shards = int32(len(all[events[0]].Partitions)) // Kafka counts partitions by int32 itself
	starts, err := adm.ListStartOffsets(ctx, append(slices.Clone(events), others...)...)
	if err = errors.Join(err, starts.Error()); err != nil {
		return fmt.Errorf("the starts of the topics: %w", err)
	}
	l.Starts = offsets(starts)
	for _, step := range []struct {
		topics []string
		into   map[string]map[int32]int64
	}{{events, l.Sure}, {others, l.Ends}, {events, l.Ends}} {
		if len(step.topics) == 0 {
			continue // else all topics are asked for
		}
		ends, err := adm.ListCommittedOffsets(ctx, step.topics...)
		if err = errors.Join(err, ends.Error()); err != nil {
			return fmt.Errorf("the ends of the topics: %w", err)
		}
		for topic, l := range offsets(ends) {
			step.into[topic] = l
		}
	}
	return nil
}

func offsets(l kadm.ListedOffsets) map[string]map[int32]int64 {
	m := make(map[string]map[int32]int64)
	l.Each(func(o kadm.ListedOffset) {
		if m[o.Topic] == nil {
			m[o.Topic] = make(map[int32]int64)
		}
		m[o.Topic][o.Partition] = o.Offset
	})
	return m
}

// stuck is after how long without a record reading is given up.
const stuck = 15 * time.Second

// read reads up to the marked ends.
func (l *Log) read(ctx context.Context, cl *kgo.Client) error {
	from, left := make(map[string]map[int32]kgo.Offset), make(map[string]map[int32]int64)
	for topic, ends := range l.Ends {
		l.Records[topic] = nil
		for p, end := range ends {
			if start := l.start(topic, p); start < end {
				if from[topic] == nil {
					from[topic], left[topic] = make(map[int32]kgo.Offset), make(map[int32]int64)
				}
				from[topic][p], left[topic][p] = kgo.NewOffset().At(start), end
			}
		}
	}
	cl.AddConsumePartitions(from)
	for len(left) > 0 {
		soon, cancel := context.WithTimeout(ctx, patience(l.Names, left))
		fetches := cl.PollFetches(soon)
		cancel()
		switch err := fetches.Err(); {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && fetches.NumRecords() == 0:
			if compacted(l.Names, left) {
				return nil // their last records need not be there
			}
			return fmt.Errorf("read up to %v: %w", left, err)
		}
		fetches.EachRecord(func(r *kgo.Record) { l.take(r, left) })
	}
	return nil
}

func (l *Log) take(r *kgo.Record, left map[string]map[int32]int64) {
	end, wanted := left[r.Topic][r.Partition]
	if wanted && r.Offset >= end-1 {
		delete(left[r.Topic], r.Partition)
		if len(left[r.Topic]) == 0 {
			delete(left, r.Topic)
		}
	}
	if wanted && r.Offset < end && !r.Attrs.IsControl() {
		l.Records[r.Topic] = append(l.Records[r.Topic], record(r))
	}
}

// compacted says that nothing but compacted topics is left to be read.
func compacted(names kafka.Topics, left map[string]map[int32]int64) bool {
	for topic := range left {
		if topic != names.Definitions() && topic != names.Blobs() && !strings.HasSuffix(topic, ".snapshots") {
			return false
		}
	}
	return true
}

func patience(names kafka.Topics, left map[string]map[int32]int64) time.Duration {
	if compacted(names, left) {
		return idle
	}
	return stuck
}

// Dump writes all records down, one a line, topic by topic.
func (l *Log) Dump(out io.Writer) error {
	w := bufio.NewWriter(out)
	for _, topic := range slices.Sorted(maps.Keys(l.Records)) {
		for i := range l.Records[topic] {
			r := &l.Records[topic][i]
			fmt.Fprintf(w, "%s\tkey=%s\tid=%s\t%s\tseq=%d\tcause=%s\tinput=%d\tproducer=%d/%d\t%s\t%s\n",
				r.place(), r.Key, r.ID, r.Type, r.Sequence, r.Cause, r.Input, r.Producer, r.Epoch, r.Time.Format(time.RFC3339Nano), r.Value)
		}
	}
	return w.Flush()
}
