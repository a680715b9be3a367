package main

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/waybill/waybill/integration/internal/api"
)

// explained wants a reason to say where something went wrong.
func (s *scenario) explained(what, reason string) {
	for _, c := range s.peers.of {
		if c.Name != consumer && strings.Contains(reason, c.ProtocolURL) {
			return
		}
	}
	s.wrong.Add("%s: its reason does not name the provider: %s", what, reason)
}

// negotiating is a job whose provider says nothing in the middle of a negotiation.
func (s *scenario) negotiating() situation {
	return situation{"negotiating", func(ctx context.Context, srv *server, id string) (finish, error) {
		before, err := s.peers.counts(ctx)
		if err != nil {
			return nil, err
		}
		// The catalog has to come before: a provider that says nothing has none.
		if err := srv.tree(ctx, id+"-before", root+"-2", s.peers.of[provider2]); err != nil {
			return nil, err
		}
		if err := s.ends(ctx, srv, id+"-before", "brown fox"); err != nil {
			return nil, err
		}
		if err := s.peers.pause(ctx, provider2); err != nil {
			return nil, err
		}
		if err := srv.tree(ctx, id, root+"-4", s.peers.of[provider2]); err != nil {
			return nil, err
		}
		return func(ctx context.Context) (verdict, error) {
			if err := s.peers.resume(ctx, provider2); err != nil {
				return verdict{}, err
			}
			v, err := s.releasing(srv, id)(ctx)
			if err != nil {
				return v, err
			}
			after, err := s.peers.counts(ctx)
			n, want := since(before.of[consumer].NegotiationsByAsset, after.of[consumer].NegotiationsByAsset), 1
			if err == nil && n[root+"-4"] != want {
				s.wrong.Add("a server killed while it negotiates has negotiated %v, want %d of %s-4", n, want, root)
			}
			return v, err
		}, nil
	}}
}

// crashed kills serve while one transfer waits in each state, and starts it again: all of them go on.
func (s *scenario) crashed(ctx context.Context) error {
	places, err := s.sinks.provision(ctx)
	if err != nil {
		return err
	}
	srv, err := s.serve(ctx, "crashed", s.peers, func(c *config) {
		c.Provisioners = []map[string]string{{"type": provisionerType, "adapter": "http", "endpoint": places.url}}
		c.Allow = []string{places.place.host} // whence it is collected
	})
	if err != nil {
		return err
	}
	if err := s.peers.release(ctx); err != nil {
		return err
	}
	in := []situation{s.inRequested(), s.inProvisioning(places), s.inPush("STARTED"), s.inPush("SUSPENDED", "suspend"), s.inStarted(), s.negotiating()}
	ends := make([]finish, len(in))
	for i, one := range in {
		if ends[i], err = one.enter(ctx, srv, fmt.Sprintf("crashed-%d", i)); err != nil {
			return fmt.Errorf("%s: %w", one.name, err)
		}
	}
	if err := srv.crash(ctx); err != nil {
		return err
	}
	s.also = append(s.also, srv)
	began := time.Now()
	return atOnce(ctx, len(in), func(ctx context.Context, i int) error {
		v, err := ends[i](ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", in[i].name, err)
		}
		if !v.completed {
			s.wrong.Add("%s when serve was killed: it did not complete: %s", in[i].name, v.reason)
		}
		fmt.Printf("  %s: over %.1f s after serve was there again\n", in[i].name, time.Since(began).Seconds())
		return nil
	})
}

// forgotten shows that jobs do not notice that the connectors have forgotten everything.
func (s *scenario) forgotten(ctx context.Context) error {
	srv, err := s.serve(ctx, "forgotten", s.peers, nil)
	if err != nil {
		return err
	}
	p1 := s.peers.of[provider1]
	if err := s.completes(ctx, srv, "remembered", root, p1, sentence); err != nil {
		return err
	}
	names := []string{consumer, provider1, provider2, provider3}
	if err := atOnce(ctx, len(names), func(ctx context.Context, i int) error {
		_, err := s.peers.tool(ctx, "restart", names[i])
		return err
	}); err != nil {
		return err
	}
	if err := s.peers.seed(ctx); err != nil {
		return err
	}
	if err := s.counted(ctx, "after all connectors have forgotten all", ofTree(1), ofTree(1), func(ctx context.Context) error {
		return s.completes(ctx, srv, "forgotten", root, p1, sentence)
	}); err != nil {
		return err
	}
	// And in the middle: the consumer forgets what it has just been asked.
	if err := s.peers.release(ctx); err != nil {
		return err
	}
	end, err := s.inRequested().enter(ctx, srv, "forgotten-in-the-middle")
	if err != nil {
		return err
	}
	if err := s.peers.restart(ctx, consumer); err != nil {
		return err
	}
	v, err := end(ctx)
	if err == nil && !v.completed {
		s.wrong.Add("the consumer forgot a transfer in REQUESTED, and the job failed: %s", v.reason)
	}
	return err
}

// uncalled shows what callbacks that never arrive cost.
func (s *scenario) uncalled(ctx context.Context) error {
	const every = time.Second
	srv, err := s.serve(ctx, "uncalled", s.peers, func(c *config) {
		c.PublicURL = "http://127.0.0.1:9" // nobody is there
		c.pollEvery("PT1S")
	})
	if err != nil {
		return err
	}
	began := time.Now()
	if err := s.completes(ctx, srv, "uncalled", root, s.peers.of[provider1], sentence); err != nil {
		return err
	}
	// Three documents deep, each waits for a negotiation and for a transfer process.
	if took, most := time.Since(began), 3*2*(every+time.Second); took > most {
		s.wrong.Add("without callbacks the tree took %s, want at most %s", took, most)
	}
	fmt.Printf("  without callbacks: %.1f s\n", time.Since(began).Seconds())
	return srv.stop()
}

// atRandom kills, pauses and restarts connectors while jobs are asked for.
func (s *scenario) atRandom(ctx context.Context) error {
	srv, err := s.serve(ctx, "at-random", s.peers, (*config).hurry)
	if err != nil {
		return err
	}
	storm, over := context.WithCancel(ctx)
	defer over()
	asked := make(chan int, 1)
	failed := make(chan error, 1)
	go func() {
		n := 0
		for storm.Err() == nil {
			if err := srv.tree(ctx, fmt.Sprintf("random-%d", n), root, s.peers.of[provider1]); err != nil {
				failed <- err
				return
			}
			n++
			_ = api.Pause(storm, 250*time.Millisecond) // it ends the loop, too
		}
		asked <- n
	}()
	names, blows := []string{consumer, provider1, provider2, provider3}, s.blows()
	for range s.random {
		if err := api.Pause(ctx, time.Duration(s.rnd.IntN(1500))*time.Millisecond); err != nil {
			return err
		}
		if err := blows[s.rnd.IntN(len(blows))].fall(ctx, names[s.rnd.IntN(len(names))]); err != nil {
			return err
		}
	}
	over()
	select {
	case err := <-failed:
		return err
	case n := <-asked:
		if err := s.survivors(ctx, srv, n); err != nil {
			return err
		}
	}
	if err := s.completes(ctx, srv, "after-the-storm", root, s.peers.of[provider1], sentence); err != nil {
		return err
	}
	return srv.stop()
}

// survivors waits for all jobs: each ends, and one that has failed says where.
func (s *scenario) survivors(ctx context.Context, srv *server, n int) error {
	ended := map[string]int{}
	for i := range n {
		found, err := srv.await(ctx, fmt.Sprintf("random-%d", i), 3*time.Minute)
		if err != nil {
			return err
		}
		ended[found.State]++
		switch {
		case found.State == "ERROR":
			s.explained(found.ID, found.Error.String())
		case found.State != "COMPLETED" || found.value() != sentence:
			s.wrong.Add("%s is %s with %q", found.ID, found.State, found.value())
		}
	}
	now, err := s.peers.counts(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("  %d blows, %d jobs: %v; %d negotiations that the providers still know\n", s.random, n, maps.Clone(ended), sum(now.negotiated()))
	return nil
}
