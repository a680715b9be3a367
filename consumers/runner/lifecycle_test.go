package runner_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// step is an agent of the type step: it takes a while, and cannot deploy what is broken.
type step struct {
	takes time.Duration

	mu     sync.Mutex
	broken map[string]bool
	calls  map[string]map[string]int // by activity and discriminator: its works' ids
	undoes map[string]int            // by member: how many it is undoing
}

func newStep(takes time.Duration, broken ...string) *step {
	s := &step{takes: takes, broken: map[string]bool{}, calls: map[string]map[string]int{}, undoes: map[string]int{}}
	for _, id := range broken {
		s.broken[id] = true
	}
	return s
}

// of registers the agent of a member.
func (s *step) of(member string) func(*agent.Pool) {
	return func(p *agent.Pool) {
		p.Register("step", agent.ProcessorFunc(func(ctx context.Context, a agent.Activity) agent.Result {
			if a.Discriminator == definition.Dispose {
				s.undoing(member, 1)
				defer s.undoing(member, -1)
			}
			return s.process(ctx, a)
		}), 8)
	}
}

func (s *step) undoing(member string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.undoes[member] += n
}

// halfWayBack finds one of these members that is undoing something.
func (s *step) halfWayBack(members map[string]*member) *member {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, m := range members {
		if s.undoes[name] > 0 {
			return m
		}
	}
	return nil
}

func (s *step) mend() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.broken)
}

func (s *step) process(ctx context.Context, a agent.Activity) agent.Result {
	s.mu.Lock()
	key := a.ActivityID + " " + a.Discriminator
	if s.calls[key] == nil {
		s.calls[key] = map[string]int{}
	}
	s.calls[key][a.IdempotencyKey]++
	broken := s.broken[a.ActivityID]
	s.mu.Unlock()
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
		return agent.Retry(ctx.Err())
	}
	if broken {
		return agent.Fatal(errors.New("no room"))
	}
	return agent.Complete(map[string]string{a.ActivityID: "there"})
}

// works is how many pieces of work there were of an activity.
func (s *step) works(id, discriminator string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls[id+" "+discriminator])
}

// stack is three steps one after the other, which are undone if the rest cannot work.
func stack(t *testing.T) plans {
	t.Helper()
	p, err := orchestration.NewPlan(definition.Orchestration{
		Type: "stack", Compensate: true,
		Activities: []definition.Activity{
			{ID: "network", Type: "step"},
			{ID: "vm", Type: "step", DependsOn: definition.Names{"network"}},
			{ID: "dns", Type: "step", DependsOn: definition.Names{"vm"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	plain, err := orchestration.NewPlan(definition.Orchestration{Type: "plain", Activities: p.Definition().Activities})
	if err != nil {
		t.Fatal(err)
	}
	return plans{"stack": p, "plain": plain}
}

// told counts what is said of a job, as "type activity".
func (f *fleet) told(id string) map[string]int {
	f.t.Helper()
	count := map[string]int{}
	d := schemas.NewDecoder()
	for _, r := range f.read(f.cfg.Topics().Events(aggregate)) {
		if string(r.Key) != id {
			continue
		}
		ce, err := kafka.ParseCloudEvent(r)
		if err != nil {
			f.t.Fatal(err)
		}
		e, err := d.DecodeOrchestrationEvent(ce.Type, r.Value)
		if err != nil {
			f.t.Fatal(err)
		}
		what := strings.TrimSuffix(ce.Type, ".v1")
		switch e := e.(type) { //nolint:gochecksumtype // only these name an activity here
		case orchestration.Requested:
			what += " " + e.ActivityID
		case orchestration.Completed:
			what += " " + e.ActivityID
		}
		count[what]++
	}
	return count
}

// tells checks how often something is said of a job. A reader that was held up may have seen
// less than there is, so it looks again; what is there too often stays.
func (f *fleet) tells(id string, want map[string]int) {
	f.t.Helper()
	var told map[string]int
	for range 20 {
		told = f.told(id)
		fits := true
		for what, n := range want {
			fits = fits && told[what] == n
		}
		if fits {
			return
		}
	}
	f.t.Errorf("%s: told %v, want %v", id, told, want)
}

// completion is the last one of a job.
func (f *fleet) completion(id string) schemas.Completion {
	f.t.Helper()
	var last schemas.Completion
	for _, r := range f.read(f.cfg.Topics().Completions(aggregate)) {
		ce, err := kafka.ParseCloudEvent(r)
		if err != nil {
			f.t.Fatal(err)
		}
		if string(r.Key) != id || ce.Type == schemas.CommandRejected {
			continue
		}
		if last, err = schemas.DecodeCompletion(ce.Type, r.Value); err != nil {
			f.t.Fatal(err)
		}
	}
	return last
}

func TestWhatHadCompletedIsUndoneOnceWhateverHappensToTheMembers(t *testing.T) {
	bothKinds(t, 4, stack, func(f *fleet) {
		s := newStep(time.Second, "dns")
		members := map[string]*member{}
		for _, name := range []string{"a", "b", "c"} {
			members[name] = f.join(name, s.of(name))
		}
		f.until("every shard has an owner", func() bool {
			return len(members["a"].Owned())+len(members["b"].Owned())+len(members["c"].Owned()) == 4
		})
		const jobs = 8
		for i := range jobs {
			f.start("job-"+strconv.Itoa(i), "stack")
			f.passes(130 * time.Millisecond)
		}
		for i := range 2 {
			var victim *member
			f.until("a member is undoing something", func() bool { victim = s.halfWayBack(members); return victim != nil })
			victim.gate.kill()
			victim.stop()
			delete(members, victim.name)
			next := "new-" + strconv.Itoa(i)
			members[next] = f.join(next, s.of(next))
			f.start("late-"+strconv.Itoa(i), "stack")
		}
		for i := range jobs {
			f.undone("job-" + strconv.Itoa(i))
		}
		f.undone("late-0")
		f.undone("late-1")
		for id, n := range map[string]int{"vm~dispose": jobs + 2, "network~dispose": jobs + 2, "dns~dispose": 0} {
			if got := s.works(id, definition.Dispose); got != n {
				f.t.Errorf("the agents saw %d pieces of work for %s, want %d", got, id, n)
			}
		}
	})
}

// undone checks that a job has failed and everything was undone once.
func (f *fleet) undone(id string) {
	f.t.Helper()
	f.ends(id, "failed")
	f.tells(id, map[string]int{
		"orchestration.compensating": 1, "orchestration.ended": 1, "activity.failed": 1,
		"activity.completed network": 1, "activity.completed vm": 1,
		"activity.requested network~dispose": 1, "activity.completed network~dispose": 1,
		"activity.requested vm~dispose": 1, "activity.completed vm~dispose": 1,
	})
	var c schemas.Completion
	f.until(id+" tells how it ended", func() bool { c = f.completion(id); return c.ID == id })
	if want := (orchestration.Compensation{State: orchestration.CompensationCompleted, Total: 2, Completed: 2}); c.Compensation == nil || *c.Compensation != want {
		f.t.Errorf("%s: the compensation is %+v, want %+v", id, c.Compensation, want)
	}
	if c.Error == nil || c.Error.ActivityID != "dns" {
		f.t.Errorf("%s: the error is %+v", id, c.Error)
	}
}

// runs are the runs of a job that have ended, as "run how".
func (f *fleet) runs(id string) []string {
	f.t.Helper()
	var l []string
	seen := map[string]bool{}
	for _, r := range f.read(f.cfg.Topics().Completions(aggregate)) {
		ce, err := kafka.ParseCloudEvent(r)
		if err != nil {
			f.t.Fatal(err)
		}
		if string(r.Key) != id || ce.Type == schemas.CommandRejected || seen[ce.ID] {
			continue
		}
		seen[ce.ID] = true
		c, err := schemas.DecodeCompletion(ce.Type, r.Value)
		if err != nil {
			f.t.Fatal(err)
		}
		l = append(l, fmt.Sprintf("%d %s", c.Run, c.State))
	}
	return l
}

func TestAnEndedJobIsRunAgainAfterRestartsToo(t *testing.T) {
	bothKinds(t, 2, stack, func(f *fleet) {
		s := newStep(300*time.Millisecond, "dns")
		m := f.join("a", s.of("a"))
		f.owns(m, 2)
		f.start("job", "plain")
		f.start("other", "plain") // so that the log has more than the one
		f.ends("job", "failed")
		m.stop()
		s.mend()
		m = f.join("a", s.of("a"))
		f.owns(m, 2)
		f.sendAs("again", "job", schemas.OrchestrationRerun, `{"reason":"there is room","by":"kim"}`)
		f.until("it runs again", func() bool { return f.told("job")["activity.requested dns"] == 2 })
		f.sendAs("again", "job", schemas.OrchestrationRerun, `{"reason":"there is room","by":"kim"}`)
		m.gate.kill() // in the middle of the second run
		m.stop()
		m = f.join("b", s.of("b"))
		f.owns(m, 2)
		f.until("the second run completes", func() bool { return slices.Equal(f.runs("job"), []string{"1 ERROR", "2 COMPLETED"}) })
		f.send("job", schemas.OrchestrationRerun, `{"from":"vm"}`)
		f.until("the third run completes", func() bool {
			return slices.Equal(f.runs("job"), []string{"1 ERROR", "2 COMPLETED", "3 COMPLETED"})
		})
		f.tells("job", map[string]int{
			"activity.completed network": 1, "activity.completed vm": 2, "activity.completed dns": 2,
			"orchestration.rerun-started": 2, "orchestration.ended": 3,
		})
		f.send("job", schemas.OrchestrationRerun, `{"from":["nothing"]}`)
		f.send("nobody", schemas.OrchestrationRerun, `{}`)
		f.until("they are refused", func() bool {
			a, _ := f.completions("job")
			b, _ := f.completions("nobody")
			return len(a) == 4 && len(b) == 1
		})
		m.stop()
		m = f.join("c", s.of("c"))
		f.owns(m, 2)
		f.send("job", schemas.OrchestrationRerun, `{"from":"dns"}`)
		f.until("the fourth run completes", func() bool { return len(f.runs("job")) == 4 })
	})
}

func TestAnEndedJobIsDisposedOfOnce(t *testing.T) {
	bothKinds(t, 4, stack, func(f *fleet) {
		s := newStep(100 * time.Millisecond)
		m := f.join("a", s.of("a"))
		f.owns(m, 4)
		f.start("job", "plain")
		f.ends("job", "completed")
		m.stop()
		m = f.join("b", s.of("b"))
		f.owns(m, 4)
		f.sendAs("gone", "job", schemas.OrchestrationDispose, `{"reason":"gone"}`)
		f.send("job", schemas.OrchestrationDispose, `{"reason":"gone"}`)
		m.gate.kill()
		m.stop()
		m = f.join("c", s.of("c"))
		f.owns(m, 4)
		f.sendAs("gone", "job", schemas.OrchestrationDispose, `{"reason":"gone"}`)
		var id string
		f.until("it is disposed of", func() bool { id = f.disposal("job"); return id != "" })
		f.ends(id, "completed")
		var c schemas.Completion
		f.until("it tells how it ended", func() bool { c = f.completion(id); return c.ID == id })
		if c.Disposes == nil || c.Disposes.ID != "job" || c.Type != "plain" {
			f.t.Errorf("%+v", c)
		}
		f.tells("job", map[string]int{"orchestration.disposed": 1})
		for _, a := range []string{"network", "vm", "dns"} {
			if n := s.works(a, definition.Dispose); n != 1 {
				f.t.Errorf("the agents saw %d pieces of work that undo %s", n, a)
			}
		}
	})
}

// disposal is the orchestration that disposes of a job; empty if none does.
func (f *fleet) disposal(id string) string {
	f.t.Helper()
	for _, r := range f.read(f.cfg.Topics().Events(aggregate)) {
		ce, err := kafka.ParseCloudEvent(r)
		if err != nil {
			f.t.Fatal(err)
		}
		if string(r.Key) != id || ce.Type != schemas.OrchestrationDisposed {
			continue
		}
		var e orchestration.Disposed
		if err := json.Unmarshal(r.Value, &e); err != nil {
			f.t.Fatal(err)
		}
		return e.ID
	}
	return ""
}
