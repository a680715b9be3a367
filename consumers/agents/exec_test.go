package agents_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/consumers/agents"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/internal/callbacks"
)

// script is a program of one line for the shell.
func script(line string, args ...string) agents.Program {
	return agents.Program{Path: "/bin/sh", Args: append([]string{"-c", line, "script"}, args...), Env: map[string]agents.EnvValue{"PATH": {Text: os.Getenv("PATH")}}}
}

func execute(t *testing.T, p agents.Program, input string, change ...func(*agent.Activity)) agent.Result {
	t.Helper()
	store, err := secret.NewStore(secret.Config{Getenv: func(string) (string, bool) { return token, true }})
	if err != nil {
		t.Fatal(err)
	}
	e, err := agents.NewExec(agents.ExecConfig{
		Programs: map[string]agents.Program{"p": p}, Secrets: store, Callbacks: callbacks.New([]byte("key")).At("http://waybill"),
	})
	if err != nil {
		t.Fatal(err)
	}
	a := activity(input)
	for _, c := range change {
		c(&a)
	}
	return e.Process(t.Context(), a)
}

func TestExecHandsInputInAndOutputOut(t *testing.T) {
	t.Setenv("WAYBILL_TEST_OURS", "not for others")
	out := completed(t, execute(t, script("cat"), `{"program": "p", "b": [1, 12345678901234567890], "a": {"$(touch /tmp/x)": "; rm -rf /"}}`))
	if string(out) != `{"a":{"$(touch /tmp/x)":"; rm -rf /"},"b":[1,12345678901234567890]}` {
		t.Errorf("the output is %s", out)
	}
	tells := script("env")
	tells.Output = "text"
	env := completed(t, execute(t, tells, `{"program": "p"}`,
		func(a *agent.Activity) {
			a.Discriminator, a.Resource, a.State = "deploy", "tenant-1", json.RawMessage(`{"n":1}`)
		}))
	var text string
	if err := json.Unmarshal([]byte(path(t, env, "text")), &text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"WORK_ID=work-1", "ATTEMPT=1", "JOB_ID=job-1", "ACTIVITY_ID=a", "DISCRIMINATOR=deploy", "RESOURCE=tenant-1", `STATE={"n":1}`, "CALLBACK_URL=http://waybill/callbacks/work/work-1/[callback]"} {
		if !strings.Contains("\n"+text, "\nWAYBILL_"+want+"\n") {
			t.Errorf("no %s in %s", want, text)
		}
	}
	if strings.Contains(string(env), "TEST_OURS") {
		t.Errorf("what we have is handed on: %s", env)
	}
	if out := completed(t, execute(t, script("true"), `{"program": "p"}`)); len(out) != 0 {
		t.Errorf("nothing written is %s", out)
	}
	dir := t.TempDir()
	p := script("pwd")
	p.Dir, p.Output = dir, "text"
	if out := completed(t, execute(t, p, `{"program": "p"}`)); path(t, out, "text") != `"`+dir+`\n"` {
		t.Errorf("it runs in %s", out)
	}
}

func TestExecTakesArgumentsFromTheInputWhereThatIsConfigured(t *testing.T) {
	p := script(`printf '%s|' "$@"`, "--size=${input.size}", "${input.name}", "$HOME", "${input.a.0}")
	p.Output = "text"
	if out := completed(t, execute(t, p, `{"program": "p", "size": 3, "name": "a b; c", "a": ["$(id)"]}`)); path(t, out, "text") != `"--size=3|a b; c|$HOME|$(id)|"` {
		t.Errorf("it is called with %s", out)
	}
}

func TestExecResults(t *testing.T) {
	for _, c := range []struct {
		line, want string
		kind       agent.Kind
		after      time.Duration
		state      string
	}{
		{"echo bad >&2; exit 1", "run: program p: it ends with exit code 1: bad", agent.Failed, 0, ""},
		{"echo busy >&2; exit 75", "run: program p: it ends with exit code 75: busy", agent.Retrying, 0, ""},
		{`echo '{"after": "PT3S", "state": {"n": 2}}'; exit 75`, "75", agent.Retrying, 3 * time.Second, `{"n": 2}`},
		{`echo '{"after": "1h"}'; exit 79`, "", agent.Waiting, time.Hour, ""},
		{`echo '{"after": "PT3S", "state": {"n": 2}}'; exit 80`, "", agent.Scheduled, 3 * time.Second, `{"n": 2}`},
		{"exit 80", "", agent.Scheduled, agents.DefaultEvery, ""},
		{"exit 7", "", agent.Waiting, 0, ""},
		{"exit 8", "exit code 8", agent.Failed, 0, ""},
		{"kill -9 $$", "run: program p: it was killed by a signal", agent.Retrying, 0, ""},
		{"echo '<html>'", "output: program p: its output is not JSON", agent.Failed, 0, ""},
		{"printf '[%070d' 0 | tr 0 '['; echo", "output: program p: its output is not JSON", agent.Failed, 0, ""},
		{"head -c 2000 /dev/zero", "output: program p: it writes more than the limit of 1000 bytes", agent.Failed, 0, ""},
		{"head -c 9000 /dev/zero | tr '\\0' x >&2; printf '\\377end' >&2; exit 1", "\uFFFDend", agent.Failed, 0, ""},
		{"sleep 60", "not done within the timeout of 100ms", agent.Retrying, 0, ""},
		{"exec /does/not/exist", "exit code 127", agent.Failed, 0, ""},
	} {
		p := script(c.line)
		p.OutputBytes = 1000
		if strings.HasPrefix(c.line, "sleep") {
			p.Timeout = definition.Duration(100 * time.Millisecond)
		}
		p.ExitCodes = map[string]agent.Kind{"7": agent.Waiting, "8": "fatal"}
		r := execute(t, p, `{"program": "p"}`)
		if r.Kind() != c.kind || r.Wants() != c.after || string(r.State()) != c.state {
			t.Errorf("%s: it is %s after %s with %s: %v", c.line, r.Kind(), r.Wants(), r.State(), r.Err())
		}
		if c.want != "" && (r.Err() == nil || !strings.Contains(r.Err().Error(), c.want)) {
			t.Errorf("%s: %v, want %s", c.line, r.Err(), c.want)
		}
	}
	failed(t, execute(t, script("true"), `{"program": "q"}`), agent.Failed, `no program "q"`)
	failed(t, execute(t, script("true"), `{}`), agent.Failed, "has no program")
	failed(t, execute(t, script("true", "${input.x}"), `{"program": "p"}`), agent.Failed, "there is no x")
	failed(t, execute(t, script("true", "${input.x}"), `{"program": "p", "x": {}}`), agent.Failed, "argument")
	failed(t, execute(t, script("true", "${input.x}"), `{"program": "p", "x": "-f"}`), agent.Failed, "would be an option")
	failed(t, execute(t, script("true", "${input.x}"), `{"program": "p", "x": "a\u0000"}`), agent.Failed, "NUL")
	undo := func(a *agent.Activity) { a.Discriminator = "dispose" }
	failed(t, execute(t, script("true"), `{"program": "p"}`, undo), agent.Failed, "cannot undo")
	undoes := script(`echo "\"$WAYBILL_DISCRIMINATOR\""`)
	undoes.Disposes = true
	if out := completed(t, execute(t, undoes, `{"program": "p"}`, undo)); string(out) != `"dispose"` {
		t.Errorf("it is told %s", out)
	}
	gone := script("true")
	gone.Dir = "/does/not/exist"
	failed(t, execute(t, gone, `{"program": "p"}`), agent.Failed, "cannot be started")
}

// appears says whether a file is there within a time.
func appears(file string, within time.Duration) bool {
	limit, look := time.After(within), time.NewTicker(5*time.Millisecond)
	defer look.Stop()
	for {
		if _, err := os.Stat(file); err == nil {
			return true
		}
		select {
		case <-limit:
			return false
		case <-look.C:
		}
	}
}

func TestExecEndsWhatNobodyWantsAnyMore(t *testing.T) {
	for name, line := range map[string]string{
		"it ends when told to": `trap 'echo told > told; exit 0' TERM; echo x > ready; while :; do sleep 0.05; done`,
		"it does not listen":   `trap '' TERM; (trap '' TERM; while :; do date > alive; sleep 0.02; done) & echo x > ready; while :; do sleep 0.05; done`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			p := script(line)
			p.Dir, p.Grace = dir, definition.Duration(300*time.Millisecond)
			e, err := agents.NewExec(agents.ExecConfig{Programs: map[string]agents.Program{"p": p}})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() {
				appears(filepath.Join(dir, "ready"), time.Minute)
				cancel(errors.New("nobody wants it"))
			}()
			failed(t, e.Process(ctx, activity(`{"program": "p"}`)), agent.Retrying, "nobody wants it")
			_, err = os.Stat(filepath.Join(dir, "told"))
			if told := err == nil; told != strings.HasSuffix(name, "told to") {
				t.Errorf("told: %v", told)
			}
			// What it had started is gone as well: nobody writes any more.
			if err := os.Remove(filepath.Join(dir, "alive")); err == nil {
				if appears(filepath.Join(dir, "alive"), 200*time.Millisecond) {
					t.Fatal("what it started is still alive")
				}
			}
		})
	}
}

func TestExecKeepsSecrets(t *testing.T) {
	p := script(`echo "$KEY" >&2; printf '{"key": "%s"}' "$(printf %s "$KEY" | sed 's/"/\\"/g')"; exit $CODE`)
	p.Env["KEY"] = agents.EnvValue{Secret: secret.Ref{Env: "X"}}
	for _, code := range []string{"0", "1", "75"} {
		p.Env["CODE"] = agents.EnvValue{Text: code}
		r := execute(t, p, `{"program": "p"}`)
		told := string(r.Output())
		if r.Err() != nil {
			told = r.Err().Error()
		}
		if strings.Contains(told, "s3cr3t") || !strings.Contains(told, "[secret KEY]") {
			t.Errorf("exit code %s tells %s", code, told)
		}
	}
}

// Only the end of a long error output is shown, and where it begins is not up to us.
func TestExecKeepsTheRestOfASecretThatWasCut(t *testing.T) {
	const shown = 4 << 10
	for cut := 1; cut < len(token); cut++ {
		p := script(`printf '%s' "$KEY" >&2; printf '%*s' $WIDTH end >&2; exit 1`)
		p.Env["KEY"] = agents.EnvValue{Secret: secret.Ref{Env: "K"}}
		p.Env["WIDTH"] = agents.EnvValue{Text: strconv.Itoa(shown - len(token) + cut)}
		r := execute(t, p, `{"program": "p"}`)
		failed(t, r, agent.Failed, "end")
		if said := r.Err().Error(); strings.Contains(said, token[len(token)-1:]+" ") {
			t.Errorf("cut after %d bytes it says %.80s", cut, said)
		}
	}
}

func TestExecRefusesProgramsThatCannotRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, p := range map[string]agents.Program{
		"is not absolute":      {Path: "sh"},
		"no such file":         {Path: "/does/not/exist"},
		"can be executed":      {Path: file},
		"want json or text":    {Path: "/bin/sh", Output: "xml"},
		"want 0 to 255":        {Path: "/bin/sh", ExitCodes: map[string]agent.Kind{"256": agent.Retrying}},
		"is to mean \"maybe\"": {Path: "/bin/sh", ExitCodes: map[string]agent.Kind{"1": "maybe"}},
	} {
		if _, err := agents.NewExec(agents.ExecConfig{Programs: map[string]agents.Program{"p": p}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
