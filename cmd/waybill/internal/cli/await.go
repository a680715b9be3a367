package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/waybill/waybill/cmd/waybill/internal/client"
	"github.com/waybill/waybill/schemas"
)

// compensation is how far undoing what had completed is.
type compensation struct {
	State     string `json:"state"`
	Total     int    `json:"total"`
	Completed int    `json:"completed"`
	Failed    int    `json:"failed"`
	Skipped   int    `json:"skipped"`
}

// String says how many of how many are undone.
func (c *compensation) String() string {
	if c == nil {
		return ""
	}
	s := fmt.Sprintf("%s: %d of %s undone", c.State, c.Completed, count(c.Total, "activity", "activities"))
	if c.Failed > 0 {
		s += fmt.Sprintf(", %d failed", c.Failed)
	}
	if c.Skipped > 0 {
		s += fmt.Sprintf(", %d skipped", c.Skipped)
	}
	return s
}

// disposal is the job that disposes of another one, since when, who wanted it and why.
type disposal struct {
	ID     string     `json:"id"`
	At     *time.Time `json:"at"`
	By     string     `json:"by"`
	Reason string     `json:"reason"`
}

func (d *disposal) text() string {
	if d == nil {
		return ""
	}
	return d.ID + (&pause{d.At, d.By, d.Reason}).text()
}

func (d *disposal) id() string {
	if d == nil {
		return ""
	}
	return d.ID
}

// waits says whether what follows from the verb can be waited for: the end of another run, or of
// the job that disposes.
func (v *verb) waits() bool {
	return v.job != nil && (v.job.Type == schemas.OrchestrationRerun || v.job.Type == schemas.OrchestrationDispose)
}

// awaitEnd waits for what follows from the verb to end, says how it went, and makes that the
// exit code.
func (v *verb) awaitEnd(ctx context.Context, c *client.Client, a accepted) error {
	if v.job.Type == schemas.OrchestrationDispose {
		var j job
		if _, err := get(ctx, c, "/v1/jobs/"+segment(a.ID), url.Values{"position": {a.Position}}, &j); err != nil {
			return err
		}
		if j.Disposal == nil {
			return refusedf("job %s is not disposed of", a.ID)
		}
		a = accepted{ID: j.Disposal.ID}
		if err := untilThere(ctx, c, a.ID); err != nil {
			return err
		}
	}
	if !v.asJSON() {
		fmt.Fprintf(v.env.Err, "waiting for the end of job %s\n", a.ID)
	}
	j, raw, err := untilEnded(ctx, c, a)
	if err != nil {
		return err
	}
	if v.asJSON() {
		err = v.printJSON(raw)
	} else {
		err = v.printJob(j)
	}
	return errors.Join(err, j.verdict())
}

// untilThere waits until a job that a machine starts can be seen.
func untilThere(ctx context.Context, c *client.Client, id string) error {
	limit := time.Now().Add(comeBack)
	for {
		_, err := get(ctx, c, "/v1/jobs/"+segment(id), nil, nil)
		if !isStatus(err, http.StatusNotFound) || time.Now().After(limit) {
			return err
		}
		select {
		case <-time.After(retryInterval):
		case <-ctx.Done():
			return timedOutf("job %s is not there yet", id)
		}
	}
}
