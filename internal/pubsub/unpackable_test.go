package pubsub_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/pubsub"
)

// bomb publishes a batch that nobody can unpack.
func (b *broker) bomb() {
	b.t.Helper()
	cl, err := b.cluster.NewClient(kgo.ProducerBatchCompression(kgo.GzipCompression()), kgo.ProducerBatchMaxBytes(96<<20))
	if err != nil {
		b.t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(b.t.Context(), &kgo.Record{Topic: topic, Value: make([]byte, kafka.MaxUnpackedBytes+1)}).FirstErr(); err != nil {
		b.t.Fatal(err)
	}
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
					if why := stand.Metadata.Get(pubsub.HeaderUnpackable); !strings.Contains(why, "in one batch of more than 67108864 bytes") {
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

// Such a batch was handed out five times, each of its records by itself, and then dropped without a word.
func TestAShareGroupIsGivenOneMessageForABatchThatNobodyCanUnpackAndThenWhatComesBehindIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, 1)
		p := b.publisher(pubsub.PublisherConfig{})
		cl, err := b.cluster.NewClient(kgo.ProducerBatchCompression(kgo.GzipCompression()), kgo.ProducerBatchMaxBytes(96<<20), kgo.ProducerLinger(time.Second))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		var parts []*kgo.Record
		for range 5 {
			parts = append(parts, &kgo.Record{Topic: topic, Value: make([]byte, kafka.MaxUnpackedBytes/4)})
		}
		if err := cl.ProduceSync(t.Context(), parts...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		b.publish(p, "after", 1)
		_, members := newShared(t, b.cluster, "g")
		messages, err := members.Subscribe(t.Context(), topic)
		if err != nil {
			t.Fatal(err)
		}
		stand := receiveAndAck(t, messages)
		if why := stand.Metadata.Get(pubsub.HeaderUnpackable); !strings.Contains(why, "in one batch of more than 67108864 bytes") {
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
