package agents

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/internal/callbacks"
	"github.com/waybill/waybill/internal/redact"
)

// Exit codes that mean something else than failure unless a program's ExitCodes say so.
const (
	ExitRetry    = 75 // EX_TEMPFAIL of sysexits.h: a passing fault
	ExitWait     = 79 // accepted elsewhere; somebody will report
	ExitSchedule = 80 // call me again later
)

// Program is a program that exec may run.
type Program struct {
	// Path of the program; absolute.
	Path string `json:"path"`
	// Args are handed over as they are, but for ${input.NAME}, which is a value of the input.
	Args []string `json:"args,omitempty"`
	// Dir is where it runs; without one, in an empty directory that is removed afterwards.
	Dir string `json:"dir,omitempty"`
	// Env is its environment: a text each, or {file}, {env} or {vault}. Nothing else is handed on.
	Env map[string]EnvValue `json:"env,omitempty"`
	// Timeout bounds one run; none means that only the activity's deadline does.
	Timeout definition.Duration `json:"timeout,omitempty"`
	// Grace is how long it may take to end when it is told to; DefaultProgramGrace unless set.
	Grace definition.Duration `json:"grace,omitempty"`
	// OutputBytes bounds what it may write; DefaultProgramBytes unless set.
	OutputBytes int64 `json:"outputBytes,omitempty"`
	// Output is what it writes: json (the default) or text.
	Output string `json:"output,omitempty"`
	// Disposes says that the program undoes what it has done where WAYBILL_DISCRIMINATOR is
	// "dispose". Others are never run for that.
	Disposes bool `json:"disposes,omitempty"`
	// ExitCodes says what a code means: complete, retry, wait, schedule or fatal.
	ExitCodes map[string]agent.Kind `json:"exitCodes,omitempty"`
}

// EnvValue is the value of an environment variable: a text, or where a secret is kept.
type EnvValue struct {
	Text   string
	Secret secret.Ref
}

// UnmarshalJSON takes a text, or a reference to a secret.
func (v *EnvValue) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '{' {
		dec := json.NewDecoder(bytes.NewReader(b))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&v.Secret); err != nil {
			return err
		}
		return v.Secret.Check()
	}
	text, err := scalar(decoded(b))
	if err != nil {
		return errors.New("want a text, or {file: PATH}, {env: NAME} or {vault: PATH#KEY}")
	}
	v.Text = text
	return nil
}

// MarshalJSON writes what UnmarshalJSON reads.
func (v EnvValue) MarshalJSON() ([]byte, error) {
	if !v.Secret.IsZero() {
		return json.Marshal(v.Secret)
	}
	return json.Marshal(v.Text)
}

// ExecConfig says what may be run.
type ExecConfig struct {
	Programs  map[string]Program   `json:"programs"`
	Secrets   *secret.Store        `json:"-"` // nil means that no environment has secrets
	Callbacks *callbacks.Addresses `json:"-"` // nil means that there is no address to give away
}

// Exec runs programs. Its input is {program, …}: program is the name of one that the
// configuration has, the rest is written to its standard input as JSON. What it writes to
// its standard output is the activity's output. docs/ready-made-agents.md has the rest.
type Exec struct{ cfg ExecConfig }

// NewExec makes an Exec. A program that cannot be run is an error.
func NewExec(cfg ExecConfig) (*Exec, error) {
	var errs []error
	for name, p := range cfg.Programs {
		if err := p.check(); err != nil {
			errs = append(errs, fmt.Errorf("program %s: %w", name, err))
		}
	}
	return &Exec{cfg}, errors.Join(errs...)
}

func (p *Program) check() error {
	if !filepath.IsAbs(p.Path) {
		return fmt.Errorf("its path %q is not absolute", p.Path)
	}
	info, err := os.Stat(p.Path)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return fmt.Errorf("%s is not a file that can be executed", p.Path)
	case p.Output != "" && p.Output != "json" && p.Output != "text":
		return fmt.Errorf("output %q: want json or text", p.Output)
	}
	for code, kind := range p.ExitCodes {
		n, err := strconv.Atoi(code)
		if err != nil || n < 0 || n > 255 {
			return fmt.Errorf("exit code %q: want 0 to 255", code)
		}
		if !slices.Contains([]agent.Kind{agent.Completed, agent.Retrying, agent.Waiting, agent.Scheduled, "fatal"}, kind) {
			return fmt.Errorf("exit code %s is to mean %q: want complete, retry, wait, schedule or fatal", code, kind)
		}
	}
	return nil
}

// meaning is what an exit code says.
func (p *Program) meaning(code int) agent.Kind {
	if kind, ok := p.ExitCodes[strconv.Itoa(code)]; ok {
		return kind
	}
	switch code {
	case 0:
		return agent.Completed
	case ExitRetry, -1: // killed by a signal: the machine ran out of memory, say
		return agent.Retrying
	case ExitWait:
		return agent.Waiting
	case ExitSchedule:
		return agent.Scheduled
	}
	return agent.Failed
}

// Process implements agent.Processor.
func (e *Exec) Process(ctx context.Context, a agent.Activity) agent.Result {
	name, stdin, err := execInput(a)
	if err != nil {
		return agent.Fatal(err).AtStep("input")
	}
	p, ok := e.cfg.Programs[name]
	if !ok {
		return agent.Fatal(fmt.Errorf("there is no program %.100q in the configuration of this agent", name)).AtStep("input")
	}
	if a.Discriminator == dispose && !p.Disposes {
		return agent.Fatal(fmt.Errorf("program %s cannot undo what it has done: its configuration does not say that it disposes", name)).AtStep("input")
	}
	var hidden redact.Values
	r := program{path: p.Path, dir: p.Dir, stdin: stdin, signal: syscall.SIGTERM, grace: cmp.Or(time.Duration(p.Grace), DefaultProgramGrace), maxBytes: cmp.Or(p.OutputBytes, DefaultProgramBytes)}
	if r.args, err = p.arguments(stdin); err != nil {
		return agent.Fatal(err).AtStep("input")
	}
	if r.env, hidden, err = environment(ctx, e.cfg.Secrets, p.Env); err != nil {
		return agent.Retry(err).AtStep("secrets")
	}
	r.env, hidden = e.tell(r.env, hidden, a)
	if r.dir == "" {
		if r.dir, err = os.MkdirTemp("", "waybill-exec-"); err != nil {
			return agent.Retry(err).AtStep("start")
		}
		defer func() { _ = os.RemoveAll(r.dir) }() // what cannot be removed is no fault of the activity
	}
	if p.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, time.Duration(p.Timeout), fmt.Errorf("not done within the timeout of %s", time.Duration(p.Timeout)))
		defer cancel()
	}
	return p.result(name, r.run(ctx), hidden)
}

// execInput takes the name of the program out of the input.
func execInput(a agent.Activity) (name string, stdin []byte, err error) {
	in := map[string]json.RawMessage{}
	if err := a.Input.Decode(&in); err != nil {
		return "", nil, err
	}
	if json.Unmarshal(in["program"], &name) != nil || name == "" {
		return "", nil, errors.New("the input has no program, the name of one that the agent's configuration has")
	}
	delete(in, "program")
	stdin, err = json.Marshal(in)
	return name, stdin, err
}

// arguments fills in what the configuration wants of the input.
func (p *Program) arguments(input []byte) ([]string, error) {
	args := make([]string, len(p.Args))
	values := decoded(input)
	for i, arg := range p.Args {
		before, rest, ok := strings.Cut(arg, "${input.")
		name, after, closed := strings.Cut(rest, "}")
		if !ok || !closed {
			args[i] = arg
			continue
		}
		value, err := at(values, name)
		text := ""
		if err == nil {
			text, err = scalar(value)
		}
		switch {
		case err != nil:
			return nil, fmt.Errorf("argument %s: %w", arg, err)
		case before == "" && strings.HasPrefix(text, "-"):
			return nil, fmt.Errorf("argument %s: %.50q would be an option", arg, text)
		case strings.ContainsRune(text, 0):
			return nil, fmt.Errorf("argument %s: its value has a NUL in it", arg)
		}
		args[i] = before + text + after
	}
	return args, nil
}

// environment fetches the values of an environment, and says which of them nobody may see.
func environment(ctx context.Context, store *secret.Store, env map[string]EnvValue) (l []string, hidden redact.Values, err error) {
	for name, v := range env {
		if v.Secret.IsZero() {
			l = append(l, name+"="+v.Text)
			continue
		}
		if store == nil {
			return nil, nil, fmt.Errorf("%s: this agent has no store of secrets", name)
		}
		value, err := store.Get(ctx, v.Secret)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
		l = append(l, name+"="+value.Reveal())
		hidden = hidden.Add(value.Reveal(), "[secret "+name+"]")
	}
	slices.Sort(l)
	return l, hidden, nil
}

// tell adds what the program may want to know of the activity. It comes last: of two
// variables with one name the last one counts.
func (e *Exec) tell(env []string, hidden redact.Values, a agent.Activity) ([]string, redact.Values) {
	add := func(name, value string) {
		if value != "" && !strings.ContainsRune(value, 0) {
			env = append(env, "WAYBILL_"+name+"="+value)
		}
	}
	add("WORK_ID", a.ID)
	add("ATTEMPT", strconv.Itoa(a.Attempt))
	add("JOB_ID", a.JobID)
	add("ACTIVITY_ID", a.ActivityID)
	add("RESOURCE", a.Resource)
	add("DISCRIMINATOR", a.Discriminator)
	add("STATE", string(a.State))
	add("TRACEPARENT", a.TraceParent)
	if !a.Deadline.IsZero() {
		add("DEADLINE", a.Deadline.UTC().Format(time.RFC3339))
	}
	if e.cfg.Callbacks != nil {
		add("CALLBACK_URL", e.cfg.Callbacks.Of(a.ID))
		hidden = hidden.Add(e.cfg.Callbacks.Proof(a.ID), "[callback]")
	}
	return env, hidden
}

// result is what a run says.
func (p *Program) result(name string, r ran, hidden redact.Values) agent.Result {
	fault := func(text string) error {
		if said := r.tail.text(hidden); said != "" {
			text += ": " + said
		}
		return fmt.Errorf("program %s: %s", name, hidden.Text(text))
	}
	if start, ok := errors.AsType[*startError](r.err); ok {
		if start.passing() {
			return agent.Retry(fault(start.Error())).AtStep("start")
		}
		return agent.Fatal(fault(start.Error())).AtStep("start")
	}
	if much, ok := errors.AsType[*tooMuchError](r.err); ok {
		return agent.Fatal(fault(much.Error())).AtStep("output")
	}
	if r.err != nil {
		return agent.Retry(fault(r.err.Error())).AtStep("run")
	}
	how := fmt.Sprintf("it ends with exit code %d", r.code)
	if r.code < 0 {
		how = "it was killed by a signal"
	}
	switch kind := p.meaning(r.code); kind {
	case agent.Completed:
		output, err := p.output(r.output, hidden)
		if err != nil {
			return agent.Fatal(fault(err.Error())).AtStep("output")
		}
		return agent.Complete(output)
	case agent.Retrying, agent.Waiting, agent.Scheduled:
		return later(kind, fault(how), []byte(hidden.Text(string(r.output))))
	default:
		return agent.Fatal(fault(how)).AtStep("run")
	}
}

// later is a result that is not the end. What the program wrote may say when, and what it
// wants to be told then.
func later(kind agent.Kind, fault error, output []byte) agent.Result {
	var said struct {
		After definition.Duration `json:"after"`
		State json.RawMessage     `json:"state"`
	}
	if json.Unmarshal(output, &said) != nil {
		said.After, said.State = 0, nil
	}
	after := time.Duration(said.After)
	r := agent.Retry(fault).After(after).AtStep("run")
	switch kind {
	case agent.Waiting:
		r = agent.Wait().After(after)
	case agent.Scheduled:
		r = agent.Schedule(cmp.Or(after, DefaultEvery))
	default:
	}
	if len(said.State) > 0 {
		r = r.WithState(said.State)
	}
	return r
}

// output is what the program wrote, without what nobody may see.
func (p *Program) output(raw []byte, hidden redact.Values) (any, error) {
	if p.Output == "text" {
		return map[string]string{"text": hidden.Text(strings.ToValidUTF8(string(raw), "\uFFFD"))}, nil
	}
	if len(bytes.TrimSpace(raw)) == 0 {
		return nil, nil
	}
	v, err := decode(raw)
	switch {
	case err != nil:
		return nil, fmt.Errorf("its output is not JSON: %w", err)
	case depth(v) > maxDepth:
		return nil, fmt.Errorf("its output is nested deeper than %d", maxDepth)
	}
	return hidden.JSON(v), nil
}
