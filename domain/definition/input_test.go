package definition_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
)

func checker(t *testing.T, schema string) *definition.Checker {
	t.Helper()
	c, problems := definition.NewChecker(json.RawMessage(schema))
	if len(problems) > 0 {
		t.Fatal(listed(problems))
	}
	return c
}

func TestCheckSaysWhatWasExpectedAndFound(t *testing.T) {
	for name, c := range map[string]struct{ schema, value, want string }{
		"all is well":       {`{"type": "object"}`, `{"a": 1}`, ""},
		"kinds":             {`{"properties": {"a": {"type": "string"}, "b": {"type": ["integer", "null"]}, "c": {"type": "object"}, "d": {"type": "array"}}}`, `{"a": 1, "b": 1.5, "c": [], "d": {}}`, "a: want string, found number 1\nb: want null or integer, found number 1.5\nc: want object, found an array\nd: want array, found an object\n"},
		"properties":        {`{"required": ["a", "b"], "properties": {"a": {}, "b": {}}, "additionalProperties": false}`, `{"c": 1, "b": null, "d e": 2}`, "[\"d e\"]: is not known to the schema\na: is missing\nc: is not known to the schema\n"},
		"nested":            {`{"properties": {"l": {"items": {"required": ["x"], "properties": {"1": {"type": "string"}}}}}}`, `{"l": [{"x": 1}, {"1": 2}]}`, "l[1].1: want string, found number 2\nl[1].x: is missing\n"},
		"texts":             {`{"properties": {"a": {"minLength": 1}, "b": {"maxLength": 2}, "c": {"pattern": "^x"}, "d": {"format": "uri"}, "e": {"format": "date-time"}}}`, `{"a": "", "b": "äöü", "c": "y", "d": "x y", "e": "now"}`, "a: want at least 1 characters, found 0\nb: want at most 2 characters, found 3\nc: want a string that matches ^x, found string \"y\"\nd: want a string of the format uri, found string \"x y\": relative url\ne: want a string of the format date-time, found string \"now\": less than 20 characters long\n"},
		"numbers":           {`{"properties": {"a": {"minimum": 1.5}, "b": {"maximum": 2}, "c": {"exclusiveMinimum": 0}, "d": {"exclusiveMaximum": 1}, "e": {"multipleOf": 0.01}}}`, `{"a": 1, "b": 3, "c": 0, "d": 1, "e": 0.001}`, "a: want at least 1.5, found number 1\nb: want at most 2, found number 3\nc: want more than 0, found number 0\nd: want less than 1, found number 1\ne: want a multiple of 0.01, found number 0.001\n"},
		"values":            {`{"properties": {"a": {"enum": ["x", 1, null]}, "b": {"const": {"k": 1}}, "c": false, "d": {"not": {"type": "string"}}}}`, `{"a": "y", "b": 2, "c": 3, "d": "z"}`, "a: want one of \"x\", 1, null, found string \"y\"\nb: want {\"k\":1}, found number 2\nc: is not allowed, found number 3\nd: is what the schema excludes, string \"z\"\n"},
		"sizes":             {`{"properties": {"a": {"minItems": 1}, "b": {"maxItems": 1}, "c": {"uniqueItems": true}, "d": {"minProperties": 1}, "e": {"maxProperties": 0}, "f": {"contains": {"type": "string"}}, "g": {"contains": {"type": "string"}, "maxContains": 1}}}`, `{"a": [], "b": [1, 2], "c": [1, 1.0], "d": {}, "e": {"x": 1}, "f": [1], "g": ["a", "b"]}`, "a: want at least 1 elements, found 0\nb: want at most 1 elements, found 2\nc: want distinct elements; [0] and [1] are equal\nd: want at least 1 properties, found 0\ne: want at most 0 properties, found 1\nf: has no element that fits: f[0]: want string, found number 1\ng: want at most 1 elements that fit, found 2\n"},
		"names":             {`{"propertyNames": {"maxLength": 1}}`, `{"long": 1}`, ": has a property whose name does not fit, \"long\"\n"},
		"names further in":  {`{"properties": {"a": {"propertyNames": {"maxLength": 1}}}}`, `{"a": {"long": 1}}`, "a: has a property whose name does not fit, \"long\"\n"},
		"alternatives":      {`{"properties": {"a": {"anyOf": [{"type": "string"}, {"type": "object", "required": ["x"]}]}, "b": {"oneOf": [{"minimum": 1}, {"maximum": 3}]}}}`, `{"a": {}, "b": 2}`, "a: fits none of the alternatives: want string, found an object; or a.x: is missing\nb: fits alternatives 1 and 2, want exactly one\n"},
		"references":        {`{"$ref": "#/$defs/d", "allOf": [{"required": ["y"]}], "$defs": {"d": {"required": ["x"]}}}`, `{}`, "x: is missing\ny: is missing\n"},
		"dependents":        {`{"dependentRequired": {"a": ["b"]}}`, `{"a": 1}`, "b: is missing; it belongs to \"a\"\n"},
		"exact numbers":     {`{"properties": {"a": {"maximum": 9007199254740993}, "b": {"const": 0.1}}}`, `{"a": 9007199254740994, "b": 0.10000000000000000001}`, "a: want at most 9007199254740993, found number 9007199254740994\nb: want 0.1, found number 0.10000000000000000001\n"},
		"no JSON":           {`{}`, `{`, ": is not JSON: it breaks off (at byte 1)\n"},
		"numbers too large": {`{"maximum": 1}`, `1e1000000000`, ": number 1e1000000000 is out of bounds: at most 400 digits and an exponent of at most 400\n"},
		"a name twice":      {`{}`, `{"a": 1, "a": 2}`, "a: is there twice\n"},
		"without end":       {`{"$ref": "#"}`, `{}`, ": the schema refers to itself without end\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := listed(checker(t, c.schema).Check(json.RawMessage(c.value))); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// Each of these takes 2^40 steps or more, and the shard that tries them decides nothing again.
func TestCheckGivesUpOnASchemaThatBranchesWithoutEnd(t *testing.T) {
	branching := func(keyword string) string {
		var defs strings.Builder
		for i := range 40 {
			fmt.Fprintf(&defs, `"a%d": {%q: [{"$ref": "#/$defs/a%d"}, {"$ref": "#/$defs/a%d"}]}, `, i, keyword, i+1, i+1)
		}
		return `{"$ref": "#/$defs/a0", "$defs": {` + defs.String() + `"a40": {"required": ["x"]}}}`
	}
	deep := strings.Repeat(`{"x": `, 40) + `1` + strings.Repeat(`}`, 40)
	for name, c := range map[string]struct{ schema, value string }{
		"all of":       {branching("allOf"), `{}`},
		"any of":       {branching("anyOf"), `{}`},
		"going deeper": {`{"allOf": [{"properties": {"x": {"$ref": "#"}}}, {"properties": {"x": {"$ref": "#"}}}]}`, deep},
		"of draft 7":   {`{"$schema": "http://json-schema.org/draft-07/schema#", ` + branching("allOf")[1:], `{}`},
	} {
		t.Run(name, func(t *testing.T) {
			got := listed(checker(t, c.schema).Check(json.RawMessage(c.value)))
			if !strings.Contains(got, "more than the limit of 1000000 steps") {
				t.Errorf("got %s", got)
			}
		})
	}
}

func TestCheckWithoutASchemaTakesAnything(t *testing.T) {
	var none *definition.Checker
	for _, c := range []*definition.Checker{none, {}, checker(t, ``)} {
		if problems := c.Check(json.RawMessage(`{"a": 1}`)); len(problems) > 0 {
			t.Error(listed(problems))
		}
	}
}

func TestCheckAsOpenAPI(t *testing.T) {
	c, problems := definition.NewOpenAPIChecker(json.RawMessage(`{"type": "object", "properties": {
		"a": {"type": "string", "nullable": true, "enum": ["x"]}, "b": {"type": "number", "minimum": 0, "exclusiveMinimum": true},
		"c": {"type": "array", "items": {"allOf": [{"type": "integer", "nullable": true}]}}, "d": {"maximum": 1, "exclusiveMaximum": false}}}`))
	if len(problems) > 0 {
		t.Fatal(listed(problems))
	}
	if problems := c.Check(json.RawMessage(`{"a": null, "b": 0.1, "c": [1, null], "d": 1}`)); len(problems) > 0 {
		t.Error(listed(problems))
	}
	want := "a: want null or string, found number 1\nb: want more than 0, found number 0\nc[0]: want null or integer, found string \"x\"\nd: want at most 1, found number 2\n"
	if got := listed(c.Check(json.RawMessage(`{"a": 1, "b": 0, "c": ["x"], "d": 2}`))); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestCheckFromManySides(t *testing.T) {
	c := checker(t, `{"properties": {"a": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/n"}]}}, "$defs": {"n": {"type": "number"}}}`)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				if problems := c.Check(json.RawMessage(`{"a": true}`)); len(problems) != 1 {
					t.Error(listed(problems))
				}
			}
		})
	}
	wg.Wait()
}

func TestMergeInput(t *testing.T) {
	for name, c := range map[string]struct{ defaults, given, want string }{
		"neither":                 {``, ``, `{}`},
		"no defaults":             {``, ` {"b": 1, "a": 1.0}`, ` {"b": 1, "a": 1.0}`},
		"empty defaults":          {`{}`, `{"b": 1}`, `{"b": 1}`},
		"only defaults":           {`{"b": 1, "a": 2}`, ``, `{"a":2,"b":1}`},
		"the given one wins":      {`{"a": {"x": 1}, "b": 1}`, `{"c": 3, "a": {"y": 2}}`, `{"a":{"y":2},"b":1,"c":3}`},
		"null is a value":         {`{"a": 1}`, `{"a": null}`, `{"a":null}`},
		"numbers are left alone":  {`{"a": 1.00}`, `{"b": 12345678901234567890.10}`, `{"a":1.00,"b":12345678901234567890.10}`},
		"so are signs of grammar": {`{"a": "<"}`, `{"b": "&"}`, `{"a":"\u003c","b":"\u0026"}`},
	} {
		got, err := definition.MergeInput(json.RawMessage(c.defaults), json.RawMessage(c.given))
		if err != nil || string(got) != c.want {
			t.Errorf("%s: got %s, %v, want %s", name, got, err, c.want)
		}
	}
}

func TestMergeInputTakesObjectsOnly(t *testing.T) {
	for _, c := range []struct{ defaults, given, want string }{
		{``, `[1]`, "the input is not an object: input: want an object, found an array"},
		{`{"a": 1}`, `null`, "the input is not an object: input: want an object, found null"},
		{``, `null`, "the input is not an object: input: want an object, found null"},
		{``, `{"a"`, "the input is not an object: input: is not JSON: it breaks off (at byte 4)"},
		{`"x"`, `{}`, "the definition's input is not an object: input: want an object, found string \"x\""},
	} {
		_, err := definition.MergeInput(json.RawMessage(c.defaults), json.RawMessage(c.given))
		var r *machine.Refusal
		if !errors.As(err, &r) || r.Code != machine.Schema || err.Error() != c.want {
			t.Errorf("%s under %s: got %v, want %s", c.defaults, c.given, err, c.want)
		}
	}
}

func TestResolve(t *testing.T) {
	one, none := 1, 0
	types := func(typ string) (definition.ActivityType, bool) {
		return definition.ActivityType{
			Retry:          &definition.Retry{Limit: &one, BaseDelay: definition.Duration(time.Second)},
			AttemptTimeout: 2, Deadline: 3, HeartbeatTimeout: 4,
		}, typ == "known"
	}
	o := definition.Orchestration{Activities: []definition.Activity{
		{ID: "silent", Type: "known"},
		{ID: "own", Type: "known", Retry: &definition.Retry{Limit: &none, MaxDelay: 9}, AttemptTimeout: 12, Deadline: 13, HeartbeatTimeout: 14},
		{ID: "stranger", Type: "unknown"},
	}}
	before, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	got := definition.Resolve(o, types).Activities
	want := []definition.Activity{
		{ID: "silent", Type: "known", Retry: &definition.Retry{Limit: &one, BaseDelay: definition.Duration(time.Second)}, AttemptTimeout: 2, Deadline: 3, HeartbeatTimeout: 4},
		{ID: "own", Type: "known", Retry: &definition.Retry{Limit: &none, BaseDelay: definition.Duration(time.Second), MaxDelay: 9}, AttemptTimeout: 12, Deadline: 13, HeartbeatTimeout: 14},
		{ID: "stranger", Type: "unknown"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	if after, err := json.Marshal(o); err != nil || string(after) != string(before) {
		t.Errorf("the definition itself has become %s, %v", after, err)
	}
}

func TestDurations(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"2s": 2 * time.Second, "PT2S": 2 * time.Second, "PT1.5S": 1500 * time.Millisecond, "P1DT1H": 25 * time.Hour,
		"P1W": 168 * time.Hour, "P1Y": 365 * 24 * time.Hour, "P100Y": 36500 * 24 * time.Hour, "0s": 0, "PT0S": 0, "1h30m": 90 * time.Minute,
	} {
		if got, err := definition.ParseDuration(s); err != nil || got != want {
			t.Errorf("%s: got %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "2", "P", "PT", "P1DT", "T2S", "-1s", "-PT1S", "PT-1S", "P101Y", "P9999999999999999999Y", "9999999h", "PTxS", "pt2s"} {
		if got, err := definition.ParseDuration(s); err == nil {
			t.Errorf("%q is taken for %v", s, got)
		}
	}
}

func TestBuiltInsAreValid(t *testing.T) {
	catalog := definition.NewCatalog()
	orchestrations, activities := definition.BuiltIns()
	for _, o := range orchestrations {
		b, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, problems := definition.ValidateOrchestration(b, catalog.Activity); len(problems) > 0 {
			t.Errorf("%s: %s", o.Type, listed(problems))
		}
	}
	for _, a := range activities {
		b, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		if _, problems := definition.ValidateActivity(b); len(problems) > 0 {
			t.Errorf("%s: %s", a.Type, listed(problems))
		}
	}
}

func TestInputOfThePartsTree(t *testing.T) {
	def, ok := definition.NewCatalog().Orchestration(definition.PartsTree)
	if !ok {
		t.Fatal("it is not built in")
	}
	c := checker(t, string(def.Schema))
	input := func(destination string) json.RawMessage {
		b, err := json.Marshal(map[string]string{"file": "test-document-1", "connectorUrl": "http://provider1:8181", "destination": destination})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, d := range []string{"a", "a.txt", "a/b/c.txt", ".a", "..a", "...", "a..b", "a/..b", "ä ö"} {
		if problems := c.Check(input(d)); len(problems) > 0 {
			t.Errorf("%q: %s", d, listed(problems))
		}
	}
	for _, d := range []string{"", "/a", "..", "../a", "a/..", "a/../b", ".", "a/./b", "a//b", "a/", `a\b`, `..\a`, "a\x00b"} {
		if problems := c.Check(input(d)); len(problems) != 1 || problems[0].Path != "destination" {
			t.Errorf("%q: %s", d, listed(problems))
		}
	}
	for value, want := range map[string]string{
		`{"file": "f", "connectorUrl": "https://p/x"}`: "",
		`{}`: "connectorUrl: is missing\nfile: is missing\n",
		`{"file": "", "connectorUrl": "http://p"}`:                "file: want at least 1 characters, found 0\n",
		`{"file": "f", "connectorUrl": "http://p", "dest": "x"}`:  "dest: is not known to the schema\n",
		`{"file": "f", "connectorUrl": "ftp://p"}`:                "connectorUrl: want a string that matches ^https?://[^/], found string \"ftp://p\"\n",
		`{"file": "f", "connectorUrl": "provider1"}`:              "connectorUrl: want a string of the format uri, found string \"provider1\": relative url\n",
		`{"file": "f", "connectorUrl": 1, "destination": [true]}`: "connectorUrl: want string, found number 1\ndestination: want string, found an array\n",
	} {
		if got := listed(c.Check(json.RawMessage(value))); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", value, got, want)
		}
	}
}

func TestCatalog(t *testing.T) {
	c := definition.NewCatalog()
	apply := func(key, value string) {
		t.Helper()
		if err := c.Apply(key, []byte(value)); err != nil {
			t.Error(err)
		}
	}
	apply("activity/slow.example.com", `{"kind": "activity", "type": "slow.example.com", "version": 3, "definition": {"type": "slow.example.com", "deadline": "PT1H"}}`)
	apply("orchestration/greet", `{"kind": "orchestration", "type": "greet", "version": 2, "definition": {"type": "greet", "activities": [{"id": "a", "type": "slow.example.com"}]}}`)
	apply("activity/noop", `{"kind": "activity", "type": "noop", "version": 9, "definition": {"type": "noop"}}`)

	o, ok := c.Orchestration("greet")
	if !ok || o.Version != 2 || time.Duration(o.Activities[0].Deadline) != time.Hour {
		t.Errorf("%v %+v", ok, o)
	}
	if noop, ok := c.Activity("noop"); !ok || noop.Version != 1 || !c.BuiltIn("activity/noop") {
		t.Errorf("what is built in was changed: %+v", noop)
	}
	if got := strings.Join(c.UsedBy("slow.example.com"), " "); got != "greet" {
		t.Errorf("used by %s", got)
	}
	if got := strings.Join(c.Types(definition.KindActivity), " "); got != "acquire aggregate callback exec http kafka noop registry-lookup retrieve slow.example.com terraform transfer" {
		t.Errorf("activity types %s", got)
	}
	apply("orchestration/greet", "")
	apply("activity/slow.example.com", "")
	apply("activity/noop", "")
	_, greet := c.Orchestration("greet")
	_, slow := c.Activity("slow.example.com")
	_, noop := c.Activity("noop")
	if greet || slow || !noop {
		t.Errorf("in force are %v and %v", c.Types(definition.KindOrchestration), c.Types(definition.KindActivity))
	}
	for key, value := range map[string]string{"greet": "{}", "activity/x": "[]", "orchestration/x": `{"definition": 1}`, "activity/y": `{"definition": "s"}`} {
		if err := c.Apply(key, []byte(value)); err == nil {
			t.Errorf("%s: %s is taken", key, value)
		}
	}
}
