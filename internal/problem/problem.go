// Package problem writes errors of the HTTP interface as application/problem+json
// (RFC 9457), all in one shape: what, where, what to do.
package problem

import (
	"encoding/json"
	"net/http"
)

// Busy is the code of an answer that nothing was done for want of room: the same request may be sent again
// after what Retry-After says, whatever it is.
const Busy = "busy"

// Problem is the body of an error answer.
type Problem struct {
	Type   string `json:"type,omitempty"` // about:blank where empty
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	// Code is the code of the refusal, where the machines refused, or Busy.
	Code   string  `json:"code,omitempty"`
	Errors []Error `json:"errors,omitempty"`
	// CommandID names the command that was refused, where there is one.
	CommandID string `json:"commandId,omitempty"`
}

// Error is one mistake: where, as a JSON path, and what.
type Error struct {
	Path    string `json:"path"`
	Message string `json:"message"`
}

// Write answers with p; an empty Title is the status's own text.
func Write(w http.ResponseWriter, p Problem) {
	if p.Title == "" {
		p.Title = http.StatusText(p.Status)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(p.Status)
	// The status is on its way: an error here means that the client has gone.
	_ = json.NewEncoder(w).Encode(p)
}
