package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
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

// IsWork says whether a topic is where some activity type's agents are asked for work.
func (t Topics) IsWork(topic string) bool { return strings.HasPrefix(topic, t.Work("")) }

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
		anyTime:             ptr(fmt.Sprint(math.MaxInt64)),
	}
}

// anyTime is how far ahead of a broker's clock a record's own time may be. It is an hour unless set: a
// machine whose clock is ahead by more could write nothing, and its shards would stand still. Nothing
// of ours goes by that time. Brokers before 3.6 do not know the setting, and take any time.
const anyTime = "message.timestamp.after.max.ms"

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

// minInSync is how many copies a record has to have before it is acknowledged.
const minInSync = "min.insync.replicas"

// settings are the configuration that a topic with so many replicas should have.
func (s Spec) settings(replication int16) map[string]*string {
	c := maps.Clone(s.Configs)
	if c == nil {
		c = make(map[string]*string)
	}
	c[minInSync] = ptr("1")
	if replication >= enough {
		c[minInSync] = ptr("2")
	}
	return c
}

func sortedKeys(m map[string]*string) []string { return slices.Sorted(maps.Keys(m)) }

// Creation says how topics are created.
type Creation struct {
	// Replication is how many replicas they get; the brokers' default unless set.
	Replication int16
	// DryRun only asks the brokers whether they would.
	DryRun bool
}

// PartitionsError is a topic with another number of partitions than the shards that are configured.
type PartitionsError struct {
	Topic      string
	Have, Want int32
}

// Error implements error.
func (e *PartitionsError) Error() string {
	return fmt.Sprintf("topic %s has %d partitions, but %d are configured; the number is chosen once, when the topics are created: use --shards %d", e.Topic, e.Have, e.Want, e.Have)
}

// EnsureTopics creates the topics that are missing and refuses ones that exist with
// another number of partitions: the partition count decides which shard a key
// belongs to, so it is chosen once.
func EnsureTopics(ctx context.Context, cl *kgo.Client, specs []Spec) error {
	_, err := Creation{}.Create(ctx, cl, specs)
	return err
}

// Create creates the topics that are missing, returns them, and refuses ones that exist with another
// number of partitions.
func (c Creation) Create(ctx context.Context, cl *kgo.Client, specs []Spec) ([]TopicState, error) {
	adm := kadm.NewClient(cl)
	have, err := adm.ListTopics(ctx, names(specs)...)
	if err != nil {
		return nil, Explain(fmt.Errorf("list the topics %s: %w", some(names(specs)), err))
	}
	var missing []Spec
	for _, s := range specs {
		d, ok := have[s.Name]
		if !ok || errors.Is(d.Err, kerr.UnknownTopicOrPartition) {
			missing = append(missing, s)
			continue
		}
		if errors.Is(d.Err, kerr.TopicAuthorizationFailed) {
			return nil, Explain(fmt.Errorf("topic %s: %w", s.Name, d.Err))
		}
		if n := int32(len(d.Partitions)); d.Err == nil && n != s.Partitions {
			return nil, &PartitionsError{s.Name, n, s.Partitions}
		}
	}
	if len(missing) == 0 {
		return nil, nil
	}
	made, err := c.create(ctx, adm, missing)
	if err != nil || c.DryRun {
		return made, err
	}
	return made, awaitTopics(ctx, adm, names(specs))
}

func (c Creation) create(ctx context.Context, adm *kadm.Client, missing []Spec) ([]TopicState, error) {
	replication, err := c.replication(ctx, adm, missing[0])
	if err != nil {
		return nil, err
	}
	create := asking(adm.CreateTopics)
	if c.DryRun {
		create = adm.ValidateCreateTopics
	}
	var made []TopicState
	for _, s := range missing {
		_, err := create.topic(ctx, s, cmp.Or(c.Replication, -1), s.settings(replication))
		if errors.Is(err, kerr.TopicAlreadyExists) {
			continue // somebody else was quicker
		}
		if err != nil {
			return made, Explain(fmt.Errorf("create topic %s: %w", s.Name, err))
		}
		made = append(made, TopicState{Name: s.Name, State: TopicOK, Partitions: int(s.Partitions), Replication: int(replication), spec: s})
	}
	return made, nil
}

// replication is how many replicas a topic will get: how many have to have a record depends on it.
func (c Creation) replication(ctx context.Context, adm *kadm.Client, s Spec) (int16, error) {
	if c.Replication > 0 {
		return c.Replication, nil
	}
	answer, err := asking(adm.ValidateCreateTopics).topic(ctx, s, -1, s.Configs)
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return 0, Explain(fmt.Errorf("create topic %s: %w", s.Name, err))
	}
	return answer.ReplicationFactor, nil
}

// asking asks for topics, or whether they could be made.
type asking func(ctx context.Context, partitions int32, replication int16, configs map[string]*string, topics ...string) (kadm.CreateTopicResponses, error)

// topic asks for one, and once more without the setting that older brokers do not know.
func (ask asking) topic(ctx context.Context, s Spec, replication int16, configs map[string]*string) (kadm.CreateTopicResponse, error) {
	for {
		answers, err := ask(ctx, s.Partitions, replication, configs, s.Name)
		if err == nil {
			err = because(answers[s.Name])
		}
		if _, asked := configs[anyTime]; !asked || !errors.Is(err, kerr.InvalidConfig) {
			return answers[s.Name], err
		}
		configs = maps.Clone(configs)
		delete(configs, anyTime)
	}
}

// because is the error of an answer with what the broker says of it.
func because(a kadm.CreateTopicResponse) error {
	if a.Err == nil || a.ErrMessage == "" {
		return a.Err
	}
	return fmt.Errorf("%w (%s)", a.Err, a.ErrMessage)
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
			missing = unserved(ctx, adm, names)
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

// unserved is a topic with a partition whose leader does not know yet that it is: it is told of its
// part later than the metadata say so, and refuses records until then.
func unserved(ctx context.Context, adm *kadm.Client, names []string) string {
	ends, err := adm.ListEndOffsets(ctx, names...)
	if err != nil {
		return names[0]
	}
	topic := ""
	ends.Each(func(o kadm.ListedOffset) {
		// Who may not ask has no way to know.
		if kerr.IsRetriable(o.Err) {
			topic = o.Topic
		}
	})
	return topic
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
