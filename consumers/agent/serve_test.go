package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/pubsub"
	"github.com/waybill/waybill/schemas"
)

const commands = "waybill.orchestration.commands"

// log stands for the work topics and for what agents publish. Its mutex is never held
// while something waits, so that a bubble's time can pass.
type log struct {
	mu        sync.Mutex
	topics    map[string]chan *message.Message
	published []published
	fail      func(topic string, msg *message.Message) error
}

type published struct {
	topic string
	at    time.Time
	msg   *message.Message
}

func newLog() *log { return &log{topics: map[string]chan *message.Message{}} }

func (l *log) topic(name string) chan *message.Message {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ok := l.topics[name]
	if !ok {
		c = make(chan *message.Message)
		l.topics[name] = c
	}
	return c
}

func (l *log) Subscribe(_ context.Context, topic string) (<-chan *message.Message, error) {
	return l.topic(topic), nil
}

func (l *log) Publish(topic string, messages ...*message.Message) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range messages {
		if err := m.Context().Err(); err != nil {
			return err
		}
		if l.fail != nil {
			if err := l.fail(topic, m); err != nil {
				return err
			}
		}
		l.published = append(l.published, published{topic, time.Now(), m})
	}
	return nil
}

func (l *log) Close() error { return nil }

func (l *log) breaks(fail func(topic string, msg *message.Message) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = fail
}

// types lists the wire names of what was published, in order.
func (l *log) types() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var types []string
	for _, p := range l.published {
		types = append(types, p.msg.Metadata.Get(kafka.HeaderType))
	}
	return types
}

func (l *log) last() published {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.published[len(l.published)-1]
}

func record(wireType string, value any) *message.Message {
	raw, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	msg := message.NewMessage("id", raw)
	msg.Metadata.Set(kafka.HeaderType, wireType)
	msg.Metadata.Set(pubsub.PartitionKey, "key")
	return msg
}

// give offers a message to the agent; false if it does not take it.
func (l *log) give(msg *message.Message) bool {
	synctest.Wait()
	select {
	case l.topic("waybill.work.greet") <- msg:
		synctest.Wait()
		return true
	default:
		return false
	}
}

func acked(msg *message.Message) bool {
	select {
	case <-msg.Acked():
		return true
	default:
		return false
	}
}

func nacked(msg *message.Message) bool {
	select {
	case <-msg.Nacked():
		return true
	default:
		return false
	}
}

// serving is an agent under way inside a bubble.
type serving struct {
	*log
	t     *testing.T
	stop  context.CancelFunc
	ended chan error
}

func serve(t *testing.T, pool *agent.Pool, change ...func(*agent.Config)) *serving {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	s := &serving{newLog(), t, stop, make(chan error, 1)}
	cfg := agent.Config{Name: "tester", Subscriber: s.log, Publisher: s.log, Log: quiet}
	for _, f := range change {
		f(&cfg)
	}
	go func() { s.ended <- pool.Serve(ctx, cfg) }()
	return s
}

// ends stops the agent and returns why it ended.
func (s *serving) ends() error {
	s.t.Helper()
	s.stop()
	return <-s.ended
}

func (s *serving) endsWell() {
	s.t.Helper()
	if err := s.ends(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *serving) published(want ...string) {
	s.t.Helper()
	synctest.Wait()
	if got := s.types(); !slices.Equal(got, want) {
		s.t.Fatalf("published %v, want %v", got, want)
	}
}

func TestWorkIsClaimedThenAcknowledgedThenReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := serve(t, poolOf("greet", wait(release), 1))
		synctest.Wait()
		s.breaks(func(string, *message.Message) error { return errors.New("broker away") })
		msg := record(schemas.WorkRequested, work("w"))
		msg.SetContext(t.Context())
		s.give(msg)
		if acked(msg) {
			t.Fatal("it was acknowledged before the claim was on the log")
		}
		s.breaks(nil)
		<-time.After(time.Second)
		s.published(schemas.WorkHeartbeat)
		if !acked(msg) {
			t.Fatal("it was not acknowledged")
		}
		claim := s.last()
		if claim.topic != commands || claim.msg.Metadata.Get(pubsub.PartitionKey) != "job-w" ||
			string(claim.msg.Payload) != `{"workId":"w","attempt":1,"agent":"tester"}` {
			t.Fatalf("claimed on %s with %v %s", claim.topic, claim.msg.Metadata, claim.msg.Payload)
		}
		close(release)
		s.published(schemas.WorkHeartbeat, schemas.WorkComplete)
		report := s.last()
		if report.topic != commands || report.msg.Metadata.Get(kafka.HeaderID) != machine.ID("report", "w", "1", "complete") ||
			string(report.msg.Payload) != `{"workId":"w","attempt":1,"output":"done"}` {
			t.Fatalf("reported on %s with %v %s", report.topic, report.msg.Metadata, report.msg.Payload)
		}
		s.endsWell()
	})
}

func TestEachResultIsReported(t *testing.T) {
	for name, result := range map[string]agent.Result{
		schemas.WorkComplete: agent.Complete(1),
		schemas.WorkWait:     agent.Wait(),
		schemas.WorkSchedule: agent.Schedule(time.Minute),
		schemas.WorkRetry:    agent.Retry(errors.New("x")),
		schemas.WorkFail:     agent.Fatal(errors.New("x")),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, poolOf("greet", agent.ProcessorFunc(func(context.Context, agent.Activity) agent.Result { return result }), 1))
				s.give(record(schemas.WorkRequested, work("w")))
				s.published(schemas.WorkHeartbeat, name)
				if _, err := schemas.DecodeOrchestrationCommand(name, s.last().msg.Payload); err != nil {
					t.Fatalf("no machine can read it: %v", err)
				}
				s.endsWell()
			})
		})
	}
	t.Run("a panic is a failure, and the agent lives", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, poolOf("greet", agent.ProcessorFunc(func(context.Context, agent.Activity) agent.Result { panic("boom") }), 1))
			s.give(record(schemas.WorkRequested, work("w")))
			s.give(record(schemas.WorkRequested, work("v")))
			s.published(schemas.WorkHeartbeat, schemas.WorkFail, schemas.WorkHeartbeat, schemas.WorkFail)
			s.endsWell()
		})
	})
}

func TestAnAttemptIsASpanInTheTraceOfWhoeverAsked(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	tracer := sdk.NewTracerProvider(sdk.WithSpanProcessor(spans)).Tracer("")
	synctest.Test(t, func(t *testing.T) {
		const asked = "4bf92f3577b34da6a3ce929d0e0e4736"
		var inside trace.SpanContext
		s := serve(t, poolOf("greet", agent.ProcessorFunc(func(ctx context.Context, _ agent.Activity) agent.Result {
			inside = trace.SpanContextFromContext(ctx)
			return agent.Retry(errors.New("provider down"))
		}), 1), func(c *agent.Config) { c.Tracer = tracer })
		w := work("w")
		w.TraceParent = "00-" + asked + "-00f067aa0ba902b7-01"
		s.give(record(schemas.WorkRequested, w))
		s.published(schemas.WorkHeartbeat, schemas.WorkRetry)
		s.endsWell()
		ended := spans.Ended()
		if len(ended) != 1 || inside.TraceID().String() != asked || ended[0].SpanContext().SpanID() != inside.SpanID() {
			t.Fatalf("the processor was in %v, and %d spans have ended", inside, len(ended))
		}
		if got := ended[0].Status().Description; got != "provider down" {
			t.Errorf("the span ended with %q", got)
		}
	})
}

func TestErrorsAreReportedWithoutSecrets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, poolOf("greet", agent.ProcessorFunc(func(context.Context, agent.Activity) agent.Result {
			return agent.Fatal(errors.New("GET http://x?key=hunter22"))
		}), 1), func(c *agent.Config) {
			c.Redact = func(text string) string { return strings.ReplaceAll(text, "hunter22", "…") }
		})
		s.give(record(schemas.WorkRequested, work("w")))
		s.published(schemas.WorkHeartbeat, schemas.WorkFail)
		if got := string(s.last().msg.Payload); strings.Contains(got, "hunter22") || !strings.Contains(got, "key=…") {
			t.Fatalf("it reports %s", got)
		}
		s.endsWell()
	})
}

func TestAClaimIsExtendedThreeTimesALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := serve(t, poolOf("greet", wait(release), 1))
		began := time.Now()
		s.give(record(schemas.WorkRequested, work("w"))) // a lease of 9 s
		<-time.After(10 * time.Second)
		close(release)
		s.published(schemas.WorkHeartbeat, schemas.WorkHeartbeat, schemas.WorkHeartbeat, schemas.WorkHeartbeat, schemas.WorkComplete)
		ids := map[string]bool{}
		for i, p := range s.log.published[:4] {
			if at := p.at.Sub(began); at != time.Duration(i)*3*time.Second {
				t.Errorf("heartbeat %d came after %s", i, at)
			}
			ids[p.msg.Metadata.Get(kafka.HeaderID)] = true
		}
		if len(ids) != 4 {
			t.Error("a heartbeat repeats the ID of another")
		}
		<-time.After(time.Minute)
		if n := len(s.types()); n != 5 {
			t.Errorf("%d more heartbeats after the end", n-5)
		}
		s.endsWell()
	})
}

func TestAProcessorCanExtendItsClaimItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var errs []error
		s := serve(t, poolOf("greet", agent.ProcessorFunc(func(ctx context.Context, a agent.Activity) agent.Result {
			errs = append(errs, a.Heartbeat(ctx))
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			errs = append(errs, a.Heartbeat(ctx))
			return agent.Complete(nil)
		}), 1))
		s.give(record(schemas.WorkRequested, work("w")))
		s.published(schemas.WorkHeartbeat, schemas.WorkHeartbeat, schemas.WorkComplete)
		if errs[0] != nil || !errors.Is(errs[1], context.Canceled) {
			t.Fatalf("got %v", errs)
		}
		s.endsWell()
	})
}

func TestNoMoreIsTakenThanThereAreSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		pool := poolOf("greet", wait(release), 3)
		s := serve(t, pool)
		taken := func(id string) bool { return s.give(record(schemas.WorkRequested, work(id))) }
		if !taken("1") || !taken("2") {
			t.Fatal("a free slot took nothing")
		}
		if !pool.TryRun(t.Context(), work("local"), func(agent.Result) {}) {
			t.Fatal("the machine of this process got no slot")
		}
		// One was about to be taken when the machine was quicker: it waits, unclaimed.
		if !taken("3") || taken("4") || pool.TryRun(t.Context(), work("local"), func(agent.Result) {}) {
			t.Fatal("four at once on three slots")
		}
		s.published(schemas.WorkHeartbeat, schemas.WorkHeartbeat)
		close(release)
		synctest.Wait()
		if n := len(s.types()); n != 6 {
			t.Fatalf("three claims and three reports are %d", n)
		}
		s.endsWell()
	})
}

func TestARepeatIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := serve(t, poolOf("greet", wait(release), 2))
		again := func(attempt int) *message.Message {
			w := work("w")
			w.Attempt = attempt
			msg := record(schemas.WorkRequested, w)
			s.give(msg)
			if !acked(msg) {
				t.Fatalf("attempt %d was not acknowledged", attempt)
			}
			return msg
		}
		again(1)
		again(1) // while it runs
		s.published(schemas.WorkHeartbeat)
		close(release)
		again(1) // afterwards
		s.published(schemas.WorkHeartbeat, schemas.WorkComplete)
		again(2)
		s.published(schemas.WorkHeartbeat, schemas.WorkComplete, schemas.WorkHeartbeat, schemas.WorkComplete)
		s.endsWell()
	})
}

// Another agent may have the next offer, so the one before is left.
func TestWorkThatHasBeenOfferedAgainIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		close(release)
		s := serve(t, poolOf("greet", wait(release), 1))
		w := work("w")
		w.Offer, w.OfferedUntil = 1, time.Now().Add(-time.Second)
		msg := record(schemas.WorkRequested, w)
		s.give(msg)
		s.published()
		if !acked(msg) {
			t.Fatal("it comes again and again")
		}
		w.Offer, w.OfferedUntil = 2, time.Now().Add(time.Minute)
		s.give(record(schemas.WorkRequested, w))
		s.published(schemas.WorkHeartbeat, schemas.WorkComplete)
		s.endsWell()
	})
}

func TestWorkPastItsDeadlineIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, poolOf("greet", wait(nil), 1))
		w := work("w")
		w.Deadline = time.Now().Add(-time.Second)
		msg := record(schemas.WorkRequested, w)
		s.give(msg)
		s.published()
		if !acked(msg) {
			t.Fatal("it comes again and again")
		}
		s.endsWell()
	})
}

func TestACancelledAttempt(t *testing.T) {
	cancelled := func() *message.Message {
		return record(schemas.WorkCancelled, machine.CancelWork{ID: "w", Attempt: 1, Type: "greet", Reason: "the job was cancelled"})
	}
	t.Run("ends its processor's context and is not reported, with all slots taken", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var cause error
			cancels := newLog()
			s := serve(t, poolOf("greet", agent.ProcessorFunc(func(ctx context.Context, _ agent.Activity) agent.Result {
				<-ctx.Done()
				cause = context.Cause(ctx)
				return agent.Complete("too late")
			}), 1), func(c *agent.Config) { c.Cancellations = cancels })
			s.give(record(schemas.WorkRequested, work("w")))
			if s.give(cancelled()) {
				t.Fatal("there was a slot free")
			}
			if msg := cancelled(); !cancels.give(msg) || !acked(msg) {
				t.Fatal("nobody looks for cancellations")
			}
			s.published(schemas.WorkHeartbeat)
			if !errors.Is(cause, agent.ErrCancelled) || !strings.Contains(cause.Error(), "the job was cancelled") {
				t.Fatalf("the context ended with %v", cause)
			}
			close(cancels.topic("waybill.work.greet"))
			s.endsWell()
		})
	})
	t.Run("is not begun when it comes afterwards", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, poolOf("greet", wait(nil), 1))
			s.give(cancelled())
			msg := record(schemas.WorkRequested, work("w"))
			s.give(msg)
			s.published()
			if !acked(msg) {
				t.Fatal("it was not acknowledged")
			}
			s.endsWell()
		})
	})
}

func TestWhatCannotBeReadIsBuried(t *testing.T) {
	raw := func(wireType, value string) *message.Message {
		msg := message.NewMessage("id", []byte(value))
		msg.Metadata.Set(kafka.HeaderType, wireType)
		msg.Metadata.Set(pubsub.PartitionKey, "key")
		return msg
	}
	other := work("w")
	other.Type = "other"
	for name, c := range map[string]struct {
		msg  *message.Message
		says string
	}{
		"no JSON":                {raw(schemas.WorkRequested, "{"), "unexpected end"},
		"no work ID":             {raw(schemas.WorkRequested, "{}"), "no workId"},
		"work of another type":   {record(schemas.WorkRequested, other), `asks for "other"`},
		"a cancellation no JSON": {raw(schemas.WorkCancelled, "x"), "invalid character"},
		"an unknown version":     {raw("work.requested.v9", "{}"), `"work.requested.v9" is neither`},
		"no type":                {raw("", "{}"), `ce_type "" is neither`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				close(release)
				s := serve(t, poolOf("greet", wait(release), 1))
				s.give(c.msg)
				dead := s.last()
				if dead.topic != "waybill.deadletters" || string(dead.msg.Payload) != string(c.msg.Payload) ||
					dead.msg.Metadata.Get(pubsub.PartitionKey) != "key" || dead.msg.Metadata.Get("wb_time") == "" {
					t.Fatalf("on %s: %v", dead.topic, dead.msg)
				}
				if why := dead.msg.Metadata.Get("wb_error"); !strings.Contains(why, c.says) {
					t.Fatalf("it says %q, not %q", why, c.says)
				}
				if !acked(c.msg) {
					t.Fatal("it comes again and again")
				}
				if !s.give(record(schemas.WorkRequested, work("w"))) {
					t.Fatal("it held back the work behind it")
				}
				s.endsWell()
			})
		})
	}
}

func TestAReportIsPublishedUntilItIsAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		close(release)
		s := serve(t, poolOf("greet", wait(release), 1))
		synctest.Wait()
		s.breaks(func(_ string, msg *message.Message) error {
			if msg.Metadata.Get(kafka.HeaderType) == schemas.WorkComplete {
				return errors.New("broker away")
			}
			return nil
		})
		s.give(record(schemas.WorkRequested, work("w")))
		<-time.After(time.Minute)
		s.published(schemas.WorkHeartbeat)
		s.breaks(nil)
		<-time.After(10 * time.Second)
		s.published(schemas.WorkHeartbeat, schemas.WorkComplete)
		s.endsWell()
	})
}

func TestAClaimThatIsTakenAwayIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		close(release)
		s := serve(t, poolOf("greet", wait(release), 1))
		synctest.Wait()
		s.breaks(func(string, *message.Message) error { return errors.New("broker away") })
		msg := record(schemas.WorkRequested, work("w"))
		ctx, lose := context.WithCancel(t.Context())
		msg.SetContext(ctx)
		s.give(msg)
		lose() // another member of the group has the partition now
		synctest.Wait()
		if !nacked(msg) {
			t.Fatal("it was neither acknowledged nor given back")
		}
		s.breaks(nil)
		s.give(record(schemas.WorkRequested, work("w"))) // and comes here again
		s.published(schemas.WorkHeartbeat, schemas.WorkComplete)
		s.endsWell()
	})
}

func TestStopping(t *testing.T) {
	t.Run("lets what runs finish and be reported", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			s := serve(t, poolOf("greet", wait(release), 1))
			s.give(record(schemas.WorkRequested, work("w")))
			time.AfterFunc(5*time.Second, func() { close(release) })
			s.endsWell()
			s.published(schemas.WorkHeartbeat, schemas.WorkHeartbeat, schemas.WorkComplete)
		})
	})
	t.Run("gives back what does not finish", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, poolOf("greet", wait(nil), 1), func(c *agent.Config) { c.Grace = 2 * time.Second })
			s.give(record(schemas.WorkRequested, work("w")))
			began := time.Now()
			s.endsWell()
			if d := time.Since(began); d > 2*time.Second {
				t.Fatalf("it took %s", d)
			}
			s.published(schemas.WorkHeartbeat, schemas.WorkRelease)
			if back := s.last(); back.topic != commands || string(back.msg.Payload) != `{"workId":"w","attempt":1,"agent":"tester"}` {
				t.Fatalf("gave back on %s: %s", back.topic, back.msg.Payload)
			}
		})
	})
	t.Run("leaves what it cannot give back to its lease", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, poolOf("greet", wait(nil), 1), func(c *agent.Config) { c.Grace = 2 * time.Second })
			s.give(record(schemas.WorkRequested, work("w")))
			s.breaks(func(string, *message.Message) error { return errors.New("broker away") })
			began := time.Now()
			unfinished, ok := errors.AsType[*agent.UnfinishedError](s.ends())
			if !ok || unfinished.Counts["greet"] != 1 {
				t.Fatalf("got %v", unfinished)
			}
			if d := time.Since(began); d > 4*time.Second {
				t.Fatalf("it took %s", d)
			}
			s.published(schemas.WorkHeartbeat)
		})
	})
	t.Run("takes what a processor has done at the last moment", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, poolOf("greet", agent.ProcessorFunc(func(ctx context.Context, _ agent.Activity) agent.Result {
				<-ctx.Done()
				return agent.Schedule(0).WithState("half way")
			}), 1), func(c *agent.Config) { c.Grace = -1 })
			s.give(record(schemas.WorkRequested, work("w")))
			s.endsWell()
			s.published(schemas.WorkHeartbeat, schemas.WorkSchedule)
		})
	})
	t.Run("does not wait for a processor that does not listen", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			deaf := make(chan struct{})
			s := serve(t, poolOf("greet", agent.ProcessorFunc(func(context.Context, agent.Activity) agent.Result {
				<-deaf
				return agent.Complete(nil)
			}), 1), func(c *agent.Config) { c.Grace = time.Second })
			s.give(record(schemas.WorkRequested, work("w")))
			s.endsWell()
			s.published(schemas.WorkHeartbeat, schemas.WorkRelease)
			close(deaf)
		})
	})
	t.Run("happens by itself when a subscription ends", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, poolOf("greet", wait(nil), 1))
			synctest.Wait()
			close(s.topic("waybill.work.greet"))
			if err := <-s.ended; err == nil || !strings.Contains(err.Error(), "the subscription to waybill.work.greet has ended") {
				t.Fatalf("got %v", err)
			}
		})
	})
}

func TestAnIncompleteConfigIsRefused(t *testing.T) {
	t.Setenv(agent.EnvBrokers, "")
	noop := agent.ProcessorFunc(func(context.Context, agent.Activity) agent.Result { return agent.Complete(nil) })
	for says, run := range map[string]func() error{
		"Config.Type is missing": func() error { return agent.Run(t.Context(), agent.Config{Name: "a"}, noop) },
		"Config.Name is missing": func() error { return agent.Run(t.Context(), agent.Config{Type: "a"}, noop) },
		"the processor is nil":   func() error { return agent.Run(t.Context(), agent.Config{Type: "a"}, nil) },
		"set Config.Brokers":     func() error { return agent.Run(t.Context(), agent.Config{Name: "a", Type: "a"}, noop) },
		"but not both": func() error {
			return agent.Run(t.Context(), agent.Config{Name: "a", Type: "a", Publisher: newLog()}, noop)
		},
		"or " + agent.EnvBrokers: func() error { return agent.Run(t.Context(), agent.Config{Name: "a", Type: "a"}, noop) },
	} {
		if err := run(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want %q", err, says)
		}
	}
}

// Many activities at once, from both sides, with some cancelled: for the race detector,
// and every attempt is answered exactly once or was cancelled.
func TestManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 200
		pool := poolOf("greet", agent.ProcessorFunc(func(ctx context.Context, a agent.Activity) agent.Result {
			select {
			case <-ctx.Done():
				return agent.Retry(context.Cause(ctx))
			case <-time.After(time.Duration(len(a.ID)%7) * time.Second):
				return agent.Complete(a.Input.String("x"))
			}
		}), 8)
		s := serve(t, pool)
		var local sync.WaitGroup
		for i := range n {
			msg := record(schemas.WorkRequested, work(fmt.Sprintf("%0*d", 1+i%9, i)))
			s.topic("waybill.work.greet") <- msg
			local.Add(1)
			if !pool.TryRun(t.Context(), work("l"), func(agent.Result) { local.Done() }) {
				local.Done()
			}
			if i%10 == 0 {
				s.topic("waybill.work.greet") <- record(schemas.WorkCancelled, machine.CancelWork{ID: fmt.Sprintf("%0*d", 1+i%9, i), Attempt: 1})
			}
		}
		local.Wait()
		<-time.After(time.Minute)
		s.endsWell()
		answers := map[string]int{}
		for _, p := range s.log.published {
			if p.msg.Metadata.Get(kafka.HeaderType) != schemas.WorkHeartbeat {
				answers[p.msg.Metadata.Get(kafka.HeaderID)]++
			}
		}
		if len(answers) < n*9/10 {
			t.Errorf("%d answers for %d attempts", len(answers), n)
		}
		for id, times := range answers {
			if times != 1 {
				t.Errorf("%s was answered %d times", id, times)
			}
		}
	})
}
