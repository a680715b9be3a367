package s3_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"github.com/waybill/waybill/internal/s3"
	"github.com/waybill/waybill/internal/s3/s3test"
)

func config(endpoint string) s3.Config {
	return s3.Config{
		Bucket: s3test.Bucket, Region: s3test.Region, Endpoint: endpoint,
		Credentials: func(context.Context) (s3.Credentials, error) {
			return s3.Credentials{AccessKeyID: s3test.AccessKeyID, SecretAccessKey: s3test.SecretAccessKey}, nil
		},
	}
}

func open(t *testing.T, cfg s3.Config) *blob.Bucket {
	t.Helper()
	b, err := s3.OpenBucket(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func TestObjectsAreListedReadAndDeleted(t *testing.T) {
	store := s3test.New(t)
	b := open(t, config(store.URL))
	awkward := "a/ü b+c:d@e$f&g=h%i'(j)"
	store.Put(awkward, []byte(`{"value":1}`))
	store.Put("b/other", []byte("x"))
	got, err := b.ReadAll(t.Context(), awkward)
	if err != nil || string(got) != `{"value":1}` {
		t.Fatalf("%s, %v", got, err)
	}
	var listed []string
	it := b.List(&blob.ListOptions{Prefix: "a/"})
	for {
		o, err := it.Next(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		listed = append(listed, fmt.Sprint(o.Key, " ", o.Size))
	}
	if want := fmt.Sprint(awkward, " ", 11); len(listed) != 1 || listed[0] != want {
		t.Errorf("listed %q, want %q", listed, want)
	}
	if err := b.Delete(t.Context(), awkward); err != nil {
		t.Error(err)
	}
	if keys := store.Keys(); len(keys) != 1 || keys[0] != "b/other" {
		t.Errorf("left: %q", keys)
	}
}

func TestALongListComesInPages(t *testing.T) {
	store := s3test.New(t)
	for i := range 25 {
		store.Put(fmt.Sprintf("many/%03d", i), nil)
	}
	b := open(t, config(store.URL))
	seen := 0
	for token := blob.FirstPageToken; len(token) > 0; {
		page, next, err := b.ListPage(t.Context(), token, 10, &blob.ListOptions{Prefix: "many/"})
		if err != nil {
			t.Fatal(err)
		}
		seen, token = seen+len(page), next
	}
	if seen != 25 {
		t.Errorf("%d objects", seen)
	}
}

func TestAnErrorSaysWhatTheStoreSays(t *testing.T) {
	store := s3test.New(t)
	for name, c := range map[string]struct {
		change func(*s3.Config)
		code   gcerrors.ErrorCode
		text   string
		again  bool
	}{
		"no such object": {func(*s3.Config) {}, gcerrors.NotFound, "NoSuchKey", false},
		"no such bucket": {func(c *s3.Config) { c.Bucket = "other" }, gcerrors.NotFound, "NoSuchBucket", false},
		"another key": {func(c *s3.Config) {
			c.Credentials = func(context.Context) (s3.Credentials, error) {
				return s3.Credentials{AccessKeyID: s3test.AccessKeyID, SecretAccessKey: "wrong"}, nil
			}
		}, gcerrors.PermissionDenied, "SignatureDoesNotMatch", false},
		"too busy": {func(*s3.Config) { store.Fail(1) }, gcerrors.Unknown, "SlowDown", true},
	} {
		cfg := config(store.URL)
		c.change(&cfg)
		b := open(t, cfg)
		_, err := b.ReadAll(t.Context(), "none")
		var own *s3.Error
		if gcerrors.Code(err) != c.code || !strings.Contains(fmt.Sprint(err), c.text) || !b.ErrorAs(err, &own) || own.Fault.Again != c.again {
			t.Errorf("%s: %v (%v)", name, err, gcerrors.Code(err))
		}
		if strings.Contains(fmt.Sprint(err), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatIsNoStoreIsSaidToBeNone(t *testing.T) {
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "<html><body>hello")
	}))
	t.Cleanup(page.Close)
	_, err := open(t, config(page.URL)).List(nil).Next(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no list") {
		t.Errorf("%v", err)
	}
}

func TestAConfigThatCannotBeIsRefused(t *testing.T) {
	for name, change := range map[string]func(*s3.Config){
		"no bucket":         func(c *s3.Config) { c.Bucket = "" },
		"a path for one":    func(c *s3.Config) { c.Bucket = "a/b" },
		"no region":         func(c *s3.Config) { c.Region = "" },
		"no URL":            func(c *s3.Config) { c.Endpoint = "minio:9000" },
		"keys in the URL":   func(c *s3.Config) { c.Endpoint = "http://key:secret@minio" },
		"an endpoint query": func(c *s3.Config) { c.Endpoint = "http://minio?x=1" },
	} {
		cfg := config("")
		change(&cfg)
		if _, err := s3.OpenBucket(cfg); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := config("").Check(); err != nil {
		t.Errorf("AWS itself: %v", err)
	}
}
