package agents

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/internal/callbacks"
	"github.com/waybill/waybill/internal/outbound"
	"github.com/waybill/waybill/internal/redact"
	"github.com/waybill/waybill/schemas"
)

// Defaults of http.
const (
	DefaultAnswerBytes = 10 << 20 // of an answer's body; what an output may have at all may be less
	DefaultEvery       = 10 * time.Second
	// maxAccepted bounds the accepted answer that is kept while its outcome is polled: it
	// stands in every record of the activity.
	maxAccepted = 64 << 10
	// maxSnippet bounds what an error shows of an answer.
	maxSnippet = 300
)

// HTTPConfig says how http calls. Zero values take the defaults, no Outbound allows
// nothing, no Callbacks means that there is no address to give away.
type HTTPConfig struct {
	Outbound    *outbound.Hosts
	Secrets     Secrets
	Callbacks   *callbacks.Addresses
	Timeout     time.Duration // DefaultTimeout; the input's timeout goes over it
	MaxBytes    int64         // DefaultAnswerBytes
	Concurrency int           // connections kept per host
}

// HTTP calls an HTTP interface. Its input is the request, its output the answer: {status,
// headers, body}. With wait, an accepted request is followed by somebody's report, with
// poll by asking until the answer says how it went. docs/ready-made-agents.md has every
// member. Its failures say at which step they happened: input, address, call, answer or
// poll.
type HTTP struct {
	cfg    HTTPConfig
	client *http.Client
}

// NewHTTP makes an HTTP with connections of its own.
func NewHTTP(cfg HTTPConfig) *HTTP {
	cfg.Timeout = cmp.Or(cfg.Timeout, outbound.DefaultTimeout)
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, DefaultAnswerBytes)
	if cfg.Outbound == nil {
		cfg.Outbound = &outbound.Hosts{}
	}
	return &HTTP{cfg: cfg, client: cfg.Outbound.Client(max(cfg.Concurrency, 1))}
}

// polled is the activity's own state between an accepted request and its outcome.
type polled struct {
	Accepted json.RawMessage `json:"accepted"`
	Times    int             `json:"times"`
}

// dispose is the discriminator under which what an activity did is undone.
const dispose = "dispose"

// Process implements agent.Processor.
func (h *HTTP) Process(ctx context.Context, a agent.Activity) agent.Result {
	in, err := readHTTPInput(a)
	if err != nil {
		return agent.Fatal(err).AtStep("input")
	}
	if in == nil {
		return agent.Complete(nil) // there is nothing to undo
	}
	var state polled
	if err := a.DecodeState(&state); err != nil {
		return agent.Fatal(err).AtStep("state")
	}
	c := &call{HTTP: h, activity: a, fill: placeholders{values: map[string]string{"work.id": a.ID, "job.id": a.JobID, "activity.id": a.ActivityID, "resource": a.Resource}}}
	c.fill.callback = c.callback
	if a.Discriminator == dispose {
		c.fill.output = decoded(a.Input.Raw())
	}
	if state.Accepted != nil && in.Poll != nil {
		return c.poll(ctx, in, state)
	}
	return c.first(ctx, in)
}

// call is one attempt.
type call struct {
	*HTTP
	activity agent.Activity
	fill     placeholders
	hidden   redact.Values
}

func (c *call) callback(below string) (string, error) {
	if c.cfg.Callbacks == nil {
		return "", errors.New("${callback} has no value: this agent was not told where others reach us (--public-url) or has no key for it")
	}
	c.hidden = c.hidden.Add(c.cfg.Callbacks.Proof(c.activity.ID), "[callback]")
	return c.cfg.Callbacks.Of(c.activity.ID) + below, nil
}

// first makes the request that is the activity.
func (c *call) first(ctx context.Context, in *httpInput) agent.Result {
	got, failed := c.do(ctx, &in.httpRequest, c.activity.IdempotencyKey)
	switch {
	case failed != nil:
		return c.result(failed)
	case in.Wait != nil && in.Wait.On.has(got.status()):
		return agent.Wait().After(time.Duration(in.Wait.Timeout))
	case in.Poll != nil && in.Poll.On.has(got.status()):
		return c.accepted(in, got)
	}
	return agent.Complete(got)
}

// accepted keeps an answer, and asks to be called again to see what came of it.
func (c *call) accepted(in *httpInput, got answer) agent.Result {
	raw, err := schemas.Encode(got)
	if err != nil {
		return agent.Fatal(err).AtStep("answer")
	}
	if len(raw) > maxAccepted {
		return agent.Fatal(fmt.Errorf("the accepted answer has %d bytes; one that is polled has at most %d", len(raw), maxAccepted)).AtStep("answer")
	}
	return agent.Schedule(cmp.Or(time.Duration(in.Poll.Every), DefaultEvery)).WithState(polled{Accepted: raw})
}

// poll asks once how an accepted request went.
func (c *call) poll(ctx context.Context, in *httpInput, state polled) agent.Result {
	c.fill.response = decoded(state.Accepted)
	state.Times++
	got, failed := c.do(ctx, in.polling(), "")
	if failed != nil {
		failed.step = strings.Replace(failed.step, "call", "poll", 1)
		return c.result(failed).WithState(state)
	}
	every := cmp.Or(time.Duration(in.Poll.Every), DefaultEvery)
	switch {
	case in.Poll.FailWhen.hold(map[string]any(got)):
		return c.result(&failure{step: "poll", err: fmt.Errorf("it failed there: %s", c.hidden.Text(got.snippet()))})
	case in.Poll.Until.hold(map[string]any(got)):
		got["accepted"] = state.Accepted
		return agent.Complete(got)
	}
	return agent.Schedule(max(every, got.retryAfter())).WithState(state)
}

// result is a failed request, without what must not be written down.
func (c *call) result(f *failure) agent.Result {
	err := errors.New(c.hidden.Text(f.err.Error()))
	if f.again {
		return agent.Retry(err).After(f.after).AtStep(f.step)
	}
	return agent.Fatal(err).AtStep(f.step)
}

// do makes a request and reads what is answered.
func (c *call) do(ctx context.Context, in *httpRequest, key string) (answer, *failure) {
	timeout := cmp.Or(time.Duration(in.Timeout), c.cfg.Timeout)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not done within the timeout of %s", timeout))
	defer cancel()
	req, secret, failed := c.request(ctx, in, key)
	if failed != nil {
		return nil, failed
	}
	where := req.Method + " " + outbound.Shown(req.URL)
	resp, err := c.forgetful(secret).Do(req)
	if err != nil {
		return nil, atCall(failing(outbound.Unreachable(ctx, err)), where)
	}
	defer resp.Body.Close()
	got, failed := c.read(ctx, in, resp)
	if failed != nil {
		return nil, atCall(failed, where)
	}
	if !in.Expect.has(resp.StatusCode) {
		failed = failing(outbound.Refused(resp))
		if snippet := got.snippet(); snippet != "" {
			failed.err = fmt.Errorf("%w: %s", failed.err, snippet)
		}
		return nil, atCall(failed, where)
	}
	return got, nil
}

// failure is a request that brought no answer of use, and at which step.
type failure struct {
	step  string
	err   error
	again bool // a passing fault
	after time.Duration
}

// failing is a fault of the call, or of the address that was to be called.
func failing(f *outbound.Fault) *failure {
	step := "call"
	if f.Address {
		step = "address"
	}
	return &failure{step: step, err: f.Err, again: f.Again, after: f.After}
}

// atCall names the request in the error.
func atCall(f *failure, where string) *failure {
	f.err = fmt.Errorf("%s: %w", where, f.err)
	return f
}

// forgetful is the client that takes secrets out of a request that is redirected to
// somebody else.
func (c *call) forgetful(secret map[string]bool) *http.Client {
	client := *c.client
	client.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		if err := c.client.CheckRedirect(req, via); err != nil {
			return err
		}
		first := via[0].URL
		if req.URL.Scheme != first.Scheme || req.URL.Hostname() != first.Hostname() || outbound.Port(req.URL) != outbound.Port(first) {
			for name := range secret {
				req.Header.Del(name)
			}
		}
		return nil
	}
	return &client
}
