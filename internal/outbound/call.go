package outbound

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Defaults of Limits.
const (
	DefaultTimeout  = 30 * time.Second // of one request, from the connection to the last byte
	DefaultStall    = 10 * time.Second // without a single byte of an answer that has begun, or before it begins
	DefaultMaxBytes = 10 << 20         // of an answer
)

const (
	// maxRetryAfter bounds what the other side can ask for; a deadline is for the rest.
	maxRetryAfter = 24 * time.Hour
	// maxDeclared bounds what an error shows of a content type.
	maxDeclared = 100
	// maxRefusal bounds what is read of an answer that is none.
	maxRefusal = 64 << 10
)

// Limits bound one request. Zero values take the defaults.
type Limits struct {
	Timeout  time.Duration
	Stall    time.Duration
	MaxBytes int64
	// Name is what the answer is called in an error: "document".
	Name string
}

// complete fills the defaults in.
func (l Limits) complete() Limits {
	l.Timeout = cmp.Or(l.Timeout, DefaultTimeout)
	l.Stall = cmp.Or(l.Stall, DefaultStall)
	l.MaxBytes = cmp.Or(l.MaxBytes, DefaultMaxBytes)
	l.Name = cmp.Or(l.Name, "answer")
	return l
}

// Answer is what came back, whatever its status.
type Answer struct {
	Status int
	Reason string // the status as text, "404 Not Found"
	Header http.Header
	Body   []byte // of one that is no 2xx, its beginning
}

// Fault is a request that brought nothing of use.
type Fault struct {
	Err     error
	Again   bool          // a passing fault
	After   time.Duration // the earliest time to ask again, where the other side says so
	Address bool          // what was to be called may never be
}

// Error implements error.
func (f *Fault) Error() string { return f.Err.Error() }

// Unwrap gives the cause.
func (f *Fault) Unwrap() error { return f.Err }

// Do makes a request within the limits. The fault does not name the request: its address
// may have to be shown without a part.
func (l Limits) Do(client *http.Client, req *http.Request) (*Answer, *Fault) {
	l = l.complete()
	ctx, cancel := context.WithTimeoutCause(req.Context(), l.Timeout, fmt.Errorf("not done within the timeout of %s", l.Timeout))
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	stall := time.AfterFunc(l.Stall, func() { stop(fmt.Errorf("nothing came for %s", l.Stall)) })
	defer stall.Stop()

	resp, err := client.Do(req.WithContext(ctx)) //nolint:gosec // whom it may call is in the client, and with the caller, who has checked the address
	if err != nil {
		return nil, Unreachable(ctx, err)
	}
	defer resp.Body.Close()
	a := &Answer{Status: resp.StatusCode, Reason: reason(resp.StatusCode), Header: resp.Header}
	body := &progress{resp.Body, stall, l.Stall}
	if !a.OK() {
		// It is refused anyway: what can be read of it only serves to say why.
		a.Body, _ = io.ReadAll(io.LimitReader(body, maxRefusal))
		return a, nil
	}
	var fault *Fault
	a.Body, fault = l.read(ctx, body, resp.ContentLength)
	return a, fault
}

// read reads a body within the limit.
func (l Limits) read(ctx context.Context, from io.Reader, declared int64) ([]byte, *Fault) {
	tooLarge := &Fault{Err: fmt.Errorf("the %s is larger than the limit of %d bytes for one %s", l.Name, l.MaxBytes, l.Name)}
	if declared > l.MaxBytes {
		return nil, tooLarge
	}
	body, err := io.ReadAll(io.LimitReader(from, l.MaxBytes+1))
	switch {
	case int64(len(body)) > l.MaxBytes:
		return nil, tooLarge
	case err != nil:
		f := Unreachable(ctx, err)
		f.Err = fmt.Errorf("after %d bytes of the %s: %w", len(body), l.Name, f.Err)
		return nil, f
	}
	return body, nil
}

// progress puts off the stall with each byte that comes.
type progress struct {
	io.Reader
	stall *time.Timer
	limit time.Duration
}

func (p *progress) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if n > 0 {
		p.stall.Reset(p.limit)
	}
	return n, err
}

// OK says that the status is 2xx.
func (a *Answer) OK() bool { return a.Status >= 200 && a.Status <= 299 }

// reason is a status in the words of the standard: those of the other side may be anything, of any
// length, and quote what it was sent.
func reason(status int) string {
	return strings.TrimSpace(strconv.Itoa(status) + " " + http.StatusText(status))
}

// Refusal classifies an answer by its status; nil where it is 2xx.
func (a *Answer) Refusal() *Fault {
	if a.OK() {
		return nil
	}
	return refusal(a.Status, a.Reason, a.Header)
}

// Refused classifies a response whose status is not what was wanted.
func Refused(resp *http.Response) *Fault {
	return refusal(resp.StatusCode, reason(resp.StatusCode), resp.Header)
}

func refusal(status int, reason string, header http.Header) *Fault {
	f := &Fault{Err: fmt.Errorf("it answers %s", reason)}
	switch {
	case status >= 500, status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests:
		f.Again = true
		f.After = RetryAfter(header.Get("Retry-After"), time.Now())
	}
	return f
}

// Unreachable classifies an error of the connection: passing, unless trying again would
// meet the same.
func Unreachable(ctx context.Context, err error) *Fault {
	if cause := context.Cause(ctx); cause != nil {
		return &Fault{Err: cause, Again: true}
	}
	// The URL stands in the message already.
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	f := &Fault{Err: err}
	_, forbidden := errors.AsType[*ForbiddenAddressError](err)
	_, redirect := errors.AsType[*RedirectError](err)
	_, certificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, notTLS := errors.AsType[tls.RecordHeaderError](err)
	switch {
	case forbidden:
		f.Address = true
	case redirect, certificate, notTLS, errors.Is(err, errTooManyRedirects):
	default:
		f.Again = true
	}
	return f
}

// RetryAfter reads seconds or a date (RFC 9110, section 10.2.3); 0 where it is neither.
func RetryAfter(s string, now time.Time) time.Duration {
	if s == "" {
		return 0
	}
	if seconds, err := strconv.ParseUint(s, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	at, err := http.ParseTime(s)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}

// Seen says what came instead of what was wanted, by its header and by its first bytes.
func Seen(declared string, body []byte) string {
	seen := "empty"
	if len(body) > 0 {
		seen = http.DetectContentType(body)
	}
	if declared != "" && declared != seen {
		if len(declared) > maxDeclared {
			declared = strings.ToValidUTF8(declared[:maxDeclared], "") + "…"
		}
		return fmt.Sprintf(" (declared as %s, it begins like %s)", declared, seen)
	}
	return fmt.Sprintf(" (it begins like %s)", seen)
}
