package agents_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/consumers/agents"
	"github.com/waybill/waybill/domain/definition"
)

// recordEnv makes this test binary the stand-in for Terraform, which records its calls in
// the file that the variable names.
const recordEnv = "WAYBILL_TEST_TERRAFORM"

func TestMain(m *testing.M) {
	if record := os.Getenv(recordEnv); record != "" {
		os.Exit(standIn(record, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// standIn does what the environment says: FAIL is the command that fails with the text
// STDERR, HANG the one that waits to be interrupted.
func standIn(record string, args []string) int {
	f, err := os.OpenFile(record, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 1
	}
	defer func() { _ = f.Close() }() // what was written is there
	vars, _ := os.ReadFile("waybill.auto.tfvars.json")
	backend, _ := os.ReadFile("waybill_override.tf.json")
	info, _ := os.Stat("waybill.auto.tfvars.json")
	fmt.Fprintf(f, "%s %s %s %s\n", strings.Join(args, " "), vars, info.Mode(), backend)
	if os.Getenv("HANG") == args[0] {
		interrupted := make(chan os.Signal, 1)
		signal.Notify(interrupted, os.Interrupt)
		fmt.Fprintln(f, "waits")
		if os.Getenv("DEAF") != "" {
			select {}
		}
		<-interrupted
		fmt.Fprintln(f, "interrupted")
		return 1
	}
	if os.Getenv("FAIL") == args[0] {
		fmt.Fprintln(os.Stderr, os.Getenv("STDERR"))
		return 1
	}
	switch args[0] {
	case "output":
		fmt.Fprint(os.Stdout, os.Getenv("OUTPUT"))
	case "show":
		fmt.Fprint(os.Stdout, `{"resource_changes": [{"change": {"actions": ["delete", "create"]}}, {"change": {"actions": ["update"]}}, {"change": {"actions": ["no-op"]}}]}`)
	}
	return 0
}

type terraform struct {
	*agents.Terraform
	record, state, modules string
}

func newTerraform(t *testing.T, env map[string]string, change ...func(*agents.TerraformConfig)) terraform {
	t.Helper()
	tf := terraform{record: filepath.Join(t.TempDir(), "record"), state: t.TempDir(), modules: t.TempDir()}
	write(t, filepath.Join(tf.modules, "net", "main.tf"), "")
	write(t, filepath.Join(tf.modules, "net", "terraform.tfstate"), "left over")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	store, err := secret.NewStore(secret.Config{Getenv: func(string) (string, bool) { return token, true }})
	if err != nil {
		t.Fatal(err)
	}
	cfg := agents.TerraformConfig{Binary: self, Modules: tf.modules, Dir: tf.state, Secrets: store, Env: map[string]agents.EnvValue{recordEnv: {Text: tf.record}, "OUTPUT": {Text: "{}"}}}
	for k, v := range env {
		cfg.Env[k] = agents.EnvValue{Text: v}
	}
	for _, c := range change {
		c(&cfg)
	}
	if tf.Terraform, err = agents.NewTerraform(cfg); err != nil {
		t.Fatal(err)
	}
	return tf
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// do processes an input for an activity of a resource.
func (tf terraform) do(t *testing.T, discriminator, input string, change ...func(*agent.Activity)) agent.Result {
	t.Helper()
	a := activity(input)
	a.Discriminator, a.Resource, a.ActivityID = discriminator, "tenant/1", "net"
	for _, c := range change {
		c(&a)
	}
	return tf.Process(t.Context(), a)
}

// calls are the recorded ones.
func (tf terraform) calls(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile(tf.record)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

func TestTerraformDoesWhatTheDiscriminatorSays(t *testing.T) {
	for discriminator, want := range map[string][]string{
		"":        {"init -input=false -no-color", "apply -input=false -no-color -auto-approve", "output -no-color -json"},
		"deploy":  {"init -input=false -no-color", "apply -input=false -no-color -auto-approve", "output -no-color -json"},
		"dispose": {"init -input=false -no-color", "destroy -input=false -no-color -auto-approve"},
		"plan":    {"init -input=false -no-color", "plan -input=false -no-color -out=waybill.plan", "show -no-color -json waybill.plan"},
	} {
		tf := newTerraform(t, map[string]string{"OUTPUT": `{"id": {"value": {"n": 12345678901234567890}}, "key": {"value": "hush", "sensitive": true}}`})
		out := completed(t, tf.do(t, discriminator, `{"module": "net", "variables": {"cidr": "10.0.0.0/8", "none": null, "odd": "${file(\"/etc/passwd\")}"}}`))
		calls := tf.calls(t)
		if len(calls) != len(want) {
			t.Fatalf("%s: called %q", discriminator, calls)
		}
		for i := range want {
			rest, ok := strings.CutPrefix(calls[i], want[i]+` {"cidr":"10.0.0.0/8","odd":"${file(\"/etc/passwd\")}"} -rw------- {"terraform":{"backend":{"local":{"path":"`+tf.state+"/")
			if !ok || !strings.HasPrefix(rest, "tenant-1-net-") || !strings.HasSuffix(rest, `/terraform.tfstate"}}}}`) {
				t.Errorf("%s: called %s, want %s", discriminator, calls[i], want[i])
			}
		}
		if wanted := map[string]string{"dispose": "", "plan": `{"changes":true,"create":1,"delete":1,"update":1}`}; discriminator == "plan" || discriminator == "dispose" {
			if string(out) != wanted[discriminator] {
				t.Errorf("%s: the output is %s", discriminator, out)
			}
		} else if string(out) != `{"id":{"n":12345678901234567890}}` {
			t.Errorf("the output is %s", out)
		}
		left := 0
		if err := filepath.WalkDir(tf.state, func(p string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() && d.Name() != "lock" {
				left++
			}
			return err
		}); err != nil || left > 0 {
			t.Errorf("%s leaves %d files behind, %v", discriminator, left, err)
		}
	}
}

func TestTerraformHasOneWorkspacePerResourceAndActivity(t *testing.T) {
	workspaceOf := func(change func(*agent.Activity)) string {
		tf := newTerraform(t, nil, func(cfg *agents.TerraformConfig) {
			cfg.Backend = map[string]map[string]any{"s3": {"bucket": "b", "key": "waybill/${workspace}.tfstate"}}
		})
		completed(t, tf.do(t, "dispose", `{"module": "net"}`, change))
		_, rest, ok := strings.Cut(tf.calls(t)[0], `{"terraform":{"backend":{"s3":{"bucket":"b","key":"waybill/`)
		if !ok {
			t.Fatalf("called %q", tf.calls(t))
		}
		return strings.TrimSuffix(rest, `.tfstate"}}}}`)
	}
	first := workspaceOf(func(*agent.Activity) {})
	if again := workspaceOf(func(a *agent.Activity) { a.JobID, a.ActivityID = "another", "net~dispose" }); again != first {
		t.Errorf("what undoes it has the workspace %s, not %s", again, first)
	}
	seen := []string{first}
	for _, change := range []func(*agent.Activity){
		func(a *agent.Activity) { a.Resource = "tenant-1" },
		func(a *agent.Activity) { a.ActivityID = "other" },
		func(a *agent.Activity) { a.Resource, a.ActivityID = "tenant", "1/net" },
		func(a *agent.Activity) { a.Resource = "" },
		func(a *agent.Activity) { a.Resource = strings.Repeat("ü", 200) },
	} {
		name := workspaceOf(change)
		if slices.Contains(seen, name) || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || len(name) > 60 {
			t.Errorf("the workspace %s is among %q, or no name", name, seen)
		}
		seen = append(seen, name)
	}
}

// Who opened the lock of a workspace before it was destroyed, and made again by somebody else, has
// locked nothing.
func TestALockThatIsGoneLocksNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	open := func() *os.File {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		})
		return f
	}
	late := open()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if agents.Locked(late) {
		t.Error("it is gone, and was locked")
	}
	if !agents.Locked(open()) || agents.Locked(late) || agents.Locked(open()) {
		t.Error("it is there, and was not locked, or twice")
	}
}

func TestTerraformClassifiesFailures(t *testing.T) {
	const locked = "Error: Error acquiring the state lock\n\nError message: resource temporarily unavailable"
	for _, c := range []struct {
		command, stderr string
		kind            agent.Kind
	}{
		{"apply", locked, agent.Retrying},
		{"init", "│ Error: Failed to query available provider packages\n│ could not connect: dial tcp: i/o\n│ timeout", agent.Retrying},
		{"apply", "Error: creating bucket: BucketAlreadyExists", agent.Failed},
		{"output", "Error: broken", agent.Failed},
	} {
		tf := newTerraform(t, map[string]string{"FAIL": c.command, "STDERR": c.stderr + " " + token}, func(cfg *agents.TerraformConfig) {
			cfg.Env["KEY"] = agents.EnvValue{Secret: secret.Ref{Env: "X"}}
		})
		r := tf.do(t, "deploy", `{"module": "net"}`)
		if r.Kind() != c.kind || !strings.Contains(r.Err().Error(), c.command) || strings.Contains(r.Err().Error(), token) {
			t.Errorf("%s makes it %s: %v", c.stderr, r.Kind(), r.Err())
		}
	}
	failed(t, newTerraform(t, map[string]string{"OUTPUT": `{"module": {"value": 1}}`}).do(t, "", `{"module": "net"}`), agent.Failed, "give it another name")
	failed(t, newTerraform(t, map[string]string{"OUTPUT": "<html>"}).do(t, "", `{"module": "net"}`), agent.Failed, "the outputs are not JSON")
	for input, want := range map[string]string{
		`{"module": "../net"}`: "below the agent's modules", `{"module": "/net"}`: "below the agent's modules", `{"module": ""}`: "below the agent's modules",
		`{"module": "gone"}`: "module gone", `{"module": "out"}`: "module out", `{"modul": "net"}`: `unknown field "modul"`,
	} {
		tf := newTerraform(t, nil)
		if err := os.Symlink(t.TempDir(), filepath.Join(tf.modules, "out")); err != nil {
			t.Fatal(err)
		}
		failed(t, tf.do(t, "", input), agent.Failed, want)
		if calls := tf.calls(t); calls[0] != "" {
			t.Errorf("%s: called %q", input, calls)
		}
	}
}

func TestTerraformIsInterruptedAndThenKilled(t *testing.T) {
	for _, deaf := range []string{"", "yes"} {
		tf := newTerraform(t, map[string]string{"HANG": "apply", "DEAF": deaf}, func(cfg *agents.TerraformConfig) {
			cfg.Grace = definition.Duration(10 * time.Second)
			if deaf != "" {
				cfg.Grace = definition.Duration(50 * time.Millisecond)
			}
		})
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		a := activity(`{"module": "net"}`)
		done := make(chan agent.Result, 1)
		go func() { done <- tf.Process(ctx, a) }()
		until(t, func() bool { return slices.Contains(tf.calls(t), "waits") })
		failed(t, tf.Process(t.Context(), a), agent.Retrying, "another run works in the workspace")
		workspaces, err := filepath.Glob(filepath.Join(tf.state, "*"))
		if err != nil || len(workspaces) != 1 {
			t.Fatal(workspaces, err)
		}
		write(t, filepath.Join(workspaces[0], "run-killed", "waybill.auto.tfvars.json"), "secret")
		cancel(errors.New("nobody wants it"))
		failed(t, <-done, agent.Retrying, "nobody wants it")
		if told := slices.Contains(tf.calls(t), "interrupted"); told != (deaf == "") {
			t.Errorf("deaf %q, interrupted %v", deaf, told)
		}
		// What a run left that was killed goes with the next one.
		a.Discriminator = "plan"
		completed(t, tf.Process(t.Context(), a))
		if left, err := filepath.Glob(filepath.Join(workspaces[0], "run-*")); err != nil || len(left) > 0 {
			t.Errorf("left are %v, %v", left, err)
		}
	}
}

// until waits for a condition.
func until(t *testing.T, is func() bool) {
	t.Helper()
	limit, look := time.After(time.Minute), time.NewTicker(5*time.Millisecond)
	defer look.Stop()
	for !is() {
		select {
		case <-limit:
			t.Fatal("it does not come true")
		case <-look.C:
		}
	}
}

func TestTerraformRefusesAConfigurationThatCannotWork(t *testing.T) {
	for want, cfg := range map[string]agents.TerraformConfig{
		"want the directory":             {Binary: "x", Modules: "/does/not/exist"},
		"has to have ${workspace} in it": {Binary: "x", Modules: t.TempDir(), Backend: map[string]map[string]any{"s3": {"key": "one"}}},
		"want one":                       {Binary: "x", Modules: t.TempDir(), Backend: map[string]map[string]any{"s3": {}, "gcs": {}}},
	} {
		if _, err := agents.NewTerraform(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := agents.NewTerraform(agents.TerraformConfig{Modules: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "neither terraform nor tofu") {
		t.Error(err)
	}
}

// module has no provider but the built-in one, so that nothing is downloaded.
const module = `
variable "size" { type = number }
variable "password" {
  type      = string
  sensitive = true
  default   = "hush-hush"
}
resource "terraform_data" "disk" { input = { size = var.size, password = var.password } }
output "size" { value = terraform_data.disk.input.size }
output "id" { value = terraform_data.disk.id }
output "password" {
  value     = var.password
  sensitive = true
}
`

// The real program, where there is one: deployed twice is deployed once, changed is changed
// in place, disposed of twice is gone.
func TestTerraformItself(t *testing.T) {
	binary := ""
	for _, name := range []string{"terraform", "tofu"} {
		if path, err := exec.LookPath(name); err == nil && binary == "" {
			binary = path
		}
	}
	if binary == "" {
		t.Skip("neither terraform nor tofu is on the PATH; the other tests have a stand-in")
	}
	tf := newTerraform(t, nil, func(cfg *agents.TerraformConfig) { cfg.Binary, cfg.Env = binary, nil })
	write(t, filepath.Join(tf.modules, "disk", "main.tf"), module)
	plan := completed(t, tf.do(t, "plan", `{"module": "disk", "variables": {"size": 3}}`))
	if string(plan) != `{"changes":true,"create":1,"delete":0,"update":0}` {
		t.Errorf("the plan is %s", plan)
	}
	first := completed(t, tf.do(t, "deploy", `{"module": "disk", "variables": {"size": 3}}`))
	again := completed(t, tf.do(t, "deploy", `{"module": "disk", "variables": {"size": 3}}`))
	if string(first) != string(again) || path(t, first, "size") != "3" || strings.Contains(string(first), "hush") {
		t.Errorf("deployed as %s, then as %s", first, again)
	}
	changed := completed(t, tf.do(t, "deploy", `{"module": "disk", "variables": {"size": 4}}`))
	if path(t, changed, "id") != path(t, first, "id") || path(t, changed, "size") != "4" {
		t.Errorf("changed, it is %s", changed)
	}
	failed(t, tf.do(t, "deploy", `{"module": "disk"}`), agent.Failed, "No value for required variable")
	for range 2 {
		completed(t, tf.do(t, "dispose", `{"module": "disk", "variables": {"size": 4}, "size": 4, "id": "of the output"}`, func(a *agent.Activity) { a.ActivityID = "net~dispose" }))
	}
	if left, err := os.ReadDir(tf.state); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
	var id string
	if err := json.Unmarshal([]byte(path(t, first, "id")), &id); err != nil || id == "" {
		t.Errorf("the id is %s", path(t, first, "id"))
	}
}
