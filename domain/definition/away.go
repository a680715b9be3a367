package definition

import (
	"slices"
	"strconv"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/waybill/waybill/domain/blob"
)

// away are the places in a document whose values are kept elsewhere: nothing can be said of
// them but, unless they are parts of a whole, what type they have.
type away []absence

type absence struct {
	at    []string
	typed bool // its type is known
}

// standIns puts an empty value of the right type in the place of each reference.
func (a *away) standIns(v any, at []string) any {
	switch x := v.(type) {
	case map[string]any:
		if standIn, typed, ok := blob.StandIn(x); ok {
			*a = append(*a, absence{slices.Clone(at), typed})
			return standIn
		}
		for k := range x {
			x[k] = a.standIns(x[k], append(at, k))
		}
	case []any:
		for i := range x {
			x[i] = a.standIns(x[i], append(at, strconv.Itoa(i)))
		}
	}
	return v
}

// without leaves out what is only said of stand-ins: nil where nothing else is left.
func (a away) without(err *jsonschema.ValidationError) *jsonschema.ValidationError {
	if len(a) == 0 {
		return err
	}
	if a.concerns(err) {
		return nil
	}
	if len(err.Causes) == 0 {
		return err
	}
	left := *err
	left.Causes = nil
	for _, cause := range err.Causes {
		if c := a.without(cause); c != nil {
			left.Causes = append(left.Causes, c)
		}
	}
	if len(left.Causes) == 0 {
		return nil
	}
	return &left
}

// concerns says that an error is about a stand-in, or might go away if what is kept elsewhere
// were known.
func (a away) concerns(err *jsonschema.ValidationError) bool {
	at := err.InstanceLocation
	_, typ := err.ErrorKind.(*kind.Type)
	for _, p := range a {
		if len(at) >= len(p.at) && slices.Equal(at[:len(p.at)], p.at) {
			return (len(err.Causes) == 0 || choice(err)) && (!typ || !p.typed)
		}
		if len(at) < len(p.at) && slices.Equal(p.at[:len(at)], at) && choice(err) {
			return true
		}
	}
	return false
}

// choice says that an error follows from several values or schemas together, so that a value
// that is not known leaves it open.
func choice(err *jsonschema.ValidationError) bool {
	switch err.ErrorKind.(type) {
	case *kind.AnyOf, *kind.OneOf, *kind.Not, *kind.Enum, *kind.Const, *kind.UniqueItems, *kind.Contains, *kind.MinContains, *kind.MaxContains:
		return true
	}
	return false
}
