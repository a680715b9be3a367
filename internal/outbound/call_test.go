package outbound_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/outbound"
)

func TestWhenToAskAgain(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-7": 0, "soon": 0, "1.5": 0, "999999999": 24 * time.Hour,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute, "Fri, 02 Jan 2025 03:05:05 GMT": 0,
	} {
		if got := outbound.RetryAfter(header, now); got != want {
			t.Errorf("%q: %s, want %s", header, got, want)
		}
	}
}

func TestAnAnswerThatIsNoneIsReadAsFarAsItServes(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/fine" {
			fmt.Fprint(w, "fine")
			return
		}
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, strings.Repeat("x", 1<<20))
	}))
	t.Cleanup(s.Close)
	hosts := (&outbound.Hosts{}).Or(func(u *url.URL) bool { return u.Path != "/else" })
	get := func(path string) *outbound.Answer {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if err := hosts.Check(req.URL); (err == nil) != (path != "/else") {
			t.Errorf("%s may be called: %v", path, err)
		}
		a, fault := outbound.Limits{MaxBytes: 100}.Do(hosts.Client(1), req)
		if fault != nil {
			t.Fatal(fault)
		}
		return a
	}
	if a := get("/fine"); !a.OK() || string(a.Body) != "fine" || a.Refusal() != nil {
		t.Errorf("got %+v", a)
	}
	a := get("/else")
	f := a.Refusal()
	if a.OK() || len(a.Body) != 64<<10 || f == nil || !f.Again || f.After != 7*time.Second || f.Error() != "it answers 503 Service Unavailable" {
		t.Errorf("got %d bytes, %v", len(a.Body), f)
	}
}

func TestAnAddressIsShownWithoutItsSecrets(t *testing.T) {
	u, err := url.Parse("https://ada:s3cret@a.example/b%2Fc?key=s3cret#s3cret")
	if err != nil {
		t.Fatal(err)
	}
	if got := outbound.Shown(u); got != "https://a.example/b%2Fc" {
		t.Errorf("got %s", got)
	}
}
