package producers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/domain/blob"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/internal/embedded/embeddedtest"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/kafka/kafkatest"
	"github.com/waybill/waybill/producers"
	"github.com/waybill/waybill/schemas"
)

const shards = 4

func newPublisher(t *testing.T, cfg kafka.Config, opts ...producers.Option) *producers.Publisher {
	t.Helper()
	p, err := producers.New(cfg, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// withTopics makes the topics of orchestrations and returns a reader of their commands.
func withTopics(t *testing.T, cfg kafka.Config) *kgo.Client {
	t.Helper()
	topics := cfg.Topics()
	cl, err := cfg.NewClient(
		kgo.ConsumeTopics(topics.Commands(schemas.AggregateOrchestration)),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	if err := kafka.EnsureTopics(t.Context(), cl, topics.Specs(shards, []string{schemas.AggregateOrchestration}, nil)); err != nil {
		t.Fatal(err)
	}
	return cl
}

func read(t *testing.T, cl *kgo.Client, n int) []*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var got []*kgo.Record
	for len(got) < n {
		f := cl.PollRecords(ctx, n-len(got))
		if err := f.Err(); err != nil {
			t.Fatalf("after %d of %d records: %v", len(got), n, err)
		}
		got = append(got, f.Records()...)
	}
	return got
}

func TestAStartIsOneCloudEventOnThePartitionOfItsKey(t *testing.T) {
	cfg := kafkatest.New(t)
	reader, p := withTopics(t, cfg), newPublisher(t, cfg)
	job, err := p.StartOrchestration(t.Context(), producers.Start{
		ID: "j-1", Type: "greet", Input: json.RawMessage(`{"name":"Ada"}`),
		Deadline: 90 * time.Second, Labels: map[string]string{"team": "a"}, TraceParent: "00-1-2-01",
	})
	if err != nil {
		t.Fatal(err)
	}
	r := read(t, reader, 1)[0]
	e, err := kafka.ParseCloudEvent(r)
	if err != nil {
		t.Fatal(err)
	}
	if e.ID != job.CommandID || e.Type != schemas.OrchestrationStart || e.Subject != "j-1" || string(r.Key) != "j-1" || e.TraceParent != "00-1-2-01" || e.Time.IsZero() {
		t.Errorf("envelope %+v, key %s", e, r.Key)
	}
	if want := kafka.PartitionFor([]byte("j-1"), shards); r.Partition != want || job.Position.Partition != want || job.Position.Offset != r.Offset {
		t.Errorf("partition %d, answered %v, want partition %d", r.Partition, job.Position, want)
	}
	c, err := schemas.DecodeOrchestrationCommand(e.Type, r.Value)
	if err != nil {
		t.Fatal(err)
	}
	if s, ok := c.(orchestration.Start); !ok || s.Type != "greet" || time.Duration(s.Deadline) != 90*time.Second || s.Labels["team"] != "a" {
		t.Errorf("command %+v", c)
	}
}

func TestTheSameStartIsTheSameCommandAndAnotherBodyIsAnother(t *testing.T) {
	cfg := kafkatest.New(t)
	withTopics(t, cfg)
	p := newPublisher(t, cfg)
	start := func(id, input string) producers.Accepted {
		t.Helper()
		a, err := p.StartOrchestration(t.Context(), producers.Start{ID: id, Type: "greet", Input: json.RawMessage(input)})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	first := start("j-1", `{"a":1,"b":2}`)
	if again := start("j-1", `{ "b": 2, "a": 1 }`); again.CommandID != first.CommandID {
		t.Error("the same body laid out differently was another command")
	}
	if other := start("j-1", `{"a":1}`); other.CommandID == first.CommandID {
		t.Error("another body was the same command")
	}
	if a, b := start("", `{}`), start("", `{}`); a.ID == b.ID || a.CommandID == b.CommandID {
		t.Error("two jobs that nobody named are one")
	}
}

func TestReportsOfOneAttemptAreOneCommandButHeartbeatsAreNot(t *testing.T) {
	cfg := kafkatest.New(t)
	withTopics(t, cfg)
	p := newPublisher(t, cfg)
	w := producers.Work{ID: "w", Attempt: 2, Aggregate: schemas.AggregateOrchestration, AggregateID: "j-1"}
	ids := map[string]int{}
	for range 2 {
		for _, report := range []func() (producers.Accepted, error){
			func() (producers.Accepted, error) { return p.CompleteWork(t.Context(), w, json.RawMessage(`1`)) },
			func() (producers.Accepted, error) {
				return p.FailWork(t.Context(), w, orchestration.Fault{Message: "no"})
			},
			func() (producers.Accepted, error) { return p.HeartbeatWork(t.Context(), w, "me") },
		} {
			a, err := report()
			if err != nil {
				t.Fatal(err)
			}
			ids[a.CommandID]++
		}
	}
	if len(ids) != 4 {
		t.Errorf("%d commands, want complete, fail and two heartbeats: %v", len(ids), ids)
	}
}

func TestWhatCannotBeACommandIsRefusedBeforeItIsWritten(t *testing.T) {
	cfg := kafka.Config{Brokers: []string{"127.0.0.1:1"}} // nobody is asked
	p := newPublisher(t, cfg)
	for name, id := range map[string]string{
		"with a slash": "a/b", "that is dots": "..", "of the shard's books": schemas.ShardKey,
		"not ASCII": "é", "too long": strings.Repeat("x", producers.MaxIDBytes+1), "like a flag": "-x",
	} {
		var invalid *producers.InvalidError
		if _, err := p.StartOrchestration(t.Context(), producers.Start{ID: id, Type: "greet"}); !errors.As(err, &invalid) || invalid.Path != "id" {
			t.Errorf("an id %s: %v", name, err)
		}
	}
	var large *producers.TooLargeError
	labels := map[string]string{"x": strings.Repeat("x", schemas.MaxCommandBytes)}
	if _, err := p.StartOrchestration(t.Context(), producers.Start{Type: "greet", Labels: labels}); !errors.As(err, &large) || large.Limit != schemas.MaxCommandBytes {
		t.Errorf("a body over the limit: %v", err)
	}
	var payload *schemas.PayloadError
	input := json.RawMessage(`{"x":"` + strings.Repeat("x", blob.DefaultMax) + `"}`)
	if _, err := p.StartOrchestration(t.Context(), producers.Start{Type: "greet", Input: input}); !errors.As(err, &payload) || payload.Limit != blob.DefaultMax {
		t.Errorf("an input over the limit: %v", err)
	}
	for _, reserved := range []string{`{"a":[{"$blob":1}]}`, `{"a":[{"$join":["x"]}]}`} {
		var invalid *producers.InvalidError
		if _, err := p.StartOrchestration(t.Context(), producers.Start{Type: "greet", Input: json.RawMessage(reserved)}); !errors.As(err, &invalid) || invalid.Path != "input.a[0]" {
			t.Errorf("%s: %v", reserved, err)
		}
	}
	if _, err := p.Replay(t.Context(), producers.Record{Topic: cfg.Topics().Events(schemas.AggregateOrchestration)}); err == nil {
		t.Error("an event was replayed by somebody who does not own the shard")
	}
}

func TestWithoutAnyBrokerTheErrorNamesTopicAndBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, cluster := embeddedtest.Virtual(t)
		p := newPublisher(t, cfg)
		cluster.Close()
		began := time.Now()
		_, err := p.StartOrchestration(t.Context(), producers.Start{Type: "greet"})
		var unreachable *producers.UnreachableError
		if !errors.As(err, &unreachable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		if s := err.Error(); !strings.Contains(s, cfg.Brokers[0]) || !strings.Contains(s, cfg.Topics().Commands(schemas.AggregateOrchestration)) {
			t.Errorf("%q names neither", s)
		}
		if d := time.Since(began); d != producers.DefaultTimeout {
			t.Errorf("gave up after %s", d)
		}
	})
}

func TestADeadLetterIsReplayedAsItWas(t *testing.T) {
	cfg := kafkatest.New(t)
	reader, p := withTopics(t, cfg), newPublisher(t, cfg)
	pos, err := p.Replay(t.Context(), producers.Record{
		Topic: cfg.Topics().Commands(schemas.AggregateOrchestration), Key: []byte("j-1"), Value: []byte("{"),
		Headers: []producers.Header{{Key: "ce_id", Value: []byte("c")}, {Key: "x", Value: nil}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := read(t, reader, 1)[0]
	if string(r.Key) != "j-1" || string(r.Value) != "{" || len(r.Headers) != 2 || pos.Aggregate != schemas.AggregateOrchestration || pos.Offset != r.Offset {
		t.Errorf("replayed %v at %v", r, pos)
	}
}

func TestConcurrentCallersEachGetThePlaceOfTheirCommand(t *testing.T) {
	cfg := kafkatest.New(t)
	reader, p := withTopics(t, cfg), newPublisher(t, cfg)
	const n = 500
	var all sync.Map
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			a, err := p.StartOrchestration(t.Context(), producers.Start{ID: fmt.Sprint("j", i), Type: "greet"})
			if err != nil {
				t.Error(err)
				return
			}
			all.Store(a.Position.String(), a.ID)
		})
	}
	wg.Wait()
	for _, r := range read(t, reader, n) {
		at := kafka.Position{Aggregate: schemas.AggregateOrchestration, Partition: r.Partition, Offset: r.Offset}
		if id, ok := all.Load(at.String()); !ok || id != string(r.Key) {
			t.Errorf("%s holds %s, answered to %v", at, r.Key, id)
		}
	}
}
