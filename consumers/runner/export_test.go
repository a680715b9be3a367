package runner

import (
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
)

// CheckRestored has every taking of a shard compared with what the events alone would make of it, wherever its
// state comes from. differs is told what is not the same.
func CheckRestored(c *Config, differs func(string)) {
	c.restored = func(ctx context.Context, sh *shard) {
		for _, c := range sh.cells {
			if why := c.(interface{ compare(context.Context) string }).compare(ctx); why != "" {
				differs(why)
			}
		}
	}
}

// compare says what is different from a replay of all events; nothing where they were cut.
func (c *store[S, C, E]) compare(ctx context.Context) string {
	if c.eventsStart > 0 {
		return ""
	}
	other := c.m.cell(c.sh)
	for at, end := int64(0), false; !end; {
		records, next, err := c.sh.cfg.archive.read(ctx, c.eventsTopic, c.sh.id, at, archiveBytes)
		for _, r := range records {
			if err == nil && !end {
				end, err = other.replay(r, c.sh.token)
			}
		}
		if at = next; err != nil {
			return whatFailed(ctx, err)
		}
	}
	if err := other.recovered(ctx, c.sh.begin()); err != nil {
		return whatFailed(ctx, err)
	}
	got, want := c.dump(), other.dump()
	for _, line := range got {
		if !slices.Contains(want, line) {
			return fmt.Sprintf("%s, shard %d, from %s: %s is not what the events say:\n%v", c.m.Name, c.sh.id, c.origin(), line, want)
		}
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			return fmt.Sprintf("%s, shard %d, from %s: %s is missing:\n%v", c.m.Name, c.sh.id, c.origin(), line, got)
		}
	}
	return ""
}

func whatFailed(ctx context.Context, err error) string {
	if ctx.Err() != nil {
		return ""
	}
	return err.Error()
}

// dump lists all that decisions depend on.
func (c *store[S, C, E]) dump() []string {
	l := []string{fmt.Sprintf("next %d, last %s, transaction %d", c.next, c.last, c.txn)}
	for r := range c.seen.ids.from(c.seen.ids.first) {
		l = append(l, fmt.Sprintf("id %x", *r))
	}
	rows := make(map[[16]byte]row)
	for r := range c.ended.from(c.ended.first) {
		rows[r.key] = *r
	}
	for _, en := range c.entries {
		if over(en.state) && !en.far {
			rows[digest(en.id)] = row{digest(en.id), en.first, en.seq}
			continue
		}
		delete(rows, digest(en.id)) // it lives again
		state, err := c.m.Snapshot.Encode(en.state)
		l = append(l, fmt.Sprintf("%s %d %d %d %s %v", en.id, en.seq, en.first, en.due.at, state, err))
	}
	for _, r := range rows {
		l = append(l, fmt.Sprintf("ended %x", r))
	}
	return l
}

// LiveFrame is an aggregate as it stands in a checkpoint.
func LiveFrame(id string, seq, first int64, version int, state string) []byte {
	return appendFrame(nil, liveFrame, liveState{id, seq, first, version, []byte(state)}.append(nil))
}

// Claiming is the group's balancer.
func Claiming(topic string, held func() []int32) kgo.GroupBalancer {
	return claiming{kgo.CooperativeStickyBalancer(), topic, held}
}
