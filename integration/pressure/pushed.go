package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// pushed is what was pushed, and what was said to it.
type pushed struct {
	server, name string
	http         *http.Client

	mu       sync.Mutex
	accepted []string
	refused  int
	after    map[string]bool // what Retry-After has said
}

// patience is longer than any answer may take.
const patience = 15 * time.Second

func newPushed(server, name string) *pushed {
	return &pushed{
		server: server, name: name, after: make(map[string]bool),
		http: &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: clients}},
	}
}

// push starts one job after the other until pushing ends, and does not wait where it is told to come again: it
// comes at once, with the same job.
func (p *pushed) push(ctx, pushing context.Context, client int) error {
	for n := 0; pushing.Err() == nil; n++ {
		id := fmt.Sprintf("%s-%d-%d", p.name, client, n)
		for taken := false; !taken; {
			if pushing.Err() != nil {
				return nil //nolint:nilerr // that is how the pushing ends
			}
			var err error
			if taken, err = p.start(ctx, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// start asks once; false says that it was told to come again.
func (p *pushed) start(ctx context.Context, id string) (bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.server+"/v1/jobs", strings.NewReader(`{"id": "`+id+`", "type": "`+typ+`"}`))
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := p.http.Do(req)
	if err != nil {
		return false, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return false, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	after := res.Header.Get("Retry-After")
	switch {
	case res.StatusCode == http.StatusAccepted:
		p.accepted = append(p.accepted, id)
		return true, nil
	case res.StatusCode == http.StatusServiceUnavailable && after != "" && res.Header.Get("Content-Type") == "application/problem+json":
		p.refused++
		p.after[after] = true
		return false, nil
	}
	return false, fmt.Errorf("POST /v1/jobs was answered %d, Retry-After %q: %s", res.StatusCode, after, body)
}

func (p *pushed) waits() string {
	return strings.Join(slices.Sorted(maps.Keys(p.after)), ", ") + " s"
}
