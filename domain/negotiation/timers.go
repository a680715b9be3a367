package negotiation

import "time"

// timers is a heap of when something is due, earliest first. The time of what it is about may move
// on without the heap: its entry then comes up too early and is put back. An entry that is not
// the earliest of what it is about is dropped when it comes up.
type timers []timer

type timer struct {
	at    time.Time
	about subject
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
		if !l[i].at.Before(l[up].at) {
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
		if c+1 < n && l[c+1].at.Before(l[c].at) {
			c++
		}
		if !l[c].at.Before(l[i].at) {
			return
		}
		l[i], l[c] = l[c], l[i]
		i = c
	}
}

// due walks the heap, without changing it, over every entry at or before now, until visit says
// that it has seen enough.
func (h timers) due(now time.Time, visit func(timer) (enough bool)) { h.walk(0, now, visit) }

func (h timers) walk(i int, now time.Time, visit func(timer) bool) (enough bool) {
	if i >= len(h) || h[i].at.After(now) {
		return false
	}
	return visit(h[i]) || h.walk(2*i+1, now, visit) || h.walk(2*i+2, now, visit)
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
