package pubsub_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/embedded/embeddedtest"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/pubsub"
)

const topic = "parcels"

// patience is fake time: it passes at once when nothing else happens.
const patience = 10 * time.Minute

// broker is a cluster in fake time that can go away. The bubble it lives in fails the
// test when a goroutine is left at its end.
type broker struct {
	t       *testing.T
	cluster kafka.Config
	fake    *kfake.Cluster

	mu    sync.Mutex
	away  bool
	conns []net.Conn
}

func newBroker(t *testing.T, partitions int32) *broker {
	t.Helper()
	cluster, fake := embeddedtest.Virtual(t)
	b := behind(t, cluster, fake)
	if partitions > 0 {
		b.create(topic, partitions)
	}
	return b
}

// behind is another way to the same broker, which can be cut by itself.
func behind(t *testing.T, cluster kafka.Config, fake *kfake.Cluster) *broker {
	t.Helper()
	b := &broker{t: t, cluster: cluster, fake: fake}
	dial := cluster.Dial
	b.cluster.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.away {
			return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
		}
		conn, err := dial(ctx, network, address)
		if err == nil {
			b.conns = append(b.conns, conn)
		}
		return conn, err
	}
	return b
}

// goAway cuts all connections and refuses new ones.
func (b *broker) goAway() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.away = true
	for _, c := range b.conns {
		_ = c.Close()
	}
	b.conns = nil
}

func (b *broker) comeBack() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.away = false
}

// goAwayFor comes back by itself.
func (b *broker) goAwayFor(d time.Duration) {
	b.t.Helper()
	b.goAway()
	back := time.AfterFunc(d, b.comeBack)
	b.t.Cleanup(func() { back.Stop() })
}

func (b *broker) create(topic string, partitions int32) {
	b.t.Helper()
	if err := b.fake.CreateTopic(topic, partitions, nil); err != nil {
		b.t.Fatal(err)
	}
}

func (b *broker) publisher(cfg pubsub.PublisherConfig) *pubsub.Publisher {
	b.t.Helper()
	cfg.Kafka = b.cluster
	p, err := pubsub.NewPublisher(cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { closes(b.t, p) })
	return p
}

func (b *broker) subscriber(cfg pubsub.SubscriberConfig) *pubsub.Subscriber {
	b.t.Helper()
	s := b.unclosedSubscriber(cfg)
	b.t.Cleanup(func() { closes(b.t, s) })
	return s
}

// unclosedSubscriber is for tests in which Close may rightly fail; they have to call it.
func (b *broker) unclosedSubscriber(cfg pubsub.SubscriberConfig) *pubsub.Subscriber {
	b.t.Helper()
	cfg.Kafka = b.cluster
	s, err := pubsub.NewSubscriber(cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

func (b *broker) subscribe(s *pubsub.Subscriber) <-chan *message.Message {
	b.t.Helper()
	messages, err := s.Subscribe(b.t.Context(), topic)
	if err != nil {
		b.t.Fatal(err)
	}
	return messages
}

// publish writes messages named prefix-0 to prefix-(n-1), each with its own name as the key.
func (b *broker) publish(p *pubsub.Publisher, prefix string, n int) []string {
	b.t.Helper()
	var messages []*message.Message
	var names []string
	for i := range n {
		name := fmt.Sprintf("%s-%d", prefix, i)
		names = append(names, name)
		messages = append(messages, parcel(name))
	}
	if err := p.Publish(topic, messages...); err != nil {
		b.t.Fatal(err)
	}
	return names
}

// fill writes n messages to one partition.
func (b *broker) fill(partition int32, n int) {
	b.t.Helper()
	client, err := b.cluster.NewClient(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		b.t.Fatal(err)
	}
	defer client.Close()
	recs := make([]*kgo.Record, n)
	for i := range recs {
		recs[i] = &kgo.Record{Topic: topic, Partition: partition, Value: []byte("x")}
	}
	if err := client.ProduceSync(b.t.Context(), recs...).FirstErr(); err != nil {
		b.t.Fatal(err)
	}
}

// grow gives the topic more partitions.
func (b *broker) grow(partitions int) {
	b.t.Helper()
	client, err := b.cluster.NewClient()
	if err != nil {
		b.t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).UpdatePartitions(b.t.Context(), partitions, topic); err != nil {
		b.t.Fatal(err)
	}
}

func (b *broker) committed(group string) int64 {
	sum := int64(0)
	if info := b.fake.GroupInfo(group); info != nil {
		for _, c := range info.Commits[topic] {
			sum += c.Offset
		}
	}
	return sum
}

func parcel(name string) *message.Message {
	msg := message.NewMessage(name, []byte(name))
	msg.Metadata.Set(pubsub.PartitionKey, name)
	return msg
}

func closes(t *testing.T, c interface{ Close() error }) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// receive takes the next message, without acking it.
func receive(t *testing.T, messages <-chan *message.Message) *message.Message {
	t.Helper()
	select {
	case msg, open := <-messages:
		if !open {
			t.Fatal("the channel is closed")
		}
		return msg
	case <-time.After(patience):
		t.Fatal("no message came")
	}
	return nil
}

func receiveAndAck(t *testing.T, messages <-chan *message.Message) *message.Message {
	t.Helper()
	msg := receive(t, messages)
	if !msg.Ack() {
		t.Fatalf("%s could not be acked", msg.UUID)
	}
	return msg
}

func nothingComes(t *testing.T, messages <-chan *message.Message, within time.Duration) {
	t.Helper()
	select {
	case msg, open := <-messages:
		if !open {
			t.Fatal("the channel is closed")
		}
		t.Fatalf("%s came", msg.UUID)
	case <-time.After(within):
	}
}

func closed(t *testing.T, messages <-chan *message.Message) {
	t.Helper()
	select {
	case msg, open := <-messages:
		if open {
			t.Fatalf("%s came on a channel that should be closed", msg.UUID)
		}
	case <-time.After(patience):
		t.Fatal("the channel stays open")
	}
}

// collector keeps what OnError is told.
type collector struct {
	mu   sync.Mutex
	errs []*pubsub.SubscriptionError
}

func (c *collector) add(err *pubsub.SubscriptionError) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.errs = append(c.errs, err)
}

func (c *collector) first() *pubsub.SubscriptionError {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.errs) == 0 {
		return &pubsub.SubscriptionError{Doing: "nothing was reported"}
	}
	return c.errs[0]
}

func failsOnError(t *testing.T) func(*pubsub.SubscriptionError) {
	t.Helper()
	return func(err *pubsub.SubscriptionError) { t.Error(err) }
}

// tally counts who got what, for readers that run side by side.
type tally struct {
	mu    sync.Mutex
	times map[string]int
	total int
}

// read acks everything that comes, each message a fake millisecond after it came, as
// handlers that run concurrently would. It ends with the channel.
func (c *tally) read(messages <-chan *message.Message) {
	var handlers sync.WaitGroup
	defer handlers.Wait()
	for msg := range messages {
		handlers.Go(func() {
			<-time.After(time.Millisecond)
			c.mu.Lock()
			if c.times == nil {
				c.times = make(map[string]int)
			}
			c.times[msg.UUID]++
			c.total++
			c.mu.Unlock()
			msg.Ack()
		})
	}
}

func (c *tally) distinct() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.times)
}

// repeated is how many deliveries were more than needed.
func (c *tally) repeated() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total - len(c.times)
}

// until waits in fake time for something that happens elsewhere.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(patience)
	for !holds() {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			t.Fatalf("%s: not in %s", what, patience)
		}
	}
}
