package audit

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/load"
)

// Topics that are audited, with the default prefix.
const (
	eventsTopic      = "waybill.orchestration.events"
	completionsTopic = "waybill.orchestration.completions"
	deadlettersTopic = "waybill.deadletters"
)

// Subject is what is audited: jobs that have all been acknowledged and have ended, as a
// server and a broker know them.
type Subject struct {
	Jobs    []*load.Job
	Client  *api.Client
	Brokers []string
	Out     io.Writer // takes the figures

	events []Record
}

// All holds every job, its history, the log and the completions against what must be,
// prints the figures, and returns what is wrong.
func (s *Subject) All(ctx context.Context) []string {
	var wrong []string
	for _, check := range []func(context.Context) []string{s.results, s.histories, s.log, s.completions, s.deadLetters} {
		wrong = append(wrong, check(ctx)...)
	}
	return wrong
}

// Events are the records of the events topic that All has read, the shards' books among
// them, in the order of each partition.
func (s *Subject) Events() []Record { return s.events }

// shownWrong is how many of the things that are wrong are printed.
const shownWrong = 40

// Print prints what is wrong.
func Print(out io.Writer, wrong []string) {
	for i, w := range wrong {
		if i == shownWrong {
			fmt.Fprintf(out, "  WRONG … and %d more\n", len(wrong)-i)
			break
		}
		fmt.Fprintln(out, "  WRONG", w)
	}
	if len(wrong) == 0 {
		fmt.Fprintln(out, "  nothing is wrong")
	}
}

func unread(what string, err error) []string {
	return []string{fmt.Sprintf("%s cannot be read: %v", what, err)}
}

// results holds every job against what must have become of it.
func (s *Subject) results(ctx context.Context) (wrong []string) {
	right := 0
	for _, j := range s.Jobs {
		var found api.Job
		err := s.Client.Insist(ctx, http.MethodGet, "/v1/jobs/"+j.ID, nil, &found)
		if err == nil {
			err = j.Check(&found)
		}
		if ctx.Err() != nil {
			return append(wrong, fmt.Sprintf("the jobs from %s on could not be asked for: %v", j.ID, err))
		}
		if err != nil {
			wrong = append(wrong, err.Error())
			continue
		}
		right++
	}
	fmt.Fprintf(s.Out, "  jobs that ended as they must: %d of %d\n", right, len(s.Jobs))
	return wrong
}

// histories checks what /v1/jobs/{id}/events says.
func (s *Subject) histories(ctx context.Context) (wrong []string) {
	n := 0
	for _, j := range s.Jobs {
		events, err := s.Client.Events(ctx, j.ID)
		if ctx.Err() != nil {
			return append(wrong, fmt.Sprintf("the histories from that of %s on could not be asked for: %v", j.ID, err))
		}
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("%s: %v", j.ID, err))
			continue
		}
		n += len(events)
		wrong = append(wrong, History(j.ID, events)...)
	}
	fmt.Fprintf(s.Out, "  events in their histories: %d\n", n)
	return wrong
}

// log checks the events topic.
func (s *Subject) log(ctx context.Context) []string {
	records, err := Read(ctx, s.Brokers, eventsTopic)
	if err != nil {
		return unread(eventsTopic, err)
	}
	s.events = records
	wrong, repeats := Log(records)
	fmt.Fprintf(s.Out, "  events on the log: %d, and %d repeats\n", len(Events(records))-repeats, repeats)
	return wrong
}

// completions checks the ends as other clients see them.
func (s *Subject) completions(ctx context.Context) (wrong []string) {
	want := map[string]string{}
	for _, j := range s.Jobs {
		want[j.ID] = j.State
	}
	ours, err := Read(ctx, s.Brokers, completionsTopic)
	if err != nil {
		return unread(completionsTopic, err)
	}
	wrong, repeats, refusals := Completions(ours, want)
	fmt.Fprintf(s.Out, "  completions: %d of %d jobs, and %d repeats told by ce_id; %d refusals\n", len(ours)-repeats-refusals, len(want), repeats, refusals)
	theirs, ok, err := Kcat(ctx, s.Brokers, completionsTopic)
	switch {
	case err != nil:
		return append(wrong, err.Error())
	case !ok:
		fmt.Fprintln(s.Out, "  kcat is not installed: only franz-go has read them")
		return wrong
	}
	more, repeats, refusals := Completions(theirs, want)
	fmt.Fprintf(s.Out, "  as kcat reads them: %d, and %d repeats\n", len(theirs)-repeats-refusals, repeats)
	return append(wrong, more...)
}

// deadLetters: nothing was sent that cannot be read.
func (s *Subject) deadLetters(ctx context.Context) []string {
	records, err := Read(ctx, s.Brokers, deadlettersTopic)
	if err != nil {
		return unread(deadlettersTopic, err)
	}
	var wrong []string
	for _, r := range records {
		wrong = append(wrong, fmt.Sprintf("a dead letter, key %q: %s", r.Key, r.Value))
	}
	return wrong
}
