package pubsub_test

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/waybill/waybill/internal/kafka/kafkatest"
	"github.com/waybill/waybill/internal/pubsub"
)

// The tests in fake time cannot end with a goroutine left; this one says the same of
// connections of a real network.
func TestNothingIsLeftRunningAfterClosing(t *testing.T) {
	cluster := kafkatest.New(t)
	topic, group := cluster.Topics().Group("parcels"), cluster.Topics().Group("g")
	before := goleak.IgnoreCurrent()
	publisher, err := pubsub.NewPublisher(pubsub.PublisherConfig{Kafka: cluster})
	if err != nil {
		t.Fatal(err)
	}
	grouped := cluster
	grouped.Extra = append(grouped.Extra, kgo.HeartbeatInterval(50*time.Millisecond))
	for _, cfg := range []pubsub.SubscriberConfig{
		{Kafka: grouped, Group: group, Drain: 10 * time.Millisecond},
		{Kafka: cluster, Start: pubsub.Earliest()},
	} {
		subscriber, err := pubsub.NewSubscriber(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := subscriber.SubscribeInitialize(topic); err != nil {
			t.Fatal(err)
		}
		if err := publisher.Publish(topic, parcel("one"), parcel("two")); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancelled, err := subscriber.Subscribe(ctx, topic)
		if err != nil {
			t.Fatal(err)
		}
		receiveAndAck(t, cancelled)
		cancel()
		for range cancelled { // one that was on its way may still come
		}
		messages, err := subscriber.Subscribe(t.Context(), topic)
		if err != nil {
			t.Fatal(err)
		}
		receive(t, messages) // and never answer
		closes(t, subscriber)
	}
	closes(t, publisher)
	goleak.VerifyNone(t, before,
		// The broker's side of a connection notices only when its fetch has waited long enough.
		goleak.IgnoreAnyFunction("github.com/twmb/franz-go/pkg/kfake.(*clientConn).read"),
		goleak.IgnoreAnyFunction("github.com/twmb/franz-go/pkg/kfake.(*clientConn).write"),
	)
}
