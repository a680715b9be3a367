package cli_test

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/waybill/waybill/cmd/waybill/internal/app"
	"github.com/waybill/waybill/cmd/waybill/internal/cli"
)

// A ready-made agent in a process of its own carries out what the server is not configured for.
func TestAReadyMadeAgentJoinsByWayOfKafka(t *testing.T) {
	m := app.New(app.Config{Data: t.TempDir(), Listen: "127.0.0.1:0", KafkaListen: "127.0.0.1:0"})
	if err := m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	var said bytes.Buffer
	go func() {
		ended <- cli.Run(ctx, cli.Env{Err: &said}, "agent", "exec", "--brokers", strings.Join(m.Kafka().Brokers, ","), "--log-level", "warn",
			"--settings", `{exec: {programs: {greet: {path: /bin/sh, args: ["-c", "echo '{\"greeting\": \"hello '$1'\"}'", sh, "${input.name}"]}}}}`)
	}()
	do := func(in string, args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		if code := cli.Run(t.Context(), cli.Env{In: strings.NewReader(in), Out: &out, Err: &errs}, append(args, "--server", m.URL())...); code != 0 {
			t.Fatalf("%v: exit %d: %s", args, code, &errs)
		}
		return out.String()
	}
	do(`{"kind": "OrchestrationDefinition", "type": "greet", "activities": [{"id": "a", "type": "exec", "with": {"program": "greet", "name": "{{input.name}}"}}], "output": ["a.greeting"]}`,
		"apply", "-f", "-")
	out := do("", "submit", "--type", "greet", "--input", `{"name": "world"}`, "--wait", "-o", "json")
	if !strings.Contains(out, "hello world") {
		t.Errorf("it says %s", out)
	}
	stop()
	if code := <-ended; code != 0 {
		t.Errorf("exit %d: %s", code, &said)
	}
}

func TestAReadyMadeAgentSaysWhatIsMissing(t *testing.T) {
	for typ, c := range map[string]struct{ settings, want string }{
		"http":      {"{}", "list hosts under allow"},
		"exec":      {"{exec: {programs: {p: {path: sh}}}}", "is not absolute"},
		"terraform": {"{terraform: {modules: /does/not/exist, dir: /tmp, binary: /bin/true}}", "want the directory"},
		"kafka":     {"{kafka: {topics: [\"[\"]}}", "syntax error in pattern"},
	} {
		m := app.New(app.Config{Data: t.TempDir(), Listen: "127.0.0.1:0", KafkaListen: "127.0.0.1:0", Roles: []string{app.RoleMachines}})
		if err := m.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		var errs bytes.Buffer
		code := cli.Run(t.Context(), cli.Env{Err: &errs}, "agent", typ, "--brokers", strings.Join(m.Kafka().Brokers, ","), "--settings", c.settings)
		if code == 0 || !strings.Contains(errs.String(), c.want) {
			t.Errorf("%s: exit %d: %s", typ, code, &errs)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, args := range [][]string{{"agent"}, {"agent", "ftp"}, {"agent", "http", "--colour", "red"}, {"agent", "http", "--settings", "{exc: {}}", "--brokers", "127.0.0.1:1"}} {
		var errs bytes.Buffer
		if code := cli.Run(t.Context(), cli.Env{Err: &errs}, args...); code != 2 {
			t.Errorf("%v: exit %d: %s", args, code, &errs)
		}
	}
	var out bytes.Buffer
	if code := cli.Run(t.Context(), cli.Env{Out: &out}, "agent", "kafka", "--help"); code != 0 || !strings.Contains(out.String(), "WAYBILL_AGENT_LOG_LEVEL") {
		t.Errorf("exit %d: %s", code, &out)
	}
}
