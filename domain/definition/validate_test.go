package definition_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
)

// knownTypes takes noop and all of example.com.
func knownTypes(typ string) (definition.ActivityType, bool) {
	return definition.ActivityType{Type: typ}, typ == "noop" || strings.HasSuffix(typ, ".example.com")
}

func listed(l []machine.Problem) string {
	var b strings.Builder
	for _, p := range l {
		fmt.Fprintf(&b, "%s: %s\n", p.Path, p.Message)
	}
	return b.String()
}

// graph is a definition around some activities.
func graph(activities string) string { return `{"type": "t", "activities": [` + activities + `]}` }

func TestDefinitionOfTheReference(t *testing.T) {
	def, problems := definition.ValidateOrchestration(json.RawMessage(`{
		"type": "tenant.example.com", "active": true, "schema": {},
		"activities": [
			{"id": "activity1", "type": "activity1.example.com", "inputs": ["cell", "baseUrl"]},
			{"id": "activity2", "type": "activity2.example.com", "dependsOn": "activity1",
			 "inputs": [{"source": "activity1.resource", "target": "resourceId"}]}
		]}`), knownTypes)
	if len(problems) > 0 {
		t.Fatal(listed(problems))
	}
	if got := def.Activities[1]; got.DependsOn[0] != "activity1" || got.Inputs[0].Target != "resourceId" {
		t.Errorf("%+v", got)
	}
	_, problems = definition.ValidateActivity(json.RawMessage(`{
		"type": "activity1.example.com", "provider": "provisioner.example.com",
		"description": "Provisions a resource for a tenant",
		"inputSchema": {"openAPIV3Schema": {}}, "outputSchema": {"openAPIV3Schema": {}}}`))
	if len(problems) > 0 {
		t.Fatal(listed(problems))
	}
}

func TestUndoing(t *testing.T) {
	def, problems := definition.ValidateOrchestration(json.RawMessage(`{"type": "t", "compensate": true, "disposedBy": "t-gone",
		"activities": [{"id": "a", "type": "noop", "inputs": [{"source": "input.all", "target": "."}]}]}`), knownTypes)
	if len(problems) > 0 || !def.Compensate || def.DisposedBy != "t-gone" || def.Activities[0].Inputs[0].Target != definition.Spread {
		t.Errorf("%+v %s", def, listed(problems))
	}
	_, problems = definition.ValidateOrchestration(json.RawMessage(`{"type": "t", "compensate": "yes", "disposedBy": "t",
		"activities": [{"id": "a~dispose", "type": "noop"}]}`), knownTypes)
	if got, want := listed(problems), `activities[0].id: the id "a~dispose" ends with ~dispose, which is reserved for what undoes an activity
compensate: want true or false, found string "yes"
disposedBy: a definition cannot dispose of itself; leave it out to have its activities undone in reversed order
`; got != want {
		t.Errorf("found\n%swant\n%s", got, want)
	}
}

// Every mistake, with its place and its words: they are what a user sees.
func TestMistakes(t *testing.T) {
	for name, c := range map[string]struct{ def, want string }{
		"nothing":         {``, ": there is nothing\n"},
		"no JSON":         {`{"type": }`, ": is not JSON: invalid character '}' looking for beginning of value (at byte 9)\n"},
		"half of it":      {`{"type": "t"`, ": is not JSON: it breaks off (at byte 12)\n"},
		"two of it":       {`{} {}`, ": is not JSON: something follows after the value\n"},
		"no UTF-8":        {"{\"type\": \"\xff\"}", ": is not UTF-8\n"},
		"another value":   {`[]`, ": want an object, found an array\n"},
		"all is missing":  {`{}`, "type: is missing\nactivities: is missing\n"},
		"too deep":        {strings.Repeat(`{"a":`, 101) + "1" + strings.Repeat("}", 101), strings.Repeat("a.", 99) + "a: is nested deeper than the limit of 100\n"},
		"a name twice":    {`{"type": "t", "type": "u", "activities": [{"id": "a", "type": "noop"}]}`, "type: is there twice\n"},
		"a huge number":   {`{"type": "t", "input": {"n": 1e999999999}, "activities": [{"id": "a", "type": "noop"}]}`, "input.n: number 1e999999999 is out of bounds: at most 400 digits and an exponent of at most 400\n"},
		"no activities":   {graph(``), "activities: is empty: an orchestration has at least one activity\n"},
		"graph of null":   {`{"type": "t", "activities": null}`, "activities: want an array, found null\n"},
		"null":            {`{"type": "t", "description": null, "activities": [{"id": "a", "type": "noop"}]}`, "description: want a string, found null\n"},
		"another case":    {`{"Type": "t", "activities": [{"id": "a", "type": "noop"}]}`, "type: is missing\nType: is not known; did you mean \"type\"?; known are type, description, active, schema, input, output, activities, compensate, disposedBy, limits, version\n"},
		"a strange type":  {`{"type": "a/b", "activities": [{"id": "a", "type": "no op"}]}`, "type: the type \"a/b\" has the character '/'; letters and digits fit, and after the first '.', '-' and '_'\nactivities[0].type: the type \"no op\" has the character ' '; letters and digits fit, and after the first '.', '-' and '_'\n"},
		"an empty type":   {`{"type": "", "activities": [{"id": "a", "type": "noop"}]}`, "type: the type is empty\n"},
		"an unknown type": {graph(`{"id": "a", "type": "nop"}`), "activities[0].type: there is no activity type \"nop\"\n"},
		"active":          {`{"type": "t", "active": "yes", "activities": [{"id": "a", "type": "noop"}]}`, "active: want true or false, found string \"yes\"\n"},
		"other kinds": {
			`{"type": 1, "input": [], "output": {}, "schema": true, "limits": 3, "activities": [7, {"id": 1, "type": {}, "dependsOn": 2, "inputs": "a", "with": [], "onError": 0}]}`,
			"type: want a string, found number 1\nschema: want an object, found boolean true\ninput: want an object, found an array\n" +
				"output: want an array, found an object\nactivities[0]: want an object, found number 7\n" +
				"activities[1].id: want a string, found number 1\nactivities[1].type: want a string, found an object\n" +
				"activities[1].dependsOn: want a string or an array of strings, found number 2\n" +
				"activities[1].inputs: want an array, found string \"a\"\nactivities[1].with: want an object, found an array\n" +
				"activities[1].onError: want a string, found number 0\nlimits: want an object, found number 3\n",
		},
		"limits": {
			`{"type": "t", "limits": {"nodes": -1, "depth": 1.5, "outputBytes": 3000000000, "size": 1}, "activities": [{"id": "a", "type": "noop"}]}`,
			"limits.nodes: -1 is negative\nlimits.depth: want a whole number, found number 1.5\nlimits.outputBytes: 3000000000 is over 2147483647\n" +
				"limits.size: is not known; known are nodes, depth, outputBytes\n",
		},
		"misspelt": {
			graph(`{"id": "a", "type": "noop", "dependOn": [], "my prop": 1}`),
			"activities[0].dependOn: is not known; did you mean \"dependsOn\"?; known are id, name, type, discriminator, dependsOn, inputs, with, context, onError, retry, attemptTimeout, deadline, heartbeatTimeout\n" +
				"activities[0][\"my prop\"]: is not known; known are id, name, type, discriminator, dependsOn, inputs, with, context, onError, retry, attemptTimeout, deadline, heartbeatTimeout\n",
		},
		"reserved members": {
			graph(`{"id": "a", "type": "noop", "with": {"x": [{"$blob": 1}], "$join": []}}`),
			"activities[0].with.$join: is reserved for values that are kept elsewhere\nactivities[0].with.x[0].$blob: is reserved for values that are kept elsewhere\n",
		},
		"ids": {
			graph(`{"type": "noop"}, {"id": "", "type": "noop"}, {"id": "a.b", "type": "noop"}, {"id": "a/b", "type": "noop"}, {"id": "a b", "type": "noop"}, {"id": "input", "type": "noop"}`),
			"activities[0].id: is missing\nactivities[1].id: the id is empty\n" +
				"activities[2].id: the id \"a.b\" has the character '.'; letters, digits, '-', '_' and '~' fit\n" +
				"activities[3].id: the id \"a/b\" has the character '/'; letters, digits, '-', '_' and '~' fit\n" +
				"activities[4].id: the id \"a b\" has the character ' '; letters, digits, '-', '_' and '~' fit\n" +
				"activities[5].id: the id \"input\" is reserved for the orchestration's input\n",
		},
		"an id twice": {graph(`{"id": "a", "type": "noop"}, {"id": "a", "type": "noop"}`), "activities[1].id: \"a\" is already the id of activities[0]\n"},
		"dependencies": {
			graph(`{"id": "fetch", "type": "noop"}, {"id": "b", "type": "noop", "dependsOn": ["fetched", "b", "fetch", "fetch", 1]}`),
			"activities[1].dependsOn[4]: want a string, found number 1\n" +
				"activities[1].dependsOn[0]: there is no activity \"fetched\"; did you mean \"fetch\"?\n" +
				"activities[1].dependsOn[1]: \"b\" depends on itself\nactivities[1].dependsOn[3]: \"fetch\" is there twice\n",
		},
		"a dependency as a string": {graph(`{"id": "a", "type": "noop", "dependsOn": "b"}`), "activities[0].dependsOn: there is no activity \"b\"\n"},
		"a cycle": {
			graph(`{"id": "a", "type": "noop", "dependsOn": "b"}, {"id": "b", "type": "noop", "dependsOn": ["a"]}`),
			"activities[0].dependsOn: the dependencies go in a circle: a -> b -> a\n",
		},
		"each knot once": {
			graph(`{"id": "x", "type": "noop", "dependsOn": ["a", "d"]}, {"id": "a", "type": "noop", "dependsOn": ["c"]},
				{"id": "b", "type": "noop", "dependsOn": ["a"]}, {"id": "c", "type": "noop", "dependsOn": ["a", "b"]},
				{"id": "d", "type": "noop", "dependsOn": ["e"]}, {"id": "e", "type": "noop", "dependsOn": ["x2", "d"]}, {"id": "x2", "type": "noop"}`),
			"activities[1].dependsOn[0]: the dependencies go in a circle: a -> c -> a\n" +
				"activities[4].dependsOn[0]: the dependencies go in a circle: d -> e -> d\n",
		},
		"policies": {
			graph(`{"id": "a", "type": "noop", "retry": {"limit": -1, "baseDelay": "soon", "maxDelay": "-1s", "jitter": 1}, "attemptTimeout": 5, "deadline": "P", "heartbeatTimeout": "0s", "onError": "ignore"},
				{"id": "b", "type": "noop", "retry": {"limit": 1001, "baseDelay": "PT1M", "maxDelay": "1s"}, "deadline": "P200Y", "attemptTimeout": "-PT1S", "onError": "partial"}`),
			"activities[0].onError: want fail, continue or partial, found \"ignore\"\n" +
				"activities[0].retry.limit: -1 is negative\n" +
				"activities[0].retry.baseDelay: duration \"soon\": want ISO 8601 (PT2S) or 2s\n" +
				"activities[0].retry.maxDelay: duration \"-1s\" is negative\n" +
				"activities[0].retry.jitter: is not known; known are limit, baseDelay, maxDelay\n" +
				"activities[0].attemptTimeout: want a duration (PT2S or 2s), found number 5\n" +
				"activities[0].deadline: duration \"P\": want ISO 8601 (PT2S) or 2s\n" +
				"activities[0].heartbeatTimeout: duration \"0s\" is zero; leave it out to have the default\n" +
				"activities[1].retry.limit: 1001 is over the limit of 1000 retries\n" +
				"activities[1].retry.maxDelay: 1s is shorter than baseDelay, 1m0s\n" +
				"activities[1].attemptTimeout: duration \"-PT1S\" is negative\n" +
				"activities[1].deadline: duration \"P200Y\" is over the limit of 100 years\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			def, problems := definition.ValidateOrchestration(json.RawMessage(c.def), knownTypes)
			if got := listed(problems); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
			if def.Type != "" {
				t.Errorf("a definition with mistakes is handed out: %+v", def)
			}
		})
	}
}

// What inputs, templates and outputs refer to.
func TestReferences(t *testing.T) {
	chain := func(third string) string {
		return graph(`{"id": "a", "type": "noop"}, {"id": "b", "type": "noop", "dependsOn": "a"}, {"id": "c", "type": "noop", "dependsOn": "b", ` + third + `}, {"id": "d", "type": "noop"}`)
	}
	for name, c := range map[string]struct{ def, want string }{
		"an ancestor":               {chain(`"inputs": ["a.x", "b", {"source": "a.**", "target": "parts"}], "with": {"q": "{{a.y}} and {{ b.z.0 }}", "l": ["{{input.k}}", "{{k}}"]}`), ""},
		"the input":                 {chain(`"inputs": ["cell", "input.region"]`), ""},
		"a stranger":                {chain(`"inputs": ["d.x"]`), "activities[2].inputs[0]: \"d.x\" refers to \"d\", which does not come before \"c\": dependsOn leads to no such activity\n"},
		"a stranger as a whole":     {chain(`"inputs": [{"source": "d", "target": "t"}]`), "activities[2].inputs[0]: \"d\" refers to \"d\", which does not come before \"c\": dependsOn leads to no such activity\n"},
		"itself":                    {chain(`"inputs": ["c.x"]`), "activities[2].inputs[0]: \"c.x\" refers to the activity itself\n"},
		"nothing there is":          {chain(`"inputs": ["cell.region"]`), "activities[2].inputs[0]: \"cell.region\" refers to \"cell\", and there is no such activity (a property of the input is \"input.cell.region\")\n"},
		"parts of nothing there is": {chain(`"inputs": [{"source": "input.**", "target": "t"}]`), "activities[2].inputs[0]: \"input.**\" refers to \"input\", and there is no such activity\n"},
		"parts without a target":    {chain(`"inputs": ["a.**"]`), "activities[2].inputs[0]: \"a.**\" needs a target, as in {\"source\": \"a.**\", \"target\": \"parts\"}\n"},
		"a template of a stranger":  {chain(`"with": {"x": [1, {"y z": "in {{d.x}}"}]}`), "activities[2].with.x[1][\"y z\"]: \"d.x\" refers to \"d\", which does not come before \"c\": dependsOn leads to no such activity\n"},
		"a template without end":    {chain(`"with": {"x": "{{a.x"}`), "activities[2].with.x: the template {{a.x has no end, }}\n"},
		"an empty template":         {chain(`"with": {"x": "{{ }}"}`), "activities[2].with.x: want a name, or names with dots between them, found \"\"\n"},
		"an empty part":             {chain(`"inputs": ["a..x", ""]`), "activities[2].inputs[0]: want a name, or names with dots between them, found \"a..x\"\nactivities[2].inputs[1]: want a name, or names with dots between them, found \"\"\n"},
		"a target twice":            {chain(`"inputs": ["a.x", {"source": "b.x"}]`), "activities[2].inputs[1]: the target \"x\" is already that of activities[2].inputs[0]\n"},
		"mappings of other kinds":   {chain(`"inputs": [1, {"target": "x"}, {"source": 1}, {"source": "a", "traget": "x"}]`), "activities[2].inputs[0]: want a string or {source, target}, found number 1\nactivities[2].inputs[1].source: is missing\nactivities[2].inputs[2].source: want a string, found number 1\nactivities[2].inputs[3].traget: is not known; did you mean \"target\"?; known are source, target\n"},
		"a property of the schema before an activity": {
			`{"type": "t", "schema": {"properties": {"d": {}, "deep": {}}}, "input": {"e": 1}, "activities": [{"id": "c", "type": "noop", "inputs": ["d", "e.f", "deep.x"]}, {"id": "d", "type": "noop"}]}`, "",
		},
		"outputs": {
			`{"type": "t", "output": ["a.value", "input.x", "y", "b.value"], "activities": [{"id": "a", "type": "noop"}]}`,
			"output[3]: the target \"value\" is already that of output[0]\noutput[3]: \"b.value\" refers to \"b\", and there is no such activity (a property of the input is \"input.b.value\")\n",
		},
		"nothing is said of ancestors on a cycle": {
			graph(`{"id": "a", "type": "noop", "dependsOn": "b"}, {"id": "b", "type": "noop", "dependsOn": "a", "inputs": ["c.x"]}, {"id": "c", "type": "noop"}`),
			"activities[0].dependsOn: the dependencies go in a circle: a -> b -> a\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, problems := definition.ValidateOrchestration(json.RawMessage(c.def), knownTypes)
			if got := listed(problems); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func TestSchemasOfDefinitions(t *testing.T) {
	for name, c := range map[string]struct{ schema, want string }{
		"a good one":               {`{"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "integer"}}}`, ""},
		"of another draft":         {`{"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}`, ""},
		"no such type":             {`{"properties": {"a": {"type": "strnig"}}}`, "schema.properties.a.type: fits none of the alternatives: want one of \"array\", \"boolean\", \"integer\", \"null\", \"number\", \"object\", \"string\", found string \"strnig\"; or want array, found string \"strnig\"\n"},
		"a negative length":        {`{"minLength": -1}`, "schema.minLength: want at least 0, found number -1\n"},
		"no regular expression":    {`{"pattern": "("}`, "schema.pattern: want a string of the format regex, found string \"(\": error parsing regexp: missing closing ): `(`\n"},
		"a file":                   {`{"properties": {"a": {"$ref": "file:///etc/passwd"}}}`, "schema.properties.a.$ref: \"file:///etc/passwd\" is outside of the definition; nothing is loaded from files or other hosts\n"},
		"another host":             {`{"$ref": "http://127.0.0.1:1/x.json", "enum": [{"$ref": "http://data"}]}`, "schema.$ref: \"http://127.0.0.1:1/x.json\" is outside of the definition; nothing is loaded from files or other hosts\n"},
		"a relative file":          {`{"$ref": "other.json#/a"}`, "schema.$ref: \"other.json#/a\" is outside of the definition; nothing is loaded from files or other hosts\n"},
		"another dialect":          {`{"$schema": "https://example.com/dialect"}`, "schema.$schema: \"https://example.com/dialect\" is outside of the definition; nothing is loaded from files or other hosts\n"},
		"a pointer to nowhere":     {`{"properties": {"a": {"$ref": "#/$defs/n"}}}`, "schema.properties.a.$ref: \"#/$defs/n\" leads nowhere\n"},
		"an anchor to nowhere":     {`{"$ref": "#n"}`, "schema.$ref: \"#n\" leads nowhere\n"},
		"a pointer to no schema":   {`{"$ref": "#/default/0", "default": [{"multipleOf": 0}]}`, "schema.default[0].multipleOf: want more than 0, found number 0\n"},
		"properties are no object": {`{"properties": []}`, "schema.properties: want object, found an array\n"},
	} {
		t.Run(name, func(t *testing.T) {
			def := `{"type": "t", "schema": ` + c.schema + `, "activities": [{"id": "a", "type": "noop"}]}`
			_, problems := definition.ValidateOrchestration(json.RawMessage(def), knownTypes)
			if got := listed(problems); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func TestMistakesOfActivityTypes(t *testing.T) {
	for name, c := range map[string]struct{ def, want string }{
		"policies of its activities": {`{"type": "t", "retry": {"limit": 0}, "attemptTimeout": "30s", "deadline": "PT1H", "heartbeatTimeout": "PT5S"}`, ""},
		"OpenAPI 3.0":                {`{"type": "t", "inputSchema": {"openAPIV3Schema": {"type": "object", "properties": {"n": {"type": "number", "nullable": true, "minimum": 0, "exclusiveMinimum": true}, "nullable": {"type": "string", "example": {"$ref": "x"}}}}}}`, ""},
		"missing":                    {`{}`, "type: is missing\n"},
		"the schema alone":           {`{"type": "t", "inputSchema": {"type": "object"}}`, "inputSchema.type: is not known; known are openAPIV3Schema\n"},
		"an invalid schema":          {`{"type": "t", "outputSchema": {"openAPIV3Schema": {"required": "x"}}}`, "outputSchema.openAPIV3Schema.required: want array, found string \"x\"\n"},
		"another kind of schema":     {`{"type": "t", "inputSchema": {"openAPIV3Schema": []}, "outputSchema": 1}`, "inputSchema.openAPIV3Schema: want an object, found an array\noutputSchema: want an object, found number 1\n"},
		"what orchestrations have":   {`{"type": "t", "activities": []}`, "activities: is not known; known are type, provider, description, inputSchema, outputSchema, version, retry, attemptTimeout, deadline, heartbeatTimeout\n"},
		"a machine's own work":       {`{"type": "transfer-request"}`, "type: the activity type \"transfer-request\" is reserved for what transfers and negotiations ask for\n"},
		"bad policies":               {`{"type": "t", "retry": [], "deadline": "1"}`, "retry: want an object, found an array\ndeadline: duration \"1\": want ISO 8601 (PT2S) or 2s\n"},
	} {
		t.Run(name, func(t *testing.T) {
			_, problems := definition.ValidateActivity(json.RawMessage(c.def))
			if got := listed(problems); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func TestTooLargeADefinitionNamesTheLimit(t *testing.T) {
	_, problems := definition.ValidateOrchestration(make([]byte, definition.MaxBytes+1), nil)
	if got, want := listed(problems), ": has 524289 bytes, over the limit of a definition (definition.MaxBytes, 524288)\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestOfManyMistakesTheFirstHundredAreNamed(t *testing.T) {
	_, problems := definition.ValidateOrchestration(json.RawMessage(graph(strings.Repeat(`1, `, 149)+`1`)), nil)
	if len(problems) != 101 || problems[100].Message != "50 more mistakes are not listed" {
		t.Errorf("%d problems, the last: %+v", len(problems), problems[len(problems)-1])
	}
}

// layered is a graph of 1,000 activities in 50 layers with 10,000 edges, each of which
// also refers to the first activity of all.
func layered() json.RawMessage {
	var b strings.Builder
	b.WriteString(`{"type": "large", "activities": [`)
	for i := range 1000 {
		if i > 0 {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, `{"id": "a%d", "type": "noop"`, i)
		if i >= 20 {
			b.WriteString(`, "dependsOn": [`)
			for k := range 10 {
				if k > 0 {
					b.WriteString(",")
				}
				fmt.Fprintf(&b, `"a%d"`, (i/20-1)*20+(i+k)%20)
			}
			fmt.Fprintf(&b, `], "inputs": ["a%d.x"], "with": {"x": "{{a%d.y}}"}`, (i/20-1)*20+i%20, i%20)
		}
		b.WriteString("}")
	}
	b.WriteString("]}")
	return json.RawMessage(b.String())
}

func TestLargeGraph(t *testing.T) {
	if _, problems := definition.ValidateOrchestration(layered(), knownTypes); len(problems) > 0 {
		t.Error(listed(problems))
	}
}

// The mark is 100 ms.
func BenchmarkValidateLargeGraph(b *testing.B) {
	raw := layered()
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		if _, problems := definition.ValidateOrchestration(raw, knownTypes); len(problems) > 0 {
			b.Fatal(listed(problems))
		}
	}
}

// The worst case within MaxBytes: a chain in which each activity refers to one far before it.
func BenchmarkValidateLongChain(b *testing.B) {
	var s strings.Builder
	s.WriteString(`{"type": "large", "activities": [{"id": "a0", "type": "noop"}`)
	for i := 1; s.Len() < definition.MaxBytes-100; i++ {
		fmt.Fprintf(&s, `,{"id":"a%d","type":"noop","dependsOn":"a%d","inputs":["a%d.x"]}`, i, i-1, i/2)
	}
	s.WriteString("]}")
	raw := json.RawMessage(s.String())
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		if _, problems := definition.ValidateOrchestration(raw, knownTypes); len(problems) > 0 {
			b.Fatal(listed(problems))
		}
	}
}

func BenchmarkCompileSchema(b *testing.B) {
	raw := json.RawMessage(`{"type": "object", "properties": {"file": {"type": "string"}}}`)
	for b.Loop() {
		if _, problems := definition.NewChecker(raw); len(problems) > 0 {
			b.Fatal(listed(problems))
		}
	}
}
