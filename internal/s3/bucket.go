package s3

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"gocloud.dev/blob"
	"gocloud.dev/blob/driver"
	"gocloud.dev/gcerrors"

	"github.com/waybill/waybill/internal/outbound"
)

// Config says which bucket, and how it is reached.
type Config struct {
	Bucket string
	Region string
	// Endpoint is where a store is that is not AWS's: http://minio:9000. The bucket is then
	// named in the path.
	Endpoint    string
	Credentials func(context.Context) (Credentials, error) // asked for each request: keys are rotated
	MaxBytes    int64                                      // of an object that is read; outbound.DefaultMaxBytes unless set
}

// Credentials are the keys that requests are signed with.
type Credentials struct{ AccessKeyID, SecretAccessKey string }

// Check says what is wrong with a Config.
func (c Config) Check() error {
	switch {
	case c.Bucket == "" || strings.ContainsAny(c.Bucket, "/?# "):
		return fmt.Errorf("bucket %q: want the name of a bucket", c.Bucket)
	case c.Region == "" || strings.ContainsAny(c.Region, "/?# "):
		return fmt.Errorf("region %q: want a region, like eu-central-1; most stores that are not AWS's take us-east-1", c.Region)
	}
	_, err := c.root()
	return err
}

// root is where the bucket is.
func (c Config) root() (*url.URL, error) {
	if c.Endpoint == "" {
		host := "s3." + c.Region + ".amazonaws.com"
		if strings.Contains(c.Bucket, ".") { // which no certificate is for
			return &url.URL{Scheme: "https", Host: host, Path: "/" + c.Bucket + "/"}, nil
		}
		return &url.URL{Scheme: "https", Host: c.Bucket + "." + host, Path: "/"}, nil
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("endpoint: want where the store is, like http://minio:9000")
	}
	return u.JoinPath(c.Bucket, "/"), nil
}

// OpenBucket makes a bucket. It connects to nothing yet.
func OpenBucket(cfg Config) (*blob.Bucket, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	root, err := cfg.root()
	if err != nil {
		return nil, err
	}
	hosts, err := outbound.New([]string{root.Scheme + "://" + hostPort(root)})
	if err != nil {
		return nil, err
	}
	return blob.NewBucket(&bucket{
		cfg: cfg, root: root, client: hosts.Client(callers),
		signer: v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }), // S3 signs the path as it is sent
	}), nil
}

// callers is for how many requests connections are kept.
const callers = 16

// hostPort names the port: one that is not named means two ports to an allow list.
func hostPort(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Host
	case u.Scheme == "https":
		return u.Host + ":443"
	}
	return u.Host + ":80"
}

type bucket struct {
	cfg    Config
	root   *url.URL
	client *http.Client
	signer *v4.Signer
}

// nothing is the SHA-256 of no body.
const nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// do sends a request about a key, or about the bucket.
func (b *bucket) do(ctx context.Context, method, key string, query url.Values) (*outbound.Answer, error) {
	u := *b.root
	u.Path += key
	u.RawPath = escape(u.Path)
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "waybill")
	req.Header.Set("X-Amz-Content-Sha256", nothing)
	keys, err := b.cfg.Credentials(ctx)
	if err != nil {
		return nil, err
	}
	signed := aws.Credentials{AccessKeyID: keys.AccessKeyID, SecretAccessKey: keys.SecretAccessKey}
	if err := b.signer.SignHTTP(ctx, signed, req, nothing, "s3", b.cfg.Region, time.Now()); err != nil {
		return nil, err
	}
	a, fault := outbound.Limits{MaxBytes: b.cfg.MaxBytes, Name: "object"}.Do(b.client, req)
	if fault != nil {
		return nil, fault
	}
	if !a.OK() {
		return nil, refusal(a)
	}
	return a, nil
}

// escape writes a path as S3 expects it to be signed: everything but unreserved characters
// and slashes.
func escape(path string) string {
	var s strings.Builder
	for i := range len(path) {
		switch c := path[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-._~/", c) >= 0:
			s.WriteByte(c)
		default:
			fmt.Fprintf(&s, "%%%02X", c)
		}
	}
	return s.String()
}

// Error is an answer that is none.
type Error struct {
	Fault   *outbound.Fault // whether it passes
	Status  int
	Code    string // S3's own: NoSuchKey
	Message string
}

// Error implements error.
func (e *Error) Error() string {
	if e.Code == "" {
		return e.Fault.Error()
	}
	return fmt.Sprintf("%s, %s: %s", e.Fault, e.Code, e.Message)
}

func refusal(a *outbound.Answer) error {
	var body struct {
		Code    string `xml:"Code"`
		Message string `xml:"Message"`
	}
	_ = xml.Unmarshal(a.Body, &body) // whatever else came says nothing
	return &Error{Fault: a.Refusal(), Status: a.Status, Code: body.Code, Message: body.Message}
}

// ErrorCode implements driver.Bucket.
func (b *bucket) ErrorCode(err error) gcerrors.ErrorCode {
	if errors.Is(err, errUnimplemented) {
		return gcerrors.Unimplemented
	}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return gcerrors.Unknown
	}
	switch e.Status {
	case http.StatusNotFound:
		return gcerrors.NotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		return gcerrors.PermissionDenied
	case http.StatusTooManyRequests:
		return gcerrors.ResourceExhausted
	case http.StatusPreconditionFailed:
		return gcerrors.FailedPrecondition
	case http.StatusBadRequest:
		return gcerrors.InvalidArgument
	}
	return gcerrors.Unknown
}

// ListPaged implements driver.Bucket.
func (b *bucket) ListPaged(ctx context.Context, opts *driver.ListOptions) (*driver.ListPage, error) {
	if opts.Delimiter != "" {
		return nil, errUnimplemented
	}
	if opts.BeforeList != nil {
		if err := opts.BeforeList(b.As); err != nil {
			return nil, err
		}
	}
	query := url.Values{"list-type": {"2"}, "prefix": {opts.Prefix}}
	if opts.PageSize > 0 {
		query.Set("max-keys", strconv.Itoa(opts.PageSize))
	}
	if len(opts.PageToken) > 0 {
		query.Set("continuation-token", string(opts.PageToken))
	}
	a, err := b.do(ctx, http.MethodGet, "", query)
	if err != nil {
		return nil, err
	}
	var list struct {
		XMLName   xml.Name `xml:"ListBucketResult"`
		Truncated bool     `xml:"IsTruncated"`
		Next      string   `xml:"NextContinuationToken"`
		Contents  []struct {
			Key          string    `xml:"Key"`
			Size         int64     `xml:"Size"`
			LastModified time.Time `xml:"LastModified"`
		} `xml:"Contents"`
	}
	if err := xml.Unmarshal(a.Body, &list); err != nil {
		return nil, fmt.Errorf("it answers no list: %w%s", err, outbound.Seen(a.Header.Get("Content-Type"), a.Body))
	}
	page := &driver.ListPage{}
	for _, o := range list.Contents {
		page.Objects = append(page.Objects, &driver.ListObject{Key: o.Key, Size: o.Size, ModTime: o.LastModified})
	}
	if list.Truncated {
		page.NextPageToken = []byte(list.Next)
	}
	return page, nil
}

// NewRangeReader implements driver.Bucket. The object is read whole, within the limit.
func (b *bucket) NewRangeReader(ctx context.Context, key string, offset, length int64, opts *driver.ReaderOptions) (driver.Reader, error) {
	if offset > 0 || length >= 0 {
		return nil, errUnimplemented
	}
	a, err := b.do(ctx, http.MethodGet, key, nil)
	if err != nil {
		return nil, err
	}
	if opts.BeforeRead != nil {
		if err := opts.BeforeRead(b.As); err != nil {
			return nil, err
		}
	}
	return newReader(a), nil
}

// Delete implements driver.Bucket. S3 answers the same whether there was such an object.
func (b *bucket) Delete(ctx context.Context, key string, opts *driver.DeleteOptions) error {
	if opts.BeforeDelete != nil {
		if err := opts.BeforeDelete(b.As); err != nil {
			return err
		}
	}
	_, err := b.do(ctx, http.MethodDelete, key, nil)
	return err
}

// Close implements driver.Bucket.
func (b *bucket) Close() error {
	b.client.CloseIdleConnections()
	return nil
}
