package definition

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/waybill/waybill/domain/machine"
)

// misfits adds what a validation has found, sorted by path: the validator goes through
// objects in no order.
func misfits(f *findings, at string, doc any, err *jsonschema.ValidationError) {
	l := flatten(at, doc, err)
	slices.SortStableFunc(l, func(a, b machine.Problem) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.Message, b.Message))
	})
	f.addAll(slices.Compact(l))
}

// flatten turns a tree of errors into what is wrong, each with its place.
func flatten(at string, doc any, err *jsonschema.ValidationError) []machine.Problem {
	if err.ErrorKind == nil {
		return nil
	}
	path, value := pathOf(at, doc, err.InstanceLocation), lookUp(doc, err.InstanceLocation)
	switch k := err.ErrorKind.(type) {
	case *kind.Required:
		return each(path, k.Missing, "is missing")
	case *kind.DependentRequired:
		return each(path, k.Missing, "is missing; it belongs to "+quote(k.Prop))
	case *kind.Dependency:
		return each(path, k.Missing, "is missing; it belongs to "+quote(k.Prop))
	case *kind.AdditionalProperties:
		return each(path, k.Properties, "is not known to the schema")
	case *kind.PropertyNames:
		// The validator reuses this error's location for what it looks at next; where that can be
		// seen, the name is said without a place rather than with a wrong one.
		if m, ok := value.(map[string]any); !ok || !hasName(m, k.Property) {
			path = at
		}
		return []machine.Problem{{Path: path, Message: "has a property whose name does not fit, " + quote(k.Property)}}
	case *kind.AnyOf, *kind.OneOf, *kind.Contains, *kind.MinContains:
		return alternatives(at, doc, err, path)
	}
	if message := complaint(err.ErrorKind, value); message != "" {
		return []machine.Problem{{Path: path, Message: message}}
	}
	var l []machine.Problem
	for _, cause := range err.Causes {
		l = append(l, flatten(at, doc, cause)...)
	}
	return l
}

func hasName(m map[string]any, name string) bool {
	_, ok := m[name]
	return ok
}

func each(path string, names []string, message string) []machine.Problem {
	l := make([]machine.Problem, len(names))
	for i, n := range names {
		l[i] = machine.Problem{Path: member(path, n), Message: message}
	}
	return l
}

// alternatives is one problem that says why each of several ways to be valid is closed.
func alternatives(at string, doc any, err *jsonschema.ValidationError, path string) []machine.Problem {
	what := "fits none of the alternatives"
	switch k := err.ErrorKind.(type) {
	case *kind.OneOf:
		if len(k.Subschemas) == 2 {
			return []machine.Problem{{Path: path, Message: fmt.Sprintf("fits alternatives %d and %d, want exactly one", k.Subschemas[0]+1, k.Subschemas[1]+1)}}
		}
	case *kind.Contains:
		what = "has no element that fits"
	case *kind.MinContains:
		what = fmt.Sprintf("want at least %d elements that fit, found %d", k.Want, len(k.Got))
	}
	var why []string
	for _, cause := range err.Causes {
		for _, p := range flatten(at, doc, cause) {
			if p.Path != path {
				p.Message = p.Path + ": " + p.Message
			}
			if !contains(why, p.Message) {
				why = append(why, p.Message)
			}
		}
	}
	if len(why) > 0 {
		const most = 10
		what += ": " + strings.Join(why[:min(len(why), most)], "; or ")
	}
	return []machine.Problem{{Path: path, Message: what}}
}

// complaint says what a keyword wanted and what was found; "" for keywords that only
// gather others.
func complaint(e jsonschema.ErrorKind, v any) string {
	switch k := e.(type) {
	case *kind.Type:
		return "want " + strings.Join(k.Want, " or ") + ", found " + found(v)
	case *kind.Enum:
		return "want one of " + list(k.Want) + ", found " + found(v)
	case *kind.Const:
		return "want " + quote(k.Want) + ", found " + found(v)
	case *kind.Format:
		return fmt.Sprintf("want a string of the format %s, found %s: %v", k.Want, found(v), k.Err)
	case *kind.Pattern:
		return "want a string that matches " + k.Want + ", found " + found(v)
	case *kind.Not:
		return "is what the schema excludes, " + found(v)
	case *kind.FalseSchema:
		return "is not allowed, found " + found(v)
	case *kind.UniqueItems:
		return fmt.Sprintf("want distinct elements; [%d] and [%d] are equal", k.Duplicates[0], k.Duplicates[1])
	case *kind.RefCycle:
		return "the schema refers to itself without end"
	case *kind.ContentEncoding:
		return "want a string encoded in " + k.Want
	case *kind.ContentMediaType:
		return "want a string with content of type " + k.Want
	}
	if s := sizeComplaint(e); s != "" {
		return s
	}
	return numberComplaint(e, v)
}

func sizeComplaint(e jsonschema.ErrorKind) string {
	switch k := e.(type) {
	case *kind.MinLength:
		return fmt.Sprintf("want at least %d characters, found %d", k.Want, k.Got)
	case *kind.MaxLength:
		return fmt.Sprintf("want at most %d characters, found %d", k.Want, k.Got)
	case *kind.MinItems:
		return fmt.Sprintf("want at least %d elements, found %d", k.Want, k.Got)
	case *kind.MaxItems:
		return fmt.Sprintf("want at most %d elements, found %d", k.Want, k.Got)
	case *kind.AdditionalItems:
		return fmt.Sprintf("has %d elements too many", k.Count)
	case *kind.MaxContains:
		return fmt.Sprintf("want at most %d elements that fit, found %d", k.Want, len(k.Got))
	case *kind.MinProperties:
		return fmt.Sprintf("want at least %d properties, found %d", k.Want, k.Got)
	case *kind.MaxProperties:
		return fmt.Sprintf("want at most %d properties, found %d", k.Want, k.Got)
	}
	return ""
}

func numberComplaint(e jsonschema.ErrorKind, v any) string {
	switch k := e.(type) {
	case *kind.Minimum:
		return "want at least " + decimal(k.Want) + ", found " + found(v)
	case *kind.Maximum:
		return "want at most " + decimal(k.Want) + ", found " + found(v)
	case *kind.ExclusiveMinimum:
		return "want more than " + decimal(k.Want) + ", found " + found(v)
	case *kind.ExclusiveMaximum:
		return "want less than " + decimal(k.Want) + ", found " + found(v)
	case *kind.MultipleOf:
		return "want a multiple of " + decimal(k.Want) + ", found " + found(v)
	}
	return ""
}

// decimal writes a number of a schema as it was written there, more or less.
func decimal(r *big.Rat) string {
	if r.IsInt() {
		return clip(r.Num().String())
	}
	return strings.TrimRight(r.FloatString(shown/2), "0")
}

func list(l []any) string {
	const most = 20
	var b strings.Builder
	for i, v := range l {
		if i == most {
			fmt.Fprintf(&b, " and %d more", len(l)-most)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(quote(v))
	}
	return b.String()
}
