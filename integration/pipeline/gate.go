package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"
)

// request is what came through a gate.
type request struct {
	method, path, query, contentType, key string
	body                                  []byte
}

// gate stands before a service and notes what it is asked, or answers in its place.
type gate struct {
	url    string
	server *http.Server
	answer http.HandlerFunc // instead of the service; it may call pass
	pass   http.Handler

	mu   sync.Mutex
	seen []request
}

type gates struct{ all []*gate }

// open opens a gate before a service; answer may be nil.
func (g *gates) open(ctx context.Context, service string, answer http.HandlerFunc) (*gate, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	one := &gate{url: "http://" + ln.Addr().String(), answer: answer}
	one.pass = httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: service})
	one.server = &http.Server{Handler: one, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = one.server.Serve(ln) }() // until it is closed
	g.all = append(g.all, one)
	return one, nil
}

func (g *gates) close() {
	for _, one := range g.all {
		_ = one.server.Close() // whoever still reads is not waited for
	}
}

// ServeHTTP implements http.Handler.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	g.mu.Lock()
	g.seen = append(g.seen, request{
		r.Method, r.URL.Path, r.URL.RawQuery, r.Header.Get("Content-Type"), r.Header.Get("Idempotency-Key"), body,
	})
	g.mu.Unlock()
	if g.answer != nil {
		g.answer(w, r)
		return
	}
	g.pass.ServeHTTP(w, r)
}

func (g *gate) requests() []request {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.seen
}

// says answers everything with the same.
func says(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}
