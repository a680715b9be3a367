package orchestration_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/machine/machinetest"
	. "github.com/waybill/waybill/domain/orchestration" //nolint:revive // the tests read as sentences of this package
)

const jobInput = `{"cell":"blue","count":3,"deep":{"list":[{"n":1},{"n":2}]},"nothing":null,"input":"odd"}`

const firstOutput = `{"resource":"r-1","size":12.50,"tags":["x","y"],"url":"http://a/?b=1&c=<d>"}`

// largeInput is jobInput with so much beside it that it is taken apart only once.
var largeInput = strings.TrimSuffix(jobInput, "}") + `,"padding":"` + strings.Repeat("x", 20<<10) + `"}` //nolint:gochecknoglobals // as if a constant

// inputOf is what an activity works on that comes after one with firstOutput.
func inputOf(t *testing.T, job, inputs, literals string) string {
	t.Helper()
	a := definition.Activity{ID: "second", Type: "noop", DependsOn: definition.Names{"first"}}
	if inputs != "" {
		if err := json.Unmarshal([]byte(inputs), &a.Inputs); err != nil {
			t.Fatal(err)
		}
	}
	if literals != "" {
		a.With = json.RawMessage(literals)
	}
	c := start(plan(activity("first"), a))
	c.Input = json.RawMessage(job)
	s := given().When(c).State(t)
	events, err := s.Decide(epoch, Complete{Report: report("first", 1), Output: json.RawMessage(firstOutput)})
	if err != nil || len(events) != 2 {
		t.Fatal(events, err)
	}
	s = machinetest.Fold[State, Event](epoch, s, events[0])
	w, _ := s.Follow(epoch, events[1])[0].(machine.Work)
	return string(w.Input)
}

// What an activity works on.
func TestInputs(t *testing.T) {
	for _, c := range []struct{ name, inputs, with, want string }{
		{"none", "", "", ""},
		{"a bare name is the input's", `["cell"]`, "", `{"cell":"blue"}`},
		{"input. is the input's too", `["input.cell"]`, "", `{"cell":"blue"}`},
		{"a property of that name has a say first", `["input"]`, "", `{"input":"odd"}`},
		{"id.name is an output's", `["first.resource"]`, "", `{"resource":"r-1"}`},
		{"it may have another name", `[{"source":"first.resource","target":"resourceId"}]`, "", `{"resourceId":"r-1"}`},
		{"a path goes into objects and arrays", `[{"source":"deep.list.1.n","target":"n"}]`, "", `{"n":2}`},
		{"a whole output", `[{"source":"first","target":"all"}]`, `{}`, `{"all":` + escaped(firstOutput) + `}`},
		{"what is not there is left out", `["cell","nowhere","first.nowhere","nobody.x","deep.list.7","deep.list.x"]`, "", `{"cell":"blue"}`},
		{"null is there", `["nothing"]`, "", `{"nothing":null}`},
		{"literals stay as they are", "", `{ "a": 1.0, "b": [true] }`, `{ "a": 1.0, "b": [true] }`},
		{"inputs go over literals", `["cell"]`, `{"cell":"red","n":1}`, `{"cell":"blue","n":1}`},
		{"a template keeps the type", "", `{"n":"{{count}}","l":"{{ first.tags }}","f":"{{first.size}}"}`, `{"f":12.50,"l":["x","y"],"n":3}`},
		{"within a text it is text", "", `{"u":"http://{{cell}}/{{first.resource}}?n={{count}}"}`, `{"u":"http://blue/r-1?n=3"}`},
		{"in objects and arrays", "", `{"a":[{"b":"{{cell}}"},"{{count}}"]}`, `{"a":[{"b":"blue"},3]}`},
		{"what is not there is null", "", `{"a":"{{nowhere}}","b":"x{{nowhere}}y"}`, `{"a":null,"b":"xy"}`},
		{"braces that do not close are text", "", `{"a":"{{cell","b":"{{cell}} {{"}`, `{"a":"{{cell","b":"blue {{"}`},
		{"two templates are no template", "", `{"a":"{{cell}}{{cell}}"}`, `{"a":"blueblue"}`},
		{"a template is not filled twice", `[{"source":"first.resource","target":"a"}]`, `{"a":"{{cell}}"}`, `{"a":"r-1"}`},
		{"numbers beside templates keep all digits", "", `{"a":"{{cell}}","n":12345678901234567890.10}`, `{"a":"blue","n":12345678901234567890.10}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, job := range []string{jobInput, largeInput} {
				if got := inputOf(t, job, c.inputs, c.with); got != c.want {
					t.Errorf("the input is\n%s, want\n%s", got, c.want)
				}
			}
		})
	}
}

// escaped is a value as encoding/json writes it within another.
func escaped(s string) string {
	b, _ := json.Marshal(json.RawMessage(s))
	return string(b)
}

func TestOutput(t *testing.T) {
	c := start(compile(definition.Orchestration{
		Type: "job", Activities: list(activity("root")),
		Output: []definition.Mapping{{Source: "root.**", Target: "all"}, {Source: "cell", Target: "cell"}},
	}))
	s := given().When(c)
	t.Run("an activity with all it spawned, depth first in the order of spawning", s.
		When(done("root", activity("x"), with(activity("y"), func(a *definition.Activity) { a.Name = "the second" }))).
		When(done("y")).When(done("x", activity("z"))).When(done("z")).
		Then(completed("z"), Ended{State: PhaseCompleted, Output: json.RawMessage(`{"all":[` +
			`{"id":"root","name":"root","state":"COMPLETED","output":"root"},` +
			`{"id":"x","name":"x","state":"COMPLETED","output":"x"},` +
			`{"id":"z","name":"z","state":"COMPLETED","output":"z"},` +
			`{"id":"y","name":"the second","state":"COMPLETED","output":"y"}],"cell":"blue"}`)}))
	t.Run("a tombstone is listed without an output", s.When(done("root", tolerant(activity("x")))).When(broken("x")).
		Then(Failed{ActivityID: "x", Attempt: 1, Error: failure("x"), Continued: true},
			Ended{State: PhaseCompleted, Failures: []Failure{failure("x")}, Output: json.RawMessage(`{"all":[` +
				`{"id":"root","name":"root","state":"COMPLETED","output":"root"},{"id":"x","name":"x","state":"FAILED"}],"cell":"blue"}`)}))
	// Whichever of two parents comes first, the shared node has the same place.
	shared := s.When(done("root", activity("x"), activity("y")))
	want := Ended{State: PhaseCompleted, Output: json.RawMessage(`{"all":[` +
		`{"id":"root","name":"root","state":"COMPLETED","output":"root"},` +
		`{"id":"x","name":"x","state":"COMPLETED","output":"x"},` +
		`{"id":"s","name":"s","state":"COMPLETED","output":"s"},` +
		`{"id":"a","name":"a","state":"COMPLETED","output":"a"},` +
		`{"id":"y","name":"y","state":"COMPLETED","output":"y"}],"cell":"blue"}`)}
	x, y := done("x", activity("s"), activity("a")), done("y", activity("s"))
	t.Run("a shared node stands where the tree has it first", shared.When(x).When(y).When(done("s")).When(done("a")).Then(completed("a"), want))
	t.Run("even if it was spawned by a later one", shared.When(y).When(x).When(done("s")).When(done("a")).Then(completed("a"), want))
	// x and y ask for each other; what z spawned is y, or x has, whoever comes first.
	mutual := s.When(done("root", activity("x"), activity("z")))
	askX, askY := done("x", activity("y")), done("y", activity("x"))
	order := json.RawMessage(`{"all":[` +
		`{"id":"root","name":"root","state":"COMPLETED","output":"root"},` +
		`{"id":"x","name":"x","state":"COMPLETED","output":"x"},` +
		`{"id":"y","name":"y","state":"COMPLETED","output":"y"},` +
		`{"id":"z","name":"z","state":"COMPLETED","output":"z"}],"cell":"blue"}`)
	t.Run("two that ask for each other stand where the first is", mutual.When(askX).When(done("z", activity("y"))).When(askY).
		Then(grown("y", nil, nil, "x"), Ended{State: PhaseCompleted, Output: order}))
	t.Run("whichever of them came first", mutual.When(done("z", activity("y"))).When(askY).When(askX).
		Then(grown("x", nil, nil, "y"), Ended{State: PhaseCompleted, Output: order}))
	t.Run("a part of the tree does not go beyond it by a cycle", given().When(partOf("x")).When(done("root", activity("y"))).
		When(done("y", activity("x"))).When(done("x", activity("root"))).
		Then(grown("x", nil, nil, "root"), Ended{State: PhaseCompleted, Output: json.RawMessage(`{"all":[{"id":"x","name":"x","state":"COMPLETED","output":"x"}]}`)}))
	t.Run("even if the last to end only shares", running2(c).When(done("p", activity("s"))).When(done("s")).When(done("root", activity("s"))).
		Then(grown("root", nil, []string{"s"}), Ended{State: PhaseCompleted, Output: json.RawMessage(`{"all":[` +
			`{"id":"root","name":"root","state":"COMPLETED","output":"root"},{"id":"s","name":"s","state":"COMPLETED","output":"s"}]}`)}))
}

// partOf hands on a part of the tree only.
func partOf(id string) Start {
	return start(compile(definition.Orchestration{
		Type: "job", Activities: list(activity("root")), Output: []definition.Mapping{{Source: id + ".**", Target: "all"}},
	}))
}

// running2 has another activity besides root.
func running2(c Start) scenario {
	def := *c.Plan.Definition()
	def.Activities = list(activity("root"), activity("p"))
	def.Output = def.Output[:1]
	c.Plan = compile(def)
	return given().When(c)
}

func TestEffects(t *testing.T) {
	a := with(activity("a"), func(a *definition.Activity) {
		a.Discriminator, a.With = "deploy", json.RawMessage(`{"n":1}`)
	})
	c := start(plan(a))
	c.TraceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	c.Labels, c.Name, c.Set = map[string]string{"team": "red"}, "orders", "team-a"
	s := given().When(c)
	t.Run("a request is work, to be done by the activity's deadline", s.Follows(machine.Work{
		ID: workID("a"), Attempt: 1, Offer: 1, Aggregate: "orchestration", AggregateID: "o-1", Run: 1, ActivityID: "a", Type: "noop", Discriminator: "deploy", Resource: "orders",
		Input: json.RawMessage(`{"n":1}`), RequestedAt: epoch, Deadline: epoch.Add(DefaultActivityDeadline), OfferedUntil: epoch.Add(30 * time.Second), HeartbeatTimeout: 10_000,
		TraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	}))
	t.Run("the end is a completion", s.When(done("a")).Follows(machine.Completion{
		ID: machine.ID("completion", "orchestration", "o-1", "1"), Type: CompletedType,
		Value: Completion{ID: "o-1", Type: "job", Run: 1, State: PhaseCompleted, StartedAt: epoch, EndedAt: epoch, Labels: map[string]string{"team": "red"}},
	}))
	t.Run("nothing follows from a claim", s.When(beat("a", 1, "one")).Follows())
	t.Run("nothing follows from a fault that was reported", s.When(Retry{Report: report("a", 1), Error: Fault{Step: "fetch", Message: "down"}}).Follows())
}

func TestPlans(t *testing.T) {
	refused := func(want string, activities ...definition.Activity) func(t *testing.T) {
		return func(t *testing.T) {
			t.Helper()
			if _, err := NewPlan(definition.Orchestration{Type: "job", Activities: activities}); err == nil || err.Error() != want {
				t.Errorf("the error is %v, want %s", err, want)
			}
		}
	}
	t.Run("an id stands once", refused(`definition job: activity "a" is there twice`, activity("a"), activity("a")))
	t.Run("what is depended on is there", refused(`definition job: activity "a" depends on "b", which is not there`, activity("a", "b")))
	t.Run("there is an order", refused("definition job: its dependencies go in a circle", activity("a", "b"), activity("b", "a"), activity("c")))
	t.Run("a plan reads what it writes", func(t *testing.T) {
		p := plan(activity("a"), activity("b", "a"))
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var q Plan
		if err := json.Unmarshal(b, &q); err != nil || len(q.Definition().Activities) != 2 {
			t.Error(err, q.Definition())
		}
		for _, wrong := range []string{`{"type":"job","activities":[{"id":"a","dependsOn":"b"}]}`, `[]`} {
			if err := json.Unmarshal([]byte(wrong), &q); err == nil {
				t.Errorf("%s is a plan", wrong)
			}
		}
	})
}

func TestFaults(t *testing.T) {
	for text, want := range map[string]Fault{
		`"down"`: {Message: "down"}, ` {"step":"fetch","message":"down","code":"edr-dead"}`: {Step: "fetch", Message: "down", Code: "edr-dead"}, `null`: {},
	} {
		got := Fault{Step: "x", Message: "y"}
		if text == "null" {
			got = Fault{}
		}
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s is %+v, %v", text, got, err)
		}
	}
	if err := json.Unmarshal([]byte(`7`), &Fault{}); err == nil {
		t.Error("7 is a fault")
	}
}
