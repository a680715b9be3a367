package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/partstree"
	"github.com/waybill/waybill/schemas"
)

// event is one event of the job's history, as GET /v1/jobs/{id}/events has it.
type event struct {
	Sequence int64           `json:"sequence"`
	Type     string          `json:"type"`
	Time     time.Time       `json:"time"`
	Data     json.RawMessage `json:"data"`
}

// node is what is known of one activity.
type node struct {
	id, name, typ string
	state         orchestration.ActivityPhase
	began, since  time.Time
	note          string // of the last change
}

// progress folds the history into the nodes' states and shows each change: as a line, or
// on a terminal in place.
type progress struct {
	out      io.Writer
	terminal bool
	rename   *strings.Replacer // addresses to the providers' names

	seen    int64
	began   time.Time
	ended   bool
	nodes   []*node
	byID    map[string]*node
	drawn   int // lines of the last picture
	changed bool
}

func newProgress(o Options, providers []*provider, root string) *progress {
	var pairs []string
	for _, p := range providers {
		pairs = append(pairs, p.url, p.name)
	}
	p := &progress{out: o.Out, terminal: o.Terminal, rename: strings.NewReplacer(pairs...), byID: map[string]*node{}}
	p.add(rootActivity, root, partstree.RetrieveType)
	return p
}

func (p *progress) add(id, name, typ string) {
	if p.byID[id] != nil {
		return
	}
	if name == "" {
		name = id
	}
	n := &node{id: id, name: p.rename.Replace(name), typ: typ}
	p.byID[id] = n
	p.nodes = append(p.nodes, n)
}

// body is the union of what the events say, as far as it is shown.
type body struct {
	ActivityID string                `json:"activityId"`
	Attempt    int                   `json:"attempt"`
	Placement  string                `json:"placement"`
	At         time.Time             `json:"at"`
	Error      orchestration.Failure `json:"error"`
	Definition struct {
		Activities []spawned `json:"activities"`
	} `json:"definition"`
	Spawned []spawned `json:"spawned"`
}

type spawned struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Type string `json:"type"`
}

// take folds in what is new of the history.
func (p *progress) take(history []event) error {
	for _, e := range history {
		if e.Sequence <= p.seen {
			continue
		}
		p.seen = e.Sequence
		if p.began.IsZero() {
			p.began = e.Time
		}
		var b body
		if err := json.Unmarshal(e.Data, &b); err != nil {
			return fmt.Errorf("event %d, %s: %w", e.Sequence, e.Type, err)
		}
		p.fold(e, &b)
	}
	return nil
}

func (p *progress) fold(e event, b *body) {
	switch e.Type {
	case schemas.OrchestrationStarted:
		for _, a := range b.Definition.Activities {
			p.add(a.ID, a.Name, a.Type)
		}
	case schemas.OrchestrationEnded:
		p.ended = true
		for _, n := range p.nodes {
			if !n.state.Final() {
				p.move(n, e.Time, orchestration.ActivityCancelled, "the job has ended")
			}
		}
	}
	n := p.byID[b.ActivityID]
	if n == nil {
		return
	}
	state, note := stateAfter(e.Type, b, n.state)
	p.move(n, e.Time, state, note)
	for _, c := range b.Spawned {
		p.add(c.ID, c.Name, c.Type)
	}
}

// stateAfter is the state an event leaves a node in, and what else is worth saying.
func stateAfter(typ string, b *body, before orchestration.ActivityPhase) (orchestration.ActivityPhase, string) {
	switch typ {
	case schemas.ActivityRequested, schemas.ActivityOffered:
		if b.Placement != "" { // an agent of this very process has it
			return orchestration.ActivityRunning, again(b.Attempt)
		}
		return orchestration.ActivityReady, again(b.Attempt)
	case schemas.ActivityClaimed:
		return orchestration.ActivityRunning, ""
	case schemas.ActivityWaited:
		return orchestration.ActivityWaiting, ""
	case schemas.ActivityScheduled:
		return orchestration.ActivityScheduled, ""
	case schemas.ActivityRetrying:
		return orchestration.ActivityRetrying, fmt.Sprintf("attempt %d, %s", b.Attempt, what(&b.Error))
	case schemas.ActivityCompleted:
		return orchestration.ActivityCompleted, ""
	case schemas.ActivityFailed:
		return orchestration.ActivityFailed, fmt.Sprintf("after %s, %s", attempts(b.Error.Attempts), what(&b.Error))
	}
	return before, ""
}

func again(attempt int) string {
	if attempt > 1 {
		return fmt.Sprintf("attempt %d", attempt)
	}
	return ""
}

func attempts(n int) string {
	if n == 1 {
		return "1 attempt"
	}
	return fmt.Sprintf("%d attempts", n)
}

func what(f *orchestration.Failure) string {
	if f.Step == "" {
		return f.Message
	}
	return f.Step + ": " + f.Message
}

func (p *progress) move(n *node, at time.Time, to orchestration.ActivityPhase, note string) {
	if n.state == to && note == "" {
		return
	}
	from := n.state
	if n.began.IsZero() {
		n.began = at
	}
	n.state, n.since, n.note = to, at, p.rename.Replace(note)
	p.changed = true
	if p.terminal {
		return
	}
	move := to.String()
	if from != orchestration.ActivityPending && from != to {
		move = from.String() + " → " + move
	}
	fmt.Fprintf(p.out, "%8.3f s  %-10s %-32s %s\n", at.Sub(p.began).Seconds(), n.typ, n.name, withNote(move, n.note))
}

func withNote(s, note string) string {
	if note == "" {
		return s
	}
	return s + "  (" + note + ")"
}

// width of the bar on a terminal.
const width = 24

// draw draws the picture of a terminal over the last one.
func (p *progress) draw(now time.Time) {
	if !p.terminal || len(p.byID) < 2 {
		return
	}
	done := 0
	for _, n := range p.nodes {
		if n.state.Final() {
			done++
		}
	}
	var b strings.Builder
	if p.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", p.drawn)
	}
	full := width * done / len(p.nodes)
	fmt.Fprintf(&b, "\x1b[2K  %s%s  %d of %d done\n", strings.Repeat("█", full), strings.Repeat("░", width-full), done, len(p.nodes))
	for _, n := range p.nodes {
		fmt.Fprintf(&b, "\x1b[2K  %s\n", n.line(now))
	}
	fmt.Fprint(p.out, b.String())
	p.drawn, p.changed = 1+len(p.nodes), false
}

// lineWidth is what a terminal shows without breaking a line, which would spoil the
// picture.
const lineWidth = 78

func (n *node) line(now time.Time) string {
	took := ""
	if !n.began.IsZero() {
		until := now
		if n.state.Final() {
			until = n.since
		}
		took = fmt.Sprintf("%.1f s", max(until.Sub(n.began), 0).Seconds())
	}
	s := fmt.Sprintf("%-10s %-30s %-10s %7s", n.typ, n.name, n.state, took)
	if n.note != "" {
		s += "  " + n.note
	}
	if r := []rune(s); len(r) > lineWidth {
		s = string(r[:lineWidth-1]) + "…"
	}
	return s
}
