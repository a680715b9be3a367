package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/waybill/waybill/integration/internal/api"
)

// The kinds of jobs, in turn.
const (
	chain     = "chain"     // three steps, no waiting
	slow      = "slow"      // three steps that take their time
	tree      = "tree"      // a tree of documents from the providers
	waiting   = "waiting"   // completed from outside
	retried   = "retried"   // two passing faults
	scheduled = "scheduled" // called again three times
	fatal     = "fatal"     // ends in error
	cancelled = "cancelled" // cancelled while it runs
	outside   = "outside"   // carried out in another process; not among the mixed ones
)

func kinds() []string {
	return []string{chain, tree, slow, waiting, retried, tree, scheduled, slow, fatal, cancelled}
}

// definitions of the kinds that have their own, by type.
var definitions = map[string]string{
	"load-chain": `{"output": [{"source": "c.token", "target": "token"}], "activities": [
		{"id": "a", "type": "noop", "with": {"output": {"token": "{{input.token}}"}}},
		{"id": "b", "type": "noop", "dependsOn": "a", "with": {"output": {"token": "{{a.token}}"}}},
		{"id": "c", "type": "noop", "dependsOn": "b", "with": {"output": {"token": "{{b.token}}"}}}]}`,
	"load-slow": `{"output": [{"source": "c.token", "target": "token"}], "activities": [
		{"id": "a", "type": "noop", "with": {"delay": "{{input.delay}}", "output": {"token": "{{input.token}}"}}},
		{"id": "b", "type": "noop", "dependsOn": "a", "with": {"delay": "{{input.delay}}", "output": {"token": "{{a.token}}"}}},
		{"id": "c", "type": "noop", "dependsOn": "b", "with": {"delay": "{{input.delay}}", "output": {"token": "{{b.token}}"}}}]}`,
	"load-waiting": `{"output": [{"source": "b.token", "target": "token"}], "activities": [
		{"id": "a", "type": "noop", "with": {"result": "wait"}},
		{"id": "b", "type": "noop", "dependsOn": "a", "with": {"output": {"token": "{{a.token}}"}}}]}`,
	"load-retried": `{"output": [{"source": "a.token", "target": "token"}], "activities": [
		{"id": "a", "type": "noop", "retry": {"limit": 100, "baseDelay": "PT0.1S", "maxDelay": "PT0.4S"},
		 "with": {"result": "retry", "times": 2, "output": {"token": "{{input.token}}"}}}]}`,
	"load-scheduled": `{"output": [{"source": "a.token", "target": "token"}], "activities": [
		{"id": "a", "type": "noop", "with": {"result": "schedule", "after": "PT0.2S", "times": 3, "output": {"token": "{{input.token}}"}}}]}`,
	"load-outside": `{"output": [{"source": "a.token", "target": "token"}], "activities": [
		{"id": "a", "type": "exec", "with": {"program": "cat", "token": "{{input.token}}"}}]}`,
	"load-fatal":     `{"activities": [{"id": "a", "type": "noop", "with": {"result": "fatal"}}]}`,
	"load-cancelled": `{"activities": [{"id": "a", "type": "noop", "with": {"delay": "PT10M"}}]}`,
}

// Define puts the definitions that the jobs need.
func Define(ctx context.Context, c *api.Client) error {
	for typ, body := range definitions {
		if err := c.Insist(ctx, http.MethodPut, "/v1/definitions/orchestrations/"+typ, []byte(body), nil); err != nil {
			return err
		}
	}
	return nil
}

// Job is a job to be asked for, and what must become of it.
type Job struct {
	ID, Kind string
	State    string // it must end in
	Value    string // of its output
	token    string
	body     []byte

	// Acknowledged is when the answer to the start came, after how many tries it is not said.
	Acknowledged time.Time
}

// New makes n jobs whose ids begin with prefix, and the providers that some of them need.
func New(ctx context.Context, seed uint64, prefix string, n int) ([]*Job, *Providers, error) {
	rnd := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // the same jobs from the same seed
	providers, err := startProviders(ctx)
	if err != nil {
		return nil, nil, err
	}
	jobs := make([]*Job, n)
	for i := range jobs {
		kind := kinds()[i%len(kinds())]
		j := &Job{ID: fmt.Sprintf("%s-%04d-%s", prefix, i, kind), Kind: kind, State: "COMPLETED", token: fmt.Sprintf("%016x", rnd.Uint64())}
		if err := j.write(rnd, providers); err != nil {
			providers.Close()
			return nil, nil, err
		}
		jobs[i] = j
	}
	return jobs, providers, nil
}

// Small makes one more job, of the kind that is soon over.
func Small(id string) (*Job, error) {
	j := &Job{ID: id, Kind: chain, State: "COMPLETED", token: id}
	return j, j.write(nil, nil)
}

// Slow makes one more job, of three steps that take that long each.
func Slow(id string, each time.Duration) (*Job, error) {
	j := &Job{ID: id, Kind: slow, State: "COMPLETED", token: id, Value: id}
	input := map[string]any{"token": id, "delay": fmt.Sprintf("PT%.3fS", each.Seconds())}
	var err error
	j.body, err = json.Marshal(map[string]any{"id": id, "type": "load-slow", "input": input})
	return j, err
}

// Outside makes one more job, whose work an agent of its own process has to carry out: `waybill
// agent exec` with Programs.
func Outside(id string) (*Job, error) {
	j := &Job{ID: id, Kind: outside, State: "COMPLETED", token: id}
	return j, j.write(nil, nil)
}

// Programs are the settings of the agent that Outside needs.
const Programs = `{"exec": {"programs": {"cat": {"path": "/bin/cat"}}}}`

// Wait makes one more job, which waits until Finish.
func Wait(id string) (*Job, error) {
	j := &Job{ID: id, Kind: waiting, State: "COMPLETED", token: id}
	return j, j.write(nil, nil)
}

// Finish completes a job that waits from outside.
func (j *Job) Finish(ctx context.Context, c *api.Client) error { return j.completeFromOutside(ctx, c) }

func (j *Job) write(rnd *rand.Rand, providers *Providers) error {
	typ, input := "load-"+j.Kind, map[string]any{"token": j.token}
	j.Value = j.token
	switch j.Kind {
	case tree:
		root, values, err := providers.grow(rnd, j.ID, 1+rnd.IntN(2))
		if err != nil {
			return err
		}
		typ, input = "parts-tree", map[string]any{"file": root.File, "connectorUrl": root.ConnectorURL}
		j.Value = strings.Join(values, " ")
	case slow:
		input["delay"] = fmt.Sprintf("PT0.%03dS", 50+rnd.IntN(350))
	case fatal:
		j.State, j.Value = "ERROR", ""
	case cancelled:
		j.State, j.Value = "CANCELLED", ""
	}
	var err error
	j.body, err = json.Marshal(map[string]any{"id": j.ID, "type": typ, "input": input, "labels": map[string]string{"kind": j.Kind}})
	return err
}

// Run asks for the job until that is acknowledged, then does what its kind wants from
// outside until that is acknowledged.
func (j *Job) Run(ctx context.Context, c *api.Client) error {
	if err := j.Submit(ctx, c); err != nil {
		return err
	}
	switch j.Kind {
	case waiting:
		return j.completeFromOutside(ctx, c)
	case cancelled:
		body := []byte(`{"reason": "that is its kind"}`)
		return c.Insist(ctx, http.MethodPost, "/v1/jobs/"+j.ID+"/cancel", body, nil)
	case chain:
		return j.Submit(ctx, c) // the same again changes nothing
	}
	return nil
}

// Submit asks for the job until that is acknowledged.
func (j *Job) Submit(ctx context.Context, c *api.Client) error {
	if err := c.Insist(ctx, http.MethodPost, "/v1/jobs", j.body, nil); err != nil {
		return fmt.Errorf("start %s: %w", j.ID, err)
	}
	if j.Acknowledged.IsZero() {
		j.Acknowledged = time.Now()
	}
	return nil
}

// completeFromOutside waits until the job waits and then completes its work.
func (j *Job) completeFromOutside(ctx context.Context, c *api.Client) error {
	body, err := json.Marshal(map[string]any{"output": map[string]string{"token": j.token}})
	if err != nil {
		return err
	}
	for {
		var found api.Job
		err := c.Insist(ctx, http.MethodGet, "/v1/jobs/"+j.ID, nil, &found)
		if err != nil && !api.Is(err, http.StatusNotFound) { // the view may not have it yet
			return err
		}
		if found.Ended() { // an answer was lost, the complete was not
			return nil
		}
		for _, n := range found.Nodes {
			if n.ID != "a" || n.State != "WAITING" {
				continue
			}
			err := c.Insist(ctx, http.MethodPost, "/v1/work/"+n.WorkID+"/complete", body, nil)
			// The view of the server that is asked this time may not have it yet, either.
			if err == nil || !api.Is(err, http.StatusConflict, http.StatusNotFound) {
				return err
			}
		}
		if err := api.Pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// Check says what is wrong with how the job has ended; nil if nothing is.
func (j *Job) Check(found *api.Job) error {
	if found.State != j.State {
		return fmt.Errorf("%s is %s, want %s: %s", j.ID, found.State, j.State, found.Error)
	}
	if j.State != "COMPLETED" {
		return nil
	}
	var out struct{ Token, Value, Path string }
	if err := json.Unmarshal(found.Output, &out); err != nil {
		return fmt.Errorf("%s has the output %s: %w", j.ID, found.Output, err)
	}
	if j.Kind != tree {
		if out.Token != j.Value {
			return fmt.Errorf("%s has the output %s, want token %s", j.ID, found.Output, j.Value)
		}
		return nil
	}
	if out.Value != j.Value {
		return fmt.Errorf("%s has the value %q, want %q", j.ID, out.Value, j.Value)
	}
	file, err := os.ReadFile(out.Path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%s: its result file %s is not there", j.ID, out.Path)
	case err != nil:
		return err
	case string(file) != j.Value:
		return fmt.Errorf("%s: its result file %s says %q, want %q", j.ID, out.Path, file, j.Value)
	}
	return nil
}
