package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// lossy stands before a management API and loses every second reply to what starts something there.
type lossy struct {
	url        string
	server     *http.Server
	came, lost atomic.Int64
}

// lose begins to lose replies of a connector's management API.
func lose(ctx context.Context, c connector) (*lossy, error) {
	target, err := url.Parse(c.ManagementURL)
	if err != nil {
		return nil, err
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &lossy{url: "http://" + ln.Addr().String() + target.Path}
	l.server = &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host },
		ModifyResponse: l.pass,
		ErrorHandler:   func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }, // cuts the connection
	}}
	go func() { _ = l.server.Serve(ln) }() // until it is closed
	return l, nil
}

// pass lets a reply through or loses it.
func (l *lossy) pass(r *http.Response) error {
	path := r.Request.URL.Path
	starts := strings.HasSuffix(path, "/contractnegotiations") || strings.HasSuffix(path, "/transferprocesses")
	if r.Request.Method == http.MethodPost && starts && l.came.Add(1)%2 == 1 {
		l.lost.Add(1)
		return errors.New("the reply is lost")
	}
	return nil
}

// unanswered shows that what a connector was asked and did not answer is found there again and not asked twice.
func (s *scenario) unanswered(ctx context.Context) error {
	l, err := lose(ctx, s.peers.of[consumer])
	if err != nil {
		return err
	}
	defer l.server.Close() //nolint:errcheck // whoever still reads is not waited for
	srv, err := s.serve(ctx, "unanswered", s.peers, func(c *config) { c.Connectors[0].ManagementURL = l.url })
	if err != nil {
		return err
	}
	before, err := s.peers.counts(ctx)
	if err != nil {
		return err
	}
	err = s.counted(ctx, "with every second reply lost", ofTree(1), ofTree(1), func(ctx context.Context) error {
		return s.completes(ctx, srv, "unanswered", root, s.peers.of[provider1], sentence)
	})
	if err != nil {
		return err
	}
	after, err := s.peers.counts(ctx)
	if err != nil {
		return err
	}
	if n := since(before.of[consumer].TransfersByAsset, after.of[consumer].TransfersByAsset); !maps.Equal(n, ofTree(1)) {
		s.wrong.Add("with lost replies the consumer started the transfers %v, want %v", n, ofTree(1))
	}
	fmt.Printf("  replies lost: %d of %d\n", l.lost.Load(), l.came.Load())
	return srv.stop()
}
