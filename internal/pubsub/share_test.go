package pubsub_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/waybill/waybill/internal/embedded/embeddedtest"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/pubsub"
)

// newShared makes a publisher and a member of a share group.
func newShared(t *testing.T, cluster kafka.Config, group string) (message.Publisher, message.Subscriber) {
	t.Helper()
	publisher, err := pubsub.NewPublisher(pubsub.PublisherConfig{Kafka: cluster})
	if err != nil {
		t.Fatal(err)
	}
	subscriber, err := pubsub.NewShareSubscriber(pubsub.ShareSubscriberConfig{
		Kafka: cluster, Group: group, Backoff: func(int) time.Duration { return suiteBackoff },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		closes(t, publisher)
		closes(t, subscriber)
	})
	return publisher, subscriber
}

// initialized makes the suite create its topics, as it does for other subscribers.
type initialized struct {
	*pubsub.ShareSubscriber
	topics *pubsub.Subscriber
}

func (i initialized) SubscribeInitialize(topic string) error {
	return i.topics.SubscribeInitialize(topic)
}

// The suite nacks more often than the broker's default delivers a record, and closes and
// opens subscribers faster than its default lock ends.
func TestWatermillSuiteWithAShareGroup(t *testing.T) {
	t.Parallel()
	cluster := embeddedtest.New(t, kfake.BrokerConfigs(map[string]string{"group.share.delivery.count.limit": "1000"}))
	construct := func(t *testing.T, group string) (message.Publisher, message.Subscriber) {
		t.Helper()
		publisher, subscriber := newShared(t, cluster, group)
		topics, err := pubsub.NewSubscriber(pubsub.SubscriberConfig{Kafka: cluster})
		if err != nil {
			t.Fatal(err)
		}
		return publisher, initialized{subscriber.(*pubsub.ShareSubscriber), topics}
	}
	tests.TestPubSub(t, tests.Features{ConsumerGroups: true, Persistent: true, ForceShort: true},
		func(t *testing.T) (message.Publisher, message.Subscriber) { t.Helper(); return construct(t, "suite") }, construct)
}

func TestMoreMembersThanPartitionsAllWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster, _ := embeddedtest.Virtual(t)
		publisher, first := newShared(t, cluster, "workers")
		initialize(t, cluster, "work", 8)
		ctx, stop := context.WithCancel(t.Context())
		var busy sync.WaitGroup
		var mu sync.Mutex
		handled := map[int]int{}
		member := func(n int, s message.Subscriber) {
			messages, err := s.Subscribe(ctx, "work")
			if err != nil {
				t.Fatal(err)
			}
			busy.Go(func() {
				for msg := range messages {
					<-time.After(time.Second) // one at a time
					mu.Lock()
					handled[n]++
					mu.Unlock()
					msg.Ack()
				}
			})
		}
		member(0, first)
		for n := 1; n < 20; n++ {
			_, s := newShared(t, cluster, "workers")
			member(n, s)
		}
		<-time.After(time.Minute) // for everybody to join
		for i := range 200 {
			msg := message.NewMessage(fmt.Sprint(i), nil)
			msg.Metadata.Set(pubsub.PartitionKey, fmt.Sprint(i))
			if err := publisher.Publish("work", msg); err != nil {
				t.Fatal(err)
			}
		}
		// 200 s of work on 20 members, and somewhat longer where a partition with more messages than
		// others has two of them and not three.
		<-time.After(30 * time.Second)
		mu.Lock()
		total := 0
		for _, n := range handled {
			total += n
		}
		if len(handled) != 20 || total != 200 {
			t.Errorf("%d of 20 members have handled %d of 200 messages: %v", len(handled), total, handled)
		}
		mu.Unlock()
		stop()
		busy.Wait()
	})
}

func TestWhatIsOutWhenAMemberEndsGoesToAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster, _ := embeddedtest.Virtual(t)
		publisher, first := newShared(t, cluster, "workers")
		initialize(t, cluster, "work", 1)
		if err := publisher.Publish("work", message.NewMessage("1", nil)); err != nil {
			t.Fatal(err)
		}
		messages, err := first.Subscribe(t.Context(), "work")
		if err != nil {
			t.Fatal(err)
		}
		<-messages // never acked
		closes(t, first)
		_, second := newShared(t, cluster, "workers")
		messages, err = second.Subscribe(t.Context(), "work")
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		msg := <-messages
		if d := time.Since(began); msg.UUID != "1" || d > 10*time.Second {
			t.Fatalf("%s came after %s: the broker waited for the lock", msg.UUID, d)
		}
		msg.Ack()
	})
}

// Nothing is taken while nothing is wanted, so that it goes to a member that wants it.
func TestNothingIsTakenUnlessItIsWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster, _ := embeddedtest.Virtual(t)
		publisher, free := newShared(t, cluster, "workers")
		initialize(t, cluster, "work", 1)
		busy, err := pubsub.NewShareSubscriber(pubsub.ShareSubscriberConfig{
			Kafka: cluster, Group: "workers",
			Wanted: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		})
		if err != nil {
			t.Fatal(err)
		}
		none, err := busy.Subscribe(t.Context(), "work")
		if err != nil {
			t.Fatal(err)
		}
		messages, err := free.Subscribe(t.Context(), "work")
		if err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			if err := publisher.Publish("work", message.NewMessage(fmt.Sprint(i), nil)); err != nil {
				t.Fatal(err)
			}
		}
		for range 20 {
			select {
			case msg := <-messages:
				msg.Ack()
			case <-none:
				t.Fatal("a member took what it did not want")
			}
		}
		closes(t, busy)
	})
}

func TestABrokerWithoutShareGroups(t *testing.T) {
	cluster := embeddedtest.New(t, kfake.MaxVersions(kversion.V3_9_0()))
	err := pubsub.ConfigureShareGroup(t.Context(), cluster, "workers")
	if _, ok := err.(*pubsub.NoShareGroupsError); !ok { //nolint:errorlint // it is not wrapped
		t.Fatalf("got %v", err)
	}
}

func initialize(t *testing.T, cluster kafka.Config, topic string, partitions int32) {
	t.Helper()
	s, err := pubsub.NewSubscriber(pubsub.SubscriberConfig{Kafka: cluster, Partitions: partitions})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SubscribeInitialize(topic); err != nil {
		t.Fatal(err)
	}
}
