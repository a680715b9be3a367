package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/waybill/waybill/consumers/completions"
	"github.com/waybill/waybill/integration/internal/api"
)

// definitions are what the jobs are made of.
var definitions = map[string]string{
	"hello": `{"type": "hello", "activities": [
		{"id": "greet", "type": "` + greeting + `", "with": {"name": "{{input.name}}"}},
		{"id": "carry", "type": "noop", "dependsOn": "greet", "with": {"output": {"load": "{{input.load}}"}}}],
		"output": ["carry.load", "greet.greeting"]}`,
	"quick": `{"type": "quick", "activities": [{"id": "do", "type": "noop", "with": {"output": {"done": true}}}], "output": ["do.done"]}`,
}

// jobs starts a job over all roles, and quick ones that end meanwhile. Its first activity has no topic yet.
func (s *scenario) jobs(ctx context.Context) error {
	front := api.New(s.front)
	if err := front.Insist(ctx, http.MethodPut, "/v1/definitions/activities/"+greeting, []byte(`{"type": "`+greeting+`"}`), nil); err != nil {
		return err
	}
	for typ, d := range definitions {
		if err := front.Insist(ctx, http.MethodPut, "/v1/definitions/orchestrations/"+typ, []byte(d), nil); err != nil {
			return err
		}
	}
	ends := make(chan completions.Completion, 10)
	ready := make(chan struct{})
	listening, stop := context.WithCancel(ctx)
	told := make(chan error, 1)
	go func() {
		told <- completions.Subscribe(listening, completions.Config{
			Kafka: s.as("subscriber", s.passwords["subscriber"]), Group: watchers, Ready: func() { close(ready) },
		}, func(c completions.Completion) (err error) {
			c.Output, err = c.Whole(listening)
			ends <- c
			return err
		})
	}()
	select {
	case <-ready:
	case err := <-told:
		stop()
		return err
	}
	s.lateEnd = func() error {
		defer stop()
		if err := s.late(ctx, ends); err != nil {
			return err
		}
		stop()
		return <-told
	}
	return s.lateTopic(ctx, ends)
}

func (s *scenario) lateTopic(ctx context.Context, ends <-chan completions.Completion) error {
	input, err := json.Marshal(map[string]string{"name": "Ada", "load": strings.Repeat("x", inputBytes)})
	if err != nil {
		return err
	}
	file := filepath.Join(s.dir, "input.json")
	if err := os.WriteFile(file, input, 0o600); err != nil {
		return err
	}
	publisher := s.environment("publisher")
	err = s.command(ctx, publisher, "submit", "--brokers", s.brokers(), "--type", "hello", "--id", "late", "--input", "@"+file).want("submit", 0, "late")
	if err != nil {
		return err
	}
	err = until(ctx, "machines say which topic is lacking", 3*promptly, func() error {
		said, err := readiness(ctx, s.machines)
		if err == nil && (!strings.Contains(said, "waybill.work."+greeting) || !strings.Contains(said, `"ready":true`)) {
			err = errors.New(said)
		}
		return err
	})
	if err != nil {
		return err
	}
	for i := range 8 { // a job for every shard, more or less
		err := s.command(ctx, publisher, "submit", "--brokers", s.brokers(), "--type", "quick", "--id", fmt.Sprint("quick-", i)).want("submit", 0)
		if err != nil {
			return err
		}
	}
	for range 8 {
		if c, err := next(ctx, ends); err != nil || c.Type != "quick" || string(c.Output) == "" {
			return fmt.Errorf("%+v has ended, not a quick one: %w", c, err)
		}
	}
	if err := s.command(ctx, s.environment("operator"), "topics", "create", "--type", greeting).want("create the late topic", 0, greeting); err != nil {
		return err
	}
	if err := s.greet(ctx); err != nil {
		return err
	}
	s.created = time.Now()
	return nil
}

// late waits for the end of the job whose topic came late.
func (s *scenario) late(ctx context.Context, ends <-chan completions.Completion) error {
	c, err := next(ctx, ends)
	if err != nil || c.ID != "late" || !strings.Contains(string(c.Output), "hello Ada") || len(c.Output) < inputBytes {
		return fmt.Errorf("the late job ended as %s, with %d bytes: %w", c.State, len(c.Output), err)
	}
	fmt.Printf("  the late job ended %.1f s after its topic was created, with an output of %d bytes\n", c.EndedAt.Sub(s.created).Seconds(), len(c.Output))
	return nil
}

func next(ctx context.Context, ends <-chan completions.Completion) (completions.Completion, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 45*time.Second, errors.New("no end was told"))
	defer cancel()
	select {
	case c := <-ends:
		return c, nil
	case <-ctx.Done():
		return completions.Completion{}, context.Cause(ctx)
	}
}
