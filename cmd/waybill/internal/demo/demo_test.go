package demo_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waybill/waybill/cmd/waybill/internal/app"
	"github.com/waybill/waybill/cmd/waybill/internal/demo"
	"github.com/waybill/waybill/domain/orchestration"
)

const sentence = "The quick brown fox jumps over the lazy dog"

// run runs the demo below a temporary directory of the test's, and returns what it prints.
func run(t *testing.T, o demo.Options) (out, dir string, err error) {
	t.Helper()
	dir = t.TempDir()
	t.Setenv("TMPDIR", dir)
	var b strings.Builder
	o.Out = &b
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err = demo.Run(ctx, o)
	return b.String(), dir, err
}

func want(t *testing.T, out string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(out, text) {
			t.Errorf("it does not say %q:\n%s", text, out)
		}
	}
}

func TestDemo(t *testing.T) {
	out, dir, err := run(t, demo.Options{Program: "waybill"})
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want(t, out, "\n  "+sentence+"\n", "test-document-4 at provider2     WAITING → COMPLETED", "orchestration.completed.v1", "waybill demo --keep")

	t.Run("each document is negotiated once, however many jobs want it", func(t *testing.T) {
		want(t, out, "4 catalog requests, 4 negotiations, 4 documents", "4 catalog requests, 4 negotiations, 8 documents")
		if n := len(regexp.MustCompile(`provider2 +test-document-4 +FINALIZED +agreement [0-9a-f-]{36} +EDR GRANTED`).FindAllString(out, -1)); n != 2 {
			t.Errorf("it shows the negotiation of test-document-4 %d times:\n%s", n, out)
		}
	})
	t.Run("the results lie where it says", func(t *testing.T) { results(t, out, dir, 2) })
}

func TestPlainProviders(t *testing.T) {
	out, dir, err := run(t, demo.Options{Plain: true})
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want(t, out, "\n  "+sentence+"\n", "test-document-4 at provider2     WAITING → COMPLETED")
	if strings.Contains(out, "negotiation") {
		t.Error("nothing is to be negotiated:\n" + out)
	}
	t.Run("the result lies where it says, and nothing else is left", func(t *testing.T) { results(t, out, dir, 1) })
}

// results finds the files that are named, and no others.
func results(t *testing.T, out, dir string, n int) {
	t.Helper()
	named := regexp.MustCompile(`result file: (.*) \(43 bytes\)`).FindAllStringSubmatch(out, -1)
	for _, m := range named {
		if b, err := os.ReadFile(m[1]); err != nil || string(b) != sentence {
			t.Errorf("%q, %v", b, err)
		}
	}
	var left []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			left = append(left, path)
		}
		return err
	})
	if err != nil || len(left) != n || len(named) != n {
		t.Errorf("%d named, left are %q, %v", len(named), left, err)
	}
}

func TestABrokenProvider(t *testing.T) {
	for name, test := range map[string]struct {
		plain   bool
		message string
		asked   string
	}{
		"behind a connector": {false, "test-document-1 at provider1: fetch: GET http://127.0.0.1:", "provider1 6, provider2 0, provider3 0"}, // a catalog, a contract
		"plain":              {true, "test-document-1 at provider1: fetch: GET http://127.0.0.1:", "provider1 4, provider2 0, provider3 0"},
	} {
		t.Run("ends the job in error, which says node, step and attempts: "+name, func(t *testing.T) {
			out, dir, err := run(t, demo.Options{Fail: "provider1", Plain: test.plain})
			var failed *demo.JobError
			if !errors.As(err, &failed) || failed.State != orchestration.PhaseError {
				t.Fatalf("%v\n%s", err, out)
			}
			want(t, err.Error(), test.message, "503", "4 attempts")
			want(t, out, "orchestration.failed.v1", test.asked)
			if strings.Contains(out, "result file") {
				t.Error("it names a result file:\n" + out)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("it leaves %v, %v", left, err)
			}
		})
	}
	t.Run("leaves a gap where that is allowed", func(t *testing.T) {
		out, _, err := run(t, demo.Options{Fail: "provider2", Partial: true})
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		want(t, out, "\n  The quick jumps over\n", "missing (--partial): test-document-2 at provider2", "missing (--partial): test-document-4 at provider2")
	})
	t.Run("must be one of the three", func(t *testing.T) {
		var usage *app.UsageError
		if _, _, err := run(t, demo.Options{Fail: "provider4"}); !errors.As(err, &usage) {
			t.Error(err)
		}
	})
}

func TestKeep(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	out := &until{text: "until Ctrl-C", seen: interrupt}
	if err := demo.Run(ctx, demo.Options{Keep: true, Terminal: true, Out: out}); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want(t, out.String(), sentence, "waybill get demo --server http://127.0.0.1:", "5 of 5 done", "The data stays in ")
}

// until is an output that tells when a text has come.
type until struct {
	mu   sync.Mutex
	b    strings.Builder
	text string
	seen func()
}

func (u *until) Write(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	n, err := u.b.Write(p)
	if strings.Contains(u.b.String(), u.text) {
		u.seen()
	}
	return n, err
}

func (u *until) String() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.b.String()
}
