package intake

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/waybill/waybill/domain/blob"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/producers"
	"github.com/waybill/waybill/schemas"
)

// Selection chooses what a verb is said of in bulk: jobs, or, where NodeState or NodeType is
// given, nodes of jobs.
type Selection struct {
	Filter    url.Values            // of the list of jobs
	States    []orchestration.Phase // jobs in one of these only
	NodeState string
	NodeType  string
}

// Target is a job, or a node of it.
type Target struct{ JobID, NodeID string }

// FilterError says what is wrong with a filter.
type FilterError struct{ Param, Message string }

// Error implements error.
func (e *FilterError) Error() string { return e.Param + ": " + e.Message }

// listFilter are the parameters that choose jobs, as the list has them.
var listFilter = []string{"state", "type", "name", "set", "label", "since", "until", "q"}

// bulk is what was asked for.
type bulk struct {
	Selection
	verb   producers.Verb
	dryRun bool
}

// readBulk reads the query. A parameter that is none is refused, and so is no filter at all: a
// slip of the pen must not mean every job there is.
func readBulk(r *http.Request) (*bulk, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, &FilterError{"query", err.Error()}
	}
	b := &bulk{Selection: Selection{Filter: url.Values{}}}
	all, filtered := false, false
	for name, values := range query {
		switch value := values[0]; {
		case value == "":
			return nil, &FilterError{name, "is empty"}
		case len(values) > 1 && name != "label":
			return nil, &FilterError{name, "is there twice"}
		case name == "dryRun", name == "all":
			if value != "true" && value != "false" {
				return nil, &FilterError{name, "want true or false"}
			}
			b.dryRun = b.dryRun || name == "dryRun" && value == "true"
			all = all || name == "all" && value == "true"
		case name == "nodeState":
			b.NodeState = value
		case name == "nodeType":
			b.NodeType, filtered = value, true
		case slices.Contains(listFilter, name):
			b.Filter[name], filtered = values, true
		default:
			return nil, &FilterError{name, "is not known here; known are " + strings.Join(listFilter, ", ") + ", nodeState, nodeType, all, dryRun"}
		}
	}
	if !filtered && !all {
		return nil, &FilterError{"query", "say which: give a filter of the list of jobs, or all=true"}
	}
	return b, b.find(r.PathValue("verb"))
}

// find finds the verb: of nodes, where nodes are chosen.
func (b *bulk) find(name string) error {
	verbs, ofNodes := producers.JobVerbs(), b.NodeState != "" || b.NodeType != ""
	if ofNodes {
		verbs = producers.NodeVerbs()
	}
	v, ok := producers.FindVerb(verbs, name)
	if _, node := producers.FindVerb(producers.NodeVerbs(), name); !ok && node {
		return &FilterError{"nodeState", "say which nodes: " + name + " is said of nodes, as in nodeState=RETRYING"}
	}
	if !ok && ofNodes {
		return &FilterError{"nodeState", name + " is not said of nodes"}
	}
	if !ok {
		return fail(http.StatusNotFound, "there is no verb %.100q", name)
	}
	b.verb, b.States = v, v.States()
	return nil
}

// bulkAnswer says of how many, or of which.
type bulkAnswer struct {
	Verb     string        `json:"verb"`
	Count    int64         `json:"count"`
	DryRun   bool          `json:"dryRun,omitempty"`
	Commands []bulkCommand `json:"commands,omitempty"`
}

type bulkCommand struct {
	producers.Accepted
	NodeID string `json:"nodeId,omitempty"`
}

func (in *Intake) bulk(w http.ResponseWriter, r *http.Request) error {
	b, err := readBulk(r)
	if err != nil {
		return err
	}
	body, _, err := in.readObject(w, r, true)
	if err != nil {
		return err
	}
	if err := b.check(body); err != nil {
		return err
	}
	if b.dryRun {
		n, err := in.cfg.Reads.CountTargets(r.Context(), b.Selection)
		if err == nil {
			answer(w, http.StatusOK, bulkAnswer{Verb: b.verb.Name, Count: n, DryRun: true}, producers.Accepted{}.Position)
		}
		return err
	}
	commands, err := in.order(r, b, body)
	if err != nil {
		return err
	}
	a := bulkAnswer{Verb: b.verb.Name, Count: int64(len(commands)), Commands: commands}
	answer(w, http.StatusAccepted, a, producers.Accepted{}.Position)
	return nil
}

// check refuses a body that no command would take.
func (b *bulk) check(body object) error {
	if misuse, ok := errors.AsType[*blob.MisuseError](blob.Refuse(body["output"])); ok {
		return misfit(strings.TrimSuffix("output."+misuse.Path, "."), misuse.Message)
	}
	value, err := b.value(body, "node")
	if err != nil {
		return err
	}
	_, err = schemas.DecodeOrchestrationCommand(b.verb.Type, value)
	return err
}

// value is the body of the command about a job, or about a node.
func (b *bulk) value(body object, node string) ([]byte, error) {
	if b.NodeState != "" || b.NodeType != "" {
		return aboutNode(body, node)
	}
	return body.encode()
}

// bulkInFlight is how many commands are on their way at once: the publisher puts those that
// come together into one request.
const bulkInFlight = 256

// order publishes a command for each target, page after page. Where it is given up in the
// middle, a repeat under the same Idempotency-Key says again what was said, which is
// harmless, and then the rest.
func (in *Intake) order(r *http.Request, b *bulk, body object) ([]bulkCommand, error) {
	key, err := idempotencyKey(r)
	if err != nil {
		return nil, err
	}
	var all []bulkCommand
	for cursor := ""; ; {
		targets, next, err := in.cfg.Reads.Targets(r.Context(), b.Selection, cursor)
		if err != nil {
			return nil, err
		}
		page := make([]bulkCommand, len(targets))
		g, ctx := errgroup.WithContext(r.Context())
		g.SetLimit(bulkInFlight)
		for i, t := range targets {
			g.Go(func() error {
				body := maps.Clone(body) // what is large in it is written for each job
				if err := in.packOutput(ctx, t.JobID, body); err != nil {
					return err
				}
				value, err := b.value(body, t.NodeID)
				if err != nil {
					return err
				}
				if err := in.gate.untilAdmitted(ctx, schemas.AggregateOrchestration, b.verb.Type, t.JobID, in.cfg.MaxWait); err != nil {
					return err
				}
				a, err := in.put(ctx, order(r, b.verb, t.JobID, t.NodeID, key, value))
				page[i] = bulkCommand{a, t.NodeID}
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
		if all = append(all, page...); next == "" {
			return all, nil
		}
		cursor = next
	}
}
