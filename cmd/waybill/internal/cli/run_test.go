package cli_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waybill/waybill/cmd/waybill/internal/cli"
)

// runArgs are those of a run with a definition whose job ends as asked for.
func runArgs(t *testing.T, result string, more ...string) []string {
	t.Helper()
	dir := t.TempDir()
	definition := `{"type": "once", "activities": [{"id": "a", "type": "noop", "with": {"result": "{{input.result}}", "output": {"said": "hello"}}}], "output": ["a.said"]}`
	if err := os.WriteFile(filepath.Join(dir, "once.json"), []byte(definition), 0o600); err != nil {
		t.Fatal(err)
	}
	return append([]string{
		"run", "-f", dir, "--type", "once", "--id", "j-1", "--input", `{"result": "` + result + `"}`,
		"--data", filepath.Join(t.TempDir(), "data"), "--listen", "127.0.0.1:0", "--kafka-listen", "127.0.0.1:0", "--log-level", "error",
	}, more...)
}

func TestRunEndsAsTheJobDoes(t *testing.T) {
	for result, want := range map[string]struct {
		code int
		text string
	}{
		"complete": {0, `"said":"hello"`},
		"fatal":    {1, "ERROR"},
	} {
		var out, errs bytes.Buffer
		code := cli.Run(t.Context(), cli.Env{Out: &out, Err: &errs}, runArgs(t, result)...)
		if code != want.code || !strings.Contains(strings.ReplaceAll(out.String(), `": "`, `":"`), want.text) {
			t.Errorf("%s: exit %d, want %d with %s\n%s%s", result, code, want.code, want.text, &out, &errs)
		}
	}
}

func TestRunRefusesWhatItCannotRun(t *testing.T) {
	for name, args := range map[string][]string{
		"no type":                   {"run", "--data", t.TempDir()},
		"a type that is not there":  {"run", "--type", "nope", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--kafka-listen", "127.0.0.1:0"},
		"a file that is not there":  runArgs(t, "complete", "-f", "no-such-file"),
		"an input that is no JSON":  runArgs(t, "complete", "--input", "{"),
		"a certificate for nothing": runArgs(t, "complete", "--tls-cert", "a", "--tls-key", "b"),
	} {
		t.Run(name, func(t *testing.T) {
			var errs bytes.Buffer
			code := cli.Run(t.Context(), cli.Env{Err: &errs}, append(args, "--log-level", "error")...)
			if code != 2 && code != 4 || strings.Count(errs.String(), "\n") != 1 {
				t.Errorf("exit %d, want 2 or 4 and one line\n%s", code, &errs)
			}
		})
	}
}

// TestRunStaysUp ends a run with --keep only after the API has shown what became of the job.
func TestRunStaysUp(t *testing.T) {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	reader, writer := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- cli.Run(ctx, cli.Env{Err: writer}, runArgs(t, "fatal", "--keep", "--listen", address)...)
		_ = writer.Close() // never fails
	}()
	said := ""
	for lines := bufio.NewScanner(reader); !strings.Contains(said, "j-1 ended ERROR"); {
		if !lines.Scan() {
			t.Fatal("it has ended without saying how the job did:", said)
		}
		said += lines.Text() + "\n"
	}
	go func() { _, _ = io.Copy(io.Discard, reader) }() // until the writer is closed
	resp, err := http.Get("http://" + address + "/v1/jobs/j-1")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var job struct{ State string }
	if err := json.NewDecoder(resp.Body).Decode(&job); err != nil || job.State != "ERROR" {
		t.Errorf("the job is %q (%v), want ERROR", job.State, err)
	}
	stop()
	if got := <-code; got != 1 {
		t.Errorf("exit %d, want the job's 1", got)
	}
}
