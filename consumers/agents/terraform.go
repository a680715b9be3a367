package agents

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/internal/redact"
)

const (
	// DefaultTerraformGrace is how long Terraform may take to end what it has begun when it is
	// interrupted: what it is killed over may exist without standing in any state.
	DefaultTerraformGrace = 2 * time.Minute
	// maxModuleFile bounds one file of a module.
	maxModuleFile = 16 << 20
	// maxTerraformOutput bounds what `output` and `show` may write.
	maxTerraformOutput = 64 << 20
)

// TerraformConfig says how modules are applied.
type TerraformConfig struct {
	// Binary is the program; the first of terraform and tofu on the PATH unless set.
	Binary string `json:"binary,omitempty"`
	// Modules is the directory that modules lie below.
	Modules string `json:"modules"`
	// Dir is where workspaces are, and their states where there is no Backend.
	Dir string `json:"dir,omitempty"`
	// Backend keeps states elsewhere: {s3: {bucket: …, key: "waybill/${workspace}.tfstate"}}. One
	// of its values must have ${workspace} in it, else all workspaces were one.
	Backend map[string]map[string]any `json:"backend,omitempty"`
	// Env is the environment: a text each, or {file}, {env} or {vault}.
	Env map[string]EnvValue `json:"env,omitempty"`
	// Grace is how long it may take to end when it is interrupted; DefaultTerraformGrace unless set.
	Grace definition.Duration `json:"grace,omitempty"`
	// Secrets fetches the secrets of Env.
	Secrets *secret.Store `json:"-"`
}

// Terraform plans, applies and destroys Terraform or OpenTofu modules. Its input is {module,
// variables}; the activity's discriminator says what to do: plan, dispose (destroy), and
// apply for any other. There is one workspace for each resource and activity, so that to
// deploy again changes what is there and to dispose destroys it. The outputs that are not
// sensitive are its output. docs/ready-made-agents.md has the rest.
type Terraform struct{ cfg TerraformConfig }

// NewTerraform makes a Terraform; a configuration that cannot work is an error.
func NewTerraform(cfg TerraformConfig) (*Terraform, error) {
	cfg.Grace = cmp.Or(cfg.Grace, definition.Duration(DefaultTerraformGrace))
	var err error
	for _, name := range []string{"terraform", "tofu"} {
		if cfg.Binary == "" {
			cfg.Binary, err = exec.LookPath(name)
		}
	}
	if cfg.Binary == "" {
		return nil, fmt.Errorf("neither terraform nor tofu is on the PATH, and no binary is set: %w", err)
	}
	for _, dir := range []*string{&cfg.Binary, &cfg.Modules, &cfg.Dir} {
		if *dir, err = filepath.Abs(*dir); err != nil {
			return nil, err
		}
	}
	if info, err := os.Stat(cfg.Modules); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("modules %s: want the directory that modules lie below", cfg.Modules)
	}
	if len(cfg.Backend) > 1 {
		return nil, errors.New("backend: want one")
	}
	for name, settings := range cfg.Backend {
		raw, err := json.Marshal(settings)
		if err != nil || !bytes.Contains(raw, []byte("${workspace}")) {
			return nil, fmt.Errorf("backend %s: one of its settings has to have ${workspace} in it, else every resource had the same state", name)
		}
	}
	return &Terraform{cfg}, nil
}

// terraformInput is what Terraform works on.
type terraformInput struct {
	Module    string                     `json:"module"`
	Variables map[string]json.RawMessage `json:"variables"`
}

// Process implements agent.Processor.
func (t *Terraform) Process(ctx context.Context, a agent.Activity) agent.Result {
	in, err := readTerraformInput(a)
	if err != nil {
		return agent.Fatal(err).AtStep("input")
	}
	w, failed := t.enter(ctx, a, in)
	if failed != nil {
		return *failed
	}
	defer w.leave()
	if failed = w.run(ctx, "init", nil, "init", "-input=false", "-no-color"); failed != nil {
		return *failed
	}
	switch a.Discriminator {
	case "plan":
		return w.plan(ctx)
	case dispose:
		return w.destroy(ctx)
	}
	return w.apply(ctx)
}

func readTerraformInput(a agent.Activity) (in terraformInput, err error) {
	dec := json.NewDecoder(bytes.NewReader(a.Input.Raw()))
	if a.Discriminator != dispose { // there the outputs come with the input
		dec.DisallowUnknownFields()
	}
	if err := dec.Decode(&in); err != nil {
		return in, fmt.Errorf("want {module, variables}: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if in.Module == "" || !filepath.IsLocal(in.Module) {
		return in, fmt.Errorf("module %q: want the name of a directory below the agent's modules", in.Module)
	}
	if in.Variables == nil {
		in.Variables = map[string]json.RawMessage{}
	}
	for name, value := range in.Variables {
		if string(value) == "null" { // a template that named nothing: the module's default stands
			delete(in.Variables, name)
		}
	}
	return in, nil
}

// workspace is one run in the workspace of a resource and an activity.
type workspace struct {
	*Terraform
	name   string
	dir    string // of the workspace
	module string // the copy of the module that this run works in
	env    []string
	hidden redact.Values
	lock   *os.File
	keep   bool // the state is in dir
}

// workspaceName is one for each resource and activity, for people and unmistakable. What
// undoes an activity has the workspace of what it undoes.
func workspaceName(a agent.Activity) string {
	resource := cmp.Or(a.Resource, a.JobID)
	activity := strings.TrimSuffix(a.ActivityID, "~"+dispose)
	sum := sha256.Sum256([]byte(resource + "\x00" + activity))
	legible := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '-'
	}, resource+"-"+activity)
	return legible[:min(len(legible), 40)] + "-" + hex.EncodeToString(sum[:6])
}

// enter prepares a run: nobody else of this machine works in the workspace, and the module
// is there with its variables.
func (t *Terraform) enter(ctx context.Context, a agent.Activity, in terraformInput) (*workspace, *agent.Result) {
	fail := func(r agent.Result) (*workspace, *agent.Result) { r = r.AtStep("workspace"); return nil, &r }
	w := &workspace{Terraform: t, name: workspaceName(a), keep: len(t.cfg.Backend) == 0}
	w.dir = filepath.Join(t.cfg.Dir, w.name)
	if err := os.MkdirAll(w.dir, 0o700); err != nil {
		return fail(agent.Retry(err))
	}
	var err error
	if w.lock, err = os.OpenFile(filepath.Join(w.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return fail(agent.Retry(err))
	}
	if !locked(w.lock) {
		return fail(agent.Retry(errors.Join(fmt.Errorf("another run works in the workspace %s", w.name), w.lock.Close())))
	}
	w.clear()
	if w.env, w.hidden, err = environment(ctx, t.cfg.Secrets, t.cfg.Env); err != nil {
		w.leave()
		return fail(agent.Retry(err))
	}
	if w.module, err = os.MkdirTemp(w.dir, "run-"); err != nil {
		w.leave()
		return fail(agent.Retry(err))
	}
	w.env = append([]string{"HOME=" + w.module}, append(w.env, "TF_IN_AUTOMATION=1", "TF_INPUT=0", "CHECKPOINT_DISABLE=1")...)
	if err := w.copyModule(in); err != nil {
		w.leave()
		return fail(agent.Fatal(err))
	}
	return w, nil
}

// locked locks a file that was opened by its name. One that is no longer there under that name, for
// a run that destroyed has removed the workspace, would keep nobody out.
func locked(f *os.File) bool {
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return false
	}
	held, err := f.Stat()
	there, gone := os.Stat(f.Name())
	return err == nil && gone == nil && os.SameFile(held, there)
}

// clear removes what runs have left that were killed, and their variables with it. None of
// them is under way: the lock is held for as long as a program that was given it runs.
func (w *workspace) clear() {
	left, err := filepath.Glob(filepath.Join(w.dir, "run-*"))
	if err != nil {
		return
	}
	for _, dir := range left {
		_ = os.RemoveAll(dir) // what cannot be removed is tried again by the next run
	}
}

// leave removes what a run leaves behind, its variables above all. What cannot be removed
// is readable to nobody else, and the next run does not look at it.
func (w *workspace) leave() {
	if w.module != "" {
		_ = os.RemoveAll(w.module)
	}
	_ = w.lock.Close()
}

// copyModule copies the module, so that a run can have its own backend, variables and
// providers, and nothing that others write gets into the middle of it.
func (w *workspace) copyModule(in terraformInput) error {
	root, err := os.OpenRoot(w.cfg.Modules)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()   // nothing was written by way of it
	from, err := root.OpenRoot(in.Module) // follows no link that leads out
	if err != nil {
		return fmt.Errorf("module %s: %w", in.Module, err)
	}
	defer func() { _ = from.Close() }()
	err = fs.WalkDir(from.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		to := filepath.Join(w.module, path)
		switch {
		case err != nil:
			return err
		case d.Name() == ".terraform":
			return fs.SkipDir
		case d.IsDir():
			return os.MkdirAll(to, 0o700)
		case !d.Type().IsRegular() || strings.Contains(d.Name(), ".tfstate") || strings.HasPrefix(d.Name(), "waybill"):
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Size() > maxModuleFile {
			return fmt.Errorf("%s has %d bytes, over the limit of %d for a file of a module", path, info.Size(), maxModuleFile)
		}
		b, err := from.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, b, 0o600) //nolint:gosec // below the directory of the run: path is one that WalkDir made, without any ..
	})
	if err != nil {
		return fmt.Errorf("module %s: %w", in.Module, err)
	}
	return errors.Join(w.write("waybill.auto.tfvars.json", in.Variables), w.write("waybill_override.tf.json", w.backend()))
}

// backend says where the state is: in the workspace's own directory, or where the
// configuration says.
func (w *workspace) backend() map[string]any {
	backend := map[string]any{"local": map[string]any{"path": filepath.Join(w.dir, "terraform.tfstate")}}
	for name, settings := range w.cfg.Backend {
		backend = map[string]any{name: placed(settings, w.name)}
	}
	return map[string]any{"terraform": map[string]any{"backend": backend}}
}

func placed(v any, name string) any {
	switch x := v.(type) {
	case string:
		return strings.ReplaceAll(x, "${workspace}", name)
	case map[string]any:
		m := make(map[string]any, len(x))
		for k := range x {
			m[k] = placed(x[k], name)
		}
		return m
	}
	return v
}

func (w *workspace) write(name string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(w.module, name), raw, 0o600)
}

func (w *workspace) apply(ctx context.Context) agent.Result {
	if failed := w.run(ctx, "apply", nil, "apply", "-input=false", "-no-color", "-auto-approve"); failed != nil {
		return *failed
	}
	var raw []byte
	if failed := w.run(ctx, "output", &raw, "output", "-no-color", "-json"); failed != nil {
		return *failed
	}
	var outputs map[string]struct {
		Sensitive bool            `json:"sensitive"`
		Value     json.RawMessage `json:"value"`
	}
	if err := json.Unmarshal(raw, &outputs); err != nil {
		return agent.Fatal(fmt.Errorf("the outputs are not JSON: %w", err)).AtStep("output")
	}
	open := map[string]any{}
	for name, o := range outputs {
		if name == "module" || name == "variables" {
			return agent.Fatal(fmt.Errorf("the module has an output %q: give it another name, or disposing would take it for the input", name)).AtStep("output")
		}
		if !o.Sensitive {
			open[name] = w.hidden.JSON(decoded(o.Value))
		}
	}
	return agent.Complete(open)
}

// destroy destroys, and then forgets the workspace: to destroy it again finds nothing to do.
func (w *workspace) destroy(ctx context.Context) agent.Result {
	if failed := w.run(ctx, "destroy", nil, "destroy", "-input=false", "-no-color", "-auto-approve"); failed != nil {
		return *failed
	}
	if w.keep {
		if err := os.RemoveAll(w.dir); err != nil {
			return agent.Retry(err).AtStep("destroy")
		}
	}
	return agent.Complete(nil)
}

// plan counts what applying would do.
func (w *workspace) plan(ctx context.Context) agent.Result {
	if failed := w.run(ctx, "plan", nil, "plan", "-input=false", "-no-color", "-out=waybill.plan"); failed != nil {
		return *failed
	}
	var raw []byte
	if failed := w.run(ctx, "plan", &raw, "show", "-no-color", "-json", "waybill.plan"); failed != nil {
		return *failed
	}
	var plan struct {
		ResourceChanges []struct {
			Change struct {
				Actions []string `json:"actions"`
			} `json:"change"`
		} `json:"resource_changes"`
		OutputChanges map[string]struct {
			Actions []string `json:"actions"`
		} `json:"output_changes"`
	}
	if err := json.Unmarshal(raw, &plan); err != nil {
		return agent.Fatal(fmt.Errorf("the plan is not JSON: %w", err)).AtStep("plan")
	}
	counts := map[string]int{"create": 0, "update": 0, "delete": 0}
	changes := false
	for _, r := range plan.ResourceChanges {
		for _, action := range r.Change.Actions {
			if _, counted := counts[action]; counted {
				counts[action]++
				changes = true
			}
		}
	}
	for _, o := range plan.OutputChanges {
		changes = changes || !slices.Contains(o.Actions, "no-op")
	}
	return agent.Complete(map[string]any{"changes": changes, "create": counts["create"], "update": counts["update"], "delete": counts["delete"]})
}

// run runs Terraform once; a result means that the activity ends here.
func (w *workspace) run(ctx context.Context, step string, output *[]byte, args ...string) *agent.Result {
	p := program{
		path: w.cfg.Binary, args: args, dir: w.module, env: w.env,
		// Interrupted, it finishes what it has begun and writes its state down.
		signal: syscall.SIGINT, grace: time.Duration(w.cfg.Grace),
		held: []*os.File{w.lock},
	}
	if output != nil {
		p.maxBytes = maxTerraformOutput
	}
	r := p.run(ctx)
	if output != nil {
		*output = r.output
	}
	if r.err == nil && r.code == 0 {
		return nil
	}
	how := fmt.Sprintf("it ends with exit code %d", r.code)
	switch {
	case r.err != nil:
		how = r.err.Error()
	case r.code < 0:
		how = "it was killed by a signal"
	}
	if said := r.tail.text(w.hidden); said != "" {
		how += ": " + said
	}
	err := fmt.Errorf("%s %s: %s", filepath.Base(w.cfg.Binary), args[0], w.hidden.Text(how))
	result := agent.Fatal(err).AtStep(step)
	if passing(r) {
		result = agent.Retry(err).AtStep(step)
	}
	return &result
}

// passing says whether a run failed over something that passes.
func passing(r ran) bool {
	if start, ok := errors.AsType[*startError](r.err); ok {
		return start.passing()
	}
	if _, ok := errors.AsType[*tooMuchError](r.err); ok {
		return false
	}
	// Terraform has one exit code for everything that goes wrong; only the words tell them apart.
	tail := strings.ToLower(strings.Join(strings.Fields(strings.ReplaceAll(string(r.tail.b), "│", " ")), " "))
	return r.err != nil || r.code < 0 || slices.ContainsFunc([]string{
		"acquiring the state lock", "state lock", "connection refused", "connection reset", "i/o timeout", "tls handshake timeout",
		"client.timeout exceeded", "temporary failure in name resolution", "too many requests", "rate exceeded", "throttling", "service unavailable",
	}, func(word string) bool { return strings.Contains(tail, word) })
}
