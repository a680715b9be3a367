package definition

import "strings"

// inputName is how sources name the orchestration's input; no activity may be called so.
const inputName = "input"

// reference is the source of a mapping, or a template, and where it stands.
type reference struct {
	at, source string
	activity   bool // it names an activity and nothing else
}

// head splits a source into the activity it may name and the rest; whole says that there is no
// rest, subtree that it is the list of all that the activity spawned.
func head(source string) (name string, whole, subtree bool) {
	if id, ok := strings.CutSuffix(source, ".**"); ok {
		return id, false, true
	}
	name, _, dotted := strings.Cut(source, ".")
	return name, !dotted, false
}

// inputNames are the properties that the schema and the defaults speak of.
func inputNames(def any) map[string]bool {
	names := map[string]bool{}
	add := func(v any) {
		m, _ := v.(map[string]any)
		for k := range m {
			names[k] = true
		}
	}
	m, _ := def.(map[string]any)
	add(m["input"])
	if schema, ok := m["schema"].(map[string]any); ok {
		add(schema["properties"])
	}
	return names
}

// mappings looks at a list of mappings and returns their sources, and where they lead to.
func (c *orchestrationCheck) mappings(at string, v any) (refs []reference, mapped []fed) {
	targets := map[string]string{}
	c.array(at, v, func(at string, v any) {
		source, target := c.mapping(at, v)
		if source == "" {
			return
		}
		refs = append(refs, reference{at: at, source: source})
		if target == "" {
			return
		}
		if first, ok := targets[target]; ok {
			c.add(at, "the target %s is already that of %s", quote(target), first)
			return
		}
		targets[target] = at
		mapped = append(mapped, fed{at: at, target: target, source: source})
	})
	return refs, mapped
}

// mapping reads "source" or {source, target}; source is "" where it is wrong.
func (c *orchestrationCheck) mapping(at string, v any) (source, target string) {
	switch x := v.(type) {
	case string:
		source = x
	case map[string]any:
		if source, target, plain := plainMapping(x); plain {
			return c.completed(at, source, target)
		}
		ok := false
		c.object(at, x, []property{
			{name: "source", required: true, look: func(at string, v any) { source, ok = c.str(at, v) }},
			{name: "target", look: func(at string, v any) { target, _ = c.str(at, v) }},
		})
		if !ok {
			return "", ""
		}
	default:
		c.want(at, "a string or {source, target}", v)
		return "", ""
	}
	return c.completed(at, source, target)
}

// plainMapping is a mapping as nearly all are: two texts.
func plainMapping(m map[string]any) (source, target string, ok bool) {
	source, ok = m["source"].(string)
	if target, named := m["target"].(string); ok && named && len(m) == 2 {
		return source, target, true
	}
	return "", "", false
}

// completed gives a mapping its target.
func (c *orchestrationCheck) completed(at, source, target string) (string, string) {
	if !c.wellFormed(at, source) {
		return "", ""
	}
	if target == "" {
		if _, _, subtree := head(source); subtree {
			c.add(at, "%s needs a target, as in {\"source\": %[1]s, \"target\": \"parts\"}", quote(source))
			return source, ""
		}
		target = source[strings.LastIndexByte(source, '.')+1:]
	}
	return source, target
}

// wellFormed looks at a source as a text: names between dots.
func (c *orchestrationCheck) wellFormed(at, source string) bool {
	for name := range strings.SplitSeq(source, ".") {
		if strings.TrimSpace(name) == "" {
			c.add(at, "want a name, or names with dots between them, found %s", quote(source))
			return false
		}
	}
	return true
}

// templates adds the templates in every string of a value to refs.
func (c *orchestrationCheck) templates(refs []reference, at string, v any) []reference {
	switch x := v.(type) {
	case map[string]any:
		for _, k := range sortedKeys(x) {
			refs = c.templates(refs, member(at, k), x[k])
		}
	case []any:
		for i := range x {
			refs = c.templates(refs, element(at, i), x[i])
		}
	case string:
		refs = c.templatesIn(refs, at, x)
	}
	return refs
}

func (c *orchestrationCheck) templatesIn(refs []reference, at, s string) []reference {
	for {
		_, rest, ok := strings.Cut(s, "{{")
		if !ok {
			return refs
		}
		source, after, closed := strings.Cut(rest, "}}")
		if !closed {
			c.add(at, "the template {{%s has no end, }}", clip(rest))
			return refs
		}
		if source = strings.TrimSpace(source); c.wellFormed(at, source) {
			refs = append(refs, reference{at: at, source: source})
		}
		s = after
	}
}

func clip(s string) string {
	if len(s) <= shown {
		return s
	}
	return strings.ToValidUTF8(s[:shown], "") + "…"
}

// references looks at what inputs, templates and outputs refer to.
func (c *orchestrationCheck) references() {
	index, ids := c.index()
	type asked struct {
		question
		ref reference
	}
	var open []asked
	var questions []question
	for i := range c.activities {
		x := &c.activities[i]
		for _, r := range x.refs {
			j, ok := c.refersTo(r, index, ids)
			if !ok {
				continue
			}
			q := question{before: j, after: int32(i)}
			open, questions = append(open, asked{q, r}), append(questions, q)
		}
	}
	for _, r := range c.output {
		c.refersTo(r, index, ids)
	}
	if len(questions) == 0 {
		return
	}
	no := newAncestry(c.activities).unfounded(questions)
	for _, o := range open {
		before, after := c.activities[o.before].id, c.activities[o.after].id
		switch {
		case o.before == o.after:
			c.add(o.ref.at, "%s refers to the activity itself", quote(o.ref.source))
		case no[o.question]:
			c.add(o.ref.at, "%s refers to %q, which does not come before %q: dependsOn leads to no such activity", quote(o.ref.source), before, after)
		}
	}
}

// refersTo finds the activity that a source names; false where it names the input, or
// nothing there is, which is found.
func (c *orchestrationCheck) refersTo(r reference, index map[string]int32, ids []string) (int32, bool) {
	name, whole, subtree := head(r.source)
	if r.activity {
		name, subtree = r.source, true
	}
	j, isActivity := index[name]
	switch {
	case subtree && !isActivity:
		c.add(r.at, "%s refers to %s, and there is no such activity%s", quote(r.source), quote(name), didYouMean(name, ids))
		return 0, false
	case subtree:
		return j, true
	case whole && c.inputNames[name]:
		return 0, false // a bare name is the input's before it is an activity's
	case isActivity:
		return j, true
	case whole, name == inputName, c.inputNames[name]:
		return 0, false
	}
	c.add(r.at, "%s refers to %s, and there is no such activity%s (a property of the input is %s)",
		quote(r.source), quote(name), didYouMean(name, ids), quote(inputName+"."+r.source))
	return 0, false
}
