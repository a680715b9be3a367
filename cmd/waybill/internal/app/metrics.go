package app

import (
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/waybill/waybill/producers/intake"
)

// metrics are what /metrics shows. Each Main has its own registry.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	rejected *prometheus.CounterVec
}

func newMetrics(version string) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "waybill_http_requests_total", Help: "Requests answered, by route and status.",
		}, []string{"route", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "waybill_http_request_duration_seconds", Help: "Time from a request to the end of its answer, by route.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 10),
		}, []string{"route"}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "waybill_intake_rejections_total", Help: "Writes answered 503 with Retry-After, by what there was no room for.",
		}, []string{"reason"}),
	}
	for _, reason := range intake.Reasons() {
		m.rejected.WithLabelValues(reason) // there from the beginning: a rate needs a zero
	}
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "waybill_build_info", Help: "Always 1; the labels say which build runs.",
		ConstLabels: prometheus.Labels{"version": version, "go": runtime.Version()},
	}, func() float64 { return 1 })
	m.registry.MustRegister(m.requests, m.duration, m.rejected, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// gauge adds a figure that is taken when it is asked for.
func (m *metrics) gauge(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
}

// measure counts requests by the route that took them, not by their path: there is no end
// of paths.
func (m *metrics) measure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		s := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		s.within(0) // that of the request before on this connection
		next.ServeHTTP(s, r)
		route := r.Pattern // set by the mux
		if route == "" {
			route = "none"
		}
		m.requests.WithLabelValues(route, strconv.Itoa(s.status)).Inc()
		m.duration.WithLabelValues(route).Observe(time.Since(began).Seconds())
	})
}

// statusWriter remembers the status.
type statusWriter struct {
	http.ResponseWriter
	status int
	wrote  bool
}

// WriteHeader implements http.ResponseWriter.
func (s *statusWriter) WriteHeader(status int) {
	if !s.wrote {
		s.status, s.wrote = status, true
	}
	s.ResponseWriter.WriteHeader(status)
}

// What is written has to be read: a client that takes nothing would hold the answer, and the goroutine that
// writes it, for as long as it likes. Each piece has a time of its own, so that a large answer to a slow client, and
// a stream, last as long as they go on.
const (
	pieceTimeout = 30 * time.Second
	pieceBytes   = 256 << 10
)

// Write implements http.ResponseWriter.
func (s *statusWriter) Write(b []byte) (int, error) {
	s.wrote = true
	written := 0
	for {
		s.within(pieceTimeout)
		n, err := s.ResponseWriter.Write(b[:min(len(b), pieceBytes)])
		written += n
		if b = b[n:]; err != nil || len(b) == 0 {
			return written, err
		}
	}
}

// within bounds how long what is written next may take; 0: as long as it likes.
func (s *statusWriter) within(d time.Duration) {
	var until time.Time
	if d > 0 {
		until = time.Now().Add(d)
	}
	// Not every connection of a test can; those of the server do.
	_ = http.NewResponseController(s.ResponseWriter).SetWriteDeadline(until)
}

// Flush implements http.Flusher, which streams need.
func (s *statusWriter) Flush() {
	s.within(pieceTimeout)
	if f, ok := s.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// Unwrap is how http.ResponseController finds what else the connection can do.
func (s *statusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }
