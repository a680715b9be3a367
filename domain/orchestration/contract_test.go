package orchestration_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/domain/blob"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	. "github.com/waybill/waybill/domain/orchestration" //nolint:revive // the tests read as sentences of this package
)

// sized is the contract of a type whose activities take and make {size: integer}.
var sized = definition.Contract{
	Input:  json.RawMessage(`{"type":"object","required":["size"],"properties":{"size":{"type":"integer","minimum":1},"unit":{"type":"string"}}}`),
	Output: json.RawMessage(`{"type":"object","required":["size"],"properties":{"size":{"type":"integer"}}}`),
}

func sizing(id, with string, dependsOn ...string) definition.Activity {
	return definition.Activity{ID: id, Type: "sized", DependsOn: dependsOn, With: json.RawMessage(with)}
}

// contracted is an orchestration in which the type sized has its contract.
func contracted(activities ...definition.Activity) Start {
	return start(compile(definition.Orchestration{Type: "job", Activities: activities, Contracts: map[string]definition.Contract{"sized": sized}}))
}

// ill is the request of an activity whose input does not fit.
func ill(id, message string) Requested {
	r := requested(id)
	r.Fault = &Fault{Step: "input", Message: message}
	return r
}

func completing(id, output string) Complete {
	return Complete{Report: report(id, 1), Output: json.RawMessage(output)}
}

func TestInputsAreHeldAgainstTheSchemaOfTheType(t *testing.T) {
	const missing = "the input does not fit the inputSchema of sized: input.size: is missing"
	first := contracted(sizing("a", `{"unit":"m"}`))
	held := given().When(first)
	t.Run("one that does not fit is asked of nobody", held.Then(started(first.Plan), ill("a", missing)))
	t.Run("no work follows from it", held.Follows())
	t.Run("it fails at once", held.When(Wake{}).Then(failedBy(Failure{ActivityID: "a", Name: "a", Step: "input", Message: missing, Attempts: 1, At: epoch})...))
	fits := contracted(sizing("a", `{"size":1}`))
	t.Run("one that fits is asked for", given().When(fits).Then(started(fits.Plan), requested("a")))
	all := contracted(sizing("a", `{"size":0.5,"unit":7}`))
	t.Run("all mistakes are named", given().When(all).Then(started(all.Plan),
		ill("a", "the input does not fit the inputSchema of sized: input.size: want integer, found number 0.5; input.unit: want string, found number 7")))

	chain := given().When(contracted(activity("a"), sizing("b", `{"size":"{{a.n}}"}`, "a")))
	t.Run("outputs of the same decision count", chain.When(completing("a", `{"n":"x"}`)).Then(
		Completed{ActivityID: "a", Attempt: 1, Output: json.RawMessage(`{"n":"x"}`)},
		ill("b", `the input does not fit the inputSchema of sized: input.size: want integer, found string "x"`)))
	t.Run("and let it go on", chain.When(completing("a", `{"n":3}`)).Then(
		Completed{ActivityID: "a", Attempt: 1, Output: json.RawMessage(`{"n":3}`)}, requested("b")))
	large := blob.Ref{ID: "o-1/x", Type: "string", Bytes: 300 << 10, SHA256: strings.Repeat("0", 64), Chunks: 1}
	t.Run("what is kept elsewhere has a type as well", chain.When(completing("a", `{"n":`+string(large.JSON())+`}`)).Then(
		Completed{ActivityID: "a", Attempt: 1, Output: json.RawMessage(`{"n":` + string(large.JSON()) + `}`)},
		ill("b", `the input does not fit the inputSchema of sized: input.size: want integer, found string ""`)))
	tolerated := tolerant(sizing("a", `{}`))
	goingOn := given().When(contracted(tolerated, activity("b", "a")))
	t.Run("it may leave a tombstone", goingOn.When(Wake{}).Then(
		Failed{ActivityID: "a", Attempt: 1, Continued: true, Error: Failure{ActivityID: "a", Name: "a", Step: "input", Message: missing, Attempts: 1, At: epoch}},
		requested("b")))
	two := given().When(contracted(tolerated, tolerant(sizing("b", `{}`))))
	t.Run("several fail one after the other", becomes(two.When(Wake{}).When(Wake{}), PhaseCompleted))
	t.Run("cancelling comes before it", becomes(held.When(Cancel{}), PhaseCancelled))
	t.Run("a later attempt is not held up", given().When(fits).When(Retry{Report: report("a", 1)}).After(time.Minute).When(Wake{}).
		Then(Requested{ActivityID: "a", Attempt: 2, WorkID: workID("a"), Deadline: epoch.Add(DefaultActivityDeadline)}))
}

func TestOutputsAreHeldAgainstTheSchemaOfTheType(t *testing.T) {
	s := given().When(contracted(sizing("a", `{"size":1}`), activity("b", "a")))
	bad := func(message string) []Event {
		return failedBy(Failure{ActivityID: "a", Name: "a", Step: "output", Message: "the output does not fit the outputSchema of sized: " + message, Attempts: 1, At: epoch})
	}
	t.Run("one that does not fit is a failure", s.When(completing("a", `{"size":"large"}`)).Then(bad(`output.size: want integer, found string "large"`)...))
	t.Run("none is an empty object", s.When(Complete{Report: report("a", 1)}).Then(bad("output.size: is missing")...))
	t.Run("another type is said", s.When(completing("a", `[1]`)).Then(bad("output: want object, found an array")...))
	t.Run("saying it again changes nothing", s.When(completing("a", `[1]`)).When(completing("a", `[1]`)).Then())
	t.Run("one that fits goes on", s.When(completing("a", `{"size":2,"more":true}`)).Then(
		Completed{ActivityID: "a", Attempt: 1, Output: json.RawMessage(`{"size":2,"more":true}`)}, requested("b")))
	var many strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&many, `%s"%s%d":"x"`, map[bool]string{true: "", false: ","}[i == 0], strings.Repeat("p", 50), i)
	}
	strict := start(compile(definition.Orchestration{
		Type: "job", Activities: list(sizing("a", `{}`)),
		Contracts: map[string]definition.Contract{"sized": {Output: json.RawMessage(`{"additionalProperties":{"type":"integer"}}`)}},
	}))
	t.Run("a great many mistakes are counted", func(t *testing.T) {
		events, err := given().When(strict).State(t).Decide(epoch, completing("a", "{"+many.String()+"}"))
		if err != nil {
			t.Fatal(err)
		}
		f, ok := events[0].(Failed)
		if !ok || len(f.Error.Message) > 2<<10 || !strings.Contains(f.Error.Message, "more") || !strings.Contains(f.Error.Message, "want integer") {
			t.Errorf("%d bytes: %s", len(f.Error.Message), f.Error.Message)
		}
	})
}

func TestSpawnedTypesKeepTheSchemasTheyBeganWith(t *testing.T) {
	inForce := map[string]definition.Contract{"sized": sized, "noop": sized}
	spawn := func(id string, children ...definition.Activity) Complete {
		c := done(id, children...)
		c.Contracts = inForce
		return c
	}
	child := sizing("c", `{}`)
	root := running(activity("a"), activity("z"))
	e := grown("a", list(child), nil)
	e.Contracts = map[string]definition.Contract{"sized": sized}
	r := ill("c", "the input does not fit the inputSchema of sized: input.size: is missing")
	t.Run("the first of its type brings them along", root.When(spawn("a", child)).Then(e, r))
	t.Run("a type of the plan has what it was started with", root.When(spawn("a", activity("c"))).Then(grown("a", list(activity("c")), nil), requested("c")))
	fits := sizing("c", `{"size":1}`)
	grownUp := root.When(spawn("a", fits))
	inForce = map[string]definition.Contract{"sized": {}}
	again := spawn("z", sizing("d", `{}`))
	again.Contracts = map[string]definition.Contract{"sized": {Input: json.RawMessage(`{"type":"object"}`)}}
	later := r
	later.ActivityID, later.WorkID = "d", workID("d")
	t.Run("and the next has the same", grownUp.When(again).Then(grown("z", again.Spawn, nil), later))
	t.Run("outputs too", grownUp.When(done("z")).When(completing("c", `{}`)).Then(failedBy(
		Failure{ActivityID: "c", Name: "c", Step: "output", Message: "the output does not fit the outputSchema of sized: output.size: is missing", Attempts: 1, At: epoch})...))
}

func TestContext(t *testing.T) {
	reading := func(id string, of definition.Context, dependsOn ...string) definition.Activity {
		return with(activity(id, dependsOn...), func(a *definition.Activity) { a.Context = of })
	}
	work := func(id, outputs string) machine.Work {
		return machine.Work{
			ID: workID(id), Attempt: 1, Offer: 1, Aggregate: "orchestration", AggregateID: "o-1", Run: 1, ActivityID: id, Type: "noop", Resource: "o-1",
			Outputs: json.RawMessage(outputs), RequestedAt: epoch, Deadline: epoch.Add(DefaultActivityDeadline), HeartbeatTimeout: 10000, OfferedUntil: epoch.Add(30 * time.Second),
		}
	}
	all := definition.Context{definition.AllAncestors}
	chain := running(activity("a"), activity("b", "a"), activity("x"), reading("c", all, "b"), reading("d", definition.Context{"a"}, "b")).
		When(done("a")).When(done("x")).When(done("b"))
	t.Run("the outputs of all ancestors, or of some", chain.Follows(work("c", `{"a":"a","b":"b"}`), work("d", `{"a":"a"}`)))
	t.Run("a spawned one has its parents", running(activity("a"), activity("b", "a")).When(done("a")).
		When(done("b", reading("c", all), reading("d", definition.Context{"b"}))).
		Follows(work("c", `{"a":"a","b":"b"}`), work("d", `{"b":"b"}`)))
	r := requested("c")
	r.Fault = &Fault{Step: "context", Message: `context names "z", which is none of its ancestors`}
	child := reading("c", definition.Context{"z"})
	t.Run("one that is no ancestor is a failure", running(activity("a"), activity("z")).When(done("a", child)).Then(grown("a", list(child), nil), r))
	big := Complete{Report: report("a", 1), Output: json.RawMessage(`"` + strings.Repeat("x", 200<<10) + `"`)}
	many := running(activity("a"), activity("b", "a"), activity("c", "b"), activity("d", "c"), activity("e", "d"), activity("f", "e"), reading("g", all, "f"))
	for _, id := range []string{"a", "b", "c", "d", "e", "f"} {
		big.Report = report(id, 1)
		many = many.When(big)
	}
	t.Run("too much of it is a failure that names the limit", func(t *testing.T) {
		events, err := many.State(t).Decide(epoch, Wake{})
		if err != nil || len(events) == 0 {
			t.Fatal(events, err)
		}
		f, ok := events[0].(Failed)
		if !ok || f.Error.Step != "context" || !strings.Contains(f.Error.Message, "over the limit of 1048576") {
			t.Errorf("got %+v", events[0])
		}
	})
}

func TestTheStateOfAnActivitySurvives(t *testing.T) {
	state := json.RawMessage(`{"ticket":7}`)
	carried := func(s scenario) func(*testing.T) {
		return func(t *testing.T) {
			t.Helper()
			at := epoch.Add(time.Hour)
			st := s.State(t)
			events, err := st.Decide(at, Wake{})
			if err != nil || len(events) != 1 {
				t.Fatal(events, err)
			}
			effects := st.Follow(at, events[0])
			if w, ok := effects[0].(machine.Work); !ok || string(w.State) != string(state) {
				t.Errorf("it is handed %+v", effects)
			}
		}
	}
	one := running(activity("a"))
	retried := one.When(Retry{Report: report("a", 1), State: state})
	scheduled := one.When(Schedule{Report: report("a", 1), After: lasting(time.Minute), State: state})
	t.Run("a retry", carried(retried))
	t.Run("a schedule", carried(scheduled))
	t.Run("a wait, then a retry of whoever was waited for", carried(one.When(Wait{Report: report("a", 1), State: state}).When(Retry{Report: report("a", 1)})))
	t.Run("a retry that says nothing of it", carried(retried.After(time.Minute).When(Wake{}).When(Retry{Report: report("a", 2)})))
	t.Run("a lease that runs out", carried(scheduled.After(time.Minute).When(Wake{}).When(beat("a", 2, "one")).After(10*time.Second).When(Wake{})))
	t.Run("what waited is completed from outside", becomes(one.When(Wait{Report: report("a", 1), State: state}).When(done("a")), PhaseCompleted))
}

func TestWhatIsLeftAmongTheBlobsIsRemoved(t *testing.T) {
	own := blob.Ref{ID: "o-1/x", Type: "string", Bytes: 1 << 20, SHA256: strings.Repeat("0", 64), Last: 2, Chunks: 3}
	other := own
	other.ID = "o-2/y"
	kept := machine.Blob{ID: "o-1/x", Chunks: 3}
	out := completing("a", `{"text":`+string(own.JSON())+`,"theirs":`+string(other.JSON())+`}`)
	s := running(activity("a"))
	t.Run("it is claimed", s.When(out).Follows(machine.Claim{Blobs: []machine.Blob{kept}},
		machine.Completion{ID: machine.ID("completion", "orchestration", "o-1", "1"), Type: CompletedType, Value: Completion{
			ID: "o-1", Type: "job", Run: 1, State: PhaseCompleted, StartedAt: epoch, EndedAt: epoch, Labels: map[string]string{},
		}}))
	end := s.When(out)
	t.Run("a week after the end", dueAt(end, epoch.Add(DefaultKeepBlobs)))
	removed := end.After(DefaultKeepBlobs).When(Wake{})
	t.Run("it is removed", removed.Then(BlobsRemoved{Blobs: 1, Bytes: 1 << 20}))
	t.Run("with its claim", removed.Follows(machine.Discard{Blobs: []machine.Blob{kept}}))
	t.Run("once", removed.After(DefaultKeepBlobs).When(Wake{}).Then())
	t.Run("nothing is due where nothing was left", func(t *testing.T) {
		if at := s.When(done("a")).State(t).Deadline(); !at.IsZero() {
			t.Errorf("something is due at %s", at)
		}
	})
}

// told folds events into a state that remembers.
func told(s State, at time.Time, events []Event) State {
	for _, e := range events {
		s = s.Evolve(at, e)
	}
	return s
}

func TestWhatWasRemovedIsMissedByTheRunsThatReadIt(t *testing.T) {
	refer := func(name string) Complete {
		own := blob.Ref{ID: "o-1/" + name, Type: "string", Bytes: 1 << 20, SHA256: strings.Repeat("0", 64), Last: 2, Chunks: 3}
		return Complete{Report: report("a", 1), Output: json.RawMessage(`{"text":` + string(own.JSON()) + `}`)}
	}
	s, events := play(t, New("o-1"), epoch, start(plan(activity("a"), activity("b", "a"))), refer("x"), broken("b"))
	whole := told(New("o-1").Remember(), epoch, events)

	last := epoch.Add(DefaultKeepBlobs - time.Second)
	disposing, _ := play(t, told(New("o-1").Remember(), epoch, events), last, Dispose{})
	if due := disposing.Forget().Deadline(); !due.Equal(last.Add(DefaultKeepBlobs)) {
		t.Errorf("what disposes of it reads what is removed at %s", due)
	}

	later := epoch.Add(DefaultKeepBlobs)
	_, removed := play(t, s, later, Wake{})
	whole = told(whole, later, removed)
	for _, c := range []Command{Rerun{}, Dispose{}} {
		var refusal *machine.Refusal
		if _, err := whole.Decide(later, c); !errors.As(err, &refusal) || refusal.Code != machine.BadState {
			t.Errorf("%T of what was removed: %v", c, err)
		}
	}
	whole, events = play(t, whole, later, Rerun{From: definition.Names{"a"}})
	again := refer("y")
	again.WorkID = events[1].(Requested).WorkID //nolint:forcetypeassert // else the test fails
	whole, events = play(t, whole, later, again)
	whole, _ = play(t, whole, later, Fail{Report: Report{WorkID: events[1].(Requested).WorkID, Attempt: 1}}) //nolint:forcetypeassert // else the test fails
	for _, c := range []Command{Rerun{}, Dispose{}} {
		if _, err := whole.Decide(later, c); err != nil {
			t.Errorf("%T of what was made again: %v", c, err)
		}
	}
}
