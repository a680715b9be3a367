package cli

import (
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"

	"github.com/waybill/waybill/cmd/waybill/internal/app"
	"github.com/waybill/waybill/cmd/waybill/internal/pace"
	"github.com/waybill/waybill/domain/blob"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/internal/embedded"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/producers/intake"
)

// logFlags say how a server logs.
type logFlags struct{ format, level string }

func (l *logFlags) flags(f *pflag.FlagSet) {
	f.StringVar(&l.format, "log-format", "text", "text or json")
	f.StringVar(&l.level, "log-level", "info", "debug, info, warn or error")
}

func (l *logFlags) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.level)); err != nil {
		return nil, usagef("--log-level %s: want debug, info, warn or error", l.level)
	}
	opts := &slog.HandlerOptions{Level: level}
	switch l.format {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, usagef("--log-format %s: want text or json", l.format)
}

func newServe(env *Env) *cobra.Command {
	return serving(env, cobra.Command{
		Use: "serve", Short: "Run machines, agents, projections and API",
		Long: `Run machines, agents, projections and API in one process, on an embedded Kafka broker in --data or, with --brokers,
on another one. An interrupt lets what is under way finish and stops within five seconds; a second one ends at once.`,
	}, func(cmd *cobra.Command, cfg app.Config) error {
		return app.New(cfg).Run(cmd.Context())
	})
}

// serving makes a command that runs a server, with the flags for that.
func serving(env *Env, c cobra.Command, run func(cmd *cobra.Command, cfg app.Config) error) *cobra.Command {
	var (
		cfg       app.Config
		logs      logFlags
		tokenFile string
		keyFile   string
		config    string

		addressKeyFile string
		sealKeysFile   string

		printConfig bool
		keepBlobs   = duration(orchestration.DefaultKeepBlobs)
		keepHistory keeping
		remember    = duration(app.DefaultRemember)
	)
	cmd := command(env, c, cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
		file, err := readStructured(cmd.Flags(), env.Getenv)
		if err != nil {
			return err
		}
		cfg.Outside, cfg.Provisioners, cfg.Vault, cfg.Connectors = file.Agents, file.Provisioners, file.Vault, file.Config
		if printConfig {
			return printSettings(env.Out, cmd.Flags(), file, cfg.Security)
		}
		if cfg.Shards < 1 {
			return usagef("--shards %d: want 1 to 1000", cfg.Shards)
		}
		if cfg.Logger, err = logs.logger(env.Err); err != nil {
			return err
		}
		if err := secure(env, cfg.Brokers, &cfg.Security); err != nil {
			return err
		}
		if cfg.Token, err = readToken(env, tokenFile); err != nil {
			return err
		}
		if keyFile != "" {
			if cfg.CallbackKey, err = app.ReadKey("--callback-key-file", keyFile); err != nil {
				return err
			}
		}
		if addressKeyFile != "" {
			if cfg.AddressKey, err = app.ReadKey("--address-key-file", addressKeyFile); err != nil {
				return err
			}
		}
		if sealKeysFile != "" {
			if cfg.SealKeys, err = app.ReadSealKeys(sealKeysFile); err != nil {
				return err
			}
		}
		cfg.KeepBlobs, cfg.KeepHistory, cfg.Remember = time.Duration(keepBlobs), time.Duration(keepHistory), time.Duration(remember)
		cfg.Version = version()
		defer pace.Keep()()
		return run(cmd, cfg)
	})
	f := cmd.Flags()
	f.StringVar(&cfg.Data, "data", app.DefaultData, "directory for all this process keeps")
	f.StringVar(&cfg.Listen, "listen", app.DefaultListen, "address of API and page, host:port")
	f.StringVar(&cfg.KafkaListen, "kafka-listen", embedded.DefaultListen, "address of the embedded Kafka broker, host:port")
	f.StringSliceVar(&cfg.Brokers, "brokers", nil, "use Kafka at host:port,… instead of the embedded broker")
	securityFlags(f, &cfg.Security)
	f.BoolVar(&cfg.CreateTopics, "create-topics", false, "create topics that are missing at --brokers, where that is otherwise left to `waybill topics create`")
	f.StringSliceVar(&cfg.Roles, "roles", app.Roles(), "what this process does")
	f.BoolVar(&cfg.Fsync, "fsync", false, "the embedded broker writes to the disk before it acknowledges")
	f.StringVar(&cfg.Prefix, "prefix", kafka.DefaultPrefix, "first part of topic names")
	f.Int32Var(&cfg.Shards, "shards", kafka.DefaultShards, "partitions of the sharded topics, chosen once")
	f.StringArrayVar(&cfg.Allow, "allow", nil, "HOST[:PORT] that agents may call, * for any port; repeatable")
	f.BoolVar(&cfg.Insecure, "insecure", false, "listen beyond this machine without token and TLS")
	f.StringVar(&tokenFile, "token-file", "", "file with the token that requests must have (or WAYBILL_TOKEN)")
	f.Int64Var(&cfg.MaxBacklog, "max-backlog", intake.DefaultBacklog, "undecided commands of a shard at most when a job is taken over HTTP; else 503")
	f.Int64Var(&cfg.MaxLive, "max-live", intake.DefaultLive, "jobs that have not ended at most when another is taken")
	f.Int64Var(&cfg.MaxPayload, "max-payload", blob.DefaultMax, "bytes of an input or an output at most")
	f.Var(&keepHistory, "keep-history", "how long the log keeps what has ended, 720h, P30D or forever")
	f.Var(&remember, "remember", "how long a repeated command is told by its id, and what became of it can be asked for, 168h or P7D")
	f.Var(&keepBlobs, "keep-blobs", "how long large values of ended jobs can be read, 168h or P7D")
	f.StringVar(&keyFile, "callback-key-file", "", "file with the key that signs what callbacks are told (HMAC-SHA256)")
	f.StringVar(&cfg.PublicURL, "public-url", "", "where others reach the API, for the addresses they are given (default the API's own address)")
	f.StringVar(&addressKeyFile, "address-key-file", "", "file with the key of those addresses, the same for all processes (default one made in --data)")
	f.StringVar(&sealKeysFile, "seal-keys-file", "", "file with the keys that secrets are sealed with on the log, ID:BASE64 a line, the first in use (default one made in --data)")
	f.StringVar(&cfg.TLSCert, "tls-cert", "", "certificate, PEM file")
	f.StringVar(&cfg.TLSKey, "tls-key", "", "its key, PEM file")
	logs.flags(f)
	f.StringVar(&config, configFlag, "", "configuration file (default waybill.yaml where there is one)")
	f.BoolVar(&printConfig, "print-config", false, "print the settings in force as a configuration file, and end")
	return cmd
}

// printSettings prints a configuration file with the settings in force.
func printSettings(out io.Writer, fs *pflag.FlagSet, file structured, cfg kafka.Security) error {
	settings := map[string]any{
		"agents": file.Agents, "provisioners": file.Provisioners, "vault": file.Vault,
		"connectors": file.Connectors, "participants": file.Participants,
	}
	for _, name := range fileSettings() {
		f := fs.Lookup(name)
		if f == nil {
			continue
		}
		var v any = f.Value.String()
		if l, ok := f.Value.(pflag.SliceValue); ok {
			v = l.GetSlice()
		} else if b, err := fs.GetBool(name); err == nil {
			v = b
		} else if n, err := fs.GetInt32(name); err == nil {
			v = n
		} else if n, err := fs.GetInt64(name); err == nil {
			v = n
		}
		settings[fileKey(name)] = v
	}
	settings[kafkaSection] = cfg
	b, err := yaml.Marshal(settings)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s", b)
	return err
}

func newBroker(env *Env) *cobra.Command {
	var (
		cfg          embedded.Config
		logs         logFlags
		config, data string
		insecure     bool
	)
	cmd := command(env, cobra.Command{
		Use: "broker", Short: "Run the embedded Kafka broker alone",
		Long: "Run the embedded Kafka broker alone, for several `waybill serve --brokers` on one machine and for any other Kafka client.",
	}, cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
		var err error
		if cfg.Logger, err = logs.logger(env.Err); err != nil {
			return err
		}
		return app.RunBroker(cmd.Context(), data, insecure, cfg)
	})
	f := cmd.Flags()
	f.StringVar(&data, "data", app.DefaultData, "directory for all this process keeps")
	f.StringVar(&cfg.Listen, "kafka-listen", embedded.DefaultListen, "address, host:port")
	f.BoolVar(&cfg.Fsync, "fsync", false, "write to the disk before anything is acknowledged")
	f.BoolVar(&insecure, "insecure", false, "listen beyond this machine: the broker asks nobody who they are")
	logs.flags(f)
	f.StringVar(&config, configFlag, "", "configuration file (default waybill.yaml where there is one)")
	return cmd
}
