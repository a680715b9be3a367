package schemas

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

//go:embed json/*.schema.json
var jsonSchemas embed.FS

const (
	schemaSuffix = ".schema.json"
	common       = "common" + schemaSuffix // what the schemas share
)

// JSONSchema returns the JSON Schema (draft 2020-12) of a record's value by its ce_type. It
// stands alone: what it shares with others is in its own $defs.
func JSONSchema(wireType string) ([]byte, bool) {
	if !slices.Contains(Names(), wireType) {
		return nil, false
	}
	text, err := jsonSchemas.ReadFile("json/" + wireType + schemaSuffix)
	if err != nil {
		return nil, false
	}
	alone, err := standAlone(text)
	return alone, err == nil
}

var (
	reference = regexp.MustCompile(`"\$ref": "(?:common\.schema\.json)?#/\$defs/(\w+)"`)
	shared    = sync.OnceValues(readShared)
)

// definitions are the $defs of the common file, by name.
type definitions map[string]json.RawMessage

func readShared() (definitions, error) {
	text, err := jsonSchemas.ReadFile("json/" + common)
	if err != nil {
		return nil, err
	}
	var doc struct {
		Defs definitions `json:"$defs"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", common, err)
	}
	return doc.Defs, nil
}

// standAlone puts what a schema refers to in the common file into the schema itself.
func standAlone(text []byte) ([]byte, error) {
	defs, err := shared()
	if err != nil {
		return nil, err
	}
	needed := defs.neededBy(text)
	text = bytes.ReplaceAll(text, []byte(common+"#"), []byte("#"))
	if len(needed) == 0 {
		return text, nil
	}
	var b bytes.Buffer
	b.Write(bytes.TrimRight(text, "}\n "))
	// The last brace of a text that ends in several was the schema's own.
	b.WriteString(strings.Repeat("}", braces(text)-1))
	b.WriteString(`, "$defs": {`)
	for i, name := range needed {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q: %s", name, defs[name])
	}
	b.WriteString("}}\n")
	var out bytes.Buffer
	err = json.Indent(&out, b.Bytes(), "", "  ")
	return out.Bytes(), err
}

// braces counts the closing braces at the end of a text.
func braces(text []byte) int {
	return bytes.Count(text[len(bytes.TrimRight(text, "}\n ")):], []byte("}"))
}

// neededBy lists what a text refers to, and what that refers to, in order of name.
func (d definitions) neededBy(text []byte) []string {
	var names []string
	for queue := [][]byte{text}; len(queue) > 0; queue = queue[1:] {
		for _, m := range reference.FindAllSubmatch(queue[0], -1) {
			if name := string(m[1]); !slices.Contains(names, name) {
				names = append(names, name)
				queue = append(queue, d[name])
			}
		}
	}
	slices.Sort(names)
	return names
}

// validators are the schemas of the commands, compiled once, when the first one is needed.
var validators = sync.OnceValues(func() (map[string]*jsonschema.Schema, error) {
	return compile(slices.Concat(OrchestrationCommands(), DefinitionCommands(), TransferCommands(), NegotiationCommands()))
})

func compile(wireTypes []string) (map[string]*jsonschema.Schema, error) {
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	for _, t := range wireTypes {
		text, ok := JSONSchema(t)
		if !ok {
			return nil, fmt.Errorf("there is no schema of %s", t)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("schema of %s: %w", t, err)
		}
		if err := c.AddResource("urn:waybill:"+t, doc); err != nil {
			return nil, fmt.Errorf("schema of %s: %w", t, err)
		}
	}
	all := make(map[string]*jsonschema.Schema, len(wireTypes))
	for _, t := range wireTypes {
		s, err := c.Compile("urn:waybill:" + t)
		if err != nil {
			return nil, fmt.Errorf("schema of %s: %w", t, err)
		}
		all[t] = s
	}
	return all, nil
}
