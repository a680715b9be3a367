package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
)

func TestAResultIsAReport(t *testing.T) {
	rep := orchestration.Report{WorkID: "w", Attempt: 3}
	down := errors.New("provider down")
	child := definition.Activity{ID: "c", Type: "retrieve"}
	second := definition.Duration(time.Second)
	for name, c := range map[string]struct {
		result agent.Result
		want   orchestration.Command
	}{
		"complete": {
			agent.Complete(map[string]string{"a": "<b>"}).Spawn(child).WithKey("n-1"),
			orchestration.Complete{Report: rep, Output: json.RawMessage(`{"a":"<b>"}`), Key: "n-1", Spawn: []definition.Activity{child}},
		},
		"complete with nothing": {agent.Complete(nil), orchestration.Complete{Report: rep}},
		"wait":                  {agent.Wait().After(time.Second).WithState(7), orchestration.Wait{Report: rep, After: second, State: json.RawMessage("7")}},
		"schedule":              {agent.Schedule(time.Second), orchestration.Schedule{Report: rep, After: second}},
		"retry": {
			agent.Retry(down).AtStep("fetch").After(time.Second),
			orchestration.Retry{Report: rep, Error: orchestration.Fault{Step: "fetch", Message: "provider down"}, After: second},
		},
		"fatal": {agent.Fatal(down).AtStep("parse"), orchestration.Fail{Report: rep, Error: orchestration.Fault{Step: "parse", Message: "provider down"}}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.result.Command(rep); !reflect.DeepEqual(got, c.want) {
				t.Fatalf("got %+v, want %+v", got, c.want)
			}
			kind, _, _ := strings.Cut(name, " ")
			if kind == "fatal" {
				kind = "fail"
			}
			if got := c.result.ReportID("w", 3); got != machine.ID("report", "w", "3", kind) {
				t.Errorf("its ID is not derived: %s", got)
			}
		})
	}
}

func TestAResultThatCannotBeReportedIsFatal(t *testing.T) {
	for name, c := range map[string]struct {
		result agent.Result
		says   string
	}{
		"the zero Result":             {agent.Result{}, "returned no result"},
		"an output that is no JSON":   {agent.Complete(make(chan int)), "output cannot be encoded"},
		"an output that is infinite":  {agent.Complete(math.Inf(1)), "output cannot be encoded"},
		"raw output that is no JSON":  {agent.Complete(json.RawMessage("{")), "output cannot be encoded"},
		"an output that is not UTF-8": {agent.Complete(json.RawMessage("\"\xff\"")), "not UTF-8"},
		"an output that is too deep": {
			agent.Complete(json.RawMessage(strings.Repeat("[", 1000) + strings.Repeat("]", 1000))), "nested deeper than the limit",
		},
		"an output that C cuts off": {agent.Complete("a\x00b"), "U+0000"},
		"a state with a name twice": {agent.Wait().WithState(json.RawMessage(`{"a":1,"a":2}`)), "the name is there twice"},
		"a child that is not UTF-8": {agent.Complete(nil).Spawn(definition.Activity{With: json.RawMessage("{\"a\":\"\xff\"}")}), "cannot be read by everybody"},
		"a state that is no JSON":   {agent.Wait().WithState(func() {}), "state cannot be encoded"},
		"children that are too large": {
			agent.Complete(nil).Spawn(definition.Activity{Name: strings.Repeat("x", agent.MaxReportBytes)}), "over the limit",
		},
		"a child that is no JSON": {agent.Complete(nil).Spawn(definition.Activity{With: json.RawMessage("{")}), "spawned activities cannot be encoded"},
		"an error that is none":   {agent.Fatal(nil), "without saying which"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.result.Kind() != agent.Failed {
				t.Fatalf("it is %q", c.result.Kind())
			}
			if m := c.result.Fault().Message; !strings.Contains(m, c.says) {
				t.Fatalf("it says %q, not %q", m, c.says)
			}
		})
	}
	t.Run("and says what kind of fault it is", func(t *testing.T) {
		r := agent.Fatal(errors.New("403")).AtStep("fetch").WithCode("edr-dead")
		want := orchestration.Fault{Step: "fetch", Message: "403", Code: "edr-dead"}
		if c, ok := r.Command(orchestration.Report{}).(orchestration.Fail); !ok || c.Error != want {
			t.Fatalf("it reports %+v", c)
		}
	})
	t.Run("and a message is fit for the log", func(t *testing.T) {
		if m := agent.Retry(errors.New("<html>\x00\xff")).Fault().Message; m != "<html>\uFFFD\uFFFD" {
			t.Fatalf("it says %q", m)
		}
	})
	t.Run("and an endless message is cut", func(t *testing.T) {
		m := agent.Retry(errors.New(strings.Repeat("ä", 1<<20))).Fault().Message
		if len(m) > 9<<10 || !strings.HasSuffix(m, "…") {
			t.Fatalf("it has %d bytes and ends with %q", len(m), m[len(m)-3:])
		}
	})
}

func TestInput(t *testing.T) {
	v := agent.NewValues(json.RawMessage(`{"s":"x","n":3,"f":1.5,"b":true,"d":"PT2S","null":null}`))
	if v.String("s") != "x" || v.Int("n") != 3 || v.Float("f") != 1.5 || !v.Bool("b") || v.Duration("d") != 2*time.Second {
		t.Fatal("a getter does not get its value")
	}
	if v.String("n") != "" || v.Int("s") != 0 || v.Int("f") != 0 || v.String("absent") != "" {
		t.Fatal("a getter gets a value of another kind")
	}
	if v.Has("null") || v.Has("absent") || !v.Has("b") {
		t.Fatal("Has is wrong")
	}
	var n int
	if err := v.Value("s", &n); err == nil || !strings.Contains(err.Error(), "input s:") {
		t.Fatalf("an error does not name the property: %v", err)
	}
	var empty agent.Values
	if !empty.Empty() || empty.String("s") != "" || empty.Decode(&n) != nil || empty.Raw() != nil {
		t.Fatal("the zero Values is not empty")
	}
	if err := agent.NewValues(json.RawMessage(`[1]`)).Value("s", &n); err == nil {
		t.Fatal("an array passes for an object")
	}
}

func ExampleValues() {
	process := agent.ProcessorFunc(func(_ context.Context, a agent.Activity) agent.Result {
		var in struct{ Name string }
		if err := a.Input.Decode(&in); err != nil {
			return agent.Fatal(err).AtStep("input")
		}
		return agent.Complete(map[string]string{"greeting": "hello " + in.Name})
	})
	_ = process
}
