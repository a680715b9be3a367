package projections

import (
	"context"
	"database/sql/driver"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/transfer"
	"github.com/waybill/waybill/schemas"
)

// Where the owners of shards let go of history, the front of partitions is cut off. A job whose first event was
// there is unknown from then on: the machines refuse what is said of it, and a file that is made anew does
// not show it. So it leaves the rows as well, or they would grow for as long as the log does not. It has ended: of what
// lives, all of the log stays.

const (
	// lookEvery is how often the log is asked where it begins.
	lookEvery = 10 * time.Second
	// lookPatience is how long the answer may take; then it is asked for another time.
	lookPatience = 3 * time.Second
	// mostLeaving is how many aggregates leave in one transaction: some ten milliseconds' work.
	mostLeaving = 500
)

// offsetBits is how much of an origin is the offset.
const offsetBits = 48

// origin is where an aggregate's first event lies.
func (a *aggregated) origin() int64 { return originOf(a.partition, a.first) }

func originOf(partition int32, offset int64) int64 { return int64(partition)<<offsetBits | offset }

func offsetOf(origin int64) int64 { return origin & (1<<offsetBits - 1) }

// look asks now and then where the log begins, for as long as Run lasts.
func (f *follower) look(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		soon, cancel := context.WithTimeout(ctx, lookPatience)
		starts, err := kadm.NewClient(f.cl).ListStartOffsets(soon, f.d.topics()...)
		cancel()
		if err == nil {
			f.starts.Store(&starts)
		}
	}
}

// looked takes over what the log has said of its beginning.
func (f *follower) looked() {
	starts := f.starts.Swap(nil)
	if starts == nil {
		return
	}
	for topic, parts := range f.parts {
		for n, p := range parts {
			if o, ok := starts.Lookup(topic, n); ok && o.Err == nil {
				f.begins(p, o.Offset)
			}
		}
	}
}

// begins notes where the log begins now.
func (f *follower) begins(p *partition, offset int64) {
	if offset <= p.start {
		return
	}
	p.start, p.left = offset, 0
	if !slices.Contains(f.w.leaving, p) {
		f.w.leaving = append(f.w.leaving, p)
	}
}

// poll waits for records, but no longer than there is something else to do.
func (f *follower) poll(ctx context.Context, most int) kgo.Fetches {
	if len(f.w.leaving) > 0 {
		return f.cl.PollRecords(nil, most) //nolint:staticcheck,contextcheck // nil is how the client is told not to wait
	}
	soon, cancel := context.WithTimeout(ctx, lookEvery)
	defer cancel()
	return f.cl.PollRecords(soon, most)
}

// letGo removes some of what the log has let go of. It comes when the batch is written: what is folded in memory
// has its rows then.
func (w *writer) letGo() error {
	for left := mostLeaving; left > 0 && len(w.leaving) > 0; {
		p := w.leaving[0]
		n, err := w.leave(p, left)
		if err != nil {
			return fmt.Errorf("let go of what began before offset %d of %s/%d: %w", p.start, p.topic, p.number, err)
		}
		if left -= n; left > 0 {
			w.leaving = w.leaving[1:]
		}
	}
	return nil
}

// leave removes the rows of at most so many aggregates that began before the partition does.
func (w *writer) leave(p *partition, atMost int) (int, error) {
	switch p.aggregate {
	case schemas.AggregateOrchestration:
		return w.leaveRows(p, atMost, "SELECT origin, key, id, code, created FROM job WHERE origin >= ? AND origin < ? ORDER BY origin LIMIT ?", w.leaveJob)
	case schemas.AggregateTransfer:
		return w.leaveRows(p, atMost, "SELECT origin, key, id, code, created FROM transfer WHERE origin >= ? AND origin < ? ORDER BY origin LIMIT ?", w.leaveTransfer)
	case "":
		n, err := w.c.exec("DELETE FROM deadletter WHERE id IN (SELECT id FROM deadletter WHERE origin >= ? AND origin < ? LIMIT ?)",
			originOf(p.number, 0), originOf(p.number, p.start), int64(atMost))
		return int(n), err
	}
	return 0, nil // counter-parties and definitions never end
}

// goner is a row that is to leave.
type goner struct {
	origin, key   int64
	id            string
	code, created int64
}

func (w *writer) leaveRows(p *partition, atMost int, query string, remove func(goner) error) (int, error) {
	var goners []goner
	err := w.c.query(w.c.steady, query, func(row []driver.Value) error {
		goners = append(goners, goner{integer(row[0]), integer(row[1]), text(row[2]), integer(row[3]), integer(row[4])})
		return nil
	}, max(originOf(p.number, 0), p.left), originOf(p.number, p.start), int64(atMost))
	if err != nil {
		return 0, err
	}
	for _, g := range goners {
		p.left = g.origin + 1
		if err := remove(g); err != nil {
			return 0, fmt.Errorf("%s: %w", g.id, err)
		}
	}
	w.rows += 8 * len(goners)
	return len(goners), nil
}

// leaveJob removes a job that has ended. One whose end is still to be folded in leaves the next time.
func (w *writer) leaveJob(g goner) error {
	if !orchestration.Phase(g.code).Final() {
		return nil
	}
	if err := w.forgetRun(&job{aggregated: aggregated{id: g.id, key: g.key}, created: g.created}); err != nil {
		return err
	}
	if _, err := w.c.exec("DELETE FROM job WHERE key = ?", g.key); err != nil {
		return err
	}
	return w.leaveAggregate(g)
}

func (w *writer) leaveTransfer(g goner) error {
	if !transfer.Phase(g.code).Over() {
		return nil
	}
	if _, err := w.c.exec("DELETE FROM transfer WHERE key = ?", g.key); err != nil {
		return err
	}
	return w.leaveAggregate(g)
}

func (w *writer) leaveAggregate(g goner) error {
	from, to := within(g.key)
	w.batch.changed = append(w.batch.changed, g.id)
	_, err := w.c.exec("DELETE FROM history WHERE key BETWEEN ? AND ?", from, to)
	return err
}
