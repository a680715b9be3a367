package schemas_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/waybill/waybill/schemas"
)

func TestEveryWireNameHasASchemaAndAGoldenFile(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range schemas.Names() {
		if seen[name] {
			t.Errorf("%s is there twice", name)
		}
		seen[name] = true
		if _, ok := schemas.JSONSchema(name); !ok {
			t.Errorf("%s has no schema", name)
		}
		if _, err := os.Stat(filepath.Join("testdata", "golden", name+".json")); err != nil {
			t.Error(err)
		}
	}
	files, err := filepath.Glob("json/*.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".schema.json")
		if name != "common" && !seen[name] {
			t.Errorf("%s is the schema of nothing", f)
		}
	}
	if _, ok := schemas.JSONSchema("common"); ok {
		t.Error("the common file is served as the schema of a record")
	}
}

func TestSchemasStandAlone(t *testing.T) {
	for _, name := range schemas.Names() {
		t.Run(name, func(t *testing.T) {
			text, _ := schemas.JSONSchema(name)
			doc := tree(t, text).(map[string]any)
			if doc["$id"] != "urn:waybill:"+name || doc["$schema"] != "https://json-schema.org/draft/2020-12/schema" || doc["title"] == "" {
				t.Errorf("it calls itself %v, %v, %v", doc["$id"], doc["$schema"], doc["title"])
			}
			defs, _ := doc["$defs"].(map[string]any)
			for _, ref := range references(doc) {
				if def, ok := strings.CutPrefix(ref, "#/$defs/"); !ok || defs[def] == nil {
					t.Errorf("%s leads nowhere", ref)
				}
			}
		})
	}
}

// references lists the values of all $ref of a document.
func references(v any) []string {
	var l []string
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if ref, ok := x.(string); ok && k == "$ref" {
				l = append(l, ref)
			}
			l = append(l, references(x)...)
		}
	case []any:
		for _, x := range v {
			l = append(l, references(x)...)
		}
	}
	return l
}

func TestGoldenFilesFitTheirSchemas(t *testing.T) {
	all, err := schemas.Compile(schemas.Names())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range schemas.Names() {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("testdata", "golden", name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			if err := all[name].Validate(doc); err != nil {
				t.Error(err)
			}
		})
	}
}

// What Go writes and what the schema says are the same members, so that neither gains one
// that the other has never heard of.
func TestSchemasNameTheMembersThatGoWrites(t *testing.T) {
	for name, v := range samples() {
		if name == schemas.DefinitionPut { // three forms: the shared schemas name their members
			continue
		}
		t.Run(name, func(t *testing.T) {
			text, _ := schemas.JSONSchema(name)
			var doc struct {
				Properties map[string]json.RawMessage `json:"properties"`
			}
			if err := json.Unmarshal(text, &doc); err != nil {
				t.Fatal(err)
			}
			var properties []string
			for p := range doc.Properties {
				properties = append(properties, p)
			}
			slices.Sort(properties)
			if members := membersOf(reflect.TypeOf(v)); !slices.Equal(members, properties) {
				t.Errorf("Go writes %q, the schema names %q", members, properties)
			}
		})
	}
}

// TestSharedSchemasNameTheMembersThatGoWrites does the same for what stands within values.
func TestSharedSchemasNameTheMembersThatGoWrites(t *testing.T) {
	text, err := os.ReadFile("json/common.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Defs map[string]struct {
			Properties map[string]json.RawMessage `json:"properties"`
			AnyOf      []struct {
				Properties map[string]json.RawMessage `json:"properties"`
			} `json:"anyOf"`
		} `json:"$defs"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	for def, v := range sharedTypes() {
		d := doc.Defs[def]
		all := d.Properties
		for _, a := range d.AnyOf {
			if a.Properties != nil {
				all = a.Properties
			}
		}
		var properties []string
		for p := range all {
			properties = append(properties, p)
		}
		slices.Sort(properties)
		if members := membersOf(reflect.TypeOf(v)); !slices.Equal(members, properties) {
			t.Errorf("%s: Go writes %q, the schema names %q", def, members, properties)
		}
	}
}

func TestASpawnMayHaveTheMembersOfAnActivity(t *testing.T) {
	text, _ := schemas.JSONSchema(schemas.WorkComplete)
	var doc struct {
		Properties struct {
			Spawn struct {
				Items struct {
					Properties map[string]bool `json:"properties"`
				} `json:"items"`
			} `json:"spawn"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	got := slices.Sorted(maps.Keys(doc.Properties.Spawn.Items.Properties))
	if want := membersOf(reflect.TypeOf(sharedTypes()["activity"])); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestThePatternsOfTheReaderAreThoseOfTheSchemas(t *testing.T) {
	var shared struct {
		Defs struct {
			Duration struct {
				Pattern string `json:"pattern"`
			} `json:"duration"`
			Label struct {
				Pattern string `json:"pattern"`
			} `json:"label"`
		} `json:"$defs"`
		Properties struct {
			Callback struct {
				Pattern string `json:"pattern"`
			} `json:"callback"`
		} `json:"properties"`
	}
	text, _ := schemas.JSONSchema(schemas.OrchestrationStart)
	if err := json.Unmarshal(text, &shared); err != nil {
		t.Fatal(err)
	}
	if got := shared.Defs.Duration.Pattern; got != schemas.DurationPattern {
		t.Errorf("the schema says %s, the reader %s", got, schemas.DurationPattern)
	}
	if got := shared.Defs.Label.Pattern; got != schemas.LabelPattern {
		t.Errorf("the schema says %s, the reader %s", got, schemas.LabelPattern)
	}
	if got := shared.Properties.Callback.Pattern; got != schemas.URLPattern {
		t.Errorf("the schema says %s, the reader %s", got, schemas.URLPattern)
	}
}

// membersOf lists the JSON names of a struct's fields.
func membersOf(t reflect.Type) []string {
	var l []string
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			l = append(l, membersOf(f.Type)...)
		case name != "-" && f.IsExported():
			l = append(l, name)
		}
	}
	slices.Sort(l)
	return l
}
