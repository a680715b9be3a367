package definition_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/orchestration"
)

// Whatever is put: no panic, and what is taken can be run, and is taken again as it was
// written down.
func FuzzValidate(f *testing.F) {
	f.Add([]byte(greet))
	f.Add([]byte(graph(`{"id": "a", "type": "noop", "dependsOn": "b"}, {"id": "b", "type": "noop", "dependsOn": ["a"], "inputs": ["a.x", {"source": "a.**", "target": "t"}], "with": {"x": "{{input.y}}"}, "retry": {"limit": 1, "baseDelay": "PT1S"}}`)))
	f.Add([]byte(`{"type": "t", "schema": {"$ref": "#/$defs/a", "$defs": {"a": {"pattern": "^x"}}}, "activities": [{"id": "a", "type": "noop"}]}`))
	f.Add([]byte(`{"type": "t", "inputSchema": {"openAPIV3Schema": {"nullable": true, "type": "string", "items": {"not": {}}}}}`))
	f.Add([]byte(`{"a": [1, {"b": null}], "a": 1e5}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if def, problems := definition.ValidateOrchestration(raw, nil); len(problems) == 0 {
			if _, err := orchestration.NewPlan(def); err != nil {
				t.Errorf("%s\nhas no mistakes, and no plan: %v", raw, err)
			}
			b, err := json.Marshal(def)
			if err != nil {
				t.Fatal(err)
			}
			if _, problems := definition.ValidateOrchestration(b, nil); len(problems) > 0 && len(b) <= definition.MaxBytes {
				t.Errorf("%s\nis written as\n%s\nwhich has mistakes:\n%s", raw, b, listed(problems))
			}
		}
		if def, problems := definition.ValidateActivity(raw); len(problems) == 0 {
			b, err := json.Marshal(def)
			if err != nil {
				t.Fatal(err)
			}
			if _, problems := definition.ValidateActivity(b); len(problems) > 0 && len(b) <= definition.MaxBytes {
				t.Errorf("%s\nis written as\n%s\nwhich has mistakes:\n%s", raw, b, listed(problems))
			}
		}
	})
}

// Whatever the schema and the value: no panic, and a name is found under its own path.
func FuzzCheck(f *testing.F) {
	f.Add([]byte(`{"type": "object", "properties": {"a": {"anyOf": [{"minimum": 1}, {"type": "string"}]}}}`), []byte(`{"a": 0}`))
	f.Add([]byte(`{"$ref": "#/$defs/x", "$defs": {"x": {"items": {"$ref": "#"}, "contains": {"const": 1}}}}`), []byte(`[[1], 2]`))
	f.Add([]byte(`{"$dynamicRef": "#m", "$dynamicAnchor": "m", "unevaluatedProperties": false, "dependentSchemas": {"a": false}}`), []byte(`{"a": {}}`))
	f.Add([]byte(`{"$schema": "http://json-schema.org/draft-04/schema#", "id": "x", "exclusiveMinimum": true, "minimum": 3}`), []byte(`3`))
	f.Add([]byte(`{"contentEncoding": "base64", "contentMediaType": "application/json", "contentSchema": {}, "format": "uri"}`), []byte(`"e30="`))
	f.Fuzz(func(t *testing.T, schema, value []byte) {
		plain, _ := definition.NewChecker(schema)
		openAPI, _ := definition.NewOpenAPIChecker(schema)
		for _, c := range []*definition.Checker{plain, openAPI} {
			for _, p := range c.Check(value) {
				if p.Message == "" || strings.HasPrefix(p.Path, ".") {
					t.Errorf("%s against %s: %+v", value, schema, p)
				}
			}
		}
	})
}
