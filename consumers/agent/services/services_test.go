package services_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/consumers/agent/services"
)

// flaky answers with each status in turn, the last one for ever.
func flaky(t *testing.T, header http.Header, statuses ...int) (url string, calls *atomic.Int64) {
	t.Helper()
	calls = &atomic.Int64{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := int(calls.Add(1))
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		for k := range header {
			w.Header().Set(k, header.Get(k))
		}
		w.WriteHeader(statuses[min(n, len(statuses))-1])
		fmt.Fprintf(w, "%d %s", n, body)
	}))
	t.Cleanup(s.Close)
	return s.URL, calls
}

func TestWhatIsTriedAgain(t *testing.T) {
	after := func(text string) http.Header { return http.Header{"Retry-After": {text}} }
	for name, c := range map[string]struct {
		method, body, key string
		header            http.Header
		statuses          []int
		calls             int64
		status            int
	}{
		"a GET after 503":                      {method: "GET", statuses: []int{503, 503, 200}, calls: 3, status: 200},
		"a GET as often as configured":         {method: "GET", statuses: []int{502}, calls: 3, status: 502},
		"a GET after 429 with Retry-After":     {method: "GET", header: after("0"), statuses: []int{429, 200}, calls: 2, status: 200},
		"nothing that asks for a longer pause": {method: "GET", header: after("3600"), statuses: []int{503}, calls: 1, status: 503},
		"nothing after 404":                    {method: "GET", statuses: []int{404}, calls: 1, status: 404},
		"a PUT with its body":                  {method: "PUT", body: "b", statuses: []int{503, 200}, calls: 2, status: 200},
		"no POST":                              {method: "POST", body: "b", statuses: []int{503}, calls: 1, status: 503},
		"a POST that has an Idempotency-Key":   {method: "POST", body: "b", key: "w-1", statuses: []int{503, 200}, calls: 2, status: 200},
		"a PATCH that has an Idempotency-Key":  {method: "PATCH", body: "b", key: "w-1", statuses: []int{504, 200}, calls: 2, status: 200},
	} {
		t.Run(name, func(t *testing.T) {
			url, calls := flaky(t, c.header, c.statuses...)
			client := services.NewHTTPClient(services.HTTPConfig{Pause: time.Microsecond})
			defer client.CloseIdleConnections()
			req, err := http.NewRequestWithContext(t.Context(), c.method, url, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if c.key != "" {
				req.Header.Set("Idempotency-Key", c.key)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != c.status || calls.Load() != c.calls {
				t.Fatalf("answered %d after %d calls, %v", resp.StatusCode, calls.Load(), err)
			}
			if want := fmt.Sprintf("%d %s", c.calls, c.body); string(body) != want {
				t.Fatalf("it sent %q, want %q", body, want)
			}
		})
	}
}

func TestATryThatIsNotAnsweredIsGivenUp(t *testing.T) {
	release := make(chan struct{})
	var calls atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if calls.Add(1) == 1 {
			<-release
		}
	}))
	defer s.Close()
	defer close(release)
	client := services.NewHTTPClient(services.HTTPConfig{TryTimeout: 50 * time.Millisecond, Pause: time.Microsecond})
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if calls.Load() != 2 {
		t.Fatalf("%d calls", calls.Load())
	}
}

func TestRequestsCarryTheTrace(t *testing.T) {
	got := make(chan string, 1)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header.Get("traceparent") }))
	defer s.Close()
	exporter := tracetest.NewInMemoryExporter()
	all, err := services.New(t.Context(), services.Config{Name: "greeter", Traces: services.TracesConfig{Exporter: exporter}})
	if err != nil {
		t.Fatal(err)
	}
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	ctx := propagation.TraceContext{}.Extract(t.Context(), propagation.MapCarrier{"traceparent": parent})
	ctx, span := all.Tracer.Start(ctx, "activity")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := all.HTTP.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	span.End()
	want := "00-4bf92f3577b34da6a3ce929d0e0e4736-" + trace.SpanContextFromContext(ctx).SpanID().String() + "-01"
	if h := <-got; h != want {
		t.Errorf("the request carries %q, want %q", h, want)
	}
}

func TestTheLoggerPrintsNoSecret(t *testing.T) {
	t.Setenv("GREETER_TEST_KEY", "hunter22")
	var out bytes.Buffer
	s, err := services.New(t.Context(), services.Config{Name: "greeter", Log: slog.New(slog.NewTextHandler(&out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	key, err := s.Secrets.Get(t.Context(), secret.Ref{Env: "GREETER_TEST_KEY"})
	if err != nil {
		t.Fatal(err)
	}
	s.Log.With("url", "http://x?key="+key.Reveal()).WithGroup("g").Error("failed with "+key.Reveal(),
		"error", errors.New("GET http://x?key="+key.Reveal()), "key", key, slog.Group("h", "k", key.Reveal()), "n", 7)
	if text := out.String(); strings.Contains(text, "hunter22") || strings.Count(text, secret.Redacted) != 5 || !strings.Contains(text, "g.n=7") {
		t.Error(text)
	}
}

type settings struct {
	URL   string `json:"url"`
	Limit int    `json:"limit"`
}

func (s *settings) Check() error {
	if s.Limit < 0 {
		return errors.New("limit is below 0")
	}
	return nil
}

func TestSettingsAreReadStrictly(t *testing.T) {
	for raw, says := range map[string]string{
		`{"url":"u","limit":3}`: "",
		``:                      "",
		`{"limit":"x"}`:         "cannot unmarshal",
		`{"uri":"u"}`:           `unknown field "uri"`,
		`{"limit":-1}`:          "below 0",
	} {
		s, err := services.New(t.Context(), services.Config{Name: "greeter", Settings: []byte(raw)})
		if err != nil {
			t.Fatal(err)
		}
		err = s.Settings(&settings{})
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v, want %q", raw, err, says)
		}
	}
}
