//go:build simulation

package runner_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// story is what the log says of one orchestration.
type story struct {
	state     orchestration.State
	seq       int64
	run       int
	requested map[string]bool      // run, activity and attempt
	due       map[string]time.Time // when an activity is to be called again
	offers    map[string]bool      // ids of the work records that must be there
	ends      map[string]bool      // ids of the completions, one of each run
	disposal  string               // the orchestration that disposes of it
}

// ledger is what the log says of all.
type ledger struct {
	s        *simulation
	stories  map[string]*story
	answered map[string]bool // ids of commands
	next     map[int32]int64
}

// over says whether every orchestration that was started has ended and every command is decided.
func (s *simulation) over() bool { return len(s.unended()) == 0 }

func (s *simulation) unended() []string {
	var l []string
	started, ended := map[string]bool{}, map[string]bool{}
	next, last := map[int32]int64{}, map[string]string{}
	for _, r := range s.readAll(s.cfg.Topics().Events(aggregate)) {
		e, err := kafka.ParseCloudEvent(r)
		if err != nil {
			s.t.Fatal(err)
		}
		if last[string(r.Key)] += " " + e.Type; e.Type != schemas.OrchestrationStarted {
			last[string(r.Key)] += string(r.Value)
		}
		switch e.Type {
		case schemas.ShardPosition:
			p, err := schemas.DecodePosition(e.Type, r.Value)
			if err != nil {
				s.t.Fatal(err)
			}
			next[r.Partition] = p.Next
		case schemas.OrchestrationStarted:
			started[string(r.Key)] = true
		case schemas.OrchestrationRerunStarted:
			delete(ended, string(r.Key))
		case schemas.OrchestrationDisposed:
			var d orchestration.Disposed
			if err := json.Unmarshal(r.Value, &d); err != nil {
				s.t.Fatal(err)
			}
			started[d.ID] = true
		case schemas.OrchestrationEnded:
			ended[string(r.Key)] = true
		}
	}
	for id := range started {
		if !ended[id] {
			l = append(l, id+" after "+last[id])
		}
	}
	for _, r := range s.readAll(s.cfg.Topics().Commands(aggregate)) {
		if r.Offset >= next[r.Partition] {
			l = append(l, fmt.Sprintf("command %d of shard %d", r.Offset, r.Partition))
		}
	}
	for _, p := range s.processes {
		if err := p.runner.Load().Ready(); err != nil {
			l = append(l, fmt.Sprintf("%s: %v", p.name, err))
		}
	}
	slices.Sort(l)
	return l
}

// check holds the log against its laws.
func (s *simulation) check() {
	s.t.Helper()
	l := &ledger{s: s, stories: map[string]*story{}, answered: map[string]bool{}, next: map[int32]int64{}}
	l.events()
	l.completions()
	l.work()
	l.commands()
	l.owners()
}

// events checks that sequences have neither gap nor repeat, time does not run backwards, positions
// follow each other, and no attempt is asked for twice or before its time.
func (l *ledger) events() {
	decoders := map[int32]*schemas.Decoder{}
	times := map[int32]time.Time{}
	positions := map[int32]schemas.Position{}
	for _, r := range l.s.readAll(l.s.cfg.Topics().Events(aggregate)) {
		e, err := kafka.ParseCloudEvent(r)
		if err != nil {
			l.s.t.Fatal(err)
		}
		switch e.Type {
		case schemas.ShardOwned:
			continue
		case schemas.ShardPosition:
			l.position(r, positions)
			continue
		}
		if e.Time.Before(times[r.Partition]) {
			l.s.t.Errorf("shard %d: time runs backwards at offset %d: %s after %s", r.Partition, r.Offset, e.Time, times[r.Partition])
		}
		times[r.Partition] = e.Time
		if decoders[r.Partition] == nil {
			decoders[r.Partition] = schemas.NewDecoder()
		}
		event, err := decoders[r.Partition].DecodeOrchestrationEvent(e.Type, r.Value)
		if err != nil {
			l.s.t.Fatal(err)
		}
		l.event(string(r.Key), e, event)
	}
}

func (l *ledger) position(r *kgo.Record, last map[int32]schemas.Position) {
	p, err := schemas.DecodePosition(schemas.ShardPosition, r.Value)
	if err != nil {
		l.s.t.Fatal(err)
	}
	q := last[r.Partition]
	if p.Txn != q.Txn+1 || p.Next < q.Next || p.Followed < q.Followed || p.Followed > p.Txn {
		l.s.t.Errorf("shard %d: position %+v follows %+v", r.Partition, p, q)
	}
	last[r.Partition] = p
	l.next[r.Partition] = p.Next
	for _, x := range p.Refused {
		l.answered[x.CommandID] = true
	}
	for _, x := range p.Settled {
		l.answered[x.CommandID] = true
	}
}

func (l *ledger) event(id string, e kafka.CloudEvent, event orchestration.Event) {
	t := l.s.t
	st := l.stories[id]
	if st == nil {
		st = &story{
			state: orchestration.New(id).Remember(), requested: map[string]bool{}, due: map[string]time.Time{}, offers: map[string]bool{}, ends: map[string]bool{},
		}
		l.stories[id] = st
	}
	if e.Sequence != st.seq+1 {
		t.Errorf("%s: sequence %d follows %d", id, e.Sequence, st.seq)
	}
	st.seq = e.Sequence
	l.answered[e.Cause] = true
	_, disposed := event.(orchestration.Disposed)
	if st.state.Ended() != (disposed || orchestration.Revives(event)) {
		t.Errorf("%s: %s when it is %s", id, e.Type, st.state.Phase())
	}
	placed := false
	switch x := event.(type) {
	case orchestration.Requested:
		placed = x.Placement != ""
		key := fmt.Sprintf("%d/%s/%d", st.run, x.ActivityID, x.Attempt)
		if st.requested[key] {
			t.Errorf("%s: attempt %s is asked for twice", id, key)
		}
		st.requested[key] = true
		if x.Attempt > 1 && !st.requested[fmt.Sprintf("%d/%s/%d", st.run, x.ActivityID, x.Attempt-1)] {
			t.Errorf("%s: attempt %s is asked for before the one before it", id, key)
		}
		if at := st.due[x.ActivityID]; e.Time.Before(at) && x.By == "" {
			t.Errorf("%s: attempt %s is asked for at %s, before its time, %s", id, key, e.Time, at)
		}
	case orchestration.Offered:
		placed = x.Placement != ""
	case orchestration.Scheduled:
		st.due[x.ActivityID] = x.At
	case orchestration.Retrying:
		st.due[x.ActivityID] = x.At
	case orchestration.Ended:
		st.ends[machine.ID("completion", aggregate, id, strconv.Itoa(st.run))] = true
	case orchestration.Started:
		st.run = x.Run
	case orchestration.RerunStarted:
		if x.Run != st.run+1 || st.disposal != "" {
			t.Errorf("%s: run %d follows %d; it is disposed of by %q", id, x.Run, st.run, st.disposal)
		}
		st.run = x.Run
		clear(st.due)
	case orchestration.Disposed:
		if st.disposal != "" {
			t.Errorf("%s: it is disposed of by %s and by %s", id, st.disposal, x.ID)
		}
		st.disposal = x.ID
	}
	for _, f := range st.state.Follow(e.Time, event) {
		if w, ok := f.(machine.Work); ok && !placed {
			st.offers[machine.ID("offer", w.ID, fmt.Sprint(w.Attempt), fmt.Sprint(w.Offer))] = true
		}
	}
	st.state = st.state.Evolve(e.Time, event)
}

// completions checks that each end is told once, and notes the answers to refused commands.
func (l *ledger) completions() {
	t := l.s.t
	copies := map[string]int{}
	for _, r := range l.s.readAll(l.s.cfg.Topics().Completions(aggregate)) {
		e, err := kafka.ParseCloudEvent(r)
		if err != nil {
			t.Fatal(err)
		}
		if e.Type == schemas.CommandRejected {
			l.answered[e.Cause] = true
			l.rejection(r, e, copies)
			continue
		}
		st := l.stories[string(r.Key)]
		if st == nil || !st.ends[e.ID] {
			t.Errorf("%s: %s, id %s, without such an end", r.Key, e.Type, e.ID)
			continue
		}
		if copies[e.ID]++; copies[e.ID] > 1 && !l.s.cfg.Embedded {
			t.Errorf("%s: %d copies of its completion", r.Key, copies[e.ID])
		}
	}
	for id, st := range l.stories {
		switch {
		case !st.state.Ended():
			t.Errorf("%s is %s", id, st.state.Phase())
		case len(st.ends) != st.run:
			t.Errorf("%s: %d of %d runs have ended", id, len(st.ends), st.run)
		case st.disposal != "" && l.stories[st.disposal] == nil:
			t.Errorf("%s: what disposes of it was never started", id)
		}
		for end := range st.ends {
			if copies[end] == 0 {
				t.Errorf("%s has ended, and nobody was told", id)
			}
		}
	}
}

// rejection checks that a command, unless it is a report, is refused once however often it came.
func (l *ledger) rejection(r *kgo.Record, e kafka.CloudEvent, copies map[string]int) {
	x, err := schemas.DecodeRejected(e.Type, r.Value)
	if err != nil {
		l.s.t.Fatal(err)
	}
	if copies[e.ID]++; copies[e.ID] > 1 && !l.s.cfg.Embedded && x.Hash != "" {
		l.s.t.Errorf("%s: %d copies of the answer to %s", r.Key, copies[e.ID], e.Cause)
	}
}

// work checks that the work that was offered, and no other, is on the topics.
func (l *ledger) work() {
	t := l.s.t
	want := map[string]string{}
	for id, st := range l.stories {
		for offer := range st.offers {
			want[offer] = id
		}
	}
	copies := map[string]int{}
	for _, typ := range []string{"noop", "again", "spawn", "slow", "fails", "flaky", "wait", "far"} {
		for _, r := range l.s.readAll(l.s.cfg.Topics().Work(typ)) {
			e, err := kafka.ParseCloudEvent(r)
			if err != nil {
				t.Fatal(err)
			}
			if e.Type != schemas.WorkRequested {
				continue
			}
			if want[e.ID] == "" {
				t.Errorf("work %s of type %s, that nobody has offered: %s", e.ID, typ, r.Value)
			}
			if copies[e.ID]++; copies[e.ID] > 1 && !l.s.cfg.Embedded {
				t.Errorf("%d copies of an offer of type %s", copies[e.ID], typ)
			}
		}
	}
	for offer, id := range want {
		if copies[offer] == 0 {
			t.Errorf("%s: work was offered that is not on its topic", id)
		}
	}
}

// commands checks that every command is decided, and everybody who asked has an answer.
func (l *ledger) commands() {
	for _, r := range l.s.readAll(l.s.cfg.Topics().Commands(aggregate)) {
		if r.Offset >= l.next[r.Partition] {
			l.s.t.Errorf("command %d of shard %d is not decided", r.Offset, r.Partition)
		}
	}
	for _, c := range l.s.commands {
		if c.sent && !l.answered[c.id] {
			l.s.t.Errorf("%s to %s has no answer", c.id, c.key)
		}
	}
	if n := len(l.s.readAll(l.s.cfg.Topics().DeadLetters())); n > 0 {
		l.s.t.Errorf("%d dead letters", n)
	}
}

// owners checks that each shard has one.
func (l *ledger) owners() {
	owners := map[int32][]string{}
	for _, p := range l.s.processes {
		for _, s := range p.runner.Load().Owned() {
			owners[s] = append(owners[s], p.name)
		}
	}
	for s := range l.s.shards {
		if len(owners[s]) != 1 {
			l.s.t.Errorf("shard %d belongs to %s", s, strings.Join(owners[s], " and "))
		}
	}
}
