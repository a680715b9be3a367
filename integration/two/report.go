package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/waybill/waybill/integration/internal/audit"
)

// takeoverWithin is how long the shards of a dead member may stand still.
const takeoverWithin = 12 * time.Second

// report checks everything, prints the figures, and returns what is wrong.
func (s *scenario) report(ctx context.Context) []string {
	subject := &audit.Subject{
		Jobs: s.jobs, Client: s.client(1), Brokers: s.cfg.Brokers, Prefix: s.cfg.Prefix, Embedded: s.cfg.Embedded, Out: os.Stdout,
		Files: []string{filepath.Join(s.dir, s.servers[1].name, "projections.db")}, Scratch: s.dir,
	}
	wrong := subject.All(ctx)
	wrong = append(wrong, s.takeover(subject.Events())...)
	audit.Print(os.Stdout, wrong)
	return wrong
}

// reign is one member's ownership of a shard, as the shard's own books tell.
type reign struct {
	member string
	began  time.Time // it was written down
	first  time.Time // its first event of a job; zero: none
	events int       // of jobs, decided before the kill
}

// reigns are the ownerships of each shard, in order.
func reigns(records []audit.Record, killed time.Time) (map[int32][]*reign, error) {
	of := map[int32][]*reign{}
	slices.SortStableFunc(records, func(a, b audit.Record) int { return int(a.Offset - b.Offset) })
	for _, r := range records {
		list := of[r.Partition]
		switch {
		case r.Type == "shard.owned.v1":
			var o struct {
				Member string    `json:"member"`
				At     time.Time `json:"at"`
			}
			if err := json.Unmarshal([]byte(r.Value), &o); err != nil {
				return nil, fmt.Errorf("%d/%d: %w", r.Partition, r.Offset, err)
			}
			of[r.Partition] = append(list, &reign{member: o.Member, began: o.At})
		case !strings.HasPrefix(r.Type, "shard.") && len(list) > 0:
			now := list[len(list)-1]
			if now.first.IsZero() {
				now.first = r.Time
			}
			if r.Time.Before(killed) {
				now.events++
			}
		}
	}
	return of, nil
}

// takeover measures, for each shard that the dead one had, how long it stood still.
func (s *scenario) takeover(records []audit.Record) (wrong []string) {
	of, err := reigns(records, s.killed)
	if err != nil {
		return []string{err.Error()}
	}
	dead, heir := s.servers[0].member, s.servers[1].member
	decided := map[string]int{}
	var still []time.Duration
	for shard, list := range of {
		var before, after *reign
		for _, r := range list {
			decided[r.member] += r.events
			if r.began.Before(s.killed) {
				before = r
			} else if r.member == heir && after == nil {
				after = r
			}
		}
		if before == nil || before.member != dead {
			continue
		}
		if after == nil || after.first.IsZero() {
			wrong = append(wrong, fmt.Sprintf("shard %d never went on after its owner was killed", shard))
			continue
		}
		d := after.first.Sub(s.killed)
		still = append(still, d)
		if d > takeoverWithin {
			wrong = append(wrong, fmt.Sprintf("shard %d went on only %.1f s after its owner was killed", shard, d.Seconds()))
		}
	}
	fmt.Printf("  events decided before the kill: %d by the first server, %d by the second\n", decided[dead], decided[heir])
	for i, srv := range s.servers {
		if decided[srv.member] == 0 {
			wrong = append(wrong, fmt.Sprintf("the %s server decided nothing (server %d)", srv.name, i+1))
		}
	}
	if len(still) == 0 {
		return append(wrong, "the killed server had no shard")
	}
	slices.Sort(still)
	fmt.Printf("  shards of the killed server: %d; they went on in the other after %.1f to %.1f s\n", len(still), still[0].Seconds(), still[len(still)-1].Seconds())
	return wrong
}
