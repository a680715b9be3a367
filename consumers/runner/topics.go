package runner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// lackRetry is how soon a work topic that could not be had is looked for again.
const lackRetry = 5 * time.Second

// workTopics remembers which work topics there are, and which cannot be had.
type workTopics struct {
	mu    sync.Mutex
	known map[string]struct{}
	names []string // of all that there are, and when that was asked
	asked time.Time
	lack  map[string]lacking // by activity type
}

// lacking is why a topic cannot be had, and when that was found out.
type lacking struct {
	err error
	at  time.Time
}

func newWorkTopics() *workTopics {
	return &workTopics{known: make(map[string]struct{}), lack: make(map[string]lacking)}
}

// has says whether there is a topic; a *lackError that it could not be had a moment ago.
func (w *workTopics) has(activityType string) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l, ok := w.lack[activityType]; ok && time.Since(l.at) < lackRetry {
		return false, &lackError{l.err}
	}
	_, ok := w.known[activityType]
	return ok, nil
}

func (w *workTopics) add(activityType string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known[activityType] = struct{}{}
	delete(w.lack, activityType)
}

// lacks notes that a topic cannot be had; true: that is news.
func (w *workTopics) lacks(activityType string, err error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, old := w.lack[activityType]
	w.lack[activityType] = lacking{err, time.Now()}
	return !old
}

// all lists the work topics that there are, as they were within the last minute: it takes the names of all topics.
func (w *workTopics) all(ctx context.Context, adm *kadm.Client, topics kafka.Topics) ([]string, error) {
	w.mu.Lock()
	names, asked := w.names, w.asked
	w.mu.Unlock()
	if !asked.IsZero() && time.Since(asked) < time.Minute {
		return names, nil
	}
	have, err := adm.ListTopics(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the topics: %w", err)
	}
	names = slices.DeleteFunc(have.Names(), func(name string) bool { return !topics.IsWork(name) })
	w.mu.Lock()
	w.names, w.asked = names, time.Now()
	w.mu.Unlock()
	return names, nil
}

// forget lets every topic be looked for again: one may have been deleted.
func (w *workTopics) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.known)
}

// lackError is a work topic that cannot be had before somebody does something about it.
type lackError struct{ err error }

func (e *lackError) Error() string { return e.err.Error() }
func (e *lackError) Unwrap() error { return e.err }

// ensureWorkTopic makes the topic of an activity type where this process has not seen it yet.
// No lock is held while the broker is asked: a shard whose question hangs must not hold up
// the others. Two that ask at once both find it there. A *lackError is no fault of the shard.
func (c *Config) ensureWorkTopic(ctx context.Context, cl *kgo.Client, activityType string) error {
	known, err := c.workTopics.has(activityType)
	if known || err != nil {
		return err
	}
	spec := c.Kafka.Topics().WorkSpec(c.Shards, activityType)
	err = kafka.EnsureTopics(ctx, cl, []kafka.Spec{spec})
	if err == nil && !c.Kafka.Embedded {
		err = kafka.CheckWrite(ctx, cl, spec.Name)
	}
	if err == nil {
		c.workTopics.add(activityType)
		return nil
	}
	if !lasting(err) {
		return err
	}
	if c.workTopics.lacks(activityType, err) {
		c.Logger.Error("work cannot be asked for; it waits, and is offered again", "type", activityType, "topic", spec.Name, "err", err,
			"do", "`waybill topics create --type "+activityType+"`, and the right to write to it")
	}
	return &lackError{err}
}

// lasting says that asking the brokers again brings nothing: they have said no.
func lasting(err error) bool {
	if _, ok := errors.AsType[*kafka.PartitionsError](err); ok {
		return true
	}
	answer, ok := errors.AsType[*kerr.Error](err)
	return ok && !answer.Retriable
}

// makeTopics sees to it that the work topics are there which a batch writes to. What was to go to one
// that cannot be had is left out, so that one activity type never holds up a shard. It is kept for when there
// is one: work that nobody has claimed is offered again until its deadline, but each time later.
func (sh *shard) makeTopics(ctx context.Context, b *batch) error {
	for t := range sh.wanted {
		err := sh.cfg.ensureWorkTopic(ctx, sh.cl, t)
		if _, lack := errors.AsType[*lackError](err); lack {
			topic := sh.topics.Work(t)
			b.after = slices.DeleteFunc(b.after, func(r *kgo.Record) bool {
				if r.Topic == topic {
					sh.held.keep(t, r)
				}
				return r.Topic == topic
			})
		} else if err != nil {
			return err
		}
		delete(sh.wanted, t)
	}
	return nil
}

const (
	// mostHeld and mostHeldBytes bound what a shard keeps of the work of topics that cannot be had. What
	// is over them is offered again at its time.
	mostHeld      = 1_000
	mostHeldBytes = 4 << 20
)

// held is work that was asked for while its topic could not be had. It ends with the ownership of the shard: the next
// owner cannot tell it from work that lies on its topic and that nobody has claimed yet, and to offer that
// again would have two agents at it. It is offered again at its time.
type held struct {
	offers []offer
	bytes  int
	next   time.Time // the topics are looked for again
}

type offer struct {
	typ    string
	key    workKey
	until  time.Time // after which nobody takes it: then it is offered again
	record *kgo.Record
}

// keep keeps what says that work is wanted, and forgets it where it says that it no longer is.
func (h *held) keep(typ string, r *kgo.Record) {
	if c, err := schemas.DecodeCancelWork(typeOf(r), r.Value); err == nil {
		h.drop(func(o offer) bool { return o.key == workKey{c.ID, c.Attempt} })
		return
	}
	w, err := schemas.DecodeWork(typeOf(r), r.Value)
	if err != nil || len(h.offers) >= mostHeld || h.bytes+size(r) > mostHeldBytes {
		return
	}
	key := workKey{w.ID, w.Attempt}
	h.drop(func(o offer) bool { return o.key == key })
	if len(h.offers) == 0 {
		h.next = time.Now().Add(lackRetry)
	}
	h.offers, h.bytes = append(h.offers, offer{typ, key, w.OfferedUntil, r}), h.bytes+size(r)
}

func typeOf(r *kgo.Record) string {
	for _, h := range r.Headers {
		if h.Key == kafka.HeaderType {
			return string(h.Value)
		}
	}
	return ""
}

func (h *held) drop(these func(offer) bool) {
	h.offers = slices.DeleteFunc(h.offers, func(o offer) bool {
		gone := these(o)
		if gone {
			h.bytes -= size(o.record)
		}
		return gone
	})
}

// wait is how long nothing has to be looked for, at most so long.
func (h *held) wait(most time.Duration) time.Duration {
	if len(h.offers) == 0 {
		return most
	}
	return min(most, max(time.Until(h.next), 0))
}

// offerHeld writes what was kept to the topics that are there by now.
func (sh *shard) offerHeld(ctx context.Context) error {
	h := &sh.held
	if len(h.offers) == 0 || time.Now().Before(h.next) {
		return nil
	}
	h.next = time.Now().Add(lackRetry)
	h.drop(func(o offer) bool { return !o.until.IsZero() && !time.Now().Before(o.until) })
	ctx, cancel := outlast(ctx)
	defer cancel()
	there := make(map[string]bool)
	var records []*kgo.Record
	for _, o := range h.offers {
		if _, asked := there[o.typ]; !asked {
			err := sh.cfg.ensureWorkTopic(ctx, sh.cl, o.typ)
			if _, lack := errors.AsType[*lackError](err); err != nil && !lack {
				return err
			}
			there[o.typ] = err == nil
		}
		if there[o.typ] {
			records = append(records, o.record)
		}
	}
	if len(records) == 0 {
		return nil
	}
	if err := transact(ctx, sh.cl, records); err != nil {
		return fmt.Errorf("offer work whose topic came late: %w", err)
	}
	h.drop(func(o offer) bool { return there[o.typ] })
	return nil
}

// Lacking says, by activity type, whose work cannot be asked for and why: somebody has to create its
// topic, or to give the right. Safe for concurrent use.
func (r *Runner) Lacking() map[string]string {
	w := r.cfg.workTopics
	w.mu.Lock()
	defer w.mu.Unlock()
	l := make(map[string]string, len(w.lack))
	for _, t := range slices.Sorted(maps.Keys(w.lack)) {
		l[t] = w.lack[t].err.Error()
	}
	return l
}
