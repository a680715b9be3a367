package machinetest

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/domain/machine"
)

// Epoch is the time at which everything happens unless a scenario says otherwise.
var Epoch = time.Date(2026, time.January, 2, 3, 4, 5, 0, time.UTC)

// Machine is what an aggregate's state has to be: S itself, its commands and its events.
type Machine[S, C, E any] interface {
	Decide(at time.Time, c C) ([]E, error)
	Evolve(at time.Time, e E) S
}

// For makes the word given of one machine's tests. What is given was decided at Epoch. The function start returns the state before
// the first event; it is called anew for each scenario, because Evolve may reuse the
// old state's collections.
func For[S Machine[S, C, E], C, E any](start func() S) func(events ...E) Scenario[S, C, E] {
	return func(events ...E) Scenario[S, C, E] {
		return Scenario[S, C, E]{start: start, given: events, at: Epoch}
	}
}

// Scenario is what has happened so far. It is a value: every method returns a longer one
// and leaves the old one alone, so that tests can share a beginning.
type Scenario[S Machine[S, C, E], C, E any] struct {
	start func() S
	given []E
	steps []step[C]
	at    time.Time
	once  bool
}

type step[C any] struct {
	at      time.Time
	command C
}

// At moves the clock to t for the commands that follow.
func (s Scenario[S, C, E]) At(t time.Time) Scenario[S, C, E] {
	s.at = t
	return s
}

// After moves the clock on by d for the commands that follow.
func (s Scenario[S, C, E]) After(d time.Duration) Scenario[S, C, E] {
	s.at = s.at.Add(d)
	return s
}

// When hands in a command. Of several, the earlier ones must be accepted, and the last is the one
// that Then, Refuses and Follows speak of.
func (s Scenario[S, C, E]) When(c C) Scenario[S, C, E] {
	s.steps = append(s.steps[:len(s.steps):len(s.steps)], step[C]{s.at, c})
	return s
}

// Once is for the rare command that has its way each time it is given, such as one by which a
// new owner takes over: Then does not hand it in a second time.
func (s Scenario[S, C, E]) Once() Scenario[S, C, E] {
	s.once = true
	return s
}

// Then is the test that the last command makes exactly these events happen; none means that
// it is accepted and changes nothing.
func (s Scenario[S, C, E]) Then(want ...E) func(t *testing.T) {
	return func(t *testing.T) {
		t.Helper()
		if complaint := s.then(want); complaint != "" {
			t.Error(complaint)
		}
	}
}

// Refuses is the test that the last command is refused with this code, and that the
// refusal's text contains each of the words.
func (s Scenario[S, C, E]) Refuses(code machine.Code, words ...string) func(t *testing.T) {
	return func(t *testing.T) {
		t.Helper()
		if complaint := s.refuses(code, words); complaint != "" {
			t.Error(complaint)
		}
	}
}

// Follows is the test that exactly these effects follow from the events of the last
// command. The state must have a method
// Follow(time.Time, E) []machine.Effect.
func (s Scenario[S, C, E]) Follows(want ...machine.Effect) func(t *testing.T) {
	return func(t *testing.T) {
		t.Helper()
		if complaint := s.follows(want); complaint != "" {
			t.Error(complaint)
		}
	}
}

// State returns where everything so far has led, for what events do not show: a
// deadline, whether it has ended.
func (s Scenario[S, C, E]) State(t *testing.T) S {
	t.Helper()
	state, complaint := s.play(len(s.steps))
	if complaint != "" {
		t.Fatal(complaint)
	}
	return state
}

// play folds the given events and what the first n commands make happen.
func (s Scenario[S, C, E]) play(n int) (S, string) {
	state := Fold(Epoch, s.start(), s.given...)
	for _, st := range s.steps[:n] {
		events, err := state.Decide(st.at, st.command)
		if err != nil {
			return state, "an earlier command, " + show(st.command) + "\nis refused: " + err.Error()
		}
		state = Fold(st.at, state, events...)
	}
	return state, ""
}

// last returns the state that meets the last command, and that command.
func (s Scenario[S, C, E]) last() (S, step[C], string) {
	if len(s.steps) == 0 {
		var none step[C]
		return s.start(), none, "the scenario has no command: say When before what is expected"
	}
	n := len(s.steps) - 1
	state, complaint := s.play(n)
	return state, s.steps[n], complaint
}

func (s Scenario[S, C, E]) then(want []E) string {
	state, st, complaint := s.last()
	if complaint != "" {
		return complaint
	}
	got, err := state.Decide(st.at, st.command)
	if err != nil {
		return show(st.command) + "\nis refused: " + err.Error()
	}
	if d := diff(want, got); d != "" {
		return show(st.command) + "\nmakes other events happen (- wanted, + got):\n" + d
	}
	again, err := state.Decide(st.at, st.command)
	if err != nil {
		return show(st.command) + "\nis refused when it is decided again on the same state: " + err.Error()
	}
	if d := diff(got, again); d != "" {
		return show(st.command) + "\ncomes out otherwise when it is decided again on the same state (- first, + then):\n" + d
	}
	if s.once {
		return ""
	}
	return s.repeat(Fold(st.at, state, got...), st)
}

// repeat hands in a command that has already had its way.
func (s Scenario[S, C, E]) repeat(state S, st step[C]) string {
	events, err := state.Decide(st.at, st.command)
	if err != nil {
		return show(st.command) + "\nis refused when it is delivered twice: " + err.Error()
	}
	if len(events) > 0 {
		return show(st.command) + "\nmakes something happen when it is delivered twice:\n" + diff(nil, events)
	}
	return ""
}

func (s Scenario[S, C, E]) refuses(code machine.Code, words []string) string {
	state, st, complaint := s.last()
	if complaint != "" {
		return complaint
	}
	events, err := state.Decide(st.at, st.command)
	var r *machine.Refusal
	switch {
	case err == nil:
		return show(st.command) + "\nis not refused but makes happen:\n" + diff(nil, events)
	case !errors.As(err, &r):
		return show(st.command) + "\nfails instead of being refused: " + err.Error()
	case r.Code != code:
		return show(st.command) + "\nis refused with " + string(r.Code) + ", want " + string(code) + ": " + r.Error()
	case len(events) > 0:
		return show(st.command) + "\nis refused and all the same makes happen:\n" + diff(nil, events)
	}
	for _, w := range words {
		if !strings.Contains(r.Error(), w) {
			return show(st.command) + "\nis refused with words that lack " + w + ": " + r.Error()
		}
	}
	return ""
}

func (s Scenario[S, C, E]) follows(want []machine.Effect) string {
	state, st, complaint := s.last()
	if complaint != "" {
		return complaint
	}
	events, err := state.Decide(st.at, st.command)
	if err != nil {
		return show(st.command) + "\nis refused: " + err.Error()
	}
	var got []machine.Effect
	for _, e := range events {
		f, ok := any(state).(interface {
			Follow(at time.Time, e E) []machine.Effect
		})
		if !ok {
			return "the state has no method Follow that takes its events"
		}
		got = append(got, f.Follow(st.at, e)...)
		state = state.Evolve(st.at, e)
	}
	if d := diff(want, got); d != "" {
		return show(st.command) + "\nhas other effects (- wanted, + got):\n" + d
	}
	return ""
}

// Fold folds events into a state, in order, all decided at the same time.
func Fold[S interface {
	Evolve(at time.Time, e E) S
}, E any](at time.Time, state S, events ...E) S {
	for _, e := range events {
		state = state.Evolve(at, e)
	}
	return state
}
