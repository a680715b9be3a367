package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"time"
)

const (
	// pause between tries while nobody answers.
	pause = 25 * time.Millisecond
	// requestTimeout bounds one try.
	requestTimeout = 15 * time.Second
)

// Client asks servers, the next one whenever one does not answer. It is safe for
// concurrent use.
type Client struct {
	servers []string
	next    atomic.Uint32
	http    *http.Client
	// Retried counts the tries that brought no answer.
	Retried atomic.Int64
}

// New makes a client of servers like http://127.0.0.1:7470.
func New(servers ...string) *Client {
	return &Client{servers: servers, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
}

// StatusError is an answer of 400 or above.
type StatusError struct {
	Method, Path string
	Status       int
	Body         string
}

// Error implements error.
func (e *StatusError) Error() string {
	return fmt.Sprintf("%s %s: %d %s", e.Method, e.Path, e.Status, e.Body)
}

// Is says whether err is an answer with one of the statuses.
func Is(err error, statuses ...int) bool {
	var e *StatusError
	return errors.As(err, &e) && slices.Contains(statuses, e.Status)
}

// Once asks once and decodes the answer.
func (c *Client) Once(ctx context.Context, method, path string, body []byte, into any) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	server := c.servers[int(c.next.Load())%len(c.servers)]
	req, err := http.NewRequestWithContext(ctx, method, server+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusBadRequest {
		return &StatusError{method, path, resp.StatusCode, string(bytes.TrimSpace(answer))}
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

// Insist asks until there is an answer; those that say "not now" (502, 503, 504) are none.
func (c *Client) Insist(ctx context.Context, method, path string, body []byte, into any) error {
	for {
		err := c.Once(ctx, method, path, body, into)
		var status *StatusError
		answered := err == nil || errors.As(err, &status)
		if answered && !Is(err, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout) {
			return err
		}
		if ctx.Err() != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		c.Retried.Add(1)
		c.next.Add(1)
		if ended := Pause(ctx, pause); ended != nil {
			return errors.Join(ended, err)
		}
	}
}

// Pause waits, unless ctx ends before.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// Job is what is looked at of a job.
type Job struct {
	ID     string          `json:"id"`
	State  string          `json:"state"`
	Output json.RawMessage `json:"output"`
	Error  json.RawMessage `json:"error"`
	Nodes  []Node          `json:"nodes"`
}

// Ended says that the job moves no more.
func (j *Job) Ended() bool {
	return j.State == "COMPLETED" || j.State == "ERROR" || j.State == "CANCELLED"
}

// Node is what is looked at of an activity.
type Node struct {
	ID     string `json:"id"`
	State  string `json:"state"`
	WorkID string `json:"workId"`
}

// Event is one event of a job's history.
type Event struct {
	Sequence  int64           `json:"sequence"`
	Type      string          `json:"type"`
	Time      time.Time       `json:"time"`
	CommandID string          `json:"commandId"`
	Data      json.RawMessage `json:"data"`
}

// Events is the whole history of a job.
func (c *Client) Events(ctx context.Context, id string) ([]Event, error) {
	var all []Event
	query := "?limit=500"
	for {
		var page struct {
			Items []Event `json:"items"`
			Next  *string `json:"next"`
		}
		if err := c.Insist(ctx, http.MethodGet, "/v1/jobs/"+id+"/events"+query, nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.Next == nil || *page.Next == "" {
			return all, nil
		}
		query = "?limit=500&cursor=" + *page.Next
	}
}

// Ready waits until a server says that it is ready.
func (c *Client) Ready(ctx context.Context) error {
	return c.Insist(ctx, http.MethodGet, "/readyz", nil, nil)
}
