package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/waybill/waybill/cmd/waybill/internal/app"
)

// newRun makes the command of a container that is there for one job: a server, what it is
// to know, and the job, in one process.
func newRun(env *Env) *cobra.Command {
	o := &oneJob{env: env}
	cmd := serving(env, cobra.Command{
		Use: "run -f FILE|DIR... --type TYPE [--input JSON|@FILE]", Short: "Serve, apply files, and run one job",
		Long: `Run a server as serve does, apply files to it, start one job, and wait for its end, all in one process: for a container
or a cron job. The exit code is that of the job. With --keep the server stays up after that, until it is interrupted.`,
		Example: `  waybill run -f deploy/pipeline --type repository-pipeline --input '{"request": {}}' --allow 'localhost:*'`,
	}, o.run)
	f := cmd.Flags()
	f.StringArrayVarP(&o.files, "filename", "f", nil, "file or directory to apply; repeatable")
	f.StringVar(&o.typ, "type", "", "type of the orchestration")
	f.StringVar(&o.input, "input", "{}", "its input: JSON, @FILE, or @- for the standard input")
	f.StringVar(&o.id, "id", "", "id of the job (default a new one); one that has ended in --data is not run again")
	f.BoolVar(&o.keep, "keep", false, "stay up after the end of the job")
	return cmd
}

// oneJob is what newRun runs.
type oneJob struct {
	env               *Env
	files             []string
	typ, input, id    string
	keep              bool
	server, tokenFile string
}

func (o *oneJob) run(cmd *cobra.Command, cfg app.Config) error {
	switch {
	case o.typ == "":
		return usagef("--type is needed: the orchestration to run")
	case cfg.TLSCert != "":
		return usagef("run speaks with its own server without TLS: leave --tls-cert out, or use serve, apply and submit")
	}
	o.tokenFile = cmd.Flag("token-file").Value.String()
	main := app.New(cfg)
	if err := main.Start(cmd.Context()); err != nil {
		return err
	}
	o.server = main.URL()
	ctx, cancel := context.WithCancelCause(cmd.Context())
	defer cancel(nil)
	broken := make(chan error, 1)
	go func() {
		err := main.Wait(ctx)
		cancel(err)
		broken <- err
	}()
	err := o.job(ctx)
	if o.keep && ctx.Err() == nil {
		if err != nil { // said now, for who knows when this ends
			fmt.Fprintln(o.env.Err, "waybill: "+message(err))
			err = &exitError{code: exitCode(err)}
		}
		<-ctx.Done()
	}
	cancel(nil)
	return errors.Join(err, <-broken, main.Close())
}

// job does what a user would do with the server: apply, and submit --wait.
func (o *oneJob) job(ctx context.Context) error {
	if len(o.files) > 0 {
		args := []string{}
		for _, f := range o.files {
			args = append(args, "--filename", f)
		}
		if err := o.command(ctx, newApply(o.env), args...); err != nil { //nolint:contextcheck // handed over in command, by way of cobra
			return err
		}
	}
	return o.command(ctx, newSubmit(o.env), "--type", o.typ, "--input", o.input, "--id", o.id, "--wait") //nolint:contextcheck // likewise
}

// command runs another command of this program against the server.
func (o *oneJob) command(ctx context.Context, cmd *cobra.Command, args ...string) error {
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(append(args, "--server", o.server, "--token-file", o.tokenFile))
	return cmd.ExecuteContext(ctx)
}
