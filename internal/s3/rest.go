package s3

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"gocloud.dev/blob/driver"

	"github.com/waybill/waybill/internal/outbound"
)

var errUnimplemented = errors.New("this store is only listed, read and deleted from")

type reader struct {
	*bytes.Reader
	attributes driver.ReaderAttributes
}

func newReader(a *outbound.Answer) *reader {
	modified, err := http.ParseTime(a.Header.Get("Last-Modified"))
	if err != nil {
		modified = time.Time{} // it need not say
	}
	return &reader{bytes.NewReader(a.Body), driver.ReaderAttributes{
		ContentType: cmp.Or(a.Header.Get("Content-Type"), "application/octet-stream"), ModTime: modified, Size: int64(len(a.Body)),
	}}
}

// Close implements driver.Reader.
func (r *reader) Close() error { return nil }

// Attributes implements driver.Reader.
func (r *reader) Attributes() *driver.ReaderAttributes { return &r.attributes }

// As implements driver.Reader.
func (r *reader) As(any) bool { return false }

// As implements driver.Bucket.
func (b *bucket) As(any) bool { return false }

// ErrorAs implements driver.Bucket.
func (b *bucket) ErrorAs(err error, to any) bool {
	switch to := to.(type) {
	case **Error:
		return errors.As(err, to)
	case **outbound.Fault:
		return errors.As(err, to)
	}
	return false
}

// Attributes implements driver.Bucket.
func (b *bucket) Attributes(context.Context, string) (*driver.Attributes, error) {
	return nil, errUnimplemented
}

// NewTypedWriter implements driver.Bucket.
func (b *bucket) NewTypedWriter(context.Context, string, string, *driver.WriterOptions) (driver.Writer, error) {
	return nil, errUnimplemented
}

// Copy implements driver.Bucket.
func (b *bucket) Copy(context.Context, string, string, *driver.CopyOptions) error {
	return errUnimplemented
}

// SignedURL implements driver.Bucket.
func (b *bucket) SignedURL(context.Context, string, *driver.SignedURLOptions) (string, error) {
	return "", errUnimplemented
}
