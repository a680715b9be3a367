package cli

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/waybill/waybill/cmd/waybill/internal/app"
	"github.com/waybill/waybill/cmd/waybill/internal/client"
)

func newDefinitions(env *Env) *cobra.Command {
	cmd := asking(env, cobra.Command{
		Use: "definitions", Short: "List the definitions in force",
	}, cobra.NoArgs, func(ctx context.Context, r *remote, c *client.Client, _ []string) error {
		return r.definitions(ctx, c)
	})
	cmd.AddCommand(
		asking(env, cobra.Command{
			Use: "get KIND/TYPE", Short: "Show a definition", Example: "  waybill definitions get orchestration/parts-tree",
		}, cobra.ExactArgs(1), func(ctx context.Context, r *remote, c *client.Client, args []string) error {
			path, err := definitionPath(args[0])
			if err != nil {
				return err
			}
			raw, err := get(ctx, c, path, nil, nil)
			if err != nil {
				return err
			}
			return r.printJSON(raw)
		}),
		asking(env, cobra.Command{
			Use: "delete KIND/TYPE", Short: "Take a definition out of force",
		}, cobra.ExactArgs(1), func(ctx context.Context, r *remote, c *client.Client, args []string) error {
			path, err := definitionPath(args[0])
			if err != nil {
				return err
			}
			a, err := write(ctx, c, http.MethodDelete, path, nil)
			if err != nil {
				return err
			}
			if r.asJSON() {
				return r.printJSON(a.Body)
			}
			fmt.Fprintf(env.Out, "%s deleted\n", args[0])
			return nil
		}),
	)
	return cmd
}

func definitionPath(key string) (string, error) {
	for _, kind := range []string{"orchestration", "activity"} {
		if n := len(kind); len(key) > n+1 && key[:n+1] == kind+"/" {
			return collection(kind) + "/" + segment(key[n+1:]), nil
		}
	}
	return "", usagef("%q is no definition: want orchestration/TYPE or activity/TYPE", key)
}

func (r *remote) definitions(ctx context.Context, c *client.Client) error {
	var all []json.RawMessage
	for _, kind := range []string{"orchestration", "activity"} {
		items, _, err := pages(ctx, c, collection(kind), nil, 0)
		if err != nil {
			return err
		}
		all = append(all, items...)
	}
	if r.asJSON() {
		return r.printItems(all)
	}
	t := newTable(r.env.Out, "KIND", "TYPE", "VERSION", "SET", "DESCRIPTION")
	for _, raw := range all {
		var d struct {
			Kind       string `json:"kind"`
			Type       string `json:"type"`
			Version    int    `json:"version"`
			BuiltIn    bool   `json:"builtIn"`
			Set        string `json:"set"`
			Definition struct {
				Description string `json:"description"`
			} `json:"definition"`
		}
		if err := decode(c, "/v1/definitions", raw, &d); err != nil {
			return err
		}
		version := strconv.Itoa(d.Version)
		if d.BuiltIn {
			version = "built in"
		}
		t.row(d.Kind, d.Type, version, d.Set, d.Definition.Description)
	}
	return t.end()
}

func newDeadLetters(env *Env) *cobra.Command {
	return group(cobra.Command{
		Use: "deadletters", Short: "Look at records that could not be read, and replay them",
	},
		asking(env, cobra.Command{
			Use: "list", Short: "List records that could not be read, newest first",
		}, cobra.NoArgs, func(ctx context.Context, r *remote, c *client.Client, _ []string) error {
			return r.deadLetters(ctx, c)
		}),
		asking(env, cobra.Command{
			Use: "replay ID", Short: "Write a record to its topic again",
			Long: "Write a record to its topic again, as it was: worth while once what could not read it has been mended.",
		}, cobra.ExactArgs(1), func(ctx context.Context, r *remote, c *client.Client, args []string) error {
			a, err := write(ctx, c, http.MethodPost, "/v1/deadletters/"+segment(args[0])+"/replay", nil)
			if err != nil {
				return err
			}
			if r.asJSON() {
				return r.printJSON(a.Body)
			}
			fmt.Fprintf(env.Out, "dead letter %s replayed\n", args[0])
			return nil
		}),
	)
}

func (r *remote) deadLetters(ctx context.Context, c *client.Client) error {
	items, _, err := pages(ctx, c, "/v1/deadletters", nil, 0)
	if err != nil {
		return err
	}
	if r.asJSON() {
		return r.printItems(items)
	}
	t := newTable(r.env.Out, "ID", "TIME", "TOPIC", "PARTITION", "OFFSET", "KEY", "ERROR")
	for _, raw := range items {
		var l struct {
			ID        string    `json:"id"`
			Topic     string    `json:"topic"`
			Partition int       `json:"partition"`
			Offset    int64     `json:"offset"`
			Key       []byte    `json:"key"`
			Error     string    `json:"error"`
			At        time.Time `json:"at"`
		}
		if err := decode(c, "/v1/deadletters", raw, &l); err != nil {
			return err
		}
		t.row(l.ID, when(&l.At), l.Topic, strconv.Itoa(l.Partition), strconv.FormatInt(l.Offset, 10), showBytes(l.Key), l.Error)
	}
	return t.end()
}

func showBytes(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return "base64:" + base64.StdEncoding.EncodeToString(b)
}

func newProjections(env *Env) *cobra.Command {
	var data, config string
	rebuild := command(env, cobra.Command{
		Use: "rebuild", Short: "Throw the SQLite file away, to be made again from the log",
		Long: "Throw the SQLite file of a data directory away. No server may use the directory; the next one that is started makes the file again from the log.",
	}, cobra.NoArgs, func(*cobra.Command, []string) error {
		path, err := app.ForgetProjections(data)
		if err != nil {
			return err
		}
		fmt.Fprintf(env.Out, "%s removed; `waybill serve --data %s` makes it again from the log\n", path, data)
		return nil
	})
	rebuild.Flags().StringVar(&data, "data", app.DefaultData, "data directory")
	rebuild.Flags().StringVar(&config, configFlag, "", "configuration file (default waybill.yaml where there is one)")
	return group(cobra.Command{Use: "projections", Short: "Look after the read model"}, rebuild)
}

func newVersion(env *Env) *cobra.Command {
	return command(env, cobra.Command{Use: "version", Short: "Show which build this is"}, cobra.NoArgs, func(*cobra.Command, []string) error {
		fmt.Fprintf(env.Out, "waybill %s %s %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return nil
	})
}

// version is what the build knows of itself: the module's version, or the revision.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	revision, modified := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			revision = s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = "+changes"
		}
	}
	if revision == "" {
		return "devel"
	}
	return revision + modified
}
