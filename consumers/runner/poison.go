package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/domain/machine"
)

// BugError is a fault of this build: something panicked that must not, or made what cannot be written.
// What it was at would fail again, so that nobody may try it for ever (see enough).
type BugError struct {
	What  string // was being done; empty where that is not known
	Cause string
	Stack []byte
}

// Error implements error.
func (e *BugError) Error() string {
	if e.What == "" {
		return "a panic: " + e.Cause
	}
	return e.What + " panicked: " + e.Cause
}

// enough is how often something is met, and panics, before it is taken out of the way: once could
// have been the state of this process, and not of the log.
const enough = 2

// guarded makes a panic of a decision, or of a state that folds an event in, an error like
// any other: the process and its other shards go on.
func guarded(do func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &BugError{Cause: fmt.Sprint(v), Stack: debug.Stack()}
		}
	}()
	return do()
}

func isBug(err error) bool {
	_, ok := errors.AsType[*BugError](err)
	return ok
}

// doing is what a shard is at: what is to blame where that panics.
type doing struct {
	kind      string // doingCommand and so on; empty: none of these
	aggregate string // type
	id        string // of the aggregate; of a report, that of the work
	number    int64  // a command's offset, a report's attempt; else the sequence that it follows
}

const (
	doingCommand  = "command"
	doingReport   = "report"
	doingTimer    = "timer"
	doingTakeOver = "take-over"
)

// String names it for people.
func (d doing) String() string {
	switch d.kind {
	case "":
		return ""
	case doingCommand:
		return fmt.Sprintf("the decision on the %s command at offset %d", d.aggregate, d.number)
	case doingReport:
		return fmt.Sprintf("the decision on the report of work %s, attempt %d,", d.id, d.number)
	}
	return fmt.Sprintf("the %s of %s %s", d.kind, d.aggregate, d.id)
}

// suspects are what has panicked after the state was touched, so that the shard had to be read again. They are
// kept in memory, by shard: another process finds out by itself, as often.
type suspects struct {
	mu  sync.Mutex
	met map[int32]map[doing]*suspect
}

type suspect struct {
	times int
	why   string
}

// blame counts.
func (s *suspects) blame(shard int32, d doing, why string) {
	if d.kind == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.met == nil {
		s.met = make(map[int32]map[doing]*suspect)
	}
	if s.met[shard] == nil {
		s.met[shard] = make(map[doing]*suspect)
	}
	x := s.met[shard][d]
	if x == nil {
		x = &suspect{}
		s.met[shard][d] = x
	}
	x.times, x.why = x.times+1, why
}

// convicted are those of a shard that were met often enough; nil: none.
func (s *suspects) convicted(shard int32) map[doing]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var l map[doing]string
	for d, x := range s.met[shard] {
		if x.times < enough {
			continue
		}
		if l == nil {
			l = make(map[doing]string)
		}
		l[d] = x.why
	}
	return l
}

// acquit forgets what lies behind the shard.
func (s *suspects) acquit(shard int32, over func(doing) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.met[shard], func(d doing, _ *suspect) bool { return over(d) })
}

// twice does something up to enough times, as long as it panics before it has touched anything:
// then nothing has happened, and nothing has to be read again. The BugError that is left says what it was.
func (sh *shard) twice(d doing, do func() error) error {
	if why, ok := sh.poison[d]; ok {
		sh.touched = false
		return &BugError{What: d.String(), Cause: why}
	}
	sh.doing = d
	for times := 1; ; times++ {
		sh.touched = false
		err := guarded(do)
		bug, ok := errors.AsType[*BugError](err)
		if !ok {
			sh.doing = doing{}
			return err
		}
		bug.What = d.String()
		if sh.touched || times == enough {
			return err
		}
	}
}

// given says whether something has to be given up, so that the shard can go on without it: it has panicked often
// enough, and nothing was touched by it. Any other error stays one.
func (sh *shard) given(err error) (*BugError, bool) {
	bug, ok := errors.AsType[*BugError](err)
	if !ok || sh.touched {
		return nil, false
	}
	sh.cfg.Logger.Error("given up: "+bug.What+" panicked each time", "shard", sh.id, "err", bug.Cause, stackOf(bug))
	sh.doing = doing{}
	return bug, true
}

// setAside notes that something is not done any more, which nobody else can be told of.
func (sh *shard) setAside(bug *BugError) {
	sh.unwell(bug.Error() + "; it is set aside until another build runs")
}

// command decides a record of the commands partition. One whose decision panics each time is a dead letter.
func (c *store[S, C, E]) command(ctx context.Context, b *batch, r *kgo.Record) error {
	err := c.sh.twice(doing{kind: doingCommand, aggregate: c.m.Name, number: r.Offset}, func() error { return c.decideRecord(ctx, b, r) })
	bug, given := c.sh.given(err)
	if !given {
		return err
	}
	c.next, c.moved = r.Offset+1, true
	b.addBefore(c.sh.deadLetter(r, fmt.Errorf("%w (met %d times)", bug, enough), b.at))
	return nil
}

// report decides what a local agent says. What panics each time is told as work that cannot be carried out.
func (c *store[S, C, E]) report(b *batch, w machine.Work, r Result) error {
	d := doing{doingReport, c.m.Name, w.ID, int64(w.Attempt)}
	err := c.sh.twice(d, func() error { return c.decideResult(b, w, r) })
	bug, given := c.sh.given(err)
	if !given {
		return err
	}
	return c.decideResult(b, w, &UnfitError{clip(bug.Error())})
}

// aside does something with an aggregate that nobody has asked for; where it panics each time, the shard
// goes on without.
func (c *store[S, C, E]) aside(kind string, en *entry[S], do func() error) error {
	err := c.sh.twice(doing{kind, c.m.Name, en.id, en.seq}, do)
	if bug, given := c.sh.given(err); given {
		c.sh.setAside(bug)
		return nil
	}
	return err
}

// brokenAt stops the shard at an event.
func (c *store[S, C, E]) brokenAt(offset int64, err error) error {
	if stopped, ok := errors.AsType[*StoppedError](err); ok {
		return stopped
	}
	return &StoppedError{Topic: c.eventsTopic, Partition: c.sh.id, Offset: offset, Err: err}
}

// folding does something with an event of the log. Where that panics the shard stands still: to go on
// without it would make another state than the log says.
func (c *store[S, C, E]) folding(offset int64, do func() error) error {
	if err := guarded(do); err != nil {
		return c.brokenAt(offset, err)
	}
	return nil
}

const (
	// firstRest is how long a shard rests that was dropped for a bug: nobody fights for it.
	firstRest = time.Second
	// longestRest bounds the rest of a shard that fails again and again for a reason of its own: a record that this
	// build cannot fold, a bug. Each try reads the log anew, and only another build, or an operator, changes anything.
	longestRest = time.Minute
)

// rest is how long a shard that was dropped is left alone, given how often it has been dropped
// for a reason of its own, one after the other.
func (r *Runner) rest(err error, failures int) time.Duration {
	pause := r.cfg.SessionTimeout
	if isBug(err) {
		pause = firstRest
	}
	for range failures - 1 {
		pause = min(2*pause, longestRest)
	}
	return pause
}

// own says that a shard was dropped for a reason that lies in the log or in this build, and not in the
// cluster: it is there again at the next try.
func own(err error) bool {
	_, stopped := errors.AsType[*StoppedError](err)
	return stopped || isBug(err)
}

// stackOf is where a bug was met, for the log.
func stackOf(err error) slog.Attr {
	if bug, ok := errors.AsType[*BugError](err); ok && bug.Stack != nil {
		return slog.String("stack", string(bug.Stack))
	}
	return slog.Attr{}
}
