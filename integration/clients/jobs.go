package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/integration/internal/audit"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// listen starts a reader of each client on the completions.
func (s *scenario) listen(ctx context.Context, clients []client) ([]*reader, error) {
	var readers []*reader
	for _, c := range clients {
		r, err := s.reader(ctx, c.name, c.read("read_committed", s.completions()))
		if err != nil {
			return nil, err
		}
		readers = append(readers, r)
	}
	return readers, nil
}

func (s *scenario) completions() string { return s.topics.Completions(schemas.AggregateOrchestration) }

// ask has each client ask for its jobs, and returns what each job must say in the end.
func (s *scenario) ask(ctx context.Context, clients []client) (map[string]string, error) {
	want := map[string]string{}
	for _, c := range clients {
		var records []record
		for i := range s.jobs {
			id := fmt.Sprintf("%s-%02d", strings.ToLower(c.name), i)
			want[id] = fmt.Sprintf("said by %s, nº %d", c.name, i)
			both, err := s.starts(id, want[id], i)
			if err != nil {
				return nil, err
			}
			records = append(records, both...)
		}
		began := time.Now()
		if err := c.write(ctx, records); err != nil {
			return nil, err
		}
		elsewhere, err := s.misplaced(ctx, want)
		if err != nil {
			return nil, err
		}
		fmt.Printf("  %-6s has asked for %d jobs, each twice, within %.1f s; up to now %d records lie on another partition than their key's\n",
			c.name, s.jobs, time.Since(began).Seconds(), elsewhere)
		if elsewhere == 0 {
			s.Add("no record lies on another partition than its key's, so this shows nothing of that")
		}
	}
	return want, nil
}

// starts are two records of one command: where the client's partitioner puts them, or, for every
// third job, first on a partition that is wrong for certain and then on another.
func (s *scenario) starts(id, text string, i int) ([]record, error) {
	body, err := json.Marshal(map[string]any{"type": "say", "input": map[string]string{"text": text}})
	if err != nil {
		return nil, err
	}
	r := record{
		Topic: s.topics.Commands(schemas.AggregateOrchestration), Key: id, Payload: string(body),
		Headers: []string{
			"ce_specversion", "1.0", "ce_type", schemas.OrchestrationStart, "ce_source", "/orders", "ce_id", "start-" + id,
			"content-type", "application/json",
		},
	}
	again := r
	if i%3 == 1 {
		right := kafka.PartitionFor([]byte(id), kafka.DefaultShards)
		wrong, other := (right+1)%kafka.DefaultShards, (right+2)%kafka.DefaultShards
		r.Partition, again.Partition = &wrong, &other
	}
	return []record{r, again}, nil
}

// misplaced counts the commands on another partition than their key's.
func (s *scenario) misplaced(ctx context.Context, of map[string]string) (n int, err error) {
	records, err := audit.Read(ctx, s.cfg.Brokers, s.topics.Commands(schemas.AggregateOrchestration))
	for _, r := range records {
		if _, ours := of[r.Key]; ours && r.Partition != kafka.PartitionFor([]byte(r.Key), kafka.DefaultShards) {
			n++
		}
	}
	return n, err
}

// rolledBack is the key of what was never said.
const rolledBack = "rolled-back"

// rollBack writes a completion into each partition and rolls the transaction back.
func (s *scenario) rollBack(ctx context.Context) error {
	cl, err := s.cfg.NewClient(kgo.TransactionalID(s.topics.Group("clients")), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return err
	}
	defer cl.Close()
	if err := cl.BeginTransaction(); err != nil {
		return err
	}
	for p := range int32(kafka.DefaultShards) {
		r := &kgo.Record{Topic: s.completions(), Partition: p, Key: []byte(rolledBack), Value: []byte(`{}`)}
		if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
			return err
		}
	}
	return cl.EndTransaction(ctx, kgo.TryAbort)
}

// compare holds what a reader has seen against what it must have.
func (s *scenario) compare(name string, seen map[string][]record, want map[string]string) {
	if n := len(seen[rolledBack]); n > 0 {
		s.Add("%s has seen %d records that were rolled back", name, n)
	}
	once := 0
	for id, text := range want {
		records := seen[id]
		if len(records) != 1 {
			s.Add("%s has seen %d completions of %s", name, len(records), id)
			continue
		}
		if err := s.documented(records[0], text); err != nil {
			s.Add("%s: the completion of %s: %v", name, id, err)
			continue
		}
		once++
	}
	fmt.Printf("  %-6s has seen %d of %d completions once and as documented, and nothing else of them\n", name, once, len(want))
}

// documented holds a completion against its schema and what the job was to say.
func (s *scenario) documented(r record, text string) error {
	if err := s.schema(r.Payload); err != nil {
		return err
	}
	var c struct {
		ID     string `json:"id"`
		State  string `json:"state"`
		Output struct {
			Said string `json:"said"`
		} `json:"output"`
	}
	if err := json.Unmarshal([]byte(r.Payload), &c); err != nil {
		return err
	}
	right := kafka.PartitionFor([]byte(r.Key), kafka.DefaultShards)
	switch {
	case c.ID != r.Key || c.State != "COMPLETED" || c.Output.Said != text:
		return fmt.Errorf("it says %s", r.Payload)
	case r.Partition == nil || *r.Partition != right:
		return fmt.Errorf("it is not on partition %d", right)
	}
	for name, want := range map[string]string{"ce_specversion": "1.0", "ce_type": schemas.OrchestrationCompleted, "content-type": "application/json"} {
		if got := r.header(name); got != want {
			return fmt.Errorf("header %s is %q, not %q", name, got, want)
		}
	}
	if r.header("ce_id") == "" || r.header("ce_source") == "" || r.header("ce_time") == "" {
		return fmt.Errorf("headers are missing: %v", r.Headers)
	}
	return nil
}

// schema checks a completion as anybody can who has read schemas/json.
func (s *scenario) schema(payload string) error {
	if s.completed == nil {
		document, ok := schemas.JSONSchema(schemas.OrchestrationCompleted)
		if !ok {
			return fmt.Errorf("%s has no schema", schemas.OrchestrationCompleted)
		}
		parsed, err := jsonschema.UnmarshalJSON(strings.NewReader(string(document)))
		if err != nil {
			return err
		}
		compiler := jsonschema.NewCompiler()
		if err := compiler.AddResource("completed.json", parsed); err != nil {
			return err
		}
		if s.completed, err = compiler.Compile("completed.json"); err != nil {
			return err
		}
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(payload))
	if err != nil {
		return err
	}
	return s.completed.Validate(value)
}

// uncommitted shows what a Java client sees that is not told to read committed.
func (s *scenario) uncommitted(ctx context.Context, java client) error {
	r, err := s.reader(ctx, java.name, java.read("read_uncommitted", s.completions()))
	if err != nil {
		return err
	}
	defer r.end()
	ctx, cancel := context.WithTimeoutCause(ctx, readWithin, fmt.Errorf("not after %s", readWithin))
	defer cancel()
	for len(r.seen()[rolledBack]) < kafka.DefaultShards {
		if err := pause(ctx, r); err != nil {
			return fmt.Errorf("a Java client that reads what is not committed: has seen %d records of %d that were rolled back: %w", len(r.seen()[rolledBack]), kafka.DefaultShards, err)
		}
	}
	fmt.Printf("  Java as it is by default, reading what is not committed, has seen %d records that were rolled back\n", len(r.seen()[rolledBack]))
	return nil
}
