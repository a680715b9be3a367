// Package pace sets how often the garbage collector runs.
//
//	defer pace.Keep()()
//
// The collector runs again when the heap has doubled. The live heap of a busy server here is
// a few megabytes, while what passes through it, records on their way from one goroutine to
// the next, is hundreds of megabytes a second: doubling takes hundredths of a second, and a
// quarter of the time went into looking through the same few megabytes. So while the
// collector comes often it is given a fixed room to fill before it runs again, and when it
// does not, the process is as small as it would be without this package.
package pace

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

const (
	// Room is how much may be allocated, in bytes, between two collections of a busy process.
	// A live heap that is larger than this is let double, as ever.
	Room = 64 << 20
	// busy is what is often: as long as collections are no further apart.
	busy = 500 * time.Millisecond
	// quiet is how long after the last collection the room is taken back: a process that
	// allocates next to nothing would keep it until the next one, minutes later.
	quiet = 5 * time.Second
	// usual is Go's own percentage.
	usual = 100
	// least bounds the percentage from above, by the smallest live heap that is reckoned with.
	least = 1 << 20
)

// Keep paces the collector of this process until the function it returns is called. It
// leaves a process alone whose user has set GOGC. One Keep at a time.
func Keep() (stop func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	p := &pacer{percent: usual, last: time.Now()}
	p.calm = time.AfterFunc(quiet, p.rest)
	p.watch()
	return p.stop
}

// pacer follows the collections.
type pacer struct {
	mu      sync.Mutex
	stopped bool
	percent int
	last    time.Time // of the last collection
	calm    *time.Timer
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
	p.set(percentage(liveHeap(), now.Sub(p.last)))
	p.last = now
	p.calm.Reset(quiet)
	p.watch()
}

// rest takes the room back; what has gathered there is collected then.
func (p *pacer) rest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.stopped {
		p.set(usual)
	}
}

// set changes the percentage; that stops the world for a moment, so not for a little.
func (p *pacer) set(percent int) {
	if d := percent - p.percent; percent != usual && d < p.percent/4 && -d < p.percent/4 {
		return
	}
	if percent != p.percent {
		debug.SetGCPercent(percent)
		p.percent = percent
	}
}

func (p *pacer) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	p.calm.Stop()
	p.set(usual)
}

// percentage is by how much a live heap may grow when the last collections were so far apart.
func percentage(live uint64, apart time.Duration) int {
	if apart > busy || live >= Room {
		return usual
	}
	return int(Room * 100 / max(live, least))
}

// liveHeap is what the last collection has left, in bytes.
func liveHeap() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindUint64 {
		return Room // unknown: then let it be
	}
	return s[0].Value.Uint64()
}
