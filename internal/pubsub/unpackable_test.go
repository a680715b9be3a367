package pubsub_test

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/pubsub"
)

// packs packs everything as these bytes.
type packs []byte

func (p packs) Compress(*bytes.Buffer, []byte, ...kgo.CompressFlag) ([]byte, kgo.CompressionCodecType) {
	return p, kgo.CodecGzip
}

// zipped packs a text that is no record.
func zipped(t *testing.T, text string) packs {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// hostile publishes a batch that nobody can unpack.
func (b *broker) hostile(with kgo.ProducerOpt, values ...[]byte) {
	b.t.Helper()
	cl, err := b.cluster.NewClient(with, kgo.ProducerBatchMaxBytes(96<<20), kgo.ProducerLinger(time.Second))
	if err != nil {
		b.t.Fatal(err)
	}
	defer cl.Close()
	var records []*kgo.Record
	for _, v := range values {
		records = append(records, &kgo.Record{Topic: topic, Value: v})
	}
	if err := cl.ProduceSync(b.t.Context(), records...).FirstErr(); err != nil {
		b.t.Fatal(err)
	}
}

// bomb publishes one that is too large once it is unpacked.
func (b *broker) bomb() {
	b.t.Helper()
	b.hostile(kgo.ProducerBatchCompression(kgo.GzipCompression()), make([]byte, kafka.MaxUnpackedBytes+1))
}

// A client stands before such a batch for ever, and a member of a group before one that is the very first even when
// it is told to go on.
func TestABatchThatNobodyCanUnpackIsDeliveredAsAMessageThatSaysSoAndHoldsNothingUp(t *testing.T) {
	for name, cfg := range map[string]pubsub.SubscriberConfig{"a group": {Group: "g"}, "no group": {Start: pubsub.Earliest()}} {
		for _, before := range []int{0, 2} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBroker(t, 1)
					p := b.publisher(pubsub.PublisherConfig{})
					b.publish(p, "before", before)
					b.bomb()
					b.publish(p, "after", 2)
					messages := b.subscribe(b.subscriber(cfg))
					for range before {
						receiveAndAck(t, messages)
					}
					stand := receiveAndAck(t, messages)
					if why := stand.Metadata.Get(pubsub.HeaderUnpackable); !strings.Contains(why, "in one batch, which cannot be unpacked") {
						t.Fatalf("%v came", stand.Metadata)
					}
					if offset, _ := pubsub.MessageOffset(stand.Context()); offset != int64(before) {
						t.Errorf("it stands at offset %d, want %d", offset, before)
					}
					var after []*message.Message
					for range 2 {
						after = append(after, receiveAndAck(t, messages))
					}
					if after[0].UUID != "after-0" || after[1].UUID != "after-1" {
						t.Errorf("then %s and %s came", after[0].UUID, after[1].UUID)
					}
				})
			})
		}
	}
}

// The embedded broker looks into no batch: what lies in it may be anything.
func TestABatchOfWhateverIsPassedLikeOneThatIsTooLarge(t *testing.T) {
	for name, as := range map[string]packs{"not packed at all": packs("no gzip"), "packed, and no record": zipped(t, "no record")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBroker(t, 1)
				b.hostile(kgo.WithCompressor(as), make([]byte, 1<<10))
				b.publish(b.publisher(pubsub.PublisherConfig{}), "after", 1)
				_, members := newShared(t, b.cluster, "shared")
				shared, err := members.Subscribe(t.Context(), topic)
				if err != nil {
					t.Fatal(err)
				}
				for _, messages := range []<-chan *message.Message{shared, b.subscribe(b.subscriber(pubsub.SubscriberConfig{Group: "g"}))} {
					if stand := receiveAndAck(t, messages); stand.Metadata.Get(pubsub.HeaderUnpackable) == "" {
						t.Errorf("%v came", stand.Metadata)
					}
					if after := receiveAndAck(t, messages); after.UUID != "after-0" {
						t.Errorf("then %s came", after.UUID)
					}
				}
			})
		})
	}
}

// Such a batch was handed out five times, each of its records by itself, and then dropped without a word.
func TestAShareGroupIsGivenOneMessageForABatchThatNobodyCanUnpackAndThenWhatComesBehindIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, 1)
		p := b.publisher(pubsub.PublisherConfig{})
		quarter := make([]byte, kafka.MaxUnpackedBytes/4)
		b.hostile(kgo.ProducerBatchCompression(kgo.GzipCompression()), quarter, quarter, quarter, quarter, quarter)
		b.publish(p, "after", 1)
		_, members := newShared(t, b.cluster, "g")
		messages, err := members.Subscribe(t.Context(), topic)
		if err != nil {
			t.Fatal(err)
		}
		stand := receiveAndAck(t, messages)
		if why := stand.Metadata.Get(pubsub.HeaderUnpackable); !strings.Contains(why, "in one batch, which cannot be unpacked") {
			t.Fatalf("%v came", stand.Metadata)
		}
		if offset, _ := pubsub.MessageOffset(stand.Context()); offset != 0 {
			t.Errorf("it stands at offset %d", offset)
		}
		if after := receiveAndAck(t, messages); after.UUID != "after-0" {
			t.Errorf("then %s came: %v", after.UUID, after.Metadata)
		}
		nothingComes(t, messages, time.Minute)
	})
}
