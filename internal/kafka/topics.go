package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// DefaultPrefix is the first part of every topic name.
	DefaultPrefix = "waybill"
	// DefaultShards is how many partitions the sharded topics have: chosen once, when they are created.
	DefaultShards = 8
	// MaxMessageBytes is the largest record batch, in bytes, that the topics take.
	// It leaves room for a hard limit on one record well below it.
	MaxMessageBytes = 4 << 20
	// MaxUnpackedBytes is how large a batch may become, in bytes, that came compressed. The
	// broker looks only at what it takes: 4 MiB can be many gigabytes.
	MaxUnpackedBytes = 64 << 20
)

// Topics names the topics below a prefix. The zero Topics uses DefaultPrefix.
type Topics struct {
	Prefix   string
	Embedded bool // on the embedded broker: see blobs
}

// Topics returns the names below the Config's prefix.
func (c Config) Topics() Topics { return Topics{Prefix: c.Prefix, Embedded: c.Embedded} }

func (t Topics) name(parts ...string) string {
	p := t.Prefix
	if p == "" {
		p = DefaultPrefix
	}
	return p + "." + strings.Join(parts, ".")
}

// Commands is where anybody writes commands for an aggregate type.
func (t Topics) Commands(aggregate string) string { return t.name(aggregate, "commands") }

// Events is where only the shard's owner writes an aggregate type's state changes.
func (t Topics) Events(aggregate string) string { return t.name(aggregate, "events") }

// Completions is where only the shard's owner writes ends and refusals.
func (t Topics) Completions(aggregate string) string { return t.name(aggregate, "completions") }

// Snapshots is where the shard's owner writes its checkpoints of an aggregate type.
func (t Topics) Snapshots(aggregate string) string { return t.name(aggregate, "snapshots") }

// Work is where machines ask the agents of an activity type for work.
func (t Topics) Work(activityType string) string { return t.name("work", activityType) }

// Shards carries no records: its consumer group says who should own which shard.
func (t Topics) Shards() string { return t.name("shards") }

// Definitions is compacted: the definitions in force, by key.
func (t Topics) Definitions() string { return t.name("definitions") }

// Blobs is compacted: values that are too large for a record, in chunks.
func (t Topics) Blobs() string { return t.name("blobs") }

// DeadLetters takes records that cannot be decoded.
func (t Topics) DeadLetters() string { return t.name("deadletters") }

// Group names a consumer group below the prefix.
func (t Topics) Group(parts ...string) string { return t.name(parts...) }

// TransactionalID is the identity under which the owner of a shard writes.
func (t Topics) TransactionalID(shard int32) string { return t.name(fmt.Sprintf("shard-%d", shard)) }

// Spec is how one topic is to be created.
type Spec struct {
	Name       string
	Partitions int32
	Configs    map[string]*string
}

func ptr(s string) *string { return &s }

// keep is the configuration of topics that are the source of truth: never deleted by
// age or size, never compacted. The embedded broker cleans every topic by its
// retention once any compacted topic exists, so it has to be said for each.
func keep() map[string]*string {
	return map[string]*string{
		"retention.ms":      ptr("-1"),
		"retention.bytes":   ptr("-1"),
		"cleanup.policy":    ptr("delete"),
		"max.message.bytes": ptr(fmt.Sprint(MaxMessageBytes)),
	}
}

// Specs lists the topics the given aggregate types and activity types need.
func (t Topics) Specs(shards int32, aggregates, activityTypes []string) []Spec {
	var specs []Spec
	for _, a := range aggregates {
		for _, n := range []string{t.Commands(a), t.Events(a), t.Completions(a), t.Snapshots(a)} {
			specs = append(specs, Spec{n, shards, keep()})
		}
	}
	compacted := keep()
	compacted["cleanup.policy"] = ptr("compact")
	specs = append(specs,
		Spec{t.Shards(), shards, keep()},
		Spec{t.Definitions(), 1, compacted},
		Spec{t.Blobs(), shards, t.blobs()},
		Spec{t.DeadLetters(), 1, keep()},
	)
	for _, a := range activityTypes {
		specs = append(specs, t.WorkSpec(shards, a))
	}
	return specs
}

// blobs lets the space of what is removed be freed soon: the newest segment of a topic is never
// compacted, so segments are small, and tombstones need not be kept for readers that lag behind,
// because nobody follows this topic to know what there is. The embedded broker holds a whole
// topic in memory to compact it: there the front of the topic is cut off instead (sweeper).
func (t Topics) blobs() map[string]*string {
	c := keep()
	if t.Embedded {
		return c
	}
	c["cleanup.policy"] = ptr("compact")
	c["segment.bytes"] = ptr(fmt.Sprint(64 << 20))
	c["segment.ms"] = ptr(fmt.Sprint(24 * 3600 * 1000))
	c["delete.retention.ms"] = ptr(fmt.Sprint(24 * 3600 * 1000))
	c["min.cleanable.dirty.ratio"] = ptr("0.1")
	return c
}

// WorkSpec is the topic of one activity type. Work records can always be derived
// again from the events, so a week of them is plenty.
func (t Topics) WorkSpec(partitions int32, activityType string) Spec {
	c := keep()
	c["retention.ms"] = ptr(fmt.Sprint(7 * 24 * 3600 * 1000))
	return Spec{t.Work(activityType), partitions, c}
}

// EnsureTopics creates the topics that are missing and refuses ones that exist with
// another number of partitions: the partition count decides which shard a key
// belongs to, so it is chosen once.
func EnsureTopics(ctx context.Context, cl *kgo.Client, specs []Spec) error {
	adm := kadm.NewClient(cl)
	names := make([]string, len(specs))
	for i, s := range specs {
		names[i] = s.Name
	}
	have, err := adm.ListTopics(ctx, names...)
	if err != nil {
		return fmt.Errorf("list topics: %w", err)
	}
	made := false
	for _, s := range specs {
		if d, ok := have[s.Name]; ok && d.Err == nil {
			if n := int32(len(d.Partitions)); n != s.Partitions {
				return fmt.Errorf("topic %s has %d partitions, but %d are configured; the number is chosen once, when the topics are created: use --shards %d", s.Name, n, s.Partitions, n)
			}
			continue
		}
		_, err := adm.CreateTopic(ctx, s.Partitions, -1, s.Configs, s.Name)
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("create topic %s: %w", s.Name, err)
		}
		made = true
	}
	if !made {
		return nil
	}
	return awaitTopics(ctx, adm, names)
}

// awaitTopics waits until the brokers tell of new topics and their leaders: they answer the
// creation before all of them know.
func awaitTopics(ctx context.Context, adm *kadm.Client, names []string) error {
	for {
		have, err := adm.ListTopics(ctx, names...)
		if err != nil {
			return fmt.Errorf("list topics: %w", err)
		}
		missing := ""
		for _, n := range names {
			if d, ok := have[n]; !ok || d.Err != nil || !led(d) {
				missing = n
			}
		}
		if missing == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("topic %s was created, but no broker leads all of its partitions yet: %w", missing, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func led(d kadm.TopicDetail) bool {
	for _, p := range d.Partitions {
		if p.Err != nil || p.Leader < 0 {
			return false
		}
	}
	return len(d.Partitions) > 0
}

// keyed places records by key. Only records without a key make it keep anything, so that
// it is safe for concurrent use here.
var keyed = kgo.StickyKeyPartitioner(nil).ForTopic("")

// PartitionFor is the partition of n to which a key belongs: murmur2, as Java and
// franz-go clients place keys. An empty key has a place too, a missing one has not.
// It is safe for concurrent use.
func PartitionFor(key []byte, n int32) int32 {
	if key == nil {
		key = []byte{}
	}
	return int32(keyed.Partition(&kgo.Record{Key: key}, int(n)))
}
