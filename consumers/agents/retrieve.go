package agents

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

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/domain/partstree"
)

// Defaults of retrieve.
const (
	DefaultTimeout  = 30 * time.Second // of one request, from the connection to the last byte
	DefaultStall    = 10 * time.Second // without a single byte
	DefaultMaxBytes = 10 << 20         // of a document
	// mostRetryAfter bounds what a provider can ask for; the activity's deadline is for the rest.
	mostRetryAfter = 24 * time.Hour
)

// RetrieveConfig says how documents are retrieved. Zero values take the defaults, no
// Outbound allows nothing.
type RetrieveConfig struct {
	Outbound    *Outbound
	Timeout     time.Duration // DefaultTimeout
	Stall       time.Duration // DefaultStall
	MaxBytes    int64         // DefaultMaxBytes
	Concurrency int           // connections kept per provider
}

// Retrieve gets a document from a plain provider: GET <connectorUrl>/<file>. Its input
// is {file, connectorUrl}, its output {value, order?}, and it spawns a retrieve for each
// document that this one asks for. Its failures say at which step they happened: address,
// fetch or parse.
type Retrieve struct {
	cfg    RetrieveConfig
	client *http.Client
}

// NewRetrieve makes a Retrieve with connections of its own.
func NewRetrieve(cfg RetrieveConfig) *Retrieve {
	cfg.Timeout = cmp.Or(cfg.Timeout, DefaultTimeout)
	cfg.Stall = cmp.Or(cfg.Stall, DefaultStall)
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, DefaultMaxBytes)
	if cfg.Outbound == nil {
		cfg.Outbound = &Outbound{}
	}
	return &Retrieve{cfg: cfg, client: cfg.Outbound.Client(max(cfg.Concurrency, 1))}
}

// Process implements agent.Processor.
func (r *Retrieve) Process(ctx context.Context, a agent.Activity) agent.Result {
	var in partstree.Request
	where, err := r.address(a, &in)
	if err != nil {
		return agent.Fatal(err).AtStep("address")
	}
	body, header, failed := r.fetch(ctx, where, a.IdempotencyKey)
	if failed != nil {
		return failed.result(where)
	}
	doc, err := partstree.Parse(body)
	if err != nil {
		return agent.Fatal(fmt.Errorf("GET %s: %w%s", where, err, contentType(header, body))).AtStep("parse")
	}
	return agent.Complete(partstree.Output{Value: doc.Value, Order: doc.Order}).
		Spawn(partstree.Spawn(doc)...).
		WithKey(partstree.NodeID(in.ConnectorURL, in.File))
}

func (r *Retrieve) address(a agent.Activity, in *partstree.Request) (*url.URL, error) {
	if err := a.Input.Decode(in); err != nil {
		return nil, err
	}
	switch {
	case in.File == "":
		return nil, errors.New("the input has no file")
	case in.ConnectorURL == "":
		return nil, errors.New("the input has no connectorUrl")
	}
	where, err := partstree.Location(in.ConnectorURL, in.File)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(where)
	if err != nil {
		return nil, err
	}
	return u, r.cfg.Outbound.Check(u)
}

// failure is a request that brought no document.
type failure struct {
	step  string
	err   error
	again bool // a passing fault
	after time.Duration
}

func (f *failure) result(where *url.URL) agent.Result {
	err := fmt.Errorf("GET %s: %w", where, f.err)
	if f.again {
		return agent.Retry(err).After(f.after).AtStep(f.step)
	}
	return agent.Fatal(err).AtStep(f.step)
}

func (r *Retrieve) fetch(ctx context.Context, where *url.URL, key string) ([]byte, http.Header, *failure) {
	ctx, cancel := context.WithTimeoutCause(ctx, r.cfg.Timeout, fmt.Errorf("not done within the timeout of %s", r.cfg.Timeout))
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	stall := time.AfterFunc(r.cfg.Stall, func() { stop(fmt.Errorf("nothing came for %s", r.cfg.Stall)) })
	defer stall.Stop()

	req, err := http.NewRequestWithContext(ctx, http.MethodGet, where.String(), http.NoBody)
	if err != nil {
		return nil, nil, &failure{step: "address", err: err}
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "waybill")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, nil, unreachable(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, nil, refused(resp)
	}
	body, failed := r.read(ctx, resp, stall)
	return body, resp.Header, failed
}

// read reads the body within the limit.
func (r *Retrieve) read(ctx context.Context, resp *http.Response, stall *time.Timer) ([]byte, *failure) {
	tooLarge := func() ([]byte, *failure) {
		return nil, &failure{step: "fetch", err: fmt.Errorf("the document is larger than the limit of %d bytes for one document", r.cfg.MaxBytes)}
	}
	if resp.ContentLength > r.cfg.MaxBytes {
		return tooLarge()
	}
	body, err := io.ReadAll(&progress{io.LimitReader(resp.Body, r.cfg.MaxBytes+1), stall, r.cfg.Stall})
	switch {
	case int64(len(body)) > r.cfg.MaxBytes:
		return tooLarge()
	case err != nil:
		f := unreachable(ctx, err)
		f.err = fmt.Errorf("after %d bytes of the document: %w", len(body), f.err)
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

// unreachable classifies an error of the connection: passing, unless trying again would
// meet the same.
func unreachable(ctx context.Context, err error) *failure {
	if cause := context.Cause(ctx); cause != nil {
		return &failure{step: "fetch", err: cause, again: true}
	}
	// The URL stands in the message already.
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	f := &failure{step: "fetch", err: err}
	_, forbidden := errors.AsType[*ForbiddenAddressError](err)
	_, redirect := errors.AsType[*redirectError](err)
	_, certificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, notTLS := errors.AsType[tls.RecordHeaderError](err)
	switch {
	case forbidden:
		f.step = "address"
	case redirect, certificate, notTLS, errors.Is(err, errTooManyRedirects):
	default:
		f.again = true
	}
	return f
}

// refused classifies an answer that is no document.
func refused(resp *http.Response) *failure {
	f := &failure{step: "fetch", err: fmt.Errorf("it answers %s", strings.TrimSpace(resp.Status))}
	switch code := resp.StatusCode; {
	case code >= 500, code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests:
		f.again = true
		f.after = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	}
	return f
}

// retryAfter reads seconds or a date (RFC 9110, section 10.2.3); 0 where it is neither.
func retryAfter(s string, now time.Time) time.Duration {
	if s == "" {
		return 0
	}
	if seconds, err := strconv.ParseUint(s, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, mostRetryAfter)
	}
	at, err := http.ParseTime(s)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), mostRetryAfter)
}

// contentType says what came instead of a document, by its header and by its first bytes.
func contentType(header http.Header, body []byte) string {
	seen := "empty"
	if len(body) > 0 {
		seen = http.DetectContentType(body)
	}
	if declared := header.Get("Content-Type"); declared != "" && declared != seen {
		return fmt.Sprintf(" (declared as %s, it begins like %s)", declared, seen)
	}
	return fmt.Sprintf(" (it begins like %s)", seen)
}
