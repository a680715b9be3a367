package orchestration

import "time"

// timers is a heap of when something is due, earliest first. An entry is valid while
// its node's own timer says the same; the others are dropped when they come up.
type timers []timer

type timer struct {
	at   int64 // unix milliseconds
	node int32 // -1: the orchestration's deadline
}

func (h *timers) push(t timer) {
	*h = append(*h, t)
	l := *h
	for i := len(l) - 1; i > 0; {
		up := (i - 1) / 2
		if l[up].at <= l[i].at {
			break
		}
		l[up], l[i] = l[i], l[up]
		i = up
	}
}

func (h *timers) pop() {
	l := *h
	n := len(l) - 1
	l[0] = l[n]
	l = l[:n]
	*h = l
	for i := 0; ; {
		c := 2*i + 1
		if c >= n {
			return
		}
		if c+1 < n && l[c+1].at < l[c].at {
			c++
		}
		if l[i].at <= l[c].at {
			return
		}
		l[i], l[c] = l[c], l[i]
		i = c
	}
}

// due walks the heap, without changing it, over every entry at or before now.
func (h timers) due(now int64, visit func(timer)) {
	var walk func(i int)
	walk = func(i int) {
		if i >= len(h) || h[i].at > now {
			return
		}
		visit(h[i])
		walk(2*i + 1)
		walk(2*i + 2)
	}
	walk(0)
}

// millis rounds up: a timer never fires before its time.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	ms := t.UnixMilli()
	if t.Nanosecond()%int(time.Millisecond) != 0 {
		ms++
	}
	return ms
}

// arm sets the node's timer to the earliest of what it waits for.
func (g *graph) arm(i int32) {
	n := &g.nodes[i]
	var at time.Time
	earliest := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	if !n.phase.Final() && n.phase != Pending {
		earliest(n.deadline)
		earliest(n.next)
		if n.phase == Running {
			earliest(n.lease)
			earliest(n.began.Add(attemptTimeout(n.def)))
		}
	}
	ms := millis(at)
	if ms != 0 && ms != n.timer {
		g.timers.push(timer{ms, i})
	}
	n.timer = ms
}

// Deadline is when Wake has something to do next; zero if nothing waits. It drops
// timers that no longer mean anything, so the caller must own the State.
func (s State) Deadline() time.Time {
	if s.g == nil {
		return time.Time{}
	}
	for len(s.g.timers) > 0 {
		t := s.g.timers[0]
		if t.node < 0 || s.g.nodes[t.node].timer == t.at {
			return time.UnixMilli(t.at)
		}
		s.g.timers.pop()
	}
	return time.Time{}
}
