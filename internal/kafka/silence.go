package kafka

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Silence remembers, for all clients of a process, which brokers do not answer. One that hangs, or
// that the network has lost, refuses nothing: each connection and each new client would wait for it
// by itself, for metadata, then for a coordinator, then for a leader: shards stood still for a minute.
// Here one that has waited in vain is enough: the others' connections to it are closed, and new
// ones refused, as though the broker had been killed, which clients are good at. Now and then one
// is let through, to hear whether it is back: a circuit breaker for each broker. It is safe for
// concurrent use.
type Silence struct {
	mu      sync.Mutex
	brokers map[string]*voice
}

const (
	// requestTimeout is how long a broker may take for an answer, beside what the request says itself.
	// Not less: brokers on busy machines were seen to take seconds.
	requestTimeout = 5 * time.Second
	// listenAgain is how often a broker that does not answer is tried.
	listenAgain = 2 * time.Second
	// listenFor is how long it then has.
	listenFor = time.Second
)

// voice is what is known of a broker.
type voice struct {
	silent bool
	heard  time.Time // when it last said something, on any connection
	tried  time.Time // while it is silent
	conns  map[*heardConn]struct{}
}

// dialer dials by another one, but not to a broker that does not answer.
func (s *Silence) dialer(dial dialer) dialer {
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		try, trial := s.try(address)
		if !try {
			return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect: it does not answer", syscall.ECONNREFUSED)}
		}
		if trial {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, listenFor)
			defer cancel()
		}
		plain, err := dial(ctx, network, address)
		if err != nil {
			if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
				s.waited(address, requestTimeout)
			}
			return nil, err
		}
		c := &heardConn{Conn: plain, of: s, address: address, trial: trial}
		s.add(c)
		if trial {
			err = c.SetReadDeadline(time.Now().Add(listenFor)) // TLS sets none
		}
		return c, err
	}
}

func (s *Silence) voice(address string) *voice {
	if s.brokers == nil {
		s.brokers = make(map[string]*voice)
	}
	v := s.brokers[address]
	if v == nil {
		v = &voice{conns: make(map[*heardConn]struct{})}
		s.brokers[address] = v
	}
	return v
}

// try says whether a broker may be dialled; trial, that it has not answered so far.
func (s *Silence) try(address string) (try, trial bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.voice(address)
	if !v.silent {
		return true, false
	}
	if time.Since(v.tried) < listenAgain {
		return false, true
	}
	v.tried = time.Now()
	return true, true
}

func (s *Silence) add(c *heardConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.voice(c.address).conns[c] = struct{}{}
}

func (s *Silence) remove(c *heardConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.voice(c.address).conns, c)
}

// heard notes that a broker has said something.
func (s *Silence) heard(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.voice(address)
	v.silent, v.heard = false, time.Now()
}

// waited notes that somebody has waited that long in vain. A broker of which others have heard
// meanwhile is only slow with one thing.
func (s *Silence) waited(address string, long time.Duration) {
	s.mu.Lock()
	v := s.voice(address)
	if time.Since(v.heard) < long {
		s.mu.Unlock()
		return
	}
	v.silent, v.tried = true, time.Now()
	var stuck []*heardConn
	for c := range v.conns {
		stuck = append(stuck, c)
	}
	s.mu.Unlock()
	for _, c := range stuck {
		_ = c.Close() // what is asked on it learns of that
	}
}

// heardConn tells what is heard on a connection.
type heardConn struct {
	net.Conn
	of      *Silence
	address string
	trial   bool // of a broker that was silent

	mu   sync.Mutex
	long time.Duration // that a read waits; 0: it is to end at once, for other reasons, or never
}

// Read implements net.Conn.
func (c *heardConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.of.heard(c.address)
		c.mu.Lock()
		c.trial = false
		c.mu.Unlock()
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		c.mu.Lock()
		long := c.long
		c.mu.Unlock()
		if long > 0 {
			c.of.waited(c.address, long)
		}
	}
	return n, err
}

// SetReadDeadline implements net.Conn. Whoever loses interest puts the deadline to now.
func (c *heardConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	if most := time.Now().Add(listenFor); c.trial && !t.IsZero() && t.After(most) {
		t = most
	}
	c.long = 0
	if long := time.Until(t); !t.IsZero() && long >= listenFor/2 {
		c.long = long
	}
	c.mu.Unlock()
	return c.Conn.SetReadDeadline(t)
}

// Close implements net.Conn.
func (c *heardConn) Close() error {
	c.of.remove(c)
	return c.Conn.Close()
}
