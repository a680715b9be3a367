package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/cmd/waybill/internal/app"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// topicsTimeout bounds a look at all topics, or their creation.
const topicsTimeout = 60 * time.Second

// topics holds the flags of the commands about topics.
type topics struct {
	remote
	straight

	shards  int32
	types   []string
	section structured
}

func newTopics(env *Env) *cobra.Command {
	return group(cobra.Command{
		Use: "topics", Short: "Prepare a Kafka cluster: its topics, and who may do what",
		Long: "Prepare a Kafka cluster for `waybill serve --brokers`: create the topics, compare them with what they should be, and list\nthe rights (ACLs) that each role needs.",
	}, newTopicsCreate(env), newTopicsDescribe(env), newTopicsACLs(env))
}

func (t *topics) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSliceVar(&t.brokers, "brokers", nil, "Kafka at host:port,…")
	f.StringVar(&t.prefix, "prefix", kafka.DefaultPrefix, "first part of topic names")
	securityFlags(f, &t.security)
	f.Int32Var(&t.shards, "shards", kafka.DefaultShards, "partitions of the sharded topics, chosen once")
	f.StringArrayVar(&t.types, "type", nil, "activity type that agents of others carry out; repeatable")
	f.StringVarP(&t.output, "output", "o", "table", "table or json")
	f.StringVar(&t.config, configFlag, "", "configuration file (default waybill.yaml where there is one)")
}

// log are the topics that the configuration asks for.
func (t *topics) log() kafka.Log {
	types := app.ActivityTypes(t.section.Config)
	for _, typ := range t.types {
		if !slices.Contains(types, typ) {
			types = append(types, typ)
		}
	}
	return app.Topics(t.prefix, false, types...)
}

func (t *topics) specs() []kafka.Spec {
	log := t.log()
	return log.Specs(t.shards, log.Aggregates, log.ActivityTypes)
}

// prepare checks the flags.
func (t *topics) prepare(cmd *cobra.Command) (err error) {
	if t.output != "table" && t.output != "json" {
		return usagef("--output %s: want table or json", t.output)
	}
	if t.shards < 1 || t.shards > 1000 {
		return usagef("--shards %d: want 1 to 1000", t.shards)
	}
	t.section, err = readStructured(cmd.Flags(), t.env.Getenv)
	return err
}

// client connects, and says at once what keeps it from being let in.
func (t *topics) client(ctx context.Context) (*kgo.Client, error) {
	if err := t.check(t.env); err != nil {
		return nil, err
	}
	cl, err := t.kafka().NewClient()
	if err != nil {
		return nil, usagef("--brokers: %w", err)
	}
	if err := reach(ctx, cl, t.brokers); err != nil {
		cl.Close()
		return nil, err
	}
	return cl, nil
}

// reach waits a while for an answer: what a client cannot do it tries again for ever, but does not say.
func reach(ctx context.Context, cl *kgo.Client, brokers []string) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	err := kafka.Await(ctx, cl.Ping)
	if _, access := errors.AsType[*kafka.AccessError](err); err == nil || access {
		return err
	}
	return &app.UnreachableError{Brokers: brokers, Err: err}
}

// using connects, does something with the cluster, and closes.
func (t *topics) using(cmd *cobra.Command, do func(ctx context.Context, cl *kgo.Client) error) error {
	if err := t.prepare(cmd); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), topicsTimeout)
	defer cancel()
	cl, err := t.client(ctx)
	if err != nil {
		return err
	}
	defer cl.Close()
	return kafka.Explain(do(ctx, cl))
}

func newTopicsCreate(env *Env) *cobra.Command {
	t := &topics{remote: remote{env: env}}
	var creation kafka.Creation
	var alter bool
	cmd := command(env, cobra.Command{
		Use: "create --brokers HOST:PORT,…", Short: "Create the topics that are missing",
		Long: `Create the topics that are missing, with the settings they need; those that are there stay as they are. A second time there
is nothing to do. The number of shards is chosen here, once.`,
		Example: `  waybill topics create --brokers kafka:9092 --replication 3 --type greet.example.com`,
	}, cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
		return t.using(cmd, func(ctx context.Context, cl *kgo.Client) error { return t.create(ctx, cl, creation, alter) })
	})
	t.flags(cmd)
	f := cmd.Flags()
	f.Int16Var(&creation.Replication, "replication", 0, "copies of each topic (default the brokers')")
	f.BoolVar(&creation.DryRun, "dry-run", false, "only say what would be created")
	f.BoolVar(&alter, "alter", false, "also set the configuration of topics that are there")
	return cmd
}

func (t *topics) create(ctx context.Context, cl *kgo.Client, creation kafka.Creation, alter bool) error {
	if creation.Replication < 0 {
		return usagef("--replication %d: want 1 or more", creation.Replication)
	}
	made, err := creation.Create(ctx, cl, t.specs())
	if err != nil && len(made) == 0 {
		return err
	}
	for i := range made {
		made[i].State = map[bool]string{false: "created", true: "to be created"}[creation.DryRun]
	}
	if err != nil {
		return errors.Join(t.print(made), err)
	}
	states, err := kafka.InspectOnly(ctx, cl, t.specs())
	if err == nil && alter && !creation.DryRun {
		var altered []kafka.TopicState
		altered, err = kafka.Alter(ctx, cl, states)
		for i := range altered {
			altered[i].State = "altered"
		}
		made = append(made, altered...)
		if err == nil {
			states, err = kafka.InspectOnly(ctx, cl, t.specs())
		}
	}
	if len(made) == 0 && err == nil && !t.asJSON() {
		fmt.Fprintln(t.env.Out, "every topic was there")
	} else if len(made) > 0 || t.asJSON() {
		err = errors.Join(t.print(made), err)
	}
	return errors.Join(err, kafka.Unfit(slices.DeleteFunc(states, func(s kafka.TopicState) bool { return s.State == kafka.TopicMissing })))
}

func newTopicsDescribe(env *Env) *cobra.Command {
	t := &topics{remote: remote{env: env}}
	cmd := command(env, cobra.Command{
		Use: "describe --brokers HOST:PORT,…", Short: "Compare the topics with what they should be",
		Long: "Compare the topics there are with what they should be: missing, wrong, extra. Exit code 4 where something is missing or wrong.",
	}, cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
		return t.using(cmd, func(ctx context.Context, cl *kgo.Client) error {
			log := t.log()
			states, err := kafka.Inspect(ctx, cl, log.Topics, t.shards, t.specs())
			if err != nil {
				return err
			}
			return errors.Join(t.print(states), kafka.Unfit(states))
		})
	})
	t.flags(cmd)
	return cmd
}

func (t *topics) print(states []kafka.TopicState) error {
	if t.asJSON() {
		if states == nil {
			states = []kafka.TopicState{}
		}
		return t.printValue(map[string]any{"topics": states})
	}
	rows := newTable(t.env.Out, "TOPIC", "STATE", "PARTITIONS", "REPLICAS", "DIFFERENCES")
	for _, s := range states {
		var differences []string
		for _, d := range s.Differences {
			text := d.String()
			if d.Note {
				text = "note: " + text
			}
			differences = append(differences, text)
		}
		rows.row(s.Name, s.State, number(s.Partitions), number(s.Replication), strings.Join(differences, "; "))
	}
	return rows.end()
}

func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func newTopicsACLs(env *Env) *cobra.Command {
	t := &topics{remote: remote{env: env}}
	var role, principal, group string
	cmd := command(env, cobra.Command{
		Use: "acls [--role ROLE]", Short: "List the rights that a role needs",
		Long: `List the rights (ACLs) that each role needs: nothing is asked and nothing is changed. With --principal they are printed as
commands for kafka-acls, Kafka's own tool, which gives them.`,
		Example: `  waybill topics acls --role agents --type greet.example.com --principal User:greeter --brokers kafka:9092`,
	}, cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
		if err := t.prepare(cmd); err != nil {
			return err
		}
		roles := kafka.AccessRoles()
		if role != "" {
			if !slices.Contains(roles, kafka.Role(role)) {
				return usagef("--role %s: want one of %s", role, joined(roles))
			}
			roles = []kafka.Role{kafka.Role(role)}
		}
		if principal != "" && (role == "" || !strings.Contains(principal, ":")) {
			return usagef("--principal: want something like User:NAME, and one --role")
		}
		log := t.log()
		if role == string(kafka.RoleAgents) && len(t.types) > 0 {
			// A program with agents of its own carries out nothing else, for nobody else.
			log.ActivityTypes, log.Askers = t.types, []string{schemas.AggregateOrchestration}
		}
		log.Subscribers = group
		if principal != "" {
			return t.printCommands(log, roles[0], principal)
		}
		return t.printRights(log, roles)
	})
	t.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&role, "role", "", "of "+joined(kafka.AccessRoles())+" (default all)")
	f.StringVar(&principal, "principal", "", "who gets them, like User:NAME: print commands for kafka-acls")
	f.StringVar(&group, "group", "", "consumer group of a subscriber")
	return cmd
}

func joined(roles []kafka.Role) string {
	l := make([]string, len(roles))
	for i, r := range roles {
		l[i] = string(r)
	}
	return strings.Join(l, ", ")
}

func (t *topics) printRights(log kafka.Log, roles []kafka.Role) error {
	type row struct {
		Role kafka.Role `json:"role"`
		kafka.Right
	}
	var all []row
	rows := newTable(t.env.Out, "ROLE", "OPERATIONS", "ON", "NAME", "FOR")
	for _, role := range roles {
		for _, r := range log.Rights(role) {
			all = append(all, row{role, r})
			name, purpose := r.Name, r.For
			if r.Prefixed {
				name += "*"
			}
			if r.Optional {
				purpose += " (optional)"
			}
			rows.row(string(role), r.Names(), r.On, name, purpose)
		}
	}
	if t.asJSON() {
		return t.printValue(map[string]any{"rights": all})
	}
	return rows.end()
}

// printCommands prints what kafka-acls has to be told, optional rights as comments.
func (t *topics) printCommands(log kafka.Log, role kafka.Role, principal string) error {
	brokers := strings.Join(t.brokers, ",")
	if brokers == "" {
		brokers = "HOST:PORT"
	}
	for _, r := range log.Rights(role) {
		fmt.Fprintf(t.env.Out, "%skafka-acls --bootstrap-server %s --add --allow-principal %s %s   # %s\n",
			map[bool]string{true: "# optional: "}[r.Optional], brokers, quoted(principal), r.Arguments(), r.For)
	}
	return nil
}

// quoted is a word for a shell.
func quoted(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
