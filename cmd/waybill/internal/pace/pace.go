// Package pace sets how often the garbage collector runs.
//
//	defer pace.Keep()()
//
// The collector runs again when the heap has doubled. The live heap of a busy server here is
// a few megabytes, while what passes through it, records on their way from one goroutine to
// the next, is hundreds of megabytes a second: doubling takes hundredths of a second, and a
// quarter of the time went into looking through the same few megabytes. So while the
// collector comes often it is given a fixed room to fill before it runs again, and when it
// does not, the process is as small as it would be without this package. A large heap, that
// of a long history, is not let double either: it gets the same room, up to where that
// would have the collector run all the time.
package pace

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

const (
	// Room is how much may be allocated, in bytes, between two collections of a busy process,
	// or one with a live heap that is larger than this.
	Room = 64 << 20
	// busy is what is often: as long as collections are no further apart.
	busy = 500 * time.Millisecond
	// quiet is how long after the last collection the room is taken back, and the process made as
	// small as it can be: one that allocates next to nothing would keep what it needed to start
	// until the next one, minutes later.
	quiet = 5 * time.Second
	// usual is Go's own percentage.
	usual = 100
	// calm is that of a process that does next to nothing: to collect more often costs it less
	// than the memory is worth.
	calm = 50
	// tight bounds the percentage from below: a live heap that is larger still grows by half.
	tight = 50
	// least bounds the percentage from above, by the smallest live heap that is reckoned with.
	least = 1 << 20
)

// Keep paces the collector of this process until the function it returns is called. It
// leaves a process alone whose user has set GOGC. One Keep at a time.
func Keep() (stop func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	p := &pacer{percent: usual, last: time.Now(), worked: true, limit: debug.SetMemoryLimit(-1)}
	p.shrink = func() { go shrink() } // which calls collected
	p.guard = p.limit
	p.set(usual, 0)
	p.resting = time.AfterFunc(quiet, p.rest)
	p.watch()
	return p.stop
}

// pacer follows the collections.
type pacer struct {
	mu      sync.Mutex
	stopped bool
	percent int
	guard   int64     // the memory limit that is set
	limit   int64     // the one that was set before
	last    time.Time // of the last collection
	worked  bool      // since the process was last made small
	shrinks int       // so many of the next collections are those that make it small
	shrink  func()
	resting *time.Timer
}

// sign is what no one holds on to, so that every collection finds it.
type sign struct{ _ [16]byte }

// watch has collected called after the next collection.
func (p *pacer) watch() { runtime.AddCleanup(&sign{}, (*pacer).collected, p) }

func (p *pacer) collected() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return
	}
	now := time.Now()
	live := reckoned()
	p.set(percentage(live, now.Sub(p.last)), live)
	p.worked = p.worked || now.Sub(p.last) < quiet && p.shrinks == 0
	p.last, p.shrinks = now, max(p.shrinks-1, 0)
	p.resting.Reset(quiet)
	p.watch()
}

// rest takes the room back, and once after some work gives back to the system what is not needed.
func (p *pacer) rest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return
	}
	p.set(calm, reckoned())
	if p.worked {
		p.worked, p.shrinks = false, 2
		p.shrink()
	}
}

// shrink collects twice, for what lies in pools outlives the first time.
func shrink() {
	runtime.GC()
	debug.FreeOSMemory()
}

// set changes the percentage and the guard; that stops the world for a moment, so not for a
// little.
func (p *pacer) set(percent int, live uint64) {
	if d := percent - p.percent; percent != p.percent && (percent == usual || percent == calm || abs(d) >= p.percent/4) {
		debug.SetGCPercent(percent)
		p.percent = percent
	}
	guard := min(guarded(live), p.limit)
	if d := guard - p.guard; abs(d) >= Room/4 {
		debug.SetMemoryLimit(guard)
		p.guard = guard
	}
}

func abs[T int | int64](n T) T { return max(n, -n) }

func (p *pacer) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	p.resting.Stop()
	debug.SetGCPercent(usual)
	debug.SetMemoryLimit(p.limit)
}

// percentage is by how much a live heap may grow when the last collections were so far apart.
func percentage(live uint64, apart time.Duration) int {
	if apart > busy && live < Room {
		return usual
	}
	return max(int(Room*100/max(live, least)), tight)
}

// guarded is how large the whole may become before the next collection. A percentage fits
// the live heap that it was taken of: when a few megabytes become fifty at once, as when a
// log is read back, it would have them become five hundred before anybody looks again.
func guarded(live uint64) int64 {
	return int64(min(2*Room+live+live/2, math.MaxInt64))
}

// reckoned is what the percentage is taken of, in bytes: what the last collection has left
// of the heap, and what it looks through besides, which weighs where the heap is small.
func reckoned() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}
	metrics.Read(s)
	var sum uint64
	for _, m := range s {
		if m.Value.Kind() != metrics.KindUint64 {
			return Room // unknown: then let it be
		}
		sum += m.Value.Uint64()
	}
	return sum
}
