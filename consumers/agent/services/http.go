package services

import (
	"cmp"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/propagation"
)

// HTTPConfig says how patient the HTTP client is. Zero values take the defaults.
type HTTPConfig struct {
	// Timeout bounds a whole call: every try, the pauses between them and the reading of the
	// answer; 60 s unless set. A shorter context ends it sooner.
	Timeout time.Duration
	// TryTimeout is how long one try waits for the head of an answer; 20 s unless set.
	TryTimeout time.Duration
	// Tries is how often a call is tried, the first included; 3 unless set, 1 for no retries.
	Tries int
	// Pause is the first pause between tries, then twice as long each time, with jitter;
	// 200 ms unless set.
	Pause time.Duration
	// MaxPause bounds a pause, and so a Retry-After: an answer that asks for a longer one is
	// handed to the caller, who can make it agent.Retry(err).After(…) and free its slot
	// meanwhile; 10 s unless set.
	MaxPause time.Duration
	// Base carries the requests; a transport with timeouts of its own unless set.
	Base http.RoundTripper
}

func (c HTTPConfig) withDefaults() HTTPConfig {
	c.Timeout = cmp.Or(c.Timeout, time.Minute)
	c.TryTimeout = cmp.Or(c.TryTimeout, 20*time.Second)
	c.Tries = cmp.Or(c.Tries, 3)
	c.Pause = cmp.Or(c.Pause, 200*time.Millisecond)
	c.MaxPause = cmp.Or(c.MaxPause, 10*time.Second)
	if c.Base == nil {
		c.Base = &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
			ForceAttemptHTTP2:      true,
			MaxIdleConnsPerHost:    64,
			IdleConnTimeout:        90 * time.Second,
			TLSHandshakeTimeout:    10 * time.Second,
			ExpectContinueTimeout:  time.Second,
			MaxResponseHeaderBytes: 256 << 10,
		}
	}
	return c
}

// NewHTTPClient makes a client that tries again what may be tried again, see Retrying, and
// hands the trace of the request's context on (traceparent).
func NewHTTPClient(cfg HTTPConfig) *http.Client {
	cfg = cfg.withDefaults()
	return &http.Client{Timeout: cfg.Timeout, Transport: Retrying(cfg)}
}

// Retrying makes a transport that tries a request again after a fault of the connection
// and after the answers 429, 500, 502, 503 and 504, if doing it twice does no harm: the
// method is idempotent, or the request has an Idempotency-Key; and its body can be sent
// again (http.NewRequest sees to that for bytes and strings). Retry-After is honoured.
// After the last try the caller gets what that brought.
func Retrying(cfg HTTPConfig) http.RoundTripper { return &retrying{cfg.withDefaults()} }

type retrying struct{ HTTPConfig }

// CloseIdleConnections is what http.Client.CloseIdleConnections looks for.
func (t *retrying) CloseIdleConnections() {
	if c, ok := t.Base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// RoundTrip implements http.RoundTripper.
func (t *retrying) RoundTrip(req *http.Request) (*http.Response, error) {
	repeatable := repeatable(req)
	for try := 1; ; try++ {
		attempt, err := t.prepare(req, try)
		if err != nil {
			return nil, err
		}
		resp, err := t.try(attempt)
		pause, again := t.pause(try, resp, err)
		if !repeatable || !again || try >= t.Tries || req.Context().Err() != nil {
			return resp, err
		}
		if resp != nil {
			drop(resp)
		}
		if !wait(req.Context(), pause) {
			return nil, cmp.Or(err, context.Cause(req.Context()))
		}
	}
}

// repeatable says whether a request may be sent twice.
func repeatable(req *http.Request) bool {
	if req.Body != nil && req.Body != http.NoBody && req.GetBody == nil {
		return false
	}
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return req.Header.Get("Idempotency-Key") != ""
}

// prepare makes the request of one try: a transport must not change the one it was given.
func (t *retrying) prepare(req *http.Request, try int) (*http.Request, error) {
	attempt := req.Clone(req.Context())
	propagation.TraceContext{}.Inject(req.Context(), propagation.HeaderCarrier(attempt.Header))
	if try > 1 && req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			return nil, err
		}
		attempt.Body = body
	}
	return attempt, nil
}

var errNoAnswer = errors.New("no answer in time")

// try sends a request once. It waits TryTimeout for the head of the answer; the body may
// take as long as the call has.
func (t *retrying) try(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	timer := time.AfterFunc(t.TryTimeout, func() { cancel(errNoAnswer) })
	resp, err := t.Base.RoundTrip(req.WithContext(ctx))
	timer.Stop()
	if err != nil {
		if cause := context.Cause(ctx); errors.Is(cause, errNoAnswer) {
			err = cause
		}
		cancel(nil)
		return nil, err
	}
	resp.Body = &ending{resp.Body, cancel}
	return resp, nil
}

// ending ends the context of a try with the body of its answer.
type ending struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

// Close implements io.Closer.
func (b *ending) Close() error {
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}

// pause is how long to wait before the next try, and whether one makes sense.
func (t *retrying) pause(try int, resp *http.Response, err error) (time.Duration, bool) {
	pause := min(t.Pause<<min(try-1, 16), t.MaxPause)
	pause = pause/2 + rand.N(pause/2+1) //nolint:gosec // jitter is no secret
	if err != nil {
		return pause, true
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
	default:
		return 0, false
	}
	if after, ok := RetryAfter(resp); ok {
		return after, after <= t.MaxPause
	}
	return pause, true
}

// RetryAfter is what an answer's header Retry-After asks for: seconds or a date.
func RetryAfter(resp *http.Response) (time.Duration, bool) {
	text := resp.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(text); err == nil && seconds >= 0 {
		return time.Duration(seconds) * time.Second, true
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, time.Until(at)), true
	}
	return 0, false
}

// maxDropped bounds what is read of an answer nobody wants, so that its connection can be
// used again.
const maxDropped = 64 << 10

func drop(resp *http.Response) {
	// A connection that breaks now is not used again, and nothing else is lost.
	_, _ = io.CopyN(io.Discard, resp.Body, maxDropped)
	resp.Body.Close()
}

func wait(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
