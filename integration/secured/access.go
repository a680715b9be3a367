package main

import "context"

func (s *scenario) denials(ctx context.Context) error      { return nil }
func (s *scenario) strangers(ctx context.Context) error    { return nil }
func (s *scenario) otherWays(ctx context.Context) error    { return nil }
func (s *scenario) certificates(ctx context.Context) error { return nil }
func (s *scenario) secrets(ctx context.Context) error      { return nil }
