package producers_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/embedded/embeddedtest"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/producers"
	"github.com/waybill/waybill/schemas"
)

func TestWorkIsReplayedToItsTopic(t *testing.T) {
	cfg := embeddedtest.New(t)
	withTopics(t, cfg)
	p := newPublisher(t, cfg)
	cl, err := cfg.NewClient(kgo.ConsumeTopics(cfg.Topics().Work("greet")), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := kafka.EnsureTopics(t.Context(), cl, []kafka.Spec{cfg.Topics().WorkSpec(shards, "greet")}); err != nil {
		t.Fatal(err)
	}
	pos, err := p.Replay(t.Context(), producers.Record{Topic: cfg.Topics().Work("greet"), Key: []byte("w"), Value: []byte("{}"), Headers: []producers.Header{{Key: "ce_id", Value: []byte("o")}}})
	if err != nil || pos.Aggregate != "" {
		t.Fatal(pos, err)
	}
	if r := read(t, cl, 1)[0]; string(r.Key) != "w" || string(r.Value) != "{}" || len(r.Headers) != 1 {
		t.Errorf("replayed %v", r)
	}
}

func TestWhatOnlyTheOwnerOfAShardWritesIsNotReplayed(t *testing.T) {
	cfg := embeddedtest.New(t)
	p := newPublisher(t, cfg)
	topics := cfg.Topics()
	for _, topic := range []string{
		topics.Events("orchestration"), topics.Completions("orchestration"), topics.Definitions(), topics.Blobs(), topics.DeadLetters(), topics.Work(""), "other",
	} {
		_, err := p.Replay(t.Context(), producers.Record{Topic: topic})
		if invalid, ok := errors.AsType[*producers.InvalidError](err); !ok || invalid.Path != "topic" {
			t.Errorf("%s: %v", topic, err)
		}
	}
}

// written writes a compressed record to another partition than its key's.
func written(t *testing.T, cfg kafka.Config, bytes int) *kgo.Record {
	t.Helper()
	cl, err := cfg.NewClient(kgo.ProducerBatchCompression(kgo.GzipCompression()), kgo.ProducerBatchMaxBytes(96<<20), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	r := &kgo.Record{
		Topic: cfg.Topics().Commands(schemas.AggregateOrchestration), Key: []byte("j-1"), Value: []byte(strings.Repeat(" ", bytes)),
		Partition: (kafka.PartitionFor([]byte("j-1"), shards) + 1) % shards,
		Headers:   []kgo.RecordHeader{{Key: "ce_id", Value: []byte("c")}, {Key: schemas.DeadLetterError, Value: []byte("forged")}},
	}
	if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWhatWasTooLargeToBeKeptWholeIsReplayedFromWhereItLies(t *testing.T) {
	cfg := embeddedtest.New(t)
	reader, p := withTopics(t, cfg), newPublisher(t, cfg)
	lies := written(t, cfg, 10<<20)
	letter := producers.Record{Topic: lies.Topic, Key: []byte("cut"), Partial: true, Partition: lies.Partition, Offset: lies.Offset}
	pos, err := p.Replay(t.Context(), letter)
	if err != nil {
		t.Fatal(err)
	}
	if want := kafka.PartitionFor(lies.Key, shards); pos.Partition != want || pos.Aggregate != schemas.AggregateOrchestration {
		t.Errorf("replayed to %v, want its key's partition, %d", pos, want)
	}
	for _, r := range read(t, reader, 2) {
		if r.Partition == pos.Partition && (string(r.Key) != "j-1" || len(r.Value) != 10<<20 || len(r.Headers) != 1) {
			t.Errorf("replayed with key %s, %d bytes, headers %v", r.Key, len(r.Value), r.Headers)
		}
	}
	for name, change := range map[string]func(*producers.Record){
		"no longer at":       func(r *producers.Record) { r.Offset = 17 },
		"was never written":  func(r *producers.Record) { r.Offset = -1 },
		"cannot be unpacked": func(r *producers.Record) { r.Offset = written(t, cfg, kafka.MaxUnpackedBytes+1).Offset },
	} {
		other := letter
		change(&other)
		_, err := p.Replay(t.Context(), other)
		if invalid, ok := errors.AsType[*producers.InvalidError](err); !ok || !strings.Contains(invalid.Message, name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
