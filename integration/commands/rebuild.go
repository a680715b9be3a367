package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/waybill/waybill/integration/internal/api"
)

// rebuilt are the views that a rebuild must make again, each read in an order of its own.
func rebuilt() []struct{ view, query string } {
	return []struct{ view, query string }{
		{"jobs", "SELECT * FROM jobs ORDER BY id"},
		{"nodes", "SELECT * FROM nodes ORDER BY job_id, number"},
		{"rejections", "SELECT * FROM rejections ORDER BY command_id, code, at"},
		{"deadletters", "SELECT * FROM deadletters ORDER BY id"},
	}
}

// dump is what a view holds.
type dump struct {
	rows int
	hash string
	text string
}

func (s *scenario) dump(ctx context.Context) (map[string]dump, error) {
	all := map[string]dump{}
	for _, r := range rebuilt() {
		text, err := s.sql.query(ctx, r.query)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.view, err)
		}
		count, err := s.sql.query(ctx, "SELECT count(*) FROM "+r.view)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.view, err)
		}
		n, err := numbers(count)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256([]byte(text))
		all[r.view] = dump{int(n[0]), hex.EncodeToString(sum[:8]), text}
	}
	return all, nil
}

// rebuild deletes the SQLite file, starts again, and compares.
func (s *scenario) rebuild(ctx context.Context) error {
	before, err := s.dump(ctx)
	if err != nil {
		return err
	}
	if err := s.stop(ctx); err != nil {
		return err
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(s.database() + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := s.start(ctx); err != nil {
		return err
	}
	if err := s.caughtUp(ctx); err != nil {
		return err
	}
	took := time.Since(s.process.Began)
	after, err := s.dump(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("rebuilt %.2f s after the start without the file\n", took.Seconds())
	for _, r := range rebuilt() {
		b, a := before[r.view], after[r.view]
		fmt.Printf("  %-11s %5d rows %s before, %5d rows %s after\n", r.view, b.rows, b.hash, a.rows, a.hash)
		if a.text != b.text || a.rows != b.rows || b.rows == 0 {
			s.amiss("the view %s is not the same: %s", r.view, difference(b.text, a.text))
		}
	}
	return nil
}

// difference is the first line that is not the same.
func difference(before, after string) string {
	b, a := strings.Split(before, "\n"), strings.Split(after, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("%s was %s", a[i], b[i])
		}
	}
	return fmt.Sprintf("%d lines were %d", len(a), len(b))
}

// caughtUp waits until the view has the whole log.
func (s *scenario) caughtUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, rebuildIn, fmt.Errorf("the view is still behind after %s", rebuildIn))
	defer cancel()
	for {
		var r struct {
			Checks []struct {
				Name    string `json:"name"`
				Details struct {
					Lag *int64 `json:"lag"`
				} `json:"details"`
			} `json:"checks"`
		}
		if err := s.api.Insist(ctx, http.MethodGet, "/readyz", nil, &r); err != nil {
			return err
		}
		for _, c := range r.Checks {
			if c.Name == "projections" && c.Details.Lag != nil && *c.Details.Lag == 0 {
				return nil
			}
		}
		if err := api.Pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}
