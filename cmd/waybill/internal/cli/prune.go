package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/waybill/waybill/domain/definition"
)

// pruned removes what belongs to the set and is in no document any more: first what is
// deployed, then the definitions that nothing needs by then.
func (a *application) pruned(ctx context.Context) error {
	if len(a.errs)+len(a.failures) > 0 {
		fmt.Fprintln(a.env.Err, "waybill: nothing is pruned, since not all of the files could be applied")
		return nil
	}
	kept := map[string]bool{}
	for i := range a.docs {
		kept[a.docs[i].key()] = true
	}
	from := len(a.results)
	needed, err := a.undeploy(ctx, kept)
	if err != nil {
		return err
	}
	gone := a.gone(kept)
	if len(gone) > 0 && !a.wait && !a.dryRun { // their definitions are in use until they have ended
		a.wait = true
		defer func() { a.wait = false }()
	}
	if err := a.awaitAll(ctx, a.results[from:]); err != nil {
		return err
	}
	if len(a.failures) > 0 {
		return nil // what could not be disposed of is mended by its definitions
	}
	for _, d := range gone {
		r := &applied{Kind: d.documentKind(), Type: d.Type, Version: d.Version}
		if err := a.note(r, a.remove(ctx, d, needed, r)); err != nil {
			return fmt.Errorf("%s: %w", d.key(), err)
		}
	}
	return nil
}

// gone are the definitions of the set that are in no document: those of orchestrations first,
// which need those of activities.
func (a *application) gone(kept map[string]bool) []stored {
	var l []stored
	for key, d := range a.inForce {
		if d.Set == a.set && !d.BuiltIn && !kept[key] {
			l = append(l, d)
		}
	}
	slices.SortFunc(l, func(a, b stored) int {
		if a.Kind != b.Kind {
			return map[bool]int{true: -1, false: 1}[a.Kind == definition.KindOrchestration]
		}
		return map[bool]int{true: -1, false: 1}[a.Type < b.Type]
	})
	return l
}

func (a *application) remove(ctx context.Context, d stored, needed map[string]string, r *applied) error {
	if name := needed[d.key()]; name != "" {
		return refusedf("it is kept while %s is deployed", name)
	}
	r.Result = "deleted"
	if a.dryRun {
		return nil
	}
	_, err := write(ctx, a.c, http.MethodDelete, collection(d.Kind)+"/"+segment(d.Type), nil)
	return err
}

// undeploy disposes of what is deployed and in no document any more. It returns the keys of the
// definitions that are needed still, with who needs them.
func (a *application) undeploy(ctx context.Context, kept map[string]bool) (map[string]string, error) {
	jobs, err := a.deployed(ctx, kept)
	if err != nil {
		return nil, err
	}
	needed := map[string]string{}
	for _, d := range jobs {
		r := &applied{Kind: namedOrchestration, Name: d.Name, Type: d.Type, ID: d.ID}
		if err := a.note(r, a.dispose(ctx, d, r)); err != nil {
			return nil, fmt.Errorf("%s: %w", r.key(), err)
		}
		if r.Result == "refused" {
			a.need(needed, d.job)
		}
	}
	return needed, nil
}

// dispose lets an orchestration dispose of what is deployed.
func (a *application) dispose(ctx context.Context, j deployment, r *applied) error {
	r.Result = "disposed"
	switch {
	case j.disposal != nil:
		return refusedf("job %s, which disposes of it, ended %s: `waybill rerun %[1]s`", j.disposal.ID, j.disposal.State)
	case !a.yes:
		return refusedf("job %s has deployed it, and it is in no file any more: --yes disposes of it", j.ID)
	case !j.ended():
		if err := a.await(ctx, j.job); err != nil {
			return err
		}
	}
	if a.dryRun {
		return nil
	}
	body, err := json.Marshal(map[string]string{"reason": "it is gone from set " + a.set, "by": a.by})
	if err != nil {
		return err
	}
	if _, err := write(ctx, a.c, http.MethodPost, "/v1/jobs/"+segment(j.ID)+"/dispose", body); err != nil {
		return err
	}
	r.ID = disposalOf(j.job)
	r.accepted = accepted{ID: r.ID}
	return a.appears(ctx, r.ID) // so that nobody who comes next takes it for deployed
}

// need notes the definitions without which a deployment could not be disposed of.
func (a *application) need(needed map[string]string, j *job) {
	key := definition.Key(definition.KindOrchestration, j.Type)
	needed[key] = keyOf(namedOrchestration, j.Name)
	d, ok := a.inForce[key]
	var by struct {
		DisposedBy string `json:"disposedBy"`
	}
	if ok && json.Unmarshal(d.Definition, &by) == nil && by.DisposedBy != "" {
		needed[definition.Key(definition.KindOrchestration, by.DisposedBy)] = needed[key]
	}
}

// deployment is a job that deploys, and the one that disposes of that, where there is one.
type deployment struct {
	*job
	disposal *job
}

// stands says whether anything is to be disposed of: not where all failed at once, nor where
// that is done, or under way.
func (d deployment) stands() bool {
	if d.disposal != nil {
		return d.disposal.ended() && d.disposal.State != stateCompleted
	}
	return d.State == stateCompleted || !d.ended() || d.Progress.Completed > 0
}

// deployed are the set's deployments that are in no document and have not been disposed of.
func (a *application) deployed(ctx context.Context, kept map[string]bool) ([]deployment, error) {
	items, _, err := pages(ctx, a.c, "/v1/jobs", url.Values{"set": {a.set}}, 0)
	if err != nil {
		return nil, err
	}
	var l []deployment
	seen := map[string]bool{}
	for _, raw := range items {
		var j job
		if err := decode(a.c, "/v1/jobs", raw, &j); err != nil {
			return nil, err
		}
		if j.Name == "" || seen[j.Name] || kept[keyOf(namedOrchestration, j.Name)] {
			continue
		}
		seen[j.Name] = true
		last, err := a.latest(ctx, j.Name)
		if err != nil {
			return nil, err
		}
		if last == nil || last.Set != a.set { // somebody has taken it over
			continue
		}
		disposal, err := a.disposal(ctx, last)
		if err != nil {
			return nil, err
		}
		if d := (deployment{last, disposal}); d.stands() {
			l = append(l, d)
		}
	}
	return l, nil
}
