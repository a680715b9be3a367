package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/audit"
	"github.com/waybill/waybill/internal/kafka"
)

// job is one to be asked for, and what must become of it.
type job struct {
	id, input string
	state     string
	fault     string // the beginning of its error
	output    string // of the activity, as it must be
	nodes     int    // with those that were spawned; 0 means 1
	attempts  int    // of the activity; 0 means 1
}

// largeWords are so many that they do not fit into a record.
const largeWords = 200_000

// kinds are the jobs of a round: eight that go well and two that cannot.
func kinds(n int) *job {
	j := &job{id: fmt.Sprintf("job-%03d", n), state: "COMPLETED"}
	switch n % 10 {
	case 0:
		j.input, j.output, j.attempts = `{"text": "one more time", "busyFor": 1}`, `{"words":3}`, 2
	case 1:
		j.input, j.output, j.nodes = `{"texts": ["a", "a b", "a b c"]}`, `{"texts":3}`, 4
	case 2:
		j.input, j.state, j.fault = `{"text": "  "}`, "ERROR", "there are no words in the text"
	case 3: // too large for a record
		j.input, j.output = fmt.Sprintf(`{"text": %q}`, strings.Repeat(fmt.Sprintf("word-%d ", n), largeWords)), fmt.Sprintf(`{"words":%d}`, largeWords)
	case 4: // what it asks for would be too large for one report, and it has to say so itself
		j.input = fmt.Sprintf(`{"texts": [%q]}`, strings.Repeat("lengthy ", largeWords))
		j.state, j.fault = "ERROR", "ValueError: the result has "
	default:
		j.input, j.output = `{"text": "the quick brown fox"}`, `{"words":4}`
	}
	return j
}

func (s *scenario) submit(ctx context.Context, j *job) error {
	s.jobs = append(s.jobs, j)
	body := fmt.Appendf(nil, `{"id": %q, "type": "count", "input": %s}`, j.id, j.input)
	return s.api.Insist(ctx, http.MethodPost, "/v1/jobs", body, nil)
}

// found is what is looked at of a job.
type found struct {
	State string `json:"state"`
	Error *struct {
		Message string `json:"message"`
	} `json:"error"`
	Nodes []struct {
		ID      string          `json:"id"`
		Attempt int             `json:"attempt"`
		Output  json.RawMessage `json:"output"`
	} `json:"nodes"`
}

// await waits until a job has ended and holds it against what must be.
func (s *scenario) await(ctx context.Context, j *job) error {
	ctx, cancel := context.WithTimeoutCause(ctx, endWithin, fmt.Errorf("%s has not ended within %s", j.id, endWithin))
	defer cancel()
	var f found
	for f.State != "COMPLETED" && f.State != "ERROR" {
		if err := s.api.Insist(ctx, http.MethodGet, "/v1/jobs/"+j.id+"?wait=10s", nil, &f); err != nil && !api.Is(err, http.StatusNotFound) {
			return err
		}
		if err := api.Pause(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	if f.State != j.state {
		s.amiss("%s is %s (%v), want %s", j.id, f.State, f.Error, j.state)
		return nil
	}
	if want := max(j.nodes, 1); len(f.Nodes) != want {
		s.amiss("%s has %d activities, want %d", j.id, len(f.Nodes), want)
	}
	for _, n := range f.Nodes {
		var compact bytes.Buffer
		if n.ID != "c" {
			continue
		}
		if j.output != "" && (json.Compact(&compact, n.Output) != nil || compact.String() != j.output) {
			s.amiss("%s has the output %s, want %s", j.id, n.Output, j.output)
		}
		if want := max(j.attempts, 1); n.Attempt != want {
			s.amiss("%s took %d attempts, want %d", j.id, n.Attempt, want)
		}
	}
	if j.state == "ERROR" && (f.Error == nil || !strings.HasPrefix(f.Error.Message, j.fault)) {
		s.amiss("%s does not say what the agent said: %v", j.id, f.Error)
	}
	return nil
}

// hundred has a hundred jobs done.
func (s *scenario) hundred(ctx context.Context) error {
	const n = 100
	began := time.Now()
	for i := range n {
		if err := s.submit(ctx, kinds(i)); err != nil {
			return err
		}
	}
	for _, j := range s.jobs {
		if err := s.await(ctx, j); err != nil {
			return err
		}
	}
	took := time.Since(began)
	by := map[string]int{}
	for _, j := range s.jobs {
		claims, err := s.claims(ctx, j)
		if err != nil {
			return err
		}
		for _, c := range claims {
			by[c.Agent]++
		}
	}
	fmt.Printf("  %d jobs in %.1f s: ten with a retry, ten with three activities that were spawned, ten with an input of some 1.7 MB, ten that fail;", n, took.Seconds())
	for _, w := range s.workers {
		fmt.Printf(" agent %s had %d attempts", w.name, by[w.name])
		if by[w.name] == 0 {
			s.amiss("agent %s had nothing to do", w.name)
		}
	}
	fmt.Println()
	return nil
}

// claim is one attempt that an agent has begun.
type claim struct {
	ActivityID string `json:"activityId"`
	Attempt    int    `json:"attempt"`
	Agent      string `json:"agent"`
}

func (s *scenario) claims(ctx context.Context, j *job) ([]claim, error) {
	events, err := s.api.Events(ctx, j.id)
	if api.Is(err, http.StatusNotFound) {
		return nil, nil // not in the view yet
	}
	if err != nil {
		return nil, err
	}
	var all []claim
	for _, e := range events {
		if e.Type != "activity.claimed.v1" {
			continue
		}
		var c claim
		if err := json.Unmarshal(e.Data, &c); err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// claimedBy waits until a job's activity is in work, with the named agent or, for "", anyone.
func (s *scenario) claimedBy(ctx context.Context, j *job, name string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, endWithin, fmt.Errorf("%s was not taken by %q within %s", j.id, name, endWithin))
	defer cancel()
	for {
		claims, err := s.claims(ctx, j)
		if err != nil {
			return err
		}
		for _, c := range claims {
			if name == "" || c.Agent == name {
				return nil
			}
		}
		if err := api.Pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// kill kills one of the agents while both hold work that lasts twice as long as its lease.
func (s *scenario) kill(ctx context.Context) error {
	dead := s.workers[0]
	long := make([]*job, 8) // as many as both have slots
	for i := range long {
		long[i] = &job{id: fmt.Sprintf("long-%d", i), input: `{"text": "a b c", "seconds": 4}`, state: "COMPLETED", output: `{"words":3}`}
		if err := s.submit(ctx, long[i]); err != nil {
			return err
		}
	}
	lost := 0
	for deadline := time.Now().Add(endWithin); lost == 0; {
		for _, j := range long {
			claims, err := s.claims(ctx, j)
			if err != nil {
				return err
			}
			if len(claims) > 0 && claims[0].Agent == dead.name {
				j.attempts = 2
				lost++
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("agent %s took none of the long activities", dead.name)
		}
		if err := api.Pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	killed := time.Now()
	if err := dead.Kill(); err != nil {
		return err
	}
	for _, j := range long {
		claims, err := s.claims(ctx, j)
		if err != nil {
			return err
		}
		if j.attempts == 0 && len(claims) > 0 && claims[0].Agent == dead.name {
			j.attempts = 2 // it was taken in the meantime
			lost++
		}
	}
	for _, j := range long {
		if err := s.await(ctx, j); err != nil {
			return err
		}
	}
	fmt.Printf("  of %d activities of 4 s with a lease of 2 s, agent %s was killed with %d; the other had done all %.1f s later, only those twice\n",
		len(long), dead.name, lost, time.Since(killed).Seconds())
	return nil
}

// placed looks where the agents put their reports, and where they were decided.
func (s *scenario) placed(ctx context.Context) error {
	commands, err := audit.Read(ctx, []string{s.kafka}, kafka.Topics{}.Commands("orchestration"))
	if err != nil {
		return err
	}
	all, elsewhere := map[string]int{}, map[string]int{}
	for _, r := range commands {
		if r.Key == rolledBack {
			s.amiss("work that was rolled back was taken: %s of %s", r.Type, r.Source)
		}
		all[r.Source]++
		if r.Partition != kafka.PartitionFor([]byte(r.Key), shards) {
			elsewhere[r.Source]++
		}
	}
	for _, w := range s.workers {
		source := "/agents/" + w.name
		fmt.Printf("  agent %s put %d of %d records on another partition than we would\n", w.name, elsewhere[source], all[source])
	}
	if elsewhere["/agents/crc32"] == 0 {
		s.amiss("no report was put on another partition, so this has not shown that they are forwarded")
	}
	if n := elsewhere["/agents/murmur2"]; n > 0 {
		s.amiss("%d records of the agent with partitioner=murmur2_random lay elsewhere", n)
	}
	return nil
}

// histories holds what stands on the log against its laws.
func (s *scenario) histories(ctx context.Context) error {
	for _, j := range s.jobs {
		events, err := s.api.Events(ctx, j.id)
		if err != nil {
			return err
		}
		s.wrong = append(s.wrong, audit.History(j.id, events)...)
	}
	log, err := audit.ReadLog(ctx, kafka.Config{Brokers: []string{s.kafka}})
	if err != nil {
		return err
	}
	report := audit.Check(log, audit.Options{Embedded: true, Quiet: true})
	s.wrong = append(s.wrong, audit.Sentences(report.Wrongs)...)
	return nil
}
