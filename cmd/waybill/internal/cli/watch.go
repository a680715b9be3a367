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

const (
	// pollInterval is how often the list of jobs is asked for: there is no stream of it.
	pollInterval = time.Second
	// comeBack is how long a server that is started again may take.
	comeBack = 30 * time.Second
	// retryInterval is how soon it is asked again.
	retryInterval = 500 * time.Millisecond
)

func newWatch(env *Env) *cobra.Command {
	var timeout duration
	cmd := asking(env, cobra.Command{
		Use: "watch [ID]", Short: "Follow a job to its end, or all jobs",
		Long: "Follow a job to its end; exit 1 unless it has completed. Without an ID, follow all jobs until interrupted.",
	}, cobra.MaximumNArgs(1), func(ctx context.Context, r *remote, c *client.Client, args []string) error {
		ctx, cancel := withTimeout(ctx, timeout)
		defer cancel()
		w := &watcher{remote: r, c: c, seen: map[string]string{}}
		if len(args) == 0 {
			return w.all(ctx)
		}
		return w.one(ctx, args[0])
	})
	cmd.Flags().Var(&timeout, "timeout", "follow no longer than this; exit 3")
	return cmd
}

// watcher prints what changes.
type watcher struct {
	*remote
	c     *client.Client
	seen  map[string]string // by node or job: what was last printed of it
	drawn bool              // a line of progress stands on the terminal
}

// one follows a job over its stream to its end.
func (w *watcher) one(ctx context.Context, id string) error {
	path := "/v1/jobs/" + segment(id)
	if _, err := get(ctx, w.c, path, nil, nil); err != nil {
		return err
	}
	err := w.follow(ctx, path+"/stream")
	w.clear()
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return timedOutf("job %s has not ended yet", id)
	case ctx.Err() != nil:
		return timedOutf("stopped watching; job %s goes on", id)
	case err != nil:
		return err
	}
	var j job
	raw, err := get(ctx, w.c, path, nil, &j)
	if err != nil {
		return err
	}
	if w.asJSON() {
		err = w.printJSON(raw)
	} else {
		err = w.printJob(&j)
	}
	return errors.Join(err, j.verdict())
}

// errEnded ends the stream of a job that has ended.
var errEnded = errors.New("ended")

// follow takes the stream up again where it broke, as long as the server comes back.
func (w *watcher) follow(ctx context.Context, path string) error {
	lastID := ""
	alive := time.Now()
	for {
		err := w.c.Stream(ctx, path, nil, lastID, func(e client.Event) error {
			lastID, alive = e.ID, time.Now()
			return w.take(e)
		})
		var gone *client.UnreachableError
		switch {
		case errors.Is(err, errEnded):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !errors.As(err, &gone) && statusOf(err) != exitUnreachable:
			return err
		case err != nil && time.Since(alive) > comeBack:
			return err
		}
		select {
		case <-time.After(retryInterval):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// statusOf is the exit code that fits the server's answer, if it was one.
func statusOf(err error) int {
	var s *client.StatusError
	if errors.As(err, &s) {
		return statusCode(s.Status)
	}
	return exitFailed
}

// take prints what an event of the stream has changed.
func (w *watcher) take(e client.Event) error {
	switch e.Name {
	case "node":
		var n node
		if err := decode(w.c, " stream", e.Data, &n); err != nil {
			return err
		}
		w.showNode(&n)
	case "job":
		var j job
		if err := decode(w.c, " stream", e.Data, &j); err != nil {
			return err
		}
		w.showJob(&j)
		if j.ended() {
			return errEnded
		}
	}
	return nil
}

func (w *watcher) showNode(n *node) {
	if n.State == "PENDING" || w.asJSON() {
		return
	}
	now := n.State
	if n.Attempt > 1 {
		now += fmt.Sprintf(" (attempt %d)", n.Attempt)
	}
	if n.Error != nil {
		now += ": " + n.Error.text()
	}
	if w.seen[n.ID] != now {
		w.seen[n.ID] = now
		w.line(fmt.Sprintf("%s  %s", n.label(), now))
	}
}

// showJob draws the progress on a terminal, and prints it elsewhere when it has changed.
func (w *watcher) showJob(j *job) {
	now := fmt.Sprintf("%s  %s, %s", j.ID, j.State, j.Progress)
	if w.asJSON() || w.seen[""] == now {
		return
	}
	w.seen[""] = now
	if w.env.Terminal && !j.ended() {
		fmt.Fprintf(w.env.Out, "\r\x1b[K%s", oneLine(now))
		w.drawn = true
		return
	}
	w.line(now)
}

// line prints a line in place of the progress.
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
func (w *watcher) all(ctx context.Context) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		items, _, err := pages(ctx, w.c, "/v1/jobs", url.Values{}, pageSize)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		for i := len(items) - 1; i >= 0; i-- { // the newest last
			if err := w.change(items[i]); err != nil {
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

func (w *watcher) change(raw json.RawMessage) error {
	var j job
	if err := decode(w.c, "/v1/jobs", raw, &j); err != nil {
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
