package runner

import (
	"context"
	"errors"
	"fmt"
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

// past reads the committed events of a topic's partition of this shard from an offset on, until
// visit has seen enough.
func (sh *shard) past(ctx context.Context, topic string, from int64, visit func(*kgo.Record) (enough bool, err error)) error {
	cl, err := sh.cfg.Kafka.NewClient(
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {sh.id: kgo.NewOffset().At(from)}}),
		// Most of what is wanted is little: the rest of a large piece would be thrown away.
		kgo.FetchMaxBytes(2<<20), kgo.FetchMaxPartitionBytes(1<<20),
	)
	if err != nil {
		return err
	}
	defer cl.Close()
	for {
		fetches := cl.PollFetches(ctx)
		if err := fetchError(ctx, fetches); err != nil {
			return err
		}
		for left := fetches.RecordIter(); !left.Done(); {
			if enough, err := visit(left.Next()); enough || err != nil {
				return err
			}
		}
	}
}

// retelling folds an aggregate's events into a state that forgets nothing.
type retelling[S any] struct {
	state S
	seq   int64
	until int64 // sequence of the last event to be folded
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

// readBack reads an aggregate back: what is on the log, then what the transaction being
// made has of it.
func (c *store[S, C, E]) readBack(ctx context.Context, b *batch, en *entry[S]) (S, error) {
	var own []*kgo.Record
	for _, r := range b.events {
		if r.Topic == c.eventsTopic && string(r.Key) == en.id {
			own = append(own, r)
		}
	}
	t := &retelling[S]{state: c.m.History.Remember(c.m.New(en.id)), until: en.seq - int64(len(own))}
	if t.until > 0 {
		soon, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		err := c.sh.past(soon, c.eventsTopic, en.first, func(r *kgo.Record) (bool, error) {
			if string(r.Key) != en.id {
				return false, nil
			}
			err := c.retell(t, r)
			return t.seq == t.until, err
		})
		if err != nil {
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

// decideOn decides a command and folds in what it makes happen; where the state has forgotten what
// that takes, on one that was read back.
func (c *store[S, C, E]) decideOn(ctx context.Context, b *batch, en *entry[S], cmd C, why cause) (events []E, err error) {
	h := c.m.History
	if h == nil || !h.Needs(en.state, cmd) {
		if events, err = en.state.Decide(b.at, cmd); err == nil {
			err = c.apply(b, en, events, why)
		}
		return events, err
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
	if h == nil {
		return nil, nil
	}
	told := make(map[string]*retelling[S])
	var revived []*entry[S]
	from := int64(-1)
	add := func(en *entry[S]) {
		if told[en.id] != nil {
			return
		}
		told[en.id] = &retelling[S]{state: h.Remember(c.m.New(en.id)), until: en.seq}
		revived = append(revived, en)
		if en.seq > 0 && (from < 0 || en.first < from) {
			from = en.first
		}
	}
	for _, en := range c.entries {
		if h.Lost(en.state) {
			add(en)
		}
	}
	for _, x := range c.unfollowed {
		if h.Revives(x.event) {
			add(c.entry(x.id))
		}
	}
	left := 0
	for _, t := range told {
		if t.until > 0 {
			left++
		}
	}
	if left > 0 {
		err := c.sh.past(ctx, c.eventsTopic, from, func(r *kgo.Record) (bool, error) {
			t := told[string(r.Key)]
			if t == nil || t.seq == t.until {
				return false, nil
			}
			err := c.retell(t, r)
			if t.seq == t.until {
				left--
			}
			return left == 0, err
		})
		if err != nil {
			return nil, err
		}
	}
	for _, en := range revived {
		en.state = told[en.id].state
	}
	return revived, nil
}
