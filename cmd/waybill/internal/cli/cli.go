package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// Env is the outside of a command. Nil readers and writers are empty and discard.
type Env struct {
	In       io.Reader
	Out, Err io.Writer
	// Getenv looks environment variables up; nil knows none.
	Getenv func(name string) (string, bool)
	// Terminal says that Out is one: progress is drawn on one line.
	Terminal bool
}

func (e *Env) complete() {
	if e.In == nil {
		e.In = strings.NewReader("")
	}
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

// sameSignal is for how long a signal is taken for the one before it.
const sameSignal = 200 * time.Millisecond

// Main runs a command of this process and returns its exit code. The first interrupt
// ends what runs in good order, the second one ends the process.
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// From now on signals do what they do by default, but not yet: timeout(1) and others signal
	// a process and then its group, which is one wish and not two.
	context.AfterFunc(ctx, func() { time.AfterFunc(sameSignal, stop) })
	return Run(ctx, Env{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.LookupEnv, Terminal: isTerminal(os.Stdout),
	}, args...)
}

// Run runs a command and returns its exit code.
func Run(ctx context.Context, env Env, args ...string) int {
	env.complete()
	root := newRoot(&env) //nolint:contextcheck // commands take theirs from cobra, which is given it below
	root.SetArgs(args)
	root.SetIn(env.In)
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	var exit *exitError
	if !errors.As(err, &exit) && !ran(cmd) {
		// cobra's own complaint: an unknown command or flag, too few arguments.
		err = usagef("%w: see `%s --help`", err, cmd.CommandPath())
	}
	if text := message(err); text != "" {
		fmt.Fprintln(env.Err, "waybill: "+text)
	}
	return exitCode(err)
}

// ranKey marks, in a command's annotations, that its own code was reached.
const ranKey = "ran"

func ran(cmd *cobra.Command) bool { return cmd.Annotations[ranKey] != "" }

func newRoot(env *Env) *cobra.Command {
	root := &cobra.Command{
		Use:   "waybill",
		Short: "Orchestrate long-running work across many providers, on a Kafka log",
		Long: `Waybill orchestrates long-running work across many providers. Kafka is its only source of truth.

Try it:   waybill demo
Run it:   waybill serve
Use it:   waybill apply -f FILE, waybill submit --type TYPE --input '{}' --wait

Settings come from flags, else from the environment (WAYBILL_LISTEN for --listen), else from waybill.yaml (--config).
Durations are written 2s or PT2S. Exit codes: 0 done, 1 a job that was waited for ended in error, 2 usage,
3 not reachable or timed out, 4 refused or not found.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddGroup(&cobra.Group{ID: "run", Title: "Run:"}, &cobra.Group{ID: "use", Title: "Use:"}, &cobra.Group{ID: "after", Title: "Look after jobs:"}, &cobra.Group{ID: "operate", Title: "Operate:"})
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("run", newDemo(env), newServe(env), newRun(env), newBroker(env), newAgent(env))
	add("use", newSubmit(env), newGet(env), newList(env), newWatch(env), newEvents(env), newWhy(env), newApply(env), newDefinitions(env),
		newTransfers(env), newTransfer(env), newNegotiations(env), newAcquire(env))
	add("after", newVerbs(env)...)
	add("operate", newDeadLetters(env), newProjections(env), newTopics(env), newBench(env), newVersion(env))
	return root
}

// command makes a command whose flags are completed from environment and file before it
// runs, and which takes exactly the arguments its use names.
func command(env *Env, c cobra.Command, args cobra.PositionalArgs, run func(cmd *cobra.Command, args []string) error) *cobra.Command {
	c.Args = args
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Annotations == nil {
			cmd.Annotations = map[string]string{}
		}
		cmd.Annotations[ranKey] = "yes"
		if slices.Contains(args, "") { // a variable of a script that was never set
			return usagef("an argument of `%s` is empty", cmd.CommandPath())
		}
		if err := settle(cmd.Flags(), env.Getenv); err != nil {
			return err
		}
		return run(cmd, args)
	}
	return &c
}

// group makes a command that only has others below it.
func group(c cobra.Command, below ...*cobra.Command) *cobra.Command {
	c.Args = cobra.NoArgs
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		return fmt.Errorf("%s: say which: %s", cmd.CommandPath(), names(below))
	}
	c.AddCommand(below...)
	return &c
}

func names(commands []*cobra.Command) string {
	l := make([]string, len(commands))
	for i, c := range commands {
		l[i] = c.Name()
	}
	return strings.Join(l, ", ")
}
