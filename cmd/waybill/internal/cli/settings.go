package cli

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"

	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/consumers/agents"
	"github.com/waybill/waybill/consumers/connectors"
	"github.com/waybill/waybill/consumers/provisioners"
	"github.com/waybill/waybill/domain/definition"
)

const (
	envPrefix   = "WAYBILL_"
	defaultFile = "waybill.yaml"
	configFlag  = "config"
)

// fileSettings are the flags that may stand in the configuration file, in camelCase, one
// file for every command.
func fileSettings() []string {
	return []string{
		"data", "listen", "kafka-listen", "brokers", "create-topics", "roles", "fsync", "prefix", "shards", "allow", "insecure",
		"max-payload", "max-backlog", "max-live", "keep-blobs", "keep-history", "remember", "token-file", "callback-key-file", "public-url", "address-key-file", "seal-keys-file", "tls-cert", "tls-key", "log-format", "log-level", "server",
	}
}

// structured are what only the file can hold: sections with members of their own.
type structured struct {
	Agents       agents.Settings         `json:"agents"`
	Provisioners []provisioners.Settings `json:"provisioners"`
	Vault        secret.VaultConfig      `json:"vault"`
	connectors.Config
}

// sections are the names of the structured ones.
func sections() []string {
	return []string{"agents", "provisioners", "vault", "connectors", "participants"}
}

// readStructured reads the sections of the configuration file, strictly.
func readStructured(fs *pflag.FlagSet, getenv func(string) (string, bool)) (structured, error) {
	var s structured
	path, b, err := fileContent(fs, getenv)
	if err != nil || b == nil {
		return s, err
	}
	var raw map[string]any
	if err := yaml.UnmarshalStrict(b, &raw); err != nil {
		return s, usagef("%s: %w", path, err)
	}
	for name := range raw {
		if !slices.Contains(sections(), name) {
			delete(raw, name)
		}
	}
	if err = decodeSections(raw, &s); err != nil {
		what := strings.TrimPrefix(err.Error(), "error unmarshaling JSON: while decoding JSON: ")
		if at := misfit(raw, func() bool { return decodeSections(raw, new(structured)) == nil }); at != "" {
			what = at + ": " + what
		}
		err = errors.New(what)
	}
	if err == nil {
		err = cmp.Or(s.Vault.Check(), provisioners.Check(s.Provisioners), s.Check())
	}
	if err != nil {
		return s, usagef("%s: %w", path, err)
	}
	return s, nil
}

func decodeSections(raw map[string]any, s *structured) error {
	b, err := yaml.Marshal(raw)
	if err != nil {
		return err
	}
	return yaml.UnmarshalStrict(b, s)
}

// misfit is the path of what keeps a configuration from being read, which the decoder does not say: the
// smallest part without which it fits.
func misfit(part any, fits func() bool) string {
	switch v := part.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			below := v[name]
			delete(v, name)
			found := fits()
			if v[name] = below; found {
				return strings.ReplaceAll(strings.TrimSuffix(name+"."+misfit(below, fits), "."), ".[", "[")
			}
		}
	case []any:
		for i, below := range v {
			v[i] = nil
			found := fits()
			if v[i] = below; found {
				return strings.TrimSuffix(fmt.Sprintf("[%d].%s", i, misfit(below, fits)), ".")
			}
		}
	}
	return ""
}

// envName is the environment variable of a flag: WAYBILL_KAFKA_LISTEN for kafka-listen.
func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// fileKey is the name of a flag in the file: kafkaListen for kafka-listen.
func fileKey(flag string) string {
	parts := strings.Split(flag, "-")
	for i := 1; i < len(parts); i++ {
		parts[i] = strings.ToUpper(parts[i][:1]) + parts[i][1:]
	}
	return strings.Join(parts, "")
}

// saidAloud marks, in a flag's annotations, that it counts only where it is given: a variable
// set for another command must not choose whose jobs are cancelled.
const saidAloud = "said aloud"

// settle completes the flags that were not given from the environment, then from the
// file. The list of allowed hosts is the one that adds up instead.
func settle(fs *pflag.FlagSet, getenv func(string) (string, bool)) error {
	path, file, err := readFile(fs, getenv)
	if err != nil {
		return err
	}
	var errs []error
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" || f.Name == configFlag || f.Annotations[saidAloud] != nil {
			return
		}
		values, inFile := file[fileKey(f.Name)]
		env, inEnv := getenv(envName(f.Name))
		switch {
		case f.Changed:
		case inEnv && env != "":
			errs = append(errs, setFrom(f, envName(f.Name), split(f, env)))
		case inFile:
			errs = append(errs, setFrom(f, path, values))
			return
		}
		if f.Name == "allow" && inFile {
			errs = append(errs, setFrom(f, path, append(values, listOf(f)...)))
		}
	})
	return errors.Join(errs...)
}

func listOf(f *pflag.Flag) []string {
	if l, ok := f.Value.(pflag.SliceValue); ok {
		return l.GetSlice()
	}
	return nil
}

// split takes an environment variable's list apart.
func split(f *pflag.Flag, s string) []string {
	if _, ok := f.Value.(pflag.SliceValue); !ok {
		return []string{s}
	}
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

func setFrom(f *pflag.Flag, where string, values []string) error {
	var err error
	if l, ok := f.Value.(pflag.SliceValue); ok {
		err = l.Replace(values)
	} else if len(values) != 1 {
		err = errors.New("want one value, not a list")
	} else {
		err = f.Value.Set(values[0])
	}
	if err != nil {
		return usagef("%s: %s: %w", where, f.Name, err)
	}
	return nil
}

// readFile reads the configuration file: the one that is named, else waybill.yaml where
// there is one.
func readFile(fs *pflag.FlagSet, getenv func(string) (string, bool)) (path string, settings map[string][]string, err error) {
	path, b, err := fileContent(fs, getenv)
	if err != nil || b == nil {
		return path, nil, err
	}
	settings, err = parseFile(b)
	if err != nil {
		return path, nil, usagef("%s: %w", path, err)
	}
	return path, settings, nil
}

// fileContent is the content of the configuration file; nil where there is none.
func fileContent(fs *pflag.FlagSet, getenv func(string) (string, bool)) (path string, b []byte, err error) {
	f := fs.Lookup(configFlag)
	if f == nil {
		return "", nil, nil
	}
	named := true
	path = f.Value.String()
	if path == "" {
		path, _ = getenv(envName(configFlag))
	}
	if path == "" {
		path, named = defaultFile, false
	}
	b, err = os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist) && !named:
		return path, nil, nil
	case err != nil:
		return path, nil, usagef("--config: %w", err)
	}
	return path, b, nil
}

func parseFile(b []byte) (map[string][]string, error) {
	var raw map[string]any
	if err := yaml.UnmarshalStrict(b, &raw); err != nil {
		return nil, err
	}
	var known []string
	for _, f := range fileSettings() {
		known = append(known, fileKey(f))
	}
	known = append(append(known, sections()...), kafkaSection)
	settings := make(map[string][]string, len(raw))
	for k, v := range raw {
		if !slices.Contains(known, k) {
			return nil, fmt.Errorf("there is no setting %q, only %s", k, strings.Join(known, ", "))
		}
		var err error
		switch {
		case k == kafkaSection:
			err = readSecurity(v, settings)
		case !slices.Contains(sections(), k):
			err = readSetting(k, k, v, settings)
		}
		if err != nil {
			return nil, err
		}
	}
	return settings, nil
}

// readSetting takes the value of one setting, or the list of them.
func readSetting(k, where string, v any, into map[string][]string) error {
	if v == nil {
		return nil
	}
	l, isList := v.([]any)
	if !isList {
		l = []any{v}
	}
	values := make([]string, len(l))
	for i, item := range l {
		switch item := item.(type) {
		case map[string]any, []any, nil:
			return fmt.Errorf("%s: want a value or a list of values", where)
		case float64: // without an exponent, however large
			values[i] = strconv.FormatFloat(item, 'f', -1, 64)
		default:
			values[i] = fmt.Sprint(item)
		}
	}
	into[k] = values
	return nil
}

// duration is a flag in either form, 2s or PT2S.
type duration time.Duration

// Set implements pflag.Value.
func (d *duration) Set(s string) error {
	v, err := definition.ParseDuration(s)
	*d = duration(v)
	return err
}

// String implements pflag.Value.
func (d *duration) String() string {
	if *d == 0 {
		return ""
	}
	return time.Duration(*d).String()
}

// Type implements pflag.Value.
func (d *duration) Type() string { return "duration" }

// keeping is a flag for how long something is kept: a duration, or for ever, which is 0.
type keeping time.Duration

const forever = "forever"

// Set implements pflag.Value.
func (k *keeping) Set(s string) error {
	if s == forever {
		*k = 0
		return nil
	}
	v, err := definition.ParseDuration(s)
	switch {
	case err != nil:
		return err
	case v <= 0:
		return fmt.Errorf("want a duration above zero, or %s", forever)
	}
	*k = keeping(v)
	return nil
}

// String implements pflag.Value.
func (k *keeping) String() string {
	if *k == 0 {
		return forever
	}
	return time.Duration(*k).String()
}

// Type implements pflag.Value.
func (k *keeping) Type() string { return "duration|forever" }
