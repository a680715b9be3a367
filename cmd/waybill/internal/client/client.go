package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/waybill/waybill/internal/problem"
)

const (
	// maxErrorBytes bounds how much of an error answer is read.
	maxErrorBytes = 1 << 20
	// idleTimeout is how long an unused connection is kept.
	idleTimeout = time.Minute
)

// Client asks one server. It is safe for concurrent use.
type Client struct {
	base  *url.URL
	token string
	http  *http.Client
}

// New makes a client of the server at an http or https URL. token is sent as a bearer
// token where it is not empty.
func New(server, token string) (*Client, error) {
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%q is no server: want an address like http://127.0.0.1:7470", server)
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, IdleConnTimeout: idleTimeout}
	return &Client{base: u, token: token, http: &http.Client{Transport: transport}}, nil
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Server is the address the client was made with.
func (c *Client) Server() string { return c.base.String() }

// Answer is what the server said to a request it took.
type Answer struct {
	Status int
	Header http.Header
	Body   json.RawMessage
}

// UnreachableError says that there was no answer.
type UnreachableError struct {
	Server string
	Err    error
}

// Error implements error.
func (e *UnreachableError) Error() string {
	why := e.Err.Error()
	var op *net.OpError
	switch {
	case errors.Is(e.Err, syscall.ECONNREFUSED):
		why = "nobody listens there"
	case errors.Is(e.Err, context.DeadlineExceeded):
		why = "no answer in time"
	case errors.As(e.Err, &op):
		why = op.Error()
	}
	return fmt.Sprintf("no answer from %s: %s", e.Server, why)
}

// Unwrap gives the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// StatusError is an answer that is an error, with the problem in it.
type StatusError struct {
	Server, Method, Path string
	problem.Problem
	retryAfter time.Duration
}

// Error implements error: what the server said, then each mistake with its path.
func (e *StatusError) Error() string {
	var b strings.Builder
	switch {
	case e.Detail != "":
		b.WriteString(e.Detail)
	case e.Title != "":
		fmt.Fprintf(&b, "%s %s: %d %s", e.Method, e.Path, e.Status, e.Title)
	default:
		fmt.Fprintf(&b, "%s %s: %d", e.Method, e.Path, e.Status)
	}
	separator := ": "
	for _, m := range e.Errors {
		if strings.Contains(e.Detail, m.Message) { // of a parameter, all is said by then
			continue
		}
		b.WriteString(separator)
		separator = "; "
		if m.Path != "" {
			b.WriteString(m.Path + ": ")
		}
		b.WriteString(m.Message)
	}
	return b.String()
}

// Get asks for a path, with a query that may be nil.
func (c *Client) Get(ctx context.Context, path string, query url.Values) (Answer, error) {
	return c.Do(ctx, http.MethodGet, path, query, nil, nil)
}

// Do sends a request; body, where it is not nil, is sent as JSON.
func (c *Client) Do(ctx context.Context, method, path string, query url.Values, body []byte, header http.Header) (Answer, error) {
	res, err := c.send(ctx, method, path, query, body, header)
	if err != nil {
		return Answer{}, err
	}
	defer res.Body.Close()
	all, err := io.ReadAll(res.Body)
	if err != nil {
		return Answer{}, &UnreachableError{Server: c.Server(), Err: err}
	}
	return Answer{Status: res.StatusCode, Header: res.Header, Body: all}, nil
}

// send returns an answer that is no error; the caller closes its body. A server that has no room for the request
// now, and has done nothing, is asked again when it says, as long as ctx lasts.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, body []byte, header http.Header) (*http.Response, error) {
	for {
		res, err := c.once(ctx, method, path, query, body, header)
		status, ok := errors.AsType[*StatusError](err)
		if !ok || status.Status != http.StatusServiceUnavailable || status.Code != problem.Busy {
			return res, err
		}
		timer := time.NewTimer(min(max(status.retryAfter, time.Second), longestRetry))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, err
		}
	}
}

// longestRetry bounds how long the client sleeps because a server says so.
const longestRetry = 30 * time.Second

func (c *Client) once(ctx context.Context, method, path string, query url.Values, body []byte, header http.Header) (*http.Response, error) {
	u, err := c.base.Parse(strings.TrimSuffix(c.base.EscapedPath(), "/") + path)
	if err != nil {
		return nil, fmt.Errorf("path %q: %w", path, err)
	}
	u.RawQuery = query.Encode()
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	r, err := http.NewRequestWithContext(ctx, method, u.String(), reader)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, u, err)
	}
	for k, v := range header {
		r.Header[k] = v
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(r)
	if err != nil {
		var wrapped *url.Error // repeats method and address
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, &UnreachableError{Server: c.Server(), Err: err}
	}
	if res.StatusCode < http.StatusBadRequest {
		return res, nil
	}
	defer res.Body.Close()
	return nil, c.statusError(res, method, path)
}

func (c *Client) statusError(res *http.Response, method, path string) error {
	e := &StatusError{Server: c.Server(), Method: method, Path: path}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxErrorBytes))
	if err != nil || json.Unmarshal(body, &e.Problem) != nil {
		e.Problem = problem.Problem{} // whatever answered is not our server, or has gone
	}
	e.Status = res.StatusCode
	if n, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil {
		e.retryAfter = time.Duration(n) * time.Second
	}
	if e.Title == "" {
		e.Title = http.StatusText(res.StatusCode)
	}
	return e
}
