package agents

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/internal/blobs"
	"github.com/waybill/waybill/internal/callbacks"
	"github.com/waybill/waybill/internal/kafka"
)

const (
	// DefaultCorrelation is the header that a reply repeats.
	DefaultCorrelation = "correlation-id"
	// DefaultErrorHeader is the header of a reply that makes it a failure.
	DefaultErrorHeader = "error"
	// replyTopicHeader says where the reply is read.
	replyTopicHeader = "reply-topic"
	// workHeader has the ID that is the same for every repeat of a record.
	workHeader = "waybill-work-id"
	// publishTimeout bounds the publishing of one record.
	publishTimeout = 30 * time.Second
)

// KafkaConfig says where records may go and where replies are read.
type KafkaConfig struct {
	// Brokers of another cluster; none means our own.
	Brokers []string `json:"brokers,omitempty"`
	// TLS says that they are reached by TLS.
	TLS bool `json:"tls,omitempty"`
	// SASL says who we are to them.
	SASL *KafkaSASL `json:"sasl,omitempty"`
	// Topics may be published to: names, or patterns like "orders.*".
	Topics []string `json:"topics"`
	// Replies are the topics that replies are read from; names.
	Replies []string `json:"replies,omitempty"`
	// Correlation is the header that a reply repeats; DefaultCorrelation unless set.
	Correlation string `json:"correlation,omitempty"`
	// ErrorHeader makes a reply that has it a failure; DefaultErrorHeader unless set.
	ErrorHeader string `json:"errorHeader,omitempty"`

	// Own is our own cluster, where reports go.
	Own kafka.Config `json:"-"`
	// Proofs make what replies refer to unguessable. Every process of this type must have the
	// same ones, or none.
	Proofs  *callbacks.Proofs `json:"-"`
	Secrets *secret.Store     `json:"-"`
	Log     *slog.Logger      `json:"-"`
}

// KafkaSASL is a user and the password.
type KafkaSASL struct {
	Mechanism string     `json:"mechanism"` // PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
	User      string     `json:"user"`
	Password  secret.Ref `json:"password"`
}

// Kafka publishes a record and, where the input asks for it, waits for the reply that
// repeats its correlation id. Any process of this type may be the one that reads the reply:
// what it has to know stands in the correlation id.
type Kafka struct {
	cfg      KafkaConfig
	producer *kafka.Writer // of the other cluster
	reports  *kafka.Writer // of ours
	store    *blobs.Store
}

// NewKafka makes a Kafka. The caller runs it, for the replies, and closes it.
func NewKafka(ctx context.Context, cfg KafkaConfig) (*Kafka, error) {
	cfg.Correlation = cmp.Or(cfg.Correlation, DefaultCorrelation)
	cfg.ErrorHeader = cmp.Or(cfg.ErrorHeader, DefaultErrorHeader)
	cfg.Log = cmp.Or(cfg.Log, slog.Default())
	for _, topic := range slices.Concat(cfg.Topics, cfg.Replies) {
		if _, err := path.Match(topic, ""); err != nil {
			return nil, fmt.Errorf("topic %q: %w", topic, err)
		}
	}
	for _, topic := range cfg.Replies {
		if cfg.isOurs(topic) {
			return nil, fmt.Errorf("replies: %s is a topic of our own", topic)
		}
	}
	k := &Kafka{cfg: cfg, store: blobs.New(cfg.Own)}
	other, err := k.other(ctx)
	if err != nil {
		return nil, err
	}
	if k.producer, err = other.NewWriter(kgo.RecordDeliveryTimeout(publishTimeout), kgo.UnknownTopicRetries(1)); err != nil {
		return nil, err
	}
	if k.reports, err = cfg.Own.NewWriter(); err != nil {
		k.producer.Close()
		return nil, err
	}
	return k, nil
}

// Close ends its connections.
func (k *Kafka) Close() {
	k.producer.Close()
	k.reports.Close()
	k.store.Close()
}

// other says how the cluster that records go to is reached.
func (k *Kafka) other(ctx context.Context) (kafka.Config, error) {
	c := k.cfg.Own
	if len(k.cfg.Brokers) == 0 {
		return c, nil
	}
	c = kafka.Config{Brokers: k.cfg.Brokers, ClientID: c.ClientID, Dial: c.Dial}
	if k.cfg.TLS {
		c.Extra = append(c.Extra, kgo.DialTLSConfig(&tls.Config{MinVersion: tls.VersionTLS12}))
	}
	s := k.cfg.SASL
	if s == nil {
		return c, nil
	}
	if k.cfg.Secrets == nil {
		return c, errors.New("sasl: this agent has no store of secrets")
	}
	password, err := k.cfg.Secrets.Get(ctx, s.Password)
	if err != nil {
		return c, fmt.Errorf("sasl: %w", err)
	}
	switch s.Mechanism {
	case "PLAIN":
		c.Extra = append(c.Extra, kgo.SASL(plain.Auth{User: s.User, Pass: password.Reveal()}.AsMechanism()))
	case "SCRAM-SHA-256":
		c.Extra = append(c.Extra, kgo.SASL(scram.Auth{User: s.User, Pass: password.Reveal()}.AsSha256Mechanism()))
	case "SCRAM-SHA-512":
		c.Extra = append(c.Extra, kgo.SASL(scram.Auth{User: s.User, Pass: password.Reveal()}.AsSha512Mechanism()))
	default:
		return c, fmt.Errorf("sasl: mechanism %q: want PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", s.Mechanism)
	}
	return c, nil
}

// isOurs says whether a topic is one that the log consists of, or the broker's own: what
// is written there must follow rules that no activity can know.
func (c *KafkaConfig) isOurs(topic string) bool {
	return strings.HasPrefix(topic, cmp.Or(c.Own.Prefix, kafka.DefaultPrefix)+".") || strings.HasPrefix(topic, "__")
}

func (c *KafkaConfig) allows(topic string) bool {
	return !c.isOurs(topic) && slices.ContainsFunc(c.Topics, func(pattern string) bool {
		fits, err := path.Match(pattern, topic)
		return err == nil && fits
	})
}

// kafkaInput is what Kafka works on.
type kafkaInput struct {
	Topic   string          `json:"topic"`
	Key     any             `json:"key"`
	Headers map[string]any  `json:"headers"`
	Value   json.RawMessage `json:"value"`
	Text    *string         `json:"text"`
	Dispose json.RawMessage `json:"dispose"`
	Reply   *struct {
		Topic   string              `json:"topic"`
		Timeout definition.Duration `json:"timeout"`
	} `json:"reply"`
}

// Process implements agent.Processor.
func (k *Kafka) Process(ctx context.Context, a agent.Activity) agent.Result {
	in, r, err := k.record(a)
	switch {
	case err != nil:
		return agent.Fatal(err).AtStep("input")
	case r == nil:
		return agent.Complete(nil) // there is nothing to undo
	}
	ctx, cancel := context.WithTimeoutCause(ctx, publishTimeout, fmt.Errorf("not acknowledged within %s", publishTimeout))
	defer cancel()
	cl := k.producer.Client()
	written, err := cl.ProduceSync(ctx, r).First()
	k.producer.Failed(ctx, cl, err)
	if err != nil {
		return k.unpublished(ctx, in.Topic, err)
	}
	if in.Reply != nil {
		return agent.Wait().After(time.Duration(in.Reply.Timeout))
	}
	return agent.Complete(map[string]any{"topic": written.Topic, "partition": written.Partition, "offset": written.Offset})
}

func (k *Kafka) unpublished(ctx context.Context, topic string, err error) agent.Result {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	err = fmt.Errorf("publish to %s: %w", topic, err)
	if _, broker := errors.AsType[*kerr.Error](err); broker && !kerr.IsRetriable(err) || errors.Is(err, kerr.UnknownTopicOrPartition) {
		return agent.Fatal(err).AtStep("publish")
	}
	return agent.Retry(err).AtStep("publish")
}

// record makes the record that an input asks for; nil where there is nothing to undo.
func (k *Kafka) record(a agent.Activity) (kafkaInput, *kgo.Record, error) {
	var in kafkaInput
	raw := a.Input.Raw()
	if a.Discriminator == dispose {
		var u struct {
			Dispose json.RawMessage `json:"dispose"`
		}
		if err := a.Input.Decode(&u); err != nil {
			return in, nil, err
		}
		switch string(u.Dispose) {
		case "", "null":
			return in, nil, errors.New("the input does not say how to undo the record: give it dispose, a record, or {} where there is nothing to undo")
		case "{}":
			return in, nil, nil
		}
		raw = u.Dispose
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		return in, nil, fmt.Errorf("want {topic, key, headers, value or text, reply}: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	hasValue := len(in.Value) > 0 && string(in.Value) != "null"
	switch {
	case !k.cfg.allows(in.Topic):
		return in, nil, fmt.Errorf("topic %.200q is not among those that this agent may publish to", in.Topic)
	case in.Reply != nil && !slices.Contains(k.cfg.Replies, in.Reply.Topic):
		return in, nil, fmt.Errorf("reply.topic %.200q is not among those that this agent reads replies from", in.Reply.Topic)
	case hasValue && in.Text != nil:
		return in, nil, errors.New("the input has value and text: want one of them")
	}
	r := &kgo.Record{Topic: in.Topic}
	add := func(name, value string) {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
	}
	if in.Key != nil {
		key, err := scalar(in.Key)
		if err != nil {
			return in, nil, fmt.Errorf("key: %w", err)
		}
		r.Key = []byte(key)
	}
	switch {
	case hasValue:
		r.Value = in.Value
		add("content-type", "application/json")
	case in.Text != nil:
		r.Value = []byte(*in.Text)
	}
	for name, v := range in.Headers {
		if v == nil {
			continue
		}
		// Of two of one name, who answers might well repeat the other.
		if name == workHeader || in.Reply != nil && (name == k.cfg.Correlation || name == replyTopicHeader) {
			return in, nil, fmt.Errorf("headers.%s cannot be set: this agent does", name)
		}
		text, err := scalar(v)
		if err != nil {
			return in, nil, fmt.Errorf("headers.%s: %w", name, err)
		}
		add(name, text)
	}
	slices.SortFunc(r.Headers, func(a, b kgo.RecordHeader) int { return strings.Compare(a.Key, b.Key) })
	add(workHeader, a.IdempotencyKey)
	if a.TraceParent != "" {
		add("traceparent", a.TraceParent)
	}
	if in.Reply != nil {
		add(k.cfg.Correlation, correlationOf(a).text(k.cfg.Proofs))
		add(replyTopicHeader, in.Reply.Topic)
	}
	return in, r, nil
}

// replyOutput is the output that a reply is.
func replyOutput(r *kgo.Record) map[string]any {
	headers := make(map[string]any, len(r.Headers))
	for _, h := range r.Headers {
		headers[h.Key] = strings.ToValidUTF8(string(h.Value), "\uFFFD")
	}
	out := map[string]any{"topic": r.Topic, "partition": r.Partition, "offset": r.Offset, "headers": headers, "value": nil}
	if r.Key != nil {
		out["key"] = strings.ToValidUTF8(string(r.Key), "\uFFFD")
	}
	if len(r.Value) == 0 {
		return out
	}
	v, err := decode(r.Value)
	switch {
	case !utf8.Valid(r.Value):
		out["base64"] = base64.StdEncoding.EncodeToString(r.Value)
	case err == nil && depth(v) <= maxDepth:
		out["value"] = v
	default:
		out["value"] = string(r.Value)
	}
	return out
}
