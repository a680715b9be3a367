package orchestration_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/domain/definition"
	. "github.com/waybill/waybill/domain/orchestration" //nolint:revive // the tests read as sentences of this package
)

// notSpawned is the failure of an activity whose growth does not fit.
func notSpawned(id, why string) []Event {
	return failedBy(Failure{ActivityID: id, Name: id, Step: "spawn", Message: why, Attempts: 1, At: epoch})
}

func TestGrowth(t *testing.T) {
	tree := running(activity("root"), activity("join", "root"))
	two := list(activity("x"), activity("y"))
	t.Run("children are registered with their parent's end and asked for at once", tree.When(done("root", two...)).
		Then(grown("root", two, nil), requested("x"), requested("y")))
	grown2 := tree.When(done("root", two...))
	t.Run("depending on an activity means depending on all that it spawned", grown2.When(done("x")).Then(completed("x")))
	t.Run("the last of them lets it go on", grown2.When(done("y")).When(done("x")).Then(completed("x"), requested("join")))
	deep := grown2.When(done("y")).When(done("x", activity("z")))
	t.Run("however deep they are", deep.When(done("z")).Then(completed("z"), requested("join")))
	t.Run("it ends after them", running(activity("root")).When(done("root", two...)).When(done("x")).When(done("y")).
		Then(completed("y"), ended(PhaseCompleted)))
	t.Run("a child's tombstone counts as its end", tree.When(done("root", tolerant(activity("x")))).When(broken("x")).
		Then(Failed{ActivityID: "x", Attempt: 1, Error: failure("x"), Continued: true}, requested("join")))
	t.Run("one listed twice is one", tree.When(done("root", activity("x"), activity("x"))).
		Then(grown("root", list(activity("x")), nil), requested("x")))
}

func TestSharing(t *testing.T) {
	two := list(activity("x"), activity("y"))
	diamond := running(activity("root"), activity("join", "root")).When(done("root", two...)).When(done("x", activity("s")))
	t.Run("an id that is there already is shared, not run twice", diamond.When(done("y", activity("s"))).
		Then(grown("y", nil, []string{"s"})))
	t.Run("whoever shares it waits for it", diamond.When(done("y", activity("s"))).When(done("s")).
		Then(completed("s"), requested("join")))
	t.Run("what was done before is not waited for", diamond.When(done("s")).When(done("y", activity("s"))).
		Then(grown("y", nil, []string{"s"}), requested("join")))
	failed := running(activity("root"), activity("join", "root")).When(done("root", two...)).When(done("x", tolerant(activity("s"))))
	t.Run("its failure ends the wait of both", failed.When(done("y", activity("s"))).When(broken("s")).
		Then(Failed{ActivityID: "s", Attempt: 1, Error: failure("s"), Continued: true}, requested("join")))
	t.Run("what its own children are waited for by both too", diamond.When(done("y", activity("s"))).When(done("s", activity("t"))).When(done("t")).
		Then(completed("t"), requested("join")))
	t.Run("the order of children is kept", diamond.When(done("y", activity("a"), activity("s"), activity("b"))).
		Then(ordered(grown("y", list(activity("a"), activity("b")), []string{"s"}), "a", "s", "b"), requested("a"), requested("b")))
	t.Run("a node of two names is shared once", running(activity("root")).When(keyed(done("root", two...), "r")).When(keyed(done("x"), "k")).
		When(done("y", activity("x"), activity("k"), activity("z"), activity("z"))).
		Then(ordered(grown("y", list(activity("z")), []string{"x"}), "x", "z"), requested("z")))
}

func ordered(c Completed, children ...string) Completed {
	c.Children = children
	return c
}

func keyed(c Complete, key string) Complete {
	c.Key = key
	return c
}

func TestCycles(t *testing.T) {
	s := running(activity("root"), activity("join", "root")).When(done("root", activity("x"))).When(done("x", activity("y")))
	t.Run("an ancestor is a cycle, recorded and not followed", s.When(done("y", activity("x"), activity("root"))).
		Then(grown("y", nil, nil, "x", "root"), requested("join")))
	t.Run("so is the activity itself", s.When(done("y", activity("y"))).Then(grown("y", nil, nil, "y"), requested("join")))
	self := keyed(done("root", activity("doc-1"), activity("doc-2")), "doc-1")
	want := grown("root", list(activity("doc-2")), nil, "root")
	want.Key = "doc-1"
	t.Run("so is the activity by the key it has just got", running(activity("root")).When(self).Then(want, requested("doc-2")))
	t.Run("so is an ancestor by its key", running(activity("root")).When(self).When(done("doc-2", activity("doc-1"))).
		Then(grown("doc-2", nil, nil, "root"), ended(PhaseCompleted)))
	t.Run("a key is shared as an id is", running(activity("root"), activity("other")).When(keyed(done("other", activity("o")), "doc-1")).When(done("root", activity("doc-1"))).
		Then(grown("root", nil, []string{"other"})))
	t.Run("a key that is somebody's id stays theirs", running(activity("root"), activity("other"), activity("third")).When(keyed(done("root"), "other")).When(done("third", activity("other"))).
		Then(grown("third", nil, []string{"other"})))
	t.Run("a plan's activity that waits for the spawner is a cycle too", running(activity("root"), activity("join", "root")).
		When(done("root", activity("join"))).Then(grown("root", nil, nil, "join"), requested("join")))
	t.Run("one that waits for the spawner by way of others is as well", running(activity("root"), activity("a", "root"), activity("b", "a")).
		When(done("root", activity("x"))).When(done("x", activity("b"))).Then(grown("x", nil, nil, "b"), requested("a")))
	t.Run("one that waits for somebody else is shared", running(activity("root"), activity("other"), activity("b", "other")).
		When(done("root", activity("b"))).When(done("other")).When(done("b")).Then(completed("b"), ended(PhaseCompleted)))
	crossed := running(activity("a"), activity("b", "a"), activity("root")).When(done("root", activity("c"))).When(done("c", activity("b")))
	t.Run("nobody waits in a circle through a plan's activity that was shared", crossed.When(done("a", activity("c"))).
		Then(grown("a", nil, nil, "c"), requested("b")))
}

func TestDependenciesOfChildren(t *testing.T) {
	tree := running(activity("root"), activity("other"), activity("join", "root"))
	t.Run("a child may depend on a sibling", tree.When(done("root", activity("x", "y"), activity("y"))).
		Then(grown("root", list(activity("x", "y"), activity("y")), nil), requested("y")))
	t.Run("it goes on after it", tree.When(done("root", activity("x", "y"), activity("y"))).When(done("y")).Then(completed("y"), requested("x")))
	t.Run("after all that the sibling spawned", tree.When(done("root", activity("x", "y"), activity("y"))).When(done("y", activity("z"))).When(done("z")).
		Then(completed("z"), requested("x")))
	t.Run("a child may depend on others", tree.When(done("root", activity("x", "other"))).When(done("other")).Then(completed("other"), requested("x")))
	t.Run("on one that is done already", tree.When(done("other")).When(done("root", activity("x", "other"))).
		Then(grown("root", list(activity("x", "other")), nil), requested("x")))
	t.Run("on one by its id and its key", tree.When(keyed(done("other", activity("o")), "k")).When(done("root", activity("x", "other", "k"))).When(done("o")).
		Then(completed("o"), requested("x")))
	t.Run("a plan's activity keeps its own dependents", running(activity("root"), activity("a"), activity("b", "a")).
		When(done("root", activity("x", "a"))).When(done("a")).Then(completed("a"), requested("b"), requested("x")))
	alone := running(activity("root"), activity("join", "root"))
	t.Run("what is not there cannot be waited for", alone.When(done("root", activity("x", "nobody"))).
		Then(notSpawned("root", `spawned activity x depends on "nobody", which is not there`)...))
	t.Run("nor can the parent", alone.When(done("root", activity("x", "root"))).Then(notSpawned("root", `spawned activity x depends on "root", which waits for it`)...))
	t.Run("nor what waits for the parent", alone.When(done("root", activity("x", "join"))).Then(notSpawned("root", `spawned activity x depends on "join", which waits for it`)...))
	t.Run("nor can siblings wait for each other", alone.When(done("root", activity("x", "y"), activity("y", "x"))).
		Then(notSpawned("root", "the dependencies of spawned activity x go in a circle")...))
	entangled := tree.When(done("root", activity("x", "other")))
	t.Run("what a child waits for cannot wait for the child", entangled.When(done("other", activity("o", "x"))).
		Then(notSpawned("other", `spawned activity o depends on "x", which waits for it`)...))
	t.Run("nor share it", entangled.When(done("other", activity("x"))).Then(grown("other", nil, nil, "x"), requested("x")))
	t.Run("nor share its parent", entangled.When(done("other", activity("root"))).Then(grown("other", nil, nil, "root"), requested("x")))
}

func TestLimits(t *testing.T) {
	limited := func(l definition.Limits) scenario {
		return given().When(start(compile(definition.Orchestration{Type: "job", Limits: l, Activities: list(activity("a"))})))
	}
	t.Run("of nodes", limited(definition.Limits{Nodes: 2}).When(done("a", activity("x"), activity("y"))).
		Then(notSpawned("a", "2 more activities would make 3, over the limit of 2 nodes")...))
	t.Run("shared nodes do not count", limited(definition.Limits{Nodes: 2}).When(done("a", activity("x"))).When(done("x", activity("a"))).
		Then(grown("x", nil, nil, "a"), ended(PhaseCompleted)))
	t.Run("of depth", limited(definition.Limits{Depth: 1}).When(done("a", activity("x"))).When(done("x", activity("y"))).
		Then(notSpawned("x", "a child would be 2 generations down, over the limit of 1 depth")...))
	large := Complete{Report: report("a", 1), Output: json.RawMessage(`"12345678"`)}
	tooLarge := Failure{ActivityID: "a", Name: "a", Step: "output", Message: "the output has 10 bytes, over the limit outputBytes of 9", Attempts: 1, At: epoch}
	t.Run("of an output", limited(definition.Limits{OutputBytes: 9}).When(large).Then(failedBy(tooLarge)...))
	t.Run("an output as large as allowed is taken", becomes(limited(definition.Limits{OutputBytes: 10}).When(large), PhaseCompleted))
	t.Run("of an orchestration's output", func(t *testing.T) {
		p := compile(definition.Orchestration{
			Type: "job", Limits: definition.Limits{OutputBytes: 1 << 20}, Activities: list(activity("a")),
			Output: []definition.Mapping{{Source: "a", Target: "one"}, {Source: "a", Target: "two"}},
		})
		events, err := given().When(start(p)).State(t).Decide(epoch, Complete{Report: report("a", 1), Output: json.RawMessage(`"` + strings.Repeat("x", 600_000) + `"`)})
		if err != nil || len(events) != 2 {
			t.Fatal(events, err)
		}
		end, _ := events[1].(Ended)
		if end.State != PhaseError || end.Output != nil || !strings.Contains(end.Error.Message, "1200019 bytes, over the limit of 1048576") {
			t.Errorf("it ends %+v", end)
		}
	})
	for name, a := range map[string]definition.Activity{
		"without an id":           {Type: "noop"},
		"without a type":          {ID: "x"},
		"whose id is no URL part": activity("a/b"),
		"whose with is no object": {ID: "x", Type: "noop", With: json.RawMessage(`[]`)},
	} {
		t.Run("a child "+name+" fails its parent", becomes(limited(definition.Limits{}).When(done("a", a)), PhaseError))
	}
}

func TestInheritance(t *testing.T) {
	root := with(sternly("root", 0), func(a *definition.Activity) {
		a.OnError, a.Deadline, a.HeartbeatTimeout, a.AttemptTimeout = definition.OnErrorContinue, lasting(time.Hour), lasting(time.Minute), lasting(2*time.Minute)
	})
	s := running(root, activity("other"))
	hour := requested("x")
	hour.Deadline = epoch.Add(time.Hour)
	same := s.When(done("root", activity("x")))
	t.Run("a child of the same type has its parent's deadline", same.Then(grown("root", list(activity("x")), nil), hour))
	t.Run("its heartbeat timeout", same.When(beat("x", 1, "one")).Then(Claimed{"x", 1, "one", epoch.Add(time.Minute)}))
	t.Run("its attempt timeout", dueAt(given(started(plan(root)), requested("root"), grown("root", list(activity("x")), nil), local(hour)), epoch.Add(2*time.Minute)))
	fault := Failure{ActivityID: "x", Name: "x", Message: "down", Attempts: 1, At: epoch}
	t.Run("its retries and what its failure means", same.When(Retry{Report: report("x", 1), Error: Fault{Message: "down"}}).
		Then(Failed{ActivityID: "x", Attempt: 1, Error: fault, Continued: true}))
	own := with(activity("x"), func(a *definition.Activity) { a.Deadline = lasting(time.Minute) })
	minute := requested("x")
	minute.Deadline = epoch.Add(time.Minute)
	t.Run("its own policies win", s.When(done("root", own)).Then(grown("root", list(own), nil), minute))
	stranger := definition.Activity{ID: "x", Type: "http"}
	t.Run("a child of another type has the defaults", s.When(done("root", stranger)).Then(grown("root", list(stranger), nil), requested("x")))
	t.Run("grandchildren inherit what was inherited", same.When(done("x", activity("y"))).When(beat("y", 1, "one")).Then(Claimed{"y", 1, "one", epoch.Add(time.Minute)}))
}

func local(r Requested) Requested {
	r.Placement = "process-1"
	return r
}

func TestTransfersFinished(t *testing.T) {
	aggregate := func(id string, on ...string) definition.Activity {
		return definition.Activity{ID: id, Type: AggregateType, DependsOn: on}
	}
	tree := running(activity("root"), aggregate("join", "root"), activity("publish", "join"))
	t.Run("all retrieval is done when the last of it is", tree.When(done("root", activity("x"))).When(done("x")).
		Then(completed("x"), TransfersFinished{}, requested("join")))
	t.Run("it is not while some goes on", tree.When(done("root", activity("x"))).Then(grown("root", list(activity("x")), nil), requested("x")))
	t.Run("it is said once", tree.When(done("root")).When(done("join")).Then(completed("join"), requested("publish")))
	t.Run("it ends from there", becomes(tree.When(done("root")).When(done("join")).When(done("publish")), PhaseCompleted))
	t.Run("a tombstone is done too", running(tolerant(activity("root")), aggregate("join", "root")).When(broken("root")).
		Then(Failed{ActivityID: "root", Attempt: 1, Error: failure("root"), Continued: true}, TransfersFinished{}, requested("join")))
	two := running(activity("a"), activity("b"), aggregate("x", "a"), aggregate("y", "a"), aggregate("z", "b"))
	t.Run("an aggregation that begins early does not say so", two.When(done("a")).Then(completed("a"), requested("x"), requested("y")))
	t.Run("the last retrieval says so", two.When(done("a")).When(done("b")).Then(completed("b"), TransfersFinished{}, requested("z")))
	t.Run("what an aggregation spawns is no retrieval", becomes(two.When(done("a")).When(done("b")).When(done("z", activity("w"))), PhaseTransfersFinished))
	t.Run("there is nothing to say where nothing is left", running(activity("a"), aggregate("x")).When(done("x")).When(done("a")).
		Then(completed("a"), ended(PhaseCompleted)))
	only := plan(aggregate("x"), activity("y", "x"))
	t.Run("an aggregation of nothing begins with it", given().When(start(only)).Then(started(only), TransfersFinished{}, requested("x")))
	t.Run("a retry of the aggregation does not say it again", tree.When(done("root")).When(Schedule{Report: report("join", 1)}).When(Wake{}).
		Then(Requested{ActivityID: "join", Attempt: 2, WorkID: workID("join"), Deadline: epoch.Add(DefaultActivityDeadline)}))
}
