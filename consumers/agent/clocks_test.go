package agent_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/internal/embedded/embeddedtest"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// shards is a server whose clock differs from that of the agents.
type shards struct {
	*testing.T
	ctx   context.Context
	cfg   kafka.Config
	cl    *kgo.Client
	ahead time.Duration
}

// offer is how long an offer holds; a little later it is made again.
const offer = 30 * time.Second

// elsewhere plays with agents and a server by whose clock it is that much later.
func elsewhere(t *testing.T, ahead time.Duration, play func(s *shards)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		cfg, _ := embeddedtest.Virtual(t)
		topics := cfg.Topics()
		cl, err := cfg.NewClient(kgo.ConsumeTopics(topics.Commands("orchestration")), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		if err := kafka.EnsureTopics(ctx, cl, topics.Specs(2, []string{"orchestration"}, []string{"greet"})); err != nil {
			t.Fatal(err)
		}
		play(&shards{t, ctx, cfg, cl, ahead})
	})
}

// offers writes a work record as a shard does.
func (s *shards) offers(id string) {
	s.Helper()
	at := time.Now().Add(s.ahead)
	w := work(id)
	w.Offer, w.OfferedUntil, w.Deadline = 1, at.Add(offer), at.Add(10*time.Minute)
	raw, err := schemas.Encode(w)
	if err != nil {
		s.Fatal(err)
	}
	e := kafka.CloudEvent{ID: id, Type: schemas.WorkRequested, Time: at, InputOffset: -1}
	r := &kgo.Record{Topic: s.cfg.Topics().Work("greet"), Key: []byte(id), Value: raw, Headers: e.Headers()}
	if err := s.cl.ProduceSync(s.ctx, r).FirstErr(); err != nil {
		s.Fatal(err)
	}
}

// taken is what an agent takes next, which it does soon.
func taken[T any](s *shards, took <-chan T) T {
	s.Helper()
	select {
	case a := <-took:
		return a
	case <-time.After(5 * time.Second):
		s.Fatal("nobody takes what is offered")
		panic("unreachable")
	}
}

// agent starts an agent of so many slots. What it returns stops it.
func (s *shards) agent(slots int, p agent.ProcessorFunc) (stop func()) {
	s.Helper()
	ctx, cancel := context.WithCancel(s.ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- agent.Run(ctx, agent.Config{Name: "greeter", Type: "greet", Concurrency: slots, Kafka: s.cfg, Log: quiet}, p)
	}()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			s.Error(err)
		}
	}
}

func TestAnAgentWhoseClockIsWrongTakesWhatIsOfferedToIt(t *testing.T) {
	for _, ahead := range []time.Duration{-time.Hour, time.Hour, -time.Minute, 24 * time.Hour} {
		t.Run(fmt.Sprintf("where it is %s later for the server", ahead), func(t *testing.T) {
			elsewhere(t, ahead, func(s *shards) {
				took := make(chan agent.Activity, 10)
				defer s.agent(1, func(ctx context.Context, a agent.Activity) agent.Result {
					if err := ctx.Err(); err != nil {
						s.Errorf("%s begins with its context ended: %v", a.ID, err)
					}
					took <- a
					return agent.Complete(nil)
				})()
				<-time.After(time.Minute)
				for i := range 3 {
					s.offers(fmt.Sprint(i))
					a := taken(s, took)
					if d := time.Until(a.Deadline); d < 9*time.Minute || d > 11*time.Minute {
						s.Errorf("%s has %s left, not some 10 minutes", a.ID, d)
					}
					<-time.After(time.Duration(i) * time.Minute)
				}
			})
		})
	}
}

// It waits for a slot, and when there is one it may have been offered to another agent.
func TestAnAgentWhoseClockIsWrongLeavesWhatMayHaveBeenOfferedAgain(t *testing.T) {
	for _, ahead := range []time.Duration{0, -time.Hour, time.Hour} {
		t.Run(fmt.Sprintf("where it is %s later for the server", ahead), func(t *testing.T) {
			elsewhere(t, ahead, func(s *shards) {
				took := make(chan string, 10)
				takes := map[string]time.Duration{"long": offer - 5*time.Second, "longer": offer + 5*time.Second}
				defer s.agent(1, func(_ context.Context, a agent.Activity) agent.Result {
					took <- a.ID
					<-time.After(takes[a.ID])
					return agent.Complete(nil)
				})()
				for _, step := range []struct{ first, waits, then string }{
					{"long", "in time", "in time"},
					{"longer", "too late", "new"},
				} {
					<-time.After(time.Minute)
					s.offers(step.first)
					if got := taken(s, took); got != step.first {
						s.Fatalf("took %s", got)
					}
					s.offers(step.waits)
					<-time.After(takes[step.first] + 2*time.Second)
					if step.then == "new" {
						s.offers("new")
					}
					if got := taken(s, took); got != step.then {
						s.Errorf("took %s, want %s", got, step.then)
					}
				}
			})
		})
	}
}

// The clock of the owner before was ahead, and time went on by it.
func TestAShardMayFindAnOwnerWhoseClockIsBehindTheOneBefore(t *testing.T) {
	elsewhere(t, time.Hour, func(s *shards) {
		took := make(chan string, 10)
		defer s.agent(1, func(_ context.Context, a agent.Activity) agent.Result {
			took <- a.ID
			return agent.Complete(nil)
		})()
		s.offers("before")
		taken(s, took)
		<-time.After(time.Minute)
		s.ahead = 0
		s.offers("after")
		taken(s, took)
	})
}

// Nobody has said what time it is, and it may be of any age: what is over by the agent's own clock is offered again.
func TestWhatLiesThereWhenAnAgentStartsGoesByItsClockAndByTheRecords(t *testing.T) {
	elsewhere(t, -time.Hour, func(s *shards) {
		s.offers("seems over")
		took := make(chan string, 10)
		defer s.agent(1, func(_ context.Context, a agent.Activity) agent.Result {
			took <- a.ID
			return agent.Complete(nil)
		})()
		<-time.After(offer)
		s.offers("offered now")
		if got := taken(s, took); got != "offered now" {
			s.Errorf("took what is %s", got)
		}
	})
	elsewhere(t, time.Hour, func(s *shards) {
		s.offers("seems to come from the future")
		left := make(chan machine.Work, 1)
		stop := s.agent(1, func(ctx context.Context, a agent.Activity) agent.Result {
			deadline, _ := ctx.Deadline()
			left <- machine.Work{ID: a.ID, Deadline: deadline}
			return agent.Complete(nil)
		})
		w := taken(s, left)
		if d := time.Until(w.Deadline); d > 11*time.Minute {
			s.Errorf("%s has %s left, by a clock that is behind the record", w.ID, d)
		}
		stop()
	})
}
