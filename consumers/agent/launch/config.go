package launch

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/internal/kafka"
)

// config is what a configuration file holds; flags and environment set single members.
type config struct {
	Name        string              `json:"name"`
	Brokers     []string            `json:"brokers"`
	Prefix      string              `json:"prefix"`
	Kafka       kafka.Security      `json:"kafka,omitzero"`
	Concurrency map[string]int      `json:"concurrency"`
	Grace       definition.Duration `json:"grace"`
	Listen      string              `json:"listen"`
	Insecure    bool                `json:"insecure"`
	// ConsumerGroup is for a type that agents of other languages carry out, too.
	ConsumerGroup bool                `json:"consumerGroup"`
	LogLevel      string              `json:"logLevel"`
	LogFormat     string              `json:"logFormat"`
	HTTPTimeout   definition.Duration `json:"httpTimeout"`
	HTTPTries     int                 `json:"httpTries"`
	OTLPEndpoint  string              `json:"otlpEndpoint,omitempty"`
	Vault         secret.VaultConfig  `json:"vault,omitzero"`
	// Settings are decoded where the agent's own structure is known.
	Settings map[string]json.RawMessage `json:"settings,omitempty"`
}

// option is a flag, and with it a variable of the environment.
type option struct {
	name, value, usage string
	set                func(c *config, value string) error
}

// given is a flag as it was given. What it means is found out when its turn has come.
type given struct{ kind, text string }

// Set implements pflag.Value.
func (g *given) Set(s string) error { g.text = s; return nil }

// String implements pflag.Value.
func (g *given) String() string { return g.text }

// Type implements pflag.Value.
func (g *given) Type() string { return g.kind }

func text(p func(c *config) *string) func(*config, string) error {
	return func(c *config, v string) error { *p(c) = v; return nil }
}

func duration(p func(c *config) *definition.Duration) func(*config, string) error {
	return func(c *config, v string) error {
		d, err := definition.ParseDuration(v)
		*p(c) = definition.Duration(d)
		return err
	}
}

// options is the one table of flags.
func (a Agent) options() []option {
	options := []option{
		{"name", "NAME", "name of this process, in the status of activities (default " + a.Name + ", the host and the process)", text(func(c *config) *string { return &c.Name })},
		{"brokers", "HOST:PORT,...", "where Kafka is (or " + agent.EnvBrokers + ")", func(c *config, v string) error { c.Brokers = list(v); return nil }},
		{"prefix", "PREFIX", "first part of the topics' names (or " + agent.EnvPrefix + "; default " + kafka.DefaultPrefix + ")", text(func(c *config) *string { return &c.Prefix })},
		{"concurrency", "N|TYPE=N,...", "how many activities run at once, of each type or of one", a.setConcurrency},
		{"grace", "DURATION", "how long what runs may go on after the first signal (default " + agent.DefaultGrace.String() + ")", duration(func(c *config) *definition.Duration { return &c.Grace })},
		{"listen", "HOST:PORT", "where /healthz, /readyz and /metrics are (default 127.0.0.1 and a free port)", text(func(c *config) *string { return &c.Listen })},
		{"consumer-group", boolKind, "take work in a consumer group even where there are share groups, as agents of other languages do (default false)", func(c *config, v string) (err error) {
			c.ConsumerGroup, err = strconv.ParseBool(v)
			return err
		}},
		{"log-level", "LEVEL", "debug, info, warn or error (default info)", text(func(c *config) *string { return &c.LogLevel })},
		{"log-format", "FORMAT", "text or json (default text)", text(func(c *config) *string { return &c.LogFormat })},
		{"http-timeout", "DURATION", "bound of an HTTP call, retries included (default 1m0s)", duration(func(c *config) *definition.Duration { return &c.HTTPTimeout })},
		{"http-tries", "N", "how often an HTTP call is tried (default 3)", func(c *config, v string) (err error) { c.HTTPTries, err = strconv.Atoi(v); return err }},
		{"otlp-endpoint", "URL", "where traces are sent, OTLP over HTTP (or OTEL_EXPORTER_OTLP_ENDPOINT; default nowhere)", text(func(c *config) *string { return &c.OTLPEndpoint })},
		{"vault-address", "URL", "where Vault is (or VAULT_ADDR)", text(func(c *config) *string { return &c.Vault.Address })},
		{"vault-mount", "PATH", "mount of Vault's KV v2 engine (default secret)", text(func(c *config) *string { return &c.Vault.Mount })},
		{"vault-token-file", "FILE", "file with a token for Vault", text(func(c *config) *string { return &c.Vault.Token.File })},
		{"settings", "JSON", "the agent's own settings, a JSON or YAML object; its members go over the file's", (*config).mergeSettings},
	}
	for _, o := range kafka.SecurityOptions() {
		kind := o.Kind
		if o.Bool {
			kind = boolKind
		}
		options = append(options, option{o.Name, kind, o.Usage, func(c *config, v string) error { return o.Set(&c.Kafka, v) }})
	}
	return options
}

// boolKind is how a flag shows itself that may go without a value.
const boolKind = "true"

func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

func (a Agent) setConcurrency(c *config, v string) error {
	if n, err := strconv.Atoi(v); err == nil {
		for _, t := range a.Types {
			c.Concurrency[t.Type] = n
		}
		return nil
	}
	for _, part := range list(v) {
		typ, number, _ := strings.Cut(part, "=")
		n, err := strconv.Atoi(number)
		if err != nil {
			return errors.New("want a number, or TYPE=NUMBER separated by commas")
		}
		c.Concurrency[typ] = n
	}
	return nil
}

func (c *config) mergeSettings(v string) error {
	var more map[string]json.RawMessage
	if err := yaml.UnmarshalStrict([]byte(v), &more); err != nil {
		return err
	}
	if c.Settings == nil {
		c.Settings = map[string]json.RawMessage{}
	}
	maps.Copy(c.Settings, more)
	return nil
}

func (a Agent) envName(flag string) string {
	prefix := cmp.Or(a.Prefix, strings.ToUpper(strings.Map(func(r rune) rune {
		if r == '-' || r == '.' || r == ' ' {
			return '_'
		}
		return r
	}, a.Name)))
	return strings.TrimSuffix(prefix, "_") + "_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// configure puts the configuration together; done says that the program has done all that
// it was asked for.
func (a Agent) configure(env Env) (cfg config, done bool, err error) {
	fs := pflag.NewFlagSet(a.Name, pflag.ContinueOnError)
	fs.SortFlags = false
	fs.SetOutput(env.Err)
	fs.Usage = func() {}
	options := a.options()
	for _, o := range options {
		f := fs.VarPF(&given{kind: o.value}, o.name, "", o.usage)
		if o.value == boolKind {
			f.NoOptDefVal = boolKind
		}
	}
	insecure := fs.Bool("insecure", false, "listen beyond this machine: nobody is asked who they are")
	path := &given{kind: "FILE"}
	fs.Var(path, "config", fmt.Sprintf("the configuration, YAML (or %s)", a.envName("config")))
	printConfig := fs.Bool("print-config", false, "print the configuration in force, and end")
	version := fs.Bool("version", false, "print the version, and end")
	switch err := fs.Parse(env.Args); {
	case errors.Is(err, pflag.ErrHelp):
		a.help(env, fs)
		return cfg, true, nil
	case err != nil:
		return cfg, true, usagef("%w: see --help", err)
	case fs.NArg() > 0:
		return cfg, true, usagef("%q: there are no arguments, only flags: see --help", fs.Arg(0))
	case *version:
		fmt.Fprintln(env.Out, a.Name, cmp.Or(a.Version, "(no version)"))
		return cfg, true, nil
	}
	cfg = a.defaults()
	if path.text == "" {
		path.text, _ = env.Getenv(a.envName("config"))
	}
	if err := cfg.read(path.text); err != nil {
		return cfg, true, err
	}
	if err := a.override(&cfg, fs, options, env); err != nil {
		return cfg, true, err
	}
	if v, _ := env.Getenv(a.envName("insecure")); *insecure || v == "true" || v == "1" {
		cfg.Insecure = true
	}
	if err := a.validate(&cfg); err != nil {
		return cfg, true, err
	}
	if *printConfig {
		return cfg, true, a.print(env, cfg)
	}
	return cfg, false, nil
}

func (a Agent) defaults() config {
	c := config{
		Concurrency: map[string]int{}, Grace: definition.Duration(agent.DefaultGrace), Listen: "127.0.0.1:0",
		LogLevel: "info", LogFormat: "text", HTTPTimeout: definition.Duration(time.Minute), HTTPTries: 3,
	}
	for _, t := range a.Types {
		c.Concurrency[t.Type] = cmp.Or(t.Concurrency, agent.DefaultConcurrency)
	}
	return c
}

func (c *config) read(path string) error {
	if path == "" {
		return nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return usagef("--config: %w", err)
	}
	if err := yaml.UnmarshalStrict(b, c); err != nil {
		return usagef("%s: %w", path, err)
	}
	return nil
}

// override sets what the environment and flags say.
func (a Agent) override(c *config, fs *pflag.FlagSet, options []option, env Env) error {
	for _, shared := range []struct{ env, option string }{{agent.EnvBrokers, "brokers"}, {agent.EnvPrefix, "prefix"}} {
		if v, ok := env.Getenv(shared.env); ok && v != "" && (shared.option == "brokers" && len(c.Brokers) == 0 || shared.option == "prefix" && c.Prefix == "") {
			if err := setOption(c, options, shared.option, v); err != nil {
				return usagef("%s: %w", shared.env, err)
			}
		}
	}
	for _, o := range options {
		name := a.envName(o.name)
		if v, ok := env.Getenv(name); ok && v != "" {
			if err := o.set(c, v); err != nil {
				return usagef("%s: %w", name, err)
			}
		}
		if f := fs.Lookup(o.name); f.Changed {
			if err := o.set(c, f.Value.String()); err != nil {
				return usagef("--%s: %w", o.name, err)
			}
		}
	}
	password, _ := env.Getenv(a.envName(kafka.EnvPassword))
	c.Kafka.Password = kafka.Secret(password)
	if err := c.Kafka.FromEnv(env.Getenv); err != nil { // what all processes of a machine share
		return usageError{err}
	}
	return nil
}

func setOption(c *config, options []option, name, value string) error {
	i := slices.IndexFunc(options, func(o option) bool { return o.name == name })
	return options[i].set(c, value)
}

// validate says what is wrong, and fills in what depends on where the process runs.
func (a Agent) validate(c *config) error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, usagef(format, args...)) }
	if c.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "unknown"
		}
		c.Name = fmt.Sprintf("%s-%s-%d", a.Name, host, os.Getpid())
	}
	c.Prefix = cmp.Or(c.Prefix, kafka.DefaultPrefix)
	if len(c.Brokers) == 0 {
		wrong("--brokers: say where Kafka is, with the flag, %s or %s", a.envName("brokers"), agent.EnvBrokers)
	}
	if err := c.Kafka.Check(c.Brokers); err != nil {
		errs = append(errs, usageError{err})
	}
	for _, b := range c.Brokers {
		if _, _, err := net.SplitHostPort(b); err != nil {
			wrong("--brokers %s: want host:port", b)
		}
	}
	for typ, n := range c.Concurrency {
		if !slices.ContainsFunc(a.Types, func(t Type) bool { return t.Type == typ }) {
			wrong("--concurrency: this agent has no type %q", typ)
		} else if n < 1 {
			wrong("--concurrency %s=%d: want 1 or more", typ, n)
		}
	}
	if c.Grace < 0 {
		wrong("--grace %s: want a duration", time.Duration(c.Grace))
	}
	if c.HTTPTries < 1 || c.HTTPTimeout <= 0 {
		wrong("--http-tries and --http-timeout: want 1 or more, and more than nothing")
	}
	if _, err := c.logger(&bytes.Buffer{}); err != nil {
		errs = append(errs, err)
	}
	if err := c.Vault.Check(); err != nil {
		errs = append(errs, usageError{err})
	}
	errs = append(errs, c.checkListen())
	return errors.Join(append(errs, a.readSettings(c))...)
}

func (c *config) checkListen() error {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return usagef("--listen %s: want host:port, like 127.0.0.1:8080", c.Listen)
	}
	ip := net.ParseIP(host)
	if !c.Insecure && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return usagef("--listen %s can be reached from outside, and nobody is asked who they are: it needs --insecure said aloud", c.Listen)
	}
	return nil
}

// readSettings decodes the agent's own settings.
func (a Agent) readSettings(c *config) error {
	if a.Settings == nil {
		if len(c.Settings) > 0 {
			return usagef("settings: this agent has none of its own")
		}
		return nil
	}
	b, err := json.Marshal(c.Settings)
	if err == nil && len(c.Settings) > 0 {
		err = yaml.UnmarshalStrict(b, a.Settings)
	}
	if checked, ok := a.Settings.(interface{ Check() error }); ok && err == nil {
		err = checked.Check()
	}
	if err != nil {
		return usagef("settings: %w", err)
	}
	return nil
}

// print prints the configuration in force. There are no secrets in it, only where they are kept.
func (a Agent) print(env Env, c config) error {
	shown := struct {
		config
		Settings any `json:"settings,omitempty"`
	}{config: c, Settings: a.Settings}
	b, err := yaml.Marshal(shown)
	if err != nil {
		return fmt.Errorf("print the configuration: %w", err)
	}
	_, err = env.Out.Write(b)
	return err
}

func (a Agent) help(env Env, fs *pflag.FlagSet) {
	types := make([]string, len(a.Types))
	for i, t := range a.Types {
		types[i] = t.Type
	}
	fmt.Fprintf(env.Out, "%s carries out activities of the type %s.\n\n", a.Name, strings.Join(types, ", "))
	fmt.Fprintf(env.Out, "Flags go before the environment (--log-level is %s), the environment before the file (logLevel).\n", a.envName("log-level"))
	fmt.Fprintf(env.Out, "Durations are written 2s or PT2S. Exit codes: 0 done, 1 something broke, 2 usage, 3 Kafka not reachable, 4 Kafka refuses.\n\n%s", fs.FlagUsages())
}

func (c *config) logger(w interface{ Write([]byte) (int, error) }) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return nil, usagef("--log-level %s: want debug, info, warn or error", c.LogLevel)
	}
	opts := &slog.HandlerOptions{Level: level}
	switch c.LogFormat {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, usagef("--log-format %s: want text or json", c.LogFormat)
}
