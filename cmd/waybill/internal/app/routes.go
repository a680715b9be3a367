package app

import (
	_ "embed" // the page
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/waybill/waybill/internal/problem"
)

//go:embed page.html
var page []byte

// pagePolicy lets the page run what is in it and talk to its own server, nothing else.
const pagePolicy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// commonRoutes are there whatever the roles.
func (m *Main) commonRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", healthz)
	mux.HandleFunc("GET /readyz", m.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.metrics.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { noRoute(mux, w, r) })
}

// pageRoutes show people around.
func (m *Main) pageRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", pagePolicy)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Write(page)
	})
}

func document(mux *http.ServeMux, path string, body []byte) {
	mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write(body)
	})
}

// noRoute answers what no route takes, as a problem like every other error: 405 where
// another method would do.
func noRoute(mux *http.ServeMux, w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := mux.Handler(other); pattern != "/" && pattern != "" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) > 0 && !slices.Contains(allowed, r.Method) {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		problem.Write(w, problem.Problem{
			Status: http.StatusMethodNotAllowed,
			Detail: fmt.Sprintf("%.200s does not take %.20s, only %s", r.URL.Path, r.Method, strings.Join(allowed, ", ")),
		})
		return
	}
	problem.Write(w, problem.Problem{
		Status: http.StatusNotFound,
		Detail: fmt.Sprintf("there is no %.200s here; /openapi.json says what there is", r.URL.Path),
	})
}
