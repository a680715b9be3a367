package cli_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/waybill/waybill/cmd/waybill/internal/app"
	"github.com/waybill/waybill/cmd/waybill/internal/cli"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the transcripts in testdata with what happens")

// TestTranscripts runs the commands of testdata/*.txt, as a user would type them, against
// a server that answers what testdata/server.json says, and compares what is printed:
// first to the output, then, with "!" in front, to the error output, then the exit code
// where it is not 0.
func TestTranscripts(t *testing.T) {
	fake := fakeServer(t)
	transcripts(t, "testdata/*.txt", func(*testing.T) string { return fake })
}

// TestLiveTranscripts runs those of testdata/live, each against a server of its own. Whatever
// is printed follows from what is asked, ids included.
func TestLiveTranscripts(t *testing.T) {
	transcripts(t, "testdata/live/*.txt", serve)
}

func transcripts(t *testing.T, pattern string, server func(*testing.T) string) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := replay(t, string(want), server(t))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("%s is another one now (go test -rewrite takes it over):\n%s", file, got)
			}
		})
	}
}

// replay runs the commands of a transcript and returns it with what they print now.
func replay(t *testing.T, transcript, server string) string {
	t.Helper()
	closed := closedAddress(t)
	data := filepath.Join(t.TempDir(), "data")
	places := strings.NewReplacer("CLOSED", closed, "DATA", data)
	back := strings.NewReplacer(closed, "CLOSED", data, "DATA")
	var b strings.Builder
	for line := range strings.Lines(transcript) {
		if strings.HasPrefix(line, "#") {
			b.WriteString(line + "\n")
			continue
		}
		command, ok := strings.CutPrefix(line, "$ waybill ")
		if !ok {
			continue
		}
		b.WriteString(line)
		var out, errs bytes.Buffer
		code := cli.Run(t.Context(), cli.Env{
			In: strings.NewReader(`{"from": "stdin"}`), Out: &out, Err: &errs,
			Getenv: func(name string) (string, bool) {
				if name == "WAYBILL_SERVER" {
					return server, true
				}
				return "", false
			},
		}, words(places.Replace(strings.TrimSpace(command)))...)
		b.WriteString(back.Replace(out.String()))
		for e := range strings.Lines(back.Replace(errs.String())) {
			b.WriteString("! " + e)
		}
		if code != 0 {
			fmt.Fprintf(&b, "exit %d\n", code)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// words splits a command as a shell would, as far as single quotes go.
func words(s string) []string {
	var l []string
	for i, part := range strings.Split(s, "'") {
		if i%2 == 1 {
			l = append(l, part)
		} else {
			l = append(l, strings.Fields(part)...)
		}
	}
	return l
}

// closedAddress is one where nobody listens.
func closedAddress(t *testing.T) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	return ln.Addr().String()
}

// fakeServer answers "METHOD /path?query" with what testdata/server.json has for it: a
// status and a body, or a list of server-sent events.
func fakeServer(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile("testdata/server.json")
	if err != nil {
		t.Fatal(err)
	}
	var answers map[string]struct {
		Status int             `json:"status"`
		Body   json.RawMessage `json:"body"`
		Events []string        `json:"events"`
		Want   json.RawMessage `json:"want"` // the body of the request
	}
	if err := json.Unmarshal(raw, &answers); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := r.Method + " " + r.URL.RequestURI()
		a, ok := answers[name]
		if !ok {
			w.WriteHeader(http.StatusTeapot)
			fmt.Fprintf(w, `{"title":"nobody expected","status":418,"detail":%q}`, name)
			return
		}
		if body, err := io.ReadAll(r.Body); a.Want != nil && (err != nil || compact(t, body) != compact(t, a.Want)) {
			t.Errorf("%s was sent %s, want %s", name, body, a.Want)
		}
		if a.Status == 0 {
			a.Status = http.StatusOK
		}
		w.WriteHeader(a.Status)
		w.Write(a.Body)
		for _, e := range a.Events {
			name, data, _ := strings.Cut(e, " ")
			fmt.Fprintf(w, "event: %s\ndata: %s\n\n", name, data)
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func compact(t *testing.T, raw []byte) string {
	t.Helper()
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Errorf("%s: %v", raw, err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Error(err)
	}
	return string(out)
}

func TestSettingsComeFromFlagsThenEnvironmentThenFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "waybill.yaml")
	text := "listen: 127.0.0.1:1\ndata: of-file\nprefix: of-file\nshards: 3\nfsync: true\nallow: [file:1]\n" +
		"agents: {secrets: {a: {env: A, hosts: [h]}}, exec: {programs: {p: {path: /bin/sh, env: {B: b, C: {file: c}}, exitCodes: {\"3\": retry}}}}}\n" +
		"connectors: [{name: consumer, adapter: edc, match: ['http://localhost:*/protocol'], managementUrl: 'http://localhost:1/management', apiKey: {file: k}, poll: {first: PT0.1S}}]\n" +
		"participants: {'http://localhost:2/protocol': provider2}\n" +
		"provisioners: [{type: depot, adapter: http, endpoint: \"http://depot/provision\"}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"WAYBILL_DATA": "of-env", "WAYBILL_PREFIX": "of-env", "WAYBILL_ROLES": "machines, agents"}
	var out, errs bytes.Buffer
	code := cli.Run(t.Context(), cli.Env{
		Out: &out, Err: &errs, Getenv: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
	}, "serve", "--print-config", "--config", file, "--prefix", "of-flag", "--allow", "flag:1")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, &errs)
	}
	for _, want := range []string{
		"listen: 127.0.0.1:1", "data: of-env", "prefix: of-flag", "shards: 3", "fsync: true",
		"allow:\n- file:1\n- flag:1", "roles:\n- machines\n- agents\n", "kafkaListen: 127.0.0.1:9092",
		"name: consumer", "apiKey:\n    file: k\n", "first: PT0.1S", "http://localhost:2/protocol: provider2", "path: /bin/sh", "C:\n            file: c\n", "hosts:\n      - h\n", "endpoint: http://depot/provision\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, &out)
		}
	}
	// What it prints is a configuration file.
	if err := os.WriteFile(file, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	if code := cli.Run(t.Context(), cli.Env{Out: &again, Err: &errs}, "serve", "--print-config", "--config", file); code != 0 || again.String() != out.String() {
		t.Errorf("exit %d: %s\nprinted again: %s", code, &errs, &again)
	}
}

func TestAMistakeInAFileNamesFileAndSetting(t *testing.T) {
	for text, want := range map[string]string{
		"shards: many\n":       "shards",
		"colour: red\n":        `no setting "colour"`,
		"listen: [a, b]\n":     "want one value",
		"listen: {a: b}\n":     "want a value",
		"listen: a\nlisten: b": "listen",
		"agents: {exc: {}}\n":  `unknown field "exc"`,
		"agents: {exec: {programs: {p: {env: {A: {fil: x}}}}}}\n":                          `unknown field "fil"`,
		"provisioners: [{type: a, adapter: ftp}]\n":                                        `provisioners[0] (a): adapter "ftp"`,
		"provisioners: [{type: a, adaptor: s3}]\n":                                         `unknown field "adaptor"`,
		"connectors: [{name: a, adapter: edc, match: ['*']}]\n":                            "connectors[0] (a): managementUrl is missing",
		"connectors: [{name: a, adapter: edc, match: ['*'], apiKey: s3cret-key-value}]\n":  "apiKey",
		"connectors: [{name: a, adapter: http, match: ['*'], managmentUrl: 'http://a'}]\n": `unknown field "managmentUrl"`,
		"connectors: [{name: a, adapter: http, match: ['*'], timeout: soon}]\n":            `connectors[0].timeout: duration "soon"`,
		"connectors: [{}, {ttl: {edr: soon}}]\n":                                           `connectors[1].ttl.edr: duration "soon"`,
		"connectors: [1]\n":                                                                "connectors[0]: ",
		"connectors: [{ttl: {edr: soon, agreement: soon}}, {ttl: {edr: soon}}]\n":          `connectors: duration "soon"`,
		"provisioners: [{type: a, adaptor: s4}]\nagents: {exc: {}}\n":                      "unknown field",
		"\t": "yaml",
	} {
		file := filepath.Join(t.TempDir(), "waybill.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var errs bytes.Buffer
		code := cli.Run(t.Context(), cli.Env{Err: &errs}, "serve", "--config", file)
		if code != 2 || !strings.Contains(errs.String(), file) || !strings.Contains(errs.String(), want) || strings.Count(errs.String(), "\n") != 1 {
			t.Errorf("%q: exit %d: %s", text, code, &errs)
		}
	}
}

func TestAPortInUseIsOneLineThatNamesTheFlag(t *testing.T) {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() }) // it has served its purpose
	for _, flag := range []string{"--listen", "--kafka-listen"} {
		args := []string{"serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--kafka-listen", "127.0.0.1:0", "--log-level", "error"}
		var errs bytes.Buffer
		code := cli.Run(t.Context(), cli.Env{Err: &errs}, append(args, flag, ln.Addr().String())...)
		if s := errs.String(); code != 2 || strings.Count(s, "\n") != 1 || !strings.Contains(s, flag+" ") || !strings.Contains(s, ln.Addr().String()) {
			t.Errorf("exit %d: %s", code, s)
		}
	}
}

func TestWaitingForAJobOutlastsARestartOfTheServer(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusCreated)
			fmt.Fprint(w, `{"id": "j", "commandId": "c", "position": "orchestration/0/1"}`)
			return
		}
		if asked++; asked == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, `{"title": "Service Unavailable", "status": 503, "detail": "the server is stopping"}`)
			return
		}
		fmt.Fprint(w, `{"id": "j", "type": "t", "state": "COMPLETED", "code": 800}`)
	}))
	defer server.Close()
	var errs bytes.Buffer
	if code := cli.Run(t.Context(), cli.Env{Err: &errs}, "submit", "--type", "t", "--wait", "--server", server.URL); code != 0 || asked != 2 {
		t.Errorf("exit %d after %d answers: %s", code, asked, &errs)
	}
}

// Of several who apply the same at once one deploys, and the others find it deployed.
func TestApplyingAtOnceDeploysOnce(t *testing.T) {
	url := serve(t)
	run := func(args ...string) (int, string) {
		var out bytes.Buffer
		return cli.Run(t.Context(), cli.Env{Out: &out, Err: &out}, append(args, "--server", url)...), out.String()
	}
	hello := "testdata/gitops/first/hello.json"
	if code, out := run("apply", "-f", "testdata/gitops/first/greet.yaml"); code != 0 {
		t.Fatal(out)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { run("apply", "-f", hello) })
	}
	all.Wait()
	code, out := run("list", "--name", "hello", "-o", "json")
	var jobs []json.RawMessage
	if err := json.Unmarshal([]byte(out), &jobs); code != 0 || err != nil || len(jobs) != 1 {
		t.Errorf("exit %d, %v: %s", code, err, out)
	}
}

// A volume of Kubernetes has its files below a hidden directory, and links to them.
func TestHiddenFilesAreNotApplied(t *testing.T) {
	dir := t.TempDir()
	text, err := os.ReadFile("testdata/definitions/greet.yaml")
	if err != nil {
		t.Fatal(err)
	}
	hidden := filepath.Join(dir, "..2026_01_02")
	err = errors.Join(
		os.Mkdir(hidden, 0o700), os.WriteFile(filepath.Join(hidden, "greet.yaml"), text, 0o600),
		os.Symlink(hidden, filepath.Join(dir, "..data")), os.Symlink("..data/greet.yaml", filepath.Join(dir, "greet.yaml")),
		os.WriteFile(filepath.Join(dir, ".draft.yaml"), []byte("neither: this"), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	code := cli.Run(t.Context(), cli.Env{Out: &out, Err: &errs}, "apply", "-f", dir, "--server", fakeServer(t))
	if code != 0 || strings.Count(out.String(), "\n") != 2 {
		t.Errorf("exit %d: %s%s", code, &out, &errs)
	}
}

func TestNoDocumentOfAFileIsLost(t *testing.T) {
	url, file := serve(t), filepath.Join(t.TempDir(), "all.yaml")
	text := `%YAML 1.1
# the first
%TAG ! !
---
{"kind": "OrchestrationDefinition", "type": "exact", "activities": [{"id": "a", "type": "noop"}]}
...
{"kind": "Orchestration", "name": "one", "type": "exact", "input": {"n": 12345678901234567890123}}
...
--- # another
kind: Orchestration
name: two
type: exact
input:
  text: |
    %this is text
    ... and so is this
    --- and this
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	code := cli.Run(t.Context(), cli.Env{Out: &out, Err: &errs}, "apply", "-f", file, "--wait", "--server", url)
	for _, want := range []string{"orchestration/exact created", "job/one deployed", "job/two deployed"} {
		if code != 0 || !strings.Contains(out.String(), want) {
			t.Errorf("exit %d, want %s: %s%s", code, want, &out, &errs)
		}
	}
	_, id, _ := strings.Cut(out.String(), "job/one deployed (new): job ")
	id, _, _ = strings.Cut(id, "\n")
	out.Reset()
	code = cli.Run(t.Context(), cli.Env{Out: &out, Err: &errs}, "get", id, "-o", "json", "--server", url)
	if code != 0 || !strings.Contains(out.String(), "12345678901234567890123") {
		t.Errorf("exit %d: its input is %s%s", code, &out, &errs)
	}
}

func TestFilesThatNeverEndAreNotApplied(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(os.DevNull, filepath.Join(dir, "device.yaml")); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	code := cli.Run(t.Context(), cli.Env{Out: &out, Err: &errs}, "apply", "-f", dir, "--server", fakeServer(t))
	if code != 2 || !strings.Contains(errs.String(), "device.yaml is not a regular file") {
		t.Errorf("exit %d: %s%s", code, &out, &errs)
	}
}

// While a deployment is under way, a changed document waits for its end where it was told to.
func TestAChangedDocumentWaitsForTheDeploymentBefore(t *testing.T) {
	url := serve(t)
	run := func(args ...string) (int, string) {
		var out bytes.Buffer
		return cli.Run(t.Context(), cli.Env{Out: &out, Err: &out}, append(args, "--server", url)...), out.String()
	}
	if code, out := run("apply", "-f", "testdata/gitops/slow.yaml"); code != 0 {
		t.Fatal(out)
	}
	ended := make(chan string)
	go func() {
		code, out := run("apply", "-f", "testdata/gitops/slower.yaml", "--wait")
		ended <- fmt.Sprintf("exit %d: %s", code, out)
	}()
	first := "58382d1c-c4e8-57e3-8440-b123c2f1e1bb"
	if code, out := run("cancel", first); code != 0 {
		t.Fatal(out)
	}
	if out := <-ended; !strings.Contains(out, "exit 0") || !strings.Contains(out, "job/waiting deployed (changed)") || !strings.Contains(out, "ended COMPLETED") {
		t.Error(out)
	}
}

// serve runs a server for a test.
func serve(t *testing.T) string {
	t.Helper()
	m := app.New(app.Config{Data: t.TempDir(), Listen: "127.0.0.1:0", KafkaListen: "127.0.0.1:0"})
	if err := m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m.URL()
}

func TestALargeInputIsDeployedOnce(t *testing.T) {
	url := serve(t)
	file := filepath.Join(t.TempDir(), "large.yaml")
	text := "kind: OrchestrationDefinition\ntype: large\nactivities: [{id: a, type: noop}]\n---\nkind: Orchestration\nname: large\ntype: large\ninput: {small: <1>, large: \"" + strings.Repeat("<&>", 200_000) + "\"}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"job/large deployed (new)", "job/large unchanged"} {
		var out, errs bytes.Buffer
		code := cli.Run(t.Context(), cli.Env{Out: &out, Err: &errs}, "apply", "-f", file, "--wait", "--server", url)
		if code != 0 || !strings.Contains(out.String(), want) {
			t.Fatalf("exit %d, want %s: %s%s", code, want, &out, &errs)
		}
	}
}
