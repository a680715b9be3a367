package orchestration

import "time"

// timers is a heap of when something is due, earliest first. A node's time may move on
// without the heap: its entry then comes up too early and is put back. An entry that is not
// the node's earliest is dropped when it comes up.
type timers []timer

type timer struct {
	at   int64 // unix milliseconds
	node int32 // -1: the orchestration's deadline
	in   int32 // of a copy: where in the heap it was found; -1: nowhere
}

// before is the order of the heap. It leaves nothing open, so that what is due at the same time
// happens in the same order whatever way the heap has come about: live, read back, or restored.
func (t timer) before(u timer) bool { return t.at < u.at || t.at == u.at && t.node < u.node }

func (h *timers) push(t timer) {
	*h = append(*h, t)
	l := *h
	for i := len(l) - 1; i > 0; {
		up := (i - 1) / 2
		if !l[i].before(l[up]) {
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
		if c+1 < n && l[c+1].before(l[c]) {
			c++
		}
		if !l[c].before(l[i]) {
			return
		}
		l[i], l[c] = l[c], l[i]
		i = c
	}
}

// dueAt visits the nodes whose timers have come, the earliest first, until visit says that it has
// seen enough. It changes nothing. A node may be visited twice.
func (g *graph) dueAt(now int64, visit func(i int32) (enough bool)) {
	var next timers // what is known of the heap so far that is due
	look := func(k int) {
		if k < len(g.timers) && g.timers[k].at <= now {
			t := g.timers[k]
			t.in = int32(k) // bounded by the timers there are
			next.push(t)
		}
	}
	for look(0); len(next) > 0; {
		t := next[0]
		next.pop()
		if t.in >= 0 {
			look(2*int(t.in) + 1)
			look(2*int(t.in) + 2)
		}
		if t.node < 0 {
			continue
		}
		n := &g.nodes[t.node]
		switch {
		case t.in >= 0 && n.armed != t.at || n.timer == 0 || n.timer > now:
		case t.at < n.timer: // it has moved on: its turn comes then
			next.push(timer{n.timer, t.node, -1})
		case visit(t.node):
			return
		}
	}
}

// millis is a time in unix milliseconds, 0 for none. It rounds up: a timer never fires
// before its time.
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

// fromMillis is the time that millis was made from, but for the rounding.
func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// due is when something happens to the node by itself; 0: never. What is held is not tried
// again, and offered again only as long as somebody may take it up.
func (g *graph) due(n *node) int64 {
	if n.phase.Final() || n.phase == ActivityPending {
		return 0
	}
	at := n.deadline
	earliest := func(t int64) {
		if t != 0 && (at == 0 || t < at) {
			at = t
		}
	}
	switch n.phase {
	case ActivityScheduled, ActivityRetrying:
		if !n.paused && !g.held() {
			earliest(n.next)
		}
	case ActivityReady:
		if g.doomed == nil {
			earliest(n.next)
		}
	default:
		earliest(n.next)
	}
	if n.phase == ActivityRunning {
		earliest(n.lease)
		earliest(n.overtime())
	}
	return at
}

// overtime is when the attempt has taken too long.
func (n *node) overtime() int64 { return n.began + millisOf(attemptTimeout(n.def)) }

// millisOf is a duration in milliseconds, rounded up as well.
func millisOf(d time.Duration) int64 {
	ms := int64(d / time.Millisecond)
	if d%time.Millisecond != 0 {
		ms++
	}
	return ms
}

// arm sets the node's timer to the earliest of what it waits for.
func (g *graph) arm(i int32) {
	n := &g.nodes[i]
	n.timer = g.due(n)
	if n.timer != 0 && (n.armed == 0 || n.timer < n.armed) {
		n.armed = n.timer
		g.timers.push(timer{at: n.timer, node: i})
	}
}

// Deadline is when Wake has something to do next; zero if nothing waits. It puts the
// timers in order, so the caller must own the State.
func (s State) Deadline() time.Time {
	if s.g == nil || s.Ended() {
		return s.removal()
	}
	for len(s.g.timers) > 0 {
		t := s.g.timers[0]
		if t.node < 0 {
			if t.at == s.g.deadline || s.g.doomed != nil && t.at == s.g.verdict {
				return fromMillis(t.at)
			}
			s.g.timers.pop() // what is being undone has another deadline
			continue
		}
		n := &s.g.nodes[t.node]
		if n.armed == t.at && n.timer == t.at {
			return fromMillis(t.at)
		}
		s.g.timers.pop()
		if n.armed == t.at {
			n.armed = 0
			s.g.arm(t.node)
		}
	}
	return time.Time{}
}
