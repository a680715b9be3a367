// Package services is what an agent's processors are handed instead of making it
// themselves: an HTTP client with timeouts and retries, secrets, a logger that prints no
// secret and a tracer that goes on with the trace of whoever asked for the work.
//
//	s, err := services.New(ctx, services.Config{Name: "greeter", Log: logger})
//	...
//	defer s.Close(ctx)
//	resp, err := s.HTTP.Do(req.WithContext(ctx))
//
// An agent that is started by package launch finds them made from its configuration.
package services
