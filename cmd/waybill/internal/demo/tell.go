package demo

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/waybill/waybill/consumers/completions"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/schemas"
)

// introduce says what has been started.
func (r *run) introduce() {
	fmt.Fprintf(r.Out, "Waybill is up after %.2f s, everything in this process:\n", time.Since(r.began).Seconds())
	row := func(name, what string) { fmt.Fprintf(r.Out, "  %-10s %s\n", name, what) }
	row("broker", strings.Join(r.main.Kafka().Brokers, ",")+", embedded, speaks Kafka's protocol")
	row("API", r.main.URL())
	if r.providers.edc != nil {
		row("connector", r.providers.edc.ManagementURL()+", a stand-in that speaks EDC's management API v3")
	}
	for _, p := range r.providers.list {
		what := p.url + ", serves " + p.dir
		switch {
		case p.broken:
			what = p.url + ", answers 503 to every document (--fail)"
		case p.delay > 0 && r.Plain:
			what += fmt.Sprintf(", each after %s (--delay)", p.delay)
		case p.delay > 0:
			what += fmt.Sprintf(", agreement and document each after %s (--delay)", p.delay)
		}
		row(p.name, what)
	}
}

// tell says how the job ended, as the completion has it; a *JobError unless it completed.
func (r *run) tell(c completions.Completion) error {
	fmt.Fprintf(r.Out, "\n%s on %s:\n", c.Name, r.main.Kafka().Topics().Completions(schemas.AggregateOrchestration))
	if c.State != orchestration.PhaseCompleted {
		err := &JobError{ID: c.ID, State: c.State}
		if c.Error != nil {
			err.Reason = r.failure(c.Error)
		}
		fmt.Fprintf(r.Out, "\n  %s\n\n", err)
		r.requests()
		return err
	}
	var out struct {
		Value string `json:"value"`
		Path  string `json:"path"`
		Size  int64  `json:"size"`
	}
	if err := json.Unmarshal(c.Output, &out); err != nil {
		return fmt.Errorf("the output of job %s: %w", c.ID, err)
	}
	fmt.Fprintf(r.Out, "\n  %s\n\n", out.Value)
	for i := range c.Failures {
		fmt.Fprintf(r.Out, "missing (--partial): %s\n", r.failure(&c.Failures[i]))
	}
	if len(c.Failures) > 0 {
		r.requests()
	}
	if _, err := os.Stat(out.Path); err != nil {
		return fmt.Errorf("the result should lie in %s: %w", out.Path, err)
	}
	fmt.Fprintf(r.Out, "result file: %s (%d bytes), after %.2f s\n", out.Path, out.Size, time.Since(r.began).Seconds())
	return nil
}

// failure names the node, the step, what went wrong, and how often it was tried.
func (r *run) failure(f *orchestration.Failure) string {
	name := f.Name
	switch {
	case f.ActivityID == rootActivity:
		name = firstDocument + " at " + r.providers.list[0].url
	case name == "":
		name = f.ActivityID
	}
	for _, p := range r.providers.list {
		name = strings.ReplaceAll(name, p.url, p.name) // the message keeps the address
	}
	return fmt.Sprintf("%s: %s (%s)", name, what(f), attempts(f.Attempts))
}

// requests says what the providers have seen.
func (r *run) requests() {
	counts := make([]string, len(r.providers.list))
	for i, p := range r.providers.list {
		counts[i] = fmt.Sprintf("%s %d", p.name, p.asked())
	}
	fmt.Fprintf(r.Out, "requests the providers have seen: %s\n", strings.Join(counts, ", "))
}

// next names commands that work when they are pasted.
func (r *run) next() {
	type command struct{ line, why string }
	var commands []command
	switch {
	case r.Keep:
		input := fmt.Sprintf(`{"file": "test-document-3", "connectorUrl": "%s"}`, r.providers.list[2].url)
		commands = []command{
			{fmt.Sprintf("%s get %s --server %s", r.Program, jobID, r.main.URL()), "the job with its nodes"},
			{fmt.Sprintf("%s events %s --server %s", r.Program, jobID, r.main.URL()), "its history as it stands on the log"},
			{fmt.Sprintf("%s submit --server %s --type %s --input '%s' --wait", r.Program, r.main.URL(), definition.PartsTree, input), "another job"},
		}
		if !r.Plain {
			commands = append(commands, command{fmt.Sprintf("%s negotiations --server %s", r.Program, r.main.URL()), "what has been negotiated"})
		}
	case r.Fail != "":
		commands = []command{
			{fmt.Sprintf("%s demo --fail %s --partial", r.Program, r.Fail), "complete with what can be had"},
			{fmt.Sprintf("%s demo --fail %s --keep", r.Program, r.Fail), "stay up and look around"},
			{fmt.Sprintf("%s demo", r.Program), "with every provider well"},
		}
	default:
		commands = []command{
			{fmt.Sprintf("%s demo --delay 2s", r.Program), "slow providers: watch the tree grow"},
			{fmt.Sprintf("%s demo --fail provider2", r.Program), "a broken one: retries, and a job that says why it failed"},
			{fmt.Sprintf("%s demo --keep", r.Program), "stay up and look around"},
		}
	}
	fmt.Fprintln(r.Out, "\nTry next:")
	for _, c := range commands {
		fmt.Fprintf(r.Out, "  %s\n      %s\n", c.line, c.why)
	}
}
