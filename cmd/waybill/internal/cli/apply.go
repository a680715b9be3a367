package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/waybill/waybill/cmd/waybill/internal/client"
)

// document is one definition out of a file.
type document struct {
	where string // file, and which document of it
	kind  string // orchestration or activity
	typ   string
	body  json.RawMessage
}

func (d *document) key() string { return d.kind + "/" + d.typ }

// collection is where definitions of a kind stand in the HTTP interface.
func collection(kind string) string {
	if kind == "activity" {
		return "/v1/definitions/activities"
	}
	return "/v1/definitions/orchestrations"
}

func newApply(env *Env) *cobra.Command {
	var files []string
	cmd := asking(env, cobra.Command{
		Use: "apply -f FILE|DIR...", Short: "Put definitions in force",
		Long: `Put the definitions of files, or of all .yaml, .yml and .json files of directories, in force.

A file has one definition, or several separated by ---. What a definition defines is said by
"kind": OrchestrationDefinition or ActivityDefinition, else told by what is in it. What is in
force already is left alone, so applying twice changes nothing.`,
	}, cobra.ArbitraryArgs, func(ctx context.Context, r *remote, c *client.Client, args []string) error {
		docs, err := readDocuments(env, append(files, args...))
		if err != nil {
			return err
		}
		return r.apply(ctx, c, docs)
	})
	cmd.Flags().StringArrayVarP(&files, "filename", "f", nil, "file or directory, - for the standard input; repeatable")
	return cmd
}

// applied is what became of a document.
type applied struct {
	Kind     string `json:"kind"`
	Type     string `json:"type"`
	Version  int    `json:"version,omitempty"`
	Result   string `json:"result"` // created, changed, unchanged, pending or refused
	File     string `json:"file"`
	Error    string `json:"error,omitempty"`
	Mistakes any    `json:"errors,omitempty"`
}

// apply puts all documents, also after one was refused, and says of each what became of it.
func (r *remote) apply(ctx context.Context, c *client.Client, docs []document) error {
	results := make([]applied, 0, len(docs))
	var errs []error
	for i := range docs {
		a, err := r.put(ctx, c, &docs[i])
		var status *client.StatusError
		switch {
		case errors.As(err, &status) && statusCode(status.Status) == exitRefused:
			a.Result, a.Error, a.Mistakes = "refused", status.Detail, status.Errors
			errs = append(errs, fmt.Errorf("%s: %s: %w", docs[i].where, docs[i].key(), err))
		case err != nil:
			return fmt.Errorf("%s: %s: %w", docs[i].where, docs[i].key(), err)
		case !r.asJSON():
			fmt.Fprintf(r.env.Out, "%s %s%s\n", docs[i].key(), a.Result, versionOf(a))
		}
		results = append(results, a)
	}
	if r.asJSON() {
		errs = append(errs, r.printValue(results))
	}
	for _, err := range errs {
		if err != nil {
			fmt.Fprintln(r.env.Err, "waybill: "+oneLine(err.Error()))
		}
	}
	if errors.Join(errs...) != nil {
		return &exitError{code: exitRefused}
	}
	return nil
}

func versionOf(a applied) string {
	if a.Version == 0 {
		return ""
	}
	return fmt.Sprintf(" (version %d)", a.Version)
}

func (r *remote) put(ctx context.Context, c *client.Client, d *document) (applied, error) {
	a := applied{Kind: d.kind, Type: d.typ, File: d.where}
	path := collection(d.kind) + "/" + segment(d.typ)
	answer, err := write(ctx, c, http.MethodPut, path, d.body)
	if err != nil {
		return a, err
	}
	return a, decode(c, path, answer.Body, &a)
}

// readDocuments reads files; activity types come first, since orchestrations name them.
func readDocuments(env *Env, names []string) ([]document, error) {
	if len(names) == 0 {
		return nil, usagef("-f is needed: a file or a directory of definitions")
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
		return nil, usagef("-f %s: there is no definition in it", strings.Join(names, ", "))
	}
	slices.SortStableFunc(docs, func(a, b document) int { return strings.Compare(a.kind, b.kind) })
	return docs, unique(docs)
}

func readFileOr(in io.Reader, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(in)
	}
	return os.ReadFile(name)
}

// filesOf lists a directory's definition files in order of name; a file is itself.
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
		if err != nil || d.IsDir() {
			return err
		}
		switch strings.ToLower(filepath.Ext(path)) {
		case ".yaml", ".yml", ".json":
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		return nil, usagef("-f: %w", err)
	}
	return files, nil
}

// unique refuses two definitions of the same type: only one of them could be in force.
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

// splitYAML cuts at the lines that separate documents; --- at the beginning of a line is
// nothing else, wherever it stands.
func splitYAML(text []byte) [][]byte {
	var parts [][]byte
	var part []byte
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte("---")); ok && (len(bytes.TrimSpace(rest)) == 0 || rest[0] == ' ' || rest[0] == '\t') {
			parts, part = append(parts, part), bytes.Clone(rest)
			continue
		}
		part = append(part, line...)
	}
	parts = append(parts, part)
	return slices.DeleteFunc(parts, func(p []byte) bool { return len(bytes.TrimSpace(p)) == 0 })
}

func parseDocument(where string, body []byte) (document, error) {
	var o map[string]json.RawMessage
	if err := json.Unmarshal(body, &o); err != nil {
		return document{}, usagef("%s: a definition is an object", where)
	}
	d := document{where: where}
	var kind string
	for name, into := range map[string]*string{"kind": &kind, "type": &d.typ} {
		if raw, ok := o[name]; ok && json.Unmarshal(raw, into) != nil {
			return d, usagef("%s: %s is not a string", where, name)
		}
	}
	if d.typ == "" {
		return d, usagef("%s: the definition has no type", where)
	}
	if d.kind = kindOf(kind, o); d.kind == "" {
		return d, usagef("%s: cannot tell what %s is: say \"kind: OrchestrationDefinition\" or \"kind: ActivityDefinition\"", where, d.typ)
	}
	delete(o, "kind")
	var err error
	d.body, err = json.Marshal(o)
	return d, err
}

// kindOf goes by what the document says, else by what only one kind has.
func kindOf(kind string, o map[string]json.RawMessage) string {
	switch strings.ToLower(strings.TrimSuffix(kind, "Definition")) {
	case "orchestration":
		return "orchestration"
	case "activity":
		return "activity"
	case "":
	default:
		return ""
	}
	if _, ok := o["activities"]; ok {
		return "orchestration"
	}
	for _, name := range []string{"inputSchema", "outputSchema", "provider", "retry", "attemptTimeout", "heartbeatTimeout"} {
		if _, ok := o[name]; ok {
			return "activity"
		}
	}
	return ""
}
