package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// stockConnectors shows that no job notices negotiations that the connectors end by themselves: left as
// they are they do that to one in twenty.
func (s *scenario) stockConnectors(ctx context.Context) (err error) {
	peers, err := s.startConnectors(ctx, "stock", s.stock, "--stock")
	defer func() { err = errors.Join(err, peers.stop(ctx)) }()
	if err != nil {
		return err
	}
	srv, err := s.serve(ctx, "on-stock", peers, (*config).hurry)
	if err != nil {
		return err
	}
	began := time.Now()
	err = atOnce(ctx, s.stock, func(ctx context.Context, i int) error {
		document := fmt.Sprintf("generated-%d", i)
		return s.completes(ctx, srv, "stock-"+document, document, peers.of[provider1], document)
	})
	if err != nil {
		return err
	}
	found, err := peers.counts(ctx)
	if err != nil {
		return err
	}
	n := found.of[consumer].Negotiations
	fmt.Printf("  %d jobs in %.1f s; their negotiations: %v\n", s.stock, time.Since(began).Seconds(), n)
	return srv.stop()
}
