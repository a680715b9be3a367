package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybill/waybill/cmd/waybill/internal/client"
)

func newGet(env *Env) *cobra.Command {
	return asking(env, cobra.Command{
		Use: "get ID", Short: "Show where a job stands",
	}, cobra.ExactArgs(1), func(ctx context.Context, r *remote, c *client.Client, args []string) error {
		var j job
		raw, err := get(ctx, c, "/v1/jobs/"+segment(args[0]), nil, &j)
		if err != nil {
			return err
		}
		if r.asJSON() {
			return r.printJSON(raw)
		}
		return r.printJob(&j)
	})
}

func (r *remote) printJob(j *job) error {
	var labels []string
	for k, v := range j.Labels {
		labels = append(labels, k+"="+v)
	}
	result := ""
	if j.Result != nil {
		result = fmt.Sprintf("%s (%s)", j.Result.Path, count(int(j.Result.Size), "byte", "bytes"))
	}
	output := string(j.Output)
	if output == "null" {
		output = ""
	}
	err := facts(r.env.Out,
		"job", j.ID, "name", j.Name, "set", j.Set,
		"type", fmt.Sprintf("%s, version %d", j.Type, j.DefinitionVersion),
		"run", again(j.Run),
		"state", fmt.Sprintf("%s (%d)%s", j.State, j.Code, j.Paused.text()),
		"created", when(j.CreatedAt), "started", when(j.StartedAt), "ended", when(j.EndedAt),
		"deadline", when(j.Deadline),
		"labels", strings.Join(labels, " "),
		"progress", j.Progress.String(),
		"compensation", j.Compensation.String(), "disposed by", j.Disposal.text(), "disposes", j.Disposes.id(),
		"result", result, "output", shorten(output), "error", j.Error.String(),
	)
	if err != nil || len(j.Nodes) == 0 {
		return err
	}
	fmt.Fprintln(r.env.Out)
	t := newTable(r.env.Out, "NODE", "TYPE", "STATE", "ATTEMPT", "SINCE", "ERROR")
	for i := range j.Nodes {
		n := &j.Nodes[i]
		t.row(n.label(), n.Type, n.state(), attempt(n.Attempt), when(n.Since), n.Error.text())
	}
	if err := t.end(); err != nil {
		return err
	}
	if j.NodesTruncated {
		fmt.Fprintf(r.env.Out, "… %d more: GET /v1/jobs/%s/nodes has them all\n", j.Progress.Total-len(j.Nodes), segment(j.ID))
	}
	return nil
}

// again is the number of a run other than the first.
func again(run int) string {
	if run < 2 {
		return ""
	}
	return strconv.Itoa(run)
}

func attempt(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// shorten keeps what fits a few lines of a terminal.
func shorten(s string) string {
	const most = 400
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "… (-o json has all of it)"
	}
	return s
}

func newList(env *Env) *cobra.Command {
	var chosen filter
	var limit int
	cmd := asking(env, cobra.Command{
		Use: "list", Short: "List jobs, newest first",
	}, cobra.NoArgs, func(ctx context.Context, r *remote, c *client.Client, _ []string) error {
		if limit < 0 {
			return usagef("--limit %d: want how many, 0 for all", limit)
		}
		items, more, err := pages(ctx, c, "/v1/jobs", chosen.query(), limit)
		if err != nil {
			return err
		}
		if r.asJSON() {
			return r.printItems(items)
		}
		t := newTable(env.Out, "ID", "NAME", "TYPE", "STATE", "NODES", "FAILED", "CREATED", "ENDED")
		for _, raw := range items {
			var j job
			if err := decode(c, "/v1/jobs", raw, &j); err != nil {
				return err
			}
			failed := ""
			if j.Progress.Failed > 0 {
				failed = strconv.Itoa(j.Progress.Failed)
			}
			t.row(j.ID, j.Name, j.Type, j.State, fmt.Sprintf("%d/%d", j.Progress.Completed, j.Progress.Total), failed, when(j.CreatedAt), when(j.EndedAt))
		}
		if err := t.end(); err != nil {
			return err
		}
		if more {
			fmt.Fprintf(env.Err, "there are more: --limit %d shows more of them\n", 10*limit)
		}
		return nil
	})
	chosen.flags(cmd)
	cmd.Flags().IntVar(&limit, "limit", 50, "at most so many, 0 for all")
	return cmd
}

// pageSize is how many items one request of a list asks for at most.
const pageSize = 500

// pages reads a list until its end, or limit items (0: all); more says that it goes on.
func pages(ctx context.Context, c *client.Client, path string, query url.Values, limit int) (items []json.RawMessage, more bool, err error) {
	if query == nil {
		query = url.Values{}
	}
	for {
		want := pageSize
		if limit > 0 {
			want = min(want, limit-len(items))
		}
		query.Set("limit", strconv.Itoa(want))
		var page struct {
			Items []json.RawMessage `json:"items"`
			Next  *string           `json:"next"`
		}
		if _, err := get(ctx, c, path, query, &page); err != nil {
			return nil, false, err
		}
		items = append(items, page.Items...)
		next := page.Next != nil && *page.Next != ""
		if !next || limit > 0 && len(items) >= limit {
			return items, next, nil
		}
		query.Set("cursor", *page.Next)
	}
}

func (r *remote) printItems(items []json.RawMessage) error {
	if items == nil {
		items = []json.RawMessage{}
	}
	raw, err := json.Marshal(items)
	if err != nil {
		return fmt.Errorf("the server's answer is not JSON: %w", err)
	}
	return r.printJSON(raw)
}

func newEvents(env *Env) *cobra.Command {
	var all bool
	cmd := asking(env, cobra.Command{
		Use: "events ID", Short: "Show a job's history as it stands on the log",
	}, cobra.ExactArgs(1), func(ctx context.Context, r *remote, c *client.Client, args []string) error {
		query := url.Values{}
		if all {
			query.Set("all", "true")
		}
		path := "/v1/jobs/" + segment(args[0]) + "/events"
		items, _, err := pages(ctx, c, path, query, 0)
		if err != nil {
			return err
		}
		if r.asJSON() {
			return r.printItems(items)
		}
		events := make([]event, len(items))
		for i, raw := range items {
			if err := decode(c, path, raw, &events[i]); err != nil {
				return err
			}
		}
		return r.printEvents(events, all)
	})
	cmd.Flags().BoolVar(&all, "all", false, "also the events of its transfers and negotiations")
	return cmd
}

// event is one of a history.
type event struct {
	Aggregate string          `json:"aggregate"`
	ID        string          `json:"id"`
	Sequence  int64           `json:"sequence"`
	Type      string          `json:"type"`
	Time      time.Time       `json:"time"`
	Data      json.RawMessage `json:"data"`
}

// printEvents shows a history; several ones, which come one after the other, as one in order of time.
func (r *remote) printEvents(events []event, several bool) error {
	header := []string{"SEQUENCE", "TIME", "TYPE", "DATA"}
	if several {
		header = append([]string{"OF"}, header...)
		slices.SortStableFunc(events, func(a, b event) int { return a.Time.Compare(b.Time) })
	}
	t := newTable(r.env.Out, header...)
	for _, e := range events {
		row := []string{strconv.FormatInt(e.Sequence, 10), e.Time.UTC().Format("2006-01-02T15:04:05.000Z"), e.Type, shortLine(e.Data)}
		if several {
			row = append([]string{e.Aggregate + " " + e.ID}, row...)
		}
		t.row(row...)
	}
	return t.end()
}

// shortLine keeps what fits a line.
func shortLine(raw json.RawMessage) string {
	const most = 120
	if r := []rune(string(raw)); len(r) > most {
		return string(r[:most]) + "…"
	}
	return string(raw)
}
