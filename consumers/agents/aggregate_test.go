package agents_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/agents"
)

const reference = `[
	{"id":"n1","name":"test-document-1","state":"COMPLETED","output":{"value":"The quick","order":1}},
	{"id":"n2","name":"test-document-2","state":"COMPLETED","output":{"value":"brown fox","order":2}},
	{"id":"n3","name":"test-document-3","state":"COMPLETED","output":{"value":"jumps over","order":3}},
	{"id":"n4","name":"test-document-4","state":"COMPLETED","output":{"value":"the lazy dog","order":4}}]`

type aggregated struct {
	Value       *string
	Path        string
	Destination string
	Size        int
}

func aggregate(t *testing.T, results, input string) (aggregated, agent.Result) {
	t.Helper()
	r := agents.NewAggregate(results).Process(t.Context(), activity(input))
	var out aggregated
	if r.Kind() == agent.Completed {
		if err := json.Unmarshal(r.Output(), &out); err != nil {
			t.Fatal(err)
		}
	}
	return out, r
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestATreeIsAggregated(t *testing.T) {
	results := filepath.Join(t.TempDir(), "not", "there", "yet")
	const sentence = "The quick brown fox jumps over the lazy dog"
	for range 2 { // twice is harmless
		out, r := aggregate(t, results, `{"documents":`+reference+`}`)
		if r.Err() != nil {
			t.Fatal(r.Err())
		}
		want := filepath.Join(results, "job-1.txt")
		if out.Value == nil || *out.Value != sentence || out.Size != 43 || out.Path != want || out.Destination != "job-1.txt" {
			t.Fatalf("got %s", r.Output())
		}
		if got := content(t, want); got != sentence {
			t.Fatalf("the file has %q", got)
		}
	}
	entries, err := os.ReadDir(results)
	if err != nil || len(entries) != 1 {
		t.Fatalf("something is left over: %v %v", entries, err)
	}
}

func TestAggregatingLeavesTombstonesOut(t *testing.T) {
	out, r := aggregate(t, t.TempDir(), `{"documents":[{"id":"a","state":"COMPLETED","output":{"value":"a"}},{"id":"b","state":"FAILED"},{"id":"c","output":null}]}`)
	if r.Err() != nil || *out.Value != "a" {
		t.Fatalf("got %s %v", r.Output(), r.Err())
	}
}

func TestADestination(t *testing.T) {
	for destination, want := range map[string]string{
		"a.txt": "a.txt", "a/b/c": "a/b/c", "..a": "..a", "ä b.txt": "ä b.txt",
		"/etc/passwd": "", "../a": "", "a/../../b": "", "a/..": "", ".": "", "./a": "", "a//b": "", "a/": "", `..\a`: "", "a\x00b": "", "a\nb": "",
		strings.Repeat("a", 300): "",
	} {
		results := t.TempDir()
		raw, err := json.Marshal(map[string]any{"documents": json.RawMessage(reference), "destination": destination})
		if err != nil {
			t.Fatal(err)
		}
		out, r := aggregate(t, results, string(raw))
		if want == "" {
			if r.Kind() != agent.Failed {
				t.Errorf("%q: %q %s", destination, r.Kind(), r.Output())
			}
			continue
		}
		if r.Err() != nil || out.Path != filepath.Join(results, want) {
			t.Errorf("%q: %s %v", destination, r.Output(), r.Err())
		}
	}
}

func TestAJobsNameIsNoPath(t *testing.T) {
	results := t.TempDir()
	for _, job := range []string{"../../x", "/etc/passwd", "..", ".hidden", "a/b", "", strings.Repeat("x", 500), "ä\x00"} {
		a := activity(`{"documents":` + reference + `}`)
		a.JobID = job
		r := agents.NewAggregate(results).Process(t.Context(), a)
		var out aggregated
		if err := json.Unmarshal(r.Output(), &out); err != nil {
			t.Errorf("%.20q: %v", job, r.Err())
			continue
		}
		if filepath.Dir(out.Path) != results || !strings.HasSuffix(out.Path, ".txt") {
			t.Errorf("%.20q: %s", job, out.Path)
		}
	}
}

func TestNoLinkLeadsOut(t *testing.T) {
	results, outside := t.TempDir(), t.TempDir()
	target := filepath.Join(outside, "precious")
	if err := os.WriteFile(target, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"dir": outside, "file": target} {
		if err := os.Symlink(to, filepath.Join(results, name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, r := aggregate(t, results, `{"documents":`+reference+`,"destination":"dir/precious"}`); r.Kind() != agent.Failed {
		t.Errorf("by a directory: %q %s", r.Kind(), r.Output())
	}
	// A link that is a file's name is replaced, not followed.
	if _, r := aggregate(t, results, `{"documents":`+reference+`,"destination":"file"}`); r.Kind() != agent.Completed {
		t.Errorf("by a file: %v", r.Err())
	}
	if got := content(t, target); got != "precious" {
		t.Errorf("it was overwritten: %q", got)
	}
}

func TestAResultThatIsTooLongForTheLog(t *testing.T) {
	long := strings.Repeat("x", 300<<10)
	out, r := aggregate(t, t.TempDir(), `{"documents":[{"id":"a","output":{"value":"`+long+`"}}]}`)
	if r.Err() != nil || out.Value != nil || out.Size != len(long) || content(t, out.Path) != long {
		t.Fatalf("got %.100s %v", r.Output(), r.Err())
	}
}

func TestAggregatingSaysWhatIsWrong(t *testing.T) {
	results := t.TempDir()
	if err := os.MkdirAll(filepath.Join(results, "taken", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	for input, want := range map[string]string{
		`{}`:               "input: the input has no documents",
		`{"documents":{}}`: "input: input:",
		`{"documents":[{"id":"n1","name":"one","output":{"order":1}}]}`: "join: the output of one (n1) has no value",
		`{"documents":[{"id":"n1","name":"one","output":"x"}]}`:         "join: the output of one (n1) is not {value, order}",
		`{"documents":[],"destination":"taken"}`:                        "write: the result cannot be written",
		`{"documents":[],"destination":"job.txt/x"}`:                    "",
	} {
		_, r := aggregate(t, results, input)
		if want == "" {
			if r.Kind() != agent.Completed {
				t.Errorf("%s: %v", input, r.Err())
			}
			continue
		}
		if r.Kind() != agent.Failed || !strings.HasPrefix(r.Err().Error(), want) {
			t.Errorf("%s: %q %v, want %q", input, r.Kind(), r.Err(), want)
		}
	}
	entries, err := os.ReadDir(results)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".tmp") {
			t.Errorf("%s is left over", e.Name())
		}
	}
}

func TestTheBuiltInAgentsAreRegistered(t *testing.T) {
	pool := agent.NewPool(nil)
	if err := agents.Register(pool, agents.Config{Results: t.TempDir(), Allow: []string{"provider1:8181"}}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(pool.Types(), " "); got != "aggregate callback noop registry-lookup" {
		t.Fatalf("got %s", got)
	}
	if err := agents.Register(pool, agents.Config{Allow: []string{"a b"}}); err == nil {
		t.Fatal("a broken allow list is taken")
	}
}

// The largest tree of the reference has 37,449 documents.
func BenchmarkAggregate(b *testing.B) {
	documents := []byte(`{"documents":[`)
	for i := range 37_449 {
		if i > 0 {
			documents = append(documents, ',')
		}
		documents = fmt.Appendf(documents, `{"id":"n-%016x","name":"document-%d at http://provider2:8181","state":"COMPLETED","output":{"value":"word","order":%d}}`, i, i, i)
	}
	documents = append(documents, "]}"...)
	g := agents.NewAggregate(b.TempDir())
	for b.Loop() {
		if r := g.Process(b.Context(), activity(string(documents))); r.Err() != nil {
			b.Fatal(r.Err())
		}
	}
}
