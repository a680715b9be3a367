package schemas

import "github.com/santhosh-tekuri/jsonschema/v6"

// PlansKept is how many plans a Decoder remembers.
const PlansKept = plansKept

// Patterns that stand in the schemas and in the reader of commands.
const (
	DurationPattern = durationPattern
	LabelPattern    = labelPattern
	URLPattern      = urlPattern
)

// Plans counts the plans a Decoder remembers.
func (d *Decoder) Plans() int { return len(d.plans) }

// Compile compiles the schemas of the given types.
func Compile(wireTypes []string) (map[string]*jsonschema.Schema, error) { return compile(wireTypes) }

// Read reads a command without asking the schema, and says whether the schema had to be asked.
func Read(wireType string, data []byte) (taken bool) {
	r := reader{scanner: scanner{data: data, strict: true}}
	r.command(wireType)
	r.end()
	return r.err == nil && !r.unsure
}

// SealedPattern is what LooksSealed tells by hand.
const SealedPattern = sealedPattern

// LooksSealed is the reader's.
func LooksSealed(text string) bool { return looksSealed([]byte(text)) }
