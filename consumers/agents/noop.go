package agents

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/domain/blob"
	"github.com/waybill/waybill/domain/definition"
)

// Noop does nothing. Its input says how:
//
//   - delay: how long it takes, "PT2S" or "2s"
//   - result: complete (the default), wait, schedule, retry or fatal
//   - times: give that result so many times, then complete; absent means always
//   - after: with schedule, when to be called again (1 s unless said); with retry and
//     wait, as agent.Result.After has it
//   - output: the output, returned as it is
//   - size: bytes of output, made up where there is no output
//   - spawn: activities, returned as they are
type Noop struct{}

type noopInput struct {
	Delay  definition.Duration   `json:"delay"`
	Result string                `json:"result"`
	Times  *int                  `json:"times"`
	After  *definition.Duration  `json:"after"`
	Output json.RawMessage       `json:"output"`
	Size   int                   `json:"size"`
	Spawn  []definition.Activity `json:"spawn"`
}

// maxMadeUp is over what is taken as an output unless configured otherwise, so that being refused
// can be tried out as well.
const maxMadeUp = 4 * blob.DefaultMax

// noopState counts how often the result was given.
type noopState struct {
	Given int `json:"given"`
}

// defaultAfter keeps a schedule without end from being a busy loop.
const defaultAfter = definition.Duration(time.Second)

// Quick implements agent.Quick: all that takes no time is quick.
func (Noop) Quick(a agent.Activity) bool {
	raw := a.Input.Raw()
	// A property can hide behind an escape, so then it is decoded as well.
	if !bytes.Contains(raw, []byte(`"delay"`)) && bytes.IndexByte(raw, '\\') < 0 {
		return true
	}
	var in struct {
		Delay definition.Duration `json:"delay"`
	}
	return a.Input.Decode(&in) != nil || in.Delay == 0
}

// Process implements agent.Processor.
func (Noop) Process(ctx context.Context, a agent.Activity) agent.Result {
	if a.Input.Empty() {
		return agent.Complete(nil)
	}
	var in noopInput
	if err := a.Input.Decode(&in); err != nil {
		return agent.Fatal(err).AtStep("input")
	}
	if err := in.check(); err != nil {
		return agent.Fatal(err).AtStep("input")
	}
	if err := pause(ctx, time.Duration(in.Delay)); err != nil {
		return agent.Retry(err)
	}
	var state noopState
	if err := a.DecodeState(&state); err != nil {
		return agent.Fatal(err).AtStep("state")
	}
	if in.Result == "" || in.Result == "complete" || in.Times != nil && state.Given >= *in.Times {
		return agent.Complete(in.output()).Spawn(in.Spawn...)
	}
	state.Given++
	return in.result(state.Given).WithState(state)
}

func (in *noopInput) check() error {
	switch in.Result {
	case "", "complete", "wait", "schedule", "retry", "fatal":
	default:
		return fmt.Errorf("result %q is none of complete, wait, schedule, retry, fatal", in.Result)
	}
	if in.Size < 0 || in.Size > maxMadeUp {
		return fmt.Errorf("size %d is not within the limit of %d bytes that are made up", in.Size, maxMadeUp)
	}
	if in.Times != nil && *in.Times < 0 {
		return fmt.Errorf("times %d is negative", *in.Times)
	}
	return nil
}

// result is the result that was asked for, given for the n-th time.
func (in *noopInput) result(n int) agent.Result {
	var after definition.Duration
	if in.After != nil {
		after = *in.After
	} else if in.Result == "schedule" {
		after = defaultAfter
	}
	asked := fmt.Errorf("this was asked for (time %d)", n)
	switch in.Result {
	case "wait":
		return agent.Wait().After(time.Duration(after))
	case "schedule":
		return agent.Schedule(time.Duration(after))
	case "retry":
		return agent.Retry(asked).After(time.Duration(after))
	}
	return agent.Fatal(asked)
}

// output is the output as given, or one of the given size: {"data":"xxx"}.
func (in *noopInput) output() any {
	if len(in.Output) > 0 {
		return in.Output
	}
	if in.Size == 0 {
		return nil
	}
	const frame = len(`{"data":""}`)
	return json.RawMessage(`{"data":"` + strings.Repeat("x", max(in.Size-frame, 0)) + `"}`)
}

// pause waits, or says why it was cut short.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
