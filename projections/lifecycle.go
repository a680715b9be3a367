package projections

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/orchestration"
)

// compensate folds in that what had completed is being undone: what was under way is
// cancelled, and there are nodes that undo.
func (j *job) compensate(at int64, e orchestration.Compensating) error {
	if j.phase != e.State {
		for _, n := range j.nodes.all() {
			j.move(n, at, orchestration.ActivityCancelled)
		}
		j.phase, j.paused, j.deadline = e.State, nil, nanos(e.Deadline)
		j.compensation = &Compensation{State: orchestration.CompensationRunning}
		if err := j.fail(e.Error, e.Reason, e.By); err != nil {
			return err
		}
	}
	j.register(at, "", e.Undo)
	if j.compensation != nil {
		j.compensation.Total += len(e.Undo)
	}
	return nil
}

// undone counts what undoes as it ends.
func (j *job) undone(n *node, to orchestration.ActivityPhase) {
	c := j.compensation
	if c == nil || !strings.HasSuffix(n.id, definition.UndoSuffix) {
		return
	}
	switch to { //nolint:exhaustive // the others are no end of an activity's own
	case orchestration.ActivityCompleted:
		c.Completed++
	case orchestration.ActivitySkipped:
		c.Skipped++
	case orchestration.ActivityFailed:
		c.Failed++
	}
}

// fail notes why the job ends, or who ends it.
func (j *job) fail(f *orchestration.Failure, reason, by string) (err error) {
	switch {
	case f != nil:
		j.failure, err = appendFailure(nil, *f)
	case reason != "" || by != "":
		j.failure, err = json.Marshal(endDoc{Message: reason, By: by})
	}
	return err
}

// outcome is what came of the compensation.
func outcome(c *orchestration.Compensation) *Compensation {
	if c == nil {
		return nil
	}
	return &Compensation{State: c.State, Total: c.Total, Completed: c.Completed, Failed: c.Failed, Skipped: c.Skipped}
}

// dispose folds in that another job disposes of this one.
func (j *job) dispose(at int64, e orchestration.Disposed) {
	b := appendText([]byte(`{"id":`), e.ID)
	b = appendTime(append(b, `,"at":`...), at)
	if e.By != "" {
		b = appendText(append(b, `,"by":`...), e.By)
	}
	if e.Reason != "" {
		b = appendText(append(b, `,"reason":`...), e.Reason)
	}
	j.disposal = append(b, '}')
}

// appendLifecycle writes what few jobs have.
func (j *job) appendLifecycle(b []byte) []byte {
	if c := j.compensation; c != nil {
		b = appendText(append(b, `,"compensation":{"state":`...), c.State)
		b = appendInt(b, `,"total":`, int64(c.Total))
		b = appendInt(b, `,"completed":`, int64(c.Completed))
		b = appendInt(b, `,"failed":`, int64(c.Failed))
		if c.Skipped > 0 {
			b = appendInt(b, `,"skipped":`, int64(c.Skipped))
		}
		b = append(b, '}')
	}
	if len(j.disposal) > 0 {
		b = append(append(b, `,"disposal":`...), j.disposal...)
	}
	if len(j.disposes) > 0 {
		b = append(append(b, `,"disposes":`...), j.disposes...)
	}
	return b
}

// rerun folds in that another run has begun. reopen has taken the nodes up that it begins with.
func (j *job) rerun(at int64, e orchestration.RerunStarted) {
	j.run, j.phase = e.Run, orchestration.PhaseInProgress
	j.started, j.ended, j.deadline = at, 0, nanos(e.Deadline)
	j.output, j.result, j.failure, j.failures, j.paused, j.compensation = nil, nil, nil, []byte("[]"), nil, nil
	j.removed = 0 // a run that would read what was removed is refused
	j.cleared = true
	for _, n := range j.nodes.all() {
		n.since = at
		j.touch(n)
	}
}

// reopen readies a job for another run: the nodes that run again are open as if nobody had
// asked for them, what they had spawned is gone, and so is what undid. All of that is found
// in SQLite, so what is not yet written goes there first.
func (w *writer) reopen(ctx context.Context, j *job, e orchestration.RerunStarted) error {
	if err := w.writeJob(j); err != nil {
		return err
	}
	j.written()
	reset := make(map[string]bool, len(e.Reset))
	for _, id := range e.Reset {
		reset[id] = true
	}
	nodes, err := w.allNodes(ctx, j)
	if err != nil {
		return err
	}
	gone := map[string]bool{}
	j.registered = 0
	for _, n := range nodes { // parents come before what they spawned
		switch {
		case strings.HasSuffix(n.id, definition.UndoSuffix), reset[n.parent], gone[n.parent]:
			gone[n.id] = true
			j.count[kindOf(n.phase)]--
			if _, err := w.c.exec("DELETE FROM node WHERE key = ?", j.key<<32|int64(n.number)); err != nil {
				return err
			}
			continue
		case reset[n.id]:
			j.count[kindOf(n.phase)]--
			j.count[pending]++
			j.nodes.add(&node{
				number: n.number, kept: true, id: n.id, name: n.name, typ: n.typ,
				discriminator: n.discriminator, parent: n.parent, dependsOn: n.dependsOn,
			})
		}
		j.registered = n.number + 1
	}
	return w.unlink(ctx, j, func(id string) bool { return reset[id] || gone[id] })
}

// allNodes reads a job's nodes by number.
func (w *writer) allNodes(ctx context.Context, j *job) (nodes []*node, err error) {
	from, to := within(j.key)
	err = w.c.query(ctx, "SELECT key, seq, state, waited, doc FROM node WHERE key BETWEEN ? AND ? ORDER BY key", func(row []driver.Value) error {
		n, err := readNode(uint32(integer(row[0])), integer(row[1]), orchestration.ActivityPhase(integer(row[2])), integer(row[3]) != 0, text(row[4]))
		if err != nil {
			return fmt.Errorf("job %s: %w", j.id, err)
		}
		nodes = append(nodes, n)
		return nil
	}, from, to)
	return nodes, err
}

// unlink removes the edges from nodes that are as if they had never been asked for.
func (w *writer) unlink(ctx context.Context, j *job, from func(id string) bool) error {
	first, last := within(j.key)
	var keys []int64
	j.linked = 0
	err := w.c.query(ctx, `SELECT key, "from" FROM edge WHERE key BETWEEN ? AND ? ORDER BY key`, func(row []driver.Value) error {
		key := integer(row[0])
		if from(text(row[1])) {
			keys = append(keys, key)
		} else {
			j.linked = uint32(key) + 1
		}
		return nil
	}, first, last)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if _, err := w.c.exec("DELETE FROM edge WHERE key = ?", key); err != nil {
			return err
		}
	}
	return nil
}
