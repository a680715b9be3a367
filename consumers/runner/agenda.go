package runner

// agenda is a heap of entries by when they are next due. Each entry knows its place, so
// a changed deadline moves it instead of leaving a stale one behind.
type agenda[T any] struct{ items []*due[T] }

type due[T any] struct {
	at    int64 // unix milliseconds
	place int   // index in the heap plus one; 0: not in it
	value T
}

// set puts an entry at a time; at 0 takes it out.
func (a *agenda[T]) set(d *due[T], at int64) {
	switch {
	case at == 0 && d.place == 0:
	case at == 0:
		a.remove(d)
	case d.place == 0:
		d.at = at
		a.items = append(a.items, d)
		d.place = len(a.items)
		a.up(len(a.items) - 1)
	case d.at != at:
		d.at = at
		i := d.place - 1
		a.up(i)
		a.down(d.place - 1)
	}
}

func (a *agenda[T]) first() *due[T] {
	if len(a.items) == 0 {
		return nil
	}
	return a.items[0]
}

func (a *agenda[T]) remove(d *due[T]) {
	i, last := d.place-1, len(a.items)-1
	a.swap(i, last)
	a.items[last] = nil
	a.items = a.items[:last]
	d.place = 0
	if i < last {
		moved := a.items[i]
		a.up(i)
		a.down(moved.place - 1)
	}
}

func (a *agenda[T]) swap(i, j int) {
	a.items[i], a.items[j] = a.items[j], a.items[i]
	a.items[i].place, a.items[j].place = i+1, j+1
}

func (a *agenda[T]) up(i int) {
	for i > 0 {
		p := (i - 1) / 2
		if a.items[p].at <= a.items[i].at {
			return
		}
		a.swap(p, i)
		i = p
	}
}

func (a *agenda[T]) down(i int) {
	for {
		c := 2*i + 1
		if c >= len(a.items) {
			return
		}
		if c+1 < len(a.items) && a.items[c+1].at < a.items[c].at {
			c++
		}
		if a.items[i].at <= a.items[c].at {
			return
		}
		a.swap(i, c)
		i = c
	}
}
