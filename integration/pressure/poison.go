package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/process"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

const (
	// watched is how long the server's use of the processor is watched.
	watched = 3 * time.Second
	// calm is what it may take of a core meanwhile: idle it is some 0.5 %.
	calm = 0.15
	// shardCount is what the topics are made with unless somebody says otherwise.
	shardCount = kafka.DefaultShards
)

// poison puts what nobody can read at the head of every topic: of what is asked for and of what is told, which go on,
// and of the events, whose partition stops by name. Neither may cost more of the processor than an idle server does.
func (s *scene) poison(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		s.start, s.unreadable, s.goesOn, s.replayed, s.goesOn, s.unfoldable, s.stopsByName,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return s.stop()
}

// poisons are the records that nobody can read, by what is wrong with them.
func (s *scene) poisons() map[string]*kgo.Record {
	t := s.kafka.Topics()
	command := func(key string, value []byte) *kgo.Record {
		return &kgo.Record{
			Topic: t.Commands(schemas.AggregateOrchestration), Key: []byte(key), Value: value, Partition: kafka.PartitionFor([]byte(key), shardCount),
			Headers: kafka.CloudEvent{ID: "poison-" + key, Source: "poison", Type: schemas.OrchestrationStart, Subject: key, InputOffset: -1}.Headers(),
		}
	}
	bare := func(topic, value string) *kgo.Record {
		return &kgo.Record{Topic: topic, Key: []byte("k"), Value: []byte(value)}
	}
	odd := command("elsewhere", []byte(strings.Repeat(" ", 10<<20)))
	odd.Partition = (odd.Partition + 1) % shardCount
	keyless := command("", []byte("{}"))
	keyless.Key = nil
	l := map[string]*kgo.Record{
		"not JSON": command("a", []byte("{")), "not UTF-8": command("b", []byte("{\"type\":\"\xff\"}")), "no value": command("c", nil),
		"no key": keyless, "no envelope": bare(t.Commands(schemas.AggregateOrchestration), "{}"), "10 MB on the wrong partition": odd,
		"a bomb of a command": command("d", make([]byte, kafka.MaxUnpackedBytes+1)),
		"a shard's key":       command(schemas.ShardKey, []byte("{}")),
		"work":                bare(t.Work("noop"), "{"), "a bomb of work": bare(t.Work("noop"), string(make([]byte, kafka.MaxUnpackedBytes+1))),
		"a definition": bare(t.Definitions(), "{"), "a blob": bare(t.Blobs(), "{"), "a chunk of two thousand million": {Topic: t.Blobs(), Key: []byte("x/2147483646"), Value: []byte("x")},
		"a completion": bare(t.Completions(schemas.AggregateOrchestration), "{"), "a dead letter": bare(t.DeadLetters(), "{"),
		"a bomb of dead letters": bare(t.DeadLetters(), string(make([]byte, kafka.MaxUnpackedBytes+1))),
	}
	for _, a := range []string{schemas.AggregateTransfer, schemas.AggregateNegotiation, schemas.AggregateDefinition} {
		l["a command of "+a] = bare(t.Commands(a), "{")
	}
	return l
}

// unreadable writes them. A client waits for ever for a record that is on its way to a broker that has been
// ended, with the scenario, unless it may give it up.
func (s *scene) unreadable(ctx context.Context) error {
	cl, err := s.kafka.NewClient(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.GzipCompression()), kgo.ProducerBatchMaxBytes(96<<20), kgo.AllowIdempotentProduceCancellation())
	if err != nil {
		return err
	}
	defer cl.Close()
	for name, r := range s.poisons() {
		if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// letters are the ids of all dead letters.
func (s *scene) letters(ctx context.Context) (map[string]string, error) {
	all := make(map[string]string)
	for query := "?limit=100"; ; {
		var page struct {
			Items []struct{ ID, Topic, Error string }
			Next  string
		}
		if err := s.client.Insist(ctx, http.MethodGet, "/v1/deadletters"+query, nil, &page); err != nil {
			return nil, err
		}
		for _, l := range page.Items {
			all[l.ID] = l.Topic + ": " + l.Error
		}
		if page.Next == "" {
			return all, nil
		}
		query = "?limit=100&cursor=" + page.Next
	}
}

// goesOn checks that a job ends in every shard, that the server says it is ready, and that it is calm.
func (s *scene) goesOn(ctx context.Context) error {
	s.round++
	if err := s.everywhere(ctx, func(int32) bool { return true }); err != nil {
		return err
	}
	if err := s.client.Once(ctx, http.MethodGet, "/readyz", nil, nil); err != nil {
		return fmt.Errorf("with poison in every topic that may have some: %w", err)
	}
	// Eight commands, one of each other aggregate, two of work, and two that were dead already.
	const want = 8 + 3 + 2 + 2
	ctx, cancel := context.WithTimeout(ctx, endsWithin)
	defer cancel()
	letters, err := s.letters(ctx)
	for err == nil && len(letters) < want {
		if err := api.Pause(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("there are %d dead letters, want at least %d: %v", len(letters), want, letters)
		}
		letters, err = s.letters(ctx)
	}
	if err != nil {
		return err
	}
	return s.isCalm(ctx, fmt.Sprintf("%d dead letters", len(letters)))
}

// everywhere has a job end in each of some shards.
func (s *scene) everywhere(ctx context.Context, wanted func(shard int32) bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, endsWithin, fmt.Errorf("not all jobs had ended after %s", endsWithin))
	defer cancel()
	done := make(map[int32]bool)
	for n := 0; len(done) < shardCount && n < 1000; n++ {
		id := fmt.Sprintf("%s-%d-%d", s.name, s.round, n)
		shard := kafka.PartitionFor([]byte(id), shardCount)
		if done[shard] {
			continue
		}
		done[shard] = true
		if !wanted(shard) {
			continue
		}
		body := []byte(`{"id": "` + id + `", "type": "` + typ + `"}`)
		if err := s.client.Insist(ctx, http.MethodPost, "/v1/jobs", body, nil); err != nil {
			return err
		}

		if err := s.awaited(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

func (s *scene) isCalm(ctx context.Context, with string) error {
	// What had to be done has been done a moment later.
	if err := api.Pause(ctx, time.Second); err != nil {
		return err
	}
	before, err := s.server.CPU()
	if err != nil {
		return err
	}
	if err := api.Pause(ctx, watched); err != nil {
		return err
	}
	after, err := s.server.CPU()
	share := float64(after-before) / float64(watched)
	fmt.Printf("%s: with %s the server takes %.1f %% of a core (limit %.0f %%)\n", s.name, with, 100*share, 100*calm)
	if err == nil && share > calm {
		err = errors.New("it is not calm")
	}
	return err
}

// replayed writes every dead letter again, twice: what is still poison comes back as another.
func (s *scene) replayed(ctx context.Context) error {
	letters, err := s.letters(ctx)
	if err != nil {
		return err
	}
	again, never := 0, 0
	for id := range letters {
		for range 2 {
			switch err := s.client.Once(ctx, http.MethodPost, "/v1/deadletters/"+id+"/replay", nil, nil); {
			case api.Is(err, http.StatusConflict):
				never++
			case err != nil:
				return fmt.Errorf("replay %s, %s: %w", id, letters[id], err)
			default:
				again++
			}
		}
	}
	fmt.Printf("%s: %d dead letters, replayed twice: %d times written again, %d times refused with the reason\n", s.name, len(letters), again, never)
	if again == 0 || never == 0 {
		return errors.New("both should have been")
	}
	return nil
}

// unfoldable puts an event of a type that nobody knows at the head of a partition of events, while nobody runs.
func (s *scene) unfoldable(ctx context.Context) error {
	if _, err := s.server.Stop(stopWithin); err != nil {
		return err
	}
	cl, err := s.kafka.NewClient(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.AllowIdempotentProduceCancellation())
	if err != nil {
		return err
	}
	defer cl.Close()
	s.poisoned = &kgo.Record{
		Topic: s.kafka.Topics().Events(schemas.AggregateTransfer), Key: []byte("k"), Value: []byte("{}"),
		Headers: kafka.CloudEvent{ID: "poison", Source: "poison", Type: "transfer.enchanted.v9", Subject: "k", Sequence: 1, Time: time.Now(), InputOffset: -1}.Headers(),
	}
	if err := cl.ProduceSync(ctx, s.poisoned).FirstErr(); err != nil {
		return err
	}
	s.server, err = process.Start(ctx, process.Command{Path: s.bin, Args: s.args, Log: s.log})
	return err
}

// stopsByName checks that shard and view say where they stand still, that all others go on, and that nobody spins.
func (s *scene) stopsByName(ctx context.Context) error {
	place := fmt.Sprintf("%s/%d stands still at offset %d", s.poisoned.Topic, s.poisoned.Partition, s.poisoned.Offset)
	view := fmt.Sprintf("%s/%d has stopped at offset %d", s.poisoned.Topic, s.poisoned.Partition, s.poisoned.Offset)
	limited, cancel := context.WithTimeoutCause(ctx, endsWithin, errors.New("readiness does not name what stands still"))
	defer cancel()
	for {
		reason, err := s.unready(limited)
		if err == nil && strings.Contains(reason, place) && strings.Contains(reason, view) {
			break
		}
		if err := api.Pause(limited, 100*time.Millisecond); err != nil {
			return fmt.Errorf("%w: %q, want %q and %q", err, reason, place, view)
		}
	}
	fmt.Printf("%s: readiness says that %s\n", s.name, place)
	s.round++
	if err := s.everywhere(ctx, func(shard int32) bool { return shard != s.poisoned.Partition }); err != nil {
		return err
	}
	return s.isCalm(ctx, "an event that nobody knows")
}

// unready is why the server says that it is not ready.
func (s *scene) unready(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address+"/readyz", nil)
	if err != nil {
		return "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return "", err
	}
	var answer struct{ Reason string }
	return answer.Reason, json.Unmarshal(body, &answer)
}

// data is where the server keeps its data.
func (s *scene) data() string { return filepath.Join(s.dir, "data") }
