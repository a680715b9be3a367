package plain_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waybill/waybill/consumers/connectors/adapter"
	"github.com/waybill/waybill/consumers/connectors/plain"
	"github.com/waybill/waybill/internal/outbound"
)

// provider serves with the handler until the test ends.
func provider(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL
}

func says(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

// hangs until the client has gone.
func hangs(r *http.Request) { <-r.Context().Done() }

func asks(provider, asset string) adapter.Want {
	return adapter.Want{Party: adapter.Party{Provider: provider}, AssetID: asset, Key: "work-1"}
}

func connector(t *testing.T, limits outbound.Limits, allow ...string) *plain.Connector {
	t.Helper()
	hosts, err := outbound.New(allow)
	if err != nil {
		t.Fatal(err)
	}
	return plain.New(plain.Config{Hosts: hosts, Limits: limits})
}

func get(t *testing.T, w adapter.Want) (adapter.Document, error) {
	t.Helper()
	return connector(t, outbound.Limits{}, "127.0.0.1:*").Document(t.Context(), w)
}

func fails(t *testing.T, err error, again bool, step, text string) {
	t.Helper()
	f, ok := errors.AsType[*adapter.Fault](err)
	if !ok {
		t.Fatalf("it is no fault: %v", err)
	}
	if f.Again != again || f.Step != step || !strings.Contains(f.Error(), text) {
		t.Fatalf("at step %q, passing %v: %s\nwant at step %q, passing %v: …%s…", f.Step, f.Again, f, step, again, text)
	}
}

func TestADocumentIsGot(t *testing.T) {
	var seen *http.Request
	url := provider(t, func(w http.ResponseWriter, r *http.Request) {
		seen = r
		says(200, "application/json", `{"value":"jumps over"}`)(w, r)
	})
	d, err := get(t, asks(url+"/", "a folder/test-document-3?"))
	if err != nil || string(d.Body) != `{"value":"jumps over"}` || d.ContentType != "application/json" || d.Source != url+"/a%20folder/test-document-3%3F" {
		t.Fatalf("got %s of type %q from %s, %v", d.Body, d.ContentType, d.Source, err)
	}
	if seen.URL.EscapedPath() != "/a%20folder/test-document-3%3F" || seen.Header.Get("Idempotency-Key") != "work-1" || seen.Method != http.MethodGet {
		t.Errorf("it asked %s %s with %v", seen.Method, seen.URL.EscapedPath(), seen.Header)
	}
}

func TestAnAddressMustBeAllowed(t *testing.T) {
	for name, c := range map[string]struct{ provider, asset, says string }{
		"no http":              {"ftp://127.0.0.1", "a", "does not begin with http"},
		"a way out":            {"http://127.0.0.1:1", "../a", `the path segment ".."`},
		"a host not allowed":   {"http://provider9:8181", "a", "provider9:8181 is not on the list of allowed hosts"},
		"a password":           {"http://u:secret@127.0.0.1:1", "a", "user information"},
		"the cloud's metadata": {"http://169.254.169.254", "latest", "169.254.169.254:80 is not on the list"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := get(t, asks(c.provider, c.asset))
			fails(t, err, false, "address", c.says)
			if strings.Contains(err.Error(), "secret") {
				t.Fatal("it shows the password")
			}
		})
	}
	t.Run("the cloud's metadata, though everything is allowed", func(t *testing.T) {
		_, err := connector(t, outbound.Limits{}, "*").Document(t.Context(), asks("http://169.254.169.254", "latest/meta-data"))
		fails(t, err, false, "address", "never called")
	})
	t.Run("nothing, where nothing is allowed", func(t *testing.T) {
		_, err := plain.New(plain.Config{}).Document(t.Context(), asks("http://127.0.0.1:1", "a"))
		fails(t, err, false, "address", "not on the list")
	})
}

func TestAnswersThatAreNoDocument(t *testing.T) {
	for name, c := range map[string]struct {
		h     http.HandlerFunc
		again bool
		step  string
		says  string
	}{
		"500": {says(500, "", ""), true, "fetch", "500 Internal Server Error"},
		"503": {says(503, "", ""), true, "fetch", "503"},
		"408": {says(408, "", ""), true, "fetch", "408"},
		"425": {says(425, "", ""), true, "fetch", "425"},
		"429": {says(429, "", ""), true, "fetch", "429"},
		"404": {says(404, "", "not here"), false, "fetch", "404 Not Found"},
		"401": {says(401, "", ""), false, "fetch", "401"},
		"304": {says(304, "", ""), false, "fetch", "304"},
		"half of it": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, `{"value":`)
		}, true, "fetch", "after 9 bytes of the document: unexpected EOF"},
		"a broken connection": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, true, "fetch", "EOF"},
		"a redirect elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://elsewhere.example/x", http.StatusFound)
		}, false, "fetch", "elsewhere.example:80 is not on the list"},
		"a redirect to a file": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "file:///etc/passwd")
			w.WriteHeader(http.StatusFound)
		}, false, "fetch", "neither http nor https"},
		"a redirect in circles": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
		}, false, "fetch", "again and again"},
	} {
		t.Run(name, func(t *testing.T) {
			url := provider(t, c.h)
			_, err := get(t, asks(url, "a"))
			fails(t, err, c.again, c.step, c.says)
			if !strings.Contains(err.Error(), "GET "+url+"/a: ") {
				t.Errorf("it does not say what was asked for: %v", err)
			}
		})
	}
}

func TestARedirectWithinWhatIsAllowedIsFollowed(t *testing.T) {
	well := provider(t, says(200, "application/json", `{"value":"moved"}`))
	url := provider(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, well+"/b", http.StatusMovedPermanently)
	})
	if d, err := get(t, asks(url, "a")); string(d.Body) != `{"value":"moved"}` {
		t.Fatalf("got %s, %v", d.Body, err)
	}
}

func TestARedirectToTheMetadataIsRefused(t *testing.T) {
	url := provider(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://[::ffff:169.254.169.254]/latest", http.StatusFound)
	})
	_, err := connector(t, outbound.Limits{}, "*").Document(t.Context(), asks(url, "a"))
	fails(t, err, false, "address", "never called")
}

func TestAProviderThatIsDown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = get(t, asks(address, "a"))
	fails(t, err, true, "fetch", "connection refused")
}

func TestAProviderThatRecovers(t *testing.T) {
	var calls atomic.Int32
	url := provider(t, func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			says(500, "", "")(w, r)
			return
		}
		says(200, "application/json", `{"value":"well"}`)(w, r)
	})
	_, err := get(t, asks(url, "a"))
	fails(t, err, true, "fetch", "500")
	if d, err := get(t, asks(url, "a")); string(d.Body) != `{"value":"well"}` {
		t.Fatal(err)
	}
}

func TestADocumentThatIsTooLarge(t *testing.T) {
	const fifty = 50 << 20
	pour := func(w http.ResponseWriter) (sent int) {
		chunk := []byte(strings.Repeat("x", 64<<10))
		for sent < fifty {
			n, err := w.Write(chunk)
			if err != nil {
				break
			}
			sent += n
		}
		return sent
	}
	t.Run("is refused by the length it declares", func(t *testing.T) {
		url := provider(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(fifty))
			pour(w)
		})
		_, err := get(t, asks(url, "a"))
		fails(t, err, false, "fetch", "larger than the limit of 10485760 bytes")
	})
	t.Run("is cut off where it declares none", func(t *testing.T) {
		sent := make(chan int, 1)
		url := provider(t, func(w http.ResponseWriter, _ *http.Request) { sent <- pour(w) })
		_, err := get(t, asks(url, "a"))
		fails(t, err, false, "fetch", "larger than the limit of 10485760 bytes")
		if n := <-sent; n >= fifty {
			t.Error("all of it was read")
		}
	})
	t.Run("is fine at exactly the limit", func(t *testing.T) {
		body := `{"value":"exact"}`
		url := provider(t, says(200, "application/json", body))
		if _, err := connector(t, outbound.Limits{MaxBytes: int64(len(body))}, "*").Document(t.Context(), asks(url, "a")); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAProviderThatIsSlow(t *testing.T) {
	const soon = 50 * time.Millisecond
	drip := func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			fmt.Fprint(w, " ")
			if http.NewResponseController(w).Flush() != nil {
				return
			}
			select {
			case <-r.Context().Done():
			case <-time.After(time.Millisecond):
			}
		}
	}
	for name, c := range map[string]struct {
		h    http.HandlerFunc
		cfg  outbound.Limits
		says string
	}{
		"with an answer":   {func(_ http.ResponseWriter, r *http.Request) { hangs(r) }, outbound.Limits{Timeout: soon}, "not done within the timeout of 50ms"},
		"and sends no end": {drip, outbound.Limits{Timeout: soon}, "not done within the timeout of 50ms"},
		"and sends no more": {func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, `{"value":`)
			_ = http.NewResponseController(w).Flush()
			hangs(r)
		}, outbound.Limits{Stall: soon}, "after 9 bytes of the document: nothing came for 50ms"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := connector(t, c.cfg, "*").Document(t.Context(), asks(provider(t, c.h), "a"))
			fails(t, err, true, "fetch", c.says)
		})
	}
	t.Run("is left alone when nobody wants the document any more", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		url := provider(t, func(_ http.ResponseWriter, r *http.Request) {
			cancel(errors.New("the job was cancelled"))
			hangs(r)
		})
		_, err := connector(t, outbound.Limits{}, "*").Document(ctx, asks(url, "a"))
		fails(t, err, true, "fetch", "the job was cancelled")
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	url := provider(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "120")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	_, err := get(t, asks(url, "a"))
	if f, ok := errors.AsType[*adapter.Fault](err); !ok || f.After != 2*time.Minute {
		t.Fatalf("it is to be asked again after %+v", err)
	}
}

func TestAPasswordInAnEnvironmentProxyIsNotUsed(t *testing.T) {
	proxy := provider(t, func(http.ResponseWriter, *http.Request) { t.Error("a proxy was asked") })
	t.Setenv("HTTP_PROXY", proxy)
	u, err := url.Parse(provider(t, says(200, "application/json", `{"value":"direct"}`)))
	if err != nil {
		t.Fatal(err)
	}
	if d, err := get(t, asks(u.String(), "a")); string(d.Body) != `{"value":"direct"}` {
		t.Fatal(err)
	}
}
