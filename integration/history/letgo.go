package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// remembered is for how long commands are, where history is let go: what is kept of them would grow meanwhile.
	remembered = time.Minute
	// letGoWithin is how long it may take, once the history is old enough, until all of it is gone.
	letGoWithin = time.Minute
	// leftLimit is what may be left of the log then, however much there was: files of 1 MiB are cut whole, the last one of
	// each partition stays, and of the checkpoints the last two whole ones.
	leftLimit = 100_000_000
	// mostGrowth is by how much the log and the view may be larger at most in the second half of a long load than in the first,
	// where history is let go while it is made: what comes in that time depends on how busy the machine is.
	mostGrowth = 1.5
	// shardful is how many jobs it takes, more or less, for most shards to have one.
	shardful = 16
	// steadyAfter is how often as long as history is kept a load has to last for that to be looked at.
	steadyAfter = 4
)

// onDisk is what the data directory takes. ahead is what SQLite writes ahead of the view, up to 256 MB and a
// transaction while it is busy, and nothing in the end.
type onDisk struct{ log, view, ahead int64 }

// String says it.
func (d onDisk) String() string {
	return fmt.Sprintf("log %.0f MB, view %.0f MB and %.0f ahead of it", float64(d.log)/1e6, float64(d.view)/1e6, float64(d.ahead)/1e6)
}

// most is the larger of each.
func most(sizes []onDisk) (m onDisk) {
	for _, d := range sizes {
		m = onDisk{max(m.log, d.log), max(m.view, d.view), max(m.ahead, d.ahead)}
	}
	return m
}

func (s *scenario) disk() (d onDisk, err error) {
	err = filepath.WalkDir(filepath.Join(s.dir, "data"), func(path string, e os.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was cut off just now
		}
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case strings.HasSuffix(path, ".db"):
			d.view += info.Size()
		case strings.Contains(filepath.Base(path), ".db-"):
			d.ahead += info.Size()
		default:
			d.log += info.Size()
		}
		return nil
	})
	return d, err
}

// steady checks that what is let go of leaves the disk: while the load lasts, as far as it lasted long enough, and
// all of it once it is old.
func (s *scenario) steady(ctx context.Context, took time.Duration) error {
	if half := len(s.sizes) / 2; took > 2*steadyAfter*s.keepHistory && half > 0 {
		then, since := most(s.sizes[:half]), most(s.sizes[half:])
		fmt.Printf("  at most %s in the first half, %s in the second\n", then, since)
		if float64(since.log) > mostGrowth*float64(then.log) || float64(since.view) > mostGrowth*float64(then.view) {
			s.amiss("it grows")
		}
	}
	began := time.Now()
	for n := 0; ; n++ {
		// A shard that does nothing any more has nothing to go on from but what it has.
		for i := range shardful {
			if err := complete(ctx, s.client(), fmt.Sprintf("after-%d-%d", n, i)); err != nil {
				return err
			}
		}
		left, err := s.shown(ctx, began)
		if err != nil {
			return err
		}
		d, err := s.disk()
		if err != nil {
			return err
		}
		gone := !left && (d.log <= leftLimit || s.kafka.Others())
		if took := time.Since(began); gone {
			fmt.Printf("  all of it was let go of %.1f s later: %s\n", took.Seconds(), d)
			return nil
		} else if took > s.keepHistory+letGoWithin {
			s.amiss("after %s there is still %s, of which %d MB of the log may be left; and the view shows what was let go of: %v", took, d, leftLimit/1_000_000, left)
			return nil
		}
	}
}

// shown says that the view shows a job of the history, which was made before that time.
func (s *scenario) shown(ctx context.Context, before time.Time) (bool, error) {
	var page struct {
		Items []struct {
			ID string `json:"id"`
		} `json:"items"`
	}
	err := s.client().Insist(ctx, http.MethodGet, "/v1/jobs?limit=1&type="+chainType+"&until="+url.QueryEscape(before.UTC().Format(time.RFC3339Nano)), nil, &page)
	return len(page.Items) > 0, err
}
