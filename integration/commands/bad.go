package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// keyOn makes a key of a partition.
func keyOn(name string, partition int32) string {
	for i := 0; ; i++ {
		if key := fmt.Sprintf("%s-%d", name, i); kafka.PartitionFor([]byte(key), shards) == partition {
			return key
		}
	}
}

// bad brings every bad command, one case after the other on another partition, each with
// a good one behind it.
func (s *scenario) bad(ctx context.Context) error {
	definition := []byte(`{"active": false, "activities": [{"id": "a", "type": "noop"}]}`)
	if err := s.api.Insist(ctx, http.MethodPut, "/v1/definitions/orchestrations/"+asleep, definition, nil); err != nil {
		return err
	}
	var all []step
	n := len(badCommands(func(name string) string { return name }))
	for i := range n {
		partition := int32(i % shards)
		c := badCommands(func(name string) string { return keyOn(name, partition) })[i]
		for k := range c.steps {
			c.steps[k].partition = partition
			if err := s.client.write(ctx, c.steps[k].command); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
		all = append(all, c.steps...)
		behind := keyOn(fmt.Sprintf("behind-%d", i), partition)
		if err := s.client.write(ctx, good(behind, partition)); err != nil {
			return err
		}
		if err := s.completed(ctx, behind); err != nil {
			return fmt.Errorf("behind %q on partition %d: %w", c.name, partition, err)
		}
		for _, st := range c.steps {
			if err := s.answered(ctx, c.name, st); err != nil {
				return err
			}
		}
	}
	fmt.Printf("%d things that can be wrong, each with a good command behind it that was carried out\n", n)
	if err := s.onTheTopics(ctx, all); err != nil {
		return err
	}
	return s.replayed(ctx)
}

// answer is what GET /v1/commands/{id} says.
type answer struct {
	State  string            `json:"state"`
	Code   string            `json:"code"`
	Reason string            `json:"reason"`
	Events []json.RawMessage `json:"events"`
}

// answered checks what the HTTP interface says of a command.
func (s *scenario) answered(ctx context.Context, name string, st step) error {
	switch {
	case st.unasked:
		return nil
	case st.isDead():
		return s.isDead(ctx, name, st)
	}
	var a answer
	err := s.api.Insist(ctx, http.MethodGet, "/v1/commands/"+st.id, nil, &a)
	var status *api.StatusError
	if err != nil && !errors.As(err, &status) {
		return err
	}
	got := fmt.Sprintf("%s %s %s, %d events", a.State, a.Code, a.Reason, len(a.Events))
	switch {
	case err != nil:
		s.amiss("%s: want %s, got %v", name, st.want, err)
	case st.accepted && (a.State != "accepted" || len(a.Events) != st.events):
		s.amiss("%s: want %s, got %s", name, st.want, got)
	case st.code != "" && (a.State != "rejected" || a.Code != st.code || a.Reason == ""):
		s.amiss("%s: want %s, got %s", name, st.want, got)
	}
	return nil
}

// letter is what GET /v1/deadletters says of one.
type letter struct {
	ID        string `json:"id"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Key       []byte `json:"key"`
	Value     []byte `json:"value"`
	Error     string `json:"error"`
}

func (s *scenario) letters(ctx context.Context) ([]letter, error) {
	var all []letter
	query := "?limit=100"
	for {
		var page struct {
			Items []letter `json:"items"`
			Next  *string  `json:"next"`
		}
		if err := s.api.Insist(ctx, http.MethodGet, "/v1/deadletters"+query, nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.Next == nil || *page.Next == "" {
			return all, nil
		}
		query = "?limit=100&cursor=" + *page.Next
	}
}

// isDead waits until a record is among the dead letters. They have a topic of their own,
// so the view may show them later than what stood behind them.
func (s *scenario) isDead(ctx context.Context, name string, st step) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	for {
		all, err := s.letters(ctx)
		if err != nil {
			return err
		}
		for _, l := range all {
			if l.Topic == s.topics.Commands(schemas.AggregateOrchestration) && l.Partition == st.partition && same(l.Key, st.key) && same(l.Value, st.value) {
				if !strings.Contains(l.Error, st.dead) {
					s.amiss("%s: the dead letter says %q, want a word of %q", name, l.Error, st.dead)
				}
				return nil
			}
		}
		if err := api.Pause(ctx, 20*time.Millisecond); err != nil {
			s.amiss("%s: there is no dead letter", name)
			var a answer
			err := s.api.Once(context.WithoutCancel(ctx), http.MethodGet, "/v1/commands/"+st.id, nil, &a)
			fmt.Printf("    instead: %+v %v\n", a, err)
			return nil
		}
	}
}

// onTheTopics checks that every rejection stands once on the completions topic, under the
// key of the aggregate, and every dead letter on its topic.
func (s *scenario) onTheTopics(ctx context.Context, all []step) error {
	completions, err := s.client.read(ctx, s.topics.Completions(schemas.AggregateOrchestration))
	if err != nil {
		return err
	}
	type refusal struct{ key, command, code string }
	found := map[refusal]map[string]bool{} // the ids of its records: a repeat has the same
	for _, r := range completions {
		if r.Type != "command.rejected.v1" {
			continue
		}
		var b struct{ CommandID, Code string }
		if err := json.Unmarshal([]byte(r.Value), &b); err != nil {
			return fmt.Errorf("%s: %w", r.Value, err)
		}
		k := refusal{r.Key, b.CommandID, b.Code}
		if found[k] == nil {
			found[k] = map[string]bool{}
		}
		found[k][r.ID] = true
	}
	rejections := 0
	for _, st := range all {
		if st.code == "" {
			continue
		}
		rejections++
		if n := len(found[refusal{string(st.key), st.id, st.code}]); n != 1 {
			s.amiss("%s has %d rejections with the code %s on the completions topic", st.id, n, st.code)
		}
	}
	if len(found) != rejections {
		s.amiss("%d commands are rejected on the completions topic, want %d: %v", len(found), rejections, found)
	}
	letters, err := s.client.read(ctx, s.topics.DeadLetters())
	if err != nil {
		return err
	}
	deads := 0
	for _, st := range all {
		if !st.isDead() {
			continue
		}
		deads++
		n := 0
		for _, r := range letters {
			if r.Key == string(st.key) && r.Value == string(st.value) && (r.ID == st.id || strings.ContainsRune(st.id, '\xff')) && r.Type == st.typ {
				n++
			}
		}
		if n != 1 {
			s.amiss("the command %q of key %q is %d times on the topic of dead letters", st.id, st.key, n)
		}
	}
	fmt.Printf("  %d rejections on the completions topic, %d dead letters on theirs\n", len(found), deads)
	return nil
}

// replayed replays every dead letter: each comes back as another one, and nothing else.
func (s *scenario) replayed(ctx context.Context) error {
	before, err := s.letters(ctx)
	if err != nil {
		return err
	}
	events, err := s.client.read(ctx, s.topics.Events(schemas.AggregateOrchestration))
	if err != nil {
		return err
	}
	for _, l := range before {
		if err := s.api.Insist(ctx, http.MethodPost, "/v1/deadletters/"+l.ID+"/replay", nil, nil); err != nil {
			s.amiss("dead letter %s (%s): %v", l.ID, l.Error, err)
		}
	}
	after, err := s.moreThan(ctx, 2*len(before)-1)
	if err != nil {
		return err
	}
	reasons := func(all []letter) map[string]int {
		m := map[string]int{}
		for _, l := range all {
			m[l.Error]++
		}
		return m
	}
	was := reasons(before)
	for reason, n := range reasons(after) {
		if n != 2*was[reason] {
			s.amiss("%d dead letters say %q, want %d", n, reason, 2*was[reason])
		}
	}
	now, err := s.client.read(ctx, s.topics.Events(schemas.AggregateOrchestration))
	if err != nil {
		return err
	}
	count := func(keyed map[string]int) int {
		n := 0
		for key, k := range keyed {
			if key != "~shard" {
				n += k
			}
		}
		return n
	}
	if a, b := count(byKey(events)), count(byKey(now)); a != b {
		s.amiss("the replay of dead letters has made %d events happen", b-a)
	}
	fmt.Printf("  %d dead letters replayed: each came back for the same reason, and nothing else happened\n", len(before))
	return nil
}

// moreThan waits until there are more than n dead letters.
func (s *scenario) moreThan(ctx context.Context, n int) ([]letter, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	for {
		all, err := s.letters(ctx)
		if err != nil || len(all) > n {
			return all, err
		}
		if err := api.Pause(ctx, 20*time.Millisecond); err != nil {
			s.amiss("%d dead letters came back, want %d", len(all)-(n+1)/2, (n+1)/2)
			return all, nil
		}
	}
}
