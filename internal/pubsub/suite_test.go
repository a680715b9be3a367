package pubsub_test

import (
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/kafka/kafkatest"
	"github.com/waybill/waybill/internal/pubsub"
)

// The suite waits through many heartbeats: ten members that join a group one after the
// other, a hundred nacks in a row. Only these waits are shortened.
const (
	suiteHeartbeat = 50 * time.Millisecond
	suiteBackoff   = time.Millisecond
	suiteDrain     = 50 * time.Millisecond
)

// byPayload keeps messages with equal payloads in order, which is what the suite asks of
// a Pub/Sub that guarantees order.
type byPayload struct{ pubsub.Headers }

func (m byPayload) Marshal(topic string, msg *message.Message) (*kgo.Record, error) {
	rec, err := m.Headers.Marshal(topic, msg)
	rec.Key = msg.Payload
	return rec, err
}

type suite struct {
	cluster   kafka.Config
	marshaler pubsub.Marshaler
	start     pubsub.Start
}

// features adds what every Pub/Sub of ours has. A Kafka that is not ours has topics of others, too.
func (s suite) features(f tests.Features) tests.Features {
	f.Persistent = true
	f.GenerateTopicFunc = func(ctx tests.TestContext) string { return s.cluster.Topics().Group("suite", ctx.TestID.String()) }
	return f
}

func (s suite) constructor(group string) tests.PubSubConstructor {
	return func(t *testing.T) (message.Publisher, message.Subscriber) {
		t.Helper()
		return s.new(t, group)
	}
}

func (s suite) new(t *testing.T, group string) (message.Publisher, message.Subscriber) {
	t.Helper()
	publisher, err := pubsub.NewPublisher(pubsub.PublisherConfig{Kafka: s.cluster, Marshaler: s.marshaler})
	if err != nil {
		t.Fatal(err)
	}
	cluster := s.cluster
	if group != "" {
		group = s.cluster.Topics().Group(group)
		cluster.Extra = append(cluster.Extra, kgo.HeartbeatInterval(suiteHeartbeat))
	}
	subscriber, err := pubsub.NewSubscriber(pubsub.SubscriberConfig{
		Kafka: cluster, Group: group, Start: s.start, Drain: suiteDrain,
		Backoff: func(int) time.Duration { return suiteBackoff },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // the suite leaves some open
		closes(t, publisher)
		closes(t, subscriber)
	})
	return publisher, subscriber
}

func TestWatermillSuiteWithAConsumerGroup(t *testing.T) {
	t.Parallel()
	s := suite{cluster: kafkatest.New(t)}
	// Short, for the next test does all this and more.
	tests.TestPubSub(t, s.features(tests.Features{ConsumerGroups: true, ForceShort: true}),
		s.constructor("suite"), s.new)
}

func TestWatermillSuiteInOrder(t *testing.T) {
	t.Parallel()
	s := suite{cluster: kafkatest.New(t), marshaler: byPayload{}}
	tests.TestPubSub(t, s.features(tests.Features{ConsumerGroups: true, GuaranteedOrder: true}),
		s.constructor("suite"), s.new)
}

func TestWatermillSuiteWithoutAConsumerGroup(t *testing.T) {
	t.Parallel()
	s := suite{cluster: kafkatest.New(t), start: pubsub.Earliest()}
	// Short, for there is no group to share the work: in full, one of its tests delivers
	// every one of 5,000 messages to each of 50 subscribers.
	tests.TestPubSub(t, s.features(tests.Features{NewSubscriberReceivesOldMessages: true, ForceShort: true}),
		s.constructor(""), nil)
}
