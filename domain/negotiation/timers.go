package negotiation

import (
	"cmp"
	"time"
)

// timers is a heap of when something is due, earliest first. The time of what it is about may move
// on without the heap: its entry then comes up too early and is put back. An entry that is not
// the earliest of what it is about is dropped when it comes up.
type timers []timer

type timer struct {
	at    time.Time
	about subject
	in    int // of a copy: where in the heap it was found; -1: nowhere
}

// before is the order of the heap. It leaves nothing open, so that what is due at the same time
// happens in the same order whatever way the heap has come about: live, read back, or restored.
func (t timer) before(u timer) bool {
	return cmp.Or(t.at.Compare(u.at), cmp.Compare(t.about.kind, u.about.kind), cmp.Compare(t.about.key, u.about.key)) < 0
}

// subject is what a timer or a place in the queue is about.
type subject struct {
	kind kind
	key  string
}

type kind uint8

const (
	ofAccess  kind = iota // by asset
	ofListing             // by type
	ofWish                // by waiter
)

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
	l[0], l[n] = l[n], timer{}
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

// dueAt visits what is due, the earliest first, until visit says that it has seen enough. It
// changes nothing. Something may be visited twice.
func (b *book) dueAt(now time.Time, visit func(subject) (enough bool)) {
	var next timers // what is known of the heap so far that is due
	look := func(k int) {
		if k < len(b.timers) && !b.timers[k].at.After(now) {
			t := b.timers[k]
			t.in = k
			next.push(t)
		}
	}
	for look(0); len(next) > 0; {
		t := next[0]
		next.pop()
		if t.in >= 0 {
			look(2*t.in + 1)
			look(2*t.in + 2)
		}
		when, armed := b.dueOf(t.about)
		switch {
		case armed == nil || t.in >= 0 && !armed.Equal(t.at) || !passed(when, now):
		case t.at.Before(when): // it has moved on: its turn comes then
			next.push(timer{when, t.about, -1})
		case visit(t.about):
			return
		}
	}
}

// earliest is the first of the times that are set.
func earliest(times ...time.Time) time.Time {
	var first time.Time
	for _, t := range times {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

// passed says whether a time that is set has come.
func passed(t, now time.Time) bool { return !t.IsZero() && !t.After(now) }
