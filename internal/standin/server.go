package standin

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// server is a listener that can die and come back at the same address, and be paused.
type server struct {
	handler http.HandlerFunc
	gate    gate

	mu      sync.Mutex
	address string // from its first start on
	http    *http.Server
	done    chan struct{}
}

// start listens, on a free port the first time.
func (s *server) start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.http != nil {
		return errors.New("it runs already")
	}
	address := s.address
	if address == "" {
		address = "127.0.0.1:0"
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen at %s: %w", address, err)
	}
	s.address = ln.Addr().String()
	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(discard{}, "", 0), // a client that has gone is no news
	}
	s.done = make(chan struct{})
	go func(server *http.Server, done chan struct{}) {
		defer close(done)
		_ = server.Serve(ln) // until it is closed
	}(s.http, s.done)
	return nil
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// serve keeps requests while the server is paused: a process that is stopped accepts
// connections, its kernel does, and answers nothing.
func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	if !s.gate.pass(r.Context()) {
		cut()
	}
	s.handler(w, r)
}

// stop closes the listener and every connection.
func (s *server) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.http == nil {
		return
	}
	_ = s.http.Close() // nobody is waited for: it dies
	<-s.done
	s.http = nil
}

func (s *server) url() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return "http://" + s.address
}

// cut ends a request's connection without an answer; net/http knows this panic and says
// nothing.
func cut() { panic(http.ErrAbortHandler) }

// gate is passed at once, unless it is shut.
type gate struct {
	mu   sync.Mutex
	shut chan struct{}
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut == nil {
		g.shut = make(chan struct{})
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut != nil {
		close(g.shut)
		g.shut = nil
	}
}

// pass says whether the gate was passed before ctx ended.
func (g *gate) pass(ctx context.Context) bool {
	for {
		g.mu.Lock()
		shut := g.shut
		g.mu.Unlock()
		if shut == nil {
			return true
		}
		select {
		case <-shut:
		case <-ctx.Done():
			return false
		}
	}
}
