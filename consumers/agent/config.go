package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/pubsub"
)

const (
	// EnvBrokers is the environment variable that says where the log is, host:port separated
	// by commas, if the Config does not.
	EnvBrokers = "WAYBILL_BROKERS"
	// EnvPrefix is the environment variable with the first part of the topics' names, if the
	// Config does not have it.
	EnvPrefix = "WAYBILL_PREFIX"

	// DefaultGrace is how long an agent that has to stop lets its processors go on.
	DefaultGrace = 10 * time.Second
	// lastWords is how long processors have, once their contexts have ended, to return.
	lastWords = time.Second
	// defaultLease is the lease of a claim where the work record does not say it.
	defaultLease = 10 * time.Second
)

// Config says what an agent does and how it reaches the log. Name and, for Run, Type are needed.
type Config struct {
	// Name tells agents apart in the status of an activity. A process keeps its name when it
	// is started again.
	Name string
	// Type is the activity type that Run's processor carries out.
	Type string
	// Concurrency is how many activities Run carries out at once; DefaultConcurrency unless set.
	Concurrency int

	// Brokers and Prefix say where the log is; otherwise the environment does.
	Brokers []string
	Prefix  string
	// Kafka has the remaining settings of the connection. Its Brokers and Prefix count if
	// those above are not set.
	Kafka kafka.Config

	// ConsumerGroup makes the agent a member of a consumer group even where the broker has share
	// groups: all agents of a type must take their work in the same way, and clients of other
	// languages may not know share groups yet.
	ConsumerGroup bool

	// Fetchers is how many records of a type may be on their way from a share group at once, at
	// most a fourth of the slots; 1 unless set. Each is a member of its own and keeps a slot while
	// it waits, so that an agent with quick work does not wait for the broker after each piece.
	Fetchers int

	// Idle is after how long without work of a type the agent leaves that type's share group, to
	// join it again when there is some: a process with agents of many types that are seldom asked
	// for spares their memberships. Zero: it is a member from the beginning to the end. A
	// consumer group is never left for that.
	Idle time.Duration

	// Subscriber and Publisher replace the connection to Kafka by any Watermill Pub/Sub that
	// keeps the metadata (ce_ headers) and, as the metadata entry "partition_key", the key.
	// The subscriber must be a member of a group, so that each record goes to one agent.
	// Whoever sets them closes them. Otherwise the agent is a member of a share group where
	// the broker has them, so that more agents than partitions work, else of a consumer group.
	Subscriber message.Subscriber
	Publisher  message.Publisher
	// Cancellations reads the work topics again, all of each, from when the agent starts, so
	// that a cancellation reaches an agent that has no slot free. Without one, where
	// Subscriber is set, cancellations are seen in their turn.
	Cancellations message.Subscriber

	// MaxPayload is the largest output, in bytes; blob.DefaultMax unless set. From 256 KiB on it
	// is kept apart from the report.
	MaxPayload int64
	// Grace is how long, when the agent has to stop, its processors may go on before their
	// contexts end; DefaultGrace unless set, none if negative.
	Grace time.Duration
	// Tracer makes a span of each attempt, in the trace of whoever asked for the work; none
	// unless set.
	Tracer trace.Tracer
	// Redact takes secrets out of the errors that are reported: they are kept on the log and
	// shown to everybody.
	Redact func(string) string
	// Log takes what there is nobody to return to: retries of publishing, records that
	// cannot be read, panics. slog.Default unless set.
	Log *slog.Logger
}

// complete fills in defaults, in this one place, and says what is missing.
func (c Config) complete() (Config, error) {
	c.Kafka.Prefix = cmp.Or(c.Prefix, c.Kafka.Prefix, os.Getenv(EnvPrefix))
	c.Grace = cmp.Or(c.Grace, DefaultGrace)
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Tracer == nil {
		c.Tracer = noop.NewTracerProvider().Tracer("")
	}
	if c.Redact == nil {
		c.Redact = func(text string) string { return text }
	}
	if c.Name == "" {
		return c, errors.New("agent: Config.Name is missing: a name that the process keeps when it is started again")
	}
	if (c.Subscriber == nil) != (c.Publisher == nil) {
		return c, fmt.Errorf("agent %s: Config has a Subscriber or a Publisher, but not both", c.Name)
	}
	if c.Subscriber != nil {
		return c, nil
	}
	if len(c.Brokers) > 0 {
		c.Kafka.Brokers = c.Brokers
	}
	if env := os.Getenv(EnvBrokers); len(c.Kafka.Brokers) == 0 && env != "" {
		c.Kafka.Brokers = strings.Split(env, ",")
		if err := c.Kafka.Security.FromEnv(os.LookupEnv); err != nil {
			return c, fmt.Errorf("agent: %w", err)
		}
	}
	if err := c.Kafka.Security.Check(c.Kafka.Brokers); err != nil {
		return c, fmt.Errorf("agent: %w", err)
	}
	if len(c.Kafka.Brokers) == 0 {
		return c, fmt.Errorf("agent %s: no brokers: set Config.Brokers or %s", c.Name, EnvBrokers)
	}
	c.Kafka.ClientID = cmp.Or(c.Kafka.ClientID, c.Name)
	return c, nil
}

// Run carries out activities of cfg.Type, taken from the work topic, until ctx ends; see
// Pool.Serve.
func Run(ctx context.Context, cfg Config, p Processor) error {
	if cfg.Type == "" {
		return errors.New("agent: Config.Type is missing: the activity type to carry out")
	}
	if p == nil {
		return errors.New("agent: the processor is nil")
	}
	pool := NewPool(cfg.Log)
	pool.Register(cfg.Type, p, cfg.Concurrency)
	return pool.Serve(ctx, cfg)
}

// transport is where work comes from and reports go to.
type transport struct {
	publisher message.Publisher
	// work makes the source of a type's work; wanted returns when more of it is wanted.
	work      func(ctx context.Context, typ string, wanted func(context.Context) error) (source, error)
	cancelled message.Subscriber // nil if there is none
	// watcher sees all that is written to work topics; nil if there is none.
	watcher func(ctx context.Context, topics []string, handle func(*kgo.Record)) (*pubsub.Watcher, error)

	mu      sync.Mutex
	closers []*closer
}

// closer is something that is closed with the transport, or before.
type closer struct{ close func() error }

// source is where the work of a type comes from.
type source struct {
	message.Subscriber
	// shared is a source that holds nothing back: it is to be told at once that a message
	// has arrived, and then forgets it.
	shared bool
	// leave closes it.
	leave func() error
}

func (c Config) transport() (*transport, error) {
	if c.Subscriber != nil {
		return &transport{
			publisher: c.Publisher, cancelled: c.Cancellations,
			work: func(context.Context, string, func(context.Context) error) (source, error) {
				return source{Subscriber: c.Subscriber}, nil
			},
		}, nil
	}
	t := &transport{}
	publisher, err := pubsub.NewPublisher(pubsub.PublisherConfig{Kafka: c.Kafka})
	if err != nil {
		return nil, fmt.Errorf("agent %s: %w", c.Name, err)
	}
	t.publisher = publisher
	t.closes(publisher.Close)
	onError := c.onError()
	t.watcher = func(ctx context.Context, topics []string, handle func(*kgo.Record)) (*pubsub.Watcher, error) {
		return pubsub.NewWatcher(ctx, pubsub.WatcherConfig{Kafka: c.Kafka, Topics: topics, Handle: handle, OnError: onError})
	}
	t.work = func(ctx context.Context, typ string, wanted func(context.Context) error) (source, error) {
		s, err := c.source(ctx, typ, wanted, onError)
		if err == nil {
			s.leave = t.closes(s.Close)
		}
		return s, err
	}
	return t, nil
}

// quiet is how long the same trouble of a subscription is not told again: a broker that is
// away is met at every try.
const quiet = 30 * time.Second

// onError logs what goes wrong in subscriptions.
func (c Config) onError() func(*pubsub.SubscriptionError) {
	type trouble struct{ topic, doing string }
	var mu sync.Mutex
	told := map[trouble]time.Time{}
	return func(err *pubsub.SubscriptionError) {
		mu.Lock()
		key := trouble{err.Topic, err.Doing}
		again := time.Since(told[key]) < quiet
		if !again {
			told[key] = time.Now()
		}
		mu.Unlock()
		if !again {
			c.Log.Warn("the subscription goes on", "agent", c.Name, "error", kafka.Explain(err))
		}
	}
}

// source is a member of a share group where the broker has them, else of a consumer group.
func (c Config) source(ctx context.Context, typ string, wanted func(context.Context) error, onError func(*pubsub.SubscriptionError)) (source, error) {
	group := c.Kafka.Topics().Group("share", typ)
	var err error = &pubsub.NoShareGroupsError{Reason: "so it is configured"}
	if !c.ConsumerGroup {
		err = pubsub.ConfigureShareGroup(ctx, c.Kafka, group)
	}
	if err == nil {
		s, err := pubsub.NewShareSubscriber(pubsub.ShareSubscriberConfig{
			Kafka: c.Kafka, Group: group, Wanted: wanted, OnError: onError,
		})
		return source{Subscriber: s, shared: true}, err
	}
	none, ok := errors.AsType[*pubsub.NoShareGroupsError](err)
	if !ok {
		return source{}, err
	}
	c.Log.InfoContext(ctx, "work comes through a consumer group: no more agents work than the topic has partitions", "agent", c.Name, "type", typ, "reason", none.Reason)
	s, err := pubsub.NewSubscriber(pubsub.SubscriberConfig{
		Kafka: c.Kafka, Group: c.Kafka.Topics().Group("agents", typ), OnError: onError,
	})
	return source{Subscriber: s}, err
}

// closes has something closed with the transport. What it returns closes it before then.
func (t *transport) closes(f func() error) (early func() error) {
	c := &closer{f}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closers = append(t.closers, c)
	return func() error {
		t.mu.Lock()
		t.closers = slices.DeleteFunc(t.closers, func(other *closer) bool { return other == c })
		t.mu.Unlock()
		return f()
	}
}

// close closes the subscribers, then the publisher.
func (t *transport) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	for i := len(t.closers) - 1; i >= 0; i-- {
		errs = append(errs, t.closers[i].close())
	}
	return errors.Join(errs...)
}
