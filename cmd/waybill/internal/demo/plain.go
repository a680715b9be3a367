package demo

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// plain is a provider without contracts: it answers GET /<file> from its folder.
type plain struct {
	*provider
	requests atomic.Int64

	server   *http.Server
	listener net.Listener
	done     chan struct{}
}

func (a *providers) startPlain(ctx context.Context) error {
	for _, p := range a.list {
		ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		one := &plain{provider: p, listener: ln, done: make(chan struct{})}
		p.url = "http://" + ln.Addr().String()
		p.asked = func() int { return int(one.requests.Load()) }
		a.plain = append(a.plain, one)
		one.serve()
	}
	return nil
}

func (p *plain) serve() {
	p.server = &http.Server{
		Handler:           p.handler(),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(discard{}, "", 0), // a client that has gone is no news
	}
	go func() {
		defer close(p.done)
		_ = p.server.Serve(p.listener) // until it is closed
	}()
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

func (p *plain) handler() http.Handler {
	files := http.FileServer(http.Dir(p.dir))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.requests.Add(1)
		select {
		case <-r.Context().Done():
			return
		case <-time.After(p.delay):
		}
		if p.broken {
			http.Error(w, p.name+" is out of order, as --fail asked for", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		files.ServeHTTP(w, r)
	})
}
