package agents

import (
	"bytes"
	"cmp"
	"context"
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
	// doubt is how long it may take before it is asked whether we are let in at all.
	doubt = time.Second
)

// KafkaConfig says where records may go and where replies are read.
type KafkaConfig struct {
	// Brokers of another cluster; none means our own.
	Brokers []string `json:"brokers,omitempty"`
	// Security says how they are reached and who we are to them, in the words of our own cluster.
	kafka.Security
	// Secret is the password's place where it is in no file.
	Secret secret.Ref `json:"password,omitzero"`
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

// Kafka publishes a record and, where the input asks for it, waits for the reply that
// repeats its correlation id. Any process of this type may be the one that reads the reply:
// what it has to know stands in the correlation id.
type Kafka struct {
	cfg      KafkaConfig
	reached  kafka.Config  // the other cluster
	producer *kafka.Writer // of it
	reports  *kafka.Writer // of ours
	store    *blobs.Store
	told     kafka.Told
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
	var err error
	if k.reached, err = k.other(ctx); err != nil {
		return nil, err
	}
	if k.producer, err = k.reached.NewWriter(kgo.RecordDeliveryTimeout(publishTimeout), kgo.UnknownTopicRetries(1)); err != nil {
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
	own := k.cfg.Own
	if len(k.cfg.Brokers) == 0 {
		if k.cfg.Security != (kafka.Security{}) || !k.cfg.Secret.IsZero() {
			return own, errors.New("the agent's section kafka says who we are, and to no brokers: our own cluster is reached as everything else reaches it")
		}
		return own, nil
	}
	c := kafka.Config{Brokers: k.cfg.Brokers, ClientID: own.ClientID, Dial: own.Dial, Security: k.cfg.Security}
	if k.cfg.Secret.File != "" {
		c.Security.PasswordFile = k.cfg.Secret.File // read again for each connection
	} else if !k.cfg.Secret.IsZero() {
		if k.cfg.Secrets == nil {
			return c, errors.New("password: this agent has no store of secrets")
		}
		password, err := k.cfg.Secrets.Get(ctx, k.cfg.Secret)
		if err != nil {
			return c, fmt.Errorf("password: %w", err)
		}
		c.Security.Password = kafka.Secret(password.Reveal())
	}
	if err := c.Security.Check(c.Brokers); err != nil {
		return c, fmt.Errorf("brokers %s, which the agent's section kafka names (its ca is what --kafka-ca is to ours, and so on): %w", strings.Join(c.Brokers, ","), err)
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
	ctx, give := context.WithCancelCause(ctx)
	defer give(nil)
	// Who is not let in is not told: the client tries to get a connection until ctx ends.
	defer time.AfterFunc(doubt, func() {
		if err := k.reached.Admitted(ctx); err != nil {
			give(err)
		}
	}).Stop()
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
		return agent.Retry(fmt.Errorf("publish to %s: %w", topic, cause)).AtStep("publish")
	}
	err = kafka.Explain(fmt.Errorf("publish to %s: %w", topic, err))
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
