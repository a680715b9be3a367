package main

import (
	"context"
	"strings"
)

// olderProtocol is what connectors spoke before 2025-1; their addresses lack its name.
const olderProtocol = "dataspace-protocol-http"

// older speaks version 0.8 of the protocol with one provider and 2025-1 with the others, in one job each.
func (s *scenario) older(ctx context.Context) error {
	p2 := s.peers.of[provider2]
	p2.ProtocolURL = strings.TrimSuffix(p2.ProtocolURL, "/2025-1")
	srv, err := s.serve(ctx, "older", s.peers, func(c *config) {
		old := c.Connectors[0]
		old.Name, old.Protocol, old.Match = "older", olderProtocol, []string{p2.ProtocolURL}
		c.Connectors = append(c.Connectors, old)
	})
	if err != nil {
		return err
	}
	one := map[string]int{root + "-4": 1}
	for _, what := range []string{"protocol 0.8", "protocol 0.8 again"} {
		id := strings.ReplaceAll(what, " ", "-")
		err := s.counted(ctx, what, one, map[string]int{root + "-4": 1}, func(ctx context.Context) error {
			return s.completes(ctx, srv, id, root+"-4", p2, "the lazy dog")
		})
		if err != nil {
			return err
		}
		one = nil
	}
	return srv.stop()
}
