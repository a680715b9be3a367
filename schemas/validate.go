package schemas

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/waybill/waybill/domain/machine"
)

// validate checks a text that is JSON against the schema of a command and lists the
// mistakes, at most maxProblems of them. The error is a fault of this build.
func validate(wireType string, text []byte) ([]machine.Problem, error) {
	all, err := validators()
	if err != nil {
		return nil, err
	}
	schema, ok := all[wireType]
	if !ok {
		return nil, fmt.Errorf("there is no schema of %s", wireType)
	}
	return check(schema, text)
}

func check(schema *jsonschema.Schema, text []byte) ([]machine.Problem, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	err = schema.Validate(doc)
	var wrong *jsonschema.ValidationError
	switch {
	case err == nil:
		return nil, nil
	case !errors.As(err, &wrong):
		return nil, err
	}
	m := mistakes{doc: doc, print: message.NewPrinter(language.English)}
	problems := m.of(wrong)
	slices.SortFunc(problems, func(a, b machine.Problem) int {
		return strings.Compare(a.Path+"\x00"+a.Message, b.Path+"\x00"+b.Message)
	})
	problems = slices.Compact(problems)
	return problems[:min(len(problems), maxProblems)], nil
}

// mistakes puts the errors of a validation into words.
type mistakes struct {
	doc   any
	print *message.Printer
}

func (m mistakes) of(e *jsonschema.ValidationError) []machine.Problem {
	if _, ok := e.ErrorKind.(*kind.AnyOf); ok {
		return m.anyOf(e)
	}
	if len(e.Causes) == 0 {
		return m.leaf(e)
	}
	var l []machine.Problem
	for _, c := range e.Causes {
		l = append(l, m.of(c)...)
	}
	return l
}

// anyOf speaks of the alternatives whose type fits what stands there; where none does it
// names the types.
func (m mistakes) anyOf(e *jsonschema.ValidationError) []machine.Problem {
	var fitting []machine.Problem
	var got string
	var want []string
	for _, c := range e.Causes {
		if t := ofOtherType(c, e.InstanceLocation); t != nil {
			got = t.Got
			want = append(want, t.Want...)
			continue
		}
		fitting = append(fitting, m.of(c)...)
	}
	if len(fitting) > 0 || len(want) == 0 {
		return fitting
	}
	return []machine.Problem{{Path: m.path(e.InstanceLocation), Message: wrongType(got, want)}}
}

// ofOtherType says that an alternative failed because all of it has another type.
func ofOtherType(e *jsonschema.ValidationError, at []string) *kind.Type {
	for len(e.Causes) == 1 {
		e = e.Causes[0]
	}
	if t, ok := e.ErrorKind.(*kind.Type); ok && len(e.InstanceLocation) == len(at) {
		return t
	}
	return nil
}

func wrongType(got string, want []string) string {
	want = slices.Sorted(slices.Values(want))
	return "got " + got + ", want " + strings.Join(want, " or ")
}

func (m mistakes) leaf(e *jsonschema.ValidationError) []machine.Problem {
	one := func(text string) []machine.Problem {
		return []machine.Problem{{Path: m.path(e.InstanceLocation), Message: text}}
	}
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		return m.below(e.InstanceLocation, k.Missing, "is missing")
	case *kind.AdditionalProperties:
		return m.below(e.InstanceLocation, k.Properties, "is not known here")
	case *kind.Type:
		return one(wrongType(k.Got, k.Want))
	case *kind.MinLength:
		return one("is empty")
	case *kind.Pattern:
		return one(wrongPattern(k))
	}
	return one(e.ErrorKind.LocalizedString(m.print))
}

// below says the same of several members of the object at a place.
func (m mistakes) below(at, names []string, text string) []machine.Problem {
	l := make([]machine.Problem, len(names))
	for i, n := range names {
		l[i] = machine.Problem{Path: m.path(append(slices.Clone(at), n)), Message: text}
	}
	return l
}

func wrongPattern(k *kind.Pattern) string {
	switch k.Want {
	case durationPattern:
		return fmt.Sprintf("%q is no duration; PT2S and 2s are", k.Got)
	case urlPattern:
		return fmt.Sprintf("%q is no address of HTTP", k.Got)
	case sealedPattern:
		return "is not sealed" // and may be the secret itself
	}
	return fmt.Sprintf("%q does not match %s", k.Got, k.Want)
}

// path is the JSON path of a place in the document, $.activities[0].id.
func (m mistakes) path(at []string) string {
	var b strings.Builder
	b.WriteByte('$')
	v := m.doc
	for _, step := range at {
		switch x := v.(type) {
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(x) {
				return b.String()
			}
			fmt.Fprintf(&b, "[%d]", i)
			v = x[i]
		case map[string]any:
			writeName(&b, step)
			v = x[step]
		default:
			writeName(&b, step)
		}
	}
	return b.String()
}
