package definition

import (
	"errors"
	"fmt"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// maxEffort bounds how many places of a schema are held against places of one value. A
// value of a megabyte takes some hundred thousand; a few lines of a schema that refer to one
// another twice each take more than there is time for, and whoever decides would never
// decide anything again.
const maxEffort = 1_000_000

// errEffort is what holding a value against a schema that takes more than that ends with.
var errEffort = fmt.Errorf("holding it against the schema takes more than the limit of %d steps: the schema branches, or refers to itself, too often", maxEffort)

// effort counts the steps of one validation at a time: the validator hands nothing of a
// validation to what is compiled into the schema.
type effort struct {
	mu   sync.Mutex
	left int
}

// vocabulary has every place of a schema counted.
func (e *effort) vocabulary() *jsonschema.Vocabulary {
	return &jsonschema.Vocabulary{
		URL:     base + "/effort",
		Compile: func(*jsonschema.CompilerContext, map[string]any) (jsonschema.SchemaExt, error) { return e, nil },
	}
}

// Validate implements jsonschema.SchemaExt.
func (e *effort) Validate(*jsonschema.ValidatorContext, any) {
	if e.left--; e.left < 0 {
		panic(errEffort) // there is no other way out of the validator; see hold
	}
}

// hold validates a value within the limit.
func (e *effort) hold(schema *jsonschema.Schema, value any) (err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.left = maxEffort
	defer func() {
		switch v := recover(); {
		case v == nil:
		case errors.Is(asError(v), errEffort):
			err = errEffort
		default:
			panic(v)
		}
	}()
	return schema.Validate(value)
}

func asError(v any) error {
	err, _ := v.(error)
	return err
}
