package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/waybill/waybill/internal/kafka"
)

// securityFlag is one setting of how Kafka is reached.
type securityFlag struct {
	kafka.SecurityOption
	of *kafka.Security
}

// Set implements pflag.Value.
func (f securityFlag) Set(v string) error { return f.SecurityOption.Set(f.of, v) }

// String implements pflag.Value; pflag also asks a flag without anything.
func (f securityFlag) String() string {
	if f.of == nil {
		return ""
	}
	return f.Get(f.of)
}

// Type implements pflag.Value.
func (f securityFlag) Type() string {
	if f.Bool {
		return "bool"
	}
	return f.Kind
}

// securityFlags adds the flags of how Kafka is reached.
func securityFlags(fs *pflag.FlagSet, s *kafka.Security) {
	for _, o := range kafka.SecurityOptions() {
		f := fs.VarPF(securityFlag{o, s}, o.Name, "", o.Usage)
		if o.Bool {
			f.NoOptDefVal = "true"
		}
	}
}

// secure takes the password from the environment, and says what is wrong with the settings.
func secure(env *Env, brokers []string, s *kafka.Security) error {
	if password, _ := env.Getenv(envPrefix + kafka.EnvPassword); s.SASL != "" {
		s.Password = kafka.Secret(password)
	}
	if err := s.Check(brokers); err != nil {
		return usagef("%w", err)
	}
	return nil
}

// kafkaSection is the section of the configuration file with these settings: of all flags only these are
// many enough to have one.
const kafkaSection = "kafka"

// readSecurity takes the members of the section for the flags that they are.
func readSecurity(section any, into map[string][]string) error {
	members, ok := section.(map[string]any)
	if !ok && section != nil {
		return fmt.Errorf("%s: want a section with members of its own", kafkaSection)
	}
	flags := make(map[string]string)
	for _, o := range kafka.SecurityOptions() {
		flags[kafka.SecurityKey(o.Name)] = o.Name
	}
	for name, v := range members {
		flag, ok := flags[name]
		if !ok {
			return fmt.Errorf("%s: there is no setting %q, only %s", kafkaSection, name, strings.Join(slices.Sorted(maps.Keys(flags)), ", "))
		}
		if err := readSetting(fileKey(flag), kafkaSection+"."+name, v, into); err != nil {
			return err
		}
	}
	return nil
}
