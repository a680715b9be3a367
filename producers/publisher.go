package producers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/domain/blob"
	"github.com/waybill/waybill/internal/blobs"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

const (
	// DefaultTimeout bounds a publish whose context has no deadline.
	DefaultTimeout = 10 * time.Second
	// maxBuffered* bound what waits for acknowledgements. Whoever comes later waits for room as long as its
	// context allows: where Kafka is away, records that nobody waits for any more may stay until it is back.
	maxBufferedRecords = 10_000
	maxBufferedBytes   = 64 << 20
	// reasonTimeout bounds the question why a publish came to nothing.
	reasonTimeout = time.Second
	// defaultSource is ce_source where the Config has no ClientID.
	defaultSource = "waybill/producer"
)

// Command is one record on a commands topic.
type Command struct {
	Aggregate   string // aggregate type: says which topic
	ID          string // ce_id; a repeat has the same
	Type        string // ce_type, a versioned wire name
	Key         string // aggregate id: says which partition
	Value       []byte // JSON; nil is the empty object
	TraceParent string // W3C trace context, optional
}

// TooLargeError says that a value would not fit. Nothing was written.
type TooLargeError struct {
	Bytes, Limit int
}

// Error implements error.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the value has %d bytes, the limit of a command is %d", e.Bytes, e.Limit)
}

// UnreachableError says that no broker acknowledged a record in time. Whether it was
// written is unknown: publish it again with the same ID, which is harmless.
type UnreachableError struct {
	Brokers []string
	Topic   string
	Err     error
}

// Error implements error.
func (e *UnreachableError) Error() string {
	return fmt.Sprintf("topic %s: no acknowledgement from Kafka at %s: %v", e.Topic, strings.Join(e.Brokers, ","), e.Err)
}

// Unwrap gives the client's own error.
func (e *UnreachableError) Unwrap() error { return e.Err }

// Publisher writes commands. It is safe for concurrent use, and the busier it is the
// larger the batches: concurrent callers share requests, a lone one never lingers.
type Publisher struct {
	writer  *kafka.Writer
	kafka   kafka.Config
	topics  kafka.Topics
	brokers []string
	source  string
	store   *blobs.Store
	blobs   schemas.Blobs
}

// Option changes a Publisher's defaults.
type Option func(*Publisher)

// MaxPayload is the largest input or output, in bytes, that is taken; blob.DefaultMax unless set.
func MaxPayload(bytes int64) Option { return func(p *Publisher) { p.blobs.Max = bytes } }

// New makes a Publisher. It does not wait for Kafka: the first publish does, or Ping.
// The caller closes it.
func New(cfg kafka.Config, opts ...Option) (*Publisher, error) {
	writer, err := cfg.NewWriter(kgo.RequiredAcks(kgo.AllISRAcks()), kgo.MaxBufferedRecords(maxBufferedRecords), kgo.MaxBufferedBytes(maxBufferedBytes))
	if err != nil {
		return nil, err
	}
	source := cfg.ClientID
	if source == "" {
		source = defaultSource
	}
	store := blobs.New(cfg)
	p := &Publisher{
		writer: writer, kafka: cfg, topics: cfg.Topics(), brokers: cfg.Brokers, source: source,
		store: store, blobs: schemas.Blobs{Store: store},
	}
	for _, o := range opts {
		o(p)
	}
	return p, nil
}

// Close lets go of the connections. Records nobody waits for any more are dropped.
func (p *Publisher) Close() {
	p.writer.Close()
	p.store.Close()
}

// Pack makes a value fit into a command about an orchestration: what is large in it is written
// to the blobs topic, and referred to. at is where the value stands in the command. Its errors are
// *InvalidError, *schemas.PayloadError and *UnreachableError.
func (p *Publisher) Pack(ctx context.Context, orchestration, at string, value json.RawMessage) (json.RawMessage, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	packed, err := p.blobs.Pack(ctx, orchestration, value)
	var (
		misuse   *blob.MisuseError
		payload  *schemas.PayloadError
		unlikely *schemas.UndecodableError
	)
	switch {
	case err == nil:
		return packed, nil
	case errors.As(err, &payload):
		return nil, err
	case errors.As(err, &misuse):
		if misuse.Path != "" {
			at += "." + misuse.Path
		}
		return nil, &InvalidError{Path: at, Message: misuse.Message}
	case errors.As(err, &unlikely):
		return nil, &InvalidError{Path: at, Message: unlikely.Reason}
	}
	return nil, &UnreachableError{Brokers: p.brokers, Topic: p.topics.Blobs(), Err: p.reason(ctx, err)}
}

// bounded gives a context without a deadline one.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, DefaultTimeout)
}

// Ping asks whether a broker answers; its error is an *UnreachableError.
func (p *Publisher) Ping(ctx context.Context) error {
	if err := p.writer.Client().Ping(ctx); err != nil {
		return &UnreachableError{Brokers: p.brokers, Topic: p.topics.Commands("*"), Err: err}
	}
	return nil
}

// Publish writes a command and waits until every in-sync replica has it. Its errors
// are *InvalidError and *TooLargeError, after which nothing was written, and
// *UnreachableError, after which that is unknown.
func (p *Publisher) Publish(ctx context.Context, c Command) (kafka.Position, error) {
	if err := c.check(); err != nil {
		return kafka.Position{}, err
	}
	value := c.Value
	if value == nil {
		value = []byte("{}")
	}
	r, err := p.produce(ctx, &kgo.Record{
		Topic: p.topics.Commands(c.Aggregate),
		Key:   []byte(c.Key),
		Value: value,
		Headers: kafka.CloudEvent{
			ID: c.ID, Source: p.source, Type: c.Type, Subject: c.Key,
			Time: time.Now(), TraceParent: c.TraceParent,
		}.Headers(),
	})
	if err != nil {
		return kafka.Position{}, fmt.Errorf("publish %s %s for %s %s: %w", c.Type, c.ID, c.Aggregate, c.Key, err)
	}
	return kafka.Position{Aggregate: c.Aggregate, Partition: r.Partition, Offset: r.Offset}, nil
}

func (c *Command) check() error {
	for _, f := range [...]struct{ name, value string }{
		{"aggregate", c.Aggregate}, {"id", c.ID}, {"type", c.Type}, {"key", c.Key},
	} {
		switch {
		case f.value == "":
			return &InvalidError{Path: f.name, Message: "a command needs one"}
		case !utf8.ValidString(f.value):
			return &InvalidError{Path: f.name, Message: "is not UTF-8"}
		}
	}
	if n := len(c.Value); n > schemas.MaxCommandBytes {
		return &TooLargeError{Bytes: n, Limit: schemas.MaxCommandBytes}
	}
	return nil
}

// produce waits for the acknowledgement or the end of ctx, whichever comes first. The
// client itself would wait longer: it does not give up on a record that is on its way,
// because it could not tell whether the broker has it.
func (p *Publisher) produce(ctx context.Context, r *kgo.Record) (*kgo.Record, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	done := make(chan error, 1)
	topic := r.Topic // r belongs to the client until it calls back
	client := p.writer.Client()
	client.Produce(ctx, r, func(_ *kgo.Record, err error) { done <- err })
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	p.writer.Failed(ctx, client, err)
	switch {
	case err == nil:
		return r, nil
	case errors.Is(err, kerr.MessageTooLarge):
		return nil, &TooLargeError{Bytes: len(r.Value), Limit: kafka.MaxMessageBytes}
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return nil, fmt.Errorf("topic %s does not exist at %s: `waybill topics create` makes it", topic, strings.Join(p.brokers, ","))
	default:
		return nil, &UnreachableError{Brokers: p.brokers, Topic: topic, Err: p.reason(ctx, err)}
	}
}

// reason is why a record was not acknowledged in time. The client goes on trying where it is not let in,
// but says so only to who asks.
func (p *Publisher) reason(ctx context.Context, err error) error {
	if !errors.Is(err, context.DeadlineExceeded) {
		return kafka.Explain(err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reasonTimeout)
	defer cancel()
	asked := kafka.Explain(p.writer.Client().Ping(ctx))
	if access, ok := errors.AsType[*kafka.AccessError](asked); ok {
		return access
	}
	return err
}
