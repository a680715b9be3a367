package app

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/waybill/waybill/internal/callbacks"
	"github.com/waybill/waybill/internal/problem"
)

const (
	// headerTimeout keeps a client that never finishes its request from holding a connection.
	headerTimeout = 10 * time.Second
	// bodyTimeout bounds the reading of a request's body. It is no timeout of the server:
	// that would end streams as well.
	bodyTimeout = 30 * time.Second
	// idleTimeout is how long a connection may lie unused.
	idleTimeout = 2 * time.Minute
	// politeness is how long requests under way may take when the server stops; those that
	// wait for something, and streams, are ended then.
	politeness = 300 * time.Millisecond
)

// web is the HTTP server. It answers from the first moment on: until everything else has
// started only that it lives, and why it is not ready.
type web struct {
	server  *http.Server
	handler atomic.Pointer[http.Handler]
	// streams is the context of all requests; ending it ends what waits.
	stopStreams context.CancelFunc
}

// listen takes the address before anything else is done, so that a start that cannot
// succeed fails at once.
func (m *Main) listen(ctx context.Context) error {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", m.cfg.Listen)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return usage("%s is in use by another program: choose another address with --listen host:port (port 0 takes a free one)", m.cfg.Listen)
	case err != nil:
		return usage("--listen %s: %w", m.cfg.Listen, err)
	}
	m.listener = ln
	if m.cfg.TLSCert != "" {
		cert, err := tls.LoadX509KeyPair(m.cfg.TLSCert, m.cfg.TLSKey)
		if err != nil {
			return errors.Join(usage("--tls-cert, --tls-key: %w", err), ln.Close())
		}
		ln = tls.NewListener(ln, &tls.Config{
			MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"},
		})
	}
	requests, stop := context.WithCancel(context.WithoutCancel(ctx))
	m.web = &web{stopStreams: stop}
	m.web.answer(m.starting())
	m.web.server = &http.Server{
		Handler:           m.guard(m.web),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ErrorLog:          slog.NewLogLogger(m.cfg.Logger.Handler(), slog.LevelDebug), // what clients do wrong
	}
	m.begin(ctx, "http", func(ctx context.Context) error { return m.web.run(ctx, ln) })
	return nil
}

// run serves until ctx ends, then lets requests finish for a moment.
func (w *web) run(ctx context.Context, ln net.Listener) error {
	ended := make(chan error, 1)
	go func() { ended <- w.server.Serve(ln) }()
	select {
	case err := <-ended:
		w.stopStreams()
		return err
	case <-ctx.Done():
	}
	polite, cancel := context.WithTimeout(context.WithoutCancel(ctx), politeness)
	defer cancel()
	err := w.server.Shutdown(polite)
	w.stopStreams()
	if errors.Is(err, context.DeadlineExceeded) {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), politeness)
		defer cancel()
		if err = w.server.Shutdown(last); errors.Is(err, context.DeadlineExceeded) {
			err = w.server.Close()
		}
	}
	return err
}

// answer changes what answers requests from now on.
func (w *web) answer(h http.Handler) { w.handler.Store(&h) }

// ServeHTTP implements http.Handler.
func (w *web) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	(*w.handler.Load()).ServeHTTP(rw, r)
}

// starting answers while the other parts start.
func (m *Main) starting() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", healthz)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "1")
		problem.Write(w, problem.Problem{Status: http.StatusServiceUnavailable, Detail: "the server is starting"})
	})
	return mux
}

// guard refuses what must not get through: other origins' pages in a browser, names
// that were made to point at this machine, and requests without the token.
func (m *Main) guard(next http.Handler) http.Handler {
	origins := http.NewCrossOriginProtection()
	origins.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		problem.Write(w, problem.Problem{Status: http.StatusForbidden, Detail: "a page of another origin must not send this request"})
	}))
	next = origins.Handler(boundBody(next))
	if m.cfg.Token != "" {
		next = requireToken(m.cfg.Token, next)
	}
	if loopback(m.cfg.Listen) {
		next = requireLocalName(m.publicHost(), next)
	}
	return next
}

// boundBody keeps a client that never finishes its body from holding a connection.
func boundBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout)); err != nil {
				problem.Write(w, problem.Problem{Status: http.StatusInternalServerError, Detail: err.Error()})
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// requireToken lets through what needs none: whether the server lives, the page, which has
// no data in it, and addresses that prove by themselves who was given them.
func requireToken(token string, next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(token)) // of the same length, whatever was given
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(given))
		known := strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(got[:], want[:]) == 1
		open := r.URL.Path == "/healthz" || r.URL.Path == "/readyz" || r.URL.Path == "/" || proven(r.URL.Path)
		if !known && !open {
			w.Header().Set("WWW-Authenticate", `Bearer realm="waybill"`)
			problem.Write(w, problem.Problem{Status: http.StatusUnauthorized, Detail: "the request needs the server's token: Authorization: Bearer …"})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// proven says whether a path is one of those that prove by themselves who was given them.
func proven(path string) bool {
	return slices.ContainsFunc(callbacks.Prefixes(), func(prefix string) bool { return strings.HasPrefix(path, prefix) })
}

// publicHost is the name by which others reach us, by way of a proxy on this machine say.
func (m *Main) publicHost() string {
	u, err := url.Parse(m.cfg.PublicURL)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// requireLocalName refuses a foreign name in Host: a page may have had its own name
// resolved to this machine, to read what is meant for this machine alone. Nothing is read
// at the addresses that prove who was given them, and who was may know us by another name.
func requireLocalName(public string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		host = strings.Trim(host, "[]")
		ip := net.ParseIP(host)
		known := strings.EqualFold(host, "localhost") || public != "" && strings.EqualFold(host, public)
		if !known && (ip == nil || !ip.IsLoopback()) && !proven(r.URL.Path) {
			problem.Write(w, problem.Problem{
				Status: http.StatusMisdirectedRequest,
				Detail: fmt.Sprintf("this server listens on a loopback address only and does not answer for the host %.200q; use 127.0.0.1 or localhost, or another --listen", r.Host),
			})
			return
		}
		next.ServeHTTP(w, r)
	})
}
