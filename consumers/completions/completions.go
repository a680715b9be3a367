package completions

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/waybill/waybill/domain/blob"
	"github.com/waybill/waybill/internal/blobs"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/pubsub"
	"github.com/waybill/waybill/schemas"
)

const (
	// EnvBrokers is the environment variable that says where the log is, host:port separated
	// by commas, if the Config does not.
	EnvBrokers = "WAYBILL_BROKERS"
	// EnvPrefix is the environment variable with the first part of the topics' names, if the
	// Config does not have it.
	EnvPrefix = "WAYBILL_PREFIX"
	// DefaultRemember is how many IDs a subscription recognises when they come again.
	DefaultRemember = 64 << 10
)

// Done is what a handler returns that has seen enough.
var Done = errors.New("enough completions") //nolint:revive,staticcheck // no error but an answer, as io.EOF is

// Completion is one end of one run of an orchestration.
type Completion struct {
	EventID string // of the record; the same for each repeat of it
	Name    string // schemas.OrchestrationCompleted, OrchestrationFailed or OrchestrationCancelled
	schemas.Completion

	blobs schemas.Blobs
}

// Whole is the output with everything in its place: what is too large for a record is kept
// elsewhere, and the Output only refers to it. It is for the handler, while the subscription
// lasts; what was removed since is a *blobs.GoneError.
func (c Completion) Whole(ctx context.Context) (json.RawMessage, error) {
	return whole(ctx, c.blobs, c.ID, c.Output)
}

// Transfer is one end of a transfer.
type Transfer struct {
	EventID string // of the record; the same for each repeat of it
	Name    string // schemas.TransferCompleted, TransferTerminated or TransferDeprovisioned
	schemas.TransferCompletion

	blobs schemas.Blobs
}

// Whole is the output with everything in its place, as Completion.Whole.
func (t Transfer) Whole(ctx context.Context) (json.RawMessage, error) {
	return whole(ctx, t.blobs, t.ID, t.Output)
}

// Negotiation is the end of a round, one contract negotiation, or the answer to one wish for access.
// There is never a token in it.
type Negotiation struct {
	EventID string                   // of the record; the same for each repeat of it
	Name    string                   // schemas.NegotiationFinalized, NegotiationTerminated, NegotiationGranted or NegotiationRefused
	Round   *schemas.RoundCompletion // how a round ended: FINALIZED or TERMINATED
	Wish    *schemas.WishCompletion  // how a wish was answered: granted or refused
}

func whole(ctx context.Context, blobs schemas.Blobs, id string, output json.RawMessage) (json.RawMessage, error) {
	if !blob.Refers(output) {
		return output, nil
	}
	if blobs.Store == nil {
		return nil, fmt.Errorf("the output of %s is kept elsewhere: set Config.Kafka, which says where", id)
	}
	return blobs.Unpack(ctx, output, 0)
}

// Config says which completions are wanted and where they are. Without Brokers, Kafka and
// Subscriber the environment says it.
type Config struct {
	// Brokers and Prefix say where the log is.
	Brokers []string
	Prefix  string
	// Kafka has the remaining settings of the connection. Its Brokers and Prefix count if
	// those above are not set.
	Kafka kafka.Config
	// Group is the consumer group: its members share the completions, and each goes on where
	// the last one stopped. Without one all are read, from Start.
	Group string
	// Start says where to begin; the zero Start is the earliest for a group and the newest
	// without one.
	Start pubsub.Start
	// Subscriber replaces the connection to Kafka by any Watermill subscriber that keeps the
	// metadata (ce_ headers). Whoever sets it closes it.
	Subscriber message.Subscriber

	// Types and IDs, where set, are the orchestration types and ids that are told; all others
	// are passed over. Of transfers and negotiations only IDs counts: the id of the transfer; that of
	// the round, or who wished.
	Types []string
	IDs   []string
	// Rejected, where set, is told of refused commands, which stand on the same topic, and
	// answers like the handler. IDs counts for these as well, Types does not: a refused
	// start has no type.
	Rejected func(schemas.Rejected) error
	// Ready, where set, is called once, when nothing that is produced from then on will be missed.
	Ready func()
	// Remember is how many IDs are remembered to recognise repeats; DefaultRemember unless set.
	Remember int

	blobs schemas.Blobs
}

// Subscribe tells the handler of how orchestrations end until ctx ends, which is no error.
func Subscribe(ctx context.Context, cfg Config, handler func(Completion) error) error {
	return run(ctx, cfg, schemas.AggregateOrchestration, func(c Config, id, wireType string, payload []byte) error {
		body, err := schemas.DecodeCompletion(wireType, payload)
		if err != nil || !wants(c.IDs, body.ID) || !wants(c.Types, body.Type) {
			return err
		}
		return handler(Completion{EventID: id, Name: wireType, Completion: body, blobs: c.blobs})
	})
}

// SubscribeTransfers tells the handler of how transfers end, as Subscribe does of orchestrations.
func SubscribeTransfers(ctx context.Context, cfg Config, handler func(Transfer) error) error {
	return run(ctx, cfg, schemas.AggregateTransfer, func(c Config, id, wireType string, payload []byte) error {
		body, err := schemas.DecodeTransferCompletion(wireType, payload)
		if err != nil || !wants(c.IDs, body.ID) {
			return err
		}
		return handler(Transfer{EventID: id, Name: wireType, TransferCompletion: body, blobs: c.blobs})
	})
}

// SubscribeNegotiations tells the handler of how rounds end and wishes are answered, as Subscribe does
// of orchestrations.
func SubscribeNegotiations(ctx context.Context, cfg Config, handler func(Negotiation) error) error {
	return run(ctx, cfg, schemas.AggregateNegotiation, func(c Config, id, wireType string, payload []byte) error {
		n := Negotiation{EventID: id, Name: wireType}
		who := ""
		switch wireType {
		case schemas.NegotiationGranted, schemas.NegotiationRefused:
			wish, err := schemas.DecodeWishCompletion(wireType, payload)
			if err != nil {
				return err
			}
			n.Wish, who = &wish, wish.Waiter
		default:
			round, err := schemas.DecodeRoundCompletion(wireType, payload)
			if err != nil {
				return err
			}
			n.Round, who = &round, round.ID
		}
		if !wants(c.IDs, who) {
			return nil
		}
		return handler(n)
	})
}

// teller decodes a completion and hands it on to whoever wants it.
type teller func(c Config, id, wireType string, payload []byte) error

// run subscribes to the completions of an aggregate type.
func run(ctx context.Context, cfg Config, aggregate string, tell teller) (err error) {
	cfg, err = cfg.complete()
	if err != nil {
		return err
	}
	if len(cfg.Kafka.Brokers) > 0 {
		store := blobs.New(cfg.Kafka)
		defer store.Close()
		cfg.blobs.Store = store
	}
	if cfg.Subscriber != nil {
		return subscribe(ctx, cfg, cfg.Subscriber, aggregate, tell)
	}
	if err := cfg.Kafka.Admitted(ctx); err != nil {
		return fmt.Errorf("completions: %w", err)
	}
	// A subscription goes on whatever happens. What it is not allowed to read it would wait for in vain.
	reading, refuse := context.WithCancelCause(ctx)
	defer refuse(nil)
	subscriber, err := pubsub.NewSubscriber(pubsub.SubscriberConfig{
		Kafka: cfg.Kafka, Group: cfg.Group, Start: cfg.Start,
		OnError: func(e *pubsub.SubscriptionError) {
			if access, ok := errors.AsType[*kafka.AccessError](kafka.Explain(e)); ok {
				refuse(fmt.Errorf("completions: %w", access))
			}
		},
	})
	if err != nil {
		return fmt.Errorf("completions: %w", err)
	}
	err = subscribe(reading, cfg, subscriber, aggregate, tell)
	if cause := context.Cause(reading); err == nil && ctx.Err() == nil && reading.Err() != nil {
		err = cause
	}
	return errors.Join(kafka.Explain(err), subscriber.Close())
}

func (c Config) complete() (Config, error) {
	c.Kafka.Prefix = cmp.Or(c.Prefix, c.Kafka.Prefix, os.Getenv(EnvPrefix))
	if c.Remember < 1 {
		c.Remember = DefaultRemember
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
			return c, fmt.Errorf("completions: %w", err)
		}
	}
	if err := c.Kafka.Security.Check(c.Kafka.Brokers); err != nil {
		return c, fmt.Errorf("completions: %w", err)
	}
	if len(c.Kafka.Brokers) == 0 {
		return c, fmt.Errorf("completions: no brokers: set Config.Brokers or %s", EnvBrokers)
	}
	return c, nil
}

func subscribe(ctx context.Context, cfg Config, subscriber message.Subscriber, aggregate string, tell teller) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	seen, err := lru.New[string, struct{}](cfg.Remember)
	if err != nil {
		return err
	}
	topic := cfg.Kafka.Topics().Completions(aggregate)
	messages, err := subscriber.Subscribe(ctx, topic)
	if err != nil {
		return fmt.Errorf("completions: %w", err)
	}
	if cfg.Ready != nil {
		cfg.Ready()
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case msg, ok := <-messages:
			if !ok {
				if ctx.Err() != nil {
					return nil
				}
				return fmt.Errorf("completions: the subscription to %s has ended", topic)
			}
			if err := cfg.once(msg, seen, tell); errors.Is(err, Done) {
				msg.Ack()
				return nil
			} else if err != nil {
				msg.Nack()
				return fmt.Errorf("completion %s on %s: %w", msg.UUID, topic, err)
			}
			msg.Ack()
		}
	}
}

// once hands a message to whom it concerns, unless that has been done.
func (c Config) once(msg *message.Message, seen *lru.Cache[string, struct{}], tell teller) error {
	id := msg.Metadata.Get(kafka.HeaderID)
	if id != "" && seen.Contains(id) {
		return nil
	}
	err := c.hand(id, msg, tell)
	if err == nil && id != "" {
		seen.Add(id, struct{}{})
	}
	return err
}

func (c Config) hand(id string, msg *message.Message, tell teller) error {
	wireType := msg.Metadata.Get(kafka.HeaderType)
	if wireType != schemas.CommandRejected {
		return tell(c, id, wireType, msg.Payload)
	}
	if c.Rejected == nil {
		return nil
	}
	r, err := schemas.DecodeRejected(wireType, msg.Payload)
	if err != nil || !wants(c.IDs, r.AggregateID) {
		return err
	}
	return c.Rejected(r)
}

// wants says whether a filter lets a value through; an empty one lets all through.
func wants(filter []string, value string) bool {
	return len(filter) == 0 || slices.Contains(filter, value)
}
