package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/waybill/waybill/consumers/completions"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/producers"
	"github.com/waybill/waybill/schemas"
)

// publishTimeout is how long Kafka may take to acknowledge.
const publishTimeout = 10 * time.Second

// toKafka publishes the start itself and, to wait for the end, subscribes to the
// completions before it does: no server is asked.
func (s *submission) toKafka(ctx context.Context, input json.RawMessage) error {
	if s.output != "table" && s.output != "json" {
		return usagef("--output %s: want table or json", s.output)
	}
	if err := s.check(s.env); err != nil {
		return err
	}
	if s.id == "" {
		s.id = producers.NewID()
	}
	ctx, cancel := withTimeout(ctx, s.timeout)
	defer cancel()
	publish := func() (producers.Accepted, error) {
		return publishing(ctx, s.kafka(), func(ctx context.Context, p *producers.Publisher) (producers.Accepted, error) {
			return p.StartOrchestration(ctx, s.start(input))
		})
	}
	if s.wait {
		return s.followCompletions(ctx, publish)
	}
	a, err := publish()
	if err != nil {
		return err
	}
	if s.asJSON() {
		return s.printValue(a)
	}
	fmt.Fprintf(s.env.Out, "job %s asked for at %s\n", a.ID, a.Position)
	return nil
}

func publishing(ctx context.Context, cfg kafka.Config, do func(context.Context, *producers.Publisher) (producers.Accepted, error)) (producers.Accepted, error) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	p, err := producers.New(cfg)
	if err != nil {
		return producers.Accepted{}, usagef("--brokers: %w", err)
	}
	defer p.Close()
	// A publish that is not let in is tried again and again, without a word; this is not.
	err = kafka.Await(ctx, p.Ping)
	if _, access := errors.AsType[*kafka.AccessError](err); access {
		return producers.Accepted{}, fmt.Errorf("refused by Kafka at %s: %w", strings.Join(cfg.Brokers, ","), err)
	}
	a, err := do(ctx, p)
	var invalid *producers.InvalidError
	if errors.As(err, &invalid) {
		return a, usagef("--%w", err)
	}
	return a, err
}

// followCompletions waits for the job's end, or its refusal, on the completions topic.
func (s *submission) followCompletions(ctx context.Context, publish func() (producers.Accepted, error)) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var end *completions.Completion
	var refused *schemas.Rejected
	published := make(chan error, 1)
	err := completions.Subscribe(ctx, completions.Config{
		Kafka: s.kafka(), IDs: []string{s.id},
		Ready: func() {
			go func() {
				a, err := publish()
				if err == nil && !s.asJSON() {
					fmt.Fprintf(s.env.Err, "job %s asked for at %s; waiting for its end\n", a.ID, a.Position)
				}
				if published <- err; err != nil {
					stop()
				}
			}()
		},
		Rejected: func(r schemas.Rejected) error { refused = &r; return completions.Done },
	}, func(c completions.Completion) error {
		whole, err := c.Whole(ctx)
		if err != nil {
			return err
		}
		c.Output, end = whole, &c
		return completions.Done
	})
	select {
	case failed := <-published:
		if failed != nil {
			return failed
		}
	default:
	}
	switch {
	case refused != nil:
		return refusedf("job %s was refused: %s: %w", s.id, refused.Code, &refused.Refusal)
	case end != nil:
		return s.printEnd(end)
	case err != nil && !errors.Is(err, completions.Done):
		return err
	}
	return timedOutf("job %s has not ended yet", s.id)
}

func (s *submission) printEnd(end *completions.Completion) error {
	var err error
	if s.asJSON() {
		err = s.printValue(end.Completion)
	} else {
		err = facts(s.env.Out, "job", end.ID, "type", end.Type, "state", end.State.String(),
			"started", when(&end.StartedAt), "ended", when(&end.EndedAt), "output", shorten(string(end.Output)))
	}
	if end.State == orchestration.PhaseCompleted {
		return err
	}
	why := ""
	if end.Error != nil {
		why = ": " + end.Error.Message
	}
	return errors.Join(err, &exitError{exitFailed, fmt.Errorf("job %s ended %s%s", end.ID, end.State, why)})
}

func (r *remote) printValue(v any) error {
	raw, err := schemas.Encode(v)
	if err != nil {
		return err
	}
	return r.printJSON(raw)
}
