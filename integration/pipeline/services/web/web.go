package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// Error is an error with the status of its answer.
type Error struct {
	Status int
	Err    error
}

// Error implements error.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error.
func Errorf(status int, format string, args ...any) error {
	return &Error{status, fmt.Errorf(format, args...)}
}

// Handle answers with what a function returns, or with its error: 500 unless that has a
// status.
func Handle(f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		status := http.StatusOK
		answer, err := f(r)
		if err != nil {
			status = http.StatusInternalServerError
			var e *Error
			if errors.As(err, &e) {
				status = e.Status
			}
			answer = map[string]string{"error": err.Error()}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(answer) // whoever asked has gone
	}
}

// maxBody is more than anybody has to say to these services.
const maxBody = 1 << 20

// Body decodes the body of a request.
func Body(r *http.Request, into any) error {
	if err := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxBody)).Decode(into); err != nil {
		return Errorf(http.StatusBadRequest, "the body is not the JSON that is wanted: %w", err)
	}
	return nil
}
