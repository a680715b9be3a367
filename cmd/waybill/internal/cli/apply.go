package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/waybill/waybill/cmd/waybill/internal/client"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
)

// collection is where definitions of a kind stand in the HTTP interface.
func collection(kind string) string {
	if kind == definition.KindActivity || kind == activityDefinition {
		return "/v1/definitions/activities"
	}
	return "/v1/definitions/orchestrations"
}

// application is one run of apply.
type application struct {
	*remote
	c    *client.Client
	docs []document

	set, by                            string
	dryRun, wait, prune, yes, takeOver bool
	redeploy                           bool
	timeout                            duration
	inForce                            map[string]stored // by key; read where it is needed
	refusedDefinitions                 map[string]bool   // types of orchestrations
	results                            []*applied
	errs                               []error // that were refused
	failures                           []error // jobs that ended badly
}

func newApply(env *Env) *cobra.Command {
	a := &application{refusedDefinitions: map[string]bool{}}
	var files []string
	cmd := asking(env, cobra.Command{
		Use: "apply -f FILE|DIR...", Short: "Put definitions in force, and deploy orchestrations, as files say",
		Long: `Bring about what files say, or all .yaml, .yml and .json files of directories: the definitions
first, then the orchestrations. A file has one document, or several separated by ---, each with
a "kind":

  OrchestrationDefinition, ActivityDefinition   a definition, as the HTTP interface takes it
  Orchestration                                 name, type, input, partial, deadline, labels, callback

What is so already is left alone, so applying twice changes nothing. An orchestration is deployed
again under its name when its document has changed, and when its last deployment ended in ERROR
or was cancelled or disposed of. A new version of its definition alone deploys nothing: see
--redeploy. While a deployment of the same name is under way, a changed document is refused,
or with --wait waits for it.

Exit codes: 0 done, or nothing to do; 1 with --wait, a deployment ended badly; 2 usage; 3 not
reachable or timed out; 4 something was refused. The rest is done all the same.`,
		Example: `  waybill apply -f deploy/ --dry-run
  waybill apply -f deploy/ --set shop --prune --yes --wait -o json`,
	}, cobra.ArbitraryArgs, func(ctx context.Context, r *remote, c *client.Client, args []string) error {
		docs, err := readDocuments(env, append(files, args...))
		if err != nil {
			return err
		}
		a.remote, a.c, a.docs = r, c, docs
		return a.run(ctx)
	})
	f := cmd.Flags()
	f.StringArrayVarP(&files, "filename", "f", nil, "file or directory, - for the standard input; repeatable")
	f.BoolVar(&a.dryRun, "dry-run", false, "show what would change, and change nothing")
	f.BoolVar(&a.wait, "wait", false, "wait until what was deployed, or disposed of, has ended; exit 1 unless all has completed")
	f.Var(&a.timeout, "timeout", "take no longer than this; exit 3")
	f.StringVar(&a.set, "set", "", "whose the files are: what is applied together")
	f.BoolVar(&a.takeOver, "take-over", false, "take also what belongs to another set")
	f.BoolVar(&a.prune, "prune", false, "remove what belongs to the set and is not in the files any more")
	f.BoolVar(&a.yes, "yes", false, "with --prune: dispose of what is deployed")
	f.BoolVar(&a.redeploy, "redeploy", false, "deploy again also where only the definition has a new version")
	user, _ := env.Getenv("USER")
	f.StringVar(&a.by, "by", user, "who, for those who look at a disposal later")
	return cmd
}

// applied is what became of a document, or of what was pruned.
type applied struct {
	Kind string `json:"kind"`
	Name string `json:"name,omitempty"` // of an orchestration
	Type string `json:"type,omitempty"`
	// Result is created, changed, unchanged, deleted, deployed, disposed, pending or refused; of a dry
	// run, what it would be.
	Result  string `json:"result"`
	Reason  string `json:"reason,omitempty"` // why it was deployed: new, changed, failed, disposed, definition
	Version int    `json:"version,omitempty"`
	ID      string `json:"id,omitempty"` // of the job
	State   string `json:"state,omitempty"`
	// Outdated says that the deployment has an older version of its definition than is in force.
	Outdated bool     `json:"outdated,omitempty"`
	File     string   `json:"file,omitempty"`
	Diff     []string `json:"diff,omitempty"`
	Error    string   `json:"error,omitempty"`
	Mistakes any      `json:"errors,omitempty"`

	accepted accepted // the job to wait for
}

func (a *applied) key() string {
	if a.Kind == namedOrchestration {
		return keyOf(a.Kind, a.Name)
	}
	return keyOf(a.Kind, a.Type)
}

// changes says whether anything is, or would be, another than before.
func (a *applied) changes() bool {
	return a.Result != "unchanged" && a.Result != "refused"
}

// report is what -o json prints.
type report struct {
	Items   []*applied `json:"items"`
	Set     string     `json:"set,omitempty"`
	DryRun  bool       `json:"dryRun"`
	Changes bool       `json:"changes"` // whether anything has changed, or would
}

// run does all there is to do, also after something was refused, and says of each what became
// of it.
func (a *application) run(ctx context.Context) error {
	switch {
	case a.prune && a.set == "":
		return usagef("--prune needs --set: only what belongs to a set is known to be gone from it")
	case a.yes && !a.prune:
		return usagef("--yes is for --prune")
	}
	if a.set != "" {
		if err := definition.CheckName(a.set); err != nil {
			return usagef("--set: %w", err)
		}
	}
	ctx, cancel := withTimeout(ctx, a.timeout)
	defer cancel()
	err := a.steps(ctx)
	if err != nil && ctx.Err() != nil && exitCode(err) != exitUsage {
		err = timedOutf("not all was done in time: %w", err)
	}
	if printed := a.print(); printed != nil && err == nil {
		err = printed
	}
	return a.verdict(err)
}

func (a *application) steps(ctx context.Context) error {
	if a.dryRun || a.prune {
		if err := a.readInForce(ctx); err != nil {
			return err
		}
	}
	for i := range a.docs {
		d := &a.docs[i]
		r := &applied{Kind: d.kind, File: d.where, Type: d.name}
		apply := a.define
		if d.kind == namedOrchestration {
			r.Name, r.Type, apply = d.name, d.spec.Type, a.deploy
		}
		if err := a.note(r, apply(ctx, d, r)); err != nil {
			return fmt.Errorf("%s: %s: %w", d.where, d.key(), err)
		}
		if r.Result == "refused" && d.kind == orchestrationDefinition {
			a.refusedDefinitions[d.name] = true
		}
	}
	if err := a.awaitAll(ctx, a.results); err != nil {
		return err
	}
	if a.prune {
		return a.pruned(ctx)
	}
	return nil
}

// note keeps and tells a result. A refusal is one; any other error ends it all.
func (a *application) note(r *applied, err error) error {
	if err != nil && exitCode(err) != exitRefused {
		return err
	}
	if err != nil {
		r.Result, r.Reason, r.Error = "refused", "", oneLine(err.Error())
		var status *client.StatusError
		if errors.As(err, &status) {
			if r.Error = status.Detail; len(status.Errors) > 0 {
				r.Mistakes = status.Errors
			}
		}
		var refusal *machine.Refusal
		if errors.As(err, &refusal) {
			if r.Error = refusal.Reason; len(refusal.Errors) > 0 {
				r.Mistakes = refusal.Errors
			}
		}
		where := r.key()
		if r.File != "" {
			where = r.File + ": " + where
		}
		a.errs = append(a.errs, fmt.Errorf("%s: %w", where, err))
	}
	a.results = append(a.results, r)
	if r.Result != "refused" && !a.asJSON() {
		a.tell(r)
	}
	return nil
}

func (a *application) tell(r *applied) {
	result, detail := r.Result, ""
	if a.dryRun && r.changes() {
		result = "would be " + result
	}
	switch {
	case r.Version > 0 && r.Kind != namedOrchestration:
		detail = fmt.Sprintf(" (version %d)", r.Version)
	case r.Reason != "":
		detail = " (" + reasons[r.Reason] + ")"
	}
	if r.ID != "" {
		detail += ": job " + r.ID
	}
	if r.State != "" && r.State != "COMPLETED" {
		detail += ", " + r.State
	}
	if r.Outdated {
		detail += fmt.Sprintf("; version %d of its definition is in force, --redeploy deploys it", r.Version)
	}
	fmt.Fprintf(a.env.Out, "%s %s%s\n", r.key(), result, detail)
	for _, line := range r.Diff {
		fmt.Fprintln(a.env.Out, "  "+clean(line))
	}
}

func (a *application) print() error {
	if !a.asJSON() {
		if a.dryRun {
			fmt.Fprintln(a.env.Out, "nothing was changed: this was a dry run")
		}
		return nil
	}
	all := report{Items: a.results, Set: a.set, DryRun: a.dryRun}
	if all.Items == nil {
		all.Items = []*applied{}
	}
	for _, r := range all.Items {
		all.Changes = all.Changes || r.changes()
	}
	return a.printValue(all)
}

// verdict tells what went wrong, each on a line of its own, and finds the exit code.
func (a *application) verdict(err error) error {
	all := append(a.errs, a.failures...)
	for _, e := range all {
		fmt.Fprintln(a.env.Err, "waybill: "+message(e))
	}
	switch {
	case err != nil:
		return err
	case len(a.errs) > 0:
		return &exitError{code: exitRefused}
	case len(a.failures) > 0:
		return &exitError{code: exitFailed}
	}
	return nil
}

// stored is a definition as the server shows it.
type stored struct {
	Kind       string          `json:"kind"`
	Type       string          `json:"type"`
	Version    int             `json:"version"`
	BuiltIn    bool            `json:"builtIn"`
	Set        string          `json:"set"`
	Definition json.RawMessage `json:"definition"`
}

func (s *stored) key() string { return definition.Key(s.Kind, s.Type) }

// documentKind is what a document of it would say.
func (s *stored) documentKind() string {
	if s.Kind == definition.KindActivity {
		return activityDefinition
	}
	return orchestrationDefinition
}

func (a *application) readInForce(ctx context.Context) error {
	a.inForce = map[string]stored{}
	for _, kind := range []string{definition.KindActivity, definition.KindOrchestration} {
		items, _, err := pages(ctx, a.c, collection(kind), nil, 0)
		if err != nil {
			return err
		}
		for _, raw := range items {
			var s stored
			if err := decode(a.c, collection(kind), raw, &s); err != nil {
				return err
			}
			a.inForce[s.key()] = s
		}
	}
	return nil
}

// define puts a definition, or finds out what that would do.
func (a *application) define(ctx context.Context, d *document, r *applied) error {
	if a.dryRun {
		return a.wouldDefine(d, r)
	}
	path := collection(d.kind) + "/" + segment(d.name)
	query := url.Values{}
	if a.set != "" {
		query.Set("set", a.set)
	}
	if a.takeOver {
		query.Set("takeOver", "true")
	}
	answer, err := writeWith(ctx, a.c, http.MethodPut, path, query, d.body)
	if err != nil {
		return err
	}
	var put struct {
		Result  string `json:"result"`
		Version int    `json:"version"`
	}
	err = decode(a.c, path, answer.Body, &put)
	r.Result, r.Version = put.Result, put.Version
	return err
}

// wouldDefine decides as the server would, by what it shows.
func (a *application) wouldDefine(d *document, r *applied) error {
	old, exists := a.inForce[d.key()]
	state := definition.New(d.key())
	if exists {
		state = state.Evolve(noTime, definition.Changed{Kind: old.Kind, Type: old.Type, Version: old.Version, Definition: old.Definition, Set: old.Set})
	}
	events, err := state.Decide(noTime, definition.Put{
		Definition: d.body, Set: a.set, TakeOver: a.takeOver, BuiltIn: old.BuiltIn, Types: a.activityType,
	})
	var refusal *machine.Refusal
	if errors.As(err, &refusal) {
		for i := range refusal.Errors {
			refusal.Errors[i].Path = below("$", refusal.Errors[i].Path)
		}
	}
	if err != nil {
		return err
	}
	r.Result, r.Version = "unchanged", old.Version
	for _, e := range events {
		changed, ok := e.(definition.Changed)
		if !ok {
			continue
		}
		if r.Result, r.Version = "changed", changed.Version; !exists {
			r.Result, r.Version = "created", 0 // versions go on after a deletion, which nobody shows
		}
		if changed.Set != old.Set && exists {
			r.Diff = append(r.Diff, "set: "+orNone(old.Set)+" -> "+changed.Set)
		}
		a.inForce[d.key()] = stored{Kind: changed.Kind, Type: changed.Type, Version: changed.Version, Set: changed.Set, Definition: changed.Definition}
		r.Diff = append(r.Diff, diff(old.Definition, changed.Definition, "version")...)
	}
	return nil
}

// activityType finds an activity type, as it is in force or would be.
func (a *application) activityType(typ string) (definition.ActivityType, bool) {
	s, ok := a.inForce[definition.Key(definition.KindActivity, typ)]
	var t definition.ActivityType
	return t, ok && json.Unmarshal(s.Definition, &t) == nil
}
