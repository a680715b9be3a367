package definition

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/waybill/waybill/domain/blob"
	"github.com/waybill/waybill/domain/machine"
)

// base is the address of the schema that is compiled. It is absolute, since the
// compiler would look for the working directory otherwise.
const base = "waybill:///schema"

// closed loads nothing: a definition that meant something else once a file or a server
// has changed could not be decided again.
type closed struct{}

// Load implements jsonschema.URLLoader.
func (closed) Load(string) (any, error) { return nil, errOutside }

var errOutside = errors.New("nothing is loaded from outside of the definition")

// compile compiles a schema that stands at a path of its definition. Without $schema it
// is of draft 2020-12; formats are asserted in every draft.
func compile(at string, doc any) (*jsonschema.Schema, []machine.Problem) {
	return compileCounted(at, doc, new(effort))
}

// compileCounted has what is compiled count its steps.
func compileCounted(at string, doc any, e *effort) (*jsonschema.Schema, []machine.Problem) {
	c := jsonschema.NewCompiler()
	c.RegisterVocabulary(e.vocabulary())
	c.AssertVocabs()
	c.UseLoader(closed{})
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	err := c.AddResource(base, doc)
	if err != nil {
		return nil, []machine.Problem{{Path: at, Message: err.Error()}}
	}
	schema, err := c.Compile(base)
	if err == nil {
		return schema, nil
	}
	return nil, schemaProblems(at, doc, err)
}

// schemaProblems finds out where in a schema an error of its compilation is.
func schemaProblems(at string, doc any, err error) []machine.Problem {
	var (
		f        findings
		invalid  *jsonschema.SchemaValidationError
		fit      *jsonschema.ValidationError
		loading  *jsonschema.LoadURLError
		pattern  *jsonschema.InvalidRegexError
		pointer  *jsonschema.JSONPointerNotFoundError
		anchor   *jsonschema.AnchorNotFoundError
		outsider = func(ref string) bool { return !strings.HasPrefix(ref, "#") }
	)
	switch {
	case errors.As(err, &invalid) && errors.As(invalid.Err, &fit):
		where := tokens(invalid.URL) // empty, unless a reference led to something that is no schema
		misfits(&f, pathOf(at, doc, where), lookUp(doc, where), fit)
	case errors.As(err, &loading):
		refs(doc, at, func(at, ref string) {
			if outsider(ref) {
				f.add(at, "%s is outside of the definition; nothing is loaded from files or other hosts", quote(ref))
			}
		})
	case errors.As(err, &pattern):
		f.add(pathOf(at, doc, tokens(pattern.URL)), "%s is no regular expression (RE2): %v", quote(pattern.Regex), pattern.Err)
	case errors.As(err, &pointer):
		dangling(&f, at, doc, pointer.URL)
	case errors.As(err, &anchor):
		dangling(&f, at, doc, anchor.Reference)
	}
	if len(f.problems) == 0 {
		f.add(at, "is no JSON Schema: %s", strings.ReplaceAll(err.Error(), base, ""))
	}
	return f.all()
}

func dangling(f *findings, at string, doc any, target string) {
	_, fragment, _ := strings.Cut(target, "#")
	refs(doc, at, func(at, ref string) {
		if _, g, ok := strings.Cut(ref, "#"); ok && g == fragment {
			f.add(at, "%s leads nowhere", quote(ref))
		}
	})
}

// refs calls see for each reference within a schema, leaving out what is data.
func refs(v any, at string, see func(at, ref string)) {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range sortedKeys(v) {
			switch k {
			case "enum", "const", "default", "examples", "example":
				continue
			case "$ref", "$dynamicRef", "$recursiveRef", "$schema":
				if ref, ok := v[k].(string); ok {
					see(member(at, k), ref)
					continue
				}
			}
			refs(v[k], member(at, k), see)
		}
	case []any:
		for i := range v {
			refs(v[i], element(at, i), see)
		}
	}
}

// tokens splits the JSON pointer that an address ends with.
func tokens(url string) []string {
	_, fragment, ok := strings.Cut(url, "#/")
	if !ok {
		return nil
	}
	l := strings.Split(fragment, "/")
	for i := range l {
		l[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(l[i])
	}
	return l
}

// pathOf follows a JSON pointer through a document, to tell indexes from names.
func pathOf(at string, doc any, pointer []string) string {
	for _, token := range pointer {
		switch v := doc.(type) {
		case []any:
			if i, err := strconv.Atoi(token); err == nil && i >= 0 && i < len(v) {
				at, doc = element(at, i), v[i]
				continue
			}
			at, doc = member(at, token), nil
		case map[string]any:
			at, doc = member(at, token), v[token]
		default:
			at = member(at, token)
		}
	}
	return at
}

// lookUp is the value that a JSON pointer leads to.
func lookUp(doc any, pointer []string) any {
	for _, token := range pointer {
		switch v := doc.(type) {
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(v) {
				return nil
			}
			doc = v[i]
		case map[string]any:
			doc = v[token]
		default:
			return nil
		}
	}
	return doc
}

// fromOpenAPI rewrites a schema of OpenAPI 3.0 to one of draft 2020-12, which is also the
// dialect of OpenAPI 3.1: nullable, and limits that are exclusive by a flag. The rest is the same, or
// says nothing about what is valid.
func fromOpenAPI(doc map[string]any) map[string]any {
	out := make(map[string]any, len(doc))
	for k, v := range doc {
		switch k {
		case "properties", "patternProperties", "$defs", "definitions", "dependentSchemas":
			if m, ok := v.(map[string]any); ok {
				v = eachSchema(m)
			}
		default:
			v = subschemas(k, v)
		}
		out[k] = v
	}
	exclusive(out, "exclusiveMinimum", "minimum")
	exclusive(out, "exclusiveMaximum", "maximum")
	nullable(out)
	return out
}

func eachSchema(m map[string]any) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		if s, ok := v.(map[string]any); ok {
			v = fromOpenAPI(s)
		}
		out[k] = v
	}
	return out
}

func subschemas(keyword string, v any) any {
	switch keyword {
	case "items", "not", "additionalProperties", "contains", "if", "then", "else", "propertyNames", "unevaluatedItems", "unevaluatedProperties":
		if s, ok := v.(map[string]any); ok {
			return fromOpenAPI(s)
		}
	case "allOf", "anyOf", "oneOf", "prefixItems":
		if l, ok := v.([]any); ok {
			out := make([]any, len(l))
			for i, x := range l {
				if s, ok := x.(map[string]any); ok {
					x = fromOpenAPI(s)
				}
				out[i] = x
			}
			return out
		}
	}
	return v
}

func exclusive(schema map[string]any, flag, limit string) {
	exclusive, ok := schema[flag].(bool)
	if !ok {
		return
	}
	delete(schema, flag)
	if value, ok := schema[limit]; ok && exclusive {
		delete(schema, limit)
		schema[flag] = value
	}
}

func nullable(schema map[string]any) {
	null, ok := schema["nullable"].(bool)
	if !ok {
		return
	}
	delete(schema, "nullable")
	typ, ok := schema["type"].(string)
	if !null || !ok {
		return
	}
	schema["type"] = []any{typ, "null"}
	if l, ok := schema["enum"].([]any); ok {
		schema["enum"] = append(l[:len(l):len(l)], nil)
	}
}

// Checker holds values against a compiled schema. The zero Checker and a nil one take anything. It is safe for
// concurrent use.
type Checker struct {
	schema *jsonschema.Schema
	effort *effort
}

// NewChecker compiles a JSON Schema, draft 2020-12 unless it says otherwise; an empty one
// takes anything. Compiling takes milliseconds: compile once per definition.
func NewChecker(schema json.RawMessage) (*Checker, []machine.Problem) {
	return newChecker(schema, func(doc any) any { return doc })
}

// NewOpenAPIChecker compiles a schema as OpenAPI 3.0 or 3.1 has it.
func NewOpenAPIChecker(schema json.RawMessage) (*Checker, []machine.Problem) {
	return newChecker(schema, func(doc any) any {
		if m, ok := doc.(map[string]any); ok {
			return fromOpenAPI(m)
		}
		return doc
	})
}

func newChecker(schema json.RawMessage, translate func(any) any) (*Checker, []machine.Problem) {
	if len(schema) == 0 {
		return &Checker{}, nil
	}
	var f findings
	doc, ok := f.parse(schema)
	if !ok || len(f.problems) > 0 {
		return nil, f.all()
	}
	e := new(effort)
	compiled, problems := compileCounted("", translate(doc), e)
	if len(problems) > 0 {
		return nil, problems
	}
	return &Checker{compiled, e}, nil
}

// Check names everything in a JSON value that does not fit the schema, each with its path
// within the value, sorted by path. Numbers are compared exactly, not as float64. Of what is
// kept elsewhere (package blob) it checks the type and nothing else.
func (c *Checker) Check(value json.RawMessage) []machine.Problem {
	var f findings
	doc, ok := f.parse(value)
	if !ok || len(f.problems) > 0 || c == nil || c.schema == nil {
		return f.all()
	}
	var elsewhere away
	if blob.Refers(value) {
		doc = elsewhere.standIns(doc, nil)
	}
	err := c.effort.hold(c.schema, doc)
	var misfit *jsonschema.ValidationError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errEffort):
		f.add("", "%v", err)
	case errors.As(err, &misfit):
		if misfit = elsewhere.without(misfit); misfit == nil {
			return nil
		}
		misfits(&f, "", doc, misfit)
	}
	if len(f.problems) == 0 {
		f.add("", "does not fit the schema: %v", err)
	}
	return f.all()
}
