package pubsub_test

import (
	"sync"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/embedded/embeddedtest"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/pubsub"
)

// Each benchmark has the plain client beside it, on the same broker in the same process,
// so that the ratio tells what the Pub/Sub costs. An operation is one record of 400 bytes
// with four headers.

func BenchmarkPublish(b *testing.B) {
	b.Run("one message per call, 256 callers", func(b *testing.B) {
		publisher := benchPublisher(b, benchCluster(b))
		callers(b, func(n int) {
			for range n {
				if err := publisher.Publish(topic, benchMessage()); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("500 messages per call", func(b *testing.B) {
		publisher := benchPublisher(b, benchCluster(b))
		for sent := 0; sent < b.N; sent += 500 {
			messages := make([]*message.Message, min(500, b.N-sent))
			for i := range messages {
				messages[i] = benchMessage()
			}
			if err := publisher.Publish(topic, messages...); err != nil {
				b.Fatal(err)
			}
		}
		rate(b)
	})
	b.Run("plain client, one record per call, 256 callers", func(b *testing.B) {
		client := benchClient(b, benchCluster(b))
		callers(b, func(n int) {
			for range n {
				if err := client.ProduceSync(b.Context(), benchRecord()).FirstErr(); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("plain client, 500 records per call", func(b *testing.B) {
		client := benchClient(b, benchCluster(b))
		for sent := 0; sent < b.N; sent += 500 {
			recs := make([]*kgo.Record, min(500, b.N-sent))
			for i := range recs {
				recs[i] = benchRecord()
			}
			if err := client.ProduceSync(b.Context(), recs...).FirstErr(); err != nil {
				b.Fatal(err)
			}
		}
		rate(b)
	})
}

func BenchmarkSubscribe(b *testing.B) {
	for _, group := range []string{"bench", ""} {
		name := "in a group"
		if group == "" {
			name = "without a group"
		}
		b.Run(name, func(b *testing.B) {
			cluster := benchCluster(b)
			fillBench(b, cluster)
			subscriber, err := pubsub.NewSubscriber(pubsub.SubscriberConfig{Kafka: cluster, Group: group, Start: pubsub.Earliest()})
			if err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			messages, err := subscriber.Subscribe(b.Context(), topic)
			if err != nil {
				b.Fatal(err)
			}
			for range b.N {
				(<-messages).Ack()
			}
			rate(b)
			if err := subscriber.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
	b.Run("plain client in a group", func(b *testing.B) {
		cluster := benchCluster(b)
		fillBench(b, cluster)
		b.ResetTimer()
		client := benchClient(b, cluster, kgo.ConsumeTopics(topic), kgo.ConsumerGroup("bench"),
			kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()))
		for n := 0; n < b.N; {
			fetches := client.PollFetches(b.Context())
			if err := fetches.Err(); err != nil {
				b.Fatal(err)
			}
			n += fetches.NumRecords()
		}
		rate(b)
	})
}

func benchCluster(b *testing.B) kafka.Config {
	b.Helper()
	cluster := embeddedtest.New(b)
	client := benchClient(b, cluster)
	if _, err := kadm.NewClient(client).CreateTopic(b.Context(), 8, -1, nil, topic); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	return cluster
}

func benchClient(b *testing.B, cluster kafka.Config, opts ...kgo.Opt) *kgo.Client {
	b.Helper()
	client, err := cluster.NewClient(opts...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(client.Close)
	return client
}

func benchPublisher(b *testing.B, cluster kafka.Config) *pubsub.Publisher {
	b.Helper()
	publisher, err := pubsub.NewPublisher(pubsub.PublisherConfig{Kafka: cluster})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := publisher.Close(); err != nil {
			b.Error(err)
		}
	})
	return publisher
}

var benchPayload = make([]byte, 400)

func benchMessage() *message.Message {
	msg := message.NewMessage("0191e0c4-7a5b-7f10-8d2e-0a1b2c3d4e5f", benchPayload)
	msg.Metadata = message.Metadata{"ce_id": msg.UUID, "ce_type": "work.complete.v1", "ce_source": "bench", "ce_specversion": "1.0"}
	return msg
}

func benchRecord() *kgo.Record {
	rec, _ := pubsub.Headers{}.Marshal(topic, benchMessage())
	return rec
}

// callers shares b.N among 256 goroutines.
func callers(b *testing.B, publish func(n int)) {
	b.Helper()
	const callers = 256
	var publishing sync.WaitGroup
	for i := range callers {
		publishing.Go(func() { publish((b.N + i) / callers) })
	}
	publishing.Wait()
	rate(b)
}

func rate(b *testing.B) {
	b.Helper()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

func fillBench(b *testing.B, cluster kafka.Config) {
	b.Helper()
	client := benchClient(b, cluster)
	for range b.N {
		client.Produce(b.Context(), benchRecord(), func(_ *kgo.Record, err error) {
			if err != nil {
				b.Error(err)
			}
		})
	}
	if err := client.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
}
