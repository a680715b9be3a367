package cli

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/waybill/waybill/domain/definition"
)

// Kinds of documents, in the order in which they are applied.
const (
	activityDefinition      = "ActivityDefinition"
	orchestrationDefinition = "OrchestrationDefinition"
	namedOrchestration      = "Orchestration"
)

// document is one definition, or one named orchestration, out of a file.
type document struct {
	where string          // file, and which document of it
	kind  string          // one of the kinds
	name  string          // of an orchestration; of a definition, its type
	body  json.RawMessage // of a definition
	spec  spec            // of an orchestration
}

// key names a document, for people too: activity/greet, orchestration/greet, job/greeting.
func (d *document) key() string { return keyOf(d.kind, d.name) }

func keyOf(kind, name string) string {
	switch kind {
	case activityDefinition:
		return definition.Key(definition.KindActivity, name)
	case orchestrationDefinition:
		return definition.Key(definition.KindOrchestration, name)
	}
	return "job/" + name
}

// spec is what an orchestration's document says.
type spec struct {
	Kind     string              `json:"kind"`
	Name     string              `json:"name"`
	Type     string              `json:"type"`
	Input    json.RawMessage     `json:"input"`
	Partial  bool                `json:"partial"`
	Deadline definition.Duration `json:"deadline"`
	Labels   map[string]string   `json:"labels"`
	Callback string              `json:"callback"`
}

// start is the body of the start, without an id. What means the same is written the same,
// so that its fingerprint tells whether anything has changed.
func (s *spec) start(set string) (json.RawMessage, error) {
	body := map[string]any{"name": s.Name, "type": s.Type}
	if input := bytes.TrimSpace(s.Input); len(input) > 0 && string(input) != "{}" && string(input) != "null" {
		body["input"] = s.Input
	}
	if s.Partial {
		body["partial"] = true
	}
	if s.Deadline > 0 {
		body["deadline"] = s.Deadline
	}
	if len(s.Labels) > 0 {
		body["labels"] = s.Labels
	}
	if s.Callback != "" {
		body["callback"] = s.Callback
	}
	if set != "" {
		body["set"] = set
	}
	return json.Marshal(body)
}

// readDocuments reads files; activity types come first, since definitions of orchestrations name
// them, and named orchestrations last.
func readDocuments(env *Env, names []string) ([]document, error) {
	if len(names) == 0 {
		return nil, usagef("-f is needed: a file or a directory of definitions and orchestrations")
	}
	var docs []document
	for _, name := range names {
		files, err := filesOf(name)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			text, err := readFileOr(env.In, file)
			if err != nil {
				return nil, usagef("-f %s: %w", file, err)
			}
			found, err := parseDocuments(file, text)
			if err != nil {
				return nil, err
			}
			docs = append(docs, found...)
		}
	}
	if len(docs) == 0 {
		return nil, usagef("-f %s: there is neither a definition nor an orchestration in it", strings.Join(names, ", "))
	}
	order := []string{activityDefinition, orchestrationDefinition, namedOrchestration}
	slices.SortStableFunc(docs, func(a, b document) int { return slices.Index(order, a.kind) - slices.Index(order, b.kind) })
	return docs, unique(docs)
}

// maxFile bounds a file: something that never ends must not take all memory there is.
const maxFile = 256 << 20

func readFileOr(in io.Reader, name string) ([]byte, error) {
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }() // nothing was written
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("it has more than %d bytes", maxFile)
	}
	return text, err
}

// filesOf lists a directory's files in order of name; a file is itself. What is hidden is left
// out: a volume of Kubernetes has every file a second time below such a directory.
func filesOf(name string) ([]string, error) {
	if name == "-" {
		return []string{name}, nil
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, usagef("-f: %w", err)
	}
	if !info.IsDir() {
		return []string{name}, nil
	}
	var files []string
	err = filepath.WalkDir(name, func(path string, d fs.DirEntry, err error) error {
		hidden := path != name && strings.HasPrefix(d.Name(), ".")
		switch {
		case err != nil:
			return err
		case d.IsDir() && hidden:
			return fs.SkipDir
		case d.IsDir(), hidden:
			return nil
		}
		switch strings.ToLower(filepath.Ext(path)) {
		case ".yaml", ".yml", ".json":
		default:
			return nil
		}
		// What a link leads to counts. A pipe or a device would never end.
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
			return cmp.Or(err, fmt.Errorf("%s is not a regular file", path))
		}
		files = append(files, path)
		return nil
	})
	if err != nil {
		return nil, usagef("-f: %w", err)
	}
	return files, nil
}

// unique refuses two documents of the same name: only one of them could be in force.
func unique(docs []document) error {
	first := make(map[string]string, len(docs))
	for i := range docs {
		d := &docs[i]
		if at, twice := first[d.key()]; twice {
			return usagef("%s: %s is also in %s", d.where, d.key(), at)
		}
		first[d.key()] = d.where
	}
	return nil
}

// parseDocuments takes a file of YAML, or JSON, which is YAML too, apart.
func parseDocuments(file string, text []byte) ([]document, error) {
	var docs []document
	parts := splitYAML(text)
	for i, part := range parts {
		where := file
		if len(parts) > 1 {
			where = fmt.Sprintf("%s, document %d", file, i+1)
		}
		body, err := yaml.YAMLToJSONStrict(part)
		if err != nil {
			return nil, usagef("%s: %w", where, err)
		}
		if json.Valid(part) {
			body = part // as it is: YAML has no room for every number
		}
		if string(bytes.TrimSpace(body)) == "null" {
			continue
		}
		d, err := parseDocument(where, body)
		if err != nil {
			return nil, err
		}
		docs = append(docs, d)
	}
	return docs, nil
}

// splitYAML cuts at the lines that separate documents; --- and ... at the beginning of a line
// are nothing else, wherever they stand. Directives before a document say nothing that matters here.
func splitYAML(text []byte) [][]byte {
	var parts [][]byte
	var part []byte
	bare := true // nothing but comments so far
	for line := range bytes.Lines(text) {
		rest, cut := separator(line)
		switch {
		case cut:
			parts, part = append(parts, part), bytes.Clone(rest)
		case bare && line[0] == '%':
			continue
		default:
			part = append(part, line...)
		}
		if rest = bytes.TrimSpace(rest); cut || bare {
			bare = len(rest) == 0 || rest[0] == '#'
		}
	}
	parts = append(parts, part)
	return slices.DeleteFunc(parts, func(p []byte) bool { return len(bytes.TrimSpace(p)) == 0 })
}

// separator is what follows on a line that separates documents; on any other it is the line.
func separator(line []byte) (rest []byte, ok bool) {
	for _, mark := range []string{"---", "..."} {
		if rest, ok = bytes.CutPrefix(line, []byte(mark)); ok && (len(bytes.TrimSpace(rest)) == 0 || rest[0] == ' ' || rest[0] == '\t') {
			return rest, true
		}
	}
	return line, false
}

func parseDocument(where string, body []byte) (document, error) {
	var o map[string]json.RawMessage
	if err := json.Unmarshal(body, &o); err != nil {
		return document{}, usagef("%s: a document is an object", where)
	}
	d := document{where: where}
	var kind string
	for name, into := range map[string]*string{"kind": &kind, "type": &d.name} {
		if raw, ok := o[name]; ok && json.Unmarshal(raw, into) != nil {
			return d, usagef("%s: %s is not a string", where, name)
		}
	}
	if d.name == "" {
		return d, usagef("%s: the document has no type", where)
	}
	if d.kind = kindOf(kind, o); d.kind == "" {
		return d, usagef("%s: cannot tell what %s is: say \"kind: OrchestrationDefinition\", \"kind: ActivityDefinition\" or \"kind: Orchestration\"", where, d.name)
	}
	if d.kind == namedOrchestration {
		return d, d.readSpec(body)
	}
	delete(o, "kind")
	var err error
	d.body, err = json.Marshal(o)
	return d, err
}

// readSpec takes an orchestration's document. A member that is not known would be lost in silence.
func (d *document) readSpec(body []byte) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d.spec); err != nil {
		return usagef("%s: %w; an orchestration has kind, name, type, input, partial, deadline, labels and callback", d.where, err)
	}
	d.name = d.spec.Name
	if err := definition.CheckName(d.name); err != nil {
		return usagef("%s: name: %w", d.where, err)
	}
	return nil
}

// kindOf goes by what the document says, else by what only one kind has.
func kindOf(kind string, o map[string]json.RawMessage) string {
	switch strings.ToLower(kind) {
	case "orchestrationdefinition":
		return orchestrationDefinition
	case "activitydefinition", "activity":
		return activityDefinition
	case "orchestration":
		return namedOrchestration
	case "":
	default:
		return ""
	}
	if _, ok := o["activities"]; ok {
		return orchestrationDefinition
	}
	for _, name := range []string{"inputSchema", "outputSchema", "provider", "retry", "attemptTimeout", "heartbeatTimeout"} {
		if _, ok := o[name]; ok {
			return activityDefinition
		}
	}
	return ""
}
