package audit

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"time"

	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/load"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// Subject is what is audited: jobs that have all been acknowledged and have ended, as a
// server and a broker know them.
type Subject struct {
	Jobs     []*load.Job
	Client   *api.Client
	Brokers  []string
	Prefix   string    // of the topics; empty means the default
	Embedded bool      // see Options
	Files    []string  // of projections that follow the log, on this machine
	Secrets  []string  // see Options
	Scratch  string    // a directory for what is compared with them
	Out      io.Writer // takes the figures

	log *Log
}

// All holds every job, its history, the log, the completions and the projections against what
// must be, prints the figures, and returns what is wrong.
func (s *Subject) All(ctx context.Context) []string {
	var wrong []string
	for _, check := range []func(context.Context) []string{s.results, s.histories, s.laws, s.completions, s.projections} {
		wrong = append(wrong, check(ctx)...)
	}
	return wrong
}

func (s *Subject) kafka() kafka.Config { return kafka.Config{Brokers: s.Brokers, Prefix: s.Prefix} }

// Events are the records of the events topic that All has read, the shards' books among
// them, in the order of each partition.
func (s *Subject) Events() []Record {
	if s.log == nil {
		return nil
	}
	return s.log.Records[s.kafka().Topics().Events(schemas.AggregateOrchestration)]
}

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

// laws holds the whole log against the laws.
func (s *Subject) laws(ctx context.Context) []string {
	log, err := ReadLog(ctx, s.kafka())
	if err != nil {
		return unread("the log", err)
	}
	s.log = log
	report := Check(log, Options{Embedded: s.Embedded, Quiet: true, Now: time.Now(), Secrets: s.Secrets})
	fmt.Fprintln(s.Out, "  on the log:", report)
	return Sentences(report.Wrongs)
}

// projections holds the files against fresh ones.
func (s *Subject) projections(ctx context.Context) (wrong []string) {
	for _, path := range s.Files {
		found, rows, err := Projection(ctx, s.kafka(), path, s.Scratch)
		if err != nil {
			return append(wrong, unread(path, err)...)
		}
		fmt.Fprintf(s.Out, "  rows of %s that a fresh replay has as well: %d\n", filepath.Base(path), rows)
		wrong = append(wrong, Sentences(found)...)
	}
	return wrong
}

// completions checks the ends as other clients see them.
func (s *Subject) completions(ctx context.Context) (wrong []string) {
	want := map[string]string{}
	for _, j := range s.Jobs {
		want[j.ID] = j.State
	}
	if s.log == nil {
		return nil // which has been told
	}
	topic := s.kafka().Topics().Completions(schemas.AggregateOrchestration)
	ours := s.log.Records[topic]
	wrong, repeats, refusals := Completions(ours, want)
	fmt.Fprintf(s.Out, "  completions: %d of %d jobs, and %d repeats told by ce_id; %d refusals\n", len(ours)-repeats-refusals, len(want), repeats, refusals)
	theirs, ok, err := Kcat(ctx, s.Brokers, topic)
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
