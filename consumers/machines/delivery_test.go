package machines_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/pubsub"
	"github.com/waybill/waybill/schemas"
)

// remote is a type whose work goes through its topic: the process has no agent of it.
const remote = "remote.example.com"

// crew is agents in processes of their own, and what they have done.
type crew struct {
	*process
	mu       sync.Mutex
	attempts map[string][]int // by activity: the attempts that were begun
	causes   []error          // why contexts ended before their time
	traces   []string
	did      map[string]int // by agent
}

func newCrew(p *process) *crew {
	p.send("definition", "activity/"+remote, schemas.DefinitionPut, `{"type":"`+remote+`"}`)
	p.decided()
	return &crew{process: p, attempts: map[string][]int{}, did: map[string]int{}}
}

// Process takes as long as the input says.
func (c *crew) Process(ctx context.Context, a agent.Activity) agent.Result {
	c.mu.Lock()
	c.attempts[a.ActivityID] = append(c.attempts[a.ActivityID], a.Attempt)
	c.traces = append(c.traces, a.TraceParent)
	c.mu.Unlock()
	select {
	case <-ctx.Done():
		c.mu.Lock()
		c.causes = append(c.causes, context.Cause(ctx))
		c.mu.Unlock()
		return agent.Retry(context.Cause(ctx))
	case <-time.After(a.Input.Duration("takes")):
		return agent.Complete(a.ActivityID)
	}
}

// hire starts an agent; the function it returns stops it.
func (c *crew) hire(name string, concurrency int, change ...func(*agent.Config)) (stop func()) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.t.Context())
	cfg := agent.Config{Name: name, Type: remote, Concurrency: concurrency, Fetchers: 4, Kafka: c.cfg, Log: slog.New(slog.DiscardHandler)}
	for _, f := range change {
		f(&cfg)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- agent.Run(ctx, cfg, agent.ProcessorFunc(func(ctx context.Context, a agent.Activity) agent.Result {
			c.mu.Lock()
			c.did[name]++
			c.mu.Unlock()
			return c.Process(ctx, a)
		}))
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			c.t.Errorf("agent %s: %v", name, err)
		}
	})
	c.t.Cleanup(stop)
	return stop
}

// define puts an orchestration of n activities that take so long each, with more policies.
func (c *crew) define(typ string, n int, takes, policies string) {
	c.t.Helper()
	activities := make([]string, n)
	for i := range activities {
		activities[i] = fmt.Sprintf(`{"id":"%s%d","type":"%s","with":{"takes":"%s"}%s}`, typ, i, remote, takes, policies)
	}
	c.send("definition", "orchestration/"+typ, schemas.DefinitionPut, `{"type":"`+typ+`","activities":[`+strings.Join(activities, ",")+`]}`)
	c.decided()
}

func (c *crew) start(typ string) { c.startTraced(typ, "") }

func (c *crew) startTraced(typ, traceParent string) {
	c.t.Helper()
	c.ids++
	r := &kgo.Record{
		Topic: c.cfg.Topics().Commands("orchestration"), Key: []byte(typ), Value: []byte(`{"type":"` + typ + `"}`),
		Headers: kafka.CloudEvent{ID: fmt.Sprint("start", c.ids), Source: "test", Type: schemas.OrchestrationStart, Subject: typ, TraceParent: traceParent}.Headers(),
	}
	if err := c.cl.ProduceSync(c.t.Context(), r).FirstErr(); err != nil {
		c.t.Fatal(err)
	}
}

// completes waits for the end of an orchestration, within a time.
func (c *crew) completes(typ string, within time.Duration) {
	c.t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(c.t.Context(), within+time.Hour)
	defer cancel()
	for {
		f := c.sub.PollRecords(ctx, 1)
		if err := f.Err(); err != nil {
			c.t.Fatal(err)
		}
		for _, r := range f.Records() {
			e, err := kafka.ParseCloudEvent(r)
			if err != nil {
				c.t.Fatal(err)
			}
			if string(r.Key) != typ {
				continue
			}
			if e.Type != schemas.OrchestrationCompleted {
				c.t.Fatalf("%s ended with %s: %s", typ, e.Type, r.Value)
			}
			if d := time.Since(began); d > within {
				c.t.Fatalf("%s took %s, longer than %s", typ, d, within)
			}
			return
		}
	}
}

// once says that every activity of an orchestration was begun once, in its first attempt.
func (c *crew) once(typ string, n int) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range n {
		id := fmt.Sprint(typ, i)
		if got := c.attempts[id]; len(got) != 1 || got[0] != 1 {
			c.t.Fatalf("activity %s was begun in the attempts %v", id, got)
		}
	}
}

func (c *crew) begun(id string) []int {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]int(nil), c.attempts[id]...)
}

func TestASlowActivityHoldsBackNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(newProcess(t))
		c.hire("one", 16)
		c.define("slow", 1, "30s", "")
		c.define("quick", 1000, "0s", "")
		c.start("slow")
		c.decided()
		if len(c.begun("slow0")) != 1 {
			t.Fatal("the slow one has not begun")
		}
		c.start("quick")
		c.completes("quick", 2*time.Second)
		c.completes("slow", 30*time.Second)
		c.once("quick", 1000)
	})
}

func TestAThousandActivitiesWaitForOneAgentWithoutARetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(newProcess(t))
		c.hire("one", 16)
		c.define("queue", 1000, "2s", "")
		c.start("queue")
		c.completes("queue", 150*time.Second) // 125 s at least
		c.once("queue", 1000)
	})
}

func TestAnAgentThatIsAbsentCostsNoAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(newProcess(t))
		c.define("late", 20, "1s", "")
		c.start("late")
		time.Sleep(5 * time.Minute) //nolint:forbidigo // fake time
		c.hire("one", 16)
		c.completes("late", 15*time.Second)
		c.once("late", 20)
	})
}

func TestMoreAgentsThanPartitionsAllWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(newProcess(t)) // 4 partitions
		for i := range 20 {
			c.hire(fmt.Sprint("agent-", i), 1)
		}
		time.Sleep(time.Minute) //nolint:forbidigo // fake time, for everybody to join
		c.define("wide", 400, "1s", "")
		c.start("wide")
		// 20 s if the partitions had as much work each; the broker gives each of them five agents.
		c.completes("wide", 30*time.Second)
		c.once("wide", 400)
		if len(c.did) != 20 {
			t.Errorf("%d of 20 agents have worked: %v", len(c.did), c.did)
		}
	})
}

func TestAnActivityLongerThanItsLease(t *testing.T) {
	t.Run("runs once while its agent is heard", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCrew(newProcess(t))
			c.hire("one", 1)
			c.hire("two", 1)
			c.define("long", 1, "5m", "")
			c.start("long")
			c.completes("long", 5*time.Minute+time.Second)
			c.once("long", 1)
		})
	})
	t.Run("runs again when its agent is not, and the late report is refused", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCrew(newProcess(t))
			c.define("lost", 1, "1s", "")
			c.start("lost")
			w := c.claimAndHang("dead")
			c.hire("one", 1)
			c.completes("lost", 20*time.Second)
			if got := c.begun("lost0"); len(got) != 1 || got[0] != 2 {
				t.Fatalf("it was begun in the attempts %v", got)
			}
			c.send("orchestration", w.AggregateID, schemas.WorkComplete, fmt.Sprintf(`{"workId":"%s","attempt":%d,"output":"late"}`, w.ID, w.Attempt))
			c.answers(schemas.CommandRejected, `"code":"state"`)
		})
	})
}

// claimAndHang takes a piece of work, claims it, and is never heard again.
func (c *crew) claimAndHang(name string) machine.Work {
	c.t.Helper()
	s, err := pubsub.NewShareSubscriber(pubsub.ShareSubscriberConfig{Kafka: c.cfg, Group: c.cfg.Topics().Group("share", remote)})
	if err != nil {
		c.t.Fatal(err)
	}
	messages, err := s.Subscribe(c.t.Context(), c.cfg.Topics().Work(remote))
	if err != nil {
		c.t.Fatal(err)
	}
	msg := <-messages
	w, err := schemas.DecodeWork(schemas.WorkRequested, msg.Payload)
	if err != nil {
		c.t.Fatal(err)
	}
	c.send("orchestration", w.AggregateID, schemas.WorkHeartbeat, fmt.Sprintf(`{"workId":"%s","attempt":%d,"agent":"%s"}`, w.ID, w.Attempt, name))
	msg.Ack()
	if err := s.Close(); err != nil {
		c.t.Fatal(err)
	}
	return w
}

func TestAnAgentThatStopsHandsBackWhatItHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(newProcess(t))
		stop := c.hire("one", 1, func(cfg *agent.Config) { cfg.Grace = time.Second })
		c.define("moved", 1, "20s", "")
		c.start("moved")
		c.decided()
		c.hire("two", 1)
		stop()
		c.completes("moved", 21*time.Second) // and not after the lease of 10 s
		if got := c.begun("moved0"); len(got) != 2 || got[1] != 1 {
			t.Fatalf("it was begun in the attempts %v: handing back has cost one", got)
		}
	})
}

func TestTheEndOfWorkReachesItsProcessor(t *testing.T) {
	cause := func(c *crew) error {
		synctest.Wait()
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.causes) != 1 {
			t.Fatalf("the contexts ended with %v", c.causes)
		}
		return c.causes[0]
	}
	t.Run("when the orchestration is cancelled", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCrew(newProcess(t))
			c.hire("one", 1)
			c.define("long", 1, "1h", "")
			c.start("long")
			c.decided()
			c.send("orchestration", "long", schemas.OrchestrationCancel, `{"reason":"enough"}`)
			c.decided()
			if err := cause(c); !errors.Is(err, agent.ErrCancelled) {
				t.Fatalf("it ended with %v", err)
			}
		})
	})
	t.Run("when the attempt has taken too long", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCrew(newProcess(t))
			c.hire("one", 1)
			c.define("long", 1, "1h", `,"attemptTimeout":"PT30S","retry":{"limit":0}`)
			c.start("long")
			time.Sleep(35 * time.Second) //nolint:forbidigo // fake time
			if err := cause(c); !errors.Is(err, agent.ErrCancelled) {
				t.Fatalf("it ended with %v", err)
			}
		})
	})
}

func TestATraceGoesFromTheStartToTheProcessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
		c := newCrew(newProcess(t))
		c.hire("one", 1)
		c.define("traced", 1, "0s", "")
		c.startTraced("traced", parent)
		c.completes("traced", 5*time.Second)
		if len(c.traces) != 1 || c.traces[0] != parent {
			t.Fatalf("the processor got %q", c.traces)
		}
	})
}
