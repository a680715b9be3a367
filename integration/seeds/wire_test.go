package seeds_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// wire is what the connections of one process go through. It can be shut, as if the process slept, cut for
// good, as if it was killed, and can mistreat requests of one kind.
type wire struct {
	mu   sync.Mutex
	shut chan struct{}
	dead bool
	deaf int // answers that will not reach it
	harm atomic.Pointer[harm]
}

// mistreat lets requests go wrong from now on.
func (w *wire) mistreat(h *harm) { w.harm.Store(h) }

// harm is what befalls the next requests of a kind.
type harm struct {
	key   kmsg.Key
	how   mishap
	after time.Duration // of a delay
	left  atomic.Int32
	hits  atomic.Int32
}

// mishap is what can befall a request on its way.
type mishap string

const (
	none    mishap = ""
	lost    mishap = "cut before it arrives"
	unheard mishap = "carried out, its answer lost" // so that it comes twice
	delayed mishap = "held up"
)

func (h *harm) befalls(request []byte) mishap {
	if h == nil || len(request) < 6 || binary.BigEndian.Uint16(request[4:6]) != uint16(h.key) {
		return none
	}
	if h.left.Add(-1) < 0 {
		return none
	}
	h.hits.Add(1)
	return h.how
}

func (w *wire) kill() {
	w.mu.Lock()
	w.dead = true
	w.mu.Unlock()
	w.open()
}

func (w *wire) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.shut == nil {
		w.shut = make(chan struct{})
	}
}

func (w *wire) open() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.shut != nil {
		close(w.shut)
		w.shut = nil
	}
}

func (w *wire) deafen(answers int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deaf = answers
}

// pass waits while the wire is shut.
func (w *wire) pass() error {
	w.mu.Lock()
	shut := w.shut
	w.mu.Unlock()
	if shut != nil {
		<-shut
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead {
		return net.ErrClosed
	}
	return nil
}

func (w *wire) hears() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.deaf == 0 {
		return true
	}
	w.deaf--
	return false
}

type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// through lets what is dialled go through the wire.
func (w *wire) through(dial dialer) dialer {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if err := w.pass(); err != nil {
			return nil, err
		}
		c, err := dial(ctx, network, address)
		return &wired{Conn: c, w: w}, err
	}
}

// wired is a connection that goes through a wire.
type wired struct {
	net.Conn
	w    *wire
	deaf atomic.Bool // nothing comes back on it any more
}

func (c *wired) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err := c.w.pass(); err != nil {
		return 0, err
	}
	if err == nil && (c.deaf.Load() || !c.w.hears()) {
		_ = c.Close()
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

func (c *wired) Write(b []byte) (int, error) {
	if err := c.w.pass(); err != nil {
		return 0, err
	}
	h := c.w.harm.Load()
	switch h.befalls(b) {
	case lost:
		_ = c.Close()
		return 0, io.ErrClosedPipe
	case unheard:
		c.deaf.Store(true)
	case delayed:
		time.Sleep(h.after) //nolint:forbidigo // fake time
	case none, failed, late: // the broker does that
	}
	return c.Conn.Write(b)
}
