package machinetest

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/domain/machine"
)

// A lamp is the smallest machine: it is switched on and off, and breaks when it is hit.
type (
	lamp struct {
		On     bool
		Broken bool
		faults faults
	}
	// faults are the ways in which a machine can be wrong.
	faults struct{ forgetful, refusesRepeats, fickle, noRefusal bool }

	command interface{ command() }
	turn    struct{ On bool }
	hit     struct{}

	event  interface{ event() }
	turned struct {
		On bool      `json:"on"`
		At time.Time `json:"at"`
	}
	broke struct{}
)

func (turn) command() {}
func (hit) command()  {}
func (turned) event() {}
func (broke) event()  {}

var calls int

func (l lamp) Decide(at time.Time, c command) ([]event, error) {
	switch c := c.(type) {
	case hit:
		if l.faults.noRefusal {
			return nil, errors.New("out of memory")
		}
		if l.Broken {
			return nil, nil
		}
		return []event{broke{}}, nil
	case turn:
		if l.Broken {
			return nil, machine.Refuse(machine.BadState, "the lamp is broken")
		}
		if l.On == c.On && l.faults.refusesRepeats {
			return nil, machine.Refuse(machine.BadState, "it is so already")
		}
		if l.On == c.On && !l.faults.forgetful {
			return nil, nil
		}
		if l.faults.fickle {
			calls++
			at = at.Add(time.Duration(calls) * time.Second)
		}
		return []event{turned{On: c.On, At: at}}, nil
	}
	return nil, nil
}

func (l lamp) Evolve(_ time.Time, e event) lamp {
	switch e := e.(type) {
	case turned:
		l.On = e.On
	case broke:
		l.Broken = true
	}
	return l
}

func (l lamp) Follow(_ time.Time, e event) []machine.Effect {
	if _, ok := e.(broke); ok {
		return []machine.Effect{machine.Completion{Type: "lamp.broken.v1", Value: l.On}}
	}
	return nil
}

var given = For(func() lamp { return lamp{} })

func faulty(f faults) func(events ...event) Scenario[lamp, command, event] {
	return For(func() lamp { return lamp{faults: f} })
}

func TestScenario(t *testing.T) {
	t.Run("a command makes events happen", given().When(turn{On: true}).Then(turned{On: true, At: Epoch}))
	t.Run("a command that had its way makes nothing happen",
		given(turned{On: true}).When(turn{On: true}).Then())
	t.Run("a refusal is known by its code and its words",
		given(broke{}).When(turn{On: true}).Refuses(machine.BadState, "broken"))
	t.Run("the clock can be set", given().At(Epoch.Add(time.Hour)).When(turn{On: true}).
		Then(turned{On: true, At: Epoch.Add(time.Hour)}))
	t.Run("the clock can be moved on between commands", given().When(turn{On: true}).After(time.Minute).When(turn{}).
		Then(turned{At: Epoch.Add(time.Minute)}))
	t.Run("effects follow from the state before the event", given(turned{On: true}).When(hit{}).
		Follows(machine.Completion{Type: "lamp.broken.v1", Value: true}))
	t.Run("a command may have its way each time", faulty(faults{forgetful: true})().When(turn{On: true}).Once().
		Then(turned{On: true, At: Epoch}))
	t.Run("a beginning can be shared", func(t *testing.T) {
		lit := given().When(turn{On: true})
		lit.When(hit{}).Then(broke{})(t)
		lit.When(turn{}).Then(turned{At: Epoch})(t)
	})
	t.Run("the state can be looked at", func(t *testing.T) {
		if s := given().When(turn{On: true}).State(t); !s.On {
			t.Errorf("%+v", s)
		}
	})
}

func TestComplaints(t *testing.T) {
	for name, c := range map[string]struct{ complaint, want string }{
		"another event": {
			given().When(turn{On: true}).then([]event{turned{At: Epoch}}),
			"machinetest.turn {\n  \"On\": true\n}\nmakes other events happen (- wanted, + got):\n" +
				"  machinetest.turned {\n-   \"on\": false,\n+   \"on\": true,\n    \"at\": \"2026-01-02T03:04:05Z\"\n  }",
		},
		"an event of another type": {
			given().When(hit{}).then([]event{turned{}}), "+ machinetest.broke {}",
		},
		"an event too few":  {given().When(turn{}).then([]event{broke{}}), "- machinetest.broke {}"},
		"an event too many": {given().When(hit{}).then(nil), "+ machinetest.broke {}"},
		"a refusal":         {given(broke{}).When(turn{}).then(nil), "is refused: the lamp is broken"},
		"a second delivery that does something": {
			faulty(faults{forgetful: true})().When(turn{On: true}).then([]event{turned{On: true, At: Epoch}}),
			"makes something happen when it is delivered twice:\n+ machinetest.turned {",
		},
		"a second delivery that is refused": {
			faulty(faults{refusesRepeats: true})().When(turn{On: true}).then([]event{turned{On: true, At: Epoch}}),
			"is refused when it is delivered twice: it is so already",
		},
		"no refusal":      {given().When(turn{On: true}).refuses(machine.BadState, nil), "is not refused but makes happen:\n+ machinetest.turned {"},
		"another code":    {given(broke{}).When(turn{}).refuses(machine.Limit, nil), "is refused with state, want limit: the lamp is broken"},
		"other words":     {given(broke{}).When(turn{}).refuses(machine.BadState, []string{"fuse"}), "is refused with words that lack fuse"},
		"a plain error":   {faulty(faults{noRefusal: true})().When(hit{}).refuses(machine.BadState, nil), "fails instead of being refused: out of memory"},
		"another effect":  {given().When(hit{}).follows(nil), "has other effects (- wanted, + got):\n+ machine.Completion {"},
		"no command":      {given().then(nil), "the scenario has no command"},
		"earlier refused": {given(broke{}).When(turn{}).When(hit{}).then(nil), "an earlier command, machinetest.turn {\n  \"On\": false\n}\nis refused: the lamp is broken"},
	} {
		if !strings.Contains(c.complaint, c.want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, c.complaint, c.want)
		}
	}
}

func TestUnstableDecisionIsFound(t *testing.T) {
	calls = 0
	got := faulty(faults{fickle: true})().When(turn{On: true}).then([]event{turned{On: true, At: Epoch.Add(time.Second)}})
	if !strings.Contains(got, "comes out otherwise when it is decided again") {
		t.Error(got)
	}
}
