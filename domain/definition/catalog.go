package definition

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Catalog is what is in force: what is built in, and what has been announced on the
// compacted topic. It answers what commands and starts need from outside of their
// aggregates. It is not safe for concurrent use: whoever reads the topic guards it.
type Catalog struct {
	orchestrations map[string]Orchestration
	activities     map[string]ActivityType
	builtIn        map[string]bool // by key
}

// NewCatalog holds what is built in.
func NewCatalog() *Catalog {
	c := &Catalog{orchestrations: map[string]Orchestration{}, activities: map[string]ActivityType{}, builtIn: map[string]bool{}}
	orchestrations, activities := BuiltIns()
	for _, o := range orchestrations {
		c.orchestrations[o.Type] = o
		c.builtIn[Key(KindOrchestration, o.Type)] = true
	}
	for _, a := range activities {
		c.activities[a.Type] = a
		c.builtIn[Key(KindActivity, a.Type)] = true
	}
	return c
}

// Apply takes over one record of the compacted topic: its key, and its value, which is a Changed
// as JSON, or empty where the definition was deleted. A record about what is built in
// changes nothing.
func (c *Catalog) Apply(key string, value []byte) error {
	kind, typ, ok := ParseKey(key)
	switch {
	case !ok:
		return fmt.Errorf("key %q is not that of a definition: want orchestration/<type> or activity/<type>", key)
	case c.builtIn[key]:
		return nil
	case len(value) == 0:
		c.remove(kind, typ)
		return nil
	}
	var changed Changed
	if err := json.Unmarshal(value, &changed); err != nil {
		return fmt.Errorf("definition %s: %w", key, err)
	}
	if changed.Type != typ {
		return fmt.Errorf("definition %s: the record is about %q", key, changed.Type)
	}
	if err := c.put(kind, changed); err != nil {
		return fmt.Errorf("definition %s, version %d: %w", key, changed.Version, err)
	}
	return nil
}

func (c *Catalog) remove(kind, typ string) {
	if kind == KindOrchestration {
		delete(c.orchestrations, typ)
		return
	}
	delete(c.activities, typ)
}

// put decodes only: the definition was checked when it was decided.
func (c *Catalog) put(kind string, e Changed) error {
	if kind == KindOrchestration {
		var o Orchestration
		if err := json.Unmarshal(e.Definition, &o); err != nil {
			return err
		}
		o.Type, o.Version = e.Type, e.Version
		c.orchestrations[o.Type] = o
		return nil
	}
	var a ActivityType
	if err := json.Unmarshal(e.Definition, &a); err != nil {
		return err
	}
	a.Type, a.Version = e.Type, e.Version
	c.activities[a.Type] = a
	return nil
}

// Orchestration finds a type of orchestration, with the policies of its activities' types
// filled in.
func (c *Catalog) Orchestration(typ string) (Orchestration, bool) {
	o, ok := c.orchestrations[typ]
	if !ok {
		return Orchestration{}, false
	}
	return Resolve(o, c.Activity), true
}

// Activity finds an activity type; it fits ValidateOrchestration and Put.
func (c *Catalog) Activity(typ string) (ActivityType, bool) {
	a, ok := c.activities[typ]
	return a, ok
}

// BuiltIn says that the definition with this key is built in.
func (c *Catalog) BuiltIn(key string) bool { return c.builtIn[key] }

// UsedBy lists the types of the orchestrations that have an activity of a type, sorted.
func (c *Catalog) UsedBy(activityType string) []string {
	var l []string
	for typ, o := range c.orchestrations {
		if slices.ContainsFunc(o.Activities, func(a Activity) bool { return a.Type == activityType }) {
			l = append(l, typ)
		}
	}
	slices.Sort(l)
	return l
}

// Types lists the types of a kind that are in force, sorted.
func (c *Catalog) Types(kind string) []string {
	switch kind {
	case KindOrchestration:
		return sortedKeys(c.orchestrations)
	case KindActivity:
		return sortedKeys(c.activities)
	}
	return nil
}
