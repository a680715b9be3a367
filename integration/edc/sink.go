package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// sink takes what a provider pushes.
type sink struct {
	url    string
	host   string
	server *http.Server
	open   chan struct{} // closed when it answers
	once   sync.Once

	mu   sync.Mutex
	got  []string
	came chan struct{} // closed when the first has come
}

// sinks are those that were opened.
type sinks struct {
	all  []*sink
	more []*http.Server
}

// hold opens a sink that does not answer before release.
func (l *sinks) hold(ctx context.Context) (*sink, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &sink{url: "http://" + ln.Addr().String() + "/", host: ln.Addr().String(), open: make(chan struct{}), came: make(chan struct{})}
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.server.Serve(ln) }() // until it is closed
	l.all = append(l.all, s)
	return s, nil
}

func (l *sinks) close() {
	for _, s := range l.all {
		s.release()
		_ = s.server.Close() // whoever still writes is not waited for
	}
	for _, server := range l.more {
		_ = server.Close() // likewise
	}
}

func (s *sink) release() { s.once.Do(func() { close(s.open) }) }

// pushed is what came.
func (s *sink) pushed() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got
}

// ServeHTTP implements http.Handler.
func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if got := s.pushed(); r.Method == http.MethodGet && len(got) > 0 {
		_, _ = io.WriteString(w, got[len(got)-1]) // whoever collects it says what is wrong
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	if s.got = append(s.got, string(body)); len(s.got) == 1 {
		close(s.came)
	}
	s.mu.Unlock()
	select {
	case <-s.open:
	case <-r.Context().Done():
	}
}
