package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/waybill/waybill/integration/internal/api"
)

// verdict is how something ended.
type verdict struct {
	completed bool
	reason    string // what says why not
}

// finish lets go on what a situation has brought to a state, and waits for its end.
type finish func(context.Context) (verdict, error)

// situation brings a transfer at provider1 to a state and keeps it there.
type situation struct {
	name  string
	enter func(ctx context.Context, srv *server, id string) (finish, error)
}

// inRequested is a document that the provider has still to make: the transfer process behind the
// EDR stays in REQUESTED.
func (s *scenario) inRequested() situation {
	return situation{"REQUESTED", func(ctx context.Context, srv *server, id string) (finish, error) {
		if err := srv.tree(ctx, id, "held-document", s.peers.of[provider1]); err != nil {
			return nil, err
		}
		return s.releasing(srv, id), s.heldUp(ctx, 1)
	}}
}

// releasing lets go whoever is held up until a job has ended, for it may ask once more.
func (s *scenario) releasing(srv *server, id string) finish {
	return func(ctx context.Context) (verdict, error) {
		held, over := context.WithCancel(ctx)
		defer over()
		go func() {
			for held.Err() == nil {
				_ = s.peers.release(held) // asked again
				_ = api.Pause(held, 250*time.Millisecond)
			}
		}()
		found, err := srv.await(ctx, id, jobTakes)
		if err != nil {
			return verdict{}, err
		}
		return verdict{found.State == "COMPLETED", found.Error.String()}, nil
	}
}

// inStarted is a document that is just being fetched.
func (s *scenario) inStarted() situation {
	return situation{"STARTED", func(ctx context.Context, srv *server, id string) (finish, error) {
		before, err := s.peers.counts(ctx)
		if err != nil {
			return nil, err
		}
		if err := srv.tree(ctx, id, "slow-document", s.peers.of[provider1]); err != nil {
			return nil, err
		}
		err = poll(ctx, jobTakes, func(ctx context.Context) (bool, error) {
			now, err := s.peers.counts(ctx)
			return err == nil && !maps.Equal(before.Fetched, now.Fetched), err
		})
		return s.releasing(srv, id), err
	}}
}

// pushWithin is how long a push may take in all.
const pushWithin = "PT30S"

// inPush is a document that the provider pushes to somebody who does not answer; then come verbs.
func (s *scenario) inPush(name string, verbs ...string) situation {
	return situation{name, func(ctx context.Context, srv *server, id string) (finish, error) {
		to, err := s.sinks.hold(ctx)
		if err != nil {
			return nil, err
		}
		err = srv.initiate(ctx, id, map[string]any{
			"provider": s.peers.of[provider1].ProtocolURL, "assetId": root, "transferType": "HttpData-PUSH",
			"destination": map[string]string{"type": "HttpData", "baseUrl": to.url},
			// A consumer never hears of a provider that has forgotten what it was sending.
			"deadline": pushWithin,
		})
		if err != nil {
			return nil, err
		}
		select {
		case <-to.came:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if _, err := srv.reach(ctx, id, "STARTED"); err != nil {
			return nil, err
		}
		for _, verb := range verbs {
			if err := srv.tell(ctx, id, verb); err != nil {
				return nil, err
			}
		}
		_, err = srv.reach(ctx, id, name)
		return s.pushed(srv, id, to, len(verbs) > 0), err
	}}
}

// pushed resumes what was suspended, lets the receiver answer, and waits for the end.
func (s *scenario) pushed(srv *server, id string, to *sink, suspended bool) finish {
	over := []string{"COMPLETED", "TERMINATED", "DEPROVISIONED"}
	return func(ctx context.Context) (verdict, error) {
		if suspended {
			// One that has ended meanwhile cannot be resumed.
			if err := srv.tell(ctx, id, "resume"); err != nil && !api.Is(err, http.StatusConflict) {
				return verdict{}, err
			}
			// The provider sends all of it again; a connector that is answered before ends the transfer.
			if _, err := srv.reach(ctx, id, append(over, "STARTED")...); err != nil {
				return verdict{}, err
			}
		}
		to.release()
		found, err := srv.reach(ctx, id, over...)
		return verdict{found.Outcome == "completed" || found.State == "COMPLETED", found.Reason}, err
	}
}

// blow is something bad that happens to a connector.
type blow struct {
	name string
	fall func(ctx context.Context, name string) error
}

// down is how long a connector is away.
const down = 2 * time.Second

func (s *scenario) blows() []blow {
	return []blow{
		{"killed", func(ctx context.Context, name string) error {
			if _, err := s.peers.tool(ctx, "kill", name); err != nil {
				return err
			}
			if err := api.Pause(ctx, down); err != nil {
				return err
			}
			return s.peers.restart(ctx, name)
		}},
		{"paused", func(ctx context.Context, name string) error {
			if err := s.peers.pause(ctx, name); err != nil {
				return err
			}
			if err := api.Pause(ctx, down); err != nil {
				return err
			}
			return s.peers.resume(ctx, name)
		}},
		{"restarted", s.peers.restart},
	}
}

// struck shows that every transfer ends whatever happens to a connector in whatever state, with a reason that says
// where and what it was about.
func (s *scenario) struck(ctx context.Context) error {
	n := 0
	for i, in := range []situation{s.inRequested(), s.inStarted(), s.inPush("STARTED"), s.inPush("SUSPENDED", "suspend")} {
		for j, b := range s.blows() {
			for k, name := range []string{consumer, provider1} {
				n++
				if !s.table && (i+j+2*k)%6 != 0 {
					continue
				}
				if err := s.strike(ctx, fmt.Sprintf("struck-%d", n), in, b, name); err != nil {
					return fmt.Errorf("%s, %s %s: %w", in.name, name, b.name, err)
				}
			}
		}
	}
	return nil
}

// strike is played on new data, for what was granted before would be used again.
func (s *scenario) strike(ctx context.Context, id string, in situation, b blow, name string) error {
	if err := s.peers.release(ctx); err != nil {
		return err
	}
	srv, err := s.serve(ctx, id, s.peers, (*config).hurry)
	if err != nil {
		return err
	}
	end, err := in.enter(ctx, srv, id)
	if err != nil {
		return err
	}
	if err := b.fall(ctx, name); err != nil {
		return err
	}
	began := time.Now()
	v, err := end(ctx)
	if err != nil {
		return err
	}
	said := "completed"
	if !v.completed {
		said = v.reason
		s.explained(id, v.reason)
	}
	fmt.Printf("  %s, %s %s: %.1f s later %s\n", in.name, name, b.name, time.Since(began).Seconds(), said)
	return srv.stop()
}
