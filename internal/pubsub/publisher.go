package pubsub

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/kafka"
)

// defaultPublishTimeout outlasts the restart of a broker or an election, and is short
// enough for a caller to tell somebody.
const defaultPublishTimeout = 30 * time.Second

var errNilMessage = errors.New("the message is nil")

// PublisherConfig says where and how a Publisher publishes. Only Kafka is needed.
type PublisherConfig struct {
	Kafka kafka.Config
	// Marshaler makes records of messages; Headers unless set.
	Marshaler Marshaler
	// Timeout bounds how long a message may go unacknowledged before Publish gives up
	// on it; 30 s unless set. A message's own context can end its waiting earlier.
	Timeout time.Duration
}

// Publisher is a message.Publisher that writes to Kafka. It is safe for concurrent use.
type Publisher struct {
	writer    *kafka.Writer
	marshaler Marshaler

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup // calls of Publish; grows only under mu and before closed
}

var _ message.Publisher = (*Publisher)(nil)

// NewPublisher makes a Publisher. It does not wait for a broker: what is wrong with the
// connection shows in Publish. The caller closes it.
func NewPublisher(cfg PublisherConfig) (*Publisher, error) {
	if cfg.Marshaler == nil {
		cfg.Marshaler = Headers{}
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultPublishTimeout
	}
	writer, err := cfg.Kafka.NewWriter(
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordDeliveryTimeout(cfg.Timeout),
		// Otherwise a message that a broker was sent, and did not answer for, could be
		// given up by nobody: Publish would hang for as long as the broker is away.
		kgo.AllowIdempotentProduceCancellation(),
	)
	if err != nil {
		return nil, fmt.Errorf("make a publisher: %w", err)
	}
	return &Publisher{writer: writer, marshaler: cfg.Marshaler}, nil
}

// Publish writes all messages to the topic and returns when every in-sync replica has
// them or they were given up: the joined PublishErrors of those that failed. One that
// fails does not keep the others from being written. Messages with the same key, or on a
// topic of one partition, are stored in the order given. The context of each message is
// honoured; cancelled while the message is on its way, the outcome is unknown.
func (p *Publisher) Publish(topic string, messages ...*message.Message) error {
	if !p.enter() {
		return fmt.Errorf("publish to topic %q: publisher: %w", topic, ErrClosed)
	}
	defer p.running.Done()
	client := p.writer.Client()
	errs := make([]error, len(messages))
	var produced sync.WaitGroup
	for i, msg := range messages {
		rec, err := p.record(topic, msg)
		if err != nil {
			errs[i] = err
			continue
		}
		produced.Add(1)
		client.Produce(msg.Context(), rec, func(_ *kgo.Record, err error) {
			if err != nil {
				errs[i] = &PublishError{Topic: topic, UUID: msg.UUID, Err: given(msg.Context().Err(), err)}
			}
			produced.Done()
		})
	}
	produced.Wait()
	for i, err := range errs {
		if err != nil && messages[i] != nil {
			p.writer.Failed(messages[i].Context(), client, err)
			break // what one says of the client they all do
		}
	}
	return errors.Join(errs...)
}

// given says that a context ended where that is why the client gave up, for the client
// itself tells only what it had last run into.
func given(ended, err error) error {
	if ended == nil || errors.Is(err, ended) {
		return err
	}
	return fmt.Errorf("%w: %w", ended, err)
}

func (p *Publisher) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.running.Add(1)
	return true
}

func (p *Publisher) record(topic string, msg *message.Message) (*kgo.Record, error) {
	if msg == nil {
		return nil, &PublishError{Topic: topic, Err: errNilMessage}
	}
	// The client looks at the context only where it has to wait.
	if err := msg.Context().Err(); err != nil {
		return nil, &PublishError{Topic: topic, UUID: msg.UUID, Err: err}
	}
	rec, err := p.marshaler.Marshal(topic, msg)
	if err != nil {
		return nil, &PublishError{Topic: topic, UUID: msg.UUID, Err: fmt.Errorf("marshal: %w", err)}
	}
	rec.Topic = topic
	return rec, nil
}

// Close waits for the calls of Publish that are under way, as long as Timeout if need
// be, and closes the connection. Closing twice is harmless. It never fails.
func (p *Publisher) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.running.Wait()
	p.writer.Close()
	return nil
}
