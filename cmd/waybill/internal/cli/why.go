package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybill/waybill/cmd/waybill/internal/client"
)

func newWhy(env *Env) *cobra.Command {
	return asking(env, cobra.Command{
		Use: "why ID", Short: "Show what a job waits for",
	}, cobra.ExactArgs(1), func(ctx context.Context, r *remote, c *client.Client, args []string) error {
		var j job
		path := "/v1/jobs/" + segment(args[0])
		if _, err := get(ctx, c, path, nil, &j); err != nil {
			return err
		}
		if j.ended() && !r.asJSON() {
			return r.printEnded(&j)
		}
		items, _, err := pages(ctx, c, path+"/nodes", nil, 0)
		if err != nil {
			return err
		}
		var open []json.RawMessage
		var nodes []*node
		for _, raw := range items {
			n := &node{}
			if err := decode(c, path+"/nodes", raw, n); err != nil {
				return err
			}
			if !n.ended() {
				open, nodes = append(open, raw), append(nodes, n)
			}
		}
		if r.asJSON() {
			return r.printItems(open)
		}
		if err := lookBehind(ctx, c, nodes); err != nil {
			return err
		}
		return r.printWhy(&j, nodes)
	})
}

// mostBehind is how many transfers and negotiations are asked for to say why a job waits.
const mostBehind = 100

// lookBehind asks the transfers, or negotiations, that carry nodes out since when they wait and what went
// wrong last. Where the server does not know of one yet, nothing is said.
func lookBehind(ctx context.Context, c *client.Client, nodes []*node) error {
	asked := 0
	for _, n := range nodes {
		if n.State != "WAITING" {
			continue
		}
		for _, of := range []struct{ what, path, id string }{
			{"transfer " + n.TransferID, "/v1/transfers/", n.TransferID}, {"negotiation", "/v1/negotiations/", n.NegotiationID},
		} {
			if of.id == "" || n.trouble != nil {
				continue
			}
			if asked++; asked > mostBehind {
				return nil
			}
			if err := n.lookBehind(ctx, c, of.what, of.path+segment(of.id)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (n *node) lookBehind(ctx context.Context, c *client.Client, what, path string) error {
	var behind struct {
		State string     `json:"state"`
		Since *time.Time `json:"since"`
		Error *fault     `json:"error"`
		Tasks []task     `json:"tasks"`
	}
	if _, err := get(ctx, c, path, nil, &behind); err != nil {
		if isStatus(err, http.StatusNotFound) {
			return nil
		}
		return err
	}
	n.through += fmt.Sprintf(", %s %s since %s", what, behind.State, when(behind.Since))
	n.trouble = lastError(behind.Error, behind.Tasks)
	return nil
}

// ended says that nothing moves the node any more.
func (n *node) ended() bool {
	switch n.State {
	case "COMPLETED", "FAILED", "CANCELLED", "SKIPPED":
		return true
	}
	return false
}

func (r *remote) printEnded(j *job) error {
	fmt.Fprintf(r.env.Out, "%s waits for nothing: it ended %s\n", j.ID, j.State)
	if j.Error != nil {
		fmt.Fprintln(r.env.Out, oneLine(j.Error.String()))
	}
	return nil
}

func (r *remote) printWhy(j *job, nodes []*node) error {
	fmt.Fprintf(r.env.Out, "%s is %s%s and waits for %d of %s\n\n", j.ID, j.State, j.Paused.text(), len(nodes), count(j.Progress.Total, "node", "nodes"))
	unfinished := make(map[string]bool, len(nodes))
	for _, n := range nodes {
		unfinished[n.ID] = true
	}
	t := newTable(r.env.Out, "NODE", "STATE", "ATTEMPT", "SINCE", "NEXT TRY", "WAITS FOR", "LAST ERROR")
	pending := 0
	for _, n := range nodes {
		if n.State == "PENDING" && len(n.DependsOn) == 0 {
			pending++ // there may be thousands of them, and they say nothing
			continue
		}
		t.row(n.label(), n.State, attempt(n.Attempt), when(n.Since), when(n.NextAttemptAt), n.waitsFor(unfinished), n.lastError().text())
	}
	if err := t.end(); err != nil {
		return err
	}
	if pending > 0 {
		fmt.Fprintf(r.env.Out, "… and %d pending\n", pending)
	}
	return nil
}

// waitsFor says in words on whom or what a node waits.
func (n *node) waitsFor(unfinished map[string]bool) string {
	if n.Paused == nil {
		return n.waitsUnpaused(unfinished)
	}
	return strings.TrimPrefix(strings.Join([]string{n.waitsUnpaused(unfinished), "to be resumed" + n.Paused.text()}, ", "), ", ")
}

func (n *node) waitsUnpaused(unfinished map[string]bool) string {
	deadline := ""
	if n.Deadline != nil {
		deadline = ", until " + when(n.Deadline)
	}
	switch n.State {
	case "PENDING":
		var open []string
		for _, d := range n.DependsOn {
			if unfinished[d] {
				open = append(open, d)
			}
		}
		if len(open) == 0 {
			open = n.DependsOn // what they have spawned is not done yet
		}
		return strings.Join(open, ", ")
	case "READY":
		return "an agent of type " + n.Type + deadline
	case "RUNNING":
		if n.Agent != "" {
			return "agent " + n.Agent + deadline
		}
		return "its agent" + deadline
	case "WAITING":
		return n.waitingOn() + deadline
	case "SCHEDULED":
		return "its next look"
	case "RETRYING":
		return "its next try"
	}
	return ""
}

// lastError is that of what carries the node out, where there is one.
func (n *node) lastError() *fault {
	if n.trouble != nil {
		return n.trouble
	}
	return n.Error
}

func (n *node) waitingOn() string {
	var on waitingOn
	if json.Unmarshal(n.WaitingOn, &on) == nil && on.Kind != "" {
		return on.text() + n.through
	}
	return "a report about work " + n.WorkID
}
