package pubsub

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/kafka"
)

const (
	// defaultDrain is long enough for a handler that is nearly done and short enough
	// for a group to wait for it: a rebalance stands still meanwhile.
	defaultDrain = time.Second
	// defaultCommitInterval is how much work a crash repeats at most, in time. Nothing is
	// committed while nothing is acked, so a short one costs an idle process nothing.
	defaultCommitInterval = 250 * time.Millisecond
	// defaultRefresh bounds how late a new partition or topic is noticed.
	defaultRefresh = 10 * time.Second

	// initializeTimeout outlasts the restart of a broker.
	initializeTimeout = 30 * time.Second

	firstBackoff = 10 * time.Millisecond
	lastBackoff  = time.Second
)

// SubscriberConfig says what a Subscriber reads and how. Only Kafka is needed.
type SubscriberConfig struct {
	Kafka kafka.Config
	// Group is the consumer group that the subscriptions join. Without one, each
	// subscription reads all partitions by itself and commits nothing.
	Group string
	// InstanceID makes the members static: a restart within the session timeout takes
	// the partitions back without a rebalance. It must be unique among the group's
	// processes. The topic is appended to it, for every subscription is a member of its
	// own; so a Subscriber with an InstanceID can hold one subscription per topic.
	InstanceID string
	// Start says where to begin without a committed position.
	Start Start
	// Unmarshaler makes messages of records; Headers unless set.
	Unmarshaler Unmarshaler
	// Undecodable is handed what the Unmarshaler refuses, with its error. Returning nil
	// means that the record has been dealt with, in a dead-letter topic perhaps, and the
	// partition goes on. Otherwise, or without this function, the record is tried again and
	// again. The context ends when the partition is taken away; the function must then return.
	Undecodable func(ctx context.Context, rec *kgo.Record, err error) error
	// Backoff is how long to wait before a message that was nacked is delivered again,
	// given how often it was in a row (from 1); 10 ms doubling up to 1 s unless set. The
	// rest of its partition waits with it.
	Backoff func(nacks int) time.Duration
	// Drain is how long, when a subscription ends or a partition moves to another member,
	// to wait for the Ack of messages already delivered, so that they are not repeated;
	// 1 s unless set, none if negative. It must stay well below the session timeout of 6 s.
	Drain time.Duration
	// CommitInterval is how long after an Ack the position is committed in the background,
	// together with all that was acked meanwhile; 250 ms unless set.
	CommitInterval time.Duration
	// Refresh is how often to look for new partitions; 10 s unless set.
	Refresh time.Duration
	// Partitions is how many SubscribeInitialize gives a topic that does not exist;
	// kafka.DefaultShards unless set.
	Partitions int32
	// OnError is told what goes wrong in a subscription that keeps trying, for there is
	// nobody to return it to. It is called concurrently and must not block.
	OnError func(*SubscriptionError)
}

// Subscriber is a message.Subscriber that reads from Kafka. It is safe for concurrent use.
type Subscriber struct {
	cfg  SubscriberConfig
	open open[*subscription]
}

var (
	_ message.Subscriber           = (*Subscriber)(nil)
	_ message.SubscribeInitializer = (*Subscriber)(nil)
)

// NewSubscriber makes a Subscriber. It connects to nothing yet.
func NewSubscriber(cfg SubscriberConfig) (*Subscriber, error) {
	if cfg.Group != "" && cfg.Start.kind == startFrom {
		return nil, fmt.Errorf("group %q: a group begins where it has committed, so it cannot start from given offsets", cfg.Group)
	}
	if cfg.Group == "" && cfg.InstanceID != "" {
		return nil, fmt.Errorf("instance ID %q: only a member of a group has one", cfg.InstanceID)
	}
	return &Subscriber{cfg: cfg.withDefaults()}, nil
}

func (c SubscriberConfig) withDefaults() SubscriberConfig {
	if c.Unmarshaler == nil {
		c.Unmarshaler = Headers{}
	}
	if c.Backoff == nil {
		c.Backoff = backoff
	}
	if c.Drain == 0 {
		c.Drain = defaultDrain
	}
	if c.CommitInterval == 0 {
		c.CommitInterval = defaultCommitInterval
	}
	if c.Refresh == 0 {
		c.Refresh = defaultRefresh
	}
	if c.Partitions == 0 {
		c.Partitions = kafka.DefaultShards
	}
	if c.OnError == nil {
		c.OnError = func(*SubscriptionError) {}
	}
	return c
}

func backoff(nacks int) time.Duration {
	d := firstBackoff
	for ; nacks > 1 && d < lastBackoff; nacks-- {
		d *= 2
	}
	return min(d, lastBackoff)
}

// Subscribe delivers the topic's messages to the channel it returns, at most one per
// partition that is neither acked nor nacked. A topic that does not exist is waited for.
// When ctx ends, or the Subscriber is closed, the subscription stops delivering, gives
// messages already delivered their Drain, commits, leaves the group and closes the
// channel; it never waits for somebody to read from the channel. The contexts of the
// messages descend from ctx and end with their Ack or Nack, at the latest with the Drain.
//
// With a group, Subscribe returns at once. Without one, it returns when it knows where
// to begin, or with the error why it does not.
func (s *Subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	if topic == "" {
		return nil, errors.New("subscribe: the topic's name is empty")
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("subscribe to topic %q: %w", topic, err)
	}
	sub, err := newSubscription(ctx, s.cfg, topic)
	if err != nil {
		return nil, fmt.Errorf("subscribe to topic %q: %w", topic, err)
	}
	// From here on Close knows it and can stop it, even while it looks for its beginning.
	if !s.open.remember(sub) {
		err = ErrClosed
	} else if err = sub.locate(); err == nil {
		go func() {
			sub.run(ctx)
			s.open.forget(sub)
		}()
		return sub.out, nil
	}
	sub.stop()
	err = errors.Join(err, sub.leave(ctx, nil))
	s.open.forget(sub)
	return nil, fmt.Errorf("subscribe to topic %q: %w", topic, err)
}

// SubscribeInitialize creates the topic, with SubscriberConfig.Partitions and the
// broker's defaults, unless it exists. It gives up after 30 s.
func (s *Subscriber) SubscribeInitialize(topic string) error {
	ctx, cancel := context.WithTimeout(context.Background(), initializeTimeout)
	defer cancel()
	client, err := s.cfg.Kafka.NewClient()
	if err != nil {
		return fmt.Errorf("initialize topic %q: %w", topic, err)
	}
	defer client.Close()
	_, err = kadm.NewClient(client).CreateTopic(ctx, s.cfg.Partitions, -1, nil, topic)
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("initialize topic %q with %d partitions: %w", topic, s.cfg.Partitions, err)
	}
	return nil
}

// Close ends all subscriptions as Subscribe describes, side by side, and returns when
// they have ended, with what kept them from committing or leaving their group: messages
// acked since the last commit then come again. With the broker away it takes up to
// Drain and some 3 s. Closing again waits likewise and returns the same.
func (s *Subscriber) Close() error { return s.open.close() }
