package orchestration

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/waybill/waybill/domain/blob"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
)

// TestProperties runs random commands against random definitions, repeated, out of order and
// at random times, and holds the machine against its laws and against a model that
// counts nothing but looks at everything anew.
func TestProperties(t *testing.T) { rapid.Check(t, property) }

// FuzzDecide lets the fuzzer choose what TestProperties draws by lot.
func FuzzDecide(f *testing.F) { f.Fuzz(rapid.MakeFuzz(property)) }

func property(t *rapid.T) { newRun(t).live() }

// live lets everything happen that may.
func (r *run) live() {
	t := r.t
	r.give(r.start)
	if rapid.Bool().Draw(t, "growing") {
		r.grow() // so that graphs become as tangled as they can
	}
	for range rapid.IntRange(0, 60).Draw(t, "commands") {
		r.pass(rapid.SampledFrom(pauses).Draw(t, "pause"))
		r.give(r.command())
	}
	r.replay()
	r.finish()
	r.replay()
	for range rapid.SampledFrom([]int{0, 0, 1, 2, 3}).Draw(t, "runs") {
		r.lapse()
		r.rerun()
		r.replay()
	}
	r.lapse()
	r.dispose()
}

var (
	pauses   = []time.Duration{0, 0, 0, 1, time.Millisecond, time.Second, 4 * time.Second, 11 * time.Second, time.Minute, 2 * time.Hour}
	names    = []string{"a", "b", "c", "d", "e", "f"}                                         // of planned activities
	others   = []string{"a", "b", "c", "d", "e", "f", "m", "n", "o", "p", "q", "r", "s", "t"} // of spawned ones, and keys
	onErrors = []string{"", definition.OnErrorFail, definition.OnErrorContinue, definition.OnErrorContinue, definition.OnErrorPartial}
)

func drawActivity(t *rapid.T, id string, before []string) definition.Activity {
	a := definition.Activity{
		ID: id, Type: rapid.SampledFrom([]string{"noop", "noop", "http", AggregateType}).Draw(t, "type"),
		OnError: rapid.SampledFrom(onErrors).Draw(t, "onError"),
	}
	if len(before) > 0 {
		a.DependsOn = rapid.SliceOfN(rapid.SampledFrom(before), 0, 3).Draw(t, "dependsOn")
	}
	if rapid.Bool().Draw(t, "policies") {
		limit := rapid.IntRange(0, 2).Draw(t, "limit")
		a.Retry = &definition.Retry{Limit: &limit}
		a.Deadline = definition.Duration(rapid.SampledFrom([]time.Duration{0, time.Minute, time.Hour}).Draw(t, "deadline"))
		a.AttemptTimeout = definition.Duration(rapid.SampledFrom([]time.Duration{0, time.Second + 1}).Draw(t, "attemptTimeout"))
	}
	if rapid.IntRange(0, 3).Draw(t, "inputs") == 0 {
		a.With = json.RawMessage(`{"in":"{{input.x}}","all":"{{a.**}}"}`)
		a.Inputs = []definition.Mapping{{Source: rapid.SampledFrom(others).Draw(t, "source"), Target: "t"}}
	}
	return a
}

func drawStart(t *rapid.T) Start {
	def := definition.Orchestration{
		Type: "job", Output: []definition.Mapping{{Source: "a.**", Target: "all"}}, Compensate: rapid.Bool().Draw(t, "compensate"),
	}
	n := rapid.IntRange(0, len(names)).Draw(t, "activities")
	for k := range n {
		def.Activities = append(def.Activities, drawActivity(t, names[k], names[:k]))
	}
	if rapid.IntRange(0, 9).Draw(t, "limited") == 0 {
		def.Limits = definition.Limits{Nodes: 8, Depth: 2, OutputBytes: 10}
	}
	p, err := NewPlan(def)
	if err != nil {
		t.Fatal(err)
	}
	return Start{Type: "job", Plan: p, Input: json.RawMessage(`{"x":1}`), Partial: rapid.Bool().Draw(t, "partial"), Fingerprint: "body"}
}

// run is one orchestration, with what it has said so far.
type run struct {
	t     *rapid.T
	at    time.Time
	start Start
	s     State
	m     model
	log   []entry
	given []Command
	ended int
	blobs int // how many were made

	shadowed bool
	shadow   *shadow
}

type entry struct {
	at time.Time
	e  Event
	f  []machine.Effect
}

func newRun(t *rapid.T) *run {
	return &run{
		t: t, at: time.Date(2026, time.January, 2, 3, 4, 5, 0, time.UTC), start: drawStart(t),
		s: New("o-1"), m: model{phase: PhaseInitial, nodes: map[string]*modelNode{}},
	}
}

// command draws one: a new one, or one that was given before.
func (r *run) command() Command {
	if rapid.IntRange(0, 4).Draw(r.t, "repeat") == 0 {
		return rapid.SampledFrom(r.given).Draw(r.t, "which")
	}
	switch rapid.IntRange(0, 35).Draw(r.t, "kind") {
	case 0:
		return rapid.SampledFrom([]Command{Cancel{Reason: "no"}, Rerun{Reason: "again"}, Dispose{Reason: "gone"}}).Draw(r.t, "verb")
	case 1:
		return TakeOver{Agent: "one"}
	case 2, 3, 4:
		return Wake{}
	case 5:
		return Pause{Reason: "lunch", By: "kim"}
	case 6, 7:
		return Resume{By: "kim"}
	case 8, 9, 10, 11, 12:
		return r.order()
	}
	return r.report()
}

// order draws a word of an operator about an activity, in whatever state it is.
func (r *run) order() Command {
	o := Order{ActivityID: "nobody's", Reason: "because", By: rapid.SampledFrom([]string{"", "kim"}).Draw(r.t, "by")}
	if ids := slices.Sorted(maps.Keys(r.m.nodes)); len(ids) > 0 {
		o.ActivityID = rapid.SampledFrom(ids).Draw(r.t, "activity")
	}
	output := rapid.SampledFrom([]json.RawMessage{nil, json.RawMessage(`1`), json.RawMessage(`"a long text"`)}).Draw(r.t, "output")
	switch rapid.IntRange(0, 7).Draw(r.t, "order") {
	case 0:
		return SkipActivity{Order: o, Output: output}
	case 1:
		return CompleteActivity{Order: o, Output: output}
	case 2:
		return FailActivity{Order: o}
	case 3, 4:
		return PauseActivity{Order: o}
	case 5:
		return ResumeActivity{Order: o}
	}
	return RetryActivity{Order: o}
}

func (r *run) report() Command {
	ids := r.m.asked()
	rep := Report{WorkID: "nobody's", Attempt: 1}
	if len(ids) > 0 {
		n := r.m.nodes[rapid.SampledFrom(ids).Draw(r.t, "activity")]
		rep = Report{WorkID: n.workID, Attempt: max(1, n.attempt+rapid.SampledFrom([]int{0, 0, 0, 0, 0, -1, 1}).Draw(r.t, "attempt"))}
	}
	after := definition.Duration(rapid.SampledFrom(pauses).Draw(r.t, "after"))
	switch rapid.IntRange(0, 10).Draw(r.t, "report") {
	case 0:
		return Wait{Report: rep, After: after}
	case 1:
		return Schedule{Report: rep, After: after, State: json.RawMessage(`1`)}
	case 2:
		return Retry{Report: rep, After: after, Error: Fault{Message: "down"}}
	case 3:
		return Fail{Report: rep, Error: Fault{Step: "fetch", Message: "gone"}}
	case 4:
		return Release{Report: rep, Agent: rapid.SampledFrom([]string{"one", "two"}).Draw(r.t, "agent")}
	case 5, 6:
		return Heartbeat{Report: rep, Agent: rapid.SampledFrom([]string{"", "one", "two"}).Draw(r.t, "agent")}
	}
	c := Complete{Report: rep, Output: r.output()}
	if rapid.IntRange(0, 5).Draw(r.t, "keyed") == 0 {
		c.Key = rapid.SampledFrom(others).Draw(r.t, "key")
	}
	for range rapid.SampledFrom([]int{0, 0, 1, 2, 4, 20}).Draw(r.t, "spawn") {
		id := rapid.SampledFrom(others).Draw(r.t, "id")
		var before []string
		if rapid.IntRange(0, 3).Draw(r.t, "dependent") == 0 {
			before = others
		}
		c.Spawn = append(c.Spawn, drawActivity(r.t, id, before))
	}
	return c
}

// output draws what an activity has made; some of it is kept elsewhere, each time as something new.
func (r *run) output() json.RawMessage {
	switch rapid.IntRange(0, 4).Draw(r.t, "output") {
	case 0:
		return json.RawMessage(`{"v":[1,2]}`)
	case 1:
		return json.RawMessage(`"a long text"`)
	case 2:
		r.blobs++
		b := blob.Ref{ID: fmt.Sprintf("o-1/%d", r.blobs), Type: "string", Bytes: 1, SHA256: strings.Repeat("0", 64), Chunks: 1}
		return json.RawMessage(`{"large":` + string(b.JSON()) + `}`)
	}
	return json.RawMessage(`1`)
}

// grow completes a while whatever was asked for, and has it spawn.
func (r *run) grow() {
	for range rapid.IntRange(0, 20).Draw(r.t, "completions") {
		id := r.m.offered(rapid.IntRange(0, 10).Draw(r.t, "offered"))
		if id == "" || r.s.Ended() {
			return
		}
		c := Complete{Report: Report{WorkID: r.m.nodes[id].workID, Attempt: r.m.nodes[id].attempt}, Output: r.output()}
		for range rapid.IntRange(0, 3).Draw(r.t, "spawn") {
			a := definition.Activity{ID: rapid.SampledFrom(others).Draw(r.t, "id"), Type: "noop", OnError: definition.OnErrorContinue}
			if rapid.IntRange(0, 5).Draw(r.t, "dependent") == 0 {
				a.DependsOn = definition.Names{rapid.SampledFrom(others).Draw(r.t, "dependsOn")}
			}
			c.Spawn = append(c.Spawn, a)
		}
		r.give(c)
	}
}

// pass lets time pass, and everything happen that is due by then.
func (r *run) pass(d time.Duration) {
	r.at = r.at.Add(d)
	for n := 0; ; n++ {
		due := r.s.Deadline()
		r.equal("the deadline", due, r.m.deadline())
		if due.IsZero() || due.UnixMilli() > r.at.UnixMilli() {
			return
		}
		if len(r.give(Wake{})) == 0 {
			r.t.Fatalf("something is due at %s, but at %s nothing happens", due, r.at)
		}
		if n > 10_000 {
			r.t.Fatal("it goes on and on")
		}
	}
}

// give hands in a command and checks all that holds for every one.
func (r *run) give(c Command) []Event {
	r.given = append(r.given, c)
	events, accepted := r.decide(c)
	if again, _ := r.decide(c); !reflect.DeepEqual(events, again) {
		r.t.Fatalf("%+v: decided twice on the same state:\n%+v\n%+v", c, events, again)
	}
	r.shade(c, events, accepted)
	for k := range events {
		events[k] = r.place(events[k])
		r.fold(events[k])
	}
	r.check()
	switch c.(type) {
	case Wake, TakeOver: // each time something else may be due, or be here
	case Rerun, Dispose: // decided on more than the state: see rerun and dispose
	case Start, Cancel, Complete, Wait, Schedule, Retry, Fail, Heartbeat, Release, Pause, Resume,
		RetryActivity, SkipActivity, CompleteActivity, FailActivity, PauseActivity, ResumeActivity:
		if more, again := r.decide(c); len(more) > 0 || again != accepted {
			r.t.Fatalf("%+v comes again: %+v, %v", c, more, again)
		}
	}
	return events
}

func (r *run) decide(c Command) (events []Event, accepted bool) {
	events, err := r.s.Decide(r.at, c)
	var refusal *machine.Refusal
	if err != nil && (!errors.As(err, &refusal) || refusal.Reason == "" || len(events) > 0) {
		r.t.Fatalf("%+v is answered with %v, %v", c, events, err)
	}
	return events, err == nil
}

// place does what the runner does: some work is carried out by agents of this process.
func (r *run) place(e Event) Event {
	placement := rapid.SampledFrom([]string{"", "", "process-1"})
	switch e := e.(type) {
	case Requested:
		e.Placement = placement.Draw(r.t, "placement")
		return e
	case Offered:
		e.Placement = placement.Draw(r.t, "placement")
		return e
	case Started, Claimed, Extended, Waited, Scheduled, Retrying, Completed, Failed, TransfersFinished, Ended,
		Compensating, RerunStarted, Disposed, BlobsRemoved,
		Paused, Resumed, ActivityPaused, ActivityResumed, Skipped:
	}
	return e
}

func (r *run) fold(e Event) {
	f := r.s.Follow(r.at, e)
	if again := r.s.Follow(r.at, e); !reflect.DeepEqual(f, again) {
		r.t.Fatalf("%+v: what follows, derived twice:\n%+v\n%+v", e, f, again)
	}
	if c, ok := e.(Compensating); ok {
		r.ordered(r.m.completed(), c.Undo, definition.UndoSuffix)
	}
	if err := r.m.fold(r.at, e); err != nil {
		r.t.Fatalf("%+v: %v", e, err)
	}
	if _, ok := e.(Ended); ok {
		if r.ended++; r.ended > r.s.run {
			r.t.Fatal("a run ends twice")
		}
	}
	r.shadeFold(e, f)
	r.s = r.s.Evolve(r.at, e)
	r.log = append(r.log, entry{r.at, e, f})
}

func (r *run) equal(what string, got, want any) {
	if !reflect.DeepEqual(got, want) {
		r.t.Fatalf("%s: %v, want %v", what, got, want)
	}
}

// check holds the state against the model.
func (r *run) check() {
	r.equal("the phase", r.s.phase, r.m.phase)
	if r.s.g == nil {
		return
	}
	g := r.s.g
	r.equal("the nodes", len(g.nodes), len(r.m.nodes))
	open, retrieving, working, moving := 0, 0, 0, r.m.held()
	for i := range g.nodes {
		n, m := &g.nodes[i], r.m.nodes[g.nodes[i].id()]
		r.equal(n.id()+"'s phase", n.phase, m.phase)
		r.equal(n.id()+"'s open dependencies", int(n.waits), r.m.waits(m))
		r.equal(n.id()+"'s open children", int(n.unsettled), r.m.unsettled(m))
		r.equal(n.id()+" is paused", n.paused, m.paused)
		if n.phase == ActivityPending && n.waits == 0 && !n.paused && !r.m.held() {
			r.t.Fatalf("%s waits for nothing and is not asked for", n.id())
		}
		for k := 0; ; k++ {
			p, ok := g.spawner(int32(i), k)
			if !ok {
				break
			}
			if g.nodes[p].level >= n.level {
				r.t.Fatalf("%s is level %d, its spawner %s is %d", n.id(), n.level, g.nodes[p].id(), g.nodes[p].level)
			}
		}
		if !n.phase.Final() {
			open++
			moving = moving || n.phase != ActivityPending || n.paused
			if n.phase.working() {
				working++
			}
			if !m.late {
				retrieving++
			}
		}
	}
	r.equal("the open nodes", g.open, open)
	r.equal("the open nodes before aggregation", g.retrieving, retrieving)
	r.equal("the nodes under way", g.working, working)
	r.equal("the failures", g.failed, r.m.failed)
	if r.m.doomed && working == 0 {
		r.t.Fatal("it has failed, and nothing is under way, and it has not ended")
	}
	if !moving {
		r.t.Fatal("nothing will ever happen again: they wait in a circle")
	}
}

// replay folds what is on the log into a new state, by way of JSON.
func (r *run) replay() {
	s := New("o-1")
	if slices.ContainsFunc(r.log, func(x entry) bool { return Revives(x.e) }) {
		s = New("o-1").Remember()
	}
	for k, x := range r.log {
		b, err := json.Marshal(x.e)
		if err != nil {
			r.t.Fatalf("%+v: %v", x.e, err)
		}
		v := reflect.New(reflect.TypeOf(x.e))
		if err := json.Unmarshal(b, v.Interface()); err != nil {
			r.t.Fatalf("%s: %v", b, err)
		}
		e, _ := v.Elem().Interface().(Event)
		if st, ok := e.(Started); ok {
			st.Plan = r.start.Plan // equal definitions share a plan
			e = st
		}
		if f := s.Follow(x.at, e); !reflect.DeepEqual(f, x.f) {
			r.t.Fatalf("event %d: what follows is another after replaying:\n%+v\n%+v", k, f, x.f)
		}
		s = s.Evolve(x.at, e)
	}
	s = s.Forget()
	if got, want := bare(s), bare(r.s); got != want {
		r.t.Fatalf("replayed:\n%s\nwas:\n%s", got, want)
	}
	if got, want := s.Deadline(), r.s.Deadline(); !got.Equal(want) {
		r.t.Fatalf("after replaying, something is due at %s; it was %s", got, want)
	}
}

// bare writes down all there is in a state but its heap, whose order does not matter.
func bare(s State) string {
	text := fmt.Sprintf("%v %v %v %v %v %v\n", s.id, s.phase, s.run, s.fingerprint, s.endedAt, s.last)
	if s.g == nil {
		return text
	}
	g := *s.g
	for _, n := range g.nodes {
		n.armed = 0
		l := links{}
		if n.links != nil {
			l = *n.links
		}
		n.links = nil
		text += fmt.Sprintf("%s %s %s %s %s %s %+v %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d %v %v\n",
			n.id(), n.workID, n.agent, n.place, n.output, n.state, l, n.deadline, n.lease, n.began, n.next, n.timer, n.attempt, n.failures, n.offers,
			n.waits, n.unsettled, n.depth, n.level, n.parent, n.first, n.spawned, n.phase, n.said, n.late, n.paused)
	}
	return text + fmt.Sprintf("%s %s %v %v %v %v %d %v %v %d %d %v %d %d %d %d %v %d", g.typ, g.input, g.labels, g.partial, g.deps || g.cyclic, g.startedAt, g.deadline, g.index, g.work, g.open, g.retrieving, g.failures, g.failed, g.last, g.working, g.beneath, g.doomed, g.verdict)
}

// finish gives every activity a final report: that ends it.
func (r *run) finish() {
	r.give(Resume{})
	for _, id := range slices.Sorted(maps.Keys(r.m.nodes)) {
		r.give(ResumeActivity{Order{ActivityID: id}})
	}
	for range 10_000 {
		if r.s.Ended() {
			r.equal("how often it has ended", r.ended, r.s.run)
			return
		}
		if id := r.m.offered(0); id != "" {
			rep := Report{WorkID: r.m.nodes[id].workID, Attempt: r.m.nodes[id].attempt}
			if rapid.Bool().Draw(r.t, "ends well") {
				r.give(Complete{Report: rep, Output: r.output()})
			} else {
				r.give(Fail{Report: rep})
			}
			continue
		}
		r.at = r.s.Deadline()
		r.pass(0)
	}
	r.t.Fatal("it does not end")
}

// TestPlaceInTheTree: documents that refer to each other in any way give the same list in
// whatever order they come in.
func TestPlaceInTheTree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		documents := make(map[string][]definition.Activity, len(others))
		for _, id := range others {
			for _, to := range rapid.SliceOfN(rapid.SampledFrom(others), 0, 3).Draw(t, "refers to") {
				documents[id] = append(documents[id], definition.Activity{ID: to, Type: "noop"})
			}
		}
		p, err := NewPlan(definition.Orchestration{
			Type: "job", Activities: []definition.Activity{{ID: "a", Type: "noop"}}, Output: []definition.Mapping{{Source: "a.**", Target: "all"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		outputs := make([]string, 2)
		for k := range outputs {
			r := &run{t: t, start: Start{Plan: p}, s: New("o-1"), m: model{phase: PhaseInitial, nodes: map[string]*modelNode{}}}
			r.give(r.start)
			for !r.s.Ended() {
				id := r.m.offered(rapid.IntRange(0, 20).Draw(t, "next"))
				r.give(Complete{Report: Report{WorkID: r.m.nodes[id].workID, Attempt: 1}, Spawn: documents[id]})
			}
			end, _ := r.log[len(r.log)-1].e.(Ended)
			outputs[k] = string(end.Output)
			r.replay()
		}
		if outputs[0] != outputs[1] {
			t.Fatalf("in one order:\n%s\nin another:\n%s", outputs[0], outputs[1])
		}
	})
}

// model is an orchestration without any counter: it looks at everything anew.
type model struct {
	phase   Phase
	plan    *Plan
	nodes   map[string]*modelNode
	keys    map[string]string
	failed  int
	overdue time.Time
	undoing bool
	beneath Phase // while it is paused
	doomed  bool
	verdict time.Time
	endedAt time.Time
	left    map[string]bool // blobs that are there
}

type modelNode struct {
	undoes                       *modelNode
	id                           string
	def                          definition.Activity
	phase                        ActivityPhase
	parent                       *modelNode
	children                     []*modelNode
	dependsOn                    []*modelNode
	late                         bool
	workID                       string
	attempt                      int
	offers                       int
	local, paused                bool
	deadline, began, next, lease time.Time
	output                       json.RawMessage
}

func (m *model) find(id string) *modelNode {
	if n := m.nodes[id]; n != nil {
		return n
	}
	return m.nodes[m.keys[id]]
}

func (m *model) settled(n *modelNode, seen map[*modelNode]bool) bool {
	if seen[n] {
		return true
	}
	seen[n] = true
	if !n.phase.Final() {
		return false
	}
	for _, c := range n.children {
		if !m.settled(c, seen) {
			return false
		}
	}
	return true
}

func (m *model) open(l []*modelNode) int {
	open := 0
	for k, n := range l {
		if !slices.Contains(l[:k], n) && !m.settled(n, map[*modelNode]bool{}) {
			open++
		}
	}
	return open
}

func (m *model) waits(n *modelNode) int     { return m.open(n.dependsOn) }
func (m *model) unsettled(n *modelNode) int { return m.open(n.children) }

// asked lists the activities that were ever asked for.
func (m *model) asked() []string {
	var l []string
	for id, n := range m.nodes {
		if n.workID != "" {
			l = append(l, id)
		}
	}
	slices.Sort(l)
	return l
}

// offered is the k-th activity of which an attempt is out, around again where there
// are fewer.
func (m *model) offered(k int) string {
	l := slices.DeleteFunc(m.asked(), func(id string) bool { return !m.nodes[id].phase.offered() })
	if len(l) == 0 {
		return ""
	}
	return l[k%len(l)]
}

func (m *model) move(id string, to ActivityPhase) (*modelNode, error) {
	n := m.nodes[id]
	if n == nil {
		return nil, fmt.Errorf("there is no %s", id)
	}
	if !n.phase.CanMove(to) {
		return nil, fmt.Errorf("%s: %w", id, &MoveError{n.phase, to})
	}
	n.phase = to
	return n, nil
}

func (m *model) orchestration(to Phase) error {
	if !m.phase.CanMove(to) {
		return &MoveError{m.phase, to}
	}
	m.phase = to
	return nil
}

func (m *model) fold(at time.Time, e Event) error {
	_, removed := e.(BlobsRemoved)
	if m.phase.Final() != (removed || Revives(e)) {
		return errors.New("it comes before the end, or after it")
	}
	id, to := target(e)
	switch e := e.(type) {
	case Started:
		return m.start(e)
	case TransfersFinished:
		return m.orchestration(PhaseTransfersFinished)
	case Ended:
		if m.doomed && e.State == PhaseCompleted {
			return errors.New("it ends well although an activity has failed")
		}
		m.endedAt = at
		return m.end(e)
	case Compensating:
		return m.compensate(e)
	case RerunStarted:
		return m.again(e)
	case Disposed:
		return errors.New("nobody asked for that")
	case BlobsRemoved:
		return m.remove(e)
	case Paused:
		m.beneath = m.phase
		return m.orchestration(PhasePaused)
	case Resumed:
		if e.State != m.beneath {
			return fmt.Errorf("it goes on as %s, and was %s", e.State, m.beneath)
		}
		m.beneath = 0
		return m.orchestration(e.State)
	case ActivityPaused:
		m.nodes[e.ActivityID].paused = true
		return nil
	case ActivityResumed:
		m.nodes[e.ActivityID].paused = false
		return nil
	case Requested, Offered, Claimed, Extended, Waited, Scheduled, Retrying, Completed, Failed, Skipped:
	}
	n, err := m.move(id, to)
	if err != nil {
		return err
	}
	n.paused = n.paused && !to.Final()
	if to.Final() {
		n.output = outputOf(e)
		m.keep(n.output)
	}
	return m.activity(n, at, e)
}

// held says that nothing new may be asked for.
func (m *model) held() bool { return m.beneath != 0 || m.doomed }

func (m *model) start(e Started) error {
	m.plan, m.overdue, m.keys = e.Plan, e.Deadline, map[string]string{}
	for _, a := range e.Plan.def.Activities {
		n := &modelNode{id: a.ID, def: a, late: a.Type == AggregateType}
		for _, d := range a.DependsOn {
			n.dependsOn = append(n.dependsOn, m.nodes[d])
			n.late = n.late || m.nodes[d].late
		}
		m.nodes[a.ID] = n
	}
	return m.orchestration(PhaseInProgress)
}

func (m *model) activity(n *modelNode, at time.Time, e Event) error {
	switch e := e.(type) {
	case Requested:
		if m.waits(n) > 0 {
			return errors.New("it is asked for before its dependencies are done")
		}
		if m.held() || n.paused {
			return errors.New("it is asked for although it is held")
		}
		if e.Attempt != n.attempt+1 || n.workID != "" && (n.workID != e.WorkID || !n.deadline.Equal(e.Deadline)) {
			return fmt.Errorf("it comes after attempt %d of %s", n.attempt, n.workID)
		}
		n.workID, n.attempt, n.offers, n.deadline = e.WorkID, e.Attempt, 0, e.Deadline
		n.offer(at, e.Placement)
	case Offered:
		if e.Attempt != n.attempt || e.Offer != n.offers+1 {
			return fmt.Errorf("it comes after offer %d of attempt %d", n.offers, n.attempt)
		}
		if m.doomed {
			return errors.New("it is begun anew although all is about to end")
		}
		n.offer(at, e.Placement)
	case Claimed:
		n.began, n.lease, n.next = at, e.Lease, time.Time{}
	case Extended:
		n.lease = e.Lease
	case Waited:
		n.next = e.Until
	case Scheduled:
		n.next = e.At
	case Retrying:
		n.next = e.At
	case Failed:
		m.failed++
		if !e.Continued && !m.doomed {
			m.doomed, m.verdict = true, at.Add(lastReports)
		}
	case Completed:
		return m.grow(n, e)
	case Started, TransfersFinished, Ended, Compensating, RerunStarted, Disposed, BlobsRemoved, Skipped, Paused, Resumed, ActivityPaused, ActivityResumed:
	}
	return nil
}

func (n *modelNode) offer(at time.Time, placement string) {
	n.offers++
	n.local, n.began, n.lease, n.next = placement != "", at, time.Time{}, time.Time{}
	if !n.local {
		n.next = at.Add(min(machine.FirstOffer<<(n.offers-1), machine.LastOffer) + machine.LastClaims)
	}
}

func (m *model) grow(n *modelNode, e Completed) error {
	if e.Key != "" && m.find(e.Key) == nil {
		m.keys[e.Key] = n.id
	}
	for _, a := range e.Spawned {
		if m.find(a.ID) != nil {
			return fmt.Errorf("%s is there already", a.ID)
		}
		c := &modelNode{id: a.ID, def: *inherit(&a, &n.def), parent: n, late: n.late}
		m.nodes[a.ID] = c
		n.children = append(n.children, c)
	}
	for _, id := range e.Shared {
		n.children = append(n.children, m.nodes[id])
	}
	for _, a := range e.Spawned {
		for _, d := range a.DependsOn {
			m.nodes[a.ID].dependsOn = append(m.nodes[a.ID].dependsOn, m.find(d))
		}
	}
	return nil
}

// deadline is when something happens by itself.
func (m *model) deadline() time.Time {
	var at int64
	earliest := func(t time.Time) {
		if ms := millis(t); ms != 0 && (at == 0 || ms < at) {
			at = ms
		}
	}
	if m.phase.Final() && len(m.left) > 0 {
		return m.endedAt.Add(DefaultKeepBlobs)
	}
	if m.phase.Final() || m.phase == PhaseInitial {
		return time.Time{}
	}
	earliest(m.overdue)
	earliest(m.verdict)
	for _, n := range m.nodes {
		if n.phase.Final() || n.phase == ActivityPending {
			continue
		}
		earliest(n.deadline)
		switch n.phase {
		case ActivityReady:
			if !m.doomed {
				earliest(n.next)
			}
			continue
		case ActivityScheduled, ActivityRetrying:
			if !n.paused && !m.held() {
				earliest(n.next)
			}
			continue
		case ActivityWaiting:
			earliest(n.next)
			continue
		default:
		}
		earliest(n.lease)
		earliest(fromMillis(millis(n.began) + millisOf(attemptTimeout(&n.def))))
	}
	return fromMillis(at)
}
