package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/waybill/waybill/cmd/waybill/internal/client"
	"github.com/waybill/waybill/domain/blob"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/schemas"
)

// noTime is for decisions that do not depend on it.
var noTime time.Time

// reasons says why something is deployed, by the word in the JSON.
var reasons = map[string]string{
	"new":        "new",
	"changed":    "changed",
	"failed":     "the last one did not complete",
	"disposed":   "the last one was disposed of",
	"definition": "its definition has a new version",
}

// deploy starts a named orchestration, unless what it says is deployed already.
func (a *application) deploy(ctx context.Context, d *document, r *applied) error {
	if a.refusedDefinitions[d.spec.Type] {
		return refusedf("the definition of %s was refused", d.spec.Type)
	}
	for {
		last, err := a.latest(ctx, d.name)
		if err != nil {
			return err
		}
		disposal, err := a.disposal(ctx, last)
		if err != nil {
			return err
		}
		body, err := a.consider(ctx, d, last, disposal, r)
		if err != nil || body == nil {
			return err
		}
		if busy := underWay(last, disposal); busy != nil {
			if err := a.await(ctx, busy); err != nil {
				return err
			}
			continue // it may have ended well, and somebody else may have been quicker
		}
		if r.Result = "deployed"; a.dryRun {
			return a.wouldDeploy(d, last, r)
		}
		return a.start(ctx, d, last, body, r)
	}
}

// latest is the last deployment of a name, nil where there is none.
func (a *application) latest(ctx context.Context, name string) (*job, error) {
	items, _, err := pages(ctx, a.c, "/v1/jobs", url.Values{"name": {name}}, 1)
	if err != nil || len(items) == 0 {
		return nil, err
	}
	var j job
	return &j, decode(a.c, "/v1/jobs", items[0], &j)
}

// disposal is the job that disposes of a deployment, nil where there is none. Its id follows
// from the deployment's.
func (a *application) disposal(ctx context.Context, j *job) (*job, error) {
	if j == nil || !j.ended() {
		return nil, nil
	}
	var by job
	_, err := get(ctx, a.c, "/v1/jobs/"+segment(disposalOf(j)), nil, &by)
	if isStatus(err, http.StatusNotFound) {
		return nil, nil
	}
	return &by, err
}

func disposalOf(j *job) string { return machine.ID("dispose", j.ID, strconv.Itoa(j.Run)) }

// underWay is the job that has to end before anything else is done under a name.
func underWay(last, disposal *job) *job {
	for _, j := range []*job{last, disposal} {
		if j != nil && !j.ended() {
			return j
		}
	}
	return nil
}

// await waits for a job that is in the way, where that was asked for.
func (a *application) await(ctx context.Context, busy *job) error {
	if !a.wait || a.dryRun {
		return refusedf("job %s of it is still %s: --wait waits for it", busy.ID, busy.State)
	}
	_, _, err := untilEnded(ctx, a.c, accepted{ID: busy.ID})
	return err
}

// consider returns the body of the start that is to follow, nil where none is: r says why.
func (a *application) consider(ctx context.Context, d *document, last, disposal *job, r *applied) (json.RawMessage, error) {
	set := a.set
	if last != nil && set == "" {
		set = last.Set // it stays whose it is
	}
	body, err := d.spec.start(set)
	if err != nil {
		return nil, err
	}
	now, err := fingerprint(body)
	if err != nil {
		return nil, err
	}
	r.Result, r.Reason = "unchanged", ""
	if last == nil {
		r.Reason = "new"
		return body, nil
	}
	if last.Set != "" && last.Set != set && !a.takeOver {
		return nil, refusedf("it belongs to set %s: --take-over takes it", last.Set)
	}
	switch {
	case disposal != nil:
		r.Reason = "disposed"
	case last.Fingerprint != now:
		r.Reason = "changed"
	case !last.ended():
		r.accepted = accepted{ID: last.ID}
	case last.State != stateCompleted:
		r.Reason = "failed"
	default:
		if err := a.outdated(ctx, last, r); err != nil {
			return nil, err
		}
	}
	if r.Reason != "" {
		return body, nil
	}
	r.ID, r.State = last.ID, last.State
	return nil, nil
}

// fingerprint is what the server will take the body's for: it keeps large inputs elsewhere, and
// counts them by their bytes.
func fingerprint(body json.RawMessage) (string, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return "", err
	}
	input, err := blob.Pack(members["input"], blob.Threshold, func(part json.RawMessage) (blob.Ref, error) {
		sum := sha256.Sum256(part)
		return blob.Ref{ID: "0/0", SHA256: hex.EncodeToString(sum[:]), Chunks: 1}, nil
	})
	if err != nil || input == nil {
		return schemas.Fingerprint(body), err
	}
	members["input"] = input
	packed, err := json.Marshal(members)
	return schemas.Fingerprint(packed), err
}

// outdated looks whether the definition has a newer version than the deployment.
func (a *application) outdated(ctx context.Context, last *job, r *applied) error {
	var d stored
	path := collection(orchestrationDefinition) + "/" + segment(last.Type)
	_, err := get(ctx, a.c, path, nil, &d)
	if isStatus(err, http.StatusNotFound) {
		return nil // deleted since: what is deployed stays
	}
	if err != nil || d.BuiltIn || d.Version <= last.DefinitionVersion {
		return err
	}
	if a.redeploy {
		r.Reason = "definition"
		return nil
	}
	r.Outdated, r.Version = true, d.Version
	return nil
}

// start deploys. The id comes from the name and the deployment before, so that of several who
// apply at once only one starts a job: another one with the same content finds it started, one
// with other content is refused.
func (a *application) start(ctx context.Context, d *document, last *job, body json.RawMessage, r *applied) error {
	before := ""
	if last != nil {
		before = last.ID
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return err
	}
	r.ID = machine.ID("apply", d.name, before)
	members["id"] = json.RawMessage(`"` + r.ID + `"`)
	body, err := json.Marshal(members)
	if err != nil {
		return err
	}
	answer, err := write(ctx, a.c, http.MethodPost, "/v1/jobs", body)
	if err != nil {
		r.ID = ""
		var s *client.StatusError
		if errors.As(err, &s) && s.Code == string(machine.Conflict) {
			return refusedf("%w: somebody else has deployed something else under this name just now; apply again", err)
		}
		return err
	}
	if answer.Status == http.StatusAccepted {
		r.Result = "pending"
	}
	return decode(a.c, "/v1/jobs", answer.Body, &r.accepted)
}

// awaitAll waits, where that was asked for, until everything that was started has ended.
func (a *application) awaitAll(ctx context.Context, all []*applied) error {
	if !a.wait {
		return nil
	}
	for _, r := range all {
		if r.accepted.ID == "" || r.Result == "refused" {
			continue
		}
		j, _, err := untilEnded(ctx, a.c, r.accepted)
		if err != nil {
			return fmt.Errorf("%s: %w", r.key(), err)
		}
		r.accepted = accepted{}
		if r.State = j.State; r.Result == "pending" {
			r.Result = "deployed"
		}
		if err := j.verdict(); err != nil {
			a.failures = append(a.failures, fmt.Errorf("%s: %w", r.key(), err))
		}
		if !a.asJSON() {
			fmt.Fprintf(a.env.Out, "%s ended %s\n", r.key(), j.State)
		}
	}
	return nil
}

// appears waits until a job can be seen that another one has started.
func (a *application) appears(ctx context.Context, id string) error {
	for since := time.Now(); ; {
		_, err := get(ctx, a.c, "/v1/jobs/"+segment(id), nil, nil)
		if !isStatus(err, http.StatusNotFound) || time.Since(since) > comeBack {
			return err
		}
		select {
		case <-time.After(retryInterval):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// wouldDeploy says in which way a deployment would differ from the last one.
func (a *application) wouldDeploy(d *document, last *job, r *applied) error {
	type shown struct {
		Type    string            `json:"type"`
		Input   json.RawMessage   `json:"input,omitempty"`
		Labels  map[string]string `json:"labels,omitempty"`
		Partial bool              `json:"partial,omitempty"`
	}
	input, err := a.admitted(&d.spec)
	if err != nil {
		return err
	}
	now, err := json.Marshal(shown{d.spec.Type, input, d.spec.Labels, d.spec.Partial})
	if err != nil {
		return err
	}
	var before json.RawMessage
	if last != nil {
		before, err = json.Marshal(shown{last.Type, last.Input, last.Labels, last.Partial})
	}
	r.Diff = diff(before, now, "")
	if last != nil && a.set != "" && last.Set != a.set {
		r.Diff = append(r.Diff, "set: "+orNone(last.Set)+" -> "+a.set)
	}
	return err
}

// admitted is the input that a start would run on, or why there would be none: what the server
// would say, as far as it can be seen from here.
func (a *application) admitted(s *spec) (json.RawMessage, error) {
	of, ok := a.inForce[definition.Key(definition.KindOrchestration, s.Type)]
	if !ok {
		return nil, refusedf("there is no orchestration type %q", s.Type)
	}
	var d definition.Orchestration
	if err := json.Unmarshal(of.Definition, &d); err != nil {
		return nil, fmt.Errorf("definition of %s: %w", s.Type, err)
	}
	if !d.IsActive() {
		return nil, refusedf("orchestration type %q is not active", s.Type)
	}
	input, err := definition.MergeInput(d.Input, s.Input)
	if err != nil {
		return nil, err
	}
	checker, problems := definition.NewChecker(d.Schema)
	if len(problems) == 0 {
		problems = checker.Check(input)
	}
	if len(problems) > 0 {
		for i := range problems {
			problems[i].Path = below("$.input", problems[i].Path)
		}
		return nil, machine.Refuse(machine.Schema, "the input does not fit the schema of "+s.Type, problems...)
	}
	return input, nil
}

// below puts the path of a mistake under another one.
func below(at, path string) string {
	if path == "" || strings.HasPrefix(path, "[") {
		return at + path
	}
	return at + "." + path
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}
