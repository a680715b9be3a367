package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// check is one thing that has to be well before requests are welcome.
type check struct {
	name string
	err  func() error
	// more is shown with it; nil shows nothing.
	more func() map[string]any
}

// healthz says that the process lives and answers.
func healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Write([]byte("ok\n"))
}

// Ready is nil when everything that was started is ready; else the error names what is
// not.
func (m *Main) Ready() error {
	var errs []error
	for _, c := range m.checks {
		if err := c.err(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", c.name, err))
		}
	}
	return errors.Join(errs...)
}

// readyz says whether everything is ready, and if not, what is not.
func (m *Main) readyz(w http.ResponseWriter, _ *http.Request) {
	type result struct {
		Name  string         `json:"name"`
		Ready bool           `json:"ready"`
		Error string         `json:"error,omitempty"`
		More  map[string]any `json:"details,omitempty"`
	}
	answer := struct {
		Ready  bool     `json:"ready"`
		Reason string   `json:"reason,omitempty"`
		Member string   `json:"member"`
		Checks []result `json:"checks"`
	}{Ready: true, Member: m.member}
	var reasons []string
	for _, c := range m.checks {
		r := result{Name: c.name, Ready: true}
		if err := c.err(); err != nil {
			r.Ready, r.Error = false, err.Error()
			reasons = append(reasons, c.name+": "+r.Error)
		}
		if c.more != nil {
			r.More = c.more()
		}
		answer.Checks = append(answer.Checks, r)
	}
	status := http.StatusOK
	if len(reasons) > 0 {
		answer.Ready, answer.Reason, status = false, strings.Join(reasons, "; "), http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// The status is on its way: an error here means that the client has gone.
	_ = json.NewEncoder(w).Encode(answer)
}
