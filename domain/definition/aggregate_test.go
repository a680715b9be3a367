package definition_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/machine/machinetest"
)

var (
	given         = machinetest.For(func() definition.State { return definition.New("orchestration/greet") })
	givenActivity = machinetest.For(func() definition.State { return definition.New("activity/greet.example.com") })
)

// put is the command for a definition of one activity.
func put(body string) definition.Put {
	return definition.Put{Kind: definition.KindOrchestration, Definition: json.RawMessage(body), Types: knownTypes}
}

const (
	greet     = `{"type": "greet", "activities": [{"id": "a", "type": "noop", "with": {"n": 1.10, "m": 2}}]}`
	greetings = `{"type": "greet", "activities": [{"id": "a", "type": "noop"}, {"id": "b", "type": "noop"}]}`
)

func changed(version int, body string) definition.Changed {
	return definition.Changed{Kind: definition.KindOrchestration, Type: "greet", Version: version, Definition: json.RawMessage(body)}
}

var (
	first  = changed(1, `{"type":"greet","activities":[{"id":"a","type":"noop","with":{"n":1.10,"m":2}}],"version":1}`)
	second = changed(2, `{"type":"greet","activities":[{"id":"a","type":"noop"},{"id":"b","type":"noop"}],"version":2}`)
)

func TestPut(t *testing.T) {
	t.Run("the first has version 1", given().When(put(greet)).Then(first))
	t.Run("a change raises the version", given(first).When(put(greetings)).Then(second))
	t.Run("an identical one changes nothing", given(first).When(put(greet)).Then())
	t.Run("another order and spelling are identical", given(first).
		When(put(`{"version": 7, "activities": [{"with": {"m": 2, "n": 1.10}, "type": "noop", "id": "a", "inputs": [], "dependsOn": []}], "type": "greet"}`)).
		Then())
	t.Run("other digits are a change", given(first).
		When(put(strings.Replace(greet, "1.10", "1.1", 1))).
		Then(changed(2, `{"type":"greet","activities":[{"id":"a","type":"noop","with":{"n":1.1,"m":2}}],"version":2}`)))
	t.Run("the kind may be left to the key", given().
		When(definition.Put{Definition: json.RawMessage(greet), Types: knownTypes}).Then(first))
	t.Run("going back is a change", given(first, second).When(put(greet)).
		Then(changed(3, `{"type":"greet","activities":[{"id":"a","type":"noop","with":{"n":1.10,"m":2}}],"version":3}`)))
	t.Run("versions go on after a deletion", given(first, definition.Deleted{}).When(put(greetings)).Then(second))

	t.Run("every mistake is named", given().
		When(put(`{"type": "greet", "activities": [{"id": "a", "type": "nop", "dependsOn": ["b"]}]}`)).
		Refuses(machine.Schema, "orchestration definition greet is not valid", `activities[0].type: there is no activity type "nop"`, `activities[0].dependsOn[0]: there is no activity "b"`))
	t.Run("the key and the type agree", given().When(put(strings.Replace(greet, "greet", "great", 1))).
		Refuses(machine.Schema, "the body is not that of orchestration definition greet", `type: is "great", the key says "greet"`))
	t.Run("the key and the kind agree", given().
		When(definition.Put{Kind: definition.KindActivity, Definition: json.RawMessage(greet)}).
		Refuses(machine.Schema, `kind: is "activity", the key says "orchestration"`))
	t.Run("what is built in stays", given().When(definition.Put{Definition: json.RawMessage(greet), BuiltIn: true}).
		Refuses(machine.Conflict, "orchestration definition greet is built in"))
	t.Run("one that is too large names the limit", given().When(put(greet+strings.Repeat(" ", definition.MaxBytes))).
		Refuses(machine.Limit, "definition.MaxBytes"))
	t.Run("one that is too large once it is written down names the limit", given().
		When(put(strings.Replace(greet, "1.10", `"`+strings.Repeat("<", definition.MaxBytes/2)+`"`, 1))).
		Refuses(machine.Limit, "definition.MaxBytes"))
}

func TestPutActivityType(t *testing.T) {
	body := `{"type": "greet.example.com", "retry": {"limit": 3, "baseDelay": "2s"}}`
	t.Run("it is checked as such", givenActivity().When(definition.Put{Definition: json.RawMessage(body)}).
		Then(definition.Changed{
			Kind: definition.KindActivity, Type: "greet.example.com", Version: 1,
			Definition: json.RawMessage(`{"type":"greet.example.com","retry":{"limit":3,"baseDelay":"2s"},"version":1}`),
		}))
	t.Run("an orchestration is none", givenActivity().When(definition.Put{Definition: json.RawMessage(greet)}).
		Refuses(machine.Schema, "activities: is not known"))
}

func TestADefinitionIsKeptAsItWasPut(t *testing.T) {
	body := `{"version": 9, "activities": [{"id": "a", "type": "noop"}, {"id": "b", "dependsOn": "a", "type": "noop", "inputs": ["cell", {"source": "a.x"}], "deadline": "2s"}], "schema": {}, "active": true, "type": "greet"}`
	kept := `{"activities":[{"id":"a","type":"noop"},{"id":"b","dependsOn":"a","type":"noop","inputs":["cell",{"source":"a.x"}],"deadline":"2s"}],"schema":{},"active":true,"type":"greet","version":1}`
	t.Run("with its own spelling and order", given().When(put(body)).Then(changed(1, kept)))
	t.Run("another spelling of it means the same", given(changed(1, kept)).
		When(put(`{"type": "greet", "active": true, "schema": {}, "activities": [{"id": "a", "type": "noop"}, {"id": "b", "type": "noop", "dependsOn": ["a"], "inputs": [{"source": "cell", "target": "cell"}, "a.x"], "deadline": "PT2S"}]}`)).
		Then())
}

func TestSets(t *testing.T) {
	ours := func(c definition.Put, set string) definition.Put { c.Set = set; return c }
	owned := func(c definition.Changed, set string) definition.Changed { c.Set = set; return c }
	t.Run("a put may say whose it is", given().When(ours(put(greet), "a")).Then(owned(first, "a")))
	t.Run("to say so of what is in force is no new version", given(first).When(ours(put(greet), "a")).Then(owned(first, "a")))
	t.Run("it stays whose it is", given(owned(first, "a")).When(put(greetings)).Then(owned(second, "a")))
	t.Run("twice changes nothing", given(owned(first, "a")).When(ours(put(greet), "a")).Then())
	t.Run("another set's is refused", given(owned(first, "a")).When(ours(put(greet), "b")).
		Refuses(machine.Conflict, "orchestration definition greet belongs to set a"))
	t.Run("a set has a name that fits", given().When(ours(put(greet), "a/b")).Refuses(machine.Schema, `set: the name "a/b" has the character '/'`))
	taken := ours(put(greet), "b")
	taken.TakeOver = true
	t.Run("unless it is taken over", given(owned(first, "a")).When(taken).Then(owned(first, "b")))
	t.Run("a deletion frees it", given(owned(first, "a"), definition.Deleted{}).When(ours(put(greetings), "b")).Then(owned(second, "b")))
}

func TestDelete(t *testing.T) {
	t.Run("it goes out of force", given(first).When(definition.Delete{}).Then(definition.Deleted{}))
	t.Run("twice is harmless", given(first, definition.Deleted{}).When(definition.Delete{}).Then())
	t.Run("what was never there is not found", given().When(definition.Delete{}).
		Refuses(machine.NotFound, "there is no orchestration definition greet"))
	t.Run("not while jobs run by it", given(first).When(definition.Delete{Running: 2}).
		Refuses(machine.BadState, "orchestration definition greet is in use: 2 running orchestrations"))
	t.Run("not while definitions use it", given(first).When(definition.Delete{UsedBy: []string{"x", "y"}}).
		Refuses(machine.BadState, "in use by the definitions of x, y"))
	t.Run("what is built in stays", given(first).When(definition.Delete{BuiltIn: true}).
		Refuses(machine.Conflict, "built in"))
}

func TestWhatIsInForceIsAnnounced(t *testing.T) {
	t.Run("a change", given(first).When(put(greetings)).
		Follows(machine.Announce{Key: "orchestration/greet", Type: "definition.changed.v1", Value: second}))
	t.Run("a deletion leaves nothing", given(first).When(definition.Delete{}).
		Follows(machine.Announce{Key: "orchestration/greet", Type: "definition.deleted.v1"}))
}

func TestAStrangeKeyIsRefused(t *testing.T) {
	for _, key := range []string{"", "greet", "orchestration", "orchestration/", "orchestration/a/b", "job/greet", "/greet"} {
		strange := machinetest.For(func() definition.State { return definition.New(key) })
		t.Run("put "+key, strange().When(put(greet)).Refuses(machine.Schema, "want orchestration/<type> or activity/<type>"))
		t.Run("delete "+key, strange().When(definition.Delete{}).Refuses(machine.Schema, "want orchestration/<type>"))
	}
}

func TestADefinitionWaitsForNothing(t *testing.T) {
	s := given(first).When(put(greetings)).State(t)
	if s.Ended() || !s.Deadline().Equal(time.Time{}) || s.Version() != 2 {
		t.Errorf("ended %v, deadline %v, version %d", s.Ended(), s.Deadline(), s.Version())
	}
}

func TestPutOnTheWire(t *testing.T) {
	for name, c := range map[string]struct{ body, kind, definition string }{
		"wrapped":    {`{"kind": "orchestration", "definition": {"type": "t"}}`, "orchestration", `{"type": "t"}`},
		"with a set": {`{"definition": {"type": "t"}, "set": "a", "takeOver": true}`, "", `{"type": "t"}`},
		"alone":      {`{"type": "t", "activities": []}`, "", `{"type": "t", "activities": []}`},
	} {
		var p definition.Put
		if err := json.Unmarshal([]byte(c.body), &p); err != nil || p.Kind != c.kind || string(p.Definition) != c.definition {
			t.Errorf("%s: %v, %+v", name, err, p)
		}
	}
	for _, body := range []string{`[]`, `1`, `{"kind": 1, "definition": {}}`, `{"definition": {}, "knid": "activity"}`} {
		var p definition.Put
		if err := json.Unmarshal([]byte(body), &p); err == nil {
			t.Errorf("%s is taken: %+v", body, p)
		}
	}
	var p definition.Put
	b, err := json.Marshal(put(greet))
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil || p.Kind != definition.KindOrchestration || len(p.Definition) == 0 {
		t.Errorf("%v: %s", err, b)
	}
}

func TestEventsOnTheWire(t *testing.T) {
	b, err := json.Marshal(first)
	if want := `{"kind":"orchestration","type":"greet","version":1,"definition":` + string(first.Definition) + `}`; err != nil || string(b) != want {
		t.Errorf("%v, got %s, want %s", err, b, want)
	}
}
