package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/internal/kafka"
)

// History is for aggregates that forget, when they end, what some commands are decided on:
// then the aggregate is read back from its events. An end is what most aggregates come to, and
// few are asked for anything afterwards.
type History[S, C, E any] struct {
	// Remember lets an aggregate, before anything has happened, forget nothing.
	Remember func(s S) S
	// Needs says that a command is decided on what the state has forgotten.
	Needs func(s S, c C) bool
	// Revives says that an event goes on from what was forgotten.
	Revives func(e E) bool
	// Lost says that a state goes on without what was forgotten.
	Lost func(s S) bool
	// Forget lets it forget again.
	Forget func(s S) S
}

// patience is how long reading an aggregate back may take: the shard decides nothing meanwhile.
const patience = 30 * time.Second

// pastBytes is how much of the log is read at a time: most of what is wanted is little.
const pastBytes = 512 << 10

// retelling folds an aggregate's events into a state that forgets nothing.
type retelling[S any] struct {
	id    string
	first int64 // offset of its first event
	state S
	seq   int64
	until int64 // sequence of the last event to be folded
	err   error // what was wrong with one of them
}

func (c *store[S, C, E]) retelling(id string, first, until int64) *retelling[S] {
	t := &retelling[S]{id: id, first: first, until: until, state: c.m.New(id)}
	if c.m.History != nil {
		t.state = c.m.History.Remember(t.state)
	}
	return t
}

// retell folds a record in, if it is the next event of the retelling's aggregate.
func (c *store[S, C, E]) retell(t *retelling[S], r *kgo.Record) error {
	env, err := kafka.ParseCloudEvent(r)
	if err != nil {
		return c.broken(r, err)
	}
	switch {
	case env.Sequence <= t.seq || env.Sequence > t.until:
		return nil
	case env.Sequence > t.seq+1:
		return c.broken(r, fmt.Errorf("%s %s has the event of sequence %d after that of %d: events are missing", c.m.Name, r.Key, env.Sequence, t.seq))
	}
	return c.folding(r.Offset, func() error {
		e, err := c.decode(env.Type, r.Value)
		if err == nil {
			t.state, t.seq = t.state.Evolve(env.Time, e), env.Sequence
		}
		return err
	})
}

// tell reads the committed events of aggregates and folds them in, in one pass over those parts of the
// log where they lie. With a limit it stops when it has read that many bytes; some are then not told.
func (c *store[S, C, E]) tell(ctx context.Context, tales []*retelling[S], limit int) error {
	slices.SortFunc(tales, func(a, b *retelling[S]) int { return cmp.Compare(a.first, b.first) })
	under := make(map[string]*retelling[S])
	at, size, next := int64(0), 0, 0
	for limit == 0 || size < limit {
		if len(under) == 0 {
			for next < len(tales) && tales[next].until == 0 {
				next++ // nothing of it is on the log
			}
			if next == len(tales) {
				return nil
			}
			at = max(at, tales[next].first)
		}
		records, behind, err := c.sh.cfg.archive.read(ctx, c.eventsTopic, c.sh.id, at, pastBytes)
		if err != nil {
			return err
		}
		for _, r := range records {
			size += len(r.Value)
			for ; next < len(tales) && tales[next].first <= r.Offset; next++ {
				if tales[next].until > 0 {
					under[tales[next].id] = tales[next]
				}
			}
			t := under[string(r.Key)]
			if t == nil {
				continue
			}
			if t.err = c.retell(t, r); t.err != nil || t.seq == t.until {
				delete(under, t.id)
			}
		}
		at = behind
	}
	return nil
}

// readBack reads an aggregate back: what is on the log, then what the transaction being
// made has of it.
func (c *store[S, C, E]) readBack(ctx context.Context, b *batch, en *entry[S]) (S, error) {
	var own []*kgo.Record
	for _, r := range b.events {
		if r.Topic == c.eventsTopic && string(r.Key) == en.id {
			own = append(own, r)
		}
	}
	t := c.retelling(en.id, en.first, en.seq-int64(len(own)))
	if t.until > 0 {
		soon, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		if err := cmp.Or(c.tell(soon, []*retelling[S]{t}, 0), t.err); err != nil {
			return t.state, c.unreadable(ctx, en.id, err)
		}
	}
	t.until = en.seq
	for _, r := range own {
		if err := c.retell(t, r); err != nil {
			return t.state, err
		}
	}
	return t.state, nil
}

// unreadable makes an answer of what would be met each time that the command is decided.
func (c *store[S, C, E]) unreadable(ctx context.Context, id string, err error) error {
	var stopped *StoppedError
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, context.DeadlineExceeded):
		return machine.Refuse(machine.Limit, fmt.Sprintf("the events of %s %s could not be read back within the limit of %s", c.m.Name, id, patience))
	case errors.Is(err, kerr.OffsetOutOfRange), errors.As(err, &stopped):
		return machine.Refuse(machine.BadState, fmt.Sprintf("the events of %s %s cannot be read back: %v", c.m.Name, id, err))
	}
	return err
}

// ordinary lets an ended aggregate that was read back, and remembers all, forget before a command that does
// not need that: it is decided as if the aggregate had been in memory since its end.
func (c *store[S, C, E]) ordinary(en *entry[S], cmd C) {
	h := c.m.History
	if h == nil || !en.state.Ended() {
		return
	}
	if forgetful := h.Forget(en.state); !h.Needs(forgetful, cmd) {
		en.state = forgetful
	}
}

// decideOn decides a command and folds in what it makes happen; where the state has forgotten what
// that takes, on one that was read back.
func (c *store[S, C, E]) decideOn(ctx context.Context, b *batch, en *entry[S], cmd C, why cause) (events []E, err error) {
	h := c.m.History
	c.ordinary(en, cmd)
	if h == nil || !h.Needs(en.state, cmd) {
		if events, err = en.state.Decide(b.at, cmd); err == nil {
			err = c.apply(b, en, events, why)
		}
		return events, err
	}
	if en.first < c.eventsStart && over(en.state) {
		return nil, c.gone(en.id)
	}
	forgetful := en.state
	if en.state, err = c.readBack(ctx, b, en); err == nil {
		if events, err = en.state.Decide(b.at, cmd); err == nil {
			err = c.apply(b, en, events, why)
		}
	}
	if err != nil || len(events) == 0 {
		en.state = forgetful
		return events, err
	}
	en.state = h.Forget(en.state)
	return events, nil
}

// revive reads back, in one pass, every aggregate that the replay left without what it had
// forgotten, or whose last events, whose effects may be missing, need it. It returns them: once
// all is folded in, they may forget again.
func (c *store[S, C, E]) revive(ctx context.Context) ([]*entry[S], error) {
	h := c.m.History
	told := make(map[string]*retelling[S])
	var revived []*entry[S]
	add := func(en *entry[S]) {
		if told[en.id] == nil {
			told[en.id] = c.retelling(en.id, en.first, en.seq)
			revived = append(revived, en)
		}
	}
	for _, x := range c.unfollowed {
		if en := c.entry(x.id); h != nil && h.Revives(x.event) {
			add(en)
		}
	}
	for _, en := range c.entries {
		if en.cold || h != nil && h.Lost(en.state) {
			add(en)
		}
	}
	tales := slices.Collect(maps.Values(told))
	if err := c.tell(ctx, tales, 0); err != nil {
		return nil, err
	}
	for _, en := range revived {
		t := told[en.id]
		if t.err != nil {
			return nil, t.err
		}
		en.state, en.cold = t.state, false
	}
	return revived, nil
}
