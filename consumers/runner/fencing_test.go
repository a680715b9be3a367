package runner_test

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/internal/kafka/kafkatest"
	"github.com/waybill/waybill/schemas"
)

// bothKinds runs a test as on the embedded broker, where effects trail their events, and as on real
// Kafka, where a transaction is whole, both on the broker in memory and in fake time. Where other
// brokers are named it runs on those instead, in real time.
func bothKinds(t *testing.T, shards int32, p func(t *testing.T) plans, test func(f *fleet)) {
	t.Helper()
	if cfg, ok := kafkatest.Others(t); ok {
		t.Parallel() // they mostly wait
		cfg.Dial = (&net.Dialer{}).DialContext
		f := fleetOn(t, cfg, nil, shards, p(t))
		f.real = true
		test(f)
		return
	}
	for _, kind := range []string{"embedded", "real"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, shards, p(t))
				f.cfg.Embedded = kind == "embedded"
				test(f)
			})
		})
	}
}

func quickPlans(t *testing.T) plans {
	t.Helper()
	return plans{"chain": chain(t, "chain", "noop", 3), "again": chain(t, "again", "again", 1), "slow": chain(t, "slow", "slow", 1)}
}

func noop(p *agent.Pool) { p.Register("noop", quick{}, 4) }

// sleepInCommit holds the member up exactly when it commits: the transaction stays open, and when it
// wakes it goes on with its commit.
func (m *member) sleepInCommit() (caught func() bool) {
	hit := make(chan struct{})
	m.gate.atCommit(func() {
		m.gate.close()
		close(hit)
	})
	return func() bool {
		select {
		case <-hit:
			return true
		default:
			return false
		}
	}
}

func TestAMemberThatLosesItsShardInsideATransactionChangesNothing(t *testing.T) {
	bothKinds(t, 1, quickPlans, func(f *fleet) {
		a := f.join("a", noop)
		f.owns(a, 1)
		b := f.join("b", noop)
		f.until("b has joined", func() bool { return b.Ready() == nil || strings.Contains(b.Ready().Error(), "not been joined") })
		caught := a.sleepInCommit()
		f.start("job", "chain")
		f.until("a sleeps in its commit", caught)
		f.owns(b, 1)
		f.ends("job", "completed")
		a.gate.open()
		f.until("a has let go", func() bool { return len(a.Owned()) == 0 })
		f.passes(time.Minute)
		want := []string{
			"orchestration.started", "activity.requested", "activity.completed", "activity.requested",
			"activity.completed", "activity.requested", "activity.completed", "orchestration.ended",
		}
		if got := f.history("job"); !slices.Equal(got, want) {
			f.t.Errorf("history:\n got %v\nwant %v", got, want)
		}
		if l, copies := f.completions("job"); len(l) != 1 || copies != 1 {
			f.t.Errorf("%d copies of completions %v, want one", copies, l)
		}
		if len(a.Owned())+len(b.Owned()) != 1 {
			f.t.Errorf("owners: a %v, b %v", a.Owned(), b.Owned())
		}
	})
}

// again asks to be called again after a second, twice.
type again struct{}

func (again) Quick(agent.Activity) bool { return true }
func (again) Process(_ context.Context, a agent.Activity) agent.Result {
	if a.Attempt < 3 {
		return agent.Schedule(time.Second)
	}
	return agent.Complete(nil)
}

func TestAMemberThatLosesItsShardWhileATimerFiresChangesNothing(t *testing.T) {
	bothKinds(t, 1, quickPlans, func(f *fleet) {
		register := func(p *agent.Pool) { p.Register("again", again{}, 1) }
		a := f.join("a", register)
		f.owns(a, 1)
		b := f.join("b", register)
		f.start("job", "again")
		f.until("the first attempt is over", func() bool { return len(f.history("job")) == 3 })
		caught := a.sleepInCommit() // the next commit is the timer's
		f.until("a sleeps while its timer fires", caught)
		f.owns(b, 1)
		f.ends("job", "completed")
		a.gate.open()
		f.passes(time.Minute)
		want := []string{
			"orchestration.started", "activity.requested", "activity.scheduled", "activity.requested",
			"activity.scheduled", "activity.requested", "activity.completed", "orchestration.ended",
		}
		if got := f.history("job"); !slices.Equal(got, want) {
			f.t.Errorf("history:\n got %v\nwant %v", got, want)
		}
		if len(a.Owned())+len(b.Owned()) != 1 {
			f.t.Errorf("owners: a %v, b %v", a.Owned(), b.Owned())
		}
	})
}

func TestAMemberThatSleepsThroughItsSessionAndWakesChangesNothing(t *testing.T) {
	bothKinds(t, 1, quickPlans, func(f *fleet) {
		finish := make(chan string, 1)
		runs := make(chan string, 10)
		slow := func(name string) func(*agent.Pool) {
			return func(p *agent.Pool) {
				p.Register("slow", agent.ProcessorFunc(func(ctx context.Context, _ agent.Activity) agent.Result {
					runs <- name
					if name == "b" {
						return agent.Complete(map[string]string{"by": name})
					}
					select {
					case by := <-finish:
						return agent.Complete(map[string]string{"by": by})
					case <-ctx.Done():
						return agent.Retry(ctx.Err())
					}
				}), 1)
			}
		}
		a := f.join("a", slow("a"))
		f.owns(a, 1)
		f.start("job", "slow")
		if by := <-runs; by != "a" {
			f.t.Fatalf("%s ran it first", by)
		}
		b := f.join("b", slow("b"))
		a.gate.close() // asleep, with local work under way
		f.owns(b, 1)
		f.ends("job", "completed")
		finish <- "a" // and its result comes after all
		a.gate.open()
		f.passes(time.Minute)
		want := []string{"orchestration.started", "activity.requested", "activity.offered", "activity.completed", "orchestration.ended"}
		if got := f.history("job"); !slices.Equal(got, want) {
			f.t.Errorf("history:\n got %v\nwant %v", got, want)
		}
		if len(a.Owned())+len(b.Owned()) != 1 {
			f.t.Errorf("owners: a %v, b %v", a.Owned(), b.Owned())
		}
	})
}

func TestTheNewOwnerSeesAllThatWasCommittedBeforeItDecides(t *testing.T) {
	bothKinds(t, 4, quickPlans, func(f *fleet) {
		a := f.join("a", noop)
		f.owns(a, 4)
		for _, id := range []string{"j1", "j2", "j3", "j4", "j5", "j6"} {
			f.start(id, "chain")
			f.ends(id, "completed")
		}
		a.gate.close()
		b := f.join("b", noop)
		f.owns(b, 4)
		for _, id := range []string{"j1", "j2", "j3", "j4", "j5", "j6"} {
			f.send(id, schemas.OrchestrationStart, `{"type":"chain","partial":true}`) // another body: refused, since j1 is known
		}
		for _, id := range []string{"j1", "j2", "j3", "j4", "j5", "j6"} {
			f.until(id+" is refused", func() bool {
				l, _ := f.completions(id)
				return slices.Equal(l, []string{"orchestration.completed", "command.rejected"})
			})
			if n := len(f.history(id)); n != 8 {
				f.t.Errorf("%s has %d events, want 8", id, n)
			}
		}
	})
}

func TestMembersThatFenceEachOtherEndWithOneOwner(t *testing.T) {
	bothKinds(t, 1, quickPlans, func(f *fleet) {
		a := f.join("a", noop)
		f.owns(a, 1)
		for range 3 { // somebody else initialises the shard's transactional id
			other, err := f.cfg.NewClient(kgo.TransactionalID(f.cfg.Topics().TransactionalID(0)))
			if err != nil {
				f.t.Fatal(err)
			}
			if _, _, err := other.ProducerID(f.t.Context()); err != nil {
				f.t.Fatal(err)
			}
			other.Close()
			f.start("job", "chain")
			f.passes(time.Second)
		}
		f.ends("job", "completed")
		f.owns(a, 1)
		if n := len(f.history("job")); n != 8 {
			f.t.Errorf("%d events, want 8", n)
		}
	})
}

func TestAMemberThatLeavesHandsItsShardsOverAtOnce(t *testing.T) {
	bothKinds(t, 4, quickPlans, func(f *fleet) {
		a, b := f.join("a", noop), f.join("b", noop)
		f.owns(a, 2)
		f.owns(b, 2)
		began := time.Now()
		a.stop()
		f.owns(b, 4)
		if took := time.Since(began); took > f.soon(3*time.Second) {
			f.t.Errorf("the shards moved after %s", took)
		}
	})
}

func TestMembersThatJoinAtOnceTakeTheirShardsWithoutWaitingForASession(t *testing.T) {
	bothKinds(t, 4, quickPlans, func(f *fleet) {
		began := time.Now()
		a, b, c := f.join("a", noop), f.join("b", noop), f.join("c", noop)
		f.until("all shards are owned", func() bool { return len(a.Owned())+len(b.Owned())+len(c.Owned()) == 4 })
		if took := time.Since(began); took > f.soon(3*time.Second) {
			f.t.Errorf("the shards were owned after %s", took)
		}
	})
}
