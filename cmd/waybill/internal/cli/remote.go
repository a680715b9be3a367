package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/waybill/waybill/cmd/waybill/internal/app"
	"github.com/waybill/waybill/cmd/waybill/internal/client"
)

// remote holds the flags of commands that ask a server.
type remote struct {
	env       *Env
	server    string
	tokenFile string
	output    string
	config    string
}

func (r *remote) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&r.server, "server", "http://"+app.DefaultListen, "address of the server")
	f.StringVar(&r.tokenFile, "token-file", "", "file with the server's token (or WAYBILL_TOKEN)")
	f.StringVarP(&r.output, "output", "o", "table", "table or json")
	f.StringVar(&r.config, configFlag, "", "configuration file (default waybill.yaml where there is one)")
}

// client makes the client and checks the flags all of these commands have.
func (r *remote) client() (*client.Client, error) {
	if r.output != "table" && r.output != "json" {
		return nil, usagef("--output %s: want table or json", r.output)
	}
	token, err := readToken(r.env, r.tokenFile)
	if err != nil {
		return nil, err
	}
	c, err := client.New(r.server, token)
	if err != nil {
		return nil, usagef("--server: %w", err)
	}
	return c, nil
}

// readToken takes the token from the file that is named, else from the environment.
func readToken(env *Env, file string) (string, error) {
	if file != "" {
		return app.ReadToken(file)
	}
	token, _ := env.Getenv(envPrefix + "TOKEN")
	return token, nil
}

// asking makes a command that asks a server once, for at most a minute.
func asking(env *Env, c cobra.Command, args cobra.PositionalArgs, run func(ctx context.Context, r *remote, c *client.Client, args []string) error) *cobra.Command {
	r := &remote{env: env}
	cmd := command(env, c, args, func(cmd *cobra.Command, args []string) error {
		cl, err := r.client()
		if err != nil {
			return err
		}
		return run(cmd.Context(), r, cl, args)
	})
	r.flags(cmd)
	return cmd
}

// requestTimeout bounds a request that nobody has to wait for.
const requestTimeout = 30 * time.Second

// get asks and decodes; it returns the JSON as it came, too.
func get(ctx context.Context, c *client.Client, path string, query url.Values, into any) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	a, err := c.Get(ctx, path, query)
	if err != nil {
		return nil, err
	}
	return a.Body, decode(c, path, a.Body, into)
}

func decode(c *client.Client, path string, body []byte, into any) error {
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%s%s answered what this version cannot read: %w", c.Server(), path, err)
	}
	return nil
}

// asJSON says whether scripts are to read the output.
func (r *remote) asJSON() bool { return r.output == "json" }

// printJSON prints JSON indented, numbers and order as they came.
func (r *remote) printJSON(raw json.RawMessage) error {
	var b bytes.Buffer
	if err := json.Indent(&b, bytes.TrimSpace(raw), "", "  "); err != nil {
		return fmt.Errorf("the server's answer is not JSON: %w", err)
	}
	_, err := fmt.Fprintln(r.env.Out, b.String())
	return err
}

// segment escapes an id for a path.
func segment(s string) string { return url.PathEscape(s) }

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
