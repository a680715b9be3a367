package main

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"
)

const (
	root     = "test-document"
	sentence = "The quick brown fox jumps over the lazy dog"
	jobTakes = 2 * time.Minute // at most, with nothing wrong
)

// ofTree are n of each document of the tree.
func ofTree(n int) map[string]int {
	return map[string]int{root: n, root + "-2": n, root + "-3": n, root + "-4": n}
}

// counted runs something and holds what the providers have seen meanwhile against what they
// must have seen: negotiations and GETs, by document.
func (s *scenario) counted(ctx context.Context, what string, negotiated, fetched map[string]int, run func(context.Context) error) error {
	before, err := s.peers.counts(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := run(ctx); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	took := time.Since(began)
	after, err := s.peers.counts(ctx)
	if err != nil {
		return err
	}
	n, f := since(before.negotiated(), after.negotiated()), since(before.Fetched, after.Fetched)
	fmt.Printf("  %s: %.2f s, %d negotiations, %d documents fetched\n", what, took.Seconds(), sum(n), sum(f))
	if !maps.Equal(n, negotiated) {
		s.wrong.Add("%s: the providers saw the negotiations %v, want %v", what, n, negotiated)
	}
	if !maps.Equal(f, fetched) {
		s.wrong.Add("%s: fetched were %v, want %v", what, f, fetched)
	}
	return nil
}

func sum(of map[string]int) (n int) {
	for _, k := range of {
		n += k
	}
	return n
}

// completes runs a tree and wants its value.
func (s *scenario) completes(ctx context.Context, srv *server, id, document string, at connector, value string) error {
	if err := srv.tree(ctx, id, document, at); err != nil {
		return err
	}
	return s.ends(ctx, srv, id, value)
}

// ends waits for the end of a tree that must have a value.
func (s *scenario) ends(ctx context.Context, srv *server, id, value string) error {
	found, err := srv.await(ctx, id, jobTakes)
	if err != nil {
		return err
	}
	if found.State != "COMPLETED" || found.value() != value {
		s.wrong.Add("%s is %s with %q, want %q: %s", id, found.State, found.value(), value, found.Error)
	}
	return nil
}

// atOnce runs several things at the same time and returns the first error.
func atOnce(ctx context.Context, n int, run func(context.Context, int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			if err := run(ctx, i); err != nil {
				cancel(err)
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// tree fetches the reference tree three times: negotiated once, also after a restart.
func (s *scenario) tree(ctx context.Context) error {
	p1 := s.peers.of[provider1]
	run := func(id string) func(context.Context) error {
		return func(ctx context.Context) error { return s.completes(ctx, s.main, id, root, p1, sentence) }
	}
	if err := s.counted(ctx, "the first time", ofTree(1), ofTree(1), run("tree-1")); err != nil {
		return err
	}
	if err := s.counted(ctx, "the second time", nil, ofTree(1), run("tree-2")); err != nil {
		return err
	}
	if err := s.main.stop(); err != nil {
		return err
	}
	if err := s.main.start(ctx); err != nil {
		return err
	}
	return s.counted(ctx, "after a restart of serve", nil, ofTree(1), run("tree-3"))
}

// together shows that jobs share what they have in common, at the same time.
func (s *scenario) together(ctx context.Context) error {
	p1 := s.peers.of[provider1]
	run := func(jobs map[string]string) func(context.Context) error {
		return func(ctx context.Context) error {
			var ids []string
			for id := range jobs {
				ids = append(ids, id)
			}
			return atOnce(ctx, len(ids), func(ctx context.Context, i int) error {
				return s.completes(ctx, s.main, ids[i], jobs[ids[i]], p1, jobs[ids[i]])
			})
		}
	}
	one := map[string]string{"same-1": "generated-0", "same-2": "generated-0"}
	if err := s.counted(ctx, "two jobs for the same", map[string]int{"generated-0": 1}, map[string]int{"generated-0": 2}, run(one)); err != nil {
		return err
	}
	two := map[string]string{"other-1": "generated-1", "other-2": "generated-2"}
	each := map[string]int{"generated-1": 1, "generated-2": 1}
	return s.counted(ctx, "two jobs for different ones", each, each, run(two))
}

// many starts a great many jobs for the same tree at once, on new data.
func (s *scenario) many(ctx context.Context) error {
	// So many at once make a busy provider slow, and what it is asked for twice counts twice.
	srv, err := s.serve(ctx, "many", s.peers, func(c *config) { c.Connectors[0].Timeout = "PT2M" })
	if err != nil {
		return err
	}
	what := fmt.Sprintf("%d jobs at once", s.jobs)
	err = s.counted(ctx, what, ofTree(1), ofTree(s.jobs), func(ctx context.Context) error {
		return atOnce(ctx, s.jobs, func(ctx context.Context, i int) error {
			return s.completes(ctx, srv, fmt.Sprintf("many-%d", i), root, s.peers.of[provider1], sentence)
		})
	})
	if err != nil {
		return err
	}
	return srv.stop()
}
