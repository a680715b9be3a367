package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/agent/services"
	"github.com/waybill/waybill/internal/kafka"
)

// Agent is a program that carries out activities.
type Agent struct {
	// Name is what the program is called, in lower case. An agent's own name, which tells
	// processes apart in the status of an activity, is made of it, the host and the process,
	// unless --name says otherwise.
	Name    string
	Version string // shown by --version, in metrics and traces
	// Prefix of the environment variables; Name in upper case unless set.
	Prefix string
	// Types are the activity types that are carried out, at least one.
	Types []Type
	// Settings is a pointer to the agent's own settings, with their defaults: what stands under
	// settings in the configuration is decoded into it before the first New, strictly. Where it
	// has a method Check() error, that is asked too.
	Settings any
}

// Type is an activity type and how its processor is made.
type Type struct {
	Type        string
	Concurrency int // how many activities run at once, unless configured; agent.DefaultConcurrency unless set
	// New makes the processor. The context ends when the agent has to stop; an error ends the program.
	New func(ctx context.Context, s *services.Services) (agent.Processor, error)
}

// Exit codes, those of the command waybill.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitRefused     = 4
)

// usageError is a mistake in how the program was called or configured.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// unreachableError says that Kafka did not answer.
type unreachableError struct{ error }

func (e unreachableError) Unwrap() error { return e.error }

// denied says that Kafka does not let us in, or not do what an agent does.
func denied(err error) bool {
	_, access := errors.AsType[*kafka.AccessError](err)
	_, lack := errors.AsType[*kafka.LackError](err)
	return access || lack
}

// Env is the outside of an agent. Nil writers discard.
type Env struct {
	Args     []string // without the program's name
	Out, Err io.Writer
	// Getenv looks environment variables up; nil knows none.
	Getenv func(name string) (string, bool)
}

func (e *Env) complete() {
	if e.Out == nil {
		e.Out = io.Discard
	}
	if e.Err == nil {
		e.Err = io.Discard
	}
	if e.Getenv == nil {
		e.Getenv = func(string) (string, bool) { return "", false }
	}
}

// sameSignal is for how long a signal is taken for the one before it: some senders signal
// a process and then its group, which is one wish and not two.
const sameSignal = 200 * time.Millisecond

// Main is the whole main of an agent. It does not return.
func Main(a Agent) {
	os.Exit(run(a)) //nolint:revive // deep-exit: this is the main, as a function
}

func run(a Agent) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, func() { time.AfterFunc(sameSignal, stop) })
	return Run(ctx, a, Env{Args: os.Args[1:], Out: os.Stdout, Err: os.Stderr, Getenv: os.LookupEnv})
}

// Run runs an agent until ctx ends and returns its exit code. It leaves signals alone.
func Run(ctx context.Context, a Agent, env Env) int {
	env.complete()
	err := a.run(ctx, env)
	if err == nil {
		return exitDone
	}
	fmt.Fprintf(env.Err, "%s: %s\n", a.Name, strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; "))
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if denied(err) {
		return exitRefused
	}
	if _, ok := errors.AsType[unreachableError](err); ok {
		return exitUnreachable
	}
	return exitFailed
}

func (a Agent) run(ctx context.Context, env Env) error {
	if err := a.check(); err != nil {
		return err
	}
	cfg, done, err := a.configure(env)
	if done || err != nil {
		return err
	}
	p, err := newProgram(a, cfg, env)
	if err != nil {
		return err
	}
	return p.run(ctx)
}

func (a Agent) check() error {
	if a.Name == "" || len(a.Types) == 0 {
		return errors.New("launch.Agent needs a Name and at least one of Types")
	}
	seen := map[string]bool{}
	for _, t := range a.Types {
		switch {
		case t.Type == "" || t.New == nil:
			return fmt.Errorf("launch.Agent %s: each of Types needs a Type and a New", a.Name)
		case seen[t.Type]:
			return fmt.Errorf("launch.Agent %s: type %s stands there twice", a.Name, t.Type)
		}
		seen[t.Type] = true
	}
	return nil
}
