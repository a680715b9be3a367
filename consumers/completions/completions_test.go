package completions_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/consumers/completions"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/transfer"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/kafka/kafkatest"
	"github.com/waybill/waybill/schemas"
)

// feed delivers its messages and then says nothing more.
type feed struct {
	messages []*message.Message
	ends     bool // the subscription ends after the last one
}

func (f feed) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	out := make(chan *message.Message)
	go func() {
		defer close(out)
		for _, m := range f.messages {
			select {
			case out <- m:
			case <-ctx.Done():
				return
			}
		}
		if !f.ends {
			<-ctx.Done()
		}
	}()
	return out, nil
}

func (feed) Close() error { return nil }

func record(eventID, wireType string, value any) *message.Message {
	raw, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	msg := message.NewMessage(eventID, raw)
	if eventID != "" {
		msg.Metadata.Set(kafka.HeaderID, eventID)
	}
	msg.Metadata.Set(kafka.HeaderType, wireType)
	return msg
}

func end(eventID, job, typ string) *message.Message {
	return record(eventID, schemas.OrchestrationCompleted, schemas.Completion{ID: job, Type: typ, Run: 1, State: orchestration.PhaseCompleted, Output: json.RawMessage(`1`)})
}

func refusal(job string) *message.Message {
	return record("r"+job, schemas.CommandRejected, schemas.Rejected{CommandID: "c", AggregateID: job, Refusal: machine.Refusal{Code: machine.BadState, Reason: "no"}})
}

// told lists the jobs that the handler was told of, after which the subscription ends.
func told(t *testing.T, cfg completions.Config, messages ...*message.Message) []string {
	t.Helper()
	var jobs []string
	cfg.Subscriber = feed{messages, true}
	if cfg.Rejected != nil {
		cfg.Rejected = func(r schemas.Rejected) error { jobs = append(jobs, "refused "+r.AggregateID); return nil }
	}
	err := completions.Subscribe(t.Context(), cfg, func(c completions.Completion) error { jobs = append(jobs, c.ID); return nil })
	if err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Fatalf("got %v", err)
	}
	for _, m := range messages {
		select {
		case <-m.Acked():
		default:
			t.Errorf("%s was not acknowledged", m.UUID)
		}
	}
	return jobs
}

func TestSubscribing(t *testing.T) {
	yes := func(schemas.Rejected) error { return nil }
	for name, c := range map[string]struct {
		cfg      completions.Config
		messages []*message.Message
		want     string
	}{
		"tells of each end once":           {completions.Config{}, []*message.Message{end("1", "a", "x"), end("2", "b", "x"), end("1", "a", "x"), end("3", "a", "x")}, "[a b a]"},
		"forgets the oldest":               {completions.Config{Remember: 1}, []*message.Message{end("1", "a", "x"), end("2", "b", "x"), end("1", "a", "x")}, "[a b a]"},
		"does not take no ID for the same": {completions.Config{}, []*message.Message{end("", "a", "x"), end("", "b", "x")}, "[a b]"},
		"filters by type":                  {completions.Config{Types: []string{"x", "y"}}, []*message.Message{end("1", "a", "x"), end("2", "b", "z"), end("3", "c", "y")}, "[a c]"},
		"filters by id":                    {completions.Config{IDs: []string{"b"}}, []*message.Message{end("1", "a", "x"), end("2", "b", "x")}, "[b]"},
		"passes over refusals":             {completions.Config{}, []*message.Message{refusal("a"), end("2", "b", "x")}, "[b]"},
		"tells of refusals, if asked":      {completions.Config{Rejected: yes}, []*message.Message{refusal("a"), end("2", "b", "x")}, "[refused a b]"},
		"filters refusals by id":           {completions.Config{Rejected: yes, IDs: []string{"b"}, Types: []string{"x"}}, []*message.Message{refusal("a"), refusal("b")}, "[refused b]"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := fmt.Sprint(told(t, c.cfg, c.messages...)); got != c.want {
				t.Fatalf("told %s, want %s", got, c.want)
			}
		})
	}
	t.Run("ends well when the handler has seen enough", func(t *testing.T) {
		first, second := end("1", "a", "x"), end("2", "b", "x")
		err := completions.Subscribe(t.Context(), completions.Config{Subscriber: feed{[]*message.Message{first, second}, false}},
			func(completions.Completion) error { return completions.Done })
		if err != nil {
			t.Fatal(err)
		}
		<-first.Acked()
	})
	t.Run("ends with the handler's error, and the completion comes again", func(t *testing.T) {
		full := errors.New("mailbox full")
		msg := end("1", "a", "x")
		err := completions.Subscribe(t.Context(), completions.Config{Subscriber: feed{[]*message.Message{msg}, false}},
			func(completions.Completion) error { return full })
		if !errors.Is(err, full) {
			t.Fatalf("got %v", err)
		}
		<-msg.Nacked()
	})
	t.Run("does not skip what it cannot read", func(t *testing.T) {
		for _, msg := range []*message.Message{record("1", "orchestration.completed.v9", "x"), record("1", schemas.OrchestrationCompleted, "x")} {
			err := completions.Subscribe(t.Context(), completions.Config{Subscriber: feed{[]*message.Message{msg}, false}},
				func(completions.Completion) error { t.Error("told of it"); return nil })
			if err == nil {
				t.Fatal("it went on")
			}
			<-msg.Nacked()
		}
	})
	t.Run("ends with its context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		err := completions.Subscribe(ctx, completions.Config{Subscriber: feed{nil, false}, Ready: cancel}, nil)
		if err != nil {
			t.Fatal(err)
		}
	})
	t.Run("needs to know where", func(t *testing.T) {
		t.Setenv(completions.EnvBrokers, "")
		if err := completions.Subscribe(t.Context(), completions.Config{}, nil); err == nil || !strings.Contains(err.Error(), "no brokers") {
			t.Fatalf("got %v", err)
		}
	})
}

// Without a group everything from Ready on is told; with one, the next member goes on
// where the last one stopped.
func TestSubscribingOnKafka(t *testing.T) {
	cfg := kafkatest.New(t)
	cl, err := cfg.NewClient()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	topics := cfg.Topics()
	if err := kafka.EnsureTopics(t.Context(), cl, topics.Specs(4, []string{schemas.AggregateOrchestration}, nil)); err != nil {
		t.Fatal(err)
	}
	produce := func(jobs ...string) {
		for _, job := range jobs {
			raw, err := schemas.Encode(schemas.Completion{ID: job, Type: "x", Run: 1, State: orchestration.PhaseCompleted})
			if err != nil {
				t.Fatal(err)
			}
			r := &kgo.Record{
				Topic: topics.Completions(schemas.AggregateOrchestration), Key: []byte(job), Value: raw,
				Headers: kafka.CloudEvent{ID: "end of " + job, Type: schemas.OrchestrationCompleted, InputOffset: -1}.Headers(),
			}
			if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	take := func(c completions.Config, n int) []string {
		var jobs []string
		c.Kafka = cfg
		err := completions.Subscribe(t.Context(), c, func(c completions.Completion) error {
			if jobs = append(jobs, c.ID); len(jobs) == n {
				return completions.Done
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(jobs)
		return jobs
	}
	produce("a", "b")
	if got := fmt.Sprint(take(completions.Config{Ready: func() { produce("c", "d") }}, 2)); got != "[c d]" {
		t.Fatalf("without a group: %s", got)
	}
	if got := fmt.Sprint(take(completions.Config{Group: topics.Group("g")}, 4)); got != "[a b c d]" {
		t.Fatalf("a group's first member: %s", got)
	}
	produce("e")
	if got := fmt.Sprint(take(completions.Config{Group: topics.Group("g")}, 1)); got != "[e]" {
		t.Fatalf("a group's next member: %s", got)
	}
}

// topics notes what is subscribed to.
type topics struct{ seen []string }

func (t *topics) Subscribe(_ context.Context, topic string) (<-chan *message.Message, error) {
	t.seen = append(t.seen, topic)
	return nil, errors.New("no more")
}

func (*topics) Close() error { return nil }

func TestEachAggregateHasItsOwnCompletions(t *testing.T) {
	var subscriber topics
	cfg := completions.Config{Subscriber: &subscriber, Prefix: "wb"}
	for _, err := range []error{
		completions.Subscribe(t.Context(), cfg, nil),
		completions.SubscribeTransfers(t.Context(), cfg, nil),
		completions.SubscribeNegotiations(t.Context(), cfg, nil),
	} {
		if err == nil {
			t.Error("a subscription that cannot be had is no error")
		}
	}
	if want := []string{"wb.orchestration.completions", "wb.transfer.completions", "wb.negotiation.completions"}; !slices.Equal(subscriber.seen, want) {
		t.Errorf("got %q", subscriber.seen)
	}
}

func TestTransfersAreToldOnceAndOnlyThoseThatAreWanted(t *testing.T) {
	ended := func(event, id string) *message.Message {
		return record(event, schemas.TransferDeprovisioned, schemas.TransferCompletion{ID: id, State: transfer.PhaseDeprovisioned})
	}
	var got []string
	cfg := completions.Config{
		Subscriber: feed{[]*message.Message{ended("1", "t-1"), ended("1", "t-1"), ended("2", "t-2"), refusal("t-1"), refusal("t-2")}, true},
		IDs:        []string{"t-1"},
		Rejected:   func(r schemas.Rejected) error { got = append(got, "refused "+r.AggregateID); return nil },
	}
	err := completions.SubscribeTransfers(t.Context(), cfg, func(c completions.Transfer) error { got = append(got, c.ID); return nil })
	if err == nil || !strings.Contains(err.Error(), "has ended") || !slices.Equal(got, []string{"t-1", "refused t-1"}) {
		t.Errorf("told %q, %v", got, err)
	}
}

func TestRoundsAndWishesAreToldApart(t *testing.T) {
	var got []string
	memory := feed{[]*message.Message{
		record("1", schemas.NegotiationTerminated, schemas.RoundCompletion{ID: "n-1", State: negotiation.PhaseTerminated}),
		record("2", schemas.NegotiationGranted, schemas.WishCompletion{Waiter: "t-1"}),
		record("3", schemas.NegotiationGranted, schemas.WishCompletion{Waiter: "t-2"}),
	}, true}
	err := completions.SubscribeNegotiations(t.Context(), completions.Config{Subscriber: memory, IDs: []string{"n-1", "t-2"}}, func(n completions.Negotiation) error {
		if n.Round != nil {
			got = append(got, n.Round.ID)
		}
		if n.Wish != nil {
			got = append(got, n.Wish.Waiter)
		}
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "has ended") || !slices.Equal(got, []string{"n-1", "t-2"}) {
		t.Errorf("told %q, %v", got, err)
	}
}

func TestAnEndOfAnotherKindEndsTheSubscription(t *testing.T) {
	memory := feed{[]*message.Message{end("1", "job-1", "parts-tree")}, true}
	var unknown *schemas.UnknownVersionError
	if err := completions.SubscribeTransfers(t.Context(), completions.Config{Subscriber: memory}, nil); !errors.As(err, &unknown) {
		t.Errorf("transfers: %v", err)
	}
	if err := completions.SubscribeNegotiations(t.Context(), completions.Config{Subscriber: memory}, nil); !errors.As(err, &unknown) {
		t.Errorf("negotiations: %v", err)
	}
}
