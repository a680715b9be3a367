package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/audit"
)

const (
	eventsTopic      = "waybill.orchestration.events"
	completionsTopic = "waybill.orchestration.completions"
	deadlettersTopic = "waybill.deadletters"
	// progressWithin is how long after its start a process may take to go on.
	progressWithin = 2 * time.Second
	// shownWrong is how many of the things that are wrong are printed.
	shownWrong = 40
)

// report checks everything, prints the figures, and returns what is wrong.
func (s *scenario) report(ctx context.Context) []string {
	var wrong []string
	for _, check := range []func(context.Context) []string{s.results, s.histories, s.onLog, s.completions, s.deadLetters} {
		wrong = append(wrong, check(ctx)...)
	}
	retried := int64(0)
	for _, c := range s.clients {
		retried += c.Retried.Load()
	}
	requests, documents := s.providers.Asked()
	fmt.Printf("  killed %d times within %.1f s; all had ended %.1f s after the last start\n", s.kills, s.killed.Seconds(), s.drained.Seconds())
	fmt.Printf("  the clients tried again %d times; the providers were asked %d times for %d documents\n", retried, requests, documents)
	for i, w := range wrong {
		if i == shownWrong {
			fmt.Printf("  WRONG … and %d more\n", len(wrong)-i)
			break
		}
		fmt.Println("  WRONG", w)
	}
	if len(wrong) == 0 {
		fmt.Println("  nothing is wrong")
	}
	return wrong
}

func unread(what string, err error) []string {
	return []string{fmt.Sprintf("%s cannot be read: %v", what, err)}
}

// results holds every job against what must have become of it.
func (s *scenario) results(ctx context.Context) (wrong []string) {
	right := 0
	for _, j := range s.jobs {
		var found api.Job
		err := s.clients[0].Insist(ctx, http.MethodGet, "/v1/jobs/"+j.ID, nil, &found)
		if err == nil {
			err = j.Check(&found)
		}
		if err != nil {
			wrong = append(wrong, err.Error())
			continue
		}
		right++
	}
	fmt.Printf("  jobs that ended as they must: %d of %d\n", right, len(s.jobs))
	return wrong
}

// histories checks what /v1/jobs/{id}/events says.
func (s *scenario) histories(ctx context.Context) (wrong []string) {
	n := 0
	for _, j := range s.jobs {
		events, err := s.clients[0].Events(ctx, j.ID)
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("%s: %v", j.ID, err))
			continue
		}
		n += len(events)
		wrong = append(wrong, audit.History(j.ID, events)...)
	}
	fmt.Printf("  events in their histories: %d\n", n)
	return wrong
}

// onLog checks the events topic and takes from it how soon each life made progress.
func (s *scenario) onLog(ctx context.Context) []string {
	records, err := audit.Read(ctx, []string{s.kafka}, eventsTopic)
	if err != nil {
		return unread(eventsTopic, err)
	}
	wrong, repeats := audit.Log(records)
	fmt.Printf("  events on the log: %d, and %d repeats\n", len(audit.Events(records))-repeats, repeats)
	return append(wrong, s.progress(audit.Events(records))...)
}

// progress measures from the start of each process to the first event that was decided
// after it, and to the first one of a job that was there before.
func (s *scenario) progress(events []audit.Record) (wrong []string) {
	started := map[string]time.Time{}
	for _, e := range events {
		if e.Sequence == 1 {
			started[e.Key] = e.Time
		}
	}
	slices.SortStableFunc(events, func(a, b audit.Record) int { return a.Time.Compare(b.Time) })
	var first, older, ready []time.Duration
	short := 0
	for n, l := range s.lives[1:] { // the first one had nothing to go on with
		if l.ready > 0 {
			ready = append(ready, l.ready)
		}
		f, o := after(events, started, l)
		if f > 0 {
			first = append(first, f)
		}
		if o > 0 {
			older = append(older, o)
		}
		lasted := l.ended.Sub(l.began)
		if l.ended.IsZero() {
			lasted = time.Hour
		}
		switch {
		case f == 0 && lasted <= progressWithin:
			short++
		case f == 0 || f > progressWithin:
			wrong = append(wrong, fmt.Sprintf("start %d made its first progress after %s (0s: never) within its %s", n+2, f, lasted))
		}
	}
	fmt.Printf("  from a start to ready:                  %s\n", spread(ready))
	fmt.Printf("  to the first event:                     %s; killed before: %d\n", spread(first), short)
	fmt.Printf("  to the first of a job from before:      %s\n", spread(older))
	return wrong
}

func after(events []audit.Record, started map[string]time.Time, l life) (first, older time.Duration) {
	i, _ := slices.BinarySearchFunc(events, l.began, func(e audit.Record, t time.Time) int { return e.Time.Compare(t) })
	for ; i < len(events) && (l.ended.IsZero() || events[i].Time.Before(l.ended)); i++ {
		d := events[i].Time.Sub(l.began)
		if first == 0 {
			first = d
		}
		if started[events[i].Key].Before(l.began) {
			return first, d
		}
	}
	return first, 0
}

// spread is the median and the ends of some durations.
func spread(l []time.Duration) string {
	if len(l) == 0 {
		return "never"
	}
	slices.Sort(l)
	return fmt.Sprintf("median %.2f s, %.2f to %.2f s (%d times)", l[len(l)/2].Seconds(), l[0].Seconds(), l[len(l)-1].Seconds(), len(l))
}

// completions checks the ends as other clients see them.
func (s *scenario) completions(ctx context.Context) (wrong []string) {
	want := map[string]string{}
	for _, j := range s.jobs {
		want[j.ID] = j.State
	}
	ours, err := audit.Read(ctx, []string{s.kafka}, completionsTopic)
	if err != nil {
		return unread(completionsTopic, err)
	}
	wrong, repeats, refusals := audit.Completions(ours, want)
	fmt.Printf("  completions: %d records of %d jobs, %d repeats told by ce_id, %d refusals\n", len(ours), len(want), repeats, refusals)
	theirs, ok, err := audit.Kcat(ctx, []string{s.kafka}, completionsTopic)
	switch {
	case err != nil:
		return append(wrong, err.Error())
	case !ok:
		fmt.Println("  kcat is not installed: only franz-go has read them")
		return wrong
	}
	more, repeats, _ := audit.Completions(theirs, want)
	fmt.Printf("  as kcat reads them: %d records, %d repeats\n", len(theirs), repeats)
	return append(wrong, more...)
}

// deadLetters: nothing was sent that cannot be read.
func (s *scenario) deadLetters(ctx context.Context) []string {
	records, err := audit.Read(ctx, []string{s.kafka}, deadlettersTopic)
	if err != nil {
		return unread(deadlettersTopic, err)
	}
	var wrong []string
	for _, r := range records {
		wrong = append(wrong, fmt.Sprintf("a dead letter, key %q: %s", r.Key, r.Value))
	}
	return wrong
}
