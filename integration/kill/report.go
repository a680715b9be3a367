package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/waybill/waybill/integration/internal/audit"
)

const (
	// progressWithin is how long after its start a process may take to go on: 19 starts out
	// of 20, since a disk that others write to now and then holds a synced write up for a second.
	progressWithin = 2 * time.Second
	// progressAtMost is how long each of them may take.
	progressAtMost = 5 * time.Second
	// elsewhereAtMost is how long each may take on a Kafka of others: a member that was killed is
	// missed, and its shards given away, when its session has run out.
	elsewhereAtMost = 15 * time.Second
)

// report checks everything, prints the figures, and returns what is wrong.
func (s *scenario) report(ctx context.Context) []string {
	subject := &audit.Subject{
		Jobs: s.jobs, Client: s.clients[0], Brokers: s.cfg.Brokers, Prefix: s.cfg.Prefix, Embedded: s.cfg.Embedded, Out: os.Stdout,
		Files: []string{filepath.Join(s.dir, "data", "projections.db")}, Scratch: s.dir,
	}
	wrong := subject.All(ctx)
	wrong = append(wrong, s.progress(audit.Events(subject.Events()))...)
	retried := int64(0)
	for _, c := range s.clients {
		retried += c.Retried.Load()
	}
	requests, documents := s.providers.Asked()
	fmt.Printf("  killed %d times within %.1f s; all had ended %.1f s after the last start\n", s.kills, s.killed.Seconds(), s.drained.Seconds())
	fmt.Printf("  the clients tried again %d times; the providers were asked %d times for %d documents\n", retried, requests, documents)
	audit.Print(os.Stdout, wrong)
	return wrong
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
	within, atMost := progressWithin, progressAtMost
	if !s.cfg.Embedded {
		within, atMost = elsewhereAtMost, elsewhereAtMost
	}
	short, late := 0, 0
	for n, l := range s.lives[min(1, len(s.lives)):] { // the first one had nothing to go on with
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
		case f == 0 && lasted <= within:
			short++
		case f > within && f <= atMost:
			if late++; late*20 > len(s.lives) {
				wrong = append(wrong, fmt.Sprintf("start %d made its first progress after %s, and is the %d. that took more than %s", n+2, f, late, within))
			}
		case f == 0 || f > atMost:
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
