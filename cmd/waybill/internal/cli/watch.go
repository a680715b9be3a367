package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybill/waybill/cmd/waybill/internal/client"
)

// pollInterval is how often the list of jobs is asked for: there is no stream of it.
const pollInterval = time.Second

func newWatch(env *Env) *cobra.Command {
	var timeout duration
	cmd := asking(env, cobra.Command{
		Use: "watch [ID]", Short: "Follow a job to its end, or all jobs",
		Long: "Follow a job to its end; exit 1 unless it has completed. Without an ID, follow all jobs until interrupted.",
	}, cobra.MaximumNArgs(1), func(ctx context.Context, r *remote, c *client.Client, args []string) error {
		ctx, cancel := withTimeout(ctx, timeout)
		defer cancel()
		if len(args) == 0 {
			return (&watcher{remote: r, seen: map[string]string{}}).all(ctx, c)
		}
		return (&watcher{remote: r, seen: map[string]string{}}).one(ctx, c, args[0])
	})
	cmd.Flags().Var(&timeout, "timeout", "follow no longer than this; exit 3")
	return cmd
}

// watcher prints what changes.
type watcher struct {
	*remote
	seen  map[string]string // by node or job: what was last printed of it
	drawn bool              // a line of progress stands on the terminal
}

// errEnded ends the stream of a job that has ended.
var errEnded = errors.New("ended")

// one follows a job over its stream, which it takes up again where it breaks.
func (w *watcher) one(ctx context.Context, c *client.Client, id string) error {
	path := "/v1/jobs/" + segment(id)
	var j job
	raw, err := get(ctx, c, path, nil, &j)
	if err != nil {
		return err
	}
	w.show(&j)
	lastID := ""
	for !j.ended() {
		err := c.Stream(ctx, path+"/stream", nil, lastID, func(e client.Event) error {
			lastID = e.ID
			if raw, err = get(ctx, c, path, nil, &j); err != nil {
				return err
			}
			if w.show(&j); j.ended() {
				return errEnded
			}
			return nil
		})
		if ctx.Err() != nil {
			return w.interrupted(ctx, id)
		}
		if err != nil && !errors.Is(err, errEnded) {
			return err
		}
		if raw, err = get(ctx, c, path, nil, &j); err != nil {
			return err
		}
	}
	w.clear()
	if w.asJSON() {
		err = w.printJSON(raw)
	} else {
		w.show(&j)
		w.clear()
		err = w.printJob(&j)
	}
	return errors.Join(err, j.verdict())
}

func (w *watcher) interrupted(ctx context.Context, id string) error {
	w.clear()
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return timedOutf("job %s has not ended yet", id)
	}
	return timedOutf("stopped watching; job %s goes on", id)
}

// show prints what is new about the nodes and draws the progress.
func (w *watcher) show(j *job) {
	if w.asJSON() {
		return
	}
	for i := range j.Nodes {
		n := &j.Nodes[i]
		if n.State == "PENDING" {
			continue
		}
		now := n.State
		if n.Attempt > 1 {
			now += fmt.Sprintf(" (attempt %d)", n.Attempt)
		}
		if n.Error != nil {
			now += ": " + n.Error.String()
		}
		if w.seen[n.ID] != now {
			w.seen[n.ID] = now
			w.line(fmt.Sprintf("%s  %s", n.label(), now))
		}
	}
	progress := fmt.Sprintf("%s  %s, %s", j.ID, j.State, j.Progress)
	switch {
	case w.env.Terminal && !j.ended():
		fmt.Fprintf(w.env.Out, "\r\x1b[K%s", oneLine(progress))
		w.drawn = true
	case w.seen[""] != progress:
		w.line(progress)
	}
	w.seen[""] = progress
}

// line prints a line above the progress.
func (w *watcher) line(s string) {
	w.clear()
	fmt.Fprintln(w.env.Out, oneLine(s))
}

func (w *watcher) clear() {
	if w.drawn {
		fmt.Fprint(w.env.Out, "\r\x1b[K")
		w.drawn = false
	}
}

// all prints every change of a job's state or progress until ctx ends.
func (w *watcher) all(ctx context.Context, c *client.Client) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		items, _, err := pages(ctx, c, "/v1/jobs", url.Values{}, pageSize)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		for i := len(items) - 1; i >= 0; i-- { // the newest last
			if err := w.change(c, items[i]); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (w *watcher) change(c *client.Client, raw json.RawMessage) error {
	var j job
	if err := decode(c, "/v1/jobs", raw, &j); err != nil {
		return err
	}
	now := fmt.Sprintf("%s  %s  %s, %s", j.ID, j.Type, j.State, j.Progress)
	if w.seen[j.ID] == now {
		return nil
	}
	w.seen[j.ID] = now
	if w.asJSON() {
		return w.printJSON(raw)
	}
	w.line(now)
	return nil
}
