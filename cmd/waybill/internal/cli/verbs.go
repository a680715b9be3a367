package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/waybill/waybill/cmd/waybill/internal/client"
	"github.com/waybill/waybill/producers"
	"github.com/waybill/waybill/schemas"
)

// verb holds the flags of a command that says a verb of a job, of a node, or of all that a
// filter chooses.
type verb struct {
	remote
	straight
	filter

	job, node  *producers.Verb // what the name means for either; nil where nothing
	reason, by string
	members    map[string]*string // by the member of the body
	nodeState  string
	nodeType   string
	all, yes   bool
	dryRun     bool
	wait       bool
	timeout    duration
}

// newVerbs makes a command for each name in the lists of verbs.
func newVerbs(env *Env) []*cobra.Command {
	var commands []*cobra.Command
	jobVerbs, nodeVerbs := producers.JobVerbs(), producers.NodeVerbs()
	for i := range jobVerbs {
		v := &verb{remote: remote{env: env}, job: &jobVerbs[i]}
		for k := range nodeVerbs {
			if nodeVerbs[k].Name == v.job.Name {
				v.node = &nodeVerbs[k]
			}
		}
		commands = append(commands, v.command())
	}
	for i := range nodeVerbs {
		if _, both := producers.FindVerb(jobVerbs, nodeVerbs[i].Name); !both {
			commands = append(commands, (&verb{remote: remote{env: env}, node: &nodeVerbs[i]}).command())
		}
	}
	return commands
}

func (v *verb) command() *cobra.Command {
	var c cobra.Command
	name := ""
	switch {
	case v.node == nil:
		name, c.Use, c.Short = v.job.Name, "[ID]", v.job.Does
	case v.job == nil:
		name, c.Use, c.Short = v.node.Name, "[ID NODE]", v.node.Does
	default:
		name, c.Use, c.Short = v.job.Name, "[ID [NODE]]", v.job.Does+"; or the same of a node"
	}
	c.Use = name + " " + c.Use
	c.Long = c.Short + ".\n\nWith an id it is said of that; without one, of all that the flags choose: see first how many they are with --dry-run."
	one, many := "order-17", ""
	if v.job == nil {
		one, many = "order-17 pay", " --node-state WAITING"
	}
	many = fmt.Sprintf("  waybill %s --type order%s ", name, many)
	c.Example = fmt.Sprintf("  waybill %s %s --reason 'asked for by the customer'\n%s--dry-run\n%s--yes", name, one, many, many)
	cmd := command(v.env, c, cobra.MaximumNArgs(2), func(cmd *cobra.Command, args []string) error {
		return v.run(cmd, args)
	})
	v.flags(cmd)
	return cmd
}

func (v *verb) flags(cmd *cobra.Command) {
	v.remote.flags(cmd)
	v.straight.flags(cmd)
	v.filter.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&v.reason, "reason", "", "why, for those who look at it later")
	user, _ := v.env.Getenv("USER")
	f.StringVar(&v.by, "by", user, "who")
	v.members = map[string]*string{}
	for _, of := range []*producers.Verb{v.job, v.node} {
		if of == nil {
			continue
		}
		for _, m := range of.Members {
			name, usage := memberFlag(m)
			v.members[m] = f.String(name, "", usage)
		}
	}
	if v.node != nil {
		f.StringVar(&v.nodeState, "node-state", "", "of the nodes in this state of the jobs that are chosen: RETRYING, WAITING …")
		f.StringVar(&v.nodeType, "node-type", "", "of the nodes of this activity type of the jobs that are chosen")
	}
	f.BoolVar(&v.all, "all", false, "of all jobs there are")
	f.BoolVar(&v.dryRun, "dry-run", false, "only say of how many")
	f.BoolVar(&v.yes, "yes", false, "say it of all that are chosen")
	if v.waits() {
		f.BoolVar(&v.wait, "wait", false, "wait until that has ended; exit 1 unless it has completed")
		f.Var(&v.timeout, "timeout", "wait no longer than this; exit 3")
	}
	f.VisitAll(func(flag *pflag.Flag) {
		switch flag.Name {
		case "server", "token-file", "output", configFlag, "brokers", "prefix", "by":
		default:
			flag.Annotations = map[string][]string{saidAloud: {"yes"}}
		}
	})
}

// memberFlag is the flag for what a verb takes besides reason and by.
func memberFlag(member string) (name, usage string) {
	switch member {
	case "output":
		return "result", "output of the node: JSON, @FILE, or @- for the standard input"
	case "error":
		return "error", "what went wrong (default the reason)"
	case "from":
		return "from", "nodes to run again from: NODE,… (default those that failed or never ended)"
	}
	return member, member + " of the command"
}

func (v *verb) run(cmd *cobra.Command, args []string) error {
	chosen := v.chosen()
	switch {
	case len(args) == 0 && !chosen && !v.all:
		return usagef("say which: the id of a job%s, or a flag that chooses jobs, or --all", map[bool]string{true: " and of its node"}[v.job == nil])
	case len(args) > 0 && (chosen || v.all || v.nodeState != "" || v.nodeType != ""):
		return usagef("either an id or flags that choose jobs, not both")
	case len(args) == 1 && v.job == nil:
		return usagef("%s is said of a node: want the id of the job and the id of the node", v.node.Name)
	case len(args) == 2 && v.node == nil:
		return usagef("%s is said of a job, not of a node: want one id", v.job.Name)
	case len(args) == 0 && v.job == nil && v.nodeState == "" && v.nodeType == "":
		return usagef("say which nodes: --node-state or --node-type chooses them")
	case len(args) > 0 && (v.yes || v.dryRun):
		return usagef("--yes and --dry-run are for many jobs at once")
	case len(args) == 0 && v.wait:
		return usagef("--wait is for one job")
	}
	o := producers.Operation{Reason: v.reason, By: v.by}
	var err error
	if o.Members, err = v.body(); err != nil {
		return err
	}
	ctx := cmd.Context()
	if len(args) == 0 {
		if v.used(cmd) {
			return usagef("--brokers: only a server knows which jobs are meant; give --server")
		}
		return v.bulk(ctx, o)
	}
	o.JobID, o.Verb = args[0], *orVerb(v.job, v.node)
	if len(args) == 2 {
		o.NodeID, o.Verb = args[1], *v.node
	}
	if v.used(cmd) {
		if v.wait {
			return usagef("--wait asks a server; give --server instead of --brokers")
		}
		return v.toKafka(ctx, o)
	}
	return v.toServer(ctx, o)
}

func orVerb(v, otherwise *producers.Verb) *producers.Verb {
	if v != nil {
		return v
	}
	return otherwise
}

// body reads the flags that are members of the command.
func (v *verb) body() (map[string]json.RawMessage, error) {
	body := map[string]json.RawMessage{}
	for member, text := range v.members {
		switch {
		case *text == "":
		case member == "output":
			raw, err := readJSON(v.env, "--result", *text)
			if err != nil {
				return nil, err
			}
			body[member] = raw
		case member == "from":
			raw, err := schemas.Encode(strings.Split(*text, ","))
			if err != nil {
				return nil, err
			}
			body[member] = raw
		default:
			raw, err := schemas.Encode(*text)
			if err != nil {
				return nil, err
			}
			body[member] = raw
		}
	}
	return body, nil
}

// request is the body of a request.
func request(o producers.Operation) ([]byte, error) {
	body := map[string]any{"reason": o.Reason, "by": o.By}
	for k, m := range o.Members {
		body[k] = m
	}
	return schemas.Encode(body)
}

func (v *verb) toServer(ctx context.Context, o producers.Operation) error {
	c, err := v.client()
	if err != nil {
		return err
	}
	body, err := request(o)
	if err != nil {
		return err
	}
	path := "/v1/jobs/" + segment(o.JobID)
	if o.NodeID != "" {
		path += "/nodes/" + segment(o.NodeID)
	}
	ctx, cancel := withTimeout(ctx, v.timeout)
	defer cancel()
	a, err := write(ctx, c, http.MethodPost, path+"/"+o.Verb.Name, body)
	if err != nil {
		return err
	}
	if v.wait {
		var done accepted
		if err := decode(c, path, a.Body, &done); err != nil {
			return err
		}
		return v.awaitEnd(ctx, c, done)
	}
	return v.print(a.Body, o, a.Status == http.StatusOK)
}

func (v *verb) toKafka(ctx context.Context, o producers.Operation) error {
	if err := v.check(v.env); err != nil {
		return err
	}
	a, err := publishing(ctx, v.kafka(), func(ctx context.Context, p *producers.Publisher) (producers.Accepted, error) {
		return p.Operate(ctx, o)
	})
	if err != nil {
		return err
	}
	raw, err := schemas.Encode(a)
	if err != nil {
		return err
	}
	return v.print(raw, o, false)
}

func (v *verb) print(raw json.RawMessage, o producers.Operation, decided bool) error {
	if v.asJSON() {
		return v.printJSON(raw)
	}
	what, done := "job "+o.JobID, o.Verb.Done
	if o.NodeID != "" {
		what = "node " + o.NodeID + " of " + what
	}
	if !decided {
		done = "asked to " + o.Verb.Name + "; not decided yet"
	}
	fmt.Fprintf(v.env.Out, "%s %s\n", what, done)
	return nil
}

// bulkTimeout bounds how long commands for many jobs may take to be written.
const bulkTimeout = 10 * time.Minute

// bulk says of how many it is, and, with --yes, says it.
func (v *verb) bulk(ctx context.Context, o producers.Operation) error {
	c, err := v.client()
	if err != nil {
		return err
	}
	o.Verb = *orVerb(v.job, v.node)
	what := "job"
	query := v.query()
	if v.nodeState != "" || v.nodeType != "" {
		what, o.Verb = "node", *v.node
	}
	for name, value := range map[string]string{"nodeState": v.nodeState, "nodeType": v.nodeType} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if v.all {
		query.Set("all", "true")
	}
	body, err := request(o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	n, err := v.count(ctx, c, o.Verb.Name, query, body, what)
	switch {
	case err != nil || v.dryRun || n == 0:
		return err
	case !v.yes:
		return usagef("nothing was done: --yes goes on, --dry-run only counts")
	}
	a, err := c.Do(ctx, http.MethodPost, "/v1/bulk/"+o.Verb.Name, query, body, http.Header{"Idempotency-Key": {producers.NewID()}})
	if err != nil {
		return err
	}
	if v.asJSON() {
		return v.printJSON(a.Body)
	}
	var done bulkAnswer
	if err := decode(c, "/v1/bulk/"+o.Verb.Name, a.Body, &done); err != nil {
		return err
	}
	fmt.Fprintf(v.env.Out, "%s asked to %s\n", count(done.Count, what, what+"s"), o.Verb.Name)
	return nil
}

type bulkAnswer struct {
	Count int `json:"count"`
}

// count asks of how many it would be said, and says so.
func (v *verb) count(ctx context.Context, c *client.Client, name string, query url.Values, body []byte, what string) (int, error) {
	counting := url.Values{"dryRun": {"true"}}
	for k, values := range query {
		counting[k] = values
	}
	a, err := c.Do(ctx, http.MethodPost, "/v1/bulk/"+name, counting, body, nil)
	if err != nil {
		return 0, err
	}
	var n bulkAnswer
	if err := decode(c, "/v1/bulk/"+name, a.Body, &n); err != nil {
		return 0, err
	}
	if v.asJSON() && (v.dryRun || n.Count == 0) {
		return n.Count, v.printJSON(a.Body)
	}
	out := v.env.Out
	if v.asJSON() {
		out = v.env.Err // the one document is the answer to what follows
	}
	fmt.Fprintf(out, "%s to %s\n", count(n.Count, what, what+"s"), name)
	return n.Count, nil
}

// filter holds the flags that choose jobs.
type filter struct {
	state, typ, name, set, since, until, q string
	labels                                 []string
}

func (x *filter) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&x.state, "state", "", "only in this state: IN_PROGRESS, PAUSED, COMPLETED, ERROR, CANCELLED …")
	f.StringVar(&x.typ, "type", "", "only of this type")
	f.StringVar(&x.name, "name", "", "only of this name")
	f.StringVar(&x.set, "set", "", "only of this set")
	f.StringArrayVar(&x.labels, "label", nil, "only with this label, NAME=VALUE; may be repeated")
	f.StringVar(&x.since, "since", "", "only created at or after this time, RFC 3339")
	f.StringVar(&x.until, "until", "", "only created before this time, RFC 3339")
	f.StringVarP(&x.q, "query", "q", "", "only with this in the id, the name, the type, a label or the error")
}

// query is the filter as the server takes it.
func (x *filter) query() url.Values {
	query := url.Values{}
	for k, v := range map[string]string{"state": x.state, "type": x.typ, "name": x.name, "set": x.set, "since": x.since, "until": x.until, "q": x.q} {
		if v != "" {
			query.Set(k, v)
		}
	}
	for _, l := range x.labels {
		if strings.TrimSpace(l) != "" {
			query.Add("label", l)
		}
	}
	return query
}

// chosen says that some flag chooses jobs.
func (x *filter) chosen() bool { return len(x.query()) > 0 }
