package agents

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"unicode"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/partstree"
	"github.com/waybill/waybill/internal/files"
	"github.com/waybill/waybill/schemas"
)

// Aggregate joins the documents of a tree and writes the result to a file. Its input is
//
//   - documents: [{id, name, output: {value, order?}}], depth first; one without an
//     output, a tombstone, is left out
//   - destination: where below the results directory; absent means <job>.txt
//   - required: no value at all is a failure
//
// and its output {value, path, destination, size}: the joined values (left out where the
// output would be over 256 KiB), the absolute path of the file, the destination, and
// the bytes of the file. The file is there whole or not at all. Doing it twice writes
// the same again.
type Aggregate struct{ results string }

// NewAggregate makes an Aggregate that writes below the directory, which is created when
// it is needed.
func NewAggregate(results string) *Aggregate { return &Aggregate{results} }

type aggregateInput struct {
	Documents   []treeNode `json:"documents"`
	Destination string     `json:"destination"`
	Required    bool       `json:"required"`
}

type treeNode struct {
	ID     string          `json:"id"`
	Name   string          `json:"name"`
	Output json.RawMessage `json:"output"`
}

type aggregateOutput struct {
	Value       *string `json:"value,omitempty"`
	Path        string  `json:"path"`
	Destination string  `json:"destination"`
	Size        int     `json:"size"`
}

// Process implements agent.Processor.
func (g *Aggregate) Process(_ context.Context, a agent.Activity) agent.Result {
	var in aggregateInput
	if err := a.Input.Decode(&in); err != nil {
		return agent.Fatal(err).AtStep("input")
	}
	if !a.Input.Has("documents") {
		return agent.Fatal(errors.New("the input has no documents")).AtStep("input")
	}
	destination, err := destinationOf(in.Destination, a.JobID)
	if err != nil {
		return agent.Fatal(err).AtStep("destination")
	}
	outputs, err := outputsOf(in.Documents)
	if err != nil {
		return agent.Fatal(err).AtStep("join")
	}
	value := partstree.Join(outputs)
	if value == "" && in.Required {
		return agent.Fatal(errors.New("nothing was found: none of the documents has a value")).AtStep("join")
	}
	where, err := files.Write(g.results, destination, []byte(value))
	if err != nil {
		return unwritten(err)
	}
	return agent.Complete(outputFor(value, where, destination))
}

// destinationOf refuses, by name, what would lie elsewhere than it seems to.
func destinationOf(destination, job string) (string, error) {
	if destination == "" {
		return defaultDestination(job), nil
	}
	name := filepath.FromSlash(destination)
	switch {
	case path.IsAbs(destination) || filepath.IsAbs(name):
		return "", fmt.Errorf("the destination %q is absolute; it must be relative to the results directory", destination)
	case strings.Contains(destination, `\`) || strings.IndexFunc(destination, unicode.IsControl) >= 0:
		return "", fmt.Errorf("the destination %q has a backslash or a control character", destination)
	case strings.HasSuffix(destination, "/"):
		return "", fmt.Errorf("the destination %q is a directory; it must name a file", destination)
	}
	for _, segment := range strings.Split(destination, "/") {
		if segment == ".." || segment == "." || segment == "" {
			return "", fmt.Errorf("the destination %q has the path segment %q", destination, segment)
		}
	}
	if !filepath.IsLocal(name) {
		return "", fmt.Errorf("the destination %q is not below the results directory", destination)
	}
	return destination, nil
}

func defaultDestination(job string) string {
	return files.Name(job, machine.ID("result", job)) + ".txt"
}

func outputsOf(documents []treeNode) ([]partstree.Output, error) {
	outputs := make([]partstree.Output, 0, len(documents))
	for _, d := range documents {
		if len(d.Output) == 0 || string(d.Output) == "null" {
			continue
		}
		var o struct {
			Value *string  `json:"value"`
			Order *float64 `json:"order"`
		}
		if err := json.Unmarshal(d.Output, &o); err != nil {
			return nil, fmt.Errorf("the output of %s (%s) is not {value, order}: %w", d.Name, d.ID, err)
		}
		if o.Value == nil {
			return nil, fmt.Errorf("the output of %s (%s) has no value", d.Name, d.ID)
		}
		outputs = append(outputs, partstree.Output{Value: *o.Value, Order: o.Order})
	}
	return outputs, nil
}

// unwritten is fatal where the path is at fault, and passing otherwise: a disk that is
// full is made room on.
func unwritten(err error) agent.Result {
	err = fmt.Errorf("the result cannot be written: %w", err)
	for _, fault := range []error{
		fs.ErrPermission, fs.ErrExist, fs.ErrInvalid, syscall.EISDIR, syscall.ENOTDIR, syscall.ENAMETOOLONG, syscall.ELOOP, syscall.EROFS,
	} {
		if errors.Is(err, fault) {
			return agent.Fatal(err).AtStep("write")
		}
	}
	if strings.Contains(err.Error(), "path escapes from parent") { // os keeps its error to itself
		return agent.Fatal(err).AtStep("destination")
	}
	return agent.Retry(err).AtStep("write")
}

// outputFor leaves the value out where the output would be over the limit of a definition
// that sets none.
func outputFor(value, where, destination string) any {
	out := aggregateOutput{Value: &value, Path: where, Destination: destination, Size: len(value)}
	if len(value) <= orchestration.DefaultMaxOutputBytes {
		if raw, err := schemas.Encode(out); err == nil && len(raw) <= orchestration.DefaultMaxOutputBytes {
			return json.RawMessage(raw)
		}
	}
	out.Value = nil
	return out
}
