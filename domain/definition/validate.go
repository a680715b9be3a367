package definition

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waybill/waybill/domain/blob"
	"github.com/waybill/waybill/domain/machine"
)

// MaxBytes is the largest definition, in bytes. Every start writes the definition it runs
// by into its first event, next to the input, and both must fit into one record of the log.
const MaxBytes = 512 << 10

// ValidateOrchestration reads an orchestration's definition and names every mistake in it,
// each with its JSON path. The function types finds the activity types there are, whose schemas its
// inputs have to fit; nil takes any. The definition is the zero value where there are problems. It takes linear time and is safe
// for concurrent use.
func ValidateOrchestration(raw json.RawMessage, types func(activityType string) (ActivityType, bool)) (Orchestration, []machine.Problem) {
	c := orchestrationCheck{types: types}
	var def Orchestration
	c.read(raw, c.orchestration, &def)
	if p := c.all(); len(p) > 0 {
		return Orchestration{}, p
	}
	return def, nil
}

// ValidateActivity reads an activity type's definition and names every mistake in it,
// each with its JSON path. The definition is the zero value where there are problems. It
// is safe for concurrent use.
func ValidateActivity(raw json.RawMessage) (ActivityType, []machine.Problem) {
	var c check
	var def ActivityType
	c.read(raw, c.activityType, &def)
	if p := c.all(); len(p) > 0 {
		return ActivityType{}, p
	}
	return def, nil
}

// CheckType refuses a type's name that is empty, too long, begins with something else than a letter
// or digit, or has other characters than those, '.', '-' and '_': it is a part of a
// topic's name.
func CheckType(typ string) error {
	if typ == "" {
		return fmt.Errorf("the type is empty")
	}
	if len(typ) > maxIDBytes {
		return fmt.Errorf("the type has %d bytes, over the limit of %d", len(typ), maxIDBytes)
	}
	for i, c := range typ {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case i > 0 && (c == '.' || c == '-' || c == '_'):
		default:
			return fmt.Errorf("the type %q has the character %q; letters and digits fit, and after the first '.', '-' and '_'", typ, c)
		}
	}
	return nil
}

// CheckActivityType refuses also the names of the work that machines ask for by themselves: nobody
// else may ask their agents for it, or carry it out in their place.
func CheckActivityType(typ string) error {
	if slices.Contains(reservedTypes, typ) {
		return fmt.Errorf("the activity type %q is reserved for what transfers and negotiations ask for", typ)
	}
	return CheckType(typ)
}

// reservedTypes are the types of work that only machines ask for.
var reservedTypes = []string{
	"catalog", "negotiation-request", "negotiation-poll", "negotiation-terminate",
	"edr-request", "edr-poll", "edr-refresh", "edr-end",
	"transfer-request", "transfer-poll", "transfer-terminate", "transfer-suspend", "transfer-resume",
	"fetch", "collect", "provision", "deprovision",
}

// CheckName refuses a name that users give to what is not a type, a set say: it is at most 128
// letters, digits and '_', and after the first also '-', '.', '~', ':' and '@'.
func CheckName(name string) error {
	if name == "" || len(name) > maxNameBytes {
		return fmt.Errorf("want a name of 1 to %d bytes, found %d", maxNameBytes, len(name))
	}
	for i, c := range name {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_':
		case i > 0 && strings.ContainsRune("-.~:@", c):
		default:
			return fmt.Errorf("the name %q has the character %q; letters, digits and '_' fit, and after the first '-', '.', '~', ':' and '@'", name, c)
		}
	}
	return nil
}

// maxNameBytes bounds a name, which stands in URLs and keys.
const maxNameBytes = 128

// check is one validation: what a property has to look like, whatever the definition.
type check struct{ findings }

// read parses a definition, looks at its tree and, where nothing is wrong, decodes it.
func (c *check) read(raw json.RawMessage, look func(v any), into any) {
	if len(raw) > MaxBytes {
		c.add("", "has %d bytes, over the limit of a definition (definition.MaxBytes, %d)", len(raw), MaxBytes)
		return
	}
	tree, ok := c.parse(raw)
	if !ok {
		return
	}
	look(tree)
	if len(c.problems) > 0 {
		return
	}
	if err := json.Unmarshal(raw, into); err != nil {
		c.add("", "cannot be decoded: %v", err) // unless look has missed something, it can
	}
}

// property is a property of an object, and how to look at its value.
type property struct {
	name     string
	required bool
	look     func(at string, v any)
}

// object looks at an object's properties in the table's order; what is not in the table
// is a mistake.
func (c *check) object(at string, v any, table []property) {
	m, ok := v.(map[string]any)
	if !ok {
		c.want(at, "an object", v)
		return
	}
	known := make([]string, len(table))
	matched := 0
	for i, p := range table {
		known[i] = p.name
		switch value, ok := m[p.name]; {
		case ok:
			matched++
			p.look(member(at, p.name), value)
		case p.required:
			c.add(member(at, p.name), "is missing")
		}
	}
	if matched == len(m) {
		return
	}
	for _, name := range sortedKeys(m) {
		if !contains(known, name) {
			c.add(member(at, name), "is not known%s; known are %s", didYouMean(name, known), strings.Join(known, ", "))
		}
	}
}

func contains(l []string, s string) bool {
	for _, x := range l {
		if x == s {
			return true
		}
	}
	return false
}

// array calls look for each element.
func (c *check) array(at string, v any, look func(at string, v any)) {
	l, ok := v.([]any)
	if !ok {
		c.want(at, "an array", v)
		return
	}
	for i, x := range l {
		look(element(at, i), x)
	}
}

func (c *check) text(at string, v any) { c.str(at, v) }

func (c *check) str(at string, v any) (string, bool) {
	s, ok := v.(string)
	if !ok {
		c.want(at, "a string", v)
	}
	return s, ok
}

func (c *check) boolean(at string, v any) {
	if _, ok := v.(bool); !ok {
		c.want(at, "true or false", v)
	}
}

func (c *check) anyObject(at string, v any) {
	if _, ok := v.(map[string]any); !ok {
		c.want(at, "an object", v)
	}
	c.unreserved(at, v)
}

// unreserved finds members that only references to what is kept elsewhere have: nobody but
// who writes such a value may make one.
func (c *check) unreserved(at string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range sortedKeys(v) {
			if blob.Reserved(k) {
				c.add(member(at, k), "is reserved for values that are kept elsewhere")
			}
			c.unreserved(member(at, k), v[k])
		}
	case []any:
		for i := range v {
			c.unreserved(element(at, i), v[i])
		}
	}
}

// count is a whole number from 0.
func (c *check) count(at string, v any) {
	n, ok := v.(json.Number)
	if !ok {
		c.want(at, "a whole number", v)
		return
	}
	switch k, err := strconv.Atoi(string(n)); {
	case err != nil:
		c.want(at, "a whole number", v)
	case k < 0:
		c.add(at, "%d is negative", k)
	case k > math.MaxInt32:
		c.add(at, "%d is over %d", k, math.MaxInt32)
	}
}

func (c *check) duration(at string, v any) { c.length(at, v) }

// length reads a duration; 0 where it is wrong.
func (c *check) length(at string, v any) time.Duration {
	s, ok := v.(string)
	if !ok {
		c.want(at, "a duration (PT2S or 2s)", v)
		return 0
	}
	d, err := ParseDuration(s)
	switch {
	case err != nil:
		c.add(at, "%s", err)
	case d == 0:
		c.add(at, "duration %s is zero; leave it out to have the default", quote(s))
	}
	return d
}

func (c *check) retry(at string, v any) {
	var base, most time.Duration
	c.object(at, v, []property{
		{name: "limit", look: c.retries},
		{name: "baseDelay", look: func(at string, v any) { base = c.length(at, v) }},
		{name: "maxDelay", look: func(at string, v any) { most = c.length(at, v) }},
	})
	if most > 0 && base > most {
		c.add(member(at, "maxDelay"), "%v is shorter than baseDelay, %v", most, base)
	}
}

// MaxRetries bounds how often an activity is tried again: what takes more has a processor
// that should schedule itself.
const MaxRetries = 1000

func (c *check) retries(at string, v any) {
	if n, ok := v.(json.Number); ok {
		if k, err := strconv.Atoi(string(n)); err == nil && k > MaxRetries {
			c.add(at, "%d is over the limit of %d retries", k, MaxRetries)
			return
		}
	}
	c.count(at, v)
}

func (c *check) typeName(at string, v any) {
	if s, ok := c.str(at, v); ok {
		if err := CheckType(s); err != nil {
			c.add(at, "%s", err)
		}
	}
}

func (c *check) unreservedTypeName(at string, v any) {
	if s, ok := c.str(at, v); ok {
		if err := CheckActivityType(s); err != nil {
			c.add(at, "%s", err)
		}
	}
}

// policies are what an activity and its type have in common.
func (c *check) policies() []property {
	return []property{
		{name: "retry", look: c.retry},
		{name: "attemptTimeout", look: c.duration},
		{name: "deadline", look: c.duration},
		{name: "heartbeatTimeout", look: c.duration},
	}
}

func (c *check) activityType(v any) {
	c.object("", v, append([]property{
		{name: "type", required: true, look: c.unreservedTypeName},
		{name: "provider", look: c.text},
		{name: "description", look: c.text},
		{name: "inputSchema", look: c.openAPISchema},
		{name: "outputSchema", look: c.openAPISchema},
		{name: "version", look: c.count},
	}, c.policies()...))
}

func (c *check) openAPISchema(at string, v any) {
	c.object(at, v, []property{{name: "openAPIV3Schema", look: func(at string, v any) {
		if doc, ok := v.(map[string]any); ok {
			_, problems := compile(at, fromOpenAPI(doc))
			c.addAll(problems)
			return
		}
		c.want(at, "an object", v)
	}}})
}

// orchestrationCheck also gathers the graph.
type orchestrationCheck struct {
	check
	types      func(activityType string) (ActivityType, bool)
	activities []vertex
	output     []reference
	inputNames map[string]bool // properties that the input is known to have
}

func (c *orchestrationCheck) orchestration(v any) {
	c.inputNames = inputNames(v)
	c.object("", v, []property{
		{name: "type", required: true, look: c.typeName},
		{name: "description", look: c.text},
		{name: "active", look: c.boolean},
		{name: "schema", look: c.schema},
		{name: "input", look: c.anyObject},
		{name: "output", look: func(at string, v any) { c.output, _ = c.mappings(at, v) }},
		{name: "activities", required: true, look: c.graph},
		{name: "compensate", look: c.boolean},
		{name: "disposedBy", look: func(at string, by any) { c.disposedBy(at, by, v) }},
		{name: "limits", look: c.limits},
		{name: "version", look: c.count},
	})
	c.references()
	c.fits(v)
}

// disposedBy looks at the name alone: that type may be put later, and is asked for when
// something is disposed of.
func (c *orchestrationCheck) disposedBy(at string, by, def any) {
	c.typeName(at, by)
	if m, ok := def.(map[string]any); ok && m["type"] == by {
		c.add(at, "a definition cannot dispose of itself; leave it out to have its activities undone in reversed order")
	}
}

func (c *orchestrationCheck) schema(at string, v any) {
	doc, ok := v.(map[string]any)
	if !ok {
		c.want(at, "an object", v)
		return
	}
	_, problems := compile(at, doc)
	c.addAll(problems)
}

func (c *orchestrationCheck) limits(at string, v any) {
	c.object(at, v, []property{
		{name: "nodes", look: c.count},
		{name: "depth", look: c.count},
		{name: "outputBytes", look: c.count},
	})
}

func (c *orchestrationCheck) graph(at string, v any) {
	c.array(at, v, func(at string, v any) {
		c.activities = append(c.activities, vertex{at: at})
		c.activity(at, v, &c.activities[len(c.activities)-1])
	})
	if l, ok := v.([]any); ok && len(l) == 0 {
		c.add(at, "is empty: an orchestration has at least one activity")
	}
	c.identities()
	c.dependencies()
}

func (c *orchestrationCheck) activity(at string, v any, x *vertex) {
	c.object(at, v, append([]property{
		{name: "id", required: true, look: func(at string, v any) { x.id = c.identity(at, v) }},
		{name: "name", look: c.text},
		{name: "type", required: true, look: func(at string, v any) { x.typ = c.activityTypeName(at, v) }},
		{name: "discriminator", look: c.text},
		{name: "dependsOn", look: func(at string, v any) { x.dependsOn = c.names(at, v) }},
		{name: "inputs", look: func(at string, v any) {
			refs, mapped := c.mappings(at, v)
			x.refs, x.fed = append(x.refs, refs...), append(x.fed, mapped...)
		}},
		{name: "with", look: func(at string, v any) {
			c.anyObject(at, v)
			x.refs, x.fed = c.templates(x.refs, at, v), append(x.fed, literals(at, v)...)
		}},
		{name: "context", look: func(at string, v any) { x.refs = append(x.refs, c.context(at, v)...) }},
		{name: "onError", look: c.onError},
	}, c.policies()...))
}

func (c *orchestrationCheck) identity(at string, v any) string {
	id, ok := c.str(at, v)
	if !ok {
		return ""
	}
	if err := CheckID(id); err != nil {
		c.add(at, "%s", err)
	}
	return id
}

func (c *orchestrationCheck) activityTypeName(at string, v any) string {
	typ, ok := c.str(at, v)
	if !ok {
		return ""
	}
	if err := CheckActivityType(typ); err != nil {
		c.add(at, "%s", err)
	} else if c.types != nil {
		if _, known := c.types(typ); !known {
			c.add(at, "there is no activity type %q", typ)
		}
	}
	return typ
}

func (c *orchestrationCheck) onError(at string, v any) {
	switch s, ok := c.str(at, v); {
	case !ok, s == OnErrorFail, s == OnErrorContinue, s == OnErrorPartial:
	default:
		c.add(at, "want %s, %s or %s, found %s", OnErrorFail, OnErrorContinue, OnErrorPartial, quote(s))
	}
}

// context reads true, or the ids of ancestors.
func (c *orchestrationCheck) context(at string, v any) []reference {
	if _, ok := v.(bool); ok {
		return nil
	}
	var refs []reference
	for _, n := range c.names(at, v) {
		refs = append(refs, reference{at: n.at, source: n.name, activity: true})
	}
	return refs
}

// names reads a string or an array of strings.
func (c *orchestrationCheck) names(at string, v any) []named {
	if s, ok := v.(string); ok {
		return []named{{at, s}}
	}
	if _, ok := v.([]any); !ok {
		c.want(at, "a string or an array of strings", v)
		return nil
	}
	var l []named
	c.array(at, v, func(at string, v any) {
		if s, ok := c.str(at, v); ok {
			l = append(l, named{at, s})
		}
	})
	return l
}
