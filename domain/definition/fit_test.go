package definition_test

import (
	"encoding/json"
	"testing"

	"github.com/waybill/waybill/domain/definition"
)

// counted are activity types with schemas: count hands on numbers, print wants texts.
func counted(typ string) (definition.ActivityType, bool) {
	openAPI := func(s string) definition.Schema {
		if s == "" {
			return definition.Schema{}
		}
		return definition.Schema{OpenAPIV3Schema: json.RawMessage(s)}
	}
	schemas := map[string][2]string{
		"count": {"", `{"type": "object", "additionalProperties": false, "required": ["total"], "properties": {
			"total": {"type": "integer"}, "share": {"type": "number"}, "name": {"type": "string", "nullable": true},
			"either": {"oneOf": [{"type": "string"}, {"type": "boolean"}]}, "lines": {"type": "array", "items": {"type": "string"}},
			"deep": {"$ref": "#/$defs/deep"}, "any": {}}, "$defs": {"deep": {"type": "object", "properties": {
				"n": {"allOf": [{"type": ["integer", "string"]}, {"type": "integer"}]}, "again": {"$ref": "#/$defs/deep"}}}}}`},
		"print": {`{"type": "object", "additionalProperties": false, "properties": {
			"text": {"type": "string"}, "flag": {"type": "boolean"}, "n": {"type": "integer"}, "list": {"type": "array"},
			"object": {"type": "object"}, "size": {"enum": ["small", "large"]}}}`, ""},
		"noop": {},
	}
	s, ok := schemas[typ]
	return definition.ActivityType{Type: typ, InputSchema: openAPI(s[0]), OutputSchema: openAPI(s[1])}, ok
}

func TestInputsThatCannotFit(t *testing.T) {
	for name, c := range map[string]struct{ inputs, want string }{
		"an integer as a text":   {`"inputs": [{"source": "c.total", "target": "text"}]`, `activities[1].inputs[0]: the inputSchema of print wants string for "text", found "c.total", which is integer by the outputSchema of count` + "\n"},
		"a number may be whole":  {`"inputs": [{"source": "c.share", "target": "n"}]`, ""},
		"null or a text":         {`"inputs": [{"source": "c.name", "target": "text"}]`, ""},
		"one of several fits":    {`"inputs": [{"source": "c.either", "target": "flag"}]`, ""},
		"none of several fits":   {`"inputs": [{"source": "c.either", "target": "n"}]`, `activities[1].inputs[0]: the inputSchema of print wants integer for "n", found "c.either", which is string or boolean by the outputSchema of count` + "\n"},
		"an element":             {`"inputs": [{"source": "c.lines.0", "target": "text"}]`, ""},
		"an element's type":      {`"inputs": [{"source": "c.lines.0", "target": "n"}]`, `activities[1].inputs[0]: the inputSchema of print wants integer for "n", found "c.lines.0", which is string by the outputSchema of count` + "\n"},
		"through references":     {`"inputs": [{"source": "c.deep.again.again.n", "target": "flag"}]`, `activities[1].inputs[0]: the inputSchema of print wants boolean for "flag", found "c.deep.again.again.n", which is integer by the outputSchema of count` + "\n"},
		"what says nothing fits": {`"inputs": [{"source": "c.any.thing", "target": "n"}]`, ""},
		"what is not there":      {`"inputs": [{"source": "c.sum", "target": "n"}]`, `activities[1].inputs[0]: "c.sum" is not there: the outputSchema of count has no such property` + "\n"},
		"below a text":           {`"inputs": [{"source": "c.name.first", "target": "n"}]`, `activities[1].inputs[0]: "c.name.first" is not there: the outputSchema of count has no such property` + "\n"},
		"where nothing may go":   {`"inputs": [{"source": "c.any", "target": "colour"}]`, `activities[1].inputs[0]: the inputSchema of print has no property "colour"` + "\n"},
		"the whole output":       {`"inputs": [{"source": "c", "target": "object"}]`, ""},
		"the whole as a text":    {`"inputs": [{"source": "c", "target": "text"}]`, `activities[1].inputs[0]: the inputSchema of print wants string for "text", found "c", which is object by the outputSchema of count` + "\n"},
		"a subtree is a list":    {`"inputs": [{"source": "c.**", "target": "list"}, {"source": "c.**", "target": "n"}]`, `activities[1].inputs[1]: the inputSchema of print wants integer for "n", found "c.**", which is array` + "\n"},
		"the input":              {`"inputs": [{"source": "cell", "target": "text"}, {"source": "input.cell", "target": "n"}]`, `activities[1].inputs[1]: the inputSchema of print wants integer for "n", found "input.cell", which is string by the schema of the input` + "\n"},
		"literals":               {`"with": {"text": 1, "n": 1.0, "flag": "yes", "size": 3, "list": []}`, `activities[1].with.flag: the inputSchema of print wants boolean for "flag", found "yes", which is string` + "\n" + `activities[1].with.size: the inputSchema of print wants string for "size", found 3, which is number` + "\n" + `activities[1].with.text: the inputSchema of print wants string for "text", found 1, which is number` + "\n"},
		"templates":              {`"with": {"text": "{{c.total}} of {{c.share}}", "n": "{{c.total}}", "flag": "{{ c.total }}"}`, `activities[1].with.flag: the inputSchema of print wants boolean for "flag", found "c.total", which is integer by the outputSchema of count` + "\n"},
	} {
		_, problems := definition.ValidateOrchestration(json.RawMessage(
			`{"type": "t", "schema": {"properties": {"cell": {"type": "string"}}}, "activities": [{"id": "c", "type": "count"}, {"id": "p", "type": "print", "dependsOn": "c", `+c.inputs+`}]}`), counted)
		if got := listed(problems); got != c.want {
			t.Errorf("%s: got\n%swant\n%s", name, got, c.want)
		}
	}
}
